"""Whom core's log names: who sends refused logins, whose login it is, and on how many pods upstream refuses."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from app.model.evidence import Value
from app.parsers.core_log_tags import INTERNAL_USER
from app.parsers.harbor_config import at
from app.probes.core_logs_read import REFUSALS, CoreLog, node_addresses
from app.probes.core_roster import core_pods, front_backends
from app.probes.harbor_common import HarborSide


def whom_it_names(side: HarborSide, log: CoreLog) -> Iterator[tuple[str, Value]]:
    yield from _offender(side, log)
    mirror = _mirror_login(side, log)
    if mirror is not None:
        yield "core.refused_is_mirror_login", mirror
    refused = _refused_on(side, log)
    if refused:
        yield "core.upstream_refused_on", refused


def _offender(side: HarborSide, log: CoreLog) -> Iterator[tuple[str, Value]]:
    """Address and agent of refused logins, and whether they are the failing client's own."""
    refused = [
        one
        for one in log.said
        if one.tag == "user-refused" and one.name != INTERNAL_USER and one.line.fields.get("user agent")
    ]
    names = {one.name for one in refused}
    account = side.account or (next(iter(names)) if len(names) == 1 else "")
    seen = list(
        dict.fromkeys(
            (one.line.fields.get("client IP", ""), one.line.fields["user agent"])
            for one in refused
            if one.name == account
        )
    )
    if not account or not seen:
        return
    judged = [_is_client(side, *who) for who in seen]
    address, agent = seen[0]
    yield "core.offender", f"{address} {agent}".strip()
    if all(own is False for own in judged):
        # A frozen client's own tries leave no line; one of its kind here may be itself with a wrong password.
        yield "core.offender_is_client", False
    elif all(own for own in judged):
        yield "core.offender_is_client", True


_FAMILIES: Final = (
    (r"^containerd/", "containerd"), (r"^docker/|UpstreamClient\(Docker", "docker"), (r"^cri-?o/", "cri-o"), (r"^skopeo/", "skopeo"),
    (r"^crane/|go-containerregistry", "crane"), (r"^buildkit/", "buildkit"), (r"^Helm/", "helm"), (r"^nerdctl/", "nerdctl"),
    (r"^containers/", "cri-o"),
)  # fmt: skip
_CLIENTS: Final = (
    (r"rpc error: code|failed to pull and unpack|ErrImagePull|ImagePullBackOff|failed to resolve reference", ("containerd", "docker", "cri-o")),
    (r"Error response from daemon|docker login|docker push|docker pull|The push refers to repository", ("docker",)),
    (r"level=fatal msg=|skopeo", ("skopeo",)),
    (r"crane|GET https?://\S+: (?:UNAUTHORIZED|DENIED)", ("crane",)),
    (r"buildx|buildkit|ERROR: failed to solve", ("buildkit", "docker")),
    (r"helm ", ("helm",)),
)  # fmt: skip


def _is_client(side: HarborSide, address: str, agent: str) -> bool | None:
    """Same client? An address of a failing node says yes, an agent of another family no; else unknown (a balancer's address)."""
    expected: set[str] = set()
    for pattern, clients in _CLIENTS:
        if any(re.search(pattern, text) for text in side.scene.incident.texts):
            expected |= set(clients)
    if side.scene.incident.pods or side.scene.incident.nodes:
        expected |= {"containerd", "docker", "cri-o"}
    family = next((name for pattern, name in _FAMILIES if re.search(pattern, agent)), agent.split("/", 1)[0].lower())
    if expected and family not in expected:
        return False
    ours = node_addresses(side)
    if ours and address in ours:
        return True
    return None


def _mirror_login(side: HarborSide, log: CoreLog) -> bool | None:
    """Whether the refused name is the login that a node's settings hold for Harbor as a mirror; None where neither is known."""
    refused = {one.name for one in log.said if one.tag in REFUSALS and one.name}
    if not refused or not side.mirrored:
        return None
    logins = set(_node_logins(side))
    return bool(refused & logins) if logins else None


def _node_logins(side: HarborSide) -> Iterator[str]:
    host = side.harbor_host
    for document in side.material.glob("nodes/*/registries.yaml"):
        try:
            configs = at(yaml.safe_load(document.text), "configs")
        except yaml.YAMLError:
            continue
        yield from _users(configs, host)
    for document in side.material.glob("nodes/*config*.toml"):
        try:
            read = tomllib.loads(document.text)
        except tomllib.TOMLDecodeError:
            continue
        for plugin in (read.get("plugins") or {}).values():
            yield from _users(at(plugin, "registry", "configs"), host)


def _users(configs: Any, host: str) -> Iterator[str]:
    for name, entry in configs.items() if isinstance(configs, Mapping) else ():
        user = at(entry, "auth", "username")
        if user and str(name).split(":", 1)[0] == host:
            yield str(user)


MANY: Final = 4
"""Refusals on one pod after which the silence of the others is no chance (two pods in turn: one in eight)."""


def _refused_on(side: HarborSide, log: CoreLog) -> str:
    """Whether all core pods report upstream's refusal of the login, or one of several; empty where it cannot be told.

    `all` needs every pod that is known, at least two where the log is the only list of them.
    """
    refused = [one for one in log.said if one.tag == "upstream-refused-login"]
    if not refused:
        return ""
    writers = {one.line.pod or one.line.process for one in refused} - {""}
    seen = {line.pod or line.process for line in log.lines} - {""}
    roster = core_pods(side.material)
    by_pod = all(one.line.pod for one in refused)
    if roster is not None and by_pod:
        if set(roster) <= writers:
            return "all"
        return "one-of-several" if log.complete and len(refused) >= MANY * len(writers) and set(roster) <= seen else ""
    backends = front_backends(side.material)
    if backends:
        return "all" if len(writers) >= backends or backends == 1 else ""
    return "all" if len(writers) >= 2 and writers == seen else ""

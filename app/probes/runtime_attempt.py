"""`attempt.log`: the last failed pull of the image in the runtime's log, host by host (node.md 1.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from app.model.evidence import Evidence, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.dockerconfig import normalise_repository
from app.parsers.journal import Attempt, HostTry, attempts, status_of
from app.parsers.split_url import urlsplit
from app.probes.base import Scene
from app.probes.runtime_config import namespace_of, nodes_of, whose
from app.probes.runtime_files import NodeFiles
from app.probes.runtime_setup import node_setup
from app.pullplan.containerd import choose, hostname, role_of
from app.pullplan.plan import split_image
from app.pullplan.settings import effective

FACTS = (
    "attempt.hosts", "attempt.first_role", "attempt.first_status", "attempt.shown_is_first", "attempt.other_errors", "attempt.all_404",
    "attempt.fallback_same_registry", "attempt.dir_loaded", "attempt.decode_error", "attempt.no_progress", "attempt.other_open_pull",
)  # fmt: skip


def read(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Facts of the newest failed attempt for the incident's image on each node."""
    namespace = namespace_of(scene)
    for name, files in nodes_of(material):
        if not files.has_log:
            refused = files.refused("attempt.log", ("containerd.log",), "the hosts of an attempt cannot be told apart")
            if refused is not None:
                yield refused
            continue
        attempt = pick(attempts(files.log), scene)
        if attempt is None:
            continue
        attempt = _whole(attempt, files, namespace or split_image(attempt.image)[0])
        facts = _facts(attempt, namespace or split_image(attempt.image)[0], files)
        target = Target.of(node=name, registry=namespace or split_image(attempt.image)[0])
        excerpt = "\n".join(f"{item.host}: {item.status or ''} {item.error}" for item in attempt.tries) or attempt.error
        yield files.evidence(
            "attempt.log",
            facts,
            target=target,
            of=whose(scene, name),
            excerpt=excerpt,
            taken_at=attempt.started,
            command="journalctl -u containerd --no-pager",
        )


def pick(found: Iterable[Attempt], scene: Scene) -> Attempt | None:
    """The newest attempt for the image that failed by itself; one that was called off says little."""
    image = scene.incident.image or ""
    mine = [item for item in found if not image or normalise_repository(item.image) == normalise_repository(image)]
    wanted = split_image(image)[2] if image else ""
    exact = [item for item in mine if not wanted or split_image(item.image)[2] == wanted] or mine
    failed = [item for item in exact if item.finished and not item.succeeded and not item.canceled]
    stuck = [item for item in exact if not item.finished or item.canceled]
    chosen = failed or stuck
    return chosen[-1] if chosen else None


def _whole(attempt: Attempt, files: NodeFiles, namespace: str) -> Attempt:
    """With the host that refused for want of a login: it has no line of its own, and the error that is shown does not name it.

    It is told where the node's settings have exactly one host of which the log says nothing.
    """
    status = status_of(attempt.error)
    if not attempt.finished or attempt.succeeded or status != 401 or _host(attempt.error):
        return attempt
    if any(item.status == status for item in attempt.tries):
        return attempt
    node = node_setup(files)
    choice = choose(node, effective(node), namespace)
    planned = list(dict.fromkeys(host.authority for host in choice.hosts if host.resolves))
    silent = [host for host in planned if all(item.host != host for item in attempt.tries)]
    if not choice.known or len(silent) != 1 or any(item.host not in planned for item in attempt.tries):
        return attempt
    before = [item for item in attempt.tries if planned.index(item.host) < planned.index(silent[0])]
    after = attempt.tries[len(before) :]
    return replace(attempt, tries=(*before, HostTry(silent[0], status, attempt.error), *after))


def _facts(attempt: Attempt, namespace: str, files: NodeFiles) -> dict[str, Value]:
    tries = attempt.tries
    facts: dict[str, Value] = {"attempt.no_progress": attempt.no_progress}
    others = [image for image in attempt.others_open if image != attempt.image]
    facts["attempt.other_open_pull"] = bool(others)
    if attempt.decode_errors:
        tree = all("host` tree" in error for error in attempt.decode_errors)
        facts["attempt.decode_error"] = "no-host-tree" if tree else "toml"
    elif attempt.finished:
        facts["attempt.decode_error"] = ""
    debug = any(line.level == "debug" for line in files.log)
    if attempt.dir_loaded or debug:
        facts["attempt.dir_loaded"] = bool(attempt.dir_loaded)
    if not tries or not attempt.finished:
        return facts
    first = tries[0]
    facts["attempt.hosts"] = tuple(dict.fromkeys(item.host for item in tries))
    facts["attempt.first_role"] = role_of(first.host, namespace)
    if first.status is not None:
        facts["attempt.first_status"] = first.status
    shown = _shown(attempt)
    if shown is not None:
        facts["attempt.shown_is_first"] = shown == 0
        facts["attempt.other_errors"] = tuple(
            f"{_kind(item)}({item.host})"
            for item in tries
            # The same answer once more, or another "not found", is no other reason.
            if item.status != 404 and (_kind(item), item.host) != (_kind(tries[shown]), tries[shown].host)
        )
    facts["attempt.all_404"] = all(item.status == 404 for item in tries)
    if len(tries) > 1:
        same = hostname(tries[-1].host).lower() == hostname(first.host).lower()
        hub = {first.host, tries[-1].host} <= {"docker.io", "registry-1.docker.io"}
        facts["attempt.fallback_same_registry"] = same or hub
    return facts


def _shown(attempt: Attempt) -> int | None:
    """Which try the final error repeats; None where it cannot be told."""
    error = attempt.error
    for index, item in enumerate(attempt.tries):
        if item.error and (item.error == error or item.error.partition("\n")[0] in error):
            return index
    missing = error.rstrip().endswith("not found")
    for index, item in enumerate(attempt.tries):
        if item.status == 404 and missing:
            return index
    for index, item in enumerate(attempt.tries):
        if item.status is not None and f" {item.status} " in f"{error} " and _host(error) in ("", item.host):
            return index
    return None


def _host(error: str) -> str:
    start = error.find("https://") if "https://" in error else error.find("http://")
    return urlsplit(error[start:].split(" ", maxsplit=1)[0].rstrip(":")).netloc if start >= 0 else ""


_KINDS = (
    ("proxyconnect", "proxy"),
    ("x509", "x509"), ("server gave HTTP response", "http-answer"), ("no such host", "no-such-host"), ("connection refused", "refused"),
    ("i/o timeout", "timeout"), ("deadline exceeded", "timeout"), ("server misbehaving", "dns"), ("no basic auth", "401"),
)  # fmt: skip


def _kind(item: HostTry) -> str:
    """A short tag for what a host answered: its status, or the kind of its error."""
    if item.status is not None:
        return str(item.status)
    return next((kind for words, kind in _KINDS if words in item.error), "other")


def without_secrets(attempt: Attempt) -> Attempt:
    """The attempt with only the first line of each error, for a screen."""
    return replace(attempt, error=attempt.error.partition("\n")[0])

"""`registry.read` and `registry.more`: log and settings of the inner registry (or of a plain one)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Document, Material
from app.model.target import Target
from app.parsers.core_log import LogLine, parse_lines
from app.parsers.core_log_tags import INTERNAL_USER, Said
from app.parsers.harbor_config import RegistryConfig, at, read_registry_config, read_values
from app.parsers.nginx_conf import access_lines
from app.parsers.registry_log import RegistrySaid, registry_stamp, what_registry_says
from app.probes.base import Scene
from app.probes.core_logs_read import read_core_log
from app.probes.core_roster import is_ready, pod_name
from app.probes.harbor_common import MARGIN, ZONES, HarborSide
from app.probes.harbor_place import POD_LISTS, component_of, items

LOGS: Final = ("registry/registry.log", "harbor/registry.log")
OBJECT_STORES: Final = frozenset({"s3", "gcs", "azure", "swift", "oss"})


def registry_documents(material: Material) -> list[Document]:
    """Logs of the registry process. `registry/access.log` is the front's and not among them."""
    found = [document for path in LOGS for document in material.glob(path)]
    for document in material.glob("registry/*.log"):
        if document.path in LOGS or "access" in document.path or "proxy" in document.path:
            continue
        if document not in found:
            found.append(document)
    return found


def _lines(material: Material) -> list[LogLine]:
    lines: list[LogLine] = []
    for document in registry_documents(material):
        pod = (
            document.path.removeprefix("registry/logs/").removesuffix(".log")
            if document.path.startswith("registry/logs/")
            else ""
        )
        for line in parse_lines(document.text):
            lines.append(LogLine(line.text, line.pod or pod, line.process, registry_stamp(line), number=line.number))
    return lines


def _window(lines: list[LogLine], side: HarborSide) -> tuple[list[LogLine], bool]:
    """Lines about the failure, and whether the log covers it."""
    failure = side.failure
    stamps = [line.stamp for line in lines if line.stamp is not None]
    if failure is None:
        return lines, False
    if not stamps:
        return lines, not lines
    first, last = failure[0] - MARGIN, failure[1] + MARGIN
    if any(first <= stamp <= last for stamp in stamps):
        return [line for line in lines if line.stamp is None or first <= line.stamp <= last], True
    return (lines if abs(max(stamps) - failure[1]) < ZONES else []), False


def registry_pods(material: Material) -> tuple[str, ...] | None:
    """Every ready registry pod; None where no list of pods was read."""
    for path in POD_LISTS:
        if path == "harbor/core-pods.json" or material.text(path) is None:
            continue
        found = [pod for pod in items(material, path) if component_of(pod) == "registry"]
        if found:
            return tuple(sorted(pod_name(pod) for pod in found if is_ready(pod)))
    return None


def read_registry_log(material: Material, scene: Scene) -> Iterable[Evidence]:
    """What the registry says at the time of the failure, by pod."""
    side = HarborSide(material, scene)
    documents = registry_documents(material)
    internal = [said.line for said in _refused_by_core(side)]
    if not documents:
        if internal:
            yield side.evidence(
                "registry.read", {"registry.log": ("login-refused-internal",)}, partial=frozenset({"registry.log"}),
                excerpt="\n".join(line.text for line in internal[:2]), detail="by core's log; the registry's own was not read",
            )  # fmt: skip
        for path in LOGS:
            document = material.get(path)
            if document is not None and document.outcome is not Outcome.OBSERVED:
                yield side.evidence(
                    "registry.read", {}, outcome=document.outcome, detail=f"{document.detail}; what the registry refused stays unknown",
                    by_hand="kubectl logs -n <namespace> -l component=registry -c registry --since=30m --prefix > registry.log",
                )  # fmt: skip
        return
    lines, covered = _window(_lines(material), side)
    said = list(what_registry_says(lines, _internal_user(material)))
    roster = registry_pods(material)
    pods = {line.pod for line in lines if line.pod}
    complete = covered and (not roster or len(roster) <= 1 or not pods or set(roster) <= pods)
    partial = frozenset() if complete else frozenset({"registry.log"})
    rosters = {"registry-pod": roster} if roster else {}
    for pod in sorted(pods):
        mine = [one for one in said if one.line.pod == pod]
        yield side.evidence(
            "registry.read", {"registry.log": _tags(mine)}, target=side.target.joined(Target.of(registry_pod=pod)), partial=partial,
            roster=rosters, excerpt=_excerpt(mine), command=f"kubectl logs {pod} -c registry",
        )  # fmt: skip
    loose = [one for one in said if not one.line.pod]
    if loose or not pods or internal:
        tags = dict.fromkeys((*_tags(loose), *(("login-refused-internal",) if internal else ())))
        yield side.evidence(
            "registry.read", {"registry.log": tuple(tags)}, partial=partial, roster=rosters, excerpt=_excerpt(loose),
            command=", ".join(document.path for document in documents),
        )  # fmt: skip


def _refused_by_core(side: HarborSide) -> Iterator[Said]:
    """Core's log names its own registry user among the refused."""
    log = read_core_log(side)
    if log is None:
        return
    user = _internal_user(side.material)
    for said in log.said:
        if said.tag == "user-refused" and said.name in (user, INTERNAL_USER):
            yield said


def _internal_user(material: Material) -> str:
    text = material.text("harbor/values.yaml")
    if text:
        try:
            return read_values(text).registry_user or INTERNAL_USER
        except ValueError:
            pass
    return INTERNAL_USER


def _tags(said: Iterable[RegistrySaid]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.tag for one in said))


def _excerpt(said: list[RegistrySaid]) -> str:
    first: dict[str, str] = {}
    for one in said:
        first.setdefault(one.tag, one.line.text[:300])
    return "\n".join(dict.fromkeys(first.values()))


# --- settings -----------------------------------------------------------------------------------------------------


def read_registry_settings(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Relative URLs, redirects, shared storage, number of pods, hashes of what the pods must share."""
    side = HarborSide(material, scene)
    facts: dict[str, Value] = {}
    detail = ""
    try:
        config = _config(material)
    except ValueError as error:
        config = None
        detail = f"registry/config.yml: {error}"
    if config is not None:
        facts["registry.relative_urls"] = config.relative_urls
        facts["registry.redirect_off"] = config.redirect_off
    elif material.text("harbor/values.yaml"):
        try:
            values = read_values(material.text("harbor/values.yaml") or "")
        except ValueError:
            values = None
        if values is not None and values.relative_urls is not None and values.redirect_off is not None:
            facts["registry.relative_urls"] = values.relative_urls
            facts["registry.redirect_off"] = values.redirect_off
    roster = registry_pods(material)
    if roster is not None:
        facts["registry.pods"] = len(roster)
    shared = _shared(material, config, roster)
    if shared is not None:
        facts["registry.shared_storage"] = shared
    saw = _saw_request(side)
    if saw is not None:
        facts["registry.saw_request"] = saw
    rosters = {"registry-pod": roster} if roster else {}
    if facts:
        yield side.evidence(
            "registry.more", facts, roster=rosters, excerpt="\n".join(f"{key}: {value}" for key, value in facts.items())
        )
    elif detail:
        yield side.evidence("registry.more", {}, outcome=Outcome.UNPARSABLE, detail=detail)
    for pod, hashes in sorted(_hashes(material).items()):
        yield side.evidence(
            "registry.more", hashes, target=side.target.joined(Target.of(registry_pod=pod)), roster=rosters
        )


def _config(material: Material) -> RegistryConfig | None:
    """`registry/config.yml`, else the one in the ConfigMap of the registry. Raises ValueError where it cannot be read."""
    text = material.text("registry/config.yml")
    if text is None:
        for config in items(material, "harbor/configmaps.json"):
            name = str(at(config, "metadata", "name") or "")
            found = at(config, "data", "config.yml")
            if name.endswith("-registry") and isinstance(found, str) and "storage:" in found:
                text = found
    return read_registry_config(text) if text else None


def _shared(material: Material, config: RegistryConfig | None, roster: tuple[str, ...] | None) -> bool | None:
    """Whether all registry pods use one storage: an object store does, a volume of the pod's own does not."""
    if config is not None and config.driver in OBJECT_STORES:
        return True
    if roster is None or len(roster) < 2:
        return None
    for path in POD_LISTS:
        for pod in items(material, path):
            if component_of(pod) != "registry":
                continue
            for volume in at(pod, "spec", "volumes") or []:
                if (
                    isinstance(volume, dict)
                    and re.search(r"data|storage", str(volume.get("name")))
                    and "emptyDir" in volume
                ):
                    return False
    return None


def _saw_request(side: HarborSide) -> bool | None:
    """A line about the image's repository in the registry's log; its absence counts only in a log that covers the failure."""
    image = side.image
    if image is None or side.mirrored:
        return None
    lines, covered = _window(_lines(side.material), side)
    if not lines:
        return None
    path = f"/v2/{image.repository}/"
    if any(path in line.text for line in lines):
        return True
    return False if covered and any(access_lines(iter(lines))) else None


def _hashes(material: Material) -> dict[str, dict[str, Value]]:
    """Digests that our execs gave in the registry pods."""
    found: dict[str, dict[str, Value]] = {}
    for suffix, fact in (("-http-secret.txt", "registry.secret_hash"), ("-passwd.txt", "registry.passwd_hash")):
        for document in material.glob(f"harbor/exec/*{suffix}"):
            digest = re.search(r"\b[0-9a-f]{64}\b", document.text.lower())
            if digest:
                found.setdefault(document.path.removeprefix("harbor/exec/").removesuffix(suffix), {})[fact] = (
                    digest.group()
                )
    return found

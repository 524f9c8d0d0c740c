"""Core's log at the time of the failure: which lines count, of which pods, and whether that is all of them.

A list is complete only for a log of all core pods that covers the failure. Core is silent at level info about missing
rights, a frozen account, policies, read-only, upstream 404 and 429, and the inner registry (observed-harbor.md 9).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakKeyDictionary

from app.model.material import Document, Material
from app.parsers.core_log import LogLine, parse_lines, stamp_of
from app.parsers.core_log_tags import Said, cut_by_a_shell, what_it_says
from app.parsers.harbor_config import at
from app.probes.base import Scene
from app.probes.core_roster import core_pods, log_names
from app.probes.harbor_common import MARGIN, ZONES, HarborSide
from app.probes.harbor_place import items
from app.probes.registry_scene import registry_of
from app.probes.secret_facts import robots_in_secrets

CLOCK_TAGS: Final = frozenset({"not-yet-valid", "token-expired", "project-recreated", "key-differs"})
"""Written by a pod whose clock may be wrong: kept whatever their stamp says."""
REFUSALS: Final = frozenset({"robot-refused", "robot-disabled", "robot-expired", "user-refused"})
LIVE_MARGIN: Final = 12.0
"""Before the first failing try that is watched: what was refused earlier was another fault."""
UPSTREAM_TAGS: Final = frozenset(
    {
        "upstream-refused-login",
        "fallback-401",
        "fallback-429",
        "fallback-dns",
        "fallback-network",
        "fallback-refused",
        "fallback-other",
        "fallback-challenge",
    }
)
"""What a line about one project says; what other projects met is left out."""


@dataclass(frozen=True, slots=True)
class CoreLog:
    """All lines of core that were read."""

    lines: tuple[LogLine, ...]
    said: tuple[Said, ...]
    complete: bool
    """Of all core pods, and of the time of the failure."""
    paths: tuple[str, ...]
    taken_at: float | None = None


def core_documents(material: Material) -> list[Document]:
    """Logs of core (in Harbor 1.x its name was ui): the collected one, and one for each pod."""
    found = [
        *material.glob("harbor/core.log"),
        *material.glob("harbor/ui.log"),
        *material.glob("harbor/core-*.log"),
        *material.glob("harbor/logs/*.log"),
    ]
    names = log_names(material)
    return [
        document
        for document in dict.fromkeys(found)
        if not document.path.startswith("harbor/logs/")
        or document.path.rsplit("/", 1)[-1].removesuffix(".log") in names
    ]


_READ: WeakKeyDictionary[Material, tuple[Scene, CoreLog | None]] = WeakKeyDictionary()
"""Several probes ask for the same log within one reading; a long one takes half a second."""


def read_core_log(side: HarborSide) -> CoreLog | None:
    """The lines with their tags; None where no log of core was read."""
    known = _READ.get(side.material)
    if known is None or known[0] is not side.scene:
        known = (side.scene, _read(side))
        _READ[side.material] = known
    return known[1]


def _read(side: HarborSide) -> CoreLog | None:
    documents = core_documents(side.material)
    if not documents:
        return None
    lines: list[LogLine] = []
    for document in documents:
        pod = document.path.rsplit("/", 1)[-1].removesuffix(".log") if document.path.startswith("harbor/logs/") else ""
        for line in parse_lines(document.text):
            lines.append(_of_pod(line, pod) if pod and not line.pod else line)
    kept, covered = _window(lines, side)
    said = _last_words(list(_about_this(what_it_says(kept), side)))
    takens = [document.taken_at for document in documents if document.taken_at]
    return CoreLog(
        tuple(kept),
        tuple(_with_names(said, side)),
        covered and _all_pods(side, documents, lines) and not _tried_since(side, min(takens, default=None)),
        tuple(document.path for document in documents),
        min(takens, default=None),
    )


def _tried_since(side: HarborSide, taken: float | None) -> bool:
    """A login of ours came after the log was read: what it met cannot stand in there."""
    return taken is not None and any(
        seen.exchange.login and (seen.exchange.taken_at or 0.0) > taken - 1.0
        for seen in registry_of(side.material, side.scene).token_services
    )


def _of_pod(line: LogLine, pod: str) -> LogLine:
    return replace(line, pod=pod)


def _window(lines: list[LogLine], side: HarborSide) -> tuple[list[LogLine], bool]:
    """Lines about the failure, and whether the log covers it.

    Lines of a wrong clock or a local time zone lie outside; they are kept where no line lies inside. Without a stated
    time of the failure nothing can be said to cover it.
    """
    failure = side.failure
    if failure is None:
        return lines, False
    first, last = failure[0] - MARGIN, failure[1] + MARGIN
    if side.scene.vantage != "bundle" and side.scene.incident.since:
        # No pod has tried before it was made: what was refused earlier was another one's fault.
        first = max(failure[0] - LIVE_MARGIN, (_pods_made(side) or 0.0) - 1.0)
    stamps = [
        stamp for line in lines if (stamp := line.written if line.written is not None else line.stamp) is not None
    ]
    if not stamps:
        # An empty log of a Harbor of which more is known was read and says nothing.
        return lines, not lines and any(
            document.path != "harbor/core.log" for document in side.material.glob("harbor/*")
        )
    if any(first <= stamp <= last for stamp in stamps):
        return [line for line in lines if _counts(line, first, last)], True
    if side.scene.vantage != "bundle" and all(line.written is not None for line in lines if line.stamp is not None):
        return [], True  # dated by the kubelet and read just now: core has said nothing since
    newest = max(stamps)
    return (lines if abs(newest - failure[1]) < ZONES else []), False


def _pods_made(side: HarborSide) -> float | None:
    """When the first of the failing pods was made; None where that is not known of all."""
    made: list[float] = []
    for pod in items(side.material, "pods.json"):
        if f"{pod['metadata'].get('namespace')}/{pod['metadata'].get('name')}" in side.scene.incident.pods:
            stamp = stamp_of(str(pod["metadata"].get("creationTimestamp") or ""))
            if stamp is None:
                return None
            made.append(stamp)
    return min(made) if made and len(made) == len(side.scene.incident.pods) else None


def _counts(line: LogLine, first: float, last: float) -> bool:
    """Inside the window, undated, or of a pod whose clock may be the fault."""
    if line.written is not None:
        return first <= line.written <= last
    if line.stamp is None or first <= line.stamp <= last:
        return True
    near = first - 2 * ZONES < line.stamp < last + 2 * ZONES
    return near and any(said.tag in CLOCK_TAGS for said in what_it_says([line]))


def _all_pods(side: HarborSide, documents: list[Document], lines: list[LogLine]) -> bool:
    """Every core pod's log is in what was read."""
    known = core_pods(side.material)
    collected = [document for document in documents if not document.path.startswith("harbor/logs/")]
    if collected:
        # One collected file: with pod prefixes, or of the only pod, or of an installer's one core.
        single = known is None or len(known) <= 1
        return single or any(line.pod for line in lines) or not lines
    read = {document.path.rsplit("/", 1)[-1].removesuffix(".log") for document in documents}
    return known is not None and set(known) <= read


def _last_words(said: list[Said]) -> list[Said]:
    """Why a robot was refused by a core is what that core said of it last: it is either unknown, disabled or expired."""
    states = REFUSALS - {"user-refused"}
    last = {(one.line.pod, one.name): one.tag for one in said if one.tag in states and one.name}
    return [one for one in said if one.tag not in states or last.get((one.line.pod, one.name), one.tag) == one.tag]


def _about_this(said: Iterable[Said], side: HarborSide) -> Iterator[Said]:
    """Without lines about the upstream of other projects."""
    image = side.image
    for one in said:
        if one.tag in UPSTREAM_TAGS and one.repository and image is not None:
            project = one.repository.split("/", 1)[0]
            same = project == side.project if side.project else one.repository.endswith("/" + image.repository)
            if not same:
                continue
        if one.tag == "project-unknown" and side.project and one.name != side.project:
            continue
        yield one


def _with_names(said: Iterable[Said], side: HarborSide) -> Iterator[Said]:
    """Names for robots of Harbor 1.x, whose lines name none, and the mark of a name that a shell cut."""
    robots, _ = side.rows(("robots", "robot"), r"robots(?:/\d+)?")
    names = [*(str(row.get("name") or "") for row in robots), *robots_in_secrets(side.material)]
    prefix = _prefix(side)
    said = list(said)
    locked = {one.name for one in said if one.tag == "locking"}
    told: dict[str, set[str]] = {}
    for one in said:
        if one.tag == "user-refused" and one.line.fields.get("client IP"):
            told.setdefault(one.name, set()).add(one.line.fields["client IP"])
    for one in said:
        if one.tag == "robot-expired" and not one.name and one.seconds is not None and one.line.stamp is not None:
            ended = one.line.stamp - one.seconds
            same = [
                str(row["name"])
                for row in robots
                if isinstance(row.get("expires_at"), (int, float))
                and abs(row["expires_at"] - ended) < 90
                and row.get("name")
            ]
            yield Said(one.tag, one.line, same[0] if len(same) == 1 else "", seconds=one.seconds)
            continue
        if one.tag == "oidc-refused" and one.name.startswith(prefix):
            continue  # older versions wrote such a line for robots too (harbor-and-kubernetes.md B.2)
        yield one
        if one.tag not in ("user-refused", "locking") or not cut_by_a_shell(one.name, names, prefix):
            continue
        # Harbor 2 writes the lock when a request is refused and the name 1.5 s later: alone, that is the end of a request
        # that began before this log does.
        whole = one.tag == "locking" or one.name in locked or "failed to authenticate user:" not in one.line.text
        if whole and _ours(one, told, side):
            yield Said("cut-name", one.line, one.name)


def _ours(one: Said, told: Mapping[str, set[str]], side: HarborSide) -> bool:
    """Not seen to be another client's: the name is the account where that is known, the address a failing node's.

    `told`: refused name to the client addresses in its lines; the lines that tell of the lock carry none.
    """
    if side.account:
        return one.name == side.account
    nodes = node_addresses(side)
    addresses = told.get(one.name, set())
    return not nodes or not addresses or bool(nodes & addresses)


def node_addresses(side: HarborSide) -> frozenset[str]:
    """Addresses of the failing nodes, by their Node objects or their pods' hostIP."""
    found: set[str] = set()
    for path in ("pod.json", "pods.json", "nodes.json"):
        try:
            value = side.material.json(path)
        except ValueError:
            continue
        rows = value.get("items") if isinstance(value, dict) and "items" in value else value
        for row in rows if isinstance(rows, list) else [rows]:
            host = at(row, "status", "hostIP")
            node = at(row, "spec", "nodeName") or at(row, "metadata", "name")
            if side.scene.incident.nodes and node not in side.scene.incident.nodes:
                continue
            found |= {str(host)} if host else set()
            addresses = at(row, "status", "addresses")
            for one in addresses if isinstance(addresses, list) else ():
                if isinstance(one, dict):
                    found.add(str(one.get("address")))
    return frozenset(found)


def _prefix(side: HarborSide) -> str:
    for answer in [*side.documents("configurations"), *side.asked("configurations")]:
        value = at(answer.value, "robot_name_prefix", "value")
        if isinstance(value, str) and value:
            return value
    return "robot$"

"""How often and when it fails, and what works beside it: from repeated tries in terminals, events and runtime logs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.model.evidence import Value
from app.model.material import Material
from app.parsers.image_ref import bare_host, parse_image, same_host
from app.parsers.texts_split import Attempt
from app.probes.base import Scene
from app.probes.seen import Seen

ENOUGH = 3
"""Pulls or logins that must all have failed before `always` is said."""
ENOUGH_PUSHES = 5
"""The same for pushes: one push is many requests, so that a fault of one replica in two fails nearly every one."""
_BEFORE = 5.0
"""Seconds by which a node's clock may be behind the API server's."""
_DENIED = frozenset({"harbor-unauthorized-push", "docker-access-denied", "credential-refused", "inner-registry-401"})
_PARTLY = re.compile(r"^\s*[0-9a-f]{12}: Pushed\b|\bpushed blob: ", re.M)
_LIMITS = (30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
_RECENT = (
    ("containerd-2", r"(upgrad|updat|mov|migrat)\w* .{0,40}containerd .{0,20}\b2(\.\d+)?\b|after .{0,30}containerd 2"),
    ("kubelet-1.35", r"(upgrad|updat)\w* .{0,40}(kubelet|kubernetes|k8s) .{0,20}\b1\.35\b"),
    ("rotation", r"\b(rotat|renew|regenerat|reissu)\w+ .{0,40}(secret|certificate|cert|ca|key|robot|token|password)|(secret|certificate|cert|ca|key|robot|token|password)s? .{0,30}(was|were|has been|got) (rotated|renewed|changed|replaced)"),
    ("deploy", r"after .{0,30}(helm upgrade|argo ?cd|sync|redeploy|upgrad\w+ (of )?harbor)|since .{0,30}(helm upgrade|upgrad\w+ harbor)"),
    ("reverted", r"(worked|fixed) .{0,40}(but|then|until) .{0,40}(came back|again|reverted|overwritten|restart)"),
    ("setting", r"(added|configured|set|put|copied|installed|created|edited) .{0,120}(but|still|yet) .{0,60}(fail|same|error|not work|nothing|no effect)"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Try:
    """One try: where, what, as whom, and how it ended."""

    place: str
    path: str
    action: str
    account: str
    good: bool
    time: float | None = None
    times: int = 1


def tries_of(seen: Seen, scene: Scene) -> list[Try]:
    """All tries against the incident's registry, in order within each place (a terminal, a node)."""
    registry = scene.incident.registry or ""
    found: list[Try] = []
    for path, blob in seen.blobs:
        account = ""
        for attempt in blob.attempts:
            if attempt.action not in ("pull", "push", "login") or not (attempt.succeeded or attempt.failures):
                continue
            host = _host(attempt)
            if registry and host and not same_host(host, registry):
                continue
            if attempt.action == "login":
                account = attempt.account or account
            place = f"{path} {attempt.tool}"
            # Logins of two accounts are two things: that one works says nothing of the other.
            repository = parse_image(attempt.image).name if attempt.action != "login" else f"{host} {attempt.account}"
            found.append(
                Try(place, repository, attempt.action, attempt.account or account, attempt.succeeded, attempt.ended)
            )
        if not any(attempt.command for attempt in blob.attempts) and not seen.log_attempts:
            found.extend(
                Try(
                    path,
                    parse_image(reading.image).name if reading.image else "",
                    reading.action or "",
                    "",
                    False,
                    reading.time,
                    reading.count,
                )
                for reading in blob.readings
                if reading.classified
            )
    ends = _ends(seen)
    began = (scene.incident.since or 0.0) - _BEFORE
    for node, image, time, good in ends:
        reference = parse_image(image)
        # What was pulled before it began belongs to another time, and maybe to another fault.
        if time is not None and time < began:
            continue
        if image and (not registry or same_host(reference.normalised_host, registry)):
            found.append(Try(f"node/{node}", reference.name, "pull", "", good, time))
    return found


def _ends(seen: Seen) -> list[tuple[str, str, float | None, bool]]:
    """Ends of pulls by node in the order of time: the runtime's log, with what only events show added."""
    logged = {(node, good) for node, _, _, good in seen.log_attempts}
    ends = [*seen.log_attempts, *(end for end in seen.cluster.attempts if (end[0], end[3]) not in logged)]
    return sorted(ends, key=lambda end: end[2] or 0.0)


def partly_done(seen: Seen) -> bool:
    """A push was refused after the same push had uploaded something: its login is not refused always."""
    for _, blob in seen.blobs:
        denied = {item.message for item in blob.readings if _DENIED & item.symptoms}
        for attempt in blob.attempts:
            refused = any(failure.message in denied for failure in attempt.failures)
            if attempt.action == "push" and refused and _PARTLY.search(attempt.output):
                return True
    return False


def _host(attempt: Attempt) -> str:
    if attempt.action == "login":
        return attempt.image.partition("/")[0]
    return parse_image(attempt.image).normalised_host if attempt.image else ""


def always(tries: Sequence[Try], image: str = "") -> tuple[bool | None, int, int]:
    """(fails always, n tries, k failed). False when the same thing at one place fails, works and fails again.

    A terminal shows a series, so there a failure behind a success is enough. The log of a node reaches back to before
    the fault, so there it takes a failure before the success too, of this very `image` (its name). A repair and a break
    are not meant.
    """
    n = sum(item.times for item in tries)
    k = sum(item.times for item in tries if not item.good)
    series: dict[tuple[str, str, str], list[bool]] = {}
    for item in tries:
        series.setdefault((item.place, item.action, item.path), []).append(item.good)
    sometimes = any(
        _now_and_then(ends[ends.index(False) :] if place.startswith("node/") and False in ends else ends)
        for (place, _, path), ends in series.items()
        if not (image and place.startswith("node/") and path != image)
    )
    if sometimes:
        return False, n, k
    failing = [item for item in tries if not item.good]
    places = {item.place for item in failing}
    enough = ENOUGH_PUSHES if any(item.action == "push" for item in failing) else ENOUGH
    if k >= enough and not any(item.good for item in tries if item.place in places):
        return True, n, k
    return None, n, k


def _now_and_then(ends: Sequence[bool]) -> bool:
    return True in ends and not all(ends[ends.index(True) :])


def by(tries: Sequence[Try], key: str, enough: int) -> bool | None:
    """Whether failing and working fall apart by a field (`path` or `account`); None where the tries are too few."""
    groups: dict[tuple[str, str], list[bool]] = {}
    for item in tries:
        value = getattr(item, key)
        if value:
            groups.setdefault((value, item.action if key == "path" else ""), []).extend([item.good] * item.times)
    if any(True in ends and False in ends for ends in groups.values()):
        return False
    bad = [ends for ends in groups.values() if not any(ends) and len(ends) >= enough]
    good = [ends for ends in groups.values() if all(ends) and len(ends) >= enough]
    return True if bad and good else None


def seconds_to_fail(attempts: Iterable[Attempt]) -> float | None:
    """From the first stamp of a failing try to its last; None where its output carries no stamps."""
    for attempt in attempts:
        if (
            attempt.failures
            and attempt.started is not None
            and attempt.ended is not None
            and attempt.ended - attempt.started >= 1
        ):
            return attempt.ended - attempt.started
    return None


def at_limit(seconds: float) -> bool:
    """Whether a span is one of the limits that proxies and token services use."""
    return any(abs(seconds - limit) <= max(1.5, limit * 0.02) for limit in _LIMITS)


def cached_only(seen: Seen, scene: Scene) -> bool | None:
    """Whether the healthy nodes only run images that they had; None where events do not tell."""
    image = parse_image(scene.incident.image).name if scene.incident.image else ""
    pods = [
        pod
        for pod in seen.cluster.healthy
        if pod.node in scene.incident.healthy_nodes and any(parse_image(own).name == image for own in pod.images)
    ]
    if not pods:
        return None
    if any(pod.pulled for pod in pods):
        return False
    return True if all(pod.pulled is False for pod in pods) else None


def baseline(material: Material, seen: Seen, scene: Scene) -> dict[str, Value]:
    """`other.*` and `change.recent`, only where the material really shows them."""
    incident = scene.incident
    facts: dict[str, Value] = {}
    reference = parse_image(incident.image) if incident.image else None
    if incident.healthy_nodes:
        facts["other.nodes_ok"] = True
    elif len(incident.nodes) > 1 and seen.cluster.complete:
        facts["other.nodes_ok"] = False
    if reference:
        beside = [
            pod
            for pod in seen.cluster.healthy
            if pod.node in incident.nodes
            and pod.pulled
            and all(parse_image(own).name != reference.name for own in pod.images)
        ]
        if any(parse_image(own).normalised_host == reference.normalised_host for pod in beside for own in pod.images):
            facts["other.images_ok"] = True
    tries = [item for item in tries_of(seen, scene) if not item.place.startswith("node/")]
    account = scene.variables.get("account")
    if any(item.good and item.account and item.account != account for item in tries) and account:
        facts["other.accounts_ok"] = True
    if reference and any(
        item.good and item.path and item.path != reference.name and item.action == incident.action for item in tries
    ):
        facts.setdefault("other.images_ok", True)
    if _other_client(seen, scene):
        facts["other.clients_ok"] = True
    recent = _recent(material, seen)
    if recent:
        facts["change.recent"] = recent
    return facts


def _other_client(seen: Seen, scene: Scene) -> bool:
    """Another tool did the same with the same registry, while a pod or another tool fails."""
    incident = scene.incident
    if not incident.texts:
        return False
    failing = {attempt.tool for attempt in seen.attempts if attempt.failures}
    for attempt in seen.attempts:
        if not attempt.succeeded or attempt.action != (incident.action or attempt.action) or attempt.tool in failing:
            continue
        host = _host(attempt)
        placeholder = any(mark in attempt.image for mark in "<[{")
        same = bool(incident.registry) and (placeholder or bare_host(host) == bare_host(incident.registry or ""))
        if same and (incident.pods or failing):
            return True
    return False


def crictl(seen: Seen) -> str | None:
    """How a typed `crictl pull` without a login ended: `ok`, `fail`; None where nobody tried."""
    for attempt in reversed(seen.attempts):
        if (
            attempt.tool == "crictl"
            and attempt.action == "pull"
            and "--creds" not in attempt.command
            and "--auth" not in attempt.command
        ):
            if attempt.succeeded:
                return "ok"
            if attempt.failures:
                return "fail"
    return None


def _recent(material: Material, seen: Seen) -> tuple[str, ...]:
    """Changes that the operator's own words tell of."""
    words = " ".join(
        line
        for path, blob in seen.blobs
        for line in (material.text(path) or "").splitlines()[:400]
        if not any(line.strip() == attempt.command for attempt in blob.attempts)
    )
    return tuple(tag for tag, pattern in _RECENT if re.search(pattern, words[:20000], re.I))

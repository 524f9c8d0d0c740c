"""Pods and events of the material, as far as pulls fail: one pass over lists of any length."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from app.model.material import Material
from app.parsers.image_ref import parse_image
from app.parsers.signatures import Around, read_tags, symptoms_in
from app.parsers.texts_lines import read_time

PULL_REASONS: Final = frozenset(
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "ImageInspectError",
    ]
)
_OTHER_REASONS: Final = frozenset(
    [
        "ContainerCreating",
        "PodInitializing",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
        "ContainerCannotRun",
        "Completed",
        "Error",
        "OOMKilled",
    ]
)
_EVENT_REASONS: Final = frozenset(
    [
        "Failed",
        "BackOff",
        "FailedCreatePodSandBox",
        "InspectFailed",
        "FailedToRetrieveImagePullSecret",
        "ErrImageNeverPull",
        "InvalidImageName",
        "Pulling",
        "Pulled",
    ]
)
_BARE = re.compile(r"^Error: (ErrImagePull|ImagePullBackOff)$")
_PULL_IMAGE = re.compile(r'image "([^"]+)"')
STALLED_AFTER: Final = 120.0
"""Seconds after which a `Pulling` without an end counts as hanging."""


@dataclass(frozen=True, slots=True)
class Words:
    """One message of a pod: from its status or an event."""

    message: str
    reason: str = ""
    time: float | None = None
    first: float | None = None
    count: int = 1
    status: bool = False
    """It is the pod's own state, which is newer than any event."""
    image: str = ""


@dataclass(frozen=True, slots=True)
class PodSeen:
    """One pod with what its state says of pulls."""

    key: str
    node: str = ""
    images: tuple[str, ...] = ()
    failing_images: tuple[str, ...] = ()
    words: tuple[Words, ...] = ()
    failing: bool = False
    running: bool = False
    """Every container runs, is ready or has ended well: its images were there."""
    pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    created: float | None = None
    pulled: bool | None = None
    """An event says that the image came from the registry (True) or was there already (False)."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Failing pods with their words, the healthy ones that share an image or node with them, and loose events."""

    failing: tuple[PodSeen, ...] = ()
    healthy: tuple[PodSeen, ...] = ()
    loose: tuple[tuple[str, Words], ...] = ()
    """Events of pods that no list shows: (pod name or "", words)."""
    complete: bool = False
    """A whole list of pods was read."""
    total: int = 0
    unreadable: tuple[str, ...] = ()
    attempts: tuple[tuple[str, str, float | None, bool], ...] = ()
    """Pulls in order: (node, image, time, succeeded)."""


def items_of(material: Material, *paths: str) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Objects of several documents, lists opened; second the paths that are not JSON."""
    found: list[Mapping[str, Any]] = []
    bad: list[str] = []
    for path in paths:
        try:
            document = material.json(path)
        except (ValueError, RecursionError):
            bad.append(path)
            continue
        members = document.get("items") if isinstance(document, dict) and "items" in document else document
        members = members if isinstance(members, list) else [members]
        found.extend(member for member in members if isinstance(member, dict))
    return found, bad


def read_cluster(material: Material, now: float) -> Cluster:
    """Everything that pods and events say of pulls. Never raises; odd members are passed over."""
    raw_pods, bad = items_of(material, "pods.json", "pod.json")
    events, bad_events = items_of(material, "events.json")
    listed = material.text("pods.json") is not None and "pods.json" not in bad
    pods: dict[str, tuple[PodSeen, Mapping[str, Any]]] = {}
    total = 0
    for raw in raw_pods:
        if raw.get("kind", "Pod") != "Pod" or not _mapping(raw.get("spec")):
            continue
        total += 1
        seen = _pod(raw)
        pods[seen.key] = (seen, raw)
    silent = _silent_nodes(material)
    for key, (pod, raw) in pods.items():
        if pod.node in silent and _unseen(raw):
            words = Words(silent[pod.node], "NodeNotReady", status=True, image=pod.images[0] if pod.images else "")
            pods[key] = (replace(pod, words=(words,), failing=True, failing_images=pod.images[:1]), raw)
    uids = {key: str(_mapping(raw.get("metadata")).get("uid") or "") for key, (_, raw) in pods.items()}
    by_pod, loose = _events(events, uids, listed=listed)
    failing: dict[str, PodSeen] = {}
    for key, (pod, _) in pods.items():
        merged = _with_events(pod, by_pod.get(key, ()), now)
        if merged.failing:
            failing[key] = merged
    images = {image for pod in failing.values() for image in pod.failing_images}
    nodes = {pod.node for pod in failing.values()}
    healthy = [
        _came_from(pod, by_pod.get(pod.key, ()))
        for pod, _ in pods.values()
        if pod.running
        and pod.key not in failing
        and (not failing or not images.isdisjoint(pod.images) or pod.node in nodes)
    ]
    attempts = _attempts(pods, by_pod)
    if pods and not listed and loose:
        # Events around one pod: those of other pods may be of pods that are long gone.
        repositories = {parse_image(image).name for image in images}
        loose = [
            (name, words)
            for name, words in loose
            if not name or (words.image and parse_image(words.image).name in repositories)
        ]
    return Cluster(
        tuple(failing.values()),
        tuple(healthy[:5000]),
        tuple(loose),
        listed,
        total,
        (*bad, *bad_events),
        tuple(attempts),
    )


def _silent_nodes(material: Material) -> dict[str, str]:
    """Nodes whose kubelet does not report, with what the API says of them: pods there wait without a word of their own."""
    found: dict[str, str] = {}
    for node in items_of(material, "nodes.json")[0]:
        for condition in _list(_mapping(node.get("status")).get("conditions")):
            if isinstance(condition, dict) and condition.get("type") == "Ready" and condition.get("status") != "True":
                name = str(_mapping(node.get("metadata")).get("name") or "")
                found[name] = (
                    f"node {name} is not ready: {condition.get('message') or condition.get('reason') or ''}".strip()
                )
    return found


def _unseen(raw: Mapping[str, Any]) -> bool:
    """Scheduled, and no kubelet has said anything of it."""
    status = _mapping(raw.get("status"))
    return status.get("phase") == "Pending" and not _list(status.get("containerStatuses"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _pod(raw: Mapping[str, Any]) -> PodSeen:
    meta, spec, status = _mapping(raw.get("metadata")), _mapping(raw.get("spec")), _mapping(raw.get("status"))
    key = f"{meta.get('namespace') or 'default'}/{meta.get('name') or '?'}"
    specs = {
        str(item.get("name")): str(item.get("image") or "")
        for part in ("initContainers", "containers", "ephemeralContainers")
        for item in _list(spec.get(part))
        if isinstance(item, dict)
    }
    words: list[Words] = []
    bad_images: dict[str, None] = {}
    phase = str(status.get("phase") or "")
    well = phase in ("Running", "Succeeded")
    statuses = [
        item
        for part in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for item in _list(status.get(part))
        if isinstance(item, dict)
    ]
    for item in statuses:
        image = specs.get(str(item.get("name")), "") or str(item.get("image") or "")
        state = _mapping(item.get("state"))
        waiting = _mapping(state.get("waiting"))
        told = _waiting(waiting, image) or _ended(item, image)
        if told is not None:
            words.append(told)
            bad_images[image] = None
        if not state.get("running") and _mapping(state.get("terminated")).get("exitCode") not in (0,):
            well = well and bool(item.get("ready") or item.get("started"))
    created = read_time(str(meta.get("creationTimestamp") or ""))
    return PodSeen(
        key=key,
        node=str(spec.get("nodeName") or ""),
        images=tuple(dict.fromkeys(specs.values())),
        failing_images=tuple(image for image in bad_images if image),
        words=tuple(words),
        failing=bool(words),
        running=well and bool(statuses) and not words,
        pull_secrets=tuple(
            str(item.get("name")) for item in _list(spec.get("imagePullSecrets")) if isinstance(item, dict)
        ),
        service_account=str(spec.get("serviceAccountName") or spec.get("serviceAccount") or ""),
        created=created,
    )


def _waiting(waiting: Mapping[str, Any], image: str) -> Words | None:
    """A waiting state that tells of a pull: by its reason, or because the reason itself is the error's text."""
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if not reason:
        return None
    if reason in PULL_REASONS:
        return Words(message or reason, reason, status=True, image=image)
    if reason in _OTHER_REASONS:
        return None
    told = message or reason
    if symptoms_in(read_tags(told, Around("pull"))) - {"unclassified"}:
        return Words(told, reason, status=True, image=image)
    return None


def _ended(item: Mapping[str, Any], image: str) -> Words | None:
    """A container that cannot start because its image is for another platform."""
    for state in (_mapping(item.get("state")), _mapping(item.get("lastState"))):
        message = str(_mapping(state.get("terminated")).get("message") or "")
        if "exec format error" in message:
            return Words(message, "CrashLoopBackOff", status=True, image=image)
    return None


def _events(
    events: Iterable[Mapping[str, Any]], known: Mapping[str, str], *, listed: bool
) -> tuple[dict[str, list[Words]], list[tuple[str, Words]]]:
    """Events of known pods (key to uid) by pod, and those of pods that are not in the material.

    Events outlive their pod: those of an earlier pod of the same name are left out.
    """
    keys = set(known)
    single = next(iter(keys)) if len(keys) == 1 and not listed else ""
    by_pod: dict[str, list[Words]] = {}
    loose: list[tuple[str, Words]] = []
    for event in events:
        reason = str(event.get("reason") or "")
        involved = _mapping(event.get("involvedObject")) or _mapping(event.get("regarding"))
        if reason not in _EVENT_REASONS or involved.get("kind", "Pod") != "Pod":
            continue
        words = _event_words(event, reason)
        if words is None:
            continue
        name = str(involved.get("name") or "")
        key = f"{involved.get('namespace') or _mapping(event.get('metadata')).get('namespace') or 'default'}/{name}"
        if key not in keys and single and (not name or single.endswith("/" + name)):
            key = single
        uid = str(involved.get("uid") or "")
        if key in keys and uid and known[key] and uid != known[key]:
            continue
        if key in keys:
            by_pod.setdefault(key, []).append(words)
        elif not listed and reason not in ("Pulling", "Pulled"):
            loose.append((key if name else "", words))
    return by_pod, loose


def _event_words(event: Mapping[str, Any], reason: str) -> Words | None:
    message = str(event.get("message") or event.get("note") or "")
    series = _mapping(event.get("series")) or _mapping(event.get("deprecated"))
    last = (
        event.get("lastTimestamp")
        or series.get("lastObservedTime")
        or event.get("deprecatedLastTimestamp")
        or event.get("eventTime")
        or event.get("firstTimestamp")
    )
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp") or event.get("eventTime")
    count = event.get("count") or series.get("count") or event.get("deprecatedCount") or 1
    found = _PULL_IMAGE.search(message)
    return Words(
        message, reason, read_time(str(last or "")), read_time(str(first or "")), int(count) if isinstance(count, int) else 1,
        image=found.group(1) if found else "",
    )  # fmt: skip


def _with_events(pod: PodSeen, events: Iterable[Words], now: float) -> PodSeen:
    """A pod with the events that still count; those of a pod that runs do not."""
    if pod.running:
        return pod
    kept = [words for words in events if _counts(words, pod)]
    stalled = None if kept or pod.words else _stalled(list(events), now)
    words = [*pod.words, *kept, *([stalled] if stalled else [])]
    telling = [item for item in words if not _BARE.match(item.message)]
    if not telling:
        return pod if not words else replace(pod, words=tuple(words[:1]), failing=True)
    images = pod.failing_images or tuple(dict.fromkeys(item.image for item in telling if item.image)) or pod.images[:1]
    return replace(pod, words=tuple(telling), failing=True, failing_images=images)


def _counts(words: Words, pod: PodSeen) -> bool:
    """Whether an event tells of a failing pull of this pod."""
    if words.reason in ("Pulling", "Pulled"):
        return False
    if words.reason == "BackOff":
        return "pulling image" in words.message
    if words.reason == "FailedToRetrieveImagePullSecret":
        return True
    around = Around("pull", pull_secrets=frozenset(pod.pull_secrets))
    symptoms = symptoms_in(read_tags(words.message, around))
    if words.reason == "FailedCreatePodSandBox":
        return bool(symptoms & {"sandbox-image", "image-service-missing"})
    if (
        words.message.startswith(("Failed to pull image", "Error: ErrImagePull", "Error: ImagePullBackOff"))
        or pod.failing
    ):
        return True
    own = symptoms & {
        "secret-unparsable",
        "secret-not-retrieved",
        "never-pull",
        "reference-refused",
        "platform",
        "image-service-missing",
    }
    return bool(own)


def _stalled(events: list[Words], now: float) -> Words | None:
    """A `Pulling` that neither ended nor failed for longer than any healthy start takes."""
    pulling = [words for words in events if words.reason == "Pulling" and words.time is not None]
    if not pulling or not now:
        return None
    last = max(pulling, key=lambda words: words.time or 0.0)
    ended = any((words.time or 0.0) >= (last.time or 0.0) for words in events if words.reason in ("Pulled", "Failed"))
    if ended or now - (last.time or now) < STALLED_AFTER:
        return None
    return Words(last.message, "Pulling", last.time, last.first, 1, image=last.image)


def _came_from(pod: PodSeen, events: Iterable[Words]) -> PodSeen:
    told = [words.message for words in events if words.reason == "Pulled"]
    if not told:
        return pod
    return replace(pod, pulled=any("Successfully pulled" in message for message in told))


def _attempts(
    pods: Mapping[str, tuple[PodSeen, Mapping[str, Any]]], by_pod: Mapping[str, list[Words]]
) -> Iterator[tuple[str, str, float | None, bool]]:
    """Ends of pulls that events tell of, in the order of time; a repeated event stands for its first and last time."""
    ends: list[tuple[str, str, float | None, bool]] = []
    for key, events in by_pod.items():
        pod = pods[key][0]
        for words in events:
            image = words.image or (pod.images[0] if len(pod.images) == 1 else "")
            if words.reason == "Pulled" and "Successfully pulled" in words.message:
                ends.append((pod.node, image, words.time, True))
            elif words.reason == "Failed" and words.message.startswith("Failed to pull image"):
                ends.extend((pod.node, image, time, False) for time in [words.first, *[words.time] * (words.count - 1)])
    yield from sorted(ends, key=lambda end: end[2] or 0.0)


def parse_json(text: str) -> Any:
    """The value, or None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

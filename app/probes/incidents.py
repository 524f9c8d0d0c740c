"""From material to incidents: what fails, folded by registry, layer and meaning (design sections 3 and 5).

A bundle is one incident unless its texts name different images or actions. A live list of pods is folded by registry,
layer and meaning; the image counts only where the fault lies with it (not found, platform, content, policy).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from app.model.case import Incident
from app.model.evidence import Value
from app.model.material import Material
from app.parsers.image_ref import hub_name, parse_image
from app.parsers.redact import redact
from app.parsers.signatures import Around
from app.parsers.texts import Blob, TextReading, meaning_of, read_blob
from app.parsers.texts_split import Attempt, without_colours
from app.probes.accounts import account_of, arch_of
from app.probes.hosts_known import is_proxied, mirrors_for
from app.probes.pods import PodSeen
from app.probes.seen import Seen, Sighting, case_time, look

__all__ = ["case_time", "find_incidents", "sightings_of"]

_DENIED: Final = frozenset(
    [
        "no-credential-sent",
        "credential-refused",
        "docker-access-denied",
        "harbor-unauthorized-pull",
        "harbor-unauthorized-push",
        "harbor-unauthorized-late",
        "login-refused",
        "token-refused",
        "proxy-project-401",
    ]
)
_OF_IMAGE: Final = frozenset(
    [
        "reference-refused",
        "never-pull",
        "not-found",
        "not-found-in-proxy-project",
        "policy-412",
        "platform",
        "media-type",
        "digest-mismatch",
        "content-missing",
        "short-body",
        "harbor-says-why",
    ]
)
BINARY: Final = "(binary data)"
"""Stands for what was pasted and is no text."""
_MOST_UNPRINTABLE: Final = 0.1
_WEAK: Final = frozenset({"back-off-only", "unclassified"})
Found = tuple[Incident, dict[str, Value]]
Key = tuple[str, ...]


def find_incidents(
    material: Material, *, text: str | None = None, push: str | None = None, image: str | None = None
) -> list[Found]:
    """Incidents with the case's variables; at least one, also of empty material. Linear in the number of pods.

    `text` is what an operator pasted, `push` the image whose push fails, `image` the image asked about.
    """
    seen = look(material)
    if text is not None:
        return [_pasted(material, seen, text, push, image)]
    asked = push or image or ""
    bundle = bool(asked) or not _live(material, seen)
    groups = _bundle_groups(seen, asked) if bundle else _live_groups(seen)
    if not groups:
        groups = [[]]
    many = len(groups) > 1
    found = [_incident(material, seen, group, push=push, asked=asked, many=many) for group in groups]
    return sorted(found, key=lambda item: -len(item[0].pods))


def variables_again(material: Material, incident: Incident) -> dict[str, Value]:
    """The case's variables by what is known now: an account, for one, shows only once the pull secret was read."""
    group = [sighting for _, sighting in sightings_of(material, incident)]
    return _variables(material, look(material), incident, group)


def sightings_of(material: Material, incident: Incident) -> list[tuple[int, Sighting]]:
    """The sightings behind an incident's texts with their numbers (from 1); a pasted text is read again."""
    numbers = {text: index for index, text in enumerate(incident.texts, start=1)}
    by_meaning = {meaning_of(text): index for text, index in numbers.items()}
    found: list[tuple[int, Sighting]] = []
    for sighting in look(material).sightings:
        index = numbers.get(sighting.text) or by_meaning.get(meaning_of(sighting.text))
        if index is not None and (not incident.pods or not sighting.pod or sighting.pod in incident.pods):
            found.append((index, sighting))
    have = {index for index, _ in found}
    for text, index in numbers.items():
        if index not in have:
            blob = read_blob(text, _around_of(incident), fallback=True)
            found.extend((index, Sighting(reading, "pasted", image=reading.image)) for reading in blob.readings[:1])
    return sorted(found, key=lambda item: item[0])


def _around_of(incident: Incident) -> Around:
    return Around(action=incident.action, image_host=incident.registry or "")


def _live(material: Material, seen: Seen) -> bool:
    """A list of pods without a bundle's own description and without texts that somebody saw."""
    return material.text("pods.json") is not None and not seen.bundle.present and not seen.blobs


# --- grouping -------------------------------------------------------------------------------------------------------


def _bundle_groups(seen: Seen, asked: str) -> list[list[Sighting]]:
    items = list(seen.sightings)
    if asked or seen.bundle.image or not items:
        return [items]
    groups: dict[tuple[str, str], list[Sighting]] = {}
    loose: list[Sighting] = []
    for item in items:
        repository = _repository(item.image)
        action = seen.bundle.action or item.reading.action
        if not repository:
            loose.append(item)
        else:
            groups.setdefault((repository, "push" if action == "push" else "pull"), []).append(item)
    if not groups:
        return [loose]
    merged: dict[tuple[str, str, frozenset[str]], list[Sighting]] = {}
    for (repository, action), members in groups.items():
        registry = parse_image(repository).normalised_host
        merged.setdefault((registry, action, _symptoms(members)), []).extend(members)
    ordered = sorted(merged.values(), key=len, reverse=True)
    # A text that names no image joins what fails by the same action, else the largest group.
    for item in loose:
        wanted = item.reading.action
        fitting = [group for group in ordered if wanted in ("push", "pull") and group[0].reading.action == wanted]
        (fitting or ordered)[0].append(item)
    return ordered


def _live_groups(seen: Seen) -> list[list[Sighting]]:
    by_pod: dict[str, list[Sighting]] = {}
    for item in seen.sightings:
        by_pod.setdefault(item.pod, []).append(item)
    groups: dict[Key, list[Sighting]] = {}
    silent: list[tuple[Sighting, list[Sighting]]] = []
    for members in by_pod.values():
        leading = _leading(members)
        if "back-off-only" in leading.reading.tags:
            silent.append((leading, members))
        else:
            groups.setdefault(_meaning(leading), []).extend(members)
    pods = {pod.key: pod for pod in seen.cluster.failing}
    ties = _ties(pods, groups)
    for leading, members in silent:
        groups.setdefault(_home(leading, pods, ties) or _meaning(leading), []).extend(members)
    return list(groups.values())


def _ties(pods: Mapping[str, PodSeen], groups: Mapping[Key, Sequence[Sighting]]) -> dict[Key, set[Key]]:
    """What ties a pod to one of which a text tells → the groups of such texts. A refusal follows the credential, not the node."""
    found: dict[Key, set[Key]] = {}
    for meaning, members in groups.items():
        for item in members:
            for tie in _ties_of(item, pods):
                if tie[0] != "node" or "denied" not in meaning:
                    found.setdefault(tie, set()).add(meaning)
    return found


def _home(item: Sighting, pods: Mapping[str, PodSeen], ties: Mapping[Key, set[Key]]) -> Key | None:
    """The group that a pod without words belongs to; None where nothing, or more than one thing, speaks for it."""
    for tie in _ties_of(item, pods):
        meanings = ties.get(tie)
        if meanings:
            return next(iter(meanings)) if len(meanings) == 1 else None
    return None


def _ties_of(item: Sighting, pods: Mapping[str, PodSeen]) -> Iterator[Key]:
    """Its image on its node, then its image with its namespace's secrets."""
    pod = pods.get(item.pod)
    if pod is None or not item.image:
        return
    image = parse_image(item.image).reference
    if item.node:
        yield ("node", image, item.node)
    yield ("secrets", image, item.pod.partition("/")[0], *sorted(pod.pull_secrets))


def _leading(members: Sequence[Sighting]) -> Sighting:
    """What a pod's newest telling word is: its own state before events, a cause before a back-off."""
    return max(
        members,
        key=lambda item: (
            not _WEAK & set(item.reading.tags),
            item.reading.symptoms != {"secret-not-retrieved"},
            item.path == "pods.json",
            item.reading.time or 0.0,
        ),
    )


def _meaning(item: Sighting) -> Key:
    reference = parse_image(item.image)
    symptoms = item.reading.symptoms
    families = frozenset("denied" if name in _DENIED else name for name in symptoms)
    place = (
        reference.name
        if symptoms & (_OF_IMAGE | _WEAK)
        else reference.project or reference.path
        if "denied" in families
        else ""
    )
    return (reference.normalised_host, item.reading.action or "", *sorted(families), place)


def _symptoms(members: Iterable[Sighting]) -> frozenset[str]:
    return frozenset(name for item in members for name in item.reading.symptoms)


def _repository(image: str) -> str:
    reference = parse_image(image)
    return reference.name if image and reference.path else ""


# --- one incident ---------------------------------------------------------------------------------------------------


def _incident(
    material: Material, seen: Seen, group: Sequence[Sighting], *, push: str | None, asked: str, many: bool
) -> Found:
    bundle = seen.bundle
    failing = {pod.key: pod for pod in seen.cluster.failing}
    pods = tuple(dict.fromkeys(item.pod for item in group if item.pod))
    image = asked or bundle.image or _most(item.image for item in group) or ("" if group else _only_image(seen))
    action = "push" if push else bundle.action or _action(group, seen)
    registry = _registry(image, group, seen)
    nodes = tuple(sorted({item.node for item in group if item.node}))
    telling = [item for item in group if "back-off-only" not in item.reading.tags] or group
    texts, since = _texts(telling), _since(group, [failing[key] for key in pods if key in failing])
    succeeded = not group and _succeeded(seen, push=bool(push))
    name = (
        "incident"
        if not many
        else " ".join(part for part in (action or "", registry, *sorted(_symptoms(telling))) if part)
    )
    if many:
        name = f"{name} {image}"
    incident = Incident(
        id=name,
        image=image or None,
        registry=registry or None,
        action=action,
        texts=texts,
        pods=pods,
        nodes=nodes,
        healthy_nodes=_healthy_nodes(seen, image, nodes),
        since=since,
        succeeded=succeeded,
    )
    return incident, _variables(material, seen, incident, group)


def _pasted(material: Material, seen: Seen, text: str, push: str | None, image: str | None) -> Found:
    """An incident of a pasted text; the command that stood above a message stays with it."""
    if is_binary(text):
        text = BINARY
    asked = push or image or seen.bundle.image
    host = parse_image(asked).normalised_host if asked else ""
    action = "push" if push else seen.bundle.action
    blob = read_blob(text, Around(action=action, image_host=host, proxied=bool(asked) and is_proxied(asked, seen.proxied)), fallback=True)  # fmt: skip
    group = [Sighting(reading, "pasted", image=reading.image) for reading in blob.readings]
    pasted = replace(
        seen, blobs=(("pasted", blob), *seen.blobs), bundle=replace(seen.bundle, action=action, image=asked)
    )
    incident, variables = _incident(material, pasted, group, push=push, asked=asked, many=False)
    texts = tuple(dict.fromkeys(_with_head(item.reading) for item in group))
    good = bool(blob.succeeded) and not group
    return replace(
        incident, texts=texts or ((redact(text).strip(),) if text.strip() and not good else ()), succeeded=good
    ), variables


def _with_head(reading: TextReading) -> str:
    """A message with what of the lines above it still tells when it is read again: the command, a sign that an upload had begun."""
    head = [reading.command] if reading.command and reading.command not in reading.message else []
    return redact("\n".join([*head, *([reading.upload] if reading.upload else []), reading.message])).strip()


def is_binary(text: str) -> bool:
    """Whether so much of it cannot be printed that it is no text of anybody's; colours of a terminal do not count."""
    plain = without_colours(text)
    odd = sum(not (sign.isprintable() or sign.isspace()) or sign == "\N{REPLACEMENT CHARACTER}" for sign in plain)
    return odd > len(plain) * _MOST_UNPRINTABLE


def _texts(group: Sequence[Sighting]) -> tuple[str, ...]:
    """Distinct texts by meaning, the telling ones first, in the order of their appearance."""
    kept: dict[tuple[str, str], str] = {}
    for item in sorted(group, key=lambda item: bool(_WEAK & set(item.reading.tags))):
        kept.setdefault((meaning_of(item.reading.message), item.reading.action or ""), item.text)
    return tuple(dict.fromkeys(text for text in kept.values() if text))[:40]


def _since(group: Sequence[Sighting], pods: Sequence[PodSeen]) -> float | None:
    times = [time for item in group if (time := item.first or item.reading.time) is not None]
    if not times:
        times = [pod.created for pod in pods if pod.created is not None]
    return min(times, default=None)


def _most(values: Iterable[str]) -> str:
    counted = Counter(value for value in values if value)
    return counted.most_common(1)[0][0] if counted else ""


def _only_image(seen: Seen) -> str:
    """Of material in which nothing fails: the image that the one pod, or the one command, was about."""
    images = {image for pod in seen.cluster.healthy for image in pod.images}
    images.update(attempt.image for attempt in seen.attempts if attempt.image and attempt.action != "login")
    return images.pop() if len(images) == 1 else ""


def _action(group: Sequence[Sighting], seen: Seen) -> str | None:
    counted = Counter(item.reading.action for item in group if item.reading.action in ("pull", "push"))
    if counted:
        return counted.most_common(1)[0][0]
    if any(item.pod for item in group):
        return "pull"
    if any(item.reading.action == "login" for item in group):
        return "login"
    actions = {attempt.action for attempt in seen.attempts if attempt.action}
    return actions.pop() if len(actions) == 1 else None


def _registry(image: str, group: Sequence[Sighting], seen: Seen) -> str:
    if image:
        return parse_image(image).normalised_host
    hosts = Counter(
        host for attempt in seen.attempts if attempt.action == "login" and (host := attempt.image.partition("/")[0])
    )
    if hosts:
        return hub_name(hosts.most_common(1)[0][0])
    for item in group:
        outer = [url.host for url in item.reading.urls if url.path_kind != "token"]
        if outer or (item.reading.url.host and item.reading.url.path_kind != "token"):
            return outer[0] if outer else item.reading.url.host
    return ""


def _healthy_nodes(seen: Seen, image: str, failing: Sequence[str]) -> tuple[str, ...]:
    """Nodes on which a pod with the same image runs while it fails on others."""
    wanted = parse_image(image).name if image else ""
    nodes = {
        pod.node
        for pod in seen.cluster.healthy
        if pod.node and any(parse_image(own).name == wanted for own in pod.images)
    }
    return tuple(sorted(nodes - set(failing))) if failing else ()


def _succeeded(seen: Seen, *, push: bool) -> bool:
    """Nothing fails, and something was seen to work or the whole list of pods was read. Pods say nothing of a push."""
    blobs: list[Blob] = [blob for _, blob in seen.blobs]
    worked = [attempt for blob in blobs for attempt in blob.attempts if attempt.succeeded]
    silent = [attempt for blob in blobs for attempt in blob.attempts if _open_ended(attempt)]
    if push:
        return bool(worked) and not silent
    pods = bool(seen.cluster.healthy) or (seen.cluster.complete and not seen.cluster.unreadable)
    logged = any(good for *_, good in seen.log_attempts[-1:])
    return (bool(worked) and not silent) or pods or (logged and not seen.cluster.total and not blobs)


def _open_ended(attempt: Attempt) -> bool:
    """A pull, push or login that was typed and shows no end."""
    return bool(attempt.action) and not attempt.succeeded and not attempt.failures


def _variables(material: Material, seen: Seen, incident: Incident, group: Sequence[Sighting]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    reference = parse_image(incident.image) if incident.image else None
    host = reference.normalised_host if reference else incident.registry or ""
    if host:
        found["image.host"] = host
    contacted = (
        next((item.reading.url.host for item in group if item.reading.url.host and item.reading.classified), "") or host
    )
    if contacted:
        found["contacted.host"] = contacted
    mirror = _mirror(material, host, incident.nodes or tuple(material.nodes()), group)
    if mirror:
        found["mirror.host"] = mirror
    if incident.action:
        found["action"] = incident.action
    account = account_of(material, seen, incident, group)
    if account:
        found["account"] = account
    arch = arch_of(material, incident.nodes)
    if arch:
        found["node.arch"] = arch
    project = reference.project if reference and reference.ok else ""
    if project and incident.action in ("pull", "push"):
        found["project.action"] = f"{project}:{incident.action}"
    return found


def _mirror(material: Material, host: str, nodes: Sequence[str], group: Sequence[Sighting]) -> str:
    for item in group:
        url = item.reading.url
        if url.namespace and url.host:
            return url.host
    known = {name for node in nodes for name in mirrors_for(material, node, host)} if host else set()
    return known.pop() if len(known) == 1 else ""

"""Probes on pull secrets: those the pod lists, their logins, and what lies around them (MODES.md 2, 3.2).

Facts of one secret stand at `workload/… secret/…`, counts over the pod's whole list at the workload, with the list as roster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from typing import Final

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Document, Material
from app.model.target import INCIDENT, Target
from app.parsers.dockerconfig import LoginEntry
from app.parsers.kube_objects import Objects, created, event_time, events_for, mapping, objects_of, owned_field
from app.parsers.redact import redact
from app.probes.base import KubeGet, Probe, Scene, Want
from app.probes.kube_events import is_try
from app.probes.secret_facts import (
    ABSENT,
    SecretSeen,
    lists_everywhere,
    lists_namespace,
    manager_of,
    name_damaged,
    read_secret,
    robot_names,
    robots_in_secrets,
    state_of,
)
from app.probes.workloads import Workload, find_secret, folder, secret_document, unseen, workloads

_PULL_TYPES: Final = ("dockerconfigjson", "dockercfg")


def _target(workload: Workload, name: str) -> Target:
    return Target.of(workload=workload.id, secret=f"{workload.namespace}/{name}")


def _states(material: Material, scene: Scene) -> Iterator[tuple[Workload, str, SecretSeen | str | None]]:
    objects = objects_of(material)
    for workload in workloads(material, scene):
        for name in workload.listed or ():
            yield workload, name, state_of(material, objects, workload, name)


# --- wants --------------------------------------------------------------------------------------------------------


def _read_wants(material: Material, scene: Scene) -> Iterable[Want]:
    """Each listed secret by name: `get` on one name is the smallest right there is."""
    objects = objects_of(material)
    asked: set[tuple[str, str]] = set()
    for workload in workloads(material, scene):
        account = objects.get("ServiceAccount", workload.namespace, workload.account)
        from_account = tuple(
            str(item.get("name") or "")
            for item in (account or {}).get("imagePullSecrets") or ()
            if isinstance(item, dict)
        )
        for name in (*(workload.listed or ()), *from_account):
            place = (workload.namespace, name)
            if not name or place in asked or find_secret(objects, *place) is not None:
                continue
            asked.add(place)
            document = secret_document(workload.namespace, workload.name, name)
            if material.get(document) is None:
                yield KubeGet(f"/api/v1/namespaces/{workload.namespace}/secrets/{name}", document)


def _around_wants(material: Material, scene: Scene) -> Iterable[Want]:
    """Lists, and only where the pod's own secrets do not fit: of the two types that a kubelet reads, never of all."""
    objects = objects_of(material)
    listed: set[str] = set()
    for workload in workloads(material, scene):
        states = [(name, state_of(material, objects, workload, name)) for name in workload.listed or ()]
        if any(isinstance(state, SecretSeen) and state.used_for(workload.image) for _, state in states):
            continue
        base = folder(workload.namespace, workload.name)
        if workload.namespace not in listed and not lists_namespace(objects, workload.namespace, typed=True):
            listed.add(workload.namespace)
            for kind in _PULL_TYPES:
                yield KubeGet(
                    f"/api/v1/namespaces/{workload.namespace}/secrets",
                    f"{base}/secrets-{kind}.json",
                    {"fieldSelector": f"type=kubernetes.io/{kind}"},
                )
        for name, state in states:
            if state == ABSENT and not lists_everywhere(objects, name) and name not in listed:
                listed.add(name)
                yield KubeGet(
                    "/api/v1/secrets", f"{base}/secrets-named-{name}.json", {"fieldSelector": f"metadata.name={name}"}
                )


# --- secret.read --------------------------------------------------------------------------------------------------


def _read(material: Material, scene: Scene) -> Iterable[Evidence]:
    objects = objects_of(material)
    for broken in objects.broken:
        if "secret" in broken.path.rsplit("/", 1)[-1].lower() or "/secret/" in broken.path:
            yield Evidence(
                "secret.read", INCIDENT, scene.vantage, Outcome.UNPARSABLE, detail=f"{broken.path}: {broken.where}"
            )
    counted: dict[str, list[SecretSeen | str | None]] = {}
    found = workloads(material, scene)
    for workload, name, state in _states(material, scene):
        counted.setdefault(workload.id, []).append(state)
        yield from _one(material, scene, workload, name, state)
    for workload in found:
        if workload.listed is None:
            continue
        states = counted.get(workload.id, [])
        count = _match_count(states, workload.image)
        if count is None:
            continue
        names = workload.listed
        yield Evidence(
            "secret.read",
            workload.target,
            scene.vantage,
            facts={"secret.match_count": count},
            roster={"secret": tuple(f"{workload.namespace}/{name}" for name in names)},
            excerpt=f"the pod lists {', '.join(names) or 'no secret'}; logins that fit {workload.image}: {count}",
            command=f"kubectl get pod {workload.name} -n {workload.namespace} -o json",
        )
    if not found:
        yield from _loose(objects, scene, _object_facts, "secret.read")


def _one(
    material: Material, scene: Scene, workload: Workload, name: str, state: SecretSeen | str | None
) -> Iterator[Evidence]:
    target = _target(workload, name)
    command = f"kubectl get secret {name} -n {workload.namespace} -o json"
    document = _document(material, workload, name)
    if isinstance(state, SecretSeen):
        yield Evidence(
            "secret.read",
            target,
            scene.vantage,
            facts=_object_facts(state, workload.image),
            excerpt=_excerpt(state),
            detail=state.problem if state.kind != "other" else "",
            taken_at=document.taken_at if document else None,
            command=(document.source if document else "") or command,
        )
    elif state == ABSENT:
        yield Evidence(
            "secret.read",
            target,
            scene.vantage,
            facts={"secret.exists": False},
            excerpt=f"no Secret {name} in namespace {workload.namespace}",
            taken_at=document.taken_at if document else None,
            command=(document.source if document else "") or command,
        )
    elif document is not None and document.outcome is not Outcome.OBSERVED:
        yield unseen(
            "secret.read", target, document, scene,
            cost="Without it nobody can tell whether the pull secret is there, fits the image and holds a login; only the runtime's words remain.",
            grant=f"a Role in namespace {workload.namespace}: verb get on secrets with resourceNames [{name}].",
            by_hand=f"{command} > secret.json",
        )  # fmt: skip


def _document(material: Material, workload: Workload, name: str) -> Document | None:
    objects = objects_of(material)
    path = objects.path_of("Secret", workload.namespace, name) or objects.path_of("Secret", "", name)
    return material.get(path or secret_document(workload.namespace, workload.name, name))


def _object_facts(seen: SecretSeen, image: str) -> dict[str, Value]:
    facts: dict[str, Value] = {"secret.exists": True}
    if seen.kind:
        facts["secret.type"] = seen.kind
    if seen.config is not None:
        facts["secret.layout"] = seen.config.layout
        facts["secret.server_keys"] = seen.config.server_keys
    elif seen.no_key:
        facts["secret.layout"] = "no-key"
    used = seen.used_for(image)
    if used is not None:
        facts["secret.matches"] = bool(used)
    miss = seen.near_miss(image)
    if miss is not None:
        facts["secret.near_miss"] = miss
    return facts


def _excerpt(seen: SecretSeen) -> str:
    lines = [f"type: {seen.item.get('type') or '(not shown)'}"]
    if seen.masked:
        lines.append("data: masked before we saw it")
    if seen.config is not None:
        lines.append(f"layout: {seen.config.layout}{f' ({seen.config.json_error})' if seen.config.json_error else ''}")
        lines.append(f"servers: {', '.join(seen.config.server_keys) or '(none)'}")
    return redact("\n".join(lines))


def _match_count(states: list[SecretSeen | str | None], image: str) -> int | None:
    """Different logins that the kubelet would try for the image; None while one listed secret is unknown."""
    logins: set[object] = set()
    for state in states:
        if state is None:
            return None
        if isinstance(state, SecretSeen):
            used = state.used_for(image)
            if used is None:
                return None
            logins.update(
                (state.id, entry.server_key) if entry.server_key in state.hidden else entry.exact for entry in used
            )
    return len(logins)


def _loose(objects: Objects, scene: Scene, facts_of: object, probe: str) -> Iterator[Evidence]:
    """Secrets in a bundle without a pod: what they are is known, who uses them is not."""
    image = scene.incident.image or ""
    for namespace, name, item in objects.all("Secret"):
        seen = read_secret(namespace or "default", item)
        if seen.kind == "other" and seen.config is None:
            continue
        facts = facts_of(seen, image) if callable(facts_of) else {}
        if facts:
            yield Evidence(
                probe,
                Target.of(secret=seen.id),
                scene.vantage,
                facts=facts,
                excerpt=_excerpt(seen),
                command=f"kubectl get secret {name} -n {seen.namespace} -o json",
            )


# --- secret.login -------------------------------------------------------------------------------------------------


def _login(material: Material, scene: Scene) -> Iterable[Evidence]:
    prefix, robots = robot_names(material, scene)
    used = robots_in_secrets(material)

    def facts_of(seen: SecretSeen, image: str) -> dict[str, Value]:
        return _login_facts(seen, image, prefix, robots, used)

    for workload, name, state in _states(material, scene):
        if isinstance(state, SecretSeen):
            facts = facts_of(state, workload.image)
            if facts:
                yield Evidence(
                    "secret.login",
                    _target(workload, name),
                    scene.vantage,
                    facts=facts,
                    excerpt=_login_excerpt(facts),
                    command=f"kubectl get secret {name} -n {workload.namespace} -o json",
                )
    if not workloads(material, scene):
        yield from _loose(objects_of(material), scene, facts_of, "secret.login")


def _login_facts(
    seen: SecretSeen, image: str, prefix: str | None, robots: tuple[str, ...], used: tuple[str, ...]
) -> dict[str, Value]:
    config = seen.config
    if config is None:
        return {}
    facts: dict[str, Value] = {}
    errors = [
        entry.parse_error for entry in config.entries if entry.parse_error and entry.server_key not in seen.hidden
    ]
    # The kubelet decodes only what it reads; a document of another type or layout it passes over in silence.
    if not config.read_by_kubelet:
        facts["secret.parse_error"] = ""
    elif errors or not seen.hidden:
        facts["secret.parse_error"] = errors[0] if errors else ""
    entries = seen.relevant(image)
    shown = [entry for entry in entries if entry.server_key not in seen.hidden and not entry.parse_error]
    if len(shown) < len(entries):
        facts.update(_half_hidden(entries))
        return facts
    if not entries:
        if config.read_by_kubelet and not config.entries:
            facts["secret.has_login"] = False
        return facts
    facts["secret.has_login"] = any(entry.has_login for entry in shown)
    facts["secret.edge_space"] = any(entry.edge_space for entry in shown)
    facts["secret.auth_differs"] = any(entry.auth_differs for entry in shown)
    names = sorted({entry.username for entry in shown if entry.username})
    if len(names) == 1:
        facts["secret.username"] = names[0].strip()
    damaged = [name_damaged(name.strip(), prefix, robots, used) for name in names]
    if any(damaged):
        facts["secret.name_damaged"] = True
    elif damaged and None not in damaged:
        facts["secret.name_damaged"] = False
    return facts


def _half_hidden(entries: tuple[LoginEntry, ...]) -> dict[str, Value]:
    """A masked or broken `auth` beside a readable name."""
    names = {entry.field_username or entry.username for entry in entries}
    names.discard("")
    return {"secret.username": names.pop()} if len(names) == 1 else {}


def _login_excerpt(facts: dict[str, Value]) -> str:
    words = [f"user: {facts['secret.username']}"] if facts.get("secret.username") else []
    if facts.get("secret.parse_error"):
        words.append(f"does not decode: {facts['secret.parse_error']}")
    if facts.get("secret.has_login") is False:
        words.append("no login in it")
    if facts.get("secret.edge_space"):
        words.append("white space at the edge of the name or password")
    if facts.get("secret.auth_differs"):
        words.append("`auth` and the fields beside it differ")
    if facts.get("secret.name_damaged"):
        words.append("the robot's name lost a part")
    return redact("; ".join(words))


# --- secret.around ------------------------------------------------------------------------------------------------


def _around(material: Material, scene: Scene) -> Iterable[Evidence]:
    objects = objects_of(material)
    for workload, name, state in _states(material, scene):
        facts: dict[str, Value] = {}
        if isinstance(state, SecretSeen):
            facts["secret.manager"] = manager_of(state.item)
            changed = _changed(objects, workload, state)
            if changed is not None:
                facts["secret.changed"] = changed
        others = sorted(
            ns for ns, other, _ in objects.all("Secret") if other == name and ns not in ("", workload.namespace)
        )
        if others:
            facts["secret.elsewhere"] = True
        elif lists_everywhere(objects, name):
            facts["secret.elsewhere"] = False
        if facts:
            yield Evidence(
                "secret.around",
                _target(workload, name),
                scene.vantage,
                facts=facts,
                excerpt=f"managed by: {facts.get('secret.manager', 'unknown')}"
                + (f"; same name in: {', '.join(others)}" if others else ""),
                command=f"kubectl get secrets -A --field-selector metadata.name={name}",
            )
    seen = [record for workload in workloads(material, scene) for record in _unused(objects, scene, workload)]
    yield from seen
    yield from _refused_lists(material, scene, {record.target for record in seen})


def _refused_lists(material: Material, scene: Scene, known: set[Target]) -> Iterator[Evidence]:
    """Lists that we may not read, where nothing else tells."""
    for document in material:
        if (
            document.outcome is Outcome.OBSERVED
            or not document.path.startswith("workloads/")
            or "/secrets-" not in document.path
        ):
            continue
        _, namespace, pod, name = document.path.split("/", 3)
        wanted = name.removeprefix("secrets-named-").removesuffix(".json") if name.startswith("secrets-named-") else ""
        target = Target.of(workload=f"{namespace}/{pod}", secret=f"{namespace}/{wanted}" if wanted else None)
        if target in known:
            continue
        known.add(target)
        yield unseen(
            "secret.around", target, document, scene,
            cost="Without it a secret of the same name elsewhere is not seen." if wanted else "Without it a fitting secret that nobody lists is not seen.",
            grant="a ClusterRole with verb list on secrets." if wanted else f"a Role in namespace {namespace}: verb list on secrets.",
            by_hand=f"kubectl get secrets -A --field-selector metadata.name={wanted} -o json > secrets.json" if wanted else f"kubectl get secrets -n {namespace} -o json > secrets.json",
        )  # fmt: skip


def _unused(objects: Objects, scene: Scene, workload: Workload) -> Iterator[Evidence]:
    """Whether a secret of the namespace that the pod does not list would fit."""
    if not workload.image or workload.listed is None:
        return
    fitting, hidden = [], False
    for namespace, name, item in objects.all("Secret"):
        if namespace not in ("", workload.namespace) or name in workload.listed:
            continue
        seen = read_secret(workload.namespace, item)
        used = seen.used_for(workload.image)
        if used is None:
            hidden = hidden or seen.kind in _PULL_TYPES
        elif any(entry.has_login or entry.server_key in seen.hidden for entry in used):
            fitting.append(name)
    if not fitting and (hidden or not lists_namespace(objects, workload.namespace, typed=True)):
        return
    present = {name for namespace, name, _ in objects.all("Secret") if namespace in ("", workload.namespace)}
    missing = [name for name in workload.listed if name not in present]
    yield Evidence(
        "secret.around",
        workload.target,
        scene.vantage,
        facts={
            "secret.unused_match": bool(fitting),
            "secret.near_name": any(_near_name(own, other) for own in missing for other in fitting),
        },
        excerpt=f"unlisted secrets that fit: {', '.join(fitting) or '(none)'}",
        command=f"kubectl get secrets -n {workload.namespace} --field-selector type=kubernetes.io/dockerconfigjson",
    )


def _near_name(listed: str, other: str) -> bool:
    """One is the other mistyped, cut or lengthened by a word: then it was most likely meant."""
    short, long = sorted((listed.lower(), other.lower()), key=len)
    if long.startswith((f"{short}-", f"{short}.")) or long.endswith((f"-{short}", f".{short}")):
        return True
    return SequenceMatcher(None, short, long).ratio() >= 0.84


def _changed(objects: Objects, workload: Workload, seen: SecretSeen) -> float | None:
    """When its data were last written. Without managedFields the creation counts only where it alone decides:

    a secret that is younger than the last attempt was certainly changed after it.
    """
    for name in ("data", "stringData"):
        written = owned_field(seen.item, name)
        if written is not None:
            return written
    if mapping(seen.item.get("metadata")).get("managedFields"):
        return None
    made = created(seen.item)
    tries = [
        time
        for event in events_for(objects, workload.namespace, workload.name, workload.uid)
        if is_try(event) and (time := event_time(event)) is not None
    ]
    return made if made is not None and tries and made > max(tries) else None


PROBES: tuple[Probe, ...] = (
    Probe(
        "secret.read",
        (
            "secret.exists", "secret.type", "secret.layout", "secret.matches", "secret.match_count", "secret.near_miss",
            "secret.server_keys",
        ),
        _read,
        _read_wants,
    ),
    Probe(
        "secret.login",
        (
            "secret.parse_error", "secret.has_login", "secret.username", "secret.name_damaged", "secret.edge_space",
            "secret.auth_differs",
        ),
        _login,
    ),
    Probe("secret.around", ("secret.elsewhere", "secret.unused_match", "secret.near_name", "secret.changed", "secret.manager"), _around, _around_wants),
)  # fmt: skip

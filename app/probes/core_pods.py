"""`core.pods` and `core.exec`: the core pods, what they run with, and hashes of the keys inside them.

Names and mounts: harbor-and-kubernetes.md A.5, A.6. Equal file hashes prove equal keys; unequal ones are a hint, since
line ends do not change a key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.core_log_tags import key_form
from app.parsers.harbor_config import at, read_values
from app.probes.base import Scene
from app.probes.core_logs_read import read_core_log
from app.probes.core_roster import core_objects, core_pods, hashed_pods, is_ready, key_hashes, pod_name, replica_set_of
from app.probes.harbor_common import HarborSide
from app.probes.harbor_place import POD_LISTS, component_of, items
from app.probes.harbor_secrets import kid_of_pem, login_fits, secret_values

DEPLOYMENTS: Final = "harbor/deployments.json"
CONFIG_MAPS: Final = "harbor/configmaps.json"


def read_pods(material: Material, scene: Scene) -> Iterable[Evidence]:
    """How many are ready, whether they are being replaced, what owns them, and what each runs with."""
    side = HarborSide(material, scene)
    objects = core_objects(material)
    facts: dict[str, Value] = {}
    roster = core_pods(material)
    rosters: Mapping[str, tuple[str, ...]] = {"core-pod": roster} if roster else {}
    if objects:
        facts["core.ready"] = sum(1 for pod in objects if is_ready(pod))
        for pod in objects:
            digest = _digest(pod)
            if digest and is_ready(pod):
                yield side.evidence(
                    "core.pods",
                    {"core.config_digest": digest},
                    target=side.target.joined(Target.of(core_pod=pod_name(pod))),
                    roster=rosters,
                    documents=POD_LISTS,
                )
    rolling = _rolling(material, objects)
    if rolling is not None:
        facts["core.rolling"] = rolling
    pinned = _pinned(material)
    if pinned is not None:
        facts["core.key_pinned"] = pinned
    owner = _owner(material, objects)
    if owner:
        facts["core.owner"] = owner
    facts.update(_settings(material))
    kid = _secret_kid(material)
    if kid:
        facts["core.secret_kid"] = kid
    if facts:
        names = ", ".join(pod_name(pod) for pod in objects or ()) or ", ".join(hashed_pods(material))
        shown = f"core pods: {names}" if names else ""
        yield side.evidence("core.pods", facts, roster=rosters, excerpt=shown, documents=POD_LISTS)
        return
    for path in ("harbor/pods.json", "harbor/core-pods.json"):
        document = material.get(path)
        if document is not None and document.outcome is not Outcome.OBSERVED:
            yield side.evidence(
                "core.pods", {}, outcome=document.outcome,
                detail=f"{document.detail}; how many core pods there are, and whether they differ, stays unknown",
                by_hand="kubectl get pods -n <namespace> -l component=core -o json > core-pods.json",
            )  # fmt: skip
            return


def _rolling(material: Material, objects: list[dict[str, Any]] | None) -> bool | None:
    """A rollout is on: pods of two templates, pods going or coming, or a Deployment that says so.

    From names alone only the calm can be told: pods of one ReplicaSet share one template.
    """
    deployment = next(
        (one for one in items(material, DEPLOYMENTS) if component_of(one) == "core" or _named_core(one)), None
    )
    if deployment is not None:
        status, spec = deployment.get("status") or {}, deployment.get("spec") or {}
        wanted = spec.get("replicas", 1)
        if at(status, "observedGeneration") is not None and status["observedGeneration"] < (
            at(deployment, "metadata", "generation") or 0
        ):
            return True
        if status.get("updatedReplicas", 0) != wanted or status.get("replicas", 0) != wanted:
            return True
    if objects:
        if any(at(pod, "metadata", "deletionTimestamp") for pod in objects):
            return True
        templates = {
            str(at(pod, "metadata", "labels", "pod-template-hash") or replica_set_of(pod_name(pod))) for pod in objects
        }
        if len(templates) > 1:
            return True
        if templates != {""} or deployment is not None:
            return False
    if deployment is not None:
        return False
    sets = {replica_set_of(name) for name in hashed_pods(material)}
    return False if len(sets) == 1 and "" not in sets and len(hashed_pods(material)) > 1 else None


def _named_core(deployment: Mapping[str, Any]) -> bool:
    name = str(at(deployment, "metadata", "name") or "")
    return name.endswith("-core") and "harbor" in name


def _template(material: Material, component: str) -> Mapping[str, Any]:
    for deployment in items(material, DEPLOYMENTS):
        if component_of(deployment) == component or (component == "core" and _named_core(deployment)):
            spec = at(deployment, "spec", "template", "spec")
            return spec if isinstance(spec, dict) else {}
    if component == "core":
        for pod in core_objects(material) or ():
            spec = pod.get("spec")
            return spec if isinstance(spec, dict) else {}
    return {}


def _container(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    containers = [one for one in spec.get("containers") or [] if isinstance(one, dict)]
    return next((one for one in containers if one.get("name") == name), containers[0] if len(containers) == 1 else {})


def _digest(pod: Mapping[str, Any]) -> str:
    """Digest of what a pod runs with: image, environment (values and where they come from) and the checksums of its template."""
    container = _container(pod.get("spec") or {}, "core")
    if not container:
        return ""
    annotations = at(pod, "metadata", "annotations") or {}
    statuses = at(pod, "status", "containerStatuses") or []
    image = next(
        (one.get("imageID") for one in statuses if isinstance(one, dict) and one.get("name") == container.get("name")),
        "",
    )
    # The downward API gives every pod values of its own.
    env = [
        one
        for one in container.get("env") or []
        if isinstance(one, dict) and "fieldRef" not in str(one.get("valueFrom"))
    ]
    seen = {
        "image": image or container.get("image"),
        "env": env,
        "envFrom": container.get("envFrom"),
        "checksums": {key: value for key, value in annotations.items() if str(key).startswith("checksum/")},
    }
    return hashlib.sha256(json.dumps(seen, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _key_secret(material: Material) -> str:
    """Name of the Secret that core mounts the token key from."""
    spec = _template(material, "core")
    mounts = [one for one in _container(spec, "core").get("volumeMounts") or [] if isinstance(one, dict)]
    names = {str(one.get("name")) for one in mounts if str(one.get("mountPath", "")).endswith("private_key.pem")}
    for volume in spec.get("volumes") or []:
        if isinstance(volume, dict) and volume.get("name") in names:
            return str(at(volume, "secret", "secretName") or "")
    return ""


def _pinned(material: Material) -> bool | None:
    """The token key is given. A Secret of another name than the chart's own is not rendered by it."""
    text = material.text("harbor/values.yaml")
    if text:
        try:
            pinned = read_values(text).key_pinned
        except ValueError:
            pinned = None
        if pinned is not None:
            return pinned
    name = _key_secret(material)
    return True if name and not name.endswith("-core") else None


def _owner(material: Material, objects: list[dict[str, Any]] | None) -> str:
    """What renders core's Deployment, the outermost first: argo, flux, operator, helm; compose for the installer."""
    things = [
        *(one for one in items(material, DEPLOYMENTS) if component_of(one) == "core" or _named_core(one)),
        *(objects or ()),
    ]
    marks = {
        "argo": r"argocd\.argoproj\.io/",
        "flux": r"toolkit\.fluxcd\.io/",
        "operator": r"harbor-operator|HarborCluster|goharbor\.io/",
    }
    seen = [
        json.dumps(
            [at(one, "metadata", "labels"), at(one, "metadata", "annotations"), at(one, "metadata", "ownerReferences")],
            default=str,
        )
        for one in things
    ]
    for owner, pattern in marks.items():
        if any(re.search(pattern, text) for text in seen):
            return owner
    for one in things:
        labels = at(one, "metadata", "labels") or {}
        if labels.get("heritage") == "Helm" or labels.get("app.kubernetes.io/managed-by") == "Helm":
            return "helm"
    if not things and (material.text("harbor/harbor.yml") or material.text("harbor/harbor.cfg")):
        return "compose"
    return ""


def _settings(material: Material) -> dict[str, Value]:
    """`CORE_LOCAL_URL` of the ConfigMap, and whether core and jobservice name one source for their shared secret."""
    facts: dict[str, Value] = {}
    for config in items(material, CONFIG_MAPS):
        url = at(config, "data", "CORE_LOCAL_URL")
        if url:
            facts["core.local_loopback"] = re.search(r"//(?:127\.|localhost|\[::1\])", str(url)) is not None
    core, job = _digest_of(material, "core", "core-secret"), _digest_of(material, "jobservice", "core-secret")
    if core and job:
        facts["core.job_secret_differs"] = not (core & job)
    return facts


def _digest_of(material: Material, component: str, what: str) -> set[str]:
    """Digests that `printenv-sha256` gave in the pods of a component."""
    found = set()
    for document in material.glob(f"harbor/exec/*-{what}.txt"):
        pod = document.path.removeprefix("harbor/exec/").removesuffix(f"-{what}.txt")
        digest = _sha256(document.text)
        if f"-{component}-" in f"-{pod}-" and digest:
            found.add(digest)
    return found


def _sha256(text: str) -> str:
    found = re.search(r"\b[0-9a-f]{64}\b", text.lower())
    return found.group() if found else ""


def _secret_kid(material: Material) -> str:
    name = _key_secret(material)
    for secret_name, values in secret_values(material).items():
        if "tls.key" in values and (secret_name == name or (not name and secret_name.endswith("-core"))):
            return kid_of_pem(values["tls.key"])
    return ""


# --- hashes inside the pods ---------------------------------------------------------------------------------------


def read_exec(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Hash and form of the token key file, hash and length of the secretKey, fit of core's registry login; by pod."""
    side = HarborSide(material, scene)
    roster = core_pods(material)
    rosters: Mapping[str, tuple[str, ...]] = {"core-pod": roster} if roster else {}
    try:
        hashes = key_hashes(material)
    except ValueError as error:
        yield side.evidence("core.exec", {}, outcome=Outcome.UNPARSABLE, detail=f"harbor/core-keys.json: {error}")
        hashes = {}
    found: dict[str, dict[str, Value]] = {pod: {"core.key_hash": digest} for pod, digest in hashes.items()}
    for pod, facts in _executed(material):
        found.setdefault(pod, {}).update(facts)
    for pod, form in _forms(side):
        found.setdefault(pod, {}).setdefault("core.key_form", form)
    _forms_by_secret(material, found)
    for pod, fits in login_fits(material, list(found)):
        found.setdefault(pod, {})["core.registry_login_ok"] = fits
    for pod, facts in sorted(found.items()):
        if facts:
            target = side.target.joined(Target.of(core_pod=pod)) if pod else side.target
            yield side.evidence(
                "core.exec", facts, target=target, roster=rosters,
                excerpt="\n".join(f"{key}: {value}" for key, value in sorted(facts.items())),
                documents=[one.path for one in material.below(f"harbor/exec/{pod}-")],
                command=f"kubectl exec {pod} -c core -- sha256sum /etc/core/private_key.pem" if pod else "",
            )  # fmt: skip
    yield from _refused(side)


def _executed(material: Material) -> Iterator[tuple[str, dict[str, Value]]]:
    """Documents of our execs: `harbor/exec/<pod>-key.txt`, `-secretkey.txt`, `-key-stat.txt`, `-secretkey-stat.txt`."""
    for document in material.glob("harbor/exec/*.txt"):
        name = document.path.removeprefix("harbor/exec/").removesuffix(".txt")
        digest = _sha256(document.text)
        if name.endswith("-secretkey") and digest:
            yield name.removesuffix("-secretkey"), {"core.secretkey_hash": digest}
        elif name.endswith("-secretkey-stat"):
            size = re.search(r"Size: (\d+)", document.text) or re.fullmatch(r"\s*(\d+)(?:\s.*)?", document.text)
            if size:
                yield name.removesuffix("-secretkey-stat"), {"core.secretkey_len": int(size[1])}
        elif name.endswith("-key"):
            if digest:
                yield name.removesuffix("-key"), {"core.key_hash": digest}
            elif "No such file or directory" in document.text:
                yield name.removesuffix("-key"), {"core.key_form": "missing"}
            elif "Is a directory" in document.text or "read error" in document.text.lower():
                yield name.removesuffix("-key"), {"core.key_form": "directory"}


def _forms(side: HarborSide) -> Iterator[tuple[str, str]]:
    """Form of the key file by what core said of it."""
    log = read_core_log(side)
    for line in log.lines if log is not None else ():
        form = key_form(line.text)
        if form:
            yield line.pod, form


def _forms_by_secret(material: Material, found: dict[str, dict[str, Value]]) -> None:
    """Form of a pod's key where its file is, by digest, the key of a Secret that was read."""
    heads = {
        b"-----BEGIN RSA PRIVATE KEY-----": "pkcs1",
        b"-----BEGIN PRIVATE KEY-----": "pkcs8",
        b"-----BEGIN EC PRIVATE KEY-----": "ec",
    }
    forms = {
        hashlib.sha256(values["tls.key"]).hexdigest(): form
        for values in secret_values(material).values()
        if "tls.key" in values
        for head, form in heads.items()
        if values["tls.key"].lstrip().startswith(head)
    }
    for facts in found.values():
        form = forms.get(str(facts.get("core.key_hash")))
        if form:
            facts.setdefault("core.key_form", form)


def _refused(side: HarborSide) -> Iterator[Evidence]:
    for document in side.material:
        if document.path.startswith("harbor/exec/") and document.outcome is Outcome.DENIED:
            yield side.evidence(
                "core.exec", {}, target=side.target, outcome=Outcome.DENIED,
                detail=f"{document.detail}; the key files of the core pods cannot be compared by hash",
                by_hand="kubectl exec -n <namespace> <pod> -c core -- sha256sum /etc/core/private_key.pem",
            )  # fmt: skip
            return

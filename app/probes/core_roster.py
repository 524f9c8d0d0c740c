"""Which core pods there are, and how sure that is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from app.model.material import Material
from app.parsers.core_log import parse_lines
from app.parsers.harbor_config import at
from app.parsers.nginx_conf import NginxSyntaxError, parse_nginx, upload_routes
from app.probes.harbor_place import POD_LISTS, component_of, items


def core_objects(material: Material) -> list[dict[str, Any]] | None:
    """Pods of core; None where no list of pods was read."""
    for path in POD_LISTS:
        if material.text(path) is None:
            continue
        found = items(material, path)
        cores = [pod for pod in found if component_of(pod) == "core"]
        if path == "harbor/core-pods.json" and not cores:
            cores = [pod for pod in found if pod.get("kind") in (None, "Pod")]
        if cores or found:
            return cores
    return None


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Ready, and not on its way out."""
    if at(pod, "metadata", "deletionTimestamp"):
        return False
    conditions = at(pod, "status", "conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, Mapping) and condition.get("type") == "Ready":
            return condition.get("status") == "True"
    return False


def core_version(material: Material) -> str:
    """Harbor's release by the tag of core's image, where all core pods run the same; empty where that does not tell."""
    found = {
        match[1]
        for pod in core_objects(material) or ()
        for container in at(pod, "spec", "containers") or ()
        if isinstance(container, Mapping)
        and (match := re.search(r"harbor-core(?:-\w+)?:v?(\d+\.\d+\.\d+)", str(container.get("image") or "")))
    }
    return found.pop() if len(found) == 1 else ""


def pod_name(pod: Mapping[str, Any]) -> str:
    return str(at(pod, "metadata", "name") or "")


def key_hashes(material: Material) -> dict[str, str]:
    """`harbor/core-keys.json`: pod to digest of its token key file. Raises ValueError where it is not such a mapping."""
    text = material.text("harbor/core-keys.json")
    if not text or not text.strip():
        return {}
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a mapping of pods to digests")
    return {
        str(pod): str(digest).strip().lower()
        for pod, digest in value.items()
        if isinstance(digest, str) and digest.strip()
    }


def hashed_pods(material: Material) -> tuple[str, ...]:
    """Pods of `core-keys.json`, () where it cannot be read."""
    try:
        return tuple(sorted(key_hashes(material)))
    except ValueError:
        return ()


def logged_pods(material: Material) -> frozenset[str]:
    """Pods whose prefix stands in the collected log."""
    return frozenset(line.pod for line in parse_lines(material.text("harbor/core.log") or "") if line.pod)


def front_backends(material: Material) -> int:
    """How many cores the front's own nginx sends `/v2/` or `/service/` to; 0 where that is not known."""
    text = material.text("harbor/nginx.conf")
    if not text:
        return 0
    try:
        root = parse_nginx(text)
    except NginxSyntaxError:
        return 0
    http = next((block for block in root.blocks if block.name == "http"), root)
    for block in http.blocks:
        if block.name == "upstream" and block.arguments and "core" in block.arguments[0]:
            return len([words for words in block.values("server") if words and "down" not in words])
    routes = [route for route in upload_routes(root) if route.backends]
    return len(routes[0].backends) if routes else 0


def core_pods(material: Material) -> tuple[str, ...] | None:
    """Every ready core pod; None where no two sources agree that these are all.

    The API's list of pods is enough. The pods of `core-keys.json` count as all when the front's configuration has as
    many backends, or the log was collected from exactly the same pods.
    """
    objects = core_objects(material)
    if objects is not None:
        return tuple(sorted(pod_name(pod) for pod in objects if is_ready(pod)))
    hashed = hashed_pods(material)
    if hashed and (front_backends(material) == len(hashed) or logged_pods(material) == frozenset(hashed)):
        return hashed
    return None


def log_names(material: Material) -> frozenset[str]:
    """Names under which a core pod's own log may stand below `harbor/logs/`."""
    objects = core_objects(material)
    known = {pod_name(pod) for pod in objects or ()} | set(hashed_pods(material))
    for document in material:
        name = document.path.removeprefix("harbor/logs/").removesuffix(".log")
        if document.path == f"harbor/logs/{name}.log" and re.search(r"(?:^|-)core(?:-|$)", name):
            known.add(name)
    return frozenset(known)


def replica_set_of(name: str) -> str:
    """`harbor-core-6d8f9c7b5d` of a pod of a Deployment; empty for other names."""
    found = re.fullmatch(r"(.+-[bcdfghjklmnpqrstvwxz2456789]{6,10})-[bcdfghjklmnpqrstvwxz2456789]{5}", name)
    return found[1] if found else ""

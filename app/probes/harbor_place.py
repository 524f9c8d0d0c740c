"""Where Harbor runs, how many of it stand behind a name, and from where to ask it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from app.model.material import Material
from app.parsers.harbor_config import at
from app.parsers.split_url import urlsplit
from app.probes.base import HarborPlace, Scene

POD_LISTS: Final = ("harbor/core-pods.json", "harbor/pods.json", "cluster/pods.json")
INGRESS_LISTS: Final = ("harbor/ingress.json", "harbor/ingresses.json", "cluster/ingresses.json")
SERVICE_LISTS: Final = ("harbor/services.json", "cluster/services.json")


def items(material: Material, path: str) -> list[dict[str, Any]]:
    """Objects of a kube list, a bare list or a single object; empty where it is not there or not JSON."""
    text = material.text(path)
    if not text:
        return []
    try:
        value = json.loads(text)
    except ValueError:
        return []
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        value = value["items"]
    rows = value if isinstance(value, list) else [value]
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("metadata"), dict)]


def component_of(thing: Mapping[str, Any]) -> str:
    """`core`, `registry`, … of a pod or Deployment of Harbor's charts (harbor-and-kubernetes.md A.6); empty for others."""
    labels = at(thing, "metadata", "labels")
    if not isinstance(labels, Mapping):
        return ""
    component = str(labels.get("component") or labels.get("app.kubernetes.io/component") or "")
    harbor = (
        labels.get("app") == "harbor"
        or "harbor" in str(labels.get("app.kubernetes.io/name") or "")
        or labels.get("app.kubernetes.io/part-of") == "harbor"
        or "harbor" in str(labels.get("chart") or labels.get("helm.sh/chart") or "")
        or any(
            "harbor" in str(container.get("image") or "")
            for container in at(thing, "spec", "containers") or []
            if isinstance(container, dict)
        )
    )
    return component if harbor else ""


def locate_harbor(material: Material, image_host: str) -> HarborPlace | None:
    """The namespace whose ingress or service answers to the image's host, or the only one that holds core pods.

    None where nothing is known, or several could be meant.
    """
    host = image_host.split(":", 1)[0].lower()
    for path in INGRESS_LISTS:
        for ingress in items(material, path):
            if host in _hosts(ingress) and _leads_to_core(ingress):
                return HarborPlace(namespace=str(at(ingress, "metadata", "namespace") or ""), kube=True)
    for path in SERVICE_LISTS:
        for service in items(material, path):
            component = str(
                at(service, "metadata", "labels", "component") or at(service, "spec", "selector", "component") or ""
            )
            if host in _addresses(service) and component in ("core", "nginx"):
                return HarborPlace(namespace=str(at(service, "metadata", "namespace") or ""), kube=True)
    for path in (*POD_LISTS, *SERVICE_LISTS):
        found = {
            str(at(thing, "metadata", "namespace") or "")
            for thing in items(material, path)
            if component_of(thing) == "core" or _is_core_service(thing)
        }
        if len(found) == 1:
            return HarborPlace(namespace=found.pop(), kube=True)
    return None


def _hosts(ingress: Mapping[str, Any]) -> set[str]:
    rules = at(ingress, "spec", "rules") or []
    return {str(rule.get("host") or "").lower() for rule in rules if isinstance(rule, dict)}


def _backends(ingress: Mapping[str, Any], host: str = "") -> dict[str, str]:
    """Path to service name, of the rules of a host."""
    found = {}
    for rule in at(ingress, "spec", "rules") or []:
        if not isinstance(rule, dict) or (host and str(rule.get("host") or "").lower() not in ("", host)):
            continue
        for path in at(rule, "http", "paths") or []:
            name = at(path, "backend", "service", "name") or at(path, "backend", "serviceName")
            if name:
                found[str(path.get("path") or "/")] = str(name)
    return found


def _leads_to_core(ingress: Mapping[str, Any]) -> bool:
    labels = at(ingress, "metadata", "labels") or {}
    return any("core" in name for name in _backends(ingress).values()) or "harbor" in str(labels).lower()


def _is_core_service(service: Mapping[str, Any]) -> bool:
    return bool(
        at(service, "spec", "selector", "component") == "core" and at(service, "spec", "selector", "app") == "harbor"
    )


def _addresses(service: Mapping[str, Any]) -> set[str]:
    spec = service.get("spec") if isinstance(service.get("spec"), dict) else {}
    found = {str(name) for name in (at(spec, "externalIPs") or [])} | {str(at(spec, "loadBalancerIP") or "")}
    for entry in at(service, "status", "loadBalancer", "ingress") or []:
        if isinstance(entry, dict):
            found |= {str(entry.get("ip") or ""), str(entry.get("hostname") or "").lower()}
    return found - {""}


def instances(material: Material, scene: Scene) -> int | None:
    """Harbors behind the image's name, as its ingress routes it; None where no ingress tells.

    Counted by the services that `/v2/` and `/service/` lead to: one service is one Harbor. Load balancers that spread
    over clusters cannot be seen here, so the count is only given for an ingress of the very host.
    """
    host = (scene.incident.registry or "").split(":", 1)[0].lower()
    services: set[tuple[str, str]] = set()
    for path in INGRESS_LISTS:
        for ingress in items(material, path):
            if not host or host not in _hosts(ingress):
                continue
            namespace = str(at(ingress, "metadata", "namespace") or "")
            services |= {
                (namespace, name)
                for path_, name in _backends(ingress, host).items()
                if path_.startswith(("/v2", "/service"))
            }
    return len(services) or None


def best_vantage(material: Material, scene: Scene) -> str:
    """From where to ask the registry: the operator, or a node where only nodes were seen to reach it."""
    return answered_vantage(material, scene) or "operator"


def answered_vantage(material: Material, scene: Scene) -> str:
    """The operator's own vantage, else the first node's, to which the registry's host gave an HTTP answer; empty for none."""
    host = (scene.incident.registry or "").split(":", 1)[0].lower()
    if _reaches(material, "registry/exchanges.json", host):
        return "operator"
    for node in material.nodes():
        if _reaches(material, f"nodes/{node}/exchanges.json", host):
            return f"node/{node}"
    return ""


def _reaches(material: Material, path: str, host: str) -> bool | None:
    """Whether exchanges with a host got an HTTP answer; None where there was none."""
    text = material.text(path)
    try:
        rows = json.loads(text) if text else []
    except ValueError:
        return None
    mine = [
        row
        for row in rows
        # `tls` is a look at the certificate by address: the name itself may be unknown there.
        if isinstance(row, dict)
        and row.get("purpose") != "tls"
        and (urlsplit(str(row.get("url") or "")).hostname or "") == host
    ]
    if not mine:
        return None
    return any(isinstance(row.get("status"), int) for row in mine)

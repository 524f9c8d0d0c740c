"""`proxy.log` and `ingress.read`: what stands before Harbor, by its access log and its configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Material
from app.parsers.core_log import parse_lines
from app.parsers.harbor_config import at
from app.parsers.nginx_conf import UPLOAD, NginxSyntaxError, access_lines, parse_nginx, upload_redirected, upload_routes
from app.probes.base import Scene
from app.probes.harbor_common import MARGIN, HarborSide
from app.probes.harbor_place import INGRESS_LISTS, items

ACCESS_LOGS: Final = (
    "harbor/proxy.log",
    "harbor/nginx.log",
    "harbor/access.log",
    "registry/access.log",
    "registry/proxy.log",
)


def read_proxy_log(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Whether an upload request was answered by a redirect. False only where uploads were seen and none was."""
    side = HarborSide(material, scene)
    seen = []
    paths = []
    for path in ACCESS_LOGS:
        text = material.text(path)
        if not text:
            continue
        failure = side.failure
        for access in access_lines(iter(list(parse_lines(text)))):
            if failure and access.stamp is not None and not failure[0] - MARGIN <= access.stamp <= failure[1] + MARGIN:
                continue
            if UPLOAD.search(access.path):
                seen.append(access)
        paths.append(path)
    if not seen:
        return
    redirected = upload_redirected(seen)
    shown = [one for one in seen if one.status in (301, 302, 307, 308)] or seen
    yield side.evidence(
        "proxy.log",
        {"upload.redirect_seen": redirected},
        excerpt="\n".join(f"{one.method} {one.path} {one.status}" for one in shown[:5]),
        command=", ".join(paths),
    )


def read_ingress(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Read timeout, and whether the layer that ends TLS tells the next one so."""
    side = HarborSide(material, scene)
    facts: dict[str, Value] = {}
    excerpt: list[str] = []
    text = material.text("harbor/nginx.conf")
    if text and text.strip():
        try:
            routes = upload_routes(parse_nginx(text))
        except NginxSyntaxError as error:
            yield side.evidence("ingress.read", {}, outcome=Outcome.UNPARSABLE, detail=f"harbor/nginx.conf: {error}")
            routes = []
        protos = {route.sends_proto for route in routes}
        if routes:
            facts["ingress.timeout"] = min(route.read_timeout for route in routes)
            excerpt.append(f"nginx.conf: /v2/ proxy_read_timeout {facts['ingress.timeout']} s")
        if len(protos) == 1 and None not in protos:
            facts["ingress.sends_proto"] = bool(protos.pop())
            excerpt.append(f"nginx.conf: X-Forwarded-Proto for /v2/: {facts['ingress.sends_proto']}")
    host = (scene.incident.registry or "").split(":", 1)[0].lower()
    for path in INGRESS_LISTS:
        for ingress in items(material, path):
            rules = at(ingress, "spec", "rules") or []
            hosts = {str(rule.get("host") or "").lower() for rule in rules if isinstance(rule, dict)} - {""}
            annotations = at(ingress, "metadata", "annotations")
            if (hosts and host and host not in hosts) or not isinstance(annotations, dict):
                continue
            timeout = annotations.get("nginx.ingress.kubernetes.io/proxy-read-timeout")
            if timeout is not None and str(timeout).isdigit() and "ingress.timeout" not in facts:
                facts["ingress.timeout"] = float(str(timeout))
                excerpt.append(f"{path}: proxy-read-timeout {timeout}")
    if facts:
        yield side.evidence("ingress.read", facts, excerpt="\n".join(excerpt))

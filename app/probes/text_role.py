"""Which part the host of a failing URL plays, and whether a login went with the request (MODES 2, `text.role`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.model.material import Material
from app.parsers.dockerconfig import normalise_repository
from app.parsers.image_ref import HUB, hub_name, parse_image, same_host
from app.parsers.texts import TextReading, same_place
from app.probes.accounts import client_configs
from app.probes.base import Scene
from app.probes.hosts_known import mirrors_for
from app.probes.runtime_files import NodeFiles
from app.probes.runtime_inputs import node_logins, plugin_images, pull_secrets
from app.probes.runtime_setup import node_setup
from app.probes.seen import Seen, Sighting
from app.pullplan.containerd import Host, choose
from app.pullplan.inputs import PlanInputs
from app.pullplan.kubelet import choose_credential
from app.pullplan.plan import rewrite_applies, rewritten
from app.pullplan.settings import effective

_RUNTIMES = (None, "containerd", "kubelet")
_NEXT_HOST = re.compile(
    r'msg="?(?:trying next host - response was http\.StatusNotFound|trying next host after status: 404)'
)
_PROXY_TAGS = frozenset({"proxyconnect", "proxy-auth-required", "connect-refused"})


@dataclass(frozen=True, slots=True)
class NodeView:
    """What one node's settings say of one image."""

    hosts: tuple[Host, ...] = ()
    known: bool = False
    """The files that decide were read."""
    credential: str | None = None
    """`none, pull-secret, kubelet-file, plugin`; None where what decides was not read."""
    first_said_404: bool = False
    """The runtime's log shows a 404 of an earlier host in the last attempt."""


def view_of(material: Material, scene: Scene, node: str) -> NodeView:
    """The plan's choice of hosts and login for a node; empty for a node of which nothing was read."""
    image = scene.incident.image or ""
    if not image:
        return NodeView()
    files = NodeFiles(material, node)
    setup = node_setup(files)
    namespace = normalise_repository(image).partition("/")[0]
    path, logins = node_logins(files)
    inputs = PlanInputs(image, setup, pull_secrets(material, scene, node), logins, path, plugin_images(files))
    credential = choose_credential(inputs).kind
    if node not in material.nodes():
        return NodeView(credential=credential if credential == "pull-secret" else None)
    choice = choose(setup, effective(setup), namespace)
    return NodeView(choice.hosts, choice.known, credential, _earlier_404(material, node))


def _earlier_404(material: Material, node: str) -> bool:
    text = material.text(f"nodes/{node}/containerd.log") or ""
    at = max(
        (found.start() for found in re.finditer(r'msg="PullImage \\?"[^"\\]+\\?""?(?!\S* failed)', text)), default=-1
    )
    return at >= 0 and _NEXT_HOST.search(text, at) is not None


def role_of(material: Material, scene: Scene, sighting: Sighting, view: NodeView) -> str | None:
    """`image, mirror, fallback, realm, storage, proxy`; None where the text and the settings do not tell."""
    reading, url = sighting.reading, sighting.reading.url
    if _PROXY_TAGS & set(reading.tags):
        return "proxy"
    own = own_host(scene, sighting)
    if url.path_kind == "token":
        same = bool(own) and same_host(own, url.host, url.scheme) and url.scheme in ("", _scheme(reading))
        return "image" if same else "realm"
    mirrors = _mirrors(material, scene, sighting, own)
    if not url.host:
        return "image" if own and not mirrors and not _others(view, own) else None
    if url.namespace and not same_host(url.namespace, url.host, url.scheme):
        return "mirror"
    if "blob-host-fails" in reading.tags and (
        url.signed or (own and not same_place(reading, own) and url.host not in mirrors)
    ):
        return "storage"
    planned = _planned(reading, view)
    if planned:
        return planned
    if own and same_place(reading, own):
        # Settings that put another host first leave open whether this one came in its own right or as the last.
        return "image" if not mirrors or (view.known and not _others(view, own)) else None
    if url.host in mirrors:
        return "mirror"
    if own and url.path_kind == "manifest" and reading.client in ("containerd", "crio", "kubelet"):
        return "mirror"
    if own == HUB and reading.client == "docker" and url.path_kind in ("manifest", "ping"):
        return "mirror"
    if not own:
        return "image" if len({item.host for item in reading.urls if item.host} | {url.host}) == 1 else None
    return None


def _planned(reading: TextReading, view: NodeView) -> str:
    """The role that the node's plan gives to the URL's host, where it is one of the plan's."""
    if not view.known or reading.client not in _RUNTIMES:
        return ""
    url = reading.url
    roles = [host.role for host in view.hosts if _is_host(host, url.host, url.scheme)]
    if not roles:
        return ""
    if len(set(roles)) > 1:
        return roles[-1] if view.first_said_404 and "not-found" not in reading.tags else roles[0]
    if view.first_said_404 and len(roles) > 1 and "not-found" not in reading.tags:
        return "fallback"
    return "mirror" if roles[0] == "embedded" else roles[0]


def _is_host(host: Host, name: str, scheme: str) -> bool:
    same = hub_name(host.authority) == name if not scheme else same_host(host.authority, name, scheme)
    return same and (not scheme or host.scheme == scheme)


def _others(view: NodeView, own: str) -> bool:
    return any(not same_host(host.authority, own, host.scheme) for host in view.hosts)


def _scheme(reading: TextReading) -> str:
    """Scheme of the outer URL of a chain, else the token URL's own."""
    return reading.urls[0].scheme if len(reading.urls) > 1 else reading.url.scheme


def own_host(scene: Scene, sighting: Sighting) -> str:
    """The registry as the failing client names it."""
    if sighting.image:
        return parse_image(sighting.image).normalised_host
    if scene.incident.image:
        return parse_image(scene.incident.image).normalised_host
    outer = [url.host for url in sighting.reading.urls if url.path_kind != "token"]
    return scene.incident.registry or (outer[0] if outer else "")


def _mirrors(material: Material, scene: Scene, sighting: Sighting, own: str) -> tuple[str, ...]:
    nodes = [sighting.node] if sighting.node else list(scene.incident.nodes) or material.nodes()
    found: dict[str, None] = {}
    for node in nodes[:50]:
        found.update(dict.fromkeys(mirrors_for(material, node, own) if own else ()))
    return tuple(found)


def shape_by_plan(reading: TextReading, view: NodeView, image: str) -> str:
    """`rewritten` or `unrewritten` where k3s's rewrites touch the host of the URL; empty otherwise."""
    found = re.search(r"/v2/(?P<name>.+?)/(?:manifests|blobs)/", reading.url.path)
    if found is None or not image:
        return ""
    repository = parse_image(image).path
    for host in view.hosts:
        if _is_host(host, reading.url.host, reading.url.scheme) and rewrite_applies(host, repository) is not None:
            if found["name"] == repository:
                return "unrewritten"
            if found["name"] == rewritten(host, repository):
                return "rewritten"
    return ""


def credential_of(material: Material, seen: Seen, scene: Scene, sighting: Sighting, view: NodeView) -> str:
    """The text's own word; where it does not tell, a login seen just before, else the plan's."""
    reading = sighting.reading
    if reading.cred_sent != "unknown":
        return reading.cred_sent
    own = own_host(scene, sighting)
    if reading.client in ("docker", "crane", "skopeo", "helm", "other") and own:
        logged_in = any(
            attempt.action == "login" and attempt.succeeded and same_host(attempt.image.partition("/")[0], own)
            for attempt in seen.attempts
        )
        image = sighting.image or scene.incident.image or ""
        stored = any(
            entry.has_login
            for config in client_configs(material)
            for entry in (config.matching(image) if image else ())
        )
        return "yes" if logged_in or stored else "unknown"
    if reading.client not in ("containerd", "crio", "kubelet", None) or not sighting.pod:
        return "unknown"
    return _by_plan(view, reading)


def _by_plan(view: NodeView, reading: TextReading) -> str:
    if view.credential in ("pull-secret", "kubelet-file"):
        return "yes"
    hosts = [host for host in view.hosts if _is_host(host, reading.url.host, reading.url.scheme)] or list(
        view.hosts[:1]
    )
    if any(host.node_login for host in hosts):
        return "yes"
    if view.credential == "none" and view.known and hosts:
        return "no"
    return "unknown"

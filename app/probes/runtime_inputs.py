"""Inputs of the pull plan from the material: the failing attempt, what is known of hosts, the pod's and the node's logins."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final
from weakref import WeakKeyDictionary

from app.model.masked import MASK
from app.model.material import Material
from app.parsers.dockerconfig import parse_dockerconfig
from app.parsers.kube_objects import objects_of
from app.parsers.split_url import urlsplit
from app.parsers.urls import find_urls
from app.parsers.x509 import Certificate, read_bundle
from app.parsers.x509_verify import issued_by, may_sign, verify
from app.probes.base import Scene
from app.probes.registry_chains import SeenChain, chains
from app.probes.registry_scene import registry_of
from app.probes.runtime_files import NodeFiles, files_of
from app.probes.runtime_setup import node_setup
from app.probes.secret_facts import ABSENT, state_of
from app.probes.workloads import Workload
from app.pullplan.containerd import with_port
from app.pullplan.inputs import Failure, NodeSetup, PlanInputs, PullSecret, View, there
from app.pullplan.kubelet import matches

_STAGES = (
    ("hosts-file", re.compile(r"read CA cert|load CA cert|X509 key pair|no resolve hosts|failed to load CA file")),
    ("image-service", re.compile(r"unknown service runtime\.v1")),
    ("scheme", re.compile(r"server gave HTTP response to HTTPS client|malformed HTTP response|HTTP request to an HTTPS server")),
    ("trust", re.compile(r"certificate signed by unknown authority")),
    ("tls", re.compile(r"x509:|tls: ")),
    ("proxy", re.compile(r"proxyconnect|Proxy Authentication Required")),
    ("resolve", re.compile(r"no such host|server misbehaving|lookup \S+.*(?:i/o timeout|connection refused)")),
    ("credential", re.compile(r"no basic auth credentials|\b401\b|authorization failed|failed to authorize|nauthorized")),
    ("connect", re.compile(r"connection refused|i/o timeout|no route to host|network is unreachable|context deadline exceeded|TLS handshake timeout|connection reset")),
    ("answer", re.compile(r"\b(?:403|412|429|5\d\d) [A-Z]|toomanyrequests|unexpected media type|no match for platform|short read|failed to extract")),
    ("not-found", re.compile(r": not found|manifest unknown|\b404\b")),
)  # fmt: skip
_Places = Mapping[Any, tuple[int, Mapping[str, Any]]]
_PODS: Final[WeakKeyDictionary[Material, dict[str | None, _Places]]] = WeakKeyDictionary()
"""Of a material: image to node to the first pod there with its place in the list. Hundreds of nodes ask the same."""
_CLIENT = re.compile(r"^\s*(?:\S*[$#] )?(?:sudo )?(ctr|nerdctl|docker|crictl)\b")


def failure_of(scene: Scene) -> Failure:
    """Stage and URL of the first text that tells a stage."""
    image = scene.incident.registry or ""
    client = ""
    if scene.variables.get("client") == "ctr" or any(_tool(text) == "ctr" for text in scene.incident.texts):
        client = "ctr"
    for text in scene.incident.texts:
        for stage, pattern in _STAGES:
            if not pattern.search(text):
                continue
            urls = find_urls(text)
            url = urls[-1] if urls else ""
            realm = bool(url) and "/v2/" not in url and "token" in url
            if (
                realm
                and stage in ("trust", "scheme", "tls", "resolve", "connect", "proxy")
                and urlsplit(url).netloc != image
            ):
                return Failure("realm", url, client)
            return Failure(stage, url, client)
    return Failure(client=client)


def _tool(text: str) -> str:
    found = _CLIENT.match(text)
    if found:
        return found[1]
    return "ctr" if re.match(r"^ctr: ", text) else ""


def views_of(material: Material, scene: Scene, node: NodeSetup, failure: Failure) -> Mapping[str, View]:
    """What exchanges, served chains and the failing text tell of each host:port, from this node's point of view."""
    found: dict[str, View] = {}

    def note(endpoint: str, **more: Any) -> None:
        view = found.get(endpoint, View())
        found[endpoint] = replace(
            view,
            speaks=view.speaks | frozenset(more.get("speaks", ())),
            silent=view.silent | frozenset(more.get("silent", ())),
            trusted_by={**view.trusted_by, **more.get("trusted_by", {})},
            unreachable=more.get("unreachable", view.unreachable),
            harbor=view.harbor or bool(more.get("harbor")),
        )

    registry = registry_of(material, scene)
    for seen in registry.seen:
        exchange = seen.exchange
        parts = urlsplit(exchange.url)
        if not parts.netloc or parts.scheme not in ("http", "https"):
            continue
        endpoint = with_port(parts.netloc, parts.scheme)
        here = seen.node == node.name
        harbor = 'service="harbor-registry"' in exchange.headers.get("www-authenticate", "")
        if parts.scheme == "http" and exchange.status is not None:
            note(endpoint, speaks=("http",), harbor=harbor, unreachable=False)
        if parts.scheme == "https" and exchange.tls is not None:
            state = exchange.tls.state
            if state == "plain-http":
                note(endpoint, speaks=("http",), silent=("https",), unreachable=False)
            elif state in ("ok", "alert"):
                note(endpoint, speaks=("https",), harbor=harbor, unreachable=False)
            anchor = _anchor(exchange.tls.anchors)
            if (
                exchange.tls.verified is not None
                and anchor
                and here
                and (anchor != "os" or not exchange.tls.verified or exchange.tls.state == "ok")
            ):
                note(endpoint, trusted_by={anchor: exchange.tls.verified})
        if here and exchange.tcp in ("refused", "timeout", "unreachable") and not exchange.proxy:
            note(endpoint, unreachable=True)
    _judge_files(material, scene, node, found)
    _from_text(failure, found)
    return found


def _anchor(told: str) -> str:
    """`os-bundle` → `os`; a path stays; anything else is none of ours."""
    if told in ("os-bundle", "os"):
        return "os"
    path = re.search(r"/\S+", told)
    return path[0] if path else ""


def _judge_files(material: Material, scene: Scene, node: NodeSetup, found: dict[str, View]) -> None:
    """Each CA file of the node, and of those where the image works, against each chain that was served."""
    own = _anchor_files(material, node.name)
    texts = dict(own)
    for other in scene.incident.healthy_nodes:
        if other != node.name:
            theirs = {**own, **_anchor_files(material, other)}
            texts |= {there(other, path): text for path, text in theirs.items()}
    for chain in chains(registry_of(material, scene)):
        if not chain.certificates:
            continue
        endpoint = with_port(chain.target.get("host") or chain.host or scene.incident.registry or "", "https")
        # The same file lies on most nodes; it is judged once.
        by_text = {text: _trusts(read_bundle(text), chain) for text in set(texts.values())}
        judged = {path: trusts for path, text in texts.items() if (trusts := by_text[text]) is not None}
        view = found.get(endpoint, View())
        found[endpoint] = replace(view, speaks=view.speaks | {"https"}, trusted_by={**judged, **view.trusted_by})


def _trusts(anchors: tuple[Certificate, ...], chain: SeenChain) -> bool | None:
    """Whether these anchors accept a served chain; None where a link that was not seen could still decide it."""
    served = chain.certificates
    if verify(served, anchors, None).accepts or any(issued_by(served[-1], one) and may_sign(one) for one in anchors):
        return True
    if not anchors:
        return None
    strangers = all(issued_by(one, anchor) is False for one in served for anchor in anchors)
    return False if strangers and (chain.served is not None or len(served) == 1) else None


def _anchor_files(material: Material, node: str) -> dict[str, str]:
    return {
        path: text for path, text in files_of(material, node).below("/").items() if "-----BEGIN CERTIFICATE" in text
    }


def _from_text(failure: Failure, found: dict[str, View]) -> None:
    parts = urlsplit(failure.url)
    if not parts.netloc:
        return
    endpoint = with_port(parts.netloc, parts.scheme)
    view = found.get(endpoint, View())
    if failure.stage == "scheme":
        found[endpoint] = replace(
            view, speaks=view.speaks | {"http"}, silent=view.silent | {"https"}, unreachable=False
        )
    elif failure.stage in ("trust", "tls"):
        trusted = view.trusted_by if failure.stage == "tls" else {**view.trusted_by, "os": False}
        found[endpoint] = replace(view, speaks=view.speaks | {"https"}, trusted_by=trusted, unreachable=False)
    elif failure.stage in ("resolve", "connect"):
        found[endpoint] = replace(view, unreachable=True)


# --- logins ---------------------------------------------------------------------------------------------------------


def _load(material: Material, path: str) -> list[dict[str, Any]]:
    try:
        data = json.loads(material.text(path) or "null")
    except ValueError:
        return []
    listed = data.get("items") if isinstance(data, dict) else data
    items = listed if isinstance(listed, list) else [data]
    return [item for item in items if isinstance(item, dict)]


def _meta(item: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = item.get("metadata")
    return meta if isinstance(meta, dict) else {}


def pull_secrets(material: Material, scene: Scene, node: str) -> tuple[PullSecret, ...] | None:
    """Secrets of the failing pod in the order of its list; None where the pod or a listed Secret was not read."""
    pod = _pod_on(material, scene.incident.image, node)
    if pod is None:
        return None
    namespace = str(_meta(pod).get("namespace") or "default")
    listed = [
        str(item.get("name") or "") for item in _spec(pod).get("imagePullSecrets") or () if isinstance(item, dict)
    ]
    if not listed:
        return ()
    objects = objects_of(material)
    workload = Workload(namespace, str(_meta(pod).get("name") or ""), dict(pod), dict(_spec(pod)))
    found = []
    for name in listed:
        secret = objects.get("Secret", namespace, name)
        if secret is None:
            if state_of(material, objects, workload, name) != ABSENT:
                return None
            found.append(PullSecret(name, exists=False))
            continue
        read = _read_secret(name, secret)
        if read is None:
            return None
        found.append(read)
    return tuple(found)


def _pod_on(material: Material, image: str | None, node: str) -> Mapping[str, Any] | None:
    """The first pod with this image on the node or not placed yet; failing that the first with the image, then any."""
    by_image = _PODS.setdefault(material, {})
    if image not in by_image:
        by_image[image] = _places(material, image)
    places = by_image[image]
    here = [place for place in (places.get(node), places.get(None)) if place is not None] or list(places.values())
    return min(here, key=lambda place: place[0])[1] if here else None


def _places(material: Material, image: str | None) -> _Places:
    pods = [
        pod for path in ("pod.json", "pods.json") for pod in _load(material, path) if pod.get("kind", "Pod") == "Pod"
    ]
    found: dict[Any, tuple[int, Mapping[str, Any]]] = {}
    for index, pod in enumerate([pod for pod in pods if _uses(pod, image)] or pods):
        found.setdefault(_spec(pod).get("nodeName"), (index, pod))
    return found


def _spec(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = pod.get("spec")
    return spec if isinstance(spec, dict) else {}


def _uses(pod: Mapping[str, Any], image: str | None) -> bool:
    containers = [*(_spec(pod).get("containers") or ()), *(_spec(pod).get("initContainers") or ())]
    return any(isinstance(item, dict) and item.get("image") == image for item in containers)


def _read_secret(name: str, secret: Mapping[str, Any]) -> PullSecret | None:
    kind = str(secret.get("type") or "Opaque")
    key = ".dockercfg" if kind.endswith("dockercfg") else ".dockerconfigjson"
    data = secret.get("data")
    text: bytes
    encoded = data.get(key) if isinstance(data, dict) else None
    plain = secret.get("stringData")
    if isinstance(encoded, str):
        if MASK in encoded:
            return None
        try:
            text = base64.b64decode(encoded)
        except ValueError:
            return None
    elif isinstance(plain, dict) and isinstance(plain.get(key), str):
        text = plain[key].encode()
    elif isinstance(data, dict):
        return PullSecret(name, note=f"type {kind} without {key}: the kubelet finds nothing in it")
    else:
        return None
    config = parse_dockerconfig(text, kind)
    if not config.read_by_kubelet:
        return PullSecret(
            name, note=f"type {kind} with a document of layout {config.layout}: the kubelet does not read it"
        )
    return PullSecret(name, config.entries, True, config.parse_error)


def node_logins(files: NodeFiles) -> tuple[str, Any]:
    """Path and entries of the first docker-style file that the kubelet reads; ("", None) where nobody looked."""
    looked = False
    for path, kind in (
        ("/var/lib/kubelet/config.json", "dockerconfigjson"), ("/.docker/config.json", "dockerconfigjson"),
        ("/var/lib/kubelet/.dockercfg", "dockercfg"), ("/.dockercfg", "dockercfg"),
    ):  # fmt: skip
        text = files.text(path)
        if text is not None:
            return path, parse_dockerconfig(text, kind).entries
        looked = looked or files.absent(path)
    return "", () if looked or files.systematic else None


def plugin_images(files: NodeFiles) -> tuple[str, ...]:
    """`matchImages` of credential provider configurations found on the node."""
    found: list[str] = []
    for path, text in files.below("/").items():
        if "CredentialProviderConfig" in text and path.endswith((".yaml", ".yml", ".json")):
            found += re.findall(r"""^\s*-\s*["']?([\w.*:/-]+\.[\w.*:/-]+)["']?\s*$""", text, re.MULTILINE)
    return tuple(found)


def plan_inputs(material: Material, scene: Scene, name: str, image: str = "") -> PlanInputs | None:
    """Everything for one node; None where no image is known."""
    image = image or scene.incident.image or ""
    if not image:
        return None
    files = files_of(material, name)
    node = node_setup(files)
    failure = failure_of(scene)
    path, logins = node_logins(files)
    healthy = tuple(
        node_setup(files_of(material, other))
        for other in scene.incident.healthy_nodes
        if other != name and other in material.nodes()
    )
    return PlanInputs(
        image, node, pull_secrets(material, scene, name), logins, path, plugin_images(files),
        views_of(material, scene, node, failure), failure, healthy,
    )  # fmt: skip


def login_serves(entries: Iterable[Any] | None, image: str) -> bool:
    return any(matches(entry.server_key, image) and entry.has_login for entry in entries or ())

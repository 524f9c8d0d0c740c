"""What to ask live, from which vantage. Bounded: a few failing nodes, a few healthy ones and the operator's desk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from app.model.evidence import Price
from app.model.exchange import Exchange
from app.model.material import Material
from app.parsers.dockerconfig import LoginEntry
from app.parsers.kube_objects import objects_of
from app.parsers.split_url import urlsplit
from app.parsers.x509 import Certificate
from app.ports import Command, File, HttpRequest, Tree
from app.probes.base import Fetch, KubeGet, NodeItem, Scene, Want
from app.probes.harbor_common import HarborSide
from app.probes.harbor_place import best_vantage, items
from app.probes.harbor_project import the_endpoint
from app.probes.registry_anchors import LOOKED_AT, anchors_of, bundle_of, was_looked_at
from app.probes.registry_chains import certificates_in
from app.probes.registry_manifest import content_facts
from app.probes.registry_ping import speaks_plain_http
from app.probes.registry_scene import (
    HUB,
    HUB_API,
    Image,
    Place,
    Registry,
    image_of,
    place_of_authority,
    place_of_url,
    registry_of,
    upstream_place,
)
from app.probes.registry_token import minted, ready_pods
from app.probes.runtime_inputs import plan_inputs
from app.probes.secret_facts import SecretSeen, state_of
from app.probes.workloads import workloads
from app.pullplan.containerd import Host
from app.pullplan.plan import plan_pull, rewritten

FAILING: Final = 3
HEALTHY: Final = 2
CONNECTIONS: Final = 8
"""Fresh connections to the token service in one round."""
_OTHER_PORTS: Final = (443, 80, 5000, 5080, 8080, 8443, 30002, 30003)
ACCEPT: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CERTS: Final = (
    "/etc/containerd/certs.d",
    "/var/lib/rancher/k3s/agent/etc/containerd/certs.d",
    "/var/lib/rancher/rke2/agent/etc/containerd/certs.d",
)


def vantages(material: Material, scene: Scene) -> list[str]:
    """The operator and a sample of nodes, failing ones first; where no node fails, one that can stand for the desk."""
    nodes = [*scene.incident.nodes[:FAILING], *scene.incident.healthy_nodes[:HEALTHY]]
    if not nodes and scene.vantage != "bundle" and _unheard(registry_of(material, scene)):
        nodes = list(helper_nodes(material, scene))
    return ["operator", *(f"node/{node}" for node in nodes)]


def helper_nodes(material: Material, scene: Scene) -> tuple[str, ...]:
    """One ready node of the cluster, for requests that the operator's own machine cannot make."""
    del scene
    ready = [
        str(node["metadata"]["name"])
        for node in items(material, "nodes.json")
        if node["metadata"].get("name")
        and any(
            one.get("type") == "Ready" and one.get("status") == "True"
            for one in (node.get("status") or {}).get("conditions") or ()
        )
    ]
    return tuple(ready[:1])


def _unheard(registry: Registry) -> bool:
    """The operator asked the registry and got no answer."""
    mine = [seen.exchange for seen in registry.ours if not seen.node and seen.exchange.purpose == "ping"]
    return bool(mine) and all(exchange.status is None for exchange in mine)


def desk(material: Material, scene: Scene) -> tuple[str, str | None, str]:
    """(vantage, anchors, their name) from which the registry's API was seen to answer; the operator where none did."""
    vantage = best_vantage(material, scene)
    place = registry_of(material, scene).place
    return (vantage, *_anchors(material, vantage, place)) if place is not None else (vantage, None, "os-bundle")


def network(material: Material, scene: Scene) -> Iterable[Want]:
    """`/v2/` of the registry from each vantage; the other scheme and other ports only where it does not answer."""
    registry = registry_of(material, scene)
    place = registry.place
    if place is None:
        return
    host = api_host(place)
    yield from _by_address(material, scene, registry, place)
    for vantage in vantages(material, scene):
        anchors_pem, anchors_name = _anchors(material, vantage, place)
        if vantage != "operator" and _unread(material, vantage.removeprefix("node/"), scene):
            continue  # its anchors come with its files; to ask before would only show that we do not know them
        mine = [seen.exchange for seen in registry.ours if seen.exchange.vantage == vantage]
        if not any(exchange.purpose == "ping" for exchange in mine) or _with_new_anchors(mine, anchors_name):
            yield Fetch(_get(f"https://{host}/v2/", vantage, "ping", anchors_pem, anchors_name))
            asked = _mirror_hosts(material, scene, vantage) if registry.mirrors else []
            for mirror in registry.mirrors[:2]:
                scheme = mirror.scheme or "https"
                entry = next((one for there, one in asked if mirror.same(there)), None)
                trust = _mirror_anchors(material, vantage, entry, place) if entry else (anchors_pem, anchors_name)
                yield Fetch(_get(f"{scheme}://{mirror}/v2/", vantage, "ping", *trust))
            continue
        refused = all(exchange.tcp not in ("open", "") for exchange in mine)
        if any(exchange.tls is not None and exchange.tls.state == "plain-http" for exchange in mine) and not any(
            speaks_plain_http(exchange) for exchange in mine
        ):
            yield Fetch(_get(f"http://{host}/v2/", vantage, "ping"))
        if refused and vantage == "operator":
            yield from _other_ports(registry, place)
        if (
            refused
            and place.effective_port == 443
            and vantage != "operator"
            and not _asked(registry, f"http://{place.host}/v2/", vantage)
        ):
            yield Fetch(_get(f"http://{place.host}/v2/", vantage, "ping"))


def _unread(material: Material, node: str, scene: Scene) -> bool:
    """Nothing of the node's files has been asked for yet."""
    return scene.vantage != "bundle" and material.get(f"nodes/{node}/versions.txt") is None


def _with_new_anchors(mine: list[Exchange], anchors_name: str) -> bool:
    """The check failed with other anchors than those that are known now."""
    checks = [exchange.tls for exchange in mine if exchange.tls is not None and exchange.tls.verified is not None]
    return bool(checks) and all(not check.verified and check.anchors != anchors_name for check in checks)


def _by_address(material: Material, scene: Scene, registry: Registry, place: Place) -> Iterable[Want]:
    """A second look at the certificate: from the desk at the address that nodes resolved, where the desk cannot resolve the name."""
    mine = [seen.exchange for seen in registry.ours if not seen.node]
    if not mine or any(exchange.purpose == "tls" or exchange.dns == "ok" for exchange in mine):
        return
    if not any(exchange.dns in ("nxdomain", "servfail", "timeout") for exchange in mine):
        return
    shown = any(seen.node and seen.exchange.tls is not None and seen.exchange.tls.chain for seen in registry.ours)
    address = next((found for node in scene.incident.nodes for found in _resolved(material, node, place.host)), "")
    if shown and address:
        url = f"https://{api_host(place)}/v2/"
        yield Fetch(HttpRequest(url, vantage="operator", purpose="tls", address=address, timeout=4.0))


def _resolved(material: Material, node: str, host: str) -> list[str]:
    """Addresses that the node's own resolver gave for a host."""
    text = material.text(f"nodes/{node}/getent.txt") or ""
    mine = text.partition(f"$ getent ahosts {host}\n")[2].partition("$ getent ")[0]
    return [words[0] for line in mine.splitlines() if len(words := line.split()) >= 2 and words[1] == "STREAM"]


def _other_ports(registry: Registry, place: Place) -> Iterable[Want]:
    for port in _OTHER_PORTS:
        if port == place.effective_port:
            continue
        for scheme in ("https", "http") if port not in (80, 443) else ("http" if port == 80 else "https",):
            url = f"{scheme}://{place.host}/v2/" if port in (80, 443) else f"{scheme}://{place.host}:{port}/v2/"
            if not _asked(registry, url, "operator"):
                yield Fetch(HttpRequest(url, vantage="operator", purpose="ping", timeout=4.0))


def api_host(place: Place) -> str:
    return HUB_API if place.host in HUB else str(place)


def base_url(registry: Registry, place: Place) -> str:
    """Scheme and host of the API: plain HTTP only where that port was seen to speak it and nothing else."""
    spoken = {
        spoken
        for seen in registry.ours
        if seen.exchange.purpose == "ping" and (spoken := speaks_plain_http(seen.exchange)) is not None
    }
    return f"{'http' if spoken == {True} else 'https'}://{api_host(place)}"


def _get(
    url: str,
    vantage: str,
    purpose: str,
    anchors_pem: str | None = None,
    anchors_name: str = "os-bundle",
    method: str = "GET",
) -> HttpRequest:
    return HttpRequest(
        url, method="HEAD" if method == "HEAD" else "GET", vantage=vantage, purpose=purpose, anchors_pem=anchors_pem, anchors_name=anchors_name,
        headers={"Accept": ACCEPT} if "/manifests/" in url else {},
    )  # fmt: skip


def _asked(registry: Registry, url: str, vantage: str) -> bool:
    return any(seen.exchange.url == url and seen.exchange.vantage == vantage for seen in registry.seen)


def _anchors(material: Material, vantage: str, place: Place) -> tuple[str | None, str]:
    """The anchors of that node's runtime as far as they are known; the operator's own system's else."""
    if not vantage.startswith("node/"):
        return None, "os-bundle"
    anchors = anchors_of(material, vantage.removeprefix("node/"), place)
    certificates: tuple[Certificate, ...] = (*(anchors.configured or ()), *(anchors.pool or ()))
    if not certificates:
        return None, "os-bundle"
    return "".join(one.pem for one in certificates), "hosts.toml ca" if anchors.configured else "node's os-bundle"


def _mirror_hosts(material: Material, scene: Scene, vantage: str) -> list[tuple[Place, Host]]:
    """Mirrors that a node's plan has for the image, with its entry for each."""
    inputs = plan_inputs(material, scene, vantage.removeprefix("node/")) if vantage.startswith("node/") else None
    plan = plan_pull(inputs) if inputs is not None else None
    if plan is None or not plan.choice.known:
        return []
    mirrors = [line.host for line in plan.hosts if line.host.role == "mirror"]
    return [(there, host) for host in mirrors if (there := place_of_authority(host.authority)) is not None]


def _mirror_anchors(material: Material, vantage: str, host: Host, place: Place) -> tuple[str | None, str]:
    """The anchors of a node's entry for the mirror, and its own system's."""
    node = vantage.removeprefix("node/")
    own = tuple(one for path in host.ca for one in certificates_in(material.node_file(node, path) or ""))
    certificates = (*own, *(anchors_of(material, node, place).pool or ()))
    pem = "".join(one.pem for one in certificates) or None
    return pem, "hosts.toml ca" if own else "node's os-bundle" if pem else "os-bundle"


def _at_mirrors(material: Material, scene: Scene, registry: Registry, place: Place) -> Iterable[Want]:
    """The image's manifest at the mirrors to which failing nodes are sent, as these would ask without a login."""
    image = image_of(scene)
    if image is None or not registry.mirrors:
        return
    for node in scene.incident.nodes[:FAILING]:
        vantage = f"node/{node}"
        for there, host in _mirror_hosts(material, scene, vantage)[:2]:
            query = "" if place.same(there) else f"?ns={registry.name}"
            url = f"{host.url}/{rewritten(host, image.repository)}/manifests/{image.reference}{query}"
            if not _asked(registry, url, vantage):
                trust = _mirror_anchors(material, vantage, host, place)
                yield Fetch(_get(url, vantage, "manifest-anon", *trust, method="HEAD"))


def trust_files(material: Material, scene: Scene) -> Iterable[Want]:
    """CA bundle (by digest, then once for each digest), CA files that an entry names, and the places that no one reads."""
    registry = registry_of(material, scene)
    if registry.place is None:
        return
    for vantage in vantages(material, scene):
        node = vantage.removeprefix("node/")
        if vantage == "operator":
            continue
        if node not in (*scene.incident.nodes, *scene.incident.healthy_nodes) and not material.glob(f"nodes/{node}/*"):
            yield NodeItem(node, Command("versions"))
            yield NodeItem(node, Command("containerd-config-dump"))
            for folder in _CERTS:
                yield NodeItem(node, Tree(folder))
        yield from _pool(material, node)
        for root in LOOKED_AT:
            if not was_looked_at(material, node, root) and not material.glob(f"nodes/{node}{root}/*"):
                yield NodeItem(node, Tree(root, count=40))
        anchors = anchors_of(material, node, registry.place)
        if anchors.configured is None:
            for name in anchors.files:
                if name.startswith("/") and material.get(f"nodes/{node}{name}") is None:
                    yield NodeItem(node, File(name))


def _pool(material: Material, node: str) -> Iterable[Want]:
    """The system's CA bundle: first its digest, then its text, once for each digest over all nodes."""
    known = bundle_of(material, node)
    if known is None:
        if material.get(f"nodes/{node}/os-ca.json") is None:
            yield NodeItem(node, Command("os-ca"))
        return
    first = next(
        (
            other
            for other in material.nodes()
            if (seen := bundle_of(material, other)) is not None and seen.digest == known.digest
        ),
        node,
    )
    if known.text is None and first == node and material.get(f"nodes/{node}{known.path}") is None:
        yield NodeItem(node, File(known.path, limit=1_048_576))


def realm(material: Material, scene: Scene) -> Iterable[Want]:
    """The token service without scope, from each vantage, once its address is known. Over TLS or on the same host only."""
    registry = registry_of(material, scene)
    if registry.challenge is None or registry.realm is None:
        return
    url = token_url(registry)
    for vantage in vantages(material, scene):
        if not _asked(registry, url, vantage):
            anchors_pem, anchors_name = _anchors(material, vantage, registry.place or registry.realm)
            yield Fetch(_get(url, vantage, "token", anchors_pem, anchors_name))


def token_url(registry: Registry, scope: str = "") -> str:
    challenge = registry.challenge
    if challenge is None:
        return ""
    mark = "&" if urlsplit(challenge.realm).query else "?"
    url = f"{challenge.realm}{mark}service={quote(challenge.service)}"
    return f"{url}&scope={scope}" if scope else url


def tokens(material: Material, scene: Scene) -> Iterable[Want]:
    """Anonymous scoped tokens over fresh connections until two key ids are seen, and one from each core pod."""
    registry = registry_of(material, scene)
    image = image_of(scene)
    if image is None:
        return
    answers = minted(registry)[0]
    vantage, pem, name = desk(material, scene)
    if registry.challenge is not None and registry.realm is not None:
        url = token_url(registry, scope_of(image, scene))
        asked = sum(1 for seen in registry.seen if seen.exchange.url == url and not seen.exchange.login)
        if len({one.seen.kid for one in answers if one.seen.kid}) < 2 and asked < CONNECTIONS:
            yield Fetch(_get(url, vantage, "token", pem, name), times=CONNECTIONS - asked)
    if scene.harbor is not None and scene.harbor.kube and scene.harbor.namespace:
        query = {"service": "harbor-registry", "scope": scope_of(image, scene)}
        for pod in ready_pods(material):
            document = f"harbor/core-token-{pod}.json"
            if material.get(document) is None:
                path = f"/api/v1/namespaces/{scene.harbor.namespace}/pods/http:{pod}:8080/proxy/service/token"
                yield KubeGet(path, document, query, cluster="harbor")


def tokens_again(material: Material, scene: Scene) -> Iterable[Want]:
    """The same count once more, some minutes later; only where two keys were seen, since one key proves nothing by lasting."""
    registry, image = registry_of(material, scene), image_of(scene)
    kids = {one.seen.kid for one in minted(registry)[0] if one.seen.kid}
    if image is None or len(kids) < 2 or registry.challenge is None or registry.realm is None:
        return
    vantage, pem, name = desk(material, scene)
    yield Fetch(_get(token_url(registry, scope_of(image, scene)), vantage, "token", pem, name), times=CONNECTIONS)


def scope_of(image: Image, scene: Scene) -> str:
    return f"repository:{image.repository}:{'pull,push' if scene.incident.action == 'push' else 'pull'}"


def login(material: Material, scene: Scene) -> Iterable[Want]:
    """One use of each matching pull secret, with consent: without scope, then with one; a repaired form only after it failed."""
    if not scene.try_credentials:
        return
    registry = registry_of(material, scene)
    image = image_of(scene)
    if registry.challenge is None or not may_send(registry):
        return
    scopeless = token_url(registry)
    vantage, pem, name = desk(material, scene)
    for secret, entries in _secrets(material, scene).items():
        mine = [
            seen.exchange
            for seen in registry.seen
            if seen.exchange.login == f"secret {secret}" and seen.exchange.purpose == "token-login"
        ]
        exact = [exchange for exchange in mine if exchange.login_variant in ("", "exact")]
        bare = [exchange for exchange in exact if "scope=" not in exchange.url]
        if not bare:
            yield _priced(_get(scopeless, vantage, "token-login", pem, name), scene, secret)
        elif bare[-1].status == 200 and image is not None and len(exact) == len(bare):
            scoped = token_url(registry, scope_of(image, scene))
            yield _priced(_get(scoped, vantage, "token-login", pem, name), scene, secret)
        elif bare[-1].status == 401:
            broken = {
                "trimmed": any(entry.edge_space for entry in entries),
                "fields": any(entry.auth_differs for entry in entries),
            }
            for variant, has_defect in broken.items():
                if has_defect and not any(exchange.login_variant == variant for exchange in mine):
                    yield _priced(_get(scopeless, vantage, "token-login", pem, name), scene, secret, variant)


def _priced(request: HttpRequest, scene: Scene, secret: str, variant: str = "exact") -> Fetch:
    return Fetch(request, secret=secret, image=scene.incident.image or "", variant=variant, price=Price.CREDENTIAL)


def may_send(registry: Registry) -> bool:
    """A login goes only over TLS, to the registry itself or to a realm on the same site."""
    realm_place, place = registry.realm, registry.place
    if realm_place is None or place is None or realm_place.scheme != "https":
        return False
    return realm_place.host == place.host or _site(realm_place.host) == _site(place.host)


def _site(host: str) -> str:
    labels = host.split(".")
    return ".".join(labels[-2:]) if len(labels) > 2 else host


def _secrets(material: Material, scene: Scene) -> dict[str, tuple[LoginEntry, ...]]:
    """Listed pull secrets, `namespace/name`, with the logins that the kubelet would take from them for the image."""
    objects = objects_of(material)
    found: dict[str, tuple[LoginEntry, ...]] = {}
    for workload in workloads(material, scene):
        for name in workload.listed or ():
            state = state_of(material, objects, workload, name)
            entries = state.used_for(scene.incident.image or "") if isinstance(state, SecretSeen) else None
            if isinstance(state, SecretSeen) and entries and any(entry.has_login for entry in entries):
                found[state.id] = entries
    return found


def manifest(material: Material, scene: Scene) -> Iterable[Want]:
    """HEAD, then GET of the image's manifest: anonymously, and with the pull secret where that is allowed."""
    registry = registry_of(material, scene)
    image, place = image_of(scene), registry.place
    if image is None or place is None:
        return
    yield from _at_mirrors(material, scene, registry, place)
    if not answers(registry):
        return
    url = f"{base_url(registry, place)}/v2/{image.repository}/manifests/{image.reference}"
    vantage, pem, name = desk(material, scene)
    for method in ("HEAD", "GET"):
        if not any(
            seen.exchange.url == url and seen.exchange.method == method and not seen.exchange.login
            for seen in registry.seen
        ):
            yield Fetch(_get(url, vantage, "manifest-anon", pem, name, method))
    if not scene.try_credentials or not may_send(registry):
        return
    for secret in _secrets(material, scene):
        if _worked(registry, secret):
            for method in ("HEAD", "GET"):
                if not any(
                    seen.exchange.url == url
                    and seen.exchange.method == method
                    and seen.exchange.login == f"secret {secret}"
                    for seen in registry.seen
                ):
                    yield _priced(_get(url, vantage, "manifest-login", pem, name, method), scene, secret)


def answers(registry: Registry) -> bool:
    return any(seen.exchange.status is not None and seen.exchange.purpose == "ping" for seen in registry.ours)


def blobs(material: Material, scene: Scene) -> Iterable[Want]:
    """The host that a blob redirect names, followed by hand without a login: from the same vantage, and from where the pull fails."""
    registry = registry_of(material, scene)
    failing = [f"node/{node}" for node in scene.incident.nodes[:FAILING]]
    for seen in registry.ours:
        exchange = seen.exchange
        location = exchange.headers.get("location", "")
        if (
            exchange.purpose != "blob"
            or exchange.status not in (301, 302, 303, 307, 308)
            or place_of_url(location) is None
        ):
            continue
        for vantage in dict.fromkeys((exchange.vantage, *failing)):
            if not _asked(registry, location, vantage):
                anchors_pem, anchors_name = _anchors(material, vantage, registry.place or Place(""))
                yield Fetch(_get(location, vantage, "other", anchors_pem, anchors_name))


def upstream(material: Material, scene: Scene) -> Iterable[Want]:
    """The image at the real upstream of its proxy project, as given and with `library/`."""
    registry = registry_of(material, scene)
    image = image_of(scene)
    rest = image.repository.partition("/")[2] if image else ""
    endpoint = the_endpoint(HarborSide(material, scene))
    found = place_of_url(str((endpoint or {}).get("url") or ""))
    if image is None or not rest or found is None:
        return
    place = upstream_place(found)
    for name in (rest, f"library/{rest}") if "/" not in rest else (rest,):
        url = f"{place.scheme or 'https'}://{place}/v2/{name}/manifests/{image.reference}"
        if not _asked(registry, url, "operator"):
            yield Fetch(_get(url, "operator", "upstream", method="HEAD"))


def config_blob(material: Material, scene: Scene) -> Iterable[Want]:
    """The config of a single-platform image, for its architecture."""
    registry = registry_of(material, scene)
    image, place = image_of(scene), registry.place
    if image is None or place is None:
        return
    for seen in registry.ours:
        exchange = seen.exchange
        if (
            exchange.status == 200
            and "/manifests/" in exchange.url
            and exchange.method == "GET"
            and content_facts(exchange.body, "").get("manifest.kind") == "single"
        ):
            digest = _config_digest(exchange.body)
            url = f"{base_url(registry, place)}/v2/{image.repository}/blobs/{digest}"
            vantage, pem, name = desk(material, scene)
            if digest and not _asked(registry, url, vantage):
                secret = exchange.login.removeprefix("secret ") if exchange.login.startswith("secret ") else ""
                yield (
                    _priced(_get(url, vantage, "blob", pem, name), scene, secret)
                    if secret
                    else Fetch(_get(url, vantage, "blob", pem, name))
                )
            return


def _config_digest(body: str) -> str:
    start = body.find('"config"')
    found = body.find("sha256:", start) if start >= 0 else -1
    return body[found : found + 71] if found >= 0 else ""


def blobs_and_config(material: Material, scene: Scene) -> Iterable[Want]:
    """Both requests for blobs."""
    yield from blobs(material, scene)
    yield from config_blob(material, scene)


def bearer(material: Material, scene: Scene) -> Iterable[Want]:
    """One token of a login that works, sent over fresh connections to Harbor: how many of its cores refuse it."""
    registry = registry_of(material, scene)
    place = registry.place
    if not scene.try_credentials or place is None or not registry.is_harbor or not may_send(registry):
        return
    if any(seen.exchange.purpose == "bearer" for seen in registry.ours):
        return
    for secret in _secrets(material, scene):
        if _worked(registry, secret):
            vantage, pem, name = desk(material, scene)
            request = _get(f"https://{api_host(place)}/v2/", vantage, "bearer", pem, name)
            yield Fetch(
                request, secret=secret, image=scene.incident.image or "", times=CONNECTIONS, price=Price.CREDENTIAL
            )
            return


def _worked(registry: Registry, secret: str) -> bool:
    return any(
        seen.exchange.login == f"secret {secret}"
        and seen.exchange.purpose == "token-login"
        and seen.exchange.status == 200
        for seen in registry.seen
    )

"""The healthy world that every scenario starts from: a kubeadm or k3s cluster, Harbor in it, a few workloads."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Final

from app.training.world import pki
from app.training.world.clock import START, SimClock
from app.training.world.cluster import Cluster
from app.training.world.controllers import Controllers
from app.training.world.network import PUBLIC_RESOLVER
from app.training.world.node_writer import PUBLIC, start
from app.training.world.state import (
    OS_BUNDLE,
    Endpoint,
    Harbor,
    Node,
    NodeFile,
    Project,
    Robot,
    Server,
    State,
    Unit,
    User,
)

HOST: Final = "harbor.corp.example"
UPSTREAM: Final = "registry.vendor.example"
AGE: Final = 40 * pki.DAY
"""How long the cluster has been up when the shift begins."""
PLAIN_PORT: Final = 5000
PUBLIC_REGISTRY: Final = "registry.public.example"
"""Serves everybody, those without a login up to a limit."""
DEPOT: Final = "depot.corp.example"
"""A small registry of one team, on a port of its own and on no other."""
PROXY: Final = "proxy.corp.example"
_ADDRESSES: Final = {
    HOST: "10.20.1.10",
    UPSTREAM: "203.0.113.40",
    PUBLIC_REGISTRY: "203.0.113.60",
    PROXY: "10.20.0.8",
    DEPOT: "10.20.1.20",
}


def build(seed: str, kind: str) -> tuple[State, Controllers]:
    """A healthy world just before the shift. `kind`: `kubeadm` or `k3s`."""
    clock = SimClock(START - AGE)
    cluster = Cluster(clock.now)
    harbor = Harbor(HOST, external_url=f"https://{HOST}")
    state = State(seed, clock, {}, harbor, cluster)
    _certificates(state)
    _servers(state)
    _harbor_data(state)
    for number in (1, 2, 3):
        node = _node(state, kind, number)
        state.nodes[node.name] = node
    _objects(state)
    controllers = Controllers(state)
    controllers.settle()
    clock.seconds = START - 3 * 3600.0
    controllers.settle()
    return state, controllers


def _certificates(state: State) -> None:
    begin, end = START - 400 * pki.DAY, START + 900 * pki.DAY
    public = pki.issue(f"{state.seed}/public", "Example Public Root R1", ca=True, start=begin, end=end)
    corp = pki.issue(f"{state.seed}/corp", "Corp Example Root CA", ca=True, start=begin, end=end)
    # The same name with another key: what is left when a CA was made anew.
    fresh = pki.issue(f"{state.seed}/corp-new", "Corp Example Root CA", ca=True, start=START - 2 * pki.DAY, end=end)
    own = {"public": public, "corp": corp, "corp-new": fresh}
    state.certificates |= {name: one.pem for name, one in own.items()}
    for name, parent, hosts in (
        ("harbor", corp, (HOST,)), ("harbor-new", fresh, (HOST,)), ("harbor-other-name", corp, ("registry.corp.example",)), ("vendor", public, (UPSTREAM,)),
        ("depot", corp, (DEPOT,)),
        ("public-registry", public, (PUBLIC_REGISTRY,)),
    ):  # fmt: skip
        first = START - (pki.DAY if name == "harbor-new" else 60 * pki.DAY)
        state.certificates[name] = pki.issue(f"{state.seed}/{name}", hosts[0], parent, hosts=hosts, start=first, end=START + 300 * pki.DAY).pem  # fmt: skip
    state.certificates["harbor-expired"] = pki.issue(f"{state.seed}/old", HOST, corp, hosts=(HOST,), start=START - 396 * pki.DAY, end=START - 1800).pem  # fmt: skip
    issuing = pki.issue(f"{state.seed}/issuing", "Corp Example Issuing CA 2", corp, ca=True, start=begin, end=end)
    below = pki.issue(
        f"{state.seed}/below", HOST, issuing, hosts=(HOST,), start=START - pki.DAY, end=START + 300 * pki.DAY
    )
    state.certificates |= {
        "corp-issuing": issuing.pem, "harbor-below-issuing": below.pem, "harbor-below-issuing-full": below.pem + issuing.pem,
    }  # fmt: skip
    state.certificates["operator"] = public.pem + corp.pem + fresh.pem


def _servers(state: State) -> None:
    state.names.update(_ADDRESSES)
    state.resolvers[PUBLIC_RESOLVER] = frozenset({UPSTREAM, PUBLIC_REGISTRY})
    for server in (
        Server(HOST, 443, "https", "harbor", _ADDRESSES[HOST], (state.certificates["harbor"],)),
        Server(HOST, PLAIN_PORT, "http", "plain", _ADDRESSES[HOST]),
        Server(DEPOT, 8443, "https", "plain", _ADDRESSES[DEPOT], (state.certificates["depot"],)),
        Server(UPSTREAM, 443, "https", "upstream", _ADDRESSES[UPSTREAM], (state.certificates["vendor"],)),
        Server(
            PUBLIC_REGISTRY,
            443,
            "https",
            "upstream",
            _ADDRESSES[PUBLIC_REGISTRY],
            (state.certificates["public-registry"],),
            anonymous=True,
            limit=100,
        ),
        Server(PROXY, 3128, "http", "proxy", _ADDRESSES[PROXY]),
    ):
        state.servers[(server.host, server.port)] = server


def digest_of(name: str) -> str:
    """A digest that depends on the name alone."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def _harbor_data(state: State) -> None:
    harbor, created = state.harbor, START - 200 * pki.DAY
    harbor.registry_password = pki.word(f"{state.seed}/inner-registry", 24)
    harbor.database_password = pki.word(f"{state.seed}/database", 24)
    for number, (name, public, images) in enumerate(
        (("library", True, ("tools:3.2",)), ("shop", False, ("web:2.4", "cart:1.9")), ("billing", False, ("invoice:5.1",)), ("vendor", False, ()), ("public", False, ())),
        1,
    ):  # fmt: skip
        harbor.projects[name] = Project(
            number, name, public, {"vendor": "vendor-hub", "public": "public-hub"}.get(name, ""), {image: digest_of(f"{name}/{image}") for image in images}, created=created
        )  # fmt: skip
    harbor.projects["shop"].members = {"dana": "developer"}
    harbor.endpoints["vendor-hub"] = Endpoint(1, "vendor-hub", f"https://{UPSTREAM}", user="corp+harbor", password=pki.word(f"{state.seed}/up", 24))  # fmt: skip
    state.upstream_logins["corp+harbor"] = harbor.endpoints["vendor-hub"].password
    harbor.endpoints["public-hub"] = Endpoint(2, "public-hub", f"https://{PUBLIC_REGISTRY}", user="corp+mirror", password=pki.word(f"{state.seed}/hub", 24))  # fmt: skip
    state.upstream_logins["corp+mirror"] = harbor.endpoints["public-hub"].password
    state.upstream_images["acme/cache:7.2"] = digest_of("acme/cache:7.2")
    state.upstream_images["acme/agent:7.0"] = digest_of("acme/agent:7.0")
    robots: tuple[tuple[str, dict[str, tuple[str, ...]]], ...] = (
        ("robot$cluster-pull", {"shop": ("pull",), "billing": ("pull",), "vendor": ("pull",), "public": ("pull",)}),
        ("robot$ci-push", {"shop": ("pull", "push")}),
        ("robot$billing-pull", {"billing": ("pull",)}),
    )
    for number, (name, grants) in enumerate(robots, 1):
        harbor.robots[name] = Robot(number, name, pki.word(f"{state.seed}/{name}", 32), grants=grants)
    harbor.users["admin"] = User(1, "admin", pki.word(f"{state.seed}/admin", 16), admin=True)
    harbor.users["dana"] = User(2, "dana", pki.word(f"{state.seed}/dana", 16))


# --- nodes ------------------------------------------------------------------------------------------------------------


def _node(state: State, kind: str, number: int) -> Node:
    modern = kind == "k3s" or number == 3
    name = f"edge-{number}" if kind == "k3s" else f"worker-{number}"
    node = Node(
        name, f"10.20.2.{10 + number}", "2.1.5-k3s1" if kind == "k3s" else "2.1.5" if modern else "1.7.27",
        "v1.34.4+k3s1" if kind == "k3s" else "v1.34.4", kind,
    )  # fmt: skip
    at = START - AGE
    files = {
        "/etc/hosts": f"127.0.0.1 localhost\n{node.address} {name}\n",
        "/etc/resolv.conf": "nameserver 10.20.0.2\nsearch corp.example\n",
        "/etc/environment": 'PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"\n',
        f"{PUBLIC}Example_Public_Root_R1.crt": state.certificates["public"],
        OS_BUNDLE: state.certificates["public"],
        "/var/lib/kubelet/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nserializeImagePulls: false\n",
    }
    if kind == "k3s":
        files["/etc/rancher/k3s/registries.yaml"] = registries_yaml()
        files["/etc/rancher/k3s/corp-ca.crt"] = state.certificates["corp"]
    else:
        files["/etc/containerd/config.toml"] = config_toml(modern=modern)
        files[f"/etc/containerd/certs.d/{HOST}/hosts.toml"] = hosts_toml()
        files[f"/etc/containerd/certs.d/{HOST}/ca.crt"] = state.certificates["corp"]
    node.files = {path: NodeFile(text, at - 86_400.0) for path, text in files.items()}
    unit = node.service
    command = ("/usr/local/bin/k3s", "agent") if kind == "k3s" else ("/usr/bin/containerd",)
    node.units[unit] = Unit(unit, at, 600 + number, command[0], command, f"/etc/systemd/system/{unit}.service", {"PATH": "/usr/local/bin:/usr/bin"})  # fmt: skip
    if kind != "k3s":
        node.units["kubelet"] = Unit("kubelet", at, 900 + number, "/usr/bin/kubelet", ("/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml"), "/lib/systemd/system/kubelet.service", {"PATH": "/usr/bin"})  # fmt: skip
    node.units["chrony"] = Unit("chrony", at, 400 + number, "/usr/sbin/chronyd", ("/usr/sbin/chronyd",), "/lib/systemd/system/chrony.service")  # fmt: skip
    node.images |= {f"docker.io/goharbor/{part}:{state.harbor.version}" for part in ("harbor-core", "registry-photon", "harbor-jobservice", "harbor-portal")}  # fmt: skip
    start(node, at)
    return node


def config_toml(*, modern: bool) -> str:
    """containerd's settings with certs.d, in the form of its release."""
    if modern:
        return "version = 3\n\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = \"/etc/containerd/certs.d\"\n"
    return 'version = 2\n\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "registry.k8s.io/pause:3.10"\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'


def hosts_toml() -> str:
    """The entry for Harbor with the company's CA."""
    return f'server = "https://{HOST}"\nca = "/etc/containerd/certs.d/{HOST}/ca.crt"\n\n[host."https://{HOST}"]\n  capabilities = ["pull", "resolve"]\n  ca = "/etc/containerd/certs.d/{HOST}/ca.crt"\n'


def registries_yaml() -> str:
    """The same for k3s, and the plain registry beside Harbor."""
    return f"""# Maintained by the platform team.
mirrors:
  "{HOST}:{PLAIN_PORT}":
    endpoint:
      - "http://{HOST}:{PLAIN_PORT}"
configs:
  "{HOST}":
    tls:
      ca_file: /etc/rancher/k3s/corp-ca.crt
"""


# --- objects ----------------------------------------------------------------------------------------------------------


def dockerconfig(state: State, account: str, server: str = HOST, *, password: str | None = None) -> str:
    """A `.dockerconfigjson` value in base64 with the login of a robot or user."""
    robot, user = state.harbor.robots.get(account), state.harbor.users.get(account)
    secret = password if password is not None else robot.secret if robot else user.password if user else ""
    auth = base64.b64encode(f"{account}:{secret}".encode()).decode()
    text = json.dumps({"auths": {server: {"username": account, "password": secret, "auth": auth}}})
    return base64.b64encode(text.encode()).decode()


def pull_secret(state: State, namespace: str, name: str, account: str) -> dict[str, Any]:
    """A pull secret with the account's login."""
    return {
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": dockerconfig(state, account)},
    }


def deployment(
    namespace: str,
    name: str,
    image: str,
    *,
    replicas: int = 3,
    secrets: tuple[str, ...] = (),
    nodes: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A Deployment as a person writes it."""
    labels = {"app": name}
    spec: dict[str, Any] = {"containers": [{"name": name, "image": image, "imagePullPolicy": "Always"}]}
    if secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in secrets]
    if nodes:
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}]}
        spec["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        }
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": {}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }  # fmt: skip


def _objects(state: State) -> None:
    cluster = state.cluster
    for space in ("default", "kube-system", "harbor", "shop", "billing", "edge"):
        cluster.put("namespaces", {"metadata": {"name": space}, "status": {"phase": "Active"}})
        cluster.put("serviceaccounts", {"metadata": {"name": "default", "namespace": space}})
    for node in state.nodes.values():
        cluster.put("nodes", _node_object(node))
    for space, name, account in (
        ("shop", "harbor-pull", "robot$cluster-pull"),
        ("billing", "harbor-pull", "robot$billing-pull"),
    ):
        cluster.put("secrets", pull_secret(state, space, name, account))
    _harbor_objects(state)
    for item in (
        deployment("shop", "web", f"{HOST}/shop/web:2.4", secrets=("harbor-pull",)),
        deployment("shop", "cart", f"{HOST}/shop/cart:1.9", replicas=2, secrets=("harbor-pull",)),
        deployment("billing", "invoice", f"{HOST}/billing/invoice:5.1", replicas=2, secrets=("harbor-pull",)),
    ):
        cluster.put("deployments", item)


def _node_object(node: Node) -> dict[str, Any]:
    return {
        "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": node.address}, {"type": "Hostname", "address": node.name}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {"containerRuntimeVersion": f"containerd://{node.runtime}", "kubeletVersion": node.kubelet, "osImage": "Ubuntu 24.04.2 LTS", "architecture": "amd64", "operatingSystem": "linux", "kernelVersion": "6.8.0-55-generic"},
        },
    }  # fmt: skip


def _harbor_objects(state: State) -> None:
    cluster, harbor = state.cluster, state.harbor
    space, helm = harbor.namespace, {"app": "harbor", "release": harbor.release, "heritage": "Helm", "chart": "harbor", "app.kubernetes.io/managed-by": "Helm"}  # fmt: skip
    key = pki.token_key(f"{state.seed}/key")
    data = {
        "tls.key": key,
        "secret": pki.word(f"{state.seed}/core", 16),
        "CSRF_KEY": pki.word(f"{state.seed}/csrf", 32),
    }
    cluster.put(
        "secrets",
        {
            "metadata": {"name": harbor.token_secret, "namespace": space, "labels": helm},
            "type": "Opaque",
            "stringData": data,
        },
    )
    owner = {"meta.helm.sh/release-name": harbor.release, "meta.helm.sh/release-namespace": space}
    mount = {"name": "token-service-private-key", "mountPath": "/etc/core/private_key.pem", "subPath": "tls.key"}
    volume = {"name": "token-service-private-key", "secret": {"secretName": harbor.token_secret}}
    names = sorted(state.nodes)
    for part, image, replicas in (("core", "harbor-core", 2), ("registry", "registry-photon", 1), ("jobservice", "harbor-jobservice", 1), ("portal", "harbor-portal", 1)):  # fmt: skip
        labels = {"app": "harbor", "release": harbor.release, "component": part}
        spec: dict[str, Any] = {
            "containers": [
                {
                    "name": part,
                    "image": f"docker.io/goharbor/{image}:{harbor.version}",
                    "imagePullPolicy": "IfNotPresent",
                }
            ]
        }
        if part == "core":
            spec["containers"][0]["volumeMounts"] = [mount]
            spec["volumes"] = [volume]
            term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": names[:2]}]}
            spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}  # fmt: skip
        meta = {
            "name": f"{harbor.release}-{part}",
            "namespace": space,
            "labels": {**helm, "component": part},
            "annotations": owner,
        }
        cluster.put("deployments", {"metadata": meta, "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels, "annotations": {"checksum/secret": hashlib.sha256(key.encode()).hexdigest()}}, "spec": spec}}})  # fmt: skip
        cluster.put("services", {"metadata": {"name": f"{harbor.release}-{part}", "namespace": space, "labels": {**helm, "component": part}}, "spec": {"selector": labels, "ports": [{"port": 80}]}})  # fmt: skip
    backend = {path: {"path": path, "pathType": "Prefix", "backend": {"service": {"name": f"{harbor.release}-{'portal' if path == '/' else 'core'}", "port": {"number": 80}}}} for path in ("/api/", "/service/", "/v2/", "/c/", "/")}  # fmt: skip
    cluster.put("ingresses", {"metadata": {"name": f"{harbor.release}-ingress", "namespace": space, "labels": helm}, "spec": {"tls": [{"hosts": [HOST], "secretName": "harbor-tls"}], "rules": [{"host": HOST, "http": {"paths": list(backend.values())}}]}})  # fmt: skip

"""The way from a node to a registry in the practice world: resolver, firewall, proxy, the node's own login, limits, disk."""

from __future__ import annotations

import asyncio

import pytest

from app.ports import HttpRequest
from app.training.world.base import HOST, PUBLIC_REGISTRY, build, config_toml
from app.training.world.http import WorldHttp
from app.training.world.network import PUBLIC_RESOLVER
from app.training.world.node_writer import WorldNodeWriter
from app.training.world.pull import pull
from app.training.world.state import Node, NodeFile, State

WEB = f"{HOST}/shop/web:2.4"
TOOLS = f"{HOST}/library/tools:3.2"
CACHE = f"{PUBLIC_REGISTRY}/acme/cache:7.2"
DROP_IN = "/etc/systemd/system/containerd.service.d/http-proxy.conf"


@pytest.fixture
def state() -> State:
    return build("unit", "kubeadm")[0]


@pytest.fixture
def node(state: State) -> Node:
    return state.nodes["worker-1"]


def put(node: Node, path: str, text: str) -> None:
    node.files[path] = NodeFile(text, 0.0)


def restart(state: State, node: Node) -> None:
    asyncio.run(WorldNodeWriter(state, lambda: None).restart(node.name, node.service))


def test_a_pull_uses_the_nodes_resolver_and_its_hosts_file_first(state: State, node: Node) -> None:
    assert not pull(state, node, TOOLS, None).error
    put(node, "/etc/resolv.conf", f"nameserver {PUBLIC_RESOLVER}\n")
    assert pull(state, node, TOOLS, None).error.endswith(
        f"dial tcp: lookup {HOST} on {PUBLIC_RESOLVER}:53: no such host"
    )
    assert not pull(state, node, CACHE, None).error
    put(node, "/etc/hosts", f"10.20.1.10 {HOST}\n")
    assert not pull(state, node, TOOLS, None).error


def test_a_firewall_drops_for_one_node_alone(state: State, node: Node) -> None:
    state.dropped.add((node.name, "10.20.1.10"))
    said = pull(state, node, TOOLS, None).error
    assert said.startswith("rpc error: code = DeadlineExceeded desc = ")
    assert said.endswith("dial tcp 10.20.1.10:443: i/o timeout")
    assert not pull(state, state.nodes["worker-2"], TOOLS, None).error


def test_the_proxy_counts_from_the_next_start_and_lets_nobody_inside(state: State, node: Node) -> None:
    put(node, DROP_IN, '[Service]\nEnvironment="HTTPS_PROXY=http://proxy.corp.example:3128" "NO_PROXY=10.0.0.0/8"\n')
    assert not pull(state, node, TOOLS, None).error
    restart(state, node)
    assert pull(state, node, TOOLS, None).error.endswith('manifests/3.2": Forbidden')
    # What is outside goes through it, though the node itself has no way there.
    state.dropped.add((node.name, "203.0.113.60"))
    assert not pull(state, node, CACHE, None).error
    put(node, DROP_IN, f'[Service]\nEnvironment="HTTPS_PROXY=http://proxy.corp.example:3128" "NO_PROXY={HOST}"\n')
    restart(state, node)
    assert not pull(state, node, TOOLS, None).error
    state.servers[("proxy.corp.example", 3128)].down = True
    assert (
        "proxyconnect tcp: dial tcp 10.20.0.8:3128: connect: connection refused" in pull(state, node, CACHE, None).error
    )


def test_our_own_client_hears_what_the_proxy_answers(state: State, node: Node) -> None:
    http = WorldHttp(state, lambda: None)
    proxy = "http://proxy.corp.example:3128"

    def ask(host: str) -> tuple[str, str]:
        request = HttpRequest(f"https://{host}/v2/", vantage=f"node/{node.name}", purpose="proxy", proxy=proxy)
        seen = asyncio.run(http.exchange(request))
        return seen.proxy, seen.proxy_answer

    assert ask(HOST) == (proxy, "403")
    assert ask(PUBLIC_REGISTRY) == (proxy, "tunnel")


def test_the_nodes_login_is_for_the_host_it_talks_to_and_gives_way_to_the_kubelets(state: State, node: Node) -> None:
    robot = state.harbor.robots["robot$cluster-pull"]

    def login_under(key: str) -> None:
        table = f'[plugins."io.containerd.grpc.v1.cri".registry.configs."{key}".auth]'
        login = f'{table}\n  username = "{robot.name}"\n  password = "{robot.secret}"\n'
        put(node, "/etc/containerd/config.toml", f"{config_toml(modern=False)}\n{login}")
        restart(state, node)

    login_under(HOST)
    assert not pull(state, node, WEB, None).error
    assert "401 Unauthorized" in pull(state, node, WEB, ("robot$cluster-pull", "wrong")).error
    login_under(f"https://{HOST}")
    assert pull(state, node, WEB, None).error.endswith("no basic auth credentials")


def test_a_ca_file_that_is_not_there_ends_the_pull(state: State, node: Node) -> None:
    del node.files[f"/etc/containerd/certs.d/{HOST}/ca.crt"]
    path = f"/etc/containerd/certs.d/{HOST}/ca.crt"
    said = f'unable to read CA cert "{path}": open {path}: no such file or directory'
    assert pull(state, node, TOOLS, None).error.endswith(said)


def test_callers_without_a_login_share_a_limit_that_a_window_ends(state: State, node: Node) -> None:
    server = state.servers[(PUBLIC_REGISTRY, 443)]
    server.limit = 1
    assert not pull(state, node, CACHE, None).error
    other = state.nodes["worker-2"]
    assert "429 Too Many Requests" in pull(state, other, CACHE, None).error
    # Harbor asks with a login of its own, and for all of them.
    robot = state.harbor.robots["robot$cluster-pull"]
    assert not pull(state, other, f"{HOST}/public/acme/cache:7.2", (robot.name, robot.secret)).error
    state.clock.move(6 * 3600.0 + 1)
    assert not pull(state, other, CACHE, None).error


def test_the_token_is_asked_for_where_the_registry_sends_the_client(state: State, node: Node) -> None:
    login = ("robot$cluster-pull", state.harbor.robots["robot$cluster-pull"].secret)
    state.harbor.external_url = "https://harbor-core.harbor.svc"
    said = pull(state, node, WEB, login).error
    assert 'failed to fetch oauth token: Post "https://harbor-core.harbor.svc/service/token": dial tcp: lookup' in said
    assert "failed to fetch anonymous token: Get" in pull(state, node, WEB, None).error


def test_a_full_disk_takes_no_new_image_and_keeps_what_it_has(state: State, node: Node) -> None:
    node.disk_used = 100
    assert pull(state, node, CACHE, None).error.endswith("data: no space left on device")
    node.images.add(CACHE)
    assert not pull(state, node, CACHE, None).error

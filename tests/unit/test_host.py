from __future__ import annotations

import json
from dataclasses import replace

from app.model.case import Incident
from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Document, Material
from app.ports import File
from app.probes import host, runtime
from app.probes.base import Fetch, NodeItem, Scene
from app.probes.registry_scene import registry_of

IMAGE = "h.example.com/p/app:1"


def _scene(*texts: str) -> Scene:
    return Scene(Incident(image=IMAGE, registry="h.example.com", action="pull", texts=texts, nodes=("n1",)), now=0.0)


def _facts(probe: str, material: Material, scene: Scene) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for evidence in _evidence(probe, material, scene):
        found |= evidence.facts
    return found


def _evidence(probe: str, material: Material, scene: Scene) -> list[Evidence]:
    by_id = {item.id: item for item in (*runtime.PROBES, *host.PROBES)}
    return list(by_id[probe].read(material, scene))


def _docs(*pairs: tuple[str, str]) -> Material:
    return Material(Document(f"nodes/n1/{path}", text) for path, text in pairs)


def test_units_and_file_times_tell_a_stale_process() -> None:
    config = 'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/etc/containerd/certs.d"\n'
    units = json.dumps({"containerd": {"active": True, "since": 1000.0, "pid": 1}})
    for mtime, newer in ((1500.0, True), (900.0, False)):
        stat = json.dumps(
            {
                "/etc/containerd/config.toml": {"mtime": mtime},
                "/etc/containerd/certs.d": {"directory": True, "listed": True, "complete": True},
            }
        )
        material = _docs(
            ("versions.txt", "containerd github.com/containerd/containerd/v2 2.1.9"),
            ("etc/containerd/config.toml", config),
            ("units.json", units),
            ("stat.json", stat),
        )
        facts = _facts("containerd.state", material, _scene())
        assert facts["containerd.newer_than_process"] is newer
        assert facts["containerd.active"] is True
        assert _facts("hosts_toml.read", material, _scene())["hosts_toml.dir_exact"] is False


def test_without_times_nothing_is_said_of_staleness() -> None:
    material = _docs(
        ("versions.txt", "containerd github.com/containerd/containerd/v2 2.1.9"),
        ("etc/containerd/config.toml", "version = 3\n"),
    )
    assert "containerd.newer_than_process" not in _facts("containerd.state", material, _scene())


def test_a_refused_file_is_evidence_that_says_how_to_supply_it() -> None:
    refused = Document(
        "nodes/n1/etc/rancher/k3s/registries.yaml", outcome=Outcome.DENIED, detail="permission denied", source="cat"
    )
    material = Material([refused, Document("nodes/n1/versions.txt", "k3s version v1.30.4+k3s1 (x)")])
    (evidence,) = _evidence("k3s.read", material, _scene())
    assert evidence.outcome is Outcome.DENIED
    assert evidence.by_hand == "sudo cat /etc/rancher/k3s/registries.yaml"
    assert not evidence.facts


def test_k3s_facts_do_not_apply_to_kubeadm() -> None:
    material = _docs(
        ("versions.txt", "Kubernetes v1.34.4\ncontainerd 1.7.24"), ("etc/containerd/config.toml", "version = 2\n")
    )
    facts = _facts("k3s.read", material, _scene())
    assert facts["k3s.file_ok"] is None
    assert facts["k3s.keys_dropped"] == ()


def test_files_of_a_node_never_raise() -> None:
    for text in ("", "\0", "[", "{", "version = [", "- \t- :"):
        paths = ("versions.txt", "etc/containerd/config.toml", "etc/containerd/certs.d/h.example.com/hosts.toml", "units.json", "stat.json", "crictl-info.json", "df.txt", "node.json", "containerd.log", "etc/rancher/k3s/registries.yaml", "etc/docker/daemon.json", "var/lib/kubelet/config.json")  # fmt: skip
        material = _docs(*((path, text) for path in paths))
        for probe in (*runtime.PROBES, *host.PROBES):
            list(probe.read(material, _scene(text)))
            list(probe.wants(material, _scene(text)))


def test_proxy_of_the_process_and_who_is_exempt() -> None:
    material = _docs(
        ("environ-containerd.txt", "HTTPS_PROXY=http://u:pw@p.corp:3128\nNO_PROXY=10.0.0.0/8\n"),
        ("etc/environment", ""),
    )
    facts = _facts("proxy.read", material, _scene())
    assert facts["proxy.exempt"] is False
    assert "p.corp:3128" in str(facts["proxy.in_runtime"])


def _asked_by_proxy(material: Material) -> list[tuple[str, str, str]]:
    by_id = {item.id: item for item in host.PROBES}
    wants = by_id["proxy.read"].wants(material, replace(_scene(), vantage="desk"))
    return [
        (one.request.url, one.request.vantage, one.request.proxy)
        for one in wants
        if isinstance(one, Fetch) and one.request.purpose == "proxy"
    ]


def test_the_proxy_is_asked_for_the_registry_from_the_node() -> None:
    url, node = "https://h.example.com/v2/", "node/n1"
    own = _docs(("environ-containerd.txt", "HTTPS_PROXY=http://p.corp:3128\n"))
    assert _asked_by_proxy(own) == [(url, node, "http://p.corp:3128")]
    beside = _docs(
        ("environ-containerd.txt", "PATH=/usr/bin\n"), ("etc/environment", "https_proxy=http://p.corp:3128\n")
    )
    assert _asked_by_proxy(beside) == [(url, node, "http://p.corp:3128")]
    # The runtime goes past its proxy; a proxy with a login is a credential; without any there is nobody to ask.
    for environ in (
        "HTTPS_PROXY=http://p.corp:3128\nNO_PROXY=.example.com\n",
        "HTTPS_PROXY=http://me:secret@p.corp:3128\n",
        "PATH=/usr/bin\n",
    ):
        assert not _asked_by_proxy(_docs(("environ-containerd.txt", environ)))


def test_what_the_proxy_answers_is_no_answer_of_the_way_without_it() -> None:
    def exchange(purpose: str, **more: object) -> dict[str, object]:
        return {"url": "https://h.example.com/v2/", "vantage": "node/n1", "purpose": purpose, **more}

    direct, tunnel = (
        exchange("ping", dns="ok", tcp="timeout"),
        exchange("proxy", tcp="open", proxy="http://p.corp:3128", proxy_answer="tunnel", status=401),
    )
    material = _docs(
        ("environ-containerd.txt", "PATH=/usr/bin\n"),
        ("etc/environment", "https_proxy=http://p.corp:3128\n"),
        ("exchanges.json", json.dumps([direct, tunnel])),
    )
    facts = _facts("proxy.read", material, _scene())
    assert (facts["proxy.answer"], facts["proxy.required"]) == ("tunnel", True)
    assert not _asked_by_proxy(material)
    seen = registry_of(material, _scene())
    assert [one.exchange.purpose for one in seen.seen] == ["ping"]
    refused = exchange("proxy", tcp="open", proxy="http://p.corp:3128", proxy_answer="403")
    material = _docs(
        ("environ-containerd.txt", "HTTPS_PROXY=http://p.corp:3128\n"),
        ("exchanges.json", json.dumps([exchange("ping", dns="ok", tcp="open", status=401), refused])),
    )
    facts = _facts("proxy.read", material, _scene())
    assert (facts["proxy.answer"], facts["proxy.required"]) == ("403", False)


def test_a_proxy_beside_the_process_is_elsewhere() -> None:
    material = _docs(
        ("environ-containerd.txt", "PATH=/usr/bin\n"), ("etc/environment", "https_proxy=http://p.corp:3128\n")
    )
    facts = _facts("proxy.read", material, _scene())
    assert (facts["proxy.in_runtime"], facts["proxy.elsewhere"]) == ("", "etc-environment")


def test_a_drop_in_that_is_newer_than_the_process_is_not_in_it() -> None:
    dropin = "etc/systemd/system/containerd.service.d/proxy.conf"
    stat = json.dumps({f"/{dropin}": {"mtime": 2000.0}})
    units = json.dumps({"containerd": {"active": True, "since": 1000.0}})
    material = _docs(
        (dropin, '[Service]\nEnvironment="HTTPS_PROXY=http://p.corp:3128"\n'),
        ("stat.json", stat),
        ("units.json", units),
    )
    facts = _facts("proxy.read", material, _scene())
    assert (facts["proxy.in_runtime"], facts["proxy.elsewhere"]) == ("", "unit-not-reloaded")


def test_a_login_where_the_kubelet_does_not_look() -> None:
    login = json.dumps({"auths": {"h.example.com": {"auth": "YTpi"}}})
    facts = _facts("kubelet.read", _docs(("root/.docker/config.json", login)), _scene())
    assert facts["kubelet.login_unread"] == "/root/.docker/config.json"
    assert "kubelet.login_file" not in facts
    facts = _facts(
        "kubelet.read", _docs(("root/.docker/config.json", login), ("environ-kubelet.txt", "HOME=/root\n")), _scene()
    )
    assert facts["kubelet.login_file"] == "/root/.docker/config.json"
    assert facts["kubelet.login_serves"] is True


def test_a_machine_of_an_unknown_runtime_is_a_docker_client_where_docker_failed() -> None:
    login = ("root/.docker/config.json", json.dumps({"auths": {"h.example.com": {"auth": "YTpi"}}}))
    failed = _scene("Error response from daemon: pull access denied for h.example.com/p/app")
    assert _facts("client.read", _docs(login), failed)["client.login_hosts"] == ("h.example.com",)
    assert "client.login_hosts" not in _facts("client.read", _docs(login), _scene("ErrImagePull: EOF"))
    containerd = _docs(login, ("versions.txt", "containerd github.com/containerd/containerd/v2 2.1.9"))
    assert "client.login_hosts" not in _facts("client.read", containerd, failed)


def test_dollar_in_double_quotes_is_eaten_by_the_shell() -> None:
    for typed, expected in (
        ('-u "robot$p+ci" -p x', True),
        ("-u 'robot$p+ci' -p x", False),
        ('-u "robot\\$p+ci" -p x', False),
        ("-u robot$p+ci -p x", True),
    ):
        material = Material([Document("login.txt", f"$ docker login h.example.com {typed}")])
        assert _facts("client.read", material, _scene())["client.shell_expanded"] is expected


def test_names_in_go_s_words() -> None:
    text = 'failed to do request: Head "https://h.example.com/v2/": dial tcp: lookup h.example.com on 10.0.0.1:53: server misbehaving'
    (found,) = [
        item
        for item in _evidence("dns.read", _docs(("arch.txt", "x86_64")), _scene(text))
        if "dns.answer" in item.facts
    ]
    assert found.facts["dns.answer"] == "servfail"
    assert str(found.target) == "node/n1 registry/h.example.com host/h.example.com"


def test_least_free_space_counts_inodes_too() -> None:
    text = "Filesystem Size Used Avail Use% Mounted on\n/dev/a 9G 1G 8G 11% /\nFilesystem Inodes IUsed IFree IUse% Mounted on\n/dev/a 100 99 1 99% /\n"
    assert _facts("disk.read", _docs(("df.txt", text)), _scene())["disk.free"] == 1.0


def test_first_round_asks_each_node_once() -> None:
    wants = [want for probe in (*runtime.PROBES, *host.PROBES) for want in probe.wants(Material(), _scene())]
    files = [want.item.path for want in wants if isinstance(want, NodeItem) and isinstance(want.item, File)]
    assert "/etc/containerd/config.toml" in files
    assert "/etc/rancher/k3s/registries.yaml" in files

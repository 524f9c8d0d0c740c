"""The live clients against a real kubelet, containerd, sshd, API server and registry."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from app.clients.clock import SystemClock
from app.clients.harbor import LiveHarbor
from app.clients.http import LiveHttp
from app.clients.known_hosts import Verdict
from app.clients.kube import Connection, LiveKube, LiveKubeWriter, list_all
from app.clients.kubeconfig import KubeOptions
from app.clients.ssh import Links, LiveNodes
from app.clients.ssh_config import SshSettings, resolve
from app.clients.ssh_link import ParamikoLink, SystemLink
from app.clients.ssh_writer import SshWriter
from app.errors import RefusedError, UsageError, VerifyFailedError
from app.model.evidence import Outcome
from app.model.material import Document, Material
from app.ports import Command, Credential, File, HttpRequest, Item, Journal, NodeRound, Tree
from tests.live.conftest import NODE

ITEMS: tuple[Item, ...] = (
    File("/etc/containerd/config.toml"), Tree("/etc/containerd/certs.d"), Tree("/etc/containerd/conf.d"), File("/root/.docker/config.json"),
    File("/etc/rancher/k3s/registries.yaml"), Command("containerd-config-dump"), Command("crictl-info"), Command("versions"), Command("unit"),
    Command("df"), Command("arch"), Command("os-ca"), Command("environ", ("containerd",)), Command("plugins"), Journal("containerd", lines=50),
)  # fmt: skip


@pytest.fixture
def settings(lab: Mapping[str, str]) -> SshSettings:
    return SshSettings(config=lab["LAB_SSH_CONFIG"], connect_timeout=5)


@pytest.fixture
def links(settings: SshSettings) -> Iterator[Links]:
    made = Links(settings)
    yield made
    made.close()


@pytest.fixture
def lab_ca(lab: Mapping[str, str]) -> str:
    return Path(lab["LAB_REGISTRY_CA"]).read_text()


def by_name(answer: NodeRound, node: str = NODE) -> dict[str, Document]:
    return {document.path.removeprefix(f"nodes/{node}/"): document for document in answer.documents}


# --- nodes ---


async def test_a_round_as_root(links: Links, on_machine: Callable[..., str]) -> None:
    answer = await LiveNodes(links).read(NODE, ITEMS)
    found = by_name(answer)
    assert (answer.outcome, answer.user, answer.sudo, len(answer.pings)) == (Outcome.OBSERVED, "root", True, 5)
    assert found["etc/containerd/config.toml"].text == on_machine(NODE, "cat", "/etc/containerd/config.toml")
    assert found["etc/containerd/conf.d"].absent
    assert found["root/.docker/config.json"].absent
    units = json.loads(found["units.json"].text)
    assert units["containerd"]["active"] is True
    assert abs(units["containerd"]["since"] - SystemClock().now()) < 86400
    assert "docker" not in units
    assert found["containerd-config-dump.toml"].text.startswith(("disabled_plugins", "version"))
    assert "runtimeType" in found["crictl-info.json"].text
    assert "PATH=" in found["environ-containerd.txt"].text
    stamp = json.loads(found["time.json"].text)
    assert stamp["error_bound_s"] < 0.5
    material = Material(answer.documents)
    assert material.node_files(NODE, "/etc/containerd/certs.d")
    digest = on_machine(NODE, "sha256sum", "/etc/containerd/config.toml").split()[0]
    assert json.loads(found["stat.json"].text)["/etc/containerd/config.toml"]["sha256"] == digest


@pytest.mark.parametrize(("user", "sudo"), [("ops", True), ("dev", False)])
async def test_a_round_as_an_ordinary_user(lab: Mapping[str, str], user: str, sudo: bool) -> None:
    links = Links(SshSettings(config=lab["LAB_SSH_CONFIG"], user=user))
    try:
        answer = await LiveNodes(links).read(NODE, ITEMS)
    finally:
        links.close()
    found = by_name(answer)
    assert (answer.user, answer.sudo) == (user, sudo)
    assert found["etc/containerd/config.toml"].text
    assert found["containerd-config-dump.toml"].text
    for name in ("crictl-info.json", "environ-containerd.txt", "plugins.txt", "containerd.log"):
        assert (found[name].outcome is Outcome.OBSERVED) is sudo, name
        assert sudo or ("sudo -n" in found[name].detail and not found[name].text)
    # Below /root nothing can be seen without root: not there, or not known.
    assert found["root/.docker/config.json"].absent is sudo
    assert (found["root/.docker/config.json"].outcome is Outcome.DENIED) is not sudo


async def test_a_connection_is_kept_and_made_again_when_it_was_lost(links: Links) -> None:
    nodes = LiveNodes(links)
    await nodes.read(NODE, [Command("arch")])
    first = links.get(NODE)
    await nodes.read(NODE, [Command("arch")])
    assert links.get(NODE) is first
    assert isinstance(first, ParamikoLink)
    first.transport.sock.shutdown(socket.SHUT_RDWR)
    assert (await nodes.read(NODE, [Command("arch")])).outcome is Outcome.OBSERVED


async def test_a_hanging_node_does_not_hold_up_the_others(lab: Mapping[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = tmp_path / "config"
        file.write_text(
            f"Include {lab['LAB_SSH_CONFIG']}\nHost hangs\n  HostName 127.0.0.1\n  Port {silent.getsockname()[1]}\n"
        )
        links = Links(SshSettings(config=str(file), connect_timeout=8))
        nodes = LiveNodes(links, timeout=20)
        hanging = asyncio.create_task(nodes.read("hangs", [Command("arch")]))
        assert (await nodes.read(NODE, [Command("arch")])).outcome is Outcome.OBSERVED
        assert not hanging.done()
        assert (await hanging).outcome is Outcome.TIMED_OUT
        links.close()


async def test_names_that_nobody_knows_and_ports_that_nobody_serves(lab: Mapping[str, str]) -> None:
    links = Links(SshSettings(config=lab["LAB_SSH_CONFIG"], addresses={"closed": "127.0.0.1"}, port=1))
    nodes = LiveNodes(links)
    assert (await nodes.read("no-such-node.invalid", [Command("arch")])).outcome is Outcome.UNREACHABLE
    assert "refused" in (await nodes.read("closed", [Command("arch")])).detail.lower()


async def test_a_refused_user_is_denied(lab: Mapping[str, str]) -> None:
    links = Links(SshSettings(config=lab["LAB_SSH_CONFIG"], user="nobody-here"))
    answer = await LiveNodes(links).read(NODE, [Command("arch")])
    assert answer.outcome is Outcome.DENIED
    assert "nobody-here" in answer.detail


async def test_host_keys_are_asked_about_and_never_taken(lab: Mapping[str, str], tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    file = tmp_path / "config"
    file.write_text(
        f"Host *\n  UserKnownHostsFile {known}\n  StrictHostKeyChecking no\nInclude {lab['LAB_SSH_CONFIG']}\n"
    )
    links = Links(SshSettings(config=str(file)))
    nodes = LiveNodes(links)
    answer = await nodes.read(NODE, [Command("arch")])
    assert answer.outcome is Outcome.UNREACHABLE
    assert "SHA256:" in answer.detail
    assert not known.exists()
    (problem,) = nodes.problems
    assert (problem.node, problem.verdict) == (NODE, Verdict.UNKNOWN)
    nodes.accept(problem)
    answer = await nodes.read(NODE, [Command("arch")])
    assert answer.outcome is Outcome.OBSERVED
    assert "not obeyed" in answer.detail
    assert nodes.problems == ()
    links.close()
    other = known.read_text().split()
    damaged = other[2][:-8] + "AAAAAAAA"
    known.write_text(f"{other[0]} {other[1]} {damaged}\n")
    again = LiveNodes(Links(SshSettings(config=str(file))))
    assert "not the known one" in (await again.read(NODE, [Command("arch")])).detail
    with pytest.raises(UsageError):
        again.accept(again.problems[0])


async def test_through_a_jump_host(lab: Mapping[str, str]) -> None:
    links = Links(SshSettings(config=lab["LAB_SSH_CONFIG"], jump="harbor"))
    answer = await LiveNodes(links).read(NODE, [Command("arch")])
    assert answer.outcome is Outcome.OBSERVED
    link = links.get(NODE)
    assert isinstance(link, ParamikoLink)
    assert [hop.name for hop in link.target.jumps] == ["harbor"]
    links.close()


async def test_the_systems_ssh_does_the_same(lab: Mapping[str, str], settings: SshSettings, lab_ca: str) -> None:
    link = SystemLink(resolve(NODE, settings), settings, "for the test")
    links = Links(settings)
    links._links[NODE] = link
    answer = await LiveNodes(links).read(NODE, [Command("arch"), File("/etc/hosts")])
    assert answer.outcome is Outcome.OBSERVED
    assert "for the test" in answer.detail
    http = LiveHttp(links)
    found = await http.exchange(
        HttpRequest(f"https://{lab['LAB_REGISTRY']}/v2/", vantage=f"node/{NODE}", anchors_pem=lab_ca)
    )
    assert found.status == 401
    found = await http.exchange(HttpRequest(f"https://{lab['LAB_REGISTRY']}:4444/", vantage=f"node/{NODE}"))
    assert found.tcp == "refused"
    found = await http.exchange(HttpRequest("https://no-such-name.lab.test/", vantage=f"node/{NODE}"))
    assert found.dns == "nxdomain"
    links.close()


# --- HTTP from a node ---


async def test_trust_from_a_node(lab: Mapping[str, str], links: Links) -> None:
    answer = await LiveNodes(links).read(NODE, [Tree("/etc/containerd/certs.d")])
    anchors = by_name(answer)[f"etc/containerd/certs.d/{lab['LAB_REGISTRY']}/ca.crt"].text
    http = LiveHttp(links)
    url = f"https://{lab['LAB_REGISTRY']}/v2/"
    found = await http.exchange(HttpRequest(url, vantage=f"node/{NODE}"))
    assert found.tls is not None
    assert (found.tcp, found.tls.verified, found.status) == ("open", False, None)
    assert found.tls.chain
    found = await http.exchange(
        HttpRequest(url, vantage=f"node/{NODE}", anchors_pem=anchors, anchors_name="hosts.toml ca")
    )
    assert found.tls is not None
    assert (found.tls.verified, found.status) == (True, 401), found.error
    assert found.headers["www-authenticate"].startswith("Bearer ")
    assert found.ms is not None
    assert found.ms < 30, "sshd holds small packets back"


@pytest.mark.parametrize(
    ("url", "dns", "tcp", "tls", "status"),
    [
        ("http://{plain}/v2/", "ok", "open", None, 200),
        ("https://{plain}/v2/", "ok", "open", "plain-http", None),
        ("https://{host}:4444/v2/", "ok", "refused", None, None),
        ("https://no-such-name.lab.test/v2/", "nxdomain", "", None, None),
        ("https://192.0.2.1/v2/", "", "unreachable", None, None),
        ("https://127.0.0.1:1/v2/", "", "refused", None, None),
    ],
)
async def test_layers_from_a_node(
    lab: Mapping[str, str], links: Links, url: str, dns: str, tcp: str, tls: str | None, status: int | None
) -> None:
    url = url.format(plain=lab["LAB_REGISTRY_PLAIN"], host=lab["LAB_REGISTRY"])
    found = await LiveHttp(links).exchange(HttpRequest(url, vantage=f"node/{NODE}", timeout=8))
    assert (found.dns, found.tcp, found.tls.state if found.tls else None, found.status) == (dns, tcp, tls, status), (
        found.error
    )


async def test_a_node_that_may_not_forward(
    lab: Mapping[str, str], links: Links, on_machine: Callable[..., str]
) -> None:
    on_machine(
        NODE,
        "sh",
        "-c",
        "cp /etc/ssh/sshd_config /tmp/sshd_config.was; sed -i '1i AllowTcpForwarding no' /etc/ssh/sshd_config; systemctl restart ssh",
    )
    try:
        found = await LiveHttp(links).exchange(
            HttpRequest(f"https://{lab['LAB_REGISTRY']}/v2/", vantage=f"node/{NODE}")
        )
    finally:
        on_machine(NODE, "sh", "-c", "cp /tmp/sshd_config.was /etc/ssh/sshd_config; systemctl restart ssh")
    assert (found.dns, found.tcp, found.tls) == ("", "", None)
    assert "forbids forwarding" in found.error
    assert "curl" in found.error


async def test_tokens_and_logins_through_a_node(lab: Mapping[str, str], links: Links, lab_ca: str) -> None:
    http = LiveHttp(links)
    base = f"https://{lab['LAB_REGISTRY']}"
    accept = {"Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"}
    common = {"vantage": f"node/{NODE}", "anchors_pem": lab_ca}
    found = await http.exchange(
        HttpRequest(f"{base}/v2/library/app/manifests/1.0", purpose="manifest-anon", headers=accept, **common)
    )
    assert (found.status, found.bearer) == (200, True)
    assert found.headers["docker-content-digest"] == f"sha256:{found.body_sha256}"
    found = await http.exchange(
        HttpRequest(f"{base}/v2/team/app/manifests/1.0", purpose="manifest-anon", headers=accept, **common)
    )
    assert found.status == 401
    good = Credential("admin", "Harbor12345", "test")
    found = await http.exchange(
        HttpRequest(
            f"{base}/v2/team/app/manifests/1.0", purpose="manifest-login", headers=accept, credential=good, **common
        )
    )
    assert (found.status, found.login) == (200, "test")
    token = await http.exchange(
        HttpRequest(
            f"{base}/service/token?service=harbor-registry&scope=repository:library/app:pull", purpose="token", **common
        )
    )
    assert str(token.token["kid"]).count(":") == 11


async def test_harbors_api(lab: Mapping[str, str], links: Links, lab_ca: str) -> None:
    harbor = LiveHarbor(
        LiveHttp(links),
        f"https://{lab['LAB_REGISTRY']}",
        Credential("admin", "Harbor12345", "test"),
        vantage=f"node/{NODE}",
        anchors_pem=lab_ca,
    )
    before = json.loads((await harbor.get("/projects/library")).body)["metadata"]["public"]
    status, _ = await harbor.write("PUT", "/projects/library", {"metadata": {"public": before}})
    assert status == 200
    status, _ = await harbor.write("PUT", "/projects/no-such-project", {"metadata": {"public": "true"}})
    assert status in (403, 404)


# --- writing on nodes ---


async def test_a_file_is_replaced_and_restored_to_the_byte(
    lab: Mapping[str, str], on_machine: Callable[..., str]
) -> None:
    links = Links(SshSettings(config=lab["LAB_SSH_CONFIG"], user="ops"))
    writer = SshWriter(links)
    path = f"/etc/containerd/certs.d/{lab['LAB_REGISTRY']}/hosts.toml"
    on_machine(NODE, "sh", "-c", f"cp -p {path} /tmp/was; chown 3000:3001 {path}; chmod 0640 {path}")
    look = lambda: on_machine(NODE, "sh", "-c", f"stat -c '%a %u:%g %Y' {path}; cat {path}")  # noqa: E731
    before = look()
    digest = on_machine(NODE, "sha256sum", path).split()[0]
    backup = f"{path}.harborpilot-test"
    try:
        with pytest.raises(RefusedError, match="not what was expected"):
            await writer.replace(NODE, path, "x", expect_sha256="0" * 64, backup=backup)
        text = "# é, a line and no newline at the end"
        made = await writer.replace(NODE, path, text, expect_sha256=digest, backup=backup)
        assert made == hashlib.sha256(text.encode()).hexdigest() == on_machine(NODE, "sha256sum", path).split()[0]
        assert look().split()[:2] == before.split()[:2]
        assert await writer.check_runtime_config(NODE) == ""
        with pytest.raises(RefusedError, match="left alone"):
            await writer.restore(NODE, path, backup=backup, expect_sha256=digest)
        await writer.restore(NODE, path, backup=backup, expect_sha256=made)
        assert look() == before
        left = on_machine(NODE, "sh", "-c", f"ls -a $(dirname {path})")
        assert "harborpilot" not in left
    finally:
        on_machine(NODE, "sh", "-c", f"cp -p /tmp/was {path}; chown 0:0 {path}; rm -f {backup} /tmp/was")
        links.close()


async def test_a_new_file_goes_with_the_folders_made_for_it(links: Links, on_machine: Callable[..., str]) -> None:
    writer = SshWriter(links)
    path = "/etc/containerd/certs.d/new.corp.example:5000/hosts.toml"
    made = await writer.replace(
        NODE, path, 'server = "https://new.corp.example:5000"\n', expect_sha256=None, mode="0600", backup=f"{path}.b"
    )
    assert on_machine(NODE, "stat", "-c", "%a %U", path).split() == ["600", "root"]
    with pytest.raises(RefusedError):
        await writer.replace(NODE, path, "x", expect_sha256=None, backup=f"{path}.b")
    await writer.restore(NODE, path, backup=None, expect_sha256=made)
    assert "new.corp.example" not in on_machine(NODE, "ls", "/etc/containerd/certs.d")


async def test_units_and_a_broken_configuration(links: Links, on_machine: Callable[..., str]) -> None:
    writer = SshWriter(links)
    path = "/etc/containerd/config.toml"
    text, digest = on_machine(NODE, "cat", path), on_machine(NODE, "sha256sum", path).split()[0]
    await writer.restart(NODE, "containerd")
    with pytest.raises(VerifyFailedError):
        await writer.restart(NODE, "no-such-unit")
    made = await writer.replace(
        NODE, path, text + "\n[[[ broken\n", expect_sha256=digest, backup=f"{path}.harborpilot-test"
    )
    said = await writer.check_runtime_config(NODE)
    await writer.restore(NODE, path, backup=f"{path}.harborpilot-test", expect_sha256=made)
    assert "toml" in said.lower()
    assert await writer.check_runtime_config(NODE) == ""
    assert on_machine(NODE, "cat", path) == text


async def test_a_user_without_sudo_writes_nothing(lab: Mapping[str, str], on_machine: Callable[..., str]) -> None:
    links = Links(SshSettings(config=lab["LAB_SSH_CONFIG"], user="dev"))
    before = on_machine(NODE, "sha256sum", "/etc/hosts")
    with pytest.raises(RefusedError, match="sudo") as caught:
        await SshWriter(links).replace(NODE, "/etc/hosts", "x", expect_sha256=before.split()[0], backup="/etc/hosts.b")
    assert "root" in caught.value.next_step
    assert on_machine(NODE, "sha256sum", "/etc/hosts") == before
    links.close()


# --- Kubernetes ---


@pytest.fixture
def kube(lab: Mapping[str, str]) -> LiveKube:
    return LiveKube(Connection(KubeOptions(kubeconfig=lab["KUBECONFIG"])))


async def test_objects_and_pages(kube: LiveKube) -> None:
    reply = await kube.get("/api/v1/nodes")
    names = {item["metadata"]["name"] for item in json.loads(reply.body)["items"]}
    assert NODE in names
    assert abs((reply.date or 0) - SystemClock().now()) < 60
    pages = [page async for page in list_all(kube, "/api/v1/events", limit=2)]
    whole = json.loads((await kube.get("/api/v1/events")).body)["items"]
    assert len(pages) >= 2
    assert abs(sum(len(page.items) for page in pages) - len(whole)) <= 3
    assert (await kube.get("/api/v1/namespaces/none/pods/none")).status == 404


async def test_what_a_viewer_may_not(lab: Mapping[str, str], core_pods: list[str]) -> None:
    viewer = LiveKube(Connection(KubeOptions(kubeconfig=lab["LAB_KUBECONFIG_VIEWER"])))
    reply = await viewer.get("/api/v1/secrets")
    assert (reply.outcome, reply.status) == (Outcome.DENIED, 403)
    assert "cannot list resource" in reply.detail
    assert await viewer.allowed("list", "pods") is True
    assert await viewer.allowed("list", "secrets") is False
    assert await viewer.allowed("create", "pods", "harbor", subresource="exec") is False
    assert (await viewer.exec("harbor", core_pods[0], "core", "date")).outcome is Outcome.DENIED


async def test_exec_in_core_pods(kube: LiveKube, core_pods: list[str]) -> None:
    assert len(core_pods) >= 2
    digests = set()
    for pod in core_pods:
        reply = await kube.exec("harbor", pod, "core", "sha256sum", "/etc/core/private_key.pem")
        assert reply.outcome is Outcome.OBSERVED, reply.detail
        digests.add(reply.body.split()[0])
        assert (
            abs(float((await kube.exec("harbor", pod, "core", "date", "-u", "+%s")).body) - SystemClock().now()) < 86400
        )
        ping = await kube.get(f"/api/v1/namespaces/harbor/pods/{pod}:8080/proxy/api/v2.0/ping")
        assert ping.status == 200
    assert len(digests) == 1
    reply = await kube.exec("harbor", core_pods[0], "core", "printenv-sha256", "PATH")
    assert len(reply.body.split()[0]) == 64
    assert (
        await kube.exec("harbor", core_pods[0], "core", "sha256sum", "/no/such/file")
    ).outcome is Outcome.UNSUPPORTED
    assert (await kube.exec("harbor", core_pods[0], "core", "cat", "/etc/passwd")).outcome is Outcome.UNSUPPORTED


async def test_as_is_obeyed_by_reads_and_by_exec(lab: Mapping[str, str], core_pods: list[str]) -> None:
    nobody = LiveKube(Connection(KubeOptions(kubeconfig=lab["KUBECONFIG"], as_user="someone", as_groups=("a", "b"))))
    assert (await nobody.get("/api/v1/pods")).outcome is Outcome.DENIED
    assert (await nobody.exec("harbor", core_pods[0], "core", "date")).outcome is Outcome.DENIED
    admin = LiveKube(
        Connection(KubeOptions(kubeconfig=lab["KUBECONFIG"], as_user="someone", as_groups=("a", "system:masters")))
    )
    assert (await admin.get("/api/v1/pods")).outcome is Outcome.OBSERVED


async def test_a_dry_run_is_checked_and_not_kept(lab: Mapping[str, str], kube: LiveKube) -> None:
    writer = LiveKubeWriter(Connection(KubeOptions(kubeconfig=lab["KUBECONFIG"])))
    path = "/api/v1/namespaces/default/configmaps"
    body = {"metadata": {"name": "harborpilot-test"}, "data": {"a": "b"}}
    assert (await writer.write("POST", path, body, dry_run=True)).status == 201
    assert (await kube.get(f"{path}/harborpilot-test")).status == 404
    assert (await writer.write("POST", path, {"metadata": {"name": "Not A Name"}}, dry_run=True)).status == 422


@pytest.fixture
def agent(lab: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent that holds the lab's key."""
    place = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if place.exists():
                break
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
        subprocess.run(["ssh-add", lab["LAB_SSH_KEY"]], check=True, capture_output=True)
        yield
    finally:
        process.terminate()
        process.wait(5)


@pytest.fixture
def config_with_proxy(lab: Mapping[str, str], tmp_path: Path) -> str:
    """An ssh_config without a key file, through a ProxyCommand."""
    address = resolve(NODE, SshSettings(config=lab["LAB_SSH_CONFIG"])).host
    file = tmp_path / "config"
    file.write_text(
        f"Host {NODE}\n  HostName {address}\n  HostKeyAlias {NODE}\n  User root\n  IdentityFile {tmp_path}/none\n"
        f"  UserKnownHostsFile {lab['LAB_KNOWN_HOSTS']}\n  ProxyCommand ssh -F {lab['LAB_SSH_CONFIG']} -W %h:%p harbor\n"
    )
    return str(file)


@pytest.mark.usefixtures("agent")
async def test_an_agent_and_a_proxy_command(config_with_proxy: str) -> None:
    links = Links(SshSettings(config=config_with_proxy))
    answer = await LiveNodes(links).read(NODE, [Command("arch")])
    assert answer.outcome is Outcome.OBSERVED, answer.detail
    links.close()

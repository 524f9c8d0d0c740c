from __future__ import annotations

from dataclasses import replace

from app.parsers.containerd_config import parse_config
from app.parsers.dockerconfig import parse_dockerconfig
from app.parsers.hosts_toml import parse_hosts_toml
from app.parsers.k3s_registries import parse_registries
from app.pullplan.cured import cured_by
from app.pullplan.inputs import CertsDir, Failure, HostsDir, K3sSetup, NodeSetup, PlanInputs, PullSecret, View, there
from app.pullplan.near import near_config_key
from app.pullplan.plan import plan_pull, split_image
from app.pullplan.repairs_k3s import endpoint_authorities

IMAGE = "h.example.com/p/app:1"
URL = "https://h.example.com/v2/p/app/manifests/1"
CA = "/etc/containerd/certs.d/h.example.com/ca.crt"
READ = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n'
HOSTS = f'server = "https://h.example.com"\nca = "{CA}"\n[host."https://h.example.com"]\nca = "{CA}"\n'
TRUST = Failure("trust", URL)
VIEWS = {"h.example.com:443": View(frozenset({"https"}), trusted_by={"os": False, CA: True})}


def _node(config: str = READ, version: str = "1.7.24", *dirs: HostsDir) -> NodeSetup:
    return NodeSetup(
        "n1", "containerd", version, "kubeadm", parse_config(config, "/etc/containerd/config.toml"),
        certs=(CertsDir("/etc/containerd/certs.d", dirs, complete=True),), newer_than_process=False,
    )  # fmt: skip


def _dir(name: str = "h.example.com", text: str = HOSTS) -> HostsDir:
    return HostsDir(name, parse_hosts_toml(text, f"/etc/containerd/certs.d/{name}/hosts.toml"), text)


def _inputs(node: NodeSetup, failure: Failure = TRUST, image: str = IMAGE, **more: object) -> PlanInputs:
    return PlanInputs(image, node, secrets=(), node_logins=(), views=VIEWS, failure=failure, **more)  # type: ignore[arg-type]


def test_hosts_in_order_with_their_source() -> None:
    text = '[host."https://mirror.example.com/v2/hub"]\noverride_path = true\ncapabilities = ["pull", "resolve"]\n'
    plan = plan_pull(_inputs(_node(READ, "1.7.24", _dir("docker.io", text)), Failure(), "nginx"))
    assert [line.request for line in plan.hosts] == [
        "HEAD https://mirror.example.com/v2/hub/library/nginx/manifests/latest?ns=docker.io",
        "HEAD https://registry-1.docker.io/v2/library/nginx/manifests/latest",
    ]
    assert [line.host.role for line in plan.hosts] == ["mirror", "fallback"]
    assert plan.hosts[0].host.source == "/etc/containerd/certs.d/docker.io/hosts.toml:1"


def test_winner_is_the_first_host_that_answers() -> None:
    plan = plan_pull(_inputs(_node(READ, "1.7.24", _dir())))
    assert plan.winner == 1
    assert plan_pull(_inputs(_node("version = 2\n", "1.7.24", _dir()))).winner is None


def test_a_directory_with_port_serves_no_image_without() -> None:
    cures = cured_by(_inputs(_node(READ, "1.7.24", _dir("h.example.com:443"))))
    assert cures.findings == ("registry-key-not-image-host",)
    assert cures.complete


def test_an_empty_folder_of_the_right_name_hides_no_misnamed_entry() -> None:
    empty = HostsDir("h.example.com")
    cures = cured_by(_inputs(_node(READ, "2.1.5", empty, _dir("h.example.com:443"))))
    assert cures.findings == ("registry-key-not-image-host",)
    assert cured_by(_inputs(_node(READ, "2.1.5", empty))).findings == ()


def test_a_second_registry_on_the_host_is_not_a_misnamed_entry() -> None:
    other = _dir("h.example.com:5000", 'server = "http://h.example.com:5000"\n[host."http://h.example.com:5000"]\n')
    cures = cured_by(_inputs(_node(READ, "1.7.24", other)))
    assert cures.findings == ()
    assert cures.complete


def test_wrong_plugin_id() -> None:
    config = READ.replace("grpc.v1.cri", "cri.v1.images")
    assert cured_by(_inputs(_node(config, "1.7.24", _dir()))).findings == ("containerd-plugin-id-wrong",)
    assert cured_by(_inputs(_node(config, "1.7.24"))).findings == (), "repaired, it would still trust nothing"


def test_certs_d_without_config_path() -> None:
    assert cured_by(_inputs(_node("version = 2\n", "1.7.24", _dir()))).findings == ("certs-d-not-enabled",)
    assert cured_by(_inputs(_node("version = 3\n", "2.2.5", _dir()))).findings == ("certs-d-multi-root",)


def test_a_stale_process_is_convicted_only_when_known() -> None:
    node = _node(READ, "2.1.5", _dir())
    assert cured_by(_inputs(replace(node, newer_than_process=True))).findings == ("config-not-restarted",)
    unknown = cured_by(_inputs(replace(node, newer_than_process=None)))
    assert unknown.findings == ()
    assert unknown.undecided == ("config-not-restarted",)
    untrusted = _node(READ, "2.1.5")
    assert cured_by(_inputs(replace(untrusted, newer_than_process=True))).findings == ()


def test_hosts_file_that_cannot_be_read() -> None:
    broken = HOSTS.replace('ca.crt"\n[', "ca.crt\n[", 1)
    assert cured_by(_inputs(_node(READ, "1.7.24", _dir(text=broken)))).findings == ("hosts-toml-unparseable",)


def test_no_host_table_matters_to_1_7_31_only() -> None:
    bare = f'server = "https://h.example.com"\nca = "{CA}"\n'
    assert cured_by(_inputs(_node(READ, "1.7.24", _dir(text=bare)))).findings == ("hosts-toml-without-host-table",)
    assert plan_pull(_inputs(_node(READ, "1.7.32", _dir(text=bare)))).winner == 1


def test_a_healthy_node_has_what_this_one_lacks() -> None:
    healthy = replace(_node(READ, "1.7.24", _dir()), name="n2")
    inputs = _inputs(_node(READ, "1.7.24"), healthy=(healthy,))
    # The CA lies on the healthy node only, so what it is worth is known from there.
    view = replace(VIEWS["h.example.com:443"], trusted_by={"os": False, there("n2", CA): True})
    assert cured_by(replace(inputs, views={"h.example.com:443": view})).findings == ("node-lacks-config",)
    other = replace(view, trusted_by={"os": False, there("n2", CA): False})
    assert cured_by(replace(inputs, views={"h.example.com:443": other})).findings == ()
    unread = cured_by(inputs)
    assert (unread.findings, unread.undecided) == ((), ("node-lacks-config",))


def test_ctr_would_pass_through_the_cri() -> None:
    assert cured_by(_inputs(_node(READ, "1.7.24", _dir()), replace(TRUST, client="ctr"))).findings == (
        "ctr-is-not-cri",
    )


def _k3s(text: str, **more: object) -> NodeSetup:
    generated = NodeSetup(
        "n1", "containerd", "1.7.24", "k3s", parse_config(READ, "/var/lib/rancher/k3s/agent/etc/containerd/config.toml")
    )
    setup = K3sSetup(
        parse_registries(text),
        text,
        "/etc/rancher/k3s/registries.yaml",
        True,
        template="none",
        newer_than_process=False,
        release="v1.30.4+k3s1",
    )
    certs = (CertsDir("/etc/containerd/certs.d", complete=True),)
    return replace(generated, certs=certs, newer_than_process=False, k3s=replace(setup, **more))  # type: ignore[arg-type]


def test_k3s_repairs() -> None:
    good = f"configs:\n  h.example.com:\n    tls: {{ca_file: {CA}}}\n"
    assert cured_by(_inputs(_k3s(good, newer_than_process=True))).findings == ("k3s-registries-not-loaded",)
    assert cured_by(_inputs(_k3s(good, template="full"))).findings == ("k3s-template-overrides",)
    assert cured_by(_inputs(_k3s(good.replace("  h.ex", "  https://h.ex")))).findings == ("k3s-configs-key-mismatch",)
    assert cured_by(_inputs(_k3s(good.replace("configs", "config")))).findings == ("k3s-key-dropped",)
    made_up = "mirrors:\n  corp:\n    endpoint: ['https://h.example.com']\n" + good.replace("  h.example.com", "  corp")
    assert cured_by(_inputs(_k3s(made_up))).findings == ("k3s-configs-key-mismatch",)


def test_a_login_under_the_mirror_s_name_is_meant_for_the_endpoint_that_refused() -> None:
    text = "mirrors:\n  up.example:\n    endpoint: ['https://h.example.com']\nconfigs:\n  up.example:\n    auth: {username: a}\n"
    registries = parse_registries(text)
    asked = endpoint_authorities(registries, "up.example")
    assert near_config_key(registries, asked, "h.example.com") == ("up.example", "h.example.com")
    assert near_config_key(registries, asked, "up.example") == ("", "")
    assert near_config_key(registries, ("h.example.com",), "h.example.com") == ("", "")  # the image names the endpoint
    failure = Failure("credential", "https://h.example.com/v2/p/app/manifests/1")
    inputs = replace(_inputs(_k3s(text), failure, "up.example/p/app:1"), secrets=(), node_logins=())
    assert cured_by(inputs).findings == ("k3s-configs-key-mismatch",)


def test_pull_secrets_come_before_the_node_s_file_and_shut_out_its_login() -> None:
    entries = parse_dockerconfig('{"auths": {"h.example.com": {"auth": "YTpi"}}}').entries
    inputs = replace(
        _inputs(_node(READ, "1.7.24", _dir())), node_logins=entries, node_login_file="/var/lib/kubelet/config.json"
    )
    assert plan_pull(inputs).credential.kind == "kubelet-file"
    with_secret = replace(inputs, secrets=(PullSecret("pull", entries),))
    assert plan_pull(with_secret).credential.kind == "pull-secret"
    assert [item.source for item in plan_pull(with_secret).credential.candidates] == [
        "secret pull",
        "/var/lib/kubelet/config.json",
    ]
    assert plan_pull(replace(inputs, secrets=None, node_logins=())).credential.kind is None


def test_split_image() -> None:
    assert split_image("nginx") == ("docker.io", "library/nginx", "latest")
    assert split_image("h.example.com:5000/a/b@sha256:12") == ("h.example.com:5000", "a/b", "sha256:12")


def test_a_mirror_entry_that_leads_elsewhere_misses_by_its_name() -> None:
    mirror = _dir("h.example.com", '[host."http://10.1.1.1:5000"]\n')
    failure = Failure("scheme", "https://h.example.com:5000/v2/p/app/manifests/1")
    views = {
        "h.example.com:5000": View(frozenset({"http"}), frozenset({"https"})),
        "10.1.1.1:5000": View(frozenset({"http"})),
    }
    inputs = replace(_inputs(_node(READ, "1.7.24", mirror), failure, "h.example.com:5000/p/app:1"), views=views)
    assert cured_by(inputs).findings == ("registry-key-not-image-host",)
    assert cured_by(replace(inputs, views={"h.example.com:5000": views["h.example.com:5000"]})).undecided == (
        "registry-key-not-image-host",
    )


def test_inline_mirrors_are_read_whatever_the_release() -> None:
    text = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."h.example.com"]\nendpoint = ["http://h.example.com:8080"]\n'
    plan = plan_pull(_inputs(_node(text, ""), Failure()))
    assert [line.host.url for line in plan.hosts] == ["http://h.example.com:8080/v2", "https://h.example.com/v2"]

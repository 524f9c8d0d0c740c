"""A node that is sent to a mirror: which host refused, and what the mirror itself says of the image."""

from __future__ import annotations

from app.model.case import Incident
from app.model.evidence import Of
from app.model.exchange import Exchange
from app.model.material import Document, Material
from app.parsers.exchanges import encode_exchanges
from app.probes.base import Fetch, Scene
from app.probes.registry import PROBES as REGISTRY
from app.probes.runtime import PROBES as RUNTIME
from tests.unit.pki import make

HUB, MIRROR = "registry.example", "harbor.corp.example"
FOLDER = f"nodes/n1/etc/containerd/certs.d/{HUB}"
ENTRY = f'server = "https://{HUB}"\n[host."https://{MIRROR}/v2/hub"]\ncapabilities = ["pull", "resolve"]\noverride_path = true\nca = "/etc/mirror-ca.crt"\n'
CONFIG = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
IMAGE = f"{HUB}/team/app:1"
REQUEST = f"https://{MIRROR}/v2/hub/team/app/manifests/1?ns={HUB}"
REFUSED = "failed to resolve image: pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"
BY_ID = {probe.id: probe for probe in (*REGISTRY, *RUNTIME)}


def _line(second: int, msg: str, **more: str) -> str:
    fields = "".join(f' {name}="{value}"' for name, value in more.items())
    return f'time="2026-11-27T02:51:{second}Z" level=info msg="{msg}"{fields}'


def _log(*between: str) -> str:
    quoted = f'\\"{IMAGE}\\"'
    return "\n".join(
        (_line(48, f"PullImage {quoted}"), *between, _line(51, f"PullImage {quoted} failed", error=REFUSED))
    )


FALLBACK = _line(50, "fetch failed", error=f"failed to do request: dial tcp {HUB}: no route to host", host=HUB)


def _material(log: str = "", entry: str = ENTRY, exchanges: tuple[Exchange, ...] = (), **files: str) -> Material:
    texts = {
        "nodes/n1/versions.txt": "$ containerd --version\ncontainerd github.com/containerd/containerd 1.7.24 x\n",
        "nodes/n1/containerd-config-dump.toml": CONFIG,
        "nodes/n1/etc/containerd/config.toml": CONFIG,
        f"{FOLDER}/hosts.toml": entry,
        **({"nodes/n1/containerd.log": log} if log else {}),
        **({"nodes/n1/exchanges.json": encode_exchanges(exchanges)} if exchanges else {}),
        **files,
    }
    return Material(Document(path, text) for path, text in texts.items())


def _scene() -> Scene:
    return Scene(Incident(image=IMAGE, registry=HUB, action="pull", nodes=("n1",)), now=1_795_748_000.0)


def _attempt(log: str, entry: str = ENTRY) -> dict[str, object]:
    (found,) = BY_ID["attempt.log"].read(_material(log, entry), _scene())
    return dict(found.facts)


def test_a_refusal_that_names_no_host_is_of_the_host_that_the_log_leaves_out() -> None:
    facts = _attempt(_log(FALLBACK))
    assert (facts["attempt.first_role"], facts["attempt.first_status"]) == ("mirror", 401)
    assert facts["attempt.hosts"] == (MIRROR, HUB)


def test_with_two_hosts_that_the_log_leaves_out_nothing_is_told() -> None:
    assert "attempt.first_role" not in _attempt(_log())


def test_where_only_the_mirror_is_asked_it_is_the_one() -> None:
    facts = _attempt(
        _log(), ENTRY.replace(f'server = "https://{HUB}"', f'server = "https://{MIRROR}/v2/hub"\noverride_path = true')
    )
    assert facts["attempt.first_role"] == "mirror"


def test_the_mirror_is_asked_for_the_image_with_the_anchors_of_its_entry() -> None:
    ca = make("Mirror CA", ca=True)
    given = _material(**{"nodes/n1/etc/mirror-ca.crt": ca.pem})
    wanted = [want.request for want in BY_ID["manifest.get"].wants(given, _scene()) if isinstance(want, Fetch)]
    assert [(one.method, one.url, one.vantage, one.purpose) for one in wanted] == [
        ("HEAD", REQUEST, "node/n1", "manifest-anon")
    ]
    assert wanted[0].anchors_pem is not None
    assert ca.pem.strip() in wanted[0].anchors_pem
    assert wanted[0].credential is None
    done = Exchange(REQUEST, "HEAD", vantage="node/n1", purpose="manifest-anon", tcp="open", status=401, bearer=True)
    after = _material(exchanges=(done,))
    assert [want for want in BY_ID["manifest.get"].wants(after, _scene()) if isinstance(want, Fetch)] == []


def test_what_the_mirror_says_is_the_mirrors() -> None:
    said = Exchange(REQUEST, "HEAD", vantage="node/n1", purpose="manifest-anon", tcp="open", status=401, bearer=True)
    other = Exchange(
        REQUEST.replace("team/app", "team/other"),
        "HEAD",
        vantage="node/n1",
        purpose="manifest-anon",
        tcp="open",
        status=200,
        bearer=True,
    )
    found = list(BY_ID["manifest.get"].read(_material(exchanges=(other, said)), _scene()))
    assert [(one.of, one.facts["manifest.anon_status"], one.target.get("node")) for one in found] == [
        (Of.MIRROR, 401, "n1")
    ]

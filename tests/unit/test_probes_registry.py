"""Probes of the registry on made-up material: who saw what, what follows, and what stays unknown."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from app.model.case import Incident
from app.model.evidence import Evidence, Of, Outcome, Value
from app.model.exchange import Exchange, TlsSeen
from app.model.material import Document, Material
from app.parsers.exchanges import encode_exchanges
from app.ports import Command, File, HttpRequest
from app.probes.base import Fetch, HarborPlace, KubeGet, NodeItem, Scene
from app.probes.registry import PROBES
from tests.unit.pki import NOW, Pair, make

HOST = "harbor.corp.example"
REALM = f'Bearer realm="https://{HOST}/service/token",service="harbor-registry"'
API = {"docker-distribution-api-version": "registry/2.0"}
BY_ID = {probe.id: probe for probe in PROBES}


def scene(**more: object) -> Scene:
    incident = Incident(
        image=f"{HOST}/team/app:1.0", registry=HOST, action="pull", nodes=("n1",), healthy_nodes=("n9",)
    )
    return replace(Scene(incident, now=NOW.timestamp()), **more)  # type: ignore[arg-type]


def material(
    operator: Iterable[Exchange] = (), node: Iterable[Exchange] = (), files: dict[str, str] | None = None
) -> Material:
    texts = dict(files or {})
    if operator := list(operator):
        texts["registry/exchanges.json"] = encode_exchanges(operator)
    if node := list(node):
        texts["nodes/n1/exchanges.json"] = encode_exchanges(node)
    return Material(Document(path, text) for path, text in texts.items())


def read(probe: str, given: Material, where: Scene | None = None) -> list[Evidence]:
    found = list(BY_ID[probe].read(given, where or scene()))
    for one in found:
        assert set(one.facts) <= set(BY_ID[probe].produces)
    assert len({one.key for one in found}) == len(found), "one record for each key"
    return found


def value(found: list[Evidence], fact: str, **where: str) -> list[Value]:
    return [
        one.facts[fact]
        for one in found
        if fact in one.facts and all(one.target.get(key.replace("_", "-")) == want for key, want in where.items())
    ]


def ping(**more: object) -> Exchange:
    base = Exchange(
        f"https://{HOST}/v2/",
        purpose="ping",
        tcp="open",
        status=401,
        headers={**API, "www-authenticate": REALM},
        tls=TlsSeen(),
    )
    return replace(base, **more)  # type: ignore[arg-type]


# --- who saw it -------------------------------------------------------------------------------------------------------


def test_the_desk_is_the_second_vantage_of_a_node() -> None:
    found = read("tcp.probe", material([ping()], [Exchange(f"https://{HOST}/v2/", purpose="ping", tcp="timeout")]))
    assert {(one.of, one.target.get("node"), one.facts["tcp.state"]) for one in found} == {
        (Of.ELSEWHERE, None, "open"),
        (Of.THIS, "n1", "timeout"),
    }


def test_a_connection_through_a_proxy_says_nothing_of_the_host() -> None:
    assert read("tcp.probe", material(node=[ping(proxy="http://proxy:3128", proxy_answer="tunnel")])) == []


def test_mirror_and_healthy_nodes_are_told_apart() -> None:
    files = {f"nodes/n1/etc/containerd/certs.d/{HOST}/hosts.toml": '[host."https://mirror.example:8443"]\n'}
    given = material(node=[ping(url="https://mirror.example:8443/v2/"), ping()], files=files)
    given = given.with_documents([Document("nodes/n9/exchanges.json", encode_exchanges([ping()]))])
    found = {(one.target.get("node"), one.target.get("host"), one.of) for one in read("tcp.probe", given)}
    assert found == {("n1", "mirror.example:8443", Of.MIRROR), ("n1", HOST, Of.THIS), ("n9", HOST, Of.HEALTHY)}


def test_another_port_is_another_registry() -> None:
    found = read("ping.get", material([ping(url=f"https://{HOST}:5443/v2/")]))
    assert value(found, "ping.is_registry", registry=HOST) == []


# --- API root and realm ----------------------------------------------------------------------------------------------


def test_what_a_challenge_says() -> None:
    found = read("ping.get", material([ping()]))
    assert value(found, "ping.is_harbor") == [True]
    assert value(found, "ping.realm") == [f"https://{HOST}/service/token"]
    assert value(found, "ping.plain_http") == [False]


def test_plain_http_port_and_port_80() -> None:
    at_5000 = scene()
    at_5000 = replace(
        at_5000, incident=replace(at_5000.incident, registry=f"{HOST}:5000", image=f"{HOST}:5000/team/app:1.0")
    )
    plain = Exchange(f"http://{HOST}:5000/v2/", purpose="ping", tcp="open", status=200, headers=API)
    assert value(read("ping.get", material([plain]), at_5000), "ping.plain_http") == [True]
    told = replace(plain, status=400, body="Client sent an HTTP request to an HTTPS server.\n")
    assert value(read("ping.get", material([told]), at_5000), "ping.plain_http") == [False]
    port80 = Exchange(f"http://{HOST}/v2/", purpose="ping", tcp="open", status=200, headers=API)
    found = read("ping.get", material([port80, Exchange(f"https://{HOST}/v2/", purpose="ping", tcp="refused")]))
    assert value(found, "ping.port80_http", registry=HOST) == [True]
    assert value(found, "ping.plain_http", registry=HOST) == []
    moved = replace(port80, status=308, headers={"location": f"https://{HOST}/v2/"})
    assert value(read("ping.get", material([moved])), "ping.port80_http", registry=HOST) == [False]


def test_a_web_page_is_no_registry_and_trouble_is_not_known() -> None:
    page = ping(status=200, headers={"content-type": "text/html"})
    assert value(read("ping.get", material([page])), "ping.is_registry") == [False]
    assert value(read("ping.get", material([ping(status=502, headers={})])), "ping.is_registry") == []


def test_realm_on_another_host_that_no_node_reaches() -> None:
    elsewhere = {
        **API,
        "www-authenticate": 'Bearer realm="https://core.internal/service/token",service="harbor-registry"',
    }
    tried = Exchange("https://core.internal/service/token?service=harbor-registry", purpose="token", dns="nxdomain")
    found = read("realm.probe", material([ping(headers=elsewhere)], [ping(headers=elsewhere), tried]))
    assert value(found, "realm.same_host") == [False]
    assert value(found, "realm.reachable", node="n1") == [False]


@pytest.mark.parametrize(
    ("status", "headers", "body", "answer"),
    [
        (200, {"content-type": "application/json"}, "", ["json"]),
        (401, {"content-length": "0"}, "", ["empty-401"]),
        (200, {"content-type": "text/html"}, "<!doctype html>", ["html"]),
        (400, {}, "Unable to handle service: x", ["400"]),
        (502, {"content-type": "text/html"}, "<html>", ["500"]),
        (302, {"location": "https://sso.example/"}, "", ["redirect"]),
        (403, {}, "", []),
    ],
)
def test_what_a_token_service_answers(status: int, headers: dict[str, str], body: str, answer: list[str]) -> None:
    asked = Exchange(
        f"https://{HOST}/service/token?service=harbor-registry",
        purpose="token",
        tcp="open",
        status=status,
        headers=headers,
        body=body,
    )
    assert value(read("realm.probe", material([ping(), asked])), "realm.answer") == answer


# --- tokens ------------------------------------------------------------------------------------------------------------


def minted(kid: str, **more: object) -> dict[str, object]:
    access = [{"type": "repository", "name": "team/app", "actions": []}]
    return {
        "kid": kid,
        "claims": {"iat": 1, "exp": 1801, "access": access},
        "issued_at": "2026-11-21T11:16:24Z",
        "date": "Sat, 21 Nov 2026 11:16:24 GMT",
    } | more


def test_two_keys_by_connection_and_the_right_of_nobody() -> None:
    files = {"harbor/tokens.json": json.dumps([minted("A"), minted("B"), minted("A")])}
    found = read("token.anon", material(files=files))
    assert value(found, "token.kid") == ["A", "B", "A"]
    assert len({one.target for one in found if "token.kid" in one.facts}) == 3
    assert value(found, "token.ttl") == [1800.0]
    assert value(found, "token.backends") == []
    assert value(read("manifest.get", material(files=files)), "manifest.anon_status") == [401]


def test_keys_by_pod_with_the_roster_of_ready_ones() -> None:
    def pod(name: str, ready: str) -> dict[str, object]:
        return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}

    files = {
        "harbor/core-pods.json": json.dumps(
            {"items": [pod("core-a", "True"), pod("core-b", "True"), pod("core-c", "False")]}
        ),
        "harbor/core-token-core-a.json": json.dumps({"token": "", "issued_at": "2026-11-21T11:16:24Z"}),
        "harbor/core-token-core-b.json": "<html>",
    }
    found = read("token.anon", material(files=files))
    assert value(found, "token.empty", core_pod="core-a") == [True]
    assert [one.target.get("core-pod") for one in found if one.outcome is Outcome.UNPARSABLE] == ["core-b"]
    assert value(found, "token.backends") == [1]
    assert {one.roster.get("core-pod") for one in found if one.outcome is Outcome.OBSERVED} == {("core-a", "core-b")}


def test_a_published_key_is_told() -> None:
    kid = "7WMA:KVXO:KF25:35NA:GJ35:ZGKY:PGYT:I5UT:TGWY:UUI4:PT7Z:X3KW"
    assert value(
        read("token.anon", material(files={"harbor/tokens.json": json.dumps([minted(kid)])})), "token.key_public"
    ) == [True]


def login(status: int, ms: float | None = None, scope: str = "", **more: object) -> Exchange:
    url = f"https://{HOST}/service/token?service=harbor-registry" + (f"&scope={scope}" if scope else "")
    base = Exchange(
        url, purpose="token-login", tcp="open", status=status, ms=ms, login="secret apps/pull", login_variant="exact"
    )
    return replace(base, **more)  # type: ignore[arg-type]


def test_each_try_of_a_login_with_its_time() -> None:
    found = read(
        "token.login",
        material([ping(), login(401, 3.0), login(401, 1530.0, login_variant="trimmed"), login(200, 12.0)]),
    )
    assert value(found, "token.login", secret="apps/pull") == [401, 200]
    assert value(found, "token.login_ms") == [3.0, 12.0]
    assert value(found, "token.login_trimmed") == [401]
    assert len({one.target.get("try") for one in found}) == 3


def test_rights_of_a_token_with_scope() -> None:
    claims = {"iat": 1, "exp": 2, "access": [{"type": "repository", "name": "team/app", "actions": ["pull"]}]}
    scoped = login(200, scope="repository:team/app:pull", token={"kid": "A", "claims": claims})
    found = read("token.login", material([ping(), scoped]))
    assert value(found, "token.actions") == [], "what a token of nobody grants is not this account's"
    assert value(found, "token.sub") == [""], "a bad login with a scope gives a token without a name"
    assert value(found, "token.login") == [401]
    named = replace(scoped, token={"kid": "A", "claims": {**claims, "sub": "robot$ci"}})
    found = read("token.login", material([ping(), named]))
    assert value(found, "token.actions") == [("pull",)]
    assert value(found, "token.login") == []
    other = login(
        200,
        scope="repository:other/app:pull",
        token={"claims": {"access": [{"type": "repository", "name": "other/app", "actions": []}]}},
    )
    assert value(read("token.login", material([ping(), other])), "token.actions") == []


def test_a_login_of_another_account_does_not_count() -> None:
    tried = login(401, login="account admin")
    assert read("token.login", material([ping(), tried]), scene(variables={"account": "robot$ci"})) == []


def test_bearer_refused_by_some() -> None:
    tries = [
        ping(purpose="bearer", bearer=True, status=status, backend=pod)
        for status, pod in ((200, "a"), (401, "b"), (200, "a"), (401, "b"))
    ]
    found = read("bearer.probe", material([ping(), *tries]))
    assert value(found, "bearer.refused_share") == [0.5]
    assert value(found, "bearer.per_pod") == ["all-or-nothing"]


# --- manifests, blobs, uploads ------------------------------------------------------------------------------------------


def manifest(status: int, body: str = "", method: str = "GET", **more: object) -> Exchange:
    base = Exchange(
        f"https://{HOST}/v2/team/app/manifests/1.0",
        method=method,
        purpose="manifest-login",
        login="transcript",
        tcp="open",
        status=status,
        body=body,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def test_the_challenge_to_an_anonymous_request_is_no_verdict() -> None:
    asked = manifest(401, login="", headers={"www-authenticate": REALM})
    assert read("manifest.get", material([ping(), asked])) == []


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("artifact team/app:1.0 not found", ("no-artifact",)),
        ("repository team/app not found", ("no-repository",)),
        ("resource not found: repo team/app, tag 1.0 not found", ("upstream-lacks",)),
        (
            "current image with 3 vulnerabilities cannot be pulled due to configured policy in 'Prevent images'",
            ("policy-vul",),
        ),
        ("The image is not signed by cosign.", ("policy-sign",)),
        ("unauthorized to access repository: team/app, action: pull", ()),
    ],
)
def test_what_a_refusal_says(message: str, says: tuple[str, ...]) -> None:
    body = json.dumps({"errors": [{"code": "X", "message": message}]})
    found = read("manifest.get", material([ping(), manifest(404, body)]))
    assert value(found, "manifest.says") == [says]
    assert value(found, "manifest.status") == [404]


def test_platforms_leave_attestations_out() -> None:
    entries = [
        {"platform": {"os": os, "architecture": arch}}
        for os, arch in (("linux", "arm64"), ("unknown", "unknown"), ("windows", "amd64"))
    ]
    body = json.dumps({"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries})
    found = read("manifest.get", material([ping(), manifest(200, body)]))
    assert value(found, "manifest.kind") == ["index"]
    assert value(found, "manifest.platforms") == [("arm64",)]


def test_only_get_works() -> None:
    found = read("manifest.get", material([ping(), manifest(404, method="HEAD"), manifest(200, "{}")]))
    assert value(found, "manifest.get_only") == [True]


def test_blob_redirect_is_followed_by_hand() -> None:
    url = f"https://{HOST}/v2/team/app/blobs/sha256:aa"
    moved = Exchange(url, purpose="blob", tcp="open", status=307, headers={"location": "https://s3.example/b?sig=1"})
    dead = Exchange("https://s3.example/b?sig=1", purpose="other", tcp="timeout")
    found = read("blob.get", material(node=[ping(), moved, dead]))
    assert value(found, "blob.status", node="n1") == [307]
    assert value(found, "blob.redirect_state") == ["timeout"]
    assert value(read("blob.get", material(node=[ping(), moved])), "blob.redirect_state") == []


def test_blob_redirect_that_works_at_the_desk_only() -> None:
    url = f"https://{HOST}/v2/team/app/blobs/sha256:aa"
    moved = Exchange(url, purpose="blob", tcp="open", status=307, headers={"location": "https://s3.example/b?sig=1"})
    alive = Exchange("https://s3.example/b?sig=1", purpose="other", tcp="open", status=200)
    dead = Exchange("https://s3.example/b?sig=1", purpose="other", tcp="timeout", vantage="node/n1")
    given = material([ping(), moved, alive], [dead])
    found = read("blob.get", given)
    assert value(found, "blob.redirect_state", node="n1") == ["timeout"]
    assert [one.of for one in found if one.facts.get("blob.redirect_state") == "ok"] == [Of.ELSEWHERE]
    asked = [
        want.request
        for want in BY_ID["blob.get"].wants(material([ping(), moved, alive]), scene())
        if isinstance(want, Fetch)
    ]
    assert [(one.url, one.vantage) for one in asked] == [("https://s3.example/b?sig=1", "node/n1")]


@pytest.mark.parametrize(
    ("location", "right"),
    [
        ("/v2/team/app/blobs/uploads/1", True),
        (f"https://{HOST}/v2/x", True),
        (f"http://{HOST}/v2/x", False),
        (f"https://{HOST}:8443/v2/x", False),
    ],
)
def test_upload_location(location: str, right: bool) -> None:
    started = Exchange(
        f"https://{HOST}/v2/team/app/blobs/uploads/",
        "POST",
        purpose="upload",
        tcp="open",
        status=202,
        headers={"location": location},
    )
    assert value(read("upload.start", material([ping(), started])), "upload.location_ok") == [right]


# --- certificates and trust -------------------------------------------------------------------------------------------


CONFIG = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'


@pytest.fixture(scope="module")
def root() -> Pair:
    return make("Corp Root CA", ca=True)


def node_files(ca: str | None, pool: str | None = None) -> dict[str, str]:
    folder = f"nodes/n1/etc/containerd/certs.d/{HOST}"
    files = {"nodes/n1/containerd-config-dump.toml": CONFIG}
    if ca is not None:
        files |= {f"{folder}/hosts.toml": f'server = "https://{HOST}"\nca = "ca.crt"\n[host]\n', f"{folder}/ca.crt": ca}
    if pool is not None:
        files["nodes/n1/etc/ssl/certs/ca-certificates.crt"] = pool
    return files


def served(*pairs: Pair) -> Exchange:
    return ping(tls=TlsSeen(chain=tuple(pair.pem for pair in pairs)))


def test_trust_by_the_file_in_force(root: Pair) -> None:
    leaf = make(HOST, root, hosts=(HOST,))
    found = read("trust.verify", material(node=[served(leaf)], files=node_files(root.pem)))
    assert value(found, "trust.accepts_chain", node="n1") == [True]
    assert value(found, "trust.anchor_subject") == ["CN=Corp Root CA, C=NL"]


def test_refused_only_when_the_whole_pool_is_known(root: Pair) -> None:
    leaf, other = make(HOST, root, hosts=(HOST,)), make("Public Root", ca=True)
    assert (
        value(read("trust.verify", material(node=[served(leaf)], files=node_files(other.pem))), "trust.accepts_chain")
        == []
    )
    found = read("trust.verify", material(node=[served(leaf)], files=node_files(None, other.pem)))
    assert value(found, "trust.accepts_chain") == [False]
    assert value(found, "trust.anchor_subject") == ["none"]


def test_new_ca_under_the_old_name(root: Pair) -> None:
    renewed = make("Corp Root CA", ca=True)
    leaf = make(HOST, renewed, hosts=(HOST,))
    given = material(node=[served(leaf)], files=node_files(root.pem, make("Public Root", ca=True).pem))
    trust, chain = read("trust.verify", given), read("tls.chain", given)
    assert value(trust, "trust.accepts_chain") == [False]
    assert value(trust, "trust.anchor_subject") == value(chain, "tls.issuer_subject")
    assert value(trust, "trust.anchor_key") != value(chain, "tls.issuer_key")


def test_missing_intermediate_that_is_known_elsewhere(root: Pair) -> None:
    middle = make("Corp Issuing CA", root, ca=True)
    leaf = make(HOST, middle, hosts=(HOST,))
    files = node_files(root.pem, make("Public Root", ca=True).pem) | {"nodes/n9/etc/pki/middle.pem": middle.pem}
    given = material(node=[served(leaf)], files=files)
    chain, trust = read("tls.chain", given), read("trust.verify", given)
    assert value(chain, "tls.served") == [1]
    assert value(chain, "tls.chain_links") == [False]
    assert value(trust, "trust.accepts_chain") == [False]
    assert value(trust, "trust.with_intermediate") == [True]
    complete = material(node=[served(leaf, middle)], files=files)
    assert value(read("tls.chain", complete), "tls.chain_links") == [True]
    assert value(read("trust.verify", complete), "trust.accepts_chain") == [True]


def test_ca_in_a_folder_whose_name_misses_the_image_host(root: Pair) -> None:
    leaf = make(HOST, root, hosts=(HOST,))
    files = node_files(root.pem, make("Public Root", ca=True).pem)
    tree = f"nodes/n1/etc/containerd/certs.d/{HOST}"
    moved = {
        path.replace(f"{tree}/", f"{tree}:443/"): text.replace(f"{HOST}/", f"{HOST}:443/")
        for path, text in files.items()
    }
    found = read("trust.verify", material(node=[served(leaf)], files=moved))
    assert value(found, "trust.accepts_chain") == [False]
    assert value(found, "trust.elsewhere") == ["dir-not-read"]
    other = {
        path.replace(f"{tree}/", f"{tree}:5443/"): text.replace(HOST, f"{HOST}:5443") for path, text in files.items()
    }
    found = read("trust.verify", material(node=[served(leaf)], files=other))
    assert value(found, "trust.elsewhere") in ([], ["none"]), "the entry of a second registry on this host"


def test_ca_that_only_healthy_nodes_have(root: Pair) -> None:
    leaf = make(HOST, root, hosts=(HOST,))
    files = node_files(None, make("Public Root", ca=True).pem)
    theirs = {path.replace("nodes/n1/", "nodes/n9/"): text for path, text in node_files(root.pem).items()}
    found = read("trust.verify", material(node=[served(leaf)], files=files | theirs))
    assert value(found, "trust.elsewhere", node="n1") == ["healthy-node"]
    bare = {f"nodes/n1/etc/containerd/certs.d/{HOST}/hosts.toml": f'[host."https://{HOST}"]\n'}
    found = read("trust.verify", material(node=[served(leaf)], files=files | theirs | bare))
    assert value(found, "trust.elsewhere", node="n1") in ([], ["none"]), "it has an entry of its own, without the CA"
    other = {path: text.replace(root.pem, make("Other Root", ca=True).pem) for path, text in theirs.items()}
    found = read("trust.verify", material(node=[served(leaf)], files=files | other))
    assert value(found, "trust.elsewhere", node="n1") in ([], ["none"])


def test_ca_in_a_folder_that_nobody_reads(root: Pair) -> None:
    leaf = make(HOST, root, hosts=(HOST,))
    files = node_files(root.pem, make("Public Root", ca=True).pem)
    files["nodes/n1/containerd-config-dump.toml"] = CONFIG.replace("/etc/containerd/certs.d", "")
    found = read("trust.verify", material(node=[served(leaf)], files=files))
    assert value(found, "trust.accepts_chain") == [False]
    assert value(found, "trust.elsewhere") == ["dir-not-read"]


def test_interception_is_two_issuers(root: Pair) -> None:
    leaf = make(HOST, root, hosts=(HOST,))
    box = make(HOST, make("Zscaler Intermediate Root CA", ca=True), hosts=(HOST,))
    found = read("tls.chain", material([served(leaf)], [served(box)]))
    assert {(one.of, one.facts["tls.issuer_product"]) for one in found} == {(Of.THIS, True), (Of.ELSEWHERE, False)}


def test_the_desk_alone_speaks_for_the_registry(root: Pair) -> None:
    found = read("tls.read", material([served(make("other.example", root, hosts=("other.example",)))]))
    assert value([one for one in found if one.of is Of.THIS], "tls.name_covered") == [False]


def test_a_token_root_is_not_the_servers_certificate() -> None:
    text = "Certificate:\n    Data:\n        Signature Algorithm: x\n        Issuer: CN = b\n        Subject: CN = b\n"
    assert read("tls.read", material(files={"registry/cert.txt": text})) == []


def test_node_clock_beyond_the_window(root: Pair) -> None:
    leaf = make(HOST, root, hosts=(HOST,))
    files = {
        "nodes/n1/time.json": json.dumps(
            {"node_time": "2020-01-01T00:00:00Z", "reference_time": NOW.isoformat(), "error_bound_s": 1}
        )
    }
    found = read("tls.read", material(node=[served(leaf)], files=files))
    assert value(found, "tls.valid_at_node", node="n1") == [False]
    assert value(found, "tls.valid_now", node="n1") == [True]


# --- trouble and wants --------------------------------------------------------------------------------------------------


def test_bad_documents_are_said_and_nothing_raises() -> None:
    files = {
        "registry/exchanges.json": "{", "registry/probe.txt": "\x00>", "registry/cert.txt": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
        "registry/manifest.json": "?", "harbor/tokens.json": "3", "harbor/core-pods.json": "[1", "harbor/registries.json": "x", "nodes/n1/time.json": "[]",
        "nodes/n1/node.json": "{", "nodes/n1/containerd-config-dump.toml": "= =",
    }  # fmt: skip
    found = [one for probe in PROBES for one in probe.read(material(files=files), scene())]
    assert {
        one.outcome for one in found if one.detail.startswith(("registry/exchanges.json", "harbor/tokens.json"))
    } == {Outcome.UNPARSABLE}
    for probe in PROBES:
        list(probe.wants(material(files=files), scene()))


def requests(probe: str, given: Material, where: Scene) -> list[HttpRequest]:
    return [want.request for want in BY_ID[probe].wants(given, where) if isinstance(want, Fetch)]


def test_first_round_pings_from_the_desk_and_a_bounded_sample() -> None:
    many = scene()
    many = replace(
        many, incident=replace(many.incident, nodes=tuple(f"n{i}" for i in range(50)), healthy_nodes=("h1", "h2", "h3"))
    )
    asked = requests("tcp.probe", material(), many)
    assert [one.vantage for one in asked] == ["operator", "node/n0", "node/n1", "node/n2", "node/h1", "node/h2"]


def test_other_ports_only_when_the_registry_does_not_answer() -> None:
    dead = Exchange(f"https://{HOST}/v2/", purpose="ping", tcp="refused")
    urls = {one.url for one in requests("tcp.probe", material([dead], [dead]), scene())}
    assert {f"http://{HOST}/v2/", f"https://{HOST}:8443/v2/", f"http://{HOST}:5000/v2/"} <= urls
    assert (
        requests("tcp.probe", material([ping()], [ping()]), scene(incident=replace(scene().incident, healthy_nodes=())))
        == []
    )


def with_secret(word: str = "hunter2", exchanges: Iterable[Exchange] = ()) -> Material:
    auth = base64.b64encode(f"robot:{word}".encode()).decode()
    document = base64.b64encode(json.dumps({"auths": {HOST: {"auth": auth}}}).encode()).decode()
    secret = {
        "kind": "Secret",
        "metadata": {"name": "pull", "namespace": "apps"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": document},
    }
    pod = {
        "kind": "Pod", "metadata": {"name": "web", "namespace": "apps"},
        "spec": {"containers": [{"name": "c", "image": f"{HOST}/team/app:1.0"}], "imagePullSecrets": [{"name": "pull"}]},
        "status": {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ErrImagePull"}}}]},
    }  # fmt: skip
    return material(exchanges, files={"pod.json": json.dumps(pod), "secret.json": json.dumps(secret)})


def test_no_login_without_consent_and_only_over_tls_to_the_same_site() -> None:
    willing = scene(try_credentials=True)
    assert requests("token.login", with_secret(exchanges=[ping()]), scene()) == []
    (first,) = requests("token.login", with_secret(exchanges=[ping()]), willing)
    assert "scope" not in first.url
    for realm in ("http://harbor.corp.example/service/token", "https://auth.attacker.example/token"):
        elsewhere = ping(headers={**API, "www-authenticate": f'Bearer realm="{realm}",service="s"'})
        assert requests("token.login", with_secret(exchanges=[elsewhere]), willing) == []


def test_repaired_forms_only_after_the_exact_one_failed() -> None:
    willing = scene(try_credentials=True)

    def variants(given: Material) -> list[tuple[str, str]]:
        return [
            (want.secret, want.variant)
            for want in BY_ID["token.login"].wants(given, willing)
            if isinstance(want, Fetch)
        ]

    assert variants(with_secret("hunter2\n", [ping()])) == [("apps/pull", "exact")]
    assert variants(with_secret("hunter2\n", [ping(), login(401)])) == [("apps/pull", "trimmed")]
    assert variants(with_secret("hunter2", [ping(), login(401)])) == []
    (scoped,) = requests("token.login", with_secret(exchanges=[ping(), login(200)]), willing)
    assert "scope=repository:team/app:pull" in scoped.url


def test_ca_bundle_by_digest_and_then_once_for_each() -> None:
    def nodes(given: Material) -> list[tuple[str, str]]:
        wanted = [want for want in BY_ID["trust.verify"].wants(given, scene()) if isinstance(want, NodeItem)]
        return [
            (want.node, want.item.path if isinstance(want.item, File) else want.item.id)
            for want in wanted
            if isinstance(want.item, File | Command)
        ]

    assert nodes(material()) == [("n1", "os-ca"), ("n9", "os-ca")]
    told = json.dumps({"path": "/etc/ssl/certs/ca-certificates.crt", "sha256": "aa", "mtime": 5.0})
    digests = {"nodes/n1/os-ca.json": told, "nodes/n9/os-ca.json": told}
    assert nodes(material(files=digests)) == [("n1", "/etc/ssl/certs/ca-certificates.crt")]


def test_one_bundle_serves_all_nodes_with_its_digest(root: Pair) -> None:
    told = json.dumps({"path": "/etc/ssl/certs/ca-certificates.crt", "sha256": "aa", "mtime": NOW.timestamp()})
    files = node_files(None) | {
        "nodes/n1/os-ca.json": told, "nodes/n9/os-ca.json": told, "nodes/n9/etc/ssl/certs/ca-certificates.crt": root.pem,
        "nodes/n1/units.json": json.dumps({"containerd": {"since": NOW.timestamp() - 60}}),
    }  # fmt: skip
    found = read("trust.verify", material(node=[served(make(HOST, root, hosts=(HOST,)))], files=files))
    assert value(found, "trust.accepts_chain", node="n1") == [True]
    assert value(found, "trust.newer_than_runtime", node="n1") == [True]


def test_tokens_until_two_keys_and_one_of_each_pod() -> None:
    pods = {
        "items": [{"metadata": {"name": "core-a"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]
    }
    files = {"harbor/core-pods.json": json.dumps(pods)}
    where = scene(harbor=HarborPlace(namespace="harbor", kube=True))
    wanted = list(BY_ID["token.anon"].wants(material([ping()], files=files), where))
    assert [want.times for want in wanted if isinstance(want, Fetch)] == [8]
    assert [want.document for want in wanted if isinstance(want, KubeGet)] == ["harbor/core-token-core-a.json"]
    files["harbor/tokens.json"] = json.dumps([minted("A"), minted("B")])
    assert not [
        want for want in BY_ID["token.anon"].wants(material([ping()], files=files), where) if isinstance(want, Fetch)
    ]


def test_a_refused_right_says_what_it_costs() -> None:
    given = Material(
        [Document("harbor/core-token-core-a.json", outcome=Outcome.DENIED, detail="pods/proxy is forbidden")]
    )
    (found,) = [one for one in read("token.anon", given) if one.outcome is Outcome.DENIED]
    assert found.target.get("core-pod") == "core-a"
    assert not found.facts
    assert "not known" in found.detail
    assert "service/token" in found.by_hand


def test_signatures_of_a_redirect_are_not_shown() -> None:
    moved = Exchange(
        f"https://{HOST}/v2/team/app/blobs/sha256:aa",
        purpose="blob",
        tcp="open",
        status=307,
        headers={"location": "https://s3.example/b?X-Sig=secret1"},
    )
    stored = Exchange("https://s3.example/b?X-Sig=secret1", purpose="other", tcp="open", status=403)
    given = material(node=[ping(), moved, stored])
    for probe in PROBES:
        for one in probe.read(given, scene()):
            assert "secret1" not in f"{one.excerpt}{one.command}"


def test_one_token_over_fresh_connections_once_a_login_worked() -> None:
    willing = scene(try_credentials=True)
    (want,) = BY_ID["bearer.probe"].wants(with_secret(exchanges=[ping(), login(200)]), willing)
    assert isinstance(want, Fetch)
    assert (want.times, want.secret, want.request.purpose) == (8, "apps/pull", "bearer")
    assert list(BY_ID["bearer.probe"].wants(with_secret(exchanges=[ping(), login(401)]), willing)) == []


def test_a_plain_http_registry_is_asked_in_plain_http() -> None:
    at_5000 = scene()
    at_5000 = replace(
        at_5000, incident=replace(at_5000.incident, registry=f"{HOST}:5000", image=f"{HOST}:5000/team/app:1.0")
    )
    plain = Exchange(f"http://{HOST}:5000/v2/", purpose="ping", tcp="open", status=200, headers=API)
    assert {one.url for one in requests("manifest.get", material([plain]), at_5000)} == {
        f"http://{HOST}:5000/v2/team/app/manifests/1.0"
    }
    assert {one.url for one in requests("manifest.get", material([ping()]), scene())} == {
        f"https://{HOST}/v2/team/app/manifests/1.0"
    }


def test_the_upstream_is_asked_once_harbor_told_its_endpoint() -> None:
    where = replace(
        scene(), incident=Incident(image=f"{HOST}/cache/grafana/loki:3", registry=HOST, action="pull", nodes=("n1",))
    )
    api = f"https://{HOST}/api/v2.0"
    projects = Exchange(
        f"{api}/projects?name=cache", status=200, tcp="open", body=json.dumps([{"name": "cache", "registry_id": 4}])
    )
    endpoints = [{"id": 3, "url": "https://quay.io"}, {"id": 4, "url": "https://hub.docker.com"}]
    registries = Exchange(f"{api}/registries?page_size=100", status=200, tcp="open", body=json.dumps(endpoints))
    url = "https://registry-1.docker.io/v2/grafana/loki/manifests/3"
    assert [one.url for one in requests("upstream.get", material([ping(), projects, registries]), where)] == [url]
    assert requests("upstream.get", material([ping(), projects]), where) == []
    seen = Exchange(url, method="HEAD", purpose="upstream", status=200, tcp="open")
    asked = material([ping(), projects, registries, seen])
    assert requests("upstream.get", asked, where) == []
    assert value(read("upstream.get", asked, where), "upstream.status") == [200]
    single = replace(where, incident=replace(where.incident, image=f"{HOST}/cache/nginx:1"))
    assert [one.url for one in requests("upstream.get", material([ping(), projects, registries]), single)] == [
        "https://registry-1.docker.io/v2/nginx/manifests/1",
        "https://registry-1.docker.io/v2/library/nginx/manifests/1",
    ]

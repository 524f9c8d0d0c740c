"""Facts of texts: roles, credential, pattern, image and account, from small materials."""

from __future__ import annotations

import json

import pytest

from app.model.evidence import Value
from app.model.material import Document, Material
from app.probes import image, text
from app.probes.base import Scene
from app.probes.incidents import case_time, find_incidents
from app.probes.text_pattern import Try, always

HEAD = 'Head "https://{}/v2/t/a/manifests/1{}": {}'


def facts_of(documents: dict[str, str], **asked: str) -> dict[str, Value]:
    """All facts of the first incident, flat; a list of records for one fact keeps the last."""
    material = Material(Document(path, body) for path, body in documents.items())
    incident, variables = find_incidents(material, **asked)[0]
    scene = Scene(incident, case_time(material), variables=variables)
    found: dict[str, Value] = {}
    for probe in (*text.PROBES, *image.PROBES):
        for record in probe.read(material, scene):
            assert set(record.facts) <= set(probe.produces), probe.id
            found.update(record.facts)
    return found


def pod(
    message: str, *, name: str = "web", node: str = "n1", reason: str = "ErrImagePull", ref: str = "h.example/t/a:1"
) -> dict[str, object]:
    return {
        "kind": "Pod",
        "metadata": {"namespace": "apps", "name": name},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": ref}]},
        "status": {
            "phase": "Pending",
            "containerStatuses": [
                {"name": "app", "image": ref, "state": {"waiting": {"reason": reason, "message": message}}}
            ],
        },
    }


def running(name: str, node: str, ref: str = "h.example/t/a:1") -> dict[str, object]:
    return {
        "kind": "Pod",
        "metadata": {"namespace": "apps", "name": name},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": ref}]},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "app", "image": ref, "ready": True, "state": {"running": {}}}],
        },
    }


def test_role_image_mirror_realm_proxy() -> None:
    def role(message: str) -> Value:
        return facts_of({"pod.json": json.dumps(pod(message))}).get("text.host_role")

    failing = "failed to resolve image: failed to do request: "
    assert role(failing + HEAD.format("h.example", "", "EOF")) == "image"
    assert role(failing + HEAD.format("mirror.example", "?ns=h.example", "EOF")) == "mirror"
    assert (
        role('failed to fetch oauth token: Post "https://core/service/token": dial tcp: lookup core: no such host')
        == "realm"
    )
    assert (
        role(failing + HEAD.format("h.example", "", "proxyconnect tcp: dial tcp 10.0.0.9:3128: i/o timeout")) == "proxy"
    )
    storage = 'failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://s3.example/b?X-Amz-Date=1": EOF'
    assert role(storage) == "storage"


def test_role_is_open_where_settings_put_another_host_first() -> None:
    documents = {
        "pod.json": json.dumps(pod("failed to do request: " + HEAD.format("h.example", "", "EOF"))),
        "nodes/n1/etc/containerd/certs.d/h.example/hosts.toml": '[host."https://mirror.example"]\n',
    }
    assert facts_of(documents).get("text.host_role") != "image"


def test_realm_placeholder_needs_another_name() -> None:
    message = 'failed to fetch oauth token: Post "https://{}/service/token": dial tcp: lookup x: no such host'
    assert facts_of({"pod.json": json.dumps(pod(message.format("None")))})["text.realm_placeholder"] is True
    assert facts_of({"pod.json": json.dumps(pod(message.format("h.example")))})["text.realm_placeholder"] is False


def test_realm_at_another_port_of_the_same_host() -> None:
    message = 'Get "{}://{}/v2/": Get "https://{}/service/token?service=harbor-registry": dial tcp 192.0.2.1:443: connect: connection refused'

    def other_port(scheme: str, host: str, realm: str) -> Value:
        return facts_of({"pod.json": json.dumps(pod(message.format(scheme, host, realm)))}).get("text.realm_other_port")

    assert other_port("https", "h.example:8443", "h.example") is True
    assert other_port("https", "h.example", "h.example:8443") is True
    assert other_port("https", "h.example", "h.example:443") is False
    assert other_port("https", "h.example:8443", "core.example") is False
    assert other_port("http", "h.example:8080", "h.example") is None


def test_login_before_the_push_was_sent() -> None:
    blob = "$ docker login h.example -u ci\nLogin Succeeded\n$ docker push h.example/t/a:1\nunauthorized: unauthorized to access repository: t/a, action: push\n"
    found = facts_of({"out.txt": blob})
    assert found["text.cred_sent"] == "yes"
    assert found["account.robot"] is False
    assert "pattern.always" not in found


def attempts(*ends: bool) -> str:
    good = "1: digest: sha256:aa size: 1\n"
    bad = "unauthorized: unauthorized to access repository: t/a, action: push\n"
    return "".join(f"$ docker push h.example/t/a:1\n{good if end else bad}" for end in ends)


def test_rate() -> None:
    assert facts_of({"out.txt": attempts(True, False, True)})["pattern.always"] is False
    assert facts_of({"out.txt": attempts(*[False] * 5)})["pattern.always"] is True
    assert "pattern.always" not in facts_of({"out.txt": attempts(False, False)})
    assert "pattern.always" not in facts_of({"out.txt": attempts(False, True)})


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ([("app", True), ("app", False), ("app", False), ("app", False)], None),
        ([("tool", False), ("app", True), ("tool", False)], None),
        ([("app", False), ("app", True), ("app", False)], False),
        ([("app", False), ("app", True)], None),
        ([("app", False), ("app", False), ("app", False)], True),
    ],
    ids=["it broke", "another image works", "it comes and goes", "it was mended", "it never worked"],
)
def test_what_a_nodes_log_says_of_now_and_then(ends: list[tuple[str, bool]], says: bool | None) -> None:
    tries = [Try("node/n1", path, "pull", "", good, float(at)) for at, (path, good) in enumerate(ends)]
    assert always(tries)[0] is says


def test_a_login_of_another_account_says_nothing_of_this_one() -> None:
    good = "$ docker login h.example -u ann\nLogin Succeeded\n"
    bad = "$ docker login h.example -u {}\nError response from daemon: Get https://h.example/v2/: unauthorized: authentication required\n"
    assert "pattern.always" not in facts_of({"out.txt": good + bad.format("bot")})
    assert facts_of({"out.txt": good + bad.format("ann") + good})["pattern.always"] is False


def test_another_image_that_came_and_went_says_nothing_of_this_one() -> None:
    ends = [("tool", False), ("tool", True), ("tool", False), ("app", False), ("app", False)]
    tries = [Try("node/n1", path, "pull", "", good, float(at)) for at, (path, good) in enumerate(ends)]
    assert always(tries)[0] is False
    assert always(tries, "app")[0] is None


def test_refused_after_a_layer_went_through_is_not_always() -> None:
    part = "$ docker push h.example/t/a:1\n1f2e3d4c5b6a: Pushed\nunauthorized: unauthorized to access repository: t/a, action: push\n"
    assert facts_of({"out.txt": part * 5})["pattern.always"] is False


REFUSED = "unauthorized: unauthorized to access repository: t/a, action: push\n"


@pytest.mark.parametrize(
    ("line", "began"),
    [
        ("1f2e3d4c5b6a: Pushing [=====>      ]  29.58MB/300MB", True),
        ("Pushing [==================================================>]  13.99GB", True),
        ("1f2e3d4c5b6a: Pushing  2.048kB", True),
        ("1f2e3d4c5b6a: Pushed", True),
        ("1f2e3d4c5b6a: Preparing", False),
        ("1f2e3d4c5b6a: Layer already exists", False),
        ("#12 pushing layers", False),
    ],
)
@pytest.mark.parametrize("pasted", [False, True])
def test_an_upload_that_began_shows_a_right_to_push(line: str, began: bool, pasted: bool) -> None:
    blob = f"The push refers to repository [h.example/t/a]\n{line}\n{REFUSED}"
    found = facts_of({}, text=blob) if pasted else facts_of({"out.txt": blob})
    assert found.get("text.upload_began", False) is began


def test_healthy_nodes_and_cached_images() -> None:
    items = [pod("x509: certificate signed by unknown authority"), running("web-2", "n2")]
    event = {
        "reason": "Pulled",
        "message": 'Container image "h.example/t/a:1" already present on machine',
        "involvedObject": {"kind": "Pod", "namespace": "apps", "name": "web-2"},
    }
    found = facts_of({"pods.json": json.dumps({"items": items}), "events.json": json.dumps({"items": [event]})})
    assert found["other.nodes_ok"] is True
    assert found["pattern.healthy_cached_only"] is True


def test_another_port_and_another_name() -> None:
    documents = {
        "out.txt": "$ docker login h.example:8443\nLogin Succeeded\n$ docker push h.example/t/a:1\nGet https://h.example/v2/: EOF\n"
    }
    assert facts_of(documents)["image.port_elsewhere"] == 8443
    named = {
        "out.txt": "$ docker push harbor/t/a:1\ndenied: requested access to the resource is denied\n",
        "harbor/harbor.yml": "hostname: harbor\n",
    }
    assert facts_of(named)["image.known_private"] is True
    assert "image.known_private" not in facts_of({"out.txt": named["out.txt"]})


def test_words_that_tell_nothing_do_not_hide_a_log() -> None:
    log = "2021-01-01T00:00:00Z [FATAL] [/core/main.go:1]: failed to initialize database: register db Ping `default`, pq: password refused\n"
    for files in ({}, {"words.txt": "I cannot log in any more."}):
        found = facts_of({**files, "harbor/core.log": log})
        assert "http-5xx" in str(found["text.signature"])


def test_pasted_text_keeps_its_command() -> None:
    found = facts_of(
        {},
        text='$ docker login http://10.0.0.1\nError response from daemon: Get "https://10.0.0.1/v2/": dial tcp 10.0.0.1:443: connect: connection refused',
    )
    assert (found["text.client"], found["text.action"], found["text.typed_scheme"]) == ("docker", "login", "http")
    assert found["text.dial_ip"] == "10.0.0.1"


def test_no_text_says_what_would_help() -> None:
    material = Material()
    incident, _ = find_incidents(material)[0]
    (record,) = list(text.PROBES[0].read(material, Scene(incident, 0.0)))
    assert record.outcome == "skipped"
    assert not record.facts


def test_bare_status_takes_the_request_of_a_transcript() -> None:
    probe = "> POST /service/token HTTP/1.1\n> Host: h.example\n< HTTP/1.1 403 Forbidden\n"
    found = facts_of({"error.txt": "403 forbidden", "registry/probe.txt": probe})
    assert (found["text.status"], found["text.path_kind"]) == (403, "token")

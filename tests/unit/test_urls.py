"""The failing URL of a text: innermost, with its role in the API."""

from __future__ import annotations

import pytest

from app.parsers.urls import dial_address, failing_url, find_urls, is_placeholder, read_url, upload_moved


def test_the_innermost_url_counts_and_help_pages_do_not() -> None:
    text = (
        'Get "https://h.example/v2/": Get "https://core.example/service/token?account=ci&service=harbor-registry": dial tcp: '
        "lookup core.example: no such host. See https://docs.docker.com/go/x"
    )
    found = failing_url(text)
    assert (found.host, found.path_kind, found.account) == ("core.example", "token", "ci")
    assert len(find_urls(text)) == 2


@pytest.mark.parametrize(
    ("path", "kind", "shape"),
    [
        ("/v2/", "ping", ""),
        ("/v2/team/app/manifests/1.0?ns=docker.io", "manifest", "ok"),
        ("/v2/team/app/blobs/sha256:aa", "blob", "ok"),
        ("/v2/team/app/blobs/uploads/1?_state=x", "upload", "ok"),
        ("/service/token?scope=repository:a:pull&service=harbor-registry", "token", ""),
        ("/v2/proxy/v2/library/app/manifests/1", "manifest", "v2-doubled"),
        ("/proxy/v2/library/app/manifests/1", "manifest", "v2-after-project"),
        ("/proxy/library/app/manifests/1", "manifest", "v2-missing"),
        ("/artifactory/api/docker/x/v2/app/manifests/1", "manifest", ""),
        ("/docker/registry/v2/blobs/sha256/28/28870f22/data", "blob", ""),
    ],
)
def test_kind_and_shape(path: str, kind: str, shape: str) -> None:
    found = read_url(f"https://h.example{path}")
    assert (found.path_kind, found.path_shape) == (kind, shape)


def test_hosts_without_a_url() -> None:
    assert (
        failing_url("pulling from host h.example:5000 failed with status code [manifests 1.0]: 401").host
        == "h.example:5000"
    )
    assert failing_url("initializing source: pinging container registry h.example: Get x").path_kind == "ping"
    assert failing_url("dial tcp: lookup h.example on 10.0.0.2:53: no such host").host == "h.example"
    assert failing_url("Head https://registry-1.docker.io/v2/a/b/manifests/1: EOF").host == "docker.io"
    assert not failing_url("x509: certificate signed by unknown authority").known


def test_addresses() -> None:
    assert dial_address('Head "https://h.example/": dial tcp 10.0.0.5:443: i/o timeout') == "10.0.0.5"
    assert dial_address("dial tcp [fd00::5]:443: connect: connection refused") == "fd00::5"
    assert (
        dial_address("dial tcp: lookup h.example on 10.0.0.2:53: read udp 10.0.0.9:4->10.0.0.2:53: i/o timeout") == ""
    )


def test_placeholder_realms() -> None:
    assert is_placeholder("None:8443", "10.0.0.1:8443")
    assert is_placeholder("core.harbor.domain", "h.example")
    assert is_placeholder("core", "h.example")
    assert not is_placeholder("core", "core")
    assert not is_placeholder("core")
    assert not is_placeholder("auth.example.com", "h.example")
    assert not is_placeholder("localhost:5000", "localhost:5000")


def test_upload_location() -> None:
    text = 'Calling "POST" https://h.example/v2/a/blobs/uploads/\nCalling "PUT" http://h.example/v2/a/blobs/uploads/1'
    assert upload_moved(text) is True
    assert upload_moved(text.replace("http://", "https://")) is False
    assert upload_moved('Patch "https://h.example:5000/v2/a/blobs/uploads/1": EOF', "h.example") is True
    assert upload_moved('Patch "https://h.example/v2/a/blobs/uploads/1": EOF', "h.example") is None
    assert upload_moved("EOF") is None

from __future__ import annotations

import pytest

from app.parsers.proxy_env import exempt, parse_environ, parse_unit, settings


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "expected"),
    [
        ("harbor.example.com", "harbor.example.com", 443, True),
        ("example.com", "harbor.example.com", 443, True),
        (".example.com", "harbor.example.com", 443, True),
        (".example.com", "example.com", 443, False),
        ("*.example.com", "harbor.example.com", 443, True),
        ("ample.com", "harbor.example.com", 443, False),
        ("harbor.example.com:8443", "harbor.example.com", 443, False),
        ("harbor.example.com:8443", "harbor.example.com", 8443, True),
        ("10.0.0.0/8", "harbor.example.com", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("localhost, HARBOR.example.com", "harbor.example.com", 443, True),
        ("*", "harbor.example.com", 443, True),
        ("", "127.0.0.1", 5000, True),
        ("", "localhost", 5000, True),
        ("", "harbor.example.com", 443, False),
    ],
)
def test_no_proxy_as_go_reads_it(no_proxy: str, host: str, port: int, expected: bool) -> None:
    assert exempt(no_proxy, host, port) is expected


def test_http_proxy_alone_leaves_https_direct() -> None:
    found = settings(parse_environ("HTTP_PROXY=http://p:3128\0NO_PROXY=.corp\0"))
    assert found.proxy_for("https://h.example.com") == ""
    assert found.proxy_for("http://h.example.com:5000") == "http://p:3128"


def test_unit_files() -> None:
    text = '[Service]\nEnvironment="HTTPS_PROXY=http://p:3128" "NO_PROXY=localhost,127.0.0.1"\n'
    assert settings(parse_unit(text)).https == "http://p:3128"
    assert settings(parse_unit(text + "Environment=\n")).https == ""


def test_k3s_hands_its_own_names_to_containerd() -> None:
    found = settings(parse_environ("HTTPS_PROXY=http://a\nCONTAINERD_HTTPS_PROXY=http://b\n"), "CONTAINERD_")
    assert found.https == "http://b"


def test_a_proxy_password_is_in_no_repr() -> None:
    assert "secret" not in repr(settings({"HTTPS_PROXY": "http://u:secret@p:3128"}))

from __future__ import annotations

from app.parsers.k3s_registries import generate, mended, only_defaults, parse_registries, uses_certs_d, wildcard_defect

FILE = """
mirrors:
  "h.example.com:8443":
    endpoint: ["http://h.example.com:8443"]
  docker.io:
    endpoint: ["https://h.example.com"]
    rewrite: {"^library/(.*)": "hub/library/$1"}
configs:
  h.example.com:
    auth: {username: u, password: p, token: t}
    tls: {ca_file: /ca.crt}
"""


def test_endpoints_then_the_default() -> None:
    registries = parse_registries(FILE)
    hosts = generate(registries, "docker.io", "v1.30.4+k3s1")
    assert [(host.url, host.ca_file, host.has_login, host.default) for host in hosts] == [
        ("https://h.example.com", "/ca.crt", True, False),
        ("https://registry-1.docker.io", "", False, True),
    ]
    assert registries.dropped == ("configs h.example.com auth token",)


def test_old_releases_append_no_default_when_an_endpoint_is_the_host_itself() -> None:
    registries = parse_registries(FILE)
    assert [host.url for host in generate(registries, "h.example.com:8443", "v1.28.5+k3s1")] == [
        "http://h.example.com:8443"
    ]
    assert len(generate(registries, "h.example.com:8443", "v1.30.4+k3s1")) == 2


def test_releases_that_write_certs_d() -> None:
    assert [uses_certs_d(item) for item in ("v1.28.5+k3s1", "v1.28.6+k3s1", "v1.25.0", "v1.34.1+rke2r1", "")] == [
        False,
        True,
        False,
        True,
        None,
    ]


def test_misspelt_keys_are_dropped_and_can_be_meant() -> None:
    text = 'mirror:\n  h.example.com:\n    endpoints: ["http://h.example.com"]\n'
    assert parse_registries(text).dropped == ("mirror",)
    meant = mended(text)
    assert meant is not None
    assert meant.mirrors[0].endpoints == ("http://h.example.com",)
    assert mended(FILE) is None


def test_a_tab_is_told_with_its_line() -> None:
    assert parse_registries("mirrors:\n\th: x\n").error.startswith("line 2")


def test_entries_that_restate_defaults() -> None:
    assert only_defaults(parse_registries('mirrors:\n  h.example.com:\n    endpoint: ["https://h.example.com"]\n'))
    assert not only_defaults(parse_registries(FILE))


def test_wildcard_defect_by_release() -> None:
    wild = parse_registries('mirrors:\n  "*":\n    endpoint: ["https://h.example.com"]\n')
    assert wildcard_defect(wild, "v1.29.2+k3s1") is True
    assert wildcard_defect(wild, "v1.29.3+k3s1") is False
    assert wildcard_defect(wild, "v1.32.2+k3s1") is True
    assert wildcard_defect(wild, "") is None
    assert wildcard_defect(parse_registries(FILE), "v1.29.2+k3s1") is False

"""Docker references: the host rule, defaults, and what the grammar refuses."""

from __future__ import annotations

import pytest

from app.parsers.image_ref import hub_name, is_cluster_name, is_internal, is_public, parse_image, port_of, same_host


@pytest.mark.parametrize(
    ("text", "host", "name", "tag"),
    [
        ("nginx", "docker.io", "docker.io/library/nginx", ""),
        ("org/app:1", "docker.io", "docker.io/org/app", "1"),
        ("index.docker.io/org/app", "docker.io", "docker.io/org/app", ""),
        ("registry/team/app", "docker.io", "docker.io/registry/team/app", ""),
        ("registry:5000/app:2", "registry:5000", "registry:5000/app", "2"),
        ("localhost/app", "localhost", "localhost/app", ""),
        ("Registry/app", "Registry", "Registry/app", ""),
        ("harbor.corp.example/team/app", "harbor.corp.example", "harbor.corp.example/team/app", ""),
        ("[fd00::1]:5000/app:1", "[fd00::1]:5000", "[fd00::1]:5000/app", "1"),
    ],
)
def test_host_and_name(text: str, host: str, name: str, tag: str) -> None:
    found = parse_image(text)
    assert found.ok, found.error
    assert (found.normalised_host, found.name, found.tag) == (host, name, tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://h.example/a",
        "h.example/A",
        "h.example//a",
        "h.example/a:",
        "${IMAGE}",
        "a b",
        "a" * 64,
        "h.example/a@sha256:12",
    ],
)
def test_refused(text: str) -> None:
    text = text if text != "a" * 64 else "0123456789abcdef" * 4
    assert not parse_image(text).ok


def test_scheme_is_told_and_the_host_is_still_known() -> None:
    found = parse_image("https://harbor.corp.example:8443/team/app:1")
    assert (found.ok, found.scheme, found.host, found.has_port) == (False, "https", "harbor.corp.example:8443", True)


def test_digest_and_tag_together() -> None:
    digest = "sha256:" + "0" * 64
    found = parse_image(f"h.example/p/a:1@{digest}")
    assert (found.ok, found.tag, found.digest) == (True, "1", digest)
    assert found.reference == f"h.example/p/a:1@{digest}"


def test_a_path_of_one_part_has_no_project() -> None:
    assert parse_image("h.example/app:1").project == ""
    assert parse_image("h.example/team/app:1").project == "team"
    assert parse_image("redis").project == "library"


def test_one_segment_below_project_or_hub() -> None:
    assert parse_image("h.example/cache/nginx").one_segment
    assert not parse_image("h.example/cache/library/nginx").one_segment
    assert parse_image("nginx").one_segment
    assert not parse_image("org/app").one_segment


def test_kinds_of_hosts() -> None:
    assert is_internal("10.1.2.3:5000")
    assert is_internal("harbor.corp.local")
    assert not is_internal("harbor.example.com")
    assert is_public("ghcr.io")
    assert is_public("europe-docker.pkg.dev")
    assert is_cluster_name("core.harbor.svc.cluster.local:80")
    assert parse_image("127.0.0.1:5000/a").loopback


def test_same_place() -> None:
    assert same_host("h.example", "h.example:443")
    assert same_host("h.example:80", "h.example", "http")
    assert not same_host("h.example:5000", "h.example")
    assert same_host("registry-1.docker.io", "docker.io")
    assert hub_name("index.docker.io") == "docker.io"
    assert port_of("[::1]:5000") == 5000

from __future__ import annotations

import base64
import json

import pytest

from app.parsers.dockerconfig import decode_auth, matches, near_miss, ordered_matches, parse_dockerconfig

IMAGE = "harbor.example.com/proj/app:1"


@pytest.mark.parametrize(
    ("key", "image", "expected"),
    [
        ("harbor.example.com", IMAGE, True),
        ("https://harbor.example.com", IMAGE, True),
        ("https://harbor.example.com/", IMAGE, True),
        ("harbor.example.com/", IMAGE, True),
        ("https://harbor.example.com/v2/", IMAGE, True),
        ("http://harbor.example.com", IMAGE, True),
        ("harbor.example.com/proj", IMAGE, True),
        ("harbor.example.com/pro", IMAGE, True),
        ("harbor.example.com/v2", IMAGE, False),
        ("harbor.example.com/other", IMAGE, False),
        ("harbor.example.com:443", IMAGE, False),
        ("*.example.com", IMAGE, True),
        ("harbor.*.com", IMAGE, True),
        ("harb*.example.com", IMAGE, True),
        ("*.com", IMAGE, False),
        ("*", IMAGE, False),
        ("Harbor.example.com", IMAGE, False),
        ("harbor.example.com", "harbor.example.com:8443/proj/app", False),
        ("https://index.docker.io/v1/", "nginx", True),
        ("docker.io", "nginx", True),
        ("registry-1.docker.io", "nginx", False),
    ],
)
def test_key_serves_image_as_in_the_kubelet(key: str, image: str, expected: bool) -> None:
    assert matches(key, image) is expected


@pytest.mark.parametrize(
    ("key", "image", "expected"),
    [
        ("harbor.example.com:8443", IMAGE, "port"),
        ("Harbor.example.com", IMAGE, "case"),
        ("harbor.example.com/other", IMAGE, "path"),
        ("https://harbor.example.com/v2", IMAGE, "path"),
        ("10.1.2.3", IMAGE, "ip-or-name"),
        ("registry-1.docker.io", "nginx", "hub-name"),
        ("quay.example.net", IMAGE, "other-host"),
        ("harbor.example.com", IMAGE, "none"),
        ("harbor.example.com", "harbor.example.com", "none"),
        ("harbor.example.com", "harbor.example.com:8443", "port"),
    ],
)
def test_near_miss(key: str, image: str, expected: str) -> None:
    assert near_miss(key, image) == expected


def test_an_address_known_to_be_another_host_is_no_near_miss() -> None:
    assert near_miss("10.1.2.3", IMAGE, addresses=["10.9.9.9"]) == "other-host"


def _auths(**entry: object) -> str:
    return json.dumps({"auths": {"harbor.example.com": entry}})


def test_auth_wins_over_the_fields_and_keeps_its_line_end() -> None:
    auth = base64.b64encode(b"ci:old\n").decode()
    entry = parse_dockerconfig(_auths(auth=auth, username="ci", password="new")).entries[0]
    assert (entry.has_login, entry.auth_differs, entry.edge_space) == (True, True, True)
    assert entry.exact == ("ci", "old\n")
    assert entry.trimmed == ("ci", "old")
    assert entry.fields == ("ci", "new")
    assert "old" not in repr(entry)
    assert "new" not in repr(entry)


@pytest.mark.parametrize(
    ("data", "kind", "layout", "read"),
    [
        (_auths(username="a", password="b"), "kubernetes.io/dockerconfigjson", "auths", True),
        (_auths(username="a", password="b"), "kubernetes.io/dockercfg", "auths", False),
        (_auths(username="a", password="b"), "Opaque", "auths", False),
        ('{"harbor.example.com": {"auth": "YTpi"}}', "kubernetes.io/dockerconfigjson", "bare", False),
        ('{"harbor.example.com": {"auth": "YTpi"}}', "kubernetes.io/dockercfg", "bare", True),
        ('{"auths": "{}"}', "kubernetes.io/dockerconfigjson", "string", False),
        ('{"value": "{\\"auths\\": {}}"}', "kubernetes.io/dockerconfigjson", "wrapped", False),
        (base64.b64encode(_auths(auth="YTpi").encode()), "kubernetes.io/dockerconfigjson", "base64-twice", False),
        ("auths: {}", "kubernetes.io/dockerconfigjson", "not-json", False),
        (
            '{"credsStore": "desktop", "auths": {"harbor.example.com": {}}}',
            "kubernetes.io/dockerconfigjson",
            "auths",
            True,
        ),
    ],
)
def test_layouts(data: bytes | str, kind: str, layout: str, read: bool) -> None:
    config = parse_dockerconfig(data, kind)
    assert config.layout == layout
    assert config.read_by_kubelet is read


def test_an_empty_entry_matches_without_a_login() -> None:
    config = parse_dockerconfig('{"credsStore": "desktop", "auths": {"harbor.example.com": {}}}')
    assert config.helpers
    assert [entry.has_login for entry in config.matching(IMAGE)] == [False]


def test_decode_auth_skips_line_ends_only() -> None:
    assert decode_auth("Y2k6\ncHc=") == ("ci", "pw")
    assert decode_auth("Y2k6cHc") == ("ci", "pw")
    with pytest.raises(ValueError, match="illegal base64 data at input byte 2"):
        decode_auth("ci:pw")
    with pytest.raises(ValueError, match="must be formatted as"):
        decode_auth("Y2k=")


def test_longer_paths_come_first_and_hub_key_last() -> None:
    data = json.dumps(
        {
            "auths": {
                key: {"auth": "YTpi"}
                for key in ("harbor.example.com", "harbor.example.com/proj", "https://index.docker.io/v1/")
            }
        }
    )
    entries = parse_dockerconfig(data).entries
    assert [entry.server_key for entry in ordered_matches(entries, IMAGE)] == [
        "harbor.example.com/proj",
        "harbor.example.com",
    ]
    assert [entry.server_key for entry in ordered_matches(entries, "nginx")] == ["https://index.docker.io/v1/"]

from __future__ import annotations

import json

import pytest

from app.parsers.containerd_config import parse_config, parse_crictl_info
from app.parsers.journal import attempts, boot, parse_log
from app.pullplan.inputs import NodeSetup
from app.pullplan.settings import effective, section_state, version_max

GRPC = '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
IMAGES = '[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "/etc/containerd/certs.d"\n'


@pytest.mark.parametrize(
    ("header", "form", "version", "state"),
    [
        (2, "grpc", "1.6.20", "read"),
        (2, "grpc", "2.1.5", "read"),
        (2, "images", "1.7.29", "ignored"),
        (2, "images", "2.0.7", "read"),
        (3, "images", "1.6.20", "ignored"),
        (3, "images", "1.7.29", "exits"),
        (3, "grpc", "1.6.20", "read"),
        (3, "grpc", "2.2.5", "ignored"),
        (3, "grpc", "2.3.4", "read"),
        (None, "grpc", "1.7.29", "ignored"),
        (None, "grpc", "2.3.4", "read"),
        (None, "images", "2.1.9", "read"),
        (None, "cri", "1.7.29", "read"),
        (None, "cri", "2.0.7", "ignored"),
        (2, "cri", "1.7.29", "exits"),
        (2, "unquoted", "2.2.5", "ignored"),
        (4, "images", "2.2.5", "exits"),
        (4, "images", "2.3.4", "read"),
        (2, "grpc", "", "read"),
        (3, "grpc", "", None),
    ],
)
def test_matrix_of_header_and_plugin_id(header: int | None, form: str, version: str, state: str | None) -> None:
    assert section_state(header, form, version) == state


def test_newest_header() -> None:
    assert [version_max(item) for item in ("1.7.24", "2.2.5", "2.3.0", "")] == [2, 3, 4, None]


def _effective(text: str, version: str, *dropins: str):  # type: ignore[no-untyped-def]
    files = tuple(parse_config(item, f"/etc/containerd/conf.d/{number}.toml") for number, item in enumerate(dropins))
    return effective(
        NodeSetup("n", "containerd", version, main=parse_config(text, "/etc/containerd/config.toml"), dropins=files)
    )


def test_a_section_under_the_other_release_s_id_is_lost() -> None:
    found = _effective("version = 2\n" + IMAGES, "1.7.24")
    assert (found.section_read, found.certs_d_read, found.cause) == (False, False, "plugin-id")
    assert found.keys_lost == ("registry",)
    assert "/etc/containerd/config.toml:2" in found.section_source


def test_an_excerpt_without_header_proves_nothing() -> None:
    found = _effective("    " + GRPC.replace("\n", "\n    "), "1.7.24")
    assert found.section_read is None
    assert found.certs_d_read is None


def test_an_empty_section_is_read_and_switches_nothing_on() -> None:
    empty = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = ""\n'
    for text in (empty, empty.replace('config_path = ""\n', "")):
        found = _effective(text, "1.7.24")
        assert (found.section_read, found.config_path, found.certs_d_read) == (True, "", False)
        dumped = effective(NodeSetup("n", "containerd", "1.7.24", main=parse_config(text), dump=parse_config(text)))
        assert (dumped.section_read, dumped.config_path) == (True, "")
    assert _effective(empty, "").section_read is True, "the one pair that every release reads"


def test_no_section_means_no_certs_d_up_to_2_1() -> None:
    assert _effective("version = 2\n", "1.7.24").certs_d_read is False
    assert _effective("version = 3\n", "2.1.5").certs_d_read is False
    assert _effective("version = 3\n", "2.2.5").certs_d_read is False, (
        "the transfer service takes the default list for one name"
    )


def test_a_list_of_roots_works_with_local_pull_only() -> None:
    text = 'version = 3\n[plugins."io.containerd.cri.v1.images"]\n{}\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/etc/containerd/certs.d:/etc/docker/certs.d"\n'
    assert _effective(text.format(""), "2.1.5").certs_d_read is False
    assert _effective(text.format("use_local_image_pull = true"), "2.1.5").certs_d_read is True
    assert _effective(text.format(""), "2.1.5").path_kind == "colon-list"


def test_a_drop_in_replaces_the_whole_section_on_1_x() -> None:
    dropin = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nmax_concurrent_downloads = 5\n'
    old = _effective("version = 2\n" + GRPC, "1.7.24", dropin)
    assert (old.dropin, old.section_read, old.cause) == ("replaces-section", False, "dropin-replaced")
    assert _effective("version = 2\n" + GRPC, "2.0.7", dropin).certs_d_read is True


def test_a_newer_drop_in_loses_the_main_file_on_2_0() -> None:
    found = _effective("version = 2\n" + GRPC, "2.1.5", "version = 3\n")
    assert (found.dropin, found.section_read, found.cause) == ("newer-version", False, "dropin-version")


def test_the_dump_has_the_last_word() -> None:
    main = parse_config("version = 3\n" + GRPC, "/etc/containerd/config.toml")
    dump = parse_config("version = 3\n" + IMAGES)
    found = effective(NodeSetup("n", "containerd", "2.1.5", main=main, dump=dump))
    assert found.section_read is True
    assert found.certs_d_read is True


def test_unquoted_hosts_are_split_at_their_dots() -> None:
    text = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors.harbor.example.com]\nendpoint = ["http://harbor.example.com"]\n'
    registry = parse_config(text).sections[0].registry
    assert registry.mirrors == ()
    assert [mirror.host for mirror in registry.lost_mirrors] == ["harbor.example.com"]
    assert registry.lost == ("mirrors harbor example",)


def test_tls_tables_are_removed_in_2_0() -> None:
    text = (
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.configs."h.example.com".tls]\nca_file = "/ca.crt"\n'
    )
    assert _effective(text, "2.1.5").keys_lost == ("registry configs h.example.com tls",)
    assert _effective(text, "1.7.24").keys_lost == ()


def test_broken_toml_is_told_with_its_line() -> None:
    found = parse_config("version = 2\n[plugins\n", "/etc/containerd/config.toml")
    assert found.error_line == 2


def test_crictl_info_of_1_x() -> None:
    info = {
        "config": {
            "registry": {
                "configPath": "/etc/containerd/certs.d",
                "mirrors": None,
                "configs": {"h": {"auth": {"username": "u", "password": "p"}, "tls": None}},
            }
        }
    }
    registry = parse_crictl_info(json.dumps(info))
    assert registry is not None
    assert registry.config_path == "/etc/containerd/certs.d"
    assert [auth.key for auth in registry.auths] == ["h"]
    assert parse_crictl_info('{"config": {}}') is None
    assert parse_crictl_info("level=fatal msg=...") is None


LOG = r"""
time="2026-01-01T10:00:00.000000001Z" level=info msg="starting containerd" revision= version=1.7.24
time="2026-01-01T10:00:00.1Z" level=warning msg="failed to load plugin io.containerd.grpc.v1.cri" error="invalid plugin config: `mirrors` cannot be set when `config_path` is provided"
time="2026-01-01T10:00:05Z" level=info msg="PullImage \"h.example.com/p/app:1\""
time="2026-01-01T10:00:05.1Z" level=error msg="failed to decode hosts.toml" error="invalid `host` tree"
time="2026-01-01T10:00:05.2Z" level=info msg="trying next host - response was http.StatusNotFound" host=h.example.com
time="2026-01-01T10:00:05.3Z" level=info msg="trying next host" error="failed to do request: Head \"https://h.example.com/v2/p/app/manifests/1\": x509: certificate signed by unknown authority" host=h.example.com
time="2026-01-01T10:00:05.4Z" level=error msg="PullImage \"h.example.com/p/app:1\" failed" error="failed to pull and unpack image \"h.example.com/p/app:1\": failed to resolve reference \"h.example.com/p/app:1\": failed to do request: Head \"https://h.example.com/v2/p/app/manifests/1\": x509: certificate signed by unknown authority"
"""


def test_an_attempt_host_by_host() -> None:
    (attempt,) = attempts(parse_log(LOG))
    assert [(item.host, item.status) for item in attempt.tries] == [("h.example.com", 404), ("h.example.com", None)]
    assert attempt.decode_errors == ("invalid `host` tree",)
    assert attempt.finished
    assert not attempt.succeeded


def test_what_was_said_at_start() -> None:
    start = boot(parse_log(LOG))
    assert (start.seen, start.version, start.plugin_error) == (True, "1.7.24", "mirrors-clash")


def test_other_plugins_do_not_count() -> None:
    start = boot(
        parse_log(
            'time="2026-01-01T10:00:00Z" level=warning msg="failed to load plugin" error="no zfs" id=io.containerd.snapshotter.v1.zfs type=x\n'
        )
    )
    assert start.plugin_error == ""

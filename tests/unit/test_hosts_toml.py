from __future__ import annotations

from app.parsers.hosts_toml import mend, parse_hosts_toml


def test_hosts_keep_the_order_of_the_file() -> None:
    file = parse_hosts_toml(
        'server = "https://b.example.com"\n[host."https://z.example.com"]\ncapabilities = ["pull"]\n[host."https://a.example.com"]\nca = "ca.crt"\n'
    )
    assert [host.url for host in file.hosts] == ["https://z.example.com", "https://a.example.com"]
    assert [host.line for host in file.hosts] == [2, 4]
    assert [host.resolves for host in file.hosts] == [False, True]
    assert file.root.url == "https://b.example.com"


def test_a_missing_quote_is_told_with_its_line() -> None:
    text = 'server = "https://h.example.com"\nca = "/etc/ca.crt\n'
    file = parse_hosts_toml(text)
    assert file.error_line == 2
    mended = mend(text)
    assert mended is not None
    assert parse_hosts_toml(mended).root.ca == ("/etc/ca.crt",)


def test_unknown_capability_rejects_the_whole_file() -> None:
    assert "unknown capability read" in parse_hosts_toml('[host."https://h"]\ncapabilities = ["read"]\n').error


def test_oddities() -> None:
    assert parse_hosts_toml('server = "https://h"\nca = "x"\n').oddities == ("no-host-table",)
    assert parse_hosts_toml('host."https://h".capabilities = ["pull"]\n').oddities == ("dotted-keys",)
    assert parse_hosts_toml('[host."https://h"]\n[host."https://h".auth]\nusername = "u"\n').oddities == (
        "login-table",
    )
    assert parse_hosts_toml('[host."https://h"]\n[host."https://h".header]\nAuthorization = "Basic x"\n').oddities == (
        "auth-header",
    )
    assert parse_hosts_toml('server = "https://h"\n[host]\n').oddities == ()


def test_skip_verify_false_is_a_tls_key_all_the_same() -> None:
    assert parse_hosts_toml('[host."http://h:5000"]\nskip_verify = false\n').hosts[0].tls_keys

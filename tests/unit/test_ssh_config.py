"""From node names to SSH targets. The OpenSSH client is asked where it is installed; the same is tested without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.clients.ssh_config import SshSettings, parse_options, resolve
from app.errors import UsageError

needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="the OpenSSH client is not installed")


def config(tmp_path: Path, text: str) -> str:
    file = tmp_path / "config"
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


@needs_ssh
def test_a_host_name_in_ssh_config_wins_over_the_internal_address(tmp_path: Path) -> None:
    file = config(tmp_path, "Host n1\n  HostName n1.corp.example\n  Port 2222\n  User core\nHost *\n  User ops\n")
    settings = SshSettings(config=file, addresses={"n1": "10.0.0.1", "n2": "10.0.0.2"})
    first, second = resolve("n1", settings), resolve("n2", settings)
    assert (first.host, first.port, first.user) == ("n1.corp.example", 2222, "core")
    assert first.key_names == ("[n1.corp.example]:2222", "[n1]:2222")
    assert (second.host, second.user) == ("10.0.0.2", "ops")
    assert second.key_names == ("10.0.0.2", "n2")


@needs_ssh
def test_a_template_wins_and_flags_win_over_the_file(tmp_path: Path) -> None:
    file = config(tmp_path, "Host *.corp.example\n  User ops\n  Port 2222\n")
    target = resolve(
        "n1", SshSettings(config=file, template="{name}.corp.example", user="root", addresses={"n1": "10.0.0.1"})
    )
    assert (target.host, target.user, target.port) == ("n1.corp.example", "root", 2222)


@needs_ssh
def test_settings_that_would_skip_host_keys_are_not_obeyed_and_told(tmp_path: Path) -> None:
    file = config(tmp_path, "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n")
    target = resolve("n1", SshSettings(config=file))
    assert "/dev/null" not in target.known_hosts
    assert target.known_hosts[0].endswith("/.ssh/known_hosts")
    assert len(target.notes) == 2


@needs_ssh
def test_jump_hosts_come_in_order_with_their_own_settings(tmp_path: Path) -> None:
    file = config(
        tmp_path,
        "Host bastion\n  HostName b.corp.example\n  User jumper\n  ProxyJump outer\nHost outer\n  HostName o.corp.example\nHost n1\n  ProxyJump bastion\n",
    )
    target = resolve("n1", SshSettings(config=file))
    assert [(hop.host, hop.port) for hop in target.jumps] == [("o.corp.example", 22), ("b.corp.example", 22)]
    assert target.jumps[1].user == "jumper"
    flag = resolve("n1", SshSettings(config=file, jump="me@other.corp.example:2200"))
    assert [(hop.host, hop.port, hop.user) for hop in flag.jumps] == [("other.corp.example", 2200, "me")]


@needs_ssh
def test_a_certificate_or_a_hardware_key_needs_the_systems_ssh(tmp_path: Path) -> None:
    (tmp_path / "id_sk.pub").write_text("sk-ssh-ed25519@openssh.com AAAA me\n")
    (tmp_path / "id_c-cert.pub").write_text("ssh-ed25519-cert-v01@openssh.com AAAA me\n")
    file = config(
        tmp_path, f"Host *\n  IdentityFile {tmp_path}/id_sk\n  IdentityFile {tmp_path}/id_c\n  IdentitiesOnly yes\n"
    )
    target = resolve("n1", SshSettings(config=file))
    assert len(target.needs) == 2
    assert target.identities_only


@pytest.mark.parametrize("name", ["-oProxyCommand=touch /tmp/x", "a b", "", "n1;id", "$(id)"])
def test_what_is_no_host_name_is_never_handed_to_ssh(name: str) -> None:
    with pytest.raises(UsageError):
        resolve(name, SshSettings())


def test_without_the_client_the_file_is_read_all_the_same(tmp_path: Path) -> None:
    file = config(tmp_path, "Host n1\n  HostName 10.1.1.1\n  User core\n")
    target = resolve("n1", SshSettings(config=file, program="no-such-ssh-client"))
    assert (target.host, target.user) == ("10.1.1.1", "core")


def test_repeated_options_are_all_kept() -> None:
    assert parse_options("identityfile a\nidentityfile b\nhostname h\n")["identityfile"] == ["a", "b"]

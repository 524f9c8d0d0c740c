"""known_hosts as people have it: hashed, with wildcards, ports, markers and lines that nobody can read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from app.clients.known_hosts import HostKey, Verdict, append, check, parse, read

KEY = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519" + b"k" * 32)
OTHER = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519" + b"o" * 32)
RSA = HostKey("ssh-rsa", b"\0\0\0\x07ssh-rsa" + b"r" * 64)


def hashed(host: str, salt: bytes = b"0123456789abcdef0123") -> str:
    digest = hmac.new(salt, host.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def test_a_hashed_name_is_found_and_another_is_not() -> None:
    entries = parse(f"{hashed('n1.corp.example')} {KEY.text}\n")
    assert check(entries, ["n1.corp.example"], KEY)[0] is Verdict.KNOWN
    assert check(entries, ["n2.corp.example"], KEY)[0] is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("pattern", "host", "found"),
    [
        ("*.corp.example", "n1.corp.example", True),
        ("*.corp.example,!n1.corp.example", "n1.corp.example", False),
        ("[n1.corp.example]:2222", "[n1.corp.example]:2222", True),
        ("[n1.corp.example]:2222", "n1.corp.example", False),
        ("10.0.0.?", "10.0.0.7", True),
        ("N1.Corp.Example", "n1.corp.example", True),
    ],
)
def test_patterns(pattern: str, host: str, found: bool) -> None:
    assert (check(parse(f"{pattern} {KEY.text}"), [host], KEY)[0] is Verdict.KNOWN) is found


def test_a_changed_key_is_not_an_unknown_one() -> None:
    entries = parse(f"n1 {OTHER.text}\n")
    verdict, known = check(entries, ["n1"], KEY)
    assert verdict is Verdict.CHANGED
    assert known == (OTHER,)
    assert check(parse(f"n1 {RSA.text}"), ["n1"], KEY)[0] is Verdict.UNKNOWN


def test_markers_and_damaged_lines_do_not_stop_the_reading() -> None:
    text = f"@cert-authority *.corp.example {RSA.text}\nnot a line\nn1 ssh-ed25519 ***\n# n1\n@revoked n1 {OTHER.text}\nn1 {KEY.text} me@desk\n"
    entries = parse(text)
    assert check(entries, ["n1"], KEY)[0] is Verdict.KNOWN
    assert check(entries, ["n1"], OTHER)[0] is Verdict.REVOKED
    # An authority's key is no host key.
    assert check(entries, ["x.corp.example"], RSA)[0] is Verdict.UNKNOWN


def test_append_makes_an_owner_only_file_and_keeps_lines_apart(tmp_path: Path) -> None:
    file = tmp_path / "ssh" / "known_hosts"
    append(str(file), "n1", KEY)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text(file.read_text().rstrip("\n"))
    append(str(file), "[n2]:2222", OTHER)
    entries = read([str(file), str(tmp_path / "missing")])
    assert check(entries, ["n1"], KEY)[0] is Verdict.KNOWN
    assert check(entries, ["[n2]:2222"], OTHER)[0] is Verdict.KNOWN


def test_the_fingerprint_is_written_as_ssh_keygen_writes_it() -> None:
    assert KEY.fingerprint == "SHA256:" + base64.b64encode(hashlib.sha256(KEY.blob).digest()).decode().rstrip("=")

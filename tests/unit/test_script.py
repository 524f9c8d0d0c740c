"""The node script, run by the local /bin/sh against files of the test: what it finds, what it may not read, and odd bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.clients.script import render
from app.clients.script_answer import Answer, Before, Frame, Reader, best, frames, time_document
from app.clients.script_units import environment, units
from app.errors import UsageError
from app.model.evidence import Outcome
from app.model.material import Document
from app.ports import Command, File, Item, Journal, Ping, Tree

NONCE = "hp0123456789abcdef"


def run(items: Sequence[Item], before: Before | None = None) -> dict[str, Document]:
    """By path below `nodes/n/`."""
    done = subprocess.run(
        ["sh", "-s"],
        input=render(items, NONCE).encode(),
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    answer = frames(b"some greeting\n" + done.stdout, NONCE)
    assert answer.complete, done.stderr
    documents = Reader("n", items, answer, 100.0, "me", before).documents()
    return {document.path.removeprefix("nodes/n/"): document for document in documents}


def test_files_listings_and_what_is_not_there(tmp_path: Path) -> None:
    root = tmp_path / "certs.d"
    (root / "reg.corp.example:5000").mkdir(parents=True)
    (root / "empty.corp.example").mkdir()
    text = f'server = "x"\nhpffff B is no mark here\n\n{"é" * 5}no newline at the end'
    hosts = root / "reg.corp.example:5000" / "hosts.toml"
    hosts.write_text(text)
    odd = root / "reg.corp.example:5000" / "a name with blanks.crt"
    odd.write_bytes(b"\0\xff\n\nE 0\n")
    items = [
        Tree(str(root)),
        Tree(str(tmp_path / "none")),
        File(str(hosts)),
        File(str(tmp_path / "no.toml")),
        File(str(hosts), limit=5),
        File(str(root)),
    ]
    found = run(items[:4])
    assert found[str(hosts)[1:]].text == text
    assert found[str(hosts)[1:]].mtime == pytest.approx(hosts.stat().st_mtime, abs=1.01)
    assert found[str(odd)[1:]].text.startswith("\0")
    assert found[str(tmp_path / "no.toml")[1:]].absent
    assert found[str(tmp_path / "none")[1:]].absent
    stat = json.loads(found["stat.json"].text)
    assert stat[str(hosts)]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert stat[str(hosts)]["mode"] == oct(hosts.stat().st_mode & 0o7777)[2:].zfill(4)
    assert stat[str(root)] | {"listed": True, "complete": True, "directory": True} == stat[str(root)]
    assert stat[str(root / "empty.corp.example")]["directory"]
    assert stat[str(tmp_path / "no.toml")] == {"absent": True}
    cut = run(items[4:5])[str(hosts)[1:]]
    assert cut.text == text[:5]
    assert cut.detail.startswith("cut: 5 of")
    assert (
        json.loads(run(items[4:5])["stat.json"].text)[str(hosts)]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    )
    assert run(items[5:])[str(root)[1:]].outcome is Outcome.UNPARSABLE


def test_a_digest_alone_fetches_no_text(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("x" * 1000)
    found = run([File(str(file), digest_only=True)])
    assert list(found) == ["stat.json"]
    assert json.loads(found["stat.json"].text)[str(file)]["sha256"] == hashlib.sha256(b"x" * 1000).hexdigest()


def test_a_log_is_read_from_its_end(tmp_path: Path) -> None:
    file = tmp_path / "containerd.log"
    file.write_text("old\n" * 100 + "new\n")
    assert run([File(str(file), limit=4)])[str(file)[1:]].text == "new\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_what_an_ordinary_user_may_not_read_is_denied_and_not_absent(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "config.json").write_text("{}")
    secret = tmp_path / "secret.yaml"
    secret.write_text("x")
    secret.chmod(0o600)
    closed.chmod(0o700)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder != Path("/tmp") and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    items = [File(str(closed / "config.json")), File(str(secret)), File(str(tmp_path / "none")), Tree(str(closed))]
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-s"]
    # Without sudo in PATH, as on a node that has none.
    done = subprocess.run(
        command,
        input=render(items, NONCE).encode(),
        capture_output=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    answer = frames(done.stdout, NONCE)
    assert answer.complete, done.stderr
    found = {
        document.path.removeprefix("nodes/n/"): document
        for document in Reader("n", items, answer, 1.0, "nobody").documents()
    }
    for path in (closed / "config.json", secret, closed):
        document = found[str(path)[1:]]
        assert document.outcome is Outcome.DENIED
        assert not document.absent
        assert "sudo -n" in document.detail
    assert found[str(tmp_path / "none")[1:]].absent


def test_commands_and_the_rounds_before(tmp_path: Path) -> None:
    before = Before()
    found = run(
        [
            Command("arch"),
            Command("getent", ("localhost",)),
            Command("df", ("/", "/no/such/folder")),
            Command("os-release"),
        ],
        before,
    )
    assert found["arch.txt"].text.strip() == os.uname().machine
    assert found["getent.txt"].text.startswith("$ getent ahosts localhost\n")
    assert "Filesystem" in found["df.txt"].text
    assert "No such file" not in found["df.txt"].text
    later = run([Command("getent", ("no-such-host.invalid",)), File(str(tmp_path / "x"))], before)
    assert "ahosts localhost" in later["getent.txt"].text
    assert later["getent.txt"].text.rstrip().splitlines()[-1].startswith("exit ")
    assert "/etc/os-release" in json.loads(later["stat.json"].text)


@pytest.mark.parametrize(
    "item",
    [
        File("etc/passwd"),
        File("/etc/../root/x"),
        File("/a\nb"),
        Tree("x"),
        Journal("a b"),
        Journal("$(id)"),
        Command("rm"),
        Command("unit", ("; id",)),
        Command("getent", ("-s x",)),
        Command("getent"),
    ],
)
def test_what_is_no_path_or_name_is_not_rendered(item: Item) -> None:
    with pytest.raises(UsageError):
        render([item], NONCE)


def test_a_path_with_quotes_stays_one_word(tmp_path: Path) -> None:
    file = tmp_path / 'it\'s $(touch x) `y` "z"'
    file.write_text("fine")
    assert run([File(str(file))])[str(file)[1:]].text == "fine"


def test_an_answer_that_breaks_off_is_told() -> None:
    items = [File("/a"), File("/b"), Journal("containerd"), Command("unit")]
    data = f"\n{NONCE} B f|0|ok|plain|3 1 644 root:root regular file|/a\nab".encode()
    answer = frames(data, NONCE)
    assert not answer.complete
    found = {document.path: document for document in Reader("n", items, answer, 1.0, "me").documents()}
    for name in ("a", "b", "containerd.log", "units.json"):
        assert found[f"nodes/n/{name}"].outcome is Outcome.TIMED_OUT
        assert found[f"nodes/n/{name}"].text == ""


def test_a_refused_sudo_is_denied_and_a_missing_program_unsupported() -> None:
    items = [Command("crictl-info"), Command("images"), Command("plugins")]
    answer = Answer(
        (
            Frame("c|0|crictl-info||sudo", b"", 1), Frame("e|0", b"sudo: a password is required\n", 0),
            Frame("c|1|images||plain", b"", 127), Frame("e|1", b"crictl: not found\n", 0),
            Frame("c|2|plugins||denied", b"", 1),
        ), True,
    )  # fmt: skip
    found = {document.path: document.outcome for document in Reader("n", items, answer, 1.0, "me").documents()}
    assert found == {
        "nodes/n/crictl-info.json": Outcome.DENIED,
        "nodes/n/images.json": Outcome.UNSUPPORTED,
        "nodes/n/plugins.txt": Outcome.DENIED,
    }


UNITS = """Id=containerd.service
LoadState=loaded
ActiveState=active
SubState=running
MainPID=63
ExecMainStartTimestamp=Thu 2026-11-26 23:08:04 UTC
FragmentPath=/etc/systemd/system/containerd.service
DropInPaths=/etc/systemd/system/containerd.service.d/proxy.conf
NeedDaemonReload=yes

Id=docker.service
LoadState=not-found
ActiveState=inactive
MainPID=0

Id=kubelet.service
LoadState=loaded
ActiveState=failed
MainPID=0

--
exe 63 /usr/bin/containerd (deleted)
args 63 /usr/bin/containerd\x1f-c\x1f/etc/c.toml\x1f
stat 63 63 (a name) with) S 1 63 63 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 9 0 500 1 1
epoch 1795734484 Thu 2026-11-26 23:08:04 UTC
btime 1795734000
ticks 100
"""


def test_units_are_read_and_missing_ones_left_out() -> None:
    found = units(UNITS)
    assert sorted(found) == ["containerd", "kubelet"]
    assert found["containerd"]["since"] == 1795734484.0
    assert found["containerd"]["cmdline"] == ["/usr/bin/containerd", "-c", "/etc/c.toml"]
    assert found["containerd"]["exe"] == "/usr/bin/containerd"
    assert found["containerd"]["need_reload"] is True
    assert found["kubelet"]["active"] is False
    assert found["kubelet"]["since"] is None


def test_a_start_without_the_nodes_date_comes_from_the_process() -> None:
    assert units(UNITS.replace("epoch 1795734484", "epoch "))["containerd"]["since"] == 1795734005.0


def test_an_environment_loses_its_secrets() -> None:
    assert (
        environment("HTTPS_PROXY=http://p:3128\0K3S_TOKEN=abc\0AWS_SECRET_ACCESS_KEY=x\0A=two\nlines\0")
        == "HTTPS_PROXY=http://p:3128\nA=two lines\n"
    )


def test_clock_pings() -> None:
    offset, bound, _ = best([Ping(10.0, 10.4, 110.2), Ping(11.0, 11.1, 111.06)]) or (0, 0, 0)
    assert offset == pytest.approx(100.01)
    assert bound == pytest.approx(0.05)
    # Whole seconds: the node is 100.5 s ahead; each ping gives an interval of a second, together less.
    coarse = [
        Ping(10.0 + step * 0.3, 10.0 + step * 0.3, float(int(110.5 + step * 0.3)), whole_seconds=True)
        for step in range(5)
    ]
    offset, bound, _ = best(coarse) or (0, 0, 0)
    assert abs(offset - 100.5) <= bound < 0.5
    assert best([]) is None
    document = time_document("n", [Ping(10.0, 10.2, 20.1)], 30.0)
    assert document is not None
    assert json.loads(document.text) == {
        "node_time": "1970-01-01T00:00:20.100000+00:00",
        "reference_time": "1970-01-01T00:00:10.100000+00:00",
        "error_bound_s": 0.1,
    }

"""Bundles: read with suspicion, written masked, back again unchanged."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import app.session.bundle as bundle_module
from app.errors import BundleError
from app.model.evidence import Evidence, Of, Outcome, Price
from app.model.masked import MASK
from app.model.material import Document, Material
from app.model.target import Target
from app.session.bundle import read_bundle, write_bundle
from app.session.codec import decode_evidence, encode_evidence

CANARY = "cAnary-7Zq9xV"


def secret(name: str = "pull") -> str:
    config = {"auths": {"harbor.example.com": {"username": "robot$ci", "password": CANARY}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson", "data": data}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(body)}
    return json.dumps({**body, "metadata": {"name": name, "namespace": "apps", "annotations": applied}})


RECORD = Evidence(
    "secret.read",
    Target.of(workload="apps/web-1", secret="apps/pull"),
    "node/n1",
    facts={"secret.exists": True, "n": 3, "t": 1.5, "none": None, "l": ("a(b)", "c"), "empty": (), "s": "robot$ci"},
    bounds={"t": 0.25},
    partial=frozenset({"l"}),
    roster={"secret": ("apps/pull",)},
    of=Of.MIRROR,
    excerpt=f"curl -u robot$ci:{CANARY} https://harbor.example.com",
    taken_at=1700000000.0,
    max_age=60.0,
    price=Price.CREDENTIAL,
    command="kubectl get secret pull -n apps -o json",
)


def pack(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_evidence_comes_back_equal_and_redacted() -> None:
    text = encode_evidence([RECORD])
    assert CANARY not in text
    (number, back), *rest = decode_evidence(text)
    assert (number, rest) == (1, [])
    assert dict(back.facts) == dict(RECORD.facts)
    assert isinstance(back.facts["l"], tuple)
    assert (back.key, back.bounds, back.partial, back.roster) == (
        RECORD.key,
        RECORD.bounds,
        RECORD.partial,
        RECORD.roster,
    )
    assert (back.taken_at, back.max_age, back.price, back.command) == (
        RECORD.taken_at,
        60.0,
        Price.CREDENTIAL,
        RECORD.command,
    )
    assert back.excerpt == f"curl -u robot$ci:{MASK} https://harbor.example.com"
    odd = Evidence("p", Target((("registry", "two words"),)), outcome=Outcome.DENIED, facts={"x": float("inf")})
    (_, again), *_ = decode_evidence(encode_evidence([odd]))
    assert again.target == odd.target
    assert again.facts["x"] > 1e300


@pytest.mark.parametrize("name", ["out", "out.tar.gz"])
def test_written_and_read_again(tmp_path: Path, name: str) -> None:
    material = Material(
        [
            Document("secret.json", secret()),
            Document(
                "nodes/n1/etc/containerd/config.toml", f'[x]\npassword = "{CANARY}"\nserver = "harbor.example.com"\n'
            ),
            Document("ci.txt", f"docker login -u me -p {CANARY} harbor.example.com\nunauthorized: x"),
            Document("events.json", outcome=Outcome.DENIED, detail="forbidden"),
            Document("harbor/core.log", "log line"),
        ]
    )
    touched = write_bundle(
        material, [RECORD], tmp_path / name, action="pull", image="harbor.example.com/a/b:1", taken_at=1700000000.0
    )
    assert touched == ("ci.txt", "nodes/n1/etc/containerd/config.toml", "secret.json")
    back = read_bundle(tmp_path / name)
    assert (back.action, back.image, back.taken_at) == ("pull", "harbor.example.com/a/b:1", 1700000000.0)
    assert back.redactions == touched
    assert [record.key for record in back.evidence] == [RECORD.key]
    assert back.unread == ()
    assert back.material.get("events.json") is None
    kept = back.material.json("secret.json")
    assert kept["data"] == {".dockerconfigjson": MASK}
    assert kept["type"] == "kubernetes.io/dockerconfigjson"
    assert (
        json.loads(kept["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])["data"][
            ".dockerconfigjson"
        ]
        == MASK
    )
    assert 'server = "harbor.example.com"' in (back.material.text("nodes/n1/etc/containerd/config.toml") or "")
    for raw in _all_bytes(tmp_path):
        assert CANARY.encode() not in raw
        assert base64.b64encode(CANARY.encode())[2:-4] not in raw
    with pytest.raises(BundleError, match="there already"):
        write_bundle(material, [], tmp_path / name)


def _all_bytes(root: Path) -> list[bytes]:
    found = []
    for path in root.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
        if path.is_file():
            raw = path.read_bytes()
            found.append(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return found


def test_empty_bundles_are_fine(tmp_path: Path) -> None:
    assert len(read_bundle(tmp_path).material) == 0
    assert len(read_bundle(pack(tmp_path / "x.tar.gz", [])).material) == 0


def test_unknown_files_are_listed_and_binary_ones_too(tmp_path: Path) -> None:
    (tmp_path / "notes.docx").write_text("x")
    (tmp_path / "pod.json").write_bytes(b"\x00\x01")
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "stray.txt").write_text("x")
    (tmp_path / "ci.txt").write_text("\ufefferror")
    found = read_bundle(tmp_path)
    assert found.unread == ("nodes/stray.txt", "notes.docx", "pod.json")
    assert found.material.text("ci.txt") == "error"


def test_a_folder_around_the_bundle_is_taken_off(tmp_path: Path) -> None:
    path = pack(
        tmp_path / "x.tar.gz",
        [
            (member("case1", tarfile.DIRTYPE), b""),
            (member("./case1/ci.txt"), b"a"),
            (member("case1/nodes/n1/df.txt"), b"b"),
        ],
    )
    assert sorted(document.path for document in read_bundle(path).material) == ["ci.txt", "nodes/n1/df.txt"]
    only_nodes = pack(tmp_path / "y.tar.gz", [(member("nodes/n1/df.txt"), b"b")])
    assert [document.path for document in read_bundle(only_nodes).material] == ["nodes/n1/df.txt"]


@pytest.mark.parametrize(
    "hostile",
    [
        member("../evil.txt"),
        member("/etc/passwd"),
        member("a/../../evil.txt"),
        member("a\\..\\evil.txt"),
        member("C:evil.txt"),
        member("bad\nname.txt"),
        member("link.txt", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard.txt", tarfile.LNKTYPE, "ci.txt"),
        member("pipe.txt", tarfile.FIFOTYPE),
        member("null.txt", tarfile.CHRTYPE),
    ],
    ids=lambda info: repr(info.name),
)
def test_hostile_members_are_refused_by_name(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    path = pack(tmp_path / "x.tar.gz", [(member("ci.txt"), b"fine"), (hostile, b"x")])
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    assert hostile.name.splitlines()[0].replace("\\", "\\\\")[:6] in caught.value.what
    assert caught.value.next_step


def test_links_in_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "ci.txt").symlink_to("/etc/hostname")
    with pytest.raises(BundleError, match=r"ci\.txt is a link"):
        read_bundle(tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "nodes").symlink_to("/etc")
    with pytest.raises(BundleError, match="nodes is a link"):
        read_bundle(tmp_path / "c")
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d" / "ci.txt")
    with pytest.raises(BundleError, match="special"):
        read_bundle(tmp_path / "d")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "FILE_LIMIT", 100)
    monkeypatch.setattr(bundle_module, "WHOLE_LIMIT", 250)
    monkeypatch.setattr(bundle_module, "MEMBER_LIMIT", 4)
    cases: list[tuple[str, dict[str, bytes], str]] = [
        ("big", {"ci.txt": b"x" * 101}, "ci.txt"),
        ("whole", {f"{n}.txt": b"x" * 90 for n in "abc"}, "larger"),
        ("many", {f"{n}.txt": b"" for n in "abcde"}, "members"),
    ]
    for name, files, said in cases:
        folder = tmp_path / name
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        archive = pack(tmp_path / f"{name}.tar.gz", [(member(file), content) for file, content in files.items()])
        for path in (folder, archive):
            with pytest.raises(BundleError, match=said):
                read_bundle(path)


def test_a_bomb_is_stopped_while_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "WHOLE_LIMIT", 1000)
    monkeypatch.setattr(bundle_module, "_HEADERS", 20_000)
    huge = tarfile.TarInfo("ci.txt")
    huge.pax_headers = {"comment": "x" * 5_000_000}
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(huge, io.BytesIO(b""))
    with pytest.raises(BundleError, match="unpacks to more"):
        read_bundle(tmp_path / "x.tar.gz")


def _write(name: str, raw: bytes) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / name).write_bytes(raw)
        return root if name.endswith((".json", ".jsonl")) else root / name

    return make


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: root / "nowhere", "no bundle"),
        (_write("x.tar.gz", b"\x1f\x8b\x08broken"), "not a whole"),
        (_write("x.tar.gz", b"plain text, no archive" * 100), "not a whole"),
        (_write("bundle.json", b"{"), "not JSON"),
        (_write("bundle.json", b"[]"), "not a JSON object"),
        (_write("bundle.json", b'{"schema": 2}'), "schema 2"),
        (_write("evidence.jsonl", b'{"probe": "a"}\n{"probe": 3}\n'), "line 2"),
        (_write("evidence.jsonl", b'{"probe": "a", "target": "moon/x"}\n'), "line 1"),
        (_write("evidence.jsonl", b"\xff\xfe"), "evidence.jsonl"),
    ],
)
def test_what_cannot_be_read_says_so(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(BundleError, match=said) as caught:
        read_bundle(make(tmp_path))
    assert caught.value.next_step


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar.gz", [(member("ci.txt"), os.urandom(5000))])
    path.write_bytes(path.read_bytes()[:2500])
    with pytest.raises(BundleError, match="not a whole"):
        read_bundle(path)

"""Evidence bundles, layout version 1 (design.md 5): a folder or a `.tar.gz`, read with suspicion, written masked."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast

from app.errors import BundleError
from app.model.evidence import Evidence, Outcome
from app.model.material import Document, Material
from app.parsers.clock import parse_time
from app.session.codec import decode_evidence, encode_evidence
from app.session.redact import redact_material

SCHEMA: Final = 1
FILE_LIMIT: Final = 32 * 2**20
WHOLE_LIMIT: Final = 256 * 2**20
MEMBER_LIMIT: Final = 20_000
_HEADERS: Final = MEMBER_LIMIT * 2048
"""What tar itself needs besides the contents."""
_FOLDERS: Final = ("nodes", "env", "harbor", "registry", "workloads", "cluster", "secrets")
_TOP: Final = re.compile(r"[\w.-]+\.(?:txt|json|ya?ml)|evidence\.jsonl")
_HARBOR: Final = re.compile(
    r"harbor/(?:[\w.@+/-]+\.(?:json|log|txt)|values\.ya?ml|harbor\.yml|harbor\.cfg|nginx\.conf|[\w.+/-]+\.ya?ml|[\w.+/-]+\.conf)"
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle holds. `evidence` comes from `evidence.jsonl` and is to be believed before the files beside it."""

    material: Material
    evidence: tuple[Evidence, ...] = ()
    unread: tuple[str, ...] = ()
    """Names of files that nobody reads."""
    broken: tuple[str, ...] = ()
    """Documents that are not what their name says: `pods.json is not JSON: …`."""
    action: str = ""
    image: str = ""
    taken_at: float | None = None
    redactions: tuple[str, ...] = field(default=())


# --- reading ------------------------------------------------------------------------------------------------------


def read_bundle(path: Path) -> Bundle:
    """Read a folder or an archive. Raises BundleError naming the file at fault and what to do."""
    try:
        if path.is_dir():
            files = dict(_folder(path))
        elif path.is_file():
            files = _without_top(dict(_archive(path)))
        else:
            raise BundleError(f"there is no bundle at {path}", "Give a folder, or a .tar.gz made of one.")
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read: {error.strerror or error}", "Check the path and its rights."
        ) from error
    return _assemble(files)


def _assemble(files: dict[str, bytes]) -> Bundle:
    # First the records: they were derived before anything was masked.
    evidence = _evidence(files.pop("evidence.jsonl", b""))
    about = _about(files.get("bundle.json"))
    documents: list[Document] = []
    unread: list[str] = []
    broken: list[str] = []
    taken_at = parse_time(about.get("taken_at"))
    for name in sorted(files):
        raw = files[name]
        if not _known(name) or b"\x00" in raw[:8192]:
            unread.append(name)
            continue
        documents.append(Document(name, raw.decode("utf-8", "replace").removeprefix("\ufeff")))
        error = _broken(documents[-1])
        if error:
            broken.append(error)
    redactions = about.get("redactions")
    return Bundle(
        Material(documents),
        evidence,
        tuple(unread),
        tuple(broken),
        str(about.get("action") or ""),
        str(about.get("image") or ""),
        taken_at,
        tuple(map(str, redactions)) if isinstance(redactions, list) else (),
    )


def _broken(document: Document) -> str:
    """What is wrong with a JSON document; empty when nothing is, and for one that is empty."""
    if not document.path.endswith(".json") or not document.text.strip():
        return ""
    try:
        json.loads(document.text)
    except (ValueError, RecursionError) as error:
        return f"{document.path} is not JSON: {error}"
    return ""


def _known(name: str) -> bool:
    top, slash, _ = name.partition("/")
    if not slash:
        return _TOP.fullmatch(name) is not None
    if top == "harbor":
        return _HARBOR.fullmatch(name) is not None
    return top in _FOLDERS and (top != "nodes" or name.count("/") > 1)


def _evidence(raw: bytes) -> tuple[Evidence, ...]:
    try:
        return tuple(record for _, record in decode_evidence(raw.decode("utf-8")))
    except (ValueError, UnicodeDecodeError) as error:
        raise BundleError(
            f"evidence.jsonl cannot be read: {error}",
            "Collect the bundle again, or remove evidence.jsonl to have it judged from its files.",
        ) from error


def _about(raw: bytes | None) -> dict[str, Any]:
    if raw is None or not raw.strip():
        return {}
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"bundle.json is not JSON: {error}", "Mend it or remove it: it is optional.") from error
    if not isinstance(value, dict):
        raise BundleError("bundle.json is not a JSON object", "Mend it or remove it: it is optional.")
    schema = value.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise BundleError(
            f"bundle.json has schema {schema!r}; this release reads schema {SCHEMA}",
            "Use the release of harborpilot that wrote it, or a newer one.",
        )
    return value


def _checked(name: str) -> str:
    """A member's name as a path inside the bundle. Raises BundleError on one that leaves it."""
    if not name or "\x00" in name or any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in name):
        raise BundleError(f"the name {name!r} has characters that no bundle has", "Rename the file and pack again.")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in re.split(r"[\\/]", name) or re.match(r"[A-Za-z]:|\\", name):
        raise BundleError(f"{name!r} would leave the bundle's folder", "Pack the bundle again from inside its folder.")
    return str(path)


def _too_large(name: str, size: int) -> BundleError:
    return BundleError(
        f"{name} has {size} bytes; at most {FILE_LIMIT} are read of one file",
        "Cut the file to the lines about the failure and pack again.",
    )


def _link(name: str) -> BundleError:
    return BundleError(
        f"{name} is a link or a special file; a bundle has plain files only",
        "Replace it by a copy of what it points to.",
    )


class _Sum:
    """Counts members and bytes of a whole bundle."""

    def __init__(self) -> None:
        self.members = 0
        self.bytes = 0

    def add(self, name: str, size: int) -> None:
        self.members += 1
        self.bytes += size
        if self.members > MEMBER_LIMIT:
            raise BundleError(
                f"the bundle has more than {MEMBER_LIMIT} members ({name} is one too many)",
                "Leave out what is not about the failure.",
            )
        if size > FILE_LIMIT:
            raise _too_large(name, size)
        if self.bytes > WHOLE_LIMIT:
            raise BundleError(
                f"the bundle is larger than {WHOLE_LIMIT} bytes (at {name})", "Leave out what is not about the failure."
            )


def _folder(root: Path) -> Iterator[tuple[str, bytes]]:
    total = _Sum()

    def raised(error: OSError) -> None:
        raise BundleError(
            f"{error.filename} cannot be read: {error.strerror}", "Check its rights, or leave it out."
        ) from error

    for folder, names, files in os.walk(root, followlinks=False, onerror=raised):
        for name in (*names, *files):
            full = Path(folder) / name
            inside = _checked(full.relative_to(root).as_posix())
            found = full.lstat()
            if stat.S_ISDIR(found.st_mode):
                total.add(inside, 0)
                continue
            if not stat.S_ISREG(found.st_mode):
                raise _link(inside)
            total.add(inside, found.st_size)
            yield inside, _plain_file(full, inside)


def _plain_file(full: Path, inside: str) -> bytes:
    try:
        handle = os.open(full, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle, "rb") as file:
            raw = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise BundleError(
            f"{inside} cannot be read: {error.strerror or error}", "Check its rights, or leave it out."
        ) from error
    if len(raw) > FILE_LIMIT:
        raise _too_large(inside, len(raw))
    return raw


class _Limited(io.RawIOBase):
    """Unpacked bytes of an archive, refused when there are more than a bundle can have."""

    def __init__(self, inner: IO[bytes], name: str) -> None:
        super().__init__()
        self._inner = inner
        self._name = name
        self._left = WHOLE_LIMIT + _HEADERS

    def read(self, size: int = -1, /) -> bytes:
        raw = self._inner.read(size if size >= 0 else self._left + 1)
        self._left -= len(raw)
        if self._left < 0:
            raise BundleError(
                f"{self._name} unpacks to more than {WHOLE_LIMIT} bytes", "Leave out what is not about the failure."
            )
        return raw


def _archive(path: Path) -> Iterator[tuple[str, bytes]]:
    total = _Sum()
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            inner = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if packed else raw)
            with tarfile.open(fileobj=_Limited(inner, path.name), mode="r|") as archive:
                for member in archive:
                    name = _checked(member.name)
                    if member.isdir():
                        total.add(name, 0)
                        continue
                    if not member.isreg() or member.issparse():
                        raise _link(name)
                    total.add(name, member.size)
                    content = archive.extractfile(member)
                    yield name, content.read() if content is not None else b""
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, UnicodeError, ValueError) as error:
        raise BundleError(
            f"{path.name} is not a whole .tar.gz: {error}", "Pack the folder again: tar czf bundle.tar.gz -C FOLDER ."
        ) from error


def _without_top(files: dict[str, bytes]) -> dict[str, bytes]:
    """`tar czf x.tar.gz folder` puts everything below one folder."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or not all("/" in name for name in files):
        return files
    top = tops.pop()
    return files if top in _FOLDERS else {name.removeprefix(f"{top}/"): raw for name, raw in files.items()}


# --- writing ------------------------------------------------------------------------------------------------------


def write_bundle(
    material: Material,
    evidence: Sequence[Evidence],
    path: Path,
    *,
    action: str | None = None,
    image: str | None = None,
    taken_at: float | None = None,
) -> tuple[str, ...]:
    """Write a masked bundle: a folder, or an archive where the name ends in `.tar.gz` or `.tgz`. Owner-only.

    Returns the paths in which something was masked. Raises BundleError; never overwrites.
    """
    masked, touched = redact_material(material)
    files = {
        _checked(document.path): document.text.encode("utf-8", "replace") for document in masked if _there(document)
    }
    about = {
        "schema": SCHEMA,
        "action": action,
        "image": image,
        "taken_at": datetime.fromtimestamp(taken_at, UTC).isoformat() if taken_at is not None else None,
        "redactions": list(touched),
    }
    files["bundle.json"] = (
        json.dumps({key: value for key, value in about.items() if value is not None}, indent=1) + "\n"
    ).encode()
    files["evidence.jsonl"] = encode_evidence(evidence).encode()
    try:
        if path.name.endswith((".tar.gz", ".tgz")):
            _write_archive(files, path, taken_at)
        else:
            _write_folder(files, path)
    except FileExistsError as error:
        raise BundleError(f"{path} is there already", "Give a new name; a bundle is never overwritten.") from error
    except OSError as error:
        raise BundleError(
            f"{path} cannot be written: {error.strerror or error}", "Check the folder, its rights and the free space."
        ) from error
    return touched


def _there(document: Document) -> bool:
    return document.outcome is Outcome.OBSERVED and not document.absent


def _write_folder(files: dict[str, bytes], path: Path) -> None:
    if path.exists() and any(path.iterdir()):
        raise FileExistsError(path)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    for name, raw in files.items():
        full = path / name
        for folder in reversed(full.relative_to(path).parents):
            (path / folder).mkdir(mode=0o700, exist_ok=True)
        handle = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(raw)


def _write_archive(files: dict[str, bytes], path: Path, taken_at: float | None) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with (
            os.fdopen(handle, "wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", mtime=int(taken_at or 0)) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name, content in _ordered(files):
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = len(content), 0o600, int(taken_at or 0)
                archive.addfile(member, io.BytesIO(content))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _ordered(files: dict[str, bytes]) -> Iterable[tuple[str, bytes]]:
    first = ("bundle.json", "evidence.jsonl")
    yield from ((name, files[name]) for name in first)
    yield from ((name, files[name]) for name in sorted(files) if name not in first)

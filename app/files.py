"""Where files are kept, and the rule files read from there. Imports nothing heavy: the first frame waits for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import msgspec

from app.errors import RuleError
from app.rulebook.book import Rulebook
from app.rulebook.load import Problem, load, parse_text


def config_dir() -> Path:
    """`$HARBORPILOT_CONFIG_DIR`, else `$XDG_CONFIG_HOME/harborpilot`."""
    own = os.environ.get("HARBORPILOT_CONFIG_DIR")
    return Path(own) if own else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "harborpilot"


def state_dir() -> Path:
    """`$HARBORPILOT_STATE_DIR`, else `$XDG_STATE_HOME/harborpilot`."""
    own = os.environ.get("HARBORPILOT_STATE_DIR")
    return Path(own) if own else Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "harborpilot"


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/harborpilot`; safe to delete."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harborpilot"


def _walk(folder: Traversable, prefix: str, *, cases: bool) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            if entry.name not in ("schema", "scenarios", "__pycache__"):
                yield from _walk(entry, name, cases=cases)
        elif entry.name.endswith(".yaml") and (cases or not entry.name.endswith(".cases.yaml")):
            try:
                yield name, entry.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RuleError(f"cannot be read: {error}", name) from error


def rule_files(path: Path | None = None, *, cases: bool = False) -> list[tuple[str, str]]:
    """(name, text) of the shipped rule files, or of those below a folder or in one file."""
    if path is None:
        return list(_walk(resources.files("rules"), "rules", cases=cases))
    if path.is_file():
        return [(str(path), path.read_text(encoding="utf-8"))]
    if not path.is_dir():
        raise RuleError(
            f"no such file or folder: {path}",
            next_step="Give a folder with rule files, or leave it out for the shipped rules.",
        )
    return list(_walk(path, str(path), cases=cases))


def site_files() -> list[tuple[str, str]]:
    """Overlay rules: `/etc/harborpilot/rules.d`, then the user's own."""
    found: list[tuple[str, str]] = []
    for folder in (Path("/etc/harborpilot/rules.d"), config_dir() / "rules.d"):
        if folder.is_dir():
            found.extend(_walk(folder, str(folder), cases=False))
    return found


def scenario_files() -> list[tuple[str, str]]:
    """(name, text) of the shipped scenarios and of the user's own."""
    found = [
        (f"rules/scenarios/{entry.name}", entry.read_text(encoding="utf-8"))
        for entry in _yaml_in(resources.files("rules") / "scenarios")
    ]
    own = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "harborpilot" / "scenarios"
    if own.is_dir():
        found += [(str(own / entry.name), entry.read_text(encoding="utf-8")) for entry in _yaml_in(own)]
    return found


def _yaml_in(folder: Traversable) -> list[Traversable]:
    return sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name)


def load_rulebook(path: Path | None = None, *, today: str = "") -> tuple[Rulebook, list[Problem]]:
    """The rulebook with site overlays; parsed data are cached by digest so that a start does not parse YAML."""
    files = rule_files(path) + ([] if path else site_files())
    raw = _cached(files)
    return load(files, raw=raw, today=today)


def _cached(files: list[tuple[str, str]]) -> dict[str, Any] | None:
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in files).encode()).hexdigest()[:24]
    store = cache_dir() / f"rules-{digest}.msgpack"
    try:
        data = msgspec.msgpack.decode(store.read_bytes())
        return data if isinstance(data, dict) else None
    except (OSError, msgspec.DecodeError):
        pass
    try:
        parsed = {name: parse_text(text) for name, text in files}
    except Exception:
        return None
    try:
        store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in store.parent.glob("rules-*.msgpack"):
            old.unlink(missing_ok=True)
        temporary = store.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.msgpack.encode(parsed))
        temporary.replace(store)
    except (OSError, TypeError):
        pass
    return parsed

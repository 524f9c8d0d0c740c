"""Diffs as they are shown: YAML before and after, with every secret value as `***` and a keyed fingerprint."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Mapping
from typing import Any

import yaml

from app.fixes.base import Hidden, Later
from app.model.masked import fingerprint
from app.parsers.dockerconfig import LoginEntry, parse_dockerconfig

_NEW = "*** (made by Harbor when it is applied)"


def diff_of(before: Any, after: Any, name: str) -> str:
    """Unified diff of two YAML values; None stands for nothing there. Both must be free of secrets."""
    old, new = _lines(before), _lines(after)
    lines = difflib.unified_diff(old, new, f"{name} (before)", f"{name} (after)", lineterm="", n=3)
    return "\n".join(_worded(line) for line in lines)


def _worded(line: str) -> str:
    """A changed secret as kubectl draws it: `*** (before)` and `*** (after)`; one that stays has neither word."""
    word = {"-": "before", "+": "after"}.get(line[:1])
    return line.replace("*** ~", f"*** ({word}) ~") if word else line


def _lines(value: Any) -> list[str]:
    if value is None:
        return []
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=False, width=120, allow_unicode=True).splitlines()


def secret_shown(item: Mapping[str, Any] | None, key: bytes) -> dict[str, Any] | None:
    """A Secret for a diff: type, labels, and of the data what may be told."""
    if item is None:
        return None
    metadata = item.get("metadata") or {}
    kind = str(item.get("type") or "Opaque")
    shown: dict[str, Any] = {"name": metadata.get("name"), "namespace": metadata.get("namespace"), "type": kind}
    if metadata.get("labels"):
        shown["labels"] = dict(metadata["labels"])
    shown["data"] = {name: _value(value, kind, name, key) for name, value in (item.get("data") or {}).items()}
    return shown


def _value(value: Any, kind: str, name: str, key: bytes) -> Any:
    if isinstance(value, Later):
        return _NEW
    text = value.reveal() if isinstance(value, Hidden) else str(value)
    try:
        raw = base64.b64decode(text, validate=False)
    except ValueError:
        return masked(text, key)
    if name in (".dockerconfigjson", ".dockercfg") or "docker" in name or name == "config.json":
        config = parse_dockerconfig(raw, kind)
        if config.entries:
            # Two entries may have one key in other letters; a diff must not hide one of them.
            return {
                "layout": config.layout,
                "auths": [{"server": entry.server_key, **_entry(entry, key)} for entry in config.entries],
            }
        return f"{masked(raw.decode('utf-8', 'replace'), key)}, {config.json_error or config.layout}"
    return masked(raw.decode("utf-8", "replace"), key)


def _entry(entry: LoginEntry, key: bytes) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    name = entry.username or entry.field_username
    if name:
        shown["username"] = name.strip() if name == name.strip() else f"{name.strip()} (with white space at its edge)"
    secret = entry.password or entry.field_password
    if secret:
        edge = " (with white space at its edge)" if secret != secret.strip() else ""
        shown["password"] = masked(secret, key) + edge
    if entry.parse_error:
        shown["auth"] = f"cannot be decoded: {entry.parse_error}"
    if entry.auth_differs:
        shown["note"] = "auth says something else than username and password"
    if entry.identity_token:
        shown["identitytoken"] = "***"
    return shown


def masked(value: str, key: bytes) -> str:
    """`*** ~1f0c92ab, 24 characters`; the diff adds which one it is."""
    return f"*** ~{fingerprint(key, value)}, {len(value)} characters"

"""Masking whole documents before they reach a disk: structure, names and types stay, secrets do not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from app.model.masked import MASK
from app.model.material import Document, Material
from app.parsers.kube_objects import LAST_APPLIED
from app.parsers.redact import is_secret_key, redact

_DEEPEST: Final = 60


def redact_document(document: Document) -> Document:
    """A document that may be written. JSON stays JSON; what is not JSON is masked as text."""
    text = document.text
    if not text:
        return replace(document, detail=redact(document.detail), source=redact(document.source))
    masked = _json(text) if text.lstrip()[:1] in ("{", "[") else None
    return replace(
        document,
        text=redact(text) if masked is None else masked,
        detail=redact(document.detail),
        source=redact(document.source),
    )


def redact_material(material: Material) -> tuple[Material, tuple[str, ...]]:
    """The masked material, and the paths in which something was masked."""
    documents = [redact_document(document) for document in material]
    touched = tuple(
        sorted(
            document.path
            for document in documents
            if MASK in document.text and MASK not in (material.text(document.path) or "")
        )
    )
    return Material(documents), touched


def _json(text: str) -> str | None:
    try:
        value = json.loads(text)
        masked = _walk(value, "", 0)
    except (ValueError, RecursionError):
        return None
    return text if masked == value else json.dumps(masked, indent=1, ensure_ascii=False) + "\n"


def _walk(value: Any, kind: str, depth: int) -> Any:
    if depth > _DEEPEST:
        return MASK
    if isinstance(value, dict):
        own = str(value.get("kind") or kind)
        inner = own.removesuffix("List") if own.endswith("List") else ""
        return {
            redact(key): _data(item)
            if own == "Secret" and key in ("data", "stringData")
            else _member(key, item, inner, depth)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_walk(item, kind, depth + 1) for item in value]
    return redact(value) if isinstance(value, str) else value


def _member(key: str, value: Any, kind: str, depth: int) -> Any:
    if key == LAST_APPLIED and isinstance(value, str):
        return _applied(value, depth)
    if isinstance(value, str) and value and is_secret_key(key):
        return MASK
    return _walk(value, kind if key == "items" else "", depth + 1)


def _applied(text: str, depth: int) -> str:
    """The manifest in the annotation is an object like any other; one that does not parse goes as a whole."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return MASK
    return json.dumps(_walk(value, "", depth + 1), separators=(",", ":"), ensure_ascii=False)


def _data(value: Any) -> Any:
    return dict.fromkeys(map(str, value), MASK) if isinstance(value, dict) else MASK if value else value

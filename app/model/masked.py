"""A masked value is a type of its own: it can be shown and compared, and no fix takes it as a value."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.errors import RefusedError

MASK: Final = "‹masked›"
"""What stands in place of a secret, everywhere. The quotes are not ASCII, so no file holds it by chance."""


@dataclass(frozen=True, slots=True, repr=False)
class Masked:
    """A secret that was seen and not kept. `length` is in characters; `fingerprint` is keyed, see `fingerprint`."""

    fingerprint: str = ""
    length: int | None = None

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return True

    @property
    def described(self) -> str:
        """For a diff: the mask with what may be told, e.g. `‹masked› ~1f0c92ab, 24 characters`."""
        told = [
            f"~{self.fingerprint}" if self.fingerprint else "",
            f"{self.length} characters" if self.length is not None else "",
        ]
        return " ".join(part for part in (MASK, ", ".join(word for word in told if word)) if part)


def fingerprint(key: bytes, value: str | bytes) -> str:
    """Eight hex digits that tell equal values from unequal ones within one session; without `key` they tell nothing."""
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return hmac.new(key, raw, hashlib.sha256).hexdigest()[:8]


def mask(key: bytes, value: str) -> Masked:
    """The masked form of a value, comparable with others masked under the same key."""
    return Masked(fingerprint(key, value), len(value))


def has_mask(value: object) -> bool:
    """True when a mask stands anywhere in a value: as the type, inside a text, or within a mapping or sequence."""
    if isinstance(value, Masked):
        return True
    if isinstance(value, str):
        return MASK in value
    if isinstance(value, bytes):
        return MASK.encode() in value
    if isinstance(value, Mapping):
        return any(has_mask(key) or has_mask(item) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return any(has_mask(item) for item in value)
    return False


def refuse_masked(value: object, where: str = "the change") -> None:
    """For everything that writes. Raises RefusedError when a mask would be written as if it were a value."""
    if has_mask(value):
        raise RefusedError(
            f"{where} holds a masked value, which cannot be applied.",
            "Give the real value again (it is kept in memory only), or read the object afresh.",
        )

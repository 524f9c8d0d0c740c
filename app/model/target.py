"""What evidence is about and what a finding accuses: one thing, or a pair such as a node and a registry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

SCOPES: Final = (
    "workload", "image", "node", "registry", "host", "core-pod", "registry-pod", "client",
    "secret", "connection", "try", "text",
)  # fmt: skip
"""Kinds of things, in the order in which a pair is written."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Scope to id, e.g. `Target.of(node="n1", registry="harbor.corp:443")`, written `node/n1 registry/harbor.corp:443`.

    `INCIDENT` has no part: it agrees with everything. Ids may hold slashes (`workload/apps/web-1`), never blanks.
    """

    parts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, **parts: str | None) -> Target:
        """Scopes as keywords (`core_pod` for `core-pod`); a value of None leaves the scope out."""
        named = {key.replace("_", "-"): value for key, value in parts.items() if value}
        return cls(tuple(sorted(named.items(), key=lambda part: SCOPES.index(part[0]))))

    @classmethod
    def parse(cls, text: str) -> Target:
        """The inverse of `str`. Raises ValueError on an unknown scope."""
        return _parse(text)

    def get(self, scope: str) -> str | None:
        """The id within a scope, None where this target does not say."""
        for key, value in self.parts:
            if key == scope:
                return value
        return None

    def agrees(self, other: Target) -> bool:
        """True when no scope that both name has different ids."""
        for key, value in self.parts:
            theirs = other.get(key)
            if theirs is not None and theirs != value:
                return False
        return True

    def joined(self, other: Target) -> Target:
        """Both together; the parts of `other` win."""
        merged = {**dict(self.parts), **dict(other.parts)}
        return Target(tuple(sorted(merged.items(), key=lambda part: SCOPES.index(part[0]))))

    def only(self, *scopes: str) -> Target:
        """The same target reduced to some scopes."""
        return Target(tuple(part for part in self.parts if part[0] in scopes))

    def __str__(self) -> str:
        return " ".join(f"{key}/{value}" for key, value in self.parts) or "incident"


INCIDENT: Final = Target()


@lru_cache(maxsize=4096)
def _parse(text: str) -> Target:
    if text in ("", "incident"):
        return INCIDENT
    parts = []
    for word in text.split():
        scope, _, name = word.partition("/")
        if scope not in SCOPES or not name:
            raise ValueError(f"not a target: {text!r}")
        parts.append((scope, name))
    return Target(tuple(sorted(parts, key=lambda part: SCOPES.index(part[0]))))

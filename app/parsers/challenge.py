"""The `WWW-Authenticate` challenge of a registry (harbor-and-kubernetes.md A.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

_PARAMETER: Final = re.compile(r'([A-Za-z][A-Za-z0-9_-]*)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)\s*,?\s*')
_SCHEME: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]*)(?:\s+|\s*$)(?!=)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: `scheme` in lower case (`bearer`, `basic`) and its parameters (`realm`, `service`, `scope`, `error`)."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def realm(self) -> str:
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str:
        return self.parameters.get("service", "")


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of a header value. An empty value, as Harbor sends for a missing project, gives none."""
    found: list[Challenge] = []
    rest = header.strip()
    while rest:
        scheme = _SCHEME.match(rest)
        if not scheme:
            break
        rest = rest[scheme.end() :]
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(rest):
            value = parameter[2]
            parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
            rest = rest[parameter.end() :]
        found.append(Challenge(scheme[1].lower(), MappingProxyType(parameters)))
        rest = rest.lstrip(" ,")
    return tuple(found)


def bearer_of(header: str) -> Challenge | None:
    """The first Bearer challenge, None where there is none."""
    return next((challenge for challenge in parse_challenges(header) if challenge.scheme == "bearer"), None)

"""Tokens in answers: `kid`, claims and stamps are kept, the token itself goes into memory only and out of the body."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from app.parsers.token import decode_jwt
from app.ports import HttpRequest

TOKENS: Final = ("token", "access_token", "refresh_token", "id_token")
MASK: Final = "<token>"
_LOOSE = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Token:
    """`shown` as Exchange.token holds it."""

    shown: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    raw: str = field(default="", repr=False)


def cleaned(body: str, cut: bool = False) -> tuple[str, Token]:
    """The body without tokens, and what the token tells."""
    token = Token()
    if not cut and any(f'"{name}"' in body for name in TOKENS):
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            raw = next((parsed[name] for name in TOKENS[:2] if isinstance(parsed.get(name), str) and parsed[name]), "")
            if raw or any(name in parsed for name in TOKENS[:2]):
                token = Token(read(raw, parsed), raw)
            for name in TOKENS:
                if isinstance(parsed.get(name), str) and parsed[name]:
                    parsed[name] = MASK
            body = json.dumps(parsed)
    return _LOOSE.sub(MASK, body), token


def read(raw: str, answer: Mapping[str, Any]) -> Mapping[str, object]:
    """`kid`, `claims`, `issued_at`, `expires_in`, and `empty` for a token without text; what is not there is left out."""
    shown: dict[str, object] = {name: answer[name] for name in ("issued_at", "expires_in") if name in answer}
    if not raw:
        return MappingProxyType({**shown, "empty": True})
    try:
        kid, claims = decode_jwt(raw)
        shown |= {"kid": kid or "", "claims": dict(claims)}
    except ValueError:
        shown["opaque"] = True  # not a JWT: some registries give a word that only they can read
    return MappingProxyType(shown)


class Secrets:
    """The last token for a host, vantage and login, for a purpose that sends one token over several connections. In memory only."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str, str], str] = {}
        self._guard = threading.Lock()

    def keep(self, authority: str, request: HttpRequest, raw: str) -> None:
        """Remember a token for the host."""
        with self._guard:
            self._tokens[self._key(authority, request)] = raw

    def last(self, authority: str, request: HttpRequest) -> str:
        """The token that was kept last; empty when there is none."""
        with self._guard:
            return self._tokens.get(self._key(authority, request), "")

    def drop(self, authority: str, request: HttpRequest) -> None:
        """Forget it: the next request fetches a new one."""
        with self._guard:
            self._tokens.pop(self._key(authority, request), None)

    @staticmethod
    def _key(authority: str, request: HttpRequest) -> tuple[str, str, str]:
        return authority, request.vantage, request.credential.origin if request.credential else ""

    def __repr__(self) -> str:
        return f"Secrets({len(self._tokens)})"

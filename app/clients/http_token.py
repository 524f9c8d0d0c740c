"""Tokens in answers: `kid`, claims and stamps are kept, the token itself goes into memory only and out of the body."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import jwt

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
        head = jwt.get_unverified_header(raw)
        shown["kid"] = head.get("kid", "")
        shown["claims"] = jwt.decode(raw, options={"verify_signature": False})
    except jwt.PyJWTError:
        shown["opaque"] = True  # not a JWT: some registries give a word that only they can read
    return MappingProxyType(shown)


class Secrets:
    """Tokens by the URL that gave them and the login that was used, for the request that needs them next."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str, str], str] = {}
        self._guard = threading.Lock()

    def keep(self, request: HttpRequest, raw: str) -> None:
        """Remember the token that a request was given."""
        with self._guard:
            self._tokens[request.url, request.credential.origin if request.credential else "", request.vantage] = raw

    def last(self, request: HttpRequest) -> str:
        """The token that the same request was given last; empty when there is none."""
        with self._guard:
            return self._tokens.get((request.url, request.credential.origin if request.credential else "", request.vantage), "")

    def __repr__(self) -> str:
        return f"Secrets({len(self._tokens)})"

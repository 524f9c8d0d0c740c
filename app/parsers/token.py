"""Token answers of a registry's token service. Key id, claims and times are read; the signature is never kept."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from app.parsers.clock import parse_time

PUBLISHED_KEY_IDS: Final = frozenset({"7WMA:KVXO:KF25:35NA:GJ35:ZGKY:PGYT:I5UT:TGWY:UUI4:PT7Z:X3KW"})
"""Key ids of private keys that were published with a chart (harbor-and-kubernetes.md A.5): anyone can sign with them."""
_CLAIMS: Final = ("access", "exp", "iat", "nbf", "sub", "iss", "aud")
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?")


@dataclass(frozen=True, slots=True)
class TokenSeen:
    """One answer of the token service, without the token. Times are epoch seconds."""

    kid: str | None = None
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    issued_at: float | None = None
    expires_in: float | None = None
    empty: bool | None = None
    """The service said 200 and gave no token; None: the body was not seen."""
    date: float | None = None
    """`Date` header of the same answer: the clock of the host in front."""
    status: int | None = None
    ms: float | None = None
    connection: str = ""
    pod: str = ""
    taken_at: float | None = None

    @property
    def ttl(self) -> float | None:
        """Lifetime in seconds."""
        start, end = self.claims.get("iat", self.claims.get("nbf")), self.claims.get("exp")
        if isinstance(start, int | float) and isinstance(end, int | float) and end > start:
            return float(end - start)
        return self.expires_in

    @property
    def subject(self) -> str | None:
        """User name, empty for an anonymous token, None where the claims were not seen."""
        return str(self.claims.get("sub") or "") if self.claims else None

    def actions(self, repository: str) -> tuple[str, ...] | None:
        """What the token allows on a repository; None where the claims were not seen or speak of another repository."""
        if not self.claims:
            return None
        access = self.claims.get("access")
        if not isinstance(access, list):
            return None
        for entry in access:
            if isinstance(entry, dict) and entry.get("type") == "repository" and entry.get("name") == repository:
                return tuple(str(action) for action in entry.get("actions") or ())
        return None


def decode_jwt(token: str) -> tuple[str | None, Mapping[str, Any]]:
    """Key id and claims of a JWT whose signature may be cut off. Raises ValueError when it is none."""
    parts = token.split(".")
    if len(parts) < 2:
        raise ValueError("not a JWT")
    header, claims = _part(parts[0]), _part(parts[1])
    kid = header.get("kid")
    kept: dict[str, Any] = {key: claims[key] for key in _CLAIMS if key in claims}
    return (str(kid) if kid else None), MappingProxyType(kept)


def _part(text: str) -> dict[str, Any]:
    try:
        data = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError("a part of the JWT is not base64 of JSON") from error
    if not isinstance(data, dict):
        raise ValueError("a part of the JWT is not a JSON object")
    return data


def read_token_answer(body: str) -> TokenSeen | None:
    """The token answer in a body (`token` or `access_token`); None when the body is no such JSON."""
    try:
        data = json.loads(body)
    except ValueError:
        return None
    if not isinstance(data, dict) or not ({"token", "access_token"} & data.keys()):
        return None
    token = data.get("token") or data.get("access_token") or ""
    kid: str | None = None
    claims: Mapping[str, Any] = MappingProxyType({})
    if isinstance(token, str) and token:
        try:
            kid, claims = decode_jwt(token)
        except ValueError:
            kid = None  # opaque or masked: there is a token, and no more is known of it
    expires = data.get("expires_in")
    return TokenSeen(
        kid=kid,
        claims=claims,
        issued_at=parse_time(data.get("issued_at")),
        expires_in=float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None,
        empty=not token,
    )


def hide_tokens(text: str) -> str:
    """The text with every JWT in it replaced."""
    return _JWT.sub("<token>", text)


def to_mapping(seen: TokenSeen) -> Mapping[str, object]:
    """The form in which an Exchange keeps it."""
    return MappingProxyType(
        {
            "kid": seen.kid,
            "claims": dict(seen.claims),
            "issued_at": seen.issued_at,
            "expires_in": seen.expires_in,
            "empty": bool(seen.empty),
        }
    )


def from_mapping(data: Mapping[str, Any], **more: Any) -> TokenSeen:
    """A record of `tokens.json` or the `token` of an Exchange."""
    claims = data.get("claims")
    kid, expires = data.get("kid"), data.get("expires_in")
    empty = data.get("empty")
    return TokenSeen(
        kid=str(kid) if kid else None,
        claims=MappingProxyType({key: claims[key] for key in _CLAIMS if key in claims})
        if isinstance(claims, dict)
        else MappingProxyType({}),
        issued_at=parse_time(data.get("issued_at")),
        expires_in=float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None,
        empty=empty if isinstance(empty, bool) else (False if kid else None),
        **more,
    )


def read_tokens_json(text: str) -> tuple[TokenSeen, ...]:
    """`harbor/tokens.json`: a list of records without signatures. Raises ValueError saying which record is wrong."""
    data = json.loads(text)
    if not isinstance(data, list):
        raise ValueError("not a list of token records")
    found = []
    for number, record in enumerate(data, 1):
        if not isinstance(record, dict):
            raise ValueError(f"record {number} is not an object")
        status, ms = record.get("status"), record.get("ms")
        seen = from_mapping(
            record,
            date=parse_time(record.get("date")),
            status=status if isinstance(status, int) else (200 if record.get("kid") else None),
            ms=float(ms) if isinstance(ms, int | float) else None,
            connection=str(record.get("connection") or number),
            pod=str(record.get("pod") or ""),
            taken_at=parse_time(record.get("taken_at")),
        )
        found.append(seen)
    return tuple(found)

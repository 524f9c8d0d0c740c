"""The documents `registry/exchanges.json` and `nodes/<node>/exchanges.json`: lists of Exchange objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, Final

import msgspec

from app.model.exchange import Exchange, TlsSeen

_NEVER_KEPT: Final = frozenset({"set-cookie", "authorization", "proxy-authorization", "cookie"})
_FIELDS: Final = tuple(field.name for field in fields(Exchange))
_TLS_FIELDS: Final = tuple(field.name for field in fields(TlsSeen))


def encode_exchanges(exchanges: Sequence[Exchange]) -> str:
    """As JSON, fields at their default left out. Set-Cookie and Authorization are dropped even if somebody kept them."""
    return (
        msgspec.json.format(msgspec.json.encode([_plain(exchange) for exchange in exchanges]), indent=1).decode() + "\n"
    )


def decode_exchanges(text: str) -> tuple[Exchange, ...]:
    """The inverse of `encode_exchanges`. Unknown fields are passed over. Raises ValueError saying what is wrong and where."""
    try:
        data = msgspec.json.decode(text)
        if not isinstance(data, list):
            raise ValueError("not a list of exchanges")
        return tuple(_exchange(item, number) for number, item in enumerate(data, 1))
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


def _plain(exchange: Exchange) -> dict[str, Any]:
    default = Exchange(url="")
    found: dict[str, Any] = {"url": exchange.url}
    for name in _FIELDS[1:]:
        value = getattr(exchange, name)
        if value == getattr(default, name):
            continue
        if name == "headers":
            value = {key.lower(): text for key, text in value.items() if key.lower() not in _NEVER_KEPT}
        elif name == "token":
            value = dict(value)
        elif name == "tls":
            value = {key: getattr(value, key) for key in _TLS_FIELDS if getattr(value, key) not in ("", (), None)}
        found[name] = value
    return found


def _exchange(item: object, number: int) -> Exchange:
    if not isinstance(item, dict):
        raise ValueError(f"exchange {number} is not an object")
    known = {key: value for key, value in item.items() if key in _FIELDS}
    tls = known.get("tls")
    if isinstance(tls, dict):
        known["tls"] = {key: value for key, value in tls.items() if key in _TLS_FIELDS}
    try:
        exchange = msgspec.convert(known, Exchange)
    except msgspec.ValidationError as error:
        raise ValueError(f"exchange {number}: {error}") from error
    headers = {key.lower(): text for key, text in exchange.headers.items() if key.lower() not in _NEVER_KEPT}
    return replace(exchange, headers=MappingProxyType(headers), token=MappingProxyType(dict(exchange.token)))

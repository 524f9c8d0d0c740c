"""Docker login documents rebuilt: what is wrong with one for an image, and the clean document that takes its place."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.parsers.dockerconfig import (
    CFG_TYPES,
    JSON_TYPES,
    DockerConfig,
    LoginEntry,
    matches,
    near_miss,
    ordered_matches,
    parse_dockerconfig,
)

JSON_TYPE: Final = "kubernetes.io/dockerconfigjson"
JSON_KEY: Final = ".dockerconfigjson"
CFG_KEY: Final = ".dockercfg"
NEAR: Final = frozenset({"port", "case", "path", "ip-or-name", "hub-name"})
"""Server keys that mean this registry and miss it by a little; `other-host` may be a login for another registry."""


@dataclass(frozen=True, slots=True)
class Content:
    """One Secret read as a login document. `data_key` is empty where none was found in it."""

    kind: str
    data_key: str
    text: str = field(repr=False)
    config: DockerConfig | None
    wrong_type: bool
    """The kubelet does not read it because of its type, key or layout."""


def content_of(secret: Mapping[str, Any]) -> Content:
    """The login document of a Secret, wherever in its data it lies."""
    kind = str(secret.get("type") or "Opaque")
    data = secret.get("data") or {}
    own = JSON_KEY if kind in JSON_TYPES else CFG_KEY if kind in CFG_TYPES else ""
    for name in dict.fromkeys([own, JSON_KEY, CFG_KEY, "config.json", *sorted(data)]):
        if not name or not isinstance(data.get(name), str):
            continue
        text = _decoded(data[name])
        config = parse_dockerconfig(text, kind)
        if name == own or config.entries:
            wrong = name != own or not config.read_by_kubelet
            return Content(kind, name, text, config, wrong and bool(config.entries))
    return Content(kind, "", "", None, wrong_type=False)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value).decode("utf-8", "surrogateescape")
    except ValueError:
        return ""


def encoded(text: str) -> str:
    """A value of a Secret's `data`."""
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def login(username: str, password: str) -> dict[str, str]:
    """One clean entry: the three fields say the same."""
    pair = f"{username}:{password}".encode("utf-8", "surrogateescape")
    return {"username": username, "password": password, "auth": base64.b64encode(pair).decode()}


def document(auths: Mapping[str, Any]) -> str:
    """A whole document in the form of type kubernetes.io/dockerconfigjson."""
    return json.dumps({"auths": dict(auths)}, separators=(",", ":"), ensure_ascii=False)


def raw_auths(content: Content) -> dict[str, Any]:
    """The servers of a document as they are written; empty where it is no JSON."""
    try:
        value = json.loads(content.text)
    except (ValueError, RecursionError):
        try:
            value = json.loads(base64.b64decode("".join(content.text.split()), validate=True))
        except (ValueError, RecursionError):
            return {}
    if not isinstance(value, dict):
        return {}
    for name, inner in value.items():
        if name.lower() == "auths":
            return dict(inner) if isinstance(inner, dict) else {}
    layout = content.config.layout if content.config else ""
    return dict(value) if layout in ("bare", "base64-twice") else {}


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A clean document, what was wrong, and what to say of it."""

    text: str = field(repr=False)
    why: str
    warn: str = ""


def rebuild(content: Content, image: str, server: str) -> Rebuilt | None:
    """The document mended from what it holds itself, or None where it cannot be without a login from the operator.

    An empty `why` means that nothing was found wrong with it for this image.
    """
    config = content.config
    if config is None:
        return None
    auths = raw_auths(content)
    if not auths:
        return None
    why: list[str] = []
    warn = ""
    if config.layout not in ("auths", "bare"):
        why.append(f"the document was {config.json_error or config.layout}")
    for entry in config.entries:
        if not (_serves(entry, image) or near_miss(entry.server_key, image) in NEAR or entry.parse_error):
            continue
        mended = _mended(entry, auths.get(entry.server_key))
        if mended is None:
            continue
        pair, reason, note = mended
        auths[entry.server_key] = {**_others(auths.get(entry.server_key)), **login(*pair)}
        why.append(reason)
        warn = warn or note
    if not any(matches(key, image) for key in auths):
        near = [entry for entry in config.entries if near_miss(entry.server_key, image) in NEAR]
        if len(near) != 1 or near[0].server_key not in auths:
            return None
        auths[server] = auths.pop(near[0].server_key)
        why.append(f"it was for {near[0].server_key}")
    final = parse_dockerconfig(document(auths), JSON_TYPE)
    served = ordered_matches(final.entries, image)
    if not served or not served[0].has_login or final.parse_error:
        return None
    return Rebuilt(document(auths), "; ".join(dict.fromkeys(why)), warn)


def _serves(entry: LoginEntry, image: str) -> bool:
    return matches(entry.server_key, image)


def _mended(entry: LoginEntry, raw: Any) -> tuple[tuple[str, str], str, str] | None:
    """(name and password, what was wrong, warning) of an entry that can be mended from itself."""
    if entry.parse_error:
        if entry.field_username and entry.field_password:
            return (entry.field_username.strip(), entry.field_password.strip()), "auth could not be decoded", ""
        auth = raw.get("auth") if isinstance(raw, Mapping) else None
        name, colon, secret = auth.strip().partition(":") if isinstance(auth, str) else ("", "", "")
        if colon and name and secret:
            return (name, secret), "auth was the login in clear, not base64", "taken from auth as it was written"
        return None
    if entry.auth_differs and entry.field_username and entry.field_password:
        return (
            (entry.field_username.strip(), entry.field_password.strip()),
            "auth said something else than username and password",
            "username and password are taken as the right ones",
        )
    if entry.edge_space:
        return entry.trimmed, "white space at the edge of the login", ""
    return None


def _others(raw: Any) -> dict[str, Any]:
    """Fields of an entry that are no login, such as an e-mail address."""
    if not isinstance(raw, Mapping):
        return {}
    return {key: value for key, value in raw.items() if key.lower() not in ("auth", "username", "password")}


def with_login(content: Content | None, image: str, server: str, username: str, password: str) -> Rebuilt:
    """The document with one login for this image put in; logins for other registries are kept as they are."""
    auths = raw_auths(content) if content is not None else {}
    kept = {key: value for key, value in auths.items() if not matches(key, image) and near_miss(key, image) not in NEAR}
    broken = {
        entry.server_key
        for entry in (content.config.entries if content and content.config else ())
        if entry.parse_error
    }
    kept = {key: value for key, value in kept.items() if key not in broken}
    kept[server] = login(username, password)
    return Rebuilt(document(kept), f"the login for {server} is written anew")


def exact_login(content: Content, image: str) -> LoginEntry | None:
    """The entry that the kubelet would use, where it reads the document."""
    found = content.config.matching(image) if content.config is not None else ()
    return found[0] if found else None

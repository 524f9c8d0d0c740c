"""Docker login documents as the kubelet reads them: pull secrets and node files (harbor-and-kubernetes.md F.1).

`parse_dockerconfig` never raises: what is wrong with a document is told in its `layout`, `json_error` and the
`parse_error` of its entries. Passwords are kept for the runner that may try them; they appear in no repr.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from app.parsers.split_url import urlsplit

JSON_TYPES: Final = ("kubernetes.io/dockerconfigjson", "dockerconfigjson")
CFG_TYPES: Final = ("kubernetes.io/dockercfg", "dockercfg")
HUB_KEY: Final = "index.docker.io"
"""What `https://index.docker.io/v1/` normalises to: the kubelet's key for Docker Hub."""
_HUB_LIKE: Final = frozenset(
    {"registry-1.docker.io", "hub.docker.com", "index.docker.io", "registry.hub.docker.com", "docker.com", "www.docker.com", "auth.docker.io"}
)  # fmt: skip
AUTH_FORMAT_ERROR: Final = "unable to parse auth field, must be formatted as base64(username:password)"
_FIELDS: Final = ("auth", "username", "password", "identitytoken", "registrytoken", "email")


@dataclass(frozen=True, slots=True)
class LoginEntry:
    """One server of a document. `username` is the name that would be sent."""

    server_key: str
    username: str = ""
    has_login: bool = False
    """The kubelet takes a user name or password from it; an identity token alone is none."""
    auth_differs: bool = False
    """`auth` decodes to something else than the fields beside it; the kubelet uses `auth`."""
    edge_space: bool = False
    """The name or password in use begins or ends with white space (a line end that was encoded too)."""
    parse_error: str = ""
    """What Go says of an `auth` that it cannot decode; it fails the keyring of the whole pod."""
    identity_token: bool = False
    password: str = field(default="", repr=False)
    field_username: str = ""
    field_password: str = field(default="", repr=False)

    @property
    def exact(self) -> tuple[str, str]:
        """Name and password as the kubelet sends them."""
        return self.username, self.password

    @property
    def trimmed(self) -> tuple[str, str]:
        """The same without white space at the edges."""
        return self.username.strip(), self.password.strip()

    @property
    def fields(self) -> tuple[str, str]:
        """The separate fields, which the kubelet ignores while `auth` is set."""
        return self.field_username, self.field_password


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """A whole document. `entries` is filled for what can be seen in it, even where the kubelet would not read it."""

    kind: str
    """`dockerconfigjson`, `dockercfg` or `other`: the type of the Secret."""
    layout: str
    """`auths`, `bare`, `string`, `wrapped`, `base64-twice`, `not-json`."""
    entries: tuple[LoginEntry, ...] = ()
    json_error: str = ""
    helpers: bool = False
    """`credsStore` or `credHelpers` stand in it; the kubelet reads neither."""

    @property
    def read_by_kubelet(self) -> bool:
        """Type and layout fit each other, so that its entries count."""
        return (self.kind, self.layout) in (("dockerconfigjson", "auths"), ("dockercfg", "bare"))

    @property
    def parse_error(self) -> str:
        """The first entry's decoding error, empty when all decode."""
        return next((entry.parse_error for entry in self.entries if entry.parse_error), "")

    @property
    def server_keys(self) -> tuple[str, ...]:
        return tuple(entry.server_key for entry in self.entries)

    def matching(self, image: str) -> tuple[LoginEntry, ...]:
        """Entries that the kubelet would use for an image, in its order; none where it does not read the document."""
        if not self.read_by_kubelet:
            return ()
        return ordered_matches(self.entries, image)


def parse_dockerconfig(data: bytes | str, kind: str = "kubernetes.io/dockerconfigjson") -> DockerConfig:
    """Read the decoded value of `.dockerconfigjson` or `.dockercfg`; `kind` is the Secret's `type`."""
    text = data.decode("utf-8", errors="replace") if isinstance(data, bytes) else data
    short = "dockerconfigjson" if kind in JSON_TYPES else "dockercfg" if kind in CFG_TYPES else "other"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        inner = _json_below_base64(text)
        if inner is not None:
            return DockerConfig(short, "base64-twice", _entries_of(inner), "the document is base64 once more")
        return DockerConfig(short, "not-json", (), _json_words(error))
    if isinstance(document, str):
        return DockerConfig(
            short,
            "base64-twice" if _json_below_base64(document) is not None else "string",
            (),
            "the document is a JSON string",
        )
    if not isinstance(document, dict):
        return DockerConfig(short, "not-json", (), f"the document is a JSON {type(document).__name__}, not an object")
    helpers = _get(document, "credsStore") is not None or _get(document, "credHelpers") is not None
    auths = _get(document, "auths")
    if isinstance(auths, str):
        return DockerConfig(short, "string", (), "`auths` is a string, not an object", helpers)
    if isinstance(auths, dict):
        return DockerConfig(short, "auths", _entries(auths), "", helpers)
    if auths is not None:
        return DockerConfig(short, "string", (), f"`auths` is a JSON {type(auths).__name__}, not an object", helpers)
    if _looks_bare(document):
        return DockerConfig(short, "bare", _entries(document), "", helpers)
    if _wraps(document):
        return DockerConfig(short, "wrapped", (), "the document is wrapped in another object", helpers)
    empty = "auths" if short == "dockerconfigjson" or helpers else "bare"
    return DockerConfig(short, empty, (), "", helpers)


def _json_words(error: Exception) -> str:
    """Where the JSON breaks, without quoting it."""
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    return "not JSON"


def _json_below_base64(text: str) -> dict[str, Any] | None:
    try:
        inner = json.loads(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return inner if isinstance(inner, dict) else None


def _entries_of(document: dict[str, Any]) -> tuple[LoginEntry, ...]:
    auths = _get(document, "auths")
    return _entries(auths if isinstance(auths, dict) else document)


def _get(document: dict[str, Any], key: str) -> Any:
    """A member by name; Go's JSON compares names without case when no exact one is there."""
    if key in document:
        return document[key]
    return next((value for name, value in document.items() if name.lower() == key.lower()), None)


def _looks_bare(document: dict[str, Any]) -> bool:
    return any(
        isinstance(value, dict)
        and any(name.lower() in _FIELDS for name in value)
        and ("." in key or ":" in key or "/" in key or key == "localhost")
        for key, value in document.items()
    )


def _wraps(document: dict[str, Any]) -> bool:
    """A lone member that holds the real document as an object or as text."""
    for value in document.values():
        inner = value
        if isinstance(value, str):
            try:
                inner = json.loads(value)
            except (ValueError, RecursionError):
                inner = _json_below_base64(value)
        if isinstance(inner, dict) and (_get(inner, "auths") is not None or _looks_bare(inner)):
            return True
    return False


def _entries(auths: dict[str, Any]) -> tuple[LoginEntry, ...]:
    return tuple(_entry(str(key), value) for key, value in auths.items())


def _entry(key: str, value: Any) -> LoginEntry:
    if not isinstance(value, dict):
        if value is None:
            return LoginEntry(key)
        return LoginEntry(key, parse_error=f"json: cannot unmarshal {_go_kind(value)} into an entry of auths")
    raw: dict[str, str] = {}
    for name in _FIELDS:
        member = _get(value, name)
        if member is None:
            continue
        if not isinstance(member, str):
            return LoginEntry(key, parse_error=f"json: cannot unmarshal {_go_kind(member)} into field {name}")
        raw[name] = member
    name, secret = raw.get("username", ""), raw.get("password", "")
    token = bool(raw.get("identitytoken"))
    auth = raw.get("auth", "")
    if not auth:
        return _login(key, name, secret, name, secret, token, differs=False)
    try:
        user, password = decode_auth(auth)
    except ValueError as error:
        return LoginEntry(key, parse_error=str(error), identity_token=token, field_username=name, field_password=secret)
    # Only a complete pair beside `auth` can differ from it; a lone name is compared by itself.
    differs = bool((name and name != user) or (secret and secret != password))
    return _login(key, user, password, name, secret, token, differs=differs)


def _login(key: str, user: str, password: str, name: str, secret: str, token: bool, *, differs: bool) -> LoginEntry:
    edge = user != user.strip() or password != password.strip()
    return LoginEntry(key, user, bool(user or password), differs, edge, "", token, password, name, secret)


def _go_kind(value: object) -> str:
    return {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}.get(
        type(value), "value"
    )


def decode_auth(field_value: str) -> tuple[str, str]:
    """`auth` to name and password as Go's two base64 decoders do: line ends are skipped, nothing else is.

    Raises ValueError with the words the kubelet prints.
    """
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    padded = field_value.strip().endswith("=")
    kept = ""
    end = len(field_value)
    for position, char in enumerate(field_value):
        if char in "\r\n":
            continue
        if char == "=" and padded:
            end = position
            break
        if char not in alphabet:
            raise ValueError(f"illegal base64 data at input byte {position}")
        kept += char
    tail = "".join(char for char in field_value[end:] if char not in "\r\n")
    wanted = {2: "==", 3: "="}.get(len(kept) % 4, "")
    if len(kept) % 4 == 1 or (padded and tail != wanted):
        raise ValueError(f"illegal base64 data at input byte {end}")
    decoded = base64.b64decode(kept + wanted).decode("utf-8", errors="replace")
    user, colon, password = decoded.partition(":")
    if not colon:
        raise ValueError(AUTH_FORMAT_ERROR)
    return user, password


# --- which server key serves which image ---------------------------------------------------------------------------


def normalise_key(server_key: str) -> str:
    """A server key as the kubelet indexes it: no scheme, a leading `/v1/` or `/v2/` dropped, `host[:port][/path]`."""
    value = server_key
    for scheme in ("https://", "http://"):
        if value.startswith(scheme):
            value = value[len(scheme) :]
            break
    host, slash, path = value.partition("/")
    path = (slash + path).partition("?")[0].partition("#")[0]
    if path.startswith(("/v1/", "/v2/")):
        path = path[3:]
    return host.rpartition("@")[2] + ("" if path in ("", "/") else path)


def normalise_repository(image: str) -> str:
    """`host/repository` of a reference without tag and digest, Docker Hub spelled out (`docker.io/library/nginx`)."""
    name = image.partition("@")[0]
    head, slash, rest = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost" or head != head.lower()):
        host, path = head, rest
    else:
        host, path = "docker.io", name
    colon = path.rfind(":")
    if colon > path.rfind("/"):
        path = path[:colon]
    if host == "index.docker.io":
        host = "docker.io"
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return f"{host}/{path}" if path else host


def _split(target: str) -> tuple[list[str], str, str]:
    """Labels of the host, port, path with its slash."""
    host, slash, path = target.partition("/")
    if host.startswith("["):
        name, _, rest = host.partition("]")
        return [name + "]"], rest.removeprefix(":"), slash + path
    name, _, port = host.partition(":")
    return name.split("."), port, slash + path


def matches(server_key: str, image: str) -> bool:
    """Whether the kubelet would use the entry of `server_key` for an image (with or without tag)."""
    repository = normalise_repository(image)
    key = normalise_key(server_key)
    return _covers(key, repository) or (key == HUB_KEY and repository.startswith("docker.io/"))


def _covers(key: str, repository: str) -> bool:
    labels, port, path = _split(key)
    wanted, wanted_port, wanted_path = _split(repository)
    if port != wanted_port or len(labels) != len(wanted) or not wanted_path.startswith(path):
        return False
    # Go's path.Match spells a negated class `[^…]`, fnmatch `[!…]`.
    return all(fnmatchcase(theirs, ours.replace("[^", "[!")) for ours, theirs in zip(labels, wanted, strict=True))


def ordered_matches(entries: Iterable[LoginEntry], image: str) -> tuple[LoginEntry, ...]:
    """Entries that serve an image in the order in which the kubelet tries them.

    Keys in reverse lexicographic order, so that longer paths of a host come first; the Hub key only when nothing
    else matches. Entries without a login count as well: they shut out the anonymous attempt.
    """
    repository = normalise_repository(image)
    usable = [(normalise_key(entry.server_key), entry) for entry in entries if not entry.parse_error]
    found = [pair for pair in usable if _covers(pair[0], repository)]
    if not found and repository.startswith("docker.io/"):
        found = [pair for pair in usable if pair[0] == HUB_KEY]
    keys = sorted({key for key, _ in found}, reverse=True)
    return tuple(entry for key in keys for mine, entry in found if mine == key)


def near_miss(server_key: str, image: str, addresses: Iterable[str] = ()) -> str:
    """How an entry fails to serve an image: `none` (it serves), `port, case, path, ip-or-name, hub-name, other-host`.

    `image` may be a whole reference or only its host[:port]. `addresses` are those of the image's host, where known:
    an address in the key that is none of them is another host.
    """
    bare = "/" not in image and ("." in image or ":" in image or image == "localhost")
    repository = image if bare else normalise_repository(image)
    key = normalise_key(server_key)
    labels, port, path = _split(key)
    wanted, wanted_port, wanted_path = _split(repository)
    ours, theirs = ".".join(labels), ".".join(wanted)
    hub = theirs == "docker.io"
    if (_covers(key, repository) if not bare else (_covers(key.partition("/")[0], repository) and path != "/v2")) or (
        hub and key == HUB_KEY
    ):
        return "none"
    if hub and ours in _HUB_LIKE:
        return "hub-name"
    same = len(labels) == len(wanted) and all(
        fnmatchcase(b, a.replace("[^", "[!")) for a, b in zip(labels, wanted, strict=True)
    )
    if same and port == wanted_port and not (not path or wanted_path.startswith(path)):
        return "path"
    if same and port != wanted_port:
        return "port"
    if ours.lower() == theirs.lower():
        return "case"
    known = tuple(addresses)
    if _is_address(ours) != _is_address(theirs) and (not known or ours in known or theirs in known):
        return "ip-or-name"
    return "other-host"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def host_of_url(url: str) -> str:
    """host[:port] of a URL or of a bare host, as it is written."""
    return urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[2]

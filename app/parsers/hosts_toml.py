"""`certs.d/<namespace>/hosts.toml` exactly as containerd reads it (node.md 2.4).

What a release makes of a file differs, so `parse_hosts_toml` keeps everything it sees, with lines, and
`app.pullplan.containerd` decides what is in force.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any, Final

CAPABILITIES: Final = frozenset({"pull", "resolve", "push", "referrers"})
_HEADER = re.compile(r"""^\s*\[\s*host\s*\.\s*(?:"(?P<d>[^"]*)"|'(?P<s>[^']*)'|(?P<b>[^\]\s.]+))\s*\]""")
_ROOT_HEADER = re.compile(r"^\s*\[\s*host\s*\]")
_ANY_HEADER = re.compile(r"^\s*\[")
_LOGIN_KEYS: Final = ("auth", "username", "password")


@dataclass(frozen=True, slots=True)
class HostTable:
    """One `[host."URL"]`, or the root level for `server` (then `url` is the server and may be empty)."""

    url: str
    line: int
    capabilities: tuple[str, ...] | None = None
    """None: not given, which means all."""
    ca: tuple[str, ...] = ()
    client: bool = False
    skip_verify: bool | None = None
    """None: the key is not there. Any value makes an http entry try TLS first."""
    override_path: bool = False
    dial_timeout: str = ""
    auth_header: bool = False
    login_keys: bool = False
    dotted: bool = False
    """Written with dotted keys outside a table header: dropped by containerd 2.x."""
    rewrite: tuple[tuple[str, str], ...] = ()
    """Only k3s' containerd knows it: pattern, replacement."""

    @property
    def tls_keys(self) -> bool:
        return bool(self.ca) or self.client or self.skip_verify is not None

    @property
    def resolves(self) -> bool:
        """A tag can be resolved and pulled here."""
        return self.capabilities is None or {"pull", "resolve"} <= set(self.capabilities)


@dataclass(frozen=True, slots=True)
class HostsFile:
    """A parsed file. With `error` nothing else counts."""

    path: str = ""
    root: HostTable = HostTable("", 0)
    hosts: tuple[HostTable, ...] = ()
    """In file order."""
    has_host_tree: bool = False
    """A `host` table is there, an empty `[host]` included; releases to 1.7.31 reject a file without one."""
    empty: bool = False
    error: str = ""
    error_line: int = 0

    @property
    def oddities(self) -> tuple[str, ...]:
        tables = (self.root, *self.hosts)
        odd = []
        if not self.error and not self.empty and not self.has_host_tree:
            odd.append("no-host-table")
        if any(host.dotted for host in self.hosts):
            odd.append("dotted-keys")
        if any(table.login_keys for table in tables):
            odd.append("login-table")
        if any(table.auth_header for table in tables):
            odd.append("auth-header")
        return tuple(odd)


def parse_hosts_toml(text: str, path: str = "") -> HostsFile:
    """Never raises: a file that containerd rejects has `error` with what is wrong and where."""
    if not text.strip():
        return HostsFile(path, empty=True)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = _line_of(str(error), text)
        return HostsFile(path, error=f"not TOML: {error}", error_line=line)
    headers = _headers(text)
    tree = data.get("host")
    if tree is not None and not isinstance(tree, dict):
        return HostsFile(path, error="`host` is not a table", error_line=_line_with(text, "host"))
    try:
        root = _table(data, str(data.get("server") or ""), _line_with(text, "server"), dotted=False)
        hosts = []
        for url, value in (tree or {}).items():
            if not isinstance(value, dict):
                raise _BadFileError("`host` entry is not a table", headers.get(url, 0))
            hosts.append(_table(value, url, headers.get(url, _line_with(text, url)), dotted=url not in headers))
    except _BadFileError as bad:
        return HostsFile(path, error=bad.what, error_line=bad.line)
    order = {url: index for index, url in enumerate(headers)}
    hosts.sort(key=lambda host: order.get(host.url, len(order)))
    return HostsFile(path, root, tuple(hosts), tree is not None)


class _BadFileError(ValueError):
    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.what, self.line = what, line


def _headers(text: str) -> dict[str, int]:
    """URL of each `[host."URL"]` header to its line, in order."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HEADER.match(line):
            found.setdefault(match["d"] or match["s"] or match["b"] or "", number)
    return found


def _table(data: dict[str, Any], url: str, line: int, *, dotted: bool) -> HostTable:
    capabilities = data.get("capabilities")
    if capabilities is not None:
        if not isinstance(capabilities, list) or not all(isinstance(word, str) for word in capabilities):
            raise _BadFileError("`capabilities` is not a list of words", line)
        for word in capabilities:
            if word not in CAPABILITIES:
                raise _BadFileError(f"unknown capability {word}", line)
    skip = data.get("skip_verify")
    if skip is not None and not isinstance(skip, bool):
        raise _BadFileError("`skip_verify` is not true or false", line)
    headers = data.get("header")
    rewrite = data.get("rewrite")
    return HostTable(
        url=url,
        line=line,
        capabilities=None if capabilities is None else tuple(capabilities),
        ca=_texts(data.get("ca"), line),
        client="client" in data,
        skip_verify=skip,
        override_path=data.get("override_path") is True,
        dial_timeout=str(data.get("dial_timeout") or ""),
        auth_header=isinstance(headers, dict) and any(name.lower() == "authorization" for name in headers),
        login_keys=any(key in data for key in _LOGIN_KEYS),
        dotted=dotted,
        rewrite=tuple((str(a), str(b)) for a, b in rewrite.items()) if isinstance(rewrite, dict) else (),
    )


def _texts(value: Any, line: int) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise _BadFileError("`ca` is not a path or a list of paths", line)


def _line_of(message: str, text: str) -> int:
    if found := re.search(r"at line (\d+)", message):
        return int(found[1])
    return len(text.splitlines())


def _line_with(text: str, word: str) -> int:
    return next((number for number, line in enumerate(text.splitlines(), 1) if word in line), 0)


def mend(text: str) -> str | None:
    """The file with the quotes closed that its author forgot, None where that does not make it readable.

    For the question whether it would work if it were valid, and for plans that show the mended text before it is written.
    """
    lines = []
    for line in text.splitlines():
        fixed = line
        for quote in ('"', "'"):
            if line.count(quote) % 2 == 1:
                closing = re.search(r"[\]\s,]*$", line)
                at = closing.start() if closing else len(line)
                fixed = line[:at] + quote + line[at:]
        lines.append(fixed)
    mended = "\n".join(lines)
    return mended if not parse_hosts_toml(mended).error else None

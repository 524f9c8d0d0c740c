"""nginx configuration: its blocks, and what it does for uploads; nginx access lines: method, path, status.

nginx's rule for `proxy_set_header`: a block inherits all of them from the block around it, or, as soon as it has one of
its own, none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.parsers.core_log import LogLine
from app.parsers.registry_log import clf_stamp


@dataclass(frozen=True, slots=True)
class Block:
    """A directive with a block; the root has an empty name."""

    name: str = ""
    arguments: tuple[str, ...] = ()
    directives: tuple[tuple[str, tuple[str, ...]], ...] = ()
    blocks: tuple[Block, ...] = ()

    def values(self, name: str) -> list[tuple[str, ...]]:
        """Arguments of every directive of that name directly in this block."""
        return [arguments for key, arguments in self.directives if key == name]


_TOKEN: Final = re.compile(r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{};]|(?:\\.|\$\{[^}]*\}|[^\s{};"'])+""")


class NginxSyntaxError(ValueError):
    """A configuration whose braces do not fit."""


def parse_nginx(text: str) -> Block:
    """The whole file. Raises NginxSyntaxError where braces do not match (a fragment of a file, often)."""
    tokens = [found.group() for found in _TOKEN.finditer(text) if not found.group().startswith("#")]
    block, at = _block(tokens, 0, "", (), root=True)
    if at != len(tokens):
        raise NginxSyntaxError("a closing brace without its block")
    return block


def _block(
    tokens: list[str], at: int, name: str, arguments: tuple[str, ...], *, root: bool = False
) -> tuple[Block, int]:
    directives: list[tuple[str, tuple[str, ...]]] = []
    blocks: list[Block] = []
    words: list[str] = []
    while at < len(tokens):
        word = tokens[at]
        at += 1
        if word == ";":
            if words:
                directives.append((words[0], tuple(words[1:])))
            words = []
        elif word == "{":
            inner, at = _block(tokens, at, words[0] if words else "", tuple(words[1:]))
            blocks.append(inner)
            words = []
        elif word == "}":
            if root:
                return Block(name, arguments, tuple(directives), tuple(blocks)), at - 1
            return Block(name, arguments, tuple(directives), tuple(blocks)), at
        else:
            words.append(word[1:-1] if word[0] in "\"'" else word)
    if not root:
        raise NginxSyntaxError(f"block `{name}` is not closed")
    return Block(name, arguments, tuple(directives), tuple(blocks)), at


@dataclass(frozen=True, slots=True)
class UploadRoute:
    """How a TLS server handles requests below `/v2/`."""

    sends_proto: bool | None
    """Tells the next server that the client spoke https; None: passes on what it got, so it depends on what is before it."""
    read_timeout: float
    """`proxy_read_timeout` in seconds, nginx's 60 where none is set."""
    upstream: str = ""
    backends: tuple[str, ...] = field(default=())
    """`host:port` of the servers behind it, where they are listed."""


def upload_routes(root: Block) -> list[UploadRoute]:
    """One for each TLS server that proxies `/v2/`."""
    http = next((block for block in root.blocks if block.name == "http"), root)
    upstreams = {
        block.arguments[0]: tuple(
            words[0] for words in block.values("server") if words and "down" not in words and "backup" not in words
        )
        for block in http.blocks
        if block.name == "upstream" and block.arguments
    }
    passing = {
        words
        for block in http.blocks
        if block.name == "map"
        for words in (block.arguments[1:2])
        if block.arguments[0] == "$http_x_forwarded_proto"
    }
    routes = []
    for server in (block for block in http.blocks if block.name == "server"):
        tls = any(
            "ssl" in words or any(word.endswith(":443") or word == "443" for word in words[:1])
            for words in server.values("listen")
        )
        location = _location(server, "/v2/")
        if not tls or location is None or not location.values("proxy_pass"):
            continue
        target = re.sub(r"^https?://", "", location.values("proxy_pass")[0][0]).split("/", 1)[0]
        routes.append(
            UploadRoute(
                _sends_proto((http, server, location), passing),
                _seconds(_last((http, server, location), "proxy_read_timeout")) or 60.0,
                target,
                upstreams.get(target, ()),
            )
        )
    return routes


def _location(server: Block, path: str) -> Block | None:
    """The location that serves a path: exact, longest prefix, or a regular expression that fits."""
    best: tuple[int, Block] | None = None
    for block in (inner for inner in server.blocks if inner.name == "location" and inner.arguments):
        sign = block.arguments[0] if len(block.arguments) > 1 else ""
        pattern = block.arguments[-1]
        if sign in ("~", "~*"):
            try:
                fits = re.search(pattern, path) is not None
            except re.error:
                continue
            if fits:
                return block
        elif path.startswith(pattern) and (best is None or len(pattern) > best[0]):
            best = (len(pattern), block)
    return best[1] if best else None


def _last(chain: tuple[Block, ...], name: str) -> str:
    for block in reversed(chain):
        found = block.values(name)
        if found and found[-1]:
            return found[-1][0]
    return ""


def _sends_proto(chain: tuple[Block, ...], passing: set[str]) -> bool | None:
    for block in reversed(chain):
        headers = [words for words in block.values("proxy_set_header") if len(words) >= 2]
        if headers:
            for name, value, *_ in headers:
                if name.lower() == "x-forwarded-proto":
                    return (
                        None
                        if value in passing or value == "$http_x_forwarded_proto"
                        else value in ("$scheme", "https")
                    )
                if name.lower() == "forwarded" and "proto=" in value.lower():
                    return True
            # Included files may set more headers than we see.
            return None if any(inner.values("include") for inner in chain) and not _only_mime(chain) else False
    return None if any(inner.values("include") for inner in chain) and not _only_mime(chain) else False


def _only_mime(chain: tuple[Block, ...]) -> bool:
    names = [words[0] for block in chain for words in block.values("include") if words]
    return all(name.endswith("mime.types") for name in names)


def _seconds(text: str) -> float | None:
    found = re.fullmatch(r"(\d+)(ms|s|m|h|)", text.strip())
    return float(found[1]) * {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}[found[2]] if found else None


@dataclass(frozen=True, slots=True)
class Access:
    """One access line."""

    method: str
    uri: str
    status: int
    agent: str = ""
    stamp: float | None = None

    @property
    def path(self) -> str:
        return self.uri.split("?", 1)[0]


_ACCESS: Final = re.compile(r'"(?P<method>[A-Z]{3,7}) (?P<uri>\S+) HTTP/[\d.]+" (?P<status>\d{3})\b(?P<rest>.*)')
_TIME: Final = re.compile(r"\[(?P<stamp>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]")


def access_lines(lines: Iterator[LogLine]) -> Iterator[Access]:
    """Lines of Harbor's own format (no time) and of the combined format; others are passed over."""
    for line in lines:
        found = _ACCESS.search(line.text)
        if not found:
            continue
        quoted = [words for words in re.findall(r'"([^"]*)"', found["rest"]) if words not in ("", "-")]
        time = _TIME.search(line.text)
        stamp = clf_stamp(time["stamp"]) if time else line.stamp
        yield Access(found["method"], found["uri"], int(found["status"]), quoted[-1] if quoted else "", stamp)


UPLOAD: Final = re.compile(r"/v2/.+/blobs/uploads/[^/?]+")


def upload_redirected(lines: list[Access]) -> bool:
    """A PATCH or PUT on an upload URL was answered by a redirect, or came back as GET (observed-harbor.md 6.2)."""
    for line in lines:
        if UPLOAD.search(line.path) and line.method in ("PATCH", "PUT") and line.status in (301, 302, 307, 308):
            return True
    return False

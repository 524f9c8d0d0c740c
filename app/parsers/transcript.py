"""`curl -v`-like transcripts (`probe.txt`) as Exchanges. Hand-made ones may hold only a request line and a status line.

One command is one fresh connection; a command that follows redirects or asks several URLs gives several exchanges. Where
no scheme is known the URL begins with `//`, and where no host is known it is only a path: unknown is not guessed here.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from app.model.exchange import Exchange, TlsSeen
from app.parsers.clock import parse_time
from app.parsers.split_url import urlsplit
from app.parsers.token import hide_tokens, read_token_answer, to_mapping
from app.parsers.transcript_command import Command, login_of, purpose_of, read_command, with_login
from app.parsers.x509 import canonical_name

_COMMAND: Final = re.compile(
    r"^\s*(?:[\w.@:~/-]*[$#%]|\$)\s+(?P<text>(?:sudo\s+|time\s+)?(?:for |while |curl|wget|getent|openssl|nc |ping |dig |nslookup |docker |skopeo |crane ).*)$"
)
_REQUEST: Final = re.compile(r"^> ([A-Z]+) (\S+)(?: HTTP/[\d.]+)?\s*$")
_STATUS: Final = re.compile(r"^<? ?HTTP/[\d.]+ (\d{3})\b")
_HEADER: Final = re.compile(r"^([<>]) ([A-Za-z][A-Za-z0-9-]*):[ ]?(.*)$")
_TRY: Final = re.compile(r"^\s*(\d{3})\s+(\d+(?:[.,]\d+)?)\s*(ms|s)?\s*$")
_NEVER_KEPT: Final = frozenset({"set-cookie", "authorization", "proxy-authorization", "cookie"})
_BODY: Final = 16_384

_NETWORK: Final = (
    (re.compile(r"connect to \S+ port \d+ .*failed: Connection refused|: Connection refused"), "refused"),
    (re.compile(r"No route to host|[Nn]etwork is unreachable|Host is unreachable"), "unreachable"),
    (
        re.compile(
            r"Connection timed out|connect timed out|Connection timeout|Operation timed out|Resolving timed out"
        ),
        "timeout",
    ),
)
_TLS: Final = (
    (
        re.compile(
            r"wrong version number|packet length too long|unknown protocol|record layer failure|http request",
            re.IGNORECASE,
        ),
        "plain-http",
    ),
    (re.compile(r"SSL connection timeout|TLS handshake timeout"), "stalled"),
    (
        re.compile(
            r"SSL_ERROR_SYSCALL|OpenSSL SSL_connect: Connection reset|Connection reset by peer in connection|unexpected eof while reading"
        ),
        "reset",
    ),
    (
        re.compile(
            r"alert (?:certificate required|bad certificate|handshake failure|protocol version|internal error|unrecognized name|access denied)|tlsv1 alert|sslv3 alert|tlsv13 alert"
        ),
        "alert",
    ),
)
_UNVERIFIED: Final = (
    re.compile(r"SSL certificate problem: (.+)"),
    re.compile(r"(SSL: (?:no alternative certificate subject name matches|certificate subject name).+)"),
    re.compile(r"SSL certificate verify result: (.+?)(?: \(\d+\))?, continuing anyway"),
)


@dataclass
class _Seen:
    """One request while its lines are read."""

    command: Command
    number: int
    method: str = ""
    path: str = ""
    request: dict[str, str] = field(default_factory=dict)
    address: str = ""
    port: int | None = None
    tcp: str = ""
    dns_failed: bool = False
    proxy: str = ""
    proxy_answer: str = ""
    tls: TlsSeen | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: list[str] = field(default_factory=list)
    error: str = ""
    in_body: bool = False


def read_transcript(text: str, vantage: str = "operator", taken_at: float | None = None) -> tuple[Exchange, ...]:
    """All exchanges of a transcript, in order. Lines that mean nothing here are passed over; nothing readable gives none."""
    found: list[Exchange] = []
    number = 0
    for command, lines in _commands(text.replace("\r\n", "\n")):
        number += 1
        tries = [match for line in lines if (match := _TRY.match(line))]
        if tries and command.urls:
            found += _tries(command, tries, number, vantage, taken_at)
            continue
        for seen in _requests(command, lines, number):
            exchange = _exchange(seen, vantage, taken_at)
            if exchange is not None:
                found.append(exchange)
    return tuple(found)


def _commands(text: str) -> Iterator[tuple[Command, list[str]]]:
    current, lines = Command(), list[str]()
    for line in text.splitlines():
        match = _COMMAND.match(line)
        if match:
            if lines or current.text:
                yield current, lines
            current, lines = read_command(match["text"]), []
        else:
            lines.append(line)
    if lines or current.text:
        yield current, lines


def _tries(
    command: Command, tries: list[re.Match[str]], number: int, vantage: str, taken_at: float | None
) -> Iterator[Exchange]:
    """A loop that prints a status and a time for each fresh connection. 000 is an attempt that got no answer."""
    for index, match in enumerate(tries, 1):
        value = float(match[2].replace(",", "."))
        status = int(match[1])
        url = command.urls[0]
        yield Exchange(
            url=url,
            method=command.method or ("HEAD" if command.head else "GET"),
            vantage=vantage,
            purpose=purpose_of(url, command.method or "GET", command.login, command.bearer),
            status=status or None,
            ms=round(value if match[3] == "ms" else value * 1000, 3),
            login=login_of(command),
            login_variant="exact" if command.login else "",
            connection=f"{number}.{index}",
            error="" if status else "no answer",
            taken_at=taken_at,
        )


def _requests(command: Command, lines: list[str], number: int) -> Iterator[_Seen]:
    seen = _Seen(command, number)
    for raw in lines:
        line = raw.rstrip()
        request = _REQUEST.match(line)
        if request and request[1] == "CONNECT":
            seen.proxy = seen.proxy or "proxy"
            continue
        if request:
            if seen.method:
                yield seen
                seen = _Seen(
                    command,
                    number,
                    address=seen.address,
                    port=seen.port,
                    tcp=seen.tcp,
                    tls=seen.tls,
                    proxy=seen.proxy,
                    proxy_answer=seen.proxy_answer,
                )
            seen.method, seen.path = request[1], request[2]
            continue
        status = _STATUS.match(line)
        if status and (line.startswith("<") or not seen.in_body):
            if seen.status is not None and seen.status >= 200:
                yield seen
                seen = _Seen(command, number, address=seen.address, port=seen.port, tcp=seen.tcp, tls=seen.tls)
            seen.status, seen.headers, seen.in_body = int(status[1]), {}, False
            continue
        header = _HEADER.match(line)
        if header and header[1] == ">":
            seen.request[header[2].lower()] = header[3].strip()
        elif header:
            _keep(seen, header[2].lower(), header[3].strip())
        elif line.startswith("*"):
            if seen.status is not None and re.match(
                r"^\*\s+(Trying|Issue another request|Connection #\d+ to host|Closing)", line
            ):
                seen.in_body = False
            seen = yield from _told(seen, line.lstrip("* \t"))
        elif line in ("<", "< "):
            seen.in_body = True
        elif (seen.status is not None or line.startswith(("{", "[", "<"))) and not line.startswith((">", "{ [", "} [")):
            seen.body.append(raw)  # without -v only the body is printed
    if (
        seen.method
        or seen.status is not None
        or seen.tcp
        or seen.tls
        or seen.error
        or seen.dns_failed
        or seen.address
        or (seen.body and command.urls)
    ):
        yield seen


def _keep(seen: _Seen, name: str, value: str) -> None:
    if name not in _NEVER_KEPT:
        seen.headers[name] = f"{seen.headers[name]}, {value}" if name in seen.headers else value


def _told(seen: _Seen, text: str) -> Generator[_Seen, None, _Seen]:
    """One `*` line. Gives back the request to go on with: a new attempt to connect begins a new one."""
    trying = re.match(r"Trying (\[?[0-9a-fA-F.:]+?\]?)(?::(\d+))?\.\.\.", text)
    connected = re.match(r"Connected to (\S+) \(([0-9a-fA-F.:]+)\) port (\d+)", text) or re.match(
        r"Established connection to (\S+) \(([0-9a-fA-F.:]+) port (\d+)\)", text
    )
    if trying:
        if seen.status is not None:
            yield seen
            seen = _Seen(seen.command, seen.number)
        seen.address = trying[1].strip("[]")
        seen.port = int(trying[2]) if trying[2] else seen.port
    elif connected:
        seen.tcp = "open"
        seen.address, seen.port = connected[2], int(connected[3])
    elif re.match(
        r"(Uses proxy env variable|Establish(ing)? HTTP proxy tunnel|CONNECT tunnel|Proxy replied|allocate connect buffer|Received HTTP code \d+ from proxy)",
        text,
    ):
        _proxy_told(seen, text)
    elif basic := re.match(r"Server auth using Basic with user '([^']*)'", text):
        seen.command.user = seen.command.user or basic[1]
    elif re.search(r"Could not resolve (host|proxy)", text):
        seen.dns_failed, seen.error = True, text
        seen.proxy = seen.proxy or ("proxy" if "proxy:" in text else "")
    else:
        _layer_told(seen, text)
    return seen


def _proxy_told(seen: _Seen, text: str) -> None:
    seen.proxy = seen.proxy or "proxy"
    code = re.search(r"(?:response|replied|HTTP code) (\d{3})", text)
    if code:
        number = int(code[1])
        seen.proxy_answer = (
            "tunnel" if number == 200 else str(number) if number in (403, 407) else "5xx" if number >= 500 else ""
        )


def _layer_told(seen: _Seen, text: str) -> None:
    for pattern in _UNVERIFIED:
        found = pattern.search(text)
        if found:
            seen.tls = replace(
                seen.tls or TlsSeen(),
                state="ok",
                verified=False,
                verify_error=found[1].strip(),
                anchors=seen.command.anchors,
            )
            seen.tcp, seen.error = "open", text
            return
    if text.startswith("SSL connection using"):
        seen.tcp = "open"
        version = re.search(r"using (\S+)", text)
        seen.tls = replace(
            seen.tls or TlsSeen(), state="ok", version=version[1] if version else "", anchors=seen.command.anchors
        )
        return
    if text.startswith("SSL certificate verify ok"):
        seen.tls = replace(
            seen.tls or TlsSeen(),
            state="ok",
            verified=None if seen.command.insecure else True,
            anchors=seen.command.anchors,
        )
        return
    if _certificate_told(seen, text):
        return
    for pattern, state in _TLS:
        if pattern.search(text):
            seen.tcp, seen.tls, seen.error = "open", replace(seen.tls or TlsSeen(), state=state), text
            return
    for pattern, state in _NETWORK:
        if pattern.search(text):
            if seen.tcp == "open" and state == "timeout":
                # Connected and then silent: the handshake stalls where one was due.
                if seen.tls is None and (seen.port == 443 or any(url.startswith("https") for url in seen.command.urls)):
                    seen.tls = TlsSeen(state="stalled")
            elif seen.tcp != "open":
                seen.tcp = state
            seen.error = text
            return
    if re.search(r"Connection reset by peer|Recv failure|Empty reply from server", text):
        seen.tcp = seen.tcp or "reset"
        seen.error = text
    elif re.match(r"(Failed to connect|error setting certificate|curl:)", text):
        seen.error = seen.error or text


def _certificate_told(seen: _Seen, text: str) -> bool:
    """Lines of the block `Server certificate:`."""
    found = re.match(r"(subjectAltName|subject|issuer|start date|expire date|common name)(?::| (?=does))\s*(.*)$", text)
    if not found:
        return False
    key, value = found[1], found[2].strip()
    tls = seen.tls or TlsSeen(state="ok", anchors=seen.command.anchors)
    if key == "subject":
        tls = replace(tls, subject=canonical_name(value))
    elif key == "issuer":
        tls = replace(tls, issuer=canonical_name(value))
    elif key == "start date":
        tls = replace(tls, not_before=parse_time(value))
    elif key == "expire date":
        tls = replace(tls, not_after=parse_time(value))
    elif key == "subjectAltName":
        matched = re.search(r'matched(?: cert\'s)? "?([^"]+)"?', value)
        if matched:
            tls = replace(tls, names=(*tls.names, matched[1]))
        elif "does not match" in value:
            tls = replace(tls, verified=False, verify_error=f"subjectAltName {value}")
    seen.tcp, seen.tls = "open", tls
    return True


def _exchange(seen: _Seen, vantage: str, taken_at: float | None) -> Exchange | None:
    command = seen.command
    url = _url(seen)
    if not url or command.text.startswith(("getent", "openssl", "nc ", "ping", "dig", "nslookup")):
        return None
    scheme = urlsplit(url).scheme
    tcp = seen.tcp
    if not seen.proxy and not tcp and (seen.status is not None or seen.body):
        tcp = "open"
    tls = seen.tls
    if seen.proxy:
        tcp = ""
    authorization = seen.request.get("authorization", "").lower()
    command_login = command.login or authorization.startswith("basic")
    bearer = command.bearer or authorization.startswith("bearer")
    method = seen.method or command.method or ("HEAD" if command.head else "GET")
    body = "\n".join(seen.body).strip()
    token = read_token_answer(body) if "token" in body else None
    date = parse_time(seen.headers.get("date"))
    if tls is not None and scheme == "http" and not seen.proxy:
        tls = None
    return Exchange(
        url=url,
        method=method,
        vantage=vantage,
        purpose=purpose_of(url, method, command_login, bearer),
        addresses=(seen.address,) if seen.address else (),
        address=seen.address,
        tcp=tcp,
        proxy=command.proxy or seen.proxy,
        proxy_answer=seen.proxy_answer,
        tls=tls,
        status=seen.status,
        headers=MappingProxyType(dict(seen.headers)),
        body=hide_tokens(body)[:_BODY],
        token=to_mapping(token) if token is not None else MappingProxyType({}),
        login=login_of(with_login(command, command_login)),
        login_variant="exact" if command_login else "",
        connection=str(seen.number),
        error=seen.error,
        taken_at=date if date is not None else taken_at,
        partial=not command.text and "user-agent" not in seen.request,
        bearer=bearer,
        body_seen=bool(body) or (not command.body_dropped and method != "HEAD" and bool(command.text)),
    )


def _url(seen: _Seen) -> str:
    """The URL as far as it is known: from the command, else from the request line and its Host."""
    given = seen.command.urls[0] if seen.command.urls else ""
    host = seen.request.get("host", "")
    if not seen.path:
        return given
    parts = urlsplit(given)
    if seen.path.startswith("http"):
        return seen.path
    if given and (not host or host == parts.netloc.rpartition("@")[2]):
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{seen.path}"
    scheme = "https" if seen.tls is not None else parts.scheme if given and not host else ""
    if host:
        return f"{scheme}://{host}{seen.path}" if scheme else f"//{host}{seen.path}"
    return seen.path

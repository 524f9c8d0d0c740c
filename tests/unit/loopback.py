"""Servers of a test on loopback: what answers HTTP and TLS, and how a test reads a request and answers it."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from tests.unit.pki import Pair, make

ALWAYS = {"start": dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "end": dt.datetime(2099, 1, 1, tzinfo=dt.UTC)}
Handler = Callable[[socket.socket], None]


class Server:
    """Accepts on loopback and gives each connection to a handler in a thread of its own."""

    def __init__(self, handler: Handler) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self._handler = handler
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self._handler(connection)

    def close(self) -> None:
        self._socket.close()


def leaf(authority: Pair, *hosts: str, end: dt.datetime = ALWAYS["end"]) -> Pair:
    return make("registry.corp.example", authority, hosts=hosts or ("localhost",), start=ALWAYS["start"], end=end)


def tls(pair: Pair, folder: Path, handler: Handler) -> Handler:
    file = folder / f"{id(pair)}.pem"
    file.write_text(pair.pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def wrapped(connection: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError, OSError), context.wrap_socket(connection, server_side=True) as inner:
            handler(inner)

    return wrapped


def request_of(connection: socket.socket) -> tuple[str, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in lines[1:]}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return lines[0], headers, body


def answer(connection: socket.socket, status: str, body: bytes = b"", *headers: str) -> None:
    head = "\r\n".join(
        [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Date: Sat, 21 Nov 2026 12:00:00 GMT", *headers]
    )
    connection.sendall(head.encode() + b"\r\n\r\n" + body)


def jwt(**claims: object) -> str:
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")  # noqa: E731
    return f"{part({'alg': 'RS256', 'kid': 'AAAA:BBBB'})}.{part(claims)}.c2lnbmF0dXJl"

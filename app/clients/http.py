"""HTTP with a vantage: one request, one Exchange, each layer told apart. Redirects are not followed, cookies not kept, tokens not shown."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

import anyio
import httpcore

from app.clients import clock as system
from app.clients.http_reach import Reached, reach
from app.clients.http_stream import Deadline, HandshakeError, PlainStream, TlsStream, reason, secure
from app.clients.http_token import Secrets, cleaned
from app.clients.ssh import Links
from app.clients.ssh_link import Stream
from app.clients.threads import Threads
from app.model.exchange import Exchange, TlsSeen
from app.parsers.challenge import bearer_of
from app.ports import Clock, HttpRequest

BODY: Final = 16 * 1024
DIGEST: Final = 4 * 1024 * 1024
FLOW: Final = frozenset({"manifest-anon", "manifest-login", "upstream", "blob", "bearer", "upload"})
"""Purposes with which the token of the Bearer challenge is fetched. `bearer` sends one token over all its connections."""
USER_AGENT = "harborpilot"
_UPLOAD: Final = re.compile(r"/v2/(.+)/blobs/uploads/")
_DROPPED = ("set-cookie", "set-cookie2", "authorization", "proxy-authorization", "www-authenticate-info")


class UnreachedError(Exception):
    """No connection; the layer is told."""

    def __init__(self, reached: Reached) -> None:
        super().__init__(reached.error)
        self.reached = reached


class ProxyRefusedError(Exception):
    """The proxy gave no tunnel."""

    def __init__(self, answer: str, text: str) -> None:
        super().__init__(text)
        self.answer = answer


@dataclass(slots=True)
class _Open:
    """One connection: the stream, what its making showed, and httpcore's state machine on it."""

    id: str
    stream: PlainStream
    http: httpcore.HTTP11Connection
    seen: Exchange


class LiveHttp:
    """`Http` over sockets and SSH channels. `links` None: only from the operator's machine.

    A login is sent over TLS alone, but to hosts (`host:port`) in `plain_logins`, for which the operator has agreed.
    """

    def __init__(
        self,
        links: Links | None = None,
        threads: Threads | None = None,
        clock: Clock | None = None,
        plain_logins: Collection[str] = (),
    ) -> None:
        self._links = links
        self._threads = threads or Threads()
        self._clock = clock or system.SystemClock()
        self._plain_logins = frozenset(plain_logins)
        self._numbers = itertools.count(1)
        self._idle: dict[tuple[str, ...], _Open] = {}
        self._guard = threading.Lock()
        self._secrets = Secrets()

    async def exchange(self, request: HttpRequest) -> Exchange:
        """One request; with a purpose of `FLOW` the token that the registry asks for is fetched, as its clients do it.

        Never raises for trouble on the way.
        """
        return await (self._with_token(request) if request.purpose in FLOW else self.send(request))

    async def send(self, request: HttpRequest, body: bytes = b"") -> Exchange:
        """One request as it is, with a body."""
        return (await self._ask(request, body))[0]

    async def _ask(self, request: HttpRequest, body: bytes = b"", bearer: str = "") -> tuple[Exchange, str]:
        """The exchange, and the token that it brought."""
        with anyio.move_on_after(request.timeout * 3 + 15):
            return await self._threads.run(self._exchange, request, body, bearer)
        return replace(self._blank(request), error="no answer in time"), ""

    async def _with_token(self, request: HttpRequest) -> Exchange:
        """Ask without a login, fetch a token from the challenge's realm, ask again. The last exchange is the answer.

        The login goes to the realm once, and only to one on the registry's own site; a registry that asks for Basic gets it itself.
        """
        try:
            url = _split(request.url)
        except ValueError as error:
            return replace(self._blank(request), error=str(error))
        place = _authority(url)
        held = self._secrets.last(place, request) if request.purpose == "bearer" else ""
        if held:
            again, _ = await self._ask(request, bearer=held)
            return replace(again, bearer=True)
        bare, _ = await self._ask(replace(request, credential=None, login_variant=""))
        challenge = bearer_of(bare.headers.get("www-authenticate", ""))
        if bare.status != 401:
            return bare
        if challenge is None:
            return await self.send(request) if request.credential is not None else bare
        wanted = dict(challenge.parameters)
        if request.purpose == "upload" and request.method == "POST" and (found := _UPLOAD.fullmatch(url.path)):
            wanted["scope"] = f"repository:{found[1]}:pull,push"  # what a client that pushes asks for
        realm = token_url(wanted)
        if not realm:
            return replace(bare, error=f"the challenge's realm is no URL: {challenge.parameters.get('realm', '')!r}")
        if request.credential is not None and not same_site(place, realm):
            return replace(
                bare,
                error=f"the realm {_shown(realm).partition('?')[0]} is on another site: the login was not sent there",
            )
        asked = replace(request, url=realm, method="GET", purpose="token", headers={"Accept": "application/json"})
        answer, raw = await self._ask(asked)
        known = replace(bare, login=self._blank(request).login, login_variant=self._blank(request).login_variant)
        if not raw:
            said = f"HTTP {answer.status}" if answer.status is not None else answer.error
            return replace(
                known,
                error=f"no token: the token service answered {said}"
                if answer.status != 200
                else "no token: the token service's answer holds none",
            )
        if request.purpose == "bearer":
            self._secrets.keep(place, request, raw)
        final, _ = await self._ask(request, bearer=raw)
        return replace(final, bearer=True)

    def close(self) -> None:
        """Close what was kept open."""
        with self._guard:
            idle, self._idle = self._idle, {}
        for one in idle.values():
            one.http.close()

    # --- in a worker thread ---

    def _exchange(self, request: HttpRequest, body: bytes, bearer: str) -> tuple[Exchange, str]:
        seen = self._blank(request)
        try:
            url = _split(request.url)
        except ValueError as error:
            return replace(seen, error=str(error)), ""
        if (
            (request.credential is not None or bearer)
            and url.scheme == "http"
            and _authority(url) not in self._plain_logins
        ):
            return replace(
                seen,
                login="",
                login_variant="",
                error="a login is not sent over plain HTTP without consent; nothing was sent",
            ), ""
        trust = request.anchors_pem or request.anchors_name
        key = (request.vantage, url.scheme, _authority(url), trust, request.proxy, request.address)
        kept = None
        if not request.fresh:
            with self._guard:
                kept = self._idle.pop(key, None)
        for connection in (kept, None):
            if connection is None and kept is not None and not request.fresh:
                kept.http.close()
            deadline = Deadline.of(request.timeout)
            try:
                current = connection or self._connect(seen, request, url, deadline)
            except (UnreachedError, ProxyRefusedError, HandshakeError) as error:
                return _failed(seen, error), ""
            _renew(current.stream, deadline)
            result, raw, reusable = self._talk(current, replace(current.seen, **_own(seen)), request, url, body, bearer)
            if result.status is None and connection is not None:
                continue  # the server had closed the kept connection: once more over a new one
            if reusable and not request.fresh:
                with self._guard:
                    self._idle[key] = current
            else:
                current.http.close()
            return result, raw
        raise AssertionError("not reached")

    def _blank(self, request: HttpRequest) -> Exchange:
        return Exchange(
            url=_shown(request.url), method=request.method, vantage=request.vantage, purpose=request.purpose, proxy=_shown(request.proxy),
            login=request.credential.origin if request.credential else "", login_variant=request.login_variant if request.credential else "", taken_at=self._clock.now(),
        )  # fmt: skip

    def _connect(self, seen: Exchange, request: HttpRequest, url: SplitResult, deadline: Deadline) -> _Open:
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        made: list[Reached] = []

        def opener() -> Stream:
            """A connection to the host, through the proxy where there is one; called again for a second look at the certificates."""
            if request.proxy:
                return self._through_proxy(request, url, host, port, deadline if not made else Deadline.of(10), made)
            dialled = request.address or host
            reached = reach(request.vantage, dialled, port, deadline if not made else Deadline.of(10), self._links)
            made.append(reached)
            if reached.stream is None:
                raise UnreachedError(reached)
            return reached.stream

        stream: PlainStream
        tls: TlsSeen | None = None
        try:
            if url.scheme == "https":
                stream, tls = secure(opener, host, request.anchors_pem, request.anchors_name, deadline)
            else:
                stream = PlainStream(opener(), deadline)
        except HandshakeError as error:
            error.__context__ = UnreachedError(made[0]) if made else None
            raise
        number = f"c{next(self._numbers)}"
        origin = httpcore.Origin(url.scheme.encode(), host.encode(), port)
        current = _with_reached(seen, made[0]) if made else seen
        current = replace(
            current,
            tls=tls,
            connection=number,
            proxy_answer="tunnel" if request.proxy and url.scheme == "https" else "",
        )
        return _Open(number, stream, httpcore.HTTP11Connection(origin, stream), current)

    def _through_proxy(
        self, request: HttpRequest, url: SplitResult, host: str, port: int, deadline: Deadline, made: list[Reached]
    ) -> Stream:
        proxy = _split(request.proxy if "://" in request.proxy else f"http://{request.proxy}")
        reached = reach(
            request.vantage,
            proxy.hostname or "",
            proxy.port or (443 if proxy.scheme == "https" else 80),
            deadline,
            self._links,
        )
        made.append(Reached())
        if reached.stream is None:
            raise ProxyRefusedError("unreachable", f"the proxy cannot be reached: {reached.error}")
        below: PlainStream = PlainStream(reached.stream, deadline)
        if proxy.scheme == "https":
            once = [reached.stream]
            below, _ = secure(once.pop, proxy.hostname or "", None, "os-bundle", deadline)
        if url.scheme == "http":
            return below.raw if not isinstance(below, TlsStream) else _AsStream(below)
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = f"CONNECT {shown} HTTP/1.1\r\nHost: {shown}\r\nUser-Agent: {USER_AGENT}\r\n{_proxy_login(proxy)}\r\n"
        try:
            below.write(head.encode())
            answer = b""
            while b"\r\n\r\n" not in answer and len(answer) < 16384:
                part = below.read(1)  # byte by byte: what follows the head belongs to TLS
                if not part:
                    break
                answer += part
        except (httpcore.NetworkError, httpcore.TimeoutException, TimeoutError) as error:
            below.close()
            raise ProxyRefusedError("unreachable", f"the proxy gave no answer: {reason(error)}") from error
        line = answer.split(b"\r\n", 1)[0].decode("latin-1")
        code = line.split(" ")[1] if line.startswith("HTTP/") and line.count(" ") else ""
        if code == "200":
            return below.raw if not isinstance(below, TlsStream) else _AsStream(below)
        below.close()
        raise ProxyRefusedError(
            "5xx" if code.startswith("5") else code or "unreachable", f"the proxy said: {line[:200] or 'nothing'}"
        )

    def _talk(
        self, current: _Open, seen: Exchange, request: HttpRequest, url: SplitResult, body: bytes, bearer: str
    ) -> tuple[Exchange, str, bool]:
        """The request and its answer, the token in it, and whether the connection can be used again."""
        headers = {
            "Host": url.netloc.rpartition("@")[2],
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "X-Request-ID": f"harborpilot-{system.nonce()[2:18]}",
        }
        headers.update({name.title(): value for name, value in request.headers.items()})
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        elif request.credential is not None:
            pair = f"{request.credential.username}:{request.credential.password}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        if body or request.method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(len(body))
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        if request.proxy and url.scheme == "http":
            proxy = _split(request.proxy if "://" in request.proxy else f"http://{request.proxy}")
            headers.update(dict(line.split(": ", 1) for line in [_proxy_login(proxy).strip()] if line))
            path = f"http://{url.netloc.rpartition('@')[2]}{path}"
        message = httpcore.Request(
            request.method, httpcore.URL(scheme=url.scheme.encode(), host=(url.hostname or "").encode(), port=url.port, target=path.encode()),
            headers=[(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()], content=body,
        )  # fmt: skip
        begin = time.monotonic()
        answer = _Answer()
        try:
            answer.read(current.http.handle_request(message))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            answer.error = reason(error)
        ms = round((time.monotonic() - begin) * 1000, 1)
        cut = answer.size > len(answer.kept)
        text, token = cleaned(answer.kept.decode("utf-8", "replace"), cut)
        proxy_answer = "407" if request.proxy and url.scheme == "http" and answer.status == 407 else seen.proxy_answer
        tls = seen.tls
        if tls is not None and answer.status is None and "alert" in answer.error:
            tls = replace(tls, state="alert")  # TLS 1.3 tells a missing client certificate after the handshake
        done = replace(
            seen, status=answer.status, headers=answer.headers, body=text, token=token.shown, ms=ms if answer.status is not None else None, error=answer.error,
            proxy_answer=proxy_answer, tls=tls, body_seen=request.method != "HEAD", body_sha256=answer.digest.hexdigest() if answer.whole and answer.size else "",
        )  # fmt: skip
        return done, token.raw, answer.whole and current.http.is_available()


class _Answer:
    """Status, headers, the first 16 KiB of the body and the digest of all of it, as far as it is read."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.kept = b""
        self.size = 0
        self.digest = hashlib.sha256()
        self.whole = False
        self.error = ""

    def read(self, response: httpcore.Response) -> None:
        """A body that is longer than `DIGEST` is not read to its end: a layer may have gigabytes."""
        self.status, self.headers = response.status, _headers(response.headers)
        length = self.headers.get("content-length", "")
        most = BODY if length.isdigit() and int(length) > DIGEST else DIGEST
        for part in response.iter_stream():
            self.digest.update(part)
            self.size += len(part)
            self.kept = (self.kept + part)[:BODY] if len(self.kept) < BODY else self.kept
            if self.size > most:
                return
        self.whole = True
        response.close()


class _AsStream:
    """A TLS stream to a proxy, used as the stream below the tunnel."""

    def __init__(self, stream: TlsStream) -> None:
        self._stream = stream

    def sendall(self, data: bytes) -> None:
        self._stream.write(data)

    def recv(self, nbytes: int) -> bytes:
        return self._stream.read(nbytes)

    def settimeout(self, timeout: float | None) -> None:
        self._stream.set_deadline(Deadline.of(timeout or 60))

    def close(self) -> None:
        self._stream.close()


def _failed(seen: Exchange, error: Exception) -> Exchange:
    if isinstance(error, UnreachedError):
        return replace(_with_reached(seen, error.reached), error=error.reached.error)
    if isinstance(error, ProxyRefusedError):
        return replace(seen, proxy_answer=error.answer, error=str(error))
    assert isinstance(error, HandshakeError)  # noqa: S101 for the type checker
    before = error.__context__
    reached = before.reached if isinstance(before, UnreachedError) else Reached()
    answer = "tunnel" if seen.proxy else ""
    return replace(_with_reached(seen, reached), tls=error.seen, error=error.text, proxy_answer=answer)


def _with_reached(seen: Exchange, reached: Reached) -> Exchange:
    return replace(seen, addresses=reached.addresses, dns=reached.dns, address=reached.address, tcp=reached.tcp)


def _own(seen: Exchange) -> dict[str, Any]:
    """What belongs to the request and not to its connection."""
    return {
        name: getattr(seen, name)
        for name in ("url", "method", "vantage", "purpose", "login", "login_variant", "taken_at", "proxy")
    }


def _renew(stream: PlainStream, deadline: Deadline) -> None:
    if isinstance(stream, TlsStream):
        stream.set_deadline(deadline)
    else:
        stream.deadline = deadline


def _headers(pairs: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    kept: dict[str, str] = {}
    for name, value in pairs:
        key = name.decode("latin-1").lower()
        if key not in _DROPPED:
            text = value.decode("latin-1")
            kept[key] = f"{kept[key]}, {text}" if key in kept else text
    return kept


def _split(url: str) -> SplitResult:
    """Raises ValueError for what is no http(s) URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(ord(sign) < 33 for sign in url):
        raise ValueError(f"{url!r} is not an http or https URL")
    _ = parts.port  # raises ValueError itself when it is not a number
    return parts


def _authority(url: SplitResult) -> str:
    return f"{url.hostname}:{url.port or (443 if url.scheme == 'https' else 80)}"


def _shown(url: str) -> str:
    """Without the login that a URL may carry."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.rpartition("@")[2]
    head, slash, tail = rest.partition("/")
    return f"{scheme}://{head.rpartition('@')[2]}{slash}{tail}"


def _proxy_login(proxy: SplitResult) -> str:
    if not proxy.username:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}\r\n"


def token_url(params: Mapping[str, str]) -> str:
    """Where the challenge's token is to be had: realm, service and scope. Empty when the realm is no http(s) URL."""
    realm = params.get("realm", "")  # absolute or nothing: the runtimes do not resolve a relative one either
    query = urlencode([(name, value) for name in ("service", "scope") if (value := params.get(name))], safe=":/,*")
    try:
        parts = _split(realm)
    except ValueError:
        return ""
    return realm + (f"{'&' if parts.query else '?'}{query}" if query else "")


def same_site(authority: str, realm: str) -> bool:
    """Whether a realm may see the registry's login: the same host, or a host below the registry's parent domain of two names or more."""
    host, other = authority.rpartition(":")[0], urlsplit(realm).hostname or ""
    if host == other:
        return True
    if host.count(".") < 2 or host.replace(".", "").isdigit():
        return False
    parent = host.partition(".")[2]
    second, _, top = parent.rpartition(".")
    # `co.uk`, `com.au`: what looks like a registry of domains is nobody's own parent.
    if "." not in second and len(top) == 2 and len(second) <= 3:
        return False
    return other == parent or other.endswith(f".{parent}")


def dumps(body: Any) -> bytes:
    """A JSON body."""
    return b"" if body is None else json.dumps(body).encode()

"""Exchanges against servers of the test on loopback: each layer that can fail, tokens, logins, proxies, kept connections."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.clients.forward import classify
from app.clients.harbor import LiveHarbor
from app.clients.http import LiveHttp, same_site, token_url
from app.clients.http_token import MASK, cleaned
from app.errors import RefusedError, UsageError
from app.parsers.exchanges import encode_exchanges
from app.ports import Credential, HttpRequest
from tests.unit.loopback import ALWAYS, Handler, Server, answer, jwt, leaf, request_of, tls
from tests.unit.pki import Pair, make

LOGIN = Credential("robot$ci", "s3cret-word", "secret apps/pull")


def registry(port: Callable[[], int], seen: list[tuple[str, dict[str, str]]]) -> Handler:
    """Answers as a registry with a token service does; keeps what it was asked."""

    def handler(connection: socket.socket) -> None:
        while True:
            try:
                line, headers, _ = request_of(connection)
            except (ConnectionError, OSError):
                return
            seen.append((line, headers))
            path = line.split(" ")[1]
            if path.startswith("/token"):
                answer(
                    connection,
                    "200 OK",
                    json.dumps({"token": jwt(sub="ci", exp=9, access=[]), "expires_in": 300}).encode(),
                    "Set-Cookie: sid=1",
                )
            elif headers.get("authorization", "").startswith("Bearer "):
                answer(connection, "200 OK", b"{}")
            else:
                answer(
                    connection,
                    "401 Unauthorized",
                    b"no",
                    f'WWW-Authenticate: Bearer realm="https://localhost:{port()}/token",service="reg",scope="repository:a/b:pull"',
                )

    return handler


async def test_a_token_is_fetched_and_never_shown(
    serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path
) -> None:
    seen: list[tuple[str, dict[str, str]]] = []
    place: list[int] = []
    server = serve(tls(leaf(authority), tmp_path, registry(lambda: place[0], seen)))
    place.append(server.port)
    http = LiveHttp()
    url = f"https://localhost:{server.port}/v2/a/b/manifests/1"
    found = await http.exchange(
        HttpRequest(url, purpose="manifest-login", credential=LOGIN, anchors_pem=authority.pem, anchors_name="test")
    )
    assert (found.status, found.bearer, found.login) == (200, True, "secret apps/pull")
    assert found.tls is not None
    assert (found.tls.verified, found.tls.names, len(found.tls.chain)) == (True, ("localhost",), 1)
    # Anonymous, then the login to the realm once, then the token.
    assert [headers.get("authorization", "").split(" ")[0] for _, headers in seen] == ["", "Basic", "Bearer"]
    assert "scope=repository:a/b:pull" in seen[1][0]
    assert all("cookie" not in headers for _, headers in seen)
    assert all(headers["x-request-id"].startswith("harborpilot-") for _, headers in seen)
    token = await http.exchange(
        HttpRequest(f"https://localhost:{server.port}/token", purpose="token", anchors_pem=authority.pem)
    )
    assert token.token["kid"] == "AAAA:BBBB"
    assert token.token["expires_in"] == 300
    assert json.loads(token.body)["token"] == MASK
    assert "set-cookie" not in token.headers
    text = encode_exchanges([found, token]) + repr(found) + repr(token) + repr(http.__dict__)
    for secret in ("s3cret-word", "c2lnbmF0dXJl", base64.b64encode(b"robot$ci:s3cret-word").decode()):
        assert secret not in text


async def test_one_bearer_is_sent_over_several_connections(
    serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path
) -> None:
    seen: list[tuple[str, dict[str, str]]] = []
    place: list[int] = []
    server = serve(tls(leaf(authority), tmp_path, registry(lambda: place[0], seen)))
    place.append(server.port)
    http = LiveHttp()
    request = HttpRequest(
        f"https://localhost:{server.port}/v2/", purpose="bearer", credential=LOGIN, anchors_pem=authority.pem
    )
    tries = [await http.exchange(request) for _ in range(3)]
    assert len({one.connection for one in tries}) == 3
    assert sum(line.startswith("GET /token") for line, _ in seen) == 1


async def test_an_unknown_authority_is_reported_and_nothing_is_sent(
    serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path
) -> None:
    seen: list[tuple[str, dict[str, str]]] = []
    server = serve(tls(leaf(authority), tmp_path, registry(lambda: 1, seen)))
    other = make("Other Root", ca=True, **ALWAYS)
    found = await LiveHttp().exchange(
        HttpRequest(f"https://localhost:{server.port}/v2/", anchors_pem=other.pem, credential=LOGIN)
    )
    assert found.status is None
    assert found.tls is not None
    assert (found.tls.state, found.tls.verified) == ("ok", False)
    assert "issuer" in found.tls.verify_error
    assert len(found.tls.chain) == 1
    assert seen == []


async def test_a_wrong_name_is_no_wrong_chain_and_an_expired_leaf_is(
    serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path
) -> None:
    wrong = serve(tls(leaf(authority, "other.corp.example"), tmp_path, lambda _: None))
    found = await LiveHttp().exchange(HttpRequest(f"https://localhost:{wrong.port}/", anchors_pem=authority.pem))
    assert found.tls is not None
    assert found.tls.verified is True
    assert "mismatch" in found.tls.verify_error
    assert found.status is None
    late = serve(tls(leaf(authority, end=dt.datetime(2021, 1, 1, tzinfo=dt.UTC)), tmp_path, lambda _: None))
    found = await LiveHttp().exchange(HttpRequest(f"https://localhost:{late.port}/", anchors_pem=authority.pem))
    assert found.tls is not None
    assert found.tls.verified is False
    assert "expired" in found.tls.verify_error
    assert found.tls.not_after == dt.datetime(2021, 1, 1, tzinfo=dt.UTC).timestamp()


async def test_a_pinned_leaf_is_an_anchor_as_for_gos_clients(
    serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path
) -> None:
    pair = leaf(authority)
    server = serve(tls(pair, tmp_path, registry(lambda: 1, [])))
    found = await LiveHttp().exchange(HttpRequest(f"https://localhost:{server.port}/v2/", anchors_pem=pair.pem))
    assert found.tls is not None
    assert found.tls.verified is True
    assert found.status == 401


async def test_anchors_that_cannot_be_read_are_told() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server:
        found = await LiveHttp().exchange(
            HttpRequest(
                f"https://127.0.0.1:{server.getsockname()[1]}/",
                anchors_pem="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
            )
        )
    assert found.tls is not None
    assert found.tls.verified is None
    assert "cannot be read" in found.error


def plain(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def silent(connection: socket.socket) -> None:
    connection.recv(100000)
    threading.Event().wait(3)


def reset(connection: socket.socket) -> None:
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def speaks_ssh(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    connection.recv(1000)
    threading.Event().wait(1)


@pytest.mark.parametrize(
    ("handler", "state"), [(plain, "plain-http"), (silent, "stalled"), (reset, "reset"), (speaks_ssh, "")]
)
async def test_what_is_not_tls(serve: Callable[[Handler], Server], handler: Handler, state: str) -> None:
    found = await LiveHttp().exchange(HttpRequest(f"https://127.0.0.1:{serve(handler).port}/v2/", timeout=1.5))
    assert found.tcp == "open"
    assert found.tls is not None
    assert found.tls.state == state
    assert found.tls.verified is None
    assert found.status is None


async def test_refused_unresolved_and_bad_urls() -> None:
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    http = LiveHttp()
    found = await http.exchange(HttpRequest(f"http://127.0.0.1:{port}/"))
    assert (found.dns, found.tcp, found.tls) == ("", "refused", None)
    for url in ("ftp://x/", "https:///v2/", "https://a:99999/", "https://a b/"):
        found = await http.exchange(HttpRequest(url))
        assert found.status is None
        assert found.error
    found = await http.exchange(HttpRequest("https://r.corp.example/", vantage="node/n1"))
    assert (found.dns, found.tcp) == ("", "")
    assert "SSH" in found.error


async def test_a_login_is_not_sent_in_clear_without_consent(serve: Callable[[Handler], Server]) -> None:
    seen: list[str] = []

    def handler(connection: socket.socket) -> None:
        seen.append(request_of(connection)[1].get("authorization", ""))
        answer(connection, "200 OK")

    server = serve(handler)
    request = HttpRequest(f"http://localhost:{server.port}/v2/", credential=LOGIN)
    found = await LiveHttp().exchange(request)
    assert found.status is None
    assert "consent" in found.error
    assert server.connections == 0
    assert (await LiveHttp(plain_logins=[f"localhost:{server.port}"]).exchange(request)).status == 200
    assert seen[0].startswith("Basic ")


async def test_a_realm_on_another_site_gets_no_login(
    serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path
) -> None:
    def handler(connection: socket.socket) -> None:
        request_of(connection)
        answer(
            connection, "401 Unauthorized", b"", 'WWW-Authenticate: Bearer realm="https://auth.elsewhere.example/token"'
        )

    server = serve(tls(leaf(authority), tmp_path, handler))
    found = await LiveHttp().exchange(
        HttpRequest(
            f"https://localhost:{server.port}/v2/", purpose="bearer", credential=LOGIN, anchors_pem=authority.pem
        )
    )
    assert found.status == 401
    assert "another site" in found.error
    assert found.login == ""


async def test_bodies_are_cut_and_their_digest_is_of_the_whole(serve: Callable[[Handler], Server]) -> None:
    body = b"x" * 100_000

    def handler(connection: socket.socket) -> None:
        request_of(connection)
        answer(connection, "200 OK", body)

    found = await LiveHttp().exchange(HttpRequest(f"http://127.0.0.1:{serve(handler).port}/"))
    assert len(found.body) == 16384
    assert found.body_sha256 == hashlib.sha256(body).hexdigest()
    assert found.ms is not None


async def test_redirects_are_not_followed_and_connections_are_kept_on_wish(serve: Callable[[Handler], Server]) -> None:
    def handler(connection: socket.socket) -> None:
        while True:
            request_of(connection)
            answer(connection, "307 Temporary Redirect", b"", "Location: http://127.0.0.1:1/")

    server = serve(handler)
    http = LiveHttp()
    first = await http.exchange(HttpRequest(f"http://127.0.0.1:{server.port}/", fresh=False))
    second = await http.exchange(HttpRequest(f"http://127.0.0.1:{server.port}/", fresh=False))
    third = await http.exchange(HttpRequest(f"http://127.0.0.1:{server.port}/"))
    assert first.status == 307
    assert first.headers["location"] == "http://127.0.0.1:1/"
    assert first.connection == second.connection != third.connection
    assert server.connections == 2
    http.close()


@pytest.mark.parametrize(
    ("status", "told"), [("407 Proxy Authentication Required", "407"), ("403 Forbidden", "403"), ("503 Busy", "5xx")]
)
async def test_a_proxy_that_refuses(serve: Callable[[Handler], Server], status: str, told: str) -> None:
    def handler(connection: socket.socket) -> None:
        assert request_of(connection)[0].startswith("CONNECT registry.corp.example:443 ")
        answer(connection, status)

    found = await LiveHttp().exchange(
        HttpRequest("https://registry.corp.example/v2/", proxy=f"http://me:pw-word@127.0.0.1:{serve(handler).port}")
    )
    assert found.proxy_answer == told
    assert found.tls is None
    assert "pw-word" not in repr(found)
    assert found.tcp == ""


async def test_tls_through_a_tunnel(serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path) -> None:
    inner = tls(leaf(authority, "registry.corp.example"), tmp_path, registry(lambda: 1, []))
    logins: list[str] = []

    def handler(connection: socket.socket) -> None:
        logins.append(request_of(connection)[1].get("proxy-authorization", ""))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        inner(connection)

    found = await LiveHttp().exchange(
        HttpRequest(
            "https://registry.corp.example/v2/",
            anchors_pem=authority.pem,
            proxy=f"http://me:p%40w@127.0.0.1:{serve(handler).port}",
        )
    )
    assert (found.status, found.proxy_answer) == (401, "tunnel")
    assert base64.b64decode(logins[0].removeprefix("Basic ")) == b"me:p@w"
    assert found.dns == ""


async def test_harbors_api_writes_with_the_login_and_says_when_it_did_not(
    serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path
) -> None:
    seen: list[tuple[str, dict[str, str], bytes]] = []

    def handler(connection: socket.socket) -> None:
        seen.append(request_of(connection))
        answer(connection, "201 Created", b"", "Set-Cookie: sid=1")

    server = serve(tls(leaf(authority), tmp_path, handler))
    http = LiveHttp()
    harbor = LiveHarbor(http, f"https://localhost:{server.port}", LOGIN, anchors_pem=authority.pem)
    assert await harbor.write("PUT", "/robots/7", {"disable": False}) == (201, "")
    assert seen[0][0] == "PUT /api/v2.0/robots/7 HTTP/1.1"
    assert json.loads(seen[0][2]) == {"disable": False}
    await harbor.get("/health")
    assert "cookie" not in seen[1][1]
    server.close()
    with pytest.raises(RefusedError, match="no answer"):
        await LiveHarbor(http, "https://127.0.0.1:1", LOGIN).write("PUT", "/robots/7", {})
    with pytest.raises(RefusedError, match="No login"):
        await LiveHarbor(http, "https://127.0.0.1:1", None).write("PUT", "/robots/7", {})
    with pytest.raises(UsageError):
        LiveHarbor(http, "http://127.0.0.1:1", LOGIN)


@pytest.mark.parametrize(
    ("text", "code", "seconds", "dns", "tcp"),
    [
        ("Connection refused", 2, 0, "ok", "refused"),
        ("No route to host", 2, 3, "ok", "unreachable"),
        ("Network is unreachable", 2, 0, "ok", "unreachable"),
        ("Connection timed out", 2, 130, "ok", "timeout"),
        ("Name or service not known", 2, 0, "nxdomain", ""),
        ("Name does not resolve", 2, 0, "nxdomain", ""),
        ("Temporary failure in name resolution", 2, 0.1, "servfail", ""),
        ("Temporary failure in name resolution", 2, 10, "timeout", ""),
        ("open failed", 1, 0, "", ""),
    ],
)
def test_refusals_of_a_forwarded_channel(text: str, code: int, seconds: float, dns: str, tcp: str) -> None:
    refusal = classify(text, code, seconds)
    assert (refusal.dns, refusal.tcp, refusal.forbidden) == (dns, tcp, code == 1)


def test_tokens_in_bodies() -> None:
    body, token = cleaned('{"token": "", "access_token": ""}')
    assert token.shown == {"empty": True}
    body, token = cleaned('{"access_token": "opaque-word-1"}')
    assert token.shown == {"opaque": True}
    assert "opaque-word-1" not in body
    body, token = cleaned(f"<html>{jwt(sub='x')}</html>")
    assert MASK in body
    assert not token.raw


def test_token_urls_and_sites() -> None:
    assert (
        token_url({"realm": "https://r.example/token?x=1", "service": "s", "scope": "repository:a/b:pull,push"})
        == "https://r.example/token?x=1&service=s&scope=repository:a/b:pull,push"
    )
    for realm in ("/token", "None/service/token", "ftp://r/", ""):
        assert token_url({"realm": realm}) == ""
    assert same_site("harbor.corp.example:443", "https://auth.corp.example/t")
    assert same_site("10.0.0.1:443", "https://10.0.0.1/t")
    assert not same_site("10.0.0.1:443", "https://11.0.0.1/t")
    assert not same_site("harbor.example:443", "https://evil.example/t")
    assert not same_site("harbor.co.uk:443", "https://evil.co.uk/t")
    assert not same_site("corp.example:443", "https://corp.example.evil.test/t")

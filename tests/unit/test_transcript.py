"""Transcripts: whole `curl -v` output, hand-made excerpts, loops, and the layers at which a try can end."""

from __future__ import annotations

import pytest

from app.model.exchange import Exchange
from app.parsers.exchanges import decode_exchanges, encode_exchanges
from app.parsers.transcript import read_transcript

WHOLE = """$ curl -sv https://harbor.corp.example/v2/
*   Trying 192.0.2.7:443...
* Connected to harbor.corp.example (192.0.2.7) port 443 (#0)
* SSL connection using TLSv1.3 / TLS_AES_256_GCM_SHA384
* Server certificate:
*  subject: C=NL; O=Corp; CN=harbor.corp.example
*  start date: Nov 21 11:02:42 2026 GMT
*  expire date: Nov 21 11:02:42 2027 GMT
*  subjectAltName: host "harbor.corp.example" matched cert's "*.corp.example"
*  issuer: CN=Corp Issuing CA
*  SSL certificate verify ok.
> GET /v2/ HTTP/1.1
> Host: harbor.corp.example
> User-Agent: curl/7.88.1
>
< HTTP/1.1 401 Unauthorized
< Date: Sat, 21 Nov 2026 11:03:20 GMT
< Docker-Distribution-Api-Version: registry/2.0
< Set-Cookie: sid=secret-cookie
< Www-Authenticate: Bearer realm="https://harbor.corp.example/service/token",service="harbor-registry"
<
{"errors":[{"code":"UNAUTHORIZED","message":"unauthorized: unauthorized"}]}
"""


def only(text: str, vantage: str = "operator") -> Exchange:
    found = read_transcript(text, vantage)
    assert len(found) == 1
    return found[0]


def test_whole_exchange() -> None:
    exchange = only(WHOLE, "node/n1")
    assert (exchange.method, exchange.status, exchange.tcp, exchange.purpose) == ("GET", 401, "open", "ping")
    assert exchange.vantage == "node/n1"
    assert exchange.tls is not None
    assert exchange.tls.verified is True
    assert exchange.tls.subject == "CN=harbor.corp.example, O=Corp, C=NL"
    assert exchange.tls.names == ("*.corp.example",)
    assert exchange.tls.not_after == 1826794962.0
    assert "set-cookie" not in exchange.headers
    assert exchange.headers["www-authenticate"].startswith("Bearer realm=")
    assert "UNAUTHORIZED" in exchange.body
    assert exchange.taken_at == 1795259000.0


def test_hand_made_excerpt_keeps_what_is_unknown_open() -> None:
    text = "> GET /v2/ HTTP/1.1\n> Host: reg.example.com:8443\n< HTTP/1.1 401 Unauthorized\n\n> HEAD /v2/a/b/manifests/1 HTTP/1.1\n< HTTP/1.1 404 Not Found\n"
    first, second = read_transcript(text)
    assert first.url == "//reg.example.com:8443/v2/"
    assert first.partial
    assert second.url == "/v2/a/b/manifests/1"
    assert (second.method, second.status) == ("HEAD", 404)


def test_loop_gives_one_exchange_for_each_try() -> None:
    text = (
        "$ for i in $(seq 3); do curl -s -o /dev/null -w '%{http_code} %{time_total}' -u '<user>:<redacted>' "
        "'https://harbor.corp.example/service/token?service=harbor-registry'; done\n401 0.060073\n200 0.118027\n000 10.000190\n"
    )
    found = read_transcript(text)
    assert [(one.status, one.ms) for one in found] == [(401, 60.073), (200, 118.027), (None, 10000.19)]
    assert {one.purpose for one in found} == {"token-login"}
    assert len({one.connection for one in found}) == 3


@pytest.mark.parametrize(
    ("line", "tcp", "state"),
    [
        ("* connect to 192.0.2.7 port 443 failed: Connection refused", "refused", None),
        ("* Connection timed out after 6000 milliseconds", "timeout", None),
        ("* connect to 192.0.2.7 port 443 failed: No route to host", "unreachable", None),
        ("* Connected to h (192.0.2.7) port 443 (#0)\n* SSL connection timeout", "open", "stalled"),
        (
            "* Connected to h (192.0.2.7) port 443 (#0)\n* OpenSSL/3.0.11: error:0A00010B:SSL routines::wrong version number",
            "open",
            "plain-http",
        ),
        (
            "* Connected to h (192.0.2.7) port 443 (#0)\n* OpenSSL SSL_connect: SSL_ERROR_SYSCALL in connection to h:443",
            "open",
            "reset",
        ),
        (
            "* Connected to h (192.0.2.7) port 443 (#0)\n* error:0A00045C:SSL routines::tlsv13 alert certificate required",
            "open",
            "alert",
        ),
        (
            "* Connected to h (192.0.2.7) port 443 (#0)\n* SSL certificate problem: unable to get local issuer certificate",
            "open",
            "ok",
        ),
    ],
)
def test_where_a_try_ends(line: str, tcp: str, state: str | None) -> None:
    exchange = only(f"$ curl -v https://h.example.com/v2/\n*   Trying 192.0.2.7:443...\n{line}\n")
    assert exchange.tcp == tcp
    assert (exchange.tls.state if exchange.tls else None) == state
    assert exchange.status is None


def test_a_proxy_hides_the_connection() -> None:
    exchange = only(
        "$ curl -v https://h.example.com/v2/\n* Uses proxy env variable https_proxy == 'http://proxy:3128'\n*   Trying 192.0.2.9:3128...\n"
        "* Connected to proxy (192.0.2.9) port 3128 (#0)\n> CONNECT h.example.com:443 HTTP/1.1\n* CONNECT tunnel failed, response 403\n"
    )
    assert exchange.tcp == ""
    assert exchange.proxy_answer == "403"


def test_tokens_and_logins_never_stay() -> None:
    token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IkFBQUE6QkJCQiJ9.eyJzdWIiOiJjaSIsImlhdCI6MTAwLCJleHAiOjE5MDB9.c2lnbmF0dXJl"
    exchange = only(
        f"$ curl -v -u 'ci:hunter2' 'https://h.example.com/service/token?service=harbor-registry'\n> GET /service/token?service=harbor-registry HTTP/1.1\n"
        f'> Host: h.example.com\n> User-Agent: curl\n< HTTP/1.1 200 OK\n<\n{{"token":"{token}","issued_at":"2026-11-21T09:38:37Z"}}\n'
    )
    text = encode_exchanges([exchange])
    assert "hunter2" not in text
    assert "c2lnbmF0dXJl" not in text
    assert exchange.token["kid"] == "AAAA:BBBB"
    assert decode_exchanges(text) == (exchange,)


@pytest.mark.parametrize(
    "text",
    ["", "\x00\xff", "$ curl 'https://[broken", "< HTTP/1.1 abc", "$ curl -u", "> GET\n<\n*", '$ curl "http://h/'],
)
def test_garbage_is_no_error(text: str) -> None:
    assert isinstance(read_transcript(text), tuple)


@pytest.mark.parametrize(
    "text", ["{}", "[1]", '[{"url": 3}]', "nope", '[{"method": "GET"}]', '[{"url": "https://h/", "tls": {"chain": 1}}]']
)
def test_bad_exchanges_say_what_is_wrong(text: str) -> None:
    with pytest.raises(ValueError, match=r"exchange|JSON|list"):
        decode_exchanges(text)

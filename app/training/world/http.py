"""`Http` and `HarborWriter` of the practice world."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

from app.clients.http_token import cleaned
from app.model.exchange import Exchange
from app.parsers.challenge import bearer_of
from app.ports import HttpRequest
from app.training.world import harbor_api
from app.training.world.inside import no_database
from app.training.world.network import handshake, reach, reach_by
from app.training.world.others import Call, Reply
from app.training.world.registry import answer, ready_cores
from app.training.world.state import State

FLOW: Final = frozenset({"manifest-anon", "manifest-login", "upstream", "blob", "bearer"})
"""Purposes with which the client fetches a token itself, as the live one does."""


class WorldHttp:
    """Requests from the operator's desk or through a node; TLS is verified with the anchors that are named."""

    def __init__(self, state: State, settle: Callable[[], None]) -> None:
        self._state = state
        self._settle = settle
        self._number = 0
        self._held: dict[tuple[str, str], str] = {}

    async def exchange(self, request: HttpRequest) -> Exchange:
        """Never raises for trouble on the way."""
        self._settle()
        if request.purpose not in FLOW:
            return self._send(request)[0]
        host = urlsplit(request.url).netloc
        held = self._held.get((host, request.vantage), "") if request.purpose == "bearer" else ""
        if held:
            return replace(self._send(request, held)[0], bearer=True)
        bare, _ = self._send(replace(request, credential=None, login_variant=""))
        if bare.status != 401:
            return bare
        challenge = bearer_of(bare.headers.get("www-authenticate", ""))
        if challenge is None:
            return self._send(request)[0] if request.credential is not None else bare
        query = {"service": challenge.service, **({"scope": challenge.parameters["scope"]} if challenge.parameters.get("scope") else {})}  # fmt: skip
        url = f"{challenge.realm}?{urlencode(query, quote_via=quote)}"
        token, raw = self._send(replace(request, url=url, method="GET", purpose="token"))
        if not raw:
            return replace(bare, error=f"no token: the token service answered HTTP {token.status}")
        if request.purpose == "bearer":
            self._held[(host, request.vantage)] = raw
        last, _ = self._send(replace(request, credential=None), raw)
        return replace(last, bearer=True)

    def _send(self, request: HttpRequest, bearer: str = "") -> tuple[Exchange, str]:
        """One request; the exchange and the token that its answer holds."""
        state = self._state
        state.counts.requests += 1
        self._number += 1
        state.clock.move(0.02)
        url = urlsplit(request.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        node = state.nodes.get(request.vantage.removeprefix("node/")) if request.vantage.startswith("node/") else None
        proxy = request.proxy if node is not None else ""
        name = url.hostname or ""
        found = (
            reach_by(state, node, proxy, name, port) if node is not None and proxy else reach(state, node, name, port)
        )
        seen = Exchange(
            request.url, request.method, request.vantage, request.purpose, (found.address,) if found.address else (), found.dns, found.address,
            found.tcp, connection=f"c{self._number}", taken_at=state.now(), proxy=proxy, proxy_answer=found.tunnel,
        )  # fmt: skip
        if found.server is None:
            return replace(seen, error=found.said), ""
        if url.scheme == "https":
            anchors = request.anchors_pem if request.anchors_pem is not None else state.certificates["operator"]
            tls, said = handshake(found.server, url.hostname or "", anchors, request.anchors_name, state.now())
            seen = replace(seen, tls=tls)
            if said:
                words = "wrong version number" if tls.state == "plain-http" else tls.verify_error
                return replace(seen, error=words), ""
        elif found.server.scheme == "https":
            body = (
                "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n</html>\r\n"
            )
            return replace(
                seen, status=400, body=body, headers={"server": "nginx", "content-type": "text/html"}, ms=8.0
            ), ""
        login = None
        if request.credential is not None:
            login = (request.credential.username, request.credential.password)
            state.counts.logins += request.purpose != "api"
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        reply: Reply = answer(state, found.server, Call(request.method, path, login, bearer))
        body, token = cleaned(reply.body)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        done = replace(
            seen, status=reply.status, headers=headers, body=body[:16384], token=token.shown, ms=reply.ms, taken_at=state.now(),
            body_seen=request.method != "HEAD",
        )  # fmt: skip
        return done, token.raw


_DOWN: Final = '{"errors": [{"code": "UNKNOWN", "message": "internal server error"}]}'


class WorldHarbor:
    """`HarborWriter`, and the reading that plans ask for, as Harbor's administrator."""

    def __init__(self, state: State, settle: Callable[[], None]) -> None:
        self._state = state
        self._settle = settle

    async def write(
        self, method: Literal["POST", "PUT", "PATCH", "DELETE"], path: str, body: Any = None
    ) -> tuple[int, str]:
        """One call below `/api/v2.0`."""
        if self._down():
            return 500, _DOWN
        answered = harbor_api.write(self._state, method, path, body)
        self._settle()
        return answered

    def _down(self) -> bool:
        """No core answers that has its database."""
        cores = [self._state.harbor.cores[pod] for pod in ready_cores(self._state)]
        return all(no_database(self._state, core) for core in cores)

    async def read(self, path: str) -> tuple[int, str]:
        """GET below `/api/v2.0`: status and whole body."""
        if self._down():
            return 500, _DOWN
        status, body, _ = harbor_api.read(self._state, "GET", f"/api/v2.0/{path.lstrip('/')}", self._state.harbor.admin)
        return status, body if body else json.dumps({})

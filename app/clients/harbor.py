"""Harbor's API with a login: reading for the account screens, writing for the gateway. No cookie is ever kept.

Basic login without a session needs no CSRF token (harbor-and-kubernetes.md, API); the login lives in memory with this object.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from app.clients.http import LiveHttp, dumps
from app.errors import RefusedError, UsageError
from app.model.exchange import Exchange
from app.ports import Credential, HttpRequest

ROOT = "/api/v2.0"


class LiveHarbor:
    """`HarborWriter`, and reads. `base` is `https://host[:port]`; `vantage` is where Harbor is reached from.

    Raises UsageError for a base that is no https URL: the login goes over TLS alone.
    """

    def __init__(
        self,
        http: LiveHttp,
        base: str,
        credential: Credential | None,
        *,
        vantage: str = "operator",
        anchors_pem: str | None = None,
        anchors_name: str = "os-bundle",
        timeout: float = 30.0,
    ) -> None:
        parts = urlsplit(base)
        if parts.scheme != "https" or not parts.hostname or parts.username:
            raise UsageError(
                f"{base!r} is not an https:// address of a Harbor.",
                "Name it as https://host[:port], without a login in it.",
            )
        self._http = http
        self.base = f"https://{parts.netloc}"
        self._request = HttpRequest(
            self.base,
            vantage=vantage,
            purpose="api",
            credential=credential,
            anchors_pem=anchors_pem,
            anchors_name=anchors_name,
            timeout=timeout,
            headers={"Accept": "application/json"},
        )

    async def get(self, path: str, *, anonymous: bool = False) -> Exchange:
        """One GET below `/api/v2.0`, such as `/projects?page_size=100`. Bodies are cut at 16 KiB: ask for small pages."""
        request = replace(self._request, url=self._url(path))
        return await self._http.send(replace(request, credential=None) if anonymous else request)

    async def write(
        self, method: Literal["POST", "PUT", "PATCH", "DELETE"], path: str, body: Any = None
    ) -> tuple[int, str]:
        """Status and body of one call. Raises RefusedError when it did not reach Harbor, or nobody knows whether it did."""
        if self._request.credential is None:
            raise RefusedError(
                "No login for Harbor's API is at hand, so nothing was changed.", "Log in to Harbor first."
            )
        request = replace(
            self._request,
            url=self._url(path),
            method=method,
            headers={"Accept": "application/json", "Content-Type": "application/json"},
        )
        seen = await self._http.send(request, dumps(body))
        if seen.status is None:
            sent = seen.tcp == "open" and seen.connection != ""
            raise RefusedError(
                f"{method} {path} got no answer from Harbor: {seen.error}",
                "It is not known whether it was carried out: look at Harbor before trying again."
                if sent
                else "Nothing was changed.",
            )
        return seen.status, seen.body

    def _url(self, path: str) -> str:
        if not path.startswith("/") or "/../" in path or any(ord(sign) < 33 for sign in path):
            raise RefusedError(f"{path!r} is no path of Harbor's API.")
        return f"{self.base}{ROOT}{path.removeprefix(ROOT)}"

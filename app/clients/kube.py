"""The API server of one context: raw GETs, paging, rights, exec of a closed set of commands. Reading and writing are classes of their own."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from kubernetes import client

from app.clients.kube_exec import run_in_pod
from app.clients.kubeconfig import KubeOptions, configuration
from app.clients.threads import Threads
from app.errors import KubeconfigError
from app.model.evidence import Outcome
from app.ports import KubeApi, KubeReply

_PATH = re.compile(r"/(api|apis|healthz|livez|readyz|version|openid|logs)(/.*)?")
MOST_BYTES = 64 * 1024 * 1024
RETRIES: Final = 2
"""For 429 with Retry-After of a few seconds, and for a connection that was lost before an answer."""


class _ListMeta(msgspec.Struct):
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: tuple[dict[str, Any], ...]
    reply: KubeReply
    more: bool = False
    """There would be another page: the list was capped, or is broken off by trouble that `reply` tells."""


class Connection:
    """One context's HTTP client with its login; shared by reader and writer. Raises KubeconfigError when it cannot be set up."""

    def __init__(self, options: KubeOptions) -> None:
        self.options = options
        self.context, self.configuration = configuration(options)
        self.server: str = self.configuration.host
        # The official client's pool: certificates, proxy and server name as the kubeconfig says.
        self.pool = client.ApiClient(self.configuration).rest_client.pool_manager

    def headers(self) -> list[tuple[str, str]]:
        """Login and impersonation; several groups are several headers. Renews an expired login by the plugin."""
        listed = [("User-Agent", "harborpilot")]
        token = self.configuration.get_api_key_with_prefix("authorization", alias="BearerToken")
        if token:
            listed.append(("Authorization", token))
        elif self.configuration.username:
            listed.append(("Authorization", self.configuration.get_basic_auth_token()))
        if self.options.as_user:
            listed.append(("Impersonate-User", self.options.as_user))
        listed += [("Impersonate-Group", group) for group in self.options.as_groups]
        return listed

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> KubeReply:
        """One call, blocking. Trouble is in the reply."""
        url = path + (f"?{urlencode(query)}" if query else "")
        source = f"{method} {url}"
        if not _PATH.fullmatch(path) or "/../" in f"{path}/":
            return KubeReply(Outcome.UNSUPPORTED, detail=f"{path!r} is no API path", source=source)
        try:
            headers = urllib3.HTTPHeaderDict(
                [*self.headers(), ("Accept", "application/json, */*"), ("Accept-Encoding", "gzip")]
            )
        except KubeconfigError as error:
            return KubeReply(Outcome.DENIED, detail=str(error), source=source)
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        limit = self.options.request_timeout
        for attempt in range(RETRIES + 1):
            try:
                answer = self.pool.request(
                    method,
                    self.server.rstrip("/") + url,
                    headers=headers,
                    body=data,
                    timeout=urllib3.Timeout(connect=min(limit, 10), read=limit),
                    retries=False,
                    preload_content=False,
                    redirect=False,
                )
                text = answer.read(MOST_BYTES, decode_content=True).decode("utf-8", "replace")
                answer.release_conn()
            except (urllib3.exceptions.HTTPError, OSError, ssl.SSLError) as error:
                # A GET whose kept connection was closed by the server meanwhile is asked once more.
                if method == "GET" and attempt == 0 and isinstance(error, urllib3.exceptions.ProtocolError):
                    continue
                return _unreached(error, self.server, limit, source)
            wait = _retry_after(answer.headers.get("Retry-After"))
            if answer.status == 429 and method == "GET" and wait is not None and attempt < RETRIES:
                time.sleep(wait)
                continue
            return _reply(answer.status, text, answer.headers, source, self)
        return KubeReply(Outcome.UNREACHABLE, 429, detail="the API server is asked too often (429)", source=source)


class LiveKube:
    """`KubeApi` of one context."""

    def __init__(self, connection: Connection, threads: Threads | None = None) -> None:
        self._connection = connection
        self._threads = threads or Threads()
        self.context = connection.context
        self.server = connection.server

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> KubeReply:
        """One GET."""
        return await self._threads.run(self._connection.request, "GET", path, query)

    async def exec(self, namespace: str, pod: str, container: str, command: str, *arguments: str) -> KubeReply:
        """One command of the closed set, over a websocket. A non-zero exit is UNSUPPORTED with what it said."""
        return await self._threads.run(run_in_pod, self._connection, namespace, pod, container, command, arguments)

    async def allowed(
        self, verb: str, resource: str, namespace: str = "", name: str = "", subresource: str = "", group: str = ""
    ) -> bool | None:
        """SelfSubjectAccessReview. It is a POST, but keeps nothing."""
        fields = {
            "verb": verb,
            "resource": resource,
            "namespace": namespace,
            "name": name,
            "subresource": subresource,
            "group": group,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in fields.items() if value}},
        }
        reply = await self._threads.run(
            self._connection.request, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", None, body
        )
        if reply.outcome is not Outcome.OBSERVED or reply.status not in (200, 201):
            return None
        try:
            return bool(json.loads(reply.body)["status"]["allowed"])
        except (ValueError, KeyError, TypeError):
            return None


class LiveKubeWriter:
    """`KubeWriter` of one context. Only the gateway holds one."""

    def __init__(self, connection: Connection, threads: Threads | None = None) -> None:
        self._connection = connection
        self._threads = threads or Threads()

    async def write(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        dry_run: bool = False,
    ) -> KubeReply:
        """One write; 409 and 422 are OBSERVED answers with their status: the caller decides."""
        query = {"fieldManager": "harborpilot"} if method != "DELETE" else {}
        if dry_run:
            query["dryRun"] = "All"
        return await self._threads.run(self._connection.request, method, path, query, body, content_type)


async def pages(
    api: KubeApi, path: str, query: Mapping[str, str] | None = None, limit: int = 500
) -> AsyncIterator[KubeReply]:
    """The replies of a paged list, one after the other, none kept. Ends after a reply that is not a good one.

    An expired continue token (410) goes on with the token that the server offers; the list is then not of one moment.
    """
    token = ""
    renewed = False
    while True:
        reply = await api.get(path, {**(query or {}), "limit": str(limit), **({"continue": token} if token else {})})
        if reply.status == 410 and reply.continue_token and not renewed:
            token, renewed = reply.continue_token, True
            continue
        renewed = False
        yield reply
        token = reply.continue_token
        if reply.status != 200 or not token:
            return


async def list_all(
    api: KubeApi, path: str, query: Mapping[str, str] | None = None, limit: int = 500, cap: int = 200_000
) -> AsyncIterator[Page]:
    """Items of a list page by page, at most `cap`; the last page says whether there would be more."""
    seen = 0
    async for reply in pages(api, path, query, limit):
        if reply.outcome is not Outcome.OBSERVED or reply.status != 200:
            yield Page((), reply, more=reply.status != 404)
            return
        try:
            items = msgspec.json.decode(reply.body).get("items") or []
        except (msgspec.DecodeError, AttributeError) as error:
            yield Page((), replace(reply, outcome=Outcome.UNPARSABLE, detail=f"not a list: {error}"), more=True)
            return
        seen += len(items)
        capped = seen > cap or (seen == cap and bool(reply.continue_token))
        yield Page(tuple(items[: len(items) - max(0, seen - cap)]), reply, more=capped)
        if capped:
            return


def path_of(*parts: str) -> str:
    """An API path of quoted parts."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def date_of(headers: Mapping[str, str]) -> float | None:
    """The `Date` header in epoch seconds."""
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def _reply(status: int, text: str, headers: Mapping[str, str], source: str, connection: Connection) -> KubeReply:
    outcome, detail = Outcome.OBSERVED, ""
    message = _message(text)
    if status == 401:
        outcome = Outcome.DENIED
        detail = f"the API server does not accept the login of context {connection.context} (401): the token or certificate has expired or was revoked; log in again"
    elif status == 403:
        outcome, detail = Outcome.DENIED, message or "forbidden (403)"
    elif status == 404:
        detail = message
    elif status == 429:
        outcome, detail = Outcome.UNREACHABLE, "the API server is asked too often (429); try again later"
    elif status == 504 or (status == 500 and "timeout" in message.lower()):
        outcome, detail = Outcome.TIMED_OUT, f"the API server gave up ({status}): {message}"
    elif status >= 500:
        # A pod or node proxy hands on the answer of what is behind it; only a Status object is the API server's own.
        own = '"kind":"Status"' in text.replace(" ", "")[:400]
        outcome, detail = (
            (Outcome.UNREACHABLE, f"the API server failed ({status}): {message}")
            if own or "/proxy" not in source
            else (Outcome.OBSERVED, "")
        )
    elif status in (400, 405, 406, 415):
        outcome, detail = Outcome.UNSUPPORTED, message or f"the API server does not take this ({status})"
    elif status >= 400:
        detail = message
    token = ""
    if '"continue"' in text:
        try:
            token = msgspec.json.decode(text, type=_List).metadata.continue_
        except msgspec.DecodeError:
            token = ""
    return KubeReply(outcome, status, text, date_of(headers), detail, source, token)


def _unreached(error: Exception, server: str, limit: float, source: str) -> KubeReply:
    text = str(error)
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return KubeReply(
            Outcome.UNREACHABLE, detail=f"{server} cannot be reached: {text.rpartition(': ')[2]}", source=source
        )
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return KubeReply(Outcome.TIMED_OUT, detail=f"{server} did not answer within {limit:.0f} s", source=source)
    if isinstance(error, urllib3.exceptions.SSLError | ssl.SSLError):
        return KubeReply(
            Outcome.UNREACHABLE,
            detail=f"TLS with {server} failed: {text}; check certificate-authority in the kubeconfig",
            source=source,
        )
    return KubeReply(
        Outcome.UNREACHABLE, detail=f"{server} cannot be reached: {text or type(error).__name__}", source=source
    )


def _message(text: str) -> str:
    """The message of a Status object, else the first line."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return text.strip().splitlines()[0][:300] if text.strip() else ""
    return str(parsed.get("message", ""))[:500] if isinstance(parsed, dict) else ""


def _retry_after(value: str | None) -> float | None:
    return min(float(value), 5.0) if value and value.isdigit() else None

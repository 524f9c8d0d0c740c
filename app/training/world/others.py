"""A request and its answer, and the registries beside Harbor: a plain one without a login, an upstream on the internet."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from app.training.world.state import Server, State

V2: Final = re.compile(r"^/v2/(?P<repo>.+?)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)$")
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request as the server sees it."""

    method: str
    path: str
    """With the query."""
    login: tuple[str, str] | None = field(default=None, repr=False)
    bearer: str = field(default="", repr=False)
    client: str = "10.20.0.9"
    agent: str = "harborpilot"
    connection: str = ""
    """Requests over one connection of the client mostly meet the same core: the front keeps its own connections."""
    size: int = 0
    """Bytes that the request brings."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The server's answer. `token` is the raw token that the body holds."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    pod: str = ""
    ms: float = 12.0


def manifest(digest: str) -> str:
    """The manifest of a small image of one platform."""
    config = hashlib.sha256(f"config/{digest}".encode()).hexdigest()
    layer = hashlib.sha256(f"layer/{digest}".encode()).hexdigest()
    return json.dumps(
        {
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{config}", "size": 1469},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{layer}", "size": 3402000}],
        }
    )  # fmt: skip


def errors(status: int, code: str, message: str, base: Mapping[str, str]) -> Reply:
    return Reply(status, json.dumps({"errors": [{"code": code, "message": message}]}), dict(base))


# --- other registries -------------------------------------------------------------------------------------------------


def plain(state: State, call: Call) -> Reply:
    """A registry without a login; it serves the images of public projects."""
    base = {"content-type": "application/json; charset=utf-8", "docker-distribution-api-version": "registry/2.0"}
    path = urlsplit(call.path).path
    found = V2.match(path)
    if found is None:
        return (
            Reply(200, "{}", base)
            if path == "/v2/"
            else Reply(404, "404 page not found\n", {"content-type": "text/plain"})
        )
    project = state.harbor.projects.get(found["repo"].partition("/")[0])
    digest = project.images.get(f"{found['repo'].partition('/')[2]}:{found['rest']}", "") if project else ""
    if found["kind"] == "manifests" and not digest:
        return errors(404, "MANIFEST_UNKNOWN", "manifest unknown", base)
    return Reply(200, manifest(digest), {**base, "content-type": MANIFEST_TYPE, "docker-content-digest": digest})


WINDOW: Final = 6 * 3600.0


def _used_up(server: Server, now: float) -> bool:
    """Whether the limit of the window is spent; else this one is counted."""
    server.asked = [at for at in server.asked if at > now - WINDOW]
    if server.limit and len(server.asked) >= server.limit:
        return True
    server.asked.append(now)
    return False


def upstream(state: State, server: Server, call: Call) -> Reply:
    """A registry on the internet: it takes only the logins that it knows; without one it gives nothing, or little."""
    base = {"content-type": "application/json", "docker-distribution-api-version": "registry/2.0"}
    path = urlsplit(call.path).path
    if call.login is not None and state.upstream_logins.get(call.login[0]) != call.login[1]:
        body = json.dumps(
            {"errors": [{"code": "UNAUTHORIZED", "detail": {}, "message": "Invalid Username or Password"}]}
        )
        return Reply(401, body, base)
    found = V2.match(path)
    if call.login is None and server.anonymous:
        if found is not None and found["kind"] == "manifests" and _used_up(server, state.now()):
            return errors(429, "TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit.", base)
    elif call.login is None:
        body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "detail": {}, "message": "access to the requested resource is not authorized"}]})  # fmt: skip
        return Reply(401, body, {**base, "www-authenticate": 'Basic realm="Registry"'})
    if found is None or found["kind"] != "manifests":
        return Reply(200, "{}", base)
    digest = state.upstream_images.get(f"{found['repo']}:{found['rest']}", "")
    if not digest:
        return errors(404, "MANIFEST_UNKNOWN", "manifest unknown", base)
    return Reply(200, manifest(digest), {**base, "content-type": MANIFEST_TYPE, "docker-content-digest": digest})

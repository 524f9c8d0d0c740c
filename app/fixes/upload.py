"""A try of an upload: a blob upload is started at the registry and cancelled at once. Nothing is uploaded.

It is a write, so only `Gateway.try_upload` calls it, after the operator's consent. Source: harbor-and-kubernetes.md,
upload-location-wrong-scheme-or-host.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from urllib.parse import urljoin, urlsplit

from app.fixes.journal import UndoJournal
from app.model.exchange import Exchange
from app.ports import Http, HttpRequest

UPLOADS: Final = "uploads"
"""Name of the file, in the folder `audit`, in which each try has its lines."""
START: Final = re.compile(r"/v2/(?P<repository>[a-z0-9][a-z0-9._/-]*)/blobs/uploads/")


async def upload_and_cancel(http: Http, audit: UndoJournal, request: HttpRequest, at: float) -> Exchange:
    """The registry's answer to the start of an upload, with what became of the cancelling in `error`.

    The login stays with the host that was dialled: an address on another host is noted and never followed; cancelled
    is the same path on the dialled host.

    Args:
        request: POST of `/v2/<repository>/blobs/uploads/`.
        at: now, epoch seconds, for the audit lines.
    """
    login = request.credential.origin if request.credential else "anonymous"
    audit.write(UPLOADS, "upload-try", url=request.url, vantage=request.vantage, login=login, at=at)
    seen = await http.exchange(request)
    where = seen.headers.get("location", "")
    audit.write(
        UPLOADS, "upload-answer", url=request.url, status=seen.status, location=bare(where), error=seen.error, at=at
    )
    if seen.status != 202 or not where:
        return seen
    place = cancel_url(request.url, where)
    said = "it leads to no upload of this repository, so it was not cancelled; the registry's purging removes it"
    if place:
        gone = await http.exchange(
            replace(request, url=place, method="DELETE", headers={**request.headers, "Content-Length": "0"})
        )
        audit.write(UPLOADS, "upload-cancel", url=bare(place), status=gone.status, error=gone.error, at=at)
        answered = f"HTTP {gone.status}" if gone.status is not None else gone.error
        said = (
            ""
            if gone.status in (200, 202, 204)
            else f"the cancelling was answered {answered}; the registry's purging removes the empty upload"
        )
    return replace(seen, headers={**seen.headers, "location": bare(where)}, error=said)


def cancel_url(started: str, location: str) -> str:
    """Where to cancel: the path of the answer on the host that was dialled; empty where it is no upload of that repository."""
    asked = urlsplit(started)
    parts = urlsplit(urljoin(started, location))
    wanted = START.fullmatch(asked.path)
    if wanted is None or not parts.path.startswith(asked.path) or "/.." in parts.path or parts.path == asked.path:
        return ""
    return f"{asked.scheme}://{asked.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def bare(url: str) -> str:
    """Without its query: the state in it is signed by the registry and nobody else's."""
    return url.partition("?")[0]

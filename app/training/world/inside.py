"""Harbor's inside: its database and its inner registry, each behind a password that a core reads when it starts.

Answers and log lines are those of observed-harbor.md 3.2 and 6.6.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from app.training.world.clock import nano
from app.training.world.others import Call, Reply
from app.training.world.state import CorePod, State

REALM = "harbor-registry-basic-realm"


def no_database(state: State, core: CorePod) -> str:
    """Why this core cannot read its database; empty where it can."""
    if core.database_password == state.harbor.database_password:
        return ""
    return (
        "failed to connect to `user=harbor database=registry`: 10.20.4.8:5432 (harbor-database): failed SASL auth: "
        'FATAL: password authentication failed for user "harbor" (SQLSTATE 28P01)'
    )


def refused_inside(
    state: State, core: CorePod, call: Call, repository: str, action: str, base: Mapping[str, str]
) -> Reply | None:
    """The inner registry's 401 where core's password is not the one of its htpasswd file; None where it is."""
    harbor = state.harbor
    if core.registry_password == harbor.registry_password:
        return None
    path = urlsplit(call.path).path
    number = hashlib.sha256(f"{state.seed}/{state.next_id()}".encode()).hexdigest()
    request = (
        f"go.version=go1.23.8 http.request.host={harbor.host} http.request.id={number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:32]} "
        f'http.request.method={call.method} http.request.remoteaddr={call.client} http.request.uri="{path}" http.request.useragent="{call.agent}" '
        f"vars.name={repository}"
    )  # fmt: skip
    for level, said in (
        ("error", r"error authenticating user \"harbor_registry_user\": authentication failure"),
        ("warning", rf"error authorizing context: basic authentication challenge for realm \"{REALM}\": authentication failure"),
    ):  # fmt: skip
        harbor.registry_log.append(f'time="{nano(state.now())}" level={level} msg="{said}" {request}')
    detail = [{"Type": "repository", "Class": "", "Name": repository, "Action": action}]
    body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required", "detail": detail}]})
    return Reply(401, body, {**base, "www-authenticate": f'Basic realm="{REALM}"'})

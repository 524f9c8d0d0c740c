"""A push by a command-line client, step by step over the front, with what such a client prints."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from app.pullplan.plan import split_image
from app.training.world.network import handshake, reach
from app.training.world.others import Call
from app.training.world.registry import answer
from app.training.world.state import State

SIZES: Final = (3_402_000, 1_469)
"""Bytes of the layer and of the config."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """How one push ended, and the lines that the client printed."""

    works: bool
    text: str


def push(state: State, image: str, account: str, *, tool: str = "crane", number: int = 0) -> Pushed:
    """One push with the password that the client has, the right one as a rule. Two layers, a manifest; one token for all of it.

    docker logs in before, and says whether the login is good; crane only notes it.
    """
    host, repository, tag = split_image(image)
    robot, user = state.harbor.robots.get(account), state.harbor.users.get(account)
    right = robot.secret if robot else user.password if user else ""
    login = (account, state.client_logins.get(account, right))
    docker = tool == "docker"
    lines = [f"$ docker login {host} -u '{account}' --password-stdin" if docker else f"$ {tool} push ./image {image}"]
    prefix = "Error response from daemon: " if docker else "Error: "

    def failed(said: str) -> Pushed:
        return Pushed(False, "\n".join([*lines, said]))

    found = reach(state, None, host.partition(":")[0], int(host.partition(":")[2] or 443))
    base = f"https://{host}"
    if found.server is None:
        return failed(f'{prefix}Get "{base}/v2/": {found.said}')
    _, said = handshake(found.server, host, state.certificates["operator"], "os-bundle", state.now())
    if said:
        return failed(f'{prefix}Get "{base}/v2/": {said}')
    server, connection = found.server, f"push-{state.next_id()}-{number}"
    agent = "docker/28.2.2" if docker else "crane/0.20.2"

    def ask(
        method: str, path: str, bearer: str = "", with_login: bool = False, size: int = 0
    ) -> tuple[int, str, dict[str, str]]:
        call = Call(method, path, login if with_login else None, bearer, "10.20.3.7", agent, connection, size)
        reply = answer(state, server, call)
        return reply.status, reply.body, dict(reply.headers)

    ask("GET", "/v2/")
    if docker:
        status, _, _ = ask("GET", "/service/token?service=harbor-registry", with_login=True)
        if status != 200:
            return failed(f'{prefix}Get "{base}/v2/": unauthorized:')
        lines += ["Login Succeeded", f"$ docker push {image}", f"The push refers to repository [{host}/{repository}]"]
    scope = quote(f"repository:{repository}:push,pull", safe="")
    status, body, _ = ask("GET", f"/service/token?scope={scope}&service=harbor-registry", with_login=True)
    if status != 200:
        where = "" if docker else f"GET {base}/service/token?scope={scope}&service=harbor-registry: "
        return failed(f"{prefix}{where}{_words(status, body)}")
    bearer = str(json.loads(body)["token"])
    blobs = [f"sha256:{hashlib.sha256(f'{image}/{part}'.encode()).hexdigest()}" for part in ("layer", "config")]
    # The upload is committed by a PUT with its digest; its bytes count from then on.
    steps = [] if docker else [("HEAD", f"/v2/{repository}/manifests/{tag}", 0)]
    for blob, size in zip(blobs, SIZES, strict=True):
        upload = f"/v2/{repository}/blobs/uploads/8f6a5a1c-0000-4000-8000-000000000001?_state=REDACTED"
        steps += [
            ("HEAD", f"/v2/{repository}/blobs/{blob}", 0), ("POST", f"/v2/{repository}/blobs/uploads/", 0), ("PATCH", upload, 0),
            ("PUT", f"{upload}&digest={quote(blob, safe='')}", size),
        ]  # fmt: skip
    steps.append(("PUT", f"/v2/{repository}/manifests/{tag}", 417))
    kept = iter(blobs)
    for method, path, size in steps:
        status, body, _ = ask(method, path, bearer, size=size)
        if status >= 400 and (method, status) != ("HEAD", 404):
            where = f"{method} {base}{path}"
            return failed(
                _lower(_words(status, body)) if docker else f"Error: {where}: {_refusal(method, status, body)}"
            )
        if "&digest=" in path:
            blob = next(kept)
            lines.append(f"{blob[7:19]}: Pushed" if docker else f"{_stamp(state.now())} pushed blob: {blob}")
    digest = f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
    project = state.harbor.projects.get(repository.partition("/")[0])
    if project is not None:
        project.images[f"{repository.partition('/')[2]}:{tag}"] = digest
    if docker:
        lines.append(f"{tag}: digest: {digest} size: 417")
    else:
        lines += [f"{_stamp(state.now())} {image}: digest: {digest} size: 417", f"{image.rpartition(':')[0]}@{digest}"]
    return Pushed(True, "\n".join(lines))


def _refusal(method: str, status: int, body: str) -> str:
    if method == "HEAD":
        return f"unexpected status code {status} Unauthorized (HEAD responses have no body, use GET for details)"
    return _words(status, body)


def _lower(words: str) -> str:
    """docker shows the code in lower case, and the message as it is."""
    code, colon, rest = words.partition(":")
    return f"{code.lower()}{colon}{rest}"


def _words(status: int, body: str) -> str:
    try:
        error = json.loads(body)["errors"][0]
    except (ValueError, KeyError, IndexError):
        return f"unexpected status code {status}: {body[:200]}"
    return f"{error['code']}: {error['message']}"


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y/%m/%d %H:%M:%S")

"""What answers behind the registry's name: Harbor's core pods with their token service and `/v2/`, plain registries, upstreams.

Answers and log lines are those of Harbor 2.x (observed-harbor.md 1 to 9): a token that a core cannot verify counts as no
token, a refused login locks the account for 1.5 s in that process, a login without a right gets a token without rights.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from app.probes.harbor_secrets import kid_of_pem
from app.training.world import harbor_api
from app.training.world.clock import http_date, iso
from app.training.world.inside import no_database, refused_inside
from app.training.world.others import MANIFEST_TYPE, V2, Call, Reply, errors, manifest, plain, upstream
from app.training.world.pki import word
from app.training.world.policies import pull_refused, push_refused
from app.training.world.state import CorePod, Project, Server, State

TTL: Final = 1800
LOCK: Final = 1.5
ROLES: Final = {
    "projectAdmin": ("pull", "push", "delete"), "maintainer": ("pull", "push", "delete"), "developer": ("pull", "push"),
    "guest": ("pull",), "limitedGuest": ("pull",),
}  # fmt: skip


def answer(state: State, server: Server, call: Call, *, pod: str = "") -> Reply:
    """What the server says. `pod`: one core pod is asked directly, past the front."""
    state.clock.move(0.012)
    if server.backend == "harbor":
        reply = _harbor(state, server, call, pod)
    elif server.backend == "plain":
        reply = plain(state, call)
    elif server.backend == "proxy":
        reply = Reply(400, "This is a proxy.\n", {"content-type": "text/plain"})
    else:
        reply = upstream(state, server, call)
    headers = {"date": http_date(state.now() + server.clock_offset), "server": "nginx", **reply.headers}
    if pod:
        headers = {"date": http_date(state.now() + core_offset(state, pod)), **reply.headers}
    if call.method == "HEAD":
        return Reply(reply.status, "", headers, reply.pod, reply.ms)
    return Reply(reply.status, reply.body, headers, reply.pod, reply.ms)


# --- Harbor ---------------------------------------------------------------------------------------------------------


def ready_cores(state: State) -> list[str]:
    """Core pods that the service leads to, by name."""
    found = []
    for pod in state.cluster.all("pods", state.harbor.namespace):
        if (pod["metadata"].get("labels") or {}).get("component") != "core":
            continue
        conditions = (pod.get("status") or {}).get("conditions") or []
        if any(item["type"] == "Ready" and item["status"] == "True" for item in conditions):
            found.append(pod["metadata"]["name"])
    return sorted(name for name in found if name in state.harbor.cores)


def core_offset(state: State, pod: str) -> float:
    """A container has its node's clock."""
    item = state.cluster.find("pods", state.harbor.namespace, pod)
    node = state.nodes.get((item or {}).get("spec", {}).get("nodeName", ""))
    return node.clock_offset if node is not None else 0.0


def _harbor(state: State, server: Server, call: Call, pod: str) -> Reply:
    cores = ready_cores(state)
    if not cores:
        return Reply(503, "<html><head><title>503 Service Temporarily Unavailable</title></head></html>", {"content-type": "text/html"})  # fmt: skip
    if not pod:
        pod = cores[_pick(state, call, len(cores))]
    elif pod not in state.harbor.cores:
        return Reply(502, "no such pod")
    core = state.harbor.cores[pod]
    path = urlsplit(call.path).path
    _offend(state, cores)
    why = no_database(state, core)
    if core.strange_database:
        state = _elsewhere(state)
    if why:
        reply = _without_database(state, core, call, why)
    elif path == "/service/token":
        reply = _token(state, core, call)
    elif path.startswith("/api/v2.0"):
        user, _ = account(state, core, call)
        status, body, headers = harbor_api.read(state, call.method, call.path, user)
        reply = Reply(status, body, {"content-type": "application/json; charset=utf-8", **headers})
    elif path.startswith("/v2/"):
        reply = _v2(state, core, call)
    else:
        reply = Reply(
            200, "<!doctype html><html><head><title>Harbor</title></head></html>", {"content-type": "text/html"}
        )
    return Reply(reply.status, reply.body, reply.headers, pod, reply.ms)


def _elsewhere(state: State) -> State:
    """The world as a core sees it that works on a fresh database: a public project and an administrator, nothing else."""
    harbor = state.harbor
    fresh = replace(
        harbor,
        robots={},
        users={name: one for name, one in harbor.users.items() if one.admin},
        projects={name: replace(one, images={}) for name, one in harbor.projects.items() if name == "library"},
        endpoints={},
    )
    return replace(state, harbor=fresh)


def _without_database(state: State, core: CorePod, call: Call, why: str) -> Reply:
    """Without its database core refuses everybody at once, and is Ready all the while (observed-harbor.md 6.6)."""
    path = urlsplit(call.path).path
    base = {"content-type": "application/json; charset=utf-8"}
    if path == "/api/v2.0/health":
        return Reply(200, json.dumps(harbor_api.health({"database": f'failed to run SQL "SELECT 1": {why}'})), base)
    if call.login is not None:
        log(state, core, "ERROR", "/server/middleware/security/robot.go:50", f"failed to list robots: {why}")
    log(state, core, "ERROR", "/lib/config/config.go:128", f"failed to load config, error {why}")
    if path == "/service/token":
        return Reply(401, "")
    if path.startswith("/v2/"):
        asks = challenge(state) if call.login is None and not call.bearer else 'Basic realm="harbor"'
        base = {**base, "docker-distribution-api-version": "registry/2.0", "www-authenticate": asks}
        return errors(401, "UNAUTHORIZED", f"{why}: {why}", base)
    return errors(500, "UNKNOWN", "internal server error", base)


def _pick(state: State, call: Call, count: int) -> int:
    """Which core the front takes: any for a new connection, another one now and then for a long one."""
    harbor = state.harbor
    harbor.turn += 1
    run = harbor.runs.get(call.connection, 0) if call.connection else harbor.turn
    if call.connection:
        harbor.runs[call.connection] = run + 1
        run //= 4
    return hashlib.sha256(f"{state.seed}/{call.connection}/{run}".encode()).digest()[0] % count


def log(state: State, core: CorePod, level: str, place: str, text: str) -> None:
    """One line of a core's log, stamped by that pod's clock."""
    core.log.append(f"{iso(state.now() + core_offset(state, core.pod))} [{level}] [{place}]: {text}")


def account(state: State, core: CorePod, call: Call) -> tuple[str, bool]:
    """(account, refused) of the Basic login; an empty account is an anonymous caller."""
    if call.login is None:
        return "", False
    name, secret = call.login
    harbor = state.harbor
    robot, user = harbor.robots.get(name), harbor.users.get(name)
    now = state.now()
    if robot is not None and robot.secret == secret:
        if robot.disabled:
            log(state, core, "ERROR", "/server/middleware/security/robot.go:62", f"failed to authenticate deactivated robot account: {name}")  # fmt: skip
        elif robot.expires_at not in (-1, 0) and robot.expires_at <= now:
            log(
                state, core, "ERROR", "/server/middleware/security/robot.go:67", f"the robot account is expired: {name}"
            )
        else:
            return name, False
    elif robot is not None:
        log(
            state,
            core,
            "ERROR",
            "/server/middleware/security/robot.go:58",
            f"failed to authenticate robot account: {name}",
        )
    elif user is not None and user.password == secret and core.locks.get(name, 0.0) <= now:
        return name, False
    # A name that is locked is refused at once and without a line (observed-harbor.md 4.2).
    if core.locks.get(name, 0.0) <= now:
        core.locks[name] = now + LOCK
        state.clock.move(LOCK)
        _log_refused(state, core, name, call.client, call.agent, now)
    return "", True


def _log_refused(state: State, core: CorePod, name: str, client: str, agent: str, at: float) -> None:
    """The two lines of a wrong password: when the name is locked, and when the answer goes out."""
    offset = core_offset(state, core.pod)
    core.log.append(f"{iso(at + offset)} [WARNING] [/core/auth/authenticator.go:158]: Login failed, locking {name}, and sleep for 1.5s")  # fmt: skip
    core.log.append(
        f'{iso(at + LOCK + offset)} [ERROR] [/server/middleware/security/basic_auth.go:72][client IP="{client}" user agent="{agent}"]: '
        f"failed to authenticate user:{name}, error:Failed to authenticate user, due to error 'Invalid credentials'"
    )


def _offend(state: State, cores: list[str]) -> None:
    """What others have tried meanwhile. Several workers leave no gap between one lock and the next."""
    for one in state.harbor.offenders:
        user = state.harbor.users.get(one.account)
        while one.next <= state.now():
            if user is None or user.password != one.password:
                for pod in cores:
                    core = state.harbor.cores[pod]
                    core.locks[one.account] = one.next + LOCK
                    _log_refused(state, core, one.account, one.client, one.agent, one.next)
            one.next += LOCK


def rights(state: State, name: str, project: str) -> tuple[str, ...]:
    """Actions on the repositories of a project; an empty name is an anonymous caller."""
    harbor = state.harbor
    found = harbor.projects.get(project)
    if found is None:
        return ()
    allowed: set[str] = {"pull"} if found.public else set()
    robot, user = harbor.robots.get(name), harbor.users.get(name)
    if robot is not None:
        allowed |= set(robot.grants.get(project, ())) | set(robot.grants.get("*", ()))
    elif user is not None:
        allowed |= {"pull", "push", "delete"} if user.admin else set(ROLES.get(found.members.get(name, ""), ()))
    return tuple(sorted(allowed))


def _token(state: State, core: CorePod, call: Call) -> Reply:
    if call.method == "POST":
        return Reply(405, "")
    before = state.now()
    name, _ = account(state, core, call)
    scopes = [one for value in parse_qs(urlsplit(call.path).query).get("scope", []) for one in value.split(" ") if one]
    # Asked with a scope, Harbor gives a refused login the token of an anonymous caller (observed-harbor.md 4.1).
    if not scopes and not name:
        body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "unauthorized: unauthorized"}]})
        return Reply(
            401, body, {"content-type": "application/json; charset=utf-8"}, ms=12.0 + (state.now() - before) * 1000
        )
    access = []
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        repository, _, asked = rest.rpartition(":")
        # Harbor puts all rights on the project into the token, whatever was asked for.
        access.append({"type": kind, "name": repository, "actions": list(rights(state, name, repository.partition("/")[0])) if asked else []})  # fmt: skip
    stamp = int(state.now() + core_offset(state, core.pod))
    claims = {
        "iss": "harbor-token-issuer", **({"sub": name} if name else {}), "aud": "harbor-registry", "exp": stamp + TTL, "nbf": stamp, "iat": stamp,
        "jti": word(f"{state.seed}/{state.next_id()}"), "access": access or None,
    }  # fmt: skip
    raw = signed(core.key, claims)
    body = json.dumps({"token": raw, "access_token": "", "expires_in": TTL, "issued_at": iso(stamp)})
    spent = 12.0 + (state.now() - before) * 1000
    return Reply(200, body, {"content-type": "application/json; charset=utf-8"}, ms=spent)


def signed(key: str, claims: Mapping[str, Any]) -> str:
    """A token in the form of a JWT. Its signature is a digest with the key: the world has one verifier, `verified`."""
    head = {"alg": "RS256", "kid": kid_of_pem(key.encode()), "typ": "JWT"}
    payload = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(claims).encode())}"
    return f"{payload}.{_b64(hashlib.sha256((key + payload).encode()).digest())}"


def verified(state: State, core: CorePod, raw: str) -> dict[str, Any] | None:
    """Claims, where this core's key made the signature and its clock is inside the token's times; else None and two log lines."""
    payload, _, signature = raw.rpartition(".")
    why = ""
    claims: dict[str, Any] = {}
    if _b64(hashlib.sha256((core.key + payload).encode()).digest()) != signature:
        why = "token signature is invalid: crypto/rsa: verification error"
    else:
        claims = json.loads(_unb64(payload.partition(".")[2]))
        now = state.now() + core_offset(state, core.pod)
        # Harbor 2.0 to 2.10 forgive nothing.
        if int(claims["nbf"]) > now + 0.999:
            why = "token has invalid claims: token is not valid yet"
        elif int(claims["exp"]) < now:
            why = "token has invalid claims: token is expired"
    if not why:
        return claims
    log(state, core, "ERROR", "/pkg/token/token.go:80", f"parse token error, {why}")
    log(state, core, "WARNING", "/server/middleware/security/v2_token.go:62", f"failed to decode bearer token: {why}")
    return None


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- /v2/ of Harbor ---------------------------------------------------------------------------------------------------


def challenge(state: State, scope: str = "") -> str:
    """The Bearer challenge. The realm is below the external URL, whatever the client asked for."""
    more = f',scope="{scope}"' if scope else ""
    return f'Bearer realm="{state.harbor.external_url}/service/token",service="harbor-registry"{more}'


def _v2(state: State, core: CorePod, call: Call) -> Reply:
    base = {"content-type": "application/json; charset=utf-8", "docker-distribution-api-version": "registry/2.0"}
    before = state.now()
    claims = verified(state, core, call.bearer) if call.bearer else None
    name = account(state, core, call)[0] if call.login is not None and not call.bearer else ""
    spent = 12.0 + (state.now() - before) * 1000
    path = urlsplit(call.path).path
    if path == "/v2/":
        if claims is not None or name:
            return Reply(200, "{}", base)
        body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "unauthorized: unauthorized"}]})
        return Reply(401, body, {**base, "www-authenticate": challenge(state)}, ms=spent)
    found = V2.match(path)
    if found is None:
        return errors(404, "NOT_FOUND", "page not found", base)
    repository = unquote(found["repo"])
    project = repository.partition("/")[0]
    action = "pull" if call.method in ("GET", "HEAD") else "push"
    if claims is not None:
        mine = next((one for one in claims.get("access") or () if one["name"] == repository), None)
        allowed = action in (mine["actions"] if mine else ())
    else:
        allowed = action in rights(state, name, project)
    wanted = f"repository:{repository}:{'pull' if action == 'pull' else 'pull,push'}"
    if project not in state.harbor.projects:
        if call.bearer:
            log(state, core, "WARNING", "/server/middleware/security/v2_token.go:108", f'failed to get project "{project}" for token validation: project {project} not found')  # fmt: skip
        text = f"project {project} not found"
        # To somebody who sent a login, or who pushes, Harbor hands out no challenge (observed-harbor.md 0).
        first = action == "pull" and not call.bearer and call.login is None
        given = {"www-authenticate": challenge(state, wanted) if first else ""}
        reply = errors(401, "UNAUTHORIZED", f"{text}: {text}", {**base, **given})
        return Reply(reply.status, reply.body, reply.headers, ms=spent)
    if not allowed:
        text = f"unauthorized to access repository: {repository}, action: {action}"
        reply = errors(401, "UNAUTHORIZED", f"{text}: {text}", {**base, "www-authenticate": challenge(state, wanted)})
        return Reply(reply.status, reply.body, reply.headers, ms=spent)
    inner = refused_inside(state, core, call, repository, action, base)
    owner = state.harbor.projects[project]
    if action == "push":
        refusal, line = push_refused(state, owner, call, base)
        if line:
            log(state, core, "ERROR", "/controller/quota/controller.go:394", line)
        return refusal or inner or _upload(found["kind"], call, base)
    reply = _content(state, core, owner, repository, found["kind"], found["rest"], call, base)
    # What is not there core says by itself; what is there it fetches from the inner registry.
    return inner if inner is not None and reply.status == 200 else reply


def _upload(kind: str, call: Call, base: Mapping[str, str]) -> Reply:
    if call.method == "POST":
        return Reply(202, "", {**base, "location": f"{urlsplit(call.path).path}8f6a5a1c-0000-4000-8000-000000000001"})
    return Reply(201 if call.method == "PUT" else 202 if call.method == "PATCH" else 204, "", {**base, "x-kind": kind})


def _content(
    state: State,
    core: CorePod,
    project: Project,
    repository: str,
    kind: str,
    rest: str,
    call: Call,
    base: Mapping[str, str],
) -> Reply:
    inside = repository.partition("/")[2]
    if project.upstream and kind == "manifests" and f"{inside}:{rest}" not in project.images:
        missing = _proxied(state, core, project, inside, rest, call)
        if missing is not None:
            return missing
    if kind == "manifests":
        digest = project.images.get(f"{inside}:{rest}") or next(
            (one for one in project.images.values() if one == rest), ""
        )
        if digest:
            held = pull_refused(project, f"{inside}:{rest}", base)
            if held is not None:
                return held
            return Reply(
                200, manifest(digest), {**base, "content-type": MANIFEST_TYPE, "docker-content-digest": digest}
            )
        known = any(key.rpartition(":")[0] == inside for key in project.images)
        what = f"artifact {repository}:{rest} not found" if known else f"repository {repository} not found"
        return errors(404, "NOT_FOUND", what, base)
    return Reply(200, "{}", {**base, "content-type": "application/octet-stream"})


def _proxied(state: State, core: CorePod, project: Project, name: str, tag: str, call: Call) -> Reply | None:
    """Ask the upstream. What it gives is kept, what goes wrong is only logged; a 404 is handed on (observed-harbor.md 5.2)."""
    endpoint = state.harbor.endpoints[project.upstream]
    url = urlsplit(endpoint.url)
    server = state.servers.get((url.hostname or "", url.port or (443 if url.scheme == "https" else 80)))
    where = f"request uri: {urlsplit(call.path).path}"
    place = "/server/middleware/repoproxy/proxy.go:217"
    if server is None or server.down or server.scheme != url.scheme:
        error = f'Get "{endpoint.url}/v2/": dial tcp: lookup {url.hostname}: no such host' if server is None else f'Get "{endpoint.url}/v2/": dial tcp {server.address}:{server.port}: connect: connection refused'  # fmt: skip
        log(state, core, "ERROR", place, f"failed to proxy manifest, fallback to local, {where}, error: {error}")
        return None
    login = (endpoint.user, endpoint.password) if endpoint.user else None
    if endpoint.kind == "quay" and login is not None:
        try:
            given = json.loads(endpoint.password)
            login = (str(given["account_name"]), str(given["docker_cli_password"]))
        except (ValueError, KeyError, TypeError):
            error = f"invalid character '{endpoint.password[:1]}' looking for beginning of value"
            log(state, core, "ERROR", place, f"failed to proxy manifest, fallback to local, {where}, error: {error}")
            return None
    reply = upstream(state, server, Call("HEAD", f"/v2/{name}/manifests/{tag}", login))
    if reply.status == 200:
        project.images[f"{name}:{tag}"] = reply.headers["docker-content-digest"]
    elif reply.status == 401:
        log(state, core, "ERROR", place, f"failed to proxy manifest, fallback to local, {where}, error: http status code: 401, body: {reply.body}")  # fmt: skip
    elif reply.status == 404:
        said = f"resource not found: repo {project.name}/{name}, tag {tag} not found"
        return errors(404, "NOT_FOUND", said, {"content-type": "application/json; charset=utf-8"})
    return None

"""Harbor's API below `/api/v2.0`: what it shows to whom, and the changes that fixes make."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from app.training.world.clock import iso
from app.training.world.pki import word
from app.training.world.state import Endpoint, Project, Robot, State

Answer = tuple[int, str, dict[str, str]]
ROLE_IDS = {"projectAdmin": 1, "developer": 2, "guest": 3, "maintainer": 4, "limitedGuest": 5}


def read(state: State, method: str, path: str, user: str) -> Answer:
    """GET or HEAD. A refused login has the anonymous view (observed-harbor.md 7)."""
    parts = urlsplit(path)
    below = parts.path.removeprefix("/api/v2.0").strip("/")
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    admin = user == state.harbor.admin
    if method == "HEAD" and below == "projects":
        return (200 if query.get("project_name") in state.harbor.projects else 404), "", {}
    for pattern, open_to_all, reader in _READERS:
        found = re.fullmatch(pattern, below)
        if found is None:
            continue
        if not admin and not open_to_all:
            code, status = ("FORBIDDEN", 403) if user else ("UNAUTHORIZED", 401)
            return status, json.dumps({"errors": [{"code": code, "message": code.lower()}]}), {}
        value = reader(state, [unquote(unquote(one)) for one in found.groups()], query, user)
        if value is None or isinstance(value, Missing):
            return 404, _said("NOT_FOUND", value or f"{below} not found"), {}
        more = {"x-total-count": str(len(value))} if isinstance(value, list) else {}
        return 200, json.dumps(value), more
    return 404, json.dumps({"errors": [{"code": "NOT_FOUND", "message": "page not found"}]}), {}


class Missing(str):
    """What a reader says of an object that is not there."""

    __slots__ = ()


Reader = Callable[[State, list[str], Mapping[str, str], str], Any]


PARTS: Final = ("core", "database", "jobservice", "portal", "redis", "registry", "registryctl")


def health(down: Mapping[str, str]) -> dict[str, Any]:
    """What `/health` says. `down`: name of a part to its error."""
    parts = [
        {"name": name, "status": "unhealthy", "error": down[name]} if name in down else {"name": name, "status": "healthy"}
        for name in PARTS
    ]  # fmt: skip
    return {"status": "unhealthy" if down else "healthy", "components": parts}


def _health(_state: State, _names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    return health({})


def _systeminfo(state: State, _names: list[str], _query: Mapping[str, str], user: str) -> Any:
    told: dict[str, Any] = {"auth_mode": "db_auth", "banner_message": "", "oidc_provider_name": "", "primary_auth_mode": False, "self_registration": False}  # fmt: skip
    if user:
        host = state.harbor.host
        told |= {"external_url": state.harbor.external_url, "harbor_version": state.harbor.version, "registry_url": host, "read_only": state.harbor.read_only, "current_time": iso(state.now())}  # fmt: skip
    return told


def _configurations(state: State, _names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    return {
        "auth_mode": {"value": "db_auth", "editable": False},
        "robot_name_prefix": {"value": "robot$", "editable": True},
        "read_only": {"value": state.harbor.read_only, "editable": True},
        "token_expiration": {"value": 30, "editable": True},
    }


def _volumes(_state: State, _names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    return {"storage": [{"total": 536870912000, "free": 351276302336}]}


def _projects(state: State, _names: list[str], query: Mapping[str, str], user: str) -> Any:
    wanted = query.get("name", "")
    return [
        shown_project(state, one)
        for one in state.harbor.projects.values()
        if wanted in one.name and (one.public or _sees(state, one, user))
    ]


def _sees(state: State, project: Project, user: str) -> bool:
    robot = state.harbor.robots.get(user)
    if robot is not None:
        return project.name in robot.grants or "*" in robot.grants
    return user == state.harbor.admin or user in project.members


def shown_project(state: State, project: Project) -> dict[str, Any]:
    """A project as the API shows it; a proxy cache has the id of its endpoint."""
    told: dict[str, Any] = {
        "project_id": project.id, "name": project.name, "owner_name": "admin", "creation_time": iso(project.created), "update_time": iso(project.created),
        "repo_count": len({key.rpartition(":")[0] for key in project.images}), "metadata": {"public": "true" if project.public else "false", **({"prevent_vul": "true", "severity": project.prevent} if project.prevent else {})},
    }  # fmt: skip
    if project.upstream:
        told["registry_id"] = state.harbor.endpoints[project.upstream].id
    return told


def _project(state: State, names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    found = _find_project(state, names[0])
    return shown_project(state, found) if found is not None else None


def _find_project(state: State, name: str) -> Project | None:
    return next((one for one in state.harbor.projects.values() if name in (one.name, str(one.id))), None)


def _summary(state: State, names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    found = _find_project(state, names[0])
    if found is None:
        return None
    told: dict[str, Any] = {
        "repo_count": len(found.images),
        "quota": {"hard": {"storage": found.quota}, "used": {"storage": found.used}},
    }
    if found.upstream:
        told["registry"] = shown_endpoint(state.harbor.endpoints[found.upstream])
    return told


def _members(state: State, names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    found = _find_project(state, names[0])
    if found is None:
        return None
    return [
        {"id": number, "entity_name": user, "entity_type": "u", "role_name": role, "role_id": ROLE_IDS[role], "project_id": found.id}
        for number, (user, role) in enumerate(sorted(found.members.items()), 1)
    ]  # fmt: skip


def _shown_quota(project: Project) -> dict[str, Any]:
    return {"id": project.id, "ref": {"id": project.id, "name": project.name, "owner_name": ""}, "hard": {"storage": project.quota}, "used": {"storage": project.used}}  # fmt: skip


def _quotas(state: State, _names: list[str], query: Mapping[str, str], _user: str) -> Any:
    wanted = query.get("reference_id")
    return [_shown_quota(one) for one in state.harbor.projects.values() if wanted in (None, str(one.id))]


def _quota(state: State, names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    found = _find_project(state, names[0])
    return _shown_quota(found) if found is not None else None


def _nothing(state: State, names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    return [] if _find_project(state, names[0]) is not None else None


def _artifact(state: State, names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    found = _find_project(state, names[0])
    digest = found.images.get(f"{names[1]}:{names[2]}") if found is not None else None
    if found is None:
        return Missing(f"project {names[0]} not found")
    if digest is None:
        known = any(key.rpartition(":")[0] == names[1] for key in found.images)
        where = f"{found.name}/{names[1]}"
        return Missing(f"artifact {where}:{names[2]} not found" if known else f"repository {where} not found")
    return {"digest": digest, "type": "IMAGE", "media_type": "application/vnd.oci.image.config.v1+json", "manifest_media_type": "application/vnd.oci.image.manifest.v1+json", "tags": [{"name": names[2]}], "accessories": [], "extra_attrs": {"architecture": "amd64", "os": "linux"}}  # fmt: skip


def shown_robot(robot: Robot) -> dict[str, Any]:
    """A robot as the API shows it: never its secret."""
    return {
        "id": robot.id, "name": robot.name, "level": robot.level, "disable": robot.disabled, "expires_at": robot.expires_at, "duration": robot.duration,
        "editable": True, "creation_time": iso(robot.created), "update_time": iso(robot.created),
        "permissions": [
            {"kind": "project", "namespace": project, "access": [{"resource": "repository", "action": action} for action in actions]}
            for project, actions in sorted(robot.grants.items())
        ],
    }  # fmt: skip


def _robots(state: State, _names: list[str], query: Mapping[str, str], _user: str) -> Any:
    asked = dict(part.partition("=")[::2] for part in query.get("q", "").split(",") if part)
    project = next((one.name for one in state.harbor.projects.values() if str(one.id) == asked.get("ProjectID")), None)
    level = asked.get("Level", "system")
    return [
        shown_robot(one)
        for one in state.harbor.robots.values()
        if one.level == level and (level == "system" or one.project == project)
    ]


def _robot(state: State, names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    found = _find_robot(state, names[0])
    return shown_robot(found) if found is not None else None


def _find_robot(state: State, number: str) -> Robot | None:
    return next((one for one in state.harbor.robots.values() if str(one.id) == number), None)


def shown_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as the API shows it; its secret is starred."""
    credential = {"type": "basic", "access_key": endpoint.user, "access_secret": "*****"} if endpoint.user else {}
    return {"id": endpoint.id, "name": endpoint.name, "url": endpoint.url, "type": endpoint.kind, "insecure": False, "status": "healthy", "credential": credential, "creation_time": "2025-06-02T08:00:00Z", "update_time": "2025-06-02T08:00:00Z"}  # fmt: skip


def _registries(state: State, _names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    return [shown_endpoint(one) for one in state.harbor.endpoints.values()]


def _registry(state: State, names: list[str], _query: Mapping[str, str], _user: str) -> Any:
    found = next((one for one in state.harbor.endpoints.values() if str(one.id) == names[0]), None)
    return shown_endpoint(found) if found is not None else None


_READERS: tuple[tuple[str, bool, Reader], ...] = (
    ("health", True, _health),
    ("systeminfo", True, _systeminfo),
    ("systeminfo/volumes", False, _volumes),
    ("configurations", False, _configurations),
    ("projects", True, _projects),
    ("projects/([^/]+)", False, _project),
    ("projects/([^/]+)/summary", False, _summary),
    ("projects/([^/]+)/members", False, _members),
    ("projects/([^/]+)/immutabletagrules", False, _nothing),
    ("projects/([^/]+)/repositories/([^/]+)/artifacts/([^/]+)", False, _artifact),
    ("quotas", False, _quotas),
    (r"quotas/(\d+)", False, _quota),
    ("robots", False, _robots),
    (r"robots/(\d+)", False, _robot),
    ("registries", False, _registries),
    (r"registries/(\d+)", False, _registry),
)


# --- changes ----------------------------------------------------------------------------------------------------------


def write(state: State, method: str, path: str, body: Any) -> tuple[int, str]:
    """POST, PUT, PATCH, DELETE below `/api/v2.0` as an administrator."""
    below = urlsplit(path).path.removeprefix("/api/v2.0").strip("/")
    given: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    state.clock.move(0.2)
    if found := re.fullmatch(r"robots/(\d+)", below):
        status, said = _change_robot(state, method, found[1], given)
    elif below == "robots" and method == "POST":
        status, said = _new_robot(state, given)
    elif found := re.fullmatch(r"registries/(\d+)", below):
        status, said = _change_endpoint(state, method, found[1], given)
    elif found := re.fullmatch(r"quotas/(\d+)", below):
        status, said = _change_quota(state, method, found[1], given)
    elif below == "configurations" and method == "PUT":
        state.harbor.read_only = bool(given.get("read_only", state.harbor.read_only))
        status, said = 200, ""
    elif found := re.fullmatch(r"projects/([^/]+)", below):
        status, said = _change_project(state, method, unquote(found[1]), given)
    elif found := re.fullmatch(r"projects/([^/]+)/members", below):
        status, said = _add_member(state, method, unquote(found[1]), given)
    elif found := re.fullmatch(r"projects/([^/]+)/members/(\d+)", below):
        status, said = _drop_member(state, method, unquote(found[1]), int(found[2]))
    else:
        status, said = 404, _said("NOT_FOUND", f"{method} {below} is not known")
    if status < 400:
        state.wrote(f"harbor /{below}", method)
    return status, said


def _said(code: str, message: str) -> str:
    return json.dumps({"errors": [{"code": code, "message": message}]})


def _grants(given: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        str(one.get("namespace")): tuple(
            str(access.get("action"))
            for access in one.get("access") or ()
            if access.get("resource") == "repository" and access.get("effect", "allow") != "deny"
        )
        for one in given.get("permissions") or ()
    }


def _change_robot(state: State, method: str, number: str, given: Mapping[str, Any]) -> tuple[int, str]:
    robot = _find_robot(state, number)
    if robot is None:
        return 404, _said("NOT_FOUND", f"robot {number} not found")
    if method == "DELETE":
        del state.harbor.robots[robot.name]
    elif method == "PATCH":
        robot.secret = str(given.get("secret") or word(f"{state.seed}/robot/{state.next_id()}", 32))
        return 200, json.dumps({"secret": robot.secret if not given.get("secret") else ""})
    elif method == "PUT":
        if str(given.get("name", robot.name)) != robot.name:
            return 400, _said("BAD_REQUEST", "cannot update the level or name of robot")
        robot.disabled = bool(given.get("disable", robot.disabled))
        days = int(given.get("duration", robot.duration))
        if days == 0 or days < -1:
            return 400, _said("BAD_REQUEST", "bad request: duration must be -1 or a positive number")
        if days != robot.duration:
            # Counted from the day it was made; the same duration changes nothing.
            robot.duration = days
            robot.expires_at = -1 if days == -1 else int(robot.created) + days * 86400
        if "permissions" in given:
            robot.grants = _grants(given)
    else:
        return 405, _said("METHOD_NOT_ALLOWED", method)
    return 200, ""


def _new_robot(state: State, given: Mapping[str, Any]) -> tuple[int, str]:
    level = str(given.get("level", "system"))
    grants = _grants(given)
    project = next(iter(grants), "") if level == "project" else ""
    name = f"robot${project}+{given.get('name')}" if project else f"robot${given.get('name')}"
    if name in state.harbor.robots:
        return 409, _said("CONFLICT", f"robot {name} already exists")
    number = 1 + max((one.id for one in state.harbor.robots.values()), default=0)
    secret = word(f"{state.seed}/robot/{state.next_id()}", 32)
    state.harbor.robots[name] = Robot(
        number,
        name,
        secret,
        bool(given.get("disable")),
        created=state.now(),
        level=level,
        project=project,
        grants=grants,
    )
    return 201, json.dumps({"id": number, "name": name, "secret": secret, "expires_at": -1})


def _refused(method: str, missing: str) -> tuple[int, str]:
    """Why a call is not carried out: what it is about is not there, or this is not done to it."""
    return (404, _said("NOT_FOUND", missing)) if missing else (405, _said("METHOD_NOT_ALLOWED", method))


def _change_endpoint(state: State, method: str, number: str, given: Mapping[str, Any]) -> tuple[int, str]:
    endpoint = next((one for one in state.harbor.endpoints.values() if str(one.id) == number), None)
    if endpoint is None or method != "PUT":
        return _refused(method, "" if endpoint else f"registry {number} not found")
    credential = given.get("credential") if isinstance(given.get("credential"), Mapping) else {}
    user = given.get("access_key", (credential or {}).get("access_key"))
    password = given.get("access_secret", (credential or {}).get("access_secret"))
    endpoint.url = str(given.get("url") or endpoint.url)
    endpoint.user = endpoint.user if user is None else str(user)
    endpoint.password = endpoint.password if password in (None, "*****") else str(password)
    return 200, ""


def _change_project(state: State, method: str, name: str, given: Mapping[str, Any]) -> tuple[int, str]:
    project = _find_project(state, name)
    if project is None or method != "PUT":
        return _refused(method, "" if project else f"project {name} not found")
    public = (given.get("metadata") or {}).get("public")
    if public is not None:
        project.public = str(public).lower() == "true"
    return 200, ""


def _change_quota(state: State, method: str, number: str, given: Mapping[str, Any]) -> tuple[int, str]:
    project = _find_project(state, number)
    if project is None or method != "PUT":
        return _refused(method, "" if project else f"quota {number} not found")
    project.quota = int((given.get("hard") or {}).get("storage", project.quota))
    return 200, ""


def _add_member(state: State, method: str, name: str, given: Mapping[str, Any]) -> tuple[int, str]:
    project = _find_project(state, name)
    if project is None or method != "POST":
        return 404, _said("NOT_FOUND", f"project {name} not found")
    role = next((role for role, number in ROLE_IDS.items() if number == given.get("role_id")), "")
    user = str((given.get("member_user") or {}).get("username") or "")
    if not role or user not in state.harbor.users:
        return 400, _said("BAD_REQUEST", "no such role or user")
    project.members[user] = role
    return 201, ""


def _drop_member(state: State, method: str, name: str, number: int) -> tuple[int, str]:
    """`number` is the one that the list of members shows."""
    project = _find_project(state, name)
    users = dict(enumerate(sorted(project.members), 1)) if project is not None else {}
    if project is None or number not in users or method != "DELETE":
        return _refused(method, "" if number in users else f"member {number} of project {name} not found")
    del project.members[users[number]]
    return 200, ""

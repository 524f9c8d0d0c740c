"""Changes through Harbor's API: robots, members, endpoints, quota, settings (harbor-and-kubernetes.md C.2, D.2, H)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from shlex import quote as shell
from typing import Any, Final
from urllib.parse import quote, urlsplit

from app.errors import RefusedError
from app.fixes.base import HARBOR_API, Fix, FixContext, Hidden, Later, Need, digest_value
from app.fixes.kube_secrets import listed_places, write_change
from app.fixes.logins import Content, content_of, encoded, exact_login, with_login
from app.fixes.plans import image_of, make_plan, pods_of, right_check, secret_rights, server_of
from app.fixes.shown import diff_of
from app.model.fix import Change, Check, FixPlan
from app.model.target import Target
from app.parsers.clock import parse_time

_PAGE: Final = 25
"""Objects of a page: an answer of Harbor is kept up to 16 KiB only."""
_DAY: Final = 86400.0
_GRACE: Final = 90
"""Days from now for which a robot is extended, unless the operator says another number."""
ROLES: Final = {"pull": (5, "Limited Guest"), "push": (2, "Developer")}
_STRENGTH: Final = {1: 4, 4: 3, 2: 2, 3: 1, 5: 0}
"""Project admin, maintainer, developer, guest, limited guest."""


def _api(context: FixContext, path: str) -> Any:
    return context.get(path, HARBOR_API)


def _pages(context: FixContext, path: str) -> Iterator[Mapping[str, Any]]:
    joined = "&" if "?" in path else "?"
    for page in range(1, 41):
        rows = _api(context, f"{path}{joined}page={page}&page_size={_PAGE}") or []
        yield from (row for row in rows if isinstance(row, Mapping))
        if len(rows) < _PAGE:
            return


def _target(context: FixContext) -> Target:
    return Target.of(registry=context.case.incident.registry or "harbor")


def _account(context: FixContext) -> str:
    name = context.text_input("account") or str(context.case.variables.get("account") or "")
    if not name:
        raise RefusedError("it is not known which account was refused", "Name it with --input account=NAME.")
    return name


def _project_name(context: FixContext) -> str:
    given = context.text_input("project")
    action = str(context.case.variables.get("project.action") or "")
    name = given or action.rpartition(":")[0] or (image_of(context).partition("/")[2].partition("/")[0])
    if not name or name == "any":
        raise RefusedError("it is not known which project the image is in", "Name it with --input project=NAME.")
    return name.partition("/")[0]


def _project(context: FixContext) -> Mapping[str, Any]:
    name = _project_name(context)
    for row in _pages(context, f"/projects?name={quote(name, safe='')}"):
        if row.get("name") == name:
            return row
    raise RefusedError(
        f"Harbor shows no project {name} to this login", "It may be missing, or the login may not see it."
    )


def _change(
    context: FixContext, method: str, path: str, body: Any, *, title: str, before: Any, after: Any,
    undo: Mapping[str, Any], undo_words: str, read: str = "", fields: tuple[str, ...] = (), shown_body: str = "", **more: Any,
) -> Change:  # fmt: skip
    current = _api(context, read or path) if fields else None
    url = f"https://{context.case.incident.registry or '<harbor>'}/api/v2.0{path}"
    return Change(
        _target(context),
        "harbor-api",
        title,
        diff_of(before, after, title.partition(":")[0]),
        f"curl -u '<user>' -X {method} {shell(url)} -H 'Content-Type: application/json' -d {shell(shown_body or '…')}",
        {"method": method, "path": path, "body": body, "undo": undo, "read": read or path, "object": title, **more},
        {pointer: digest_value(_field(current, pointer)) for pointer in fields},
        undo_words,
    )


def _field(value: Any, pointer: str) -> Any:
    for word in pointer.strip("/").split("/"):
        value = value.get(word) if isinstance(value, Mapping) else None
    return value


# --- robots -------------------------------------------------------------------------------------------------------


def robot_of(context: FixContext) -> Mapping[str, Any]:
    """The robot behind the refused account, read afresh: among the project's where its name says so, else the system's."""
    account = _account(context)
    for row in _pages(context, "/robots"):
        if row.get("name") == account:
            return _whole(context, row)
    project = account.partition("+")[0].rpartition("$")[2] if "+" in account else ""
    if project:
        wanted = next(
            (row for row in _pages(context, f"/projects?name={quote(project, safe='')}") if row.get("name") == project),
            None,
        )
        if wanted is not None:
            for row in _pages(context, f"/robots?q=Level%3Dproject%2CProjectID%3D{wanted['project_id']}"):
                if row.get("name") == account:
                    return _whole(context, row)
    raise RefusedError(f"Harbor shows no robot {account} to this login", "Another login may see it, or it was deleted.")


def _whole(context: FixContext, row: Mapping[str, Any]) -> Mapping[str, Any]:
    robot = _api(context, f"/robots/{row['id']}") or row
    if robot.get("editable") is False:
        raise RefusedError(
            f"robot {robot['name']} is of the old kind, which cannot be edited", "Make a new one in its place."
        )
    return dict(robot)


def _robot_change(context: FixContext, robot: Mapping[str, Any], **fields: Any) -> Change:
    # PUT takes the whole object; what is left out (`disable` among it) falls back to its default.
    after = {**robot, **fields}
    path = f"/robots/{robot['id']}"
    said = ", ".join(f"{key} {robot.get(key)} → {value}" for key, value in fields.items() if key != "permissions")
    return _change(
        context, "PUT", path, after,
        title=f"robot {robot['name']}: {said or 'more rights'}",
        before={key: robot.get(key) for key in fields}, after=dict(fields),
        undo={"method": "PUT", "path": path, "body": dict(robot)}, undo_words="the robot's old settings are written back",
        fields=tuple(f"/{key}" for key in ("name", *fields)),
    )  # fmt: skip


def _plan_enable(context: FixContext) -> FixPlan:
    robot = robot_of(context)
    if not robot.get("disable"):
        return make_plan(context, targets=[_target(context)])
    checks = [
        Check("somebody switched it off", "warn", "ask why first: it may be deliberate, after a leak for instance")
    ]
    return make_plan(
        context, changes=[_robot_change(context, robot, disable=False)], checks=checks, confirm_name=str(robot["name"])
    )


def _plan_extend(context: FixContext) -> FixPlan:
    robot = robot_of(context)
    ends = robot.get("expires_at")
    wanted = context.text_input("days") or str(_GRACE)
    if not wanted.lstrip("-").isdigit() or int(wanted) == 0 or int(wanted) < -1:
        raise RefusedError(f"{wanted!r} is no number of days", "Give --input days=90, or -1 for no end.")
    if ends == -1 or (isinstance(ends, int) and ends > context.now and not context.text_input("days")):
        return make_plan(context, targets=[_target(context)])
    made = parse_time(robot.get("creation_time"))
    if made is None and wanted != "-1":
        raise RefusedError(
            "it is not known when the robot was made, and its life counts from then",
            "Use --input days=-1, or a new robot.",
        )
    # Harbor counts the duration from the day it was made, whatever day it is set.
    duration = -1 if wanted == "-1" else math.ceil((context.now - (made or 0.0)) / _DAY) + int(wanted)
    if duration == robot.get("duration"):
        return make_plan(context, targets=[_target(context)])
    checks = [Check("a life without an end needs a plan to rotate it", "warn")] if duration == -1 else []
    return make_plan(context, changes=[_robot_change(context, robot, duration=duration)], checks=checks)


def _plan_grant(context: FixContext) -> FixPlan:
    robot, project = robot_of(context), _project_name(context)
    action = (
        str(context.case.variables.get("project.action") or "").rpartition(":")[2]
        or context.case.incident.action
        or "pull"
    )
    actions = ["pull", "push"] if action == "push" else ["pull"]
    level_project = str(robot.get("level")) == "project"
    permissions = [dict(entry) for entry in robot.get("permissions") or ()]
    own = next(
        (entry for entry in permissions if entry.get("namespace") in (project, "*") and entry.get("kind") == "project"),
        None,
    )
    if own is None and level_project:
        raise RefusedError(
            f"{robot['name']} belongs to another project and can be given no right in {project}",
            "Use a robot of that project, or a system robot.",
        )
    access = list((own or {}).get("access") or ())
    have = {
        entry.get("action")
        for entry in access
        if entry.get("resource") == "repository" and entry.get("effect") != "deny"
    }
    lacking = [one for one in actions if one not in have]
    if not lacking:
        return make_plan(context, targets=[_target(context)])
    access += [{"resource": "repository", "action": one} for one in lacking]
    if own is None:
        permissions.append({"kind": "project", "namespace": project, "access": access})
    else:
        permissions = [{**entry, "access": access} if entry is own else entry for entry in permissions]
    return make_plan(
        context, changes=[_robot_change(context, robot, permissions=permissions)], confirm_name=str(robot["name"])
    )


def _plan_new_secret(context: FixContext) -> FixPlan:
    robot = robot_of(context)
    image, server = image_of(context), server_of(context)
    pods = pods_of(context)
    path = f"/robots/{robot['id']}"
    making = _change(
        context, "PATCH", path, {"secret": ""},
        title=f"robot {robot['name']}: a new secret, made by Harbor",
        before={"secret": "*** (before)"}, after={"secret": "*** (made by Harbor when it is applied)"},
        undo={"how": "none"}, undo_words="the old secret of the robot cannot be brought back", fields=("/name", "/id"),
        shown_body='{"secret":""}', yields={"robot-secret": "secret"},
    )  # fmt: skip
    changes: list[Change] = [making]
    checks: list[Check] = []
    for place in listed_places(context, pods):
        if place.item is None:
            continue
        content = content_of(place.item)
        entry = exact_login(content, image)
        if entry is None or entry.username.strip() != robot["name"]:
            continue
        shown = write_change(
            context,
            place,
            content,
            with_login(content, image, server, str(robot["name"]), "later").text,
            "the robot's new secret",
        )
        later = _later(content, image, server, str(robot["name"]))
        changes.append(_with_later(context, shown, later))
        checks += right_check(context, *secret_rights(place.namespace, "get", "patch", "create", "delete"))
    if len(changes) == 1:
        raise RefusedError(
            f"no pull secret of these pods has a login of {robot['name']}, so there is nowhere to write a new secret to",
            "Make the pull secret first (create-secret).",
        )
    checks.append(
        Check(
            "all other users of this robot are cut off until they have the new secret",
            "warn",
            "CI jobs and other clusters among them",
        )
    )
    return make_plan(context, changes=changes, checks=checks, confirm_name=str(robot["name"]),
                     risk="Everything else that uses this robot fails until it has the new secret; the old one cannot be brought back.")  # fmt: skip


def _later(content: Content, image: str, server: str, name: str) -> Later:
    return Later("robot-secret", lambda value: encoded(with_login(content, image, server, name, value).text))


def _with_later(context: FixContext, change: Change, later: Later) -> Change:
    payload = dict(change.payload)
    if "patch" in payload:
        payload["patch"] = [{**operation, "value": later} for operation in payload["patch"]]
    else:
        payload["body"] = {**payload["body"], "data": {**payload["body"]["data"], ".dockerconfigjson": later}}
    return Change(
        _target(context), change.kind, change.title,
        diff_of({"password": "*** (before)"}, {"password": "*** (made by Harbor when it is applied)"}, str(payload["object"])),
        change.command, payload, change.expects, change.undo,
    )  # fmt: skip


# --- projects -----------------------------------------------------------------------------------------------------


def _plan_member(context: FixContext) -> FixPlan:
    account, name = _account(context), _project_name(context)
    if "$" in account or account.startswith("robot"):
        raise RefusedError(f"{account} is a robot; robots are no members", "Give it the right instead (robot-grant).")
    action = context.case.incident.action or "pull"
    role, words = ROLES.get(action, ROLES["pull"])
    base = f"/projects/{quote(name, safe='')}/members"
    known = next(
        (
            row
            for row in _pages(context, f"{base}?entityname={quote(account, safe='')}")
            if row.get("entity_name") == account
        ),
        None,
    )
    if known is not None:
        had = int(known.get("role_id") or 5)
        if _STRENGTH.get(had, 0) >= _STRENGTH[role]:
            return make_plan(context, targets=[_target(context)])
        change = _change(
            context, "PUT", f"{base}/{known['id']}", {"role_id": role}, title=f"project {name}: {account} becomes {words}",
            before={"role_id": had}, after={"role_id": role}, undo={"method": "PUT", "path": f"{base}/{known['id']}", "body": {"role_id": had}},
            undo_words="the old role is written back", fields=("/role_id",), shown_body=f'{{"role_id":{role}}}',
        )  # fmt: skip
    else:
        change = _change(
            context, "POST", base, {"role_id": role, "member_user": {"username": account}}, title=f"project {name}: {account} becomes {words}",
            before=None, after={"member": account, "role": words},
            undo={"how": "find", "list": f"{base}?entityname={quote(account, safe='')}", "match": {"entity_name": account}, "method": "DELETE", "path": base + "/{id}"},
            undo_words="the account is taken out of the project", shown_body=f'{{"role_id":{role},"member_user":{{"username":"{account}"}}}}',
        )  # fmt: skip
    return make_plan(context, changes=[change])


def _plan_quota(context: FixContext) -> FixPlan:
    project = _project(context)
    rows = _api(context, f"/quotas?reference=project&reference_id={project['project_id']}") or []
    quota = next(
        (row for row in rows if (row.get("ref") or {}).get("id") == project["project_id"]), rows[0] if rows else None
    )
    if quota is None:
        raise RefusedError(f"Harbor shows no quota of project {project['name']} to this login")
    hard, used = int((quota.get("hard") or {}).get("storage") or -1), int((quota.get("used") or {}).get("storage") or 0)
    given = context.text_input("gib")
    if given and not given.replace(".", "", 1).isdigit():
        raise RefusedError(f"{given!r} is no size in GiB", "Give --input gib=100.")
    if hard == -1 or (not given and used < 0.9 * hard):
        return make_plan(context, targets=[_target(context)])
    wanted = round(float(given) * 2**30) if given else math.ceil(max(hard, used) * 1.5)
    if wanted <= hard:
        return make_plan(context, targets=[_target(context)])
    path = f"/quotas/{quota['id']}"
    change = _change(
        context, "PUT", path, {"hard": {"storage": wanted}}, title=f"project {project['name']}: storage limit",
        before={"storage": _gib(hard), "used": _gib(used)}, after={"storage": _gib(wanted), "used": _gib(used)},
        undo={"method": "PUT", "path": path, "body": {"hard": {"storage": hard}}}, undo_words="the old limit is written back",
        fields=("/hard/storage",), shown_body=f'{{"hard":{{"storage":{wanted}}}}}',
    )  # fmt: skip
    return make_plan(context, changes=[change])


def _gib(size: int) -> str:
    return f"{size} bytes ({size / 2**30:.2f} GiB)"


# --- endpoints ----------------------------------------------------------------------------------------------------


def _endpoint(context: FixContext) -> Mapping[str, Any]:
    wanted = context.text_input("endpoint")
    if wanted:
        found = next((row for row in _pages(context, "/registries") if row.get("name") == wanted), None)
        if found is None:
            raise RefusedError(f"Harbor shows no endpoint {wanted}")
        return dict(found)
    project = _project(context)
    ident = project.get("registry_id")
    if not ident:
        raise RefusedError(
            f"project {project['name']} is no proxy project, so it has no endpoint",
            "Name one with --input endpoint=NAME.",
        )
    found = _api(context, f"/registries/{ident}")
    if found is None:
        raise RefusedError(f"the endpoint of project {project['name']} is gone")
    return dict(found)


def _plan_endpoint_login(context: FixContext) -> FixPlan:
    return _endpoint_login(context, context.text_input("username"), context.secret_input("password"))


def _plan_quay_login(context: FixContext) -> FixPlan:
    """The Quay type takes a fixed user name, and user and password as JSON in the place of the password (H#22521)."""
    user, password = context.text_input("username"), context.secret_input("password")
    return _endpoint_login(context, "json_file", json.dumps({"account_name": user, "docker_cli_password": password}))


def _endpoint_login(context: FixContext, user: str, password: str) -> FixPlan:
    endpoint = _endpoint(context)
    path = f"/registries/{endpoint['id']}"
    had = str((endpoint.get("credential") or {}).get("access_key") or "")
    change = _change(
        context, "PUT", path, {"credential_type": "basic", "access_key": user, "access_secret": Hidden(password)},
        title=f"endpoint {endpoint['name']}: its login", before={"access_key": had, "access_secret": "*** (before)"},
        after={"access_key": user, "access_secret": "*** (after)"}, undo={"how": "none"},
        undo_words="none: Harbor never shows the old password", fields=("/url", "/credential/access_key"), read=path,
        shown_body='{"credential_type":"basic","access_key":"…","access_secret":"***"}',
    )  # fmt: skip
    return make_plan(context, changes=[change], confirm_name=str(endpoint["name"]))


def _plan_endpoint_url(context: FixContext) -> FixPlan:
    endpoint = _endpoint(context)
    now = str(endpoint.get("url") or "")
    parts = urlsplit(now if "://" in now else f"https://{now}")
    wanted = context.text_input("url") or f"https://{parts.netloc}"
    if urlsplit(wanted).scheme not in ("http", "https") or not urlsplit(wanted).netloc:
        raise RefusedError(f"{wanted!r} is no URL of a registry", "Give --input url=https://host.")
    if wanted == now:
        return make_plan(context, targets=[_target(context)])
    path = f"/registries/{endpoint['id']}"
    checks = (
        [Check("this endpoint is spoken to in plain HTTP then", "warn", "passwords cross the network in the clear")]
        if wanted.startswith("http:")
        else []
    )
    change = _change(
        context, "PUT", path, {"url": wanted}, title=f"endpoint {endpoint['name']}: its URL", before={"url": now}, after={"url": wanted},
        undo={"method": "PUT", "path": path, "body": {"url": now}}, undo_words="the old URL is written back", fields=("/url",),
        shown_body=f'{{"url":"{wanted}"}}',
    )  # fmt: skip
    return make_plan(context, changes=[change], checks=checks, confirm_name=str(endpoint["name"]))


# --- settings -----------------------------------------------------------------------------------------------------


def _setting(context: FixContext, name: str, value: Any, checks: tuple[Check, ...] = ()) -> FixPlan:
    settings = _api(context, "/configurations") or {}
    entry = settings.get(name)
    if not isinstance(entry, Mapping):
        raise RefusedError(f"Harbor does not show the setting {name} to this login", "It takes a system administrator.")
    if entry.get("editable") is False:
        raise RefusedError(
            f"the setting {name} is fixed by Harbor's environment",
            "Change it where Harbor is deployed (values, harbor.yml).",
        )
    had = entry.get("value")
    if had == value:
        return make_plan(context, targets=[_target(context)])
    change = _change(
        context, "PUT", "/configurations", {name: value}, title=f"setting {name}", before={name: had}, after={name: value},
        undo={"method": "PUT", "path": "/configurations", "body": {name: had}}, undo_words="the old value is written back",
        fields=(f"/{name}/value",), shown_body=f"{{{name}: {value!r}}}",
    )  # fmt: skip
    return make_plan(context, changes=[change], checks=checks, confirm_name=context.case.incident.registry or "harbor")


def _plan_read_only(context: FixContext) -> FixPlan:
    return _setting(
        context,
        "read_only",
        value=False,
        checks=(Check("somebody switched it on", "warn", "a clean-up or a migration may be going on"),),
    )


def _plan_prefix(context: FixContext) -> FixPlan:
    prefix = context.text_input("prefix")
    if not prefix:
        account = _account(context)
        prefix = account[: account.index("$") + 1] if "$" in account else ""
    if not prefix:
        raise RefusedError("it is not known which prefix the robots had", "Give it with --input 'prefix=robot$'.")
    return _setting(
        context, "robot_name_prefix", prefix, (Check("it changes the names of all robots at once", "warn"),)
    )


def _need_endpoint_login(context: FixContext) -> tuple[Need, ...]:
    asked = (Need("username", "User name at the upstream"), Need("password", "Its password there", secret=True))
    return tuple(need for need in asked if not context.inputs.get(need.key))


FIXES: Final = (
    Fix("robot-enable", _plan_enable),
    Fix("robot-extend", _plan_extend),
    Fix("robot-new-secret", _plan_new_secret),
    Fix("robot-grant", _plan_grant),
    Fix("project-add-member", _plan_member),
    Fix("endpoint-credential", _plan_endpoint_login, _need_endpoint_login),
    Fix("quay-json-credential", _plan_quay_login, _need_endpoint_login),
    Fix("endpoint-url", _plan_endpoint_url),
    Fix("read-only-off", _plan_read_only),
    Fix("raise-quota", _plan_quota),
    Fix("restore-robot-prefix", _plan_prefix),
)

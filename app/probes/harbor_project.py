"""Harbor's API about the failing image's project and the upstream endpoint behind it.

Fields: harbor-and-kubernetes.md sections D.2 and H, observed-harbor.md section 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from app.model.evidence import ENDLESS, Evidence, Outcome, Value
from app.model.material import Material
from app.parsers.harbor_config import at
from app.parsers.split_url import urlsplit
from app.probes.base import Scene
from app.probes.harbor_common import PUBLIC_REGISTRIES, Answer, HarborSide, denied, time_of, unreadable

ADMIN_LISTS: Final = ("configurations", "robots", "quotas", "registries")
"""Answers that only a system admin gets: beside them the list of projects is the whole list."""


def the_project(side: HarborSide) -> dict[str, Any] | None:
    """The project of the failing image; the only one where one object was handed over and no image is known."""
    rows, _ = side.rows(("projects", "project"), r"projects(?:/[^/]+)?")
    if side.project:
        return next((row for row in rows if row.get("name") == side.project), None)
    single = side.material.text("harbor/project.json") is not None
    return rows[0] if single and len(rows) == 1 and side.image is None else None


def _endpoints(side: HarborSide) -> tuple[list[dict[str, Any]], list[Answer]]:
    return side.rows(("registries", "registry"), r"registries(?:/\d+)?")


def the_endpoint(side: HarborSide) -> dict[str, Any] | None:
    """The upstream endpoint of the failing image's project; the only endpoint where no image is known."""
    rows, _ = _endpoints(side)
    project = the_project(side)
    if project is not None:
        number = project.get("registry_id")
        return next((row for row in rows if number and row.get("id") == number), None)
    return rows[0] if len(rows) == 1 and side.image is None else None


def read_project(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`project.api`: does it exist, whose upstream, who may what, policies, quota."""
    side = HarborSide(material, scene)
    facts: dict[str, Value] = {}
    rows, answers = side.rows(("projects", "project"), r"projects(?:/[^/]+)?")
    project = the_project(side)
    detail = ""
    if project is not None:
        facts["project.exists"] = True
        detail = _project_facts(side, project, facts)
    elif side.project and _whole_list(side, rows, answers):
        facts["project.exists"] = False
    for answer in side.asked("projects", method="HEAD"):
        if f"project_name={side.project}" in answer.query.split("&") and side.project and answer.status in (200, 404):
            facts["project.exists"] = answer.status == 200
    _quota(side, facts)
    _role(side, project, facts)
    _immutable(side, facts)
    if facts:
        listed = ", ".join(str(row.get("name")) for row in rows[:20])
        seen = f"projects seen: {listed}" if listed else ""
        yield side.evidence("project.api", facts, excerpt=seen, detail=detail, answers=answers)
    else:
        yield from unreadable(side, "project.api", "projects", "project", "quotas")
        yield from denied(
            side, "project.api", r"projects(?:/[^/]+)?", "whether the project exists and who may use it stays unknown",
            "curl -s -u <user> 'https://<host>/api/v2.0/projects?name=<project>'",
        )  # fmt: skip


def _project_facts(side: HarborSide, project: Mapping[str, Any], facts: dict[str, Value]) -> str:
    metadata = project.get("metadata")
    detail = ""
    if isinstance(metadata, Mapping):
        if "public" in metadata:
            facts["project.public"] = str(metadata["public"]).lower() == "true"
        policies = {"prevent_vul": "vul", "enable_content_trust_cosign": "cosign", "enable_content_trust": "notary"}
        facts["project.policy"] = tuple(
            tag for key, tag in policies.items() if str(metadata.get(key, "")).lower() == "true"
        )
    if project.get("registry_id"):
        facts["project.proxy_of"], detail = _proxy_of(side, project)
    elif "project_id" in project or "registry_id" in project:
        facts["project.proxy_of"] = ""
    made = time_of(project.get("creation_time"))
    if made is not None and side.failure is not None:
        facts["project.new"] = side.failure[0] - _token_lifetime(side) <= made <= side.failure[1] + 60
    return detail


def _token_lifetime(side: HarborSide) -> float:
    for answer in [*side.documents("configurations"), *side.asked("configurations")]:
        minutes = at(answer.value, "token_expiration", "value")
        if isinstance(minutes, (int, float)) and minutes > 0:
            return minutes * 60.0
    return 1800.0


_PROVIDERS: Final = {"docker-hub": "docker-hub", "quay": "quay", "github-ghcr": "ghcr", "harbor": "harbor"}


def _proxy_of(side: HarborSide, project: Mapping[str, Any]) -> tuple[str, str]:
    """Upstream of a proxy project, and how it is known."""
    endpoint = the_endpoint(side)
    if endpoint is None:
        for answer in [*side.documents("summary"), *side.asked(r"projects/[^/]+/summary")]:
            if isinstance(answer.value, dict) and isinstance(answer.value.get("registry"), dict):
                endpoint = answer.value["registry"]
    if endpoint is not None:
        kind = _PROVIDERS.get(str(endpoint.get("type")))
        host = urlsplit(str(endpoint.get("url") or "")).hostname or ""
        by_host = {"quay.io": "quay", "ghcr.io": "ghcr"}.get(host)
        return kind or by_host or "other", ""
    name = str(project.get("name") or "").lower()
    for words, kind in ((r"docker\.?-?hub|docker\.io|docker-?io", "docker-hub"), (r"quay", "quay"), (r"ghcr", "ghcr")):
        if re.search(words, name):
            return kind, "the upstream is read from the project's name; its endpoint was not read"
    return "other", "the endpoint behind the project was not read"


def _whole_list(side: HarborSide, rows: list[dict[str, Any]], answers: list[Any]) -> bool:
    """A list of all projects: seen by an admin, and not cut at a page."""
    if not rows or any(one.query for one in answers) or not any(isinstance(one.value, list) for one in answers):
        return False
    admin = [
        *side.documents(*ADMIN_LISTS),
        *(one for name in ADMIN_LISTS for one in side.asked(name) if one.status == 200),
    ]
    names = {row.get("name") for row in rows}
    quotas, _ = side.rows(("quotas",), "quotas")
    owned = {at(row, "ref", "name") for row in quotas} - {None}
    return bool(admin) and len(rows) % 10 != 0 and owned <= names


def _quota(side: HarborSide, facts: dict[str, Value]) -> None:
    rows, _ = side.rows(("quotas", "quota"), r"quotas(?:/\d+)?")
    for answer in [*side.documents("summary"), *side.asked(rf"projects/{re.escape(side.project)}/summary")]:
        quota = answer.value.get("quota") if isinstance(answer.value, dict) else None
        if isinstance(quota, dict):
            rows.append({"ref": {"name": side.project}, **quota})
    mine = [row for row in rows if side.project and at(row, "ref", "name") == side.project]
    if mine:
        facts["project.exists"] = True  # every project has its quota; a core with another database may not list it
    if not mine and len(rows) == 1 and at(rows[0], "ref", "name") is None:
        mine = rows
    if not mine:
        return
    hard, used = at(mine[0], "hard", "storage"), at(mine[0], "used", "storage")
    if isinstance(hard, (int, float)) and isinstance(used, (int, float)):
        facts["project.quota_left"] = ENDLESS if hard < 0 else float(hard - used)


_ROLES: Final = {1: "projectAdmin", 2: "developer", 3: "guest", 4: "maintainer", 5: "limitedGuest"}
_PUSHING: Final = frozenset({"projectAdmin", "developer", "maintainer"})


def _role(side: HarborSide, project: Mapping[str, Any] | None, facts: dict[str, Value]) -> None:
    """The account's role by the list of members; groups may give one that we cannot see."""
    name = re.escape(side.project)
    rows, answers = side.rows(("members", "project-members"), rf"projects/{name}/members")
    if not answers or not side.account or side.account.startswith("robot$"):
        return
    mine = [row for row in rows if row.get("entity_name") == side.account and row.get("entity_type", "u") == "u"]
    if mine:
        role = _ROLES.get(mine[0].get("role_id") or 0, str(mine[0].get("role_name") or ""))
        facts["project.role"] = role
        if side.action in ("pull", "push"):
            facts["project.role_allows"] = side.action == "pull" or role in _PUSHING
        return
    if any(row.get("entity_type") == "g" for row in rows) or len(rows) % 10 == 0:
        return
    public = project is not None and str(at(project, "metadata", "public")).lower() == "true"
    facts["project.role"] = ""
    if side.action == "push" or (side.action == "pull" and project is not None and not public):
        facts["project.role_allows"] = False


def _immutable(side: HarborSide, facts: dict[str, Value]) -> None:
    """Whether a rule of immutability fits the tag. Selectors are doublestar patterns."""
    rows, answers = side.rows(
        ("immutabletagrules", "immutable-tag-rules"), rf"projects/{re.escape(side.project)}/immutabletagrules"
    )
    image = side.image
    if not answers or image is None or not image.tag:
        return
    facts["project.immutable_match"] = any(
        not row.get("disabled")
        and _selected(at(row, "scope_selectors", "repository"), image.below)
        and _selected(row.get("tag_selectors"), image.tag)
        for row in rows
    )


def _selected(selectors: Any, name: str) -> bool:
    fits = True
    for selector in selectors if isinstance(selectors, list) else []:
        if not isinstance(selector, dict):
            continue
        matched = _doublestar(str(selector.get("pattern") or "**"), name)
        excludes = "exclude" in str(selector.get("decoration") or "").lower()
        fits = fits and (matched is not excludes)
    return fits


def _doublestar(pattern: str, name: str) -> bool:
    """`**`, `*`, `?` and `{a,b}` of the matcher that Harbor uses."""
    expression = ""
    depth = 0
    at_character = 0
    while at_character < len(pattern):
        character = pattern[at_character]
        if pattern.startswith("**", at_character):
            expression += ".*"
            at_character += 1
        elif character == "*":
            expression += "[^/]*"
        elif character == "?":
            expression += "[^/]"
        elif character == "{":
            expression += "(?:"
            depth += 1
        elif character == "}" and depth:
            expression += ")"
            depth -= 1
        elif character == "," and depth:
            expression += "|"
        else:
            expression += re.escape(character)
        at_character += 1
    try:
        return re.fullmatch(expression, name) is not None
    except re.error:
        return False


def read_endpoint(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`endpoint.api`: the endpoint behind the proxy project (harbor-and-kubernetes.md D.2)."""
    side = HarborSide(material, scene)
    _, answers = _endpoints(side)
    endpoint = the_endpoint(side)
    if endpoint is None:
        yield from unreadable(side, "endpoint.api", "registries", "registry")
        yield from denied(
            side, "endpoint.api", r"registries(?:/\d+)?", "type, URL, login and state of the upstream endpoint stay unknown",
            "curl -s -u <admin> https://<host>/api/v2.0/registries",
        )  # fmt: skip
        return
    facts: dict[str, Value] = {}
    kind, url = str(endpoint.get("type") or ""), str(endpoint.get("url") or "")
    if kind:
        facts["endpoint.type"] = kind
    if url:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host = (parts.hostname or "").lower()
        facts["endpoint.url"] = url
        if parts.scheme in ("http", "https"):
            facts["endpoint.scheme"] = parts.scheme
        facts["endpoint.upstream_public"] = host in PUBLIC_REGISTRIES
        facts["endpoint.url_odd"] = _odd(kind, host, parts.path)
    if endpoint.get("status") in ("healthy", "unhealthy"):
        facts["endpoint.status"] = endpoint["status"]
    if isinstance(endpoint.get("credential"), dict):
        facts["endpoint.has_login"] = bool(endpoint["credential"].get("access_key"))
    elif "credential" in endpoint or {"id", "type"} <= set(endpoint):
        facts["endpoint.has_login"] = False
    for answer in side.asked("registries/ping", method="POST"):
        if answer.status in (200, 400, 500):
            facts["endpoint.ping"] = "ok" if answer.status == 200 else "unhealthy"
    if facts:
        seen = f"{endpoint.get('name') or ''}: type {kind}, {url}, {endpoint.get('status')}"
        yield side.evidence("endpoint.api", facts, excerpt=seen, answers=answers)
    else:
        yield side.evidence(
            "endpoint.api", {}, outcome=Outcome.UNPARSABLE, detail="the endpoint has none of its fields"
        )


def _odd(kind: str, host: str, path: str) -> bool:
    """A path, a UI host, or not the hub's own URL for type docker-hub."""
    if kind == "docker-hub":
        return host != "hub.docker.com"
    return path.strip("/") != "" or host in ("hub.docker.com", "app.docker.com", "github.com")

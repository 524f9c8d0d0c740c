"""Harbor's API about the failing image itself (`artifact.api`) and about the robot that asks for it (`robot.api`).

Fields: harbor-and-kubernetes.md sections C.2 and H, observed-harbor.md section 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from app.model.evidence import ENDLESS, Evidence, Value
from app.model.material import Material
from app.probes.base import Scene
from app.probes.core_logs_read import REFUSALS, read_core_log
from app.probes.harbor_common import HarborSide, denied, time_of, unreadable


def read_artifact(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`artifact.api`: is the repository there, the tag or digest, was it deleted, is it signed, is the index stored."""
    side = HarborSide(material, scene)
    image = side.image
    if image is None or side.mirrored or not image.project:
        return
    facts: dict[str, Value] = {}
    wanted = image.digest or image.tag or "latest"
    repositories, answers = side.rows(
        ("repositories", "repository"), rf"projects/{re.escape(image.project)}/repositories"
    )
    if any(row.get("name") == image.repository for row in repositories):
        facts["artifact.repo_exists"] = True
    elif (
        answers
        and len(repositories) % 10 != 0
        and all(str(row.get("name", "")).startswith(image.project + "/") for row in repositories)
    ):
        facts["artifact.repo_exists"] = False
    below = re.escape(image.below.replace("/", "%252F"))
    path = rf"projects/{re.escape(image.project)}/repositories/{below}/artifacts"
    artifacts, listed = side.rows(("artifacts", "artifact"), path)
    found = [row for row in artifacts if row.get("digest") == wanted or wanted in _tags(row)]
    if (
        listed
        and not found
        and artifacts
        and len(artifacts) % 10 != 0
        and all(_is_of(row, image.below) for row in artifacts)
    ):
        facts["artifact.exists"] = False
    for answer in side.asked(rf"{path}/[^/]+"):
        if answer.url_path.rsplit("/", 1)[-1] != wanted:
            continue
        if answer.status == 200 and isinstance(answer.value, dict):
            found.append(answer.value)
        elif answer.status == 404:
            facts["artifact.exists"] = False
            message = str(answer.value)
            if re.search(r"repository \S+ not found", message):
                facts["artifact.repo_exists"] = False
            elif re.search(r"artifact \S+ not found", message):
                facts.setdefault("artifact.repo_exists", True)
    if found:
        facts.update({"artifact.exists": True, "artifact.repo_exists": True})
        _artifact_facts(found[0], facts)
    _audited(side, image.repository, wanted, facts)
    if facts:
        yield side.evidence("artifact.api", facts, excerpt=f"{image.repository}:{wanted}", answers=listed)
    else:
        yield from denied(
            side, "artifact.api", rf"{path}(?:/[^/]+)?", "whether the tag exists stays unknown",
            "curl -s -u <user> https://<host>/api/v2.0/projects/<project>/repositories/<repository>/artifacts",
        )  # fmt: skip


def _tags(artifact: Mapping[str, Any]) -> set[str]:
    tags = artifact.get("tags")
    return {str(tag.get("name")) for tag in tags if isinstance(tag, dict)} if isinstance(tags, list) else set()


def _is_of(artifact: Mapping[str, Any], repository: str) -> bool:
    name = str(artifact.get("repository_name") or "")
    return name in ("", repository) or name.endswith("/" + repository)


def _artifact_facts(artifact: Mapping[str, Any], facts: dict[str, Value]) -> None:
    accessories = artifact.get("accessories")
    if "accessories" in artifact:
        kinds = (
            [str(row.get("type") or "") for row in accessories if isinstance(row, dict)]
            if isinstance(accessories, list)
            else []
        )
        facts["artifact.signed"] = any("signature" in kind for kind in kinds)
    media = str(artifact.get("manifest_media_type") or "")
    if media:
        facts["artifact.index_stored"] = "index" in media or "manifest.list" in media


def _audited(side: HarborSide, repository: str, reference: str, facts: dict[str, Value]) -> None:
    """The latest word of the audit log on this artifact. An empty log may mean no right (observed-harbor.md 8)."""
    rows, _ = side.rows(
        ("audit-logs", "auditlog-exts", "logs"), r"(?:audit-logs|auditlog-exts|projects/[^/]+/(?:logs|auditlog-exts))"
    )
    names = {f"{repository}:{reference}", f"{repository}@{reference}", repository}
    mine = [
        row
        for row in rows
        if str(row.get("resource")) in names and row.get("operation") in ("create", "delete", "pull")
    ]
    if not mine:
        return
    last = max(mine, key=lambda row: (time_of(row.get("op_time")) or 0.0, row.get("id") or 0))
    facts["artifact.deleted"] = last.get("operation") == "delete"
    if last.get("operation") != "delete":
        facts.setdefault("artifact.repo_exists", True)


# --- robots -------------------------------------------------------------------------------------------------------


def read_robot(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`robot.api`: the account among the robots (harbor-and-kubernetes.md C.2)."""
    side = HarborSide(material, scene)
    rows, answers = side.rows(("robots", "robot"), r"robots(?:/\d+)?")
    rows = [row for row in rows if row.get("name")]
    if not answers:
        yield from unreadable(side, "robot.api", "robots", "robot")
        return
    if not rows and not any(answer.status == 200 for answer in answers):
        yield from denied(
            side, "robot.api", r"robots(?:/\d+)?", "whether the robot exists, is disabled or expired stays unknown",
            "curl -s -u <admin> 'https://<host>/api/v2.0/robots?page_size=100'",
        )  # fmt: skip
        return
    account = side.account or _refused_account(side)
    if not account and len(rows) == 1 and side.scene.vantage == "bundle":
        account = str(rows[0]["name"])  # the one that somebody put into the bundle
    if not account:
        return
    robot = next((row for row in rows if row["name"] == account), None)
    if robot is None:
        if _robots_complete(rows, account):
            yield side.evidence("robot.api", {"robot.exists": False}, excerpt=_names(rows), answers=answers)
        return
    facts: dict[str, Value] = {"robot.exists": True}
    disabled = robot.get("disable", robot.get("disabled"))
    if isinstance(disabled, bool):
        facts["robot.disabled"] = disabled
    expires = robot.get("expires_at")
    if isinstance(expires, (int, float)) and not isinstance(expires, bool):
        facts["robot.expires"] = ENDLESS if expires < 0 else float(expires)
    allows = _allows(side, robot)
    if allows is not None:
        facts["robot.allows"] = allows
    updated = time_of(robot.get("update_time"))
    if updated is not None:
        facts["robot.updated"] = updated
    seen = f"{account}: disable {disabled}, expires_at {expires}"
    yield side.evidence("robot.api", facts, excerpt=seen, answers=answers)


def _refused_account(side: HarborSide) -> str:
    """The only account that core's log names as refused, empty where there are none or several."""
    log = read_core_log(side)
    names = {said.name for said in log.said if said.tag in REFUSALS and said.name} if log is not None else set()
    return names.pop() if len(names) == 1 else ""


def project_of_robot(account: str) -> str:
    """`team` of `robot$team+ci`; empty for a system robot or a user."""
    return account.partition("$")[2].partition("+")[0] if "+" in account else ""


def _names(rows: list[dict[str, Any]]) -> str:
    return "robots seen: " + ", ".join(str(row["name"]) for row in rows[:20])


def _robots_complete(rows: list[dict[str, Any]], account: str) -> bool:
    """The list covers where this name would be: system robots, or the robots of its project."""
    if not rows or len(rows) % 10 == 0:
        return False
    project = project_of_robot(account)
    if project:
        return any(row.get("level") == "project" and f"{project}+" in str(row["name"]) for row in rows)
    return any(row.get("level") == "system" for row in rows)


def _allows(side: HarborSide, robot: Mapping[str, Any]) -> tuple[str, ...] | None:
    """`project:action` of its rights on repositories. `*` covers every project; a project robot that pushes may pull."""
    permissions = robot.get("permissions")
    if not isinstance(permissions, list) or not permissions:
        return None
    allowed: list[str] = []
    for permission in permissions:
        if not isinstance(permission, dict) or permission.get("kind") != "project":
            continue
        namespace = str(permission.get("namespace") or "")
        actions = {
            str(access.get("action"))
            for access in permission.get("access") or []
            if isinstance(access, dict) and access.get("resource") == "repository" and access.get("effect") != "deny"
        } & {"pull", "push", "delete", "*"}
        if "*" in actions:
            actions = {"pull", "push"}
        if "push" in actions and robot.get("level") == "project":
            actions.add("pull")
        names = [namespace, side.project] if namespace == "*" and side.project else [namespace]
        allowed.extend(f"{name}:{action}" for name in names for action in sorted(actions))
    return tuple(dict.fromkeys(allowed))

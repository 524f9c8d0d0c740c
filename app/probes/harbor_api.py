"""Harbor's API about itself: version, URL, mode, health, free space, prefix of robots, number of instances.

Fields: harbor-and-kubernetes.md section H, observed-harbor.md section 8. A bad login silently gets the anonymous view,
and an empty object (`storage: [{}]`) is unknown, not zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.model.evidence import Evidence, Value
from app.model.material import Material
from app.parsers.harbor_config import free_of_df
from app.probes.base import Scene
from app.probes.core_roster import core_version
from app.probes.harbor_common import HarborSide, denied, unreadable
from app.probes.harbor_place import instances


def read_harbor(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`harbor.api`: version, URL, mode, health, free space, prefix of robots, number of instances."""
    side = HarborSide(material, scene)
    facts: dict[str, Value] = {}
    partial: set[str] = set()
    taken: list[float] = []
    excerpt: list[str] = []
    for answer in [*side.documents("systeminfo"), *side.asked("systeminfo")]:
        info = answer.value
        if not isinstance(info, dict) or answer.status != 200:
            continue
        if answer.taken_at:
            taken.append(answer.taken_at)
        for key, fact in (
            ("harbor_version", "harbor.version"),
            ("external_url", "harbor.external_url"),
            ("auth_mode", "harbor.auth_mode"),
        ):
            if isinstance(info.get(key), str) and info[key]:
                facts[fact] = info[key].removeprefix("v") if key == "harbor_version" else info[key]
                excerpt.append(f"{key}: {info[key]}")
        if isinstance(info.get("read_only"), bool):
            facts["harbor.read_only"] = info["read_only"]
            excerpt.append(f"read_only: {info['read_only']}")
    if "harbor.version" not in facts and (version := core_version(material)):
        facts["harbor.version"] = version
        excerpt.append(f"tag of core's image: {version}")
    if "harbor.external_url" not in facts and side.external_url:
        facts["harbor.external_url"] = side.external_url
    for answer in [*side.documents("configurations", "configuration"), *side.asked("configurations")]:
        if answer.status == 200 and isinstance(answer.value, dict):
            _configuration(answer.value, facts, excerpt)
    _health(side, facts, partial, excerpt)
    _volume(side, facts)
    count = instances(material, scene)
    if count is not None:
        facts["harbor.instances"] = count
    if facts:
        yield side.evidence(
            "harbor.api",
            facts,
            partial=frozenset(partial),
            excerpt="\n".join(excerpt),
            taken_at=min(taken, default=None),
        )
    else:
        yield from unreadable(side, "harbor.api", "systeminfo", "health", "configurations")
        yield from denied(
            side, "harbor.api", "systeminfo|health|configurations", "version, settings and health stay unknown",
            "curl -s https://<host>/api/v2.0/health; curl -s -u <admin> https://<host>/api/v2.0/configurations",
        )  # fmt: skip


def _configuration(values: Mapping[str, Any], facts: dict[str, Value], excerpt: list[str]) -> None:
    for key, fact, kind in (
        ("robot_name_prefix", "harbor.robot_prefix", str),
        ("read_only", "harbor.read_only", bool),
        ("auth_mode", "harbor.auth_mode", str),
    ):
        item = values.get(key)
        value = item.get("value") if isinstance(item, Mapping) else item
        if isinstance(value, kind):
            facts.setdefault(fact, value)
            excerpt.append(f"{key}: {value}")


def _health(side: HarborSide, facts: dict[str, Value], partial: set[str], excerpt: list[str]) -> None:
    down: list[str] = []
    known = unsure = False
    for answer in [*side.documents("health"), *side.asked("health")]:
        components = answer.value.get("components") if isinstance(answer.value, dict) else None
        if not isinstance(components, list):
            continue
        for part in components:
            if not isinstance(part, dict) or not part.get("name"):
                continue
            known = True
            error = str(part.get("error") or "")
            if part.get("status") == "healthy":
                continue
            if "unknown" in error.lower() or part.get("status") not in ("unhealthy",):
                unsure = True  # in the first ten seconds of a core pod
                continue
            if part["name"] not in down:
                down.append(str(part["name"]))
            excerpt.append(f"{part['name']}: {part.get('status')} {error}")
    if known:
        facts["harbor.component_down"] = tuple(down)
        if unsure:
            partial.add("harbor.component_down")


def _volume(side: HarborSide, facts: dict[str, Value]) -> None:
    for answer in [*side.documents("volumes", "systeminfo-volumes"), *side.asked("systeminfo/volumes")]:
        storage = answer.value.get("storage") if isinstance(answer.value, dict) else None
        first = storage[0] if isinstance(storage, list) and storage else None
        if isinstance(first, dict) and isinstance(first.get("free"), (int, float)) and first.get("total"):
            facts["harbor.volume_free"] = float(first["free"])
    for path in ("harbor/df.txt", "registry/df.txt"):
        free = free_of_df(side.material.text(path) or "")
        if free is not None:
            facts["harbor.volume_free"] = free

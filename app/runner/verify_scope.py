"""What one target of a plan may be verified by: its own pods and its own part of a finding, not those that are changed later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.model.case import Incident
from app.model.fix import FixPlan
from app.model.material import Material
from app.model.standing import Standing
from app.model.target import Target
from app.parsers.kube_objects import objects_of


def node_of(pod: Mapping[str, Any]) -> str:
    """The node a pod was placed on; empty where it has none yet."""
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _elsewhere(pod: str, node: str, material: Material) -> bool:
    """Known to be placed on another node. A pod of which nothing is known may be on this one."""
    namespace, _, name = pod.partition("/")
    placed = node_of(objects_of(material).get("Pod", namespace, name) or {})
    return placed not in ("", node)


def _named(plan: FixPlan, target: Target) -> tuple[str, ...]:
    changes = [change for change in plan.changes if change.target == target]
    return tuple(dict.fromkeys(pod for change in changes for pod in change.payload.get("pods") or ()))


def pods_at(plan: FixPlan, target: Target, incident: Incident, material: Material) -> tuple[tuple[str, ...], bool]:
    """(pods that wait for the changes at a target, whether only pods made after them take them over).

    Those that the changes name; of a change on a node those placed there; of one that is for the whole registry all.
    """
    pods = _named(plan, target)
    node = target.get("node") or ""
    if not pods:
        pods = tuple(pod for pod in incident.pods if not node or not _elsewhere(pod, node, material))
    return pods, any(change.payload.get("new_pods") for change in plan.changes if change.target == target)


def accused_at(plan: FixPlan, target: Target, standing: Standing, material: Material) -> tuple[Target, ...]:
    """The targets of a finding that the change at one target of the plan is for."""
    part = target.only("node", "secret")
    node, named = target.get("node") or "", _named(plan, target)

    def meant(one: Target) -> bool:
        workload = one.get("workload")
        if not one.agrees(part):
            return False
        if workload is None:
            return True
        return workload in named if named else not node or not _elsewhere(workload, node, material)

    # A target that the operator chose need not be among those that the finding accused.
    return tuple(one for one in standing.targets if meant(one)) or ((part,) if part.parts else standing.targets)


def only_at(incident: Incident, node: str, material: Material) -> Incident | None:
    """The incident as far as it is about this node; None where something fails, and nothing of it there (any more)."""
    if not incident.nodes:
        return replace(incident, nodes=(node,))
    if node not in incident.nodes:
        return None
    pods = tuple(pod for pod in incident.pods if not _elsewhere(pod, node, material))
    return replace(incident, nodes=(node,), pods=pods)

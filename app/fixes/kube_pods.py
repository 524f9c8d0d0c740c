"""Pods made anew: a workload rolled once, or one pod that its controller makes again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from app.errors import RefusedError
from app.fixes.base import Fix, FixContext, Right, digest_value
from app.fixes.plans import (
    Maker,
    Pod,
    controller_of,
    make_plan,
    maker_of,
    pod_ids,
    pod_path,
    pods_of,
    right_check,
    waiting_reason,
)
from app.fixes.shown import diff_of
from app.model.fix import Change, Check, FixPlan
from app.model.target import Target

RESTARTED: Final = "kubectl.kubernetes.io/restartedAt"
_ROLLS: Final = ("Deployment", "StatefulSet", "DaemonSet")


def restart_change(
    context: FixContext, maker: Maker, pods: Iterable[str], *, cluster: str = "workload", await_rollout: bool = False
) -> Change:
    """What `kubectl rollout restart` does: an annotation of the pod template. There is no way back."""
    # Of a restart of Harbor the waiting pods take over nothing: their next try meets the new cores.
    named = tuple(pods)
    stamp = datetime.fromtimestamp(context.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: stamp}}}}}
    name = f"{maker.kind} {maker.id}"
    return Change(
        maker.target,
        "kube-restart",
        f"restart {name}",
        diff_of(
            {"annotations": _restarted(maker)},
            {"annotations": {RESTARTED: "<the moment of the change>"}},
            f"{name}, pod template",
        ),
        f"kubectl rollout restart {maker.kind.lower()} {maker.name} -n {maker.namespace}",
        {"path": maker.path, "patch": body, "content_type": "application/merge-patch+json", "cluster": cluster,
         "pods": named, "object": name, "await_rollout": await_rollout, "new_pods": bool(named)},
        {"/metadata/uid": digest_value((maker.item.get("metadata") or {}).get("uid"))},
        "a restart has no undo",
    )  # fmt: skip


def _restarted(maker: Maker) -> Mapping[str, Any]:
    template = (maker.item.get("spec") or {}).get("template") or {}
    known = ((template.get("metadata") or {}).get("annotations") or {}).get(RESTARTED)
    return {RESTARTED: known} if known else {}


def _plan_restart(context: FixContext) -> FixPlan:
    found: dict[str, tuple[Maker, list[str]]] = {}
    bare: list[Pod] = []
    jobs: list[str] = []
    for pod in pods_of(context):
        maker = maker_of(context, pod)
        if maker is None:
            bare.append(pod)
        elif maker.kind not in _ROLLS:
            jobs.append(f"{maker.kind} {maker.id}")
        elif waiting_reason(pod.item or {}):
            # A pod that started needs no other: planned again after it worked, there is nothing to do.
            found.setdefault(maker.path, (maker, []))[1].append(pod.id)
    changes = [restart_change(context, maker, pods) for maker, pods in found.values()]
    checks = [
        check
        for maker, _ in found.values()
        for check in right_check(context, Right("patch", maker.plural, maker.namespace, maker.group))
    ]
    if bare:
        checks.append(
            Check(f"{len(bare)} pods have nothing that makes them anew", "warn", ", ".join(p.id for p in bare[:5]))
        )
    if jobs:
        checks.append(Check("jobs cannot be restarted", "warn", ", ".join(sorted(set(jobs))[:5])))
    if not changes and (bare or jobs):
        raise RefusedError(
            "nothing that makes these pods can be restarted", "Delete the pods and make them again from their manifest."
        )
    return make_plan(context, changes=changes, checks=checks)


def delete_pod_changes(context: FixContext, pods: Iterable[Pod]) -> tuple[list[Change], list[Pod]]:
    """(a deletion for each pod that a controller makes again, the pods that nothing would make again)."""
    changes, bare = [], []
    for pod in pods:
        reference = controller_of(pod.item or {})
        if reference is None or str(reference.get("kind")) == "Node":
            bare.append(pod)
            continue
        metadata = (pod.item or {}).get("metadata") or {}
        changes.append(
            Change(
                Target.of(workload=pod.id),
                "kube-delete",
                f"delete pod {pod.id}; {reference.get('kind')} {reference.get('name')} makes it again",
                diff_of({"pod": pod.id, "waits": waiting_reason(pod.item or {})}, None, f"pod {pod.id}"),
                f"kubectl delete pod {pod.name} -n {pod.namespace}",
                {
                    "path": pod_path(pod.namespace, pod.name),
                    "undo": "none",
                    "pods": (pod.id,),
                    "new_pods": True,
                    "object": f"pod {pod.id}",
                },
                {"/metadata/uid": digest_value(metadata.get("uid"))},
                "none: the controller has made another pod",
            )
        )
    return changes, bare


def _plan_delete(context: FixContext) -> FixPlan:
    pods = [
        Pod(space, name, item)
        for space, _, name in (one.partition("/") for one in pod_ids(context))
        if name and (item := context.get(pod_path(space, name))) is not None and waiting_reason(item)
    ]
    changes, bare = delete_pod_changes(context, pods)
    if bare and not changes:
        raise RefusedError(
            f"{', '.join(pod.id for pod in bare[:5])} would not come back: nothing makes it again",
            "The kubelet tries again by itself, within five minutes at most.",
        )
    spaces = sorted({pod.namespace for pod in pods})
    checks = list(right_check(context, *(Right("delete", "pods", space) for space in spaces))) if changes else []
    if bare:
        checks.append(Check("pods without an owner are left alone", "ok", ", ".join(pod.id for pod in bare[:5])))
    return make_plan(context, changes=changes, checks=checks)


FIXES: Final = (Fix("restart-workload", _plan_restart), Fix("delete-pod", _plan_delete))

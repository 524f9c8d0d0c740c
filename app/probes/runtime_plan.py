"""`plan.pull`: the pull plan for the incident's image on each node, and which single repair would help."""

from __future__ import annotations

from collections.abc import Iterable

from app.model.evidence import Evidence, Value
from app.model.material import Material
from app.model.target import Target
from app.probes.base import Scene
from app.probes.runtime_config import nodes_of, whose
from app.probes.runtime_inputs import plan_inputs
from app.pullplan.cured import cured_by
from app.pullplan.plan import PullPlan, plan_pull

FACTS = ("plan.cured_by", "plan.credential")


def read(material: Material, scene: Scene) -> Iterable[Evidence]:
    """One piece of evidence for each node whose settings are known."""
    image = scene.incident.image
    if not image or scene.incident.action in ("push", "login"):
        return
    for name, files in nodes_of(material):
        if files.versions.runtime not in ("containerd", ""):
            continue
        inputs = plan_inputs(material, scene, name)
        if inputs is None:
            continue
        plan = plan_pull(inputs)
        facts: dict[str, Value] = {}
        partial: frozenset[str] = frozenset()
        node = inputs.node
        if (
            node.main is not None
            or node.dump is not None
            or node.absent_main
            or (node.k3s is not None and node.k3s.registries is not None)
        ):
            cures = cured_by(inputs)
            if cures.findings or cures.complete:
                facts["plan.cured_by"] = cures.findings
                partial = frozenset() if cures.complete else frozenset({"plan.cured_by"})
        source = _credential(plan)
        if source is not None:
            facts["plan.credential"] = source
        if facts:
            yield files.evidence(
                "plan.pull",
                facts,
                target=Target.of(image=image, node=name),
                of=whose(scene, name),
                partial=partial,
                excerpt=summary(plan),
            )


def _credential(plan: PullPlan) -> str | None:
    """`none`, `pull-secret`, `kubelet-file`, `runtime`; None where a source was not read."""
    kind = plan.credential.kind
    if kind in ("pull-secret", "kubelet-file"):
        return kind
    if kind == "plugin":
        return "kubelet-file"
    first = plan.hosts[0] if plan.hosts and plan.choice.known else None
    if kind == "none" and first is not None and plan.settings.section_read is not None:
        return "runtime" if first.host.node_login else "none"
    if kind == "none" and first is not None and not plan.settings.has_section and plan.settings.config_path is not None:
        return "none"
    return None


def summary(plan: PullPlan) -> str:
    """The plan in a few lines, for an excerpt."""
    lines = [f"login: {plan.credential.kind or 'not known'}"]
    lines += [
        f"{line.order}. {line.request} ({line.host.role}, {line.host.source}): {line.outcome.why}"
        for line in plan.hosts
    ]
    lines += [f"not in force: {item.what} at {item.where}: {item.why}" for item in plan.ignored]
    return "\n".join(lines)

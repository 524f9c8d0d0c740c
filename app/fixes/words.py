"""Fixes that are told, not made: hand-offs, advice, and changes that belong to tools of their own. Any fix id has a plan."""

from __future__ import annotations

import re
from typing import Any, Final

from app.errors import RefusedError
from app.fixes.base import Fix, FixContext
from app.fixes.harbor_core import core_of, pin_text
from app.fixes.owners import change_at, named, owner_of_object
from app.fixes.plans import class_of, make_plan, maker_of, pods_of
from app.model.fix import FixPlan, Owner
from app.parsers.kube_objects import objects_of

_BLANK: Final = re.compile(r"<([a-z][a-z :-]*)>")


def known_words(context: FixContext) -> dict[str, str]:
    """What the blanks of a text stand for, as far as this case knows."""
    incident = context.case.incident
    pod = incident.pods[0] if incident.pods else ""
    space, _, name = pod.partition("/")
    host = incident.registry or ""
    found = {
        "host": host,
        "host:port": host,
        "registry": host,
        "image": incident.image or "",
        "pod": name,
        "namespace": space,
        "account": str(context.case.variables.get("account") or ""),
        "node": next((target.get("node") or "" for target in context.standing.targets if target.get("node")), ""),
        "context": context.context,
    }
    if context.harbor is not None and "core" in context.fix:
        found["namespace"] = context.harbor.namespace
    return {key: value for key, value in found.items() if value}


def fill(text: str, words: dict[str, str]) -> str:
    """Blanks such as `<host>` filled in where they are known; the rest stays as it is."""
    return _BLANK.sub(lambda match: words.get(match[1], match[0]), text)


def plan_words(context: FixContext) -> FixPlan:
    """A plan without changes: the text of the fix with what is known of this case filled in."""
    spec = context.specs.get(context.fix)
    if spec is None:
        raise RefusedError(
            f"there is no fix {context.fix!r}", "`harborpilot rules show FINDING` lists the fixes of a finding."
        )
    kind = class_of(context)
    lines = [fill(spec.text, known_words(context))]
    if kind in ("hand_off", "first_aid", "cure"):
        lines += ["", *_facts(context)]
    if kind in ("first_aid", "cure"):
        lines += ["", "This is not changed from here; do it by hand, then diagnose again."]
    return make_plan(context, targets=context.standing.targets, hand_off="\n".join(lines).rstrip() + "\n")


def _facts(context: FixContext) -> list[str]:
    incident, standing = context.case.incident, context.standing
    rows = [
        ("what", standing.title),
        ("found", standing.summary),
        ("image", incident.image or ""),
        ("where", ", ".join(str(target) for target in standing.targets[:10]) if standing.targets else ""),
        ("nodes", ", ".join(incident.nodes[:10])),
        ("seen", incident.texts[0][:400] if incident.texts else ""),
    ]
    found = [f"{name:8}{value}" for name, value in rows if value and value != "incident"]
    for ground in standing.grounds[:6]:
        if ground.value == "true":
            command = f"   ({ground.evidence.command})" if ground.evidence and ground.evidence.command else ""
            found.append(
                f"{'because' if ground is standing.grounds[0] else '':8}{ground.text}{': ' + ground.seen if ground.seen else ''}{command}"
            )
    return found


def _plan_source(context: FixContext) -> FixPlan:
    """The change at its source: who renders the object that the finding is about, and what to change there."""
    owned: list[tuple[str, Owner]] = []
    text = ""
    if context.standing.finding.startswith(("core-", "registry-", "clock-")):
        core = core_of(context)
        owner = owner_of_object(core.item)
        if owner is not None:
            owned.append((f"Deployment {core.id}", owner))
        text = pin_text(context, core)
    else:
        for pod in pods_of(context):
            for kind, name in (*(("Secret", one) for one in pod.listed), ("ServiceAccount", pod.account)):
                path = (
                    f"/api/v1/namespaces/{pod.namespace}/{'secrets' if kind == 'Secret' else 'serviceaccounts'}/{name}"
                )
                item: Any = context.try_get(path) or objects_of(context.material).get(kind, pod.namespace, name) or {}
                owner = owner_of_object(item)
                if owner is not None:
                    owned.append((f"{kind} {pod.namespace}/{name}", owner))
            maker = maker_of(context, pod)
            owner = owner_of_object(maker.item) if maker else None
            if maker and owner is not None:
                owned.append((f"{maker.kind} {maker.id}", owner))
    said = list(
        dict.fromkeys(
            f"{what} is managed by {named(owner)} ({owner.where}).\n{change_at(owner)}" for what, owner in owned
        )
    )
    if not said:
        said = [
            "No owner is seen at the objects of this finding: no label, annotation or reference names one. Change them directly."
        ]
    spec = context.specs.get(context.fix)
    body = "\n\n".join([*([spec.text] if spec else []), *said, text or "\n".join(_facts(context))])
    return make_plan(
        context,
        targets=context.standing.targets,
        owner=owned[0][1] if owned else None,
        hand_off=body.rstrip() + "\n",
    )


FIXES: Final = (Fix("source-of-truth", _plan_source),)

"""From one planner over all nodes to a frozen plan: waves, owners, prechecks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from app.fixes.base import Fix, FixContext, Need
from app.fixes.node_base import CannotError, Work, node_targets
from app.fixes.node_toml import EditError
from app.fixes.owners import change_at, named
from app.model.evidence import Outcome
from app.model.fix import Change, Check, FixPlan, Owner, Wave

BATCH: Final = 4
SERVERS: Final = ("k3s", "rke2-server")

# --- the plan -------------------------------------------------------------------------------------------------------


def waves_of(works: Sequence[Work]) -> tuple[Wave, ...]:
    """One canary, then batches; servers of a k3s or RKE2 quorum one at a time, after the agents."""
    servers = [work for work in works if work.restart in SERVERS]
    rest = [work for work in works if work not in servers]
    found = []
    if rest:
        found.append(Wave("canary" if len(works) > 1 else "all", (rest[0].target,)))
        found += [
            Wave(f"batch {start // BATCH + 1}", tuple(work.target for work in rest[1:][start : start + BATCH]))
            for start in range(0, len(rest) - 1, BATCH)
        ]
    found += [Wave(f"server {number}", (work.target,)) for number, work in enumerate(servers, 1)]
    return tuple(found)


def plan_nodes(
    context: FixContext,
    per_node: Callable[[Work], None],
    *,
    verify: str = "the probe that spoke for the finding is read again on the node; then the waiting pods have to pull (Pulled)",
    confirm: bool = True,
) -> FixPlan:
    """Run one planner over all nodes. A node that cannot be changed is left out and said so; when none is left the plan is blocked."""
    works: list[Work] = []
    refused: list[tuple[str, str]] = []
    checks: list[Check] = []
    by_hand: list[str] = []
    for node, target in node_targets(context).items():
        work = Work(context, node, target)
        try:
            if node not in context.material.nodes():
                raise CannotError("nothing of it was read; reach it over SSH and plan again")
            per_node(work)
        except (CannotError, EditError) as error:
            refused.append((node, str(error)))
            continue
        checks += work.checks
        by_hand += work.by_hand
        if work.changed:
            works.append(work)
            checks += prechecks(work)
        elif not work.by_hand:
            checks.append(Check(f"{node}: nothing to change", "ok", "its files already say what this fix would write"))
    kept, given, owner = _by_owner(context, works)
    for node, why in refused:
        checks.append(Check(f"{node}: {why}", "warn" if kept else "fail", "left out" if kept else ""))
    if not works and not refused and not checks and not by_hand:
        checks.append(Check("no node is known that this fix could change", "fail"))
    changes = tuple(change for work in kept for change in work.changes())
    return _frozen(context, kept, changes, checks, owner, "\n\n".join([*given, *by_hand]), verify, confirm=confirm)


def _by_owner(context: FixContext, works: Sequence[Work]) -> tuple[list[Work], list[str], Owner | None]:
    """Works that we may apply, hand-off texts for the others, and the first owner."""
    first_aid = _class_of(context) == "first_aid" or context.text_input("direct").lower() in ("yes", "true", "1")
    kept, texts, owner = [], [], None
    for work in works:
        mine = work.owner
        if mine is None:
            kept.append(work)
            continue
        owner = owner or mine
        if first_aid:
            kept.append(work)
        diffs = "\n\n".join(work.diff(edit) for edit in work.edits.values())
        texts.append(
            f"{work.node}: {named(mine)} manages a file of this change ({mine.where}); a change by hand would be undone.\n\n{diffs}\n\n{change_at(mine)}"
        )
    return kept, texts, owner


def _class_of(context: FixContext) -> str:
    return next((kind for kind, fix in context.standing.fixes if fix == context.fix), "cure")


def _frozen(
    context: FixContext, works: Sequence[Work], changes: tuple[Change, ...], checks: Sequence[Check], owner: Owner | None,
    hand_off: str, verify: str, *, confirm: bool,
) -> FixPlan:  # fmt: skip
    spec = context.specs.get(context.fix)
    units = tuple(dict.fromkeys(work.restart for work in works if work.restart))
    restarts = f"{', '.join(units)} on {', '.join(work.node for work in works if work.restart)}" if units else ""
    kind = _class_of(context)
    if hand_off and not changes:
        kind = "hand_off" if owner is not None or kind == "cure" else kind
    elif owner is not None and any(work.owner for work in works):
        kind = "first_aid"
    risk = spec.risk if spec else ""
    if kind == "first_aid" and owner is not None:
        risk = f"{risk} {named(owner)} manages it and may put the old state back.".strip()
    undo = "; ".join(dict.fromkeys(change.undo for change in changes if change.undo))
    targets = tuple(work.target for work in works)
    return FixPlan(
        context.plan_id, context.fix, context.standing.finding, spec.title if spec else context.fix, kind, risk, restarts, undo,
        targets, changes, waves_of(works) if changes else (), tuple(checks), verify, owner, hand_off, bool(spec and spec.weakens),
        context.context if changes and restarts and confirm and len(works) > 1 else "", context.context, context.now,
    )  # fmt: skip


# --- checks ---------------------------------------------------------------------------------------------------------


def prechecks(work: Work) -> list[Check]:
    """Rights, what the restart would meet, and what the pull plan says of the outcome."""
    found = []
    sudo = work.files.text("sudo.txt")
    document = work.files.document("sudo.txt")
    if sudo is not None:
        may = bool(re.search(r"\(\s*(ALL|root)", sudo)) or "uid=0" in sudo
        found.append(Check(f"{work.node}: may write as root", "ok" if may else "unknown", "sudo -n -l"))
    elif document is not None and document.outcome is Outcome.DENIED:
        found.append(Check(f"{work.node}: may write as root", "unknown", document.detail))
    if work.restart:
        found += _restart_checks(work)
    if not work.outlook:
        return found
    verdict, why = work.passes_after()
    if verdict:
        found.append(Check(f"{work.node}: with the change the pull plan gets past what failed", "ok"))
    elif verdict is False:
        found.append(Check(f"{work.node}: by the pull plan the pull would still fail with the change", "warn", why))
    else:
        found.append(Check(f"{work.node}: whether the pull then succeeds cannot be told beforehand", "unknown"))
    return found


def _restart_checks(work: Work) -> Iterable[Check]:
    main = work.setup.main
    touched = any(edit.check_runtime for edit in work.edits.values())
    if touched:
        yield Check(
            f"{work.node}: containerd config dump has to accept the new file before the restart",
            "ok",
            "asked when it is applied",
        )
    elif main is not None and main.error and not work.rancher:
        yield Check(f"{work.node}: {main.path} is broken, containerd would not start: {main.error}", "fail")
    if work.restart in SERVERS:
        yield Check(
            f"{work.node}: a server of the cluster; its API and etcd member are away for a moment",
            "warn",
            "one server at a time",
        )


def node_fix(
    fix: str,
    per_node: Callable[[Work], None],
    needs: Callable[[FixContext], tuple[Need, ...]] = lambda context: (),
) -> Fix:
    """A fix whose plan looks at each node by itself."""

    def plan(context: FixContext) -> FixPlan:
        return plan_nodes(context, per_node)

    return Fix(fix, plan, needs)

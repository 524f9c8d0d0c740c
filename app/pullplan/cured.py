"""Run the plan again with exactly one defect repaired: which repair makes the failing stage pass (`plan.cured_by`).

Findings are those of MODES whose proof says CURES. A candidate is cured when its defect is there, the plan as it is does
not pass the stage, and the repaired plan does. What cannot be told leaves the list partial.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.pullplan.containerd import Choice, Host, choose
from app.pullplan.inputs import PlanInputs
from app.pullplan.kubelet import choose_credential
from app.pullplan.outcome import passes
from app.pullplan.plan import rewritten, split_image
from app.pullplan.repairs import repairs
from app.pullplan.settings import effective

UNJUDGED = ("image-service", "hosts-file")
"""Stages that the choice of hosts does not decide."""


@dataclass(frozen=True, slots=True)
class Cures:
    findings: tuple[str, ...]
    complete: bool
    """Every candidate was decided, so that a finding that is not listed does not cure."""
    undecided: tuple[str, ...] = ()


def cured_by(inputs: PlanInputs) -> Cures:
    """The findings whose repair alone makes the failing stage pass."""
    failure = inputs.failure
    if not failure.stage or failure.stage in UNJUDGED:
        return Cures((), False, ("stage",))
    namespace, repository, _ = split_image(inputs.image)
    settings = effective(inputs.node)
    base = choose(inputs.node, settings, namespace)
    sent = choose_credential(inputs).sent
    views = inputs.views
    # What the process does may differ from what its files say, so a plan that passes convicts only a stale process.
    before = passes(base.hosts, failure, views, credential_sent=sent) if base.known else None
    cured: list[str] = []
    undecided: list[str] = []
    for repair in repairs(inputs, settings, base):
        if repair.present is False:
            continue
        choice = repair.choice()
        stale = repair.finding in (
            "config-not-restarted",
            "k3s-registries-not-loaded",
            "ctr-is-not-cri",
            "node-lacks-config",
            "config-wrong-file",
        )
        verdict = _verdict(choice, base, repository, stale=stale, before=before)
        if verdict is None and choice is not None and choice.known:
            verdict = passes(choice.hosts, failure, views, credential_sent=sent)
        if verdict and repair.present:
            cured.append(repair.finding)
        elif verdict is not False:
            undecided.append(repair.finding)
    return Cures(tuple(cured), not undecided, tuple(undecided))


def _verdict(choice: Choice | None, base: Choice, repository: str, *, stale: bool, before: bool | None) -> bool | None:
    """False where the repair changes nothing, or where the plan passes as it is; None: ask the stage."""
    if choice is None:
        return None
    if not stale and (before or _shape(choice.hosts, repository) == _shape(base.hosts, repository)):
        return False
    return None


def _shape(hosts: tuple[Host, ...], repository: str) -> tuple[tuple[object, ...], ...]:
    return tuple(_essence(host, repository) for host in hosts)


def _essence(host: Host, repository: str) -> tuple[object, ...]:
    return (host.url, host.ca, host.skip_verify, host.node_login, host.resolves, rewritten(host, repository))

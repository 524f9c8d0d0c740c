"""Fixes over an investigation: plan with fresh reads, apply through the gateway, verify. Screens and commands share it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from app.errors import HarborPilotError, RefusedError
from app.fixes.base import FixContext, Hidden, Need
from app.fixes.gateway import Gateway
from app.fixes.prepare import HarborGet, prepare
from app.model.fix import ApplyReport, FixPlan, Verified
from app.model.standing import Standing
from app.model.target import Target
from app.ports import Ids
from app.runner.investigation import Investigation, Opened
from app.runner.verify import WAIT, Verifier


@dataclass(slots=True)
class Fixing:
    """What it takes to plan and to apply in one run."""

    investigation: Investigation
    gateway: Gateway
    ids: Ids
    key: bytes = field(repr=False)
    """Key of this session's fingerprints; never stored."""
    settle: Callable[[float], Awaitable[None]]
    harbor: HarborGet | None = None

    async def plan(
        self, opened: Opened, standing: Standing, fix: str, inputs: Mapping[str, str | Hidden] | None = None
    ) -> tuple[FixPlan | None, tuple[Need, ...]]:
        """A frozen plan, or what has to be asked first. Raises RefusedError where the fix cannot be planned."""
        world = self.investigation.world
        if world is None:
            raise RefusedError("a bundle can be judged, not changed", "Connect to the cluster to plan a fix.")
        if opened.case is None:
            self.investigation.judge(opened)
        assert opened.case is not None  # noqa: S101 - `judge` has just set it
        context = FixContext(
            standing,
            opened.case,
            opened.material,
            self.gateway.context,
            self.ids.new(),
            world.clock.now(),
            opened.scene.harbor,
            inputs or {},
            specs=self.investigation.rulebook.fixes,
            key=self.key,
        )
        plan, needs, _ = await prepare(context, fix, kube=world.kube, harbor=self.harbor)
        # A plan for Harbor's own cluster is unlocked by that cluster's name.
        other = world.kube.get("harbor")
        if (
            plan is not None
            and plan.changes
            and other is not None
            and all(change.payload.get("cluster") == "harbor" for change in plan.changes)
        ):
            plan = replace(plan, context=other.context)
        return plan, needs

    def verifier(
        self,
        opened: Opened,
        standing: Standing,
        *,
        retry_pods: bool = False,
        wait: float = WAIT,
        say: Callable[[str], None] = lambda text: None,
    ) -> Verifier:
        """What the gateway calls after each target."""
        world = self.investigation.world
        assert world is not None  # noqa: S101 - `plan` has asked before
        return Verifier(
            self.investigation.rulebook,
            world,
            standing,
            opened.scene.incident,
            self.settle,
            opened.material,
            self.investigation.harbor_namespace,
            self.investigation.selection,
            self.investigation.try_credentials or opened.scene.try_credentials,
            push=opened.scene.incident.action == "push",
            try_upload=self.investigation.try_upload or opened.scene.try_upload,
            push_account=self.investigation.push_account,
            account=str(opened.scene.variables.get("account") or ""),
            retry=(lambda pods: self.retry(opened, standing, pods)) if retry_pods else None,
            wait=wait,
            say=say,
        )

    def apply(
        self,
        opened: Opened,
        standing: Standing,
        plan: FixPlan,
        *,
        confirmed: str,
        retry_pods: bool = False,
        wait: float = WAIT,
        say: Callable[[str], None] = lambda text: None,
        decide: Callable[[Target, str], Awaitable[str]] | None = None,
    ) -> AsyncIterator[ApplyReport]:
        """Apply exactly this plan; yields after each step, the last report is the result."""
        verify = self.verifier(opened, standing, retry_pods=retry_pods, wait=wait, say=say)
        return self.gateway.apply(plan, confirmed=confirmed, verify=verify, decide=decide)

    async def retry(self, opened: Opened, standing: Standing, pods: tuple[str, ...]) -> str:
        """Delete owned pods that wait for their back-off: a change of its own, through the gateway and its journal."""
        only = replace(standing, targets=tuple(Target.of(workload=pod) for pod in pods))
        try:
            plan, _ = await self.plan(opened, only, "delete-pod")
            if plan is None or not plan.changed:
                return "no pod had to be deleted"
            last: ApplyReport | None = None
            async for report in self.gateway.apply(plan, confirmed=plan.confirm_name or plan.id, verify=_deleted):
                last = report
        except HarborPilotError as error:
            return f"the pods were not deleted: {error.what}"
        done = sum(1 for item in last.progress if item.state.value == "verified") if last else 0
        return f"{done} of {len(plan.targets)} pods deleted, their owners make new ones"


async def _deleted(plan: FixPlan, target: Target) -> Verified:
    """The deletion was accepted; whether the new pod starts is what the outer plan waits for."""
    del plan, target
    return Verified(works=True, note="deleted")

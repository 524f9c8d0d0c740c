"""From a fix id to a frozen plan: reads afresh what the planner asks for, and asks for the rights it needs. Writes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from app.errors import RefusedError
from app.fixes import find
from app.fixes.base import (
    HARBOR,
    HARBOR_API,
    WORKLOAD,
    FixContext,
    Need,
    NeedReadError,
    NeedRightError,
    Right,
    read_path,
)
from app.model.evidence import Outcome
from app.model.fix import FixPlan
from app.model.material import Document
from app.ports import KubeApi

MOST_READS: Final = 400
HarborGet = Callable[[str], Awaitable[tuple[int, str]]]
"""GET below `/api/v2.0`: status and whole body."""


async def prepare(
    context: FixContext, fix: str, *, kube: Mapping[str, KubeApi], harbor: HarborGet | None = None
) -> tuple[FixPlan | None, tuple[Need, ...], FixContext]:
    """(plan, (), …) or (None, what has to be asked of the operator, …); the context comes back with all that was read.

    `kube` holds the API by cluster: `workload`, and `harbor` where Harbor runs in another one. Raises RefusedError when
    the fix cannot be planned, and says why.
    """
    planner = find(fix)
    context = replace(
        context,
        fix=fix,
        material=context.material.with_documents([]),
        rights=dict(context.rights),
    )
    for _ in range(MOST_READS):
        try:
            needs = planner.needs(context)
            if needs:
                return None, needs, context
            return planner.plan(context), (), context
        except NeedReadError as need:
            document = await _read(need, kube, harbor, context.now)
            context = replace(context, material=context.material.with_documents([document]))
        except NeedRightError as need_right:
            right = need_right.right
            context = replace(context, rights={**context.rights, right: await _ask(right, kube)})
    raise RefusedError(
        f"{fix} wanted more than {MOST_READS} reads to be planned", "Choose fewer targets with --target."
    )


def _api(cluster: str, kube: Mapping[str, KubeApi]) -> KubeApi | None:
    return (kube.get(HARBOR) or kube.get(WORKLOAD)) if cluster == HARBOR else kube.get(WORKLOAD)


async def _read(need: NeedReadError, kube: Mapping[str, KubeApi], harbor: HarborGet | None, now: float) -> Document:
    place = read_path(need.cluster, need.path)
    if need.cluster == HARBOR_API:
        if harbor is None:
            return Document(
                place,
                outcome=Outcome.SKIPPED,
                detail="no login for Harbor's API is at hand (--harbor-user with --password-stdin or --password-file)",
            )
        status, body = await harbor(need.path)
        if status in (401, 403):
            return Document(place, outcome=Outcome.DENIED, detail=f"Harbor refuses this login ({status})")
        if status >= 400 and status != 404:
            return Document(place, outcome=Outcome.UNREACHABLE, detail=f"Harbor answered {status}")
        return Document(place, body, absent=status == 404, taken_at=now, source=f"GET {need.path}")
    api = _api(need.cluster, kube)
    if api is None:
        return Document(place, outcome=Outcome.SKIPPED, detail=f"no kube API of the {need.cluster} cluster is at hand")
    path, _, query = need.path.partition("?")
    reply = await api.get(path, dict(word.split("=", 1) for word in query.split("&") if "=" in word) or None)
    return Document(
        place, reply.body, reply.outcome, reply.status == 404, now, detail=reply.detail, source=reply.source
    )


async def _ask(right: Right, kube: Mapping[str, KubeApi]) -> bool | None:
    api = _api(right.cluster, kube)
    if api is None:
        return None
    return await api.allowed(
        right.verb, right.resource, right.namespace, group=right.group, subresource=right.subresource
    )

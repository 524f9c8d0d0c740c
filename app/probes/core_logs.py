"""`core.logs`: what core's log says at the time of the failure, by pod, and whom it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.core_log_tags import Said
from app.probes.base import Scene
from app.probes.core_logs_read import read_core_log
from app.probes.core_logs_who import whom_it_names
from app.probes.core_roster import core_pods, log_names
from app.probes.harbor_common import HarborSide


def read_logs(material: Material, scene: Scene) -> Iterable[Evidence]:
    """One record for each core pod, and one for the registry with whom the log names."""
    side = HarborSide(material, scene)
    log = read_core_log(side)
    if log is None:
        yield from _not_read(side)
        return
    roster = core_pods(material)
    rosters: Mapping[str, tuple[str, ...]] = {"core-pod": roster} if roster else {}
    partial = frozenset() if log.complete else frozenset({"core.log"})
    pods = {line.pod for line in log.lines if line.pod}
    if log.complete and pods and roster:
        pods |= set(roster)
    for pod in sorted(pods):
        mine = [one for one in log.said if one.line.pod == pod]
        yield side.evidence(
            "core.logs",
            {"core.log": _tags(mine)},
            target=side.target.joined(Target.of(core_pod=pod)),
            partial=partial,
            roster=rosters,
            excerpt=_excerpt(mine),
            taken_at=log.taken_at,
            command=f"kubectl logs {pod} -c core",
        )
    facts: dict[str, Value] = dict(whom_it_names(side, log))
    loose = [one for one in log.said if not one.line.pod]
    if loose or not pods:
        facts["core.log"] = _tags(loose)
    if facts:
        yield side.evidence(
            "core.logs",
            facts,
            partial=partial,
            roster=rosters,
            excerpt=_excerpt(loose),
            taken_at=log.taken_at,
            command=", ".join(log.paths),
        )


def _not_read(side: HarborSide) -> Iterator[Evidence]:
    for path in ("harbor/core.log", *(f"harbor/logs/{name}.log" for name in log_names(side.material))):
        document = side.material.get(path)
        if document is not None and document.outcome is not Outcome.OBSERVED:
            yield side.evidence(
                "core.logs",
                {},
                outcome=document.outcome,
                detail=f"{document.detail}; which account core refused, and why, stays unknown",
                by_hand="kubectl logs -n <namespace> -l component=core --since=30m --prefix > core.log",
            )
            return


def _tags(said: Iterable[Said]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(one) for one in said))


def _excerpt(said: list[Said]) -> str:
    """One line for each tag."""
    first: dict[str, str] = {}
    for one in said:
        first.setdefault(str(one), f"{one.line.level} {one.line.place} {one.line.text}".strip()[:300])
    return "\n".join(dict.fromkeys(first.values()))

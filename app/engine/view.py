"""The case as the conditions see it: observations by fact, joined to a target by agreement of scopes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.model.case import Case
from app.model.evidence import OPERATOR_ANSWER, Evidence, Of, Outcome, Value
from app.model.target import Target

_INDEXED: Final = 16
"""From so many observations of one fact on they are found by their node."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One fact seen once."""

    fact: str
    target: Target
    of: Of
    value: Value
    bound: float
    partial: bool
    evidence: Evidence
    fresh: bool

    @property
    def proves(self) -> bool:
        """An operator's word and a stale reading rank, they do not prove."""
        return self.fresh and self.evidence.vantage != OPERATOR_ANSWER


def plain_host(name: str) -> str:
    """`HARBOR.corp:443` and `harbor.corp` are one target."""
    return name.lower().removesuffix(":443")


def normalised(target: Target) -> Target:
    """Host parts in one spelling, so that records of several probes meet."""
    if not any(scope in ("registry", "host") for scope, _ in target.parts):
        return target
    return Target(
        tuple((scope, plain_host(name) if scope in ("registry", "host") else name) for scope, name in target.parts)
    )


class View:
    """Index of a case. Built once per judgement."""

    def __init__(self, case: Case) -> None:
        self.case = case
        incident = case.incident
        self.healthy = frozenset(incident.healthy_nodes)
        self.nodes = frozenset(incident.nodes)
        self._facts: dict[str, list[Observation]] = {}
        self._rosters: dict[str, list[tuple[Target, tuple[str, ...]]]] = {}
        self._memo: dict[tuple[str, Of, Target], list[Observation]] = {}
        self._ids: dict[str, list[str]] = {}
        self._by_node: dict[str, dict[str | None, list[tuple[int, Observation]]]] = {}
        self.failed: dict[str, list[Evidence]] = {}
        """Probe → records in which it was not observed."""
        self.attempted: set[str] = set()
        objected = {(objection.probe, objection.target) for objection in case.objections}
        newest: dict[object, Evidence] = {}
        for evidence in case.evidence:
            if (evidence.probe, evidence.target) not in objected:
                newest[evidence.key] = evidence
        for evidence in newest.values():
            self._add(evidence)

    def _add(self, evidence: Evidence) -> None:
        self.attempted.add(evidence.probe)
        if evidence.outcome is not Outcome.OBSERVED:
            self.failed.setdefault(evidence.probe, []).append(evidence)
        target = normalised(evidence.target)
        of = evidence.of
        node = target.get("node")
        if of is Of.THIS and node is not None and node in self.healthy and node not in self.nodes:
            of = Of.HEALTHY
        fresh = evidence.is_fresh(self.case.now)
        for fact, value in evidence.facts.items():
            self._facts.setdefault(fact, []).append(
                Observation(
                    fact, target, of, value, evidence.bounds.get(fact, 0.0), fact in evidence.partial, evidence, fresh
                )
            )
        for scope, members in evidence.roster.items():
            self._rosters.setdefault(scope, []).append((target, members))

    def observations(self, fact: str, focus: Target, of: Of = Of.THIS) -> list[Observation]:
        """All observations of a fact that agree with a target."""
        key = (fact, of, focus)
        found = self._memo.get(key)
        if found is None:
            wanted = focus if of is Of.THIS else _loose(focus, of)
            found = [
                seen
                for seen in self._near(fact, wanted.get("node"))
                if seen.of is of and seen.target.agrees(wanted) and self._ours(seen)
            ]
            self._memo[key] = found
        return found

    def _near(self, fact: str, node: str | None) -> Sequence[Observation]:
        """Observations that a target on this node could agree with, in the order they were added."""
        every = self._facts.get(fact, [])
        if node is None or len(every) < _INDEXED:
            return every
        index = self._by_node.get(fact)
        if index is None:
            index = self._by_node[fact] = {}
            for number, seen in enumerate(every):
                index.setdefault(seen.target.get("node"), []).append((number, seen))
        both = [*index.get(node, ()), *index.get(None, ())]
        return [seen for _, seen in sorted(both, key=lambda pair: pair[0])]

    def _ours(self, seen: Observation) -> bool:
        node = seen.target.get("node")
        return node is None or seen.of is not Of.THIS or not self.nodes or node in self.nodes

    def roster(self, scope: str, focus: Target) -> tuple[str, ...] | None:
        """All ids of a scope, None where nobody said that these are all."""
        members: set[str] = set()
        known = False
        for target, ids in self._rosters.get(scope, ()):
            if target.agrees(focus):
                known = True
                members.update(ids)
        return tuple(sorted(members)) if known else None

    def ids(self, scope: str) -> list[str]:
        """Ids of a scope that evidence of the failing side speaks of, sorted."""
        known = self._ids.get(scope)
        if known is None:
            found = {
                seen.target.get(scope)
                for observations in self._facts.values()
                for seen in observations
                if seen.of is Of.THIS and self._ours(seen)
            }
            known = self._ids[scope] = sorted(name for name in found if name)
        return list(known)

    def variable(self, name: str) -> tuple[bool, Value]:
        """(known, value)."""
        if name in self.case.variables:
            return True, self.case.variables[name]
        return False, None

    @property
    def facts(self) -> Mapping[str, list[Observation]]:
        return self._facts


def _loose(focus: Target, of: Of) -> Target:
    """Facts of another host or of healthy nodes do not carry the failing target's own ids."""
    dropped = {"registry", "host", "text"} if of is not Of.HEALTHY else {"node", "workload", "text"}
    return Target(tuple(part for part in focus.parts if part[0] not in dropped))

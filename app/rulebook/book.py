"""The rulebook in memory: compiled findings and symptoms, and the catalogue of facts, probes and fixes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.model.standing import Certainty, Kind
from app.rulebook.conditions import Condition
from app.rulebook.schema import ByHand, FactSpec, FindingFile, FixSpec, ProbeSpec


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding, compiled."""

    id: str
    file: FindingFile
    kind: Kind
    cap: Certainty
    scopes: tuple[str, ...]
    """Scopes of a target; empty for `incident`."""
    explains: frozenset[str]
    proof: tuple[tuple[Condition, ...], ...]
    text_proof: tuple[tuple[Condition, ...], ...]
    likely: tuple[tuple[Condition, ...], ...]
    excluded_by: tuple[Condition, ...]
    supports: tuple[Condition, ...]
    told_apart: Mapping[str, tuple[str, ...]]
    layer: int
    fixes: tuple[tuple[str, str], ...]
    where: str = ""
    """File it comes from."""


@dataclass(frozen=True, slots=True)
class TreeBranch:
    """One answer; `when` is None for `otherwise`."""

    when: Condition | None
    label: str
    goto: str


@dataclass(frozen=True, slots=True)
class TreeQuestion:
    """A question of a tree."""

    id: str
    text: str
    why: str
    probes: tuple[str, ...]
    by_hand: ByHand | None
    branches: tuple[TreeBranch, ...]


@dataclass(frozen=True, slots=True)
class Symptom:
    """A symptom, compiled."""

    id: str
    title: str
    seen: Condition
    rate: Condition | None
    refines: frozenset[str]
    rank: tuple[str, ...]
    tree: tuple[TreeQuestion, ...]
    where: str = ""
    prior: int = 0
    wordless: bool = False


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Everything the engine needs, immutable."""

    findings: Mapping[str, Finding]
    symptoms: Mapping[str, Symptom]
    facts: Mapping[str, FactSpec]
    probes: Mapping[str, ProbeSpec]
    fixes: Mapping[str, FixSpec]
    fits: Mapping[str, Condition] = field(default_factory=dict)
    """Fix id → of which targets it can be a fix; one that is not here fits all."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Fact → unit of its numbers, for those that have one: `time` (of day), `s`, `ms`, `bytes`, `%`."""
    digest: str = ""
    notes: tuple[str, ...] = field(default=())
    """What the board has to say of it, e.g. an expired override."""

"""What the engine says: standings with their grounds, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.model.evidence import Evidence
from app.model.target import Target


class Certainty(StrEnum):
    """How sure. `conflict`: a full proof set and a true exclusion at once; shown and asked about, never proven."""

    PROVEN = "proven"
    LIKELY = "likely"
    POSSIBLE = "possible"
    CONFLICT = "conflict"
    OUT = "out"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {certainty: number for number, certainty in enumerate(Certainty)}


class Kind(StrEnum):
    FAULT = "fault"
    TRAP = "trap"
    RELAY = "relay"
    RISK = "risk"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Ground:
    """One term behind a judgement, in words, with the evidence that decides it (None: nobody looked)."""

    text: str
    """The term in plain words, e.g. `token.kid: 2 different values over core-pod`."""
    value: str
    """`true`, `false` or `unknown`."""
    seen: str = ""
    """The value seen, for display."""
    evidence: Evidence | None = None
    role: str = ""
    """`proof A`, `likely 1`, `exclusion`, `support`."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What is not known and would matter."""

    probe: str
    target: Target
    fact: str
    why: str = ""
    by_hand: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """A finding, how certain, for which targets, and why."""

    finding: str
    kind: Kind
    cause: str | None
    certainty: Certainty
    targets: tuple[Target, ...]
    title: str
    summary: str = ""
    grounds: tuple[Ground, ...] = ()
    """What speaks for it, decisive terms first."""
    because: str = ""
    """Why it is out, or why it is not more than likely."""
    missing: tuple[Missing, ...] = ()
    fixes: tuple[tuple[str, str], ...] = ()
    """(class, fix id); class is `first_aid`, `cure`, `hand_off` or `advice`."""


@dataclass(frozen=True, slots=True)
class Collect:
    """Next: read these. `(probe, target)` pairs."""

    wanted: tuple[tuple[str, Target], ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One branch of a question, as the operator sees it."""

    label: str
    value: str
    """`true`, `false` or `unknown`: what the evidence says of this branch."""
    goto: str = ""
    because: str = ""
    targets: tuple[Target, ...] = ()
    """Nodes or core pods of which this answer is true, where the question is about several; else empty."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Next: a question that evidence has not answered."""

    question: Asked


@dataclass(frozen=True, slots=True)
class Done:
    """Next: nothing more to read or ask."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a tree on the path walked."""

    id: str
    """`symptom/question`."""
    symptom: str
    text: str
    why: str
    choices: tuple[Choice, ...]
    taken: int | None
    """Index of the branch taken; None while it is open."""
    by: str = ""
    """`evidence`, `operator` or `otherwise`."""
    probes: tuple[str, ...] = ()
    by_hand: str = ""
    paste_as: str = ""
    evidence: tuple[Evidence, ...] = ()
    """Of the facts that the answers look at: the failing targets' first, the newest first, what was not observed last."""
    members: int = 0
    """How many nodes or core pods the question is about, where it is about several."""
    denied: tuple[Target, ...] = ()
    """Those of them that could not be read."""


@dataclass(frozen=True, slots=True)
class Step:
    """The answer of the engine to one case."""

    standings: tuple[Standing, ...]
    """Best first; those that are out come last. Risks and true findings that explain nothing are in `also_noticed`."""
    also_noticed: tuple[Standing, ...]
    symptoms: tuple[str, ...]
    """Ids of the symptoms seen, best ranked first."""
    path: tuple[Asked, ...]
    next: Collect | Ask | Done
    explained: tuple[str, ...] = ()
    """Symptoms struck because a proven finding explains them."""
    outcome: str = "inconclusive"
    """`fault_found`, `inconclusive` or `healthy` (design section 5)."""

"""Evidence: what one probe observed at one target from one vantage, already redacted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from app.model.target import INCIDENT, Target

Value = bool | int | float | str | tuple[str, ...] | None
"""A fact's value. None, "" and () mean *observed and empty*; a fact that is not in the mapping is unknown.

Times are seconds since the epoch, durations seconds, sizes bytes. A list item is a tag, or a tag with the thing it
names: `user-refused(robot$ci)`.
"""
ENDLESS: Final = float(2**53)
"""For a limit or a lifetime of -1: more than any volume holds, later than any time."""


class Outcome(StrEnum):
    """Whether something was observed. What was observed, an absent file included, stands in the facts."""

    OBSERVED = "observed"
    DENIED = "denied"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    UNSUPPORTED = "unsupported"
    UNPARSABLE = "unparsable"
    SKIPPED = "skipped"


class Price(StrEnum):
    """What an observation costs: nothing, one use of a credential, a write with consent."""

    FREE = "free"
    CREDENTIAL = "credential"
    WRITE = "write"


class Of(StrEnum):
    """Whose fact it is, seen from the failing attempt."""

    THIS = "this"
    MIRROR = "mirror"
    REALM = "realm"
    STORAGE = "storage"
    UPSTREAM = "upstream"
    ELSEWHERE = "elsewhere"  # the same thing, seen from a second vantage
    HEALTHY = "healthy"  # a node where the same image works


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation. Immutable, redacted, and repeatable by hand from `command`."""

    probe: str
    """Id of the probe, e.g. `secret.read`."""
    target: Target = INCIDENT
    vantage: str = "operator"
    """From where it was seen: `operator`, `node/<name>`, `core-pod/<name>`, `bundle`, `world`, `answer` (the operator's word)."""
    outcome: Outcome = Outcome.OBSERVED
    facts: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    bounds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Error bound of a measured fact, in the fact's unit."""
    partial: frozenset[str] = frozenset()
    """List facts that may have members which were not seen; `lacks` is never true of them."""
    roster: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Scope to *all* ids of that kind, e.g. every ready core pod; makes `every`, `none` and `distinct` decidable."""
    of: Of = Of.THIS
    excerpt: str = ""
    """What was read, redacted and cut; shown, never judged."""
    detail: str = ""
    """Why it was not observed, what that costs and how to supply it by hand."""
    taken_at: float | None = None
    max_age: float | None = None
    """Seconds for which it counts as fresh; None: as long as the case."""
    price: Price = Price.FREE
    command: str = ""
    """The exact read-only command or API call."""
    by_hand: str = ""
    """The command an operator can run to supply the same, where we could not."""

    @property
    def key(self) -> tuple[str, Target, str, Of]:
        """A newer record with the same key takes the place of an older one."""
        return (self.probe, self.target, self.vantage, self.of)

    def is_fresh(self, now: float) -> bool:
        """Not older than its max age; what has no time or no max age stays fresh."""
        return self.max_age is None or self.taken_at is None or now - self.taken_at <= self.max_age


OPERATOR_ANSWER: Final = "answer"
"""Vantage of an operator's word: it ranks, it never proves."""


def tag_of(item: str) -> str:
    """`user-refused(ci)` → `user-refused`."""
    return item.partition("(")[0]


def name_of(item: str) -> str:
    """`user-refused(ci)` → `ci`; empty where the item names nothing."""
    return item.partition("(")[2].removesuffix(")")

"""Evidence and session events as JSON lines. One format for `evidence.jsonl` of a bundle and for a session.

Text is redacted once more on the way out: what is on disk never rests on every probe having remembered it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from app.model.evidence import Evidence, Of, Outcome, Price, Value
from app.model.target import Target
from app.parsers.redact import redact

_MOST: Final = 1.7976931348623157e308
"""JSON has no infinity; the largest number orders the same."""


class EvidenceLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One record as written. A field at its default is left out; unknown fields are passed over when reading."""

    probe: str
    target: str | tuple[tuple[str, str], ...] = ""
    vantage: str = "operator"
    outcome: Outcome = Outcome.OBSERVED
    facts: dict[str, bool | int | float | str | tuple[str, ...] | None] = {}
    bounds: dict[str, float] = {}
    partial: tuple[str, ...] = ()
    roster: dict[str, tuple[str, ...]] = {}
    of: Of = Of.THIS
    excerpt: str = ""
    detail: str = ""
    taken_at: float | None = None
    max_age: float | None = None
    price: Price = Price.FREE
    command: str = ""
    by_hand: str = ""


_DECODER: Final = msgspec.json.Decoder(EvidenceLine)
_ENCODER: Final = msgspec.json.Encoder()


def evidence_line(evidence: Evidence) -> EvidenceLine:
    """The record to write, redacted."""
    target = str(evidence.target)
    return EvidenceLine(
        probe=evidence.probe,
        target=target if _reads_back(target, evidence.target) else evidence.target.parts,
        vantage=evidence.vantage,
        outcome=evidence.outcome,
        facts={key: _value(value) for key, value in evidence.facts.items()},
        bounds={key: _finite(value) for key, value in evidence.bounds.items()},
        partial=tuple(sorted(evidence.partial)),
        roster={key: tuple(value) for key, value in evidence.roster.items()},
        of=evidence.of,
        excerpt=redact(evidence.excerpt),
        detail=redact(evidence.detail),
        taken_at=evidence.taken_at,
        max_age=evidence.max_age,
        price=evidence.price,
        command=redact(evidence.command),
        by_hand=redact(evidence.by_hand),
    )


def evidence_of(line: EvidenceLine) -> Evidence:
    """The inverse. Raises ValueError on a target that is none."""
    target = Target.parse(line.target) if isinstance(line.target, str) else Target(line.target)
    return Evidence(
        line.probe,
        target,
        line.vantage,
        line.outcome,
        MappingProxyType(line.facts),
        MappingProxyType(line.bounds),
        frozenset(line.partial),
        MappingProxyType(line.roster),
        line.of,
        line.excerpt,
        line.detail,
        line.taken_at,
        line.max_age,
        line.price,
        line.command,
        line.by_hand,
    )


def encode_evidence(records: Iterable[Evidence]) -> str:
    """`evidence.jsonl`: one record a line."""
    return "".join(_ENCODER.encode(evidence_line(record)).decode() + "\n" for record in records)


def decode_evidence(text: str) -> Iterator[tuple[int, Evidence]]:
    """(line number, record). Raises ValueError naming the line that cannot be read."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield number, evidence_of(_DECODER.decode(line))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error


def scrubbed(value: Any) -> Any:
    """Builtins with every text in them redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item) for item in value]
    return value


def _reads_back(text: str, target: Target) -> bool:
    """An id with a blank in it (out of somebody's odd file) cannot be written as words."""
    try:
        return Target.parse(text) == target
    except ValueError:
        return False


def _value(value: Value) -> Value:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, tuple):
        return tuple(redact(item) for item in value)
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float) -> float:
    if math.isnan(value):
        return 0.0
    return math.copysign(_MOST, value) if math.isinf(value) else value

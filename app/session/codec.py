"""Evidence and session events as JSON lines. One format for `evidence.jsonl` of a bundle and for a session.

Text is redacted once more on the way out: what is on disk never rests on every probe having remembered it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from app.model.events import EVENTS, Judged, Observed, Stamped
from app.model.evidence import Evidence, Of, Outcome, Price, Value
from app.model.target import Target
from app.parsers.redact import redact

_MOST: Final = 1.7976931348623157e308
"""JSON has no infinity; the largest number orders the same."""


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


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
        MappingProxyType(line.bounds) if line.bounds else _NOTHING,
        frozenset(line.partial),
        MappingProxyType(line.roster) if line.roster else _NOTHING,
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


# --- session lines ------------------------------------------------------------------------------------------------


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="session"):
    """First line of a session."""

    schema: int
    product: str
    """Version of the product that wrote it."""
    rulebook: str
    """Digest of the rules in use."""
    target: str
    """Context, bundle or scenario."""
    id: str = ""
    started: float = 0.0
    source: str = "live"
    title: str = ""


class EventLine(msgspec.Struct, frozen=True, gc=False):
    """One event as written; `data` stays undecoded until it is looked at."""

    n: int
    at: float
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Observed(msgspec.Struct, frozen=True):
    record: EvidenceLine


_TYPES: Final = {kind.name: kind for kind in EVENTS}
_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(_Observed if kind is Observed else kind) for name, kind in _TYPES.items()
}
_LINES: Final = msgspec.json.Decoder(EventLine)
HEADERS: Final = msgspec.json.Decoder(Header)


def known_types() -> frozenset[str]:
    """Names of the events that this release reads."""
    return frozenset(_TYPES)


def encode_event(stamped: Stamped) -> bytes:
    """One line with its line end, redacted."""
    event = stamped.event
    if isinstance(event, Observed):
        data = _ENCODER.encode(_Observed(evidence_line(event.record)))
    else:
        data = _ENCODER.encode(scrubbed(msgspec.to_builtins(event, enc_hook=_plain)))
    return _ENCODER.encode(EventLine(stamped.number, stamped.at, event.name, msgspec.Raw(data))) + b"\n"


def decode_line(line: bytes) -> EventLine:
    """The envelope of a line. Raises ValueError."""
    found = _LINES.decode(line)
    # `Raw` holds a view of the whole buffer; a copy lets it go.
    return EventLine(found.n, found.at, found.type, found.data.copy())


def decode_event(line: EventLine) -> Stamped:
    """The event of a line. Raises ValueError on data that are not of its type."""
    value = _DECODERS[line.type].decode(line.data)
    if isinstance(value, _Observed):
        return Stamped(line.n, line.at, Observed(evidence_of(value.record)))
    return Stamped(line.n, line.at, value)


class _Brief(msgspec.Struct, frozen=True):
    outcome: str
    now: float = 0.0
    variables: dict[str, bool | int | float | str | tuple[str, ...] | None] | None = None


_BRIEF: Final = msgspec.json.Decoder(_Brief)


def decode_brief(line: EventLine) -> Stamped:
    """A judgement without its standings: enough where a later one takes its place."""
    found = _BRIEF.decode(line.data)
    return Stamped(line.n, line.at, Judged(found.outcome, now=found.now, variables=found.variables))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise NotImplementedError(f"{type(value).__name__} does not belong into a session")

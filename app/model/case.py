"""The case: everything the engine judges from. Asked again as a whole after each event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.model.evidence import Evidence, Value
from app.model.target import Target

NOT_ASKED = "not asked yet"
"""Why a fact is unknown that nobody has tried to read so far."""


@dataclass(frozen=True, slots=True)
class Incident:
    """What fails: one image (or registry) and action, folded over pods and nodes."""

    id: str = "incident"
    image: str | None = None
    registry: str | None = None
    """host[:port] as the image names it; `docker.io` for a reference without a host."""
    action: str | None = None
    """`pull`, `push`, `login`, or None where no text tells."""
    texts: tuple[str, ...] = ()
    """Distinct error texts, redacted; `text/<n>` (from 1) in targets."""
    pods: tuple[str, ...] = ()
    """`namespace/name` of the failing pods."""
    nodes: tuple[str, ...] = ()
    healthy_nodes: tuple[str, ...] = ()
    since: float | None = None
    succeeded: bool = False
    """A workload or an attempt was seen to succeed, or the list of pods is complete and none fails."""


@dataclass(frozen=True, slots=True)
class Objection:
    """The operator does not accept a piece of evidence; it is left out, with the reason kept."""

    probe: str
    target: Target
    reason: str


@dataclass(frozen=True, slots=True)
class Case:
    """Evidence keyed by (probe, target, vantage), with answers, objections and the time."""

    incident: Incident
    evidence: tuple[Evidence, ...] = ()
    variables: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    """`image.host, contacted.host, mirror.host, action, account, node.arch, project.action`; a missing one is unknown.

    `image.repository, image.tag, harbor.namespace` fill commands by hand.
    """
    answers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Question id (`symptom/question`) → branch number from 1 as text, or `unknown`."""
    objections: tuple[Objection, ...] = ()
    now: float = 0.0
    """The case's time: the newest trusted stamp; for a bundle its taken-at."""
    unread: str = NOT_ASKED
    """Why a fact is unknown for which no probe left a record."""

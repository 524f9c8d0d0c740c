"""A fix as data: the frozen plan that is shown, confirmed, applied and undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from app.model.target import Target


class StepState(StrEnum):
    """Where one target stands while a plan is applied."""

    QUEUED = "queued"
    CHECKING = "checking"
    WRITING = "writing"
    RESTARTING = "restarting"
    WAITING = "waiting for Ready"
    VERIFYING = "verifying"
    VERIFIED = "verified"
    FAILED_KEPT = "failed (kept)"
    FAILED_UNDONE = "failed (undone)"
    SKIPPED = "skipped"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Check:
    """A precheck and what it said. `state`: `ok`, `warn`, `fail` (stops the plan), `unknown`."""

    text: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """What manages a target: `helm`, `argo`, `flux`, `external-secrets`, `sealed-secrets`, `ansible`, `puppet`, `k3s`, `operator`."""

    kind: str
    name: str
    where: str = ""
    """What showed it (label, annotation, file header)."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write on one target. `payload` is what the gateway hands to the writer; secrets in it have masked reprs."""

    target: Target
    kind: str
    """`node-file`, `node-restart`, `node-trust-update`, `kube-patch`, `kube-create`, `kube-replace`, `kube-delete`, `kube-restart`, `harbor-api`."""
    title: str
    diff: str = ""
    """Unified diff, secrets as keyed fingerprints."""
    command: str = ""
    """The exact command or API call, redacted, as an operator could run it."""
    payload: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    expects: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Digests of exactly the fields and files it rests on; apply refuses when one has moved."""
    undo: str = ""
    """How it is undone, in words; `none` where there is no way back."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Changes applied at once: the canary first, then bounded batches."""

    title: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class FixPlan:
    """Frozen: the object shown is the object applied."""

    id: str
    fix: str
    finding: str
    title: str
    fix_class: str
    """`first_aid`, `cure`, `hand_off`, `advice`."""
    risk: str
    restarts: str
    undo: str
    targets: tuple[Target, ...]
    changes: tuple[Change, ...]
    waves: tuple[Wave, ...]
    checks: tuple[Check, ...]
    verify: str
    """In words: the probe that failed, then the event the user waits for."""
    owner: Owner | None = None
    hand_off: str = ""
    """The change in the owner's terms, to copy or save; set whenever there is an owner."""
    weakens: bool = False
    confirm_name: str = ""
    """What has to be typed for a severe plan; empty for a mild one."""
    context: str = ""
    made_at: float = 0.0

    @property
    def changed(self) -> bool:
        return bool(self.changes)

    @property
    def blocked(self) -> str:
        """Why it cannot be applied; empty when it can."""
        failed = [check.text for check in self.checks if check.state == "fail"]
        return "; ".join(failed)


@dataclass(frozen=True, slots=True)
class TargetProgress:
    target: Target
    state: StepState
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What verifying one target came to."""

    works: bool
    note: str
    probe: bool | None = None
    """Whether the evidence that had spoken for the finding no longer does."""
    event: bool | None = None
    """Whether the event that the user waits for was seen; None: it was not waited for."""


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What an apply came to."""

    plan: str
    progress: tuple[TargetProgress, ...]
    verified: bool
    probe_verified: bool = False
    event_verified: bool | None = None
    """None: the event was not waited for."""
    undone: bool = False
    note: str = ""

"""One defect that can be repaired on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.pullplan.containerd import Choice


@dataclass(frozen=True, slots=True)
class Repair:
    """`present` None: not known whether the defect is there. `choice()` None: not known what its repair leads to."""

    finding: str
    present: bool | None
    choice: Callable[[], Choice | None]

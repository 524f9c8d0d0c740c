"""Points of one run: cause, cure, time, price of evidence, wrong fixes, blast radius, hints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.training.world.state import Counts, Written

OF: Final = 100
LOGIN: Final = 5
EXEC: Final = 1
HINTS: Final = (5, 10, 15)
"""What the first, second and each further hint takes off."""
RULES: Final = (
    "30 points for naming the right cause, 25 for a cure that holds.",
    "15 for time: all of them within par, none at twice par.",
    "10 for the price of evidence: a use of a credential costs 5, a look into a container 1; above par 2 points each.",
    "10 for no wrong fix: 5 off for each change that does not help.",
    "10 for a small blast radius: 3 off for each node, object or account that was changed without need.",
    "Where the cure is somebody else's, it is to hand the right text to them; in practice they answer at once.",
    "Hints take off 5, then 10, then 15 each.",
)


@dataclass(frozen=True, slots=True)
class Tally:
    """What is counted."""

    solved: bool
    cause_named: bool
    elapsed: float
    par: float
    price: int
    par_price: int
    wrong_fixes: int
    touched: int
    needed: int
    hints: int


Line = tuple[str, str, int]


def price_of(counts: Counts) -> int:
    """Reading is free; a credential may lock an account, and a look into a container needs a right that few have."""
    return counts.logins * LOGIN + counts.execs * EXEC


def hint_cost(used: int) -> int:
    """What the next hint takes off."""
    return HINTS[min(used, len(HINTS) - 1)]


def targets(writes: Sequence[Written]) -> tuple[str, ...]:
    """Nodes, objects and accounts that were written to, each once; what undo itself keeps is left out."""
    found: dict[str, None] = {}
    for one in writes:
        place = one.place.split(" ")[0] if one.place.startswith("node/") else one.place
        if "harborpilot-undo-" in place or (
            place.startswith("kube ") and place.rstrip("/").endswith(("/secrets", "/pods"))
        ):
            continue
        found[place] = None
    return tuple(found)


def lines(tally: Tally) -> tuple[Line, ...]:
    """(what, detail, points), one for each thing that is scored."""
    late = max(0.0, tally.elapsed - tally.par) / tally.par if tally.par else 0.0
    over = max(0, tally.price - tally.par_price)
    extra = max(0, tally.touched - tally.needed)
    told = [
        ("right cause named", "yes" if tally.cause_named else "no", 30 if tally.cause_named else 0),
        ("cured", "yes" if tally.solved else "no", 25 if tally.solved else 0),
    ]
    if tally.solved:
        told += [
            ("time", f"{tally.elapsed / 60:.0f} min, par {tally.par / 60:.0f}", max(0, round(15 * (1 - late)))),
            ("price of evidence", f"{tally.price}, par {tally.par_price}", max(0, 10 - 2 * over)),
            ("wrong fixes", str(tally.wrong_fixes), max(0, 10 - 5 * tally.wrong_fixes)),
            ("blast radius", f"{tally.touched} changed, {tally.needed} needed", max(0, 10 - 3 * extra)),
        ]
    if tally.hints:
        told.append(("hints", str(tally.hints), -sum(hint_cost(used) for used in range(tally.hints))))
    return tuple(told)


def total(told: Sequence[Line]) -> int:
    """Never below zero."""
    return max(0, sum(points for _, _, points in told))

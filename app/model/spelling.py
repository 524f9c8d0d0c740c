"""A fact's value in words, the same on a screen, in a report and in the output of a command."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from app.model.evidence import ENDLESS, Value

_SIZES: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def spelled(value: Value, unit: str = "", bound: float = 0.0, *, empty: str = "none") -> str:
    """`yes`, `1.5 GiB`, `2026-03-10 09:00:29 UTC`, `-300 s ± 2 s`; `empty` where nothing was there when somebody looked.

    `unit` is that of `Rulebook.units`; `bound` is the uncertainty, in the value's own unit.
    """
    if value is None or value in ("", ()):
        return empty
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, str):
        return value
    said = _number(float(value), unit)
    return f"{said} ± {_number(bound, 's' if unit == 'time' else unit)}" if bound else said


def _number(value: float, unit: str) -> str:
    if unit == "time":
        return _time(value)
    if unit == "bytes":
        return "no limit" if value >= ENDLESS else _size(value)
    digits = f"{value:.0f}" if value.is_integer() and abs(value) < ENDLESS else f"{value:.6g}"
    return f"{digits} {unit}".rstrip()


def _time(at: float) -> str:
    if at >= ENDLESS:
        return "never"
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):  # a year that no calendar has: whoever answered made it up
        return f"{at:.0f} s after 1970"


def _size(value: float) -> str:
    for unit in _SIZES[:-1]:
        if abs(value) < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} {_SIZES[-1]}"

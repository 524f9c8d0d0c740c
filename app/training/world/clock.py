"""Time of the practice world: it moves with each action and with every wait, and never by itself in tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from app.ports import Clock

START: Final = 1_773_133_200.0
"""2026-03-10T09:00:00Z: when the operator's shift begins."""


@dataclass(slots=True)
class SimClock:
    """Implements `Clock`. With `real` the world's time also runs on with that clock, as fast as it does."""

    seconds: float = START
    real: Clock | None = None
    real_start: float = 0.0

    def now(self) -> float:
        """Seconds since the epoch, UTC, of the world."""
        return self.seconds + (self.real.monotonic() - self.real_start if self.real is not None else 0.0)

    def monotonic(self) -> float:
        """The same clock: nothing in the world steps it back."""
        return self.now()

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += max(0.0, seconds)

    def follow(self, real: Clock) -> None:
        """From here on run with a real clock as well."""
        self.real, self.real_start = real, real.monotonic()


def iso(seconds: float) -> str:
    """`2026-03-10T09:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def nano(seconds: float) -> str:
    """`2026-03-10T09:00:00.123456000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def http_date(seconds: float) -> str:
    """`Tue, 10 Mar 2026 09:00:00 GMT`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def stamp(text: str) -> float:
    """Seconds of an `iso` text."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

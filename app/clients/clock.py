"""The system's clock and ids: the only place that asks for the time or for randomness."""

from __future__ import annotations

import time
import uuid


class SystemClock:
    """Time of this machine."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()  # noqa: TID251 the one place

    def monotonic(self) -> float:
        """Seconds of a clock that never steps."""
        return time.monotonic()


class RandomIds:
    """Short random ids."""

    def new(self) -> str:
        """Twelve hexadecimal digits: unique within a state directory for all practical purposes."""
        return uuid.uuid4().hex[:12]  # noqa: TID251 the one place


def nonce() -> str:
    """A word that nobody who did not see it can write; marks the frames of a node's answer."""
    return "hp" + uuid.uuid4().hex  # noqa: TID251 the one place

"""The one door to blocking code: paramiko, urllib3 and plain sockets run in worker threads.

A call that is cancelled is left to end by its own time limit; its place is free at once, so one hanging host blocks nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
from anyio import to_thread

P = ParamSpec("P")
R = TypeVar("R")

MOST = 48
"""Calls that may run at once."""


class Threads:
    """Worker threads with a common limit. One for each application; the limiter is made inside the event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking function and wait for it; cancelling does not wait."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._most)
        return await to_thread.run_sync(
            partial(function, *args, **kwargs), abandon_on_cancel=True, limiter=self._limiter
        )

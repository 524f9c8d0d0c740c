"""Key press to frame while 500 nodes answer, beside the same screen idle: the real application over the real desk.

The nodes are made up and answer within some seconds; everything between their answers and the screen is the product's own. Keys come
from a thread with a clock of its own, so that a blocked loop shows as a late frame.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual import events

from app.clients.clock import SystemClock
from app.files import load_rulebook
from app.model.evidence import Outcome
from app.model.material import Document, Material
from app.model.view import Mode
from app.ports import Item, NodeRound
from app.runner.collect import World
from app.runner.console import Console
from app.runner.investigation import Investigation
from app.tui import HarborPilotApp
from benchmarks.common import Row, main
from benchmarks.data import node_files, pod

NODES = 500
SECONDS = 6.0
EVERY = 0.08
PATIENCE = 30.0


class Nodes:
    """Each node answers once after its own while."""

    def __init__(self) -> None:
        self.answered = 0

    async def read(self, node: str, items: Sequence[Item]) -> NodeRound:
        del items
        await asyncio.sleep(zlib.crc32(node.encode()) % 1000 / 1000 * SECONDS)
        self.answered += 1
        return NodeRound(
            Outcome.OBSERVED,
            tuple(Document(path, text, taken_at=1767348000.0) for path, text in node_files(node).items()),
            sudo=True,
            user="ann",
        )


class Timed(HarborPilotApp):
    """Notes when a key was handled and when the next frame was drawn."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.pressed: list[float] = []
        self.waiting: list[float] = []
        self.late: list[float] = []

    async def on_event(self, event: events.Event) -> None:
        await super().on_event(event)
        if isinstance(event, events.Key) and self.pressed:
            self.waiting.append(self.pressed.pop(0))

    def _display(self, screen: Any, renderable: Any) -> None:
        super()._display(screen, renderable)
        now = time.perf_counter()
        self.late += [now - began for began in self.waiting]
        self.waiting.clear()

    def press(self, key: str) -> None:
        """Called from another thread."""
        began = time.perf_counter()

        def post() -> None:
            self.pressed.append(began)
            self.post_message(events.Key(key, None))

        self._loop.call_soon_threadsafe(post)  # type: ignore[union-attr]


async def run(*, busy: bool, folder: Path) -> tuple[list[float], int]:
    """Milliseconds from key to frame, and how many nodes had answered by the end."""
    rulebook, _ = load_rulebook()
    pods = json.dumps(
        {
            "kind": "PodList",
            "metadata": {"pullFailuresComplete": True},
            "items": [pod(number, failing=True, node=f"n{number}") for number in range(NODES)],
        }
    )
    nodes = Nodes()
    world = World(SystemClock(), nodes=nodes, jobs=32 * 16)
    investigation = Investigation(rulebook, world, Material([Document("pods.json", pods)]))
    investigation.fold()
    console = Console(rulebook, SystemClock(), folder, investigation, "bench", Mode.LIVE, None, None)
    app = Timed(lambda: console)
    stop = threading.Event()

    def keys() -> None:
        while not stop.is_set():
            app.press("tab")
            stop.wait(EVERY)

    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause(1.0)
        if busy:
            await pilot.press("enter")
            await pilot.pause(0.3)
        until = time.perf_counter() + 60
        while busy and not nodes.answered and time.perf_counter() < until:
            await pilot.pause(0.1)
        thread = threading.Thread(target=keys)
        thread.start()
        until = time.perf_counter() + (PATIENCE if busy else SECONDS)
        while time.perf_counter() < until and not (busy and nodes.answered == NODES):
            await pilot.pause(0.1)
        stop.set()
        await asyncio.to_thread(thread.join)
        await pilot.pause(0.5)
    return [value * 1000 for value in app.late], nodes.answered


def measure() -> list[Row]:
    """p99 of some hundred keys each."""
    with tempfile.TemporaryDirectory() as folder:
        idle, _ = asyncio.run(run(busy=False, folder=Path(folder)))
        busy, answered = asyncio.run(run(busy=True, folder=Path(folder)))
    if len(busy) < 20 or not answered:
        raise RuntimeError(f"{len(busy)} frames, {answered} nodes answered: nothing was measured")
    slow, still = (statistics.quantiles(values, n=100)[-1] for values in (busy, idle))
    return [
        Row(f"key press to frame while {answered} of {NODES} nodes answer, p99 of {len(busy)}", f"{slow:.0f} ms (median {statistics.median(busy):.0f})",
            f"{still:.0f} ms (median {statistics.median(idle):.0f}), idle", f"{slow / still:.1f} ×", "≤ 50 ms", slow <= 50)
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)

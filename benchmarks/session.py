"""A session of 10,000 events: open it as the replay screen does, and step in it both ways."""

from __future__ import annotations

import json
import random
import statistics
import tempfile
from pathlib import Path

from app.clients.clock import RandomIds, SystemClock
from app.engine.advance import advance
from app.files import load_rulebook
from app.model.events import Answered, Noted, Observed, Opened, judged
from app.runner.assemble import Ask, judge_material
from app.runner.sessions import ReplayDesk
from app.session.bundle import read_bundle
from app.session.record import Recorder
from benchmarks.common import Row, main, spent
from benchmarks.data import bundle

EVENTS = 10_000


def write(folder: Path) -> Path:
    """Evidence arrives again and again, with a judgement after every twelfth record and answers between."""
    rulebook, _ = load_rulebook()
    case = judge_material(rulebook, read_bundle(bundle(folder / "bundle")).material, Ask())[0].case
    step = judged(advance(rulebook, case), now=case.now)
    with Recorder.create(
        folder, product="0", rulebook=rulebook.digest, target="t", clock=SystemClock(), ids=RandomIds()
    ) as recorder:
        recorder.append(Opened(case.incident, variables=case.variables, now=case.now))
        while recorder.count < EVENTS:
            for record in case.evidence[recorder.count % len(case.evidence) :][:12]:
                recorder.append(Observed(record))
            recorder.append(step)
            recorder.append(Answered("s/q", "1") if recorder.count % 3 else Noted("a remark"))
    return recorder.path


def measure() -> list[Row]:
    """Steps from random places, one on and one back."""
    rulebook, _ = load_rulebook()
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder))
        lines = path.read_bytes().splitlines()
        parse = statistics.median(spent(lambda: [json.loads(line) for line in lines], 3))
        opening = statistics.median(spent(lambda: ReplayDesk.open(Path(folder), str(path), rulebook), 5))
        desk = ReplayDesk.open(Path(folder), str(path), rulebook)
        desk.seek(EVENTS)
        steps: list[float] = []
        for place in random.Random(7).sample(range(200, EVENTS - 200), 60):  # noqa: S311 - places in a list, nothing secret
            desk.seek(place)
            steps += spent(lambda: desk.seek(desk.replay.position + 1), 1)
            steps += spent(lambda: desk.seek(desk.replay.position - 1), 1)
    step, slow = statistics.median(steps), statistics.quantiles(steps, n=20)[-1]
    return [
        Row(
            "open a session of 10,000 events",
            f"{opening:.0f} ms",
            f"{parse:.0f} ms, json.loads of its lines",
            f"{opening / parse:.1f} ×",
            "≤ 500 ms",
            opening <= 500,
        ),
        Row(
            "step in it, judged and ready to draw", f"{step:.1f} ms (p95 {slow:.1f})", target="≤ 16 ms", met=step <= 16
        ),
    ]


if __name__ == "__main__":
    main(measure)

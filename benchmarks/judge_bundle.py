"""Loading the rulebook, judging one bundle, and the whole of `diagnose --bundle` as a process."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from app.engine.advance import advance
from app.files import cache_dir, load_rulebook
from app.runner.assemble import Ask, judge_material, read_all, scenes
from app.session.bundle import read_bundle
from benchmarks.common import Row, main, python, ran, spent, turns
from benchmarks.data import bundle


def measure() -> list[Row]:
    """In this process after a warm-up; the process itself in turns with a bare Python."""
    rulebook, _ = load_rulebook()
    load = statistics.median(spent(load_rulebook, 15))

    def cold() -> None:
        for path in cache_dir().glob("rules-*.msgpack"):
            path.unlink()
        load_rulebook()

    first = statistics.median(spent(cold, 3))
    with tempfile.TemporaryDirectory() as folder:
        path = bundle(Path(folder))
        material = read_bundle(path).material
        case = judge_material(rulebook, material, Ask())[0].case
        scene = scenes(material, Ask())[0]
        judge = statistics.median(spent(lambda: advance(rulebook, case, interactive=False), 40))
        reading = statistics.median(spent(lambda: read_all(material, scene, rulebook), 20))
        words = [sys.executable, "-m", "app", "diagnose", "--bundle", str(path)]
        mine, theirs, ratio = turns(lambda: ran(words).wall, lambda: ran(python("")).wall, 9)
        cpu = statistics.median(ran(words).cpu for _ in range(5))
    return [
        Row(
            f"load the rulebook ({len(rulebook.findings)} findings), parsed data cached",
            f"{load:.0f} ms",
            target="≤ 100 ms",
            met=load <= 100,
        ),
        Row("the same, first start after an upgrade: YAML parsed", f"{first:.0f} ms"),
        Row("whole rulebook on one bundle, after load", f"{judge:.1f} ms", target="≤ 10 ms", met=judge <= 10),
        Row("read that bundle by all probes (3 nodes, 120 journal lines)", f"{reading:.0f} ms"),
        Row(
            "`diagnose --bundle` as a process",
            f"{mine * 1000:.0f} ms ({cpu * 1000:.0f} ms CPU)",
            f"{theirs * 1000:.0f} ms, a bare Python",
            f"{ratio:.1f} ×",
        ),
    ]


if __name__ == "__main__":
    main(measure)

"""Rows of the table, and how time and memory of processes are taken."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `ours` and `peer` with units, `met` None where it could not be measured here."""

    what: str
    ours: str
    peer: str = "-"
    ratio: str = "-"
    target: str = "-"
    met: bool | None = None

    def __str__(self) -> str:
        verdict = {True: "met", False: "**missed**", None: "-"}[self.met]
        return f"| {self.what} | {self.ours} | {self.peer} | {self.ratio} | {self.target} | {verdict} |"


HEAD = "| what | ours | peer or floor | ratio | target | |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Ran:
    """One process: wall and CPU seconds (children of it included), most memory in MB, exit code, what it said."""

    wall: float
    cpu: float
    memory: float
    code: int
    out: str


def ran(words: Sequence[str], *, env: Mapping[str, str] | None = None, to: Path | None = None) -> Ran:
    """Run a program to its end."""
    began = time.perf_counter()
    with (to or Path(os.devnull)).open("wb") as sink:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=sink if to else subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        out = process.stdout.read().decode("utf-8", "replace") if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout:
        process.stdout.close()
    return Ran(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode, out)


def turns(ours: Callable[[], float], peer: Callable[[], float], times: int) -> tuple[float, float, float]:
    """(our median, the peer's, median of the ratios): one after the other each time, so that a busy machine hits both."""
    pairs = [(ours(), peer()) for _ in range(times)]
    mine, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return statistics.median(mine), statistics.median(theirs), statistics.median(a / b for a, b in pairs)


def spent(work: Callable[[], object], times: int) -> list[float]:
    """CPU milliseconds of each call: for what only computes, so that other work on the machine does not count."""
    found = []
    for _ in range(times):
        began = time.thread_time()
        work()
        found.append((time.thread_time() - began) * 1000)
    return found


def python(code: str, *words: str) -> list[str]:
    """The command line of a Python of this environment."""
    return [sys.executable, "-c", code, *words]


def main(measure: Callable[[], list[Row]]) -> None:
    """Print the rows of one script."""
    print(HEAD)
    for row in measure():
        print(row)

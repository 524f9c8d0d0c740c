"""Run all and write the table in `benchmarks/README.md`: `python -m benchmarks.run [NAME…]`."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.common import HEAD, Row

NAMES = ("first_frame", "judge_bundle", "session", "failing_pulls", "node_round", "keys")
PAGE = Path(__file__).with_name("README.md")
MARKS = ("<!-- table -->", "<!-- end of table -->")


def main(names: list[str]) -> int:
    """0 when every target that could be measured was met, else 1."""
    rows: list[Row] = []
    for name in names or NAMES:
        print(f"{name} …", file=sys.stderr)
        rows += importlib.import_module(f"benchmarks.{name}").measure()
    when = datetime.now(UTC).strftime("%Y-%m-%d")  # noqa: TID251 - the date of a report
    about = (
        f"{when}, Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end."
    )
    table = "\n".join([HEAD, *map(str, rows), "", about])
    print(table)
    if not names:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
        PAGE.write_text(f"{head}{MARKS[0]}\n{table}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}", encoding="utf-8")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

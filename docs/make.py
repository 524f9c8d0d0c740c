"""Renews what the documents take from elsewhere: pictures, the table of rights, the schema of settings. `python docs/make.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from app.runner import selfcheck
from app.settings import schema

ROOT = Path(__file__).resolve().parent.parent
PICTURES = {
    "board": "test_typical[board-120x40]",
    "walk": "test_typical[walk-120x40]",
    "diagnosis": "test_typical[diagnosis-120x40]",
    "fix-plan": "test_typical[fix_plan-120x40]",
}
MARKS = ("<!-- rights -->", "<!-- end of rights -->")


def rights() -> str:
    """The table of rights as the self-check knows them."""
    lines = ["| right | without it is unknown | smallest grant |", "|---|---|---|"]
    for right in selfcheck._RIGHTS:  # noqa: SLF001 - its own words, in one more place
        grant = selfcheck._grant(right, "<harbor>" if right.harbor else "")  # noqa: SLF001 - the same
        lines.append(f"| {right.words} | {right.costs} | `{grant}` |")
    return "\n".join(lines)


def readme(text: str) -> str:
    """The README with the present table."""
    head, _, rest = text.partition(MARKS[0])
    return f"{head}{MARKS[0]}\n{rights()}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


def wanted() -> Iterator[tuple[Path, str]]:
    """(file, what belongs into it)."""
    for name, snapshot in PICTURES.items():
        yield (
            ROOT / f"docs/images/{name}.svg",
            (ROOT / f"snapshots/test_pictures/{snapshot}.svg").read_text(encoding="utf-8"),
        )
    page = ROOT / "README.md"
    yield page, readme(page.read_text(encoding="utf-8"))
    yield ROOT / "docs/config-v1.json", json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    for path, content in wanted():
        path.write_text(content, encoding="utf-8")

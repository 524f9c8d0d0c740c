"""Texts of the screens: foreign text made harmless, ages, columns, hanging lines."""

from __future__ import annotations

import pytest

from app.model.evidence import Evidence
from app.model.target import Target
from screens.widgets.pane import hanging
from screens.widgets.text import Column, clean, duration, fact_value, layout, one_line, plain, row, stopwatch, targets


def test_control_and_bidirectional_characters_become_dots() -> None:
    assert clean("a\x1b[31mb\u202ec\u200bd\ue0b0\te\nf\x9bg") == "a·[31mb·c·d·    e\nf·g"
    assert one_line("  a\r\n\t b ") == "a· b"
    assert clean("中文 ответ é") == "中文 ответ é"


def test_markup_stays_text() -> None:
    content = plain("[bold]x[/bold]")
    assert content.plain == "[bold]x[/bold]"
    assert content.spans == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (0, "0 s"), (89, "89 s"), (720, "12 min"), (10_800, "3 h"), (172_800, "2 d")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_stopwatch_and_values() -> None:
    assert stopwatch(247.9) == "4:07"
    record = Evidence(
        "node.clock",
        Target.of(node="n1"),
        "n1",
        facts={"a": None, "b": "", "c": (), "d": True, "e": ("a", "b"), "f": 2048},
        bounds={"f": 1.0},
    )
    assert [fact_value(record, fact, {"f": "bytes"}) for fact in record.facts] == [
        "(empty)", "(empty)", "(empty)", "yes", "a, b", "2 KiB ± 1 bytes",
    ]  # fmt: skip


def test_targets_say_once_what_they_share() -> None:
    items = [Target.of(node=f"n{n}", registry="r:443") for n in range(1, 6)]
    assert targets(items, 2) == "n1, n2 and 3 more · registry r:443"
    assert targets(items[:1]) == "node/n1 registry/r:443"
    assert targets([Target.of(core_pod="a"), Target.of(core_pod="b")]) == "core-pod/a, core-pod/b"


def test_columns_fill_the_width_and_hide() -> None:
    columns = (Column("a", flex=2), Column("b", 5, right=True), Column("c", flex=1, from_width=90))
    for width in (40, 80, 120, 200):
        widths = layout(columns, width)
        line = row(columns, widths, ("x" * 300, "1", "y"))
        assert line.cell_length == width
        assert (widths[2] == 0) == (width < 90)
    assert row(columns, layout(columns, 40), ("中" * 40, "1", "y")).cell_length == 40


def test_long_lines_hang_below_their_beginning() -> None:
    text = hanging(plain("short\n\n  one two three four five eight seven nine\n" + "x" * 70), 30).plain.split("\n")
    assert text[:2] == ["short", ""]
    assert text[2].startswith("  one")
    assert all(line.startswith("    ") for line in text[3:4])
    assert all(len(line) <= 30 for line in text)
    assert "".join(text).replace(" ", "").count("x") == 70

"""Facts in words."""

from __future__ import annotations

import pytest

from app.files import load_rulebook
from app.model.evidence import ENDLESS, Value
from app.model.spelling import spelled


@pytest.mark.parametrize(
    ("value", "unit", "bound", "said"),
    [
        (True, "", 0.0, "yes"),
        (None, "", 0.0, "none"),
        ((), "", 0.0, "none"),
        (("pull", "push"), "", 0.0, "pull, push"),
        (401, "", 0.0, "401"),
        (12345678, "", 0.0, "12345678"),
        (19.513761520385742, "ms", 0.0, "19.5138 ms"),
        (-301.5, "s", 2.0, "-301.5 s ± 2 s"),
        (0.0, "bytes", 0.0, "0 bytes"),
        (1536.0 * 1024**2, "bytes", 0.0, "1.5 GiB"),
        (2.0**80, "", 0.0, "1.20893e+24"),
        (ENDLESS, "bytes", 0.0, "no limit"),
        (1773133229.0, "time", 0.0, "2026-03-10 09:00:29 UTC"),
        (1773133229.0, "time", 5.0, "2026-03-10 09:00:29 UTC ± 5 s"),
        (ENDLESS, "time", 0.0, "never"),
        (1e14, "time", 0.0, "100000000000000 s after 1970"),
        (float("nan"), "time", 0.0, "nan s after 1970"),
    ],
)
def test_a_value_in_words(value: Value, unit: str, bound: float, said: str) -> None:
    assert spelled(value, unit, bound) == said


def test_each_time_and_size_of_the_rules_has_a_unit() -> None:
    units = load_rulebook()[0].units
    assert units["tls.not_after"] == "time"
    assert units["project.quota_left"] == "bytes"
    assert "token.login" not in units

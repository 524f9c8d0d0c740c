"""Commands that are printed can be pasted into a shell, whatever stands in a name."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace

import pytest

from app.commands.apply import _confirmed
from app.commands.plan import lines
from app.errors import RefusedError
from app.fixes.plans import kubectl_patch
from app.model.fix import Change, FixPlan
from app.model.target import Target

ROBOT = "robot$team+build"
PLAN = FixPlan(
    "p1", "robot-new-secret", "x", "A new secret", "cure", "", "", "", (Target.of(registry="r.example"),),
    (Change(Target.of(registry="r.example"), "harbor-api", "set it"),), (), (), "", confirm_name=ROBOT, context="prod eu",
)  # fmt: skip


def applied(plan: FixPlan, file: str = "") -> str:
    (line,) = (line for line in lines(plan, diff=False, file=file) if line.startswith("  apply "))
    return line.removeprefix("  apply     ")


def test_the_apply_line_is_complete_and_holds_in_a_shell() -> None:
    line = applied(PLAN, "my plan.json")
    assert f"'--confirm={ROBOT}'" in line
    assert shlex.split(line) == ["harborpilot", "apply", "my plan.json", "--write=prod eu", f"--confirm={ROBOT}"]
    assert applied(replace(PLAN, confirm_name="")).endswith("--yes   (FILE by --plan-out)")


def test_a_refusal_names_the_confirmation_as_it_has_to_be_typed() -> None:
    with pytest.raises(RefusedError) as told:
        _confirmed(argparse.Namespace(confirm="", yes=True), PLAN)
    assert told.value.next_step == f"Confirm it with '--confirm={ROBOT}'"


def test_a_patch_with_an_apostrophe() -> None:
    patch = [{"op": "add", "path": "/metadata/annotations/by", "value": "it's $HOME"}]
    words = shlex.split(kubectl_patch("pod web", "apps", patch))
    assert words[-1] == '[{"op": "add", "path": "/metadata/annotations/by", "value": "it\'s $HOME"}]'

"""Commands that are printed can be pasted into a shell, whatever stands in a name."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from app.commands.apply import _confirmed
from app.commands.plan import lines
from app.commands.writing import given_inputs
from app.errors import RefusedError, UsageError
from app.fixes.plans import kubectl_patch
from app.model.fix import Change, Check, FixPlan
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


def test_a_plan_that_a_check_forbids_is_not_told_as_nothing_to_do() -> None:
    forbidden = replace(PLAN, changes=(), checks=(Check("no certificate in PEM was given", "fail"),))
    told = lines(forbidden, diff=False, file="")
    assert "  x cannot be applied: no certificate in PEM was given" in told
    assert not any("as it should be" in line for line in told)


def test_an_input_may_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN\nx\n", encoding="utf-8")
    given = given_inputs(argparse.Namespace(input=[f"ca=@{tmp_path}/ca.pem", "username=robot$ci"]))
    assert given == {"ca": "-----BEGIN\nx\n", "username": "robot$ci"}
    with pytest.raises(UsageError):
        given_inputs(argparse.Namespace(input=[f"ca=@{tmp_path}/none.pem"]))

"""`harborpilot apply FILE`: plan a saved plan again, insist on the same seal, apply it, verify it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from app.bootstrap import build_run
from app.commands.flags import add_kube, add_output, add_run, add_ssh, parser
from app.commands.plan import find_and_plan
from app.commands.writing import given_password
from app.errors import RefusedError, UsageError, reason
from app.files import load_rulebook
from app.fixes.base import Hidden
from app.fixes.saved import SavedPlan, read_saved, seal
from app.model.fix import ApplyReport, FixPlan
from app.rulebook.book import Rulebook
from app.runner.verify import WAIT


def flags() -> argparse.ArgumentParser:
    """All flags of the command."""
    found = parser(
        "apply", "Apply a saved plan. Exit 0 done and verified, 5 refused or stale, 6 applied but not verified."
    )
    found.add_argument("file", help="what `harborpilot plan --plan-out` wrote")
    found.add_argument("--write", metavar="CONTEXT", default="", help="unlock this context for this run, by its name")
    found.add_argument("--yes", action="store_true", help="confirm a mild plan")
    found.add_argument("--confirm", metavar="NAME", default="", help="confirm a severe plan by the name it asks for")
    found.add_argument(
        "--retry-pods", action="store_true", help="delete waiting pods that have an owner, so that they try at once"
    )
    found.add_argument("--wait", type=float, default=WAIT, help="seconds to wait for the pods (default 300)")
    add_kube(found)
    add_ssh(found)
    add_run(found)
    add_output(found, "text", "json")
    return found


def run(words: Sequence[str]) -> int:
    """Exit 0 done (or nothing to change), 5 refused, 6 not verified."""
    options = flags().parse_args(words)
    try:
        saved = read_saved(Path(options.file).read_text(encoding="utf-8"), options.file)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{options.file} cannot be read: {reason(error)}") from error
    if not options.write:
        raise RefusedError(f"{saved.context} is read-only", f"Unlock it for this run with --write={saved.context}.")
    if options.write != saved.context:
        raise RefusedError(f"the plan was made for {saved.context}, not for {options.write}")
    rulebook, _ = load_rulebook()
    _take_over(options, saved)
    return asyncio.run(_run(options, rulebook, saved))


def _take_over(options: argparse.Namespace, saved: SavedPlan) -> None:
    """Gather evidence as the plan did; a flag of this run wins over a saved one."""
    defaults = vars(flags().parse_args(["x"]))
    for key, value in saved.source.items():
        if key != "text" and getattr(options, key, defaults.get(key)) == defaults.get(key):
            setattr(options, key, value)
    options.push = getattr(options, "push", None)
    options.image = getattr(options, "image", None)
    options.what = saved.finding or saved.fix
    options.fix = saved.fix
    options.target = saved.inputs.get("target")
    options.no_input = True


async def _run(options: argparse.Namespace, rulebook: Rulebook, saved: SavedPlan) -> int:
    built = build_run(options, rulebook)
    say = (lambda text: None) if options.quiet else (lambda text: print(f"harborpilot: {text}", file=sys.stderr))
    try:
        inputs: dict[str, str | Hidden] = {**saved.inputs}
        password = given_password(options)
        if password:
            inputs["password"] = Hidden(password)
        text = saved.source.get("text")
        try:
            chosen = await find_and_plan(built, options, str(text) if text else None, inputs)
        except RefusedError as error:
            raise RefusedError(f"the plan no longer fits: {error.what}", error.next_step or "Plan it again.") from error
        if chosen is None:
            raise RefusedError(
                "nothing that fails was found any more, so the plan no longer fits", "Run the diagnosis again."
            )
        plan, opened, standing, fixing = chosen
        if plan.blocked:
            raise RefusedError(f"a precheck failed: {plan.blocked}", "Plan it again.")
        if not plan.changed and not plan.hand_off:
            print("nothing to change: it is as it should be")
            return 0
        if seal(plan) != saved.seal:
            raise RefusedError(
                "what the plan would change has moved since it was made", "Plan it again and look at it."
            )
        fixing.gateway.unlock(options.write)
        report = await _apply(fixing.apply(
            opened, standing, plan, confirmed=_confirmed(options, plan), retry_pods=options.retry_pods, wait=options.wait, say=say,
        ), say)  # fmt: skip
        _show(report, plan, options)
        return 0 if report.verified else 6
    finally:
        await built.close()


def _confirmed(options: argparse.Namespace, plan: FixPlan) -> str:
    if plan.confirm_name:
        if options.confirm != plan.confirm_name:
            raise RefusedError(
                "this plan is severe and was not confirmed",
                f"Confirm it with {quote(f'--confirm={plan.confirm_name}')}",
            )
        return plan.confirm_name
    if not options.yes and not options.confirm:
        raise RefusedError("the plan was not confirmed", "Confirm it with --yes.")
    return plan.id


async def _apply(reports: object, say: object) -> ApplyReport:
    last: ApplyReport | None = None
    told: dict[str, str] = {}
    async for report in reports:  # type: ignore[attr-defined]
        last = report
        for item in report.progress:
            line = f"{item.state.value}{f': {item.note}' if item.note else ''}"
            if told.get(str(item.target)) != line:
                told[str(item.target)] = line
                say(f"{item.target}: {line}")  # type: ignore[operator]
    assert last is not None  # noqa: S101 - the gateway yields at least once, or raises
    return last


def _show(report: ApplyReport, plan: FixPlan, options: argparse.Namespace) -> None:
    if options.output == "json":
        print(
            json.dumps(
                {
                    "schema": 1,
                    "plan": report.plan,
                    "fix": plan.fix,
                    "verified": report.verified,
                    "probe_verified": report.probe_verified,
                    "event_verified": report.event_verified,
                    "undone": report.undone,
                    "targets": [
                        {"target": str(item.target), "state": item.state.value, "note": item.note}
                        for item in report.progress
                    ],
                },
                indent=2,
                ensure_ascii=False,
            )
        )
        return
    for item in report.progress:
        print(f"{item.target}: {item.state.value}{f': {item.note}' if item.note else ''}")
    print(
        f"{'verified' if report.verified else 'applied, but not verified'}; undo with: harborpilot undo {report.plan} {quote(f'--write={plan.context}')} --yes"
    )

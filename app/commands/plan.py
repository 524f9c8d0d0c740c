"""`harborpilot plan`: what a fix would change, shown and perhaps saved. Nothing is changed."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from app.bootstrap import Run, build_run
from app.commands.diagnose import read_text
from app.commands.firstlook import tell_refused
from app.commands.flags import add_kube, add_output, add_run, add_ssh, parser
from app.commands.writing import build_fixing, given_inputs, given_password, or_file
from app.errors import RefusedError, UsageError
from app.files import load_rulebook
from app.fixes import BY_ID
from app.fixes.base import Hidden, Need
from app.fixes.saved import to_saved
from app.model.fix import FixPlan
from app.model.standing import Certainty, Kind, Standing
from app.model.target import Target
from app.parsers.redact import redact
from app.rulebook.book import Rulebook
from app.runner.assemble import Ask
from app.runner.fixing import Fixing
from app.runner.investigation import Opened

_ORDER: Final = ("cure", "first_aid", "hand_off", "advice")
_NOT_SAVED: Final = frozenset(
    {"what", "fix", "target", "input", "diff", "plan_out", "output", "quiet", "verbose", "no_color", "color", "password_stdin",
     "password_file", "no_input", "text", "write", "yes", "confirm", "retry_pods", "wait", "file"}
)  # fmt: skip


def flags() -> argparse.ArgumentParser:
    """All flags of the command."""
    found = parser(
        "plan",
        "Plan a fix: what it would change, its risk and its undo. Read-only. Exit 3: there is something to change, 0: nothing, 5: a check forbids it.",
    )
    found.add_argument(
        "what",
        nargs="?",
        metavar="FINDING|FIX",
        help="default: the best finding and its first cure that can be planned",
    )
    found.add_argument("--fix", help="which fix of the finding")
    found.add_argument("--target", help="only this target, e.g. workload/apps/web-1")
    found.add_argument("--image", help="only the incident with this image")
    found.add_argument("--text", metavar="FILE|-", help="a text that was seen: an error line, a CI log")
    found.add_argument("--push", metavar="IMAGE", help="a push of this image fails")
    found.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what the fix asks for; @FILE as value reads a file, e.g. ca=@ca.pem; a password comes by --password-stdin",
    )
    found.add_argument("--diff", action="store_true", help="show what changes, secrets masked")
    found.add_argument("--plan-out", metavar="FILE", help="save the plan for `harborpilot apply`")
    add_kube(found)
    add_ssh(found)
    add_run(found)
    add_output(found, "text", "json")
    return found


def run(words: Sequence[str]) -> int:
    """Exit 3 something to change, 0 nothing, 2 an input is missing, 4 no finding, 5 it cannot be planned."""
    options = flags().parse_args(words)
    rulebook, problems = load_rulebook()
    for problem in problems[:20]:
        print(f"harborpilot: {problem}", file=sys.stderr)
    text = read_text(options.text)
    return asyncio.run(_run(options, rulebook, text))


async def _run(options: argparse.Namespace, rulebook: Rulebook, text: str | None) -> int:
    built = build_run(options, rulebook)
    try:
        inputs: dict[str, str | Hidden] = {**given_inputs(options)}
        password = given_password(options)
        if password:
            inputs["password"] = Hidden(password)
        if options.target:
            inputs["target"] = parse_target(options.target)
        chosen = await find_and_plan(built, options, text, inputs)
        if chosen is None:
            print("nothing that fails was found to be proven or likely, so there is nothing to plan", file=sys.stderr)
            return 4
        plan = chosen[0]
        if options.plan_out:
            save(plan, inputs, options, text)
        if options.output == "json":
            print(json.dumps(as_json(plan), indent=2, ensure_ascii=False))
        else:
            print("\n".join(lines(plan, diff=options.diff, file=options.plan_out or "")))
        return 5 if plan.blocked else 3 if plan.changed else 0
    finally:
        await built.close()


def parse_target(word: str) -> str:
    """A target as it is written. Raises UsageError."""
    try:
        return str(Target.parse(word))
    except ValueError as error:
        raise UsageError(str(error), "A target is written like workload/apps/web-1 or node/n1.") from error


# --- choosing ---------------------------------------------------------------------------------------------------


async def find_and_plan(
    built: Run, options: argparse.Namespace, text: str | None, inputs: dict[str, str | Hidden]
) -> tuple[FixPlan, Opened, Standing, Fixing] | None:
    """Diagnose, choose the finding and the fix, and plan it. None where nothing fails; raises Refused- or UsageError."""
    wanted_image = options.image or options.push
    async with asyncio.timeout(options.timeout + 30):
        await built.investigation.scan()
        tell_refused(built.investigation.material, built.notes)
        opened = built.investigation.fold(Ask(text=text, push=options.push, image=wanted_image))
        for item in opened[: built.most_incidents]:
            await built.investigation.collect(item, seconds=options.timeout)
    found = list(_candidates(built.investigation.rulebook, built, opened, options))
    refusal: RefusedError | None = None
    told: tuple[FixPlan, Opened, Standing, Fixing] | None = None
    named = bool(options.fix) or options.what in built.investigation.rulebook.fixes
    for item, standing, fix in found:
        if told is not None and (standing is not told[2] or ("cure", fix) not in standing.fixes):
            break
        fixing = build_fixing(built, item)
        try:
            plan = await _planned(fixing, item, standing, fix, inputs, options)
        except RefusedError as error:
            if named:
                raise
            refusal = refusal or error
            continue
        if plan.changed or named:
            return plan, item, standing, fixing
        # Nothing to do this way; another cure of the same finding may change something.
        told = told or (plan, item, standing, fixing)
    if told is not None:
        return told
    if refusal is not None:
        raise refusal
    return None


def _candidates(
    book: Rulebook, built: Run, opened: Sequence[Opened], options: argparse.Namespace
) -> Iterable[tuple[Opened, Standing, str]]:
    """(incident, standing, fix) in the order in which they are tried."""
    what, fix = options.what or "", options.fix or ""
    if what and what not in book.findings and what not in book.fixes:
        raise UsageError(f"no finding and no fix {what!r}", "`harborpilot rules show` lists the findings.")
    if what in book.fixes:
        fix, what = what, ""
    if fix and fix not in book.fixes:
        raise UsageError(f"no fix {fix!r}", "`harborpilot rules show FINDING` lists the fixes of a finding.")
    rows: list[tuple[int, Opened, Standing, str]] = []
    for item in opened:
        for standing in built.investigation.judge(item, interactive=False).standings:
            known = (
                Certainty.PROVEN,
                Certainty.LIKELY,
                *((Certainty.POSSIBLE, Certainty.CONFLICT) if what or fix else ()),
            )
            if standing.certainty not in known or (what and standing.finding != what):
                continue
            if (
                options.target
                and standing.targets
                and not any(Target.parse(options.target).agrees(one) for one in standing.targets)
            ):
                continue
            offers = sorted(
                (entry for entry in standing.fixes if not fix or entry[1] == fix),
                key=lambda entry: _ORDER.index(entry[0]),
            )
            for kind, offered in offers:
                spec = book.fixes.get(offered)
                if not fix and (kind == "advice" or (spec is not None and spec.weakens)):
                    continue
                rows.append(
                    (
                        standing.certainty.rank * 10 + (0 if offered in BY_ID or kind == "hand_off" else 5),
                        item,
                        standing,
                        offered,
                    )
                )
    rows.sort(key=lambda row: row[0])
    if not rows and fix and options.target:
        rows = [(0, item, _own_choice(options.target, fix), fix) for item in opened if _holds(item, options.target)]
    if not rows and (what or fix):
        raise RefusedError(
            f"{what or fix} does not fit what was found" if what else f"no finding that stands offers {fix}",
            "With --target the fix is planned for that target all the same.",
        )
    return [row[1:] for row in rows]


def _own_choice(target: str, fix: str) -> Standing:
    """The operator names fix and target although no finding offers it."""
    return Standing(
        "",
        Kind.FAULT,
        None,
        Certainty.POSSIBLE,
        (Target.parse(target),),
        "chosen by the operator",
        fixes=(("cure", fix),),
    )


def _holds(item: Opened, target: str) -> bool:
    pod = Target.parse(target).get("workload")
    return pod is None or pod in item.scene.incident.pods


async def _planned(
    fixing: Fixing,
    item: Opened,
    standing: Standing,
    fix: str,
    inputs: dict[str, str | Hidden],
    options: argparse.Namespace,
) -> FixPlan:
    for _ in range(3):
        plan, needs = await fixing.plan(item, standing, fix, inputs)
        if plan is not None:
            return plan
        if options.no_input or not sys.stdin.isatty():
            raise UsageError(
                f"{fix} needs: {'; '.join(_said(need) for need in needs)}", "Give what is missing and plan again."
            )
        for need in needs:
            inputs[need.key] = _asked(need)
    raise UsageError(f"{fix} was not given what it needs")


def _said(need: Need) -> str:
    value = "@FILE" if "in PEM" in need.question else "…"
    return f"{need.question} ({'--password-stdin' if need.secret else f'--input {need.key}={value}'})"


def _asked(need: Need) -> str | Hidden:
    if need.secret:
        import getpass

        return Hidden(getpass.getpass(f"{need.question}: "))
    print(f"{need.question}, or @FILE: ", end="", file=sys.stderr, flush=True)
    return or_file(need.key, sys.stdin.readline().strip())


# --- saving and showing -----------------------------------------------------------------------------------------


def save(plan: FixPlan, inputs: Mapping[str, str | Hidden], options: argparse.Namespace, text: str | None) -> None:
    """Write the plan's recipe and seal; owner-only, without any secret."""
    source: dict[str, Any] = {
        key: value
        for key, value in vars(options).items()
        if key not in _NOT_SAVED and value not in (None, "", [], False)
    }
    if text is not None:
        source["text"] = redact(text)
    plain = {key: value for key, value in inputs.items() if isinstance(value, str)}
    body = msgspec.json.format(msgspec.json.encode(to_saved(plan, plain, source)), indent=2)
    try:
        Path(options.plan_out).unlink(missing_ok=True)
        descriptor = os.open(options.plan_out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(body + b"\n")
    except OSError as error:
        raise UsageError(f"{options.plan_out} cannot be written: {error.strerror}") from error


def as_json(plan: FixPlan) -> dict[str, Any]:
    """A plan for programs; without payloads."""
    return {
        "schema": 1,
        "plan": plan.id,
        "fix": plan.fix,
        "finding": plan.finding,
        "title": plan.title,
        "class": plan.fix_class,
        "context": plan.context,
        "changed": plan.changed,
        "blocked": plan.blocked,
        "risk": plan.risk,
        "restarts": plan.restarts,
        "undo": plan.undo,
        "weakens": plan.weakens,
        "confirm": plan.confirm_name,
        "targets": [str(target) for target in plan.targets],
        "changes": [
            {
                "target": str(one.target),
                "kind": one.kind,
                "title": one.title,
                "command": one.command,
                "diff": one.diff,
                "undo": one.undo,
            }
            for one in plan.changes
        ],
        "checks": [{"text": check.text, "state": check.state, "detail": check.detail} for check in plan.checks],
        "verify": plan.verify,
        "owner": {"kind": plan.owner.kind, "name": plan.owner.name, "where": plan.owner.where} if plan.owner else None,
        "hand_off": plan.hand_off,
    }


_SIGNS: Final = {"ok": "+", "warn": "!", "fail": "x", "unknown": "?"}


def lines(plan: FixPlan, *, diff: bool, file: str = "") -> list[str]:
    """A plan for people; `file` is where it was saved."""
    out = [
        f"{plan.title}   ({plan.fix}, {plan.fix_class.replace('_', ' ')}{f', for {plan.finding}' if plan.finding else ''})"
    ]
    if plan.risk:
        out.append(f"  risk      {plan.risk}")
    if plan.restarts and plan.changed:
        out.append(f"  restarts  {plan.restarts}")
    if plan.weakens:
        out.append("  ! this lowers security")
    for check in plan.checks:
        out.append(f"  {_SIGNS.get(check.state, ' ')} {check.text}{f': {check.detail}' if check.detail else ''}")
    for change in plan.changes:
        out += [f"  - {change.title}", f"      {change.command}"]
        if diff and change.diff:
            out += [f"      {line}" for line in change.diff.splitlines()]
    if plan.changed:
        out += [f"  undo      {plan.undo}", f"  verify    {plan.verify}"]
        confirm = f"--confirm={plan.confirm_name}" if plan.confirm_name else "--yes"
        command = shlex.join(["harborpilot", "apply", file or "FILE", f"--write={plan.context}", confirm])
        out.append(f"  apply     {command}{'' if file else '   (FILE by --plan-out)'}")
    elif not plan.hand_off and not plan.blocked:
        out.append("  nothing to change: it is as it should be")
    if plan.blocked:
        out.append(f"  x cannot be applied: {plan.blocked}")
    if plan.hand_off:
        out += ["", *plan.hand_off.rstrip().splitlines()]
    return out

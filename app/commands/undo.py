"""`harborpilot undo`: list applied plans, the interrupted ones first, or put back what one of them changed."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from shlex import quote

from app.bootstrap import build_run
from app.commands.flags import add_kube, add_output, add_run, add_ssh, parser
from app.commands.writing import build_fixing, journal, reach
from app.errors import RefusedError, UsageError
from app.files import load_rulebook
from app.fixes.journal import Applied
from app.model.target import Target


def flags() -> argparse.ArgumentParser:
    """All flags of the command."""
    found = parser(
        "undo", "Without PLAN: list what was applied, interrupted plans first. With PLAN: put back what it changed."
    )
    found.add_argument("plan", nargs="?", help="id of an applied plan")
    found.add_argument("--write", metavar="CONTEXT", default="", help="unlock this context for this run, by its name")
    found.add_argument("--yes", action="store_true", help="confirm")
    found.add_argument("--registry", default="", help="host of the Harbor whose API has to be undone")
    add_kube(found)
    add_ssh(found)
    add_run(found)
    add_output(found, "text", "json")
    return found


def run(words: Sequence[str]) -> int:
    """Exit 0 listed or undone, 2 no such plan, 5 refused."""
    options = flags().parse_args(words)
    kept = journal()
    if options.plan is None:
        _list(
            sorted((kept.summary(plan) for plan in kept.plans()), key=lambda one: one.state != "interrupted"),
            options.output,
        )
        return 0
    if options.plan not in kept.plans():
        raise UsageError(f"no applied plan {options.plan!r} in {kept.folder}", "`harborpilot undo` lists the plans.")
    applied = kept.summary(options.plan)
    if applied.state == "unreadable":
        raise UsageError(f"the journal of {options.plan} cannot be read: {applied.steps[0]}")
    if options.write != applied.context:
        raise RefusedError(f"{applied.context} is read-only", f"Unlock it for this run with --write={applied.context}.")
    if not options.yes:
        raise RefusedError("the undo was not confirmed", "Confirm it with --yes.")
    return asyncio.run(_undo(options, applied))


async def _undo(options: argparse.Namespace, applied: Applied) -> int:
    rulebook, _ = load_rulebook()
    if not options.context and not options.harbor_context:
        options.context = applied.context
    built = build_run(options, rulebook)
    try:
        registry = options.registry or _registry_of(applied.plan)
        # Harbor's API is put back through whatever way leads to it, as when it was changed.
        opened = await reach(built, registry) if registry and options.harbor_user else None
        gateway = build_fixing(built, opened, registry).gateway
        gateway.unlock(options.write)
        lines = await gateway.undo(applied.plan)
    finally:
        await built.close()
    if options.output == "json":
        print(
            json.dumps(
                {"schema": 1, "plan": applied.plan, "undone": True, "steps": lines}, indent=2, ensure_ascii=False
            )
        )
    else:
        print("\n".join(lines) or "nothing had been changed")
    return 0


def _registry_of(plan: str) -> str:
    """The registry that a plan's targets name; empty where it changed none."""
    begun = next((event for event in journal().read(plan) if event.get("event") == "begun"), {})
    for target in begun.get("targets", ()):
        registry = Target.parse(str(target)).get("registry")
        if registry:
            return registry
    return ""


def _list(found: Sequence[Applied], output: str) -> None:
    if output == "json":
        print(
            json.dumps(
                {
                    "schema": 1,
                    "plans": [
                        {
                            "plan": one.plan,
                            "state": one.state,
                            "fix": one.fix,
                            "title": one.title,
                            "context": one.context,
                            "steps": list(one.steps),
                        }
                        for one in found
                    ],
                },
                indent=2,
                ensure_ascii=False,
            )
        )
        return
    if not found:
        print("nothing was applied yet")
    for one in found:
        when = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M") if one.at else ""
        print(f"{one.plan:14} {one.state:12} {one.context:16} {when:17} {one.title}")
        if one.state in ("interrupted", "unreadable"):
            for step in one.steps:
                print(f"    {step}")
            if one.state == "interrupted":
                print(
                    f"    put back with: harborpilot undo {one.plan} {quote(f'--write={one.context}')} --yes; to go on, plan it again"
                )

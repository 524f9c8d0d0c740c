"""`harborpilot diagnose`: judge live, a bundle, a text or a push; the same engine as behind the screens."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.firstlook import clean, note, tell_no_cluster, tell_refused, tell_text_alone
from app.commands.flags import add_kube, add_output, add_run, add_ssh, duration, parser
from app.errors import UsageError
from app.files import load_rulebook
from app.model.material import Material
from app.rulebook.book import Rulebook
from app.runner.assemble import TEXT_ALONE, Ask, Judged, judge_material, outcome_of
from app.runner.output import EXIT, to_json, to_markdown, to_text, to_yaml

if TYPE_CHECKING:
    from app.bootstrap import Run
    from app.runner.investigation import Opened


def flags() -> argparse.ArgumentParser:
    """All flags of the command."""
    found = parser(
        "diagnose",
        "Judge why pulls or pushes fail. Read-only: nothing is changed, no pod is created, no image is pulled.",
    )
    found.add_argument("image", nargs="?", help="only this image; default: everything that fails now")
    found.add_argument("--bundle", metavar="DIR|FILE.tar.gz", help="judge an evidence bundle; nothing is asked")
    found.add_argument("--text", metavar="FILE|-", help="a text that was seen: an error line, a CI log")
    found.add_argument("--push", metavar="IMAGE", help="a push of this image fails")
    found.add_argument(
        "--again-after",
        metavar="5m",
        type=duration,
        default=0.0,
        help="count token keys once more after this time, where two were seen: a rollout passes, a fault stays (off by default)",
    )
    found.add_argument("--strict", action="store_true", help="a finding that is only noticed counts as a fault")
    add_kube(found)
    add_ssh(found)
    add_run(found)
    add_output(found, "text", "json", "yaml", "markdown")
    return found


def run(words: Sequence[str]) -> int:
    """Exit 3 a fault was found, 0 healthy, 4 inconclusive."""
    options = flags().parse_args(words)
    rulebook, problems = load_rulebook()
    for problem in problems[:20]:
        print(f"harborpilot: {problem}", file=sys.stderr)
    if options.text == "-" and options.password_stdin:
        raise UsageError("standard input holds either the text or the passwords", "Use --password-file for these.")
    text = read_text(options.text)
    ask = Ask(text=text, push=options.push, image=options.image or options.push)
    if options.bundle:
        judged = _bundle(rulebook, options.bundle, ask)
    elif text is not None and not _live_wanted(options):
        if not options.quiet:
            tell_text_alone()
        judged = judge_material(rulebook, Material(), ask, unread=TEXT_ALONE)
    else:
        judged = asyncio.run(_live(rulebook, options, ask))
    judged = _answered(rulebook, judged, options.answer)
    show(judged, rulebook, options.output)
    outcome = outcome_of(judged)
    noticed = any(item.step.also_noticed for item in judged)
    return 3 if options.strict and outcome == "healthy" and noticed else EXIT[outcome]


def _live_wanted(options: argparse.Namespace) -> bool:
    """A text alone is judged alone; naming a cluster or nodes asks them too."""
    from app.settings import Configured

    named = (options.kubeconfig, options.context, options.ssh_config, options.push, options.image)
    return any(value and not isinstance(value, Configured) for value in named)


def _bundle(rulebook: Rulebook, path: str, ask: Ask) -> list[Judged]:
    from app.session.bundle import read_bundle

    bundle = read_bundle(Path(path))
    for name in bundle.unread:
        note(f"not read: {name}")
    for what in bundle.broken:
        note(f"{what}; what it holds stays unknown")
    return judge_material(rulebook, bundle.material, ask, given=bundle.evidence)


async def _live(rulebook: Rulebook, options: argparse.Namespace, ask: Ask) -> list[Judged]:
    from app.bootstrap import build_run

    built = build_run(options, rulebook)
    try:
        loop = asyncio.get_running_loop()
        end = loop.time() + options.timeout
        try:
            async with asyncio.timeout_at(end):
                await built.investigation.scan()
        except TimeoutError:
            note(
                f"reading the cluster's pods took longer than {options.timeout:g} s and was given up; raise --timeout or name a namespace with -n"
            )
        tell_refused(built.investigation.material, built.notes)
        if options.no_kube and not options.push and not options.quiet:
            tell_no_cluster(ssh=not options.no_ssh, http=not options.no_http)
        _tell_push(options)
        opened = built.investigation.fold(ask)
        if options.verbose:
            note(f"{len(opened)} incidents")
        for number, item in enumerate(opened[: built.most_incidents]):
            if loop.time() >= end:
                note(
                    f"the time is up: {number} of {len(opened)} incidents were looked at closely; raise --timeout for the rest"
                )
                break
            await built.investigation.collect(item, seconds=end - loop.time())
        _tell_unreached(opened)
        if options.again_after:
            await _again(built, opened[: built.most_incidents], options.again_after, end)
        return sorted(
            (built.investigation.judged(item) for item in opened),
            key=lambda judged: (
                min((standing.certainty.rank for standing in judged.step.standings), default=9),
                -len(judged.case.incident.pods),
            ),
        )
    finally:
        await built.close()


def _tell_push(options: argparse.Namespace) -> None:
    """What a run beside a push, in a CI job for one, cannot know, and what would tell more."""
    if not options.push or options.quiet:
        return
    if options.no_kube and options.no_ssh:
        note(
            "no cluster and no node is asked: what Harbor's pods, their logs, keys and clocks show stays unknown;"
            " token keys and clocks are only seen through the registry's answers"
        )
    if options.text is None and not options.try_upload:
        note(
            "no text of the failing push was given, so what it met is unknown: pass its output with --text FILE|-,"
            " or let an upload be started and cancelled with --try-upload"
        )


def _tell_unreached(opened: Sequence[Opened]) -> None:
    """Harbor's own host was named and could not be read."""
    from app.probes.harbor_compose import UNREACHED

    found = [document for item in opened if (document := item.material.get(UNREACHED)) is not None]
    if found:
        note(f"Harbor's host could not be read over SSH: {found[0].detail}; its settings, logs and keys stay unknown")


async def _again(built: Run, opened: Sequence[Opened], after: float, end: float) -> None:
    """Wait, and count the token keys once more, for those incidents where two were seen."""
    loop = asyncio.get_running_loop()
    waiting = [item for item in opened if built.investigation.lasts(item)]
    if not waiting:
        return
    if loop.time() + after >= end:
        note(f"two token keys were seen; they are not counted again after {after:g} s, since --timeout ends before")
        return
    note(f"two token keys were seen; they are counted once more in {after:g} s")
    await asyncio.sleep(after)
    for item in waiting:
        try:
            async with asyncio.timeout_at(end):
                await built.investigation.again(item)
        except TimeoutError:
            note("the second count of token keys did not end in time")


def _answered(rulebook: Rulebook, judged: list[Judged], answers: Sequence[str]) -> list[Judged]:
    if not answers:
        return judged
    from dataclasses import replace

    from app.engine.advance import advance

    pairs = dict(answer.partition("=")[::2] for answer in answers)
    if any(not value for value in pairs.values()):
        raise UsageError(
            "--answer takes QUESTION=ANSWER",
            "Questions are named as `symptom/question`; see `harborpilot rules show SYMPTOM`.",
        )
    _check_answers(rulebook, pairs)
    again = []
    for item in judged:
        case = replace(item.case, answers={**item.case.answers, **pairs})
        again.append(Judged(case, advance(rulebook, case, interactive=False)))
    return again


def _check_answers(rulebook: Rulebook, pairs: Mapping[str, str]) -> None:
    for name, value in pairs.items():
        symptom, _, ident = name.partition("/")
        tree = rulebook.symptoms[symptom].tree if symptom in rulebook.symptoms else ()
        question = next((item for item in tree if item.id == ident), None)
        if question is None:
            raise UsageError(
                f"--answer {name}: there is no such question",
                "Questions are named as `symptom/question`; see `harborpilot rules show SYMPTOM`.",
            )
        if value != "unknown" and not (value.isdigit() and 0 < int(value) <= len(question.branches)):
            raise UsageError(
                f"--answer {name}={value}: the answer is a number from 1 to {len(question.branches)}, or unknown",
                f"`harborpilot rules show {symptom}` lists the branches in order.",
            )


def read_text(name: str | None) -> str | None:
    """Content of `--text`. Raises UsageError when it cannot be read."""
    if name is None:
        return None
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error


def show(judged: Sequence[Judged], rulebook: Rulebook, output: str) -> None:
    """Print in the format asked for."""
    if output == "json":
        print(to_json(judged))
    elif output == "yaml":
        print(to_yaml(judged), end="")
    elif output == "markdown":
        print(clean(to_markdown(judged, rulebook)))
    else:
        print(clean(to_text(judged, {name: fix.title for name, fix in rulebook.fixes.items()})))

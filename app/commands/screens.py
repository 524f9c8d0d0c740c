"""The screens: `harborpilot` without a command. Only Textual is imported before the first frame; the desk is built after it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.commands.flags import add_kube, add_run, add_ssh, parser
from app.errors import UsageError

if TYPE_CHECKING:
    from app.desk import Desk


def flags() -> argparse.ArgumentParser:
    """Flags of the screens: where to look, and how they look."""
    found = parser("", "Open the board of what fails to pull or push now.")
    found.prog = "harborpilot"
    found.add_argument("--bundle", metavar="DIR|FILE.tar.gz", help="open an evidence bundle")
    found.add_argument("--text", metavar="FILE", help="open with a text that was seen")
    found.add_argument(
        "--theme", default="", metavar="NAME", help="dark, light, high-contrast, deuteranopia, tritanopia, no-colour"
    )
    found.add_argument(
        "--write", metavar="CONTEXT", default="", help="start unlocked for this context; asked for again in each dialog"
    )
    found.add_argument("--no-color", action="store_true")
    add_kube(found)
    add_ssh(found)
    add_run(found)
    return found


def run(words: Sequence[str]) -> int:
    """Open the screens. Raises UsageError without a terminal."""
    options = flags().parse_args(words)
    if options.bundle:
        return open_app("bundle", options.bundle, options)
    if options.text:
        from app.commands.diagnose import read_text

        return open_app("text", read_text(options.text) or "", options)
    return open_app("board", "", options)


def open_practice(scenario: str | None = None) -> int:
    """Open the practice cluster, on one scenario or on the list."""
    return open_app("train", scenario or "")


def open_app(kind: str, argument: str = "", options: argparse.Namespace | None = None) -> int:
    """Run the application until it ends."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise UsageError("the screens need a terminal", "Without one: `harborpilot diagnose`, or `--help`.")
    from app.tui import HarborPilotApp, Start

    chosen = options or flags().parse_args([])
    # Practice and replay never touch a cluster, whatever kubeconfig lies about.
    live = kind in ("board", "text", "bundle")
    app = HarborPilotApp(
        lambda: build_desk(chosen, live=live), Start(kind, argument), theme=getattr(chosen, "theme", "")
    )
    app.run()
    return app.return_code or 0


def build_desk(options: argparse.Namespace, *, live: bool) -> Desk:
    """The desk with all that is slow to import. Raises HarborPilotError; a missing kubeconfig is no error here."""
    from app.errors import KubeconfigError
    from app.files import load_rulebook, rule_files, site_files, state_dir
    from app.model.view import Mode
    from app.runner.console import Console
    from app.runner.investigation import Investigation
    from app.runner.sessions import WalkJournal

    rulebook, problems = load_rulebook()
    from app.clients.clock import RandomIds, SystemClock

    clock, ids = SystemClock(), RandomIds()
    state = state_dir()

    def make_journal(context: str, source: str) -> WalkJournal:
        from app.commands.catalogue import product_version

        return WalkJournal(state / "sessions", clock, ids, product_version(), context, source, rulebook)

    run: Any = None
    notices: tuple[str, ...] = ()
    forgotten = _forget(state, clock.now())
    if live:
        from app.bootstrap import build_run

        try:
            run = build_run(options, rulebook)
            notices = tuple(run.notes)
        except KubeconfigError as error:
            notices = (f"{error.what} {error.next_step}",)
            options.no_kube = True
            run = build_run(options, rulebook)
    investigation = run.investigation if run is not None else Investigation(rulebook)
    context = run.context if run is not None and run.connections else ""
    make_fixing = None
    if run is not None and run.connections:
        from app.commands.writing import build_fixing

        def make_fixing(opened: Any) -> Any:
            return build_fixing(run, opened)

    practice, make_practice = _practice(state, clock, rulebook)
    console = Console(
        rulebook, clock, state, investigation, context, Mode.LIVE if context else Mode.NOTHING, make_fixing, make_journal,
        practice=practice, make_practice=make_practice,
        host_key_store=run.investigation.world.nodes if run is not None and run.investigation.world is not None else None,
        credentials=run.budget.lines if run is not None else tuple,
        texts=dict([*rule_files(), *site_files()]), rule_problems=tuple(str(problem) for problem in problems), notices=(*notices, *forgotten),
        closer=run.close if run is not None else None,
    )  # fmt: skip
    write = getattr(options, "write", "")
    if write:
        if write != context:
            raise UsageError(
                f"--write={write} is not the name of the context {context!r}", "Read-only stays the default."
            )
        console.unlocked.add(write)
        console.walks.locked = False
    return console


def _forget(state: Any, now: float) -> tuple[str, ...]:
    """Remove sessions that are older than the setting allows; says how many went."""
    from app.session.store import forget_old
    from app.settings import load

    days = load().settings.sessions.keep_days
    gone = forget_old(state / "sessions", now=now, keep_days=days)
    count = f"{len(gone)} session{'s' if len(gone) > 1 else ''}"
    return (f"{count} older than {days:g} days removed (sessions.keep_days)",) if gone else ()


def _practice(state: Any, clock: Any, rulebook: Any) -> tuple[Any, Any]:
    """The practice cluster and how its runs become investigations; writes go to the simulated world alone."""
    import secrets

    from app.clients.clock import RandomIds
    from app.files import scenario_files
    from app.fixes.gateway import Gateway
    from app.fixes.journal import UndoJournal
    from app.runner.collect import World
    from app.runner.credentials import Budget
    from app.runner.fixing import Fixing
    from app.runner.investigation import Investigation
    from app.training.practice import Practice, read_all, titles

    known, _ = read_all(scenario_files())
    practice = Practice(known, state, clock, titles(rulebook))

    def make(run: Any, rulebook: Any) -> tuple[Any, Any]:
        world = World(run.clock, run.kube, run.nodes, run.http, Budget(harbor=run.harbor_login), jobs=8)
        investigation = Investigation(rulebook, world)

        def make_fixing(opened: Any) -> Any:
            del opened
            writers = run.writers()
            gateway = Gateway(run.context, writers, UndoJournal(state / "practice-undo"), run.settle)
            return Fixing(
                investigation, gateway, RandomIds(), secrets.token_bytes(16), run.settle, writers.harbor_reader
            )

        return investigation, make_fixing

    return practice, make

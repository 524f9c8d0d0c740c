"""Command line: parses flags, calls one command, maps errors to exit codes. The only writer to the terminal."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from app.errors import HarborPilotError

COMMANDS: Final = {
    "diagnose": "judge what fails, live or from a bundle, a text or a push",
    "collect": "write an evidence bundle, read-only and redacted",
    "explain": "show who wins and why for one image on one node: credential, hosts, settings",
    "plan": "plan a fix and show its diff",
    "apply": "apply a saved plan",
    "undo": "undo an applied plan",
    "train": "practise in a simulated cluster",
    "replay": "step through a saved session",
    "report": "write the page for the ticket from a session",
    "sessions": "list saved sessions",
    "rules": "check, test or show the rules",
    "doctor": "look for what is missing on this machine, and for secrets in what was written",
    "config": "show, validate or write the configuration",
    "paths": "where files are kept",
    "completion": "print shell completion",
}
_EXIT_CODES: Final = """exit codes: 0 done, nothing wrong · 1 the tool failed · 2 bad usage, config or rules · 3 a fault was found / there is something to change
            4 inconclusive · 5 refused · 6 applied, but not verified · 130 interrupted"""


def product_version() -> str:
    """The installed version."""
    try:
        return version("harborpilot")
    except PackageNotFoundError:
        return "0+source"


def _top() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harborpilot",
        description="Find out why nodes cannot pull from, or CI cannot push to, a private registry, and mend it. Without a command: the screens.",
        epilog="commands:\n"
        + "\n".join(f"  {name:11} {text}" for name, text in COMMANDS.items())
        + "\n\n"
        + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"harborpilot {product_version()}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] == "help":
            words = [*words[1:2], "--help"]
        if words and words[0] in ("-h", "--help", "--version"):
            _top().parse_args(words)
        name = words[0] if words and not words[0].startswith("-") else "screens"
        if name not in COMMANDS and name != "screens":
            _top().error(f"no command {name!r}")
        module = importlib.import_module(f"app.commands.{name}")
        return int(module.run(words[1:] if name != "screens" else words))
    except HarborPilotError as error:
        print(f"harborpilot: {error.what}", file=sys.stderr)
        if error.next_step:
            print(f"  {error.next_step}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("harborpilot: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1

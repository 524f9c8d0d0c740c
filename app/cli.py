"""Command line: parses flags, calls one command, maps errors to exit codes. The only writer to the terminal."""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence

from app.commands.catalogue import COMMANDS, EXIT_CODES, product_version
from app.errors import HarborPilotError, UsageError


def _top() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harborpilot",
        description="Find out why nodes cannot pull from, or CI cannot push to, a private registry, and mend it. Without a command: the screens.",
        epilog="commands:\n"
        + "\n".join(f"  {name:11} {text}" for name, text in COMMANDS.items())
        + "\n\n"
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"harborpilot {product_version()}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # a library's remark is no message for an operator; `python -W` shows them
    try:
        if words and words[0] == "help":
            words = [*words[1:2], "--help"]
        if words and words[0] in ("-h", "--help", "--version"):
            _top().parse_args(words)
        name = words[0] if words and not words[0].startswith("-") else "screens"
        if name not in COMMANDS and name != "screens":
            raise UsageError(
                f"there is no command {name!r}", f"Commands: {', '.join(COMMANDS)}. Without one: the screens."
            )
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
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"harborpilot: {what}", file=sys.stderr)
        return 1

"""Command line: parses flags, calls one command, maps errors to exit codes. The only writer to the terminal."""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence

from app.commands.catalogue import COMMANDS, EXIT_CODES, product_version
from app.errors import HarborPilotError, UsageError


def _help() -> str:
    """The commands first, then the flags of the screens, which are what runs without a command."""
    from app.commands.screens import flags

    parser = flags()
    parser.usage = "harborpilot [flags]\n       harborpilot COMMAND [flags]   (`harborpilot COMMAND --help` lists them)"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Find out why nodes cannot pull from, or CI cannot push to, a private registry, and mend it. Without a command: the screens.\n\n"
        "commands:\n" + "\n".join(f"  {name:11} {text}" for name, text in COMMANDS.items()) + f"\n\n{EXIT_CODES}"
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    return parser.format_help()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # a library's remark is no message for an operator; `python -W` shows them
    try:
        if words and words[0] == "help":
            words = [*words[1:2], "--help"]
        if words and words[0] == "--version":
            print(f"harborpilot {product_version()}")
            return 0
        if words and words[0] in ("-h", "--help"):
            print(_help(), end="")
            return 0
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

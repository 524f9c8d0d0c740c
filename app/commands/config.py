"""`harborpilot config show|validate|init|schema`: what is set, by whom, and whether it is right."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.commands.flags import parser
from app.errors import UsageError
from app.settings import SYSTEM, Loaded, fields, read, schema, user_file

_SAMPLE = """\
# Settings of harborpilot. A flag wins over the environment (HARBORPILOT_RUN__JOBS=8), that over this file, this file over {system}.
# Unknown keys are mistakes; `harborpilot config validate` checks, `harborpilot config show` says where each value comes from.
# Passwords are no settings: pull secrets, the agent and --password-stdin bring them.
"""


def run(words: Sequence[str]) -> int:
    """Exit 0 in order, 2 with any mistake."""
    flags = parser("config", "Show, validate or write the configuration.")
    flags.add_argument(
        "what",
        choices=("show", "validate", "init", "schema"),
        metavar="{show,validate,init,schema}",
        help="show: every value and its source; validate: every mistake; init: write a commented file; schema: JSON Schema for editors",
    )
    flags.add_argument("file", nargs="?", help="validate: this file; init: write to this file")
    flags.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text")
    flags.add_argument("--json", action="store_const", dest="output", const="json", help="short for -o json")
    options = flags.parse_args(words)
    if options.file and options.what in ("show", "schema"):
        raise UsageError(f"config {options.what} takes no file")
    if options.what == "init":
        return _init(Path(options.file) if options.file else user_file())
    if options.what == "schema":
        print(json.dumps(schema(), indent=2))
        return 0
    if options.what == "validate":
        return _validate(options.file)
    loaded = read(os.environ)
    _show(loaded, options.output)
    for problem in loaded.problems:
        print(f"harborpilot: {problem}", file=sys.stderr)
    return 2 if loaded.problems else 0


def _show(loaded: Loaded, output: str) -> None:
    if output == "text":
        for item in loaded.values:
            value = "-" if item.value == "" else item.value
            print(f"{item.name:22} {value!s:24} {item.source}")
        return
    rows = {item.name: {"value": item.value, "source": item.source} for item in loaded.values}
    if output == "json":
        print(json.dumps(rows, indent=1))
    else:
        import yaml

        print(yaml.safe_dump(rows, sort_keys=False), end="")


def _validate(file: str | None) -> int:
    if file and not Path(file).is_file():
        raise UsageError(f"no such file: {file}", "Without a name the files in force are checked.")
    loaded = read({}, (Path(file),)) if file else read(os.environ)
    for problem in loaded.problems:
        print(problem)
    if loaded.problems:
        print(
            f"config validate: {len(loaded.problems)} mistake{'' if len(loaded.problems) == 1 else 's'}; no command runs until that is mended",
            file=sys.stderr,
        )
        return 2
    there = [str(path) for path in ((Path(file),) if file else (SYSTEM, user_file())) if path.is_file()]
    print(f"config validate: in order ({', '.join(there) or 'no file; what is built in is in force'})")
    return 0


def _init(path: Path) -> int:
    lines = [_SAMPLE.format(system=SYSTEM)]
    section = ""
    for name, _, default in fields():
        head, _, key = name.partition(".")
        if head != section:
            lines.append(f"\n#{head}:\n")
            section = head
        lines.append(f"#  {key}: {json.dumps(default)}\n")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("x", encoding="utf-8") as file:
            file.writelines(lines)
        path.chmod(0o600)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", "It is not written over; edit it, or name another file.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    print(path)
    return 0

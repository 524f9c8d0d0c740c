"""What commands there are, and the version: known without importing any of them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

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
EXIT_CODES: Final = """exit codes: 0 done, nothing wrong · 1 the tool failed · 2 bad usage, config or rules · 3 a fault was found / there is something to change
            4 inconclusive · 5 refused · 6 applied, but not verified · 130 interrupted"""


def product_version() -> str:
    """The installed version."""
    try:
        return version("harborpilot")
    except PackageNotFoundError:
        return "0+source"

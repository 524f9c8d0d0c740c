"""Errors of our own limits: bad rules, unreadable bundles, refused writes. Trouble at a target is evidence, not an error.

HarborPilotError
├── UsageError            exit 2   bad flag, bad config, missing answer
│   └── NothingToJudgeError        a text that says nothing of a failing request
├── RuleError             exit 2   a rule file that cannot be used
├── BundleError           exit 2   an evidence bundle that cannot be read
├── SessionError          exit 2   a recording that cannot be read
├── KubeconfigError       exit 2   no usable kubeconfig or context
├── InputNeededError      exit 2   a fix wants something of the operator first
├── RefusedError          exit 5   read-only, not confirmed, plan stale, rights missing
└── VerifyFailedError     exit 6   a fix was applied and its verification failed
"""

from __future__ import annotations


class HarborPilotError(Exception):
    """Base: what happened, and what to do next, in the operator's words. `exit_code` is what the command line returns."""

    exit_code = 1
    title = "Harbor Pilot failed"

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n{self.next_step}" if self.next_step else self.what


class UsageError(HarborPilotError):
    """A flag, a config value or an answer that cannot be used."""

    exit_code = 2
    title = "Bad usage"


class NothingToJudgeError(UsageError):
    """A text that says nothing of a failing pull or push."""

    title = "Nothing to judge"


class RuleError(HarborPilotError):
    """A rule file that cannot be used; `where` is `file:line`."""

    exit_code = 2
    title = "Bad rule"

    def __init__(self, what: str, where: str = "", next_step: str = "") -> None:
        super().__init__(f"{where}: {what}" if where else what, next_step)
        self.where = where


class BundleError(HarborPilotError):
    """An evidence bundle that is unsafe or unreadable."""

    exit_code = 2
    title = "Bundle not readable"


class SessionError(HarborPilotError):
    """A recording with an unknown schema, or one that is damaged."""

    exit_code = 2
    title = "Session not readable"


class KubeconfigError(HarborPilotError):
    """No usable kubeconfig, context or credential plugin."""

    exit_code = 2
    title = "Kubeconfig not usable"


class InputNeededError(HarborPilotError):
    """A fix cannot be planned before the operator has supplied something; `needs` are (key, question, secret)."""

    exit_code = 2
    title = "The fix needs something from you"

    def __init__(self, fix: str, finding: str, needs: tuple[tuple[str, str, bool], ...]) -> None:
        super().__init__("; ".join(question for _, question, _ in needs), "It is kept in memory only.")
        self.fix = fix
        self.finding = finding
        self.needs = needs


class RefusedError(HarborPilotError):
    """A write that the gateway does not let through."""

    exit_code = 5
    title = "Refused"


class VerifyFailedError(HarborPilotError):
    """A fix was applied, and what it should have mended still fails."""

    exit_code = 6
    title = "Not verified"


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read or written, without what the sentence around it says already."""
    return error.strerror or str(error) if isinstance(error, OSError) else "it is no UTF-8 text"

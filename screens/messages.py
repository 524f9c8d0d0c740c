"""What a screen asks for. The application handles each one; a screen never does anything itself."""

from __future__ import annotations

from textual.message import Message

from app.model.evidence import Evidence
from app.model.fix import FixPlan
from app.model.view import UnknownRow


class Ask(Message):
    """Base of a request without an argument."""


class About(Message):
    """Base of a request about one thing, by id or name."""

    def __init__(self, id: str = "") -> None:  # noqa: A002 - the plain word
        super().__init__()
        self.id = id


# --- from the board ---


class BoardShown(Ask):
    """The board is on top again: draw what is known now."""


class Refresh(Ask):
    pass


class OpenIncident(About):
    pass


class NewPush(Ask):
    pass


class PasteText(Ask):
    """Not `Paste`: Textual calls `on_paste` for what the terminal pastes."""


class OpenBundle(Ask):
    pass


class ShowScenarios(Ask):
    pass


class ShowSelfCheck(Ask):
    pass


class ShowSessions(Ask):
    pass


class ShowRules(Ask):
    pass


class ShowNextToFail(Ask):
    pass


# --- from the walk ---


class CollectNext(Message):
    """`consent`: the price was shown and accepted."""

    def __init__(self, consent: bool = False) -> None:
        super().__init__()
        self.consent = consent


class SetAuto(Message):
    def __init__(self, auto: bool) -> None:
        super().__init__()
        self.auto = auto


class Answer(Message):
    """`value`: number of the branch from 1, or `unknown`."""

    def __init__(self, question: str, value: str) -> None:
        super().__init__()
        self.question = question
        self.value = value


class ObjectTo(Message):
    """Ask for the reason, then leave this evidence out."""

    def __init__(self, evidence: tuple[Evidence, ...]) -> None:
        super().__init__()
        self.evidence = evidence


class Supply(Message):
    """Open the box for output that the operator got by hand."""

    def __init__(self, row: UnknownRow) -> None:
        super().__init__()
        self.row = row


class ReadAgain(Ask):
    pass


class StepBack(Ask):
    pass


class GoOn(Ask):
    pass


class ShowEvidence(Ask):
    pass


class ShowDiagnosis(About):
    """Empty id: the best standing."""


class ShowPullPlan(About):
    """Id is a node; empty: a failing one."""


# --- fixes ---


class PlanFix(Message):
    def __init__(self, fix: str, finding: str) -> None:
        super().__init__()
        self.fix = fix
        self.finding = finding


class Unlock(About):
    """Ask for the name of this context."""


class ApplyPlan(Message):
    """Ask for confirmation of exactly this plan, then apply it."""

    def __init__(self, plan: FixPlan, retry_pods: bool) -> None:
        super().__init__()
        self.plan = plan
        self.retry_pods = retry_pods


class UndoPlan(Message):
    def __init__(self, plan: FixPlan) -> None:
        super().__init__()
        self.plan = plan


class StopApply(Ask):
    pass


class BackToWalk(Ask):
    """Leave the fix behind; the walk asks again."""


class Decide(About):
    """`retry`, `skip` or `stop` for the target that failed."""


# --- sessions, texts ---


class OpenReplay(About):
    pass


class Resume(About):
    pass


class Seek(Message):
    def __init__(self, position: int) -> None:
        super().__init__()
        self.position = position


class JudgeAgain(Ask):
    pass


class Report(About):
    """The Markdown page, of a session or (empty) of the open incident."""


class Export(About):
    pass


class SaveText(Message):
    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self.name = name
        self.text = text


class CopyText(Message):
    """`what` names it in the note that is shown."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__()
        self.text = text
        self.what = what


# --- practice ---


class ShowBrief(About):
    pass


class StartScenario(About):
    pass


class TakeHint(Message):
    def __init__(self, cost: int) -> None:
        super().__init__()
        self.cost = cost


class GiveUp(Ask):
    pass


# --- connections ---


class ShowHostKeys(Ask):
    pass

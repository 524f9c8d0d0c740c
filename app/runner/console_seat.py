"""What all parts of the desk for the screens share: whose investigation it is, its walks and its journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from app.fixes.journal import UndoJournal
from app.model.standing import Standing
from app.model.view import (
    BriefView,
    DebriefView,
    Mode,
    ScenariosView,
    TrainingStrip,
)
from app.ports import Clock
from app.rulebook.book import Rulebook
from app.runner.desk import Walks
from app.runner.fixing import Fixing
from app.runner.investigation import Investigation, Opened
from app.runner.sessions import ReplayDesk, WalkJournal


class Practising(Protocol):
    """The practice cluster as the console needs it."""

    def scenarios(self) -> ScenariosView: ...
    def brief(self, scenario: str) -> BriefView: ...
    async def start(self, scenario: str) -> Any: ...
    def strip(self) -> TrainingStrip | None: ...
    def hint(self) -> str: ...
    def solved(self) -> bool: ...
    def give_up(self) -> DebriefView: ...
    def debrief(self) -> DebriefView: ...
    def note(self, text: str) -> None: ...
    def named(self, finding: str) -> None: ...
    def applied(self, fix: str, finding: str, *, helped: bool) -> None: ...
    def given(self) -> Mapping[str, str]: ...
    async def hand_over(self, fix: str, finding: str) -> tuple[bool, str]: ...


class HostKeys(Protocol):
    """Host keys that nobody has vouched for, as the live nodes keep them."""

    @property
    def problems(self) -> tuple[Any, ...]: ...
    def accept(self, problem: Any) -> None: ...


@dataclass(slots=True)
class Seat:
    """One operator before one investigation."""

    rulebook: Rulebook
    clock: Clock
    state: Path
    """Folder of sessions, undo journals and exports."""
    investigation: Investigation
    context: str
    mode: Mode
    make_fixing: Callable[[Opened], Fixing] | None
    make_journal: Callable[[str, str], WalkJournal] | None
    """(context, source) → a journal; None: nothing is recorded."""
    practice: Practising | None = None
    make_practice: Callable[[Any, Rulebook], tuple[Investigation, Callable[[Opened], Fixing]]] | None = None
    host_key_store: HostKeys | None = None
    credentials: Callable[[], tuple[str, ...]] = tuple
    texts: Mapping[str, str] = field(default_factory=dict)
    rule_problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    closer: Callable[[], Any] | None = None
    walks: Walks = field(init=False)
    journal: WalkJournal | None = field(init=False, default=None)
    fixing: Fixing | None = field(init=False, default=None)
    unlocked: set[str] = field(init=False, default_factory=set)
    replaying: ReplayDesk | None = field(init=False, default=None)
    home: tuple[Any, ...] = field(init=False, default=())
    decisions: asyncio.Queue[str] = field(init=False, default_factory=asyncio.Queue)
    standing: Standing | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._seat(self.investigation, self.context, self.mode, self.make_fixing)

    def _seat(
        self, investigation: Investigation, context: str, mode: Mode, make_fixing: Callable[[Opened], Fixing] | None
    ) -> None:
        """Sit down before another investigation; nothing of the last one is carried over."""
        self.investigation, self.context, self.mode, self.make_fixing = investigation, context, mode, make_fixing
        if self.journal is not None:
            self.journal.close()
        source = {Mode.LIVE: "live", Mode.PRACTICE: "practice", Mode.BUNDLE: "bundle"}.get(mode, "text")
        self.journal = self.make_journal(context, source) if self.make_journal is not None else None
        self.fixing = None
        clock = investigation.world.clock if investigation.world is not None else self.clock
        self.walks = Walks(
            investigation, context, mode, clock.now, texts=self.texts, rule_problems=self.rule_problems,
            notices=self._notices(), locked=context not in self.unlocked, why_not_fix=self._why_not,
        )  # fmt: skip
        if self.journal is not None:
            self.walks.journal = self.journal
        if mode is Mode.PRACTICE and self.practice is not None:
            self.walks.strip = self.practice.strip

    def _notices(self) -> tuple[str, ...]:
        waiting = UndoJournal(self.state / "undo").interrupted()
        interrupted = tuple(
            f"apply {plan} was interrupted: `harborpilot undo {plan}` shows what was done and puts it back"
            for plan in waiting[:3]
        )
        return (*interrupted, *self.notices, *self.rulebook.notes)

    def _why_not(self, opened: Opened) -> Mapping[str, str]:
        if self.mode in (Mode.BUNDLE, Mode.REPLAY):
            return dict.fromkeys(self.rulebook.fixes, "a bundle can be judged, not changed")
        if opened.collector is None or self.make_fixing is None:
            return dict.fromkeys(self.rulebook.fixes, "no cluster is connected")
        return {}

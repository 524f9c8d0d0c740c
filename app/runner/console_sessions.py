"""The desk lists, replays, resumes, reports and exports sessions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from app.errors import UsageError
from app.model.material import Material
from app.model.view import (
    Mode,
    ReplayView,
    SessionsView,
    WalkView,
)
from app.runner.assemble import Ask
from app.runner.console_seat import Seat
from app.runner.sessions import ReplayDesk, sessions_view
from app.session.replay import read_session
from app.session.report import markdown
from app.session.store import find_session


@dataclass(slots=True)
class SessionConsole(Seat):
    """The part of `app.desk.Desk` about sessions."""

    @property
    def _sessions(self) -> Path:
        return self.state / "sessions"

    async def sessions(self) -> SessionsView:
        return await asyncio.to_thread(sessions_view, self._sessions, self.clock.now())

    async def replay(self, session: str) -> ReplayView:
        self.replaying = await asyncio.to_thread(ReplayDesk.open, self._sessions, session, self.rulebook)
        return self.replaying.view()

    def _replay(self) -> ReplayDesk:
        if self.replaying is None:
            raise UsageError("no replay is open")
        return self.replaying

    async def seek(self, position: int) -> ReplayView:
        return self._replay().seek(position)

    async def judge_again(self) -> ReplayView:
        return self._replay().judge_again()

    async def resume(self, session: str) -> WalkView:
        """Go on with a saved walk: its evidence and answers are there; what has aged is asked again."""
        replay = await asyncio.to_thread(read_session, find_session(self._sessions, session))
        state = replay.seek(len(replay))
        if state.incident is None:
            raise UsageError("this session holds no incident", "It was interrupted before a walk was opened.")
        case = state.case()
        opened = self.walks.add(
            Material(),
            Ask(
                text="\n".join(state.incident.texts) or None,
                push=state.incident.image if state.incident.action == "push" else None,
                image=state.incident.image,
            ),
            pasted=True,
        )
        opened.scene = replace(
            opened.scene, incident=replace(state.incident, id=opened.scene.incident.id), variables=state.variables
        )
        opened.given = case.evidence
        opened.answers = dict(case.answers)
        opened.objections = list(case.objections)
        return self.walks.open(opened.scene.incident.id)

    async def report(self, session: str = "") -> str:
        if session:
            desk = await asyncio.to_thread(ReplayDesk.open, self._sessions, session, self.rulebook)
            return desk.report()
        if self.replaying is not None and self.mode is Mode.REPLAY:
            return self.replaying.report()
        path = self.journal.path if self.journal is not None else None
        if path is None:
            raise UsageError("no walk is open that could be reported", "Open an incident first.")
        replay = await asyncio.to_thread(read_session, path)
        return markdown(replay.seek(len(replay)), replay.header)

    async def save(self, name: str, text: str) -> str:
        return str(await asyncio.to_thread(_write_new, self.state / "exports", name, text))

    async def export(self, session: str = "") -> str:
        path = find_session(self._sessions, session) if session else self.journal.path if self.journal else None
        if path is None:
            raise UsageError("no session is open", "Open an incident first.")
        text = await asyncio.to_thread(path.read_text, "utf-8")
        return await self.save(path.name, text)


def _write_new(folder: Path, name: str, text: str) -> Path:
    """A new owner-only file; a number is added where the name is taken."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    plain = (
        "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in Path(name).name) or "export.txt"
    )
    for number in range(1, 1000):
        path = folder / (plain if number == 1 else f"{Path(plain).stem}-{number}{Path(plain).suffix}")
        try:
            with path.open("x", encoding="utf-8") as file:
                path.chmod(0o600)
                file.write(text)
            return path
        except FileExistsError:
            continue
    raise UsageError(f"{folder} holds a thousand exports of this name", "Clean it up.")

"""The desk that the screens talk to: board and walk, fixes, sessions, practice and the self-check, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import RefusedError
from app.model.material import Document, Material
from app.model.target import Target
from app.model.view import (
    BoardView,
    ConnectionsView,
    DiagnosisView,
    EvidenceView,
    HostKeyRow,
    HostKeysView,
    Mode,
    PullPlanView,
    RulesView,
    WalkView,
)
from app.runner import selfcheck
from app.runner.assemble import NOT_IN_BUNDLE, Ask
from app.runner.console_fixes import FixConsole
from app.runner.console_practice import PracticeConsole
from app.runner.console_seat import HostKeys, Practising
from app.runner.console_sessions import SessionConsole
from app.runner.investigation import Investigation


@dataclass(slots=True)
class Console(FixConsole, SessionConsole, PracticeConsole):
    """Implements `app.desk.Desk`: board, walk and connections here, the rest in its parts."""

    # --- board ---

    async def board(self) -> BoardView:
        return self.walks.board()

    async def refresh(self) -> AsyncIterator[BoardView]:
        async for view in self.walks.refresh():
            yield view

    async def open_bundle(self, path: str) -> BoardView:
        from app.session.bundle import read_bundle  # noqa: PLC0415 - only when a bundle is opened

        bundle = await asyncio.to_thread(lambda: read_bundle(Path(path).expanduser()))
        investigation = Investigation(
            self.rulebook, None, bundle.material, bundle.evidence, vantage="bundle", unread=NOT_IN_BUNDLE
        )
        opened = investigation.fold()
        for item in opened:
            await asyncio.to_thread(investigation.judge, item)
        self._seat(investigation, Path(path).name, Mode.BUNDLE, None)
        self.walks.notices = (*self.walks.notices, *bundle.broken)
        if bundle.unread:
            self.walks.notices = (
                *self.walks.notices,
                f"not read: {', '.join(bundle.unread[:4])}"
                + (f" and {len(bundle.unread) - 4} more" if len(bundle.unread) > 4 else ""),
            )
        return self.walks.board()

    async def paste(self, text: str) -> WalkView:
        opened = self.walks.add(Material(), Ask(text=text), pasted=True)
        return self.walks.open(opened.scene.incident.id)

    async def describe_push(self, image: str, where: str, text: str) -> WalkView:
        words = text or ""
        opened = self.walks.add(
            Material([Document("where.txt", where)] if where else []), Ask(text=words or None, push=image), pasted=True
        )
        return self.walks.open(opened.scene.incident.id)

    # --- walk ---

    async def open_incident(self, incident: str) -> WalkView:
        return await asyncio.to_thread(self.walks.open, incident)

    async def collect_next(self, consent: bool = False) -> AsyncIterator[WalkView]:
        async for view in self.walks.collect_next(consent):
            yield view
        if self.mode is Mode.PRACTICE and self.practice is not None and view.step.path:
            self.practice.note(f"asked: {view.step.path[-1].text}")

    async def set_auto(self, auto: bool) -> WalkView:
        return self.walks.set_auto(auto)

    async def answer(self, question: str, value: str) -> WalkView:
        return self.walks.answer(question, value)

    async def object_to(self, probe: str, target: Target, reason: str) -> WalkView:
        return self.walks.object_to(probe, target, reason)

    async def supply(self, paste_as: str, target: str, text: str) -> WalkView:
        return self.walks.supply(paste_as, target, text)

    async def back(self) -> WalkView:
        return self.walks.back()

    async def read_again(self) -> AsyncIterator[WalkView]:
        async for view in self.walks.read_again():
            yield view

    async def go_on(self) -> WalkView:
        return self.walks.go_on()

    async def evidence(self) -> EvidenceView:
        return self.walks.evidence()

    async def diagnosis(self, finding: str = "") -> DiagnosisView:
        view = self.walks.diagnosis(finding)
        if self.mode is Mode.PRACTICE and self.practice is not None:
            self.practice.note(f"looked at: {view.standing.title}")
        return view

    # --- connections, pull plan, rules ---

    async def self_check(self) -> ConnectionsView:
        world = self.investigation.world
        if world is None:
            return ConnectionsView(self.walks.header(), reading="a bundle needs no connection")
        opened = list(self.investigation.opened.values())
        place = next(
            (item.scene.harbor.namespace for item in opened if item.scene.harbor), self.investigation.harbor_namespace
        )
        names = tuple(
            dict.fromkeys(
                name
                for item in opened
                for name in (*item.scene.incident.nodes[:3], *item.scene.incident.healthy_nodes[:2])
            )
        )[:6]
        host = next((item.scene.incident.registry for item in opened if item.scene.incident.registry), "") or ""
        rights, (nodes, sudo), registry = await asyncio.gather(
            selfcheck.rights(world, self.investigation.selection.namespace, place),
            selfcheck.nodes(world, names),
            selfcheck.registry(world, host, ("operator", *(f"node/{name}" for name in names[:2]))),
        )
        rows = (*rights, *sudo)
        self.walks.rights_missing = sum(1 for row in rows if row.have is False)
        pending = len(self.host_key_store.problems) if self.host_key_store is not None else 0
        return ConnectionsView(
            self.walks.header(), (*selfcheck.kube(world), *nodes, *registry), rows, self.credentials(), pending
        )

    async def host_keys(self) -> HostKeysView:
        store = self.host_key_store
        if store is None:
            return HostKeysView(())
        rows = tuple(_host_key(problem) for problem in store.problems)
        return HostKeysView(rows, next((str(problem.file) for problem in store.problems), ""))

    async def accept_host_keys(self, hosts: tuple[str, ...]) -> ConnectionsView:
        store = self.host_key_store
        for problem in store.problems if store is not None else ():
            row = _host_key(problem)
            if row.host not in hosts and problem.host not in hosts:
                continue
            if row.changed:
                raise RefusedError(
                    f"the key of {problem.host} is not the one on file",
                    "A changed key is never accepted here. Find out why it changed, then mend known_hosts yourself.",
                )
            assert store is not None  # noqa: S101 - there is a problem to accept
            await asyncio.to_thread(store.accept, problem)
        for opened in self.investigation.opened.values():
            if opened.collector is not None:
                opened.collector.forget_nodes()
        return await self.self_check()

    async def pull_plan(self, node: str = "") -> PullPlanView:
        return self.walks.pull_plan(node)

    async def rules(self) -> RulesView:
        return self.walks.rules()

    async def close(self) -> None:
        if self.journal is not None:
            self.journal.close()
        if self.closer is not None:
            done = self.closer()
            if asyncio.iscoroutine(done):
                await done


def _host_key(problem: Any) -> HostKeyRow:
    """A problem of the live nodes as a row. Revoked keys are shown like changed ones: neither is accepted."""
    shown = f"{problem.host} ({problem.node})" if problem.node and problem.node != problem.host else problem.host
    known = ", ".join(key.fingerprint for key in problem.known if key.kind == problem.key.kind)
    return HostKeyRow(shown, problem.key.kind, problem.key.fingerprint, problem.verdict.value != "unknown", known)


__all__ = ["Console", "HostKeys", "Practising"]

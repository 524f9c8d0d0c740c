"""The desk that the screens talk to: board and walk, fixes, sessions, practice and the self-check, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from app.errors import InputNeededError, RefusedError, UsageError
from app.fixes.base import Hidden
from app.fixes.journal import UndoJournal
from app.model.case import Incident
from app.model.fix import ApplyReport, FixPlan, StepState, TargetProgress
from app.model.material import Document, Material
from app.model.standing import Standing
from app.model.target import Target
from app.model.view import (
    ApplyView,
    BoardView,
    BriefView,
    ConnectionsView,
    DebriefView,
    DiagnosisView,
    EvidenceView,
    HeaderView,
    HostKeyRow,
    HostKeysView,
    Mode,
    PlanView,
    PullPlanView,
    ReplayView,
    RulesView,
    ScenariosView,
    SessionsView,
    TrainingStrip,
    WalkView,
)
from app.ports import Clock
from app.probes.base import Scene
from app.rulebook.book import Rulebook
from app.runner import selfcheck
from app.runner.assemble import Ask
from app.runner.desk import Walks
from app.runner.fixing import Fixing
from app.runner.investigation import Investigation, Opened
from app.runner.sessions import ReplayDesk, WalkJournal, sessions_view
from app.session.replay import read_session
from app.session.report import markdown
from app.session.store import find_session


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


class HostKeys(Protocol):
    """Host keys that nobody has vouched for, as the live nodes keep them."""

    @property
    def problems(self) -> tuple[Any, ...]: ...
    def accept(self, problem: Any) -> None: ...


@dataclass(slots=True)
class Console:
    """Implements `app.desk.Desk`."""

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

    # --- board ---

    async def board(self) -> BoardView:
        return self.walks.board()

    async def refresh(self) -> AsyncIterator[BoardView]:
        async for view in self.walks.refresh():
            yield view

    async def open_bundle(self, path: str) -> BoardView:
        from app.session.bundle import read_bundle  # noqa: PLC0415 - only when a bundle is opened

        bundle = await asyncio.to_thread(lambda: read_bundle(Path(path).expanduser()))
        investigation = Investigation(self.rulebook, None, bundle.material, bundle.evidence, vantage="bundle")
        opened = investigation.fold()
        for item in opened:
            await asyncio.to_thread(investigation.judge, item)
        self._seat(investigation, Path(path).name, Mode.BUNDLE, None)
        if bundle.unread:
            self.walks.notices = (
                *self.walks.notices,
                f"{len(bundle.unread)} files were not read: {', '.join(bundle.unread[:4])}",
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

    async def go_on(self) -> WalkView:
        return self.walks.go_on()

    async def evidence(self) -> EvidenceView:
        return self.walks.evidence()

    async def diagnosis(self, finding: str = "") -> DiagnosisView:
        view = self.walks.diagnosis(finding)
        if self.mode is Mode.PRACTICE and self.practice is not None:
            self.practice.note(f"looked at: {view.standing.title}")
        return view

    # --- fixes ---

    def _why_not(self, opened: Opened) -> Mapping[str, str]:
        if self.mode in (Mode.BUNDLE, Mode.REPLAY):
            return dict.fromkeys(self.rulebook.fixes, "a bundle can be judged, not changed")
        if opened.collector is None or self.make_fixing is None:
            return dict.fromkeys(self.rulebook.fixes, "no cluster is connected")
        return {}

    def _standing(self, finding: str) -> Standing:
        opened = self.walks.opened()
        step = opened.step or self.investigation.judge(opened)
        found = next(
            (item for item in (*step.standings, *step.also_noticed) if not finding or item.finding == finding), None
        )
        if found is None:
            raise UsageError(f"{finding or 'a finding'} is not judged in this walk", "Open the diagnosis first.")
        return found

    async def plan(
        self,
        fix_id: str,
        finding: str = "",
        inputs: Mapping[str, str] | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> PlanView:
        opened = self.walks.opened()
        why = self._why_not(opened).get(fix_id, "")
        if why or self.make_fixing is None:
            raise RefusedError(f"{fix_id} cannot be planned here: {why or 'no cluster is connected'}")
        fixing = self._fixing(opened)
        standing = self._standing(finding)
        given: dict[str, str | Hidden] = {
            name: Hidden(text) if name in secrets else text for name, text in (inputs or {}).items()
        }
        plan, needs = await fixing.plan(opened, standing, fix_id, given)
        if plan is None:
            raise InputNeededError(fix_id, finding, tuple((need.key, need.question, need.secret) for need in needs))
        self.standing = standing
        if self.mode is Mode.PRACTICE and self.practice is not None:
            self.practice.named(standing.finding)
        if self.journal is not None:
            self.journal.plan(plan)
        return self._plan_view(plan)

    def _fixing(self, opened: Opened) -> Fixing:
        assert self.make_fixing is not None  # noqa: S101 - the callers have looked
        fixing = self.make_fixing(opened)
        for name in self.unlocked:
            if name == fixing.gateway.context or name in fixing.gateway.others:
                fixing.gateway.unlock(name)
        self.fixing = fixing
        return fixing

    def _gateway_alone(self) -> Fixing:
        """For the undo of an earlier run's apply, when no incident is open."""
        if self.make_fixing is None:
            raise RefusedError("no cluster is connected", "`harborpilot undo` lists the plans that can be undone.")
        alone = next(iter(self.investigation.opened.values()), None) or Opened(
            Scene(Incident(), self.clock.now()), Material(), None
        )
        return self._fixing(alone)

    def _plan_view(self, plan: FixPlan) -> PlanView:
        self.walks.locked = plan.context not in self.unlocked
        return PlanView(self.walks.header(), plan, unlock_name=plan.context if self.walks.locked else "")

    async def unlock(self, name: str) -> HeaderView:
        fixing = self.fixing
        if fixing is None:
            raise RefusedError("nothing is planned yet", "Open a fix first; unlocking is for one context by its name.")
        fixing.gateway.unlock(name)
        self.unlocked.add(name)
        self.walks.locked = False
        self.walks.journal.note("note", text=f"unlocked {name}")
        return self.walks.header()

    async def apply(self, plan: FixPlan, retry_pods: bool = False) -> AsyncIterator[ApplyView]:
        fixing = self.fixing
        if fixing is None or self.standing is None:
            raise RefusedError("this plan was not made at this desk", "Plan the fix again.")
        opened = self.walks.opened()
        if self.journal is not None:
            self.journal.confirm(plan, plan.confirm_name or "enter")
        started = self.walks.now()
        running: list[str] = [""]
        waiting: list[str] = [""]

        async def decide(target: Target, note: str) -> str:
            waiting[0] = str(target)
            running[0] = note
            choice = await self.decisions.get()
            waiting[0] = ""
            return choice

        while not self.decisions.empty():
            self.decisions.get_nowait()
        reports = fixing.apply(
            opened, self.standing, plan, confirmed=plan.confirm_name or plan.id, retry_pods=retry_pods,
            say=lambda text: running.__setitem__(0, text), decide=decide,
        )  # fmt: skip
        last: ApplyReport | None = None
        async for report in _ticking(reports):
            if report is not None:
                last = report
            progress = (
                last.progress if last else tuple(TargetProgress(target, StepState.QUEUED) for target in plan.targets)
            )
            busy = next(
                (
                    item
                    for item in progress
                    if item.state in (StepState.WRITING, StepState.RESTARTING, StepState.VERIFYING)
                ),
                None,
            )
            yield ApplyView(
                plan, progress, now_running=running[0] or (busy.note if busy else ""), waiting_on=waiting[0],
                stopping=fixing.gateway.stopping, elapsed=self.walks.now() - started,
            )  # fmt: skip
        if last is None:
            return
        if self.journal is not None:
            self.journal.progress(last)
            self.journal.applied(last)
        if self.mode is Mode.PRACTICE and self.practice is not None:
            self.practice.applied(plan.fix, plan.finding, helped=last.verified)
        verdict = (
            "what had failed works now" if last.verified else "applied, and what had failed is not seen to work yet"
        )
        notes = "; ".join(item.note for item in last.progress if item.note)
        yield ApplyView(
            plan,
            last.progress,
            finished=True,
            verified=last.verified,
            verdict=f"{verdict}{': ' + notes[:200] if notes else ''}",
            can_undo=_undoable(plan),
            elapsed=self.walks.now() - started,
        )
        self.walks.trails.pop(self.walks.current, None)
        await self._look_again(opened)

    async def _look_again(self, opened: Opened) -> None:
        """After a change the walk starts from fresh evidence: nothing seen before it counts any more."""
        if self.investigation.world is None:
            return
        fresh = Investigation(
            self.rulebook, self.investigation.world, vantage=self.investigation.vantage, harbor_namespace=self.investigation.harbor_namespace,
            selection=self.investigation.selection, try_credentials=self.investigation.try_credentials,
        )  # fmt: skip
        await fresh.scan()
        self.investigation.material = fresh.material
        pinned = {name: item for name, item in self.investigation.opened.items() if name in self.investigation.pinned}
        self.investigation.opened = {**fresh.opened, **pinned}
        for item in self.investigation.opened.values():
            if item.step is None:
                await asyncio.to_thread(self.investigation.judge, item)
        if opened.scene.incident.id not in self.investigation.opened:
            opened.scene = replace(opened.scene, incident=replace(opened.scene.incident, succeeded=True))

    async def interrupted(self) -> ApplyView | None:
        """The newest apply that was begun and neither finished nor undone, as its journal has it."""
        book = UndoJournal(self.state / "undo")
        waiting = await asyncio.to_thread(book.interrupted)
        if not waiting:
            return None
        events = await asyncio.to_thread(book.read, waiting[0])
        return _cut_off(waiting[0], events)

    async def stop_apply(self) -> None:
        if self.fixing is not None:
            self.fixing.gateway.stop()

    async def decide(self, choice: str) -> None:
        await self.decisions.put(choice)

    async def undo(self, plan: FixPlan) -> AsyncIterator[ApplyView]:
        fixing = self.fixing
        if fixing is None:
            raise RefusedError(
                "nothing was applied at this desk", "`harborpilot undo` lists the plans that can be undone."
            )
        working = tuple(TargetProgress(target, StepState.WRITING, "putting back") for target in plan.targets)
        yield ApplyView(plan, working, now_running="putting back, last step first", undoing=True)
        lines = await fixing.gateway.undo(plan.id)
        if self.journal is not None:
            self.journal.undone(plan.id, complete=True, note="; ".join(lines))
        done = tuple(
            TargetProgress(target, StepState.UNDONE, next((line for line in lines if _names(target, line)), ""))
            for target in plan.targets
        )
        yield ApplyView(plan, done, finished=True, undoing=True, verified=True, verdict="; ".join(lines)[:300])
        await self._look_again(self.walks.opened())

    # --- sessions ---

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

    # --- practice ---

    def _practice(self) -> Practising:
        if self.practice is None:
            raise UsageError("practice is not available here")
        return self.practice

    async def scenarios(self) -> ScenariosView:
        return self._practice().scenarios()

    async def brief(self, scenario: str) -> BriefView:
        return self._practice().brief(scenario)

    async def start_scenario(self, scenario: str) -> BoardView:
        practice = self._practice()
        assert self.make_practice is not None  # noqa: S101 - comes with the practice
        run = await practice.start(scenario)
        investigation, make_fixing = self.make_practice(run, self.rulebook)
        self.unlocked.discard(run.context)
        self._seat(investigation, run.context, Mode.PRACTICE, make_fixing)
        if getattr(run, "push_text", ""):
            self.walks.add(
                Material(), Ask(text=run.push_text, push=getattr(run, "push_image", None) or None), pasted=True
            )
        async for view in self.walks.refresh():
            last = view
        return last

    async def hint(self) -> WalkView:
        self._practice().hint()
        return self.walks.walk()

    async def give_up(self) -> DebriefView:
        return self._practice().give_up()

    async def debrief(self) -> DebriefView | None:
        if self.mode is not Mode.PRACTICE or self.practice is None or not self.practice.solved():
            return None
        return self.practice.debrief()

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


async def _ticking(reports: AsyncIterator[ApplyReport], every: float = 0.5) -> AsyncIterator[ApplyReport | None]:
    """Reports as they come, and None in between, so that the screen shows what is waited for."""
    pending: asyncio.Future[ApplyReport] | None = None
    while True:
        if pending is None:
            pending = asyncio.ensure_future(reports.__anext__())
        done, _ = await asyncio.wait([pending], timeout=every)
        if not done:
            yield None
            continue
        try:
            report = pending.result()
        except StopAsyncIteration:
            return
        pending = None
        yield report


def _host_key(problem: Any) -> HostKeyRow:
    """A problem of the live nodes as a row. Revoked keys are shown like changed ones: neither is accepted."""
    shown = f"{problem.host} ({problem.node})" if problem.node and problem.node != problem.host else problem.host
    known = ", ".join(key.fingerprint for key in problem.known if key.kind == problem.key.kind)
    return HostKeyRow(shown, problem.key.kind, problem.key.fingerprint, problem.verdict.value != "unknown", known)


def _cut_off(plan: str, events: list[Mapping[str, Any]]) -> ApplyView:
    """What a journal tells of an apply that was interrupted."""
    begun: Mapping[str, Any] = next((event for event in events if event.get("event") == "begun"), {})
    steps = {str(event["step"]): str(event.get("state", "")) for event in events if event.get("event") == "step"}
    progress = []
    for text in begun.get("targets", ()):
        mine = [state for step, state in steps.items() if step.startswith(f"{text}#")]
        state = StepState.QUEUED if not mine else StepState.FAILED_KEPT if "started" in mine else StepState.WRITING
        note = (
            "not begun"
            if not mine
            else "cut off in the middle of a write"
            if "started" in mine
            else f"{len(mine)} writes done, not verified"
        )
        progress.append(TargetProgress(Target.parse(str(text)), state, note))
    targets = tuple(item.target for item in progress)
    title = str(begun.get("title", plan))
    shell = FixPlan(
        plan, str(begun.get("fix", "")), str(begun.get("finding", "")), title, "cure", "", "", "from the journal", targets, (), (), (),
        "the next diagnosis", context=str(begun.get("context", "")),
    )  # fmt: skip
    return ApplyView(
        shell,
        tuple(progress),
        finished=True,
        verdict="an earlier run was cut off here; undo puts back what was written",
        can_undo=bool(steps),
    )


def _undoable(plan: FixPlan) -> bool:
    return any(change.kind not in ("node-restart", "kube-restart") for change in plan.changes)


def _names(target: Target, line: str) -> bool:
    return any(name and name in line for _, name in target.parts)


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

"""The desk over an investigation: board and walk. Fixes, sessions and practice are parts of their own beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from app.errors import HarborPilotError, NothingToJudgeError, UsageError
from app.model.evidence import OPERATOR_ANSWER, Evidence, Of, Value
from app.model.material import Material
from app.model.standing import Ask as AskStep
from app.model.standing import Collect, Done, Step
from app.model.target import Target
from app.model.view import (
    BoardView,
    DiagnosisView,
    EvidenceView,
    HeaderView,
    Mode,
    PullPlanView,
    RulesView,
    TrainingStrip,
    WalkView,
)
from app.probes.runtime_inputs import plan_inputs
from app.pullplan.plan import plan_pull
from app.rulebook.book import Rulebook, TreeBranch
from app.rulebook.conditions import AllOf, Condition, Term, Use
from app.runner import views
from app.runner.assemble import NO_ERROR_TEXT, Ask
from app.runner.investigation import Investigation, Opened


class Journal(Protocol):
    """Where events of a session go. The recorder implements it; a desk without a session passes `Silent`."""

    def note(self, kind: str, **data: Any) -> None: ...


@dataclass(slots=True)
class Silent:
    """Keeps nothing."""

    def note(self, kind: str, **data: Any) -> None:
        del kind, data


Trail = tuple[Mapping[str, str], tuple[Any, ...], tuple[Evidence, ...]]


@dataclass(slots=True)
class Walks:
    """Board and walk of one investigation."""

    investigation: Investigation
    context: str
    mode: Mode
    now: Callable[[], float]
    journal: Journal = field(default_factory=Silent)
    locked: bool = True
    texts: Mapping[str, str] = field(default_factory=dict)
    """Rule files by name, for the rules browser."""
    rule_problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    problem: tuple[str, str] = ("", "")
    seen_at: float | None = None
    rights_missing: int | None = None
    strip: Callable[[], TrainingStrip | None] = lambda: None
    why_not_fix: Callable[[Opened], Mapping[str, str]] = lambda opened: {}
    current: str = ""
    auto: bool = True
    pasted: dict[str, bool] = field(default_factory=dict)
    trails: dict[str, list[Trail]] = field(default_factory=dict)
    counted: tuple[int, int] = (0, 0)
    gone_on: set[str] = field(default_factory=set)

    @property
    def rulebook(self) -> Rulebook:
        return self.investigation.rulebook

    def _next(self, opened: Opened) -> Step:
        """Judge the open incident as the operator walks it: on its own or step by step."""
        return self.investigation.next_step(opened, auto=self.auto, go_on=opened.scene.incident.id in self.gone_on)

    # --- board ---

    def header(self) -> HeaderView:
        """What stands in the first line of every screen."""
        place, version, host = "", "", ""
        for opened in self.investigation.opened.values():
            if opened.scene.harbor is not None:
                place = opened.scene.harbor.namespace or (
                    f"ssh {opened.scene.harbor.ssh_host}" if opened.scene.harbor.ssh_host else "only its HTTP"
                )
                host = opened.scene.incident.registry or ""
            if opened.case is not None:
                version = version or next(
                    (
                        str(record.facts["harbor.version"])
                        for record in opened.case.evidence
                        if record.facts.get("harbor.version")
                    ),
                    "",
                )
        return HeaderView(self.context, self.mode, self.locked, host, version, place, self.seen_at, self.rights_missing)

    def board(self, loading: str = "") -> BoardView:
        """The board as it is known now."""
        return views.board(
            self.header(), self.now(), list(self.investigation.opened.values()), self.rulebook,
            pasted=self.pasted, material=self.investigation.material, loading=loading, problem=self.problem, notices=self.notices,
        )  # fmt: skip

    async def refresh(self) -> AsyncIterator[BoardView]:
        """Scan once more, then judge each incident from what the scan itself has shown."""
        yield self.board("reading pods and events")
        world = self.investigation.world
        if world is None or world.kube:
            # Without a cluster there is nothing to list, and an incident without a text would stand there for no reason.
            await self.investigation.scan()
        self.seen_at = self.now()
        self.problem = self._scan_problem()
        for opened in list(self.investigation.opened.values()):
            if opened.step is None:
                await asyncio.to_thread(self.investigation.judge, opened)
        yield self.board()

    def _scan_problem(self) -> tuple[str, str]:
        if self.investigation.world is not None and not self.investigation.world.kube:
            return (
                "no cluster is at hand",
                "Paste an error (v), open a bundle (o), describe a push (n) or practise (t).",
            )
        for path in ("pods.json", "events.json"):
            document = self.investigation.material.get(path)
            if document is not None and document.detail and not document.text:
                return (
                    f"{document.source or path}: {document.outcome.value}: {document.detail}"[:300],
                    "S shows which rights are missing and the smallest grant.",
                )
        return ("", "")

    def add(self, material: Material, ask: Ask, *, pasted: bool) -> Opened:
        """Incidents of a text or a description beside those of the cluster; the first one is returned."""
        alone = Investigation(
            self.rulebook, self.investigation.world, material, vantage=self.investigation.vantage,
            harbor_namespace=self.investigation.harbor_namespace, unread=self.investigation.unread,
            try_credentials=self.investigation.try_credentials,
        )  # fmt: skip
        found = alone.fold(ask)
        if not found:
            raise NothingToJudgeError(
                "nothing in this text could be read as a failing pull or push",
                "Paste the whole line that the client printed, with the command above it.",
            )
        if all(not self.investigation.judge(opened).standings and opened.scene.incident.texts for opened in found):
            raise NothingToJudgeError(
                f"{NO_ERROR_TEXT}: it names no image, registry, client or request",
                "Paste the whole line that the client printed, with the command above it.",
            )
        for opened in found:
            name = f"pasted-{len(self.pasted) + 1}"
            named = replace(opened.scene, incident=replace(opened.scene.incident, id=name))
            opened.scene = self.investigation.placed(named)
            self.investigation.opened[name] = opened
            self.investigation.pinned.add(name)
            self.pasted[name] = pasted
            self.investigation.judge(opened)
        return found[0]

    # --- walk ---

    def opened(self) -> Opened:
        """The open incident. Raises UsageError when there is none any more."""
        found = self.investigation.opened.get(self.current)
        if found is None:
            raise UsageError(
                "this incident is not on the board any more",
                "Its pods may run again; go back to the board and refresh.",
            )
        return found

    def open(self, incident: str) -> WalkView:
        """Open an incident of the board."""
        self.current = incident
        opened = self.opened()
        self.journal.note(
            "opened", incident=opened.scene.incident, variables=dict(opened.scene.variables), rules=self.rulebook.digest
        )
        self._next(opened)
        self._record(opened)
        return self.walk()

    def set_auto(self, auto: bool) -> WalkView:
        """Let the walk read on its own, or step by step."""
        self.auto = auto
        self._next(self.opened())
        return self.walk()

    def walk(self, busy: str = "", problem: str = "") -> WalkView:
        """The walk as it stands."""
        opened = self.opened()
        step = opened.step or self._next(opened)
        priced = self.investigation.price_of(opened, step)
        price = self._price(priced) if priced else ""
        done, total = self.counted
        return views.walk(
            self.header(), opened, self.rulebook, number=len(step.path) or 1, auto=self.auto, busy=busy,
            price=price, done=done, total=total, now=self.now(), training=self.strip(), problem=problem, blind=self._blind(),
        )  # fmt: skip

    def _blind(self) -> str:
        """What this desk cannot read, and how to give it."""
        if self.mode is Mode.BUNDLE:
            return "A bundle is judged: what is not in it cannot be read from here. i adds the output of a command."
        world = self.investigation.world
        if world is not None and world.kube:
            return ""
        asked = "only the registry is asked, from here" if world is not None and world.http else "nothing is asked"
        return (
            f"No cluster is connected, so {asked}: pods, secrets, nodes and Harbor's pods stay unknown. Start with --kubeconfig FILE"
            " or --context NAME (its nodes are read over SSH), open a bundle (o on the board), or add a command's output (i)."
        )

    def _price(self, probes: tuple[str, ...]) -> str:
        names = ", ".join(self.rulebook.probes[probe].title for probe in probes if probe in self.rulebook.probes)
        if "upload.start" in probes:
            return f"{names}: one use of your login for the registry, starts a blob upload there and cancels it"
        return (
            f"{names}: one use of each pull secret at its own registry; a wrong password may count against the account"
        )

    async def collect_next(self, consent: bool = False) -> AsyncIterator[WalkView]:
        """Collect what the step asks for; in auto-drive go on until an operator has to answer or everything is known."""
        opened = self.opened()
        while True:
            # With hundreds of nodes judging takes seconds; in a thread, so that keys are answered meanwhile.
            step = await asyncio.to_thread(self._next, opened)
            if not isinstance(step.next, Collect):
                break
            priced = self.investigation.price_of(opened, step)
            if priced and not consent:
                break
            if priced:
                self.investigation.consent(opened, priced)
                what = "an upload may be started and cancelled" if "upload.start" in priced else ""
                if set(priced) - {"upload.start"}:
                    what = f"{what}, " * bool(what) + "each login may be tried once"
                self.journal.note("note", text=f"consent: {what}")
            names = ", ".join(
                self.rulebook.probes[probe].title if probe in self.rulebook.probes else probe
                for probe, _ in step.next.wanted
            )
            self.counted = (0, 0)
            task = asyncio.ensure_future(
                self.investigation.collect_next(opened, progress=self._progress, seconds=90.0, step=step)
            )
            yield self.walk(busy=names)
            shown = self.counted
            while not task.done():
                await asyncio.wait([task], timeout=0.25)
                if shown != self.counted:
                    shown = self.counted
                    yield self.walk(busy=names)
            await task
            await asyncio.to_thread(self._next, opened)
            self._record(opened)
            yield self.walk(busy=names if self.auto else "")
            if not self.auto:
                break
        yield self.walk()

    def _progress(self, what: str, done: int, total: int) -> None:
        del what
        self.counted = (done, total)

    def _record(self, opened: Opened) -> None:
        if opened.case is not None and opened.step is not None:
            self.journal.note("evidence", records=opened.case.evidence)
            self.journal.note("step", step=opened.step, now=opened.case.now)

    def _remember(self, opened: Opened) -> None:
        self.trails.setdefault(self.current, []).append(
            (dict(opened.answers), tuple(opened.objections), tuple(opened.extra))
        )

    def answer(self, question: str, value: str) -> WalkView:
        """The operator's answer; it ranks and orders, it never proves."""
        opened = self.opened()
        self._remember(opened)
        if question == "price":
            step = opened.step or self._next(opened)
            self.investigation.decline(opened, self.investigation.price_of(opened, step))
            self.journal.note("answer", question=question, value=value)
            return self._judged(opened)
        self.investigation.answer(opened, question, value)
        branch = self._branch(question, value)
        if branch is not None and branch.when is not None:
            fact = facts_of(branch.when)
            if fact:
                opened.extra.append(
                    Evidence(
                        f"answer {question}",
                        vantage=OPERATOR_ANSWER,
                        facts=fact,
                        taken_at=opened.scene.now,
                        excerpt=f"the operator says: {branch.label or value}",
                    )
                )
        self.journal.note("answer", question=question, value=value)
        return self._judged(opened)

    def _branch(self, question: str, value: str) -> TreeBranch | None:
        symptom, _, ident = question.partition("/")
        tree = self.rulebook.symptoms[symptom].tree if symptom in self.rulebook.symptoms else ()
        found = next((item for item in tree if item.id == ident), None)
        if found is None or not value.isdigit() or not 0 < int(value) <= len(found.branches):
            return None
        return found.branches[int(value) - 1]

    def _judged(self, opened: Opened) -> WalkView:
        self._next(opened)
        self._record(opened)
        return self.walk()

    def object_to(self, probe: str, target: Target, reason: str) -> WalkView:
        """Leave a piece of evidence out."""
        opened = self.opened()
        self._remember(opened)
        self.investigation.object_to(opened, probe, target, reason)
        self.journal.note("objection", probe=probe, target=target, reason=reason)
        return self._judged(opened)

    def supply(self, paste_as: str, target: str, text: str) -> WalkView:
        """Output of a command that the operator ran, read as if we had run it."""
        opened = self.opened()
        self._remember(opened)
        path = paste_as
        if paste_as in ("text", "token-response", ""):
            number = sum(1 for document in opened.material if document.path.startswith("pasted-")) + 1
            path = f"pasted-{number}.txt" if paste_as != "token-response" else "harbor/tokens-pasted.json"
        if "<node>" in path or "N/" in path:
            node = Target.parse(target).get("node") if target and target != "incident" else ""
            path = path.replace("<node>", node or (opened.scene.incident.nodes or ("node",))[0])
        self.investigation.supply(opened, path, text)
        self.journal.note("note", text=f"supplied by hand: {path}")
        return self._judged(opened)

    def back(self) -> WalkView:
        """Take back the last answer, objection or paste."""
        opened = self.opened()
        trail = self.trails.get(self.current, [])
        if not trail:
            raise HarborPilotError("nothing to take back", "The walk is at its first step.")
        answers, objections, extra = trail.pop()
        opened.answers = dict(answers)
        opened.objections = list(objections)
        opened.extra = list(extra)
        self.journal.note("back")
        return self._judged(opened)

    async def read_again(self) -> AsyncIterator[WalkView]:
        """Look at the pods once more and drop what was read for the open incident, so that the walk reads it anew.

        Answers, objections and pasted output stay. Raises UsageError when nothing can be asked, or the incident is gone.
        """
        self.investigation.forget(self.opened())
        world = self.investigation.world
        if world is not None and world.kube:
            yield self.walk(busy="reading pods and events")
            await self.investigation.scan()
            self.seen_at = self.now()
        opened = self.opened()
        self.gone_on.discard(self.current)
        self.trails.pop(self.current, None)
        self.journal.note("note", text="everything is read again")
        await asyncio.to_thread(self._next, opened)
        self._record(opened)
        yield self.walk()

    def go_on(self) -> WalkView:
        """After a diagnosis: ask on for what it does not explain."""
        opened = self.opened()
        if self.current not in self.gone_on:
            self.gone_on.add(self.current)
            self._next(opened)
        elif opened.step is not None and isinstance(opened.step.next, AskStep):
            return self.answer(opened.step.next.question.id, "unknown")
        return self.walk(
            problem=""
            if not self._all_known(opened)
            else "every question of the seen symptoms is answered; what is unknown is listed on the right"
        )

    def _all_known(self, opened: Opened) -> bool:
        return opened.step is not None and isinstance(opened.step.next, Done)

    # --- details ---

    def evidence(self) -> EvidenceView:
        """All evidence of the open incident."""
        opened = self.opened()
        case = opened.case
        objected = tuple((item.probe, str(item.target), item.reason) for item in opened.objections)
        title = views.row(opened, self.rulebook).title
        evidence = case.evidence if case else ()
        return EvidenceView(title, evidence, objected, self.now(), units=self.rulebook.units)

    def diagnosis(self, finding: str = "") -> DiagnosisView:
        """One standing in full."""
        opened = self.opened()
        if opened.step is None:
            self.investigation.judge(opened)
        return views.diagnosis(
            self.header(), opened, self.rulebook, finding, can_plan=self.why_not_fix(opened), now=self.now()
        )

    def pull_plan(self, node: str = "") -> PullPlanView:
        """What kubelet and runtime of a node would do for the image of the open incident."""
        opened = self.opened()
        nodes = tuple(
            dict.fromkeys(
                [*opened.scene.incident.nodes, *opened.scene.incident.healthy_nodes, *opened.material.nodes()]
            )
        )
        chosen = node or (nodes[0] if nodes else "")
        if not opened.scene.incident.image:
            raise UsageError("no image is known for this incident", "The pull plan is made for one image on one node.")
        inputs = plan_inputs(opened.material, opened.scene, chosen) if chosen else None
        if inputs is None:
            return PullPlanView(
                opened.scene.incident.image,
                chosen or "no node",
                nodes=nodes,
                unknown=("nothing has been read from a node yet",),
            )
        return views.pull_plan(plan_pull(inputs), nodes, _runtime(opened, chosen))

    def rules(self) -> RulesView:
        """The rulebook in force."""
        return views.rules(self.rulebook, self.texts, self.rule_problems)


def _runtime(opened: Opened, node: str) -> str:
    facts: dict[str, Value] = {}
    for record in opened.case.evidence if opened.case else ():
        if record.target.get("node") == node:
            facts.update(record.facts)
    return " ".join(
        str(facts[name]) for name in ("node.runtime", "node.runtime_version", "node.distro") if facts.get(name)
    )


def facts_of(condition: Condition) -> dict[str, Value]:
    """What an operator states who affirms a condition: the facts of its plain terms. One of several alternatives states none."""
    if isinstance(condition, Use):
        return facts_of(condition.inner)
    if isinstance(condition, AllOf):
        return {fact: value for part in condition.of_all for fact, value in facts_of(part).items()}
    if not isinstance(condition, Term) or condition.over or condition.of is not Of.THIS:
        return {}
    if condition.op == "is" and isinstance(condition.value, bool | int | float | str):
        return {condition.fact: condition.value}
    if condition.op == "has" and isinstance(condition.value, str) and condition.name is None:
        return {condition.fact: (condition.value,)}
    return {}

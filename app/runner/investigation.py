"""One run over one world: scan, open incidents, collect, judge. The desk and the headless commands share it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from app.engine.advance import advance
from app.errors import UsageError
from app.model.case import NOT_ASKED, Case, Objection
from app.model.evidence import OPERATOR_ANSWER, Evidence, Outcome
from app.model.material import Document, Material
from app.model.standing import Certainty, Collect, Done, Step
from app.model.target import INCIDENT, Target
from app.probes import ALL, BY_ID
from app.probes.base import HarborPlace, Probe, Scene
from app.probes.harbor import locate_harbor
from app.probes.incidents import variables_again
from app.probes.registry_push import upload_hosts, with_own_try
from app.probes.registry_wants import tokens_again
from app.rulebook.book import Rulebook
from app.runner.assemble import Ask, Judged, case_of, read_all, scenes
from app.runner.collect import Collector, Progress, World
from app.runner.scan import Selection, scan

PRICED = frozenset({"token.login", "bearer.probe", "upload.start"})
"""Probes that use a credential or write; they wait for consent."""

_LEADING = 6
"""Standings whose missing facts are worth another look."""

_FIRST: Final = (
    (
        ("tls.", "trust.", "ping.", "realm.", "token.", "bearer.", "manifest.", "blob.", "upstream.", "upload.", "harbor.",
         "project.", "artifact.", "robot.", "endpoint.", "image.known", "clock."),
        ("tcp.probe", "trust.verify"),
    ),
    (("token.login", "bearer."), ("secret.read", "secret.login", "secret.around")),
    (("core.exec", "core.logs", "token.anon", "harbor.", "registry.", "proxy.log"), ("core.pods",)),
    (("clock.",), ("harbor.api",)),
    (("content.",), ("disk.read",)),
)  # fmt: skip
"""Beginnings of probe ids → probes whose wants come first: without a connection no request is made, without a secret no try."""


def with_needs(probes: Iterable[Probe]) -> list[Probe]:
    """The probes with those that they build on, in the order of the catalogue."""
    wanted = {probe.id for probe in probes}
    for begins, needs in _FIRST:
        if any(name.startswith(begins) for name in wanted):
            wanted.update(needs)
    return [probe for probe in ALL if probe.id in wanted]


def _proven(step: Step) -> bool:
    return bool(step.standings) and step.standings[0].certainty is Certainty.PROVEN


@dataclass(slots=True)
class Opened:
    """One incident under investigation."""

    scene: Scene
    material: Material
    collector: Collector | None
    given: tuple[Evidence, ...] = ()
    answers: dict[str, str] = field(default_factory=dict)
    objections: list[Objection] = field(default_factory=list)
    extra: list[Evidence] = field(default_factory=list)
    account: str = ""
    """Who pushes, where the operator named the login for this run."""
    first: Material = field(default_factory=Material)
    """What it was opened with and what the operator supplied: all that is left when the rest is to be read again."""
    collected: set[str] = field(default_factory=set)
    """Probes whose wants were asked for; others may have evidence, from what was read for these."""
    declined: set[str] = field(default_factory=set)
    """Probes whose price the operator did not want to pay."""
    case: Case | None = None
    step: Step | None = None
    number: int = 0

    def keep(self, material: Material) -> None:
        """What has come so far; a run that ends early loses nothing of it."""
        self.material = material

    def renew(self, material: Material, scene: Scene) -> Scene:
        """The scene with what has become known: which account is used, which mirror answers, what our own try met."""
        incident = with_own_try(material, scene)
        variables = {**scene.variables, **variables_again(material, incident)}
        if self.account and incident.action == "push":
            variables.setdefault("account", self.account)
        self.scene = replace(scene, incident=incident, variables=variables, now=self.scene.now)
        return self.scene


@dataclass(slots=True)
class Investigation:
    """A rulebook over a world (or over given material alone)."""

    rulebook: Rulebook
    world: World | None = None
    material: Material = field(default_factory=Material)
    given: tuple[Evidence, ...] = ()
    vantage: str = "operator"
    harbor_namespace: str = ""
    harbor_ssh: str = ""
    """SSH host with Harbor's compose installer."""
    unread: str = NOT_ASKED
    """What is said of a fact that nobody has tried to read."""
    selection: Selection = field(default_factory=Selection)
    try_credentials: bool = False
    try_upload: bool = False
    """Consent to start and cancel an upload for a failing push."""
    push_account: str = ""
    """The account of the push's login, where the operator named one: it may be used once."""
    opened: dict[str, Opened] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    """Incidents that no scan gives: pasted, described. A refresh keeps them."""

    def _now(self) -> float | None:
        return self.world.clock.now() if self.world is not None else None

    async def scan(self) -> list[Opened]:
        """Read the cluster's failing pods and fold them into incidents; those already open keep what is known of them."""
        if self.world is not None:
            self.material = self.material.with_documents(
                await scan(self.world, self.selection, harbor_namespace=self.harbor_namespace)
            )
        return self.fold()

    def fold(self, ask: Ask | None = None) -> list[Opened]:
        """Incidents of the material at hand."""
        wanted = ask or Ask()
        wanted = replace(
            wanted,
            vantage=self.vantage,
            now=self._now() if wanted.now is None else wanted.now,
            try_credentials=self.try_credentials,
            push_login=bool(self.push_account),
            try_upload=self.try_upload,
        )
        found: list[Opened] = []
        for scene in scenes(self.material, wanted):
            placed = self.placed(scene)
            known = self.opened.get(scene.incident.id)
            if known is None:
                collector = Collector(self.world) if self.world is not None else None
                known = Opened(
                    placed, self.material, collector, self.given, account=self.push_account, first=self.material
                )
                self.opened[scene.incident.id] = known
            else:
                known.scene = placed
                known.material = known.material.with_documents(self.material)
                known.first = known.first.with_documents(self.material)
            found.append(known)
        current = {item.scene.incident.id for item in found}
        self.opened = {name: item for name, item in self.opened.items() if name in current or name in self.pinned}
        for name in self.pinned & set(self.opened):
            self.opened[name].scene = self.placed(self.opened[name].scene)
        return found

    def placed(self, scene: Scene) -> Scene:
        """The scene with the place where Harbor runs, as far as the scan shows it."""
        if scene.harbor is not None:
            return scene
        if self.harbor_ssh:
            return replace(scene, harbor=HarborPlace(ssh_host=self.harbor_ssh))
        place = locate_harbor(self.material, scene.incident.registry or "")
        if place is None and self.harbor_namespace:
            place = HarborPlace(self.harbor_namespace, kube=True)
        return replace(scene, harbor=place) if place is not None else scene

    # --- collecting ---

    async def collect(
        self,
        opened: Opened,
        probes: Sequence[Probe] | None = None,
        *,
        progress: Progress | None = None,
        seconds: float | None = None,
    ) -> None:
        """Ask the world for what these probes (all by default) want; what came until the time-out counts."""
        if opened.collector is None:
            return
        if progress is not None:
            opened.collector.progress = progress
        chosen = ALL if probes is None else with_needs(probes)
        scene = opened.scene
        if scene.try_upload and self.world is not None and self.world.uploads is not None:
            for host in upload_hosts(scene.incident.registry or ""):
                self.world.uploads.allow_upload(host)
        if not (self.try_credentials or scene.try_credentials or scene.push_login or scene.try_upload):
            chosen = [probe for probe in chosen if probe.id not in PRICED or probe.id == "bearer.probe"]
        opened.collected.update(probe.id for probe in chosen)
        try:
            async with asyncio.timeout(seconds):
                await opened.collector.gather(
                    opened.material, opened.scene, chosen, keep=opened.keep, renew=opened.renew
                )
        except TimeoutError:
            opened.material = opened.material.with_documents(
                [Document("run.txt", detail=f"the run ended after {seconds:g} s; what came later is not known")]
            )
        opened.renew(opened.material, opened.scene)
        if self.world is not None:
            opened.scene = replace(opened.scene, now=self.world.clock.now())

    async def collect_next(
        self,
        opened: Opened,
        *,
        progress: Progress | None = None,
        seconds: float | None = None,
        interactive: bool = True,
        step: Step | None = None,
    ) -> None:
        """Collect what the step (judged now, when it is not given) asks for.

        Not `interactive`: go on past questions that evidence cannot answer.
        """
        step = step or self.judge(opened, interactive=interactive)
        if isinstance(step.next, Collect):
            await self.collect(
                opened,
                [BY_ID[probe] for probe, _ in step.next.wanted if probe in BY_ID],
                progress=progress,
                seconds=seconds,
            )
            opened.extra.extend(await asyncio.to_thread(self._marks, step.next, opened))

    def lasts(self, opened: Opened) -> bool:
        """Whether a second count of token keys, some minutes later, could tell more than the first."""
        return opened.collector is not None and any(tokens_again(opened.material, opened.scene))

    async def again(self, opened: Opened) -> None:
        """That second count."""
        wants = list(tokens_again(opened.material, opened.scene))
        if opened.collector is not None and wants:
            opened.material = await opened.collector.repeat(opened.material, wants, opened.keep)
            if self.world is not None:
                opened.scene = replace(opened.scene, now=self.world.clock.now())

    def _marks(self, wanted: Collect, opened: Opened) -> list[Evidence]:
        """A probe that had nothing to read leaves a record, so that the walk does not ask for it again."""
        case = self._case(opened)
        known = {record.probe for record in case.evidence}
        found = []
        for probe, _ in wanted.wanted:
            if probe not in known:
                spec = self.rulebook.probes.get(probe)
                found.append(
                    Evidence(
                        probe,
                        vantage=opened.scene.vantage,
                        outcome=Outcome.SKIPPED,
                        detail="nothing to read it from was reached" if opened.collector is not None else self.unread,
                        by_hand=spec.by_hand if spec else "",
                        taken_at=opened.scene.now,
                    )
                )
        return found

    def price_of(self, opened: Opened, step: Step) -> tuple[str, ...]:
        """Probes of the next collection that have a price and no consent yet."""
        if not isinstance(step.next, Collect) or opened.collector is None:
            return ()
        scene = opened.scene
        agreed = {"upload.start"} if scene.try_upload else set()
        if scene.try_credentials or (scene.push_login and scene.incident.action == "push"):
            agreed |= PRICED - {"upload.start"}
        return tuple(
            probe
            for probe, _ in step.next.wanted
            if probe in PRICED and probe not in opened.declined and probe not in agreed
        )

    def consent(self, opened: Opened, probes: Iterable[str] = ()) -> None:
        """From here on each login may be tried once; with `upload.start` among the probes an upload may be started, too."""
        upload = "upload.start" in probes
        only = upload and not [probe for probe in probes if probe != "upload.start"]
        opened.scene = replace(
            opened.scene,
            try_credentials=opened.scene.try_credentials or not only,
            try_upload=opened.scene.try_upload or upload,
        )
        if not only and self.world is not None and self.world.credentials is not None:
            self.world.credentials.allow()

    def decline(self, opened: Opened, probes: Iterable[str]) -> None:
        """The operator does not want to pay; the walk goes on without."""
        for probe in probes:
            opened.declined.add(probe)
            opened.extra.append(
                Evidence(
                    probe,
                    vantage=opened.scene.vantage,
                    outcome=Outcome.SKIPPED,
                    detail="declined: it has a price",
                    taken_at=opened.scene.now,
                )
            )

    # --- judging ---

    def _case(self, opened: Opened) -> Case:
        records = read_all(opened.material, opened.scene, self.rulebook)
        case = case_of(opened.scene, [*records, *opened.extra], given=opened.given, unread=self.unread)
        return replace(case, answers=dict(opened.answers), objections=tuple(opened.objections))

    def judge(self, opened: Opened, *, interactive: bool = True) -> Step:
        """Judge from the whole of what is known now."""
        opened.case = self._case(opened)
        opened.step = advance(self.rulebook, opened.case, interactive=interactive)
        return opened.step

    def next_step(self, opened: Opened, *, auto: bool, go_on: bool = False) -> Step:
        """Judge, and say what comes next for an operator at the screen.

        Step by step the questions come in their order. On its own (`auto`) the walk first reads all that is free, then
        offers what has a price, and asks the operator last. A proven finding ends it before price and questions, unless
        the operator wants to `go_on`.
        """
        if not auto:
            return self.judge(opened)
        step = self.judge(opened, interactive=False)
        free = self._free(opened, step)
        if free is not None:
            step = replace(step, next=free)
        elif not go_on and _proven(step):
            answered = tuple(question for question in step.path if question.by in ("evidence", "operator"))
            step = replace(step, path=answered, next=Done("the cause is proven"))
        elif not isinstance(step.next, Collect):
            step = self.judge(opened)
        opened.step = step
        return step

    def _free(self, opened: Opened, step: Step) -> Collect | None:
        """What can be read at no price: the step's own wish, or the next one behind what has a price."""
        if isinstance(step.next, Collect) and not self.price_of(opened, step):
            return step.next
        if isinstance(step.next, Collect):
            assert opened.case is not None  # noqa: S101 - the caller has just judged
            without = [
                Evidence(probe, vantage=opened.scene.vantage, outcome=Outcome.SKIPPED) for probe in sorted(PRICED)
            ]
            case = replace(opened.case, evidence=(*opened.case.evidence, *without))
            beside = advance(self.rulebook, case, interactive=False)
            if isinstance(beside.next, Collect):
                return beside.next
        return None if _proven(step) else self._never_asked(opened, step)

    def _never_asked(self, opened: Opened, step: Step) -> Collect | None:
        """Probes that a leading standing misses a fact of, and that gave evidence only because of what others read."""
        if opened.collector is None:
            return None
        leading = [standing for standing in step.standings if standing.certainty is not Certainty.OUT][:_LEADING]
        probes = dict.fromkeys(missing.probe for standing in leading for missing in standing.missing)
        wanted = [name for name in probes if name in BY_ID and name not in PRICED and name not in opened.collected]
        return Collect(tuple((name, INCIDENT) for name in wanted)) if wanted else None

    def judged(self, opened: Opened, *, interactive: bool = False) -> Judged:
        """The same for output."""
        step = self.judge(opened, interactive=interactive)
        assert opened.case is not None  # noqa: S101 - `judge` has just set it
        return Judged(opened.case, step)

    # --- the operator ---

    def answer(self, opened: Opened, question: str, value: str) -> None:
        opened.answers[question] = value

    def object_to(self, opened: Opened, probe: str, target: Target, reason: str) -> None:
        opened.objections.append(Objection(probe, target, reason))

    def supply(self, opened: Opened, path: str, text: str) -> None:
        """A pasted output becomes the document that we could not read ourselves."""
        pasted = [Document(path, text, taken_at=opened.scene.now, source="pasted by the operator")]
        opened.material = opened.material.with_documents(pasted)
        opened.first = opened.first.with_documents(pasted)

    def forget(self, opened: Opened) -> None:
        """Drop what was read for this incident, not what the operator said, so that it is read anew; consent counts once.

        Raises UsageError where nothing can be asked.
        """
        if opened.collector is None or self.world is None:
            raise UsageError("nothing can be read again here", "What is judged was brought along; i adds newer output.")
        opened.collector.forget()
        opened.material = opened.first
        opened.collected.clear()
        opened.declined.clear()
        opened.extra = [record for record in opened.extra if record.vantage == OPERATOR_ANSWER]
        opened.scene = replace(
            opened.scene, now=self.world.clock.now(), try_credentials=self.try_credentials, try_upload=self.try_upload
        )

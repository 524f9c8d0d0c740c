"""Evidence grows old on a walk, and is read again when the operator asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.model.evidence import OPERATOR_ANSWER, Evidence
from app.model.material import Document, Material
from app.model.standing import Certainty, Collect, Standing
from app.model.target import INCIDENT
from app.model.view import Mode, WalkView
from app.runner.desk import Walks
from app.runner.investigation import Investigation
from app.training.practice import read_all
from app.training.run import PracticeRun, build_run
from tests.fakes.practice import book, world_of

FOLDER = Path(__file__).parents[2] / "rules" / "scenarios"
NAMES = ("name-unknown-on-node", "secret-missing")
SCENARIOS, _ = read_all((str(FOLDER / f"{name}.yaml"), (FOLDER / f"{name}.yaml").read_text("utf-8")) for name in NAMES)
HOUR = 3600.0


async def at_desk(name: str = NAMES[0]) -> tuple[PracticeRun, Walks]:
    run = await build_run(SCENARIOS[name])
    investigation = Investigation(book(), world_of(run), vantage="world")
    await investigation.scan()
    desk = Walks(investigation, "practice", Mode.PRACTICE, run.clock.now)
    desk.open(next(iter(investigation.opened)))
    return run, desk


async def again(desk: Walks) -> WalkView:
    return [view async for view in desk.read_again()][-1]


async def read(desk: Walks) -> WalkView:
    return [view async for view in desk.collect_next()][-1]


def first(view: WalkView) -> Standing:
    return view.step.standings[0]


async def test_what_was_mended_by_hand_is_seen_after_reading_again() -> None:
    run, desk = await at_desk("secret-missing")
    view = await read(desk)
    assert (first(view).finding, first(view).certainty) == ("pull-secret-missing", Certainty.PROVEN)

    await run.hands.do(run.scenario.solution.steps[:1])
    assert first(await read(desk)).certainty is Certainty.PROVEN, "nothing is read twice unasked"

    await again(desk)
    view = await read(desk)
    (missing,) = [one for one in view.step.standings if one.finding == "pull-secret-missing"]
    assert missing.certainty is Certainty.OUT


async def test_an_incident_that_is_over_is_said_to_be_over() -> None:
    run, desk = await at_desk("secret-missing")
    assert not (await read(desk)).incident.healthy
    await run.hands.do(run.scenario.solution.steps)
    view = await again(desk)
    assert view.incident.healthy
    assert view.step.outcome == "healthy"
    assert not view.step.standings


async def test_old_readings_are_counted_and_are_new_after_reading_again() -> None:
    run, desk = await at_desk()
    before = await read(desk)
    run.clock.move(2 * HOUR)
    old = desk.walk()
    assert old.outdated > 0
    assert old.outdated == sum(record.max_age is not None and record.taken_at is not None for record in old.evidence)
    await again(desk)
    view = await read(desk)
    assert view.outdated == 0
    assert (first(view).finding, first(view).certainty) == ("dns-name-unknown", Certainty.PROVEN)
    assert {record.key for record in view.evidence} == {record.key for record in before.evidence}


async def test_what_the_operator_said_and_pasted_stays() -> None:
    _, desk = await at_desk()
    await read(desk)
    opened = desk.opened()
    desk.supply("text", "", "error pulling image: x509: certificate signed by unknown authority")
    opened.extra.append(Evidence("answer x", INCIDENT, OPERATOR_ANSWER, facts={"core.rolling": False}))
    desk.object_to("clock.measure", INCIDENT, "it was being set")
    opened.declined.add("token.login")
    view = await again(desk)
    assert isinstance(view.step.next, Collect)
    assert "pasted-1.txt" in {document.path for document in opened.material}
    assert not [document for document in opened.material if document.path.startswith("nodes/worker-2/")]
    assert [record.vantage for record in opened.extra] == [OPERATOR_ANSWER]
    assert [objection.reason for objection in opened.objections] == ["it was being set"]
    assert not opened.declined, "what was declined an hour ago is offered again"


async def test_what_was_brought_along_cannot_be_read_again() -> None:
    text = 'Failed to pull image "registry.corp.example/team/web:1": 401 Unauthorized'
    investigation = Investigation(book(), None, Material([Document("seen.txt", text)]), vantage="bundle")
    investigation.fold()
    desk = Walks(investigation, "", Mode.BUNDLE, lambda: 1000.0)
    desk.open(next(iter(investigation.opened)))
    with pytest.raises(UsageError, match="nothing can be read again"):
        await again(desk)

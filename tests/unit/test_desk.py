"""The desk over an investigation of its own: what it says where nothing, or not everything, can be asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from app.clients.clock import RandomIds, SystemClock
from app.commands.screens import build_desk, flags
from app.errors import UsageError
from app.model.case import Case, Incident
from app.model.events import Closed
from app.model.material import Document, Material
from app.model.standing import Certainty, Collect, Done, Kind, Standing, Step
from app.model.target import Target
from app.model.view import Mode, WalkView
from app.probes.base import Scene
from app.runner.assemble import NOT_IN_BUNDLE, Ask
from app.runner.desk import Walks
from app.runner.investigation import Investigation, Opened
from app.runner.views import row
from app.session.record import Recorder
from tests.fakes.practice import book

REFUSED = (
    'Failed to pull image "registry.corp.example/team/web:1": failed to resolve reference: unexpected status from HEAD request to '
    "https://registry.corp.example/v2/team/web/manifests/1: 401 Unauthorized"
)


def walks(mode: Mode, investigation: Investigation) -> Walks:
    return Walks(investigation, "", mode, lambda: 1000.0)


async def walked(desk: Walks, incident: str) -> WalkView:
    """The walk on its own, to the end of what it can read."""
    desk.open(incident)
    return [view async for view in desk.collect_next()][-1]


async def test_a_pasted_text_without_a_cluster_is_walked_to_an_end_and_says_what_cannot_be_read() -> None:
    desk = walks(Mode.NOTHING, Investigation(book()))
    opened = desk.add(Material(), Ask(text=REFUSED), pasted=True)
    view = await walked(desk, opened.scene.incident.id)
    assert not isinstance(view.step.next, Collect)
    assert view.price == ""
    assert "No cluster is connected" in view.blind
    assert [way for way in ("--kubeconfig", "SSH", "bundle", "(i)") if way not in view.blind] == []


@pytest.mark.parametrize("text", ["lunch is at noon", "\0\1\2" * 50])
def test_a_paste_that_is_no_error_text_is_refused_and_opens_nothing(text: str) -> None:
    desk = walks(Mode.NOTHING, Investigation(book()))
    with pytest.raises(UsageError, match="no error text that the rules know") as refused:
        desk.add(Material(), Ask(text=text), pasted=True)
    assert refused.value.title == "Nothing to judge"
    assert desk.board().incidents == ()


async def test_a_bundle_says_of_what_it_lacks_that_it_is_not_in_it() -> None:
    material = Material([Document("seen.txt", REFUSED)])
    investigation = Investigation(book(), None, material, vantage="bundle", unread=NOT_IN_BUNDLE)
    (opened,) = investigation.fold()
    desk = walks(Mode.BUNDLE, investigation)
    view = await walked(desk, opened.scene.incident.id)
    why = {missing.why for standing in view.step.standings for missing in standing.missing}
    assert NOT_IN_BUNDLE in why
    assert "not asked yet" not in why
    assert view.unknowns
    assert view.price == "", "there is nobody at whom a login could be tried"
    assert all("nothing to read it from was reached" not in row.text for row in view.unknowns)
    assert "bundle" in view.blind


def test_a_case_of_a_live_run_has_not_been_asked_yet() -> None:
    assert Case(Incident()).unread == "not asked yet"


async def test_at_the_start_old_sessions_go_and_a_notice_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARBORPILOT_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("HARBORPILOT_SESSIONS__KEEP_DAYS", "30")
    paths = []
    for ended in (True, False):
        with Recorder.create(
            tmp_path / "sessions", product="1", rulebook="r", target="t", clock=SystemClock(), ids=RandomIds()
        ) as recorder:
            if ended:
                recorder.append(Closed("healthy"))
        os.utime(recorder.path, (1e9, 1e9))
        paths.append(recorder.path)
    desk = build_desk(flags().parse_args([]), live=False)
    assert [path.exists() for path in paths] == [False, True]
    assert "1 session older than 30 days removed (sessions.keep_days)" in (await desk.board()).notices
    await desk.close()
    desk = build_desk(flags().parse_args([]), live=False)
    assert not [notice for notice in (await desk.board()).notices if "keep_days" in notice]
    await desk.close()


def standing(finding: str, certainty: Certainty, *nodes: str) -> Standing:
    targets = tuple(Target.of(node=node) for node in nodes)
    return Standing(finding, Kind.FAULT, "x", certainty, targets, finding)


@pytest.mark.parametrize(
    ("standings", "said"),
    [
        ((("new CA", Certainty.PROVEN, "n1", "n2"), ("no CA", Certainty.LIKELY, "n1", "n2")), "new CA"),
        ((("new CA", Certainty.PROVEN, "n1"), ("no CA", Certainty.LIKELY, "n2")), "2 causes on 2 nodes"),
        ((("new CA", Certainty.PROVEN, "n1"), ("clock", Certainty.PROVEN, "n1")), "2 causes on 1 node"),
        ((("new CA", Certainty.LIKELY, "n1"), ("no CA", Certainty.LIKELY, "n1")), "2 causes on 1 node"),
    ],
)
def test_a_look_alike_of_what_is_proven_is_no_second_cause_on_the_board(
    standings: tuple[tuple[Any, ...], ...], said: str
) -> None:
    opened = Opened(Scene(Incident(), 0.0), Material(), None)
    opened.step = Step(tuple(standing(*item) for item in standings), (), (), (), Done())
    assert row(opened, book()).best_text == said

"""Practice as the screens play it: a text that is handed over ends the scenario, and what the story gives is not asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.clients.clock import SystemClock
from app.commands.screens import _practice
from app.model.view import Mode
from app.runner.console import Console
from app.runner.investigation import Investigation
from tests.fakes.practice import book


async def _at(scenario: str, folder: Path) -> Console:
    clock = SystemClock()
    practice, make = _practice(folder, clock, book())
    desk = Console(
        book(), clock, folder, Investigation(book()), "", Mode.NOTHING, None, None, practice=practice, make_practice=make
    )  # fmt: skip
    board = await desk.start_scenario(scenario)
    view = await desk.open_incident(board.incidents[0].id)
    while view.can_continue:
        before = (view.step.next, view.collected, len(view.evidence))
        view = await _last(desk.collect_next())
        if before == (view.step.next, view.collected, len(view.evidence)):
            break
    return desk


async def _last(views: Any) -> Any:
    found = None
    async for view in views:
        found = view
    return found


@pytest.mark.parametrize("right", [False, True])
async def test_a_text_is_handed_over_and_the_right_one_solves_it(right: bool, tmp_path: Path) -> None:
    desk = await _at("realm-of-inside", tmp_path)
    view = await desk.plan("set-external-url" if right else "dns-team", "realm-host-wrong")
    assert view.hands_over
    assert not view.plan.changed
    done = await _last(desk.apply(view.plan))
    assert done.finished
    assert done.verified is right
    debrief = await desk.debrief()
    assert (debrief is not None) is right
    if debrief is not None:
        assert debrief.solved
        assert any("handed over set-external-url" in line for line in debrief.own_path)


async def test_advice_is_handed_to_nobody(tmp_path: Path) -> None:
    desk = await _at("pull-limit-reached", tmp_path)
    assert not (await desk.plan("wait-for-window", "rate-limited")).hands_over


async def test_what_the_story_gives_is_put_in_and_counts(tmp_path: Path) -> None:
    desk = await _at("own-ca-unknown", tmp_path)
    view = await desk.plan("add-ca-file", "tls-ca-not-trusted")
    assert view.plan.changed
    assert not view.hands_over
    assert not view.plan.blocked

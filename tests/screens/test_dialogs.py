"""Dialogs: cancel first, a severe plan wants its name, escape answers no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.screen import Screen
from textual.widgets import Button, Input, TextArea

from app.errors import KubeconfigError
from screens.dialogs.confirm import confirm_plan, confirm_undo
from screens.dialogs.error import ErrorDialog
from screens.dialogs.host_keys import HostKeysDialog
from screens.dialogs.info import InfoDialog
from screens.dialogs.inputs import InputsDialog
from screens.dialogs.texts import NewPushDialog, ObjectDialog, OpenBundleDialog, PasteDialog, SupplyDialog
from screens.dialogs.unlock import UnlockDialog
from screens.widgets.text import plain
from tests.screens import states as at
from tests.screens.host import Host


async def answer(screen: Screen[Any], *keys: str, text: str = "") -> tuple[Host, list[Any]]:
    app = Host(screen)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        if text:
            screen.query_one(TextArea).text = text
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
    return app, app.answers


@pytest.mark.parametrize(
    ("build", "nothing"),
    [
        (lambda: confirm_plan(at.PLAN), False),
        (lambda: confirm_undo(at.PLAN), False),
        (lambda: UnlockDialog("prod-eu"), None),
        (lambda: ErrorDialog("a", "b"), None),
        (lambda: InfoDialog("a", plain("b")), None),
        (lambda: HostKeysDialog(at.HOST_KEYS), False),
        (lambda: InputsDialog((("a", "b", False),)), None),
        (PasteDialog, None),
        (lambda: SupplyDialog(at.UNKNOWNS[0]), None),
        (NewPushDialog, None),
        (OpenBundleDialog, None),
        (lambda: ObjectDialog(at.EVIDENCE), None),
    ],
)
async def test_escape_answers_no(build: Callable[[], Screen[Any]], nothing: Any) -> None:
    _, answers = await answer(build(), "escape")
    assert answers == [nothing]


async def test_confirm_starts_on_cancel() -> None:
    _, answers = await answer(confirm_plan(at.PLAN), "enter")
    assert answers == [False]
    _, answers = await answer(confirm_plan(at.PLAN), "tab", "enter")
    assert answers == [True]


async def test_a_severe_plan_wants_its_name() -> None:
    screen = confirm_plan(at.SEVERE)
    app = Host(screen)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert screen.query_one("#yes", Button).disabled
        screen.query_one(Input).focus()
        await pilot.press(*"quay-cach", "enter")
        assert screen.query_one("#yes", Button).disabled
        await pilot.press("e", "enter", "enter")
        await pilot.pause()
    assert app.answers == [True]


async def test_enter_in_the_last_field_takes_what_was_typed() -> None:
    needs = (("user", "Which user?", False), ("password", "Its password", True))
    _, answers = await answer(InputsDialog(needs), *"bot", "enter", *"s3", "enter")
    assert answers == [{"user": "bot", "password": "s3"}]
    _, answers = await answer(InputsDialog(needs), "enter", *"s3", "enter")
    assert answers == [], "an empty field is told, not planned with"


async def test_unlock_takes_only_the_name() -> None:
    _, answers = await answer(UnlockDialog("prod-eu"), *"prod", "enter")
    assert answers == []
    _, answers = await answer(UnlockDialog("prod-eu"), *"prod-eu", "enter")
    assert answers == ["prod-eu"]


async def test_texts_are_taken_by_ctrl_s_and_refused_when_empty() -> None:
    _, answers = await answer(PasteDialog(), "ctrl+s")
    assert answers == []
    _, answers = await answer(PasteDialog(), "f2", text="boom")
    assert answers == ["boom"]
    _, answers = await answer(NewPushDialog(), *"h/a:1", "enter", *"ci", "f2")
    assert answers == [("h/a:1", "ci", "")]
    _, answers = await answer(OpenBundleDialog(), "enter")
    assert answers == []
    _, answers = await answer(OpenBundleDialog(), "b", "enter")
    assert answers == ["b"]


async def test_an_objection_needs_a_reason() -> None:
    _, answers = await answer(ObjectDialog(at.EVIDENCE), "enter", "enter")
    assert answers == []
    _, answers = await answer(ObjectDialog(at.EVIDENCE), "up", "enter", *"no", "enter")
    assert answers == [(at.EVIDENCE[3], "no")]
    _, answers = await answer(ObjectDialog(()), *"no", "enter")
    assert answers == [], "nothing is chosen: the reason that was typed stays"


async def test_copying_from_dialogs() -> None:
    app, _ = await answer(ErrorDialog("title", "what", "next"), "c")
    assert app.copied == ["title\nwhat\nnext"]
    app, _ = await answer(SupplyDialog(at.UNKNOWNS[0]), "f3")
    assert app.copied == [at.UNKNOWNS[0].by_hand]
    app, _ = await answer(InfoDialog("a", plain("text")), "c")
    assert app.copied == ["text"]
    app, _ = await answer(HostKeysDialog(at.HOST_KEYS), "c")
    assert "SHA256:9X8w" in app.copied[0]


async def test_a_changed_host_key_cannot_be_accepted() -> None:
    screen = HostKeysDialog(at.HostKeysView(at.HOST_KEYS.keys[:1]))
    app = Host(screen)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert not screen.query("#yes")


def test_errors_become_dialogs() -> None:
    dialog = ErrorDialog.of(KubeconfigError("no context", "choose one"))
    assert (dialog.title_text, dialog.what, dialog.next_step) == ("Kubeconfig not usable", "no context", "choose one")
    assert "ZeroDivisionError" in ErrorDialog.of(ZeroDivisionError("x")).what

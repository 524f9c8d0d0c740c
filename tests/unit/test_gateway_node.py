"""The gateway on nodes: hidden texts are written in clear, a refused configuration is taken back whole, undo restarts once more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.fixes.base import ABSENT, Hidden, digest_text
from app.fixes.gateway import Gateway
from app.model.fix import Change, FixPlan, StepState, Verified, Wave
from app.model.target import Target
from tests.fakes.fixing import written
from tests.fakes.nodes import FakeFile, FakeNode, FakeNodes, gateway_for

NODE = Target.of(node="n1")
MAIN, DROPIN, CA = "/etc/containerd/config.toml", "/etc/containerd/conf.d/x/config.toml", "/etc/corp.crt"


def _file(path: str, text: str | Hidden, before: str | None, **more: object) -> Change:
    expects = ABSENT if before is None else digest_text(before)
    return Change(
        NODE, "node-file", path, payload={"node": "n1", "path": path, "text": text, **more}, expects={"sha256": expects}
    )


def _restart(unit: str = "containerd") -> Change:
    return Change(NODE, "node-restart", f"restart {unit}", payload={"node": "n1", "unit": unit})


def _plan(*changes: Change) -> FixPlan:
    return FixPlan(
        "p1", "f", "x", "t", "cure", "", "", "", (NODE,), changes, (Wave("all", (NODE,)),), (), "", context="prod"
    )


def _nodes(files: Mapping[str, str]) -> FakeNodes:
    return FakeNodes({"n1": FakeNode({path: FakeFile(text) for path, text in files.items()})})


async def _apply(plan: FixPlan, gate: Gateway, choices: tuple[str, ...] = ()) -> tuple[StepState, str]:
    left = list(choices)

    async def verify(made: FixPlan, target: Target) -> Verified:
        del made, target
        return Verified(works=True, note="")

    async def decide(target: Target, note: str) -> str:
        del target, note
        return left.pop(0) if left else "stop"

    last = None
    async for report in gate.apply(plan, confirmed=plan.id, verify=verify, decide=decide):
        last = report
    assert last is not None
    return last.progress[0].state, last.progress[0].note


async def test_a_hidden_text_is_written_in_clear_and_nowhere_else(tmp_path: Path) -> None:
    nodes = _nodes({})
    gate = gateway_for(nodes, tmp_path)
    assert (await _apply(_plan(_file("/etc/auth", Hidden("CANARY-login"), None)), gate))[0] is StepState.VERIFIED
    assert nodes.nodes["n1"].files["/etc/auth"].text == "CANARY-login"
    assert "CANARY" not in written(tmp_path)


async def test_all_files_of_a_refused_configuration_are_put_back_and_a_second_try_writes_them_again(
    tmp_path: Path,
) -> None:
    nodes = _nodes({MAIN: "version = 2\n"})
    start = nodes.image()
    gate = gateway_for(nodes, tmp_path)
    changes = (
        _file(CA, "ca", None),
        _file(DROPIN, "= broken\n", None),
        _file(MAIN, "version = 3\n", "version = 2\n", check_runtime=True),
        _restart(),
    )
    state, note = await _apply(_plan(*changes), gate, ("retry",))
    assert state is StepState.FAILED_KEPT
    assert "the old ones are back" in note
    assert nodes.image() == start
    assert [line for line in nodes.done if "restart" in line] == []
    assert sum(f"write {CA}" in line for line in nodes.done) == 2
    assert await gate.undo("p1") == []
    assert nodes.image() == start


async def test_a_file_that_somebody_else_changed_meanwhile_is_named(tmp_path: Path) -> None:
    class Meddled(FakeNodes):
        async def check_runtime_config(self, node: str) -> str:
            self.nodes[node].files[CA] = FakeFile("theirs")
            return "no such plugin"

    nodes = Meddled(_nodes({}).nodes)
    state, note = await _apply(
        _plan(_file(CA, "ca", None), _file(MAIN, "version = 3\n", None, check_runtime=True)),
        gateway_for(nodes, tmp_path),
    )
    assert state is StepState.FAILED_KEPT
    assert f"except {CA}" in note
    assert {path: file.text for path, file in nodes.nodes["n1"].files.items()} == {CA: "theirs"}


async def test_undo_restarts_what_the_plan_had_restarted_after_the_files_are_back(tmp_path: Path) -> None:
    nodes = _nodes({MAIN: "version = 2\n"})
    gate = gateway_for(nodes, tmp_path)
    await _apply(_plan(_file(CA, "ca", None), _file(MAIN, "version = 3\n", "version = 2\n"), _restart()), gate)
    nodes.done.clear()
    said = await gate.undo("p1")
    assert nodes.done == [f"n1 restore {MAIN}", f"n1 restore {CA}", "n1 restart containerd"]
    assert said[-1] == "n1: containerd restarted once more, so that it runs with what was put back"


async def test_a_restart_alone_has_no_undo(tmp_path: Path) -> None:
    nodes = _nodes({})
    gate = gateway_for(nodes, tmp_path)
    await _apply(_plan(_restart()), gate)
    nodes.done.clear()
    assert await gate.undo("p1") == ["n1: a restart of containerd cannot be undone"]
    assert nodes.done == []

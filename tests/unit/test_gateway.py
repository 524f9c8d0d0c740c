"""The gateway: locked, confirmed, unmoved; interrupted and found again; the only one that writes."""

from __future__ import annotations

import ast
import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import RefusedError
from app.fixes.gateway import Gateway, Writers
from app.fixes.journal import UndoJournal
from app.fixes.saved import read_saved, seal, to_saved
from app.model.fix import Check, FixPlan, StepState, Verified
from app.model.masked import MASK
from app.model.target import Target
from tests.fakes.fixing import CANARY, apply, auths, cluster, gateway, nap, plan, secret, works
from tests.fakes.kube import FakeKube, KilledError
from tests.unit.test_fix_kube import NEWLINE

ROOT = Path(__file__).resolve().parents[2]
WRITERS = {"KubeWriter", "NodeWriter", "HarborWriter", "LiveKubeWriter", "SshWriter", "LiveHarbor"}


def broken() -> FakeKube:
    kube = cluster()
    kube.add(secret("pull", NEWLINE))
    return kube


async def run(gate: Gateway, made: FixPlan, confirmed: str) -> None:
    async for _ in gate.apply(made, confirmed=confirmed, verify=works):
        pass


async def test_locked_until_its_name_is_given(tmp_path: Path) -> None:
    kube = broken()
    made = await plan("rewrite-secret", kube)
    gate = Gateway("test", Writers(kube, kube), UndoJournal(tmp_path), nap)
    with pytest.raises(RefusedError, match="read-only"):
        await run(gate, made, made.id)
    with pytest.raises(RefusedError, match="not the name"):
        gate.unlock("prod")
    with pytest.raises(RefusedError, match="read-only"):
        await gate.undo("plan1")
    gate.unlock("test")
    gate.lock()
    with pytest.raises(RefusedError, match="read-only"):
        await run(gate, made, made.id)
    assert kube.writes == []


async def test_wrong_confirmation_other_context_and_failed_precheck_are_refused(tmp_path: Path) -> None:
    kube = broken()
    made = await plan("rewrite-secret", kube)
    gate = gateway(kube, tmp_path)
    for wrong, confirmed in (
        (made, "yes"),
        (replace(made, confirm_name="web"), made.id),
        (replace(made, context="prod"), made.id),
        (replace(made, checks=(Check("no", "fail"),)), made.id),
        (replace(made, changes=()), made.id),
    ):
        with pytest.raises(RefusedError):
            await run(gate, wrong, confirmed)
    assert kube.writes == []
    assert gate.journal.plans() == []


async def test_a_moved_field_is_refused_and_an_unrelated_one_is_not(tmp_path: Path) -> None:
    kube = broken()
    made = await plan("rewrite-secret", kube)
    item = kube.objects["secrets", "apps", "pull"]
    item["metadata"]["labels"]["unrelated"] = "yes"
    kube.add(item)
    await apply(made, gateway(kube, tmp_path))

    kube = broken()
    made = await plan("rewrite-secret", kube, plan_id="p2")
    kube.add(secret("pull", auths(password="somebody-else")))
    with pytest.raises(RefusedError, match="has changed"):
        await run(gateway(kube, tmp_path), made, made.id)
    assert kube.writes == []


async def test_a_write_between_our_read_and_our_write_is_not_lost(tmp_path: Path) -> None:
    kube = broken()
    made = await plan("rewrite-secret", kube)
    raced = []

    def race(fake: FakeKube, method: str, path: str) -> None:
        if method == "PATCH" and not raced:
            raced.append(path)
            fake.add(secret("pull", auths(password="rotated-meanwhile")))

    kube.before_write = race
    reports = [report async for report in gateway(kube, tmp_path).apply(made, confirmed=made.id, verify=works)]
    assert reports[-1].progress[0].state is StepState.FAILED_KEPT
    assert "has changed" in reports[-1].progress[0].note
    text = base64.b64decode(kube.objects["secrets", "apps", "pull"]["data"][".dockerconfigjson"]).decode()
    assert "rotated-meanwhile" in text


async def test_a_status_written_meanwhile_does_not_stop_it(tmp_path: Path) -> None:
    kube = cluster(listed=("old",))
    kube.add(secret("fit", auths()))
    made = await plan("add-secret-to-template", kube)
    raced = []

    def race(fake: FakeKube, method: str, path: str) -> None:
        if method == "PATCH" and not raced:
            raced.append(path)
            fake.add(fake.objects["deployments", "apps", "web"])

    kube.before_write = race
    assert (await apply(made, gateway(kube, tmp_path))).verified


@pytest.mark.parametrize("fix", ["rewrite-secret", "recreate-secret-typed"])
@pytest.mark.parametrize("end", range(4))
@pytest.mark.parametrize("after", [False, True])
async def test_killed_between_any_two_writes_it_is_found_and_undone(
    fix: str, end: int, after: bool, tmp_path: Path
) -> None:
    kube = cluster()
    kube.add(secret("pull", NEWLINE) if fix == "rewrite-secret" else secret("pull", auths(), kind="Opaque"))
    before = kube.state()
    made = await plan(fix, kube)
    count = []
    write = kube.write

    async def killed(*words: object, **named: object) -> object:
        number = len(count)
        count.append(1)
        if number == end and not after:
            raise KilledError
        reply = await write(*words, **named)  # type: ignore[arg-type]
        if number == end:
            raise KilledError
        return reply

    kube.write = killed  # type: ignore[method-assign,assignment]
    try:
        await apply(made, gateway(kube, tmp_path))
    except KilledError:
        pass
    else:
        return  # the fix needs fewer writes than this
    kube.write = write  # type: ignore[method-assign]

    journal = UndoJournal(tmp_path)
    assert journal.interrupted() == ["plan1"]
    said = journal.summary("plan1")
    assert (said.state, said.fix, said.context) == ("interrupted", fix, "test")
    assert any("Secret apps/pull" in step for step in said.steps)
    await gateway(kube, tmp_path).undo("plan1")
    assert kube.state() == before
    assert journal.interrupted() == []


async def test_an_undo_that_was_killed_goes_on(tmp_path: Path) -> None:
    kube = cluster()
    kube.add(secret("pull", auths(), kind="Opaque"))
    before = kube.state()
    made = await plan("recreate-secret-typed", kube)
    await apply(made, gateway(kube, tmp_path))

    def die(fake: FakeKube, method: str, path: str) -> None:
        if method == "POST":
            raise KilledError

    kube.before_write = die
    with pytest.raises(KilledError):
        await gateway(kube, tmp_path).undo("plan1")
    kube.before_write = None
    assert UndoJournal(tmp_path).interrupted() == ["plan1"]
    await gateway(kube, tmp_path).undo("plan1")
    assert kube.state() == before
    with pytest.raises(RefusedError, match="undone already"):
        await gateway(kube, tmp_path).undo("plan1")


async def test_an_undo_does_not_take_away_what_somebody_wrote_since(tmp_path: Path) -> None:
    kube = broken()
    made = await plan("rewrite-secret", kube)
    await apply(made, gateway(kube, tmp_path))
    kube.add(secret("pull", auths(password="rotated")))
    with pytest.raises(RefusedError, match="changed by somebody since"):
        await gateway(kube, tmp_path).undo(made.id)


async def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    kube = broken()
    await apply(await plan("rewrite-secret", kube), gateway(kube, tmp_path))
    file = tmp_path / "plan1.jsonl"
    file.write_text(file.read_text() + '{"event": "und')
    assert UndoJournal(tmp_path).summary("plan1").state == "applied"
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_failed_verification_is_kept_and_tried_again_without_writing_twice(tmp_path: Path) -> None:
    kube = broken()
    made = await plan("rewrite-secret", kube)
    answers = [
        Verified(works=False, note="still refused", probe=True, event=False),
        Verified(works=True, note="it pulls", probe=True, event=True),
    ]

    async def verify(plan: FixPlan, target: Target) -> Verified:
        return answers.pop(0)

    async def decide(target: Target, note: str) -> str:
        assert note == "still refused"
        return "retry"

    reports = [r async for r in gateway(kube, tmp_path).apply(made, confirmed=made.id, verify=verify, decide=decide)]
    assert reports[-1].verified
    assert reports[-1].event_verified
    assert len([1 for method, _, _ in kube.writes if method == "PATCH"]) == 1


async def test_a_mask_is_never_written(tmp_path: Path) -> None:
    kube = cluster(listed=("old",))
    kube.add(secret("fit", auths()))
    made = await plan("add-secret-to-template", kube)
    change = made.changes[0]
    poisoned = replace(
        made,
        changes=(replace(change, payload={**change.payload, "patch": [{"op": "add", "path": "/x", "value": MASK}]}),),
    )
    reports = [report async for report in gateway(kube, tmp_path).apply(poisoned, confirmed=made.id, verify=works)]
    assert reports[-1].progress[0].state is StepState.FAILED_KEPT
    assert kube.writes == []


async def test_a_saved_plan_has_the_same_seal_until_something_moves() -> None:
    kube = broken()
    made = await plan("rewrite-secret", kube)
    saved = read_saved(json.dumps(__import__("msgspec").to_builtins(to_saved(made, {}, {}))), "x")
    other_key = await plan("rewrite-secret", kube, plan_id="p2")
    assert saved.seal == seal(other_key)
    kube.add(
        secret(
            "pull",
            {"auths": {"registry.corp.example": {"auth": base64.b64encode(f"robot$shop:{CANARY} ".encode()).decode()}}},
        )
    )
    assert saved.seal != seal(await plan("rewrite-secret", kube, plan_id="p3"))


def test_only_the_gateway_holds_writers() -> None:
    """Who may name a writer: the ports, their implementations, the gateway, and where it is put together."""
    allowed = {
        "app/ports.py",
        "app/fixes/gateway.py",
        "app/fixes/gateway_kube.py",
        "app/fixes/gateway_node.py",
        "app/bootstrap.py",
        "app/commands/writing.py",
    }
    seen = set()
    for path in [*(ROOT / "app").rglob("*.py"), *(ROOT / "screens").rglob("*.py")]:
        name = str(path.relative_to(ROOT))
        if name.startswith(("app/clients/", "app/training/")):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = (
                {alias.name for alias in node.names} & WRITERS if isinstance(node, ast.ImportFrom | ast.Import)
                else {node.attr} & WRITERS if isinstance(node, ast.Attribute)
                else {node.id} & WRITERS if isinstance(node, ast.Name) else set()
            )  # fmt: skip
            if found:
                seen.add(name)
    assert "app/fixes/gateway.py" in seen
    assert seen <= allowed

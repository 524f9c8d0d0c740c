"""Sessions: recorded event by event, opened after a crash, stepped both ways, judged again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from app.errors import SessionError
from app.model.case import Incident
from app.model.events import (
    Answered,
    Applied,
    Closed,
    Confirmed,
    Event,
    Judged,
    Noted,
    Objected,
    Observed,
    Opened,
    Planned,
    Progressed,
    Stamped,
    StandingSeen,
    Undone,
    judged,
)
from app.model.evidence import Evidence, Outcome
from app.model.fix import StepState
from app.model.standing import Certainty, Done, Ground, Kind, Standing, Step
from app.model.state import EMPTY, SessionState, reduce, reduce_all
from app.model.target import Target
from app.session.record import Recorder
from app.session.replay import export, read_session
from app.session.store import find_session, forget_old, list_sessions

CANARY = "cAnary-7Zq9xV"


class FixedClock:
    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.time = start

    def now(self) -> float:
        self.time += 1.0
        return self.time

    def monotonic(self) -> float:
        return self.time


class Counted:
    def __init__(self) -> None:
        self._numbers = count(1)

    def new(self) -> str:
        return f"id{next(self._numbers)}"


IDS = Counted()


def record(folder: Path, events: list[Event], clock: FixedClock | None = None) -> Path:
    with Recorder.create(
        folder, product="0.1.0", rulebook="abc123", target="prod", clock=clock or FixedClock(), ids=IDS
    ) as recorder:
        for event in events:
            recorder.append(event)
    return recorder.path


def evidence(number: int, **facts: object) -> Evidence:
    return Evidence(
        "secret.read",
        Target.of(workload=f"apps/web-{number}"),
        facts={"secret.exists": True, **facts},
        taken_at=float(number),
    )  # type: ignore[arg-type]


STORY: list[Event] = [
    Opened(
        Incident(image="harbor.example.com/a/b:1", texts=("401",), pods=("apps/web-1",)),
        variables={"account": "robot$ci"},
        now=5.0,
    ),
    Observed(evidence(1)),
    Observed(evidence(2)),
    Observed(replace(evidence(1), facts={"secret.exists": False})),
    Answered("s/q", "1"),
    Answered("s/other", "2"),
    Answered("s/q", ""),
    Objected("secret.read", "workload/apps/web-2", "stale"),
    Judged(
        "fault_found",
        ("no-credential-sent",),
        (StandingSeen("pull-secret-missing", "c", "fault", "proven", ("workload/apps/web-1",), "t"),),
        now=9.0,
    ),
    Planned("p1", "create-secret", "pull-secret-missing", "Create the secret", targets=("workload/apps/web-1",)),
    Confirmed("p1", "prod"),
    Progressed("p1", "workload/apps/web-1", StepState.WRITING),
    Progressed("p1", "workload/apps/web-1", StepState.VERIFIED, "Pulled"),
    Applied("p1", verified=True, probe_verified=True, event_verified=True),
    Undone("p1", complete=False, note="kept"),
    Noted("told the team"),
    Closed("fault_found"),
]


def test_state_is_a_pure_reduction(tmp_path: Path) -> None:
    state = reduce_all(Stamped(number, 100.0 + number, event) for number, event in enumerate(STORY, 1))
    assert [dict(item.facts) for item in state.evidence] == [{"secret.exists": False}, {"secret.exists": True}]
    assert len(state.records) == 3
    assert dict(state.answers) == {"s/other": "2"}
    assert state.objections[0].target == Target.of(workload="apps/web-2")
    assert (state.number, state.outcome, state.now) == (len(STORY), "fault_found", 9.0)
    (plan,) = state.plans
    assert (plan.confirmed, [item.state for item in plan.progress]) == ("prod", [StepState.VERIFIED])
    assert plan.ended is not None
    assert plan.undone is not None
    assert not plan.undone.complete
    case = state.case()
    assert case.incident.image == "harbor.example.com/a/b:1"
    assert case.variables["account"] == "robot$ci"
    before = EMPTY
    reduce(before, Stamped(1, 1.0, STORY[0]))
    assert before == SessionState()
    assert reduce_all(read_session(record(tmp_path, STORY)).events()).evidence == state.evidence


def test_a_recording_is_owner_only_and_reads_back_event_by_event(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "sessions"
    path = record(folder, STORY)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    replay = read_session(path)
    assert [stamped.event for stamped in replay.events()] == STORY
    assert [stamped.number for stamped in replay.events()] == list(range(1, len(STORY) + 1))
    assert (replay.header.product, replay.header.rulebook, replay.header.target, replay.problem) == (
        "0.1.0",
        "abc123",
        "prod",
        "",
    )


def test_every_event_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    recorder = Recorder.create(tmp_path, product="1", rulebook="r", target="t", clock=FixedClock(), ids=IDS)
    for number, event in enumerate(STORY, 1):
        recorder.append(event)
        assert recorder.path.read_bytes().count(b"\n") == number + 1
    recorder.close()


def test_no_secret_reaches_the_disk(tmp_path: Path) -> None:
    leaky: list[Event] = [
        Opened(Incident(texts=(f"curl -u me:{CANARY} https://h",)), context=f"https://me:{CANARY}@api"),
        Observed(
            Evidence(
                "p",
                outcome=Outcome.DENIED,
                excerpt=f'{{"password":"{CANARY}"}}',
                detail=f"Authorization: Bearer {CANARY}",
                command=f"curl -u me:{CANARY} h",
                facts={"text.message": f"password={CANARY}", "l": (f"token={CANARY}",)},
            )
        ),
        Noted(f"I typed docker login -u me -p {CANARY}"),
        Objected("p", "incident", f"password: {CANARY}"),
        Planned("p", "f", "x", "t", hand_off=f"stringData:\n  password: {CANARY}\n"),
    ]
    assert CANARY not in record(tmp_path, leaky).read_text()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_told_and_kept_aside(tmp_path: Path, cut: int) -> None:
    path = record(tmp_path, STORY)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rpartition(b"\n")[2]
    path.write_bytes(whole[: -min(cut, len(last))])
    replay = read_session(path)
    assert len(replay) == len(STORY) - 1
    assert "cut off" in replay.problem
    recorder, resumed = Recorder.resume(path, FixedClock())
    assert recorder.count == len(resumed) == len(STORY) - 1
    recorder.append(Noted("again"))
    recorder.close()
    again = read_session(path)
    assert again.problem == ""
    assert again.event(len(again)).event == Noted("again")
    aside = path.with_suffix(".torn")
    assert aside.read_bytes() == replay.torn + b"\n"
    assert aside.stat().st_mode & 0o777 == 0o600


def _edit(path: Path, number: int, line: bytes) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = line
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("number", "line", "said"),
    [
        (1, b'{"type":"session","schema":2,"product":"9.9"}', "schema 2"),
        (1, b'{"type":"session","product":"9.9"}', "schema None"),
        (1, b'{"type":"other"}', "not a session"),
        (1, b"nonsense", "line 1"),
        (5, b'{"n":4,"at":1.0,"ty', "line 5"),
        (5, b"\xff\xfe", "line 5"),
        (5, b"", "line 5"),
        (5, b'{"n":9,"at":1.0,"type":"note","data":{"text":"x"}}', "event 9 stands where event 4"),
        (5, b'{"n":4,"at":1.0,"type":"from-the-future","data":{}}', "unknown type"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, number: int, line: bytes, said: str) -> None:
    path = record(tmp_path, STORY)
    _edit(path, number, line)
    with pytest.raises(SessionError, match=said) as caught:
        read_session(path)
    assert caught.value.next_step
    assert list_sessions(tmp_path)[0].path == path


def test_data_of_the_wrong_shape_are_told_when_reached(tmp_path: Path) -> None:
    path = record(tmp_path, STORY)
    _edit(path, 5, b'{"n":4,"at":1.0,"type":"evidence","data":{"record":{"probe":7}}}')
    replay = read_session(path)
    with pytest.raises(SessionError, match="line 5"):
        replay.seek(len(replay))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(SessionError, match="no whole header"):
        read_session(tmp_path / "empty.jsonl")
    with pytest.raises(SessionError, match="cannot be read"):
        read_session(tmp_path / "nowhere.jsonl")


def test_stepping_both_ways_gives_the_reduced_state(tmp_path: Path) -> None:
    events: list[Event] = [STORY[0], *(Observed(evidence(number % 40)) for number in range(500)), *STORY[4:]]
    replay = read_session(record(tmp_path, events))
    stamped = list(replay.events())

    def expected(position: int) -> SessionState:
        return reduce_all(stamped[:position])

    for position in (0, 1, 300, 299, 128, 127, 512, 5, len(replay), len(replay) - 1, 10_000, -3):
        state = replay.seek(position)
        where = max(0, min(position, len(replay)))
        assert replay.position == where
        assert state == expected(where)
    replay.seek(400)
    assert replay.step(-1) == expected(399)
    assert replay.step() == expected(400)
    assert replay.to_next(Judged).step is not None
    place = replay.position
    assert replay.kinds()[place - 1] == "step"
    assert replay.to_next(Opened, back=True) == expected(1)
    assert replay.to_next(Opened) == expected(1)
    assert replay.case().incident.image == "harbor.example.com/a/b:1"
    assert len(replay.times()) == len(events)


def test_ten_thousand_events_open_and_step_in_time(tmp_path: Path) -> None:
    line = json.loads(record(tmp_path, [Observed(evidence(1))]).read_text().splitlines()[1])
    path = record(tmp_path / "big", [])
    with path.open("a") as file:
        for number in range(1, 10_001):
            line.update(n=number)
            line["data"]["record"]["target"] = f"workload/apps/web-{number % 500}"
            file.write(json.dumps(line) + "\n")
    # A shared machine is slow at times: the best of a few tries is what the code costs.
    opened = min(_timed(lambda: (again := read_session(path)).seek(len(again))) for _ in range(3))
    replay = read_session(path)
    replay.seek(len(replay))
    assert len(replay.state.evidence) == 500
    slowest = max(
        min(_timed(lambda at=at: _jump(replay, at)) for _ in range(3)) for at in (9_999, 5_003, 1, 127, 9_900)
    )
    assert opened < 1.5
    assert slowest < 0.05


def _jump(replay: object, position: int) -> None:
    replay.seek(position)  # type: ignore[attr-defined]
    replay.step(-1)  # type: ignore[attr-defined]


def _timed(act: object) -> float:
    begin = time.perf_counter()
    act()  # type: ignore[operator]
    return time.perf_counter() - begin


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    recorder = Recorder.create(tmp_path, product="1", rulebook="r", target="t", clock=FixedClock(), ids=IDS)
    recorder.append(STORY[0])
    with pytest.raises(SessionError, match="another run"):
        Recorder.resume(recorder.path, FixedClock())
    recorder.append(Closed("healthy"))
    assert forget_old(tmp_path, now=1e12, keep_days=1) == []
    recorder.close()
    assert forget_old(tmp_path, now=1e12, keep_days=1) == [recorder.path]


def test_listing_finding_and_forgetting(tmp_path: Path) -> None:
    clock = FixedClock(1_600_000_000.0)
    old = record(tmp_path, STORY, clock)
    clock.time = 1_700_000_000.0
    new = record(tmp_path, STORY[:9], clock)
    (tmp_path / "broken.jsonl").write_text("{}\n")
    (tmp_path / "link.jsonl").symlink_to(old)
    infos = {info.path: info for info in list_sessions(tmp_path)}
    assert next(iter(infos)) == new
    assert set(infos) == {old, new, tmp_path / "broken.jsonl"}
    assert (infos[old].outcome, infos[old].fixed, infos[old].events, infos[old].title) == (
        "fault_found",
        "verified",
        len(STORY),
        "harbor.example.com/a/b:1",
    )
    assert infos[new].fixed == ""
    assert infos[tmp_path / "broken.jsonl"].problem
    assert find_session(tmp_path, "last") == new
    assert find_session(tmp_path, infos[new].id) == new
    assert find_session(tmp_path, infos[old].id) == old
    assert find_session(tmp_path, str(new)) == new
    for name in ("", "nothing", "2"):
        with pytest.raises(SessionError):
            find_session(tmp_path, name)


def test_only_whole_sessions_that_are_old_enough_are_forgotten(tmp_path: Path) -> None:
    day = 86_400.0
    clock = FixedClock(100 * day)
    whole, cut_off = record(tmp_path, STORY, clock), record(tmp_path, STORY[:9], clock)
    damaged = tmp_path / "broken.jsonl"
    damaged.write_text("{}\n")
    clock.time = 160 * day
    young = record(tmp_path, STORY, clock)
    for path, days in ((whole, 100), (cut_off, 100), (damaged, 100), (young, 160)):
        os.utime(path, (days * day, days * day))
    assert forget_old(tmp_path, now=190 * day - 1, keep_days=90) == []
    assert forget_old(tmp_path, now=190 * day, keep_days=90) == [whole]
    assert {path for path in (whole, cut_off, damaged, young) if path.exists()} == {cut_off, damaged, young}


def test_a_session_that_was_written_to_lately_stays_whenever_it_began(tmp_path: Path) -> None:
    whole = record(tmp_path, STORY, FixedClock(1000.0))
    os.utime(whole, (5e8, 5e8))
    assert forget_old(tmp_path, now=5e8 + 86_400, keep_days=30) == []


def test_export_is_a_copy_of_the_whole_events(tmp_path: Path) -> None:
    path = record(tmp_path, STORY)
    path.write_bytes(path.read_bytes() + b'{"n":18,')
    replay = read_session(path)
    export(replay, tmp_path / "out.jsonl")
    assert read_session(tmp_path / "out.jsonl").problem == ""
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600
    with pytest.raises(SessionError, match="there already"):
        export(replay, tmp_path / "out.jsonl")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SessionError, match="no session can be written"):
        Recorder.create(
            tmp_path / "file" / "sessions", product="1", rulebook="r", target="t", clock=FixedClock(), ids=IDS
        )


def test_a_step_becomes_a_snapshot() -> None:
    ground = Ground("secret.exists is false", "true", "false", evidence(1), "proof A")
    proven = Standing(
        "a", Kind.FAULT, "c", Certainty.PROVEN, (Target.of(workload="apps/web-1"),), "A", "sum", (ground,)
    )
    out = Standing("b", Kind.FAULT, None, Certainty.OUT, (), "B", because="it exists", grounds=(ground,))
    event = judged(Step((proven, out), (), ("s",), (), Done("enough"), outcome="fault_found"), now=3.0)
    assert event.standings[0].grounds[0].probe == "secret.read"
    assert (event.standings[1].because, event.standings[1].grounds) == ("it exists", ())
    assert event.next == "done enough"


def test_sessions_import_no_client_and_no_screen() -> None:
    code = (
        "import sys, app.session.bundle, app.session.record, app.session.replay, app.session.store, app.session.report;"
        "print([m for m in ('kubernetes', 'paramiko', 'httpx', 'textual') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"

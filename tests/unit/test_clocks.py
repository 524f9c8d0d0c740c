from __future__ import annotations

import json

import pytest

from app.model.case import Incident
from app.model.evidence import Evidence, Outcome
from app.model.material import Document, Material
from app.parsers.clock import parse_ping_json, parse_time, parse_time_json, parse_timedatectl
from app.probes.base import HarborPlace, KubeExec, Scene
from app.probes.clocks import PROBES

MEASURE = PROBES[0]


def read(files: dict[str, str], **more: object) -> list[Evidence]:
    scene = Scene(Incident(registry="h.example", image="h.example/a/b:1", nodes=("n1",)), now=1795259000.0, **more)  # type: ignore[arg-type]
    found = list(MEASURE.read(Material(Document(path, text) for path, text in files.items()), scene))
    assert all(set(one.facts) <= set(MEASURE.produces) for one in found)
    return found


def fact(found: list[Evidence], name: str) -> list[tuple[object, float | None]]:
    return [(one.facts[name], one.bounds.get(name)) for one in found if name in one.facts]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T11:03:20Z",
        "2026-11-21T12:03:20.000000000+01:00",
        "Sat, 21 Nov 2026 11:03:20 GMT",
        "Nov 21 11:03:20 2026 GMT",
        "2026-11-21 11:03:20 +0000 UTC",
        1795259000,
        "1795259000.0",
    ],
)
def test_every_printed_form(text: object) -> None:
    assert parse_time(text) == 1795259000.0


@pytest.mark.parametrize("text", ["", "yesterday", None, True, "99", "Nov 99 11:03:20 2026 GMT", []])
def test_no_time(text: object) -> None:
    assert parse_time(text) is None


def test_offset_with_its_bound() -> None:
    offset = parse_time_json(
        '{"node_time": "2026-11-21T11:03:17.500+00:00", "reference_time": "2026-11-21T11:03:20.000+00:00", "error_bound_s": 0.003}'
    )
    assert (offset.seconds, offset.bound) == (-2.5, 0.003)
    unstated = parse_time_json('{"node_time": "2026-11-21T11:03:17Z", "reference_time": "2026-11-21T11:03:20Z"}')
    assert unstated.bound == 2.0


def test_whole_seconds_widen_the_bound() -> None:
    offset = parse_ping_json('{"remote": 1000, "sent": 999.9, "received": 1000.1}')
    assert offset.seconds == pytest.approx(0.5)
    assert offset.bound == pytest.approx(0.6)
    exact = parse_ping_json('{"remote": 1000.25, "sent": 999.9, "received": 1000.1}')
    assert (exact.seconds, exact.bound) == (pytest.approx(0.25), pytest.approx(0.1))


@pytest.mark.parametrize(
    ("text", "synced"),
    [
        ("NTPSynchronized=no", False),
        ("System clock synchronized: yes", True),
        ("Leap status     : Not synchronised", False),
        ("", None),
    ],
)
def test_time_service(text: str, synced: bool | None) -> None:
    assert parse_timedatectl(text) is synced


def token(gap: int, pod: str = "") -> dict[str, object]:
    return {"kid": "K", "issued_at": 1795259000 + gap, "date": 1795259000, **({"pod": pod} if pod else {})}


def tokens(*records: dict[str, object]) -> dict[str, str]:
    return {"harbor/tokens.json": json.dumps(records)}


def test_cores_that_differ_need_no_list_of_pods() -> None:
    assert fact(read(tokens(token(0), token(600), token(0))), "clock.core_spread") == [(600.0, 2.0)]


def test_equal_cores_count_only_when_all_were_reached() -> None:
    assert fact(read(tokens(token(0), token(-1), token(0))), "clock.core_spread") == [], (
        "one backend may have answered all"
    )
    pods = {
        "items": [
            {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            for name in ("a", "b")
        ]
    }
    files = {"harbor/core-pods.json": json.dumps(pods)}
    assert fact(read(files | tokens(token(0, "a"), token(1, "b"))), "clock.core_spread") == [(1.0, 2.0)]
    assert fact(read(files | tokens(token(0, "a"), token(1, "a"))), "clock.core_spread") == []


def test_exec_is_finer_than_tokens() -> None:
    pods = {
        "items": [
            {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            for name in ("a", "b")
        ]
    }
    files = {
        "harbor/core-pods.json": json.dumps(pods),
        "harbor/date-a.json": '{"remote": 1000.25, "sent": 1000.0, "received": 1000.1}',
        "harbor/date-b.json": '{"remote": 1090.25, "sent": 1000.0, "received": 1000.1}',
    }
    found = read(files)
    assert fact(found, "clock.core_spread") == [(pytest.approx(90.0), pytest.approx(0.1))]
    assert {one.target.get("core-pod") for one in found if "clock.core_offset" in one.facts} == {"a", "b"}
    # A core's clock speaks for no node: a node's wrong clock is not ruled out by it.
    assert not fact(found, "clock.offset")


@pytest.mark.parametrize(
    ("version", "leeway"),
    [("v2.10.3-abc", [0.0]), ("v2.11.0", [60.0]), ("v2.16.0-dev", [60.0]), ("v1.10.1", [60.0]), ("", [])],
)
def test_leeway_by_version(version: str, leeway: list[float]) -> None:
    found = fact(read({"harbor/systeminfo.json": json.dumps({"harbor_version": version})}), "clock.leeway")
    assert [value for value, _ in found] == leeway


def test_a_harbor_of_unknown_release_forgives_a_minute_at_most() -> None:
    pods = {
        "items": [
            {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            for name in ("a", "b")
        ]
    }
    files = {
        "harbor/core-pods.json": json.dumps(pods),
        "harbor/date-a.json": '{"remote": 1000.25, "sent": 1000.0, "received": 1000.1}',
        "harbor/date-b.json": '{"remote": 1090.25, "sent": 1000.0, "received": 1000.1}',
    }
    assert fact(read(files), "clock.leeway") == [(30.0, 30.0)]
    assert fact(read({}), "clock.leeway") == []


def test_event_prints_the_nodes_time() -> None:
    event = {
        "metadata": {"creationTimestamp": "2026-11-21T11:03:20Z"},
        "source": {"host": "n1"},
        "message": "x509: certificate has expired or is not yet valid: current time 2026-11-21T12:03:20Z is after 2026-11-21T11:30:00Z",
    }
    found = read({"events.json": json.dumps({"items": [event]})})
    assert fact(found, "clock.event_gap") == [(3600.0, 5.0)]
    assert found[0].target.get("node") == "n1"


def test_unreadable_time_is_said() -> None:
    found = read({"nodes/n1/time.json": "{}", "harbor/date-a.json": "[1]", "events.json": "{"})
    assert [one.outcome for one in found] == [Outcome.UNPARSABLE, Outcome.UNPARSABLE]


def test_wants_the_date_of_each_ready_core() -> None:
    pods = {"items": [{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}
    material = Material([Document("harbor/core-pods.json", json.dumps(pods))])
    scene = Scene(Incident(), now=0.0, harbor=HarborPlace(namespace="hns", kube=True))
    (want,) = [want for want in MEASURE.wants(material, scene) if isinstance(want, KubeExec)]
    assert (want.command, want.document) == ("date", "harbor/date-a.json")

"""What may be imported when: static checks cannot see deferral, so a process of its own tells what it loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from app.model.case import Incident
from app.model.events import Closed, Opened
from app.session.record import Recorder
from tests.conftest import ROOT

CLIENTS = ("kubernetes", "paramiko", "httpx")
HEAVY = (*CLIENTS, "textual", "cryptography", "yaml", "msgspec", "asyncio", "app.rulebook", "app.engine", "app.probes")

_RUN = """
import json, sys
from app.cli import main
sys.stdout.flush()
try:
    code = main(sys.argv[2:])
except SystemExit as error:
    code = error.code
print(json.dumps({"code": code, "loaded": [name for name in json.loads(sys.argv[1]) if name in sys.modules]}), file=sys.stderr)
"""


def loaded(names: tuple[str, ...], *words: str) -> tuple[int, list[str]]:
    """Exit code of a command line, and which of these modules its process holds at the end."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(names), *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    last = done.stderr.strip().splitlines()[-1]
    told = json.loads(last)
    return told["code"], told["loaded"]


def test_the_question_can_be_answered_with_yes() -> None:
    """A probe that always said no would pass everything below."""
    assert loaded(("json", "app.cli", "app.commands.paths"), "paths") == (0, ["json", "app.cli", "app.commands.paths"])


@pytest.mark.parametrize("words", [("--help",), ("--version",)])
def test_the_first_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded(HEAVY, *words) == (0, [])


def test_judging_a_bundle_needs_no_client_and_no_screen(tmp_path: Path) -> None:
    (tmp_path / "error.txt").write_text(
        'Failed to pull image "registry.corp.example/team/web:1": failed to do request: Head '
        '"https://registry.corp.example/v2/team/web/manifests/1": tls: failed to verify certificate: x509: certificate has expired '
        "or is not yet valid: current time 2026-01-02T00:00:00Z is after 2026-01-01T00:00:00Z\n"
    )
    node = tmp_path / "nodes/n1/etc/containerd"
    node.mkdir(parents=True)
    (node / "config.toml").write_text(
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
    )
    assert loaded((*CLIENTS, "textual"), "diagnose", "--bundle", str(tmp_path)) == (3, [])


def test_rules_are_checked_without_client_and_screen() -> None:
    code, found = loaded((*CLIENTS, "textual"), "rules", "check")
    assert found == []
    assert code in (0, 2), "it ended otherwise than with a verdict"


def test_a_session_is_replayed_without_client_and_screen(tmp_path: Path) -> None:
    numbers = count(1)

    class Clock:
        def now(self) -> float:
            return 1_700_000_000.0 + next(numbers)

        def monotonic(self) -> float:
            return self.now()

    class Ids:
        def new(self) -> str:
            return "id1"

    with Recorder.create(tmp_path, product="1", rulebook="r", target="t", clock=Clock(), ids=Ids()) as recorder:
        recorder.append(Opened(Incident(image="registry.corp.example/team/web:1", texts=("401",))))
        recorder.append(Closed("inconclusive"))
    assert loaded((*CLIENTS, "textual"), "replay", "--plain", str(recorder.path)) == (0, [])


_FRAME = """
import json, sys
from app.commands import screens
from app.tui import HarborPilotApp, Start
seen = {}
def factory():
    seen["loaded"] = [name for name in json.loads(sys.argv[1]) if name in sys.modules]
    seen["painted"] = app.screen.is_attached and app.screen.size.area > 0
    app.call_from_thread(app.exit)
    raise RuntimeError("this far and no further")
app = HarborPilotApp(factory, Start())
app.run(headless=True, size=(80, 24))
print(json.dumps(seen))
"""


def test_the_first_frame_waits_for_no_client_no_rule_and_no_engine() -> None:
    """The desk is built after the first frame; what is loaded as it begins is what the frame waited for."""
    names = (
        *CLIENTS,
        "cryptography",
        "app.rulebook.load",
        "app.engine.advance",
        "app.probes",
        "app.bootstrap",
        "app.session",
        "app.fixes",
    )
    done = subprocess.run(
        [sys.executable, "-c", _FRAME, json.dumps([*names, "textual"])],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.stdout.strip(), done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told == {"loaded": ["textual"], "painted": True}

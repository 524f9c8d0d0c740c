"""A push that fails, asked from the desk with the pusher's own login and a try of an upload, without the push's output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import LAB
from tests.live.repair import command
from tests.live.test_diagnose import BY_A_TRY

ROOT = Path(__file__).resolve().parents[2]
PUSHER = ("ci-bot", "Bot-secret-1")
PULLER = ("robot$k8s-puller", "puller-secret-1")
STALE = ("robot$team+ci", "ci-secret-0")
SEEN_BY_THE_TRY = {
    "push-no-right": (PULLER, "insufficient-project-permission"),
    "push-wrong-password": (STALE, "wrong-credentials"),
    "push-forwarded-proto": (PUSHER, "forwarded-proto-or-host-missing"),
    "push-read-only": (PUSHER, "registry-read-only"),
}
SEEN_LATER = {"push-quota": "project-quota-exceeded", "push-immutable": "tag-immutable"}
"""Checked at a push's end only: they take its output."""


def diagnose(
    lab: Mapping[str, str], state: Path, login: tuple[str, str], image: str, *more: str
) -> tuple[int, dict[str, Any], str]:
    words = [sys.executable, "-m", "app", "diagnose", "--push", image, "--try-upload", "--push-user", login[0]]
    words += ["--password-stdin", "--kubeconfig", lab["KUBECONFIG"], "-F", lab["LAB_SSH_CONFIG"], "--no-input"]
    done = subprocess.run(
        [*words, "-o", "json", *more], input=f"{login[1]}\n", capture_output=True, text=True, timeout=120, check=False,
        cwd=ROOT, env={"HARBORPILOT_STATE_DIR": str(state), "PATH": "/usr/bin:/bin", "HOME": str(state)},
    )  # fmt: skip
    assert done.returncode in (0, 3, 4), done.stderr
    audit = (state / "audit" / "uploads.jsonl").read_text() if (state / "audit").is_dir() else ""
    assert login[1] not in done.stdout + done.stderr + audit
    return done.returncode, json.loads(done.stdout), audit


def first(found: dict[str, Any]) -> tuple[str, str]:
    rows = [one for incident in found["incidents"] for one in incident["diagnoses"]]
    assert rows, found
    return rows[0]["cause"], rows[0]["certainty"]


def test_what_the_output_does_not_tell_is_told_by_a_try() -> None:
    assert set(SEEN_BY_THE_TRY) == BY_A_TRY


@pytest.mark.parametrize("name", sorted(SEEN_BY_THE_TRY))
def test_the_try_shows_what_a_push_meets(lab: Mapping[str, str], name: str, tmp_path: Path) -> None:
    login, cause = SEEN_BY_THE_TRY[name]
    try:
        command("fault", name)
        code, found, _ = diagnose(lab, tmp_path, login, f"{lab['LAB_REGISTRY']}/team/tried:1")
    finally:
        command("mend", name)
    assert first(found)[0] == cause
    assert first(found)[1] in ("likely", "proven")
    assert code == 3


@pytest.mark.parametrize("name", sorted(SEEN_LATER))
def test_what_is_checked_later_takes_the_pushs_output(lab: Mapping[str, str], name: str, tmp_path: Path) -> None:
    try:
        seen = tmp_path / "seen.txt"
        seen.write_text(command("fault", name))
        image = f"{lab['LAB_REGISTRY']}/team/app:1.0"
        _, found, _ = diagnose(lab, tmp_path, PUSHER, image, "--text", str(seen))
        silent, _, _ = diagnose(lab, tmp_path, PUSHER, image)
    finally:
        command("mend", name)
    assert first(found) == (SEEN_LATER[name], "proven")
    assert silent == 4  # the tag is there already, so an accepted start says too little


def test_a_push_that_works_is_started_and_cancelled(lab: Mapping[str, str], tmp_path: Path) -> None:
    command("mend")
    code, found, audit = diagnose(lab, tmp_path, PUSHER, f"{lab['LAB_REGISTRY']}/team/tried:1")
    assert (code, found["outcome"]) == (0, "healthy")
    events = [json.loads(line) for line in audit.splitlines()]
    assert [event["event"] for event in events] == ["upload-try", "upload-answer", "upload-cancel"]
    assert events[1]["status"] == 202
    # Cancelling takes the right to delete, which a developer has not: then the registry's own purging removes it.
    assert events[2]["status"] in (202, 204, 401, 403)


def test_in_a_job_without_cluster_and_nodes(lab: Mapping[str, str], tmp_path: Path) -> None:
    """The desk cannot resolve the registry's name here, which is what a job on a wrong runner meets."""
    code, found, audit = diagnose(lab, tmp_path, PUSHER, f"{lab['LAB_REGISTRY']}/team/tried:1", "--no-kube", "--no-ssh")
    assert code in (3, 4)
    assert not [
        one
        for incident in found["incidents"]
        for one in incident["diagnoses"]
        if one["certainty"] == "proven" and "dns" not in one["cause"]
    ]
    assert audit == ""
    assert LAB.is_file()

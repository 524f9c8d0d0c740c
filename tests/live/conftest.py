"""The test bed with real parts: `lab env` says where it is. Without it these tests are skipped on a desk and fail in CI."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.live.repair import LAB, Bed

NODE = "node1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is `live`."""
    for item in items:
        if "tests/live/" in str(item.path):
            item.add_marker(pytest.mark.live)


def _missing(why: str, up: str = "up --nodes 3") -> None:
    if os.environ.get("CI"):
        pytest.fail(f"the lab is needed in CI: {why}")
    pytest.skip(f"the lab is not up ({why}); start it with: {LAB} {up}")


@pytest.fixture(scope="session")
def lab() -> Mapping[str, str]:
    """Variables of `lab env`."""
    if not LAB.is_file():
        _missing(f"{LAB} is not there")
    done = subprocess.run([str(LAB), "env"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode or "LAB_STATE" not in done.stdout:
        _missing(done.stderr.strip() or "lab env failed")
    pairs = (line.removeprefix("export ").partition("=") for line in done.stdout.splitlines() if "=" in line)
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


@pytest.fixture(scope="session")
def kinds(lab: Mapping[str, str]) -> Mapping[str, str]:
    """Node to its kind: `containerd`, `k3s` or `rke2`, by the version that its kubelet reports."""
    listed = subprocess.run(
        [f"{lab['LAB_BIN']}/kubectl", "--kubeconfig", lab["KUBECONFIG"], "get", "nodes", "-o", "json"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    versions = {
        item["metadata"]["name"]: item["status"]["nodeInfo"]["kubeletVersion"]
        for item in json.loads(listed.stdout)["items"]
    }
    return {
        node: next((kind for kind in ("k3s", "rke2") if f"+{kind}" in version), "containerd")
        for node, version in versions.items()
    }


def wanted_kind(kinds: Mapping[str, str], kind: str) -> None:
    """Without a node of this kind a test is skipped on a desk and fails in CI."""
    if kind not in kinds.values():
        _missing(f"it has no node of kind {kind}", f"down; {LAB} up --nodes 4 --node node4={kind}")


@pytest.fixture(scope="session")
def on_machine(lab: Mapping[str, str]) -> Callable[..., str]:
    """Run something in a machine of the lab, past SSH: `on_machine("node1", "cat", "/etc/hosts")`."""

    def run(machine: str, *argv: str) -> str:
        return subprocess.run(
            [str(LAB), "exec", machine, *argv], capture_output=True, text=True, timeout=60, check=True
        ).stdout

    return run


@pytest.fixture
def bed(lab: Mapping[str, str], on_machine: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    """The commands of a repair, with a journal of its own."""
    monkeypatch.setenv("HARBORPILOT_STATE_DIR", str(tmp_path / "state"))
    return Bed(lab, on_machine, tmp_path)


@pytest.fixture(scope="module")
def core_pods(lab: Mapping[str, str]) -> Iterator[list[str]]:
    """Names of core pods in namespace harbor; they are started when they are not there, and ended afterwards."""

    def names() -> list[str]:
        listed = subprocess.run(
            [f"{lab['LAB_BIN']}/kubectl", "--kubeconfig", lab["KUBECONFIG"], "-n", "harbor", "get", "pods", "-o", "name", "--ignore-not-found"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        return [line.removeprefix("pod/") for line in listed.stdout.splitlines() if "core" in line]

    were = names()
    if not were:
        subprocess.run([str(LAB), "harbor-pods"], check=True, capture_output=True, timeout=120)
    yield names()
    if not were:
        subprocess.run([str(LAB), "harbor-pods", "--off"], check=True, capture_output=True, timeout=120)

"""The test bed with real parts: `lab env` says where it is. Without it these tests are skipped on a desk and fail in CI."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[3] / "shared" / "lab" / "lab"
NODE = "node1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is `live`."""
    for item in items:
        if "tests/live/" in str(item.path):
            item.add_marker(pytest.mark.live)


def _missing(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"the lab is needed in CI: {why}")
    pytest.skip(f"the lab is not up ({why}); start it with: {LAB} up --nodes 3")


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
def on_machine(lab: Mapping[str, str]) -> Callable[..., str]:
    """Run something in a machine of the lab, past SSH: `on_machine("node1", "cat", "/etc/hosts")`."""

    def run(machine: str, *argv: str) -> str:
        return subprocess.run(
            [str(LAB), "exec", machine, *argv], capture_output=True, text=True, timeout=60, check=True
        ).stdout

    return run


@pytest.fixture(scope="session")
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

"""Faults of nodes made real, planned from a live diagnosis, fixed through the gateway over SSH, really pulled, undone to the byte."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from app.bootstrap import Run, build_run
from app.clients.ssh_writer import SshWriter
from app.commands.diagnose import flags
from app.files import load_rulebook
from app.fixes import find
from app.fixes.base import FixContext
from app.fixes.gateway import Gateway, Writers
from app.fixes.journal import UndoJournal
from app.model.case import Case
from app.model.fix import FixPlan, StepState
from app.model.material import Material
from app.model.standing import Certainty, Standing
from app.model.target import Target
from app.rulebook.book import Rulebook
from tests.live.conftest import LAB

LISTING = "find /etc/containerd /etc/rancher /etc/hosts -printf '%y %m %U:%G %p\\n' 2>/dev/null | sort; find /etc/containerd /etc/rancher /etc/hosts -type f -exec sha256sum {} + 2>/dev/null | sort"


@dataclass
class Row:
    fix: str
    ca: bool = False
    """The registry's CA is given, as its owner would."""
    restarts: bool = False
    tidy: bool = False
    """The fault leaves an empty folder of the right name, which no operator would have made."""


ROWS = {
    "untrusted-ca": Row("add-ca-file", ca=True),
    "http-vs-https": Row("http-host-entry"),
    "config-stale": Row("restart-runtime", restarts=True),
    "certs-dir-name": Row("rename-registry-key", tidy=True),
    "hosts-toml-broken": Row("write-hosts-toml"),
    "plugin-id": Row("rewrite-registry-section", restarts=True),
    "config-path-and-mirrors": Row("mirrors-to-hosts-toml", restarts=True),
}


def command(*words: str) -> str:
    done = subprocess.run([str(LAB), *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kubectl(lab: Mapping[str, str], *words: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        [f"{lab['LAB_BIN']}/kubectl", "--kubeconfig", lab["KUBECONFIG"], *words],
        input=stdin, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def faults(lab: Mapping[str, str]) -> Iterator[Callable[[str], None]]:
    """Make a fault; it is mended when the test ends, however that ends."""
    made: list[str] = []

    def make(name: str) -> None:
        made.append(name)
        command("fault", name)

    command("mend")
    yield make
    for name in made:
        command("mend", name)


def given(lab: Mapping[str, str]) -> dict[str, str]:
    return {"ca": Path(lab["LAB_REGISTRY_CA"]).read_text()}


async def diagnosed(run: Run, fix: str) -> tuple[Case, Standing, Material]:
    """The surest finding that offers the fix, from a live run."""
    await run.investigation.scan()
    seen = []
    for opened in run.investigation.fold():
        await run.investigation.collect(opened, seconds=60)
        step = run.investigation.judge(opened, interactive=False)
        seen += [(one.finding, one.certainty.value) for one in step.standings if one.certainty is not Certainty.OUT]
        for standing in step.standings:
            if standing.certainty in (Certainty.PROVEN, Certainty.LIKELY) and fix in [
                name for _, name in standing.fixes
            ]:
                assert opened.case is not None
                return opened.case, standing, opened.material
    raise AssertionError(f"no finding offers {fix}: {seen}")


def pods_of(lab: Mapping[str, str], fault: str) -> dict[str, Any]:
    """Node to the pod that the fault made there."""
    items = json.loads(kubectl(lab, "-n", "apps", "get", "pods", "-o", "json"))["items"]
    return {item["spec"]["nodeName"]: item for item in items if item["metadata"]["name"].startswith(f"{fault}-")}


def pull_anew(lab: Mapping[str, str], pods: Mapping[str, Any]) -> None:
    """A new pod of the same image on each node has to run."""
    tag = token_hex(3)
    names = {}
    for node, pod in pods.items():
        spec = {key: pod["spec"][key] for key in ("nodeName", "imagePullSecrets", "tolerations") if key in pod["spec"]}
        container = {"name": "app", "image": pod["spec"]["containers"][0]["image"], "imagePullPolicy": "Always"}
        names[node] = f"fixed-{node}-{tag}"
        item = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": names[node], "namespace": "apps", "labels": {"made": "by-test"}},
            "spec": {**spec, "terminationGracePeriodSeconds": 0, "containers": [container]},
        }  # fmt: skip
        kubectl(lab, "create", "-f", "-", stdin=json.dumps(item))
    try:
        for node, name in names.items():
            end = time.monotonic() + 60
            while (pod := json.loads(kubectl(lab, "-n", "apps", "get", "pod", name, "-o", "json")))["status"][
                "phase"
            ] != "Running":
                assert time.monotonic() < end, f"{node}: {json.dumps(pod['status'].get('containerStatuses'))}"
                time.sleep(0.5)
    finally:
        kubectl(lab, "-n", "apps", "delete", "pod", *names.values(), "--wait=false")


async def applied(gateway: Gateway, plan: FixPlan) -> dict[str, StepState]:
    """Apply and answer the state of each node; that pods really pull is looked at by the test."""

    async def verify(_plan: FixPlan, _target: Target) -> tuple[bool, str]:
        return True, "the test pulls itself"

    reports = [report async for report in gateway.apply(plan, confirmed=plan.confirm_name or plan.id, verify=verify)]
    return {str(one.target.get("node")): one.state for one in reports[-1].progress} | {
        f"note {one.target}": one.note for one in reports[-1].progress if one.state is not StepState.VERIFIED
    }  # type: ignore[return-value]


async def broken_fixed_pulled_undone(
    lab: Mapping[str, str],
    on_machine: Callable[..., str],
    fault: str,
    row: Row,
    folder: Path,
    only: tuple[str, ...] = (),
) -> None:
    pods = {node: pod for node, pod in pods_of(lab, fault).items() if not only or node in only}
    assert pods
    rulebook: Rulebook = load_rulebook()[0]
    options = flags().parse_args(["--kubeconfig", lab["KUBECONFIG"], "-F", lab["LAB_SSH_CONFIG"], "--no-input"])
    run = build_run(options, rulebook)
    try:
        case, standing, material = await diagnosed(run, row.fix)
        # Nodes on which the finding is less sure are chosen as an operator may.
        proven = {target.get("node") for target in standing.targets}
        more = tuple(Target.of(node=node, registry=case.incident.registry) for node in pods if node not in proven)
        standing = replace(standing, targets=(*standing.targets, *more))
        inputs = given(lab) if row.ca else {}
        context = FixContext(
            standing, case, material, "lab", f"live{token_hex(4)}", case.now, inputs=inputs, specs=rulebook.fixes, key=b"key", fix=row.fix
        )  # fmt: skip
        planner = find(row.fix)
        assert planner.needs(context) == ()
        before = {node: on_machine(node, "sh", "-c", LISTING) for node in pods}
        plan = planner.plan(context)
        assert plan.changed, plan.checks
        assert not plan.blocked
        assert {target.get("node") for target in plan.targets} >= set(pods), plan.checks
        assert {node: on_machine(node, "sh", "-c", LISTING) for node in pods} == before
        assert any(change.kind == "node-restart" for change in plan.changes) is row.restarts
        gateway = Gateway("lab", Writers(nodes=SshWriter(run.links)), UndoJournal(folder), _settle)
        gateway.unlock("lab")
        states = await applied(gateway, plan)
        assert set(states.values()) == {StepState.VERIFIED}, states
        pull_anew(lab, pods)
        await gateway.undo(plan.id)
        assert {node: on_machine(node, "sh", "-c", LISTING) for node in pods} == before
    finally:
        await run.close()


async def _settle(seconds: float) -> None:
    await asyncio.sleep(seconds)


@pytest.mark.parametrize("fault", ROWS)
async def test_broken_fixed_pulled_and_undone(
    lab: Mapping[str, str], faults: Callable[[str], None], on_machine: Callable[..., str], fault: str, tmp_path: Path
) -> None:
    faults(fault)
    for node in lab["LAB_NODES"].split() if ROWS[fault].tidy else ():
        on_machine(node, "find", "/etc/containerd/certs.d", "-mindepth", "1", "-type", "d", "-empty", "-delete")
    try:
        await broken_fixed_pulled_undone(lab, on_machine, fault, ROWS[fault], tmp_path)
    finally:
        if ROWS[fault].restarts:
            for node in lab["LAB_NODES"].split():
                on_machine(node, "systemctl", "restart", "containerd")


# --- k3s and RKE2: a test bed of its own kind, only where it is asked for ---------------------------------------------

K3S_ROWS = {
    "k3s-ca-missing": Row("write-registries-yaml", ca=True, restarts=True),
    "k3s-http-insecure-skip-verify": Row("write-registries-yaml", restarts=True),
    "k3s-key-mismatch": Row("write-registries-yaml", restarts=True),
    "k3s-registries-not-loaded": Row("restart-k3s", restarts=True),
}


@pytest.fixture(scope="module")
def k3s_lab() -> Iterator[Mapping[str, str]]:
    """The test bed with k3s on its second node; what was there is brought up again afterwards."""
    command("down")
    command("up", "--nodes", "2", "--node", "node2=k3s")
    pairs = (line.removeprefix("export ").partition("=") for line in command("env").splitlines() if "=" in line)
    yield {name: value.strip("'\"") for name, _, value in pairs}
    command("down")
    command("up", "--nodes", "3")


# Another kind of test bed takes the place of the one that runs, so it is asked for by name (CONTRIBUTING.md).
K3S_FAULTS = list(K3S_ROWS) if os.environ.get("HARBORPILOT_LAB_K3S") == "1" else []


async def k3s_broken_fixed_pulled_and_undone(k3s_lab: Mapping[str, str], fault: str, tmp_path: Path) -> None:
    def on_machine(machine: str, *argv: str) -> str:
        return subprocess.run(
            [str(LAB), "exec", machine, *argv], capture_output=True, text=True, timeout=60, check=True
        ).stdout

    command("mend")
    command("fault", fault)
    try:
        await broken_fixed_pulled_undone(k3s_lab, on_machine, fault, K3S_ROWS[fault], tmp_path, ("node2",))
    finally:
        command("mend", fault)


if K3S_FAULTS:
    test_k3s_broken_fixed_pulled_and_undone = pytest.mark.parametrize("fault", K3S_FAULTS)(
        k3s_broken_fixed_pulled_and_undone
    )

"""One repair, whole: what a fault made real breaks is diagnosed, planned, applied, really pulled or pushed, and undone.

Plan, apply and verify are those of the commands `plan`, `apply` and `undo`, in this process so that a run diagnoses once.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from app.bootstrap import build_run
from app.commands.plan import find_and_plan, flags
from app.files import load_rulebook
from app.fixes.base import Hidden
from app.fixes.gateway import Verify
from app.model.fix import FixPlan, Verified
from app.model.standing import Standing
from app.model.target import Target
from app.runner.fixing import Fixing
from app.runner.investigation import Opened

LAB = Path(__file__).resolve().parents[3] / "shared" / "lab" / "lab"
SPACE = "apps"
LISTING = (
    "F='/etc/containerd /etc/rancher /etc/hosts /etc/systemd/system'; find $F -printf '%y %m %U:%G %p\\n' 2>/dev/null | sort; "
    "find $F -type f -exec sha256sum {} + 2>/dev/null | sort"
)
ADMIN = ("admin", "Harbor12345")
WAIT = 240.0
HASTE = 4.0
"""The product looks at pods every two seconds, for as long as WAIT says; here time runs faster, pods start within one."""


@dataclass(frozen=True)
class Repair:
    """What an operator would choose and give for a fault."""

    fix: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    password: str = ""
    ca: bool = False
    """The registry's CA is given, as its owner would."""
    harbor: bool = False
    """With the login of Harbor's administrator."""
    try_once: bool = False
    """The operator lets each pull secret be tried once."""
    restarts: bool = False
    """The plan restarts a service of the node."""
    login: tuple[str, str] | None = None
    """The pusher's own account, with which an upload may be started and cancelled."""
    left: bool = False
    """Something of it cannot be undone, and the plan says so."""
    kept: bool = False
    """Not undone here: the test bed's Harbor has no way back for it, a real one has. Mending puts its settings back."""
    late: bool = False
    """The pods have pulled by themselves before the product looks again, as the kubelet may at any time."""
    waves: bool = False
    """Node after node as in one plan; else a plan for each node, all at once, which saves time here."""


@dataclass(frozen=True)
class Bed:
    """The test bed's commands."""

    lab: Mapping[str, str]
    on_machine: Callable[..., str]
    folder: Path

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [f"{self.lab['LAB_BIN']}/kubectl", "--kubeconfig", self.lab["KUBECONFIG"], *words],
            input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pods(self, *words: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(
            self.kubectl("-n", SPACE, "get", "pods", *words, "-o", "json")
        )["items"]  # fmt: skip
        return [item for item in items if not item["metadata"].get("deletionTimestamp")]

    def certificate(self, name: str) -> str:
        """A certificate of the registry's owner, as they would hand it over."""
        return Path(self.lab["LAB_REGISTRY_CA"]).with_name(f"{name}.crt").read_text()

    def flags(self, repair: Repair) -> list[str]:
        """Flags of a command that plans this repair."""
        found = ["--kubeconfig", self.lab["KUBECONFIG"], "-F", self.lab["LAB_SSH_CONFIG"], "--no-input"]
        passwords = []
        if repair.harbor:
            found += ["--harbor-user", ADMIN[0]]
            passwords.append(ADMIN[1])
        if repair.login is not None:
            found += ["--push-user", repair.login[0], "--try-upload"]
            passwords.append(repair.login[1])
        if passwords:
            file = self.folder / "passwords"
            file.write_text("\n".join(passwords) + "\n")
            found += ["--password-file", str(file)]
        return [*found, "--try-credentials=once"] if repair.try_once else found

    def state(self, nodes: tuple[str, ...] = ()) -> dict[str, Any]:
        """All that a repair may change, and that its undo has to bring back."""
        secrets = json.loads(self.kubectl("-n", SPACE, "get", "secrets", "-o", "json"))["items"]
        account = json.loads(self.kubectl("-n", SPACE, "get", "serviceaccount", "default", "-o", "json"))
        database = json.loads(self.on_machine("harbor", "cat", "/etc/lab/db/harbor.json"))
        return {
            "nodes": {node: self.on_machine(node, "sh", "-c", LISTING) for node in nodes},
            "secrets": {
                item["metadata"]["name"]: (item["type"], item.get("data"), item["metadata"].get("labels"))
                for item in secrets
            },
            "account": account.get("imagePullSecrets"),
            "harbor": {key: _settled(database[key]) for key in ("config", "robots", "registries", "projects", "users")},
        }


def _settled(value: Any) -> Any:
    """Without what Harbor itself writes: when something was changed, how much is stored, whether an endpoint answers."""
    if isinstance(value, dict):
        return {key: _settled(item) for key, item in value.items() if key not in ("update_time", "used", "status")}
    return value


def command(*words: str) -> str:
    """One command of the lab, with what it printed."""
    done = subprocess.run([str(LAB), *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def broken(bed: Bed, fault: str) -> Iterator[str]:
    """A fault made real, with what its making printed; mended afterwards, however the block ends."""

    def owners_gone() -> None:
        bed.kubectl("-n", SPACE, "delete", "replicasets", "-l", "made=by-test", "--ignore-not-found")

    command("mend")
    owners_gone()
    try:
        yield command("fault", fault)
    finally:
        owners_gone()
        command("mend", fault)


def owned(bed: Bed) -> tuple[str, ...]:
    """Give the failing pods owners, which make them anew when they are deleted, as in life; the nodes they are on."""
    pods = [pod for pod in bed.pods("-l", "lab=fault") if pod["status"]["phase"] != "Running"]
    assert pods
    sets = []
    for pod in pods:
        name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
        bed.kubectl("-n", SPACE, "label", "pod", name, "lab-", f"web={node}")
        labels = {"web": node}
        spec = {key: pod["spec"][key] for key in ("nodeName", "imagePullSecrets", "tolerations") if key in pod["spec"]}
        box = {"name": "app", "image": pod["spec"]["containers"][0]["image"], "imagePullPolicy": "Always"}
        sets.append({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": f"web-{node}", "labels": {"made": "by-test"}},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                **spec, "terminationGracePeriodSeconds": 0, "containers": [box]}}},
        })  # fmt: skip
    bed.kubectl("-n", SPACE, "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": sets}))
    wait(
        "owners of the pods",
        lambda: all(
            next(pod for pod in bed.pods("-l", f"web={one['spec']['nodeName']}"))["metadata"].get("ownerReferences")
            for one in pods
        ),
    )
    return tuple(sorted({pod["spec"]["nodeName"] for pod in pods}))


def wait(what: str, ready: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.3)


async def repaired(
    bed: Bed, repair: Repair, nodes: tuple[str, ...], seen: Callable[[], None], *words: str, text: str | None = None
) -> None:
    """Plan from a live diagnosis, apply, let the product verify, look for ourselves (`seen`), undo."""
    options = flags().parse_args([*bed.flags(repair), "--fix", repair.fix, *words])
    inputs: dict[str, str | Hidden] = {**repair.inputs}
    if repair.ca:
        inputs["ca"] = bed.certificate("harbor-ca")
    if repair.password:
        inputs["password"] = Hidden(repair.password)
    before = bed.state(nodes)
    built = build_run(options, load_rulebook()[0])
    try:
        chosen = await find_and_plan(built, options, text, inputs)
        assert chosen is not None
        plan, opened, standing, fixing = chosen
        on_nodes = any(change.kind.startswith("node-") for change in plan.changes)
        if on_nodes:
            # Nodes on which the finding is less sure, because fewer were asked there, are chosen as an operator may.
            sure = {target.get("node") for target in standing.targets if target.get("node")}
            registry = opened.scene.incident.registry
            more = [Target.of(node=node, registry=registry) for node in nodes if sure and node not in sure]
            standing = replace(standing, targets=(*standing.targets, *more))
            plan = await _planned(fixing, opened, standing, repair.fix, inputs)
            assert {target.get("node") for target in plan.targets} == set(nodes), plan.checks
        _sound(plan, repair)
        plans = [plan]
        if on_nodes and not repair.waves:
            parts = [replace(standing, targets=(target,)) for target in plan.targets]
            plans = [await _planned(fixing, opened, part, repair.fix, inputs) for part in parts]
        assert bed.state(nodes) == before, "planning changed something"
        fixing.settle = _hasty
        fixing.gateway.unlock(built.context)
        verify = fixing.verifier(opened, standing, retry_pods=opened.scene.incident.action != "push", wait=WAIT)
        if repair.late:
            verify = _after(partial(pulled_anew, bed), verify)
        try:
            ends = await asyncio.gather(
                _applied(fixing, plans[0], verify),
                *(_applied(fixing, one, _unasked) for one in plans[1:]),
                return_exceptions=True,
            )
            for end in ends:
                if end is not None:
                    raise end
            seen()
        finally:
            # However it ended: what a repair has written is nothing that mending the fault would take away.
            begun = [] if repair.kept else fixing.gateway.journal.plans()
            await asyncio.gather(*(fixing.gateway.undo(one.id) for one in plans if one.id in begun))
        if not (repair.left or repair.kept):
            assert bed.state(nodes) == before, "the undo left something"
    finally:
        await built.close()


async def _planned(
    fixing: Fixing, opened: Opened, standing: Standing, fix: str, inputs: Mapping[str, str | Hidden]
) -> FixPlan:
    plan, needs = await fixing.plan(opened, standing, fix, inputs)
    assert plan is not None, needs
    return plan


def _sound(plan: FixPlan, repair: Repair) -> None:
    assert plan.changed, (plan.checks, plan.hand_off)
    assert not plan.blocked
    assert any(change.kind == "node-restart" for change in plan.changes) is repair.restarts


async def _applied(fixing: Fixing, plan: FixPlan, verify: Verify) -> None:
    gateway = fixing.gateway
    reports = [report async for report in gateway.apply(plan, confirmed=plan.confirm_name or plan.id, verify=verify)]
    assert reports[-1].verified, reports[-1].progress


async def _unasked(plan: FixPlan, target: Target) -> Verified:
    """The product looks at one node of several: it costs seconds, and the test lets all of them pull."""
    del plan, target
    return Verified(works=True, note="the test looks itself")


def _after(pulled: Callable[[tuple[str, ...]], None], verify: Verify) -> Verify:
    """The same look, once new pods have started on the target's node."""

    async def verified(plan: FixPlan, target: Target) -> Verified:
        node = target.get("node")
        assert node is not None
        await asyncio.to_thread(pulled, (node,))
        return await verify(plan, target)

    return verified


async def _hasty(seconds: float) -> None:
    await asyncio.sleep(seconds / HASTE)


def pulled_anew(bed: Bed, nodes: tuple[str, ...]) -> None:
    """On each node a new pod gets its image and runs."""
    there = f"web in ({','.join(nodes)})"
    old = {pod["metadata"]["uid"] for pod in bed.pods("-l", there)}
    bed.kubectl("-n", SPACE, "delete", "pods", "-l", there, "--wait=false")

    def all_run() -> bool:
        return {
            pod["spec"]["nodeName"]
            for pod in bed.pods("-l", there)
            if pod["metadata"]["uid"] not in old and pod["status"]["phase"] == "Running"
        } == set(nodes)

    wait("a running pod on each node", all_run)

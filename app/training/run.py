"""A scenario brought to life: the world behind the ports, the writers for the gateway, and whether it is solved."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from app.fixes.gateway import Writers
from app.ports import Credential, KubeApi
from app.training.scenario import Scenario
from app.training.steps import Hands
from app.training.world.base import HOST, build
from app.training.world.clock import START, SimClock
from app.training.world.controllers import Controllers, is_ready
from app.training.world.http import WorldHarbor, WorldHttp
from app.training.world.kube import WorldKube
from app.training.world.node_writer import WorldNodeWriter
from app.training.world.nodes import WorldNodes
from app.training.world.push import push
from app.training.world.state import State

CONTEXT = "practice"
BROKEN_FOR = 25 * 60.0
"""Seconds between the fault and the page."""


@dataclass(slots=True, repr=False)
class PracticeRun:
    """One run. Its parts are those of the runner's `World`: `clock`, `kube`, `nodes`, `http`."""

    scenario: Scenario
    state: State
    controllers: Controllers
    hands: Hands
    kube_api: WorldKube
    nodes: WorldNodes
    http: WorldHttp
    harbor: WorldHarbor
    node_writer: WorldNodeWriter
    push_text: str = ""
    """What the failing client printed; empty where pods fail."""
    push_image: str = ""
    context: str = CONTEXT

    @property
    def clock(self) -> SimClock:
        """The world's clock."""
        return self.state.clock

    @property
    def kube(self) -> dict[str, KubeApi]:
        """By cluster; Harbor runs in the same one."""
        return {"workload": self.kube_api, "harbor": self.kube_api}

    @property
    def harbor_login(self) -> Credential | None:
        """The operator's own login for Harbor's API, where the scenario gives one."""
        if not self.scenario.harbor_login:
            return None
        admin = self.state.harbor.users["admin"]
        return Credential(admin.name, admin.password, "your Harbor login")

    def writers(self) -> Writers:
        """For the gateway."""
        return Writers(
            kube=self.kube_api, kube_reader=self.kube_api, harbor_kube=self.kube_api, harbor_kube_reader=self.kube_api,
            nodes=self.node_writer, harbor=self.harbor if self.scenario.harbor_login else None,
            harbor_reader=self.harbor.read if self.scenario.harbor_login else None,
        )  # fmt: skip

    async def settle(self, seconds: float) -> None:
        """The gateway's `settle`: time passes in the world alone."""
        self.controllers.wait(seconds)

    def solved(self) -> bool:
        """Whether the goal holds now. Pushes are tried in a copy of the world, so that looking changes nothing."""
        self.controllers.settle()
        return _holds(self.scenario, self.state)


def _holds(scenario: Scenario, state: State) -> bool:
    for namespace in scenario.goal.pods:
        pods = state.cluster.all("pods", namespace)
        wanted = sum(int(one["spec"].get("replicas", 1)) for one in state.cluster.all("deployments", namespace))
        if not pods or len(pods) < wanted or not all(is_ready(pod) for pod in pods):
            return False
    if scenario.goal.pushes and scenario.push is not None:
        copy = deepcopy(state)
        image = scenario.push.image.replace("${host}", HOST)
        for number in range(scenario.goal.pushes):
            copy.clock.move(3.0)
            if not push(
                copy, f"{image}:check-{number}", scenario.push.account, tool=scenario.push.tool, number=number
            ).works:
                return False
    return True


async def build_run(scenario: Scenario) -> PracticeRun:
    """The broken world at the moment of the page. The same scenario gives the same world each time.

    Raises RefusedError where a fault cannot be made.
    """
    state, controllers = build(scenario.seed, scenario.base)
    kube, harbor = WorldKube(state, controllers.settle, CONTEXT), WorldHarbor(state, controllers.settle)
    writer = WorldNodeWriter(state, controllers.settle)
    hands = Hands(state, controllers, kube, writer, harbor)
    state.clock.seconds = START - BROKEN_FOR
    controllers.settle()
    await hands.do(scenario.faults, given=True)
    controllers.wait(max(0.0, START - state.clock.seconds))
    state.refused |= {(verb, resource) for verb, _, resource in (right.partition(" ") for right in scenario.denied)}
    run = PracticeRun(
        scenario, state, controllers, hands, kube, WorldNodes(state, controllers.settle), WorldHttp(state, controllers.settle), harbor, writer
    )  # fmt: skip
    if scenario.push is not None:
        image = scenario.push.image.replace("${host}", HOST)
        texts = []
        for number in range(scenario.push.tries):
            texts.append(
                push(state, f"{image}:1.{number}", scenario.push.account, tool=scenario.push.tool, number=number).text
            )
            state.clock.move(4.0)
        run.push_text, run.push_image = "\n".join(texts) + "\n", f"{image}:1.{scenario.push.tries - 1}"
    state.writes.clear()
    state.counts = type(state.counts)()
    return run

"""Scenarios played to the end with the product's own planners: planned, applied, verified by the pods, undone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.fixes.base import Hidden
from app.training.practice import Practice
from app.training.run import PracticeRun, build_run
from app.training.scenario import Scenario
from app.training.world.base import DEPOT, HOST
from tests.fakes.practice import fixing_of, investigate
from tests.rules.test_scenarios import KNOWN

Inputs = dict[str, str | Hidden]


def _robot(run: PracticeRun, name: str) -> Inputs:
    return {"username": name, "password": Hidden(run.state.harbor.robots[name].secret)}


def inputs_of(run: PracticeRun, scenario: Scenario) -> Inputs:
    """What an operator would type in."""
    accounts = {"secret-missing": "robot$cluster-pull", "account-frozen": "robot$edge-pull"}
    name = accounts.get(scenario.scenario, "robot$billing-pull")
    given: Inputs = {
        "ca": run.state.certificates["corp-new"],
        "address": "10.20.1.10",
        "proxy": "http://proxy.corp.example:3128",
        **_robot(run, name),
        "secret": "harbor-new",
    }
    if scenario.scenario in NAMES:
        given["new-image"] = NAMES[scenario.scenario]
    if scenario.scenario in ("upstream-login-rotated", "quay-login-form"):
        given |= {"username": "corp+harbor", "password": Hidden(run.state.upstream_logins["corp+harbor"])}
    in_hand = {name: str(run.hands.filled(text)) for name, text in scenario.given.items()}
    return {**given, **{name: Hidden(text) if name == "password" else text for name, text in in_hand.items()}}


NAMES = {
    "host-without-dot": f"{HOST}/shop/web:2.4",
    "image-not-scanned": f"{HOST}/shop/web:2.4.1",
    "library-left-out": f"{HOST}/public/library/redis:7.4",
    "tag-missing": f"{HOST}/shop/web:2.4.1",
    "project-missing": f"{HOST}/billing/tariff:1.0",
    "port-left-out": f"{DEPOT}:8443/library/tools:3.2",
}
PLAYED = {
    "own-ca-unknown": "add-ca-file",
    "ca-replaced": "add-ca-file",
    "ca-path-of-another-system": "add-ca-file",
    "certs-d-switched-off": "set-config-path",
    "config-not-restarted": "restart-runtime",
    "host-without-dot": "fix-image-ref",
    "k3s-config-under-url": "write-registries-yaml",
    "k3s-key-misspelt": "write-registries-yaml",
    "k3s-registries-not-loaded": "restart-k3s",
    "name-unknown-on-node": "hosts-line",
    "node-login-under-other-name": "set-node-auth",
    "plain-http-on-k3s": "write-registries-yaml",
    "port-left-out": "fix-image-ref",
    "proxy-for-the-inside": "extend-no-proxy",
    "proxy-in-the-wrong-place": "set-runtime-proxy",
    "robot-secret-rotated": "rewrite-secret",
    "two-secrets-both-bad": "rewrite-secret",
    "robot-disabled": "robot-enable",
    "robot-expired": "robot-extend",
    "secret-missing": "create-secret",
    "secret-not-referenced": "add-secret-to-template",
    "secret-other-port": "rewrite-secret",
    "secret-with-newline": "rewrite-secret",
    "undecodable-secret": "rewrite-secret",
    "robot-without-right": "robot-grant",
    "robot-not-on-proxy-project": "robot-grant",
    "inner-login-differs": "restart-core",
    "account-frozen": "use-robot",
    "quay-login-form": "quay-json-credential",
    "library-left-out": "fix-image-ref",
    "dollar-in-the-name": "rewrite-secret",
    "image-not-scanned": "fix-image-ref",
    "quota-used-up": "raise-quota",
    "read-only-mode": "read-only-off",
    "database-password-changed": "restart-core",
    "core-with-other-database": "restart-core",
    "tag-missing": "fix-image-ref",
    "project-missing": "fix-image-ref",
    "user-without-role": "project-add-member",
    "upstream-login-rotated": "endpoint-credential",
    "core-keys-differ": "restart-core",
    "core-clock-ahead": "one-core-replica",
}
# The endpoint's old password is known to nobody, and what was pulled through a proxy project stays in it.
NO_WAY_BACK = {
    "endpoint-credential",
    "quay-json-credential",
    "restart-core",
    "restart-runtime",
    "restart-k3s",
    "one-core-replica",
}


async def play(scenario: Scenario, fix: str, folder: Path) -> None:
    run = await build_run(scenario)
    investigation, opened = await investigate(run, try_credentials=scenario.expect.try_credentials)
    item = opened[0]
    assert item.step is not None
    standing = item.step.standings[0]
    assert standing.finding == scenario.expect.finding
    fixing = fixing_of(run, investigation, folder)
    inputs = inputs_of(run, scenario)
    # As at the desk: nothing is typed in before it is asked for.
    asked: Inputs = {}
    plan, needs = await fixing.plan(item, standing, fix, asked)
    while plan is None and not all(need.key in asked for need in needs):
        asked |= {
            need.key: need.question.rpartition(": ")[2].partition(".")[0]
            if need.key == "ca-fingerprint"
            else inputs[need.key]
            for need in needs
        }
        plan, needs = await fixing.plan(item, standing, fix, asked)
    assert plan is not None, needs
    assert plan.changed, plan.hand_off
    assert not plan.blocked
    last = None
    confirmed = plan.confirm_name or plan.id
    async for report in fixing.apply(item, standing, plan, confirmed=confirmed, retry_pods=True):
        last = report
    assert last is not None
    assert last.verified, last
    assert run.solved(), last
    if fix in NO_WAY_BACK:
        return
    await fixing.gateway.undo(plan.id)
    if scenario.goal.pods:
        # Pods that run go on; new ones meet the fault again.
        for space in scenario.goal.pods:
            for pod in run.state.cluster.all("pods", space):
                await run.kube_api.write("DELETE", f"/api/v1/namespaces/{space}/pods/{pod['metadata']['name']}")
        await run.settle(60)
    assert not run.solved()


@pytest.mark.parametrize(("name", "fix"), sorted(PLAYED.items()))
def test_played_to_the_end(name: str, fix: str, tmp_path: Path) -> None:
    assert fix in KNOWN[name].solution.fixes
    asyncio.run(play(KNOWN[name], fix, tmp_path))


HANDED_OVER = {
    "ci-login-stale": "relogin",
    "link-left-out": "full-chain",
    "mirror-without-login": "image-names-harbor",
    "node-disk-is-full": "free-node-disk",
    "mirror-gets-vendor-login": "image-names-harbor",
    "pull-limit-reached": "mirror-through-harbor",
    "realm-of-inside": "set-external-url",
    "nobody-listens": "registry-operator",
    "node-clock-slow": "repair-ntp",
    "packets-dropped": "network-team",
}


class _Desk:
    """The operator's own clock."""

    def monotonic(self) -> float:
        return 100.0

    def now(self) -> float:
        return 100.0


async def hand_over(name: str, fix: str, folder: Path) -> None:
    practice = Practice(KNOWN, folder, _Desk())
    run = await practice.start(name)
    investigation, opened = await investigate(run, try_credentials=run.scenario.expect.try_credentials)
    assert opened[0].step is not None
    standing = opened[0].step.standings[0]
    assert fix in {offered for kind, offered in standing.fixes if kind != "advice"}
    plan, needs = await fixing_of(run, investigation, folder).plan(
        opened[0], standing, fix, inputs_of(run, run.scenario)
    )
    assert plan is not None, needs
    assert not plan.changed
    assert plan.hand_off
    # The right people, asked for the wrong cause, find nothing; so do the wrong people.
    assert not (await practice.hand_over(fix, "net-tls-stall"))[0]
    assert not (await practice.hand_over("wait-for-window", standing.finding))[0]
    assert not practice.solved()
    assert practice.wrong_fixes == 2
    helped, said = await practice.hand_over(fix, standing.finding)
    assert helped
    assert run.scenario.solution.owner in said
    view = practice.debrief()
    assert view.solved
    points = {what: got for what, _, got in view.lines}
    assert points["right cause named"] == 30
    assert points["cured"] == 25
    assert points["blast radius"] == 10


@pytest.mark.parametrize(("name", "fix"), sorted(HANDED_OVER.items()))
def test_handed_over_to_those_who_can(name: str, fix: str, tmp_path: Path) -> None:
    solution = KNOWN[name].solution
    assert solution.owner
    assert fix in solution.fixes
    asyncio.run(hand_over(name, fix, tmp_path))


def test_each_scenario_is_played_one_way_or_the_other() -> None:
    assert {name for name, one in KNOWN.items() if one.solution.owner} == set(HANDED_OVER)

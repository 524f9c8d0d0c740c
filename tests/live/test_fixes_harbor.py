"""Faults of Harbor's accounts, settings and keys made real, cured through its API or its cluster, really pulled or pushed, undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from secrets import token_hex

import pytest

from tests.live.repair import Bed, Repair, broken, owned, pulled_anew, repaired

PULLS = {
    "robot-disabled": Repair("robot-enable", harbor=True, try_once=True),
    "robot-expired": Repair("robot-extend", harbor=True, try_once=True),
    "robot-secret-rotated": Repair("robot-new-secret", harbor=True, left=True),
    "robot-push-only": Repair("robot-grant", harbor=True, try_once=True),
    "user-no-role": Repair("project-add-member", harbor=True, try_once=True, kept=True),
    "proxy-credential-rotated": Repair(
        "endpoint-credential", {"username": "acme+harbor"}, "upstream-secret-2", harbor=True, left=True
    ),
    "proxy-credential-none": Repair(
        "endpoint-credential", {"username": "acme+harbor"}, "upstream-secret-1", harbor=True, left=True
    ),
}
PULLER = ("robot$k8s-puller", "puller-secret-1")
CI = ("robot$team+ci", "ci-secret-1")
PUSHES = {
    "push-no-right": Repair("robot-grant", harbor=True, login=PULLER),
    "push-read-only": Repair("read-only-off", harbor=True, login=CI),
    "push-quota": Repair("raise-quota", harbor=True, login=CI),
}


@pytest.mark.parametrize("fault", PULLS)
async def test_broken_fixed_pulled_and_undone(bed: Bed, fault: str) -> None:
    with broken(bed, fault):
        nodes = owned(bed)
        await repaired(bed, PULLS[fault], nodes, lambda: pulled_anew(bed, nodes))


@pytest.mark.parametrize("fault", PUSHES)
async def test_broken_fixed_pushed_and_undone(
    bed: Bed, lab: Mapping[str, str], on_machine: Callable[..., str], fault: str
) -> None:
    image = f"{lab['LAB_REGISTRY']}/team/repaired-{token_hex(3)}:1"
    with broken(bed, fault) as text:
        await repaired(bed, PUSHES[fault], (), lambda: pushed(on_machine, image), "--push", image, text=text)


async def test_cores_with_unequal_keys_agree_after_a_restart(
    bed: Bed, lab: Mapping[str, str], on_machine: Callable[..., str], core_pods: list[str]
) -> None:
    image = f"{lab['LAB_REGISTRY']}/team/repaired-{token_hex(3)}"

    def seen() -> None:
        # Each push takes several answers, and the front chooses a core for each.
        for number in range(4):
            pushed(on_machine, f"{image}:{number}")

    assert len(core_pods) == 2
    repair = Repair("restart-core", harbor=True, login=CI, left=True)
    with broken(bed, "core-keys-unequal") as text:
        await repaired(bed, repair, (), seen, "--push", f"{image}:0", text=text)


def pushed(on_machine: Callable[..., str], image: str) -> None:
    """A small image goes to the registry from the desk, with the login that the fault left there."""
    on_machine("ops", "crane", "push", "/root/image", image)

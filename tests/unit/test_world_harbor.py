"""The practice world's Harbor answers as a real one does (observed-harbor.md); each answer follows from its state."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.training.world.base import HOST, build, digest_of
from app.training.world.controllers import Controllers
from app.training.world.http import WorldHarbor
from app.training.world.kube import WorldKube
from app.training.world.others import Call, Reply
from app.training.world.push import push
from app.training.world.registry import answer, ready_cores
from app.training.world.state import CorePod, Offender, State

Built = tuple[State, Controllers]
PULLER = "robot$cluster-pull"


@pytest.fixture
def world() -> Built:
    return build("unit", "kubeadm")


def ask(world: Built, path: str, account: str = "", *, method: str = "GET", secret: str = "", size: int = 0) -> Reply:
    state = world[0]
    robot, user = state.harbor.robots.get(account), state.harbor.users.get(account)
    login = (account, secret or (robot.secret if robot else user.password if user else "")) if account else None
    return answer(state, state.servers[(HOST, 443)], Call(method, path, login, client="10.20.9.9", size=size))


def message(reply: Reply) -> str:
    return str(json.loads(reply.body)["errors"][0]["message"])


def cores(world: Built) -> list[CorePod]:
    return [world[0].harbor.cores[pod] for pod in ready_cores(world[0])]


def said(world: Built) -> str:
    return "\n".join(line for core in cores(world) for line in core.log)


def test_a_project_that_is_not_there(world: Built) -> None:
    first = ask(world, "/v2/none/app/manifests/1")
    assert first.headers["www-authenticate"].startswith("Bearer ")
    known = ask(world, "/v2/none/app/manifests/1", PULLER)
    assert (known.status, known.headers["www-authenticate"]) == (401, "")
    assert message(known) == message(first) == "project none not found: project none not found"
    assert "unauthorized to access repository" in message(ask(world, "/v2/billing/app/manifests/1"))


def test_a_refused_login_gets_a_token_only_where_it_asks_for_a_scope(world: Built) -> None:
    assert ask(world, "/service/token?service=harbor-registry", PULLER, secret="wrong").status == 401
    world[0].clock.move(5)
    scoped = ask(
        world, "/service/token?service=harbor-registry&scope=repository%3Ashop%2Fweb%3Apull", PULLER, secret="wrong"
    )
    assert scoped.status == 200
    assert scoped.ms > 1500


def test_a_frozen_name_is_refused_at_once_and_without_a_line(world: Built) -> None:
    state = world[0]
    state.harbor.offenders.append(Offender("dana", "old", "10.20.7.44", "skopeo/1.16.1", state.now()))
    refused = ask(world, "/v2/shop/web/manifests/2.4", "dana")
    assert refused.status == 401
    assert refused.ms < 100
    log = said(world)
    assert "locking dana" in log
    assert 'client IP="10.20.7.44"' in log
    assert "10.20.9.9" not in log
    assert ask(world, "/v2/shop/web/manifests/2.4", PULLER).status == 200
    # Once the job has the right password there is nothing to lock.
    state.harbor.offenders[0].password = state.harbor.users["dana"].password
    state.clock.move(5)
    assert ask(world, "/v2/shop/web/manifests/2.4", "dana").status == 200


def test_the_inner_registry_takes_only_the_password_that_it_knows(world: Built) -> None:
    state, kube = world[0], WorldKube(world[0], world[1].settle)
    state.harbor.registry_password = "another"
    refused = ask(world, "/v2/shop/web/manifests/2.4", PULLER)
    assert refused.headers["www-authenticate"] == 'Basic realm="harbor-registry-basic-realm"'
    assert message(refused) == "authentication required"
    assert ask(world, "/v2/shop/web/manifests/none", PULLER).status == 404
    assert json.loads(ask(world, "/api/v2.0/health").body)["status"] == "healthy"
    assert said(world) == ""
    pod = next(
        one["metadata"]["name"]
        for one in state.cluster.all("pods", "harbor")
        if one["metadata"]["labels"]["component"] == "registry"
    )
    path = f"/api/v1/namespaces/harbor/pods/{pod}/log"
    log = asyncio.run(kube.get(path, {"sinceSeconds": "900", "timestamps": "true"})).body
    assert 'error authenticating user \\"harbor_registry_user\\": authentication failure' in log
    state.clock.move(1000)
    assert asyncio.run(kube.get(path, {"sinceSeconds": "900"})).body == ""


def test_without_its_database_core_refuses_everybody_at_once(world: Built) -> None:
    state = world[0]
    state.harbor.database_password = "another"
    for path, account in (("/v2/library/tools/manifests/3.2", ""), ("/v2/shop/web/manifests/2.4", PULLER)):
        refused = ask(world, path, account)
        assert refused.status == 401
        assert refused.ms < 100
        assert "failed to connect to `user=harbor database=registry`" in message(refused)
    assert ask(world, "/service/token?service=harbor-registry", PULLER).status == 401
    health = json.loads(ask(world, "/api/v2.0/health").body)
    assert [part["name"] for part in health["components"] if part["status"] != "healthy"] == ["database"]
    harbor = WorldHarbor(state, world[1].settle)
    assert asyncio.run(harbor.read("/projects"))[0] == 500
    assert asyncio.run(harbor.write("PUT", "/configurations", {"read_only": True}))[0] == 500
    for core in cores(world):
        core.database_password = state.harbor.database_password
    assert ask(world, "/v2/shop/web/manifests/2.4", PULLER).status == 200


def test_a_core_on_another_database_knows_nobody(world: Built) -> None:
    for core in cores(world):
        core.strange_database = True
    assert message(ask(world, "/v2/shop/web/manifests/2.4", PULLER)).startswith("project shop not found")
    assert ask(world, "/service/token?service=harbor-registry", PULLER).status == 401
    assert world[0].harbor.projects["shop"].images
    for core in cores(world):
        core.strange_database = False
    world[0].clock.move(5)
    assert ask(world, "/v2/shop/web/manifests/2.4", PULLER).status == 200


def test_a_quota_counts_what_is_kept(world: Built) -> None:
    state = world[0]
    shop = state.harbor.projects["shop"]
    shop.quota, shop.used = 500 * 2**20, 495 * 2**20
    assert push(state, f"{HOST}/shop/web:1", "robot$ci-push").works
    full = push(state, f"{HOST}/shop/web:2", "robot$ci-push")
    assert not full.works
    assert (
        "DENIED: adding 3.2 MiB of storage resource, which when updated to current usage of 498.2 MiB "
        "will exceed the configured upper limit of 500.0 MiB." in full.text
    )
    assert 'reserve resources {"storage":3402000} for project 2 failed' in said(world)


def test_read_only_mode_refuses_pushes_and_nothing_else(world: Built) -> None:
    world[0].harbor.read_only = True
    assert "DENIED: The system is in read only mode." in push(world[0], f"{HOST}/shop/web:1", "robot$ci-push").text
    assert ask(world, "/v2/shop/web/manifests/2.4", PULLER).status == 200


def test_what_was_not_scanned_is_held_back(world: Built) -> None:
    shop = world[0].harbor.projects["shop"]
    shop.prevent, shop.scanned = "high", {"cart:1.9"}
    held = ask(world, "/v2/shop/web/manifests/2.4", PULLER)
    assert held.status == 412
    assert message(held).startswith("current image without vulnerability scanning cannot be pulled")
    assert ask(world, "/v2/shop/cart/manifests/1.9", PULLER).status == 200


def test_an_upstream_that_lacks_the_image_is_named(world: Built) -> None:
    missing = ask(world, "/v2/vendor/acme/none/manifests/1", PULLER)
    assert message(missing) == "resource not found: repo vendor/acme/none, tag 1 not found"
    assert said(world) == ""


def test_the_quay_type_reads_its_password_as_json(world: Built) -> None:
    state = world[0]
    endpoint = state.harbor.endpoints["vendor-hub"]
    endpoint.kind, right = "quay", endpoint.password
    state.upstream_images["acme/agent:7.0"] = digest_of("acme/agent:7.0")
    assert ask(world, "/v2/vendor/acme/agent/manifests/7.0", PULLER).status == 404
    assert "looking for beginning of value" in said(world)
    endpoint.password = json.dumps({"account_name": "corp+harbor", "docker_cli_password": right})
    assert ask(world, "/v2/vendor/acme/agent/manifests/7.0", PULLER).status == 200


def test_docker_says_whether_the_login_is_good(world: Built) -> None:
    state = world[0]
    state.client_logins["dana"] = "old"
    refused = push(state, f"{HOST}/shop/web:1", "dana", tool="docker")
    assert refused.text.endswith(f'Error response from daemon: Get "https://{HOST}/v2/": unauthorized:')
    del state.client_logins["dana"]
    state.clock.move(5)
    good = push(state, f"{HOST}/shop/web:1", "dana", tool="docker")
    assert good.works
    assert "Login Succeeded" in good.text
    assert state.harbor.projects["shop"].images["web:1"]

"""Pull secrets broken, planned, fixed, pulled and undone on real parts, by the command that an operator types."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from tests.live.conftest import NODE

pytestmark = pytest.mark.live

LOGIN = ("robot$k8s-puller", "puller-secret-1")
JSON_TYPE = "kubernetes.io/dockerconfigjson"


@dataclass
class Bed:
    """The test bed, and a namespace of our own in it."""

    namespace: str
    host: str
    login: tuple[str, str]
    state: Path

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        done = subprocess.run(["kubectl", *words], input=stdin, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def put(self, *items: dict[str, Any]) -> None:
        self.kubectl(
            "create",
            "-n",
            self.namespace,
            "-f",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)}),
        )

    def get(self, *words: str) -> Any:
        text = self.kubectl("get", "-n", self.namespace, *words, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def pilot(self, *words: str, code: int, stdin: str = "") -> str:
        """The product's command; asserts its exit code."""
        env = {**os.environ, "HARBORPILOT_STATE_DIR": str(self.state), "HOME": str(self.state)}
        done = subprocess.run(
            [sys.executable, "-m", "app", *words, "-n", self.namespace, "--no-ssh", "--no-http"],
            input=stdin, capture_output=True, text=True, check=False, timeout=200, env=env,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert self.login[1] not in done.stdout + done.stderr
        return done.stdout

    def pods(self) -> list[dict[str, Any]]:
        return [
            pod for pod in (self.get("pods") or {"items": []})["items"] if not pod["metadata"].get("deletionTimestamp")
        ]

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, f"{what} did not come within {seconds:.0f} s"
            time.sleep(0.5)

    def failing(self) -> bool:
        return any(
            row.get("state", {}).get("waiting", {}).get("reason", "ContainerCreating") != "ContainerCreating"
            for pod in self.pods()
            for row in pod["status"].get("containerStatuses", [])
        )

    def running(self) -> bool:
        pods = self.pods()
        return bool(pods) and all(pod["status"]["phase"] == "Running" for pod in pods)

    def facts(self) -> Any:
        """What an undo has to bring back: type, data and labels of secrets, lists of accounts and templates."""
        secrets = {
            item["metadata"]["name"]: (
                item["type"],
                item.get("data"),
                item["metadata"].get("labels"),
                item["metadata"].get("annotations"),
            )
            for item in (self.get("secrets") or {"items": []})["items"]
        }
        account = self.get("serviceaccount", "default").get("imagePullSecrets")
        template = self.get("deployment", "web")["spec"]["template"]["spec"].get("imagePullSecrets")
        return secrets, account, template


def docker(host: str, user: str, password: str, *, newline: bool = False) -> dict[str, Any]:
    pair = f"{user}:{password}" + ("\n" if newline else "")
    return {"auths": {host: {"auth": base64.b64encode(pair.encode()).decode()}}}


def secret(name: str, content: Any, kind: str = JSON_TYPE, key: str = ".dockerconfigjson") -> dict[str, Any]:
    data = base64.b64encode(json.dumps(content).encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"team": "shop"}},
        "type": kind,
        "data": {key: data},
    }


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    state = os.environ.get("LAB_STATE")
    if not state:
        if os.environ.get("CI"):
            pytest.fail("LAB_STATE is not set: the test bed is not up")
        pytest.skip("LAB_STATE is not set: the test bed is not up")
    found = Bed(f"fix-{token_hex(3)}", os.environ["LAB_REGISTRY"], LOGIN, tmp_path)
    found.kubectl("create", "namespace", found.namespace)
    found.wait("service account", lambda: found.get("serviceaccount", "default") is not None)
    # The login that pulls is taken from Harbor's own store, so that the test does not know it by heart.
    found.login = _login_of(Path(state)) or LOGIN
    yield found
    found.kubectl("delete", "namespace", found.namespace, "--wait=false")


def _login_of(state: Path) -> tuple[str, str] | None:
    text = subprocess.run(
        ["kubectl", "get", "secret", "harbor-pull", "-n", "apps", "-o", "json", "--ignore-not-found"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    if not text.strip():
        return None
    config = json.loads(base64.b64decode(json.loads(text)["data"][".dockerconfigjson"]))
    user, _, password = base64.b64decode(next(iter(config["auths"].values()))["auth"]).decode().partition(":")
    return user, password


def deployment(bed: Bed, listed: list[str], image: str = "team/app:1.0") -> dict[str, Any]:
    spec = {
        "nodeName": NODE, "terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "web", "image": f"{bed.host}/{image}", "imagePullPolicy": "Always"}],
        **({"imagePullSecrets": [{"name": name} for name in listed]} if listed else {}),
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}},
    }  # fmt: skip


@dataclass(frozen=True)
class Case:
    fix: str
    secret: Callable[[Bed], dict[str, Any]] | None
    """The pull secret that is there."""
    listed: tuple[str, ...] = ("pull",)
    password: bool = False
    """User name and password are given."""
    image: str = "team/app:1.0"


CI = ("robot$team+ci", "ci-secret-1")
"""May pull in its own project only."""

CASES = {
    "secret-missing": Case("create-secret", None, password=True),
    "secret-newline": Case("rewrite-secret", lambda bed: secret("pull", docker(bed.host, *bed.login, newline=True))),
    "secret-not-base64": Case(
        "rewrite-secret", lambda bed: secret("pull", {"auths": {bed.host: {"auth": ":".join(bed.login)}}})
    ),
    "secret-wrong-host": Case(
        "rewrite-secret", lambda bed: secret("pull", docker("registry.example.test", *bed.login)), password=True
    ),
    "secret-opaque": Case("recreate-secret-typed", lambda bed: secret("pull", docker(bed.host, *bed.login), "Opaque")),
    "secret-wrong-type": Case(
        "recreate-secret-typed",
        lambda bed: secret("pull", docker(bed.host, *bed.login), "kubernetes.io/dockercfg", ".dockercfg"),
    ),
    "secret-not-referenced": Case(
        "append-sa-secret", lambda bed: secret("pull", docker(bed.host, *bed.login)), listed=()
    ),
    "not-in-template": Case(
        "add-secret-to-template", lambda bed: secret("pull", docker(bed.host, *bed.login)), listed=()
    ),
    "username-expanded": Case(
        "rewrite-secret", lambda bed: secret("pull", docker(bed.host, "robot-puller", bed.login[1])), password=True
    ),
    "wrong-password": Case(
        "rewrite-secret", lambda bed: secret("pull", docker(bed.host, bed.login[0], "of-before")), password=True
    ),
    "no-right": Case(
        "rewrite-secret", lambda bed: secret("pull", docker(bed.host, *CI)), password=True, image="other/app:1.0"
    ),
    "proxy-no-right": Case(
        "rewrite-secret", lambda bed: secret("pull", docker(bed.host, *CI)), password=True, image="quay/org/app:1.0"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_broken_fixed_pulled_and_undone(name: str, bed: Bed, tmp_path: Path) -> None:
    case = CASES[name]
    bed.put(*([case.secret(bed)] if case.secret else []), deployment(bed, list(case.listed), case.image))
    bed.wait("a failing pull", bed.failing)
    context = bed.kubectl("config", "current-context").strip()
    before = bed.facts()
    pod = bed.pods()[0]["metadata"]["name"]
    more = ["--input", f"username={bed.login[0]}"] if case.password else []
    secretly = ["--password-stdin"] if case.password else []
    stdin = f"{bed.login[1]}\n" if case.password else ""
    file = tmp_path / "plan.json"

    bed.pilot(
        "plan", "--fix", case.fix, "--target", f"workload/{bed.namespace}/{pod}", "--diff", "--plan-out", str(file), *more, *secretly,
        code=3, stdin=stdin,
    )  # fmt: skip
    assert bed.facts() == before
    assert bed.login[1] not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0

    apply = ["apply", str(file), *secretly]
    bed.pilot(*apply, "--yes", code=5, stdin=stdin)
    bed.pilot(*apply, f"--write={context}", code=5, stdin=stdin)
    assert bed.facts() == before

    said = json.loads(
        bed.pilot(
            *apply, f"--write={context}", "--yes", "--retry-pods", "--wait", "90", "-o", "json", code=0, stdin=stdin
        )
    )
    assert said["verified"]
    assert said["event_verified"]
    assert bed.running()
    assert bed.facts() != before

    bed.pilot("undo", said["plan"], "--yes", code=5)
    bed.pilot("undo", said["plan"], f"--write={context}", "--yes", code=0)
    assert bed.facts() == before
    everything = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert bed.login[1] not in everything


def test_a_plan_is_stale_when_the_secret_moves(bed: Bed, tmp_path: Path) -> None:
    bed.put(secret("pull", docker(bed.host, *bed.login, newline=True)), deployment(bed, ["pull"]))
    bed.wait("a failing pull", bed.failing)
    context = bed.kubectl("config", "current-context").strip()
    pod, file = bed.pods()[0]["metadata"]["name"], tmp_path / "plan.json"
    bed.pilot(
        "plan",
        "--fix",
        "rewrite-secret",
        "--target",
        f"workload/{bed.namespace}/{pod}",
        "--plan-out",
        str(file),
        code=3,
    )
    moved = secret("pull", docker(bed.host, "somebody", "else", newline=True))["data"]
    bed.kubectl("patch", "secret", "pull", "-n", bed.namespace, "--type=merge", "-p", json.dumps({"data": moved}))
    bed.pilot("apply", str(file), f"--write={context}", "--yes", code=5)


def test_an_apply_that_was_killed_is_listed_and_undone(bed: Bed, tmp_path: Path) -> None:
    bed.put(secret("pull", docker(bed.host, *bed.login), "Opaque"), deployment(bed, ["pull"]))
    bed.wait("a failing pull", bed.failing)
    context = bed.kubectl("config", "current-context").strip()
    before = bed.facts()
    pod, file = bed.pods()[0]["metadata"]["name"], tmp_path / "plan.json"
    bed.pilot(
        "plan",
        "--fix",
        "recreate-secret-typed",
        "--target",
        f"workload/{bed.namespace}/{pod}",
        "--plan-out",
        str(file),
        code=3,
    )
    # Dies between the deletion of the old Secret and the making of the new one.
    killer = (
        "import os, sys\n"
        "import app.clients.kube as kube\n"
        "write = kube.LiveKubeWriter.write\n"
        "async def dying(self, method, path, body=None, **more):\n"
        "    reply = await write(self, method, path, body, **more)\n"
        "    if method == 'DELETE': os._exit(9)\n"
        "    return reply\n"
        "kube.LiveKubeWriter.write = dying\n"
        "from app.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    env = {**os.environ, "HARBORPILOT_STATE_DIR": str(bed.state), "HOME": str(bed.state)}
    words = ["apply", str(file), f"--write={context}", "--yes", "-n", bed.namespace, "--no-ssh", "--no-http"]
    done = subprocess.run(
        [sys.executable, "-c", killer, *words], env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 9, done.stderr
    assert bed.get("secret", "pull") is None

    plans = json.loads(bed.pilot("undo", "-o", "json", code=0))["plans"]
    assert [plan["state"] for plan in plans] == ["interrupted"]
    bed.pilot("undo", plans[0]["plan"], f"--write={context}", "--yes", code=0)
    assert bed.facts() == before

"""A state that a test makes for real in the lab, each step with what puts it back."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.live.conftest import _missing as missing
from tests.live.repair import LAB

PULLER = ("robot$k8s-puller", "puller-secret-1")
SPACE = "apps"
POD = "finding"
DATABASE = "/etc/lab/db/harbor.json"


def login(user: tuple[str, str] = PULLER) -> dict[str, str]:
    """An entry of a docker config, as `docker login` writes it."""
    return {"auth": base64.b64encode(":".join(user).encode()).decode()}


class Stage:
    """The lab while one test changes it. `close` deletes objects, restores files, and only then restarts what read them."""

    def __init__(self, lab: Mapping[str, str], folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.host = lab["LAB_REGISTRY"]
        self.certs = f"/etc/containerd/certs.d/{self.host}"
        self._objects: list[tuple[str, str]] = []
        self._undo: list[tuple[str, str, str | None]] = []
        self._units: dict[tuple[str, str], None] = {}
        self._last: list[Callable[[], object]] = []
        nodes = self.object("nodes")["items"]
        self._nodes = {item["metadata"]["name"]: item["status"]["nodeInfo"] for item in nodes}
        found = self.kubectl("get", "namespace", SPACE, "--ignore-not-found", "-o", "name")
        if not found:
            self.kubectl("create", "namespace", SPACE)
        self.secret("harbor-pull", {self.host: login()})

    # --- looking ---

    def kubectl(self, *words: str, stdin: str | None = None, fails: bool = False) -> str:
        """What kubectl prints; what it complains of where it has to fail."""
        done = subprocess.run(
            [f"{self.lab['LAB_BIN']}/kubectl", "--kubeconfig", self.lab["KUBECONFIG"], *words],
            input=stdin, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def object(self, kind: str, name: str = "") -> dict[str, Any]:
        """An object, or the list of all."""
        words = ("-n", SPACE, "get", kind, *([name] if name else []), "-o", "json")
        found: dict[str, Any] = json.loads(self.kubectl(*words))
        return found

    def node(self, runtime: str, kind: str = "") -> str | None:
        """The first node with this release of containerd, and of this kind of Kubernetes (`k3s`)."""
        for name, info in self._nodes.items():
            version = info["kubeletVersion"]
            if info["containerRuntimeVersion"].startswith(f"containerd://{runtime}") and (
                f"+{kind}" in version if kind else "+" not in version
            ):
                return str(name)
        return None

    def need(self, runtime: str, kind: str = "") -> str:
        """As `node`; without one the test is skipped on a desk and fails in CI."""
        found = self.node(runtime, kind)
        if found is None:
            missing(f"it has no node with {kind or f'containerd {runtime}'}")
        assert found is not None
        return found

    def sh(self, machine: str, script: str) -> str:
        """What a shell says in a machine."""
        return subprocess.run(
            [str(LAB), "exec", machine, "sh", "-c", script], capture_output=True, text=True, timeout=90, check=True
        ).stdout

    # --- changing ---

    def put(self, machine: str, path: str, text: str) -> None:
        """Write a file over what is there, keeping its mode, without noting how it was."""
        subprocess.run(
            [str(LAB), "exec", machine, "sh", "-c", f"mkdir -p $(dirname '{path}'); cat > '{path}'"],
            input=text, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip

    def file(self, machine: str, path: str, text: str | None) -> None:
        """Write a file, or take it away."""
        saved = f"/run/lab-test{path.replace('/', '_')}"
        # What a run that was killed had saved is the true one.
        self.sh(machine, f"[ -e '{saved}' ] || [ ! -e '{path}' ] || cp -p '{path}' '{saved}'")
        self._undo.append((machine, f"rm -f '{path}'; [ ! -e '{saved}' ] || mv '{saved}' '{path}'", None))
        if text is None:
            self.sh(machine, f"rm -f '{path}'")
        else:
            self.put(machine, path, text)

    def run(self, machine: str, script: str, undo: str) -> None:
        """Change something that is no file."""
        self._undo.append((machine, undo, None))
        self.sh(machine, script)

    def restart(self, machine: str, unit: str) -> None:
        """Restart a unit now, and once more when everything is put back."""
        self._units[machine, unit] = None
        self.sh(machine, f"systemctl restart {unit}")

    def after(self, step: Callable[[], object]) -> None:
        """One more step for the end."""
        self._last.append(step)

    def database(self, path: str, value: object) -> None:
        """Change one entry of what Harbor's cores share."""
        state = json.loads(self.sh("harbor", f"cat {DATABASE}"))
        *way, last = path.split("/")
        place = state
        for step in way:
            place = place[step]
        self._undo.append(("harbor", path, json.dumps(place.get(last))))
        place[last] = value
        self._store(state)

    def _restore(self, path: str, value: str) -> None:
        state = json.loads(self.sh("harbor", f"cat {DATABASE}"))
        *way, last = path.split("/")
        place = state
        for step in way:
            place = place[step]
        old = json.loads(value)
        place.pop(last, None) if old is None else place.update({last: old})
        self._store(state)

    def _store(self, state: Mapping[str, Any]) -> None:
        self.put("harbor", f"{DATABASE}.new", json.dumps(state, indent=1))
        self.sh("harbor", f"mv {DATABASE}.new {DATABASE}")

    def apply(self, item: Mapping[str, Any], *flags: str) -> None:
        """Create or change an object; it is deleted afterwards."""
        self._objects.append((item["kind"].lower(), item["metadata"]["name"]))
        self.kubectl("-n", SPACE, "apply", *flags, "-f", "-", stdin=json.dumps(item))

    def secret(self, name: str, entries: Mapping[str, Any], **more: Any) -> None:
        """A pull secret with these entries."""
        text = json.dumps({"auths": entries, **more})
        self.apply({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(text.encode()).decode()},
        })  # fmt: skip

    def spec(self, image: str, node: str, secrets: tuple[str, ...] = ("harbor-pull",)) -> dict[str, Any]:
        """Spec of a pod on one node."""
        return {
            "nodeName": node, "terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}],
            "imagePullSecrets": [{"name": name} for name in secrets],
            "containers": [{"name": "app", "image": image, "imagePullPolicy": "Always"}],
        }  # fmt: skip

    def pod(
        self,
        image: str,
        node: str,
        secrets: tuple[str, ...] = ("harbor-pull",),
        *,
        name: str = POD,
        fails: bool = True,
    ) -> str:
        """A pod that pulls, and what the kubelet says of it."""
        spec = self.spec(image, node, secrets)
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
        return self.verdict(name, fails=fails)

    def verdict(self, name: str = POD, *, fails: bool = True) -> str:
        """What the kubelet says of the pod, once it says something."""
        end = time.monotonic() + 60
        while True:
            pod = self.object("pod", name)
            status = (pod["status"].get("containerStatuses") or [{}])[0]
            waiting = status.get("state", {}).get("waiting", {})
            if fails and waiting.get("message"):
                return str(waiting["message"])
            if pod["status"].get("phase") == "Running":
                assert not fails, f"{name} runs"
                return ""
            assert time.monotonic() < end, self.kubectl("-n", SPACE, "describe", "pod", name)
            time.sleep(0.3)

    def forget(self, node: str, *images: str) -> None:
        """As if the node had never pulled the images."""
        for image in images:
            self.sh(node, f"crictl rmi {image} >/dev/null 2>&1 || true")
        self.sh(node, "ctr -n k8s.io content prune references >/dev/null 2>&1 || true")

    # --- putting back ---

    def close(self) -> None:
        """Put everything back, also what comes after a step that fails."""
        failed = []
        steps = [lambda kind=kind, name=name: self.kubectl(
            "-n", SPACE, "delete", kind, name, "--ignore-not-found", "--wait=true"
        ) for kind, name in reversed(dict.fromkeys(self._objects)) if name != "harbor-pull"]  # fmt: skip
        for machine, what, old in reversed(self._undo):
            if old is None:
                steps.append(lambda machine=machine, what=what: self.sh(machine, what))
            else:
                steps.append(lambda what=what, old=old: self._restore(what, old))
        for machine, unit in self._units:
            steps.append(lambda machine=machine, unit=unit: self.sh(machine, f"systemctl restart {unit}"))
        for step in (*steps, *self._last):
            try:
                step()
            except (AssertionError, subprocess.SubprocessError) as error:
                failed.append(error)
        assert not failed, failed

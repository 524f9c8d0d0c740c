"""Controllers: Deployments keep their pods, service accounts give pods their secrets, core pods read their key when they start."""

from __future__ import annotations

import base64
import hashlib
import json
from copy import deepcopy
from typing import Any

from app.training.world.clock import iso
from app.training.world.cluster import Object
from app.training.world.kubelet import expire, sync
from app.training.world.pki import word
from app.training.world.state import CorePod, State


class Controllers:
    """Brings the world up to date after each action. Its memory is the kubelets' back-off."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.memory: dict[str, dict[str, float]] = {}

    def settle(self) -> None:
        """Until nothing changes: pods made, started, pulled, statuses counted."""
        for _ in range(6):
            before = self.state.cluster.version
            for deployment in self.state.cluster.all("deployments"):
                self._deployment(deployment)
            sync(self.state, self.memory)
            self._cores()
            for deployment in self.state.cluster.all("deployments"):
                self._count(deployment)
            if self.state.cluster.version == before:
                break
        expire(self.state)

    def wait(self, seconds: float) -> None:
        """Let time pass, from the end of one back-off to the next, so that each try comes in its turn."""
        end = self.state.clock.seconds + seconds
        while self.state.clock.seconds < end:
            waiting = [pod["metadata"]["uid"] for pod in self.state.cluster.all("pods") if not is_ready(pod)]
            due = [self.memory[uid]["next"] for uid in waiting if uid in self.memory]
            left = end - self.state.clock.seconds
            until = min((moment - self.state.now() for moment in due), default=left)
            self.state.clock.move(min(left, max(until, 1.0)))
            self.settle()

    # --- Deployments ---

    def _deployment(self, deployment: Object) -> None:
        state, metadata = self.state, deployment["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        template = deployment["spec"]["template"]
        wanted = int(deployment["spec"].get("replicas", 1))
        digest = word(hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest(), 10)
        owner = f"{name}-{digest}"
        if state.cluster.find("replicasets", namespace, owner) is None:
            body = {
                "metadata": {"name": owner, "namespace": namespace, "labels": {**template["metadata"]["labels"], "pod-template-hash": digest}, "ownerReferences": [_reference(deployment)]},
                "spec": {"replicas": wanted, "template": deepcopy(template), "selector": deployment["spec"]["selector"]},
            }  # fmt: skip
            state.cluster.put("replicasets", body)
        pods = [pod for pod in state.cluster.all("pods", namespace) if _deployment_of(pod) == name]
        current = [pod for pod in pods if _owner(pod) == owner]
        old = [pod for pod in pods if _owner(pod) != owner]
        # A pod is taken away in the order of its name; a new one takes the place (and node) that is free.
        for pod in sorted(current, key=lambda item: item["metadata"]["name"])[wanted:]:
            self._remove(pod)
        current = [pod for pod in current if state.cluster.find("pods", namespace, pod["metadata"]["name"]) is pod]
        for _ in range(wanted - len(current)):
            self._pod(deployment, owner, digest)
        ready = sum(is_ready(pod) for pod in state.cluster.all("pods", namespace) if _owner(pod) == owner)
        for pod in old:
            # A rollout takes an old pod away when it does not run, or when all new ones do.
            if not is_ready(pod) or ready >= wanted:
                self._remove(pod)

    def _remove(self, pod: Object) -> None:
        metadata = pod["metadata"]
        self.state.cluster.objects.pop(("pods", metadata["namespace"], metadata["name"]), None)
        self.state.cluster.version += 1

    def _pod(self, deployment: Object, owner: str, digest: str) -> None:
        state, template = self.state, deployment["spec"]["template"]
        namespace = deployment["metadata"]["namespace"]
        name = f"{owner}-{word(f'{state.seed}/pod/{state.next_id()}', 5)}"
        spec = deepcopy(template["spec"])
        spec.setdefault("serviceAccountName", "default")
        account = state.cluster.find("serviceaccounts", namespace, spec["serviceAccountName"])
        if not spec.get("imagePullSecrets") and account is not None and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = deepcopy(account["imagePullSecrets"])
        spec["nodeName"] = self._node(deployment, owner, spec)
        for container in spec["containers"]:
            container.setdefault("imagePullPolicy", "IfNotPresent")
        state.cluster.put(
            "pods",
            {
                "metadata": {
                    "name": name, "generateName": f"{owner}-", "namespace": namespace, "annotations": deepcopy(template["metadata"].get("annotations") or {}),
                    "labels": {**template["metadata"]["labels"], "pod-template-hash": digest},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": state.cluster.objects[("replicasets", namespace, owner)]["metadata"]["uid"], "controller": True}],
                },
                "spec": spec,
                "status": {"phase": "Pending", "startTime": iso(state.now()), "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": iso(state.now())}]},
            },
        )  # fmt: skip

    def _node(self, deployment: Object, owner: str, spec: dict[str, Any]) -> str:
        """The allowed node with the fewest pods of this Deployment's newest template."""
        names = _affine(spec) or sorted(self.state.nodes)
        asked = (spec.get("nodeSelector") or {}).get("kubernetes.io/hostname")
        names = [name for name in names if asked in (None, name)] or [asked or names[0]]
        taken = [
            pod["spec"].get("nodeName")
            for pod in self.state.cluster.all("pods", deployment["metadata"]["namespace"])
            if _owner(pod) == owner
        ]
        return min(names, key=lambda name: (taken.count(name), names.index(name)))

    def _count(self, deployment: Object) -> None:
        state, metadata = self.state, deployment["metadata"]
        pods = [
            pod for pod in state.cluster.all("pods", metadata["namespace"]) if _deployment_of(pod) == metadata["name"]
        ]
        template = deployment["spec"]["template"]
        digest = word(hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest(), 10)
        ready = sum(is_ready(pod) for pod in pods)
        status = {
            "observedGeneration": metadata.get("generation", 1), "replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready,
            "updatedReplicas": sum(_owner(pod) == f"{metadata['name']}-{digest}" for pod in pods),
        }  # fmt: skip
        if deployment.get("status") != status:
            deployment["status"] = status
            state.cluster.touch(deployment)

    # --- Harbor's core ---

    def _cores(self) -> None:
        """A core pod reads key and passwords once, when it starts: neither a subPath mount nor its environment follows a Secret."""
        state, harbor = self.state, self.state.harbor
        present = set()
        for pod in state.cluster.all("pods", harbor.namespace):
            name = pod["metadata"]["name"]
            if (pod["metadata"].get("labels") or {}).get("component") != "core" or not is_ready(pod):
                continue
            present.add(name)
            if name not in harbor.cores:
                harbor.cores[name] = CorePod(
                    name, mounted_key(state, pod), harbor.registry_password, harbor.database_password
                )
        for gone in set(harbor.cores) - present:
            del harbor.cores[gone]


def mounted_key(state: State, pod: Object) -> str:
    """The token key in the Secret that the pod mounts it from."""
    names = [
        str((volume.get("secret") or {}).get("secretName") or "")
        for volume in pod["spec"].get("volumes") or ()
        if volume.get("name") == "token-service-private-key"
    ]
    secret = state.cluster.find("secrets", state.harbor.namespace, names[0] if names else state.harbor.token_secret)
    data = ((secret or {}).get("data") or {}).get("tls.key", "")
    return base64.b64decode(data).decode()


def is_ready(pod: Object) -> bool:
    """Its Ready condition is true."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _affine(spec: dict[str, Any]) -> list[str]:
    """Host names that the pod's node affinity allows, in the order given."""
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    for term in (required or {}).get("nodeSelectorTerms") or ():
        for one in term.get("matchExpressions") or ():
            if one.get("key") == "kubernetes.io/hostname":
                return [str(value) for value in one.get("values") or ()]
    return []


def _owner(pod: Object) -> str:
    return next((str(one["name"]) for one in pod["metadata"].get("ownerReferences") or ()), "")


def _deployment_of(pod: Object) -> str:
    return _owner(pod).rpartition("-")[0]


def _reference(owner: Object) -> dict[str, Any]:
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": True}  # fmt: skip

"""Made-up input of a usual size: a bundle, nodes that answer, pods that fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HOST = "registry.corp.example"
IMAGE = f"{HOST}/team/web:1"
TEXT = (
    f'Failed to pull image "{IMAGE}": rpc error: code = Unknown desc = failed to pull and unpack image "{IMAGE}": failed to resolve '
    f'reference "{IMAGE}": failed to do request: Head "https://{HOST}/v2/team/web/manifests/1": tls: failed to verify certificate: '
    "x509: certificate signed by unknown authority"
)
CONFIG = """version = 2
root = "/var/lib/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.9"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
"""
HOSTS = f'server = "https://{HOST}"\n\n[host."https://{HOST}"]\n  capabilities = ["pull", "resolve"]\n'
JOURNAL = "".join(
    f'2026-01-02T10:{minute:02}:{second:02}Z containerd[812]: time="2026-01-02T10:{minute:02}:{second:02}Z" level=error msg="PullImage '
    f'\\"{IMAGE}\\" failed" error="{TEXT}"\n'
    for minute in range(20)
    for second in (1, 31)
)


def node_files(name: str) -> dict[str, str]:
    """What is read of one node."""
    return {
        f"nodes/{name}/etc/containerd/config.toml": CONFIG,
        f"nodes/{name}/etc/containerd/certs.d/{HOST}/hosts.toml": HOSTS,
        f"nodes/{name}/etc/hosts": "127.0.0.1 localhost\n",
        f"nodes/{name}/etc/resolv.conf": "nameserver 192.0.2.53\n",
        f"nodes/{name}/containerd.log": JOURNAL,
        f"nodes/{name}/versions.txt": "containerd github.com/containerd/containerd 1.7.20\nrunc version 1.1.13\n",
        f"nodes/{name}/df.txt": "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/sda1 100000000 40000000 60000000 40% /\n",
        f"nodes/{name}/time.json": '{"node_time": 1767348000.1, "reference_time": 1767348000.0, "error_bound_s": 0.02}',
    }


def pod(number: int, *, failing: bool, node: str, padding: int = 0) -> dict[str, Any]:
    """A pod as the API returns it; a real one is about 6 kB, most of it fields that nobody asked for."""
    waiting = {"waiting": {"reason": "ErrImagePull", "message": TEXT}}
    running = {"running": {"startedAt": "2026-01-02T09:00:00Z"}}
    return {
        "metadata": {
            "name": f"web-{number}", "namespace": f"ns-{number % 60}", "uid": f"uid-{number}", "resourceVersion": str(number),
            "creationTimestamp": "2026-01-02T09:00:00Z", "labels": {"app": "web", "pod-template-hash": "7d4c9f"},
            "annotations": {"example.com/notes": "x" * padding}, "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7d4c9f", "uid": "u"}],
        },
        "spec": {
            "nodeName": node, "serviceAccountName": "default", "imagePullSecrets": [{"name": "registry"}],
            "containers": [{"name": "web", "image": IMAGE, "resources": {}, "imagePullPolicy": "IfNotPresent"}],
        },
        "status": {
            "phase": "Pending" if failing else "Running", "hostIP": "192.0.2.7", "podIP": "198.51.100.9", "startTime": "2026-01-02T09:00:00Z",
            "containerStatuses": [
                {"name": "web", "image": IMAGE, "imageID": "" if failing else f"{IMAGE}@sha256:1", "ready": not failing, "restartCount": 0,
                 "state": waiting if failing else running}
            ],
        },
    }  # fmt: skip


def bundle(folder: Path, nodes: int = 3) -> Path:
    """A bundle of one failing image on some nodes."""
    names = [f"n{number}" for number in range(1, nodes + 1)]
    files = {name: text for node in names for name, text in node_files(node).items()}
    files["error.txt"] = TEXT + "\n"
    files["pods.json"] = json.dumps(
        {"kind": "PodList", "items": [pod(number, failing=True, node=node) for number, node in enumerate(names)]}
    )
    files["serviceaccount.json"] = json.dumps(
        {
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "ns-0"},
            "imagePullSecrets": [{"name": "registry"}],
        }
    )
    files["harbor/tokens.json"] = json.dumps(
        [
            {
                "kid": f"K{number % 2}",
                "status": 200,
                "ms": 20,
                "connection": number,
                "issued_at": 1767348000 + number,
                "date": 1767348000 + number,
            }
            for number in range(30)
        ]
    )
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder

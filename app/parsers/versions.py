"""Releases: `versions.txt`, the `containerRuntimeVersion` of a Node, and comparing them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_CONTAINERD = re.compile(
    r"containerd\S*\s+(?:github\.com/containerd/containerd(?:/v2)?\s+)?v?(\d+\.\d+(?:\.\d+)?\S*)", re.IGNORECASE
)
_KUBERNETES = re.compile(r"(?:Kubernetes|kubelet)\s+(?:version:?\s+)?v?(\d+\.\d+\.\d+\S*)", re.IGNORECASE)
_RANCHER = re.compile(r"\b(k3s|rke2)\b(?:\s+version)?\s+v?(\d+\.\d+\.\d+\S*)", re.IGNORECASE)
_CRIO = re.compile(r"(?:cri-o|crio)(?:\s+version)?:?\s+v?(\d+\.\d+(?:\.\d+)?\S*)", re.IGNORECASE)
_DOCKER = re.compile(r"docker(?:\s+(?:version|engine))?:?\s+v?(\d+\.\d+(?:\.\d+)?\S*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Versions:
    """What runs on a node; an empty text is unknown."""

    runtime: str = ""
    """`containerd`, `cri-o`, `docker`."""
    runtime_version: str = ""
    kubelet: str = ""
    distro: str = ""
    """`k3s` or `rke2` where it says so, `kubeadm` where a kubelet release shows that it is neither."""


def numbers(text: str) -> tuple[int, int, int] | None:
    """The first release number in a text, `1.7.24~ds1` → (1, 7, 24)."""
    found = _NUMBERS.search(text)
    if not found:
        return None
    return int(found[1]), int(found[2]), int(found[3] or 0)


def below(version: str, *limit: int) -> bool | None:
    """Whether a release is older than a limit such as `2, 0`; None for an unknown one."""
    ours = numbers(version)
    if ours is None:
        return None
    return ours < (*limit, 0, 0, 0)[:3]


def at_least(version: str, *limit: int) -> bool | None:
    """The opposite of `below`; None for an unknown release."""
    older = below(version, *limit)
    return None if older is None else not older


def parse_versions(text: str) -> Versions:
    """Output of `containerd --version`, `kubelet --version`, `k3s --version` and so on, any number of lines."""
    runtime = release = kubelet = distro = ""
    if found := _RANCHER.search(text):
        distro, kubelet = found[1].lower(), found[2]
    if found := _KUBERNETES.search(text):
        kubelet = kubelet or found[1]
    if found := _CONTAINERD.search(text):
        runtime, release = "containerd", found[1]
    elif found := _CRIO.search(text):
        runtime, release = "cri-o", found[1]
    elif found := _DOCKER.search(text):
        runtime, release = "docker", found[1]
    return Versions(runtime, release, kubelet, distro or distro_of(kubelet))


def distro_of(kubelet_version: str) -> str:
    """`v1.34.4+k3s1` → `k3s`; a plain release → `kubeadm`; empty when unknown."""
    lower = kubelet_version.lower()
    if not lower:
        return ""
    return "k3s" if "+k3s" in lower else "rke2" if "+rke2" in lower else "kubeadm"


def runtime_of(value: str) -> tuple[str, str]:
    """`containerd://2.1.5-k3s1` → (`containerd`, `2.1.5-k3s1`)."""
    scheme, _, release = value.partition("://")
    return {"cri-o": "cri-o", "crio": "cri-o", "docker": "docker", "containerd": "containerd"}.get(
        scheme, scheme
    ), release

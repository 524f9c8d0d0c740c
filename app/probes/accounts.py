"""Which account an attempt used, and which processor its node has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from app.model.case import Incident
from app.model.material import Material
from app.parsers.core_log import parse_lines
from app.parsers.core_log_tags import what_it_says
from app.parsers.dockerconfig import DockerConfig, LoginEntry, parse_dockerconfig
from app.parsers.image_ref import same_host
from app.parsers.kube_objects import objects_of
from app.probes.hosts_known import pull_secrets
from app.probes.pods import items_of

_REFUSED: Final = frozenset({"robot-refused", "robot-disabled", "robot-expired", "user-refused", "locking"})
_AROUND: Final = 12.0
"""Seconds around the first failure; a login is refused within a second or two of the request."""

if TYPE_CHECKING:
    from app.probes.seen import Seen, Sighting


def account_of(material: Material, seen: Seen, incident: Incident, group: Sequence[Sighting]) -> str:
    """The name in the secret in use, else in the text or the command above it, else of a login before; "" if unknown."""
    if incident.pods and incident.image:
        names = {entry.username for entry in logins_of(material, seen, incident) if entry.username}
        if len(names) == 1:
            return names.pop()
    named = {item.reading.account for item in group if item.reading.account}
    if len(named) == 1:
        return named.pop()
    if not named and incident.registry:
        before = {
            attempt.account
            for attempt in seen.attempts
            if attempt.action == "login"
            and attempt.account
            and same_host(attempt.image.partition("/")[0], incident.registry)
        }
        if len(before) == 1:
            return before.pop()
    if not named and incident.image:
        clients = {
            entry.username
            for document in client_configs(material)
            for entry in document.matching(incident.image)
            if entry.username
        }
        if len(clients) == 1 and not incident.pods:
            return clients.pop()
    return "" if named or incident.pods else _only_one_refused(material, incident)


def _only_one_refused(material: Material, incident: Incident) -> str:
    """The only account that core refused around the failure (MODES.md 0, `$account`); "" for none or several."""
    if incident.since is None:
        return ""
    names: set[str] = set()
    for document in (*material.glob("harbor/core.log"), *material.glob("harbor/logs/*core*.log")):
        lines = [
            line
            for line in parse_lines(document.text)
            if (at := line.written if line.written is not None else line.stamp) is not None
            and incident.since - _AROUND <= at <= incident.since + _AROUND
        ]
        names.update(said.name for said in what_it_says(lines) if said.tag in _REFUSED and said.name)
    return names.pop() if len(names) == 1 else ""


def logins_of(material: Material, seen: Seen, incident: Incident) -> list[LoginEntry]:
    """Entries of the pods' own pull secrets that serve the image, as far as those secrets were read."""
    wanted = listed_secrets(material, seen, incident)
    found: list[LoginEntry] = []
    for _, name, document in pull_secrets(material):
        if document is not None and name in wanted:
            found.extend(document.matching(incident.image or ""))
    return found


def listed_secrets(material: Material, seen: Seen, incident: Incident) -> frozenset[str]:
    """Names of pull secrets on the failing pods; those of the service account where a pod lists none."""
    pods = [pod for pod in seen.cluster.failing if not incident.pods or pod.key in incident.pods]
    names = {name for pod in pods for name in pod.pull_secrets}
    if not names:
        for _, _, account in objects_of(material).all("ServiceAccount"):
            names.update(
                str(item.get("name")) for item in account.get("imagePullSecrets") or () if isinstance(item, dict)
            )
    return frozenset(names)


def client_configs(material: Material) -> list[DockerConfig]:
    """Docker config files of hosts from which somebody pushes or pulls by hand."""
    return [parse_dockerconfig(item.text) for item in material.glob("nodes/*/.docker/config.json")]


def arch_of(material: Material, nodes: Sequence[str]) -> str:
    """The one processor of the failing nodes as Kubernetes names it (`amd64`); "" where unknown or not one."""
    found: set[str] = set()
    names = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm"}
    objects, _ = items_of(material, "nodes.json", *(f"nodes/{node}/node.json" for node in nodes or material.nodes()))
    for item in objects:
        meta, status = item.get("metadata"), item.get("status")
        info = status.get("nodeInfo") if isinstance(status, dict) else None
        name = meta.get("name") if isinstance(meta, dict) else None
        if isinstance(info, dict) and isinstance(info.get("architecture"), str) and (not nodes or name in nodes):
            found.add(info["architecture"])
    if not found:
        for node in nodes or material.nodes():
            words = re.findall(
                r"\b(x86_64|aarch64|armv[67]l|amd64|arm64|s390x|ppc64le|riscv64)\b",
                material.text(f"nodes/{node}/arch.txt") or "",
            )
            found.update(names.get(word, word) for word in words[:1])
    return found.pop() if len(found) == 1 else ""

"""The self-check: every connection and right, what a missing one costs in answers, and the smallest grant that gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.model.evidence import Outcome
from app.model.view import ConnectionRow, RightRow
from app.ports import Command, HttpRequest, KubeApi
from app.runner.collect import World


@dataclass(frozen=True, slots=True)
class _Right:
    words: str
    verb: str
    resource: str
    subresource: str
    costs: str
    harbor: bool = False


_RIGHTS: Final = (
    _Right(
        "list pods in all namespaces",
        "list",
        "pods",
        "",
        "which pods fail; without it only a namespace named with -n is seen",
    ),
    _Right("list events in all namespaces", "list", "events", "", "the first error of a pod that only shows Back-off"),
    _Right(
        "get secrets", "get", "secrets", "", "type, server key and form of pull secrets: most answers about credentials"
    ),
    _Right("list secrets", "list", "secrets", "", "whether another secret in the namespace would fit"),
    _Right("get service accounts", "get", "serviceaccounts", "", "whether the service account lists a pull secret"),
    _Right("list nodes", "list", "nodes", "", "runtime versions, addresses for SSH, disk pressure"),
    _Right(
        "exec in Harbor's core pods",
        "create",
        "pods",
        "exec",
        "hashes of the key file, clocks of the core pods",
        harbor=True,
    ),
    _Right("read logs of Harbor's pods", "get", "pods", "log", "who was refused and why, by name", harbor=True),
    _Right("proxy to Harbor's core pods", "get", "pods", "proxy", "which core pod signs with which key", harbor=True),
    _Right(
        "list deployments of Harbor", "list", "deployments", "", "whether core is rolling, who owns it", harbor=True
    ),
)


def _grant(right: _Right, namespace: str) -> str:
    resource = right.resource + (f"/{right.subresource}" if right.subresource else "")
    group = "apps" if right.resource == "deployments" else ""
    kind = "Role" if right.harbor and namespace else "ClusterRole"
    where = f" in namespace {namespace}" if right.harbor and namespace else ""
    return f'{kind}{where}: {{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{right.verb}"]}}'


async def rights(world: World, namespace: str, harbor_namespace: str) -> list[RightRow]:
    """All rights of the clusters at hand."""

    async def one(right: _Right) -> RightRow | None:
        api: KubeApi | None = world.kube.get("harbor") if right.harbor else None
        api = api or world.kube.get("workload")
        if api is None or (right.harbor and not harbor_namespace):
            return None
        group = "apps" if right.resource == "deployments" else ""
        have = await api.allowed(
            right.verb,
            right.resource,
            harbor_namespace if right.harbor else namespace,
            subresource=right.subresource,
            group=group,
        )
        return RightRow(
            right.words,
            f"kube {api.context}",
            have,
            "" if have else right.costs,
            "" if have else _grant(right, harbor_namespace),
        )

    found = await asyncio.gather(*(one(right) for right in _RIGHTS))
    return [row for row in found if row is not None]


async def nodes(world: World, names: Sequence[str]) -> tuple[list[ConnectionRow], list[RightRow]]:
    """SSH and sudo of some nodes; every one is asked at the same time."""
    if world.nodes is None or not names:
        return [], []
    reader = world.nodes
    rounds = await asyncio.gather(*(reader.read(name, [Command("sudo")]) for name in names))
    connections, sudo = [], []
    for name, answer in zip(names, rounds, strict=True):
        works = answer.outcome is Outcome.OBSERVED
        detail = f"as {answer.user}" if works and answer.user else answer.detail
        connections.append(ConnectionRow(name, "ssh", "works" if works else "failing", detail))
        if works:
            have = answer.sudo if answer.user != "root" else True
            sudo.append(
                RightRow(
                    f"root or sudo -n on {name}", "ssh", have,
                    "" if have else "registries.yaml of k3s and RKE2, containerd's dump, the journal of the runtime",
                    "" if have else f"{answer.user or '<user>'} ALL=(root) NOPASSWD: /usr/bin/cat, /usr/bin/containerd config dump, /usr/bin/journalctl, /usr/bin/crictl info",
                )
            )  # fmt: skip
    return connections, sudo


async def registry(world: World, host: str, vantages: Sequence[str]) -> list[ConnectionRow]:
    """Whether the registry answers `/v2/` from the operator and through some nodes."""
    if world.http is None or not host:
        return []
    http = world.http
    exchanges = await asyncio.gather(
        *(
            http.exchange(HttpRequest(f"https://{host}/v2/", vantage=vantage, purpose="ping", timeout=6.0))
            for vantage in vantages
        )
    )
    rows = []
    for vantage, exchange in zip(vantages, exchanges, strict=True):
        works = exchange.status is not None
        detail = (
            f"{exchange.status} in {exchange.ms:.0f} ms"
            if works and exchange.ms is not None
            else exchange.error or "no answer"
        )
        rows.append(ConnectionRow(f"{host} from {vantage}", "registry", "works" if works else "failing", detail[:160]))
    return rows


def kube(world: World) -> list[ConnectionRow]:
    """The clusters at hand."""
    rows = [
        ConnectionRow(f"{api.context} ({cluster})", "kube", "works", api.server) for cluster, api in world.kube.items()
    ]
    return rows or [
        ConnectionRow("no cluster", "kube", "unknown", "no kubeconfig was found; paste, open a bundle or practise")
    ]

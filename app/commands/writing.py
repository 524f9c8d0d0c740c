"""Where a headless run gets its writers: built here, handed to the gateway, used by nothing else."""

from __future__ import annotations

import argparse
import asyncio
import secrets
from collections.abc import Iterable
from typing import Any

from app.bootstrap import Run
from app.files import state_dir
from app.fixes.gateway import Gateway, Writers
from app.fixes.journal import UndoJournal
from app.fixes.prepare import HarborGet
from app.model.case import Incident
from app.runner.fixing import Fixing
from app.runner.investigation import Opened


def journal() -> UndoJournal:
    """The undo journal of this user."""
    return UndoJournal(state_dir() / "undo")


def build_fixing(built: Run, opened: Opened | None = None, registry: str = "") -> Fixing:
    """Everything to plan, apply and undo with in a live run; still locked."""
    from app.clients.clock import RandomIds

    writers = Writers()
    world = built.investigation.world
    kube = world.kube if world is not None else {}
    if "workload" in built.connections:
        from app.clients.kube import LiveKubeWriter

        writers.kube = LiveKubeWriter(built.connections["workload"])
        writers.kube_reader = kube.get("workload")
        if "harbor" in built.connections:
            writers.harbor_kube = LiveKubeWriter(built.connections["harbor"])
            writers.harbor_kube_reader = kube.get("harbor")
    if built.links is not None:
        from app.clients.ssh_writer import SshWriter

        writers.nodes = SshWriter(built.links)
    harbor = _harbor(built, opened, registry or (opened.scene.incident.registry if opened else "") or "")
    if harbor is not None:
        writers.harbor, writers.harbor_reader = harbor
    gateway = Gateway(
        built.context,
        writers,
        journal(),
        asyncio.sleep,
        frozenset(api.context for api in kube.values()) - {built.context},
    )
    return Fixing(
        built.investigation, gateway, RandomIds(), secrets.token_bytes(16), asyncio.sleep, writers.harbor_reader
    )


def _harbor(built: Run, opened: Opened | None, registry: str) -> tuple[Any, HarborGet] | None:
    """Harbor's API with the operator's login, from where it can be reached and its certificate can be verified."""
    world = built.investigation.world
    login = built.budget.harbor
    if world is None or world.http is None or login is None or not registry:
        return None
    from app.clients.harbor import LiveHarbor

    vantage, pem, name = _way(opened, registry)
    client = LiveHarbor(
        world.http,  # type: ignore[arg-type]
        f"https://{registry}",
        login,
        vantage=vantage,
        anchors_pem=pem,
        anchors_name=name,
    )

    async def get(path: str) -> tuple[int, str]:
        seen = await client.get(path)
        return seen.status or 599, seen.body

    return client, get


def _way(opened: Opened | None, registry: str) -> tuple[str, str | None, str]:
    """(vantage, anchors in PEM, their name): the operator's own where that was seen to work, else a node that trusts it."""
    from app.parsers.exchanges import decode_exchanges

    own = ("operator", None, "os-bundle")
    if opened is None:
        return own
    trusted = {
        exchange.vantage
        for document in [
            *opened.material.glob("registry/exchanges.json"),
            *opened.material.glob("nodes/*/exchanges.json"),
        ]
        for exchange in decode_exchanges(document.text)
        if f"://{registry}/" in exchange.url and exchange.tls is not None and exchange.tls.verified and exchange.status
    }
    if "operator" in trusted:
        return own
    for vantage in sorted(trusted, key=_by_health(opened)):
        if vantage.startswith("node/"):
            pem = _anchors(opened, vantage.removeprefix("node/"), registry)
            if pem:
                return vantage, pem, f"anchors of {vantage}"
    return own


_REACH = ("node.object", "containerd.config", "hosts_toml.read", "k3s.read", "ping.get", "tls.read", "trust.verify")


async def reach(built: Run, registry: str) -> Opened:
    """Find a way to a registry as a diagnosis would: from here, else through some node that trusts it. Reads only."""
    from app.probes import BY_ID
    from app.probes.base import Scene
    from app.runner.collect import Collector

    await built.investigation.scan()
    world = built.investigation.world
    names = []
    try:
        data = built.investigation.material.json("nodes.json") or {}
        names = [item["metadata"]["name"] for item in data.get("items", [])][:3]
    except (ValueError, KeyError, AttributeError):
        names = []
    incident = Incident(image=f"{registry}/library/any:latest", registry=registry, action="pull", nodes=tuple(names))
    now = world.clock.now() if world is not None else 0.0
    variables: dict[str, Any] = {"image.host": registry, "contacted.host": registry, "action": "pull"}
    scene = Scene(incident, now, "operator", variables=variables)
    opened = Opened(scene, built.investigation.material, Collector(world) if world is not None else None)
    await built.investigation.collect(opened, [BY_ID[name] for name in _REACH if name in BY_ID], seconds=60.0)
    return opened


def _by_health(opened: Opened) -> Any:
    healthy = {f"node/{node}" for node in opened.scene.incident.healthy_nodes}
    return lambda vantage: (vantage not in healthy, vantage)


def _anchors(opened: Opened, node: str, registry: str) -> str:
    from app.probes.registry_anchors import anchors_of
    from app.probes.registry_scene import place_of_url

    place = place_of_url(f"https://{registry}/")
    if place is None:
        return ""
    anchors = anchors_of(opened.material, node, place)
    certificates: Iterable[Any] = (*(anchors.configured or ()), *(anchors.pool or ()))
    return "".join(certificate.pem for certificate in certificates)


def given_inputs(options: argparse.Namespace) -> dict[str, str]:
    """`--input key=value` or `key=@file`, none of them a secret."""
    from app.errors import UsageError

    pairs: dict[str, str] = dict(word.partition("=")[::2] for word in options.input)
    for key, value in pairs.items():
        if not key or not value:
            raise UsageError("--input takes KEY=VALUE", "For example --input username=robot$ci.")
        if key in ("password", "secret_key", "token"):
            raise UsageError(f"{key} is never a flag, since others can read the command line", "Use --password-stdin.")
        pairs[key] = or_file(key, value)
    return pairs


def or_file(key: str, value: str) -> str:
    """`@FILE` stands for what the file holds: a certificate is no line. Raises UsageError."""
    from pathlib import Path

    from app.errors import UsageError, reason

    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{key}: {value[1:]} cannot be read: {reason(error)}") from error


def given_password(options: argparse.Namespace) -> str:
    """The fix's password: the next line of standard input, or the file; empty where none was given.

    With --harbor-user the first line (or the file) is Harbor's, and the fix's own comes as the following line.
    """
    import sys

    if options.password_stdin:
        return sys.stdin.readline().rstrip("\n")
    if options.password_file and not options.harbor_user and not options.push_user:
        from pathlib import Path

        return Path(options.password_file).read_text(encoding="utf-8").rstrip("\n")
    return ""

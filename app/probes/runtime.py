"""Probes of the runtime's settings, its log, and the pull plan made from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from app.model.material import Material
from app.parsers.k3s_registries import named_configs
from app.ports import Command, File, Journal, Tree
from app.probes import runtime_attempt, runtime_config, runtime_hosts, runtime_k3s, runtime_plan
from app.probes.base import NodeItem, Probe, Scene, Want
from app.probes.runtime_files import RANCHER, files_of
from app.probes.runtime_setup import node_setup

LOG_WORDS: Final = (
    "PullImage", "Pulled image", "trying next host", "fetch failed", "failed to decode", "loading host directory", "failed to load plugin",
    "skip loading plugin", "Ignoring unknown key", "Falling back to local image pull", "starting containerd", "successfully booted",
    "cannot be set when", "no progress in", "drop-in config version", "failed to load TOML", "config version", "HTTPS first",
)  # fmt: skip
"""Words of the runtime's log that the parsers look at."""


def asked_nodes(scene: Scene) -> tuple[str, ...]:
    """Failing nodes and a few healthy ones for the contrast."""
    return tuple(dict.fromkeys((*scene.incident.nodes, *scene.incident.healthy_nodes[:3])))


def _missing(material: Material, node: str, name: str) -> bool:
    return material.get(f"nodes/{node}/{name.lstrip('/')}") is None


def wants_config(material: Material, scene: Scene) -> Iterable[Want]:
    """First round: releases, units, the usual files. Second: what those point to (another config_path, imports)."""
    for node in asked_nodes(scene):
        files = files_of(material, node)
        if _missing(material, node, "versions.txt"):
            yield NodeItem(node, Command("versions"))
            yield NodeItem(node, Command("unit"))
            yield NodeItem(node, Command("crictl-info"))
        rancher = (files.rancher,) if files.rancher else RANCHER if not files.versions.distro else ()
        if not files.rancher and _missing(material, node, "/etc/containerd/config.toml"):
            yield NodeItem(node, File("/etc/containerd/config.toml"))
            yield NodeItem(node, Tree("/etc/containerd/conf.d"))
            yield NodeItem(node, Tree("/etc/containerd/certs.d"))
            yield NodeItem(node, Command("containerd-config-dump"))
            yield NodeItem(node, Command("plugins"))
        for name in rancher:
            if _missing(material, node, f"/etc/rancher/{name}/registries.yaml"):
                yield NodeItem(node, File(f"/etc/rancher/{name}/registries.yaml"))
                yield NodeItem(node, File(f"/etc/rancher/{name}/config.yaml"))
                yield NodeItem(node, Tree(f"/var/lib/rancher/{name}/agent/etc/containerd"))
                yield NodeItem(node, Command("processes"))
        if files.versions.runtime:
            yield from _second(material, node)


def _second(material: Material, node: str) -> Iterable[Want]:
    setup = node_setup(files_of(material, node))
    main = setup.main
    for pattern in main.imports if main is not None else ():
        folder = pattern.rpartition("/")[0]
        if folder.startswith("/") and folder != "/etc/containerd/conf.d":
            yield NodeItem(node, Tree(folder))
    path = (
        next(
            (
                section.registry.config_path
                for section in (main.sections if main is not None else ())
                if section.registry.config_path
            ),
            "",
        )
        or ""
    )
    for root in path.split(":"):
        if (
            root.startswith("/")
            and root.rstrip("/") != "/etc/containerd/certs.d"
            and all(tree.root != root.rstrip("/") for tree in setup.certs)
        ):
            yield NodeItem(node, Tree(root.rstrip("/")))
    for tree in setup.certs:
        for directory in tree.dirs:
            tables = (directory.file.root, *directory.file.hosts) if directory.file is not None else ()
            for ca in dict.fromkeys(item for table in tables for item in table.ca):
                if ca.startswith("/") and _missing(material, node, ca):
                    yield NodeItem(node, File(ca))
    for config in named_configs(setup.k3s.text) if setup.k3s is not None else ():
        if config.ca_file.startswith("/") and _missing(material, node, config.ca_file):
            yield NodeItem(node, File(config.ca_file))


def wants_crio(material: Material, scene: Scene) -> Iterable[Want]:
    """Only where CRI-O runs."""
    for node in asked_nodes(scene):
        if files_of(material, node).versions.runtime == "cri-o" and _missing(
            material, node, "/etc/containers/registries.conf"
        ):
            yield NodeItem(node, File("/etc/containers/registries.conf"))
            yield NodeItem(node, File("/etc/containers/policy.json"))
            yield NodeItem(node, Tree("/etc/containers/registries.conf.d"))
            yield NodeItem(node, Tree("/etc/containers/certs.d"))
            yield NodeItem(node, Tree("/etc/crio"))


def wants_log(material: Material, scene: Scene) -> Iterable[Want]:
    """The runtime's log around the failure; k3s and RKE2 write it to a file."""
    for node in asked_nodes(scene):
        files = files_of(material, node)
        if files.rancher:
            path = f"/var/lib/rancher/{files.rancher}/agent/containerd/containerd.log"
            if _missing(material, node, path):
                yield NodeItem(node, File(path, limit=524_288))
        elif _missing(material, node, "containerd.log"):
            since = scene.incident.since - 600 if scene.incident.since else None
            yield NodeItem(node, Journal("containerd", since, 600, LOG_WORDS))


PROBES: tuple[Probe, ...] = (
    Probe("containerd.config", runtime_config.CONFIG, runtime_config.read_config, wants_config),
    Probe("containerd.config2", runtime_config.CONFIG2, runtime_config.read_config2, wants_config),
    Probe("containerd.state", runtime_config.STATE, runtime_config.read_state, wants_config),
    Probe("hosts_toml.read", runtime_hosts.READ, runtime_hosts.read, wants_config),
    Probe("hosts_toml.plan", runtime_hosts.PLAN, runtime_hosts.plan, wants_config),
    Probe("k3s.read", runtime_k3s.READ, runtime_k3s.read, wants_config),
    Probe("k3s.plan", runtime_k3s.PLAN, runtime_k3s.plan, wants_config),
    Probe("crio.read", runtime_k3s.CRIO, runtime_k3s.read_crio, wants_crio),
    Probe("attempt.log", runtime_attempt.FACTS, runtime_attempt.read, wants_log),
    Probe("plan.pull", runtime_plan.FACTS, runtime_plan.read, wants_config),
)

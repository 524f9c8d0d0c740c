"""Which CA certificates a node's runtime would use for a registry: the system pool plus the entry in force (node.md 4.2)."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from posixpath import join, normpath
from typing import Any, Final

from app.model.material import Document, Material
from app.parsers.hosts_toml import HostTable, parse_hosts_toml
from app.parsers.k3s_registries import named_configs
from app.parsers.x509 import Certificate
from app.probes.registry_chains import certificates_in
from app.probes.registry_scene import Place, observed, place_of_url
from app.pullplan.near import near_kind

OS_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Go reads the first that exists."""
_SOURCES: Final = (
    "usr/local/share/ca-certificates",
    "etc/pki/ca-trust/source/anchors",
    "usr/share/pki/trust/anchors",
    "etc/pki/trust/anchors",
)
_DOCKER: Final = "etc/docker/certs.d"
LOOKED_AT: Final = (f"/{_DOCKER}", "/etc/containerd/certs.d", *(f"/{root}" for root in _SOURCES[:2]))
"""Folders in which people leave a CA that the runtime then does not read."""
_ROOTS: Final = (
    "etc/containerd/certs.d",
    "var/lib/rancher/k3s/agent/etc/containerd/certs.d",
    "var/lib/rancher/rke2/agent/etc/containerd/certs.d",
)
_CONFIGS: Final = (
    "containerd-config-dump.toml",
    "var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    "etc/containerd/config.toml",
)


@dataclass(frozen=True, slots=True)
class Anchors:
    """Trust anchors of one node for one registry. `None`: not known; an empty tuple: known to be none."""

    configured: tuple[Certificate, ...] | None
    """From the entry in force for this registry alone."""
    pool: tuple[Certificate, ...] | None
    """The operating system's bundle."""
    files: tuple[str, ...] = ()
    """Where the configured ones came from."""
    unread: tuple[tuple[str, tuple[Certificate, ...]], ...] = ()
    """(kind, certificates) that lie where the runtime does not look: `docker-dir`, `dir-not-read`, `os-store`."""
    looked: bool = False
    """All of those places were looked at."""
    skips: bool = False
    """The entry in force switches verification off."""
    pool_changed: float | None = None
    """When the system's bundle was last written, by the node's clock."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The system's CA bundle of a node. `text` is None where only its digest was read and no other node has the same."""

    path: str
    digest: str
    mtime: float | None
    text: str | None


def bundle_of(material: Material, node: str) -> Bundle | None:
    """What is known of a node's CA bundle; None where nobody looked."""
    for path in OS_BUNDLES:
        document = material.get(f"nodes/{node}{path}")
        text = observed(document)
        if document is not None and text is not None:
            return Bundle(path, hashlib.sha256(text.encode()).hexdigest(), document.mtime, text)
    told = _mapping(material, f"nodes/{node}/os-ca.json")
    digest, place = told.get("sha256"), told.get("path")
    if not isinstance(digest, str) or not isinstance(place, str):
        return None
    mtime = told.get("mtime")
    same = (
        observed(material.get(f"nodes/{other}{place}"))
        for other in material.nodes()
        if other != node and _mapping(material, f"nodes/{other}/os-ca.json").get("sha256") == digest
    )
    return Bundle(
        place,
        digest,
        float(mtime) if isinstance(mtime, int | float) else None,
        next((text for text in same if text), None),
    )


def _mapping(material: Material, path: str) -> dict[str, Any]:
    try:
        data = material.json(path)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def anchors_of(material: Material, node: str, registry: Place) -> Anchors:
    """What is known of a node's anchors for a registry."""
    bundle = bundle_of(material, node)
    pool = certificates_in(bundle.text) if bundle is not None and bundle.text and "-----BEGIN" in bundle.text else None
    runtime = _runtime(material, node)
    roots = _roots_in_force(material, node)
    names = _names(registry)
    if runtime == "docker":
        configured, files, skips = _directory(material, node, [_DOCKER], names, registry, docker=True)
    elif runtime == "cri-o":
        configured, files, skips = _directory(
            material, node, ["etc/containers/certs.d", _DOCKER], names, registry, docker=True
        )
    elif roots is None:
        configured, files, skips = None, (), False
    else:
        configured, files, skips = _directory(material, node, roots, names, registry)
        inline = _inline(material, node, registry)
        if inline is None:
            configured = None
        elif configured is not None:
            configured, files = (*configured, *inline[0]), (*files, *inline[1])
    unread, looked = _unread(material, node, roots, names, runtime, registry)
    return Anchors(configured, pool, files, unread, looked, skips, bundle.mtime if bundle else None)


def has_entry(material: Material, node: str, registry: Place) -> bool | None:
    """Whether the folder in force has one for this registry; None where no configuration is known."""
    roots = _roots_in_force(material, node)
    if roots is None:
        return None
    prefixes = [f"nodes/{node}/{root}/{name}/" for root in roots for name in _names(registry)]
    return any(document for prefix in prefixes for document in material.below(prefix))


def _runtime(material: Material, node: str) -> str:
    text = material.text(f"nodes/{node}/node.json") or ""
    found = re.search(r'"containerRuntimeVersion":\s*"(docker|cri-o|containerd)', text)
    if found:
        return found[1]
    return (
        "docker"
        if material.text(f"nodes/{node}/etc/docker/daemon.json") and not material.glob(f"nodes/{node}/etc/containerd/*")
        else "containerd"
    )


def _names(registry: Place) -> tuple[str, ...]:
    """Folder names in the order in which containerd tries them."""
    if registry.port:
        return (f"{registry.host}_{registry.port}_", f"{registry.host}:{registry.port}", "_default")
    return (registry.host, "_default")


def _config(material: Material, node: str) -> dict[str, Any] | None:
    for path in _CONFIGS:
        text = material.text(f"nodes/{node}/{path}")
        if not text:
            continue
        config = _parsed(text)
        if config is not None:
            return config
    return None


@lru_cache(maxsize=64)
def _parsed(text: str) -> dict[str, Any] | None:
    """Many nodes share one configuration; None where it is no TOML. Not to be changed by those who read it."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _registry_tables(config: dict[str, Any]) -> Iterable[dict[str, Any]]:
    plugins = config.get("plugins")
    for name, plugin in plugins.items() if isinstance(plugins, dict) else ():
        if "cri" in str(name) and isinstance(plugin, dict) and isinstance(plugin.get("registry"), dict):
            yield plugin["registry"]


def _roots_in_force(material: Material, node: str) -> list[str] | None:
    """Folders that the runtime reads, without the leading slash; None where no configuration is known."""
    config = _config(material, node)
    if config is None:
        return None
    found: list[str] = []
    for table in _registry_tables(config):
        path = table.get("config_path")
        if isinstance(path, str) and path:
            found += [part.strip("/") for part in path.split(":") if part]
    return list(dict.fromkeys(found))


def _inline(material: Material, node: str, registry: Place) -> tuple[tuple[Certificate, ...], tuple[str, ...]] | None:
    """CA files of `registry.configs.<host>.tls`, which 1.x reads where no `config_path` is set."""
    config = _config(material, node) or {}
    for table in _registry_tables(config):
        configs = table.get("configs")
        entry = configs.get(str(registry)) if isinstance(configs, dict) else None
        tls = entry.get("tls") if isinstance(entry, dict) else None
        path = tls.get("ca_file") if isinstance(tls, dict) else None
        if isinstance(path, str) and path:
            text = material.node_file(node, path)
            return (certificates_in(text), (path,)) if text is not None else None
    return (), ()


def _directory(
    material: Material, node: str, roots: list[str], names: tuple[str, ...], registry: Place, *, docker: bool = False
) -> tuple[tuple[Certificate, ...] | None, tuple[str, ...], bool]:
    """Certificates of the folder in force: `ca` of the entry for this very host, or the `*.crt` beside no hosts.toml."""
    for root in roots:
        for name in names:
            folder = f"nodes/{node}/{root}/{name}"
            files = {document.path: document for document in material.glob(f"{folder.replace('[', '[[]')}/*")}
            if not files:
                continue
            hosts = files.get(f"{folder}/hosts.toml")
            if hosts is not None and not docker:
                parsed = parse_hosts_toml(hosts.text)
                if not parsed.error and not parsed.empty:
                    return _of_entry(material, node, f"/{root}/{name}", _entry([*parsed.hosts, parsed.root], registry))
            crts = [document for path, document in sorted(files.items()) if path.endswith(".crt")]
            return (
                tuple(one for document in crts for one in certificates_in(document.text)),
                tuple(document.path for document in crts),
                False,
            )
    return (), (), False


def _entry(tables: list[HostTable], registry: Place) -> HostTable | None:
    for table in tables:
        place = place_of_url(table.url if "//" in table.url else f"https://{table.url}") if table.url else registry
        if place is not None and place.same(registry):
            return table
    return None


def _of_entry(
    material: Material, node: str, folder: str, entry: HostTable | None
) -> tuple[tuple[Certificate, ...] | None, tuple[str, ...], bool]:
    if entry is None:
        return (), (), False
    if entry.skip_verify:
        return (), (), True
    found: list[Certificate] = []
    for path in entry.ca:
        absolute = path if path.startswith("/") else normpath(join(folder, path))
        text = material.node_file(node, absolute)
        if text is None:
            return None, entry.ca, False
        found += certificates_in(text)
    return tuple(found), entry.ca, False


def _unread(
    material: Material, node: str, roots: list[str] | None, names: tuple[str, ...], runtime: str, registry: Place
) -> tuple[tuple[tuple[str, tuple[Certificate, ...]], ...], bool]:
    """Certificates for this registry in places which the runtime does not read, and whether all such places were looked at."""
    found: list[tuple[str, tuple[Certificate, ...]]] = []
    places = [("docker-dir", _DOCKER)] if runtime == "containerd" and _DOCKER not in (roots or []) else []
    places += [("dir-not-read", root) for root in _ROOTS if roots is not None and root not in roots]
    for kind, root in places:
        for name in names:
            certificates = tuple(
                one
                for document in material.glob(f"nodes/{node}/{root}/{name}/*")
                for one in certificates_in(document.text)
            )
            if certificates:
                found.append((kind, certificates))
    found += [("dir-not-read", certificates) for certificates in _of_registries_yaml(material, node)]
    for root in (roots or []) if runtime == "containerd" else ():
        found += [("dir-not-read", certificates) for certificates in _of_near_folders(material, node, root, registry)]
    for root in _SOURCES:
        certificates = tuple(
            one for document in material.glob(f"nodes/{node}/{root}/*") for one in certificates_in(document.text)
        )
        if certificates:
            found.append(("os-store", certificates))
    looked = all(was_looked_at(material, node, root) for root in LOOKED_AT)
    return tuple(found), looked


def _of_near_folders(material: Material, node: str, root: str, registry: Place) -> Iterable[tuple[Certificate, ...]]:
    """Certificates of folders of the tree in force whose name misses the image's host (MODES: `hosts_toml.near_miss`).

    The entry of another registry is none: where its URLs stay on this host, they have to lead to this port.
    """
    prefix = f"nodes/{node}/{root}/"
    folders: dict[str, list[Document]] = {}
    for document in material.below(prefix):
        folders.setdefault(document.path.removeprefix(prefix).rpartition("/")[0], []).append(document)
    for name, documents in folders.items():
        hosts = next((one for one in documents if one.path == f"{prefix}{name}/hosts.toml"), None)
        file = parse_hosts_toml(hosts.text) if hosts is not None else None
        tables = [file.root, *file.hosts] if file is not None and not file.error else []
        if not name or not near_kind(name, [table.url for table in tables if table.url], str(registry)):
            continue
        certificates = [one for document in documents for one in certificates_in(document.text)]
        for table in tables:
            for path in table.ca:
                absolute = path if path.startswith("/") else normpath(join(f"/{root}/{name}", path))
                certificates += certificates_in(material.node_file(node, absolute) or "")
        if certificates:
            yield tuple(certificates)


def _of_registries_yaml(material: Material, node: str) -> Iterable[tuple[Certificate, ...]]:
    """CA files that k3s's or RKE2's own file names; the runtime reads them only once the service has generated from it."""
    for name in ("k3s", "rke2"):
        for config in named_configs(material.node_file(node, f"/etc/rancher/{name}/registries.yaml") or ""):
            certificates = certificates_in(material.node_file(node, config.ca_file) or "") if config.ca_file else ()
            if certificates:
                yield certificates


def was_looked_at(material: Material, node: str, root: str) -> bool:
    """Whether that folder was listed, or seen not to be there."""
    told = _mapping(material, f"nodes/{node}/stat.json").get(f"/{root.strip('/')}")
    if isinstance(told, dict):
        return bool(told.get("absent")) or (bool(told.get("listed")) and told.get("complete") is not False)
    document = material.get(f"nodes/{node}/{root.strip('/')}")
    return document is not None and document.absent


def added_anchors(material: Material, node: str) -> tuple[Certificate, ...]:
    """CA certificates that somebody added to the node's own store, by the folders from which it is made."""
    return tuple(
        one
        for root in _SOURCES
        for document in material.glob(f"nodes/{node}/{root}/*")
        for one in certificates_in(document.text)
    )


def was_looked_at_sources(material: Material, node: str) -> bool:
    """Whether all that was added to the node's store is known."""
    return all(was_looked_at(material, node, root) for root in LOOKED_AT[2:])


def runtime_started(material: Material, node: str) -> object:
    """The start time of the runtime's unit as it was printed; None where it was not read."""
    units = _mapping(material, f"nodes/{node}/units.json")
    for unit in ("k3s", "k3s-agent", "rke2-server", "rke2-agent", "containerd", "docker", "crio"):
        told = units.get(unit, units.get(f"{unit}.service"))
        if isinstance(told, dict) and told.get("since"):
            return told["since"]
    for name in ("unit.txt", "containerd-unit.txt", "unit-containerd.txt"):
        text = material.text(f"nodes/{node}/{name}") or ""
        found = re.search(r"(?m)^(?:ExecMainStartTimestamp|ActiveEnterTimestamp)=(?:[A-Z][a-z]{2} )?(.+)$", text)
        if found:
            return found[1].replace(" UTC", "+00:00")
    return None


def nodes_with_runtime(material: Material) -> list[str]:
    """Nodes of which any runtime file is known."""
    return [
        node
        for node in material.nodes()
        if material.glob(f"nodes/{node}/*containerd*")
        or material.glob(f"nodes/{node}/etc/docker/*")
        or _json_runtime(material, node)
    ]


def _json_runtime(material: Material, node: str) -> bool:
    return bool(_mapping(material, f"nodes/{node}/node.json"))

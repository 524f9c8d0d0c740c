"""A node's files as input of the pull plan."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from fnmatch import fnmatchcase
from weakref import WeakKeyDictionary

from app.parsers.containerd_config import GRPC, IMAGES, ConfigFile, Registry, parse_config, parse_crictl_info
from app.parsers.hosts_toml import parse_hosts_toml
from app.parsers.journal import boot
from app.parsers.k3s_registries import K3sRegistries, parse_registries
from app.probes.runtime_files import NodeFiles
from app.pullplan.inputs import CertsDir, HostsDir, K3sSetup, NodeSetup
from app.pullplan.settings import effective

MAIN = "/etc/containerd/config.toml"
SLACK = 1.0
"""Unit start times are whole seconds."""


def newer_than(stamp: float, since: float) -> bool | None:
    """Whether a file was written after a process started; None within the second of the start, which tells neither."""
    if stamp > since + SLACK:
        return True
    return None if stamp >= since else False


def main_path(files: NodeFiles) -> str:
    """The config file that the process reads, by its command line, else by distribution."""
    lines = [unit.cmdline for unit in (files.units.get("containerd"),) if unit is not None]
    lines += [
        tuple(args.split())
        for _, _, args in files.processes
        if posixpath.basename(args.split()[0] if args.split() else "") == "containerd"
    ]
    for line in lines:
        for word, following in zip(line, (*line[1:], ""), strict=False):
            if word in ("-c", "--config") and following:
                return following
            if word.startswith("--config="):
                return word.partition("=")[2]
    if files.rancher:
        return f"/var/lib/rancher/{files.rancher}/agent/etc/containerd/config.toml"
    return MAIN


_SETUPS: WeakKeyDictionary[NodeFiles, NodeSetup] = WeakKeyDictionary()


def node_setup(files: NodeFiles) -> NodeSetup:
    """Everything that the files say about the choice of hosts; made once for each reading."""
    known = _SETUPS.get(files)
    if known is None:
        known = _SETUPS[files] = _setup(files)
    return known


def _setup(files: NodeFiles) -> NodeSetup:
    versions = files.versions
    path = main_path(files)
    text = files.text(path)
    main = parse_config(text, path) if text is not None else None
    if (
        main is not None
        and main.version is None
        and not files.systematic
        and set(main.plugins) <= {GRPC, IMAGES, "cri"}
        and not _whole(text or "")
    ):
        main = replace(main, excerpt=True)
    dropins = _dropins(files, main)
    dump_text = files.text("containerd-config-dump.toml")
    dump = parse_config(dump_text, "containerd config dump") if dump_text else None
    if dump is not None and (dump.error or not dump.plugins):
        dump = None
    start = boot(files.log)
    running = (
        parse_crictl_info(files.text("crictl-info.json") or "") if files.text("crictl-info.json") is not None else None
    )
    node = NodeSetup(
        files.node, versions.runtime or "containerd", versions.runtime_version, versions.distro, main, files.absent(path),
        dropins, _stray(files, path, dropins), dump, running, start.ignored, start.local_pull,
    )  # fmt: skip
    node = replace(node, certs=_certs(files, node))
    node = replace(node, newer_than_process=_newer(files, node, path))
    if files.rancher:
        node = replace(node, k3s=_k3s(files, node))
    return node


def _whole(text: str) -> bool:
    """Whether a file has anything beside its registry tables, as a whole one has."""
    rows = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return any(row.startswith("[") and "registry" not in row for row in rows) or bool(
        rows and not rows[0].startswith("[")
    )


def _dropins(files: NodeFiles, main: ConfigFile | None) -> tuple[ConfigFile, ...]:
    if main is None:
        return ()
    found = []
    for pattern in main.imports:
        absolute = pattern if pattern.startswith("/") else posixpath.join(posixpath.dirname(main.path), pattern)
        folder = posixpath.dirname(absolute)
        for path, text in sorted(files.below(folder).items()):
            if fnmatchcase(path, absolute) and path != main.path:
                found.append(parse_config(text, path))
    return tuple(found)


def _stray(files: NodeFiles, path: str, dropins: tuple[ConfigFile, ...]) -> tuple[ConfigFile, ...]:
    """Files beside the real ones that hold registry settings and that the process does not read."""
    read = {path, *(item.path for item in dropins)}
    if files.text(path) is None and not files.absent(path) and not files.rancher:
        return ()
    found = []
    for other, text in sorted(files.below("/etc/containerd").items()):
        inside = other.removeprefix("/etc/containerd/")
        if (
            other in read
            or not other.endswith(".toml")
            or inside.startswith("certs.d/")
            or inside.endswith(("hosts.toml", ".bak.toml"))
        ):
            continue
        parsed = parse_config(text, other)
        if not parsed.error and any(section.registry.says_something for section in parsed.sections):
            found.append(parsed)
    return tuple(found)


def _certs(files: NodeFiles, node: NodeSetup) -> tuple[CertsDir, ...]:
    """The trees in force first, then the usual places."""
    settings = effective(node)
    wanted = [part.rstrip("/") for part in (settings.config_path or "").split(":") if part]
    wanted += ["/etc/containerd/certs.d", "/etc/docker/certs.d"]
    wanted += [
        f"/var/lib/rancher/{name}/agent/etc/containerd/certs.d" for name in ("k3s", "rke2") if files.rancher == name
    ]
    # A copied tree below another config_path than the default one.
    wanted += sorted(
        {
            posixpath.dirname(posixpath.dirname(path))
            for path in files.below("/etc")
            if path.endswith("/hosts.toml") and "certs.d" not in path
        }
    )
    found = []
    for root in dict.fromkeys(wanted):
        inside = files.below(root)
        listed = {path for path in files.stats if path.startswith(root + "/")}
        # Copied by hand together with the main file: taken for the whole tree.
        by_hand = bool(inside) and node.main is not None and files.document("stat.json") is None
        whole = files.absent(root) or files.listed(root) or by_hand
        if inside or listed or whole:
            found.append(CertsDir(root, tuple(_directories(files, root)), whole))
    return tuple(found)


def _directories(files: NodeFiles, root: str) -> list[HostsDir]:
    """Every folder below a root that may be an entry, empty ones included."""
    texts = files.below(root)
    names: dict[str, list[str]] = {}
    below = {path: stat for path, stat in files.stats.items() if path.startswith(root + "/") and not stat.absent}
    for path in (*texts, *below):
        relative = path.removeprefix(root + "/")
        if path in below and below[path].directory:
            names.setdefault(relative, [])
            continue
        folder, _, name = relative.rpartition("/")
        if folder and name not in names.setdefault(folder, []):
            names[folder].append(name)
    found = []
    for folder, everything in names.items():
        # A directory that only holds a directory is no entry of its own (`https:` of `https:/host`).
        members = [name for name in everything if f"{folder}/{name}" not in names]
        if not members and any(other.startswith(folder + "/") for other in names):
            continue
        base = f"{root}/{folder}"
        text = texts.get(f"{base}/hosts.toml")
        others = tuple(
            sorted(
                name
                for name in members
                if name != "hosts.toml" and not name.endswith((".crt", ".cert", ".key", ".pem"))
            )
        )
        wrong = next((name for name in others if name.endswith(".toml") or name in ("hosts", "host")), "")
        found.append(
            HostsDir(
                folder,
                parse_hosts_toml(text, f"{base}/hosts.toml") if text is not None else None,
                text if text is not None else texts.get(f"{base}/{wrong}", "") if wrong else "",
                tuple(sorted(f"{base}/{name}" for name in members if name.endswith(".crt"))),
                others,
            )
        )
    return found


def _newer(files: NodeFiles, node: NodeSetup, path: str) -> bool | None:
    """Whether the files say something else than the process was started with."""
    if node.running is not None and node.main is not None and not node.main.error:
        settings = effective(node)
        if settings.config_path is not None:
            return _differs(settings.registry, settings.config_path, node.running)
    service = files.units.get("containerd") or (files.service if files.rancher else None)
    since = service.since if service else None
    if files.rancher:
        # Written by the service right before it starts containerd: only another hand makes it newer.
        since = next((start for _, start, args in files.processes if args.startswith("containerd ")), None)
    stamps = [files.mtime(item.path) for item in (node.main, *node.dropins) if item is not None]
    if since is None or not stamps:
        return None
    # k3s and RKE2 write the file themselves, at some moment around the start.
    newer = [
        None if stamp is None else stamp > since + 30.0 if files.rancher else newer_than(stamp, since)
        for stamp in stamps
    ]
    if True in newer:
        return True
    return None if None in newer else False


def _differs(written: Registry, config_path: str, running: Registry) -> bool:
    same = (
        (running.config_path or "") == config_path
        and {mirror.host: mirror.endpoints for mirror in running.mirrors}
        == {mirror.host: mirror.endpoints for mirror in written.mirrors}
        and {auth.key for auth in running.auths if not auth.from_auths}
        == {auth.key for auth in written.auths if not auth.from_auths}
    )
    return not same


def _k3s(files: NodeFiles, node: NodeSetup) -> K3sSetup:
    name = files.rancher
    path = f"/etc/rancher/{name}/registries.yaml"
    text = files.text(path)
    absent = files.absent(path)
    near = ""
    for folder in ("/etc/rancher/k3s", "/etc/rancher/rke2", "/etc/rancher"):
        for other in sorted(files.below(folder)):
            base = posixpath.basename(other)
            if other != path and (
                base.startswith(("registries", "registry", "regitries")) and base.endswith((".yaml", ".yml"))
            ):
                near = near or other
    service = files.service
    stamp = files.mtime(path)
    newer: bool | None = None
    if service is not None and service.since is not None and stamp is not None:
        newer = newer_than(stamp, service.since)
    agent = f"/var/lib/rancher/{name}/agent/etc/containerd"
    templates = {path: text for path, text in files.below(agent).items() if path.endswith(".tmpl")}
    wanted = "config-v3.toml.tmpl" if node.main is not None and (node.main.version or 0) >= 3 else "config.toml.tmpl"
    in_use = templates.get(f"{agent}/{wanted}") or templates.get(f"{agent}/config.toml.tmpl")
    template = ""
    if in_use is not None:
        template = "base" if 'template "base"' in in_use else "full"
    elif files.listed(agent):
        template = "none"
    if template == "full" and in_use is not None and "{{" in in_use and "config_path" in in_use:
        template = "base"  # a full one that renders the registry part itself hides nothing
    arguments = " ".join(args for _, _, args in files.processes if f"/{name}" in args.split(" ")[0]) + " ".join(
        service.cmdline if service else ()
    )
    config = "\n".join(
        files.below(f"/etc/rancher/{name}").get(f"/etc/rancher/{name}/{item}", "") for item in ("config.yaml",)
    )
    disabled = "disable-default-registry-endpoint" in arguments or "disable-default-registry-endpoint: true" in config
    embedded = True if ("embedded-registry: true" in config or "--embedded-registry" in arguments) else _embedded(node)
    return K3sSetup(
        parse_registries(text) if text is not None else K3sRegistries() if absent else None, text or "", path,
        True if text is not None else False if absent else None, near, template, newer, not disabled, embedded, files.versions.kubelet,
    )  # fmt: skip


def _embedded(node: NodeSetup) -> bool | None:
    for tree in node.certs:
        for item in tree.dirs:
            if item.file is not None and any(
                host.url.startswith(("https://127.0.0.1:6443", "https://127.0.0.1:9345")) for host in item.file.hosts
            ):
                return True
    return False if any(tree.dirs for tree in node.certs) else None

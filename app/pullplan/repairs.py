"""The defects that a pull plan can repair on paper, one at a time (MODES 3.4, 3.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from app.parsers.containerd_config import ConfigFile, Registry
from app.parsers.hosts_toml import mend, parse_hosts_toml
from app.parsers.split_url import urlsplit
from app.parsers.versions import at_least, below
from app.pullplan.containerd import Choice, choose, find_directory, rejected
from app.pullplan.inputs import CertsDir, HostsDir, NodeSetup, PlanInputs, there
from app.pullplan.near import near_directories, near_inline
from app.pullplan.plan import split_image
from app.pullplan.repair import Repair
from app.pullplan.repairs_k3s import k3s_repairs
from app.pullplan.settings import Settings, effective

DEFAULT_ROOTS = ("/etc/containerd/certs.d", "/etc/docker/certs.d")


def repairs(inputs: PlanInputs, settings: Settings, base: Choice) -> Iterator[Repair]:
    """Every candidate; defects that the node's distribution rules out are left out."""
    node = inputs.node
    namespace = split_image(inputs.image)[0]
    if inputs.failure.client == "ctr":
        yield Repair("ctr-is-not-cri", True, lambda: base)
        return
    yield from _nodes(inputs, namespace, base)
    if node.runtime not in ("containerd", ""):
        return
    if node.k3s is not None:
        yield from k3s_repairs(node, namespace, urlsplit(inputs.failure.url).netloc)
        yield from _hosts_files(node, settings, namespace)
        return
    yield from _files(node, settings, namespace, base)
    yield from _certs_d(node, settings, namespace)
    yield from _hosts_files(node, settings, namespace)
    yield from _keys(node, settings, namespace)


def _nodes(inputs: PlanInputs, namespace: str, base: Choice) -> Iterator[Repair]:
    for healthy in inputs.healthy:
        theirs = choose(healthy, effective(healthy), namespace)
        differs = [(host.url, host.ca, host.skip_verify, host.node_login) for host in theirs.hosts] != [
            (host.url, host.ca, host.skip_verify, host.node_login) for host in base.hosts
        ]
        if differs and theirs.known:
            yield Repair("node-lacks-config", True, partial(_as_there, theirs, healthy.name))
            return


def _as_there(choice: Choice, node: str) -> Choice:
    """The healthy node's plan, with the CA files that lie there."""
    hosts = tuple(replace(host, ca=tuple(there(node, path) for path in host.ca)) for host in choice.hosts)
    return replace(choice, hosts=hosts)


def _with_registry(node: NodeSetup, settings: Settings, registry: Registry, namespace: str) -> Choice:
    """The plan as if these settings stood in their right place."""
    whole = replace(settings, registry=registry, section_read=True, has_section=True, lost_registry=None, keys_lost=())
    path = registry.config_path or ""
    read = bool(path) and (":" not in path or bool(below(node.version, 2, 1)))
    return choose(node, replace(whole, config_path=path, certs_d_read=read), namespace)


def _files(node: NodeSetup, settings: Settings, namespace: str, base: Choice) -> Iterator[Repair]:
    lost = settings.lost_registry
    for finding, cause in (
        ("containerd-plugin-id-wrong", "plugin-id"),
        ("dropin-version-mix", "dropin-version"),
        ("dropin-replaced-section", "dropin-replaced"),
    ):
        present = settings.cause == cause and lost is not None
        if (
            not present
            and cause == "plugin-id"
            and settings.section_read is None
            and settings.has_section
            and _unread_somewhere(node)
        ):
            yield Repair(finding, None, lambda: None)
        else:
            yield Repair(
                finding, present, lambda: _with_registry(node, settings, lost, namespace) if lost is not None else None
            )
    yield Repair("config-not-restarted", node.newer_than_process, lambda: base)
    wrong = [
        item
        for item in node.stray
        if not item.error and any(section.registry.says_something for section in item.sections)
    ]
    yield Repair("config-wrong-file", bool(wrong), lambda: _with_file(node, wrong[0], namespace) if wrong else None)


def _unread_somewhere(node: NodeSetup) -> bool:
    return not node.version or node.main is None


def _with_file(node: NodeSetup, item: ConfigFile, namespace: str) -> Choice:
    if node.main is None or node.absent_main or node.main.error:
        changed = replace(node, main=item, absent_main=False, dump=None, stray=())
    else:
        changed = replace(node, dropins=(*node.dropins, item), dump=None, stray=())
    return choose(changed, effective(changed), namespace)


def _certs_d(node: NodeSetup, settings: Settings, namespace: str) -> Iterator[Repair]:
    tree = next(
        (item for item in node.certs if item.root in DEFAULT_ROOTS and find_directory(item, namespace) is not None),
        None,
    )
    off = settings.certs_d_read is False
    old = below(node.version, 2, 2)

    def enabled() -> Choice | None:
        if tree is None:
            return None
        return choose(node, replace(settings, config_path=tree.root, certs_d_read=True), namespace)

    known = settings.certs_d_read is not None
    empty = settings.path_kind == "empty"
    present = tree is not None and off and empty and bool(old) and settings.section_read is not False
    yield Repair("certs-d-not-enabled", present if known else (None if tree is not None else False), enabled)
    many = (
        tree is not None
        and off
        and bool(at_least(node.version, 2, 1))
        and (settings.path_kind == "colon-list" or (empty and bool(at_least(node.version, 2, 2))))
    )
    yield Repair(
        "certs-d-multi-root",
        (many and settings.section_read is not False) if known else (None if tree is not None else False),
        enabled,
    )


def _in_force(node: NodeSetup, settings: Settings) -> CertsDir | None:
    if not settings.certs_d_read:
        return None
    root = (settings.config_path or "").split(":")[0].rstrip("/")
    return next((item for item in node.certs if item.root == root), None)


def _swap(node: NodeSetup, tree: CertsDir, changed: HostsDir, drop: str = "") -> NodeSetup:
    dirs = (changed, *(item for item in tree.dirs if item.name not in (changed.name, drop)))
    return replace(node, certs=tuple(replace(item, dirs=dirs) if item is tree else item for item in node.certs))


def _hosts_files(node: NodeSetup, settings: Settings, namespace: str) -> Iterator[Repair]:
    tree = _in_force(node, settings)
    if tree is None:
        return
    directory = find_directory(tree, namespace)
    exact = directory is not None and directory.name != "_default"
    bare = directory is not None and exact and directory.bare
    file = directory.file if directory is not None else None
    if directory is not None and file is not None and file.error:
        text = mend(directory.text)
        repaired = replace(directory, file=parse_hosts_toml(text, file.path)) if text is not None else None
        yield Repair(
            "hosts-toml-unparseable",
            True,
            lambda: choose(_swap(node, tree, repaired), settings, namespace) if repaired is not None else None,
        )
    if directory is not None and file is not None and not file.error and rejected(file, node.version):
        with_tree = replace(directory, file=replace(file, has_host_tree=True))
        yield Repair(
            "hosts-toml-without-host-table", True, lambda: choose(_swap(node, tree, with_tree), settings, namespace)
        )
    if (
        directory is not None
        and file is not None
        and any(host.dotted for host in file.hosts)
        and at_least(node.version, 2, 0)
    ):
        headed = replace(directory, file=replace(file, hosts=tuple(replace(host, dotted=False) for host in file.hosts)))
        yield Repair("hosts-toml-dotted-keys", True, lambda: choose(_swap(node, tree, headed), settings, namespace))
    if not exact and node.k3s is None:
        yield from _renamed(node, settings, tree, namespace)
    elif directory is not None and (file is None or file.empty):
        yield from _misplaced(node, settings, tree, directory, namespace)
        if bare and node.k3s is None and near_directories(tree, namespace):
            # An empty folder of the right name sets nothing; the settings stand beside it.
            yield from _renamed(node, settings, tree, namespace)


def _renamed(node: NodeSetup, settings: Settings, tree: CertsDir, namespace: str) -> Iterator[Repair]:
    near = near_directories(tree, namespace)
    if not near and not tree.complete:
        yield Repair("registry-key-not-image-host", None, lambda: None)
    if near:
        moved = replace(near[0][1], name=namespace)
        yield Repair("registry-key-not-image-host", True, lambda: choose(_swap(node, tree, moved), settings, namespace))


def _misplaced(
    node: NodeSetup, settings: Settings, tree: CertsDir, directory: HostsDir, namespace: str
) -> Iterator[Repair]:
    """A file with another name in the right directory, or an empty directory in front of the right one."""
    if directory.text and directory.file is None:
        named = replace(directory, file=parse_hosts_toml(directory.text, f"{tree.root}/{directory.name}/hosts.toml"))
        yield Repair("hosts-toml-misplaced", True, lambda: choose(_swap(node, tree, named), settings, namespace))
        return
    without = replace(
        node,
        certs=tuple(
            replace(item, dirs=tuple(one for one in item.dirs if one is not directory)) if item is tree else item
            for item in node.certs
        ),
    )
    behind = find_directory(next(item for item in without.certs if item.root == tree.root), namespace)
    if behind is not None and behind.name != "_default" and not directory.certificates:
        yield Repair("hosts-toml-misplaced", True, lambda: choose(without, settings, namespace))


def _keys(node: NodeSetup, settings: Settings, namespace: str) -> Iterator[Repair]:
    registry = settings.registry
    if registry.lost and settings.section_read is not False:
        whole = replace(
            registry,
            mirrors=(*registry.mirrors, *registry.lost_mirrors), auths=(*registry.auths, *registry.lost_auths), tls=(*registry.tls, *registry.lost_tls),
        )  # fmt: skip
        yield Repair("containerd-key-ignored", True, lambda: _with_registry(node, settings, whole, namespace))
    if registry.tls and at_least(node.version, 2, 0):
        # As if the release still honoured the table: the same plan as under 1.7.
        as_before = replace(node, version="1.7.24", dump=None)
        table = {item.host for item in registry.tls}
        yield Repair(
            "containerd-tls-table-removed",
            bool(table),
            lambda: (
                choose(as_before, settings, namespace)
                if settings.certs_d_read is False
                else _tls_beside(node, settings, namespace)
            ),
        )
    if registry.mirrors and not settings.certs_d_read:
        near = near_inline(registry.mirrors, namespace)
        if near is not None and all(mirror.host != namespace for mirror in registry.mirrors):
            moved = replace(registry, mirrors=(*registry.mirrors, replace(near, host=namespace)))
            yield Repair(
                "registry-key-not-image-host", True, lambda: choose(node, replace(settings, registry=moved), namespace)
            )


def _tls_beside(node: NodeSetup, settings: Settings, namespace: str) -> Choice:
    """certs.d is read and the tls table is lost: put the table's keys onto the hosts it names."""
    found = choose(node, settings, namespace)
    tables = {item.host: item for item in settings.registry.tls}
    hosts = tuple(
        replace(host, ca=(*host.ca, tables[host.authority].ca_file) if tables[host.authority].ca_file else host.ca, skip_verify=host.skip_verify or tables[host.authority].skip_verify)
        if host.authority in tables
        else host
        for host in found.hosts
    )  # fmt: skip
    return replace(found, hosts=hosts)

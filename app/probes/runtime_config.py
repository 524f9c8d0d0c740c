"""`containerd.config`, `containerd.config2`, `containerd.state`: which settings the node's containerd reads, and its state."""

from __future__ import annotations

from collections.abc import Iterable

from app.model.evidence import Evidence, Of, Value
from app.model.material import Material
from app.parsers.journal import boot
from app.probes.base import Scene
from app.probes.runtime_files import NodeFiles, files_of
from app.probes.runtime_setup import SLACK, main_path, node_setup
from app.pullplan.containerd import hostname
from app.pullplan.inputs import NodeSetup
from app.pullplan.near import near_inline, near_kind
from app.pullplan.settings import Settings, effective

CONFIG = (
    "containerd.config_version", "containerd.config_version_max", "containerd.section_read", "containerd.parse_error",
    "containerd.config_path", "containerd.config_path_kind", "containerd.certs_d_read",
)  # fmt: skip
CONFIG2 = (
    "containerd.inline_tables", "containerd.inline_hosts", "containerd.inline_near", "containerd.tls_table", "containerd.keys_lost",
    "containerd.lost_only_tls", "containerd.dropin", "containerd.file_in_force", "containerd.auth_hosts", "containerd.auth_near",
)  # fmt: skip
STATE = (
    "containerd.newer_than_process",
    "containerd.newer_only_certs_d",
    "containerd.plugin_error",
    "containerd.active",
)
_LISTS = frozenset(
    {
        "containerd.inline_tables",
        "containerd.inline_hosts",
        "containerd.tls_table",
        "containerd.keys_lost",
        "containerd.auth_hosts",
    }
)


def nodes_of(material: Material) -> Iterable[tuple[str, NodeFiles]]:
    """Every node of which a file is known."""
    for name in material.nodes():
        yield name, files_of(material, name)


def whose(scene: Scene, node: str) -> Of:
    """A node where the same image works is the other side of the contrast."""
    return Of.HEALTHY if node in scene.incident.healthy_nodes and node not in scene.incident.nodes else Of.THIS


def namespace_of(scene: Scene) -> str:
    """host[:port] as images of the incident name it; empty when unknown."""
    host = scene.incident.registry or ""
    return host or str(scene.variables.get("image.host") or "")


def not_applicable(facts: Iterable[str]) -> dict[str, Value]:
    """A part that the target does not have: observed and empty."""
    return {fact: () if fact in _LISTS else None for fact in facts}


def is_containerd(files: NodeFiles) -> bool | None:
    """None: not known what runs there."""
    runtime = files.versions.runtime
    return runtime == "containerd" if runtime else None


def read_config(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Header, section, config_path and whether certs.d is read at all."""
    for name, files in nodes_of(material):
        of = whose(scene, name)
        if is_containerd(files) is False:
            yield files.evidence("containerd.config", not_applicable(CONFIG), of=of)
            continue
        path = main_path(files)
        refused = files.refused(
            "containerd.config",
            (path, "containerd-config-dump.toml"),
            "which registry settings containerd reads stays unknown",
        )
        node = node_setup(files)
        if node.main is None and node.dump is None and not node.absent_main:
            if refused is not None:
                yield refused
            continue
        settings = effective(node)
        facts: dict[str, Value] = {"containerd.parse_error": settings.parse_error}
        known: dict[str, Value] = {
            "containerd.config_version": settings.config_version,
            "containerd.config_version_max": settings.version_max,
            "containerd.config_path": settings.config_path,
            "containerd.config_path_kind": settings.path_kind,
            "containerd.certs_d_read": settings.certs_d_read,
        }
        facts |= {fact: value for fact, value in known.items() if value is not None}
        if settings.section_read is not None:
            facts["containerd.section_read"] = settings.section_read
        elif not settings.has_section and not settings.parse_error:
            facts["containerd.section_read"] = None  # no file has a registry section
        excerpt = settings.why or "\n".join(
            line
            for line in (files.text(path) or "").splitlines()
            if "registry" in line or "config_path" in line or line.startswith("version")
        )
        yield files.evidence(
            "containerd.config", facts, of=of, excerpt=excerpt, command=f"containerd -c {path} config dump"
        )


def read_config2(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Inline tables, lost keys, drop-ins, and whether the edited file is the one that is read."""
    namespace = namespace_of(scene)
    for name, files in nodes_of(material):
        of = whose(scene, name)
        if is_containerd(files) is False:
            yield files.evidence("containerd.config2", not_applicable(CONFIG2), of=of)
            continue
        node = node_setup(files)
        if node.main is None and node.dump is None and not node.absent_main:
            continue
        settings = effective(node)
        if settings.parse_error:
            continue
        facts, partial = _tables(node, settings, namespace, files)
        yield files.evidence(
            "containerd.config2", facts, of=of, partial=partial, command=f"containerd -c {main_path(files)} config dump"
        )


def _tables(
    node: NodeSetup, settings: Settings, namespace: str, files: NodeFiles
) -> tuple[dict[str, Value], frozenset[str]]:
    # Where the section is not read, or nobody can tell, what it says is still what somebody meant: a key that is wrong is so
    # in every form of the file.
    written = settings.registry if settings.lost_registry is None else settings.lost_registry
    near = near_inline(written.mirrors, namespace) if namespace else None
    inline = tuple(mirror.host for mirror in written.mirrors)
    facts: dict[str, Value] = {
        "containerd.inline_tables": written.tables,
        "containerd.inline_hosts": inline,
        "containerd.tls_table": tuple(tls.host for tls in written.tls),
        "containerd.auth_hosts": tuple(auth.key for auth in written.auths if auth.has_login),
    }
    if namespace:
        facts["containerd.inline_near"] = near.host if near is not None and namespace not in inline else ""
        keys = [auth.key for auth in written.auths if auth.has_login]
        kinds = [(near_kind(key, (), namespace), key) for key in keys]
        facts["containerd.auth_near"] = next((key for kind, key in kinds if kind), "") if namespace not in keys else ""
    lost = settings.keys_lost
    if not lost and settings.section_read is None and node.main is not None:
        # Which section is in force is not known, but a key that no release knows is lost in any of them.
        lost = tuple(dict.fromkeys(key for section in node.main.sections for key in section.registry.lost))
    if lost or settings.keys_lost_known:
        facts["containerd.keys_lost"] = lost
        facts["containerd.lost_only_tls"] = bool(lost) and all(key.endswith(" tls") for key in lost)
    if settings.dropin is not None:
        facts["containerd.dropin"] = settings.dropin
    if node.stray:
        facts["containerd.file_in_force"] = False
    elif node.main is not None and files.systematic:
        facts["containerd.file_in_force"] = True
    # An excerpt of a file may lack what the rest has.
    excerpt = node.main is not None and node.main.excerpt and node.dump is None
    return facts, _LISTS & facts.keys() if excerpt else frozenset()


def read_state(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Newer files than the process, the CRI plugin's error, whether the daemon is up."""
    for name, files in nodes_of(material):
        of = whose(scene, name)
        if is_containerd(files) is False:
            yield files.evidence("containerd.state", not_applicable(STATE), of=of)
            continue
        facts: dict[str, Value] = {}
        node = node_setup(files)
        if node.newer_than_process is not None:
            facts["containerd.newer_than_process"] = node.newer_than_process
            only = _only_certs_d(files, node)
            if only is not None:
                facts["containerd.newer_only_certs_d"] = only
        start = boot(files.log)
        info = files.text("crictl-info.json")
        works = info is not None and info.lstrip().startswith("{")
        if start.plugin_error:
            facts["containerd.plugin_error"] = start.plugin_error
        elif works or (start.seen and start.booted):
            facts["containerd.plugin_error"] = ""
        elif info is not None and "unknown service runtime" in info:
            facts["containerd.plugin_error"] = "other"
        elif (plugins := _plugin_list(files)) is not None:
            facts["containerd.plugin_error"] = plugins
        active = _active(files, info, works)
        if active is not None:
            facts["containerd.active"] = active
        if facts:
            excerpt = start.plugin_text or start.load_error
            yield files.evidence(
                "containerd.state",
                facts,
                of=of,
                excerpt=excerpt,
                command="systemctl show containerd -p ActiveState,ExecMainStartTimestamp",
            )


def _only_certs_d(files: NodeFiles, node: NodeSetup) -> bool | None:
    if node.newer_than_process:
        return False
    unit = files.units.get("containerd")
    if unit is None or unit.since is None:
        return None
    since = unit.since
    return any(
        stat.mtime is not None and stat.mtime > since + SLACK
        for tree in node.certs
        for path, stat in files.stats.items()
        if path.startswith(tree.root + "/")
    )


def _plugin_list(files: NodeFiles) -> str | None:
    """`ctr plugins ls`: the state of the CRI plugins."""
    lines = [line.split() for line in (files.text("plugins.txt") or "").splitlines()]
    rows = [
        words
        for words in lines
        if len(words) >= 3
        and (words[0], words[1]) in (("io.containerd.grpc.v1", "cri"), ("io.containerd.cri.v1", "images"))
    ]
    if not rows:
        return None
    states = {words[-1] for words in rows}
    return "other" if "error" in states else "disabled" if "skip" in states else ""


def _active(files: NodeFiles, info: str | None, works: bool) -> bool | None:
    unit = files.units.get("containerd")
    if works or (info is not None and "unknown service" in info):
        return True
    if info is not None and ("connection refused" in info or "no such file or directory" in info):
        return False
    if unit is not None and unit.active is not None:
        return unit.active
    if files.rancher and files.processes:
        return any(args.startswith("containerd ") or "/containerd " in args for _, _, args in files.processes)
    return None


def contacted(scene: Scene) -> str:
    """host[:port] of the failing URL, else of the image."""
    told = scene.variables.get("contacted.host")
    return str(told) if told else namespace_of(scene)


def same_name(one: str, other: str) -> bool:
    return hostname(one).lower() == hostname(other).lower()

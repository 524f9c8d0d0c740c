"""Which registry settings of containerd's files are in force: version matrix, imports, lost keys (node.md 2.1 to 2.8)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from app.parsers.containerd_config import ConfigFile, Registry, Section, dumped_registry
from app.parsers.versions import at_least, below
from app.pullplan.inputs import NodeSetup

READ, IGNORED, EXITS = "read", "ignored", "exits"


@dataclass(frozen=True, slots=True)
class Settings:
    """Registry settings as the node's containerd reads its files. A None is unknown."""

    registry: Registry = field(default_factory=Registry)
    section_read: bool | None = None
    """None also where no file has a registry section (`has_section` tells)."""
    has_section: bool = False
    section_source: str = ""
    why: str = ""
    """Why a section is not read."""
    cause: str = ""
    """`plugin-id`, `dropin-version`, `dropin-replaced` where settings are lost for that reason."""
    lost_registry: Registry | None = None
    """The settings that are lost: what would be in force without that defect."""
    config_version: int | None = None
    version_max: int | None = None
    config_path: str | None = None
    """None: unknown; empty: none."""
    local_pull: bool | None = None
    certs_d_read: bool | None = None
    keys_lost: tuple[str, ...] = ()
    keys_lost_known: bool = False
    parse_error: str = ""
    dropin: str | None = None
    """`none`, `replaces-section`, `newer-version`."""

    @property
    def path_kind(self) -> str | None:
        if self.config_path is None:
            return None
        return "empty" if not self.config_path else "colon-list" if ":" in self.config_path else "single"


def version_max(version: str) -> int | None:
    """The newest header that a release reads; None for an unknown release."""
    old, mid = below(version, 2, 0), below(version, 2, 3)
    if old is None or mid is None:
        return None
    return 2 if old else 3 if mid else 4


def section_state(header: int | None, form: str, version: str) -> str | None:
    """What a release does with a section: `read`, `ignored`, `exits`; None for an unknown release."""
    one, before23 = below(version, 2, 0), below(version, 2, 3)
    if one is None:
        # The one pair that every release reads.
        return READ if (header, form) == (2, "grpc") else None
    strict = bool(at_least(version, 1, 7, 17) if at_least(version, 1, 7) else at_least(version, 1, 6, 32))
    if header is not None and header >= 3:
        top = version_max(version) or 3
        if not one and header > top:
            return EXITS
        if one and strict:
            return EXITS
        if form == "grpc":
            return READ if one or not before23 else IGNORED
        if form == "images":
            return IGNORED if one else READ
        return EXITS if one else IGNORED
    if header == 2:
        if form == "grpc":
            return READ
        if form == "images":
            return IGNORED if one else READ
        return EXITS if one else IGNORED
    if form == "cri":
        return READ if one or not before23 else IGNORED
    if form == "images":
        return IGNORED if one else READ
    return IGNORED if one or before23 else READ


def effective(node: NodeSetup) -> Settings:
    """Settings from the node's files; the runtime's own dump of them, where there is one, has the last word."""
    main, version = node.main, node.version
    dumped = dumped_registry(node.dump) if node.dump is not None and not node.dump.error else None
    if main is None:
        if node.absent_main:
            return _with_path(Settings(Registry(), dropin="none", keys_lost_known=True), node)
        if dumped is None and node.running is not None:
            live = Settings(
                node.running,
                True if node.running.says_something else None,
                node.running.says_something,
                "crictl info",
                keys_lost_known=True,
            )
            return _with_path(live, node)
        if dumped is None:
            return Settings(config_version=node.dump.version if node.dump else None, version_max=version_max(version))
        base = Settings(
            dumped, True if dumped.says_something else None, dumped.says_something, node.dump.path if node.dump else ""
        )
        return _with_path(base, node)
    if main.error:
        return Settings(
            parse_error=f"{main.path}: {main.error}",
            config_version=None,
            version_max=version_max(version),
            dropin="none",
        )
    merged = _merge(node, main)
    broken = next((dropin for dropin in node.dropins if dropin.error), None)
    if broken is not None:
        merged = replace(merged, parse_error=f"{broken.path}: {broken.error}")
    if dumped is not None:
        merged = _judge_by_dump(merged, dumped)
    return _with_path(merged, node)


def _merge(node: NodeSetup, main: ConfigFile) -> Settings:
    version, one = node.version, below(node.version, 2, 0)
    header = main.version
    dropin, cause, why = "none", "", ""
    newest = max([item.version or 1 for item in node.dropins if not item.error], default=0)
    files = [main]
    if node.dropins and one is False and newest > (header or 1):
        dropin = "newer-version"
        header_for_main: int | None = newest
        cause, why = (
            "dropin-version",
            f"a drop-in has version {newest}, the main file version {header or 1}: the main file is not migrated",
        )
    else:
        header_for_main = header
    files += [item for item in node.dropins if not item.error]
    read: list[tuple[ConfigFile, Section]] = []
    unread: list[tuple[ConfigFile, Section, str | None]] = []
    for item in files:
        for section in item.sections:
            top = header_for_main if item is main else item.version
            # A header is only missing for sure when the whole file is at hand.
            state = (
                None
                if item.excerpt and item.version is None and section.form != "images"
                else section_state(top, section.form, version)
            )
            if state == READ:
                read.append((item, section))
            else:
                unread.append((item, section, state))
    registry = Registry()
    source = ""
    if one and len(files) > 1:
        replacing = [item for item in files[1:] if any(name in main.plugins for name in item.plugins)]
        last_read = read[-1] if read else None
        for item in replacing:
            for name in item.plugins:
                had = [pair for pair in read if pair[0] is main and _form_of(name) == pair[1].form]
                if had and not any(section.form == _form_of(name) for section in item.sections):
                    dropin, cause = "replaces-section", "dropin-replaced"
                    why = f"{item.path} has a table of the same plugin, which replaces the one of {main.path} whole"
                    lost = had[0][1].registry
                    return Settings(Registry(), False, True, f"{main.path}:{had[0][1].line}", why, cause, lost, main.version, version_max(version), dropin=dropin, keys_lost=("registry",), keys_lost_known=True)  # fmt: skip
        if last_read is not None:
            read = [last_read]
    for item, section in read:
        registry = _overlay(registry, section.registry)
        source = f"{item.path}:{section.line}"
    says = [entry for entry in unread if entry[1].registry.says_something]
    has_section = bool(read) or bool(says)
    section_read: bool | None = True if read and any(section.registry.says_something for _, section in read) else None
    lost_registry = None
    lost_keys: tuple[str, ...] = registry.lost
    if says and section_read is None:
        states = {state for _, _, state in says}
        item, section, state = says[0]
        lost_registry = section.registry
        source = f"{item.path}:{section.line}"
        if None in states:
            section_read = None
        else:
            section_read = False
            lost_keys = ("registry",)
            why = why or _why(header if item is main else item.version, section.form, version, state)
            cause = cause if cause == "dropin-version" and item is main else "plugin-id"
    if section_read is None and not main.excerpt and read and all(state is not None for _, _, state in unread):
        section_read = True  # it sets nothing, and stands where it is read
    return Settings(registry, section_read, has_section, source, why, cause, lost_registry, header or (None if main.excerpt else 1), version_max(version), keys_lost=lost_keys, keys_lost_known=section_read is not None or not has_section, dropin=dropin)  # fmt: skip


def _form_of(plugin: str) -> str:
    return {"io.containerd.grpc.v1.cri": "grpc", "io.containerd.cri.v1.images": "images", "cri": "cri"}.get(plugin, "")


def _why(header: int | None, form: str, version: str, state: str | None) -> str:
    place = {
        "grpc": "the id of containerd 1.x",
        "images": "the id of containerd 2.x",
        "cri": "the id of version 1 files",
        "unquoted": "an id without quotes",
    }[form]
    shown = f"version = {header}" if header is not None else "no version header"
    ends = "the daemon does not start" if state == EXITS else "it is ignored"
    return f"the registry section stands under {place} in a file with {shown}; with containerd {version} {ends}"


def _overlay(base: Registry, top: Registry) -> Registry:
    return Registry(
        config_path=top.config_path if top.config_path is not None else base.config_path,
        mirrors=(*base.mirrors, *top.mirrors), auths=(*base.auths, *top.auths), tls=(*base.tls, *top.tls), lost=(*base.lost, *top.lost),
        lost_mirrors=(*base.lost_mirrors, *top.lost_mirrors), lost_auths=(*base.lost_auths, *top.lost_auths), lost_tls=(*base.lost_tls, *top.lost_tls),
    )  # fmt: skip


def _judge_by_dump(files: Settings, dumped: Registry) -> Settings:
    """The dump shows what the release made of the files."""
    written = files.registry if files.section_read else (files.lost_registry or files.registry)
    if not written.says_something:
        return replace(files, registry=_overlay(files.registry, replace(dumped, lost=())))
    kept = (
        (bool(written.config_path) and dumped.config_path == written.config_path)
        or bool(
            written.mirrors and {mirror.host for mirror in written.mirrors} & {mirror.host for mirror in dumped.mirrors}
        )
        or bool(written.auths and {auth.key for auth in written.auths} & {auth.key for auth in dumped.auths})
        or bool(written.tls and {tls.host for tls in written.tls} & {tls.host for tls in dumped.tls})
    )
    if kept and not files.section_read:
        return replace(
            files,
            registry=written,
            section_read=True,
            why="",
            cause="",
            lost_registry=None,
            keys_lost=written.lost,
            keys_lost_known=True,
        )
    if not kept and files.section_read and (written.config_path or written.mirrors or written.auths):
        return replace(files, registry=dumped, section_read=False, why="the runtime's own dump of these files does not have the settings", cause=files.cause or "plugin-id", lost_registry=written, keys_lost=("registry",), keys_lost_known=True)  # fmt: skip
    return files


def _with_path(found: Settings, node: NodeSetup) -> Settings:
    """Fill in the default of `config_path`, and say whether certs.d is read (node.md 2.3)."""
    version = node.version
    registry = found.registry
    lost = tuple(
        dict.fromkeys((*found.keys_lost, *(key for key in node.ignored_keys if key.split(" ")[0] == "registry")))
    )
    removed = tuple(f"registry configs {tls.host} tls" for tls in registry.tls) if at_least(version, 2, 0) else ()
    lost = tuple(dict.fromkeys((*lost, *(key for key in removed if key not in lost))))
    found = replace(
        found, keys_lost=lost, keys_lost_known=found.keys_lost_known or bool(lost), version_max=version_max(version)
    )
    path = registry.config_path
    if path is None and (found.section_read is not None or found.registry.says_something or not found.has_section):
        path = ""
    if path is None:
        return found
    local = _local(node, found)
    read: bool | None
    if path and ":" not in path:
        read = True
    elif path:
        read = local if at_least(version, 2, 1) else (True if at_least(version, 1, 5) else None)
    else:
        newer = at_least(version, 2, 2)
        read = False if newer is False or registry.mirrors else local if newer else None
    return replace(found, config_path=path, local_pull=local, certs_d_read=read)


def _local(node: NodeSetup, found: Settings) -> bool | None:
    """Local pull instead of the transfer service; True for every release before 2.1."""
    newer = at_least(node.version, 2, 1)
    if newer is None:
        return None
    if not newer or node.local_pull_seen:
        return True
    files = [item for item in (node.main, node.dump, *node.dropins) if item is not None]
    return any(item.local_pull for item in files) or bool(found.registry.mirrors or found.registry.auths)

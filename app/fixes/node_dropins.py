"""Fixes of containerd's drop-ins, and of files that it does not accept (MODES 3.4; fix class N-CFG of node.md)."""

from __future__ import annotations

from app.fixes.base import Fix
from app.fixes.node_base import CannotError, Work
from app.fixes.node_containerd import (
    IDS,
    any_registry,
    move_mirrors,
    plain,
    put_config,
    registry_path,
    registry_text,
    right_form,
    sound_section,
)
from app.fixes.node_plan import node_fix
from app.fixes.node_toml import (
    append_text,
    at,
    parsed,
    set_key,
    text_of,
)
from app.parsers.containerd_config import GRPC, IMAGES, parse_config
from app.parsers.hosts_toml import mend
from app.probes.runtime_setup import MAIN
from app.pullplan.settings import READ, section_state, version_max

# --- drop-ins ---------------------------------------------------------------------------------------------------------


def _merge_dropin(work: Work) -> None:
    plain(work)
    setup = work.setup
    if work.settings.cause != "dropin-replaced" or setup.main is None:
        work.note("no drop-in replaces the registry section of the main file")
        return
    main = work.whole(setup.main.path)
    lost = any_registry(parsed(main))
    target = next(
        (
            item
            for item in reversed(setup.dropins)
            if not item.error and any(name in setup.main.plugins for name in item.plugins)
        ),
        None,
    )
    if target is None or not lost:
        raise CannotError("which drop-in replaces the section is not clear")
    plugin = IDS[right_form(target, setup.version)]
    block = text_of(main, lambda path: registry_path(path) is not None)
    if not block or any_registry(parsed(block)) != lost:
        block = registry_text(plugin, lost)
    put_config(
        work,
        target.path,
        append_text(work.whole(target.path), sound_section(block, plugin)),
        "repeat the main file's registry section in the drop-in",
    )
    rest = {key for key in at(parsed(main), ("plugins", plugin)) or {} if key != "registry"}
    if rest:
        work.note(
            f"other keys of that plugin in {setup.main.path} stay out of force as well: {', '.join(sorted(rest))}",
            "warn",
        )


def _migrate_main(work: Work) -> None:
    plain(work)
    setup, main = work.setup, work.setup.main
    newest = max([item.version or 1 for item in setup.dropins if not item.error], default=0)
    if main is None or main.error or newest <= (main.version or 1):
        work.note("the drop-ins have no newer version than the main file")
        return
    text = work.whole(main.path)
    plugins = at(parsed(text), ("plugins",)) or {}
    other = sorted(name for name in plugins if name not in (GRPC, IMAGES, "cri") or set(plugins[name]) - {"registry"})
    if other:
        work.by_hand.append(
            f"{work.node}: the main file holds more than registry settings ({', '.join(other)}), and their new places are for containerd itself to write:\n\n"
            f"sudo cp -p {main.path} {main.path}.bak\nsudo sh -c 'containerd -c {main.path}.bak config migrate > {main.path}'\nsudo containerd -c {main.path} config dump >/dev/null && sudo systemctl restart containerd"
        )
        return
    text = set_key(text, (), "version", newest)
    plugin = IDS[right_form(parse_config(text, main.path), setup.version)]
    put_config(work, main.path, sound_section(text, plugin), f"bring the file to version {newest}")


# --- a file that containerd does not accept ---------------------------------------------------------------------------


def _fix_config(work: Work) -> None:
    plain(work)
    setup, main = work.setup, work.setup.main
    if main is None:
        raise CannotError("containerd's config.toml was not read")
    path = main.path
    text = work.whole(path)
    if main.error:
        better = _mended(text)
        if better is None:
            _say_by_hand(work, f"{path} line {main.error_line}: {main.error}")
            return
        text = better
        put_config(work, path, text, f"close the quote that is missing (line {main.error_line})")
        main = parse_config(text, path)
    top = version_max(setup.version)
    if top is not None and (main.version or 1) > top:
        text = set_key(text, (), "version", top)
        text = sound_section(text, IDS[right_form(parse_config(text, path), setup.version)])
        put_config(
            work,
            path,
            text,
            f"version {main.version} → {top}, which is the newest that containerd {setup.version} reads",
        )
        foreign = [
            name for name in main.plugins if name.startswith("io.containerd.cri.v1") and top < 3 and name != IMAGES
        ]
        if foreign:
            work.note(f"tables of newer plugins stay and are ignored: {', '.join(foreign)}", "warn")
    disabled = parsed(text).get("disabled_plugins")
    off = [item for item in disabled if str(item) in ("cri", GRPC, IMAGES)] if isinstance(disabled, list) else []
    if off and isinstance(disabled, list):
        text = set_key(text, (), "disabled_plugins", [item for item in disabled if item not in off])
        put_config(work, path, text, f"take {', '.join(map(str, off))} off disabled_plugins")
    registry = any_registry(parsed(text))
    clash = bool(registry.get("config_path")) and (
        bool(registry.get("mirrors"))
        or any("tls" in table for table in (registry.get("configs") or {}).values() if isinstance(table, dict))
    )
    if clash:
        move_mirrors(work)
    wrong = [
        section
        for section in main.sections
        if section.form in ("cri", "unquoted") and section_state(main.version, section.form, setup.version) != READ
    ]
    if wrong:
        text = sound_section(text, IDS[right_form(parse_config(text, path), setup.version)])
        put_config(work, path, text, "name the plugin as this release wants it")
    if not work.edits:
        _say_by_hand(work, "what it says against the file")


def _mended(text: str) -> str | None:
    """A config file with the quotes closed that its author forgot."""
    found = mend(text)
    if found is None:
        return None
    found += "\n" if text.endswith("\n") else ""
    return found if not parse_config(found).error else None


def _say_by_hand(work: Work, what: str) -> None:
    work.by_hand.append(
        f"{work.node}: no edit can be derived from what was read ({what}).\n\nsudo journalctl -u containerd -n 30 --no-pager\nsudo containerd -c {MAIN} config dump >/dev/null   # has to end without an error\nsudo systemctl restart containerd"
    )


FIXES: tuple[Fix, ...] = (
    node_fix("fix-containerd-config", _fix_config),
    node_fix("merge-dropin", _merge_dropin),
    node_fix("migrate-main-config", _migrate_main),
)

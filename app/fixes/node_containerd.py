"""Fixes of containerd's own settings: config.toml and its drop-ins (MODES 3.4; fix class N-CFG of node.md).

Which table a release reads comes from the pull plan (`app.pullplan.settings`); nothing is guessed here. A file with
`check_runtime` is shown to the node's own `containerd config dump` before anything is restarted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from app.fixes.base import Fix, Need
from app.fixes.node_base import CannotError, Work, ask
from app.fixes.node_plan import node_fix
from app.fixes.node_toml import (
    EditError,
    Path,
    append_text,
    at,
    header,
    parsed,
    quoted,
    remove_tables,
    rename_tables,
    set_key,
)
from app.parsers.containerd_config import GRPC, IMAGES, ConfigFile
from app.parsers.versions import at_least
from app.probes.runtime_setup import main_path
from app.pullplan.containerd import find_directory
from app.pullplan.near import near_kind
from app.pullplan.repairs import DEFAULT_ROOTS
from app.pullplan.settings import READ, section_state

IDS: Final = {"grpc": GRPC, "images": IMAGES, "cri": "cri"}
_UNQUOTED: Final = ("plugins", *GRPC.split("."))


def plain(work: Work) -> None:
    """Only for a node whose containerd is set up by its own config.toml."""
    if work.rancher:
        raise CannotError(
            f"{work.rancher} writes containerd's files itself; change registries.yaml or the template (write-registries-yaml)"
        )
    if work.setup.runtime not in ("containerd", ""):
        raise CannotError(f"its runtime is {work.setup.runtime}, not containerd")


def right_form(file: ConfigFile | None, version: str) -> str:
    """The plugin id under which this release reads registry settings in a file with that header."""
    top = file.version if file is not None else 2
    order: tuple[str, ...] = ("images", "grpc", "cri") if at_least(version, 2, 0) else ("grpc", "images", "cri")
    if at_least(version, 2, 0) is None:
        order = ("grpc",)
    for form in order:
        if section_state(top, form, version) == READ:
            return form
    raise CannotError(
        f"containerd {version or 'of unknown release'} reads no registry section in a file with version = {top}; mend the header first (fix-containerd-config)"
    )


def place_of_settings(work: Work) -> tuple[str, str]:
    """(file, plugin id) where a registry setting has to stand to count: where the section in force stands, else the main file."""
    setup, version = work.setup, work.setup.version
    if setup.main is None and not setup.absent_main:
        raise CannotError("containerd's config.toml was not read")
    if setup.main is not None and setup.main.error:
        raise CannotError(f"{setup.main.path} is broken ({setup.main.error}); mend it first (fix-containerd-config)")
    files = [item for item in (setup.main, *setup.dropins) if item is not None and not item.error]
    with_section = [
        (item, section.form)
        for item in files
        for section in item.sections
        if section_state(item.version, section.form, version) == READ
    ]
    if with_section:
        item, form = with_section[-1]
        return item.path, IDS[form]
    # Up to 1.7 a drop-in with a table of the same plugin replaces the main file's table as a whole.
    for item in reversed(files):
        form = right_form(item, version)
        if item is setup.main or (IDS[form] in item.plugins and not at_least(version, 2, 0)):
            return item.path, IDS[form]
    return main_path(work.files), IDS[right_form(None, version)]


def config_text(work: Work, path: str) -> str:
    """A config file as it stands; the smallest sound one where there is none."""
    return work.text(path) or ("" if path != main_path(work.files) else "version = 2\n")


def put_config(work: Work, path: str, text: str, title: str) -> None:
    """Ask for the file and for the restart that makes it count."""
    mode = "0600" if re.search(r"(?m)^\s*password\s*=", text) else "0644"
    if work.write(path, text, title, mode=mode, check_runtime=True):
        work.restart = work.unit


def set_config_path(work: Work, root: str = "") -> str:
    """Make containerd read one certs.d folder; returns it."""
    plain(work)
    settings = work.settings
    if settings.certs_d_read is None:
        raise CannotError("whether certs.d is read is not known (config.toml or containerd's release was not read)")
    if settings.certs_d_read:
        return (settings.config_path or DEFAULT_ROOTS[0]).split(":")[0].rstrip("/")
    if settings.registry.mirrors or settings.registry.tls:
        raise CannotError(
            "mirrors or tls tables stand in config.toml, and config_path beside them keeps the CRI plugin from loading; move them first (mirrors-to-hosts-toml)"
        )
    if settings.section_read is False and settings.lost_registry is not None:
        raise CannotError(
            "registry settings stand where this release does not read them; move them first (rewrite-registry-section)"
        )
    namespace = work.namespace
    tree = next(
        (item for item in work.setup.certs if item.root in DEFAULT_ROOTS and find_directory(item, namespace)), None
    )
    root = root or (tree.root if tree else DEFAULT_ROOTS[0])
    path, plugin = place_of_settings(work)
    text = set_key(config_text(work, path), ("plugins", plugin, "registry"), "config_path", root)
    put_config(work, path, text, f"set config_path = {quoted(root)}")
    return root


def _set_path(work: Work) -> None:
    set_config_path(work)


# --- the registry section under the id and with the keys that are read ------------------------------------------------


def registry_path(path: Path) -> Path | None:
    """What stands behind `registry` in a header of a registry section, whatever id it stands under; None for another table."""
    for prefix in (
        ("plugins", GRPC, "registry"),
        ("plugins", IMAGES, "registry"),
        ("plugins", "cri", "registry"),
        (*_UNQUOTED, "registry"),
    ):
        if path[: len(prefix)] == prefix:
            return path[len(prefix) :]
    return None


def joined_words(inner: Path) -> Path:
    """A host that was split at its dots in one word: `mirrors harbor example com` → `mirrors` `harbor.example.com`."""
    if not inner or inner[0] not in ("mirrors", "configs"):
        return inner
    tail: Path = ()
    words = inner[1:]
    while len(words) > 1 and words[-1] in ("auth", "tls", "rewrite"):
        words, tail = words[:-1], (words[-1], *tail)
    return (inner[0], ".".join(words), *tail) if words else inner


def _rewrite(work: Work) -> None:
    plain(work)
    setup = work.setup
    if setup.main is None:
        raise CannotError("containerd's config.toml was not read")
    touched = False
    for item in (setup.main, *setup.dropins):
        if item.error or not any(section.registry.says_something for section in item.sections):
            continue
        plugin = IDS[right_form(item, setup.version)]
        text = work.whole(item.path)
        new = sound_section(text, plugin)
        if new != text:
            touched = True
            put_config(work, item.path, new, "write the registry section under the names that this release reads")
    if not touched:
        work.note("no registry section stands under a wrong name")


def sound_section(text: str, plugin: str) -> str:
    """The registry tables under a plugin id, hosts in one piece, logins in their own table."""

    def rename(path: Path) -> Path | None:
        inner = registry_path(path)
        if inner is None:
            return None
        inner = joined_words(inner)
        if len(inner) == 3 and inner[0] == "configs" and inner[1] in ("auths", "auth"):
            inner = ("configs", re.sub(r"^https?://", "", inner[2]).rstrip("/"), "auth")
        table = at(parsed(text), path)
        keys = {key for key, value in (table or {}).items() if not isinstance(value, dict)}
        if len(inner) == 2 and inner[0] == "configs" and keys:
            if keys <= {"username", "password", "auth", "identitytoken"}:
                inner = (*inner, "auth")
            elif keys <= {"ca_file", "insecure_skip_verify", "cert_file", "key_file"}:
                inner = (*inner, "tls")
        return ("plugins", plugin, "registry", *inner)

    new = rename_tables(text, rename)
    registry = at(parsed(new), ("plugins", plugin, "registry"))
    if not isinstance(registry, dict):
        # Written inline or with dotted keys: the settings are repeated under the right name, and what was there stays.
        lost = any_registry(parsed(text))
        return append_text(text, registry_text(plugin, lost)) if lost else text
    return new


def any_registry(data: Mapping[str, Any]) -> dict[str, Any]:
    for prefix in (("plugins", GRPC), ("plugins", IMAGES), ("plugins", "cri"), _UNQUOTED):
        found = at(data, (*prefix, "registry"))
        if isinstance(found, dict) and found:
            return found
    return {}


def registry_text(plugin: str, registry: Mapping[str, Any]) -> str:
    """Tables of a registry section as text."""
    lines: list[str] = []

    def table(path: Path, data: Mapping[str, Any]) -> None:
        own = {key: value for key, value in data.items() if not isinstance(value, dict)}
        if own or not data:
            lines.extend(("" if not lines else "\n", header(path) + "\n"))
            for key, value in own.items():
                lines.append(set_key("", (), key, value))
        for key, value in data.items():
            if isinstance(value, dict):
                table((*path, key), value)

    table(("plugins", plugin, "registry"), registry)
    return "".join(lines)


# --- mirrors and tls tables become hosts.toml files -----------------------------------------------------------------


def hosts_text(namespace: str, endpoints: Iterable[str], tls: Mapping[str, Any]) -> str:
    """hosts.toml that asks the same hosts as a `mirrors` entry did. `tls` maps an authority to its `configs.<host>.tls`."""
    server = (
        "https://registry-1.docker.io"
        if namespace == "docker.io"
        else ""
        if namespace == "_default"
        else f"https://{namespace}"
    )
    tables = []
    for endpoint in endpoints:
        url = endpoint if "://" in endpoint else f"https://{endpoint}"
        parts = urlsplit(url)
        if parts.netloc == namespace:
            server = f"{parts.scheme}://{parts.netloc}"
        path = parts.path.rstrip("/")
        lines = [header(("host", url.rstrip("/"))), '  capabilities = ["pull", "resolve"]']
        if path and path != "/v2":
            # The old format takes a path as it is written; here /v2 would be added.
            lines.append("  override_path = true")
        tables.append("\n".join([*lines, *_tls_lines(tls.get(parts.netloc), "  ")]))
    root = _tls_lines(tls.get(urlsplit(server).netloc), "") if server else []
    head = "\n".join([*([f"server = {quoted(server)}"] if server else []), *root])
    if not tables and server:
        tables = [
            "\n".join(
                [header(("host", server)), '  capabilities = ["pull", "resolve"]', *("  " + line for line in root)]
            )
        ]
    return "\n\n".join([*([head] if head else []), *tables]) + "\n"


def _tls_lines(table: Any, indent: str) -> list[str]:
    if not isinstance(table, Mapping):
        return []
    lines = []
    if table.get("ca_file"):
        lines.append(f"{indent}ca = [{quoted(str(table['ca_file']))}]")
    if table.get("cert_file") and table.get("key_file"):
        lines.append(f"{indent}client = [[{quoted(str(table['cert_file']))}, {quoted(str(table['key_file']))}]]")
    if table.get("insecure_skip_verify") is True:
        lines.append(f"{indent}skip_verify = true")
    return lines


def move_mirrors(work: Work) -> None:
    plain(work)
    setup = work.setup
    if setup.main is None or setup.main.error:
        raise CannotError("containerd's config.toml was not read, or is broken")
    files = [item for item in (setup.main, *setup.dropins) if not item.error]
    mirrors: dict[str, list[str]] = {}
    tls: dict[str, Any] = {}
    config_path = ""
    for item in files:
        registry = any_registry(parsed(work.whole(item.path)))
        config_path = str(registry.get("config_path") or config_path)
        for host, table in (registry.get("mirrors") or {}).items():
            if isinstance(table, dict) and isinstance(table.get("endpoint"), list):
                mirrors[host] = [str(endpoint) for endpoint in table["endpoint"]]
        for host, table in (registry.get("configs") or {}).items():
            if isinstance(table, dict) and isinstance(table.get("tls"), dict):
                tls[host] = table["tls"]
    if not mirrors and not tls:
        work.note("no mirrors or tls table stands in containerd's files")
        return
    root = config_path.split(":")[0].rstrip("/") or DEFAULT_ROOTS[0]
    tree = next((item for item in setup.certs if item.root == root), None)
    reached = {
        urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}").netloc
        for found in mirrors.values()
        for endpoint in found
    }
    for host in (*mirrors, *(name for name in tls if name not in reached and name not in mirrors)):
        name = "_default" if host == "*" else host
        directory = find_directory(tree, name) if tree is not None else None
        if (
            directory is not None
            and directory.name != "_default"
            and directory.file is not None
            and not directory.file.empty
        ):
            _ca_into_existing(work, directory.file.path, tls.get(host), host)
            continue
        work.write(
            f"{root}/{name}/hosts.toml", hosts_text(name, mirrors.get(host, ()), tls), f"write hosts.toml for {host}"
        )

    def dead(path: Path) -> bool:
        inner = registry_path(path) or ()
        return inner[:1] == ("mirrors",) or (inner[:1] == ("configs",) and len(inner) > 2 and inner[-1] == "tls")

    for item in files:
        text = work.whole(item.path)
        new = remove_tables(text, dead)
        if any_registry(parsed(new)).get("mirrors"):
            raise CannotError(f"the mirrors in {item.path} are not written as tables of their own; move them by hand")
        if new != text:
            put_config(work, item.path, new, "take the mirror and tls tables out")
    if not config_path:
        path, plugin = place_of_settings(work)
        put_config(
            work,
            path,
            set_key(config_text(work, path), ("plugins", plugin, "registry"), "config_path", root),
            f"set config_path = {quoted(root)}",
        )


def _ca_into_existing(work: Work, path: str, table: Any, host: str) -> None:
    """The host has a hosts.toml already: it stays, and gets the CA that only the tls table named."""
    ca = str(table.get("ca_file") or "") if isinstance(table, Mapping) else ""
    text = work.whole(path)
    if ca and ca not in text:
        for url in ((), *(("host", name) for name in (at(parsed(text), ("host",)) or {}))):
            known = at(parsed(text), (*url, "ca"))
            listed = [known] if isinstance(known, str) else list(known or ())
            text = set_key(text, url, "ca", [*listed, ca])
        work.write(path, text, f"name the CA of the tls table of {host}")
    else:
        work.note(f"{path} is there already and stays; the tables in config.toml go")


# --- restarts and logins ----------------------------------------------------------------------------------------------


def _restart(work: Work) -> None:
    setup, service = work.setup, work.files.service
    newer = setup.k3s.newer_than_process if setup.k3s is not None else setup.newer_than_process
    stamp = _bundle_time(work)
    since = service.since if service is not None else None
    if (
        newer is False
        and since is not None
        and any(_same_second(work.files.mtime(path), since) for path in _read_files(work))
    ):
        newer = None  # start times are whole seconds: a file of the same second may be the newer one
    store = None if stamp is None or since is None else stamp > since + 1.0
    reload = service.need_reload if service is not None else None
    if newer is False and not store and not reload:
        work.note("the process is newer than its files and the trust store")
        return
    work.restart = work.unit
    work.note("running containers go on; new pods wait for some seconds")
    if not (newer or store or reload):
        work.note("whether files are newer than the process is not known", "unknown")


def _read_files(work: Work) -> list[str]:
    files = [item.path for item in (work.setup.main, *work.setup.dropins) if item is not None]
    return [*files, work.setup.k3s.path] if work.setup.k3s is not None else files


def _same_second(stamp: float | None, since: float) -> bool:
    return stamp is not None and since <= stamp <= since + 1.0


def _bundle_time(work: Work) -> float | None:
    found = work.files.json("os-ca.json")
    value = found.get("mtime") if isinstance(found, dict) else None
    return float(value) if isinstance(value, int | float) else None


def set_auth(work: Work, host: str, login: Mapping[str, str]) -> None:
    """A login (its keys as config.toml has them) in containerd's own settings for one host[:port]."""
    plain(work)
    path, plugin = place_of_settings(work)
    text = config_text(work, path)
    table = ("plugins", plugin, "registry", "configs", host, "auth")
    for key in LOGIN_KEYS:
        if key not in login and at(parsed(text), (*table, key)) is not None:
            raise CannotError(f"the entry of {host} has {key} as well; take it out by hand first")
    for key, value in login.items():
        text = set_key(text, table, key, value)
    put_config(work, path, text, f"give the runtime a login for {host}")


FIXES: tuple[Fix, ...] = (
    node_fix("set-config-path", _set_path),
    node_fix("rewrite-registry-section", _rewrite),
    node_fix("mirrors-to-hosts-toml", move_mirrors),
    node_fix("restart-runtime", _restart),
)
LOGIN: Final = ask(
    Need("username", "User name of the account that the node pulls with (a robot with pull rights only)"),
    Need("password", "Its password; every pod on the node can then use it", secret=True),
)
LOGIN_KEYS: Final = ("username", "password", "auth", "identitytoken")


def login_near(work: Work, host: str) -> tuple[str, dict[str, str]]:
    """(key, login) of the one entry of config.toml or a drop-in that stands under a name close to a host; empty: none, or several."""
    found: dict[str, dict[str, str]] = {}
    for item in (work.setup.main, *work.setup.dropins):
        if item is None or item.error:
            continue
        plugins = parsed(work.whole(item.path)).get("plugins")
        for plugin in plugins if isinstance(plugins, dict) else ():
            configs = at(plugins, (plugin, "registry", "configs"))
            for key, entry in configs.items() if isinstance(configs, dict) else ():
                auth = entry.get("auth") if isinstance(entry, dict) else None
                login = (
                    {name: str(auth[name]) for name in LOGIN_KEYS if auth.get(name)} if isinstance(auth, dict) else {}
                )
                if login and near_kind(str(key), (), host):
                    found[str(key)] = login
    return next(iter(found.items())) if len(found) == 1 else ("", {})


__all__ = [
    "FIXES", "LOGIN", "LOGIN_KEYS", "EditError", "hosts_text", "login_near", "plain", "set_auth", "set_config_path"
]  # fmt: skip

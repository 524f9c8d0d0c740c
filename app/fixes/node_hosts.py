"""Fixes below certs.d: hosts.toml files (MODES 3.4; fix class N-HOSTS of node.md). They count at the next pull, without a restart."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from app.fixes.base import Fix
from app.fixes.node_base import CannotError, Work, leads_here
from app.fixes.node_containerd import hosts_text, plain, put_config, registry_path, set_config_path
from app.fixes.node_k3s import k3s_http, k3s_https
from app.fixes.node_plan import node_fix
from app.fixes.node_toml import (
    EditError,
    Path,
    append_text,
    at,
    header,
    parsed,
    quoted,
    remove_key,
    rename_tables,
    set_key,
)
from app.parsers.hosts_toml import HostsFile, HostTable, mend, parse_hosts_toml
from app.pullplan.containerd import find_directory, rejected
from app.pullplan.inputs import CertsDir, HostsDir

_CAPABILITIES: Final = ["pull", "resolve"]
_URL: Final = re.compile(r"https?://[\w.:\[\]-]+(?:/[\w./-]*)?")
_CA_PATH: Final = re.compile(r"/[\w./:@+-]+\.(?:crt|pem|cer)")


@dataclass(frozen=True, slots=True)
class Entry:
    """The certs.d entry of one registry on one node. `text` None: there is no hosts.toml."""

    root: str
    name: str
    text: str | None
    directory: HostsDir | None
    tree: CertsDir | None

    @property
    def folder(self) -> str:
        return f"{self.root}/{self.name}"

    @property
    def path(self) -> str:
        return f"{self.folder}/hosts.toml"

    @property
    def file(self) -> HostsFile:
        return parse_hosts_toml(self.text or "", self.path)


def entry_of(work: Work) -> Entry:
    """The entry in force for the image's registry, or the place where it belongs; certs.d is switched on where it is off."""
    plain(work)
    root = set_config_path(work)
    tree = next((item for item in work.setup.certs if item.root == root), None)
    directory = find_directory(tree, work.namespace) if tree is not None else None
    if directory is not None and directory.name == "_default":
        directory = None
    name = directory.name if directory is not None else work.namespace
    return Entry(root, name, work.text(f"{root}/{name}/hosts.toml"), directory, tree)


def sound(entry: Entry, version: str) -> str:
    """The text of an entry that can be edited."""
    text = entry.text or ""
    if entry.file.error:
        raise CannotError(f"{entry.path} cannot be read ({entry.file.error}); mend it first (write-hosts-toml)")
    if not entry.file.empty and rejected(entry.file, version):
        text = append_text(text, "[host]\n")
    return text


def default_text(namespace: str, ca: Iterable[str] = (), scheme: str = "https") -> str:
    """A hosts.toml for one registry: the server and the same host as a table, so that every release takes it."""
    server = "https://registry-1.docker.io" if namespace == "docker.io" else f"{scheme}://{namespace}"
    files = [] if scheme == "http" else [f"ca = [{', '.join(map(quoted, ca))}]"] if ca else []
    table = [header(("host", server)), '  capabilities = ["pull", "resolve"]', *("  " + line for line in files)]
    return "\n".join([f"server = {quoted(server)}", *files, "", *table]) + "\n"


def tables_of(file: HostsFile, namespace: str) -> list[tuple[Path, HostTable, str]]:
    """(path of the table, the table, its URL), the root level first."""
    root = file.root.url or f"https://{namespace}"
    return [
        ((), file.root, root),
        *(
            (("host", table.url), table, table.url if "://" in table.url else f"https://{table.url}")
            for table in file.hosts
        ),
    ]


def add_ca(work: Work, entry: Entry, new: list[str]) -> str:
    """hosts.toml with CA files named at the root and at each https host, beside those that are there."""
    if entry.text is None or entry.file.empty:
        return (entry.text or "") + default_text(work.namespace, new)
    text = sound(entry, work.setup.version)
    for path, table, url in tables_of(parse_hosts_toml(text), work.namespace):
        if urlsplit(url).scheme == "http":
            continue
        kept = []
        for item in table.ca:
            absolute = item if item.startswith("/") else posixpath.join(entry.folder, item)
            if work.files.absent(absolute) and absolute not in work.edits:
                work.note(
                    f"{absolute} is named as CA and is not there; it is taken out, since every pull would end at it",
                    "warn",
                )
            else:
                kept.append(item)
        wanted = [*kept, *(item for item in new if item not in kept)]
        if list(table.ca) != wanted:
            text = set_key(text, path, "ca", wanted)
    return text


# --- a sound file -----------------------------------------------------------------------------------------------------


def _write_sound(work: Work) -> None:
    entry = entry_of(work)
    if entry.text is None:
        work.write(entry.path, default_text(work.namespace, _certificates(entry)), "write hosts.toml")
        return
    text = entry.text
    if entry.file.error:
        better = _readable(text)
        if better is None:
            better = _written_anew(work, entry)
            work.note(
                f"{entry.path} cannot be mended line by line; it is written anew from the addresses and CA files in it",
                "warn",
            )
        text = better
    file = parse_hosts_toml(text, entry.path)
    if any(host.dotted for host in file.hosts):
        text = _with_headers(text, file)
        file = parse_hosts_toml(text, entry.path)
    if not file.empty and not file.has_host_tree:
        text = append_text(text, "[host]\n")
    if file.hosts or not file.root.resolves:
        text = _resolving(work, text, parse_hosts_toml(text, entry.path))
    work.write(entry.path, text, "write hosts.toml in the form that this release reads")


def _certificates(entry: Entry) -> tuple[str, ...]:
    return entry.directory.certificates if entry.directory is not None else ()


def _readable(text: str) -> str | None:
    """With quotes closed and URLs in headers quoted; None where that does not make it readable."""
    found = re.sub(r"""(?m)^(\s*\[\s*host\s*\.\s*)(https?://[^\]"'\s]+)\s*\]""", r'\1"\2"]', text)
    found = re.sub(r"""(?m)^(\s*(?:server|ca)\s*=\s*)((?:https?:/|/)[^"'\s#\[\]]+)""", r'\1"\2"', found)
    mended = mend(found)
    if mended is None:
        return None
    return mended + ("\n" if text.endswith("\n") else "")


def _written_anew(work: Work, entry: Entry) -> str:
    text = entry.text or ""
    urls = list(dict.fromkeys(url.rstrip("/") for url in _URL.findall(text)))
    paths = [
        path
        for path in dict.fromkeys(_CA_PATH.findall(text))
        if work.files.document(path) is not None and not work.files.absent(path)
    ]
    ca = paths or list(_certificates(entry))
    tls = {urlsplit(url).netloc: {"ca_file": ca[0]} for url in urls} if ca else {}
    made = hosts_text(work.namespace, urls or [f"https://{work.namespace}"], tls)
    if parse_hosts_toml(made).error:
        raise CannotError(f"{entry.path} cannot be mended")
    return made


def _with_headers(text: str, file: HostsFile) -> str:
    """Hosts written with dotted keys as tables of their own."""
    data = parsed(text)
    dotted = [host.url for host in file.hosts if host.dotted]
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        if stripped.startswith("["):
            inside = bool(re.match(r"\[\s*host\s*\]", stripped))
        if _speaks_of(stripped, dotted, inside=inside):
            continue
        kept.append(line)
    rest = "".join(kept)
    tables = []
    for url in dotted:
        lines = [header(("host", url)) + "\n"]
        lines += [
            f"  {set_key('', (), key, value)}"
            for key, value in data["host"][url].items()
            if not isinstance(value, dict)
        ]
        for key, value in data["host"][url].items():
            if isinstance(value, dict):
                lines.append(
                    f"\n  {header(('host', url, key))}\n"
                    + "".join(f"    {set_key('', (), name, item)}" for name, item in value.items())
                )
        tables.append("".join(lines))
    result = rest.rstrip("\n") + "\n\n" + "\n".join(tables)
    if parsed(result) != data:
        raise EditError("its dotted keys are laid out in a way that has to be changed by hand")
    return result


def _speaks_of(line: str, urls: list[str], *, inside: bool) -> bool:
    """Whether a line sets a key of one of these hosts by a dotted key."""
    try:
        data: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    table = data if inside else data.get("host")
    return isinstance(table, dict) and any(url in table for url in urls)


def _resolving(work: Work, text: str, file: HostsFile) -> str:
    """At least the image's own host may pull and resolve."""
    tables = tables_of(file, work.namespace)
    if any(table.resolves for _, table, _ in tables):
        return text
    own = [item for item in tables if leads_here(urlsplit(item[2]).netloc, work.namespace)] or tables
    for path, table, _ in own:
        text = set_key(text, path, "capabilities", list(dict.fromkeys([*(table.capabilities or ()), *_CAPABILITIES])))
    return text


# --- scheme -----------------------------------------------------------------------------------------------------------


def _replace_scheme(text: str, authority: str, scheme: str) -> str:
    """The entries of one host under another scheme: in headers and in `server`."""
    other = "http" if scheme == "https" else "https"
    old = re.compile(rf"^{other}://{re.escape(authority)}(?=/|$)", re.IGNORECASE)

    def rename(path: Path) -> Path | None:
        if len(path) < 2 or path[0] != "host" or not old.match(path[1]):
            return None
        return ("host", old.sub(f"{scheme}://{authority}", path[1]), *path[2:])

    text = rename_tables(text, rename)
    server = parsed(text).get("server")
    if isinstance(server, str) and old.match(server):
        text = set_key(text, (), "server", old.sub(f"{scheme}://{authority}", server))
    return text


def _http(work: Work) -> None:
    if work.rancher:
        k3s_http(work)
        return
    plain(work)
    namespace = work.namespace
    registry = work.settings.registry
    if registry.mirrors and not work.settings.certs_d_read:
        _inline_endpoint(work, namespace, f"http://{namespace}")
        return
    entry = entry_of(work)
    url = f"http://{namespace}"
    if entry.text is None or entry.file.empty:
        work.write(
            entry.path, (entry.text or "") + default_text(namespace, scheme="http"), f"allow plain HTTP to {namespace}"
        )
        return
    text = _replace_scheme(sound(entry, work.setup.version), namespace, "http")
    if parsed(text).get("server") is None:
        text = set_key(text, (), "server", url)
    if at(parsed(text), ("host", url)) is None:
        text = append_text(text, f'{header(("host", url))}\n  capabilities = ["pull", "resolve"]\n')
    for path in ((), ("host", url)):
        if path == () and parsed(text).get("server") != url:
            continue
        # TLS keys at a plain entry make newer releases try TLS first.
        for key in ("ca", "client", "skip_verify"):
            text = remove_key(text, path, key)
    work.write(entry.path, text, f"allow plain HTTP to {namespace}")


def _inline_endpoint(work: Work, namespace: str, url: str) -> None:
    """The old tables are in use: the endpoint goes there."""
    for item in (work.setup.main, *work.setup.dropins):
        if item is None or item.error:
            continue
        text = work.whole(item.path)
        for path in ((*base, "mirrors", namespace) for base in _registry_bases(text)):
            known = at(parsed(text), (*path, "endpoint"))
            other = "https" if url.startswith("http:") else "http"
            kept = [one for one in known or () if one not in (url, f"{other}://{namespace}", namespace)]
            put_config(work, item.path, set_key(text, path, "endpoint", [url, *kept]), f"ask {namespace} at {url}")
            return
    raise CannotError("no registry section that is read was found for the endpoint")


def _registry_bases(text: str) -> list[Path]:
    found: list[Path] = []
    for plugin, table in (parsed(text).get("plugins") or {}).items():
        if (
            isinstance(table, dict)
            and isinstance(table.get("registry"), dict)
            and registry_path(("plugins", plugin, "registry")) is not None
        ):
            found.append(("plugins", plugin, "registry"))
    return found


def _https(work: Work) -> None:
    if work.rancher:
        k3s_https(work)
        return
    plain(work)
    host = urlsplit(work.inputs.failure.url).netloc if work.inputs is not None else ""
    names = list(dict.fromkeys(name for name in (host, work.target.get("host") or "", work.namespace) if name))
    if work.settings.registry.mirrors and not work.settings.certs_d_read:
        _inline_endpoint(work, work.namespace, f"https://{work.namespace}")
        return
    entry = entry_of(work)
    if entry.text is None:
        work.note("there is no hosts.toml for this registry; HTTPS is the default")
        return
    text = sound(entry, work.setup.version)
    for name in names:
        bare = name.removesuffix(":80")
        for authority in dict.fromkeys((name, bare)):
            text = _replace_scheme(text, authority, "https")
    work.write(entry.path, text, "ask the registry over HTTPS")


FIXES: tuple[Fix, ...] = (
    node_fix("write-hosts-toml", _write_sound),
    node_fix("http-host-entry", _http),
    node_fix("https-host-entry", _https),
)

"""Which hosts containerd asks for a namespace, in which order and how (node.md 2.2 to 2.6)."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace

from app.parsers.containerd_config import Registry
from app.parsers.hosts_toml import HostsFile, HostTable
from app.parsers.split_url import urlsplit
from app.parsers.versions import at_least, below, numbers
from app.pullplan.inputs import CertsDir, HostsDir, NodeSetup
from app.pullplan.settings import Settings


@dataclass(frozen=True, slots=True)
class Host:
    """One host that is tried. `path` is the API root, without the repository."""

    scheme: str
    authority: str
    """host[:port] as it is written."""
    path: str = "/v2"
    role: str = "image"
    """`image`, `mirror`, `embedded`, `fallback` (the server at the end of a list)."""
    resolves: bool = True
    ca: tuple[str, ...] = ()
    """Anchor files beside the operating system's, absolute."""
    skip_verify: bool = False
    tls_keys: bool = False
    """TLS keys are set; on an http entry they make newer releases try TLS first."""
    node_login: bool = False
    rewrite: tuple[tuple[str, str], ...] = ()
    source: str = ""
    """`file:line`, or `default`."""
    override_path: bool = False

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def endpoint(self) -> str:
        """host:port with the default port spelled out."""
        return with_port(self.authority, self.scheme)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A setting that is there and does nothing."""

    what: str
    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    hosts: tuple[Host, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    error: str = ""
    """The pull ends at once with this (unreadable CA, no host resolves)."""
    directory: HostsDir | None = None
    """The certs.d directory in use."""
    known: bool = True
    """False: files that decide were not read."""


def with_port(authority: str, scheme: str = "https") -> str:
    """`harbor.example.com` → `harbor.example.com:443`; lower case."""
    host = authority.lower()
    _, colon, port = host.rpartition(":")
    if colon and port.isdigit() and not (host.count(":") > 1 and not host.startswith("[")):
        return host
    return f"{host}:{80 if scheme == 'http' else 443}"


def hostname(authority: str) -> str:
    """The name of an authority without its port."""
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.rpartition(":")[0] if authority.rpartition(":")[2].isdigit() and ":" in authority else authority


def directory_names(namespace: str) -> tuple[str, ...]:
    """Names below certs.d in the order in which containerd looks."""
    host, colon, port = namespace.rpartition(":")
    if colon and port.isdigit():
        return (f"{host}_{port}_", namespace, "_default")
    return (namespace, "_default")


def find_directory(certs: CertsDir, namespace: str) -> HostsDir | None:
    """The first directory that exists, be it empty."""
    by_name = {item.name: item for item in certs.dirs}
    return next((by_name[name] for name in directory_names(namespace) if name in by_name), None)


def roots(config_path: str) -> tuple[str, ...]:
    return tuple(part.rstrip("/") or "/" for part in config_path.split(":") if part)


def choose(node: NodeSetup, settings: Settings, namespace: str) -> Choice:
    """The hosts for images named `namespace/…`."""
    registry = settings.registry
    if settings.certs_d_read:
        path = settings.config_path or "/etc/containerd/certs.d:/etc/docker/certs.d"
        trees = {item.root: item for item in node.certs}
        known = True
        for root in roots(path):
            tree = trees.get(root)
            if tree is None:
                known = False
                continue
            directory = find_directory(tree, namespace)
            if directory is not None:
                return _from_directory(directory, tree.root, namespace, registry, node.version)
            known = known and tree.complete
        return Choice((_default(namespace, registry, node.version),), known=known)
    known = settings.certs_d_read is not None
    return replace(_from_inline(namespace, registry, settings, node), known=known)


def _default(namespace: str, registry: Registry, version: str, ca: tuple[str, ...] = ()) -> Host:
    name = "registry-1.docker.io" if namespace == "docker.io" else namespace
    scheme = local_scheme(namespace, version)
    return Host(scheme, name, ca=ca, node_login=_has_login(registry, name), source="default")


def local_scheme(namespace: str, version: str) -> str:
    """https, but for loopback names, whose rules changed with the release."""
    name = hostname(namespace).strip("[]")
    if name != "localhost" and not name.startswith("127.") and name != "::1":
        return "https"
    port = namespace.rpartition(":")[2] if namespace.rpartition(":")[2].isdigit() else ""
    newer = at_least(version, 1, 7, 8) if at_least(version, 1, 7) else at_least(version, 1, 6, 25)
    if newer is False:
        return "https" if below(version, 1, 6, 9) else "http"
    return "https" if port in ("", "443") else "http"


def _has_login(registry: Registry, authority: str) -> bool:
    return any(auth.has_login and auth.key == authority for auth in registry.auths)


def rejected(file: HostsFile, version: str) -> str:
    """Why a release throws a whole hosts.toml away; empty when it is read."""
    if file.error:
        return file.error
    if not file.empty and not file.has_host_tree and _wants_host_tree(version):
        return "the file has no [host] table, which this release rejects (`invalid `host` tree`)"
    return ""


def _wants_host_tree(version: str) -> bool:
    return numbers(version) is not None and bool(at_least(version, 1, 5)) and bool(below(version, 1, 7, 32))


def _from_directory(directory: HostsDir, root: str, namespace: str, registry: Registry, version: str) -> Choice:
    file = directory.file
    where = f"{root}/{directory.name}"
    ignored: list[Ignored] = []
    if file is None or file.empty or rejected(file, version):
        if file is not None and not file.empty:
            ignored.append(Ignored("hosts.toml", f"{file.path}:{file.error_line or 1}", rejected(file, version)))
        elif file is None and directory.others:
            ignored.append(Ignored(directory.others[0], where, "the file has to be named hosts.toml"))
        host = _default(namespace, registry, version, directory.certificates)
        return Choice(
            (replace(host, source=f"{where} (*.crt)") if directory.certificates else host,),
            tuple(ignored),
            directory=directory,
        )
    tables = []
    for table in file.hosts:
        if table.dotted and at_least(version, 2, 0):
            ignored.append(
                Ignored(
                    f"host {table.url}",
                    f"{file.path}:{table.line}",
                    'written with dotted keys; containerd 2.x takes only [host."…"] headers',
                )
            )
        else:
            tables.append(table)
    hosts = [_host(table, table.url, file.path, "", registry, namespace) for table in tables]
    server = file.root.url or _default(namespace, registry, version).url.removesuffix("/v2")
    last = _host(file.root, server, file.path, "fallback" if hosts else "image", registry, namespace)
    if not file.root.url:
        last = replace(last, source=f"{file.path} (no server: default)")
    hosts.append(last)
    for table in (file.root, *file.hosts):
        if table.login_keys:
            ignored.append(Ignored("login", f"{file.path}:{table.line}", "hosts.toml has no keys for a login"))
    error = "" if any(host.resolves for host in hosts) else "no resolve hosts"
    return Choice(tuple(hosts), tuple(ignored), error, directory)


def _host(table: HostTable, url: str, path: str, role: str, registry: Registry, namespace: str) -> Host:
    parts = urlsplit(url if "://" in url else f"https://{url}")
    base = parts.path.rstrip("/")
    api = base if table.override_path or base.endswith("/v2") else f"{base}/v2"
    if not role:
        role = role_of(parts.netloc, namespace)
    folder = posixpath.dirname(path)
    ca = tuple(item if item.startswith("/") else posixpath.join(folder, item) for item in table.ca)
    return Host(
        parts.scheme, parts.netloc, api, role, table.resolves, ca, table.skip_verify is True, table.tls_keys,
        _has_login(registry, parts.netloc), table.rewrite, f"{path}:{table.line}", table.override_path,
    )  # fmt: skip


def role_of(authority: str, namespace: str) -> str:
    """`image` for the host of the image's name, `embedded` for k3s's own registry, else `mirror`."""
    if authority in ("127.0.0.1:6443", "127.0.0.1:9345"):
        return "embedded"
    if hostname(authority).lower() == hostname(namespace).lower() or (
        namespace == "docker.io" and authority == "registry-1.docker.io"
    ):
        return "image"
    return "mirror"


def _from_inline(namespace: str, registry: Registry, settings: Settings, node: NodeSetup) -> Choice:
    """The old `mirrors` and `configs` tables; `config_path` shuts them out."""
    ignored: list[Ignored] = []
    mirrors = {mirror.host: mirror for mirror in registry.mirrors}
    if settings.config_path and registry.mirrors:
        ignored.append(
            Ignored("mirrors", settings.section_source, "config_path is set as well: the CRI plugin does not load")
        )
        mirrors = {}
    mirror = mirrors.get(namespace) or mirrors.get("*")
    hosts: list[Host] = []
    for endpoint in mirror.endpoints if mirror else ():
        parts = urlsplit(endpoint if "://" in endpoint else f"{local_scheme(endpoint, node.version)}://{endpoint}")
        path = parts.path.rstrip("/") or "/v2"
        source = f"{settings.section_source.rpartition(':')[0]}:{mirror.line}" if mirror else ""
        hosts.append(
            Host(
                parts.scheme,
                parts.netloc,
                path,
                role_of(parts.netloc, namespace),
                node_login=_has_login(registry, parts.netloc),
                source=source,
            )
        )
    if not any(host.authority == namespace for host in hosts):
        default = _default(namespace, registry, node.version)
        hosts.append(replace(default, role="fallback") if hosts else default)
    old = below(node.version, 2, 0)
    tables = {table.host: table for table in registry.tls}
    for index, host in enumerate(hosts):
        table = tables.get(host.authority)
        if table is None:
            continue
        if old:
            hosts[index] = replace(
                host, ca=(table.ca_file,) if table.ca_file else (), skip_verify=table.skip_verify, tls_keys=True
            )
        elif old is False:
            ignored.append(
                Ignored(
                    f"configs {table.host} tls",
                    f"{settings.section_source.rpartition(':')[0]}:{table.line}",
                    "removed in containerd 2.0; put the CA into hosts.toml",
                )
            )
    return Choice(tuple(hosts), tuple(ignored))

"""`hosts_toml.read`, `hosts_toml.plan`: the directory and file for the image's registry, and what they lead to."""

from __future__ import annotations

from collections.abc import Iterable

from app.model.evidence import Evidence, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.hosts_toml import HostTable
from app.parsers.split_url import urlsplit
from app.probes.base import Scene
from app.probes.runtime_config import is_containerd, namespace_of, nodes_of, whose
from app.probes.runtime_files import NodeFiles
from app.probes.runtime_inputs import failure_of, views_of
from app.probes.runtime_setup import node_setup
from app.pullplan.containerd import Choice, Host, choose, directory_names, find_directory
from app.pullplan.inputs import CertsDir, HostsDir, NodeSetup, View
from app.pullplan.near import near_directories, same_place
from app.pullplan.settings import Settings, effective

READ = (
    "hosts_toml.dir_exact", "hosts_toml.near_miss", "hosts_toml.parse_error", "hosts_toml.host_keys", "hosts_toml.skips_verify",
)  # fmt: skip
PLAN = (
    "hosts_toml.scheme", "hosts_toml.resolves", "hosts_toml.ca_error", "hosts_toml.has_ca", "hosts_toml.path_ok",
    "hosts_toml.mirrors_elsewhere", "hosts_toml.oddities",
)  # fmt: skip
_LISTS = frozenset({"hosts_toml.host_keys", "hosts_toml.oddities"})


def _none(facts: Iterable[str]) -> dict[str, Value]:
    return {fact: () if fact in _LISTS else None for fact in facts}


def _tree(node: NodeSetup, settings: Settings, namespace: str) -> CertsDir | None:
    """The tree in force, else the first that has the directory, else any."""
    if settings.certs_d_read and settings.config_path:
        return next((item for item in node.certs if item.root == settings.config_path.split(":")[0].rstrip("/")), None)
    with_it = next((item for item in node.certs if _exact(find_directory(item, namespace))), None)
    return with_it or next((item for item in node.certs if item.dirs), None) or next(iter(node.certs), None)


def _exact(directory: HostsDir | None) -> HostsDir | None:
    return directory if directory is not None and directory.name != "_default" else None


def read(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Is there a directory of exactly that name, is its file named and written right."""
    namespace = namespace_of(scene)
    if not namespace:
        return
    for name, files in nodes_of(material):
        target = Target.of(node=name, registry=namespace)
        of = whose(scene, name)
        if is_containerd(files) is False:
            yield files.evidence("hosts_toml.read", _none(READ), target=target, of=of)
            continue
        node = node_setup(files)
        settings = effective(node)
        tree = _tree(node, settings, namespace)
        if tree is None:
            refused = files.refused(
                "hosts_toml.read",
                (settings.config_path or "/etc/containerd/certs.d",),
                "hosts files stay unknown",
                target=target,
            )
            if refused is not None:
                yield refused
            continue
        directory = _exact(find_directory(tree, namespace))
        facts: dict[str, Value] = {}
        if directory is not None and directory.bare:
            # An empty folder sets nothing; what it hides stands under the name's other spelling.
            if tree.complete:
                facts["hosts_toml.dir_exact"] = _hidden(tree, directory, namespace)
        elif directory is not None or tree.complete:
            facts["hosts_toml.dir_exact"] = directory is not None
        kind = _near(tree, directory, namespace)
        if kind != "none" or tree.complete or directory is not None:
            facts["hosts_toml.near_miss"] = kind
        file = directory.file if directory is not None else None
        if directory is not None:
            facts["hosts_toml.parse_error"] = (
                f"{file.path}:{file.error_line}: {file.error}" if file is not None and file.error else ""
            )
            if file is not None and not file.error:
                facts["hosts_toml.host_keys"] = tuple(host.url for host in file.hosts)
                own = [table for table in (*file.hosts, file.root) if _leads_to(table, namespace)]
                facts["hosts_toml.skips_verify"] = bool(own) and own[0].skip_verify is True
        if facts:
            shown = file.path if file is not None else tree.root
            listing = ", ".join(item.name for item in tree.dirs) or "nothing"
            excerpt = f"{tree.root}: {listing}" + (
                f"\n{directory.text}" if directory is not None and directory.text else ""
            )
            yield files.evidence(
                "hosts_toml.read", facts, target=target, of=of, excerpt=excerpt, command=f"cat {shown}"
            )


def _leads_to(table: HostTable, namespace: str) -> bool:
    """Whether a table is about the registry itself over TLS; the root level without `server` is."""
    place = urlsplit(table.url if "://" in table.url else f"https://{table.url or namespace}")
    return place.scheme == "https" and same_place(place.netloc, place.scheme, namespace)


def _near(tree: CertsDir, directory: HostsDir | None, namespace: str) -> str:
    if directory is not None and directory.file is None and not directory.certificates:
        if _hidden(tree, directory, namespace):
            return "empty-shadow"
        if directory.text:
            return "file-name"
    if directory is None or directory.bare:
        near = near_directories(tree, namespace)
        return near[0][0] if near else "none"
    return "none"


def _hidden(tree: CertsDir, directory: HostsDir, namespace: str) -> bool:
    """Whether settings under the other spelling of this very name lie behind the directory that is found first."""
    return any(
        item.name in directory_names(namespace)
        and item is not directory
        and item.file is not None
        and item.name != "_default"
        for item in tree.dirs
    )


def plan(material: Material, scene: Scene) -> Iterable[Evidence]:
    """First host in force, its scheme, capabilities, CA and path."""
    namespace = namespace_of(scene)
    if not namespace:
        return
    failure = failure_of(scene)
    for name, files in nodes_of(material):
        target = Target.of(node=name, registry=namespace)
        of = whose(scene, name)
        if is_containerd(files) is False:
            yield files.evidence("hosts_toml.plan", _none(PLAN), target=target, of=of)
            continue
        node = node_setup(files)
        settings = effective(node)
        choice = choose(node, settings, namespace)
        facts = _facts(files, node, settings, choice, namespace, views_of(material, scene, node, failure))
        if facts:
            excerpt = (
                "\n".join(
                    f"{index}. {host.url} ({host.role}) from {host.source}"
                    for index, host in enumerate(choice.hosts, 1)
                )
                if choice.known
                else ""
            )
            yield files.evidence("hosts_toml.plan", facts, target=target, of=of, excerpt=excerpt)


def _facts(
    files: NodeFiles, node: NodeSetup, settings: Settings, choice: Choice, namespace: str, views: object
) -> dict[str, Value]:
    facts: dict[str, Value] = {}
    if choice.known and choice.hosts:
        first = choice.hosts[0]
        facts["hosts_toml.scheme"] = "http-with-tls-keys" if first.scheme == "http" and first.tls_keys else first.scheme
        facts["hosts_toml.resolves"] = any(host.resolves for host in choice.hosts)
        facts["hosts_toml.mirrors_elsewhere"] = first.role in ("mirror", "embedded")
        error = _ca_error(files, choice)
        if error is not None:
            facts["hosts_toml.ca_error"] = error
        shape = _path_ok(choice.hosts, views)
        if shape is not None:
            facts["hosts_toml.path_ok"] = shape
    tree = _tree(node, settings, namespace)
    directory = _exact(find_directory(tree, namespace)) if tree is not None else None
    if directory is not None:
        file = directory.file
        tables = (file.root, *file.hosts) if file is not None and not file.error else ()
        facts["hosts_toml.has_ca"] = bool(directory.certificates) if not tables else any(table.ca for table in tables)
        facts["hosts_toml.oddities"] = file.oddities if file is not None else ()
    elif choice.known:
        facts["hosts_toml.has_ca"] = any(host.ca for host in choice.hosts)
    return facts


def _ca_error(files: NodeFiles, choice: Choice) -> str | None:
    """What containerd would say of the first CA file that it cannot use; empty when all were seen to be good; None: unknown."""
    known = True
    for host in choice.hosts:
        for path in host.ca:
            text = files.text(path)
            if files.absent(path):
                return f'unable to read CA cert "{path}": no such file'
            if text is None:
                known = False
            elif "-----BEGIN CERTIFICATE" not in text:
                return f'unable to load CA cert "{path}"'
    return "" if known else None


def _path_ok(hosts: tuple[Host, ...], views: object) -> bool | None:
    """Whether the API root of each host has the shape that Harbor serves. Other products serve `/v2` below paths of their own."""
    seen: list[bool | None] = []
    for host in hosts:
        path = host.path
        if path in ("/v2", "") or (path.startswith("/v2/") and host.override_path and not path.endswith("/v2")):
            seen.append(bool(path))
            continue
        view = views.get(host.endpoint) if isinstance(views, dict) else None
        doubled = path.count("/v2") > 1
        seen.append(False if doubled or (isinstance(view, View) and view.harbor) else None)
    if False in seen:
        return False
    return None if None in seen else True

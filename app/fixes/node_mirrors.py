"""Fixes of certs.d entries that lead elsewhere: names, mirrors, client certificates, settings of healthy nodes (MODES 3.4)."""

from __future__ import annotations

import posixpath
from urllib.parse import urlsplit

from app.fixes.base import Fix, Need
from app.fixes.node_base import CannotError, Work, ask, given, leads_here
from app.fixes.node_containerd import plain, put_config, registry_path
from app.fixes.node_hosts import default_text, entry_of, sound, tables_of
from app.fixes.node_k3s import k3s_client_cert, k3s_mirror_path, k3s_names
from app.fixes.node_plan import node_fix
from app.fixes.node_toml import (
    Path,
    append_text,
    at,
    parsed,
    remove_key,
    rename_tables,
    set_key,
    text_of,
)
from app.parsers.hosts_toml import parse_hosts_toml
from app.probes.runtime_files import files_of
from app.probes.runtime_setup import node_setup
from app.pullplan.containerd import choose
from app.pullplan.near import near_directories, near_inline
from app.pullplan.settings import effective

# --- names ------------------------------------------------------------------------------------------------------------


def _rename(work: Work) -> None:
    if work.rancher:
        k3s_names(work)
        return
    plain(work)
    namespace = work.namespace
    registry = work.settings.registry
    if registry.mirrors and not work.settings.certs_d_read:
        _rename_inline(work)
        return
    entry = entry_of(work)
    directory, tree = entry.directory, entry.tree
    if entry.text is not None and entry.text.strip():
        work.note(f"{entry.path} stands under the image's name already")
        return
    if directory is not None and directory.text and directory.file is None:
        other = next((name for name in directory.others if name.endswith(".toml") or name in ("hosts", "host")), "")
        if not other:
            raise CannotError(f"which file in {entry.folder} was meant is not clear")
        work.write(
            entry.path, work.whole(f"{entry.folder}/{other}"), f"the settings of {other} under the name that is read"
        )
        return
    if directory is not None and tree is not None:
        behind = next(
            (
                item
                for item in tree.dirs
                if item is not directory and item.name in (namespace, f"{namespace.replace(':', '_')}_") and item.file
            ),
            None,
        )
        if behind is not None:
            work.write(
                entry.path,
                _absolute(work, f"{entry.root}/{behind.name}"),
                f"the settings of {behind.name}, which an empty folder hides",
            )
            return
    near = near_directories(tree, namespace) if tree is not None else []
    if not near:
        raise CannotError(f"no entry with a name close to {namespace} is known below {entry.root}")
    old = near[0][1]
    folder = f"{entry.root}/{old.name}"
    if old.file is not None:
        work.write(entry.path, _absolute(work, folder), f"the settings of {old.name} under the name that images use")
    else:
        work.write(
            entry.path,
            default_text(namespace, old.certificates),
            f"the CA of {old.name} under the name that images use",
        )
    work.note(f"{folder} stays for images that use that name; remove it when none does")


def _absolute(work: Work, folder: str) -> str:
    """A hosts.toml for another folder: relative file names lead back to its old one."""
    text = work.whole(f"{folder}/hosts.toml")
    file = parse_hosts_toml(text)
    if file.error:
        raise CannotError(f"{folder}/hosts.toml cannot be read ({file.error})")
    for path, table, _ in tables_of(file, work.namespace):
        wanted = [item if item.startswith("/") else posixpath.join(folder, item) for item in table.ca]
        if wanted != list(table.ca):
            text = set_key(text, path, "ca", wanted)
    return text


def _rename_inline(work: Work) -> None:
    namespace = work.namespace
    near = near_inline(work.settings.registry.mirrors, namespace)
    if near is None or any(mirror.host == namespace for mirror in work.settings.registry.mirrors):
        work.note("a mirror of exactly this name is there, or none that is close to it")
        return
    for item in (work.setup.main, *work.setup.dropins):
        if item is None or item.error:
            continue
        text = work.whole(item.path)
        block = text_of(text, lambda path: (registry_path(path) or ())[:2] == ("mirrors", near.host))
        if block:
            renamed = rename_tables(
                block, lambda path: tuple(namespace if word == near.host else word for word in path)
            )
            put_config(
                work, item.path, append_text(text, renamed), f"the mirror of {near.host} for {namespace} as well"
            )
            return
    raise CannotError(f"the table of the mirror {near.host} was not found")


# --- mirrors ----------------------------------------------------------------------------------------------------------


def mirror_url(url: str, namespace: str) -> tuple[str, bool]:
    """(URL, override_path) as Harbor wants them: `https://host/v2/<project>` for a proxy project, no path for the image's own host."""
    parts = urlsplit(url)
    words = [word for word in parts.path.split("/") if word and word != "v2"]
    if leads_here(parts.netloc, namespace) or not words:
        return f"{parts.scheme}://{parts.netloc}", False
    return f"{parts.scheme}://{parts.netloc}/v2/{'/'.join(words)}", True


def _renamed_host(text: str, old: str, new: str) -> str:
    def rename(path: Path) -> Path | None:
        return ("host", new, *path[2:]) if path[:2] == ("host", old) else None

    return rename_tables(text, rename)


def _mirror_path(work: Work) -> None:
    if work.rancher:
        k3s_mirror_path(work)
        return
    entry = entry_of(work)
    if entry.text is None:
        raise CannotError(f"there is no hosts.toml for {work.namespace}")
    text = sound(entry, work.setup.version)
    for table in parse_hosts_toml(text).hosts:
        url, override = mirror_url(table.url, work.namespace)
        if url == table.url.rstrip("/") and override == table.override_path:
            continue
        if url != table.url:
            text = _renamed_host(text, table.url, url)
        text = (
            set_key(text, ("host", url), "override_path", True)
            if override
            else remove_key(text, ("host", url), "override_path")
        )
    work.write(entry.path, text, "the mirror's path in the form that it wants")


def _server_to_mirror(work: Work) -> None:
    entry = entry_of(work)
    if entry.text is None or not entry.file.hosts:
        raise CannotError(f"no mirror is set for {work.namespace}")
    text = sound(entry, work.setup.version)
    mirror = next((table for table in parse_hosts_toml(text).hosts if table.resolves), None)
    if mirror is None:
        raise CannotError("no mirror may resolve names; then nothing could be pulled")
    text = set_key(text, (), "server", mirror.url)
    source = at(parsed(text), ("host", mirror.url)) or {}
    for key in ("ca", "client", "skip_verify", "override_path"):
        if key in source:
            text = set_key(text, (), key, source[key])
    work.write(entry.path, text, f"server = {mirror.url}, so that nothing falls back to the upstream")


# --- client certificates, healthy nodes -------------------------------------------------------------------------------


def _client_cert(work: Work) -> None:
    certificate, key = given(work.context, "client-cert"), given(work.context, "client-key")
    if "-----BEGIN CERTIFICATE" not in certificate or "PRIVATE KEY-----" not in key:
        raise CannotError("a certificate and its key are wanted, both in PEM")
    if work.rancher:
        k3s_client_cert(work, certificate, key)
        return
    entry = entry_of(work)
    names = (f"{entry.folder}/client.cert", f"{entry.folder}/client.key")
    work.write(names[0], _ended(certificate), "the client certificate")
    work.write(names[1], _ended(key), "its key", mode="0600")
    if entry.text is None or entry.file.empty:
        if entry.directory is not None and entry.directory.certificates:
            return
        text = (entry.text or "") + default_text(work.namespace)
    else:
        text = sound(entry, work.setup.version)
    for path, _, url in tables_of(parse_hosts_toml(text), work.namespace):
        if urlsplit(url).scheme == "https" and leads_here(urlsplit(url).netloc, work.namespace):
            text = set_key(text, path, "client", [list(names)])
    work.write(entry.path, text, "name certificate and key")


def _ended(pem: str) -> str:
    return pem.strip() + "\n"


def _copy_healthy(work: Work) -> None:
    incident = work.context.case.incident
    material = work.context.material
    for other in incident.healthy_nodes:
        if other == work.node or other not in material.nodes():
            continue
        files = files_of(material, other)
        setup = node_setup(files)
        healthy = Work(work.context, other, work.target)
        if work.rancher or files.rancher:
            if work.rancher != files.rancher:
                continue
            path = f"/etc/rancher/{work.rancher}/registries.yaml"
            if work.text(path) is not None:
                raise CannotError(f"{path} is there already and differs; compare it with the one of {other} by hand")
            if work.write(path, healthy.whole(path), f"registries.yaml of {other}", mode="0600"):
                work.restart = work.unit
            return
        theirs = choose(setup, effective(setup), work.namespace)
        if theirs.directory is None:
            continue
        root = next(item.root for item in setup.certs if theirs.directory in item.dirs)
        source = f"{root}/{theirs.directory.name}"
        entry = entry_of(work)
        for path in sorted(files.below(source)):
            if path.endswith(".key"):
                raise CannotError(f"the entry of {other} has a private key, which is not copied; use client-cert-entry")
            text = healthy.whole(path).replace(f"{source}/", f"{entry.folder}/")
            work.write(f"{entry.folder}/{path.removeprefix(source + '/')}", text, f"as on {other}")
        file = theirs.directory.file
        for ca in [item for table in ((file.root, *file.hosts) if file is not None else ()) for item in table.ca]:
            if ca.startswith("/") and not ca.startswith(f"{source}/"):
                work.write(ca, healthy.whole(ca), f"the CA file, as on {other}")
        return
    raise CannotError("no healthy node is known whose settings could be copied")


FIXES: tuple[Fix, ...] = (
    node_fix("rename-registry-key", _rename),
    node_fix("fix-mirror-path", _mirror_path),
    node_fix("server-to-mirror", _server_to_mirror),
    node_fix(
        "client-cert-entry",
        _client_cert,
        ask(
            Need("client-cert", "The client certificate, in PEM (with its chain)"),
            Need("client-key", "Its private key, in PEM; it is written with mode 0600", secret=True),
        ),
    ),
    node_fix("copy-config-from-healthy", _copy_healthy),
)

"""Settings that were meant for an image's host and stand under another name (MODES: `hosts_toml.near_miss`, `k3s.near_key`)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.parsers.containerd_config import Mirror
from app.parsers.k3s_registries import K3sConfig, K3sRegistries
from app.parsers.split_url import urlsplit
from app.pullplan.containerd import directory_names, hostname
from app.pullplan.inputs import CertsDir, HostsDir


def _clean(name: str) -> tuple[str, str]:
    """(scheme in the name, host[:port]) of a directory or key: `https:/h`, `https://h:443/`, `h_5000_`."""
    scheme, rest = "", name
    for prefix in ("https:", "http:"):
        if rest.startswith(prefix):
            scheme, rest = prefix[:-1], rest[len(prefix) :]
    rest = rest.strip("/").partition("/")[0]
    if rest.endswith("_") and rest[:-1].rpartition("_")[2].isdigit():
        host, _, port = rest[:-1].rpartition("_")
        rest = f"{host}:{port}"
    return scheme, rest


def same_place(authority: str, scheme: str, namespace: str) -> bool:
    """Whether a URL's authority is where images of the namespace live, default ports taken into account."""
    mine, theirs = hostname(authority).lower(), hostname(namespace).lower()
    if mine != theirs:
        return False
    port = _port(authority) or ("80" if scheme == "http" else "443")
    wanted = _port(namespace)
    # A name without a port is reached on 443; an entry for plain HTTP on 80 may serve it as well.
    return port == wanted if wanted else port in ("443", "80")


def _port(authority: str) -> str:
    tail = authority.rpartition(":")[2]
    return tail if ":" in authority and tail.isdigit() else ""


def near_kind(name: str, urls: Iterable[str], namespace: str) -> str:
    """`port`, `scheme`, `slash`, `alias` for a name whose entry leads to the image's host; empty: another registry's entry.

    Settings for a second registry on the same host are not misplaced: where an entry's URLs stay on that host, they have to
    lead to the image's port. An entry that leads elsewhere is a mirror, and misses by its name alone.
    """
    if name in directory_names(namespace):
        return ""
    places = [urlsplit(url if "://" in url else f"https://{url}") for url in urls]
    leads = any(same_place(place.netloc, place.scheme, namespace) for place in places)
    scheme, bare = _clean(name)
    if bare.lower() == namespace.lower():
        if scheme:
            return "scheme"
        return "slash" if name.lower() != namespace.lower() else "alias"
    if hostname(bare).lower() == hostname(namespace).lower():
        stays = any(hostname(place.netloc).lower() == hostname(namespace).lower() for place in places)
        default = not _port(bare) or same_place(bare, scheme, namespace)
        return ("scheme" if scheme else "port") if leads or (default and not stays) else ""
    return "alias" if leads and name not in ("_default", "*") else ""


_RANK = {"port": 0, "scheme": 1, "slash": 2, "alias": 3}


def near_directories(tree: CertsDir, namespace: str) -> list[tuple[str, HostsDir]]:
    """(kind, directory), nearest first."""
    found = []
    for item in tree.dirs:
        file = item.file
        urls = (
            []
            if file is None or file.error
            else [host.url for host in file.hosts] + ([file.root.url] if file.root.url else [])
        )
        kind = near_kind(item.name, urls, namespace)
        if kind and (file is not None or item.certificates):
            found.append((kind, item))
    return sorted(found, key=lambda pair: _RANK[pair[0]])


def near_inline(mirrors: Iterable[Mirror], namespace: str) -> Mirror | None:
    """A mirror whose key is close to the image's host."""
    found = [(near_kind(mirror.host, mirror.endpoints, namespace), mirror) for mirror in mirrors]
    good = sorted((pair for pair in found if pair[0]), key=lambda pair: _RANK[pair[0]])
    return good[0][1] if good else None


def near_mirror_key(registries: K3sRegistries, namespace: str) -> str:
    """A `mirrors` key close to the image's host; empty: none."""
    found = [(near_kind(mirror.key, mirror.endpoints, namespace), mirror.key) for mirror in registries.mirrors]
    good = sorted((pair for pair in found if pair[0]), key=lambda pair: _RANK[pair[0]])
    return good[0][1] if good else ""


def near_config_key(registries: K3sRegistries, authorities: Iterable[str], failing: str = "") -> tuple[str, str]:
    """(key, authority that it was meant for) of a `configs` key close to an endpoint's host, with a login or TLS keys that
    the entry of that host lacks; empty texts: none. `failing` is the host[:port] that refused, where that is known.

    A key of the mirror's name is one: always where it can be no registry of its own, else where the mirror's endpoint refused.
    """
    authorities = tuple(authorities)
    for authority in authorities:
        exact = next((config for config in registries.configs if config.key in (authority, "*")), None)
        for config in registries.configs:
            if config.key in (authority, "*") or not _brings(config, exact):
                continue
            scheme, bare = _clean(config.key)
            ports = {_port(bare), _port(authority)}
            same_name = hostname(bare).lower() == hostname(authority).lower()
            if (bare.lower() == authority.lower() and scheme) or (
                same_name and ("" in ports or ports <= {"80", "443"} or bare != config.key)
            ):
                return config.key, authority
            own = config.key in authorities or (config.key == "docker.io" and "registry-1.docker.io" in authorities)
            if _names_its_mirror(registries, config.key, authority) and (
                (own and authority == failing) or not re.search(r"[.:]|^localhost$", config.key)
            ):
                return config.key, authority
    return "", ""


def _names_its_mirror(registries: K3sRegistries, key: str, authority: str) -> bool:
    """Whether a `configs` key is that of the mirror whose endpoint the authority is, and not the endpoint's own."""
    return any(
        mirror.key == key and any(_authority(url) == authority for url in mirror.endpoints)
        for mirror in registries.mirrors
    )


def _authority(url: str) -> str:
    return urlsplit(url if "://" in url else f"https://{url}").netloc


def _brings(config: K3sConfig, exact: K3sConfig | None) -> bool:
    if exact is None:
        return config.has_login or config.tls
    return (config.has_login and not exact.has_login) or (config.tls and not exact.tls)

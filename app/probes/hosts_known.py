"""Which hosts of the material stand for a registry: mirrors by node, names that configs and secrets hold."""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml

from app.model.material import Material
from app.parsers.dockerconfig import DockerConfig, host_of_url, normalise_key, parse_dockerconfig
from app.parsers.image_ref import HUB, bare_host, hub_name, parse_image, port_of, same_host
from app.parsers.kube_objects import objects_of
from app.probes.pods import items_of, parse_json


def mirrors_for(material: Material, node: str, host: str) -> tuple[str, ...]:
    """Hosts that a node's settings put before `host` for its images, whether or not they are in force."""
    found: dict[str, None] = {}
    prefix = f"nodes/{node}/"
    names = {host, f"{bare_host(host)}_{port_of(host)}_" if port_of(host) else host, "_default"}
    for document in material.glob(f"{prefix}*"):
        path = document.path
        if path.endswith("/hosts.toml") and path.rsplit("/", 2)[-2] in names:
            table = _toml(document.text)
            found.update((hub_name(host_of_url(url)), None) for url in _tables(table.get("host")))
            server = table.get("server")
            if isinstance(server, str) and server:
                found[hub_name(host_of_url(server))] = None
        elif path.endswith("/registries.yaml"):
            mirrors = _dict(_dict(_yaml(document.text)).get("mirrors"))
            for key in (host, "*"):
                endpoints = _dict(mirrors.get(key)).get("endpoint")
                found.update(
                    (hub_name(host_of_url(str(url))), None) for url in endpoints or () if isinstance(endpoints, list)
                )
        elif path.endswith(("/containerd/config.toml", "containerd-config-dump.toml")) or "/containerd/conf" in path:
            for mirrors in _walk(_toml(document.text), "mirrors"):
                endpoints = _dict(mirrors.get(host)).get("endpoint")
                found.update(
                    (hub_name(host_of_url(str(url))), None) for url in endpoints or () if isinstance(endpoints, list)
                )
        elif path.endswith("/daemon.json") and host == "docker.io":
            urls = _dict(parse_json(document.text)).get("registry-mirrors")
            found.update((hub_name(host_of_url(str(url))), None) for url in urls or () if isinstance(urls, list))
        elif "/registries.conf" in path:
            for registry in _toml(document.text).get("registry") or ():
                if isinstance(registry, dict) and host in (registry.get("prefix"), registry.get("location")):
                    places = [item.get("location") for item in registry.get("mirror") or () if isinstance(item, dict)]
                    found.update((hub_name(str(place).partition("/")[0]), None) for place in places)
    return tuple(name for name in found if name and not same_host(name, host))


def tried_hosts(material: Material, node: str) -> tuple[str, ...]:
    """Hosts that the runtime's log says were asked, in order."""
    text = material.text(f"nodes/{node}/containerd.log") or ""
    found = re.findall(r'msg="(?:trying next host|fetch failed)[^\n]*?\bhost="?([\w.:-]+)"?', text)
    return tuple(dict.fromkeys(hub_name(host) for host in found))


def proxy_projects(material: Material) -> frozenset[str]:
    """Names of Harbor projects that have an upstream; `*/name` for a repository below one whose project no line names."""
    items, _ = items_of(material, "harbor/projects.json", "harbor/project.json")
    found = {
        str(item.get("name")) for item in items if isinstance(item.get("registry_id"), int) and item["registry_id"] > 0
    }
    for line in (material.text("harbor/core.log") or "").splitlines():
        if "fallback to local" not in line:
            continue
        asked = re.search(r"request uri: /v2/([^/\s]+)/", line)
        if asked:
            found.add(asked.group(1))
        else:
            found.update(f"*/{name}" for name in re.findall(r'"Name": ?"([^"]+)"', line))
    return frozenset(found)


def is_proxied(image: str, proxied: frozenset[str]) -> bool:
    """Whether an image lies in a proxy-cache project of Harbor."""
    reference = parse_image(image)
    if reference.normalised_host == HUB or not reference.path:
        return False
    below = reference.path.partition("/")[2]
    return reference.project in proxied or any(
        f"*/{name}" in proxied for name in (below, below.removeprefix("library/")) if name
    )


def pull_secrets(material: Material) -> Iterator[tuple[str, str, DockerConfig | None]]:
    """(namespace, name, document) of each Secret; None where it holds no login document that can be read."""
    for _, _, item in objects_of(material).all("Secret"):
        meta = _dict(item.get("metadata"))
        kind = str(item.get("type") or "")
        data, plain = _dict(item.get("data")), _dict(item.get("stringData"))
        document: DockerConfig | None = None
        for key in (".dockerconfigjson", ".dockercfg"):
            if isinstance(plain.get(key), str):
                document = parse_dockerconfig(plain[key], kind)
            elif isinstance(data.get(key), str):
                try:
                    document = parse_dockerconfig(base64.b64decode(data[key], validate=False), kind)
                except (ValueError, binascii.Error):
                    document = None
        yield str(meta.get("namespace") or ""), str(meta.get("name") or ""), document


def registry_names(material: Material) -> frozenset[str]:
    """host[:port] of every registry that secrets, node settings and Harbor itself name."""
    found: set[str] = set()
    for _, _, document in pull_secrets(material):
        if document is not None:
            found.update(normalise_key(key).partition("/")[0] for key in document.server_keys)
    for item in material.glob("*"):
        path, text = item.path, item.text
        if path.endswith("/hosts.toml"):
            found.add(re.sub(r"_(\d+)_$", r":\1", path.rsplit("/", 2)[-2]))
            found.update(host_of_url(url) for url in _tables(_toml(text).get("host")))
        elif path.endswith("/registries.yaml"):
            content = _dict(_yaml(text))
            found.update(str(key) for part in ("mirrors", "configs") for key in _dict(content.get(part)))
        elif path.endswith("/daemon.json"):
            listed = _dict(parse_json(text)).get("insecure-registries")
            found.update(host_of_url(str(name)) for name in listed or () if isinstance(listed, list))
        elif path.endswith("config.json") and ".docker" in path:
            found.update(normalise_key(key).partition("/")[0] for key in parse_dockerconfig(text).server_keys)
    found.update(harbor_names(material))
    return frozenset(hub_name(name) for name in found if name and name not in ("_default", "*"))


def harbor_names(material: Material) -> tuple[str, ...]:
    """host[:port] that Harbor's own settings give as its address."""
    found: dict[str, None] = {}
    system = _dict(parse_json(material.text("harbor/systeminfo.json") or ""))
    for key in ("external_url", "registry_url"):
        if isinstance(system.get(key), str):
            found[host_of_url(system[key])] = None
    patterns = {
        "harbor/harbor.cfg": r"^\s*hostname\s*=\s*(\S+)",
        "harbor/harbor.yml": r"^\s*(?:hostname|external_url):\s*(\S+)",
        "harbor/values.yaml": r"^\s*externalURL:\s*(\S+)",
    }
    for path, pattern in patterns.items():
        for value in re.findall(pattern, material.text(path) or "", re.M):
            found[host_of_url(value.strip("'\""))] = None
    return tuple(name for name in found if name)


def robot_prefix(material: Material) -> str | None:
    """What Harbor puts before robot names; None where its settings were not read."""
    settings = _dict(parse_json(material.text("harbor/configurations.json") or ""))
    value = settings.get("robot_name_prefix")
    value = value.get("value") if isinstance(value, dict) else value
    if isinstance(value, str) and value:
        return value
    named = _dict(parse_json(material.text("harbor/systeminfo.json") or "")).get("robot_name_prefix")
    return named if isinstance(named, str) and named else None


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _tables(value: Any) -> list[str]:
    return [str(key) for key in value] if isinstance(value, dict) else []


def _walk(value: Any, key: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        for name, member in value.items():
            if name == key and isinstance(member, dict):
                yield member
            yield from _walk(member, key)

"""`proxy.read`: the proxy of the runtime's process, who is exempt, and proxies set where they do not count (node.md 5.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.model.evidence import Evidence, Value
from app.model.material import Material
from app.model.target import INCIDENT, Target
from app.parsers.proxy_env import ProxySettings, parse_environ, parse_unit, settings
from app.parsers.redact import redact
from app.parsers.split_url import urlsplit
from app.ports import HttpRequest
from app.probes.base import Fetch, Scene, Want
from app.probes.registry_scene import registry_of
from app.probes.registry_wants import FAILING, api_host
from app.probes.runtime_config import namespace_of, nodes_of, whose
from app.probes.runtime_files import NodeFiles, files_of

FACTS = ("proxy.in_runtime", "proxy.exempt", "proxy.elsewhere", "proxy.answer", "proxy.required")
UNITS = ("containerd", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "crio", "docker")


@dataclass(frozen=True, slots=True)
class Found:
    """`known` None: the process's environment was not seen."""

    proxy: ProxySettings | None
    source: str = ""
    loaded: bool | None = True


def read(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Facts of each node, and `proxy.exempt` for each host that a pull talks to."""
    if not material.nodes():
        yield from _brought(material)
    for name, files in nodes_of(material):
        found = runtime_proxy(files, scene)
        of = whose(scene, name)
        facts: dict[str, Value] = {}
        if found.proxy is not None:
            facts["proxy.in_runtime"] = redact(found.proxy.https or found.proxy.http)
        elsewhere = _elsewhere(files, material, found)
        if elsewhere is not None:
            facts["proxy.elsewhere"] = elsewhere
        answer = _answer(material, scene, name)
        if answer:
            facts["proxy.answer"] = answer
        required = _required(material, scene, name)
        if required is not None:
            facts["proxy.required"] = required
        if facts:
            excerpt = (
                f"{found.source}: HTTPS_PROXY={found.proxy.https} HTTP_PROXY={found.proxy.http} NO_PROXY={found.proxy.no_proxy}"
                if found.proxy
                else ""
            )
            yield files.evidence(
                "proxy.read",
                facts,
                of=of,
                excerpt=excerpt,
                taken_at=files.taken(found.source),
                command="tr '\\0' '\\n' </proc/$(pidof containerd)/environ | grep -i proxy",
            )
        elif (
            refused := files.refused(
                "proxy.read",
                [f"environ-{unit}.txt" for unit in UNITS],
                "whether pulls go through a proxy stays unknown",
            )
        ) is not None:
            yield refused
        if found.proxy is not None:
            for host, url in _hosts(material, scene).items():
                parts = {"node": name, "registry": namespace_of(scene) or None, "host": host}
                exempt = not found.proxy.proxy_for(url)
                yield files.evidence(
                    "proxy.read",
                    {"proxy.exempt": exempt},
                    target=Target.of(**parts),
                    of=of,
                    excerpt=f"NO_PROXY={found.proxy.no_proxy}",
                    taken_at=files.taken(found.source),
                )


def _brought(material: Material) -> Iterable[Evidence]:
    """Environments that the operator brought along without saying of which node."""
    facts: dict[str, Value] = {}
    shown = _shown_environment(material)
    if shown is not None:
        found = settings(shown)
        facts["proxy.in_runtime"] = redact(found.https or found.http)
    if not facts.get("proxy.in_runtime") and _shell_proxy(material):
        facts["proxy.elsewhere"] = "shell"
    if facts:
        yield Evidence("proxy.read", INCIDENT, "operator", facts=facts, excerpt="env/")


def _shell_proxy(material: Material) -> bool:
    """A login shell that names a proxy."""
    return any(
        re.search(r"shell|profile|bashrc|export", document.path.rpartition("/")[2])
        and _names_proxy(parse_environ(document.text))
        for document in material.glob("env/*")
    )


def runtime_proxy(files: NodeFiles, scene: Scene) -> Found:
    """The process's own environment first; then unit files, which reach it unless they are newer or not loaded."""
    prefix = "CONTAINERD_" if files.rancher else ""
    for unit in ("containerd", *UNITS[1:]):
        text = files.text(f"environ-{unit}.txt")
        if text is not None:
            return Found(settings(parse_environ(text), prefix), f"environ-{unit}.txt")
    shown = _shown_environment(files.material)
    if shown is not None and len(files.material.nodes()) <= 1:
        return Found(settings(shown), "systemctl show containerd -p Environment")
    merged: dict[str, str] = {}
    sources = []
    loaded: bool | None = True
    for path, text in _unit_files(files):
        environ = (
            parse_environ(text)
            if path.endswith((".env", "/k3s", "/k3s-agent", "/rke2-server", "/rke2-agent"))
            else parse_unit(text)
        )
        if any("proxy" in name.lower() for name in environ):
            merged |= environ
            sources.append(path)
            loaded = loaded and _loaded(files, path)
    if sources:
        # A text that tells of a proxy shows that the process has one.
        told = any("proxyconnect" in text or "Proxy Authentication" in text for text in scene.incident.texts)
        if loaded is False and not told:
            return Found(ProxySettings(), ", ".join(sources), False)
        return Found(settings(merged, prefix), ", ".join(sources))
    return Found(None)


def _unit_files(files: NodeFiles) -> Iterable[tuple[str, str]]:
    for unit in UNITS if not files.rancher else UNITS[1:5]:
        for path in (
            f"/etc/systemd/system/{unit}.service",
            f"/lib/systemd/system/{unit}.service",
            f"/etc/systemd/system/{unit}.service.env",
            f"/etc/default/{unit}",
            f"/etc/sysconfig/{unit}",
        ):
            text = files.text(path)
            if text is not None:
                yield path, text
        yield from sorted(
            (path, text)
            for path, text in files.below(f"/etc/systemd/system/{unit}.service.d").items()
            if path.endswith(".conf")
        )
    if len(files.material.nodes()) <= 1:
        for document in files.material.glob("env/*.conf"):
            if "[Service]" in document.text and not re.search(r"kubelet|docker", document.path):
                yield document.path, document.text


def _loaded(files: NodeFiles, path: str) -> bool | None:
    """False for a file that is newer than the process, or that systemd says it has not read."""
    if "NeedDaemonReload=yes" in (files.text("unit.txt") or "") or (
        files.service is not None and files.service.need_reload
    ):
        return False
    service, stamp = files.service, files.mtime(path)
    if service is None or service.since is None or stamp is None:
        return True
    return stamp <= service.since + 1.0


def _shown_environment(material: Material) -> Mapping[str, str] | None:
    for document in material.glob("env/*"):
        if (
            re.search(r"containerd|k3s|rke2", document.path)
            and re.search(r"(?m)^Environment=", document.text)
            and "[Service]" not in document.text
        ):
            return parse_environ(document.text)
    return None


def _elsewhere(files: NodeFiles, material: Material, found: Found) -> str | None:
    """A proxy that is set where it does not reach the runtime; empty where every usual place was looked at."""
    if found.proxy is not None and found.proxy.any:
        return None
    if found.loaded is False:
        return "unit-not-reloaded"
    if _names_proxy(parse_environ(files.text("/etc/environment") or "")):
        return "etc-environment"
    if _shell_proxy(material):
        return "shell"
    for path, text in files.below("/etc/profile.d").items():
        if path.endswith(".sh") and _names_proxy(parse_environ(text)):
            return "shell"
    for path, text in files.below("/etc/systemd/system/kubelet.service.d").items():
        if path.endswith(".conf") and _names_proxy(parse_unit(text)):
            return "kubelet"
    if _names_proxy(parse_environ(files.text("environ-kubelet.txt") or "")):
        return "kubelet"
    looked = (files.text("/etc/environment") is not None or files.absent("/etc/environment")) and files.systematic
    return "" if looked and found.proxy is not None else None


def wants_answer(material: Material, scene: Scene) -> Iterable[Want]:
    """The registry asked through the proxy that a failing node's runtime has, or that is set elsewhere on it.

    A proxy with a login in its address is left alone: a credential is used only with consent.
    """
    registry = registry_of(material, scene)
    if registry.place is None or scene.vantage == "bundle":
        return
    url = f"https://{api_host(registry.place)}/v2/"
    for node in scene.incident.nodes[:FAILING]:
        proxy = _known_proxy(files_of(material, node), scene, url)
        asked = any(seen.node == node for seen in registry.by_proxy)
        if proxy and "@" not in proxy and not asked:
            yield Fetch(HttpRequest(url, vantage=f"node/{node}", purpose="proxy", proxy=proxy))


def _known_proxy(files: NodeFiles, scene: Scene, url: str) -> str:
    """The proxy for a URL by the runtime's settings; where it has none, by those that do not reach it."""
    found = runtime_proxy(files, scene).proxy
    if found is None or found.any:
        return found.proxy_for(url) if found is not None else ""
    kubelet = files.below("/etc/systemd/system/kubelet.service.d").items()
    for environ in (
        parse_environ(files.text("/etc/environment") or ""),
        *(parse_unit(text) for path, text in kubelet if path.endswith(".conf")),
        parse_environ(files.text("environ-kubelet.txt") or ""),
    ):
        if proxy := settings(environ).proxy_for(url):
            return proxy
    return ""


def _names_proxy(environ: Mapping[str, str]) -> bool:
    return any(name.lower() in ("http_proxy", "https_proxy") and value for name, value in environ.items())


def _answer(material: Material, scene: Scene, node: str) -> str:
    registry = registry_of(material, scene)
    for seen in (*registry.by_proxy, *registry.seen):
        if seen.node == node and seen.exchange.proxy_answer:
            return seen.exchange.proxy_answer
    single = len(scene.incident.nodes) <= 1 and len(material.nodes()) <= 1
    for text in scene.incident.texts if single else ():
        if "proxyconnect" in text:
            return "unreachable"
        if "Proxy Authentication Required" in text:
            return "407"
    return ""


def _required(material: Material, scene: Scene, node: str) -> bool | None:
    """True where direct connections die and the same host answers through a proxy; false where a direct one opens."""
    direct: set[str] = set()
    tunnelled = False
    registry = registry_of(material, scene)
    for seen in (*registry.by_proxy, *registry.seen):
        if seen.node != node:
            continue
        if seen.exchange.proxy:
            tunnelled = tunnelled or seen.exchange.proxy_answer == "tunnel"
        elif seen.exchange.tcp:
            direct.add(seen.exchange.tcp)
    if "open" in direct:
        return False
    return True if direct & {"timeout", "unreachable", "refused"} and tunnelled else None


def _hosts(material: Material, scene: Scene) -> dict[str, str]:
    """Host to a URL of it: the registry, its realm, its storage."""
    found: dict[str, str] = {}
    namespace = namespace_of(scene)
    registry = registry_of(material, scene)
    if namespace:
        plain = any(
            seen.exchange.url.startswith(f"http://{namespace}/") and seen.exchange.status for seen in registry.seen
        )
        name = "registry-1.docker.io" if namespace == "docker.io" else namespace
        found[namespace] = f"{'http' if plain else 'https'}://{name}"
    challenge = registry.challenge
    if challenge is not None and challenge.realm:
        found.setdefault(urlsplit(challenge.realm).netloc, challenge.realm)
    for place in registry.storage:
        found.setdefault(str(place), f"{place.scheme or 'https'}://{place}")
    return found

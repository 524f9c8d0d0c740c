"""Probes of the node around the runtime: kubelet logins, proxies, names, disk, content, and results of tools."""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.model.evidence import Evidence, Of, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.df import least_free, parse_df
from app.parsers.journal import attempts
from app.parsers.redact import redact
from app.parsers.resolv import cluster_internal, getent_addresses, hosts_addresses, is_address
from app.parsers.split_url import urlsplit
from app.ports import Command, File, Journal, Tree
from app.probes import host_kubelet, host_proxy
from app.probes.base import NodeItem, Probe, Scene, Want
from app.probes.registry_scene import registry_of
from app.probes.runtime import asked_nodes
from app.probes.runtime_attempt import pick
from app.probes.runtime_config import namespace_of, nodes_of, whose
from app.probes.runtime_files import NodeFiles, files_of
from app.pullplan.containerd import hostname

DNS = ("dns.answer", "dns.addresses", "dns.cluster_name")
_BLOCK = re.compile(r"^\s*(?:\S*[$#] )?getent (?:ahosts\w*|hosts) (\S+)\s*$")
_ANSWERS = (
    (re.compile(r"lookup (\S+?)(?: on \S+)?: no such host"), "nxdomain"),
    (re.compile(r"lookup (\S+?)(?: on \S+)?: server misbehaving"), "servfail"),
    (re.compile(r"lookup (\S+?)(?: on \S+)?: .*(?:i/o timeout|connection refused|deadline exceeded)"), "timeout"),
)
_CRICTL = re.compile(r"crictl (?:\S+ )*?pull (?P<rest>.*)")
_LOOKED_UP = ("getent.txt", "probe.txt")
ROOTS = {"k3s": "/var/lib/rancher/k3s/agent/containerd", "rke2": "/var/lib/rancher/rke2/agent/containerd"}


def read_dns(material: Material, scene: Scene) -> Iterable[Evidence]:
    """What names resolve to at the node: its own log, the failing text, lookups; and from a second vantage."""
    registry = registry_of(material, scene)
    namespace = namespace_of(scene)
    wanted = hostname(namespace) if namespace and namespace != "docker.io" else ""
    for name, files in nodes_of(material):
        answers: dict[str, tuple[str, tuple[str, ...], str]] = {}
        asked: dict[str, float | None] = {}
        for seen in registry.seen:
            host = urlsplit(seen.exchange.url).hostname or ""
            if seen.node == name and host and seen.exchange.dns and not seen.exchange.proxy:
                answers[host] = (seen.exchange.dns, seen.exchange.addresses, seen.source)
                asked[host] = seen.exchange.taken_at
        answers |= _lookups(files, wanted)
        answers |= _told(files, material, scene, answers)
        for host, (answer, addresses, excerpt) in answers.items():
            facts: dict[str, Value] = {"dns.answer": answer, "dns.cluster_name": cluster_internal(host)}
            if addresses:
                facts["dns.addresses"] = addresses
            yield files.evidence(
                "dns.read",
                facts,
                target=_target(name, host, namespace),
                of=whose(scene, name),
                excerpt=excerpt,
                command=f"getent ahosts {host}",
                taken_at=asked.get(host, files.taken(*_LOOKED_UP)),
            )
    if wanted:
        facts = {"dns.cluster_name": cluster_internal(wanted)}
        yield Evidence("dns.read", Target.of(registry=namespace, host=namespace), facts=facts)
    for seen in registry.seen:
        host = urlsplit(seen.exchange.url).hostname or ""
        if not seen.node and host and seen.exchange.dns:
            facts = {"dns.answer": seen.exchange.dns} | (
                {"dns.addresses": seen.exchange.addresses} if seen.exchange.addresses else {}
            )
            yield Evidence(
                "dns.read",
                _target("", host, namespace),
                seen.exchange.vantage,
                facts=facts,
                of=Of.ELSEWHERE,
                excerpt=redact(seen.exchange.error),
            )


def _target(node: str, host: str, namespace: str) -> Target:
    mine = bool(namespace) and host.lower() == hostname(namespace).lower()
    return Target.of(node=node or None, registry=namespace if mine else None, host=namespace if mine else host)


def _lookups(files: NodeFiles, wanted: str) -> dict[str, tuple[str, tuple[str, ...], str]]:
    """`getent` output that holds an address. An empty one does not tell why; Go's own words do."""
    found: dict[str, tuple[str, tuple[str, ...], str]] = {}
    for text in (files.text(path) for path in _LOOKED_UP):
        host = wanted
        block: list[str] = []
        for line in [*(text or "").splitlines(), "$ "]:
            match = _BLOCK.match(line)
            if match or re.match(r"^\s*[$#] ", line):
                addresses = getent_addresses("\n".join(block))
                if host and addresses:
                    found.setdefault(host, ("ok", addresses, "\n".join(block)))
                block = []
                host = match[1] if match else ""
            else:
                block.append(line)
    if (
        wanted
        and not is_address(wanted)
        and wanted not in found
        and (listed := hosts_addresses(files.text("/etc/hosts") or "", wanted))
    ):
        found[wanted] = ("ok", listed, "/etc/hosts")
    return found


def _told(
    files: NodeFiles, material: Material, scene: Scene, known: object
) -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Answers in Go's words: the runtime's log of the attempt, or the text where it can only be this node's."""
    del known
    attempt = pick(attempts(files.log), scene) if files.has_log else None
    texts = [] if attempt is None else [item.error for item in attempt.tries] + [attempt.error]
    if not texts and len(material.nodes()) <= 1 and len(scene.incident.nodes) <= 1:
        texts = list(scene.incident.texts)
    found: dict[str, tuple[str, tuple[str, ...], str]] = {}
    for text in texts:
        for pattern, answer in _ANSWERS:
            if match := pattern.search(text):
                found.setdefault(match[1].rstrip("."), (answer, (), text[:400]))
    return found


def read_disk(material: Material, scene: Scene) -> Iterable[Evidence]:
    """The least free share, blocks or inodes, of the file systems that hold images."""
    for name, files in nodes_of(material):
        text = files.text("df.txt")
        if text is None:
            continue
        runtime = files.versions.runtime
        root = ROOTS.get(files.rancher) or {"docker": "/var/lib/docker", "cri-o": "/var/lib/containers"}.get(
            runtime, "/var/lib/containerd"
        )
        free = least_free(parse_df(text), (root,))
        if free is not None:
            yield files.evidence(
                "disk.read",
                {"disk.free": free},
                of=whose(scene, name),
                excerpt=text,
                command=f"df -hP {root}; df -iP {root}",
                taken_at=files.taken("df.txt"),
            )


def read_content(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`ctr -n k8s.io images check`: an image whose record is there and whose content is not."""
    image = scene.incident.image or ""
    for name, files in nodes_of(material):
        text = files.text("images.txt")
        if text is None or "STATUS" not in text:
            continue
        rows = [line for line in text.splitlines() if image and line.startswith(image + " ")]
        if rows:
            gap = any("incomplete" in row or "unavailable" in row for row in rows)
            yield files.evidence(
                "content.read",
                {"content.gap": gap},
                of=whose(scene, name),
                excerpt="\n".join(rows),
                command="ctr -n k8s.io images check",
            )


def read_tools(material: Material, scene: Scene) -> Iterable[Evidence]:
    """A `crictl pull` without a login in a text that somebody brought along."""
    texts = [
        document
        for document in material
        if document.text and document.path.endswith(".txt") and document.path.count("/") <= 2
    ]
    for document in texts:
        lines = document.text.splitlines()
        for index, line in enumerate(lines):
            match = _CRICTL.search(line)
            if not match or "--creds" in match["rest"] or "--auth" in match["rest"]:
                continue
            after = "\n".join(lines[index + 1 : index + 6])
            state = (
                "ok"
                if "Image is up to date for" in after
                else "fail"
                if re.search(r"FATA\[|pulling image|level=fatal", after)
                else ""
            )
            if state:
                node = document.path.split("/")[1] if document.path.startswith("nodes/") else None
                yield Evidence(
                    "tool.result",
                    Target.of(node=node),
                    f"node/{node}" if node else "bundle",
                    facts={"tool.crictl": state},
                    excerpt=redact(f"{line}\n{after}"),
                )


# --- what to fetch ---------------------------------------------------------------------------------------------------


def _asked(material: Material, node: str, name: str) -> bool:
    return material.get(f"nodes/{node}/{name.lstrip('/')}") is not None


def wants_kubelet(material: Material, scene: Scene) -> Iterable[Want]:
    """Login files where the kubelet looks and where people put them, its settings and its complaints."""
    for node in asked_nodes(scene):
        for path in (
            "/var/lib/kubelet/config.json",
            "/.docker/config.json",
            "/root/.docker/config.json",
            "/var/lib/kubelet/config.yaml",
        ):
            if not _asked(material, node, path):
                yield NodeItem(node, File(path))
        if not _asked(material, node, "kubelet.log"):
            yield NodeItem(
                node,
                Journal(
                    "kubelet",
                    scene.incident.since,
                    200,
                    ("credential provider", "dockercfg", "docker/config.json", "pull secret"),
                ),
            )
            yield NodeItem(node, Command("environ", ("kubelet",)))


def wants_proxy(material: Material, scene: Scene) -> Iterable[Want]:
    """The environment of the runtime's process, unit files, and the wrong places."""
    for node in asked_nodes(scene):
        rancher = files_of(material, node).rancher
        units = {"k3s": ("k3s", "k3s-agent"), "rke2": ("rke2-server", "rke2-agent")}.get(rancher, ())
        if not _asked(material, node, "environ-containerd.txt"):
            yield NodeItem(node, Command("environ", ("containerd",)))
            yield NodeItem(node, File("/etc/environment"))
            yield NodeItem(node, Tree("/etc/systemd/system/containerd.service.d"))
            yield NodeItem(node, Tree("/etc/systemd/system/kubelet.service.d"))
        for unit in units:
            if not _asked(material, node, f"environ-{unit}.txt"):
                yield NodeItem(node, Command("environ", (unit,)))
    yield from host_proxy.wants_answer(material, scene)


def wants_dns(material: Material, scene: Scene) -> Iterable[Want]:
    """The node's own resolution of the registry's name."""
    host = hostname(namespace_of(scene))
    for node in asked_nodes(scene):
        if not _asked(material, node, "getent.txt") and host:
            yield NodeItem(node, Command("getent", ("registry-1.docker.io" if host == "docker.io" else host,)))
            yield NodeItem(node, File("/etc/resolv.conf"))
            yield NodeItem(node, File("/etc/hosts"))


def wants_disk(material: Material, scene: Scene) -> Iterable[Want]:
    for node in asked_nodes(scene):
        if not _asked(material, node, "df.txt"):
            yield NodeItem(node, Command("df"))


def wants_client(material: Material, scene: Scene) -> Iterable[Want]:
    """Only where docker is the runtime."""
    for node in asked_nodes(scene):
        if files_of(material, node).versions.runtime == "docker" and not _asked(
            material, node, "/etc/docker/daemon.json"
        ):
            yield NodeItem(node, File("/etc/docker/daemon.json"))
            yield NodeItem(node, Tree("/etc/docker/certs.d"))


PROBES: tuple[Probe, ...] = (
    Probe("kubelet.read", host_kubelet.KUBELET, host_kubelet.read_kubelet, wants_kubelet),
    Probe("client.read", host_kubelet.CLIENT, host_kubelet.read_client, wants_client),
    Probe("proxy.read", host_proxy.FACTS, host_proxy.read, wants_proxy),
    Probe("dns.read", DNS, read_dns, wants_dns),
    Probe("disk.read", ("disk.free",), read_disk, wants_disk),
    Probe("content.read", ("content.gap",), read_content),
    Probe("tool.result", ("tool.crictl",), read_tools),
)

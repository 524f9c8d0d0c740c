"""What the material has of a node's files, units and releases; shared by the probes that read nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Document, Material
from app.model.target import Target
from app.parsers.clock import parse_time
from app.parsers.journal import LogLine, parse_log
from app.parsers.redact import redact
from app.parsers.versions import Versions, distro_of, parse_versions, runtime_of

EXCERPT: Final = 1200
RANCHER: Final = ("k3s", "rke2")
_SHOW = re.compile(r"^(\w+)=(.*)$")
_FOUND = re.compile(r"^(\S) (\d+) (\S+) (\S+) (\d+) (/.*)$")
_PROCESS = re.compile(r"^\s*(\d+)\s+((?:\w{3} )?\w{3}\s+\d+ [\d:]{8} \d{4})\s+(.*)$")


@dataclass(frozen=True, slots=True)
class FileStat:
    """One file or folder as a listing shows it."""

    absent: bool = False
    directory: bool = False
    listed: bool = False
    """The root of a listing: everything below it is known, unless `complete` is false."""
    complete: bool = True
    mtime: float | None = None
    size: int | None = None
    mode: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    active: bool | None = None
    since: float | None = None
    """Start of the main process, by the node's clock."""
    pid: int = 0
    cmdline: tuple[str, ...] = ()
    fragment: str = ""
    need_reload: bool = False


class NodeFiles:
    """Lazy readings of one node's documents. Nothing raises: what cannot be read is left out."""

    def __init__(self, material: Material, node: str) -> None:
        self.material, self.node = material, node
        self.prefix = f"nodes/{node}"

    def document(self, path: str) -> Document | None:
        """A file by its absolute path, or an output by its name."""
        return self.material.get(f"{self.prefix}/{path.lstrip('/')}")

    @cached_property
    def taken_at(self) -> float | None:
        """When the oldest of its documents was read."""
        return self.material.taken(*(document.path for document in self.material.below(f"{self.prefix}/")))

    def taken(self, *paths: str) -> float | None:
        """When the oldest of these was read; where none of them says, the oldest of all."""
        return self.material.taken(*(f"{self.prefix}/{path.lstrip('/')}" for path in paths)) or self.taken_at

    def text(self, path: str) -> str | None:
        return self.material.text(f"{self.prefix}/{path.lstrip('/')}")

    def json(self, path: str) -> Any:
        try:
            return json.loads(self.text(path) or "null")
        except ValueError:
            return None

    def below(self, folder: str) -> Mapping[str, str]:
        """Absolute path to text of every file below a folder."""
        prefix = "/".join((self.prefix, *folder.strip("/").split("/"), "")) if folder.strip("/") else f"{self.prefix}/"
        return {document.path.removeprefix(self.prefix): document.text for document in self.material.below(prefix)}

    @cached_property
    def stats(self) -> Mapping[str, FileStat]:
        """`stat.json`, `files.txt` (`find -printf '%y %m %u:%g %T+ %s %p'`) and the documents' own times."""
        found: dict[str, FileStat] = {}
        for line in (self.text("files.txt") or "").splitlines():
            if match := _FOUND.match(line):
                found[match[6]] = FileStat(
                    directory=match[1] == "d", mtime=_stamp(match[4]), size=int(match[5]), mode=match[2]
                )
        listed = self.json("stat.json")
        for path, value in listed.items() if isinstance(listed, dict) else ():
            if isinstance(value, dict):
                mtime, size = value.get("mtime"), value.get("size")
                found[str(path)] = FileStat(
                    absent=value.get("absent") is True,
                    directory=value.get("directory") is True,
                    listed=value.get("listed") is True,
                    complete=value.get("complete") is not False,
                    mtime=float(mtime) if isinstance(mtime, int | float) else None,
                    size=size if isinstance(size, int) else None,
                    mode=str(value.get("mode") or ""),
                    sha256=str(value.get("sha256") or ""),
                )
        return found

    @cached_property
    def _own_times(self) -> Mapping[str, float]:
        """Times that the collector noted with the documents themselves."""
        found: dict[str, float] = {}
        prefix = self.prefix + "/"
        for document in self.material:
            if document.path.startswith(prefix) and document.mtime is not None:
                found[document.path.removeprefix(self.prefix)] = document.mtime
        return found

    def mtime(self, path: str) -> float | None:
        stat = self.stats.get(path)
        return stat.mtime if stat is not None and stat.mtime is not None else self._own_times.get(path)

    def absent(self, path: str) -> bool:
        """Seen not to be there."""
        document = self.document(path)
        if document is not None and document.absent:
            return True
        stat = self.stats.get(path)
        return stat is not None and stat.absent

    def listed(self, folder: str) -> bool:
        """Somebody listed the folder, so that a file which is not known is not there."""
        roots = [folder]
        while roots[-1] not in ("/", ""):
            roots.append(roots[-1].rpartition("/")[0])
        for root in roots:
            stat = self.stats.get(root or "/")
            if stat is not None and (stat.listed or stat.absent):
                return stat.complete
        if self.document("stat.json") is not None:
            return False
        return self.systematic or any(path == folder or path.startswith(folder + "/") for path in self.stats)

    @cached_property
    def systematic(self) -> bool:
        """Collected as a whole by a tool, not copied by hand: its outputs are beside the files."""
        return self.document("stat.json") is not None or (
            self.document("containerd-config-dump.toml") is not None and self.document("versions.txt") is not None
        )

    @cached_property
    def units(self) -> Mapping[str, Unit]:
        """By name without `.service`."""
        found: dict[str, Unit] = {}
        data = self.json("units.json")
        for name, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, dict):
                since, pid, line = value.get("since"), value.get("pid"), value.get("cmdline")
                active = value.get("active")
                found[str(name).removesuffix(".service")] = Unit(
                    active if isinstance(active, bool) else None,
                    float(since) if isinstance(since, int | float) else None,
                    pid if isinstance(pid, int) else 0,
                    tuple(str(word) for word in line) if isinstance(line, list) else (),
                    str(value.get("fragment") or ""),
                    value.get("need_reload") is True,
                )
        for path in ("unit.txt", "containerd-unit.txt", "unit-containerd.txt"):
            shown = {
                match[1]: match[2]
                for line in (self.text(path) or "").splitlines()
                if (match := _SHOW.match(line.strip()))
            }
            name = shown.get("Id", "containerd.service").removesuffix(".service")
            if shown and name not in found:
                since = re.sub(r"^[A-Z][a-z]{2} ", "", shown.get("ExecMainStartTimestamp", "")).replace(
                    " UTC", "+00:00"
                )
                state = shown.get("ActiveState")
                found[name] = Unit(
                    state == "active" if state else None,
                    _stamp(since.replace(" ", "T", 1)),
                    int(shown.get("MainPID") or 0),
                    fragment=shown.get("FragmentPath", ""),
                )
        return found

    @cached_property
    def processes(self) -> tuple[tuple[int, float | None, str], ...]:
        """pid, start, command line of `ps -eo pid,lstart,args`."""
        return tuple(
            (int(match[1]), _stamp(match[2]), match[3])
            for line in (self.text("processes.txt") or "").splitlines()
            if (match := _PROCESS.match(line))
        )

    @cached_property
    def service(self) -> Unit | None:
        """The unit that starts the runtime: k3s, rke2 or containerd itself."""
        for name in ("k3s", "k3s-agent", "rke2-server", "rke2-agent", "containerd"):
            if name in self.units:
                return self.units[name]
        return None

    @cached_property
    def node_object(self) -> Mapping[str, Any]:
        """The Node as the API has it, from `node.json` beside the files or `nodes.json` at the top."""
        own = self.json("node.json")
        if isinstance(own, dict) and own.get("kind", "Node") == "Node":
            return own
        try:
            listed = json.loads(self.material.text("nodes.json") or "null")
        except ValueError:
            return {}
        items = (
            listed.get("items", [listed]) if isinstance(listed, dict) else listed if isinstance(listed, list) else []
        )
        for item in items:
            if (
                isinstance(item, dict)
                and isinstance(meta := item.get("metadata"), dict)
                and meta.get("name") == self.node
            ):
                return item
        return {}

    @cached_property
    def versions(self) -> Versions:
        """Of `versions.txt`, the Node object, the runtime's log and the paths, in this order."""
        told = parse_versions(self.text("versions.txt") or "")
        status = self.node_object.get("status")
        info = status.get("nodeInfo") if isinstance(status, dict) else None
        info = info if isinstance(info, dict) else {}
        runtime, release = runtime_of(str(info.get("containerRuntimeVersion") or ""))
        kubelet = told.kubelet or str(info.get("kubeletVersion") or "")
        # The log's own release is what really runs; `versions.txt` names the binary on disk.
        logged = next(
            (
                line.fields.get("version", "")
                for line in reversed(self.log)
                if line.msg.startswith("starting containerd")
            ),
            "",
        )
        distro = told.distro or distro_of(kubelet)
        for name in RANCHER:
            if self.below(f"/var/lib/rancher/{name}") or any(
                path.startswith(f"{self.prefix}/etc/rancher/{name}/")
                for path in (document.path for document in self.material)
            ):
                distro = distro if distro in RANCHER else name
        kind = told.runtime or runtime or self._runtime_by_files()
        return Versions(kind, logged or told.runtime_version or release, kubelet, distro)

    def _runtime_by_files(self) -> str:
        if any(
            self.document(path)
            for path in ("containerd.log", "containerd-config-dump.toml", "/etc/containerd/config.toml")
        ) or self.below("/etc/containerd"):
            return "containerd"
        if self.below("/etc/crio") or self.text("/etc/containers/registries.conf") is not None:
            return "cri-o"
        return "docker" if self.document("/etc/docker/daemon.json") or self.document("docker.log") else ""

    @property
    def rancher(self) -> str:
        """`k3s` or `rke2` where it is one."""
        return self.versions.distro if self.versions.distro in RANCHER else ""

    @cached_property
    def log(self) -> tuple[LogLine, ...]:
        """The runtime's log."""
        for name in (
            "containerd.log",
            "var/lib/rancher/k3s/agent/containerd/containerd.log",
            "var/lib/rancher/rke2/agent/containerd/containerd.log",
        ):
            text = self.text(name)
            if text is not None:
                return parse_log(text)
        return ()

    @property
    def has_log(self) -> bool:
        return bool(self.log)

    def evidence(
        self, probe: str, facts: Mapping[str, Value], *, target: Target | None = None, **more: Any
    ) -> Evidence:
        """Observed evidence of this node, as old as its oldest document unless told otherwise; excerpts are redacted here."""
        more.setdefault("taken_at", self.taken_at)
        excerpt = redact(str(more.pop("excerpt", "")))[:EXCERPT]
        vantage = f"node/{self.node}"
        return Evidence(
            probe, target or Target.of(node=self.node), vantage, Outcome.OBSERVED, dict(facts), excerpt=excerpt, **more
        )

    def refused(self, probe: str, paths: Iterable[str], costs: str, *, target: Target | None = None) -> Evidence | None:
        """Evidence for the first of several documents that somebody asked for and did not get."""
        for path in paths:
            document = self.document(path)
            if document is not None and document.outcome is not Outcome.OBSERVED:
                shown = path if path.startswith("/") else document.source or path
                detail = f"{shown}: {document.detail or document.outcome.value}; {costs}"
                by_hand = f"sudo cat {path}" if path.startswith("/") else document.source
                return Evidence(
                    probe,
                    target or Target.of(node=self.node),
                    f"node/{self.node}",
                    document.outcome,
                    detail=redact(detail),
                    by_hand=by_hand,
                    command=document.source,
                )
        return None


_LATEST: list[tuple[Material, dict[str, NodeFiles]]] = []
"""Readings of the material in use; the one before is dropped, since material may hold secrets."""


def files_of(material: Material, node: str) -> NodeFiles:
    """The readings of a node, made once for all probes of a round (a Material never changes)."""
    if not _LATEST or _LATEST[0][0] is not material:
        _LATEST[:] = [(material, {})]
    known = _LATEST[0][1]
    if node not in known:
        known[node] = NodeFiles(material, node)
    return known[node]


def _stamp(text: str) -> float | None:
    return parse_time(text) if text else None

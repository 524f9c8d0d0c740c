"""Composition root: reads rule files, builds live, replay and practice worlds. Client libraries are imported inside the builders."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import msgspec

from app.errors import KubeconfigError, RuleError, UsageError
from app.ports import Credential, KubeApi
from app.rulebook.book import Rulebook
from app.rulebook.load import Problem, load, parse_text
from app.runner.collect import World
from app.runner.credentials import Budget
from app.runner.investigation import Investigation
from app.runner.scan import Selection


def config_dir() -> Path:
    """`$HARBORPILOT_CONFIG_DIR`, else `$XDG_CONFIG_HOME/harborpilot`."""
    own = os.environ.get("HARBORPILOT_CONFIG_DIR")
    return Path(own) if own else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "harborpilot"


def state_dir() -> Path:
    """`$HARBORPILOT_STATE_DIR`, else `$XDG_STATE_HOME/harborpilot`."""
    own = os.environ.get("HARBORPILOT_STATE_DIR")
    return Path(own) if own else Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "harborpilot"


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/harborpilot`; safe to delete."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harborpilot"


def _walk(folder: Traversable, prefix: str, *, cases: bool) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            if entry.name not in ("schema", "scenarios", "__pycache__"):
                yield from _walk(entry, name, cases=cases)
        elif entry.name.endswith(".yaml") and (cases or not entry.name.endswith(".cases.yaml")):
            try:
                yield name, entry.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RuleError(f"cannot be read: {error}", name) from error


def rule_files(path: Path | None = None, *, cases: bool = False) -> list[tuple[str, str]]:
    """(name, text) of the shipped rule files, or of those below a folder or in one file."""
    if path is None:
        return list(_walk(resources.files("rules"), "rules", cases=cases))
    if path.is_file():
        return [(str(path), path.read_text(encoding="utf-8"))]
    if not path.is_dir():
        raise RuleError(
            f"no such file or folder: {path}",
            next_step="Give a folder with rule files, or leave it out for the shipped rules.",
        )
    return list(_walk(path, str(path), cases=cases))


def site_files() -> list[tuple[str, str]]:
    """Overlay rules: `/etc/harborpilot/rules.d`, then the user's own."""
    found: list[tuple[str, str]] = []
    for folder in (Path("/etc/harborpilot/rules.d"), config_dir() / "rules.d"):
        if folder.is_dir():
            found.extend(_walk(folder, str(folder), cases=False))
    return found


def load_rulebook(path: Path | None = None, *, today: str = "") -> tuple[Rulebook, list[Problem]]:
    """The rulebook with site overlays; parsed data are cached by digest so that a start does not parse YAML."""
    files = rule_files(path) + ([] if path else site_files())
    raw = _cached(files)
    return load(files, raw=raw, today=today)


def _cached(files: list[tuple[str, str]]) -> dict[str, Any] | None:
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in files).encode()).hexdigest()[:24]
    store = cache_dir() / f"rules-{digest}.msgpack"
    try:
        data = msgspec.msgpack.decode(store.read_bytes())
        return data if isinstance(data, dict) else None
    except (OSError, msgspec.DecodeError):
        pass
    try:
        parsed = {name: parse_text(text) for name, text in files}
    except Exception:
        return None
    try:
        store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in store.parent.glob("rules-*.msgpack"):
            old.unlink(missing_ok=True)
        temporary = store.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.msgpack.encode(parsed))
        temporary.replace(store)
    except (OSError, TypeError):
        pass
    return parsed


@dataclass(slots=True)
class Run:
    """A live run: the investigation, and what has to be closed after it."""

    investigation: Investigation
    context: str
    budget: Budget
    closers: list[Callable[[], None]]
    links: Any = None
    connections: dict[str, Any] = field(default_factory=dict)
    """Kube connections by cluster, for the writers."""
    most_incidents: int = 12
    notes: list[str] = field(default_factory=list)

    async def close(self) -> None:
        """Close connections; trouble while closing is of no interest."""
        for closer in self.closers:
            with contextlib.suppress(Exception):
                closer()


def build_run(options: Any, rulebook: Rulebook) -> Run:
    """Live clients by the flags of `app.commands.flags`. Raises KubeconfigError; without a kubeconfig a run goes on without a cluster."""
    from app.clients.clock import SystemClock
    from app.clients.http import LiveHttp
    from app.clients.threads import Threads

    clock, threads = SystemClock(), Threads()
    closers: list[Callable[[], None]] = []
    notes: list[str] = []
    connections: dict[str, Any] = {}
    kube: dict[str, KubeApi] = {}
    if not options.no_kube:
        kube, connections = _kube(options, threads, notes)
    links = None
    nodes = None
    if not options.no_ssh:
        from app.clients.ssh import Links, LiveNodes
        from app.clients.ssh_config import SshSettings

        settings = SshSettings(
            options.ssh_config or "",
            options.ssh_user or "",
            options.ssh_port or 0,
            options.jump or "",
            options.ssh_host,
            _addresses(connections.get("workload")),
        )
        links = Links(settings)
        nodes = LiveNodes(links, threads, clock, options.probe_timeout * 3)
        closers.append(nodes.close)
    http = None
    if not options.no_http:
        live = LiveHttp(links, threads, clock)
        closers.append(live.close)
        http = live
    budget = Budget(allowed=options.try_credentials == "once", harbor=_harbor_login(options))
    world = World(clock, kube, nodes, http, budget, jobs=options.jobs, probe_timeout=options.probe_timeout)
    investigation = Investigation(
        rulebook,
        world,
        harbor_namespace=options.harbor_namespace or "",
        selection=Selection(options.namespace or "", options.selector),
        try_credentials=budget.allowed,
    )
    name = next((api.context for api in kube.values()), "no cluster")
    return Run(investigation, name, budget, closers, links, connections, notes=notes)


def _kube(options: Any, threads: Any, notes: list[str]) -> tuple[dict[str, KubeApi], dict[str, Any]]:
    from app.clients.kube import Connection, LiveKube
    from app.clients.kubeconfig import KubeOptions

    kube: dict[str, KubeApi] = {}
    connections: dict[str, Any] = {}
    wanted = {"workload": options.context or ""}
    if options.harbor_context:
        wanted["harbor"] = options.harbor_context
    for cluster, context in wanted.items():
        chosen = KubeOptions(
            options.kubeconfig or "", context, options.as_user, tuple(options.as_group), options.request_timeout
        )
        try:
            connection = Connection(chosen)
        except KubeconfigError as error:
            # Without a file there may be no cluster at all, which is a way to work; a broken file is a mistake.
            if (
                options.kubeconfig
                or options.context
                or os.environ.get("KUBECONFIG")
                or (Path.home() / ".kube/config").exists()
            ):
                raise
            notes.append(error.what)
            continue
        connections[cluster] = connection
        kube[cluster] = LiveKube(connection, threads)
    return kube, connections


def _addresses(connection: Any) -> dict[str, str]:
    """Node name → InternalIP, asked once; empty where that is denied."""
    if connection is None:
        return {}
    reply = connection.request("GET", "/api/v1/nodes", {"limit": "5000"})
    try:
        items = json.loads(reply.body).get("items", []) if reply.body else []
    except ValueError:
        return {}
    found = {}
    for item in items:
        for address in (item.get("status") or {}).get("addresses", []):
            if address.get("type") == "InternalIP":
                found[item["metadata"]["name"]] = address["address"]
    return found


def _harbor_login(options: Any) -> Credential | None:
    if not options.harbor_user:
        return None
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    elif options.password_file:
        try:
            password = Path(options.password_file).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise UsageError(f"{options.password_file} cannot be read: {error.strerror}") from error
    else:
        raise UsageError(
            "--harbor-user needs --password-stdin or --password-file",
            "A password is never a flag, since others can read the command line.",
        )
    return Credential(options.harbor_user, password, "Harbor login of the operator")

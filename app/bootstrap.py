"""Composition root: builds live, replay and practice worlds. Client libraries are imported inside the builders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.errors import KubeconfigError, UsageError, reason
from app.files import state_dir
from app.fixes.gateway import Gateway, Writers
from app.fixes.journal import UndoJournal
from app.ports import Credential, KubeApi
from app.rulebook.book import Rulebook
from app.runner.collect import World
from app.runner.credentials import Budget
from app.runner.investigation import Investigation
from app.runner.scan import Selection


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
    harbor_ssh: str = getattr(options, "harbor_ssh", "")
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
            plain=frozenset({harbor_ssh}),
        )
        links = Links(settings)
        nodes = LiveNodes(links, threads, clock, options.probe_timeout * 3)
        closers.append(nodes.close)
    http = None
    if not options.no_http:
        live = LiveHttp(links, threads, clock)
        closers.append(live.close)
        http = live
    harbor_login, push_login = _logins(options)
    budget = Budget(options.try_credentials == "once", harbor_login, push_login, _docker())
    name = next((api.context for api in kube.values()), "no cluster")
    uploads = Gateway(name, Writers(http=http), UndoJournal(state_dir() / "undo"), asyncio.sleep)
    world = World(clock, kube, nodes, http, budget, uploads, options.jobs, options.probe_timeout, harbor_ssh)
    investigation = Investigation(
        rulebook,
        world,
        harbor_namespace=options.harbor_namespace or "",
        harbor_ssh=harbor_ssh,
        selection=Selection(options.namespace or "", options.selector),
        try_credentials=budget.allowed,
        try_upload=options.try_upload,
        push_account=push_login.username if push_login else "",
    )
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


def _logins(options: Any) -> tuple[Credential | None, Credential | None]:
    """(login for Harbor's API, login of the push). Passwords come by standard input or file, a line each, Harbor's first."""
    named = [("--harbor-user", options.harbor_user), ("--push-user", getattr(options, "push_user", None))]
    wanted = [(flag, user) for flag, user in named if user]
    if not wanted:
        return None, None
    if options.password_stdin:
        lines = [sys.stdin.readline().rstrip("\r\n") for _ in wanted]
    elif options.password_file:
        try:
            lines = Path(options.password_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{options.password_file} cannot be read: {reason(error)}") from error
    else:
        raise UsageError(
            f"{wanted[0][0]} needs --password-stdin or --password-file",
            "A password is never a flag, since others can read the command line.",
        )
    found: dict[str, Credential] = {}
    for number, (flag, user) in enumerate(wanted):
        if number >= len(lines) or not lines[number]:
            raise UsageError(f"no password came for {flag} {user}", "Give one line for each user, Harbor's first.")
        origin = "Harbor login of the operator" if flag == "--harbor-user" else f"account {user}"
        found[flag] = Credential(user, lines[number], origin)
    return found.get("--harbor-user"), found.get("--push-user")


def _docker() -> Any:
    from app.clients.docker_logins import DockerLogins

    return DockerLogins()

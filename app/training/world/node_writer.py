"""`NodeWriter` of the practice world: files with their backups, restarts that read them, the CA bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Final

from app.errors import RefusedError, VerifyFailedError
from app.parsers.containerd_config import parse_config
from app.parsers.k3s_registries import parse_registries
from app.parsers.proxy_env import parse_unit
from app.training.world.clock import nano
from app.training.world.k3s import regenerate
from app.training.world.pull import setup_of
from app.training.world.state import OS_BUNDLE, OS_CA_FOLDER, Node, NodeFile, State, Unit

PUBLIC: Final = "/usr/share/ca-certificates/mozilla/"
TIME_UNITS: Final = ("chrony", "chronyd", "systemd-timesyncd")


class WorldNodeWriter:
    """Writes as root; a node without sudo refuses."""

    def __init__(self, state: State, settle: Callable[[], None]) -> None:
        self._state = state
        self._settle = settle

    def _node(self, name: str, what: str) -> Node:
        node = self._state.nodes.get(name)
        if node is None or not node.reachable:
            raise RefusedError(f"{name}: no route to host")
        if not node.sudo:
            raise RefusedError(f"{name}: cannot {what}: a password is required", "Writing needs root: log in as root, or allow `sudo -n sh` for this user.")  # fmt: skip
        return node

    def _done(self, node: Node, what: str, place: str) -> None:
        self._state.wrote(f"node/{node.name} {place}", what)
        self._settle()

    async def replace(
        self, node: str, path: str, text: str, *, expect_sha256: str | None, mode: str = "0644", backup: str
    ) -> str:
        """See `NodeWriter.replace`."""
        found = self._node(node, f"write {path}")
        self._state.clock.move(0.3)
        there = found.files.get(path)
        if expect_sha256 is None and there is not None:
            raise RefusedError(f"{node}: {path} exists")
        if expect_sha256 is not None and (there is None or _digest(there.text) != expect_sha256):
            raise RefusedError(
                f"{node}: {path} is not what was expected", "Plan again: the plan rests on the file as it was."
            )
        if there is not None and backup:
            found.files[backup] = replace(there)
        kept = (there.mode, there.owner) if there is not None else (mode, "root:root")
        found.files[path] = NodeFile(text, self._state.now() + found.clock_offset, *kept)
        self._done(found, "write", path)
        return _digest(text)

    async def restore(self, node: str, path: str, *, backup: str | None, expect_sha256: str) -> None:
        """See `NodeWriter.restore`."""
        found = self._node(node, f"restore {path}")
        self._state.clock.move(0.3)
        there = found.files.get(path)
        if there is None or _digest(there.text) != expect_sha256:
            raise RefusedError(f"{node}: {path} is not what was written; it is left alone")
        if backup:
            old = found.files.pop(backup, None)
            if old is None:
                raise RefusedError(f"{node}: the backup {backup} is gone")
            found.files[path] = old
        else:
            del found.files[path]
        self._done(found, "restore", path)

    async def restart(self, node: str, unit: str) -> None:
        """A restart reads settings and the CA bundle; k3s and RKE2 write containerd's files anew."""
        found = self._node(node, f"restart {unit}")
        self._state.clock.move(4.0)
        if unit in TIME_UNITS:
            found.clock_offset, found.clock_synced = 0.0, True
            self._done(found, "restart", unit)
            return
        known = found.units.get(unit)
        if known is None:
            raise VerifyFailedError(f"{node}: Failed to restart {unit}.service: Unit {unit}.service not found.")
        problem = start(found, self._state.now() + found.clock_offset) if unit == found.service else ""
        known.environ = unit_environ(found, known)
        known.since, known.pid = self._state.now() + found.clock_offset, known.pid + 311
        known.active, known.said = not problem, problem
        self._done(found, "restart", unit)
        if problem:
            raise VerifyFailedError(f"{node}: {unit} is activating after 60 s\n{problem}")

    async def run_trust_update(self, node: str) -> None:
        """Public CAs and the files below the local folder become the bundle."""
        found = self._node(node, "update the CA bundle")
        self._state.clock.move(1.5)
        local = [
            file.text
            for path, file in sorted(found.files.items())
            if path.startswith((PUBLIC, f"{OS_CA_FOLDER}/")) and path.endswith(".crt")
        ]
        text = "".join(one if one.endswith("\n") else f"{one}\n" for one in local)
        bundle = found.files.get(OS_BUNDLE)
        if bundle is None or bundle.text != text:
            found.files[OS_BUNDLE] = NodeFile(text, self._state.now() + found.clock_offset)
        self._done(found, "update", OS_BUNDLE)

    async def check_runtime_config(self, node: str) -> str:
        """What containerd would say of the files on disk."""
        found = self._node(node, "check containerd's configuration")
        text = found.text(f"/var/lib/rancher/{found.rancher}/agent/etc/containerd/config.toml" if found.rancher else "/etc/containerd/config.toml")  # fmt: skip
        error = parse_config(text, "config.toml").error if text else ""
        return f"containerd: failed to load TOML: {error}" if error else ""


def unit_environ(node: Node, unit: Unit) -> dict[str, str]:
    """What systemd gives to the process at its start: its own PATH, and what the drop-ins say, in their order."""
    found = {"PATH": unit.environ.get("PATH", "/usr/bin")}
    for path in drop_ins(node, unit.name):
        found |= parse_unit(node.text(path) or "")
    return found


def drop_ins(node: Node, unit: str) -> list[str]:
    """The unit's drop-in files, in the order in which they count."""
    return sorted(path for path in node.files if path.startswith(f"/etc/systemd/system/{unit}.service.d/") and path.endswith(".conf"))  # fmt: skip


def start(node: Node, now: float) -> str:
    """The runtime's service starts: empty, or why it does not."""
    if node.rancher:
        error = parse_registries(node.text(f"/etc/rancher/{node.rancher}/registries.yaml") or "").error
        if error:
            return f'level=error msg="Waiting to retrieve agent configuration; server is not ready: yaml: {error}"'
        regenerate(node, now)
    node.loaded = deepcopy(node.files)
    setup = setup_of(node)
    if setup.main is not None and setup.main.error:
        return f"containerd: failed to load TOML: {setup.main.error}"
    node.log.append(f'time="{nano(now)}" level=info msg="starting containerd" revision=1a2b3c4 version={node.runtime if node.rancher else "v" + node.runtime}')  # fmt: skip
    node.log.append(f'time="{nano(now + 0.2)}" level=info msg="containerd successfully booted in 0.051928s"')
    return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

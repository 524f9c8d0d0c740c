"""From a node's name to an SSH target: template, else `ssh -G <node>` when it changes the host name, else the Node's InternalIP.

The OpenSSH client itself is asked (`ssh -G`), so that Include, Match and defaults are resolved exactly as `ssh` does. Without it
paramiko's own reader is used, which knows less, and a note says so.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import paramiko

from app.clients import process
from app.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:%-]*")
JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:]+)(?::(?P<port>\d+))?")
USER_KNOWN_HOSTS = "~/.ssh/known_hosts"
DEEPEST = 5
"""Jump hosts behind each other."""


@dataclass(frozen=True, slots=True)
class SshSettings:
    """What the operator gave by flags and config. Empty means: as ssh_config says."""

    config: str = ""
    """`-F`."""
    user: str = ""
    port: int = 0
    jump: str = ""
    """`-J`."""
    template: str = ""
    """`{name}.corp`."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Node name to InternalIP."""
    plain: frozenset[str] = frozenset()
    """Names to which the template does not apply, since they are no nodes."""
    connect_timeout: float = 10.0
    program: str = "ssh"


@dataclass(frozen=True, slots=True)
class SshTarget:
    """One host as it is to be reached."""

    name: str
    host: str
    port: int = 22
    user: str = ""
    identities: tuple[str, ...] = ()
    identities_only: bool = False
    agent: str = ""
    """Socket of the agent; empty: the environment's; `none`: no agent."""
    jumps: tuple[SshTarget, ...] = ()
    """In the order in which they are passed; each without jumps of its own."""
    proxy_command: str = ""
    alias: str = ""
    known_hosts: tuple[str, ...] = (USER_KNOWN_HOSTS,)
    """The first is where an accepted key is written."""
    needs: tuple[str, ...] = ()
    """What paramiko lacks for this host: such a host goes over the system's `ssh`."""
    maybe: tuple[str, ...] = ()
    """The same, but only worth a try when the keys were refused."""
    notes: tuple[str, ...] = ()

    @property
    def key_names(self) -> tuple[str, ...]:
        """Names under which its host key may stand in known_hosts, the one to write first."""
        if self.alias:
            return (self.alias,)
        plain = [self.host, self.name] if self.name != self.host else [self.host]
        return tuple(name if self.port == 22 else f"[{name}]:{self.port}" for name in plain)


def resolve(node: str, settings: SshSettings) -> SshTarget:
    """Where and how to reach a node. Raises UsageError when the config file cannot be read or the name is not one."""
    if not NAME.fullmatch(node):
        raise UsageError(f"{node!r} is not a host name, so no SSH connection is made to it.")
    if settings.template and node not in settings.plain:
        host = settings.template.replace("{name}", node)
        if not NAME.fullmatch(host):
            raise UsageError(f"ssh.host = {settings.template!r} gives {host!r}, which is not a host name.")
        return _target(node, host, _options(host, settings), settings)
    options = _options(node, settings)
    changed = options.get("hostname", [node])[0].lower() != node.lower()
    address = settings.addresses.get(node, "")
    if changed or not address:
        return _target(node, options.get("hostname", [node])[0], options, settings)
    return _target(node, address, options, settings)


def _target(name: str, host: str, options: Mapping[str, list[str]], settings: SshSettings, depth: int = 0) -> SshTarget:
    def first(key: str, default: str = "") -> str:
        return options.get(key, [default])[0]

    hostname = first("hostname", host) if depth else host
    port = int(first("port", "22") or 22)
    user = first("user") or os.environ.get("USER", "root")
    identities = tuple(
        os.path.expanduser(path.replace("%d", str(Path.home()))) for path in options.get("identityfile", [])
    )
    notes = []
    if first("stricthostkeychecking") in ("no", "false", "off"):
        notes.append("StrictHostKeyChecking no is not obeyed: an unknown host key is asked about")
    files = [os.path.expanduser(path) for line in options.get("userknownhostsfile", []) for path in line.split()]
    if "/dev/null" in files:
        notes.append("UserKnownHostsFile /dev/null is not obeyed: ~/.ssh/known_hosts is used")
    files = [path for path in files if path not in ("/dev/null", "none")] or [os.path.expanduser(USER_KNOWN_HOSTS)]
    files += [path for line in options.get("globalknownhostsfile", []) for path in line.split()]
    needs = ["a user certificate (CertificateFile)"] if first("certificatefile") not in ("", "none") else []
    needs += [f"a user certificate ({path}-cert.pub)" for path in identities if Path(f"{path}-cert.pub").is_file()]
    needs += [f"a hardware key ({path})" for path in identities if _hardware(path)]
    if first("pkcs11provider", "none") not in ("", "none"):
        needs.append("PKCS11Provider")
    maybe = ["GSSAPI"] if first("gssapiauthentication") in ("yes", "true") else []
    alias = first("hostkeyalias")
    target = SshTarget(
        name=name, host=hostname.strip("[]"), port=port, user=user, identities=identities,
        identities_only=first("identitiesonly") in ("yes", "true"), agent=os.path.expanduser(first("identityagent")),
        proxy_command="" if first("proxycommand", "none") == "none" else first("proxycommand"),
        alias="" if alias == "none" else alias, known_hosts=tuple(files), needs=tuple(needs), maybe=tuple(maybe), notes=tuple(notes),
    )  # fmt: skip
    jump = first("proxyjump", "none")
    if jump == "none" or not jump or depth:
        return target
    return replace(target, jumps=tuple(_hops(jump, settings)), proxy_command="")


def _hops(jump: str, settings: SshSettings) -> list[SshTarget]:
    """The chain of a ProxyJump value. A hop's own ProxyJump is passed first, as `ssh` does it."""
    hops: list[SshTarget] = []
    for word in jump.split(","):
        match = JUMP.fullmatch(word.strip())
        if match is None or not NAME.fullmatch(match["host"].strip("[]")):
            raise UsageError(f"ProxyJump {word!r} cannot be read; it is written [user@]host[:port].")
        own = replace(settings, user=match["user"] or "", port=int(match["port"] or 0), jump="", template="")
        host = match["host"].strip("[]")
        options = _options(host, own)
        before = options.get("proxyjump", ["none"])[0]
        if not hops and before not in ("", "none", jump) and host not in before:
            hops += _hops(before, settings)
        hops.append(_target(host, host, options, own, depth=1))
        if len(hops) > DEEPEST:
            raise UsageError(f"ProxyJump {jump!r} leads through more than {DEEPEST} hosts.")
    return hops


def _options(host: str, settings: SshSettings) -> dict[str, list[str]]:
    """Lower-case option to its values, as `ssh -G` prints them."""
    program = shutil.which(settings.program)
    if program is None:
        return _without_client(host, settings)
    flags = ["-F", settings.config] if settings.config else []
    flags += ["-l", settings.user] if settings.user else []
    flags += ["-p", str(settings.port)] if settings.port else []
    flags += ["-J", settings.jump] if settings.jump else []
    try:
        done = process.run([program, "-G", *flags, "--", host], 15)
    except TimeoutError as error:
        raise UsageError(
            f"ssh -G {host} did not end within 15 s.", "Look for a Match exec in ssh_config that hangs."
        ) from error
    if done.code:
        raise UsageError(
            f"ssh -G {host} failed: {done.stderr.strip()}", "Check ssh_config, or name another file with -F."
        )
    return parse_options(done.stdout)


def parse_options(text: str) -> dict[str, list[str]]:
    """Output of `ssh -G`: one `key value` a line; some keys come more than once."""
    options: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key:
            options.setdefault(key.lower(), []).append(value.strip())
    return options


def _without_client(host: str, settings: SshSettings) -> dict[str, list[str]]:
    path = Path(settings.config or "~/.ssh/config").expanduser()
    config = paramiko.SSHConfig()
    if path.is_file():
        with path.open(encoding="utf-8") as stream:
            config.parse(stream)
    elif settings.config:
        raise UsageError(f"{path} is not there.", "Name an existing ssh_config with -F.")
    found = config.lookup(host)
    options = {key.lower(): list(value) if isinstance(value, list) else [str(value)] for key, value in found.items()}
    options.setdefault("identityfile", [f"~/.ssh/{name}" for name in ("id_ed25519", "id_ecdsa", "id_rsa")])
    for key, value in (("user", settings.user), ("port", str(settings.port or "")), ("proxyjump", settings.jump)):
        if value:
            options[key] = [value]
    return options


def _hardware(path: str) -> bool:
    """Whether an identity file is of a security key, by its public half."""
    try:
        return Path(f"{path}.pub").read_text(encoding="utf-8", errors="replace").startswith("sk-")
    except OSError:
        return False

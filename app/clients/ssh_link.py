"""One SSH connection to a host: by paramiko, or by the system's `ssh` where paramiko lacks what the host needs.

Both give the same two things: a shell that reads a script from its standard input, and a forwarded channel. Host keys are
checked against known_hosts before anything of ours is sent; an unknown or changed key is kept as a `HostKeyProblem` and never accepted
by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import paramiko

from app.clients import known_hosts
from app.clients.forward import RefusedChannelError, TellingTransport
from app.clients.known_hosts import HostKey, Verdict
from app.clients.ssh_config import SshSettings, SshTarget
from app.model.evidence import Outcome

TRIES = 5
"""Keys offered to one host: sshd ends the connection after six by default."""

_OPEN_FAILED = re.compile(r"open failed: ([^:\r\n]*): ?([^\r\n]*)")

# paramiko logs refused channels and broken banners through logging; without a handler Python prints them to the screen.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


class Stream(Protocol):
    """What a paramiko channel and a socket have in common."""

    def sendall(self, data: bytes) -> None: ...
    def recv(self, nbytes: int) -> bytes: ...
    def settimeout(self, timeout: float | None) -> None: ...
    def close(self) -> None: ...


class LinkError(Exception):
    """No connection; `outcome` says of which kind."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


@dataclass(frozen=True, slots=True)
class HostKeyProblem:
    """A host whose key was not accepted, for the dialog that asks about all of them at once."""

    node: str
    host: str
    """As known_hosts would name it."""
    key: HostKey
    verdict: Verdict
    known: tuple[HostKey, ...] = ()
    """What known_hosts holds for it: shown beside a changed key."""
    file: str = ""
    """Where an accepted key is written."""

    @property
    def text(self) -> str:
        """One line with the fingerprint."""
        shown = f"{self.host}: {self.key.kind} {self.key.fingerprint}"
        match self.verdict:
            case Verdict.CHANGED:
                before = ", ".join(key.fingerprint for key in self.known if key.kind == self.key.kind)
                return f"host key of {shown} is not the known one ({before}); it is not overridden"
            case Verdict.REVOKED:
                return f"host key of {shown} is marked @revoked in known_hosts"
            case _:
                return f"host key of {shown} is not in known_hosts"


class HostKeyError(LinkError):
    """The host key is unknown, changed or revoked."""

    def __init__(self, problem: HostKeyProblem) -> None:
        super().__init__(Outcome.UNREACHABLE, problem.text)
        self.problem = problem


class Link(Protocol):
    """An open connection to one host."""

    target: SshTarget
    via: str
    """`paramiko` or `ssh`."""
    notes: tuple[str, ...]

    def alive(self) -> bool: ...
    def shell(self, command: str, timeout: float) -> Stream: ...
    def forward(self, host: str, port: int, timeout: float) -> Stream:
        """Raises RefusedChannelError with sshd's text."""

    def close(self) -> None: ...


def connect(target: SshTarget, settings: SshSettings) -> Link:
    """Connect and log in. Raises LinkError (HostKeyError for keys)."""
    entries = known_hosts.read(target.known_hosts)
    mine = known_hosts.about(entries, target.key_names)
    needs = list(target.needs)
    if any(entry.marker == "@cert-authority" for entry in mine) and not any(not entry.marker for entry in mine):
        needs.append("a host certificate (@cert-authority in known_hosts)")
    if needs and shutil.which(settings.program):
        return SystemLink(target, settings, f"over the system's ssh, for {', '.join(needs)}")
    try:
        return ParamikoLink(target, settings)
    except RefusedLoginError as error:
        if target.maybe and shutil.which(settings.program):
            return SystemLink(target, settings, f"over the system's ssh, for {', '.join(target.maybe)}")
        raise LinkError(
            Outcome.DENIED,
            error.detail + (f"; it needs {', '.join(needs)}, and there is no ssh program here" if needs else ""),
        ) from error


class RefusedLoginError(LinkError):
    """The host did not accept any key."""


class ParamikoLink:
    """A connection by paramiko, through jump hosts where there are any."""

    via = "paramiko"

    def __init__(self, target: SshTarget, settings: SshSettings) -> None:
        self.target = target
        self.notes = target.notes
        self._chain: list[TellingTransport] = []
        self._session = False
        try:
            before: TellingTransport | None = None
            for hop in (*target.jumps, target):
                before = self._open(hop, settings, before)
                self._chain.append(before)
        except BaseException:
            self.close()
            raise

    @property
    def transport(self) -> TellingTransport:
        return self._chain[-1]

    def alive(self) -> bool:
        return bool(self._chain) and self.transport.is_active()

    def shell(self, command: str, timeout: float) -> Stream:
        self._session = True
        channel = self.transport.open_session(timeout=timeout)
        channel.settimeout(timeout)
        channel.exec_command(command)
        return channel

    def forward(self, host: str, port: int, timeout: float) -> Stream:
        self._prompt(timeout)
        return self.transport.forward(host, port, timeout)

    def _prompt(self, timeout: float) -> None:
        """sshd sends small packets at once only after a session was opened on the connection (seen with 9.2: an answer took 40 ms more
        before), and how long an answer takes is evidence."""
        if self._session:
            return
        self._session = True
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel = self.transport.open_session(timeout=min(timeout, 5))
            channel.settimeout(min(timeout, 5))
            channel.exec_command("true")
            channel.recv(1)
            channel.close()

    def close(self) -> None:
        for transport in reversed(self._chain):
            transport.close()
        self._chain = []

    @staticmethod
    def _open(hop: SshTarget, settings: SshSettings, before: TellingTransport | None) -> TellingTransport:
        limit = settings.connect_timeout
        transport: TellingTransport | None = None
        try:
            transport = TellingTransport(_socket(hop, limit, before))
            transport.daemon = True
            transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = limit
            entries = known_hosts.read(hop.known_hosts)
            _prefer(
                transport, [entry.key.kind for entry in known_hosts.about(entries, hop.key_names) if not entry.marker]
            )
            transport.start_client(timeout=limit)
            if not getattr(transport, "initial_kex_done", True):
                raise TimeoutError("no SSH answer")  # paramiko comes back without a word then
            _check_key(transport, hop, entries)
            _log_in(transport, hop)
            transport.set_keepalive(15)
        except LinkError:
            if transport is not None:
                transport.close()
            raise
        except (OSError, paramiko.SSHException, EOFError) as error:
            if transport is not None:
                transport.close()
            raise LinkError(*_trouble(error, hop)) from error
        return transport


class SystemLink:
    """A connection by the OpenSSH client, kept open by its own multiplexing."""

    via = "ssh"

    def __init__(self, target: SshTarget, settings: SshSettings, note: str) -> None:
        self.target = target
        self.notes = (*target.notes, note)
        self._folder = tempfile.mkdtemp(prefix="hp-")
        user_file = next(iter(target.known_hosts), known_hosts_default())
        self._base = [
            settings.program, *(["-F", settings.config] if settings.config else []), "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
            "-o", f"UserKnownHostsFile={user_file}", "-o", f"ConnectTimeout={int(settings.connect_timeout)}", "-o", f"HostName={target.host}",
            "-o", "ControlMaster=auto", "-o", f"ControlPath={self._folder}/c", "-o", "ControlPersist=60", "-o", "ClearAllForwardings=yes",
            *(["-l", target.user] if target.user else []), "-p", str(target.port), *(["-J", settings.jump] if settings.jump else []),
        ]  # fmt: skip
        done = subprocess.run(
            [*self._base, "--", target.name, "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=settings.connect_timeout + 10,
            check=False,
        )
        if done.returncode == 255:
            said = done.stderr.strip().splitlines()
            self.close()
            raise self._refused(said, settings)

    def _refused(self, said: Sequence[str], settings: SshSettings) -> LinkError:
        text = " ".join(said)
        if "Host key verification failed" in text and not self.target.jumps:
            try:
                ParamikoLink(self.target, settings).close()
            except LinkError as error:
                return error
        if "Permission denied" in text:
            return LinkError(Outcome.DENIED, f"ssh: {text}")
        return LinkError(
            Outcome.TIMED_OUT if "timed out" in text else Outcome.UNREACHABLE, f"ssh: {text or 'no connection'}"
        )

    def alive(self) -> bool:
        return (
            subprocess.run(
                [*self._base, "-O", "check", "--", self.target.name], capture_output=True, timeout=10, check=False
            ).returncode
            == 0
        )

    def shell(self, command: str, timeout: float) -> Stream:
        del timeout
        return ProcessStream([*self._base, "--", self.target.name, command])

    def forward(self, host: str, port: int, timeout: float) -> Stream:
        """`ssh -W` over a connection of its own: through the shared one the client does not tell why a channel was refused.

        Only its verbose output says that a channel is open.
        """
        shown = f"[{host}]" if ":" in host else host
        # The first value of an option counts.
        own = [self._base[0], "-vv", "-o", "ControlPath=none", *self._base[1:], "-W", f"{shown}:{port}"]
        stream = ProcessStream([*own, "--", self.target.name])
        stream.wait_open(timeout)
        return stream

    def close(self) -> None:
        if Path(self._folder, "c").exists():
            subprocess.run(
                [*self._base, "-O", "exit", "--", self.target.name], capture_output=True, timeout=10, check=False
            )
        shutil.rmtree(self._folder, ignore_errors=True)


class ProcessStream:
    """A process whose standard input and output are one socket."""

    def __init__(self, argv: Sequence[str], errors: bool = True) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                list(argv),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE if errors else subprocess.DEVNULL,
            )
        self._socket = ours
        self._closed = False  # paramiko looks at this name when a read fails, as sockets have it
        self._errors: list[bytes] = []
        self._reader: threading.Thread | None = None
        if self._process.stderr is not None:
            self._reader = threading.Thread(target=self._drain, daemon=True)
            self._reader.start()

    def _drain(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 for the type checker
        self._errors.extend(self._process.stderr)

    @property
    def said(self) -> str:
        """Its standard error so far."""
        return b"".join(self._errors).decode("utf-8", "replace").strip()

    def wait_open(self, seconds: float) -> None:
        """Wait for the channel. Raises RefusedChannelError with sshd's text, or TimeoutError."""
        end = time.monotonic() + seconds
        while b"open confirm" not in b"".join(self._errors):
            if self._process.poll() is not None:
                if self._reader is not None:
                    self._reader.join(1)
                said = _OPEN_FAILED.search(self.said)
                self.close()
                if said is None:
                    raise OSError(f"ssh ended: {self.said.splitlines()[-1] if self.said else 'it said nothing'}")
                raise RefusedChannelError(1 if "prohibited" in said[1] else 2, said[2].strip())
            if time.monotonic() > end:
                self.close()
                raise TimeoutError("the channel was not opened in time")
            time.sleep(0.02)

    def sendall(self, data: bytes) -> None:
        self._socket.sendall(data)

    def recv(self, nbytes: int) -> bytes:
        return self._socket.recv(nbytes)

    def settimeout(self, timeout: float | None) -> None:
        self._socket.settimeout(timeout)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes) -> int:
        return self._socket.send(data)

    def close(self) -> None:
        self._closed = True
        self._socket.close()
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(2)
        if self._reader is not None:
            self._reader.join(1)
        if self._process.stderr is not None:
            self._process.stderr.close()


def known_hosts_default() -> str:
    """The user's own file."""
    return os.path.expanduser("~/.ssh/known_hosts")


def _socket(
    hop: SshTarget, limit: float, before: TellingTransport | None
) -> socket.socket | paramiko.Channel | ProcessStream:
    if before is not None:
        try:
            return before.forward(hop.host, hop.port, limit)
        except RefusedChannelError as error:
            raise LinkError(
                Outcome.UNREACHABLE, f"the jump host cannot reach {hop.host}:{hop.port}: {error.text}"
            ) from error
    if hop.proxy_command:
        command = hop.proxy_command
        for sign, value in (
            ("%%", "\0"),
            ("%h", hop.host),
            ("%p", str(hop.port)),
            ("%r", hop.user),
            ("%n", hop.name),
            ("\0", "%"),
        ):
            command = command.replace(sign, value)
        return ProcessStream(["/bin/sh", "-c", f"exec {command}"], errors=False)
    made = socket.create_connection((hop.host, hop.port), timeout=limit)
    # Small packets at once: the clock pings and the times of answers are measured over this.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _prefer(transport: TellingTransport, kinds: Sequence[str]) -> None:
    """Ask for the kinds of key that are known first, so that a second key of the host does not look like an unknown host.

    And for AES-GCM before paramiko's own first choice: it needs no HMAC, which paramiko compares byte by byte in Python.
    """
    options = transport.get_security_options()
    gcm = [name for name in ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com") if name in options.ciphers]
    options.ciphers = tuple(dict.fromkeys([*gcm, *options.ciphers]))
    wanted = [
        kind for known in kinds for kind in (("rsa-sha2-512", "rsa-sha2-256") if known == "ssh-rsa" else (known,))
    ]
    first = [kind for kind in wanted if kind in options.key_types]
    if first:
        options.key_types = tuple(dict.fromkeys([*first, *options.key_types]))


def _check_key(transport: TellingTransport, hop: SshTarget, entries: Sequence[known_hosts.Entry]) -> None:
    served = transport.get_remote_server_key()
    key = HostKey(served.get_name(), served.asbytes())
    verdict, known = known_hosts.check(entries, hop.key_names, key)
    if verdict is not Verdict.KNOWN:
        raise HostKeyError(
            HostKeyProblem(
                hop.name, hop.key_names[0], key, verdict, known, next(iter(hop.known_hosts), known_hosts_default())
            )
        )


def _log_in(transport: TellingTransport, hop: SshTarget) -> None:
    tried: list[str] = []
    skipped: list[str] = []
    with contextlib.closing(_keys(hop, skipped)) as keys:
        for key, name in keys:
            if len(tried) == TRIES:
                skipped.append(f"{name} and later ones (enough keys tried)")
                break
            tried.append(name)
            try:
                left = transport.auth_publickey(hop.user, key)
            except paramiko.BadAuthenticationType as error:
                raise RefusedLoginError(
                    Outcome.DENIED,
                    f"{hop.host} takes {', '.join(error.allowed_types)} only, no key, for user {hop.user}",
                ) from error
            except paramiko.AuthenticationException:
                continue
            if left:
                raise RefusedLoginError(
                    Outcome.DENIED, f"{hop.host} wants {', '.join(left)} besides the key, for user {hop.user}"
                )
            return
    parts = [f"{hop.host} refused user {hop.user}: {', '.join(tried) or 'no key to offer'}"]
    raise RefusedLoginError(Outcome.DENIED, "; not usable: ".join([*parts, *([", ".join(skipped)] if skipped else [])]))


def _keys(hop: SshTarget, skipped: list[str]) -> Generator[tuple[paramiko.PKey, str], None, None]:
    """Keys in the order in which ssh offers them: those of the agent that are configured, the agent's others, then files."""
    publics = {}
    for path in hop.identities:
        try:
            words = Path(f"{path}.pub").read_text(encoding="utf-8", errors="replace").split()
            publics[words[1]] = path
        except (OSError, IndexError):
            continue
    with _agent_keys(hop) as held:
        mine = [key for key in held if key.get_base64() in publics]
        for key in mine:
            yield key, f"agent key {publics[key.get_base64()]}"
        if not hop.identities_only:
            for key in held:
                if key not in mine:
                    yield key, f"agent key {getattr(key, 'comment', '') or key.get_name()}"
    offered = {publics[key.get_base64()] for key in mine}
    for path in hop.identities:
        if path in offered or not Path(path).is_file():
            continue
        try:
            yield paramiko.PKey.from_path(path), path
        except paramiko.PasswordRequiredException:
            skipped.append(f"{path} (has a passphrase; add it to the agent)")
        except (paramiko.SSHException, OSError, ValueError, TypeError) as error:
            skipped.append(f"{path} ({error})")


@contextlib.contextmanager
def _agent_keys(hop: SshTarget) -> Iterator[tuple[paramiko.PKey, ...]]:
    """Keys of the agent; the connection to it is open as long as they are offered."""
    path = os.environ.get("SSH_AUTH_SOCK", "") if hop.agent in ("", "SSH_AUTH_SOCK") else hop.agent
    if not path or path == "none":
        yield ()
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        keys: tuple[paramiko.PKey, ...] = ()
        with contextlib.suppress(OSError, paramiko.SSHException):
            connection.settimeout(5)
            connection.connect(path)
            agent = paramiko.agent.AgentSSH()
            agent._connect(connection)  # type: ignore[attr-defined] # noqa: SLF001 paramiko's own way in knows the environment's socket only
            keys = tuple(agent.get_keys())
        yield keys


def _trouble(error: Exception, hop: SshTarget) -> tuple[Outcome, str]:
    where = f"{hop.host}:{hop.port}"
    # paramiko wraps what ended the wait for a banner, a time limit or a closed connection, into one and the same text.
    late = isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)
    if late or "imeout" in str(error) or "timed out" in str(error):
        return Outcome.TIMED_OUT, f"no SSH answer from {where} in time"
    if isinstance(error, socket.gaierror):
        return Outcome.UNREACHABLE, f"the name {hop.host} is not known here: {error.strerror}"
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return Outcome.UNSUPPORTED, f"{where} speaks no algorithm that we speak: {error}"
    return Outcome.UNREACHABLE, f"no SSH connection to {where}: {error or type(error).__name__}"

"""Nodes over SSH: one connection a node, kept and reused; one command a round; clock pings and all items in it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio
import paramiko

from app.clients import clock as system
from app.clients import known_hosts, script
from app.clients.script_answer import Before, Reader, frames, time_document
from app.clients.ssh_config import SshSettings, resolve
from app.clients.ssh_link import HostKeyError, HostKeyProblem, Link, LinkError, Stream, connect
from app.clients.threads import Threads
from app.errors import UsageError
from app.model.evidence import Outcome
from app.ports import Clock, Item, NodeRound, Ping

PINGS = 5
MOST_BYTES = 16 * 1024 * 1024
"""Of one round; what comes after is not read."""
PATH = "$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/rke2/bin:/var/lib/rancher/rke2/bin"
_REMOTE = re.compile(r"(\d+)(?:\.(\d+))?")


@dataclass
class Links:
    """Open connections by node, shared by the readers, the forwarding and the writer. Thread-safe; one connects at a time for each node."""

    settings: SshSettings = field(default_factory=SshSettings)
    problems: dict[str, HostKeyProblem] = field(default_factory=dict)
    """By node; taken out when the key was accepted or the host answers as known."""
    _links: dict[str, Link] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def get(self, node: str) -> Link:
        """The node's connection, made when there is none. Raises LinkError."""
        with self._guard:
            lock = self._locks.setdefault(node, threading.Lock())
        # A second caller of a hanging node waits no longer than the first one's own limits.
        if not lock.acquire(timeout=self.settings.connect_timeout * 4):
            raise LinkError(Outcome.TIMED_OUT, f"another connection to {node} is still being made")
        try:
            link = self._links.get(node)
            if link is not None and link.alive():
                return link
            if link is not None:
                link.close()
            try:
                link = connect(resolve(node, self.settings), self.settings)
            except HostKeyError as error:
                self.problems[node] = replace(error.problem, node=node)
                raise
            except UsageError as error:
                raise LinkError(Outcome.UNREACHABLE, error.what) from error
            self.problems.pop(node, None)
            self._links[node] = link
            return link
        finally:
            lock.release()

    def drop(self, node: str) -> None:
        """Close a node's connection, so that the next use makes a new one."""
        link = self._links.pop(node, None)
        if link is not None:
            link.close()

    def notes(self) -> Mapping[str, tuple[str, ...]]:
        """What the connections screen says about each open connection."""
        return {node: (link.via, *link.notes) for node, link in sorted(self._links.items())}

    def close(self) -> None:
        """End all connections."""
        for node in list(self._links):
            self.drop(node)


class LiveNodes:
    """Reading from nodes. `links` is shared with `LiveHttp` and the writer, so that a node is logged in to once."""

    def __init__(
        self, links: Links, threads: Threads | None = None, clock: Clock | None = None, timeout: float = 60.0
    ) -> None:
        self._links = links
        self._threads = threads or Threads()
        self._clock = clock or system.SystemClock()
        self._timeout = timeout
        self._before: dict[str, Before] = {}

    @property
    def problems(self) -> tuple[HostKeyProblem, ...]:
        """Hosts whose key was not accepted, for the dialog."""
        return tuple(self._links.problems.values())

    def accept(self, problem: HostKeyProblem) -> None:
        """Write a key that the operator has accepted to known_hosts. A changed or revoked key is never written.

        Raises UsageError for those.
        """
        if problem.verdict is not known_hosts.Verdict.UNKNOWN:
            raise UsageError(problem.text, "Find out why it changed, then correct known_hosts by hand (ssh-keygen -R).")
        known_hosts.append(problem.file, problem.host, problem.key)
        self._links.problems.pop(problem.node, None)

    async def read(self, node: str, items: Sequence[Item]) -> NodeRound:
        """All items in one round. Never raises for trouble at the node."""
        if not items:
            return NodeRound(Outcome.SKIPPED, detail="nothing was asked")
        with anyio.move_on_after(self._timeout + 5):
            return await self._threads.run(self._round, node, list(items))
        return NodeRound(Outcome.TIMED_OUT, detail=f"{node} did not answer within {self._timeout:.0f} s")

    def close(self) -> None:
        """End all connections."""
        self._links.close()

    def _round(self, node: str, items: Sequence[Item]) -> NodeRound:
        deadline = self._clock.monotonic() + self._timeout
        word = system.nonce()
        text = script.render(items, word)
        for last in (False, True):
            try:
                link = self._links.get(node)
            except LinkError as error:
                return NodeRound(error.outcome, detail=error.detail)
            try:
                return self._ask(node, link, items, text, word, deadline)
            except (OSError, EOFError, paramiko.SSHException) as error:
                self._links.drop(node)
                # A connection that was kept may have been ended by the other side meanwhile: once more, over a new one.
                if last or self._clock.monotonic() > deadline - 1:
                    timed_out = isinstance(error, TimeoutError)
                    return NodeRound(
                        Outcome.TIMED_OUT if timed_out else Outcome.UNREACHABLE,
                        detail=f"{node}: {error or type(error).__name__}",
                    )
        raise AssertionError("not reached")

    def _ask(self, node: str, link: Link, items: Sequence[Item], text: str, word: str, deadline: float) -> NodeRound:
        stream = link.shell("sh -s", timeout=15)
        try:
            talk = _Talk(stream, self._clock, deadline)
            talk.send(
                f"N={word}; LC_ALL=C LANG=C PATH={PATH}; export LC_ALL LANG PATH; printf '\\n%s R %s %s\\n' $N $(id -u) $(id -un)\n"
            )
            first = talk.line(f"{word} R ")
            if first is None:
                said = talk.data.decode("utf-8", "replace").strip()[:200]
                return NodeRound(
                    Outcome.UNSUPPORTED,
                    user=link.target.user,
                    detail=f"{node} gives no POSIX shell to {link.target.user}: {said or 'it ended at once'}",
                )
            number, _, user = first.partition(" ")
            pings = talk.pings(word)
            talk.send(text)
            data, ended = talk.rest(f"\n{word} Z ".encode())
        finally:
            stream.close()
        answer = frames(data, word)
        now = self._clock.now()
        documents = list(Reader(node, items, answer, now, user, self._before.setdefault(node, Before())).documents())
        stamp = time_document(node, pings, now)
        if stamp is not None:
            documents.append(stamp)
        notes = list(link.notes)
        if not answer.complete:
            notes.append("the answer was cut" if ended else f"the answer did not end within {self._timeout:.0f} s")
            self._links.drop(node)
        return NodeRound(
            Outcome.OBSERVED if answer.complete or answer.frames else Outcome.TIMED_OUT,
            documents=tuple(documents), pings=tuple(pings), sudo=True if number == "0" else answer.sudo, user=user, detail="; ".join(notes),
        )  # fmt: skip


class _Talk:
    """Lines and bytes over one channel, with one deadline."""

    def __init__(self, stream: Stream, clock: Clock, deadline: float) -> None:
        self._stream = stream
        self._clock = clock
        self._deadline = deadline
        self.data = b""

    def send(self, text: str) -> None:
        self._stream.settimeout(max(0.1, self._deadline - self._clock.monotonic()))
        self._stream.sendall(text.encode())

    def line(self, start: str) -> str | None:
        """The rest of the line that starts so; None when the channel ends first."""
        mark = f"\n{start}".encode()
        while True:
            at = self.data.find(mark)
            end = self.data.find(b"\n", at + 1) if at >= 0 else -1
            if end >= 0:
                found = self.data[at + len(mark) : end].decode("utf-8", "replace")
                self.data = self.data[end:]
                return found
            if not self._more():
                return None

    def pings(self, word: str) -> list[Ping]:
        """Five times: we write a line, the node answers with its time."""
        pings = []
        for _ in range(PINGS):
            sent = self._clock.now()
            self.send(f'date -u "+%n{word} P %s.%N"\n')
            answer = self.line(f"{word} P ")
            received = self._clock.now()
            match = _REMOTE.match(answer or "")
            if match is None:
                break
            # busybox knows no %N and prints the sign itself, or nothing.
            fine = match[2] is not None and len(match[2]) == 9
            pings.append(
                Ping(
                    sent, received, float(f"{match[1]}.{match[2]}") if fine else float(match[1]), whole_seconds=not fine
                )
            )
        return pings

    def rest(self, mark: bytes) -> tuple[bytes, bool]:
        """All bytes up to the end mark, and whether the channel ended or was cut before it by size."""
        chunks = [self.data]
        tail, size = self.data[-200:], len(self.data)
        pause = 0.003
        while mark not in tail and size < MOST_BYTES:
            self.data = b""
            try:
                if not self._more():
                    return b"".join(chunks), True
            except TimeoutError:
                return b"".join(chunks), False
            chunks.append(self.data)
            size += len(self.data)
            tail = tail[-200:] + self.data
            if mark not in tail:
                # Being woken for each packet costs more than all that is done with it (13 of 18 ms): let some gather.
                time.sleep(pause)
                pause = min(pause * 2, 0.04)
        return b"".join(chunks), True

    def _more(self) -> bool:
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        self._stream.settimeout(left)
        part = self._stream.recv(65536)
        self.data += part
        return bool(part)

"""Forwarded channels (`direct-tcpip`): the node resolves the name and connects; what it says when it cannot is kept.

sshd answers a refused channel with a reason code and a text, the text being `strerror` or `gai_strerror` of the failing step
(seen with OpenSSH 9.2). paramiko logs that text and drops it from the exception, so this module reads it from the message.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import paramiko
from paramiko.message import Message

ADMINISTRATIVELY_PROHIBITED = 1
CONNECT_FAILED = 2


class RefusedChannelError(paramiko.SSHException):
    """The far side did not open a channel. `code` as RFC 4254 5.1 numbers it, `text` in sshd's words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text or f"channel refused ({code})")
        self.code = code
        self.text = text


class TellingTransport(paramiko.Transport):
    """A transport that keeps the text of a refused channel."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._refusals: dict[int, RefusedChannelError] = {}
        self._mine = threading.local()
        super().__init__(*args, **kwargs)

    def _next_channel(self) -> int:
        # Called by open_channel in the thread that wants the channel: so that each thread finds its own refusal.
        self._mine.channel = int(super()._next_channel())  # type: ignore[misc] # not in the stubs
        return int(self._mine.channel)

    def _parse_channel_open_failure(self, message: Message) -> None:
        channel, code, text = message.get_int(), message.get_int(), message.get_text()
        self._refusals[channel] = RefusedChannelError(code, text)
        message.rewind()
        super()._parse_channel_open_failure(message)  # type: ignore[misc] # not in the stubs

    def forward(self, host: str, port: int, timeout: float) -> paramiko.Channel:
        """A channel to a host as the far side knows it. Raises RefusedChannelError, or SSHException when nothing is said in time."""
        try:
            return self.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout)
        except paramiko.ChannelException as error:
            refusal = self._refusals.pop(self._mine.channel, None)
            raise refusal or RefusedChannelError(error.code, error.text) from error


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a failed connection says, in the words of Exchange: `dns`, `tcp`, or neither (`forbidden`)."""

    dns: str = ""
    tcp: str = ""
    forbidden: bool = False
    at_once: bool = False
    """connect() failed without waiting, and sshd does not say why: no route, or a closed port of the node itself."""
    text: str = ""


def classify(text: str, code: int = 2, seconds: float = 0.0) -> Refusal:
    """From the text of strerror or gai_strerror (glibc and musl) to the failing layer."""
    lower = text.lower()
    if code == ADMINISTRATIVELY_PROHIBITED or "prohibited" in lower or "forwarding disabled" in lower:
        return Refusal(forbidden=True, text=text)
    if any(
        word in lower
        for word in (
            "name or service not known",
            "no address associated",
            "does not resolve",
            "nodename nor servname",
            "unknown host",
            "name has no usable address",
        )
    ):
        return Refusal(dns="nxdomain", text=text)
    if (
        "temporary failure in name resolution" in lower
        or lower.strip() == "try again"
        or "non-recoverable failure" in lower
    ):
        # EAI_AGAIN stands for SERVFAIL and for silence; the resolver waits at least 5 s before it gives a silent server up.
        return Refusal(dns="timeout" if seconds >= 4.5 else "servfail", text=text)
    if code == CONNECT_FAILED and lower.strip() in ("open failed", "connect failed", ""):
        return Refusal(dns="ok", at_once=True, text=text)
    if "refused" in lower:
        return Refusal(dns="ok", tcp="refused", text=text)
    if "no route to host" in lower or "unreachable" in lower:
        return Refusal(dns="ok", tcp="unreachable", text=text)
    if "timed out" in lower or "timeout" in lower:
        return Refusal(dns="ok", tcp="timeout", text=text)
    if "reset by peer" in lower:
        return Refusal(dns="ok", tcp="reset", text=text)
    return Refusal(text=text)

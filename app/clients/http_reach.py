"""Reaching a host from a vantage: resolve and connect, each with what was seen. `operator` is this machine, `node/<name>` its forwarded channel."""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass
from shlex import quote

import paramiko

from app.clients.forward import RefusedChannelError, classify
from app.clients.http_stream import Deadline
from app.clients.ssh import Links
from app.clients.ssh_link import LinkError, Stream


@dataclass(frozen=True, slots=True)
class Reached:
    """How far it came. `stream` None: no connection, and `error` says why."""

    stream: Stream | None = None
    addresses: tuple[str, ...] = ()
    dns: str = ""
    address: str = ""
    tcp: str = ""
    error: str = ""


def reach(vantage: str, host: str, port: int, deadline: Deadline, links: Links | None) -> Reached:
    """Connect. Never raises for trouble on the way."""
    kind, _, name = vantage.partition("/")
    try:
        if kind == "node" and name:
            if links is None:
                return Reached(error="no SSH connection is set up, so nothing can be asked from a node")
            return _from_node(links, name, host, port, deadline)
        return _from_here(host, port, deadline)
    except TimeoutError:
        return Reached(tcp="timeout", error="no time left")


def _from_here(host: str, port: int, deadline: Deadline) -> Reached:
    begin = time.monotonic()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        refusal = classify(error.strerror or str(error), seconds=time.monotonic() - begin)
        return Reached(dns=refusal.dns or "servfail", error=f"{host}: {error.strerror}")
    except (UnicodeError, OSError) as error:
        return Reached(dns="nxdomain", error=f"{host}: {error}")
    literal = _literal(host)
    addresses = tuple(dict.fromkeys(str(one[4][0]) for one in found))
    seen = Reached(addresses=addresses, dns="" if literal else "ok")
    state, error_text = "", ""
    for place, address in enumerate(addresses):
        try:
            # What is left is shared by the addresses that are left, so that a silent first one does not eat it all.
            stream = socket.create_connection((address, port), timeout=deadline.left / (len(addresses) - place))
        except OSError as error:
            state, error_text = _state_of(error), f"{address}:{port}: {error.strerror or error}"
            continue
        return Reached(stream, addresses, seen.dns, address, "open")
    return Reached(None, addresses, seen.dns, addresses[-1] if addresses else "", state, error_text)


def _from_node(links: Links, node: str, host: str, port: int, deadline: Deadline) -> Reached:
    try:
        link = links.get(node)
    except LinkError as error:
        return Reached(error=f"{node} cannot be reached over SSH: {error.detail}")
    literal = _literal(host)
    begin = time.monotonic()
    try:
        stream = link.forward(host, port, deadline.left)
    except RefusedChannelError as error:
        refusal = classify(error.text, error.code, time.monotonic() - begin)
        if refusal.forbidden:
            return Reached(
                error=f"sshd of {node} forbids forwarding ({error.text}); by hand on the node: curl -v {host}:{port}"
            )
        tcp = refusal.tcp
        addresses: tuple[str, ...] = ()
        if refusal.at_once:
            _, addresses, own = _getent(links, node, host)
            tcp = "refused" if own & set(addresses) else "unreachable" if addresses else ""
        said = {"unreachable": "no route to it"}.get(
            tcp if refusal.at_once else "", error.text or "the connection failed"
        )
        return Reached(dns="" if literal else refusal.dns, tcp=tcp, addresses=addresses, error=f"from {node}: {said}")
    except (paramiko.SSHException, OSError, EOFError) as error:
        if not link.alive():
            links.drop(node)
            return Reached(error=f"the connection to {node} was lost: {error}")
        # sshd is silent while it resolves and while it connects: the node's own resolver tells which of the two it was.
        dns, found, _ = ("", (), None) if literal else _getent(links, node, host)
        if dns in ("", "ok"):
            return Reached(
                addresses=found, dns=dns, tcp="timeout", error=f"from {node}: no connection to {host}:{port} in time"
            )
        return Reached(dns=dns, error=f"from {node}: {host} does not resolve in time")
    return Reached(stream, dns="" if literal else "ok", tcp="open", address=host if literal else "")


def _getent(links: Links, node: str, host: str) -> tuple[str, tuple[str, ...], set[str]]:
    """What the node's resolver says, the addresses, and the node's own addresses."""
    try:
        stream = links.get(node).shell(
            f'timeout 8 getent ahosts {quote(host)}; echo "exit $?"; echo "own $(hostname -I)"', timeout=12
        )
    except (LinkError, paramiko.SSHException, OSError, EOFError):
        return "", (), set()
    data = b""
    try:
        stream.settimeout(12)
        while part := stream.recv(4096):
            data += part
    except OSError:
        return "", (), set()
    finally:
        stream.close()
    addresses, dns, own = [], "", {"127.0.0.1", "::1"}
    for line in data.decode("utf-8", "replace").splitlines():
        word, _, rest = line.partition(" ")
        match word:
            case "exit":
                dns = {"0": "ok", "2": "nxdomain", "124": "timeout"}.get(rest.strip(), "")
            case "own":
                own |= set(rest.split())
            case _ if word:
                addresses.append(word)
    return dns, tuple(dict.fromkeys(addresses)), own


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _state_of(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionResetError):
        return "reset"
    return classify(error.strerror or str(error)).tcp or "unreachable"

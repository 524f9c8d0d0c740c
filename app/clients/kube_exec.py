"""Exec in a container by the channel protocol (v4.channel.k8s.io) over a websocket; only a closed set of harmless commands."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import certifi
import websocket  # type: ignore[import-untyped,unused-ignore]

from app.errors import KubeconfigError
from app.model.evidence import Outcome
from app.ports import KubeReply

if TYPE_CHECKING:
    from app.clients.kube import Connection

COMMANDS: Final = ("sha256sum", "date", "stat", "printenv-sha256")
_PATH = re.compile(r"/[A-Za-z0-9._/@:+-]*")
_FORMAT = re.compile(r"[A-Za-z0-9%+:. _|T-]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MOST_BYTES = 1024 * 1024


def argv(command: str, arguments: Sequence[str]) -> list[str] | None:
    """The argument list to run; None for whatever is not in the set."""
    match command:
        case "sha256sum" if arguments and all(_PATH.fullmatch(one) for one in arguments):
            return ["sha256sum", "--", *arguments]
        case "date" if all(one == "-u" or (one.startswith("+") and _FORMAT.fullmatch(one)) for one in arguments):
            return ["date", *arguments]
        case "stat":
            words, formats = list(arguments), ["-L", "-c", "%Y %s %a %n"]
            while words and words[0].startswith("-"):
                if words[0] == "-L":
                    words = words[1:]
                elif words[0] == "-c" and len(words) > 1 and _FORMAT.fullmatch(words[1]):
                    formats[2], words = words[1], words[2:]
                else:
                    return None
            return ["stat", *formats, "--", *words] if words and all(_PATH.fullmatch(one) for one in words) else None
        case "printenv-sha256" if len(arguments) == 1 and _NAME.fullmatch(arguments[0]):
            # Only the digest leaves the container. The name was checked above, so it can stand in the script.
            name = arguments[0]
            return ["sh", "-c", f'[ "${{{name}+x}}" ] || exit 3; printf %s "${{{name}}}" | sha256sum']
    return None


def run_in_pod(
    connection: Connection, namespace: str, pod: str, container: str, command: str, arguments: Sequence[str]
) -> KubeReply:
    """Blocking. The body is standard output. A container without the program, or a non-zero exit: UNSUPPORTED, with what it said."""
    words = argv(command, arguments)
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/exec"
    source = f"kubectl exec -n {namespace} {pod} -c {container} -- {' '.join(words or [command, *arguments])}"
    if words is None:
        return KubeReply(
            Outcome.UNSUPPORTED,
            detail=f"{command} {' '.join(arguments)} is not among the commands that are run in pods",
            source=source,
        )
    query = [("container", container)] if container else []
    query += [("stdout", "true"), ("stderr", "true"), *(("command", word) for word in words)]
    parts = urlsplit(connection.server)
    url = urlunsplit(
        ("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path.rstrip("/") + path, urlencode(query), "")
    )
    limit = connection.options.request_timeout
    try:
        # Through the same headers as every call, so that --as is obeyed here too.
        headers = [f"{name}: {value}" for name, value in connection.headers()]
        socket = websocket.create_connection(
            url,
            timeout=min(limit, 15),
            header=headers,
            subprotocols=["v4.channel.k8s.io"],
            sslopt=_tls(connection.configuration),
            suppress_origin=True,
            **_proxy(connection.configuration),
        )
    except KubeconfigError as error:
        return KubeReply(Outcome.DENIED, detail=str(error), source=source)
    except websocket.WebSocketBadStatusException as error:
        return _refused(error, source)
    except (websocket.WebSocketException, OSError, ssl.SSLError) as error:
        timed_out = isinstance(error, TimeoutError | websocket.WebSocketTimeoutException)
        return KubeReply(
            Outcome.TIMED_OUT if timed_out else Outcome.UNREACHABLE,
            detail=f"exec: {error or type(error).__name__}",
            source=source,
        )
    try:
        return _read(socket, limit, source)
    finally:
        socket.close()


def _read(socket: Any, limit: float, source: str) -> KubeReply:
    out, errors, status = b"", b"", b""
    end = time.monotonic() + limit
    try:
        while len(out) < MOST_BYTES:
            socket.settimeout(max(0.1, end - time.monotonic()))
            code, data = socket.recv_data()
            if code == websocket.ABNF.OPCODE_CLOSE:
                break
            if not data:
                continue
            match data[0]:
                case 1:
                    out += data[1:]
                case 2:
                    errors += data[1:]
                case 3:
                    status += data[1:]
                    break
    except websocket.WebSocketTimeoutException:
        return KubeReply(Outcome.TIMED_OUT, detail=f"the command did not end within {limit:.0f} s", source=source)
    except (websocket.WebSocketException, OSError) as error:
        if not status and not out:
            return KubeReply(Outcome.UNREACHABLE, detail=f"exec: {error or type(error).__name__}", source=source)
    said = errors.decode("utf-8", "replace").strip()
    try:
        verdict = json.loads(status) if status else {}
    except ValueError:
        verdict = {}
    if verdict.get("status") == "Success":
        return KubeReply(Outcome.OBSERVED, 200, out.decode("utf-8", "replace"), detail=said, source=source)
    detail = said or str(verdict.get("message", "")) or "the command's end was not told"
    denied = "ermission denied" in detail
    return KubeReply(
        Outcome.DENIED if denied else Outcome.UNSUPPORTED,
        200,
        out.decode("utf-8", "replace"),
        detail=detail[:500],
        source=source,
    )


def _refused(error: Any, source: str) -> KubeReply:
    body = getattr(error, "resp_body", b"") or b""
    try:
        message = str(json.loads(body).get("message", ""))
    except (ValueError, AttributeError):
        message = body.decode("utf-8", "replace")[:300] if isinstance(body, bytes) else ""
    code = int(error.status_code)
    outcome = (
        Outcome.DENIED
        if code in (401, 403)
        else Outcome.OBSERVED
        if code == 404
        else Outcome.UNREACHABLE
        if code >= 500
        else Outcome.UNSUPPORTED
    )
    return KubeReply(outcome, code, detail=message or f"exec was refused ({code})", source=source)


def _tls(configuration: Any) -> dict[str, Any]:
    options: dict[str, Any] = (
        {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": configuration.ssl_ca_cert or certifi.where()}
        if configuration.verify_ssl
        else {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    )
    for ours, theirs in (("certfile", "cert_file"), ("keyfile", "key_file"), ("server_hostname", "tls_server_name")):
        if getattr(configuration, theirs, None):
            options[ours] = getattr(configuration, theirs)
    return options


def _proxy(configuration: Any) -> dict[str, Any]:
    if not configuration.proxy:
        return {}
    parts = urlsplit(configuration.proxy)
    return {"http_proxy_host": parts.hostname, "http_proxy_port": parts.port, "proxy_type": "http"}

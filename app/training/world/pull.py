"""A pull by containerd: which hosts, by the pull plan from the node's files; what each answers; which error is shown."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, urlsplit

from app.model.material import Document, Material
from app.parsers.versions import at_least
from app.probes.runtime_files import files_of
from app.probes.runtime_setup import node_setup
from app.pullplan.containerd import Choice, Host, choose
from app.pullplan.inputs import NodeSetup
from app.pullplan.plan import rewritten, split_image
from app.pullplan.settings import effective
from app.training.world.clock import nano
from app.training.world.network import handshake, os_trust, reach, reach_by, runtime_proxy
from app.training.world.others import Call
from app.training.world.registry import answer
from app.training.world.state import Node, Server, State

READ_AT_START: Final = ("/etc/containerd/config.toml", "/etc/containerd/conf.d/")
"""Files of containerd's own that it reads once; hosts files and CA files are read at each pull (node.md 2.3)."""

FULL: Final = 100
"""Percent of the disk: nothing more can be written."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """The end of one pull. `error` is the runtime's text as the kubelet shows it; empty: it is there."""

    error: str = ""
    digest: str = ""
    seconds: float = 0.4


@dataclass(frozen=True, slots=True)
class _Tried:
    """One host. `rank`: 0 ok, 1 transport or rights, 2 not found, 3 another status."""

    rank: int
    said: str = ""
    log: str = ""
    digest: str = ""


def setup_of(node: Node) -> NodeSetup:
    """The settings that the running containerd goes by."""
    agent = f"/var/lib/rancher/{node.rancher}/agent/etc/containerd" if node.rancher else ""
    main = f"{agent}/config.toml" if agent else "/etc/containerd/config.toml"
    prefix = f"nodes/{node.name}"
    documents = [Document(f"{prefix}/versions.txt", versions(node))]
    stats: dict[str, dict[str, object]] = {}
    for path, file in node.files.items():
        at_start = path == main or path.startswith(READ_AT_START)
        chosen = node.loaded.get(path) if at_start else file
        if chosen is not None:
            documents.append(Document(f"{prefix}{path}", chosen.text))
            stats[path] = {"size": len(chosen.text), "mtime": chosen.mtime, "mode": chosen.mode, "owner": chosen.owner}
    documents += [
        Document(f"{prefix}{path}", file.text)
        for path, file in node.loaded.items()
        if path not in node.files and (path == main or path.startswith(READ_AT_START))
    ]
    if main not in node.loaded:
        documents.append(Document(f"{prefix}{main}", absent=True))
    # Everything of the node is known here: a folder that is not listed is not there.
    stats["/"] = {"directory": True, "listed": True}
    documents.append(Document(f"{prefix}/stat.json", json.dumps(stats)))
    return node_setup(files_of(Material(documents), node.name))


def versions(node: Node) -> str:
    """What the node's programs say of their releases."""
    one = at_least(node.runtime, 2)
    module = "github.com/containerd/containerd/v2" if one else "github.com/containerd/containerd"
    first = f"containerd {module} {node.runtime} {'+unknown' if node.rancher else 'v' + node.runtime}"
    kubelet = f"{node.rancher} version {node.kubelet} (1ab1ab1a)" if node.rancher else f"Kubernetes {node.kubelet}"
    lines = [kubelet, first] if node.rancher else [first, kubelet]
    return "\n".join([*lines, "runc version 1.2.4", "Ubuntu 24.04.2 LTS", "Linux 6.8.0-55-generic", ""])


def hosts_of(node: Node, image: str) -> tuple[Choice, str]:
    """The hosts that are tried, and the repository's name."""
    namespace, repository, _ = split_image(image)
    setup = setup_of(node)
    return choose(setup, effective(setup), namespace), repository


def pull(state: State, node: Node, image: str, login: tuple[str, str] | None) -> Pulled:
    """One pull with one login or none. Writes the runtime's log."""
    choice, repository = hosts_of(node, image)
    namespace, path, reference = split_image(image)
    # The runtime spells the name out, and says so in its texts; the kubelet has it as it was written.
    full = image if image.startswith(f"{namespace}/") else f"{namespace}/{path}:{reference}"
    old = not at_least(node.runtime, 2)
    local = old or "use_local_image_pull = true" in (
        node.text(f"/var/lib/rancher/{node.rancher}/agent/etc/containerd/config.toml", loaded=True) or ""
    )
    resolving = (
        f'failed to resolve reference "{full}"' if local or not at_least(node.runtime, 2) else "failed to resolve image"
    )
    head = f'failed to pull and unpack image "{full}": {resolving}: '
    _log(state, node, "info", f'PullImage \\"{image}\\"')
    error = choice.error or _absent_ca(node, choice)
    if error:
        return _failed(state, node, image, f"{head}{error}")
    tried = []
    for host in choice.hosts:
        if not host.resolves:
            continue
        one = _try(state, node, host, rewritten(host, repository), reference, namespace, login)
        if one.rank == 0 and node.disk_used >= FULL and image not in node.images:
            root = f"/var/lib/rancher/{node.rancher}/agent/containerd" if node.rancher else "/var/lib/containerd"
            ingest = f"{root}/io.containerd.content.v1.content/ingest/{one.digest.rpartition(':')[2]}/data"
            text = f'failed to pull and unpack image "{full}": failed to copy: write {ingest}: no space left on device'
            return _failed(state, node, image, text)
        if one.rank == 0:
            state.clock.move(0.3)
            _log(state, node, "info", f'Pulled image \\"{image}\\" with image id \\"{one.digest}\\", repo tag \\"{image}\\", repo digest \\"{image.rpartition(":")[0]}@{one.digest}\\", size \\"3402812\\" in 311.52ms')  # fmt: skip
            return Pulled(digest=one.digest)
        word = "trying next host" if old else "fetch failed"
        if one.rank == 2:
            _log(state, node, "info", f"{'trying next host - response was http.StatusNotFound' if old else 'fetch failed after status: 404 Not Found'}", host.authority)  # fmt: skip
        else:
            _log(state, node, "info", f'{word}" error="{_quoted(one.log or one.said)}', host.authority)
        tried.append(one)
    shown = _shown(tried, old=old)
    if shown.rank == 2:
        text = f"{head}{full}: not found"
        return _failed(state, node, image, f"rpc error: code = NotFound desc = {text}", text)
    # A connection that is never answered ends the pull by its deadline (seen with 1.7 and 2.1, not with 1.6).
    late = shown.said.endswith("i/o timeout") and at_least(node.runtime, 1, 7)
    text = head + shown.said
    return _failed(state, node, image, f"rpc error: code = DeadlineExceeded desc = {text}" if late else text, text)


def _absent_ca(node: Node, choice: Choice) -> str:
    """One CA file that cannot be opened ends the pull before any host is asked (node.md 2.4)."""
    for host in choice.hosts:
        for path in host.ca:
            if node.text(path) is None:
                cause = f"open {path}: no such file or directory"
                if choice.directory is None:
                    return f'get TLSConfig for registry "{host.scheme}://{host.authority}": failed to load CA file: {cause}'
                return f'unable to read CA cert "{path}": {cause}'
    return ""


def _node_login(node: Node, host: Host) -> tuple[str, str] | None:
    """The login that the running runtime has for the host it talks to; the kubelet's takes its place (node.md 2.6)."""
    if not host.node_login:
        return None
    for text in (file.text for file in node.loaded.values() if "registry" in file.text and ".auth]" in file.text):
        for plugin in (tomllib.loads(text).get("plugins") or {}).values():
            auth = ((plugin.get("registry") or {}).get("configs") or {}).get(host.authority, {}).get("auth") or {}
            if auth.get("username"):
                return str(auth["username"]), str(auth.get("password") or "")
    return None


def _shown(tried: list[_Tried], *, old: bool) -> _Tried:
    """Which host's failure is told (node.md 1.4)."""
    if old:
        return next((one for one in tried if one.rank != 2), tried[0] if tried else _Tried(2))
    return max(tried, key=lambda one: one.rank, default=_Tried(2))


def _failed(state: State, node: Node, image: str, error: str, logged: str = "") -> Pulled:
    code = error.removeprefix("rpc error: code = ").partition(" ")[0] if error.startswith("rpc error: ") else "Unknown"
    _log(
        state,
        node,
        "error",
        f'PullImage \\"{image}\\" failed" error="rpc error: code = {code} desc = {_quoted(logged or error)}',
    )
    return Pulled(error)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _log(state: State, node: Node, level: str, message: str, host: str = "") -> None:
    state.clock.move(0.002)
    more = f" host={host if ':' not in host else json.dumps(host)}" if host else ""

    node.log.append(f'time="{nano(state.now() + node.clock_offset)}" level={level} msg="{message}"{more}')


def _try(
    state: State, node: Node, host: Host, repository: str, reference: str, namespace: str, login: tuple[str, str] | None
) -> _Tried:
    own = host.authority in (namespace, "registry-1.docker.io" if namespace == "docker.io" else "")
    query = "" if own else f"?ns={quote(namespace, safe='')}"
    path = f"{host.path}/{repository}/manifests/{reference}{query}"
    url = f"{host.scheme}://{host.authority}{path}"
    found, said = _connected(state, node, host, url)
    if found is None:
        return _Tried(1, f'failed to do request: Head "{url}": {said}')
    if host.scheme == "http" and found.scheme == "https":
        return _Tried(3, f"unexpected status from HEAD request to {url}: 400 Bad Request")
    login = login or _node_login(node, host)
    agent = f"containerd/{node.runtime}"
    call = Call("HEAD", path, client=node.address, agent=agent)
    first = answer(state, found, call)
    if first.status == 401:
        challenge = first.headers.get("www-authenticate", "")
        return _authorised(state, node, host, found, call, challenge, login, url)
    return _status(first.status, url, first.headers.get("docker-content-digest", ""))


def _connected(state: State, node: Node, host: Host, url: str) -> tuple[Server | None, str]:
    """The server behind a URL, by the way and with the trust of this host's entry; None with Go's words for what failed."""
    parts = urlsplit(url)
    name, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    proxy = runtime_proxy(node, url)
    found = reach_by(state, node, proxy, name, port) if proxy else reach(state, node, name, port)
    if found.server is None:
        state.clock.move(30.0 if found.tcp == "timeout" else 0.01)
        return None, found.said
    if parts.scheme == "https" and not (host.skip_verify and found.server.scheme == "https"):
        anchors = os_trust(node, loaded=True) + "".join(node.text(path) or "" for path in host.ca)
        _, said = handshake(found.server, name, anchors, "node", state.now() + node.clock_offset)
        if said:
            modern = bool(at_least(node.runtime, 1, 7)) and said.startswith("x509: ")
            return None, ("tls: failed to verify certificate: " if modern else "") + said
    return found.server, ""


def _authorised(
    state: State, node: Node, host: Host, server: Server, call: Call, challenge: str, login: tuple[str, str] | None, url: str
) -> _Tried:  # fmt: skip
    """After the 401: with a login Harbor 2.x is asked for a token and then by Basic; without one for an anonymous token."""
    realm = challenge.partition('realm="')[2].partition('"')[0]
    bearer = ""
    if realm and challenge.lower().startswith("bearer"):
        where = urlsplit(realm)
        query = f"scope=repository%3A{quote(call.path.split('/v2/')[-1].partition('/manifests/')[0], safe='')}%3Apull&service=harbor-registry"
        service, said = _connected(state, node, host, realm)
        if service is None:
            what = f'oauth token: Post "{realm}"' if login is not None else f'anonymous token: Get "{realm}?{query}"'
            return _Tried(1, f"failed to authorize: failed to fetch {what}: {said}")
        if where.scheme == "http" and service.scheme == "https":
            # The TLS port answers a plain request with 400; the text names only the way that was asked.
            method = "POST" if login is not None else "GET"
            return _Tried(3, f"failed to authorize: failed to fetch {'oauth' if login else 'anonymous'} token: unexpected status from {method} request to {realm}: 400 Bad Request")  # fmt: skip
        token = answer(state, service, replace(call, method="GET", path=f"{where.path}?{query}", login=login))
        if token.status == 200:
            bearer = str(json.loads(token.body).get("token") or "")
    if login is not None:
        # A refused or a weak token is not the end: containerd goes on with the login itself.
        again = answer(state, server, replace(call, bearer=bearer)) if bearer else None
        if again is None or again.status == 401:
            again = answer(state, server, replace(call, login=login))
    else:
        again = answer(state, server, replace(call, bearer=bearer))
    if again.status == 401:
        if not at_least(node.runtime, 1, 7):
            tag = call.path.rpartition("/")[2].partition("?")[0]
            return _Tried(
                1, f"pulling from host {host.authority} failed with status code [manifests {tag}]: 401 Unauthorized"
            )
        if login is None:
            said = "pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"
            return _Tried(1, said)
        return _Tried(3, f"unexpected status from HEAD request to {url}: 401 Unauthorized")
    return _status(again.status, url, again.headers.get("docker-content-digest", ""))


def _status(status: int, url: str, digest: str) -> _Tried:
    if status == 200:
        return _Tried(0, digest=digest)
    if status == 404:
        return _Tried(2, "not found")
    words = {403: "Forbidden", 412: "Precondition Failed", 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}  # fmt: skip
    return _Tried(3, f"unexpected status from HEAD request to {url}: {status} {words.get(status, '')}".rstrip())

"""Failing pulls among many pods: `harborpilot diagnose` beside `kubectl get pods -A -o json`, on the same API server on loopback.

The server answers as the real one does: pages with `limit` and `continue`, field selectors on phase and namespace. Its own work is
joining byte strings made beforehand, so that the two clients are what is measured. 30,000 pods of about 6 kB; 150 of them fail.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from benchmarks.common import Row, main, ran
from benchmarks.data import pod

PODS = 30_000
FAILING_EVERY = 200
PADDING = 5_000
NODES = 300


class Server:
    """A list of pods behind the paths that both clients ask."""

    def __init__(self, pods: int = PODS) -> None:
        everything = [
            (
                f"ns-{number % 60}",
                number % FAILING_EVERY == 0,
                json.dumps(
                    pod(number, failing=number % FAILING_EVERY == 0, node=f"node-{number % NODES}", padding=PADDING)
                ).encode(),
            )
            for number in range(pods)
        ]
        nodes = [
            json.dumps(
                {
                    "metadata": {"name": f"node-{number}"},
                    "status": {"nodeInfo": {"containerRuntimeVersion": "containerd://1.7.20"}},
                }
            ).encode()
            for number in range(NODES)
        ]
        outer = self
        self.bytes = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                body = self._body(parts.path, query)
                self.send_response(200 if body else 404)
                body = body or b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}'
                outer.bytes += len(body)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _body(self, path: str, query: dict[str, str]) -> bytes:
                if path == "/api":
                    return b'{"kind":"APIVersions","versions":["v1"]}'
                if path == "/apis":
                    return b'{"kind":"APIGroupList","apiVersion":"v1","groups":[]}'
                if path == "/api/v1":
                    return b'{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list"],"shortNames":["po"]}]}'
                if path == "/api/v1/nodes":
                    return self._list(nodes, query, "NodeList")
                words = path.strip("/").split("/")
                if words[:2] == ["api", "v1"] and words[-1] == "pods" and len(words) in (3, 5):
                    wanted = query.get("fieldSelector", "")
                    if query.get("labelSelector"):
                        return self._list([], query, "PodList")
                    found = [
                        body
                        for namespace, failing, body in everything
                        if (len(words) == 3 or namespace == words[3])
                        and (not wanted or ("Pending" in wanted) == failing)
                    ]
                    return self._list(found, query, "PodList")
                return (
                    self._list([], query, "List")
                    if words[-1] in ("events", "services", "ingresses", "secrets")
                    else b""
                )

            def _list(self, items: list[bytes], query: dict[str, str], kind: str) -> bytes:
                start, limit = int(query.get("continue", "0")), int(query.get("limit", "0")) or len(items)
                more = (
                    {"continue": str(start + limit), "remainingItemCount": len(items) - start - limit}
                    if start + limit < len(items)
                    else {}
                )
                head = json.dumps({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1", **more}})[
                    :-1
                ].encode()
                return head + b', "items": [' + b",".join(items[start : start + limit]) + b"]}"

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig for this server, in JSON (which is YAML)."""
        path = folder / "config"
        path.write_text(
            json.dumps({
                "apiVersion": "v1", "kind": "Config", "current-context": "bench", "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                "contexts": [{"name": "bench", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {"token": "t"}}],
            })
        )  # fmt: skip
        return path


def download(url: str) -> None:
    """The floor without kubectl: every page, not even parsed but for where to go on."""
    following = ""
    while True:
        with urlopen(f"{url}/api/v1/pods?limit=500{following}") as answer:  # noqa: S310 - a loopback URL of our own
            token = json.loads(answer.read())["metadata"].get("continue")
        if not token:
            return
        following = f"&continue={token}"


def measure() -> list[Row]:
    """The server runs in this process, the clients in their own; three times in turns."""
    server = Server()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = server.kubeconfig(folder)
        env = {"HOME": name, "KUBECONFIG": str(config)}
        ours = [sys.executable, "-m", "app", "diagnose", "--kubeconfig", str(config), "--no-ssh", "--no-http", "--json"]
        kubectl = shutil.which("kubectl")
        theirs = (
            [kubectl, "get", "pods", "-A", "-o", "json"]
            if kubectl
            else [
                sys.executable,
                "-c",
                "import sys; from benchmarks.failing_pulls import download; download(sys.argv[1])",
                server.url,
            ]
        )
        peer = "`kubectl get pods -A -o json`" if kubectl else "paged download of all pods"
        pairs = []
        for _ in range(3):
            server.bytes = 0
            mine = ran(ours, env=env)
            asked = server.bytes
            data = json.loads(mine.out[mine.out.index("{") :])
            found = sum(incident["pods"] for incident in data["incidents"])
            if found != PODS // FAILING_EVERY:
                raise RuntimeError(f"{found} failing pods were found: {mine.out[:500]}")
            pairs.append((mine, ran(theirs, env=env, to=folder / "pods.json"), asked))
        if kubectl and (folder / "pods.json").stat().st_size < PODS * PADDING:
            raise RuntimeError("the peer did not read the pods: " + (folder / "pods.json").read_text()[:300])
    pairs = sorted(pairs, key=lambda pair: pair[0].wall / pair[1].wall)
    mine, their, asked = pairs[1]
    ratio = mine.wall / their.wall
    return [
        Row(f"failing pulls among {PODS:,} pods, found, folded and judged", f"{mine.wall:.1f} s, {mine.cpu:.1f} s CPU, {asked / 1e6:.0f} MB read",
            f"{their.wall:.1f} s, {peer}", f"{ratio:.2f} ×", "≤ 0.5 ×", ratio <= 0.5),
        Row("memory at most for that", f"{mine.memory:.0f} MB", f"{their.memory:.0f} MB", f"{mine.memory / their.memory:.2f} ×", "≤ 200 MB", mine.memory <= 200),
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)

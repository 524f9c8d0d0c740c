"""The API server client against a server of the test: outcomes, paging, retries, and the closed set of exec."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from app.clients.kube import Connection, LiveKube, LiveKubeWriter, list_all
from app.clients.kube_exec import argv
from app.clients.kubeconfig import KubeOptions
from app.model.evidence import Outcome
from tests.unit.test_kubeconfig import write

Reply = tuple[int, object, dict[str, str]]
Answers = Callable[[str, str, dict[str, list[str]], bytes], Reply]


class Api:
    """Hands each request to `answers(method, path, query, body)`."""

    def __init__(self) -> None:
        self.answers: Answers = lambda *_: (404, {"kind": "Status", "message": "not found"}, {})
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status, value, headers = outer.answers(self.command, parts.path, parse_qs(parts.query), body)
                data = (value if isinstance(value, str) else json.dumps(value)).encode()
                self.send_response(status)
                for name, text in headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):  # a client that has given up
                    self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 the names are http.server's

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def connection(api: Api, tmp_path: Path) -> Iterator[Connection]:
    port = api.server.server_address[1]
    file = write(tmp_path, clusters=[{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}])
    made = Connection(KubeOptions(kubeconfig=file, request_timeout=2))
    yield made
    made.pool.clear()


@pytest.mark.parametrize(
    ("status", "outcome", "said"),
    [
        (200, Outcome.OBSERVED, ""),
        (404, Outcome.OBSERVED, "said"),
        (401, Outcome.DENIED, "expired"),
        (403, Outcome.DENIED, "said"),
        (500, Outcome.UNREACHABLE, "said"),
        (503, Outcome.UNREACHABLE, "said"),
        (504, Outcome.TIMED_OUT, "said"),
        (405, Outcome.UNSUPPORTED, "said"),
        (429, Outcome.UNREACHABLE, "too often"),
    ],
)
async def test_outcomes(api: Api, connection: Connection, status: int, outcome: Outcome, said: str) -> None:
    api.answers = lambda *_: (status, {"kind": "Status", "message": "what was said"}, {})
    reply = await LiveKube(connection).get("/api/v1/nodes")
    assert (reply.outcome, reply.status) == (outcome, status)
    assert said in reply.detail
    assert reply.date is not None


async def test_a_429_with_retry_after_is_asked_again(api: Api, connection: Connection) -> None:
    replies: list[Reply] = [(429, {}, {"Retry-After": "0"}), (200, {"items": []}, {})]
    api.answers = lambda *_: replies.pop(0)
    assert (await LiveKube(connection).get("/api/v1/nodes")).status == 200


async def test_an_answer_of_what_is_behind_a_proxy_is_an_answer(api: Api, connection: Connection) -> None:
    api.answers = lambda *_: (502, "<html>bad gateway</html>", {})
    assert (await LiveKube(connection).get("/api/v1/namespaces/h/pods/core:8080/proxy/x")).outcome is Outcome.OBSERVED
    assert (await LiveKube(connection).get("/api/v1/nodes")).outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize("path", ["nodes", "http://other.example/api/v1", "/api/../x", "/etc/passwd"])
async def test_what_is_no_api_path_is_not_asked(api: Api, connection: Connection, path: str) -> None:
    assert (await LiveKube(connection).get(path)).outcome is Outcome.UNSUPPORTED
    assert api.asked == []


async def test_nobody_there_and_no_answer_in_time(api: Api, connection: Connection, tmp_path: Path) -> None:
    closed = Connection(KubeOptions(kubeconfig=write(tmp_path, "closed")))
    reply = await LiveKube(closed).get("/api/v1/nodes")
    assert reply.outcome is Outcome.UNREACHABLE
    assert "refused" in reply.detail
    wait = threading.Event()
    api.answers = lambda *_: (wait.wait(4), (200, {}, {}))[1]
    reply = await LiveKube(connection).get("/api/v1/nodes")
    wait.set()
    assert reply.outcome is Outcome.TIMED_OUT


def paged(total: int, expire_at: int = -1) -> Answers:
    def answers(method: str, path: str, query: dict[str, list[str]], body: bytes) -> Reply:
        del method, path, body
        start, limit = int(query.get("continue", ["0"])[0].removeprefix("new-")), int(query["limit"][0])
        if start == expire_at and not query["continue"][0].startswith("new-"):
            return 410, {"kind": "Status", "message": "expired", "metadata": {"continue": f"new-{start}"}}, {}
        more = {"continue": str(start + limit)} if start + limit < total else {}
        return 200, {"metadata": more, "items": [{"n": n} for n in range(start, min(start + limit, total))]}, {}

    return answers


@pytest.mark.parametrize("expire_at", [-1, 4])
async def test_pages_come_one_by_one_and_go_on_after_an_expired_token(
    api: Api, connection: Connection, expire_at: int
) -> None:
    api.answers = paged(7, expire_at)
    found = [page async for page in list_all(LiveKube(connection), "/api/v1/pods", limit=2)]
    assert [item["n"] for page in found for item in page.items] == list(range(7))
    assert not any(page.more for page in found)


async def test_a_cap_and_a_broken_list_are_told(api: Api, connection: Connection) -> None:
    api.answers = paged(7)
    found = [page async for page in list_all(LiveKube(connection), "/api/v1/pods", limit=2, cap=3)]
    assert sum(len(page.items) for page in found) == 3
    assert found[-1].more
    api.answers = lambda *_: (403, {"kind": "Status", "message": "no"}, {})
    found = [page async for page in list_all(LiveKube(connection), "/api/v1/pods")]
    assert found[0].more
    assert found[0].reply.outcome is Outcome.DENIED
    api.answers = lambda *_: (200, "not json", {})
    found = [page async for page in list_all(LiveKube(connection), "/api/v1/pods")]
    assert found[0].reply.outcome is Outcome.UNPARSABLE


async def test_rights(api: Api, connection: Connection) -> None:
    api.answers = lambda _, __, ___, body: (
        201,
        {"status": {"allowed": json.loads(body)["spec"]["resourceAttributes"]["verb"] == "get"}},
        {},
    )
    kube = LiveKube(connection)
    assert await kube.allowed("get", "secrets", "apps") is True
    assert await kube.allowed("delete", "secrets", "apps") is False
    api.answers = lambda *_: (403, {}, {})
    assert await kube.allowed("get", "secrets") is None


async def test_writes_carry_a_dry_run_where_asked(api: Api, connection: Connection) -> None:
    api.answers = lambda *_: (200, {}, {})
    writer = LiveKubeWriter(connection)
    await writer.write(
        "PATCH",
        "/api/v1/namespaces/a/secrets/b",
        {"data": {}},
        content_type="application/strategic-merge-patch+json",
        dry_run=True,
    )
    await writer.write("DELETE", "/api/v1/namespaces/a/pods/b")
    assert api.asked[0] == "PATCH /api/v1/namespaces/a/secrets/b?fieldManager=harborpilot&dryRun=All"
    assert api.asked[1] == "DELETE /api/v1/namespaces/a/pods/b"


@pytest.mark.parametrize(
    ("command", "arguments", "runs"),
    [
        ("sha256sum", ("/etc/core/key.pem",), True), ("sha256sum", ("-c", "/x"), False), ("sha256sum", (), False), ("sha256sum", ("/a;id",), False),
        ("date", ("-u", "+%s.%N"), True), ("date", ("-s", "12:00"), False), ("date", ("+%s;id",), False),
        ("stat", ("/etc/x",), True), ("stat", ("-L", "-c", "%Y", "/etc/x"), True), ("stat", ("--printf=x", "/x"), False),
        ("printenv-sha256", ("PATH",), True), ("printenv-sha256", ("A;id",), False), ("printenv-sha256", ("A", "B"), False),
        ("cat", ("/etc/passwd",), False), ("sh", ("-c", "id"), False),
    ],
)  # fmt: skip
def test_the_closed_set_of_exec(command: str, arguments: tuple[str, ...], runs: bool) -> None:
    assert (argv(command, arguments) is not None) is runs

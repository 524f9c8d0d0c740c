"""A push: who pushes, the start of an upload and its cancelling, and what follows, against a registry of the test on loopback."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from app.clients.clock import SystemClock
from app.clients.docker_logins import DockerLogins
from app.clients.http import LiveHttp
from app.errors import RefusedError
from app.files import load_rulebook
from app.fixes.gateway import Gateway, Writers
from app.fixes.journal import UndoJournal
from app.fixes.upload import cancel_url
from app.model.case import Incident
from app.model.exchange import Exchange
from app.model.fix import FixPlan
from app.model.material import Document, Material
from app.model.standing import Certainty, Collect, Kind, Standing, Step
from app.model.target import INCIDENT
from app.parsers.exchanges import encode_exchanges
from app.ports import Credential, HttpRequest
from app.probes.base import PUSH_LOGIN, Fetch, Scene
from app.probes.incidents import find_incidents
from app.probes.registry_push import refusal, with_own_try
from app.runner.assemble import Ask, Judged
from app.runner.collect import World
from app.runner.credentials import Budget
from app.runner.investigation import Investigation
from app.runner.verify import Verifier
from tests.fakes.fixing import nap
from tests.unit.loopback import Handler, Server, answer, jwt, leaf, request_of, tls
from tests.unit.pki import Pair
from tests.unit.test_probes_registry import HOST

LOGIN = Credential("ci", "s3cret-word", "account ci")
BOOK, _ = load_rulebook()


@dataclass
class Registry:
    """A registry with a token service, as Harbor answers; `start` is its answer to the start of an upload."""

    start: tuple[str, bytes, tuple[str, ...]] = (
        "202 Accepted",
        b"",
        ("Location: /v2/team/x/blobs/uploads/u-1?_state=sealed",),
    )
    login: str = "200 OK"
    cancel: str = "204 No Content"
    slow: float = 0.0
    """Seconds until a login is refused, as Harbor waits."""
    port: int = 0
    seen: list[tuple[str, str]] = field(default_factory=list)
    """(request line, kind of Authorization)."""

    def handle(self, connection: socket.socket) -> None:
        while True:
            try:
                line, headers, _ = request_of(connection)
            except (ConnectionError, OSError):
                return
            kind = headers.get("authorization", "").partition(" ")[0]
            self.seen.append((line, kind))
            method, path = line.split(" ")[:2]
            if path.startswith("/service/token"):
                if kind == "Basic" and self.login != "200 OK":
                    threading.Event().wait(self.slow)
                    answer(connection, self.login, b'{"errors":[{"code":"UNAUTHORIZED","message":"unauthorized"}]}')
                else:
                    body = {"token": jwt(sub="ci", exp=9, access=[]), "expires_in": 1800}
                    answer(connection, "200 OK", json.dumps(body).encode())
            elif kind != "Bearer":
                realm = f"https://localhost:{self.port}/service/token"
                answer(
                    connection,
                    "401 Unauthorized",
                    b"{}",
                    f'WWW-Authenticate: Bearer realm="{realm}",service="harbor-registry"',
                )
            elif method == "POST":
                status, body, more = self.start
                answer(connection, status, body, *(one.replace("PORT", str(self.port)) for one in more))
            elif method == "DELETE":
                answer(connection, self.cancel)
            else:
                answer(connection, "404 Not Found", b'{"errors":[{"code":"NOT_FOUND","message":"no"}]}')

    @property
    def lines(self) -> list[str]:
        return [line.rpartition(" ")[0] for line, _ in self.seen]


class Trusting:
    """The live client, with the test's own authority as anchors."""

    def __init__(self, pem: str) -> None:
        self.live, self.pem = LiveHttp(), pem

    async def exchange(self, request: HttpRequest) -> Exchange:
        return await self.live.exchange(replace(request, anchors_pem=self.pem))


Start = Callable[..., tuple[Registry, Trusting]]


@pytest.fixture
def registry(serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path) -> Start:
    def start(**more: object) -> tuple[Registry, Trusting]:
        made = Registry(**more)  # type: ignore[arg-type]
        made.port = serve(tls(leaf(authority), tmp_path, made.handle)).port
        return made, Trusting(authority.pem)

    return start


def gate(http: Trusting | LiveHttp, folder: Path) -> Gateway:
    return Gateway("ctx", Writers(http=http), UndoJournal(folder / "undo"), nap)


def post(port: int) -> HttpRequest:
    return HttpRequest(f"https://localhost:{port}/v2/team/x/blobs/uploads/", "POST", purpose="upload", credential=LOGIN)


# --- the gateway ---------------------------------------------------------------------------------------------------------


async def test_without_consent_for_that_very_host_nothing_is_sent(registry: Start, tmp_path: Path) -> None:
    made, http = registry()
    gateway = gate(http, tmp_path)
    gateway.allow_upload("localhost")
    with pytest.raises(RefusedError, match="no consent"):
        await gateway.try_upload(post(made.port), 1.0)
    assert made.seen == []
    assert not (tmp_path / "audit").exists()


async def test_an_upload_is_started_with_a_push_token_and_cancelled(registry: Start, tmp_path: Path) -> None:
    made, http = registry()
    gateway = gate(http, tmp_path)
    gateway.allow_upload(f"localhost:{made.port}")
    found = await gateway.try_upload(post(made.port), 7.0)
    assert (found.status, found.purpose, found.bearer, found.error) == (202, "upload", True, "")
    assert found.headers["location"] == "/v2/team/x/blobs/uploads/u-1"
    assert [line for line in made.lines if line.startswith(("POST", "DELETE"))] == [
        "POST /v2/team/x/blobs/uploads/",
        "POST /v2/team/x/blobs/uploads/",
        "DELETE /v2/team/x/blobs/uploads/u-1?_state=sealed",
        "DELETE /v2/team/x/blobs/uploads/u-1?_state=sealed",
    ]
    assert "scope=repository:team/x:pull,push" in made.lines[1]
    assert not any(line.startswith(("PUT", "PATCH")) for line in made.lines)
    text = (tmp_path / "audit" / "uploads.jsonl").read_text()
    assert [json.loads(line)["event"] for line in text.splitlines()] == ["upload-try", "upload-answer", "upload-cancel"]
    for secret in ("s3cret-word", "sealed", "c2lnbmF0dXJl"):
        assert secret not in text + repr(found)
    assert gateway.journal.plans() == []


async def test_a_location_elsewhere_gets_no_login(
    registry: Start, serve: Callable[[Handler], Server], tmp_path: Path
) -> None:
    other = serve(lambda connection: None)
    where = f"Location: http://localhost:{other.port}/v2/team/x/blobs/uploads/u-2"
    made, http = registry(start=("202 Accepted", b"", (where,)))
    gateway = gate(http, tmp_path)
    gateway.allow_upload(f"localhost:{made.port}")
    found = await gateway.try_upload(post(made.port), 1.0)
    assert found.headers["location"] == where.removeprefix("Location: ")
    assert other.connections == 0
    assert made.lines[-1] == "DELETE /v2/team/x/blobs/uploads/u-2"


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("/v2/a/b/blobs/uploads/1?_state=x", "https://h:8/v2/a/b/blobs/uploads/1?_state=x"),
        ("http://evil.example/v2/a/b/blobs/uploads/1", "https://h:8/v2/a/b/blobs/uploads/1"),
        ("https://h:8/v2/a/b/blobs/uploads/", ""),
        ("https://h:8/v2/a/b/manifests/1", ""),
        ("https://h:8/v2/a/b/blobs/uploads/../../manifests/1", ""),
        ("https://h:8/v2/other/blobs/uploads/1", ""),
    ],
)
def test_only_an_upload_of_that_repository_is_cancelled(location: str, wanted: str) -> None:
    assert cancel_url("https://h:8/v2/a/b/blobs/uploads/", location) == wanted


async def test_a_cancelling_that_is_refused_is_told(registry: Start, tmp_path: Path) -> None:
    made, http = registry(cancel="403 Forbidden")
    gateway = gate(http, tmp_path)
    gateway.allow_upload(f"localhost:{made.port}")
    found = await gateway.try_upload(post(made.port), 1.0)
    assert found.status == 202
    assert "HTTP 403" in found.error
    assert "purging" in found.error


# --- the whole way -------------------------------------------------------------------------------------------------------


async def diagnose(made: Registry, http: Trusting, folder: Path, *, upload: bool = True, login: Credential | None = LOGIN, text: str | None = None) -> Judged:  # fmt: skip
    world = World(SystemClock(), http=http, credentials=Budget(push=login), uploads=gate(http, folder))
    run = Investigation(BOOK, world, try_upload=upload, push_account=login.username if login else "")
    image = f"localhost:{made.port}/team/x:1"
    opened = run.fold(Ask(push=image, image=image, text=text))
    assert len(opened) == 1
    await run.collect(opened[0])
    return run.judged(opened[0])


def facts(judged: Judged) -> dict[str, object]:
    return {name: value for record in judged.case.evidence for name, value in record.facts.items()}


def causes(judged: Judged) -> list[tuple[str | None, str]]:
    return [
        (one.cause, one.certainty.value) for one in judged.step.standings if one.certainty.value in ("proven", "likely")
    ]


async def test_an_accepted_start_is_a_success(registry: Start, tmp_path: Path) -> None:
    made, http = registry()
    judged = await diagnose(made, http, tmp_path)
    assert judged.step.outcome == "healthy"
    assert facts(judged)["upload.location_ok"] is True
    assert facts(judged)["token.login"] == 200
    assert judged.case.variables["account"] == "ci"
    assert sum(line.startswith("DELETE") for line in made.lines) == 2


async def test_without_the_consent_no_upload_is_started_and_nothing_is_called_healthy(
    registry: Start, tmp_path: Path
) -> None:
    made, http = registry()
    judged = await diagnose(made, http, tmp_path, upload=False)
    assert judged.step.outcome == "inconclusive"
    assert not [line for line in made.lines if not line.startswith(("GET", "HEAD"))]
    assert facts(judged)["token.login"] == 200


async def test_a_wrong_scheme_in_the_location_is_proven_by_the_try(registry: Start, tmp_path: Path) -> None:
    made, http = registry(start=("202 Accepted", b"", ("Location: http://localhost:PORT/v2/team/x/blobs/uploads/u-3",)))
    seen = "unknown: unauthorized to access repository: team/x, action: push"
    for text in (None, f"$ docker push localhost:{made.port}/team/x:1\n{seen}\n"):
        judged = await diagnose(made, http, tmp_path, text=text)
        assert facts(judged)["upload.location_ok"] is False
        assert causes(judged)[0] == ("forwarded-proto-or-host-missing", "proven")


async def test_what_the_registry_says_to_the_try_is_judged(registry: Start, tmp_path: Path) -> None:
    body = (
        b'{"errors":[{"code":"DENIED","message":"The system is in read only mode. Any modification is prohibited."}]}'
    )
    made, http = registry(start=("403 Forbidden", body, ()))
    judged = await diagnose(made, http, tmp_path)
    assert causes(judged)[0][0] == "registry-read-only"
    assert "read only mode" in judged.case.incident.texts[0]


async def test_a_refused_login_is_tried_once_and_no_upload_is_started(registry: Start, tmp_path: Path) -> None:
    made, http = registry(login="401 Unauthorized")
    judged = await diagnose(made, http, tmp_path)
    assert [kind for _, kind in made.seen].count("Basic") == 1
    assert not [line for line in made.lines if line.startswith("POST")]
    assert judged.step.outcome != "healthy"
    assert facts(judged)["token.login"] == 401


async def test_without_any_login_the_push_is_only_looked_at(registry: Start, tmp_path: Path) -> None:
    made, http = registry()
    judged = await diagnose(made, http, tmp_path, login=None)
    assert [kind for _, kind in made.seen if kind == "Basic"] == []
    assert judged.step.outcome == "inconclusive"


def test_pods_that_run_say_nothing_of_a_push() -> None:
    pods = Document(
        "pods.json", json.dumps({"kind": "PodList", "metadata": {"pullFailuresComplete": True}, "items": []})
    )
    assert [one.succeeded for one, _ in find_incidents(Material([pods]), push=f"{HOST}/a/b:1")] == [False]


# --- prices --------------------------------------------------------------------------------------------------------------


def test_an_upload_waits_for_its_own_consent() -> None:
    run = Investigation(BOOK, World(SystemClock()))
    opened = run.fold(Ask(push=f"{HOST}/team/x:1"))[0]
    step = Step((), (), (), (), Collect((("upload.start", INCIDENT), ("token.login", INCIDENT))))
    assert run.price_of(opened, step) == ("upload.start", "token.login")
    run.consent(opened, ("token.login",))
    assert run.price_of(opened, step) == ("upload.start",)
    assert not opened.scene.try_upload
    run.consent(opened, ("upload.start",))
    assert run.price_of(opened, step) == ()


def test_where_nothing_can_be_tried_nothing_has_a_price() -> None:
    run = Investigation(BOOK)
    opened = run.fold(Ask(push=f"{HOST}/team/x:1"))[0]
    step = Step((), (), (), (), Collect((("upload.start", INCIDENT), ("token.login", INCIDENT))))
    assert run.price_of(opened, step) == ()


def test_the_budget_of_a_push_login() -> None:
    budget = Budget(push=LOGIN)
    url = f"https://{HOST}/service/token"
    fetch = Fetch(HttpRequest(url, purpose="token-login"), secret=PUSH_LOGIN, image=f"{HOST}/team/x:1")
    api = Fetch(HttpRequest(f"https://{HOST}/api/v2.0/projects", purpose="api"), secret="harbor-api")
    assert budget.find(fetch, Material())[0] is LOGIN
    assert budget.find(api, Material())[0] is None  # only once it is known to be good
    budget.note(LOGIN, fetch.request, 200)
    assert budget.find(api, Material())[0] is LOGIN
    budget.note(LOGIN, api.request, 403)
    assert budget.find(api, Material())[0] is LOGIN
    budget.note(LOGIN, fetch.request, 401)
    assert budget.find(fetch, Material())[0] is None
    elsewhere = replace(fetch, request=replace(fetch.request, url="https://evil.example/token"))
    assert "another site" in Budget(push=LOGIN).find(elsewhere, Material())[1]
    plain = replace(fetch, request=replace(fetch.request, url=f"http://{HOST}/service/token"))
    assert Budget(push=LOGIN).find(plain, Material())[0] is None


# --- docker's own logins -------------------------------------------------------------------------------------------------


def helper(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / f"docker-credential-{name}"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def config(folder: Path, **data: object) -> DockerLogins:
    file = folder / "config.json"
    file.write_text(json.dumps(data))
    return DockerLogins(file)


def test_a_login_of_the_configuration_itself(tmp_path: Path) -> None:
    logins = config(tmp_path, auths={HOST: {"auth": "Y2k6czNjcmV0LXdvcmQ="}, "other.example": {"auth": "eDp5"}})
    found, why = logins.find(f"{HOST}/team/x:1")
    assert found is not None
    assert (found.username, found.password, found.origin, why) == ("ci", "s3cret-word", "account ci", "")
    assert "s3cret-word" not in repr(logins) + repr(found)
    assert "no login" in logins.find("third.example/team/x")[1]


def test_helpers_are_asked_with_the_registry_on_their_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(
        tmp_path,
        "corp",
        f'read name; echo "$1 $name" >> {tmp_path}/asked; echo \'{{"Username":"ci","Secret":"w"}}\'',
        monkeypatch,
    )
    helper(tmp_path, "none", "echo credentials not found; exit 1", monkeypatch)
    logins = config(tmp_path, credsStore="none", credHelpers={HOST: "corp"}, auths={"b.example": {"auth": "Y2k6dw=="}})
    for _ in range(2):
        found, _why = logins.find(f"{HOST}/team/x:1")
        assert found is not None
        assert (found.username, found.password) == ("ci", "w")
    assert (tmp_path / "asked").read_text() == f"get {HOST}\n"
    assert logins.find("b.example/x")[0] is not None  # the store has none, the file has
    missing = config(tmp_path, credHelpers={HOST: "absent"}).find(f"{HOST}/x")
    assert missing[0] is None
    assert "not installed" in missing[1]


@pytest.mark.parametrize("text", ["echo nothing", "echo '[]'", 'echo \'{"Username":"<token>","Secret":"w"}\''])
def test_odd_answers_of_a_helper(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, "odd", text, monkeypatch)
    found, why = config(tmp_path, credHelpers={HOST: "odd"}).find(f"{HOST}/x")
    assert found is None
    assert why


def test_no_or_a_broken_configuration(tmp_path: Path) -> None:
    assert "not there" in DockerLogins(tmp_path / "absent.json").find(f"{HOST}/x")[1]
    (tmp_path / "config.json").write_text("{")
    assert "JSON" in DockerLogins(tmp_path / "config.json").find(f"{HOST}/x")[1]


# --- texts ---------------------------------------------------------------------------------------------------------------


def test_a_refusal_is_one_more_text_and_only_once() -> None:
    refused = Exchange(
        f"https://{HOST}/v2/team/x/blobs/uploads/", "POST", purpose="upload", status=403, body='{"errors":[{"code":"DENIED","message":"no"}]}'
    )  # fmt: skip
    assert refusal(refused) == f"POST https://{HOST}/v2/team/x/blobs/uploads/: DENIED: no"
    assert "502 Bad Gateway" in refusal(replace(refused, status=502, body="<html>"))
    assert refusal(replace(refused, status=202)) == ""
    material = Material([Document("registry/exchanges.json", encode_exchanges([refused]))])
    scene = Scene(Incident(image=f"{HOST}/team/x:1", registry=HOST, action="push"), 0.0, "operator")
    once = with_own_try(material, scene)
    assert len(once.texts) == 1
    assert with_own_try(material, replace(scene, incident=once)) == once
    assert with_own_try(material, replace(scene, vantage="bundle")) == scene.incident
    assert with_own_try(material, replace(scene, incident=replace(scene.incident, action="pull"))).texts == ()


# --- verifying -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "event"), [("202 Accepted", True), ("403 Forbidden", False)])
async def test_a_push_is_verified_by_the_start_of_an_upload(
    start: str, event: bool, registry: Start, tmp_path: Path
) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"denied"}]}' if not event else b""
    made, http = registry(start=(start, body, ("Location: /v2/team/x/blobs/uploads/u-9",)))
    world = World(SystemClock(), http=http, credentials=Budget(push=LOGIN), uploads=gate(http, tmp_path))
    image = f"localhost:{made.port}/team/x:1"
    standing = Standing("login-lock", Kind.FAULT, None, Certainty.PROVEN, (INCIDENT,), "locked")
    incident = Incident(image=image, registry=f"localhost:{made.port}", action="push")
    verifier = Verifier(BOOK, world, standing, incident, nap, push=True, try_upload=True, push_account="ci")
    plan = FixPlan("p", "f", "login-lock", "t", "cure", "", "", "", (INCIDENT,), (), (), (), "")
    found = await verifier(plan, INCIDENT)
    assert (found.event, found.works) == (event, event)
    without = Verifier(BOOK, world, standing, incident, nap, push=True, push_account="ci")
    assert (await without(plan, INCIDENT)).event is None

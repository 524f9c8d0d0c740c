"""`harborpilot diagnose --push IMAGE` in a CI job: no cluster, no node, no questions; exit codes and what goes where."""

from __future__ import annotations

import base64
import io
import itertools
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from app.clients.http import LiveHttp
from app.commands.diagnose import run
from app.commands.flags import duration
from app.errors import UsageError
from app.files import load_rulebook
from app.model.exchange import Exchange
from app.ports import HttpRequest
from app.runner.assemble import Ask
from app.runner.collect import World
from app.runner.credentials import Budget
from app.runner.investigation import Investigation
from tests.unit.loopback import Handler, Server, answer, leaf, request_of, tls
from tests.unit.pki import Pair
from tests.unit.test_push import LOGIN, Registry, Trusting

ALONE = ("--no-kube", "--no-ssh", "--no-input")
BOOK, _ = load_rulebook()
Job = Callable[..., Registry]


@pytest.fixture
def job(serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A registry that the machine trusts, and docker's configuration with a login for it."""

    def start(**more: object) -> Registry:
        made = Registry(**more)  # type: ignore[arg-type]
        made.port = serve(tls(leaf(authority), tmp_path, made.handle)).port
        pair = base64.b64encode(b"ci:s3cret-word").decode()
        config = {"auths": {f"localhost:{made.port}": {"auth": pair}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        return made

    bundle = tmp_path / "bundle.pem"
    bundle.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("HARBORPILOT_STATE_DIR", str(tmp_path / "state"))
    return start


def image(made: Registry) -> str:
    return f"localhost:{made.port}/team/x:1"


def test_nothing_is_sent_that_was_not_agreed_to(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    made = job()
    assert run(["--push", image(made), *ALONE]) == 4
    out, err = capsys.readouterr()
    assert "no cluster and no node is asked" in err
    assert "--try-upload" in err
    assert "Inconclusive" in out
    assert {line.split(" ")[0] for line in made.lines} <= {"GET", "HEAD"}
    assert "Basic" not in {kind for _, kind in made.seen}


def test_dockers_own_login_with_consent(job: Job, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = job()
    assert run(["--push", image(made), "--try-upload", "-q", *ALONE]) == 0
    out, err = capsys.readouterr()
    assert "quota" in out
    assert err == ""
    assert [kind for line, kind in made.seen if "/service/token" in line].count("Basic") >= 1
    assert (tmp_path / "state" / "audit" / "uploads.jsonl").is_file()
    for file in (tmp_path / "state").rglob("*.jsonl"):
        assert "s3cret-word" not in file.read_text()


def test_a_refusal_as_a_job_summary(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    body = (
        b'{"errors":[{"code":"DENIED","message":"The system is in read only mode. Any modification is prohibited."}]}'
    )
    made = job(start=("403 Forbidden", body, ()))
    assert run(["--push", image(made), "--try-upload", "-o", "markdown", *ALONE]) == 3
    out, _ = capsys.readouterr()
    assert out.startswith("#")
    assert "read-only" in out


def test_the_jobs_output_on_standard_input(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job()
    said = "denied: The system is in read only mode. Any modification is prohibited."
    monkeypatch.setattr("sys.stdin", io.StringIO(f"$ docker push {image(made)}\n{said}\n"))
    assert run(["--push", image(made), "--text", "-", "-o", "json", *ALONE]) == 3
    data = json.loads(capsys.readouterr().out)
    assert data["incidents"][0]["action"] == "push"
    assert data["incidents"][0]["diagnoses"][0]["cause"] == "registry-read-only"


def test_a_named_user_and_a_password_from_a_file(job: Job, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = job(login="401 Unauthorized", slow=1.6)
    (tmp_path / "word").write_text("wrong-word\n")
    words = ["--push", image(made), "--push-user", "bot", "--password-file", str(tmp_path / "word"), *ALONE]
    assert run([*words, "-o", "json"]) in (3, 4)
    first = json.loads(capsys.readouterr().out)["incidents"][0]["diagnoses"]
    assert first[0]["cause"] == "wrong-credentials"
    assert [kind for _, kind in made.seen].count("Basic") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--push-user", "bot"),
        ("--push-user", "bot", "--password-file", "/nonexistent"),
        ("--again-after", "soon"),
        ("--push-user", "bot", "--password-stdin", "--text", "-"),
    ],
)
def test_bad_usage(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(["--push", "registry.corp.example/team/x:1", *words, *ALONE])


def test_an_unreachable_registry_is_inconclusive(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert run(["--push", f"localhost:{port}/team/x:1", "--try-upload", *ALONE]) in (3, 4)
    assert "Traceback" not in capsys.readouterr().err


# --- unequal keys --------------------------------------------------------------------------------------------------------


class Keys(Registry):
    """Two cores behind one name: a connection stays with one, and the next that asks for the same thing gets the other.

    What is asked for in between, by others and in any order, does not count: else all tokens might come from one core by chance.
    """

    tokens, bearers = itertools.count(), itertools.count()

    def handle(self, connection: socket.socket) -> None:
        part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")  # noqa: E731
        access = [{"type": "repository", "name": "team/x", "actions": ["pull", "push"]}]
        core: int | None = None
        while True:
            try:
                line, headers, _ = request_of(connection)
            except (ConnectionError, OSError):
                return
            login = headers.get("authorization", "")
            self.seen.append((line, login.partition(" ")[0]))
            if core is None and ("/service/token" in line or login):
                core = next(self.tokens if "/service/token" in line else self.bearers) % 2
            head = part({"alg": "RS256", "kid": ("AAAA:AAAA", "BBBB:BBBB")[core or 0]})
            if "/service/token" in line:
                token = f"{head}.{part({'sub': 'ci', 'access': access})}.c2ln"
                answer(connection, "200 OK", json.dumps({"token": token}).encode())
            elif login.startswith(f"Bearer {head}."):
                answer(connection, "200 OK", b"{}")
            else:
                realm = f"https://localhost:{self.port}/service/token"
                answer(
                    connection,
                    "401 Unauthorized",
                    b"{}",
                    f'WWW-Authenticate: Bearer realm="{realm}",service="harbor-registry"',
                )


class Clock:
    """Goes on when told to."""

    def __init__(self) -> None:
        self.time = 1_795_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Timed(Trusting):
    def __init__(self, pem: str, clock: Clock) -> None:
        super().__init__(pem)
        self.live = LiveHttp(clock=clock)

    async def exchange(self, request: HttpRequest) -> Exchange:
        return await super().exchange(request)


SAID = "unauthorized: unauthorized to access repository: team/x, action: push: unauthorized to access repository: team/x, action: push"


@pytest.mark.parametrize(("later", "certainty"), [(301.0, "proven"), (30.0, "")])
async def test_two_keys_that_last_are_proven_from_outside(
    later: float, certainty: str, serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path
) -> None:
    made, clock = Keys(), Clock()
    made.port = serve(tls(leaf(authority), tmp_path, made.handle)).port
    investigation = Investigation(
        BOOK, World(clock, http=Timed(authority.pem, clock), credentials=Budget(push=LOGIN)), push_account="ci"
    )
    opened = investigation.fold(
        Ask(push=image(made), image=image(made), text=f"$ docker push {image(made)}\n{SAID}\n")
    )[0]
    await investigation.collect(opened)
    assert investigation.lasts(opened)
    first = [one for one in investigation.judged(opened).step.standings if one.finding == "core-token-key-mismatch"]
    assert [one.certainty.value for one in first] != ["proven"]
    asked = len(made.seen)
    clock.time += later
    await investigation.again(opened)
    assert len(made.seen) > asked
    found = [one for one in investigation.judged(opened).step.standings if one.finding == "core-token-key-mismatch"]
    assert [one.certainty.value == "proven" for one in found] == [certainty == "proven"]


def test_the_second_count_is_bounded_by_the_time_of_the_run(
    job: Job, serve: Callable[[Handler], Server], authority: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job()
    made = Keys()
    made.port = serve(tls(leaf(authority), tmp_path, made.handle)).port
    assert run(["--push", image(made), "--again-after", "5m", "--timeout", "60", *ALONE]) in (3, 4)
    assert "--timeout ends before" in capsys.readouterr().err
    asked = len(made.seen)
    assert run(["--push", image(made), "--again-after", "1s", "--timeout", "60", *ALONE]) in (3, 4)
    assert "counted once more in 1 s" in capsys.readouterr().err
    assert len(made.seen) >= 2 * asked


def test_durations() -> None:
    assert [duration(text) for text in ("300", "90s", "5m", "1h", "1.5m")] == [300, 90, 300, 3600, 90]

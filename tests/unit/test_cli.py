"""The command line: help, formats, exit codes, and what is said of bad input (what, what it costs, what to do)."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import main
from app.commands.catalogue import COMMANDS
from app.files import state_dir
from tests.unit.test_kube_client import Api
from tests.unit.test_kubeconfig import write

EXPIRED = (
    'Failed to pull image "registry.corp.example/team/web:1": failed to do request: Head '
    '"https://registry.corp.example/v2/team/web/manifests/1": tls: failed to verify certificate: x509: certificate has expired '
    "or is not yet valid: current time 2026-01-02T00:00:00Z is after 2026-01-01T00:00:00Z"
)
REFUSED = (
    'Failed to pull image "registry.corp.example/team/web:1": failed to resolve reference: unexpected status from HEAD request to '
    "https://registry.corp.example/v2/team/web/manifests/1: 401 Unauthorized"
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of one command line."""

    def one(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as error:
            code = int(error.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return one


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "seen.txt"
    path.write_text(EXPIRED)
    return str(path)


# --- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert out.startswith(f"usage: harborpilot {name}")
    assert run("help", name)[:2] == (0, out)


def test_the_first_help_names_commands_and_exit_codes(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)
    assert all(f"{number} " in out.partition("exit codes:")[2] for number in (0, 1, 2, 3, 4, 5, 6, 130))


def test_help_is_shown_even_when_the_configuration_is_broken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARBORPILOT_RUN__JOBS", "many")
    assert run("diagnose", "--help")[0] == 0
    assert run("diagnose", "--no-kube")[0] == 2


# --- formats -------------------------------------------------------------------------------------------------------------


def test_json_is_schema_1(run: Run, text: str) -> None:
    code, out, _ = run("diagnose", "--text", text, "-o", "json")
    data = json.loads(out)
    assert (code, data["schema"], data["outcome"]) == (3, 1, "fault_found")
    (incident,) = data["incidents"]
    assert {"image", "registry", "action", "symptoms", "pods", "nodes", "diagnoses", "also_noticed"} <= set(incident)
    best = incident["diagnoses"][0]
    assert best["finding"] == "tls-cert-expired"
    assert {"finding", "cause", "certainty", "targets", "summary", "evidence", "ruled_out", "missing", "fixes"} <= set(
        best
    )
    assert run("diagnose", "--text", text, "--json")[1] == out


def test_yaml_says_what_json_says(run: Run, text: str) -> None:
    assert yaml.safe_load(run("diagnose", "--text", text, "-o", "yaml")[1]) == json.loads(
        run("diagnose", "--text", text, "--json")[1]
    )


def test_markdown_holds_foreign_text_in_code_spans(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "seen.txt"
    path.write_text(EXPIRED.replace("Failed", "**Failed** <b>`now`</b>"))
    code, out, _ = run("diagnose", "--text", str(path), "-o", "markdown")
    assert code == 3
    assert out.startswith("## ")
    quoted = next(line for line in out.splitlines() if "**Failed**" in line)
    assert quoted.startswith("> ``")
    assert quoted.endswith("``")


def test_text_from_outside_does_not_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "seen.txt"
    path.write_text(EXPIRED + " \x1b]0;title\x07 \x1b[31mred\x1b[0m \x9b2J")
    for output in ("text", "markdown", "json", "yaml"):
        out = run("diagnose", "--text", str(path), "-o", output)[1]
        assert not [sign for sign in out if not sign.isprintable() and sign not in "\n\t"], output


# --- rough edges -------------------------------------------------------------------------------------------------------


def test_the_first_help_shows_the_flags_of_the_screens_too(run: Run) -> None:
    _, out, _ = run("--help")
    assert [flag for flag in ("--bundle", "--theme", "--kubeconfig", "--version") if flag not in out] == []
    assert out.index("diagnose") < out.index("--kubeconfig"), "the commands come first"
    code, _, err = run("--bogus")
    assert code == 2
    assert err.startswith("harborpilot: unrecognized arguments: --bogus")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rules",), "required: {check,test,show}\n"),
        (("config",), "required: {show,validate,init,schema}\n"),
        (("completion",), "required: {bash,zsh,fish}\n"),
        (("explain", "A B", "--node", "n1", "--no-kube", "--no-ssh"), "'A B' is no image name"),
        (("collect", "{tmp}/out.zip", "--no-kube", "--no-ssh", "--no-http"), ".tar.gz"),
        (("apply", "/nowhere/plan.json"), "/nowhere/plan.json cannot be read: No such file or directory\n"),
        (("train", "--check", "/nowhere/s.yaml"), "/nowhere/s.yaml cannot be read: No such file or directory\n"),
        (("plan", "--input", "ca=@/nowhere/ca.pem"), "/nowhere/ca.pem cannot be read: No such file or directory\n"),
    ],
)
def test_a_mistake_is_named_as_its_maker_made_it(run: Run, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    code, out, err = run(*(word.format(tmp=tmp_path) for word in words))
    assert (code, out) == (2, "")
    assert said in err
    assert "[Errno" not in err
    assert not list(tmp_path.iterdir())


def test_a_document_of_a_bundle_that_is_broken_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pods.json").write_text('{"items": [')
    (tmp_path / "events.json").write_text('{"items": []}')
    code, out, err = run("diagnose", "--bundle", str(tmp_path))
    assert code == 4
    assert "pods.json is not JSON" in err
    assert "events.json" not in err
    assert "named above" not in out


def test_a_plan_without_a_cluster_says_what_was_not_read(run: Run) -> None:
    code, _, err = run("plan", "--no-ssh")
    assert code == 4
    assert "There is no kubeconfig" in err
    assert "nothing to plan" in err


# --- exit codes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("diagnose", "--no-such-flag"),
        ("diagnose", "-o", "xml"),
        ("diagnose", "--jobs", "many"),
        ("diagnose", "--text", "/nowhere/seen.txt"),
        ("diagnose", "--bundle", "/nowhere/bundle"),
        ("diagnose", "--kubeconfig", "/nowhere/config", "--context", "prod"),
        ("diagnose", "--harbor-user", "ann", "--no-kube"),
        ("explain",),
        ("collect",),
        ("replay", "nothing-like-it"),
        ("report", "nothing-like-it"),
        ("rules", "check", "/nowhere"),
        ("rules", "show", "nothing-like-it"),
        ("completion", "tcsh"),
        ("config", "validate", "/nowhere.yaml"),
    ],
)
def test_bad_usage_is_2_and_is_told_on_stderr(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("harborpilot: ")
    assert "Traceback" not in err


def test_a_screen_without_a_terminal_says_what_to_call(run: Run) -> None:
    code, _, err = run()
    assert code == 2
    assert "harborpilot diagnose" in err


def test_3_for_a_fault_and_4_for_what_cannot_be_told(run: Run, text: str, tmp_path: Path) -> None:
    assert run("diagnose", "--text", text)[0] == 3
    odd = tmp_path / "odd.txt"
    odd.write_text("the flux capacitor is out of line in sector seven")
    code, out, _ = run("diagnose", "--text", str(odd))
    assert code == 4
    assert "Inconclusive" in out


def test_an_interrupted_run_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.commands.paths.run", interrupted)
    code, _, err = run("paths")
    assert (code, err) == (130, "harborpilot: interrupted\n")


# --- texts and bundles -----------------------------------------------------------------------------------------------------


def test_a_text_of_bytes_that_are_no_text(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "seen.bin"
    path.write_bytes(bytes(range(256)) * 20)
    code, out, _ = run("diagnose", "--text", str(path))
    assert code == 4
    assert "no error text that the rules know" in out
    assert "possible" not in out
    assert out.isprintable() or all(sign.isprintable() or sign == "\n" for sign in out)


@pytest.mark.parametrize(
    "words", ["lunch is at noon", "Error: it is broken", "\0\1\2 see https://wiki.example/page \3\4\5 failed"]
)
def test_a_text_that_is_about_something_else(run: Run, tmp_path: Path, words: str) -> None:
    path = tmp_path / "seen.txt"
    path.write_text(words)
    code, out, _ = run("diagnose", "--text", str(path))
    assert code == 4
    assert "no error text that the rules know" in out
    assert "possible" not in out
    data = json.loads(run("diagnose", "--text", str(path), "-o", "json")[1])
    assert data["incidents"][0]["diagnoses"] == []


def test_a_text_that_is_not_known_and_names_an_image_keeps_its_suspects(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "seen.txt"
    path.write_text('Failed to pull image "registry.corp.example/team/web:1": frobnication ended early')
    code, out, _ = run("diagnose", "--text", str(path))
    assert code == 4
    assert "possible" in out
    assert "no error text" not in out


def test_an_empty_text_and_an_empty_bundle_are_inconclusive(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bundle").mkdir()
    assert run("diagnose", "--text", str(tmp_path / "empty.txt"))[0] == 4
    assert run("diagnose", "--bundle", str(tmp_path / "bundle"))[0] == 4


def archive(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> str:
    with tarfile.open(path, "w:gz") as made:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        content = b"" if kind != tarfile.REGTYPE else b"x"
        entry.size = len(content)
        made.addfile(entry, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil.txt", tarfile.REGTYPE),
        ("/etc/evil.txt", tarfile.REGTYPE),
        ("a/../../evil.txt", tarfile.REGTYPE),
        ("nodes", tarfile.SYMTYPE),
        ("x.txt", tarfile.LNKTYPE),
    ],
)
def test_a_bundle_that_reaches_outside_itself(run: Run, tmp_path: Path, name: str, kind: bytes) -> None:
    code, out, err = run("diagnose", "--bundle", archive(tmp_path / "b.tar.gz", name, kind))
    assert (code, out) == (2, "")
    assert name in err
    assert not (tmp_path.parent / "evil.txt").exists()


def test_a_bundle_that_is_no_archive_says_how_to_make_one(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "b.tar.gz"
    path.write_bytes(b"not an archive")
    code, _, err = run("diagnose", "--bundle", str(path))
    assert code == 2
    assert "tar czf" in err


def test_what_a_bundle_holds_beside_evidence_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "seen.txt").write_text(EXPIRED)
    (tmp_path / "holiday.jpg").write_bytes(b"\xff\xd8")
    code, _, err = run("diagnose", "--bundle", str(tmp_path))
    assert code == 3
    assert "not read: holiday.jpg" in err


def test_what_is_unknown_says_whether_it_is_not_in_the_bundle_or_was_not_asked(run: Run, tmp_path: Path) -> None:
    seen = tmp_path / "seen.txt"
    seen.write_text(REFUSED)
    _, out, _ = run("diagnose", "--bundle", str(tmp_path))
    assert "token.login: not in the bundle" in out
    assert "not asked" not in out
    _, out, _ = run("diagnose", "--text", str(seen))
    assert "token.login: not asked, since only the text is judged" in out
    assert "not in the bundle" not in out


def test_a_run_that_can_read_nothing_says_so_and_how_to_give_more(run: Run, tmp_path: Path) -> None:
    seen = tmp_path / "seen.txt"
    seen.write_text(REFUSED)
    ways = ("--kubeconfig", "SSH", "--bundle")
    _, _, err = run("diagnose", "--text", str(seen))
    assert "Only the text is judged" in err
    assert [way for way in ways if way not in err] == []
    assert run("diagnose", "--text", str(seen), "--quiet")[2] == ""
    _, _, err = run("diagnose", "--no-kube", "--no-ssh", "--no-http", "registry.corp.example/team/web:1")
    assert "No cluster, no node, no registry is asked" in err
    assert [way for way in ways if way not in err] == []
    _, _, err = run("diagnose", "--bundle", str(tmp_path))
    assert err == ""


def test_a_file_that_cannot_be_read(run: Run) -> None:
    code, out, err = run("diagnose", "--text", "/proc/self/mem")
    assert (code, out) == (2, "")
    assert "/proc/self/mem cannot be read: Input/output error" in err


def test_a_folder_in_place_of_a_text(run: Run, tmp_path: Path) -> None:
    code, _, err = run("diagnose", "--text", str(tmp_path))
    assert code == 2
    assert "cannot be read" in err


# --- answers -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("nonsense", "QUESTION=ANSWER"),
        ("=1", "no such question"),
        ("x509-time/nothing-like-it=1", "no such question"),
        ("nothing-like-it/clock=1", "no such question"),
        ("{question}=99", "a number from 1 to"),
        ("{question}=yes", "a number from 1 to"),
    ],
)
def test_an_answer_that_answers_nothing(run: Run, text: str, answer: str, said: str) -> None:
    from app.files import load_rulebook

    question = load_rulebook()[0].symptoms["x509-time"].tree[0].id
    code, out, err = run("diagnose", "--text", text, "--answer", answer.format(question=f"x509-time/{question}"))
    assert (code, out) == (2, "")
    assert said in err
    assert "rules show" in err
    assert run("diagnose", "--text", text, "--answer", f"x509-time/{question}=unknown")[0] == 3


# --- cluster -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def live(api: Api, tmp_path: Path, run: Run) -> Run:
    """`diagnose` against the API server of the test, asking neither nodes nor registries."""
    server = f"http://127.0.0.1:{api.server.server_address[1]}"
    file = write(tmp_path, clusters=[{"name": "c", "cluster": {"server": server}}])
    return lambda *words: run(
        "diagnose", "--kubeconfig", file, "--no-ssh", "--no-http", "--request-timeout", "3", *words
    )


def status(code: int, message: str) -> tuple[int, Any, dict[str, str]]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}, {}


FORBIDDEN = 'pods is forbidden: User "ann" cannot list resource "pods" in API group "" at the cluster scope'


@pytest.mark.parametrize(
    ("reply", "what", "todo"),
    [
        (status(401, "Unauthorized"), "expired or was revoked", "Log in again"),
        (status(403, FORBIDDEN), FORBIDDEN, "-n NAMESPACE"),
        (status(500, "etcd is away"), "etcd is away", "--request-timeout"),
        (
            (200, "<html><title>Log in</title></html>", {"Content-Type": "text/html"}),
            "<html><title>Log in",
            "in front of the API server",
        ),
        ((302, "", {"Location": "https://login.corp.example/"}), "an empty answer", "in front of the API server"),
        ((200, '{"kind": "PodList", "items": [', {}), "not JSON", "in front of the API server"),
    ],
    ids=["expired", "forbidden", "ill", "html", "redirect", "torn"],
)
def test_an_api_that_does_not_answer_as_one(live: Run, api: Api, reply: Any, what: str, todo: str) -> None:
    api.answers = lambda *_: reply
    code, out, err = live()
    assert code == 4
    assert what in err
    assert "which pods fail" in err
    assert todo in err
    assert err.count(what) == 1, "the same reason for several lists is told once"
    assert "Inconclusive" in out


def test_only_pods_are_refused_and_the_rest_goes_on(live: Run, api: Api, text: str) -> None:
    empty = {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []}
    api.answers = lambda method, path, query, body: (
        status(403, FORBIDDEN) if path.endswith("/pods") else (200, empty, {})
    )
    code, _, err = live()
    assert code == 4
    assert "which pods fail" in err
    assert "runtimes" not in err
    assert live("--text", text)[0] == 3, "a text is judged all the same"


def test_nobody_listens(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, clusters=[{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}])
    code, _, err = run("diagnose", "--kubeconfig", file, "--no-ssh", "--no-http")
    assert code == 4
    assert "http://127.0.0.1:9 cannot be reached" in err
    assert "--bundle" in err


def test_a_cluster_in_which_nothing_fails_is_healthy_and_was_only_read(live: Run, api: Api) -> None:
    api.answers = lambda method, path, query, body: (
        200,
        {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []},
        {},
    )
    assert live()[0] == 0
    assert api.asked
    assert [line for line in api.asked if not line.startswith("GET ")] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("clusters: [\n", "line 2 is not YAML"),
        ("just words\n", "kubeconfig"),
        ("a: 1\n", "no current context"),
        ("", "file is empty"),
    ],
)
def test_a_broken_kubeconfig(run: Run, tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    code, out, err = run("diagnose", "--kubeconfig", str(path))
    assert (code, out) == (2, "")
    assert said in err
    assert str(path) in err


def test_no_kubeconfig_at_all_is_no_error_but_is_told(run: Run) -> None:
    code, _, err = run("diagnose", "--no-ssh")
    assert code == 4
    assert "There is no kubeconfig" in err
    assert "unknown" in err
    assert "--bundle" in err


# --- what a registry answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "symptom"),
    [
        (
            'Failed to pull image "registry.corp.example/team/web:1": unexpected status from HEAD request to '
            "https://registry.corp.example/v2/team/web/manifests/1: 302 Found",
            "",
        ),
        (
            "failed to fetch anonymous token: unexpected end: invalid character '<' looking for beginning of value",
            "",
        ),
    ],
)
def test_a_login_page_in_place_of_a_registry_is_judged_with_care(
    run: Run, tmp_path: Path, seen: str, symptom: str
) -> None:
    path = tmp_path / "seen.txt"
    path.write_text(seen)
    code, out, _ = run("diagnose", "--text", str(path), "--json")
    data = json.loads(out)
    assert code in (3, 4)
    assert data["incidents"][0]["symptoms"], "a text always has a symptom, `unclassified` at the least"
    assert "proven" not in {item["certainty"] for item in data["incidents"][0]["diagnoses"]}


# --- rules and sessions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda text: text.replace("kind: fault", "kind: fualt"), "kind"),
        (lambda text: text.replace("layer: ", "leyer: "), "leyer"),
        (lambda text: text + "\nfinding: twice\n", "finding: twice"),
        (lambda text: text + "\n  - [unclosed\n", ""),
    ],
    ids=["value", "key", "twice", "yaml"],
)
def test_a_mistake_in_a_rule_has_its_file_and_line(
    run: Run, tmp_path: Path, change: Callable[[str], str], line: str
) -> None:
    from tests.conftest import ROOT

    text = change((ROOT / "rules/findings/tls/tls-cert-expired.yaml").read_text()).replace(
        "finding: tls-cert-expired", "finding: own-rule"
    )
    path = tmp_path / "own-rule.yaml"
    path.write_text(text)
    code, out, err = run("rules", "check", str(path))
    assert code == 2
    assert "mistake" in err
    told = [item for item in out.splitlines() if item.startswith(f"{path}:")]
    assert told
    if line:
        numbers = [number for number, content in enumerate(text.splitlines(), 1) if content.startswith(line)]
        assert any(item.startswith(f"{path}:{number}: ") for item in told for number in numbers), told


def test_an_empty_run_of_rule_tests_is_5(run: Run, tmp_path: Path) -> None:
    from tests.conftest import ROOT

    for name in ("facts.yaml", "fixes.yaml"):
        (tmp_path / name).write_text((ROOT / "rules" / name).read_text())
    assert run("rules", "test", str(tmp_path))[0] == 5


@pytest.fixture
def session(tmp_path: Path) -> Path:
    from tests.unit.test_session import STORY, record

    return record(tmp_path, STORY)


def test_a_torn_session_is_replayed_up_to_the_tear_and_says_so(run: Run, session: Path) -> None:
    whole = len(run("replay", "--plain", str(session))[1].splitlines())
    session.write_bytes(session.read_bytes()[:-20])
    code, out, err = run("replay", "--plain", str(session))
    assert code == 0
    assert len(out.splitlines()) == whole - 1
    assert "the last line was cut off" in err


def test_a_session_damaged_inside_names_the_line(run: Run, session: Path) -> None:
    lines = session.read_bytes().split(b"\n")
    lines[3] = lines[3][:-9]
    session.write_bytes(b"\n".join(lines))
    code, _, err = run("replay", "--plain", str(session))
    assert code == 2
    assert "line 4: damaged" in err
    assert "head -n 3" in err


def test_a_session_that_is_damaged_from_its_first_line_has_nothing_to_keep(run: Run) -> None:
    folder = state_dir() / "sessions"
    folder.mkdir(parents=True)
    (folder / "20200101T000000Z-bad.jsonl").write_text("garbage\n")
    _, out, _ = run("sessions")
    assert "damaged" in out
    assert "1970" not in out
    code, _, err = run("replay", "bad", "--plain")
    assert code == 2
    assert "head -n" not in err


def test_replay_without_a_name_lists_what_there_is(run: Run) -> None:
    code, _, err = run("replay")
    assert code == 0
    assert "no session in" in err


def test_a_session_of_another_release(run: Run, session: Path) -> None:
    session.write_bytes(session.read_bytes().replace(b'"schema":1', b'"schema":9', 1))
    code, _, err = run("report", str(session))
    assert code == 2
    assert "this release reads schema 1" in err

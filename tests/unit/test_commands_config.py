"""Settings: rank, sources, every mistake with its place, and the same defaults in files and flags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from app.commands.diagnose import flags
from app.commands.screens import flags as screen_flags
from app.errors import UsageError
from app.keymap import config_dir
from app.settings import DESTINATIONS, Configured, fields, load, read, schema, user_file
from app.theme import THEMES
from tests.conftest import ROOT


def own(text: str) -> Path:
    path = user_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_built_in_values_are_those_of_the_flags() -> None:
    """They stand in two places, since help shows them without reading a file."""
    parsed: dict[str, Any] = {**vars(screen_flags().parse_args([])), **vars(flags().parse_args([]))}
    for name, _, default in fields():
        if DESTINATIONS[name] in parsed:
            assert (parsed[DESTINATIONS[name]] or default) == default, name
    assert set(DESTINATIONS) == {name for name, _, _ in fields()}
    assert set(DESTINATIONS.values()) - set(parsed) == {"keep_days"}


def test_a_flag_wins_over_the_environment_over_the_user_over_the_system(tmp_path: Path) -> None:
    system, user = tmp_path / "system.yaml", tmp_path / "user.yaml"
    system.write_text("run: {jobs: 5, healthy: 5, timeout: 5}\n")
    user.write_text("run:\n  jobs: 6\n  healthy: 6\n")
    loaded = read({"HARBORPILOT_RUN__JOBS": "7"}, (system, user))
    assert loaded.problems == ()
    run = loaded.settings.run
    assert (run.jobs, run.healthy, run.timeout, run.probe_timeout) == (7, 6, 5.0, 15.0)
    assert loaded.source("run.jobs") == "$HARBORPILOT_RUN__JOBS"
    assert loaded.source("run.healthy") == f"{user}:3"
    assert loaded.source("run.timeout") == f"{system}:1"
    assert loaded.source("run.probe_timeout") == "built-in"


def test_flags_win_over_settings() -> None:
    own("ssh: {user: deploy}\nrun: {jobs: 9, try_credentials: once}\n")
    options = flags().parse_args(["--jobs", "2"])
    assert (options.jobs, options.ssh_user, options.try_credentials) == (2, "deploy", "once")


def test_a_default_context_is_no_wish_to_ask_that_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text alone is judged alone, also where a context is configured that is not there."""
    own("kube: {context: prod}\n")
    assert isinstance(flags().parse_args([]).context, Configured)
    assert not isinstance(flags().parse_args(["--context", "prod"]).context, Configured)
    text = tmp_path / "seen.txt"
    text.write_text(
        "x509: certificate has expired or is not yet valid: current time 2026-01-02T00:00:00Z is after 2026-01-01T00:00:00Z"
    )
    assert main(["diagnose", "--text", str(text)]) == 3
    assert main(["diagnose", "--text", str(text), "--context", "prod"]) == 2
    assert "There is no kubeconfig" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ssh:\n  user: a\n  prot: 3\n", "3: unknown setting 'ssh.prot'; ssh has: user, port, jump, host, config"),
        ("shh:\n  user: a\n", "1: unknown section 'shh'"),
        ("run:\n  jobs: 0\n", "2: run.jobs: Expected `int` >= 1"),
        ("run:\n  jobs: 3\n  healthy: yes\n", "3: run.healthy: Expected `int`, got `bool`"),
        ("run:\n  try_credentials: always\n", "2: run.try_credentials: Invalid enum value 'always'"),
        ("ssh:\n  user: a\n  user: b\n", "3: not YAML: key 'user' stands twice"),
        ("ssh: [a]\n", "1: section 'ssh' is a mapping of settings"),
        ("- ssh\n", "1: a configuration is a mapping of sections"),
        ("ssh: {user: a\n", "not YAML"),
    ],
)
def test_a_mistake_has_its_file_and_line(text: str, said: str) -> None:
    path = own(text)
    (problem,) = read({}).problems
    assert problem.startswith(f"{path}:")
    assert said in problem
    with pytest.raises(UsageError, match="config validate"):
        load({})


def test_all_mistakes_are_listed_and_no_command_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own("run: {jobs: 0, halthy: 1}\n")
    monkeypatch.setenv("HARBORPILOT_RUN__TIMEOUT", "soon")
    assert main(["config", "validate"]) == 2
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["diagnose", "--no-kube"]) == 2
    assert "(2 more)" in capsys.readouterr().err


def test_an_unreadable_file_is_a_mistake_and_an_empty_one_is_none() -> None:
    own("")
    assert read({}).problems == ()
    user_file().write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in read({}).problems[0]


def test_show_names_value_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    path = own("ssh:\n  user: deploy\n")
    assert main(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ssh.user"] == {"value": "deploy", "source": f"{path}:2"}
    assert shown["run.jobs"]["source"] == "built-in"
    assert main(["config", "show"]) == 0
    assert f"{path}:2" in capsys.readouterr().out


def test_init_writes_a_file_that_is_right_and_never_writes_over_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "init"]) == 0
    path = config_dir({}) / "config.yaml" if not user_file().is_file() else user_file()
    assert path.stat().st_mode & 0o077 == 0
    assert read({}).problems == ()
    path.write_text(
        "".join(
            line.removeprefix("#") if line.startswith("#") and ":" in line and "harborpilot" not in line else ""
            for line in path.read_text().splitlines(keepends=True)[3:]
        )
    )
    loaded = read({})
    assert loaded.problems == ()
    assert {item.value for item in loaded.values} == {default for _, _, default in fields()}
    assert all(item.source != "built-in" for item in loaded.values)
    assert main(["config", "init"]) == 2
    assert "is not written over" in capsys.readouterr().err


def test_the_published_schema_is_the_one_in_force() -> None:
    """`harborpilot config schema > docs/config-v1.json` renews it."""
    assert json.loads((ROOT / "docs/config-v1.json").read_text()) == schema()


def test_themes_that_can_be_set_are_those_there_are() -> None:
    shape = {name: kind for name, kind, _ in fields()}["ui.theme"]
    assert set(shape.__args__) == {"", *(theme.name for theme in THEMES)}

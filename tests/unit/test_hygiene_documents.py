"""The documents are true: commands in the README exist, tables and pictures are those in force."""

from __future__ import annotations

import importlib.util
import re
import shlex
from types import ModuleType

import pytest

from app.cli import main
from app.commands.catalogue import COMMANDS
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = sorted(set(re.findall(r"`(harborpilot [^`]*)`", README)))


def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_documents", ROOT / "docs/make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_tables_and_schema_are_those_in_force() -> None:
    """`python docs/make.py` renews them."""
    stale = [path.name for path, content in make().wanted() if path.read_text(encoding="utf-8") != content]
    assert stale == []


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_readme_has_the_flags_it_is_shown_with(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *words = shlex.split(line)[1:]
    assert name in COMMANDS, line
    with pytest.raises(SystemExit):
        main([name, "--help"])
    help_text = capsys.readouterr().out
    for word in words:
        if word.startswith("-"):
            assert re.search(rf"(^|\s|,\s|\[){re.escape(word.partition('=')[0])}\b", help_text), f"{line}: {word}"


def test_the_readme_shows_every_way_in() -> None:
    assert len(LINES) > 10
    assert "pip install uv && uv run harborpilot train" in README
    assert "\n./check " in README


def test_links_and_pictures_are_there() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("http") and target != "../shared":
                assert ((ROOT / page).parent / target).is_file(), f"{page}: {target}"


def test_the_changelog_has_a_place_for_what_is_new() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_paths_that_contributors_are_sent_to_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = {
        path
        for path in re.findall(r"`((?:app|tests|rules|docs|screens|benchmarks)/[\w./-]*)`", text)
        if "<" not in path
    }
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).exists()] == []

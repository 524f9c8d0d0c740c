"""Settings: flag, then environment, then the user's file, then the system's, then what is built in.

A file is `config.yaml` in `$XDG_CONFIG_HOME/harborpilot` or `/etc/harborpilot`; the environment names a setting as
`HARBORPILOT_RUN__JOBS`. Every mistake is told with `file:line`; an unknown key is a mistake, never ignored. Passwords are no settings.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from app.errors import UsageError
from app.keymap import config_dir

SYSTEM: Final = Path("/etc/harborpilot/config.yaml")
PREFIX: Final = "HARBORPILOT_"

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Jobs = Annotated[int, msgspec.Meta(ge=1, le=256)]
Count = Annotated[int, msgspec.Meta(ge=0, le=50)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Days = Annotated[float, msgspec.Meta(gt=0)]


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base: unknown keys are mistakes."""


class Ssh(Shape, frozen=True):
    """How nodes are reached. Empty and 0: as ssh_config says."""

    user: str = ""
    port: Port = 0
    jump: str = ""
    host: str = ""
    """Template for the SSH host of a node, e.g. `{name}.corp.example`."""
    config: str = ""
    """An ssh_config file in place of `~/.ssh/config`."""


class Kube(Shape, frozen=True):
    """Which clusters are asked."""

    context: str = ""
    harbor_context: str = ""
    harbor_namespace: str = ""
    request_timeout: Seconds = 10.0


class Run(Shape, frozen=True):
    """Limits and consent of a run."""

    jobs: Jobs = 4
    healthy: Count = 3
    timeout: Seconds = 180.0
    probe_timeout: Seconds = 15.0
    try_credentials: Literal["never", "once"] = "never"


class Ui(Shape, frozen=True):
    """Looks. An empty theme is `dark`, or `no-colour` where NO_COLOR is set."""

    theme: Literal["", "dark", "light", "high-contrast", "deuteranopia", "tritanopia", "no-colour"] = ""


class Sessions(Shape, frozen=True):
    """How long sessions are kept."""

    keep_days: Days = 90.0


class Settings(Shape, frozen=True):
    """Everything that can be set."""

    ssh: Ssh = Ssh()
    kube: Kube = Kube()
    run: Run = Run()
    ui: Ui = Ui()
    sessions: Sessions = Sessions()


DESTINATIONS: Final = {
    "ssh.user": "ssh_user",
    "ssh.port": "ssh_port",
    "ssh.jump": "jump",
    "ssh.host": "ssh_host",
    "ssh.config": "ssh_config",
    "kube.context": "context",
    "kube.harbor_context": "harbor_context",
    "kube.harbor_namespace": "harbor_namespace",
    "kube.request_timeout": "request_timeout",
    "run.jobs": "jobs",
    "run.healthy": "healthy",
    "run.timeout": "timeout",
    "run.probe_timeout": "probe_timeout",
    "run.try_credentials": "try_credentials",
    "ui.theme": "theme",
    "sessions.keep_days": "keep_days",
}
"""Setting → name of the flag's value in a parsed command line."""


class Configured(str):
    """A text that comes from a setting and not from a flag: a default context is no wish to ask that cluster."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in force."""

    name: str
    value: Any
    source: str
    """`built-in`, `file:line` or the variable's name."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is in force, where each value comes from, and every mistake on the way."""

    settings: Settings
    values: tuple[Setting, ...]
    problems: tuple[str, ...]

    def source(self, name: str) -> str:
        """Where a value comes from."""
        return next((item.source for item in self.values if item.name == name), "built-in")


def fields() -> Iterator[tuple[str, Any, Any]]:
    """(`section.key`, type, built-in value) of every setting."""
    for section in msgspec.structs.fields(Settings):
        for field in msgspec.structs.fields(section.type):
            yield f"{section.name}.{field.name}", field.type, field.default


def user_file() -> Path:
    """The user's own file."""
    return config_dir(os.environ) / "config.yaml"


def read(environ: Mapping[str, str], files: tuple[Path, ...] | None = None) -> Loaded:
    """Read the files, the last one first in rank, and the environment. Mistakes are collected, nothing is raised."""
    shapes = {name: shape for name, shape, _ in fields()}
    found = {name: Setting(name, default, "built-in") for name, _, default in fields()}
    problems: list[str] = []
    for path in (SYSTEM, user_file()) if files is None else files:
        found.update(_file(path, shapes, problems))
    found.update(_environment(environ, shapes, problems))
    nested: dict[str, dict[str, Any]] = {}
    for item in found.values():
        section, _, key = item.name.partition(".")
        nested.setdefault(section, {})[key] = item.value
    return Loaded(msgspec.convert(nested, Settings), tuple(found.values()), tuple(problems))


def load(environ: Mapping[str, str] | None = None) -> Loaded:
    """What is in force now. Raises UsageError with the first mistake."""
    loaded = read(os.environ if environ is None else environ)
    if loaded.problems:
        more = f" ({len(loaded.problems) - 1} more)" if len(loaded.problems) > 1 else ""
        raise UsageError(
            loaded.problems[0] + more,
            "`harborpilot config validate` lists every mistake; nothing was asked or changed.",
        )
    return loaded


def apply(parser: ArgumentParser) -> None:
    """Give a parser the settings as its defaults, for those flags that it has. Raises UsageError."""
    flags = {action.dest for action in parser._actions}  # noqa: SLF001 - argparse has no public list
    if not flags & set(DESTINATIONS.values()):
        return
    for item in load().values:
        destination = DESTINATIONS[item.name]
        if destination in flags and item.source != "built-in":
            value = Configured(item.value) if isinstance(item.value, str) else item.value
            parser.set_defaults(**{destination: value})


def schema() -> dict[str, Any]:
    """JSON Schema of a file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Harbor Pilot configuration",
        **msgspec.json.schema(Settings),
    }


def _file(path: Path, shapes: Mapping[str, Any], problems: list[str]) -> dict[str, Setting]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path} cannot be read: {error}")
        return {}
    import yaml  # noqa: PLC0415 - only who has a file pays for it

    from app.rulebook.load import line_of, parse_text  # noqa: PLC0415 - the same

    try:
        data = parse_text(text, strict=True)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problems.append(f"{path}:{line}: not YAML: {getattr(error, 'problem', None) or error}")
        return {}
    if data is None:
        return {}
    if not isinstance(data, dict):
        problems.append(f"{path}:1: a configuration is a mapping of sections: {', '.join(_sections(shapes))}")
        return {}
    found: dict[str, Setting] = {}
    for section, entries in data.items():
        line = line_of(text, f".{section}")
        if section not in _sections(shapes):
            problems.append(f"{path}:{line}: unknown section {section!r}; known: {', '.join(_sections(shapes))}")
        elif not isinstance(entries, dict | None):
            problems.append(f"{path}:{line}: section {section!r} is a mapping of settings")
        else:
            for key, value in (entries or {}).items():
                name, where = f"{section}.{key}", f"{path}:{line_of(text, f'.{section}.{key}')}"
                item = _one(name, value, where, shapes, problems)
                if item is not None:
                    found[name] = item
    return found


def _sections(shapes: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in shapes))


def _one(
    name: str, value: Any, where: str, shapes: Mapping[str, Any], problems: list[str], *, strict: bool = True
) -> Setting | None:
    if name not in shapes:
        section = name.partition(".")[0]
        known = ", ".join(other.partition(".")[2] for other in shapes if other.startswith(f"{section}."))
        problems.append(f"{where}: unknown setting {name!r}" + (f"; {section} has: {known}" if known else ""))
        return None
    try:
        return Setting(name, msgspec.convert(value, shapes[name], strict=strict), where)
    except msgspec.ValidationError as error:
        problems.append(f"{where}: {name}: {error}")
        return None


def _environment(environ: Mapping[str, str], shapes: Mapping[str, Any], problems: list[str]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for variable, text in environ.items():
        rest = variable.removeprefix(PREFIX)
        if rest == variable or "__" not in rest:
            continue
        name = ".".join(rest.lower().split("__"))
        item = _one(name, text, f"${variable}", shapes, problems, strict=False)
        if item is not None:
            found[name] = item
    return found

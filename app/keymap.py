"""The operator's own keys: `keymap.yaml`, a mapping of binding id to keys."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from app.errors import UsageError


def config_dir(environ: Mapping[str, str]) -> Path:
    """`HARBORPILOT_CONFIG_DIR`, else `$XDG_CONFIG_HOME/harborpilot`, else `~/.config/harborpilot`."""
    own = environ.get("HARBORPILOT_CONFIG_DIR")
    if own:
        return Path(own)
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~/.config"))) / "harborpilot"


def read_keymap(path: Path) -> dict[str, str]:
    """Binding id to keys, several separated by commas. Empty where there is no file. Raises UsageError."""
    import yaml  # noqa: PLC0415 - only who has a keymap pays for the import

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "The default keys are in force.") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(
            f"{path} is not YAML: {error}", "The default keys are in force; mend the file and start again."
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(
        isinstance(name, str) and isinstance(keys, str) and keys for name, keys in data.items()
    ):
        raise UsageError(
            f"{path} has to be a mapping of binding ids to keys",
            "For example `board.refresh: f5`; help (?) lists the ids. The default keys are in force.",
        )
    return dict(data)


def unknown_ids(keymap: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """Ids of the keymap that no screen has."""
    return sorted(set(keymap) - set(known))

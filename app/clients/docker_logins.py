"""The operator's own logins, as docker keeps them: `config.json` and the credential helpers it names.

Nothing is kept on disk and no value reaches a command line: a helper gets the registry's name on its standard input and
answers with JSON. A helper that is not there, or says that it knows no such registry, is a reason, not an error.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.clients import process
from app.parsers.dockerconfig import LoginEntry, ordered_matches, parse_dockerconfig
from app.ports import Credential

SECONDS: Final = 20.0
"""For one helper: some ask a service of the cloud."""
HUB_KEY: Final = "https://index.docker.io/v1/"
_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def config_path() -> Path:
    """`$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`."""
    folder = os.environ.get("DOCKER_CONFIG")
    return Path(folder) / "config.json" if folder else Path.home() / ".docker" / "config.json"


@dataclass(slots=True)
class DockerLogins:
    """Implements `Logins` of the budget. Each registry's helper is asked once."""

    path: Path = field(default_factory=config_path)
    _found: dict[str, tuple[Credential | None, str]] = field(default_factory=dict, repr=False)

    def find(self, image: str) -> tuple[Credential | None, str]:
        """(login for an image's registry, why there is none)."""
        host = image.partition("/")[0].lower()
        if host not in self._found:
            self._found[host] = self._find(host, image)
        return self._found[host]

    def _find(self, host: str, image: str) -> tuple[Credential | None, str]:
        try:
            text = self.path.read_text(encoding="utf-8")
            data: Any = json.loads(text)
        except FileNotFoundError:
            return None, f"{self.path} is not there"
        except (OSError, ValueError) as error:
            return None, f"{self.path} cannot be read: {getattr(error, 'strerror', None) or 'it is not JSON'}"
        if not isinstance(data, dict):
            return None, f"{self.path} is no docker configuration"
        key = HUB_KEY if host in _HUB else host
        helpers = data.get("credHelpers")
        helper = helpers.get(key) or helpers.get(host) if isinstance(helpers, dict) else None
        store = data.get("credsStore")
        for name in (helper, store):
            if isinstance(name, str) and name:
                credential, why = self._ask(name, key)
                if credential is not None or name == helper:
                    return credential, why
        config = parse_dockerconfig(text.encode(), "kubernetes.io/dockerconfigjson")
        entry = next((one for one in ordered_matches(config.entries, image) if one.has_login), None)
        if entry is not None:
            return _of(entry), ""
        if store:
            return None, f"neither docker-credential-{store} nor {self.path} holds a login for {host}"
        return None, f"{self.path} holds no login for {host}"

    def _ask(self, name: str, key: str) -> tuple[Credential | None, str]:
        """`docker-credential-<name> get` with the registry on its standard input."""
        program = shutil.which(f"docker-credential-{name}") if _HELPER.fullmatch(name) else None
        if program is None:
            return None, f"the credential helper docker-credential-{name} is not installed"
        try:
            done = process.run([program, "get"], SECONDS, stdin=f"{key}\n")
        except (TimeoutError, OSError) as error:
            return None, f"docker-credential-{name} failed: {error}"
        if done.code:
            return None, f"docker-credential-{name} gives no login for {key}"
        try:
            answer = json.loads(done.stdout)
            user, word = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError):
            return None, f"docker-credential-{name} answered with something that is no login"
        if user == "<token>":
            return None, f"docker-credential-{name} holds an identity token for {key}, which only docker itself can use"
        return Credential(user, word, f"account {user}"), ""


def _of(entry: LoginEntry) -> Credential:
    return Credential(entry.username, entry.password, f"account {entry.username}")

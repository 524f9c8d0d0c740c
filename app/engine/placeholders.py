"""`<host>`, `<node>` and the like in questions and commands by hand: filled from the case where it knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from app.model.case import Case

_PLACE: Final = re.compile(r"<([a-z][a-z-]*)>")
_SAFE: Final = re.compile(r"[A-Za-z0-9$+@%_./:\[\]-]+")
"""What may stand in a command unquoted but for a dollar sign; anything else is left to the operator to write."""
_HUB_API: Final = "registry-1.docker.io"
_IN_DOUBLE_QUOTES: Final = re.compile(r'"[^"]*$')


def names_of(case: Case) -> dict[str, str]:
    """Placeholder → what the case knows of it. `host` is written as in the image (with its port), `name` is the host
    alone, `endpoint` host and port, `repository` the whole path, `name-in-project` the part below the project as
    Harbor's API wants it (slashes encoded twice)."""
    found: dict[str, str] = {}
    incident, variables = case.incident, case.variables
    host = str(variables.get("contacted.host") or variables.get("image.host") or incident.registry or "")
    repository = str(variables.get("image.repository") or "")
    if repository:
        found["image"] = incident.image or ""
        found["repository"] = repository
        found["tag"] = str(variables.get("image.tag") or "latest")
        found["project"], _, rest = repository.partition("/")
        found["name-in-project"] = rest.replace("/", "%252F")
    if host:
        found["host"] = _HUB_API if host == "docker.io" else host
        found["name"], found["port"] = _split(found["host"])
        found["endpoint"] = f"{found['name']}:{found['port']}"
    if variables.get("mirror.host"):
        found["mirror"] = str(variables["mirror.host"])
    if incident.nodes:
        found["node"] = incident.nodes[0]
    if incident.pods:
        found["namespace"], _, found["pod"] = incident.pods[0].rpartition("/")
    if variables.get("account"):
        found["account"] = str(variables["account"])
    if variables.get("harbor.namespace"):
        found["harbor-namespace"] = str(variables["harbor.namespace"])
    secret = _secret(case)
    if secret:
        found["secret"] = secret
    return {key: value for key, value in found.items() if value}


def _split(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and not name.endswith(":"):
        return name, port
    return host, "443"


def _secret(case: Case) -> str:
    """The first pull secret that the pod lists."""
    for record in case.evidence:
        names = record.facts.get("pod.secret_names")
        if isinstance(names, tuple) and names:
            return names[0].rpartition("/")[2]
    return ""


def filled(text: str, names: Mapping[str, str]) -> str:
    """The text with the placeholders that are known; the others stay as they are, for the operator to fill."""

    def value(found: re.Match[str]) -> str:
        known = names.get(found[1])
        return known if known is not None and _SAFE.fullmatch(known) else found[0]

    return _PLACE.sub(value, text)


def filled_command(text: str, names: Mapping[str, str]) -> str:
    """The same for a shell command: a `$` in a value (`robot$ci`) is kept from the shell."""

    def value(found: re.Match[str]) -> str:
        known = names.get(found[1])
        if known is None or not _SAFE.fullmatch(known):
            return found[0]
        if "$" not in known:
            return known
        before = text[: found.start()]
        if before.count("'") % 2:
            return known
        return known.replace("$", r"\$") if _IN_DOUBLE_QUOTES.search(before) and before.count('"') % 2 else f"'{known}'"

    return _PLACE.sub(value, text)

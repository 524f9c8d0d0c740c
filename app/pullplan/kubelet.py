"""Which credential the kubelet hands to the runtime (harbor-and-kubernetes.md F.1)."""

from __future__ import annotations

from dataclasses import dataclass

from app.parsers.dockerconfig import LoginEntry, matches, near_miss, normalise_key, ordered_matches
from app.pullplan.inputs import PlanInputs

__all__ = ["Candidate", "CredentialChoice", "choose_credential", "matches", "near_miss"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One source of a login with its fate. `used`: tried for this image, in the order of the list."""

    source: str
    server_key: str
    used: bool
    why: str
    username: str = ""


@dataclass(frozen=True, slots=True)
class CredentialChoice:
    """`kind`: `none`, `pull-secret`, `kubelet-file`, `plugin`; None where what decides was not read."""

    kind: str | None
    candidates: tuple[Candidate, ...] = ()
    error: str = ""
    """One undecodable entry stops the pull of the whole pod."""

    @property
    def sent(self) -> bool | None:
        return None if self.kind is None else self.kind != "none"


def choose_credential(inputs: PlanInputs) -> CredentialChoice:
    """Pod's secrets first, then the node's file, then plugins; every match is tried, none means an anonymous pull."""
    image = inputs.image
    candidates: list[Candidate] = []
    pool: list[tuple[str, LoginEntry]] = []
    error = ""
    for secret in inputs.secrets or ():
        if not secret.exists:
            candidates.append(
                Candidate(f"secret {secret.name}", "", False, "there is no Secret of this name in the pod's namespace")
            )
        elif secret.note:
            candidates.append(Candidate(f"secret {secret.name}", "", False, secret.note))
        error = error or secret.parse_error
        pool += [(f"secret {secret.name}", entry) for entry in secret.entries]
    kind: str | None = "none" if inputs.secrets is not None else None
    used = _ranked(pool, image)
    candidates += used
    if any(item.used for item in used):
        kind = "pull-secret"
    files = [(inputs.node_login_file or "node file", entry) for entry in inputs.node_logins or ()]
    from_file = _ranked(files, image)
    candidates += from_file
    if kind == "none" and any(item.used for item in from_file):
        kind = "kubelet-file"
    for pattern in inputs.plugin_images:
        if matches(pattern, image):
            candidates.append(
                Candidate("credential plugin", pattern, True, "the plugin's matchImages covers the image")
            )
            kind = "plugin" if kind == "none" else kind
    return CredentialChoice(kind, tuple(candidates), error)


def _ranked(pool: list[tuple[str, LoginEntry]], image: str) -> list[Candidate]:
    order = ordered_matches([entry for _, entry in pool], image)
    chosen = []
    for entry in order:
        source = next(name for name, mine in pool if mine is entry)
        why = "its key covers the image" if entry.has_login else "its key covers the image, but it holds no login"
        chosen.append(Candidate(source, normalise_key(entry.server_key), True, why, entry.username))
    for source, entry in pool:
        if all(entry is not mine for mine in order):
            why = entry.parse_error or _miss(near_miss(entry.server_key, image))
            chosen.append(Candidate(source, normalise_key(entry.server_key), False, why, entry.username))
    return chosen


def _miss(kind: str) -> str:
    return {
        "port": "another port than the image names",
        "case": "differs in case; keys are compared to the letter",
        "path": "its path does not begin the image's path",
        "ip-or-name": "an address where the image has a name, or the reverse",
        "hub-name": "Docker Hub's key is https://index.docker.io/v1/",
    }.get(kind, "for another host")

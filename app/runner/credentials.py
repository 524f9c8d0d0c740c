"""Logins by name, and the budget: one failing try for each credential and realm in a whole session."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

from app.model.material import Material
from app.parsers.dockerconfig import LoginEntry, normalise_repository, ordered_matches, parse_dockerconfig
from app.parsers.kube_objects import objects_of
from app.ports import Credential, HttpRequest
from app.probes.base import PUSH_LOGIN, Fetch

HARBOR_API: Final = "harbor-api"
"""Name of the login that the operator gave for Harbor's API."""
_KEYS: Final = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}


class Logins(Protocol):
    """The operator's own logins, as docker keeps them."""

    def find(self, image: str) -> tuple[Credential | None, str]:
        """(login for the image's registry, why there is none)."""


@dataclass(slots=True)
class Budget:
    """Implements `Credentials` of the collector over the Secrets in the material."""

    allowed: bool = False
    """Whether pull secrets may be tried at all."""
    harbor: Credential | None = None
    push: Credential | None = None
    """The login of the failing push, where the operator named one."""
    docker: Logins | None = None
    """Where to look for it else."""
    plain_http: bool = False
    """Consent to send a password without TLS."""
    failed: dict[tuple[str, str], int] = field(default_factory=dict)
    worked: set[str] = field(default_factory=set, repr=False)
    """Logins that a token service accepted; the push's own then also reads Harbor's API, where none was given for it."""
    used: dict[str, int] = field(default_factory=dict)
    """Origin → number of uses, for the connections screen."""

    def allow(self) -> None:
        """The operator consents to the use of pull secrets."""
        self.allowed = True

    def find(self, fetch: Fetch, material: Material) -> tuple[Credential | None, str]:
        """The login that a want names, or why it is not used."""
        url = urlsplit(fetch.request.url)
        if url.scheme != "https" and not self.plain_http:
            return None, "a password goes over TLS only, unless you consent"
        if fetch.secret == HARBOR_API:
            login = self.harbor or (self.push if self.push and _mark(self.push) in self.worked else None)
            if login and self.failed.get((_mark(login), f"{url.netloc} api")):
                return None, "the login for Harbor's API was refused once; it is not tried again"
            return (login, "") if login else (None, "no login for Harbor's API was given")
        if fetch.secret == PUSH_LOGIN:
            return self._push(fetch, url.hostname or "", url.netloc)
        if not self.allowed:
            return None, "no consent to try a credential"
        if fetch.image and not same_site(url.hostname or "", fetch.image):
            return (
                None,
                f"the token realm {url.netloc} is on another site than the registry; a password is not sent there",
            )
        entry = next(self._entries(fetch, material), None)
        if entry is None:
            return None, f"Secret {fetch.secret} holds no login for this image's registry, or cannot be read"
        credential = _variant(entry, fetch)
        if credential is None:
            return None, f"Secret {fetch.secret} has no {fetch.variant} form"
        if self.failed.get((_mark(credential), url.netloc)):
            return None, "this credential has failed once against this realm; it is not tried again"
        return credential, ""

    def _push(self, fetch: Fetch, host: str, place: str) -> tuple[Credential | None, str]:
        """The login with which the operator pushes. Its want is only there with consent."""
        if not same_site(host, fetch.image):
            return None, f"{place} is on another site than the registry; a password is not sent there"
        credential, why = self.push, "no login for the push was given"
        if credential is None and self.docker is not None:
            credential, why = self.docker.find(fetch.image)
        if credential is None:
            return None, why
        if self.failed.get((_mark(credential), place)):
            return None, "this login has failed once against this realm; it is not tried again"
        return credential, ""

    def note(self, credential: Credential, request: HttpRequest, status: int | None) -> None:
        """Count the use, and a refusal against the budget."""
        self.used[credential.origin] = self.used.get(credential.origin, 0) + 1
        if status == 200 and request.purpose == "token-login":
            self.worked.add(_mark(credential))
        # Harbor's API answers 403 to a login that is good and has not the right.
        if status == 401 or (status == 403 and request.purpose != "api"):
            # The API takes Basic where the token service is the one that judges: its refusal is one of its own.
            place = urlsplit(request.url).netloc + (" api" if request.purpose == "api" else "")
            key = (_mark(credential), place)
            self.failed[key] = self.failed.get(key, 0) + 1

    def lines(self) -> tuple[str, ...]:
        """For the connections screen."""
        return tuple(f"{origin}: used {count} times" for origin, count in sorted(self.used.items()))

    def _entries(self, fetch: Fetch, material: Material) -> Iterator[LoginEntry]:
        for namespace, name, secret in objects_of(material).all("Secret"):
            if f"{namespace}/{name}" != fetch.secret:
                continue
            kind = str(secret.get("type") or "")
            data = (secret.get("data") or {}).get(_KEYS.get(kind, ".dockerconfigjson"))
            if isinstance(data, str):
                config = parse_dockerconfig(_decoded(data), kind)
                image = (
                    fetch.request.headers.get("x-harborpilot-image", "") or urlsplit(fetch.request.url).netloc + "/any"
                )
                yield from (entry for entry in ordered_matches(config.entries, image) if entry.has_login)


def same_site(host: str, image: str) -> bool:
    """Whether a realm belongs to the image's registry: the same host, or a name below the same parent of two labels or more."""
    registry = normalise_repository(image).partition("/")[0].partition(":")[0].lower()
    if host.lower() == registry:
        return True
    ours, theirs = registry.split("."), host.lower().split(".")
    return len(ours) > 2 and len(theirs) > 2 and not ours[-1].isdigit() and ours[1:] == theirs[1:]


def _decoded(data: str) -> bytes:

    try:
        return base64.b64decode(data)
    except ValueError:
        return b""


def _variant(entry: LoginEntry, fetch: Fetch) -> Credential | None:
    origin = f"secret {fetch.secret}"
    if fetch.variant == "trimmed":
        return Credential(entry.username.strip(), entry.password.strip(), f"{origin} (edges trimmed)")
    if fetch.variant == "fields":
        return (
            Credential(entry.field_username, entry.field_password, f"{origin} (its fields)")
            if entry.field_password
            else None
        )
    return Credential(entry.username, entry.password, origin)


def _mark(credential: Credential) -> str:
    return hashlib.sha256(f"{credential.username}\0{credential.password}".encode()).hexdigest()

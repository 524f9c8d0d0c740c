"""What the probes of Harbor's own side share: its API answers, the failing image, the window of the failure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Document, Material
from app.model.target import INCIDENT, Target
from app.parsers.core_log import stamp_of
from app.parsers.harbor_config import read_cfg, read_installer, read_values
from app.parsers.redact import redact
from app.parsers.split_url import urlsplit
from app.probes.base import Scene

PUBLIC_REGISTRIES: Final = frozenset(
    {
        "docker.io", "index.docker.io", "registry-1.docker.io", "hub.docker.com", "quay.io", "ghcr.io", "gcr.io", "registry.k8s.io",
        "k8s.gcr.io", "mcr.microsoft.com", "public.ecr.aws", "registry.gitlab.com", "registry.access.redhat.com", "registry.redhat.io",
        "nvcr.io", "docker.elastic.co",
    }
)  # fmt: skip
EXCERPT: Final = 1200
MARGIN: Final = 1800.0
"""Seconds around the failure for which log lines are taken as about it."""
ZONES: Final = 15 * 3600.0
"""No local time differs more than this from UTC; older lines are about something else."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of Harbor's API: a document of the bundle, or the body of one of our requests."""

    value: Any
    path: str
    """Document it stands in."""
    status: int = 200
    query: str = ""
    url_path: str = ""
    method: str = "GET"
    taken_at: float | None = None
    login: str = ""
    vantage: str = ""


@dataclass(frozen=True, slots=True)
class ImageName:
    """A reference taken apart; `repository` holds the project."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def project(self) -> str:
        return self.repository.split("/", 1)[0] if "/" in self.repository else ""

    @property
    def below(self) -> str:
        """The repository without its project."""
        return self.repository.partition("/")[2]


def image_of(reference: str | None) -> ImageName | None:
    """A reference with a host, or None. Not normalised: only to find a project and a repository in Harbor."""
    if not reference:
        return None
    text = re.sub(r"^[a-z]+://", "", reference.strip())
    host, slash, rest = text.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        return None
    rest, _, digest = rest.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    return ImageName(host.lower(), name, tag, digest)


@dataclass(frozen=True)
class HarborSide:
    """Material and scene with what Harbor's probes ask of them, worked out once per read."""

    material: Material
    scene: Scene

    # --- answers of the API -------------------------------------------------------------------------------------

    def documents(self, *names: str) -> Iterator[Answer]:
        """`harbor/<name>.json` for each of the names. A document that is not JSON is passed over (`unparsable` tells)."""
        for name in names:
            path = f"harbor/{name}.json"
            document = self.material.get(path)
            text = self.material.text(path)
            if document is None or not text or not text.strip():
                continue
            try:
                yield Answer(json.loads(text), path, taken_at=document.taken_at)
            except ValueError:
                continue

    def unparsable(self, *names: str) -> list[tuple[str, str]]:
        """Path and reason of documents that are not JSON."""
        bad = []
        for name in names:
            text = self.material.text(f"harbor/{name}.json")
            if text and text.strip():
                try:
                    json.loads(text)
                except ValueError as error:
                    bad.append((f"harbor/{name}.json", str(error)))
        return bad

    @cached_property
    def exchanges(self) -> tuple[Answer, ...]:
        """Our own requests below `/api/v2.0/`, in the order they were made, JSON bodies read."""
        found = []
        for document in [*self.material.glob("registry/exchanges.json"), *self.material.glob("nodes/*/exchanges.json")]:
            try:
                rows = json.loads(document.text)
            except ValueError:
                continue
            for row in rows if isinstance(rows, list) else []:
                answer = _answer_of(row, document)
                if answer is not None:
                    found.append(answer)
        return tuple(found)

    def asked(self, pattern: str, method: str = "GET") -> list[Answer]:
        """Our requests whose path below `/api/v2.0/` matches a regular expression as a whole."""
        return [
            answer for answer in self.exchanges if answer.method == method and re.fullmatch(pattern, answer.url_path)
        ]

    def rows(self, documents: Sequence[str], pattern: str) -> tuple[list[dict[str, Any]], list[Answer]]:
        """Objects of a collection from documents and from our requests; a single object counts as a list of one."""
        answers = [*self.documents(*documents), *(one for one in self.asked(pattern) if one.status == 200)]
        objects: list[dict[str, Any]] = []
        for answer in answers:
            value = answer.value
            if isinstance(value, Mapping) and isinstance(value.get("items"), list):
                value = value["items"]
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict) and one and "errors" not in one and one not in objects:
                    objects.append(one)
        return objects, answers

    # --- whom it is about ---------------------------------------------------------------------------------------

    @cached_property
    def image(self) -> ImageName | None:
        return image_of(self.scene.incident.image)

    @cached_property
    def external_url(self) -> str:
        """URL that Harbor is set to, by whatever says it; empty where nothing does."""
        for answer in [*self.documents("systeminfo"), *self.asked("systeminfo")]:
            if isinstance(answer.value, dict) and answer.value.get("external_url"):
                return str(answer.value["external_url"])
        for path, read in (
            ("harbor/values.yaml", read_values),
            ("harbor/harbor.yml", read_installer),
            ("harbor/harbor.cfg", read_cfg),
        ):
            text = self.material.text(path)
            if text:
                try:
                    url = read(text).external_url
                except ValueError:
                    continue
                if url:
                    return url
        return ""

    @cached_property
    def harbor_host(self) -> str:
        """Host name of the external URL, without a port."""
        return (urlsplit(self.external_url).hostname or "") if "://" in self.external_url else ""

    @cached_property
    def mirrored(self) -> bool:
        """The image is named after another registry, and Harbor is a mirror of it in some node's settings."""
        image = self.image
        if image is None or not self.harbor_host:
            return False
        host = image.host.split(":", 1)[0]
        if host == self.harbor_host.lower():
            return False
        if host in PUBLIC_REGISTRIES:
            return True
        for pattern in (
            "nodes/*/hosts.toml",
            "nodes/*/registries.yaml",
            "nodes/*/config.toml",
            "nodes/*/registries.conf",
        ):
            if any(self.harbor_host in document.text for document in self.material.glob(pattern)):
                return True
        return False

    @cached_property
    def target(self) -> Target:
        """The registry; nothing where the image is named after a registry that Harbor mirrors."""
        if self.mirrored:
            return INCIDENT
        return Target.of(registry=self.scene.incident.registry)

    @cached_property
    def account(self) -> str:
        """`$account` where the case knows it, else empty."""
        value = self.scene.variables.get("account")
        return value if isinstance(value, str) else ""

    @cached_property
    def project(self) -> str:
        """Project in Harbor that the failing request is about; empty where it is not known."""
        action = self.scene.variables.get("project.action")
        if isinstance(action, str) and ":" in action:
            return action.rpartition(":")[0]
        if self.image is not None and not self.mirrored:
            return self.image.project
        if self.image is not None:
            for text in self.scene.incident.texts:
                found = re.search(rf"/v2/([^/\s]+)/{re.escape(self.image.repository)}/", text)
                if found:
                    return found[1]
        return ""

    @cached_property
    def action(self) -> str:
        return self.scene.incident.action or ""

    # --- when ---------------------------------------------------------------------------------------------------

    @cached_property
    def failure(self) -> tuple[float, float] | None:
        """First and last moment of the failure as stated by the bundle or seen live; None where nothing states it."""
        times = [self.scene.incident.since] if self.scene.incident.since else []
        text = self.material.text("bundle.json")
        if text:
            try:
                stated = json.loads(text)
            except ValueError:
                stated = {}
            taken = stamp_of(str(stated.get("taken_at") or "")) if isinstance(stated, dict) else None
            if taken:
                times.append(taken)
        if self.scene.vantage != "bundle" and self.scene.now:
            times.append(self.scene.now)
        known = [time for time in times if time]
        return (min(known), max(known)) if known else None

    def evidence(
        self,
        probe: str,
        facts: Mapping[str, Value],
        *,
        target: Target | None = None,
        partial: frozenset[str] = frozenset(),
        roster: Mapping[str, tuple[str, ...]] | None = None,
        excerpt: str = "",
        detail: str = "",
        taken_at: float | None = None,
        command: str = "",
        outcome: Outcome = Outcome.OBSERVED,
        by_hand: str = "",
        answers: Iterable[Answer] = (),
        documents: Iterable[str] = (),
    ) -> Evidence:
        """Evidence of this area, redacted, at the registry unless told otherwise; as old as the oldest of its `answers` and `documents`."""
        if taken_at is None:
            times = [*(one.taken_at for one in answers), self.material.taken(*documents)]
            taken_at = min((time for time in times if time), default=None)
        return Evidence(
            probe=probe,
            target=self.target if target is None else target,
            vantage=self.scene.vantage,
            outcome=outcome,
            facts=dict(facts),
            partial=partial & frozenset(facts),
            roster=dict(roster or {}),
            excerpt=redact(excerpt[:EXCERPT]),
            detail=redact(detail),
            taken_at=taken_at,
            command=command,
            by_hand=by_hand,
        )


def _answer_of(row: Any, document: Document) -> Answer | None:
    if not isinstance(row, dict) or not isinstance(row.get("status"), int):
        return None
    parts = urlsplit(str(row.get("url") or ""))
    found = re.match(r"/api/(?:v2\.0/)?(.*)", parts.path)
    if not found:
        return None
    body = row.get("body") or ""
    try:
        value = json.loads(body) if body else None
    except ValueError:
        value = None
    taken = row.get("taken_at")
    return Answer(
        value,
        document.path,
        row["status"],
        unquote(parts.query),
        found[1].strip("/"),
        str(row.get("method") or "GET"),
        taken if isinstance(taken, (int, float)) else None,
        str(row.get("login") or ""),
        str(row.get("vantage") or ""),
    )


def time_of(value: Any) -> float | None:
    """An API time (`2026-11-21T10:07:10.008Z`) in seconds since the epoch; Harbor's zero time counts as none."""
    stamp = stamp_of(value) if isinstance(value, str) else None
    return stamp if stamp and stamp > 0 else None


def denied(side: HarborSide, probe: str, pattern: str, costs: str, by_hand: str) -> Iterator[Evidence]:
    """Evidence of a refused call where no answer of that path was given at all."""
    answers = side.asked(pattern)
    if answers and not any(answer.status in (200, 404) for answer in answers):
        last = answers[-1]
        outcome = Outcome.DENIED if last.status in (401, 403, 412) else Outcome.UNSUPPORTED
        yield side.evidence(
            probe,
            {},
            outcome=outcome,
            detail=f"Harbor answered {last.status} to {last.url_path}: {costs}",
            by_hand=by_hand,
        )


def unreadable(side: HarborSide, probe: str, *names: str) -> Iterator[Evidence]:
    """UNPARSABLE evidence for documents that are not JSON."""
    bad = side.unparsable(*names)
    if bad:
        yield side.evidence(
            probe, {}, outcome=Outcome.UNPARSABLE, detail="; ".join(f"{path} is not JSON: {why}" for path, why in bad)
        )

"""Raw material: the documents that probes read. One layout for live collection, bundles and the simulated world.

Paths are those of the evidence bundle, layout version 1 (`pod.json`, `events.json`, `nodes/<node>/etc/hosts`,
`nodes/<node>/exchanges.json`, `harbor/core.log`, …). Material may hold secrets: it lives in memory only, probes turn
it into redacted Evidence, and `app.session.redact` masks it before a bundle is written.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from app.model.evidence import Outcome


@dataclass(frozen=True, slots=True)
class Document:
    """One file, command output or API answer. `text` is empty unless it was observed."""

    path: str
    text: str = ""
    outcome: Outcome = Outcome.OBSERVED
    absent: bool = False
    """Observed not to be there (the file does not exist, the API said 404)."""
    taken_at: float | None = None
    mtime: float | None = None
    """The file's own time of change, seconds since the epoch by its host's clock, where the collector saw it."""
    detail: str = ""
    """Why it was not observed."""
    source: str = ""
    """The read-only command or API call that gave it."""


class Material:
    """Documents by path, read-only. A path that is not here is unknown; one with `absent` is known not to exist."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self._documents: dict[str, Document] = {document.path: document for document in documents}
        self._sorted: list[str] | None = None
        self._nodes: list[str] | None = None
        self._matched: dict[str, list[Document]] = {}

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents.values())

    def __len__(self) -> int:
        return len(self._documents)

    def get(self, path: str) -> Document | None:
        """The document at a path, whatever its outcome; None when nobody asked for it."""
        return self._documents.get(path)

    def taken(self, *paths: str) -> float | None:
        """When the oldest of these was read; None where none of them says."""
        found = (self._documents.get(path) for path in paths)
        return min((one.taken_at for one in found if one is not None and one.taken_at), default=None)

    def text(self, path: str) -> str | None:
        """Its text when it was observed and is there; None otherwise."""
        document = self._documents.get(path)
        if document is None or document.outcome is not Outcome.OBSERVED or document.absent:
            return None
        return document.text

    def json(self, path: str) -> Any:
        """Its parsed JSON, None where it is not there. Raises ValueError when it is not JSON."""
        text = self.text(path)
        return None if text is None else json.loads(text)

    def glob(self, pattern: str) -> list[Document]:
        """Documents that were observed and exist, whose path matches a shell pattern (`*` crosses slashes), by path."""
        found = self._matched.get(pattern)
        if found is None:
            fixed = pattern[: min((pattern.index(sign) for sign in "*?[" if sign in pattern), default=len(pattern))]
            found = [
                self._documents[path]
                for path in self._beginning(fixed)
                if fnmatchcase(path, pattern) and self.text(path) is not None
            ]
            self._matched[pattern] = found
        return list(found)

    def below(self, prefix: str) -> list[Document]:
        """Documents that were observed and exist, whose path begins like that, by path."""
        return [self._documents[path] for path in self._beginning(prefix) if self.text(path) is not None]

    def _beginning(self, prefix: str) -> list[str]:
        """Found by bisection: with hundreds of nodes a walk over all paths for each node would take minutes."""
        if self._sorted is None:
            self._sorted = sorted(self._documents)
        first = bisect_left(self._sorted, prefix)
        last = first
        while last < len(self._sorted) and self._sorted[last].startswith(prefix):
            last += 1
        return self._sorted[first:last]

    def nodes(self) -> list[str]:
        """Names of the nodes of which anything is known, sorted."""
        if self._nodes is None:
            self._nodes = sorted(
                {path.split("/", 2)[1] for path in self._documents if path.startswith("nodes/") and path.count("/") > 1}
            )
        return list(self._nodes)

    def node_file(self, node: str, absolute: str) -> str | None:
        """Text of a file of a node by its absolute path."""
        return self.text(f"nodes/{node}/{absolute.lstrip('/')}")

    def node_files(self, node: str, under: str) -> Mapping[str, str]:
        """Absolute path to text, of the files of a node below a folder."""
        prefix = f"nodes/{node}/"
        found = self.glob(f"{prefix}{under.strip('/')}/*")
        return {document.path.removeprefix(prefix.removesuffix("/")): document.text for document in found}

    def with_documents(self, documents: Iterable[Document]) -> Material:
        """A new Material with these documents added; a newer one takes the place of an older one at the same path."""
        merged = Material()
        merged._documents = {**self._documents, **{document.path: document for document in documents}}
        return merged

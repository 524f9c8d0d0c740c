"""Edits of `registries.yaml` that keep comments, order and quotes (ruamel.yaml round trip)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from app.fixes.node_toml import EditError

_SPACINGS: Final = ((2, 4, 2), (2, 2, 0), (4, 4, 2), (4, 6, 4), (4, 4, 0), (4, 2, 0), (3, 3, 1), (8, 8, 6))
"""Spaces for a mapping, for a list, and before its dash; the first one that gives the text back is the file's own."""
_MEANT: Final = {
    "mirror": "mirrors", "config": "configs", "endpoints": "endpoint", "rewrites": "rewrite", "skip_verify": "insecure_skip_verify",
    "insecure": "insecure_skip_verify", "ca": "ca_file", "user": "username",
}  # fmt: skip
_AUTH: Final = ("username", "password", "auth", "identity_token")
_TLS: Final = ("ca_file", "cert_file", "key_file", "insecure_skip_verify")


class RegistriesEdit:
    """One registries.yaml under edit. `exact`: an edit leaves the spacing of all other lines alone."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.exact = True
        self._yaml, self.data = self._load(text)

    def _load(self, text: str) -> tuple[YAML, Any]:
        first: tuple[YAML, Any] | None = None
        for mapping, sequence, offset in _SPACINGS:
            made = YAML()
            made.preserve_quotes = True
            made.width = 4096
            made.indent(mapping=mapping, sequence=sequence, offset=offset)
            try:
                data = made.load(text)
            except (YAMLError, ValueError) as error:
                raise EditError(f"it is not YAML: {str(error).splitlines()[0]}") from error
            if data is None:
                return made, CommentedMap()
            if not isinstance(data, CommentedMap):
                raise EditError("the document is not a mapping")
            first = first or (made, data)
            if self._dump(made, data) == text:
                return made, data
        self.exact = False
        return first if first is not None else (YAML(), CommentedMap())

    @staticmethod
    def _dump(made: YAML, data: Any) -> str:
        out = io.StringIO()
        made.dump(data, out)
        return out.getvalue()

    def result(self) -> str:
        """The edited text; the text as it was where nothing was changed."""
        before = self._yaml.load(self.text)
        if before == self.data or (before is None and not self.data):
            return self.text
        made = self._dump(self._yaml, self.data)
        # A file of comments alone has no document that they could hang on.
        head = self.text if before is None and self.text.strip() else ""
        return head + ("" if not head or head.endswith("\n") else "\n") + made

    def table(self, *path: str) -> CommentedMap:
        """The mapping at a path, made where it is not there."""
        place: CommentedMap = self.data
        for word in path:
            value = place.get(word)
            if value is None:
                value = place[word] = CommentedMap()
            if not isinstance(value, CommentedMap):
                raise EditError(f"{word} is not a mapping")
            place = value
        return place

    def part(self, name: str) -> Mapping[str, Any]:
        """`mirrors` or `configs` as it stands, empty where it is not there."""
        found = self.data.get(name)
        return found if isinstance(found, CommentedMap) else {}

    def rename(self, table: CommentedMap, old: str, new: str) -> None:
        """Another name for a key, at its place and with its comments."""
        index = list(table).index(old)
        value = table[old]
        comment = table.ca.items.pop(old, None)
        del table[old]
        table.insert(index, new, value)
        if comment is not None:
            table.ca.items[new] = comment

    def respell(self) -> list[str]:
        """Give misspelt and misplaced keys the name and place that were meant; returns what was done."""
        done: list[str] = []
        for old in [key for key in self.data if key in _MEANT and _MEANT[key] not in self.data]:
            self.rename(self.data, old, _MEANT[old])
            done.append(f"{old} → {_MEANT[old]}")
        for name, inner in self._entries("mirrors"):
            self._spell(inner, f"mirrors {name}", ("endpoint", "rewrite"), done)
        for name, inner in self._entries("configs"):
            for part, known in (("auth", _AUTH), ("tls", _TLS)):
                if isinstance(inner.get(part), CommentedMap):
                    self._spell(inner[part], f"configs {name} {part}", known, done)
            for key in [key for key in inner if key not in ("auth", "tls")]:
                meant = _MEANT.get(key, key)
                for part, known in (("auth", _AUTH), ("tls", _TLS)):
                    if meant in known and not (part == "auth" and meant == "auth"):
                        place = self.table("configs", name, part)
                        if meant not in place:
                            place[meant] = inner[key]
                            del inner[key]
                            done.append(f"configs {name} {key} → {part} {meant}")
        return done

    def _spell(self, inner: CommentedMap, where: str, known: tuple[str, ...], done: list[str]) -> None:
        for key in [key for key in inner if key not in known and _MEANT.get(key) in known and _MEANT[key] not in inner]:
            self.rename(inner, key, _MEANT[key])
            done.append(f"{where} {key} → {_MEANT[key]}")

    def _entries(self, part: str) -> Iterator[tuple[str, CommentedMap]]:
        listed = self.data.get(part)
        if isinstance(listed, CommentedMap):
            for name in list(listed):
                if isinstance(listed[name], CommentedMap):
                    yield str(name), listed[name]

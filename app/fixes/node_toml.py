"""Edits of TOML files that leave every other byte as it was: comments, order, spacing.

Each edit is made in the text, by tomlkit or by whole lines, and then held against the same edit of the parsed data. Where
the two differ (a layout that was not foreseen) `EditError` is raised and nothing is offered.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError

Path = tuple[str, ...]
_HEADER: Final = re.compile(r"^\s*\[(?!\[)[^\n]*\]\s*(?:#.*)?$")
_ARRAY_HEADER: Final = re.compile(r"^\s*\[\[[^\n]*\]\]\s*(?:#.*)?$")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


class EditError(ValueError):
    """The text cannot be edited without a risk; says why."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lines `start` to `end` (not included) that belong to one header; the first block is the root level, with an empty path."""

    path: Path
    start: int
    end: int


def quoted(value: str) -> str:
    """A TOML string."""
    return str(tomlkit.string(value).as_string())


def header(path: Sequence[str]) -> str:
    """`[plugins."io.containerd.grpc.v1.cri".registry]`."""
    return "[" + ".".join(word if _BARE.fullmatch(word) else quoted(word) for word in path) + "]"


def shown_value(value: Any) -> str:
    """A value as TOML on one line."""
    return str(tomlkit.item(value).as_string())


def blocks(text: str) -> list[Block]:
    """The tables of a text in order. Comment lines right above a header belong to its table."""
    lines = text.splitlines(keepends=True)
    starts: list[tuple[Path, int]] = [((), 0)]
    inside = ""
    for number, line in enumerate(lines):
        inside = _string_state(line, inside)
        if inside:
            continue
        path = _path(line)
        if path is not None:
            starts.append((path, number))
    found = []
    for index, (path, start) in enumerate(starts):
        end = starts[index + 1][1] if index + 1 < len(starts) else len(lines)
        begin = _above(lines, start, starts[index - 1][1] + 1 if index else 0) if path else 0
        finish = _above(lines, end, start + 1) if index + 1 < len(starts) else end
        found.append(Block(path, begin, finish))
    return found


def _string_state(line: str, inside: str) -> str:
    """Whether a multi-line string is open after this line."""
    for mark in ('"""', "'''"):
        if inside in ("", mark) and line.count(mark) % 2 == 1:
            return "" if inside else mark
    return inside


def _above(lines: list[str], at: int, least: int) -> int:
    """The first of the comment lines that stand right above a line."""
    while at > least and lines[at - 1].lstrip().startswith("#"):
        at -= 1
    return at


def _path(line: str) -> Path | None:
    if _ARRAY_HEADER.match(line):
        return ("[[", line.strip())
    if not _HEADER.match(line):
        return None
    try:
        data: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    words = []
    while isinstance(data, dict) and len(data) == 1:
        key, data = next(iter(data.items()))
        words.append(key)
    return tuple(words) if data == {} and words else None


def at(data: Any, path: Iterable[str]) -> Any:
    """The value at a path of keys, None where there is none."""
    for word in path:
        if not isinstance(data, dict) or word not in data:
            return None
        data = data[word]
    return data


def parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EditError(f"it is not TOML: {error}") from error


def _checked(text: str, wanted: dict[str, Any]) -> str:
    """The edited text, when it says exactly what was meant."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EditError(f"the edited text would not be TOML ({error})") from error
    if found != wanted:
        raise EditError("its layout does not allow a small edit; change it by hand")
    return text


def _put(data: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(data)
    place = data
    for word in path[:-1]:
        place = place.setdefault(word, {})
        if not isinstance(place, dict):
            raise EditError(f"{word} is not a table")
    place[path[-1]] = value
    return data


def set_key(text: str, table: Path, key: str, value: Any) -> str:
    """Set one key of a table. An existing value is replaced in place; a new key follows the last one of the table."""
    data = parsed(text)
    wanted = _put(data, (*table, key), value)
    if wanted == data:
        return text
    if at(data, (*table, key)) is not None:
        try:
            document = tomlkit.parse(text)
            place: Any = document
            for word in table:
                place = place[word]
            place[key] = value
            return _checked(tomlkit.dumps(document), wanted)
        except (TOMLKitError, KeyError, TypeError) as error:
            raise EditError("its layout does not allow a small edit; change it by hand") from error
    line = f"{key if _BARE.fullmatch(key) else quoted(key)} = {shown_value(value)}"
    block = next((one for one in blocks(text) if one.path == table), None)
    if block is None:
        return _checked(_joined(text, f"{header(table)}\n  {line}\n"), wanted)
    lines = text.splitlines(keepends=True)
    place_at, indent = _end_of_keys(lines, block, bool(table))
    if place_at and not lines[place_at - 1].endswith("\n"):
        lines[place_at - 1] += "\n"
    extra = "\n" if not table and place_at < len(lines) and lines[place_at].lstrip().startswith("[") else ""
    return _checked("".join((*lines[:place_at], f"{indent}{line}\n{extra}", *lines[place_at:])), wanted)


def _end_of_keys(lines: list[str], block: Block, in_table: bool) -> tuple[int, str]:
    """After the last line of a table's own text, and how its keys are indented."""
    end, indent, head = block.end, None, block.start
    while head < block.end and in_table and not _HEADER.match(lines[head]):
        head += 1
    for number in range(head + (1 if in_table else 0), block.end):
        if indent is None and re.match(r"""\s*["'\w]""", lines[number]):
            indent = re.match(r"\s*", lines[number])[0].replace("\n", "")  # type: ignore[index]
    while end > head + (1 if in_table else 0) and (
        not lines[end - 1].strip() or (lines[end - 1].lstrip().startswith("#") and not in_table and indent is not None)
    ):
        end -= 1
    return end, indent if indent is not None else "  " if in_table else ""


def remove_key(text: str, table: Path, key: str) -> str:
    """Take one key of a table away, with its line."""
    data = parsed(text)
    if at(data, (*table, key)) is None:
        return text
    wanted = copy.deepcopy(data)
    del at(wanted, table)[key]
    try:
        document = tomlkit.parse(text)
        place: Any = document
        for word in table:
            place = place[word]
        place.remove(key)
        return _checked(tomlkit.dumps(document), wanted)
    except (TOMLKitError, KeyError, TypeError, AttributeError) as error:
        raise EditError("its layout does not allow a small edit; change it by hand") from error


def append_text(text: str, addition: str) -> str:
    """New tables at the end. They must not redefine what is there."""
    data, more = parsed(text), parsed(addition)
    return _checked(_joined(text, addition), _merged(data, more))


def _merged(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    whole = copy.deepcopy(one)
    for key, value in two.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict):
            whole[key] = _merged(whole[key], value)
        elif key in whole:
            raise EditError(f"{key} is there already")
        else:
            whole[key] = value
    return whole


def _joined(text: str, addition: str) -> str:
    if not text.strip():
        return text + addition
    return text + ("" if text.endswith("\n") else "\n") + ("" if text.endswith("\n\n") else "\n") + addition


def rename_tables(text: str, rename: Callable[[Path], Path | None]) -> str:
    """Give tables other names. `rename` gets the path of a header and answers the new one, None to leave it.

    The parsed data must come out with every such table under its new name and all else equal.
    """
    parsed(text)
    lines = text.splitlines(keepends=True)
    changed: list[tuple[Path, Path]] = []
    for block in blocks(text):
        new = rename(block.path) if block.path and block.path[0] != "[[" else None
        if new is None or new == block.path:
            continue
        number = next(number for number in range(block.start, block.end) if _HEADER.match(lines[number]))
        lead = re.match(r"\s*", lines[number])[0]  # type: ignore[index]
        comment = _comment(lines[number])
        lines[number] = f"{lead}{header(new)}{comment}\n"
        changed.append((block.path, new))
    result = "".join(lines)
    if changed and _leaves(parsed(result)) != _leaves(parsed(text)):
        raise EditError("its layout does not allow a small edit; change it by hand")
    return result


def _leaves(data: Any) -> list[str]:
    """All values with their own key, wherever they stand; empty tables are left out."""
    found: list[str] = []

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                walk(item, name)
        else:
            found.append(f"{key}={value!r}")

    walk(data, "")
    return sorted(found)


def _comment(line: str) -> str:
    """The comment behind a header, with the blanks before it."""
    found = re.search(r"\](\s*#.*)$", line.rstrip("\n"))
    return found[1] if found else ""


def remove_tables(text: str, wanted: Callable[[Path], bool]) -> str:
    """Take whole tables away, with the comments right above them."""
    data = parsed(text)
    lines = text.splitlines(keepends=True)
    gone: list[Path] = []
    kept: list[str] = []
    for block in blocks(text):
        if block.path and block.path[0] != "[[" and wanted(block.path):
            gone.append(block.path)
        else:
            kept += lines[block.start : block.end]
    if not gone:
        return text
    result = "".join(kept)
    after = copy.deepcopy(data)
    for path in gone:
        _drop(after, path)
    if _without_empty(parsed(result)) != _without_empty(after):
        raise EditError("its layout does not allow a small edit; change it by hand")
    return result.rstrip("\n") + "\n" if result.strip() else result


def _drop(data: dict[str, Any], path: Path) -> None:
    parent = at(data, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)


def _without_empty(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    inner = {key: _without_empty(value) for key, value in data.items()}
    return {key: value for key, value in inner.items() if value != {}}


def text_of(text: str, wanted: Callable[[Path], bool]) -> str:
    """The lines of the tables that are wanted."""
    lines = text.splitlines(keepends=True)
    found = "".join("".join(lines[one.start : one.end]) for one in blocks(text) if one.path and wanted(one.path))
    return found.strip("\n") + "\n" if found.strip() else ""

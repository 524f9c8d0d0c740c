"""JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch, as the API server applies them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any


class PatchError(ValueError):
    """The patch does not fit the object; `status` is what the API server answers."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def json_patch(document: Any, operations: Any) -> Any:
    """A new document. Raises PatchError where a path or a test does not hold."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations", 400)
    result = deepcopy(document)
    for operation in operations:
        kind, path = str(operation.get("op")), str(operation.get("path", ""))
        parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
        if not parts:
            raise PatchError("the whole document is not replaced here")
        parent = result
        for part in parts[:-1]:
            parent = _step(parent, part, path)
        _apply(parent, parts[-1], kind, operation.get("value"), path)
    return result


def _step(value: Any, part: str, path: str) -> Any:
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    if isinstance(value, dict) and part in value:
        return value[part]
    raise PatchError(f"the server rejected our request due to an error in our request: {path} does not exist")


def _apply(parent: Any, last: str, kind: str, value: Any, path: str) -> None:
    if kind == "test":
        if _step(parent, last, path) != value:
            raise PatchError(f"testing value {path} failed")
        return
    if isinstance(parent, list):
        index = len(parent) if last == "-" else int(last) if last.isdigit() else -1
        if kind == "add" and 0 <= index <= len(parent):
            parent.insert(index, deepcopy(value))
        elif kind == "replace" and 0 <= index < len(parent):
            parent[index] = deepcopy(value)
        elif kind == "remove" and 0 <= index < len(parent):
            del parent[index]
        else:
            raise PatchError(f"{path}: no such place")
    elif isinstance(parent, dict):
        if kind in ("remove", "replace") and last not in parent:
            raise PatchError(f"{path} does not exist")
        if kind == "remove":
            del parent[last]
        elif kind in ("add", "replace"):
            parent[last] = deepcopy(value)
        else:
            raise PatchError(f"operation {kind!r} is not known", 400)
    else:
        raise PatchError(f"{path}: no such place")


def merge_patch(document: Any, patch: Any) -> Any:
    """A new document; null removes."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = deepcopy(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_patch(document: Any, patch: Any) -> Any:
    """Like a merge patch, but lists of named things are merged by name (`$patch: delete` removes one)."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = deepcopy(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
            result[key] = _by_name(result.get(key) or [], value)
        else:
            result[key] = strategic_patch(result.get(key), value)
    return result


def _by_name(there: list[Any], given: list[Any]) -> list[Any]:
    result = list(deepcopy(there))
    for item in given:
        place = next((index for index, one in enumerate(result) if one.get("name") == item["name"]), None)
        if item.get("$patch") == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(deepcopy(item))
        else:
            result[place] = strategic_patch(result[place], item)
    return result

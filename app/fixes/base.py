"""What a fix is: a pure planner over what was read. Planning writes nothing; only the gateway does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from app.model.case import Case
from app.model.fix import FixPlan
from app.model.masked import MASK
from app.model.material import Material
from app.model.standing import Standing
from app.probes.base import HarborPlace

ABSENT = "absent"


class Hidden:
    """A secret on its way into a write: it can be revealed by the gateway and by nothing that draws or stores."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value; called by the gateway just before the writer, and by planners that transform it."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a hidden value is never stored")


@dataclass(frozen=True, slots=True)
class FixContext:
    """What a planner knows. `material` must be as fresh as the plan claims to be: its digests are what apply insists on."""

    standing: Standing
    case: Case
    material: Material
    context: str
    """Name of the kube context, as it has to be typed to unlock."""
    plan_id: str
    now: float
    harbor: HarborPlace | None = None
    inputs: Mapping[str, str | Hidden] = field(default_factory=lambda: MappingProxyType({}))
    """What the operator supplied: a CA in PEM, a user name, a password (always hidden), a confirmation of a fingerprint."""
    allowed: Callable[..., bool | None] | None = None
    """Rights already asked for: (verb, resource, namespace) → True, False, None."""


@dataclass(frozen=True, slots=True)
class Need:
    """An input that a fix cannot do without, to be asked of the operator."""

    key: str
    question: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Fix:
    """One fix that can be planned. `needs` names the inputs that are missing for a context; empty: `plan` will answer."""

    id: str
    plan: Callable[[FixContext], FixPlan]
    needs: Callable[[FixContext], tuple[Need, ...]] = lambda context: ()


def digest_text(text: str) -> str:
    """sha256 of a file's text as UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_value(value: Any) -> str:
    """sha256 of a JSON value in canonical form; `absent` for a field that is not there."""
    if value is None:
        return ABSENT
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def at_pointer(document: Any, pointer: str) -> Any:
    """Value at a JSON pointer, None where nothing stands there."""
    for word in pointer.strip("/").split("/") if pointer.strip("/") else []:
        key = word.replace("~1", "/").replace("~0", "~")
        if isinstance(document, Mapping):
            document = document.get(key)
        elif isinstance(document, list) and key.isdigit() and int(key) < len(document):
            document = document[int(key)]
        else:
            return None
    return document

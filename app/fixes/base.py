"""What a fix is: a pure planner over what was read. Planning writes nothing; only the gateway does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from app.errors import RefusedError
from app.model.case import Case
from app.model.evidence import Outcome
from app.model.fix import FixPlan
from app.model.masked import MASK
from app.model.material import Material
from app.model.standing import Standing
from app.rulebook.schema import FixSpec

if TYPE_CHECKING:
    from app.probes.base import HarborPlace

ABSENT: Final = "absent"
WORKLOAD: Final = "workload"
HARBOR: Final = "harbor"
HARBOR_API: Final = "harbor-api"


class NeedReadError(Exception):
    """A planner has to see something that was not read afresh yet. `prepare` reads it and asks the planner again."""

    def __init__(self, cluster: str, path: str) -> None:
        super().__init__(f"{cluster} {path}")
        self.cluster = cluster
        self.path = path


class NeedRightError(Exception):
    """A planner has to know whether a verb is allowed. `prepare` asks the API server and then the planner again."""

    def __init__(self, right: Right) -> None:
        super().__init__(str(right))
        self.right = right


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource, as an access review asks for it."""

    verb: str
    resource: str
    namespace: str = ""
    group: str = ""
    subresource: str = ""
    cluster: str = WORKLOAD

    def __str__(self) -> str:
        group = f".{self.group}" if self.group else ""
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{group}{where}"


def read_path(cluster: str, path: str) -> str:
    """Where the answer to one fresh read of a plan lies in the material. No probe reads below `fix/`."""
    return f"fix/{cluster}{path}"


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


class Later:
    """A secret that an earlier change of the same plan brings (Harbor makes a robot's secret): known to the gateway alone.

    `build` makes the value to write from it.
    """

    __slots__ = ("build", "name")

    def __init__(self, name: str, build: Callable[[str], str]) -> None:
        self.name = name
        self.build = build

    def __repr__(self) -> str:
        return MASK

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
    rights: Mapping[Right, bool | None] = field(default_factory=lambda: MappingProxyType({}))
    """The same in full, filled by `prepare`."""
    specs: Mapping[str, FixSpec] = field(default_factory=lambda: MappingProxyType({}))
    """The fixes of the rulebook, for titles, texts and risks."""
    key: bytes = field(default=b"", repr=False)
    """Key of this session's fingerprints."""
    fix: str = ""
    """Id of the fix that is being planned; set by `prepare`."""

    def get(self, path: str, cluster: str = WORKLOAD) -> Any:
        """An object or list of the API server (or of Harbor's API) read for this very plan; None where there is none.

        Raises NeedReadError until it has been read, RefusedError when it could not be.
        """
        document = self.material.get(read_path(cluster, path))
        if document is None:
            raise NeedReadError(cluster, path)
        if document.outcome is not Outcome.OBSERVED:
            raise RefusedError(
                f"{path} could not be read: {document.detail or document.outcome.value}",
                "A plan rests on what is there now; without reading it nothing is changed.",
            )
        if document.absent:
            return None
        try:
            return json.loads(document.text)
        except ValueError as error:
            raise RefusedError(f"{path} did not answer with JSON: {error}") from error

    def try_get(self, path: str, cluster: str = WORKLOAD) -> Any:
        """The same where not knowing is bearable: None for what could not be read."""
        try:
            return self.get(path, cluster)
        except RefusedError:
            return None

    def may(self, right: Right) -> bool | None:
        """Whether we have a right; None when nobody can tell. Raises NeedRightError until it was asked."""
        if right in self.rights:
            return self.rights[right]
        if self.allowed is not None:
            return self.allowed(right.verb, right.resource, right.namespace)
        raise NeedRightError(right)

    def text_input(self, key: str) -> str:
        """An input that is no secret; empty where it was not given."""
        value = self.inputs.get(key, "")
        return value if isinstance(value, str) else ""

    def secret_input(self, key: str) -> str:
        """A secret input in clear, for a planner that puts it into a Hidden at once."""
        value = self.inputs.get(key, "")
        return value.reveal() if isinstance(value, Hidden) else value


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

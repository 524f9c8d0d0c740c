"""Conditions as data: the grammar of `when`, `proof`, `excluded_by` and the rest, compiled from plain mappings.

    term        {fact: f, OP: operand}          OP: is in has lacks present version lt le gt ge beyond inside
    quantified  {fact: f, over: scope, Q: {OP: operand}}     Q: any every none; count and distinct take {ge: 2} and the like
    contrast    {fact: f, contrast: healthy}    the failing have another value than the healthy
    symptom     {symptom: id}
    combined    {all: [..]}  {any: [..]}  {not: cond}  {use: macro}

Beside the operator a term takes `of`, `where`, `within`, `again_after`, `complete`, and as an exclusion `must_know`, `because`.
An operand is a literal, `{fact: g, of: …}`, `{var: v}` or `{now: trusted}`. Durations may be written `60s`, `5m`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.errors import RuleError
from app.model.evidence import Of, Value
from app.model.target import SCOPES

OPERATORS: Final = ("is", "in", "has", "lacks", "present", "version", "lt", "le", "gt", "ge", "beyond", "inside")
QUANTIFIERS: Final = ("any", "every", "none", "each", "count", "distinct")
_MODIFIERS: Final = {"fact", "of", "over", "where", "within", "again_after", "complete", "because", "must_know"}
_DURATION: Final = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OVER: Final = {"tries": "try", "pods": "core-pod"}


@dataclass(frozen=True, slots=True)
class FactRef:
    """The value of another fact at the same target."""

    fact: str
    of: Of = Of.THIS


@dataclass(frozen=True, slots=True)
class VarRef:
    """A variable of the case."""

    name: str


@dataclass(frozen=True, slots=True)
class Now:
    """The case's trusted time."""


Operand = Value | FactRef | VarRef | Now | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """One fact, one operator, one value; quantified where `over` is set."""

    fact: str
    op: str
    value: Operand
    name: Operand = None
    """For `has`: the thing that the tag must name."""
    of: Of = Of.THIS
    over: str = ""
    quantifier: str = ""
    where: tuple[Condition, ...] = ()
    within: float | None = None
    again_after: float | None = None
    complete: bool = False
    because: str = ""
    must_know: bool = False


@dataclass(frozen=True, slots=True)
class SymptomSeen:
    """A symptom's text or pattern is there."""

    symptom: str
    because: str = ""
    must_know: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    of_all: tuple[Condition, ...]
    because: str = ""
    must_know: bool = False


@dataclass(frozen=True, slots=True)
class AnyOf:
    of_any: tuple[Condition, ...]
    because: str = ""
    must_know: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    inner: Condition
    because: str = ""
    must_know: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """A macro, kept by name so that it can be shown by name."""

    macro: str
    inner: Condition
    because: str = ""
    must_know: bool = False


Condition = Term | SymptomSeen | AllOf | AnyOf | Not | Use


def seconds(value: Any) -> float:
    """`60s` → 60.0; numbers pass. Raises RuleError."""
    if isinstance(value, bool):
        raise RuleError(f"not a duration: {value!r}")
    if isinstance(value, int | float):
        return float(value)
    match = _DURATION.match(str(value).replace(" ", ""))
    if not match:
        raise RuleError(f"not a duration: {value!r}; write 60s, 5m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def compile_condition(raw: Any, macros: Mapping[str, Any], *, depth: int = 0) -> Condition:
    """A mapping as written in YAML → a Condition. Raises RuleError that names the part that is wrong."""
    if depth > 12:
        raise RuleError("conditions are nested too deep, or a macro uses itself")
    if not isinstance(raw, Mapping):
        raise RuleError(f"a condition is a mapping such as {{fact: f, is: v}}, not {raw!r}")
    notes = {"because": str(raw.get("because", "")), "must_know": bool(raw.get("must_know", False))}
    if "fact" in raw:
        return _term(raw, macros, depth, notes)
    rest = set(raw) - {"because", "must_know"}
    if len(rest) != 1:
        raise RuleError(f"a condition has one of fact, symptom, use, all, any, not; this one has {sorted(rest)}")
    key = rest.pop()
    value = raw[key]
    if key == "symptom":
        return SymptomSeen(str(value), **notes)  # type: ignore[arg-type]
    if key == "use":
        if value not in macros:
            raise RuleError(f"unknown macro {value!r}; known: {', '.join(sorted(macros))}")
        return Use(str(value), compile_condition(macros[value], macros, depth=depth + 1), **notes)  # type: ignore[arg-type]
    if key == "not":
        return Not(compile_condition(value, macros, depth=depth + 1), **notes)  # type: ignore[arg-type]
    if key in ("all", "any"):
        if not isinstance(value, list) or not value:
            raise RuleError(f"{key} takes a list of conditions that is not empty")
        parts = tuple(compile_condition(part, macros, depth=depth + 1) for part in value)
        return AllOf(parts, **notes) if key == "all" else AnyOf(parts, **notes)  # type: ignore[arg-type]
    raise RuleError(f"unknown key {key!r} in a condition")


def _term(raw: Mapping[str, Any], macros: Mapping[str, Any], depth: int, notes: Mapping[str, Any]) -> Term:
    fact = str(raw["fact"])
    rest = set(raw) - _MODIFIERS
    try:
        of = Of(raw.get("of", "this"))
    except ValueError as error:
        raise RuleError(f"of: {raw['of']!r} is none of {', '.join(Of)}") from error
    if rest == {"contrast"}:
        if raw["contrast"] != "healthy":
            raise RuleError("contrast takes only `healthy`")
        return Term(fact, "contrast", None, of=of, **notes)
    if len(rest) != 1:
        raise RuleError(f"{fact}: one operator is needed, found {sorted(rest) or 'none'}")
    key = rest.pop()
    over = str(raw.get("over", ""))
    over = _OVER.get(over, over)
    where = tuple(compile_condition(part, macros, depth=depth + 1) for part in raw.get("where", []))
    extra: dict[str, Any] = {
        "of": of,
        "where": where,
        "within": seconds(raw["within"]) if "within" in raw else None,
        "again_after": seconds(raw["again_after"]) if "again_after" in raw else None,
        "complete": bool(raw.get("complete", False)),
        **notes,
    }
    if over:
        if over not in SCOPES:
            raise RuleError(f"{fact}: over {over!r} is no scope; known: {', '.join(SCOPES)}")
        if key not in QUANTIFIERS:
            raise RuleError(f"{fact}: over {over} needs one of {', '.join(QUANTIFIERS)}, not {key!r}")
        inner = raw[key]
        if not isinstance(inner, Mapping) or len(inner) != 1:
            raise RuleError(f"{fact}: {key} takes one operator, e.g. {{{key}: {{ge: 2}}}}")
        op, value = next(iter(inner.items()))
        return Term(
            fact, *_operation(fact, op, value), over=over, quantifier="every" if key == "each" else key, **extra
        )
    if key not in OPERATORS:
        raise RuleError(f"{fact}: unknown operator {key!r}; known: {', '.join(OPERATORS)}")
    return Term(fact, *_operation(fact, key, raw[key]), **extra)


def _operation(fact: str, op: str, value: Any) -> tuple[str, Operand, Operand]:
    if op not in OPERATORS:
        raise RuleError(f"{fact}: unknown operator {op!r}; known: {', '.join(OPERATORS)}")
    if op == "has" and isinstance(value, Mapping) and "tag" in value:
        return op, _operand(fact, value["tag"]), _operand(fact, value.get("name"))
    if op in ("in", "lacks") and not (op == "lacks" and isinstance(value, Mapping)):
        items = value if isinstance(value, list) else [value]
        return op, tuple(_operand(fact, item) for item in items), None
    if op in ("beyond", "inside") and not isinstance(value, Mapping):
        return op, seconds(value), None
    if op == "present" and not isinstance(value, bool):
        raise RuleError(f"{fact}: present takes true or false")
    return op, _operand(fact, value), None


def _operand(fact: str, value: Any) -> Operand:
    if isinstance(value, Mapping):
        if set(value) == {"now"}:
            return Now()
        if set(value) == {"var"}:
            return VarRef(str(value["var"]))
        if "fact" in value and set(value) <= {"fact", "of"}:
            return FactRef(str(value["fact"]), Of(value.get("of", "this")))
        if "tag" in value:
            return str(value["tag"])
        raise RuleError(
            f"{fact}: a value is a literal, {{fact: g}}, {{var: v}} or {{now: trusted}}, not {dict(value)!r}"
        )
    if isinstance(value, list):
        raise RuleError(f"{fact}: a list stands only with `in` and `lacks`")
    if isinstance(value, str) and _DURATION.match(value):
        return seconds(value)
    return value  # type: ignore[no-any-return]


def facts_in(condition: Condition) -> set[str]:
    """All facts that a condition looks at, operands included."""
    if isinstance(condition, Term):
        found = {condition.fact}
        for operand in (condition.value, condition.name):
            if isinstance(operand, FactRef):
                found.add(operand.fact)
            elif isinstance(operand, tuple):
                found |= {part.fact for part in operand if isinstance(part, FactRef)}
        for part in condition.where:
            found |= facts_in(part)
        return found
    if isinstance(condition, SymptomSeen):
        return set()
    return {fact for part in children(condition) for fact in facts_in(part)}


def symptoms_in(condition: Condition) -> set[str]:
    """All symptoms that a condition asks for."""
    if isinstance(condition, SymptomSeen):
        return {condition.symptom}
    if isinstance(condition, Term):
        return {symptom for part in condition.where for symptom in symptoms_in(part)}
    return {symptom for part in children(condition) for symptom in symptoms_in(part)}


def children(condition: Condition) -> tuple[Condition, ...]:
    """The parts of a combined condition."""
    if isinstance(condition, AllOf):
        return condition.of_all
    if isinstance(condition, AnyOf):
        return condition.of_any
    if isinstance(condition, Not | Use):
        return (condition.inner,)
    return ()


_WORDS: Final = {
    "is": "is", "in": "is one of", "has": "has", "lacks": "lacks", "version": "is version", "lt": "<", "le": "≤", "gt": ">", "ge": "≥",
    "beyond": "is off by more than", "inside": "is within",
}  # fmt: skip


def _say(operand: Operand) -> str:
    if isinstance(operand, FactRef):
        return operand.fact + (f" of the {operand.of}" if operand.of is not Of.THIS else "")
    if isinstance(operand, VarRef):
        return operand.name
    if isinstance(operand, Now):
        return "now"
    if isinstance(operand, tuple):
        return " or ".join(_say(part) for part in operand)
    if isinstance(operand, bool):
        return "yes" if operand else "no"
    return str(operand)


def say(condition: Condition) -> str:
    """A condition in words, for why and why not."""
    if isinstance(condition, SymptomSeen):
        return f"symptom {condition.symptom}"
    if isinstance(condition, Use):
        return say(condition.inner)
    if isinstance(condition, Not):
        return f"not ({say(condition.inner)})"
    if isinstance(condition, AllOf):
        return " and ".join(say(part) for part in condition.of_all)
    if isinstance(condition, AnyOf):
        return "(" + " or ".join(say(part) for part in condition.of_any) + ")"
    subject = condition.fact + (f" of the {condition.of}" if condition.of is not Of.THIS else "")
    if condition.op == "contrast":
        return f"{subject} differs from the healthy nodes"
    if condition.op == "present":
        return f"{subject} is {'known' if condition.value else 'empty'}"
    tail = f"{_WORDS[condition.op]} {_say(condition.value)}" + (
        f" naming {_say(condition.name)}" if condition.name is not None else ""
    )
    if condition.op in ("beyond", "inside"):
        tail += " s"
    if condition.quantifier in ("count", "distinct"):
        return f"{condition.quantifier} values of {subject} over {condition.over} {tail}"
    if condition.quantifier:
        return f"{subject} of {condition.quantifier} {condition.over} {tail}"
    return f"{subject} {tail}"

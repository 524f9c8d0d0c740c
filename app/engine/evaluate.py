"""Kleene logic over a View: true, false, unknown (None), with the observations that decide."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from app.engine.view import Observation, View
from app.model.evidence import Of, Value, name_of, tag_of
from app.model.target import Target
from app.rulebook.conditions import AllOf, Condition, FactRef, Not, Now, Operand, SymptomSeen, Term, Use, VarRef

Truth = bool | None
_NUMBERS: Final = re.compile(r"\d+")
_COMPARISON: Final = re.compile(r"(<=|>=|<|>|=)?\s*v?([0-9][0-9A-Za-z.+-]*)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A truth with its witnesses. `proves` is false when a stale reading or an operator's word was needed."""

    truth: Truth
    seen: tuple[Observation, ...] = ()

    @property
    def proves(self) -> bool:
        return self.truth is True and all(observation.proves for observation in self.seen)


TRUE, FALSE, UNKNOWN = Verdict(True), Verdict(False), Verdict(None)


@dataclass(slots=True)
class Scope:
    """What a condition is evaluated against: one target, and the symptoms seen in the text at hand."""

    view: View
    focus: Target
    symptoms: frozenset[str]
    symptoms_known: bool = True


def evaluate(condition: Condition, scope: Scope) -> Verdict:
    """A condition at a target."""
    if isinstance(condition, Term):
        return _quantified(condition, scope) if condition.over else _term(condition, scope)
    if isinstance(condition, SymptomSeen):
        if condition.symptom in scope.symptoms:
            return TRUE
        return FALSE if scope.symptoms_known else UNKNOWN
    if isinstance(condition, Use):
        return evaluate(condition.inner, scope)
    if isinstance(condition, Not):
        return _negated(condition.inner, scope)
    if isinstance(condition, AllOf):
        return conjunction(evaluate(part, scope) for part in condition.of_all)
    return _disjunction(evaluate(part, scope) for part in condition.of_any)


def conjunction(verdicts: Iterable[Verdict]) -> Verdict:
    """All of them."""
    seen: list[Observation] = []
    unknown = False
    for verdict in verdicts:
        if verdict.truth is False:
            return verdict
        unknown = unknown or verdict.truth is None
        seen.extend(verdict.seen)
    return Verdict(None if unknown else True, tuple(seen))


def _disjunction(verdicts: Iterable[Verdict]) -> Verdict:
    unknown = False
    best: Verdict | None = None
    for verdict in verdicts:
        if verdict.truth is True:
            if verdict.proves:
                return verdict
            best = best or verdict
        unknown = unknown or verdict.truth is None
    if best is not None:
        return best
    return UNKNOWN if unknown else FALSE


def _negated(inner: Condition, scope: Scope) -> Verdict:
    verdict = evaluate(inner, scope)
    if isinstance(inner, Term) and verdict.truth is False and not inner.over and inner.op not in ("present", "lacks"):
        seen = scope.view.observations(inner.fact, scope.focus, inner.of)
        # Observed and empty: every comparison with it is false, the negated one too (MODES, section 2).
        if seen and all(_empty(observation.value) for observation in seen):
            return Verdict(False, tuple(seen))
        return Verdict(True, verdict.seen or tuple(seen))
    if verdict.truth is None:
        return verdict
    return Verdict(not verdict.truth, verdict.seen)


def _empty(value: Value) -> bool:
    return value is None or value in ("", ())


def _term(term: Term, scope: Scope) -> Verdict:
    seen = scope.view.observations(term.fact, scope.focus, term.of)
    if term.op == "contrast":
        return _contrast(term, scope, seen)
    if not seen:
        return UNKNOWN
    seen = _latest_tries(seen)
    if term.op == "lacks":
        return _lacks(term, seen, scope)
    verdicts = [_single(term, observation, scope) for observation in seen]
    return _disjunction(verdicts) if len(verdicts) > 1 else verdicts[0]


def _latest_tries(seen: list[Observation]) -> list[Observation]:
    """Of repeated tries the latest one counts, unless a quantifier asks for all of them."""
    if not any(observation.target.get("try") for observation in seen):
        return seen
    latest: dict[tuple[Target, str], Observation] = {}
    for observation in seen:
        rest = Target(tuple(part for part in observation.target.parts if part[0] != "try"))
        key = (rest, observation.evidence.vantage)
        known = latest.get(key)
        if known is None or _try_number(observation) >= _try_number(known):
            latest[key] = observation
    return list(latest.values())


def _try_number(observation: Observation) -> tuple[float, int]:
    name = observation.target.get("try") or ""
    return (observation.evidence.taken_at or 0.0, int(name) if name.isdigit() else 0)


def _lacks(term: Term, seen: list[Observation], scope: Scope) -> Verdict:
    unwanted = [str(value) for value in _values(term.value, scope)]
    if not unwanted:
        return UNKNOWN
    for observation in seen:
        items = observation.value
        if isinstance(items, tuple) and any(tag_of(item) in unwanted or item in unwanted for item in items):
            return Verdict(False, (observation,))
    if any(observation.value is None for observation in seen):
        return Verdict(False, tuple(seen))
    if any(observation.partial for observation in seen):
        return UNKNOWN
    return Verdict(True, tuple(seen))


def _contrast(term: Term, scope: Scope, own: list[Observation]) -> Verdict:
    healthy = scope.view.observations(term.fact, scope.focus, Of.HEALTHY)
    if not own or not healthy:
        return UNKNOWN
    mine = {observation.value for observation in own}
    theirs = {observation.value for observation in healthy}
    return Verdict(not (mine & theirs), (*own, *healthy))


def _single(term: Term, observation: Observation, scope: Scope) -> Verdict:
    truth = _holds(term.op, observation, term.value, term.name, scope)
    return Verdict(truth, (observation,)) if truth is not None else UNKNOWN


def _values(operand: Operand, scope: Scope) -> list[Any]:
    """Known values of an operand; empty: unknown."""
    return [value for value, _ in _measured(operand, scope)]


def _measured(operand: Operand, scope: Scope) -> list[tuple[Any, float]]:
    """Known values of an operand, each with the bound of its measurement (0 for what was not measured)."""
    if isinstance(operand, FactRef):
        found = scope.view.observations(operand.fact, scope.focus, operand.of)
        return [(observation.value, observation.bound) for observation in found if not _empty(observation.value)]
    if isinstance(operand, VarRef):
        known, value = scope.view.variable(operand.name)
        return [(value, 0.0)] if known and not _empty(value) else []
    if isinstance(operand, Now):
        return [(scope.view.case.now, 0.0)] if scope.view.case.now else []
    if isinstance(operand, tuple):
        return [value for part in operand for value in _measured(part, scope)]
    return [(operand, 0.0)]


def _holds(op: str, observation: Observation, operand: Operand, name: Operand, scope: Scope) -> Truth:
    value = observation.value
    if op == "present":
        return _empty(value) is not bool(operand)
    if _empty(value) and not (op == "has" and value == ()):
        return False
    wanted = _measured(operand, scope)
    if not wanted:
        return None
    if op == "has":
        return _has(observation, str(wanted[0][0]), name, scope)
    if op == "lacks":
        has = _has(observation, str(wanted[0][0]), name, scope)
        return None if has is None else not has
    # Both sides may be measured: they differ for certain where they do by more than both bounds.
    results = [_compare(op, value, observation.bound + bound, one) for one, bound in wanted]
    if True in results:
        return True
    return None if None in results else False


def _has(observation: Observation, tag: str, name: Operand, scope: Scope) -> Truth:
    items = observation.value
    if not isinstance(items, tuple):
        items = (str(items),)
    matching = [item for item in items if tag_of(item) == tag or _same(item, tag)]
    if matching and name is not None:
        names = [str(value) for value in _values(name, scope)]
        if not names:
            return None
        if any(name_of(item) in names for item in matching):
            return True
        if any(not name_of(item) for item in matching):
            return None
        matching = []
    if matching:
        return True
    return None if observation.partial else False


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left == right or left.lower().removesuffix(":443") == right.lower().removesuffix(":443")
    return bool(left == right)


def _compare(op: str, value: Any, bound: float, wanted: Any) -> Truth:
    if op in ("is", "in"):
        if isinstance(value, tuple):
            return any(tag_of(item) == str(wanted) or item == wanted for item in value)
        if isinstance(value, bool) != isinstance(wanted, bool):
            return False
        return _same(value, wanted)
    if op == "version":
        return version_matches(str(value), str(wanted))
    left, right = _number(value), _number(wanted)
    if left is None or right is None:
        return None
    return _NUMERIC[op](left, right, bound)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(str(value))
    except ValueError:
        return None


def _margin(test: Callable[[float, float], bool]) -> Callable[[float, float, float], Truth]:
    """A comparison is unknown where the measurement's bound lets it fall on both sides."""

    def compare(left: float, right: float, bound: float) -> Truth:
        low, high = test(left - bound, right), test(left + bound, right)
        return low if low == high else None

    return compare


def _beyond(left: float, right: float, bound: float) -> Truth:
    if abs(left) - bound > right:
        return True
    return False if abs(left) + bound <= right else None


def _inside(left: float, right: float, bound: float) -> Truth:
    beyond = _beyond(left, right, bound)
    return None if beyond is None else not beyond


_NUMERIC: Final[dict[str, Callable[[float, float, float], Truth]]] = {
    "lt": _margin(lambda a, b: a < b),
    "le": _margin(lambda a, b: a <= b),
    "gt": _margin(lambda a, b: a > b),
    "ge": _margin(lambda a, b: a >= b),
    "beyond": _beyond,
    "inside": _inside,
}


def version_key(text: str) -> tuple[int, ...]:
    """`v1.7.24+k3s1` → (1, 7, 24); build and pre-release parts do not count."""
    head = re.split(r"[-+~ ]", text.strip().removeprefix("v"), maxsplit=1)[0]
    return tuple(int(part) for part in _NUMBERS.findall(head))


def version_matches(version: str, wanted: str) -> Truth:
    """Whether a version meets all comparisons of a text such as `>=1.5.0 <1.7.32`; unknown when it holds no number."""
    have = version_key(version)
    if not have:
        return None
    for operator, text in _COMPARISON.findall(wanted):
        want = version_key(text)
        width = max(len(have), len(want))
        left, right = have + (0,) * (width - len(have)), want + (0,) * (width - len(want))
        if operator in ("", "="):
            if have[: len(want)] != want:
                return False
        elif not {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]:
            return False
    return True


# --- Quantified terms ---------------------------------------------------------------------------------------------


def _members(term: Term, scope: Scope) -> tuple[list[tuple[str, list[Observation]]], bool]:
    """(id, observations) of each member that counts, and whether no member is missing."""
    seen: dict[str, list[Observation]] = {}
    # A finding about one core pod may still compare all of them.
    focus = Target(tuple(part for part in scope.focus.parts if part[0] != term.over))
    for observation in scope.view.observations(term.fact, focus, term.of):
        name = observation.target.get(term.over)
        if name:
            seen.setdefault(name, []).append(observation)
    roster = scope.view.roster(term.over, focus)
    complete = roster is not None and bool(roster) and all(name in seen for name in roster)
    names = sorted(seen) if roster is None else [name for name in sorted(seen) if name in roster]
    if roster is not None and term.where:
        # A member that the filter leaves out need not have been asked.
        complete = bool(roster)
        for name in roster:
            if name not in seen and _selected(term, name, scope) is not False:
                complete = False
    members = []
    for name in names:
        selected = _selected(term, name, scope)
        if selected is True:
            members.append((name, seen[name]))
        elif selected is None:
            complete = False
    return members, complete


def _selected(term: Term, name: str, scope: Scope) -> Truth:
    if not term.where:
        return True
    inner = Scope(
        scope.view,
        scope.focus.joined(Target.of(**{term.over.replace("-", "_"): name})),
        scope.symptoms,
        scope.symptoms_known,
    )
    return conjunction(evaluate(part, inner) for part in term.where).truth


def _quantified(term: Term, scope: Scope) -> Verdict:
    members, complete = _members(term, scope)
    if term.quantifier in ("distinct", "count"):
        return _counted(term, members, complete, scope)
    every_seen = tuple(observation for _, observations in members for observation in observations)
    verdicts = []
    for _, observations in members:
        verdicts.append(_disjunction(_single(term, observation, scope) for observation in observations))
    truths = [verdict.truth for verdict in verdicts]
    if term.quantifier == "every":
        if False in truths:
            return Verdict(False, every_seen)
        return Verdict(True, every_seen) if truths and complete and None not in truths else UNKNOWN
    for verdict in verdicts:
        if verdict.truth is True:
            return verdict if term.quantifier == "any" else Verdict(False, verdict.seen)
    if complete and truths and None not in truths:
        return Verdict(term.quantifier == "none", every_seen)
    return UNKNOWN


def _counted(term: Term, members: list[tuple[str, list[Observation]]], complete: bool, scope: Scope) -> Verdict:
    flat = [observation for _, observations in members for observation in observations if not _empty(observation.value)]
    if not flat:
        return UNKNOWN
    wanted = _values(term.value, scope)
    limit = _number(wanted[0]) if wanted else None
    if limit is None:
        return UNKNOWN
    if term.op in ("ge", "gt"):
        need = int(limit) + (term.op == "gt")
        if _reached(term, flat, need):
            return Verdict(True, tuple(flat))
        return Verdict(False, tuple(flat)) if complete and _number_of(term, flat) < need else UNKNOWN
    number = _number_of(term, flat)
    over = {"le": number > limit, "lt": number >= limit, "is": number > limit}.get(term.op)
    if over is None:
        return UNKNOWN
    if over:
        return Verdict(False, tuple(flat))
    if not complete:
        return UNKNOWN
    return Verdict(number == limit if term.op == "is" else True, tuple(flat))


def _number_of(term: Term, seen: list[Observation]) -> int:
    if term.quantifier == "distinct":
        return len({observation.value for observation in seen})
    return len({observation.target.get(term.over) for observation in seen if observation.value not in (False, None)})


def _reached(term: Term, seen: list[Observation], need: int) -> bool:
    if term.within is None:
        return _number_of(term, seen) >= need
    stamped = sorted((o for o in seen if o.evidence.taken_at is not None), key=lambda o: o.evidence.taken_at or 0.0)
    if not stamped:
        # Without stamps there is one sighting at the bundle's own time; it cannot have been repeated.
        return term.again_after is None and _number_of(term, seen) >= need
    starts = []
    for first, observation in enumerate(stamped):
        start = observation.evidence.taken_at or 0.0
        window = [other for other in stamped[first:] if (other.evidence.taken_at or 0.0) - start <= term.within]
        if _number_of(term, window) >= need:
            starts.append(start)
    if not starts:
        return False
    return term.again_after is None or starts[-1] - starts[0] >= term.again_after

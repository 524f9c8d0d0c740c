"""Texts of rule files → Rulebook. Pure: whoever calls reads the files. Collects the mistakes of all files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec
import yaml

from app.errors import RuleError
from app.model.standing import Certainty, Kind
from app.model.target import SCOPES
from app.rulebook.book import Finding, Rulebook, Symptom, TreeBranch, TreeQuestion
from app.rulebook.conditions import Condition, compile_condition
from app.rulebook.schema import (
    CaseFile,
    FactsFile,
    FactSpec,
    FindingFile,
    FixesFile,
    FixSpec,
    ProbeSpec,
    Question,
    SymptomFile,
)

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PATH: Final = re.compile(r"`\$(?P<path>[^`]*)`")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: `file:line: lint: message`."""

    file: str
    line: int
    lint: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.lint}: {self.message}"


@dataclass(slots=True)
class Draft:
    """What was read so far, and what was wrong with it."""

    findings: dict[str, Finding] = field(default_factory=dict)
    symptoms: dict[str, Symptom] = field(default_factory=dict)
    facts: dict[str, FactSpec] = field(default_factory=dict)
    probes: dict[str, ProbeSpec] = field(default_factory=dict)
    fixes: dict[str, FixSpec] = field(default_factory=dict)
    fixes_in: dict[str, str] = field(default_factory=dict)
    """Fix id → its file."""
    fits: dict[str, Condition] = field(default_factory=dict)
    macros: dict[str, Any] = field(default_factory=dict)
    symptom_macros: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class UniqueKeys(_LOADER):  # type: ignore[misc]
    """Refuses a mapping that names a key twice, which YAML itself would let pass."""


def _unique(loader: Any, node: Any) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = key_node.value
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


UniqueKeys.add_constructor("tag:yaml.org,2002:map", _unique)


def parse_text(text: str, *, strict: bool = False) -> Any:
    """YAML → plain data. `strict` refuses duplicate keys. Raises yaml.YAMLError."""
    return yaml.load(text, UniqueKeys if strict else _LOADER)  # noqa: S506 - both are safe loaders


@lru_cache(maxsize=1024)
def _composed(text: str) -> Any:
    """The node tree of a file, kept: a file with one mistake often has several."""
    try:
        return yaml.compose(text, _LOADER)
    except yaml.YAMLError:
        return None


def line_of(text: str, path: str) -> int:
    """Line (from 1) of a place such as `.tree[1].branches[0].when`; the nearest known place above it otherwise."""
    node = _composed(text)
    line = 1
    for word in re.findall(r"[^.\[\]]+", path):
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == word), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and word.isdigit() and int(word) < len(node.value):
            node = node.value[int(word)]
            line = node.start_mark.line + 1
        else:
            break
    return line


def load(
    files: Iterable[tuple[str, str]], *, strict: bool = False, raw: Mapping[str, Any] | None = None, today: str = ""
) -> tuple[Rulebook, list[Problem]]:
    """(name, text) of each rule file → the rulebook and all problems found on the way.

    Args:
        strict: also refuse duplicate keys (slower).
        raw: already parsed data by name, from a cache.
        today: ISO date by which an overlay's `expires` is judged.
    """
    draft = Draft()
    parsed: list[tuple[str, Any]] = []
    for name, text in files:
        draft.texts[name] = text
        if name.endswith(".cases.yaml"):
            continue
        if raw is not None and name in raw:
            parsed.append((name, raw[name]))
            continue
        try:
            parsed.append((name, parse_text(text, strict=strict)))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = str(getattr(error, "problem", None) or error).splitlines()[0]
            draft.problems.append(Problem(name, mark.line + 1 if mark else 1, "yaml", what))
    for name, data in parsed:
        if isinstance(data, dict) and ("facts" in data or ("fixes" in data and "finding" not in data)):
            _catalogue(draft, name, data)
    for name, data in parsed:
        if not isinstance(data, dict):
            draft.problems.append(Problem(name, 1, "shape", "a rule file is a mapping"))
        elif "finding" in data:
            _finding(draft, name, data, today)
        elif "symptom" in data:
            _symptom(draft, name, data, today)
        elif not ("facts" in data or "fixes" in data or "scenario" in data):
            draft.problems.append(Problem(name, 1, "shape", "neither finding, symptom, facts nor fixes"))
    _fits(draft)
    digest = hashlib.sha256(
        "\0".join(f"{name}\0{draft.texts[name]}" for name in sorted(draft.texts)).encode()
    ).hexdigest()[:16]
    book = Rulebook(
        findings=draft.findings,
        symptoms=draft.symptoms,
        facts=draft.facts,
        probes=draft.probes,
        fixes=draft.fixes,
        fits=draft.fits,
        units=_units(draft.facts),
        digest=digest,
        notes=tuple(draft.notes),
    )
    return book, sorted(draft.problems)


def _units(facts: Mapping[str, FactSpec]) -> Mapping[str, str]:
    kinds = {name: "time" if spec.type == "t" else spec.unit for name, spec in facts.items()}
    return {name: unit for name, unit in kinds.items() if unit}


def _convert(draft: Draft, name: str, data: Any, shape: Any) -> Any:
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        match = _PATH.search(str(error))
        path = match["path"] if match else ""
        if not path:
            unknown = re.search(r"unknown field `([^`]+)`", str(error))
            path = unknown[1] if unknown else ""
        draft.problems.append(Problem(name, line_of(draft.texts[name], path), "shape", str(error)))
        return None


def _catalogue(draft: Draft, name: str, data: Any) -> None:
    if "facts" in data:
        facts = _convert(draft, name, data, FactsFile)
        if facts is not None:
            draft.facts.update(facts.facts)
            draft.probes.update(facts.probes)
            draft.macros.update(facts.macros)
            draft.symptom_macros.update(facts.symptom_macros)
    else:
        fixes = _convert(draft, name, data, FixesFile)
        if fixes is not None:
            draft.fixes.update(fixes.fixes)
            draft.fixes_in.update(dict.fromkeys(fixes.fixes, name))


def _fits(draft: Draft) -> None:
    """Compiled once all macros are known, which may stand in a later file."""
    for fix, spec in draft.fixes.items():
        if spec.fits is not None:
            condition = _compile(draft, draft.fixes_in[fix], f".fixes.{fix}.fits", spec.fits)
            if condition is not None:
                draft.fits[fix] = condition


def _compile(draft: Draft, name: str, path: str, raw: Any) -> Condition | None:
    try:
        return compile_condition(raw, draft.macros)
    except RuleError as error:
        draft.problems.append(Problem(name, line_of(draft.texts[name], path), "condition", error.what))
        return None


def _sets(draft: Draft, name: str, key: str, sets: list[list[Any]]) -> tuple[tuple[Condition, ...], ...]:
    compiled = []
    for number, terms in enumerate(sets):
        if not terms:
            draft.problems.append(
                Problem(
                    name,
                    line_of(draft.texts[name], f".{key}[{number}]"),
                    "condition",
                    f"{key}: an empty set is always true",
                )
            )
            continue
        parts = [_compile(draft, name, f".{key}[{number}][{index}]", term) for index, term in enumerate(terms)]
        if all(part is not None for part in parts):
            compiled.append(tuple(part for part in parts if part is not None))
    return tuple(compiled)


def _list(draft: Draft, name: str, key: str, terms: list[Any]) -> tuple[Condition, ...]:
    parts = [_compile(draft, name, f".{key}[{index}]", term) for index, term in enumerate(terms)]
    return tuple(part for part in parts if part is not None)


def _overlay(
    draft: Draft,
    name: str,
    kind: str,
    ident: str,
    known: Mapping[str, Any],
    file: FindingFile | SymptomFile,
    today: str,
) -> bool:
    """Whether this file counts. An id may stand twice only with `override`, a reason and a date that has not passed."""
    if ident not in known:
        return True
    where = line_of(draft.texts[name], f".{kind}")
    if not file.override:
        draft.problems.append(
            Problem(
                name,
                where,
                "duplicate",
                f"{kind} {ident} is already defined in {known[ident].where}; say `override: true`",
            )
        )
        return False
    if not file.reason or not file.expires:
        draft.problems.append(
            Problem(name, where, "override", f"{ident}: an override needs a reason and `expires: YYYY-MM-DD`")
        )
        return False
    if today and file.expires < today:
        draft.notes.append(f"site rule {ident} expired on {file.expires}; the shipped one is in force")
        return False
    return True


def _finding(draft: Draft, name: str, data: Any, today: str) -> None:
    file = _convert(draft, name, data, FindingFile)
    if file is None or not _overlay(draft, name, "finding", file.finding, draft.findings, file, today):
        return
    scopes = () if file.scope == "incident" else tuple(file.scope.split())
    for scope in scopes:
        if scope not in SCOPES:
            draft.problems.append(
                Problem(
                    name,
                    line_of(draft.texts[name], ".scope"),
                    "scope",
                    f"unknown scope {scope!r}; known: incident, {', '.join(SCOPES)}",
                )
            )
    explains: list[str] = []
    for symptom in file.explains:
        explains.extend(draft.symptom_macros.get(symptom, [symptom]))
    layer = re.fullmatch(r"L(\d+)", file.layer)
    if not layer:
        draft.problems.append(
            Problem(name, line_of(draft.texts[name], ".layer"), "layer", f"layer is L0 to L17, not {file.layer!r}")
        )
    fixes = [(kind, fix) for kind in ("first_aid", "cure", "hand_off", "advice") for fix in getattr(file.fixes, kind)]
    draft.findings[file.finding] = Finding(
        id=file.finding,
        file=file,
        kind=Kind(file.kind),
        cap=Certainty(file.cap),
        scopes=scopes,
        explains=frozenset(explains),
        proof=_sets(draft, name, "proof", file.proof),
        text_proof=_sets(draft, name, "text_proof", file.text_proof),
        likely=_sets(draft, name, "likely", file.likely),
        excluded_by=_list(draft, name, "excluded_by", file.excluded_by),
        supports=_list(draft, name, "supports", file.supports),
        told_apart={
            other: (facts,) if isinstance(facts, str) else tuple(facts) for other, facts in file.told_apart.items()
        },
        layer=int(layer[1]) if layer else 0,
        fixes=tuple(fixes),
        where=name,
    )


def _symptom(draft: Draft, name: str, data: Any, today: str) -> None:
    file = _convert(draft, name, data, SymptomFile)
    if file is None or not _overlay(draft, name, "symptom", file.symptom, draft.symptoms, file, today):
        return
    seen = _compile(draft, name, ".seen", file.seen)
    rate = _compile(draft, name, ".rate", file.rate) if file.rate is not None else None
    if seen is None:
        return
    tree = tuple(_question(draft, name, number, question) for number, question in enumerate(file.tree))
    draft.symptoms[file.symptom] = Symptom(
        file.symptom,
        file.title,
        seen,
        rate,
        frozenset(file.refines),
        tuple(file.rank),
        tree,
        name,
        prior=file.prior,
        wordless=file.wordless,
    )


def _question(draft: Draft, name: str, number: int, question: Question) -> TreeQuestion:
    branches = []
    for index, branch in enumerate(question.branches):
        place = f".tree[{number}].branches[{index}]"
        if (branch.when is None) is not branch.otherwise:
            draft.problems.append(
                Problem(
                    name, line_of(draft.texts[name], place), "branch", "a branch has either `when` or `otherwise: true`"
                )
            )
            continue
        when = _compile(draft, name, f"{place}.when", branch.when) if branch.when is not None else None
        if branch.when is None or when is not None:
            branches.append(TreeBranch(when, branch.label, branch.goto))
    return TreeQuestion(
        question.id, question.question, question.why, tuple(question.probes), question.by_hand, tuple(branches)
    )


def load_cases(name: str, text: str) -> tuple[CaseFile | None, list[Problem]]:
    """One `.cases.yaml` file, with its problems."""
    draft = Draft(texts={name: text})
    try:
        data = parse_text(text, strict=True)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return None, [Problem(name, mark.line + 1 if mark else 1, "yaml", str(error).splitlines()[0])]
    file = _convert(draft, name, data, CaseFile)
    return file, draft.problems

"""Lints over a loaded rulebook: one function for each, each problem with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from app.rulebook.book import Finding, Rulebook, Symptom
from app.rulebook.conditions import AllOf, AnyOf, Condition, Not, Term, Use, facts_in, symptoms_in
from app.rulebook.load import Problem, line_of

_OPERATORS_OF = {
    "b": {"is", "in", "present", "contrast"},
    "s": {"is", "in", "present", "has", "lacks", "contrast", "version"},
    "n": {"is", "in", "lt", "le", "gt", "ge", "beyond", "inside", "present", "contrast"},
    "t": {"is", "lt", "le", "gt", "ge", "present", "contrast"},
    "v": {"is", "in", "version", "present", "contrast"},
    "l": {"has", "lacks", "in", "is", "present", "contrast"},
    "e": {"is", "in", "present", "contrast", "has", "lacks"},
}

Texts = Mapping[str, str]
Lint = Callable[[Rulebook, Texts], Iterator[Problem]]


def conditions_of(finding: Finding) -> Iterator[tuple[str, Condition]]:
    """(path in the file, condition) of every condition of a finding."""
    for key, sets in (("proof", finding.proof), ("text_proof", finding.text_proof), ("likely", finding.likely)):
        for number, terms in enumerate(sets):
            for index, term in enumerate(terms):
                yield f".{key}[{number}][{index}]", term
    for key, terms in (("excluded_by", finding.excluded_by), ("supports", finding.supports)):
        for index, term in enumerate(terms):
            yield f".{key}[{index}]", term


def branches_of(symptom: Symptom) -> Iterator[tuple[str, Condition]]:
    """(path in the file, condition) of every condition of a symptom."""
    yield ".seen", symptom.seen
    if symptom.rate is not None:
        yield ".rate", symptom.rate
    for number, question in enumerate(symptom.tree):
        for index, branch in enumerate(question.branches):
            if branch.when is not None:
                yield f".tree[{number}].branches[{index}].when", branch.when


def _everywhere(book: Rulebook, texts: Texts) -> Iterator[tuple[str, str, Condition]]:
    for finding in book.findings.values():
        for path, condition in conditions_of(finding):
            yield finding.where, path, condition
    for symptom in book.symptoms.values():
        for path, condition in branches_of(symptom):
            yield symptom.where, path, condition
    where = next((name for name in texts if name.endswith("fixes.yaml")), "fixes.yaml")
    for fix, condition in book.fits.items():
        yield where, f".fixes.{fix}.fits", condition


def _terms(condition: Condition) -> Iterator[Term]:
    if isinstance(condition, Term):
        yield condition
        for part in condition.where:
            yield from _terms(part)
    elif isinstance(condition, AllOf):
        for part in condition.of_all:
            yield from _terms(part)
    elif isinstance(condition, AnyOf):
        for part in condition.of_any:
            yield from _terms(part)
    elif isinstance(condition, Not | Use):
        yield from _terms(condition.inner)


def unknown_fact(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    for file, path, condition in _everywhere(book, texts):
        for fact in sorted(facts_in(condition) - set(book.facts)):
            yield Problem(file, line_of(texts[file], path), "unknown-fact", f"no fact {fact} in facts.yaml")


def unknown_symptom(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    for file, path, condition in _everywhere(book, texts):
        for symptom in sorted(symptoms_in(condition) - set(book.symptoms)):
            yield Problem(file, line_of(texts[file], path), "unknown-symptom", f"no symptom {symptom}")
    for finding in book.findings.values():
        for symptom in sorted(finding.explains - set(book.symptoms)):
            yield Problem(
                finding.where, line_of(texts[finding.where], ".explains"), "unknown-symptom", f"no symptom {symptom}"
            )
    for symptom_file in book.symptoms.values():
        for general in sorted(symptom_file.refines - set(book.symptoms)):
            yield Problem(
                symptom_file.where,
                line_of(texts[symptom_file.where], ".refines"),
                "unknown-symptom",
                f"no symptom {general}",
            )


def operator_type(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    for file, path, condition in _everywhere(book, texts):
        for term in _terms(condition):
            spec = book.facts.get(term.fact)
            if spec is None:
                continue
            line = line_of(texts[file], path)
            if term.op not in _OPERATORS_OF[spec.type] and term.quantifier not in ("distinct", "count"):
                yield Problem(
                    file, line, "operator-type", f"{term.fact} is of type {spec.type}; `{term.op}` does not fit it"
                )
            if spec.type == "e" and spec.values and term.op in ("is", "in"):
                values = term.value if isinstance(term.value, tuple) else (term.value,)
                for value in values:
                    if isinstance(value, str) and value not in spec.values:
                        yield Problem(
                            file,
                            line,
                            "unknown-value",
                            f"{term.fact} is one of {', '.join(spec.values)}; never {value!r}",
                        )
            if spec.type == "b" and term.op == "is" and not isinstance(term.value, bool):
                yield Problem(file, line, "operator-type", f"{term.fact} is true or false, not {term.value!r}")


def told_apart(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    for finding in book.findings.values():
        line = line_of(texts[finding.where], ".told_apart")
        for other, facts in finding.told_apart.items():
            if other not in book.findings:
                yield Problem(finding.where, line, "told-apart", f"no finding {other}")
            elif finding.id not in book.findings[other].told_apart:
                yield Problem(
                    finding.where, line, "told-apart", f"{other} does not name {finding.id} as its look-alike"
                )
            for fact in facts:
                if fact.partition("@")[0] not in book.facts:
                    yield Problem(finding.where, line, "told-apart", f"no fact {fact}")


def fixes(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    for finding in book.findings.values():
        for _, fix in finding.fixes:
            if fix not in book.fixes:
                yield Problem(
                    finding.where, line_of(texts[finding.where], ".fixes"), "unknown-fix", f"no fix {fix} in fixes.yaml"
                )
        cures = [fix for kind, fix in finding.fixes if kind == "cure" and fix in book.fixes]
        if len(cures) > 1 and book.fixes[cures[0]].weakens:
            yield Problem(
                finding.where,
                line_of(texts[finding.where], ".fixes"),
                "weak-default",
                f"{cures[0]} lowers security and comes first",
            )


def cause(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    for finding in book.findings.values():
        if (finding.file.cause is None) and finding.kind.value in ("fault", "trap"):
            yield Problem(
                finding.where,
                line_of(texts[finding.where], ".cause"),
                "cause",
                "only a relay, a risk or a tool has no cause",
            )


def provable(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    for finding in book.findings.values():
        if finding.file.cap == "proven" and not finding.proof and not finding.text_proof:
            yield Problem(
                finding.where,
                line_of(texts[finding.where], ".cap"),
                "provable",
                "cap is proven, but no proof set is given",
            )


def tree_shape(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    for symptom in book.symptoms.values():
        ids = [question.id for question in symptom.tree]
        if len(set(ids)) != len(ids):
            yield Problem(symptom.where, line_of(texts[symptom.where], ".tree"), "tree", "two questions have one id")
        for number, question in enumerate(symptom.tree):
            place = line_of(texts[symptom.where], f".tree[{number}]")
            if not question.branches or question.branches[-1].when is not None:
                yield Problem(symptom.where, place, "tree", f"{question.id}: the last branch must be `otherwise: true`")
            for branch in question.branches:
                if branch.goto != "done" and branch.goto not in ids:
                    yield Problem(symptom.where, place, "tree", f"{question.id}: goto {branch.goto} leads nowhere")
                elif branch.goto != "done" and ids.index(branch.goto) <= number:
                    yield Problem(
                        symptom.where,
                        place,
                        "tree",
                        f"{question.id}: goto {branch.goto} leads back; a tree only goes on",
                    )
            for probe in question.probes:
                if probe not in book.probes:
                    yield Problem(symptom.where, place, "unknown-probe", f"{question.id}: no probe {probe}")
        reached = {"done", *(ids[:1])}
        for question in symptom.tree:
            if question.id in reached:
                reached |= {branch.goto for branch in question.branches}
        for ident in ids:
            if ident not in reached:
                yield Problem(
                    symptom.where,
                    line_of(texts[symptom.where], ".tree"),
                    "tree",
                    f"no branch leads to question {ident}",
                )


def ranked(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    for symptom in book.symptoms.values():
        for ident in symptom.rank:
            where = line_of(texts[symptom.where], ".rank")
            if ident not in book.findings:
                yield Problem(symptom.where, where, "rank", f"no finding {ident}")
            elif symptom.id not in book.findings[ident].explains:
                yield Problem(symptom.where, where, "rank", f"{ident} does not explain {symptom.id}")


def unused_fact_probe(book: Rulebook, texts: Texts) -> Iterator[Problem]:
    where = next((name for name in texts if name.endswith("facts.yaml")), "facts.yaml")
    for name, spec in book.facts.items():
        if spec.probe not in book.probes:
            yield Problem(
                where,
                line_of(texts.get(where, ""), f".facts.{name}"),
                "unknown-probe",
                f"{name}: no probe {spec.probe}",
            )


ALL: tuple[Lint, ...] = (
    unknown_fact,
    unknown_symptom,
    operator_type,
    told_apart,
    fixes,
    cause,
    provable,
    tree_shape,
    ranked,
    unused_fact_probe,
)


def lint(book: Rulebook, texts: Texts, produced: Iterable[str] | None = None) -> list[Problem]:
    """All problems. `produced`: fact ids that some probe gives; a fact that no probe gives is reported."""
    problems = [problem for check in ALL for problem in check(book, texts)]
    if produced is not None:
        known = set(produced)
        where = next((name for name in texts if name.endswith("facts.yaml")), "facts.yaml")
        for name, spec in book.facts.items():
            line = line_of(texts.get(where, ""), f".facts.{name}")
            if name not in known and not spec.not_read:
                problems.append(
                    Problem(
                        where, line, "not-produced", f"no probe gives {name}; give it one, or say why not in `not_read`"
                    )
                )
            elif name in known and spec.not_read:
                problems.append(Problem(where, line, "not-produced", f"a probe does give {name}; take `not_read` out"))
    return sorted(problems)

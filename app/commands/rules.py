"""`harborpilot rules check|test|show`: the gates a rule author runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from app.commands.flags import parser
from app.engine.cases import Coverage, run_case
from app.errors import RuleError, UsageError
from app.files import rule_files, site_files
from app.rulebook.book import Rulebook
from app.rulebook.conditions import say
from app.rulebook.lint import lint
from app.rulebook.load import Problem, load, load_cases


def run(words: Sequence[str]) -> int:
    """Exit 0 in order, 2 mistakes, 3 a failing case, 5 no case was found."""
    flags = parser("rules", "Check, test or show the rules.")
    flags.add_argument("what", choices=("check", "test", "show"), metavar="{check,test,show}")
    flags.add_argument(
        "ids", nargs="*", default=[], help="for check and test: a folder; for show: ids of findings or symptoms"
    )
    flags.add_argument(
        "--coverage", action="store_true", help="test: also list sets and exclusions that no case makes true"
    )
    options = flags.parse_args(words)
    if options.what == "show":
        return _show(options.ids)
    path = Path(options.ids[0]) if options.ids else None
    return _check(path) if options.what == "check" else _test(path, coverage=options.coverage)


def _load(path: Path | None) -> tuple[Rulebook, list[Problem], dict[str, str]]:
    shipped = rule_files(None, cases=True)
    files = shipped
    if path is not None:
        own = rule_files(path, cases=True)
        # A folder that is a whole rulebook stands alone; single files are read beside the shipped catalogue.
        whole = any(name.endswith("facts.yaml") for name, _ in own)
        files = own if whole else [*shipped, *own]
    else:
        files = [*shipped, *site_files()]
    texts = dict(files)
    book, problems = load(files, strict=True)
    return book, problems, texts


def _check(path: Path | None) -> int:
    from app.probes import ALL

    book, problems, texts = _load(path)
    problems += lint(book, texts, {fact for probe in ALL for fact in probe.produces})
    cases = {name.removesuffix(".cases.yaml") for name in texts if name.endswith(".cases.yaml")}
    for finding in book.findings.values():
        if finding.where.removesuffix(".yaml") not in cases:
            problems.append(Problem(finding.where, 1, "no-cases", f"{finding.id} has no cases beside it"))
    for name, text in texts.items():
        if name.endswith(".cases.yaml"):
            problems += load_cases(name, text)[1]
    for problem in sorted(problems):
        print(problem)
    if not book.findings:
        print("rules check: no finding was read", file=sys.stderr)
        return 2
    if problems:
        print(f"rules check: {len(problems)} mistake{'' if len(problems) == 1 else 's'}", file=sys.stderr)
        return 2
    print(
        f"rules check: {len(book.findings)} findings, {len(book.symptoms)} symptoms, {len(book.facts)} facts: in order"
    )
    return 0


def _test(path: Path | None, *, coverage: bool) -> int:
    book, problems, texts = _load(path)
    if problems:
        raise RuleError(str(problems[0]), next_step="Run `harborpilot rules check` first.")
    seen = Coverage()
    ran = failed = 0
    for name, text in sorted(texts.items()):
        if not name.endswith(".cases.yaml"):
            continue
        finding = next(
            (item.id for item in book.findings.values() if item.where == name.replace(".cases.yaml", ".yaml")), ""
        )
        file, wrong = load_cases(name, text)
        if file is None or not finding:
            print(wrong[0] if wrong else f"{name}: no finding lies beside these cases")
            failed += 1
            continue
        for spec in file.cases:
            ran += 1
            said = run_case(spec, finding, book, seen)
            if said:
                failed += 1
                print(f"{name}: {spec.name}: {'; '.join(said)}")
    if not ran:
        print("rules test: no case was found", file=sys.stderr)
        return 5
    if coverage:
        for finding_id, item in sorted(book.findings.items()):
            left = seen.missing(item)
            if left:
                print(f"{item.where}: {finding_id}: no case makes true: {', '.join(left)}")
    print(f"{ran - failed} passed, {failed} failed")
    return 3 if failed else 0


def _show(ids: Sequence[str]) -> int:
    book, problems, _ = _load(None)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not ids:
        for finding in sorted(book.findings.values(), key=lambda item: (item.layer, item.id)):
            print(f"L{finding.layer:<3} {finding.file.priority} {finding.id:34} {finding.file.title}")
        return 0
    for ident in ids:
        if ident in book.findings:
            print("\n".join(_finding_lines(book, ident)))
        elif ident in book.symptoms:
            print("\n".join(_symptom_lines(book, ident)))
        else:
            raise UsageError(f"no finding and no symptom {ident!r}", "`harborpilot rules show` lists the findings.")
    return 0


def _finding_lines(book: Rulebook, ident: str) -> list[str]:
    finding = book.findings[ident]
    file = finding.file
    lines = [
        f"{ident}: {file.title}",
        f"  {file.summary}",
        f"  {file.why}",
        f"  cause {file.cause}, {file.kind}, cap {file.cap}, {file.layer}, scope {file.scope}",
    ]
    lines.append(f"  explains {', '.join(sorted(finding.explains))}")
    for title, sets in (("proof", finding.proof), ("text proof", finding.text_proof), ("likely", finding.likely)):
        lines.extend(
            f"  {title} {number + 1}: {' and '.join(say(term) for term in terms)}" for number, terms in enumerate(sets)
        )
    lines.extend(
        f"  out when {say(term)}{' (must be known)' if term.must_know else ''}{': ' + term.because if term.because else ''}"
        for term in finding.excluded_by
    )
    lines.extend(f"  told apart from {other} by {', '.join(facts)}" for other, facts in finding.told_apart.items())
    lines.extend(
        f"  {kind.replace('_', ' ')}: {book.fixes[fix].title if fix in book.fixes else fix}"
        for kind, fix in finding.fixes
    )
    return lines


def _symptom_lines(book: Rulebook, ident: str) -> list[str]:
    symptom = book.symptoms[ident]
    lines = [f"{ident}: {symptom.title}", f"  seen when {say(symptom.seen)}"]
    lines.append(f"  candidates in order: {', '.join(symptom.rank)}")
    for question in symptom.tree:
        lines += [f"  {question.id}: {question.text}", f"      {question.why}"]
        lines.extend(
            f"      {branch.label or (say(branch.when) if branch.when else 'otherwise')} → {branch.goto}"
            for branch in question.branches
        )
    return lines

"""The engine as a whole over a small rulebook of its own: certainty, order, masks, second faults, the walk, what next."""

from __future__ import annotations

from typing import Any

from app.engine.advance import advance
from app.model.case import Case, Incident, Objection
from app.model.evidence import OPERATOR_ANSWER, Evidence, Outcome
from app.model.standing import Ask, Certainty, Collect, Done, Step
from app.model.target import INCIDENT, Target
from app.rulebook.book import Rulebook
from app.rulebook.lint import lint
from app.rulebook.load import load

FACTS = """
schema: 1
facts:
  text.signature: {type: l, probe: text.parse, scope: incident}
  a.key: {type: s, probe: a.read, scope: node}
  a.newer: {type: b, probe: a.read, scope: node}
  a.kind: {type: s, probe: a.read, scope: node}
  b.login: {type: n, probe: b.try, scope: registry}
  b.free: {type: b, probe: b.look, scope: registry}
  attempt.first: {type: b, probe: attempt.log, scope: node}
probes:
  text.parse: {title: the text}
  a.read: {title: the node's files, by_hand: "ssh <node> cat"}
  b.try: {title: the login, price: credential, cost: 5}
  b.look: {title: the registry, cost: 2}
  attempt.log: {title: the runtime's log}
macros:
  new_kind: {fact: a.kind, is: new-kind}
symptom_macros: {}
"""
SYMPTOM = """
schema: 1
symptom: refused
title: Refused
seen: {fact: text.signature, has: refused}
rank: [old-key, bad-login]
tree:
  - id: key
    question: Is the key old?
    why: An old key fits nothing.
    probes: [a.read]
    branches:
      - {when: {fact: a.key, is: old}, label: "yes", goto: done}
      - {when: {fact: a.key, is: new}, label: "no", goto: login}
      - {otherwise: true, label: unknown, goto: login}
  - id: login
    question: Does the login work?
    why: Only a try tells.
    probes: [b.look]
    branches:
      - {when: {fact: b.login, is: 200}, label: "yes", goto: done}
      - {otherwise: true, label: unknown, goto: done}
"""
OLD_KEY = """
schema: 1
finding: old-key
title: The key is old
summary: The node keeps an old key.
cause: runtime-config-not-applied
scope: node
layer: L3
priority: P1
explains: [refused]
proof:
  - [{fact: a.key, is: old}]
excluded_by:
  - {fact: a.newer, is: true, must_know: true, because: the file is newer}
told_apart: {bad-login: b.login}
fixes: {cure: [new-key, new-key-of-old-kind], advice: [keys-age]}
"""
FIXES = """
schema: 1
fixes:
  new-key: {title: A new key, text: Makes a new key, fits: {use: new_kind}}
  new-key-of-old-kind: {title: A new key, text: Makes a new key the old way, fits: {fact: a.kind, is: old-kind}}
  keys-age: {title: Keys age, text: Keys have to be changed}
"""
BAD_LOGIN = """
schema: 1
finding: bad-login
title: The login is bad
summary: The registry refuses the login.
cause: wrong-credentials
scope: registry
layer: L9
priority: P1
explains: [refused]
proof:
  - [{fact: b.login, is: 401}, {fact: b.free, is: false}]
likely:
  - [{fact: attempt.first, is: true}]
excluded_by:
  - {fact: b.login, is: 200, because: the login works}
told_apart: {old-key: a.key}
"""
RISK = """
schema: 1
finding: weak-spot
title: It will break one day
summary: Nothing fails of it now.
cause: null
kind: risk
scope: registry
layer: L9
priority: P2
explains: [refused]
proof:
  - [{fact: b.free, is: true}]
"""
N1, N2, REGISTRY = Target.of(node="n1"), Target.of(node="n2"), Target.of(registry="r.example")


def book() -> Rulebook:
    found, problems = load(
        [
            ("fixes.yaml", FIXES),
            ("facts.yaml", FACTS),
            ("s.yaml", SYMPTOM),
            ("a.yaml", OLD_KEY),
            ("b.yaml", BAD_LOGIN),
            ("c.yaml", RISK),
        ]
    )
    assert problems == []
    return found


def record(probe: str, target: Target, **facts: Any) -> Evidence:
    taken = facts.pop("taken_at", None)
    vantage = facts.pop("vantage", "bundle")
    return Evidence(
        probe, target, vantage, facts={name.replace("__", "."): value for name, value in facts.items()}, taken_at=taken
    )


TEXT = record("text.parse", Target.of(text="1"), text__signature=("refused",))


def step(*evidence: Evidence, interactive: bool = True, **case: Any) -> Step:
    incident = Incident(registry="r.example", texts=("refused",), nodes=("n1", "n2"))
    return advance(book(), Case(incident, (TEXT, *evidence), now=1000.0, **case), interactive=interactive)


def certainty(found: Step, finding: str) -> Certainty:
    return next(standing.certainty for standing in found.standings if standing.finding == finding)


def test_a_text_alone_leaves_all_possible_and_asks_to_collect() -> None:
    found = step()
    assert {standing.certainty for standing in found.standings} == {Certainty.POSSIBLE}
    assert found.next == Collect((("a.read", INCIDENT),))
    assert found.outcome == "inconclusive"
    assert "a.key" in [missing.fact for missing in found.standings[0].missing]


def test_a_full_proof_with_every_exclusion_known_is_proven_for_its_targets_only() -> None:
    found = step(record("a.read", N1, a__key="old", a__newer=False), record("a.read", N2, a__key="new", a__newer=False))
    assert found.standings[0].finding == "old-key"
    assert found.standings[0].certainty is Certainty.PROVEN
    assert found.standings[0].targets == (N1,)
    assert found.outcome == "fault_found"
    assert found.explained == ("refused",)
    assert next(ground.text for ground in found.standings[0].grounds) == "a.key is old"


def test_a_must_know_that_nobody_looked_at_makes_it_likely_only() -> None:
    found = step(record("a.read", N1, a__key="old"))
    assert certainty(found, "old-key") is Certainty.LIKELY
    assert "not yet known" in found.standings[0].because


def test_a_proof_beside_a_true_exclusion_is_a_conflict_and_never_proven() -> None:
    found = step(record("a.read", N1, a__key="old", a__newer=True), record("a.read", N2, a__key="old", a__newer=True))
    assert certainty(found, "old-key") is Certainty.CONFLICT


def test_an_exclusion_strikes_with_its_reason() -> None:
    found = step(record("b.try", REGISTRY, b__login=200))
    standing = next(item for item in found.standings if item.finding == "bad-login")
    assert standing.certainty is Certainty.OUT
    assert standing.because == "the login works"
    assert found.standings[-1] is standing


def test_denied_evidence_strikes_nothing_and_names_what_is_missing() -> None:
    denied = Evidence("b.try", REGISTRY, outcome=Outcome.DENIED, detail="no consent", by_hand="docker login r.example")
    found = step(denied)
    standing = next(item for item in found.standings if item.finding == "bad-login")
    assert standing.certainty is Certainty.POSSIBLE
    assert [(item.why, item.by_hand) for item in standing.missing if item.fact == "b.login"] == [
        ("no consent", "docker login r.example")
    ]


def test_the_operators_word_orders_and_never_proves() -> None:
    found = step(record("a.read", N1, a__key="old", a__newer=False, vantage=OPERATOR_ANSWER))
    assert certainty(found, "old-key") is Certainty.LIKELY


def test_an_objection_takes_the_proof_away() -> None:
    seen = record("a.read", N1, a__key="old", a__newer=False)
    found = step(seen, objections=(Objection("a.read", N1, "copied from another node"),))
    assert certainty(found, "old-key") is Certainty.POSSIBLE


def test_a_proven_fault_masks_what_the_attempt_says_of_later_layers() -> None:
    attempt = record("attempt.log", N1, attempt__first=True)
    assert certainty(step(attempt), "bad-login") is Certainty.LIKELY
    proven = [record("a.read", node, a__key="old", a__newer=False) for node in (N1, N2)]
    found = step(attempt, *proven)
    assert certainty(found, "bad-login") is Certainty.POSSIBLE
    own = [record("b.try", REGISTRY, b__login=401), record("b.look", REGISTRY, b__free=False)]
    assert certainty(step(attempt, *proven, *own), "bad-login") is Certainty.PROVEN


def test_a_risk_is_noticed_and_never_a_diagnosis() -> None:
    found = step(record("b.look", REGISTRY, b__free=True))
    assert [standing.finding for standing in found.also_noticed] == ["weak-spot"]
    assert "weak-spot" not in [standing.finding for standing in found.standings]


def test_the_walk_follows_the_evidence_then_asks_then_goes_on_after_unknown() -> None:
    first = step(record("a.read", N1, a__key="new", a__newer=False), record("a.read", N2, a__key="new", a__newer=False))
    assert [asked.id for asked in first.path] == ["refused/key", "refused/login"]
    assert first.path[0].by == "evidence"
    assert first.next == Collect((("b.look", INCIDENT),))
    looked = step(record("a.read", N1, a__key="new", a__newer=False), record("b.look", REGISTRY, b__free=False))
    assert isinstance(looked.next, Ask)
    after = step(
        record("a.read", N1, a__key="new", a__newer=False),
        record("b.look", REGISTRY, b__free=False),
        answers={"refused/login": "unknown"},
    )
    assert isinstance(after.next, Done | Collect)
    assert after.path[-1].by == "otherwise"


def test_an_answer_of_the_operator_takes_the_branch() -> None:
    found = step(answers={"refused/key": "2"})
    assert found.path[0].by == "operator"
    assert found.path[0].taken == 1
    assert len(found.path) == 2


def test_with_all_questions_asked_the_cheapest_separating_probe_comes_next() -> None:
    denied = Evidence("a.read", N1, outcome=Outcome.DENIED)
    looked = record("b.look", REGISTRY, b__free=False)
    found = step(denied, looked, interactive=False)
    assert found.next == Collect((("b.try", INCIDENT),))


def test_no_symptom_and_a_seen_success_is_healthy() -> None:
    found = advance(book(), Case(Incident(succeeded=True)))
    assert found.outcome == "healthy"
    assert advance(book(), Case(Incident())).outcome == "inconclusive"


def test_the_same_case_gives_the_same_step() -> None:
    evidence = [record("a.read", N1, a__key="old", a__newer=False)]
    assert step(*evidence) == step(*evidence)


def offered(*kinds: tuple[Target, str]) -> list[str]:
    """Fixes of the old key at two nodes, of which these kinds are known."""
    evidence = [record("a.read", node, a__key="old", a__newer=False) for node in (N1, N2)]
    found = step(*evidence, *(record("a.more", node, a__kind=kind) for node, kind in kinds))
    return [fix for _, fix in found.standings[0].fixes]


def test_a_fix_is_offered_unless_it_is_known_to_fit_none_of_the_targets() -> None:
    assert offered() == ["new-key", "new-key-of-old-kind", "keys-age"]
    assert offered((N1, "new-kind")) == ["new-key", "new-key-of-old-kind", "keys-age"]
    assert offered((N1, "new-kind"), (N2, "new-kind")) == ["new-key", "keys-age"]
    assert offered((N1, "new-kind"), (N2, "old-kind")) == ["new-key", "new-key-of-old-kind", "keys-age"]
    assert offered((N1, "third-kind"), (N2, "third-kind")) == ["keys-age"]


def test_what_a_fix_fits_is_checked_like_every_condition() -> None:
    wrong = FIXES.replace("use: new_kind", "use: no_such_macro")
    _, problems = load([("fixes.yaml", wrong), ("facts.yaml", FACTS)])
    assert [(problem.file, problem.line, problem.lint) for problem in problems] == [("fixes.yaml", 4, "condition")]
    unknown = FIXES.replace("fact: a.kind", "fact: a.sort")
    texts = {"fixes.yaml": unknown, "facts.yaml": FACTS}
    found, problems = load(list(texts.items()))
    assert problems == []
    assert [(problem.line, problem.lint) for problem in lint(found, texts)] == [(5, "unknown-fact")]

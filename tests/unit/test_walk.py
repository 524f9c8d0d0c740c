"""The walk: every leaf of every tree can be reached, questions come once, answers steer and never prove."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from app.engine.advance import advance
from app.engine.judge import TextSeen
from app.engine.placeholders import filled, filled_command, names_of
from app.engine.view import View
from app.engine.walk import walk
from app.files import load_rulebook
from app.model.case import Case, Incident
from app.model.evidence import OPERATOR_ANSWER, Evidence, Of, Outcome, Value
from app.model.standing import Ask, Certainty, Collect, Done
from app.model.target import INCIDENT, Target
from app.rulebook.book import TreeQuestion
from app.rulebook.conditions import AllOf, AnyOf, Condition, FactRef, Not, Now, Term, Use, VarRef
from app.runner.desk import facts_of

BOOK, _ = load_rulebook()
VARIABLES: dict[str, Value] = {
    "action": "pull", "image.host": "registry.example", "contacted.host": "registry.example", "mirror.host": "mirror.example",
    "project.action": "shop:pull", "node.arch": "amd64", "account": "robot$ci",
}  # fmt: skip
NOW = 1_700_000_000.0
Given = dict[tuple[str, Of, Target], Value]
TREES = sorted(name for name, symptom in BOOK.symptoms.items() if symptom.tree)


# --- Evidence that makes a condition true -------------------------------------------------------------------------


def _operand(operand: Any) -> Any:
    if isinstance(operand, VarRef):
        return VARIABLES[operand.name]
    if isinstance(operand, Now):
        return NOW
    return operand


def _value(term: Term) -> Value:
    wanted = _operand(term.value[0] if isinstance(term.value, tuple) else term.value)
    kind = BOOK.facts[term.fact].type
    if term.op == "present":
        if not wanted:
            return () if kind == "l" else ""
        return {"l": ("x",), "n": 1.0, "t": 1.0, "b": True}.get(kind, "x")
    if term.op == "lacks":
        return ()
    if term.op == "has":
        return (str(wanted),)
    if isinstance(wanted, FactRef):
        return "same" if term.op == "is" else 1000.0
    if term.op in ("lt", "gt", "beyond", "inside", "le", "ge"):
        number = float(wanted)
        return {"lt": number - 1, "gt": number + 1, "beyond": number + 100, "inside": 0.0}.get(term.op, number)
    return (str(wanted),) if kind == "l" else wanted


def true(condition: Condition) -> Iterator[Given]:
    """Sets of observations, each of which makes the condition true."""
    if isinstance(condition, Use):
        yield from true(condition.inner)
    elif isinstance(condition, AnyOf):
        for part in condition.of_any:
            yield from true(part)
    elif isinstance(condition, AllOf):
        found: list[Given] = [{}]
        for part in condition.of_all:
            found = [both for one in found for more in true(part) if (both := merged(one, more)) is not None]
        yield from found
    elif isinstance(condition, Not):
        assert isinstance(condition.inner, Term)
        term = condition.inner
        assert isinstance(term.value, FactRef)
        yield {(term.fact, term.of, INCIDENT): "one", (term.value.fact, term.value.of, INCIDENT): "another"}
    elif isinstance(condition, Term):
        yield from _true_term(condition)


def _true_term(term: Term) -> Iterator[Given]:
    if term.op == "contrast":
        yield {(term.fact, Of.THIS, INCIDENT): "mine", (term.fact, Of.HEALTHY, INCIDENT): "theirs"}
        return
    if term.over:
        a, b = (Target(((term.over, name),)) for name in ("a", "b"))
        if term.quantifier == "distinct":
            other = "key-2" if term.op == "ge" else "key-1"
            yield {(term.fact, term.of, a): "key-1", (term.fact, term.of, b): other}
        else:
            yield {(term.fact, term.of, a): _value(term), (term.fact, term.of, b): _value(term)}
        return
    given: Given = {(term.fact, term.of, INCIDENT): _value(term)}
    if isinstance(term.value, FactRef):
        yield given | {(term.value.fact, term.value.of, INCIDENT): "same" if term.op == "is" else 10.0}
        if term.op in ("lt", "inside"):
            yield {
                (term.fact, term.of, INCIDENT): 1.0 if term.op == "lt" else 0.0,
                (term.value.fact, term.value.of, INCIDENT): 10.0,
            }
    else:
        yield given
        if isinstance(term.value, tuple) and term.op == "in":
            for item in term.value[1:]:
                yield {(term.fact, term.of, INCIDENT): item}


def merged(one: Given, other: Given) -> Given | None:
    """Both together; None where they say different things of one fact."""
    found = dict(one)
    for key, value in other.items():
        known = found.get(key, value)
        if isinstance(known, tuple) and isinstance(value, tuple):
            found[key] = tuple(dict.fromkeys((*known, *value)))
        elif known == value:
            found[key] = value
        else:
            return None
    return found


def case_with(given: Given, **more: Any) -> Case:
    """A case in which every probe was tried and gave just these facts."""
    records = [Evidence(probe, vantage="tried", outcome=Outcome.SKIPPED) for probe in BOOK.probes]
    for number, ((fact, of, target), value) in enumerate(given.items()):
        records.append(
            Evidence(BOOK.facts[fact].probe, target, f"given {number}", facts={fact: value}, of=of, taken_at=NOW)
        )
    roster = dict.fromkeys(("core-pod", "registry-pod", "host", "connection"), ("a", "b"))
    records.append(Evidence("given", roster=roster))
    incident = Incident(image="registry.example/shop/web:1", action="pull", texts=("t",))
    return Case(incident, tuple(records), VARIABLES, now=NOW, **more)


def walked(symptom: str, case: Case, *, interactive: bool = False) -> tuple[Any, Any]:
    text = TextSeen("1", INCIDENT, frozenset({symptom}))
    return walk(BOOK, View(case), [symptom], [text], interactive=interactive)


def routes(symptom: str) -> Iterator[tuple[tuple[TreeQuestion, int], ...]]:
    """All ways from the first question to an end."""
    tree = {question.id: question for question in BOOK.symptoms[symptom].tree}

    def follow(name: str, so_far: tuple[tuple[TreeQuestion, int], ...]) -> Iterator[Any]:
        if name == "done":
            yield so_far
            return
        for index, branch in enumerate(tree[name].branches):
            yield from follow(branch.goto, (*so_far, (tree[name], index)))

    yield from follow(next(iter(tree)), ())


def taken(path: Any) -> list[tuple[str, int]]:
    return [(step.id.partition("/")[2], step.taken) for step in path]


# --- Trees --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symptom", TREES)
def test_every_leaf_is_reached_by_evidence(symptom: str) -> None:
    leaves = {
        (question.id, index)
        for question in BOOK.symptoms[symptom].tree
        for index, branch in enumerate(question.branches)
        if branch.goto == "done"
    }
    for route in routes(symptom):
        last = (route[-1][0].id, route[-1][1])
        if last not in leaves:
            continue
        wanted = [(question.id, index) for question, index in route]
        for given in _evidence_of(route):
            path, _ = walked(symptom, case_with(given))
            if taken(path) == wanted:
                leaves.discard(last)
                break
    assert leaves == set()


def _evidence_of(route: tuple[tuple[TreeQuestion, int], ...]) -> list[Given]:
    found: list[Given] = [{}]
    for question, index in route:
        when = question.branches[index].when
        if when is not None:
            found = [both for one in found for more in true(when) if (both := merged(one, more)) is not None][:12]
    return found


@pytest.mark.parametrize("symptom", TREES)
def test_operator_answers_steer_along_every_route(symptom: str) -> None:
    longest = 0
    for route in routes(symptom):
        answers = {f"{symptom}/{question.id}": str(index + 1) for question, index in route}
        path, following = walked(symptom, case_with({}, answers=answers), interactive=True)
        assert taken(path) == [(question.id, index) for question, index in route]
        assert {step.by for step in path} == {"operator"}
        assert isinstance(following, Done)
        longest = max(longest, len(route))
    assert longest <= 8


@pytest.mark.parametrize("symptom", TREES)
def test_after_unknown_the_walk_goes_on(symptom: str) -> None:
    answers: dict[str, str] = {}
    for _ in range(20):
        path, following = walked(symptom, case_with({}, answers=answers), interactive=True)
        assert len({step.id for step in path}) == len(path)
        if not isinstance(following, Ask):
            break
        assert following.question.id not in answers
        answers[following.question.id] = "unknown"
    assert isinstance(following, Done)
    assert answers or all(step.by == "evidence" for step in path)


def test_texts_are_short_and_answers_differ() -> None:
    for symptom in BOOK.symptoms.values():
        for question in symptom.tree:
            labels = [branch.label for branch in question.branches]
            assert len(set(labels)) == len(labels) <= 9, (symptom.id, question.id)
            assert len(question.text) <= 90, question.text
            assert len(question.why) <= 170, question.why


# --- Several symptoms, several targets ----------------------------------------------------------------------------


def test_a_question_of_two_symptoms_is_asked_once_and_its_answer_counts_for_both() -> None:
    case = case_with({}, answers={"credential-refused/role": "1", "credential-refused/sent": "1"})
    both = ["credential-refused", "no-credential-sent"]
    text = TextSeen("1", INCIDENT, frozenset(both))
    path, _ = walk(BOOK, View(case), both, [text], interactive=False)
    asked = [step.text for step in path]
    assert len(set(asked)) == len(asked)
    assert [step.id for step in path][:2] == ["credential-refused/role", "credential-refused/sent"]
    assert "no-credential-sent/mirror-anonymous" not in [step.id for step in path]


def test_the_answer_of_most_nodes_decides_and_the_others_are_shown() -> None:
    case = case_with({})
    nodes = {"n1": True, "n2": False, "n3": False}
    records = [
        Evidence("hosts_toml.read", Target.of(node=node, registry="registry.example"), f"node/{node}", facts={"hosts_toml.dir_exact": exact}, taken_at=NOW + number)
        for number, (node, exact) in enumerate(nodes.items())
    ]  # fmt: skip
    refused = Evidence("hosts_toml.read", Target.of(node="n4"), "node/n4", outcome=Outcome.DENIED)
    incident = replace(case.incident, nodes=("n1", "n2", "n3", "n4"))
    case = replace(case, incident=incident, evidence=(*case.evidence, *records, refused))
    path, _ = walked("timed-out", replace(case, answers={"timed-out/host-port": "5"}))
    step = next(item for item in path if item.id == "timed-out/entry")
    choice = step.choices[step.taken]
    assert (choice.label, [str(target) for target in choice.targets]) == ("no", ["node/n2", "node/n3"])
    assert [str(target) for target in step.choices[0].targets] == ["node/n1"]
    assert step.members == 4
    assert [str(target) for target in step.denied] == ["node/n4"]
    assert [record.target.get("node") for record in step.evidence][:3] == ["n3", "n2", "n1"]


def test_only_evidence_of_the_facts_asked_for_is_shown() -> None:
    case = case_with({("secret.exists", Of.THIS, INCIDENT): False, ("secret.type", Of.THIS, INCIDENT): "other"})
    path, _ = walked("secret-not-retrieved", case)
    facts = {fact for record in path[0].evidence for fact in record.facts}
    assert facts == {"secret.exists"}


def test_it_reads_before_it_asks() -> None:
    bare = Case(Incident(image="registry.example/shop/web:1", action="pull", texts=("t",)), (), VARIABLES, now=NOW)
    path, following = walked("secret-not-retrieved", bare, interactive=True)
    assert isinstance(following, Collect)
    assert {probe for probe, _ in following.wanted} == {"pod.read", "secret.read", "source.read"}
    assert path[-1].taken is None


# --- Answers ------------------------------------------------------------------------------------------------------


def test_answers_change_the_path_and_never_prove() -> None:
    """The operator affirms every answer of every tree: nothing becomes proven by it."""
    for symptom in TREES:
        for question in BOOK.symptoms[symptom].tree:
            for branch in question.branches:
                facts = facts_of(branch.when) if branch.when is not None else {}
                if not facts:
                    continue
                said = Evidence("answer x", vantage=OPERATOR_ANSWER, facts=facts, taken_at=NOW)
                case = case_with({})
                case = replace(case, evidence=(*case.evidence, said))
                step = advance(BOOK, case, symptoms=[symptom])
                assert [item.finding for item in step.standings if item.certainty is Certainty.PROVEN] == []


def test_what_an_affirmed_answer_states() -> None:
    sound = AllOf((Term("a.b", "is", True), Term("c.d", "has", "tag")))
    assert facts_of(sound) == {"a.b": True, "c.d": ("tag",)}
    assert facts_of(AnyOf((Term("a.b", "is", True), Term("c.d", "is", True)))) == {}
    assert facts_of(Term("a.b", "is", True, of=Of.MIRROR)) == {}
    assert facts_of(Use("here", Term("text.host_role", "is", "image"))) == {"text.host_role": "image"}


# --- Placeholders -------------------------------------------------------------------------------------------------


def test_commands_by_hand_are_filled() -> None:
    incident = Incident(image="harbor.example:8443/shop/sub/web:1", pods=("apps/web-1",), nodes=("n1", "n2"))
    case = Case(
        incident,
        (Evidence("pod.read", facts={"pod.secret_names": ("pull",)}),),
        {"image.host": "harbor.example:8443", "image.repository": "shop/sub/web", "image.tag": "1", "account": "robot$ci", "harbor.namespace": "harbor"},
    )  # fmt: skip
    names = names_of(case)
    assert filled_command("curl https://<host>/v2/<repository>/manifests/<tag>", names) == (
        "curl https://harbor.example:8443/v2/shop/sub/web/manifests/1"
    )
    assert filled_command("ssh <node> nc -vz <name> <port>; x <endpoint>", names) == (
        "ssh n1 nc -vz harbor.example 8443; x harbor.example:8443"
    )
    assert filled_command("kubectl get pod <pod> -n <namespace>; <secret> <harbor-namespace>", names) == (
        "kubectl get pod web-1 -n apps; pull harbor"
    )
    assert filled_command("/projects/<project>/repositories/<name-in-project>", names).endswith(
        "/shop/repositories/sub%252Fweb"
    )
    assert filled("Does <host> know <upstream>?", names) == "Does harbor.example:8443 know <upstream>?"


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("curl -u <account> x", "curl -u 'robot$ci' x"),
        ("curl -u '<account>' x", "curl -u 'robot$ci' x"),
        ('curl -u "<account>" x', 'curl -u "robot\\$ci" x'),
    ],
)
def test_a_dollar_sign_is_kept_from_the_shell(command: str, wanted: str) -> None:
    assert filled_command(command, {"account": "robot$ci"}) == wanted


def test_a_value_that_a_shell_could_run_is_not_filled_in() -> None:
    assert filled_command("ping <host>", {"host": "a;reboot"}) == "ping <host>"
    assert filled_command("ping <host>", {"host": "a`id`"}) == "ping <host>"


def test_the_commands_of_all_trees_have_known_placeholders() -> None:
    known = {
        "host", "name", "port", "endpoint", "image", "repository", "tag", "project", "name-in-project", "mirror", "node", "namespace",
        "pod", "account", "harbor-namespace", "secret", "admin", "digest", "upstream", "proxy",
    }  # fmt: skip

    for symptom in BOOK.symptoms.values():
        for question in symptom.tree:
            hand = question.by_hand.run if question.by_hand else ""
            assert set(re.findall(r"<([a-z-]+)>", f"{question.text} {hand}")) <= known, (symptom.id, question.id)

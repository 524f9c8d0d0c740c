"""The language of rules: the shape of the YAML files under `rules/`. Conditions are compiled by `app.rulebook.conditions`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Raw = dict[str, Any]
"""A condition as written; see `app.rulebook.conditions` for its grammar."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Fixes(_Strict, frozen=True, kw_only=True):
    """Fix ids by class, in the order of preference."""

    first_aid: list[str] = []
    cure: list[str] = []
    hand_off: list[str] = []
    advice: list[str] = []


class FindingFile(_Strict, frozen=True, kw_only=True):
    """`rules/findings/<area>/<id>.yaml`."""

    schema: Literal[1]
    finding: str
    title: str
    """What is wrong, in the operator's words, without a full stop; at most 60 characters."""
    summary: str
    """One sentence: what was found and what follows. `{image.host}`, `{account}`, `{action}` are filled in."""
    why: str = ""
    """Why this makes the pull or push fail."""
    cause: str | None
    kind: Literal["fault", "trap", "relay", "risk", "tool"] = "fault"
    scope: str
    """`incident`, one scope of `app.model.target.SCOPES`, or a pair separated by a blank (`node registry`)."""
    layer: str
    priority: Literal["P1", "P2", "P3"]
    cap: Literal["proven", "likely", "possible"] = "proven"
    explains: list[str]
    """Symptom ids; the macros `EFFECT`, `UNAUTH`, `NETTEXT`, `X509TEXT` of `facts.yaml` stand for several."""
    proof: list[list[Raw]] = []
    text_proof: list[list[Raw]] = []
    likely: list[list[Raw]] = []
    excluded_by: list[Raw] = []
    """A term may carry `must_know: true` and `because`."""
    supports: list[Raw] = []
    told_apart: dict[str, str | list[str]] = {}
    masks: list[str] = []
    """Layers masked besides those after `layer`, e.g. `[L9]`."""
    fixes: Fixes = Fixes()
    status: Literal["experimental", "test", "stable", "deprecated"] = "stable"
    references: list[str] = []
    override: bool = False
    reason: str = ""
    expires: str = ""
    """For site rules: ISO date until which the override counts."""


class ByHand(_Strict, frozen=True, kw_only=True):
    """How the operator supplies the same evidence."""

    run: str
    times: int = 1
    paste_as: str = "text"
    """How a paste is read: a document path of the bundle layout, or `text`, `token-response`."""


class Branch(_Strict, frozen=True, kw_only=True):
    """One answer to a question; exactly one of `when` and `otherwise`."""

    when: Raw | None = None
    otherwise: bool = False
    label: str = ""
    """The answer in a word or two (`yes`, `no`, `two keys`)."""
    goto: str
    """Id of a question of the same tree, or `done`."""


class Question(_Strict, frozen=True, kw_only=True):
    """A question of a tree; it orders, it never accuses."""

    id: str
    question: str
    why: str
    probes: list[str] = []
    by_hand: ByHand | None = None
    branches: list[Branch]


class SymptomFile(_Strict, frozen=True, kw_only=True):
    """`rules/symptoms/<id>.yaml`."""

    schema: Literal[1]
    symptom: str
    title: str
    seen: Raw
    rate: Raw | None = None
    refines: list[str] = []
    prior: int = 0
    """Which of several symptoms seen in one text comes first while their rates are unknown: the smaller one."""
    wordless: bool = False
    """The text does not say what failed, so that facts beyond it decide among the findings of its layer and action."""
    rank: list[str] = []
    tree: list[Question] = []
    override: bool = False
    reason: str = ""
    expires: str = ""


class FactSpec(_Strict, frozen=True, kw_only=True):
    """One fact of `rules/facts.yaml`."""

    type: Literal["b", "s", "n", "t", "v", "l", "e"]
    """true/false, text, number, time, version, list, one of `values`."""
    probe: str
    scope: str
    values: list[str] = []
    """For `e`: all values; for `l`: the tags, where they are a closed set."""
    unit: str = ""
    """`s`, `ms`, `bytes`, `%`, or empty."""
    right: str = "-"
    """What is needed to see it (MODES notation: `-`, `kube:pods`, `ssh`, `ssh+`, `hns:pods/exec`, `H:admin`, `cred`)."""
    about: str = ""
    """What it says, in a few words, for the screens."""
    not_read: str = ""
    """Why no probe gives it (the operator's word alone does, or nobody can look); empty for a fact that a probe gives."""


class ProbeSpec(_Strict, frozen=True, kw_only=True):
    """One probe: how it is named to the operator and how to do the same by hand."""

    title: str
    price: Literal["free", "credential", "write"] = "free"
    by_hand: str = ""
    cost: int = 1
    """Relative cost; the cheapest that separates the leading standings is asked next."""
    max_age: float | None = None
    """Seconds for which its evidence counts as fresh; None: as long as the case."""


class FactsFile(_Strict, frozen=True, kw_only=True):
    """`rules/facts.yaml`."""

    schema: Literal[1]
    facts: dict[str, FactSpec]
    probes: dict[str, ProbeSpec]
    macros: dict[str, Raw]
    symptom_macros: dict[str, list[str]]


class FixSpec(_Strict, frozen=True, kw_only=True):
    """One fix, hand-off or piece of advice of `rules/fixes.yaml`, in words; what can be applied is in `app.fixes`."""

    title: str
    text: str
    """What it does and what it risks, for the operator; for advice: what is true."""
    risk: str = ""
    restarts: str = ""
    weakens: bool = False
    """Lowers security: said so, comes last, never the default."""
    fits: Raw | None = None
    """Of which targets it can be a fix. It is offered unless this is known to be false of every target of the finding."""


class FixesFile(_Strict, frozen=True, kw_only=True):
    """`rules/fixes.yaml`."""

    schema: Literal[1]
    fixes: dict[str, FixSpec]


class CaseFile(_Strict, frozen=True, kw_only=True):
    """`rules/findings/<area>/<id>.cases.yaml`: must fire, must not fire, evidence missing, look-alike."""

    cases: list[CaseSpec]


class CaseSpec(_Strict, frozen=True, kw_only=True):
    """Facts by target, and what the engine has to say of them."""

    name: str
    given: dict[str, dict[str, Any]]
    """Target (`incident`, `node/n1 registry/h`, `core-pod/a`; a suffix ` @mirror` sets `of`) → fact → value.

    A value `denied`, `unreachable`, `timed_out` or `unsupported` (with a leading `!`: `!denied`) is an outcome without the fact.
    A mapping `{value: 3, bound: 0.5}` gives a bound; `roster: {core-pod: [a, b]}` beside facts declares all members.
    """
    symptoms: list[str] = []
    """Symptoms taken as seen; empty: those that the given texts show."""
    variables: dict[str, Any] = {}
    image: str | None = None
    action: str | None = "pull"
    want: Want


class Want(_Strict, frozen=True, kw_only=True):
    """What is expected; a field left out is not checked."""

    first: str | None = None
    certainty: Literal["proven", "likely", "possible", "conflict", "out"] | None = None
    """Of the finding beside which the case file lies."""
    targets: list[str] | None = None
    not_certainty: list[str] = []
    missing: list[str] = []
    cures: list[str] | None = None
    """Fix ids offered as cure, in their order."""
    also_noticed: bool | None = None

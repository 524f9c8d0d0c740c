"""A scenario as a file: story, what is broken, what is expected, hints. Read strictly; mistakes are told as `file:line`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec
import yaml

from app.model.standing import Certainty
from app.rulebook.book import Rulebook
from app.rulebook.load import Problem, line_of, parse_text

_PATH: Final = re.compile(r"`\$(?P<path>[^`]*)`")
_RIGHT: Final = re.compile(r"(?:get|list|create|update|patch|delete) [a-z]+(?:/[a-z]+)?")
_ID: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class FileStep(_Strict, frozen=True, kw_only=True):
    """Write a file. `loaded`: the runtime had read it before (the node is as after a restart)."""

    nodes: list[str]
    path: str
    text: str
    mode: str = "0644"
    loaded: bool = False


class RemoveStep(_Strict, frozen=True, kw_only=True):
    nodes: list[str]
    path: str


class RestartStep(_Strict, frozen=True, kw_only=True):
    nodes: list[str]
    unit: str


class PatchStep(_Strict, frozen=True, kw_only=True):
    path: str
    body: Any
    kind: Literal["merge", "json", "strategic"] = "merge"


class CreateStep(_Strict, frozen=True, kw_only=True):
    path: str
    body: Any


class HarborStep(_Strict, frozen=True, kw_only=True):
    method: Literal["POST", "PUT", "PATCH", "DELETE"]
    path: str
    body: Any = None


class SecretStep(_Strict, frozen=True, kw_only=True):
    """A pull secret with an account's login, in place of the one of its name. `edge`: what is typed behind the password."""

    namespace: str
    name: str
    account: str
    server: str = "${host}"
    password: str | None = None
    edge: str = ""
    type: str = "kubernetes.io/dockerconfigjson"


class RobotStep(_Strict, frozen=True, kw_only=True):
    """State of a robot that only time or another person brings about."""

    name: str
    disabled: bool | None = None
    expired_hours: float | None = None
    secret: str | None = None
    grants: dict[str, list[str]] | None = None


class EndpointStep(_Strict, frozen=True, kw_only=True):
    """An endpoint of Harbor, and the upstream behind it: the password that it takes now, images that it has now."""

    name: str
    url: str | None = None
    kind: str | None = None
    password: str | None = None
    upstream_password: str | None = None
    upstream_images: list[str] = []


class ProjectStep(_Strict, frozen=True, kw_only=True):
    """What other people have put into a project: `images` are `repository:tag`."""

    name: str
    images: list[str] = []
    quota_mib: float | None = None
    used_mib: float | None = None
    prevent: Literal["", "low", "medium", "high", "critical"] | None = None
    """Severity from which on images are held back."""
    scanned: list[str] = []
    """Images that the scanner has passed."""


class ClockStep(_Strict, frozen=True, kw_only=True):
    nodes: list[str]
    offset: float
    synced: bool = False


class ServerStep(_Strict, frozen=True, kw_only=True):
    host: str
    port: int
    chain: str | None = None
    scheme: Literal["http", "https"] | None = None
    down: bool | None = None
    used: int = 0
    """So many manifests were given to callers without a login just now."""


class NameStep(_Strict, frozen=True, kw_only=True):
    """What DNS says of a name; null: nothing."""

    name: str
    address: str | None


class DiskStep(_Strict, frozen=True, kw_only=True):
    nodes: list[str]
    used: int
    """Percent."""


class HarborUrlStep(_Strict, frozen=True, kw_only=True):
    """Harbor's external URL, as its owner sets it."""

    url: str


class FirewallStep(_Strict, frozen=True, kw_only=True):
    """Between these nodes and an address packets are dropped, or pass again."""

    nodes: list[str]
    address: str
    drops: bool


class CoreKeyStep(_Strict, frozen=True, kw_only=True):
    """One core pod (by its number in the list) holds the key of another time."""

    core: int
    key: str


class InsideStep(_Strict, frozen=True, kw_only=True):
    """A password inside Harbor that is another one now. Cores that run keep the old one until they start again."""

    registry: str | None = None
    database: str | None = None


class OffenderStep(_Strict, frozen=True, kw_only=True):
    """A job elsewhere, several workers of it, that goes on trying a login."""

    account: str
    password: str
    client: str
    agent: str


class ClientStep(_Strict, frozen=True, kw_only=True):
    """What the machine that pushes has stored as an account's password."""

    account: str
    password: str


class AppStep(_Strict, frozen=True, kw_only=True):
    """A Deployment as its owner writes it."""

    namespace: str
    name: str
    image: str
    replicas: int = 2
    secrets: list[str] = []
    nodes: list[str] = []


class RecreateStep(_Strict, frozen=True, kw_only=True):
    """Delete the pods of an app; their owner makes new ones."""

    namespace: str
    app: str


class Step(_Strict, frozen=True, kw_only=True):
    """Exactly one of these. The last group cannot be done by an operator and is for `faults` alone."""

    file: FileStep | None = None
    remove: RemoveStep | None = None
    restart: RestartStep | None = None
    trust_update: list[str] | None = None
    patch: PatchStep | None = None
    create: CreateStep | None = None
    delete: str | None = None
    harbor: HarborStep | None = None
    secret: SecretStep | None = None
    app: AppStep | None = None
    recreate: RecreateStep | None = None
    wait: float | None = None
    robot: RobotStep | None = None
    endpoint: EndpointStep | None = None
    project: ProjectStep | None = None
    clock: ClockStep | None = None
    server: ServerStep | None = None
    name: NameStep | None = None
    firewall: FirewallStep | None = None
    disk: DiskStep | None = None
    external_url: HarborUrlStep | None = None
    core_key: CoreKeyStep | None = None
    core_database: int | None = None
    """One core pod (by its number in the list) works on another, nearly empty database."""
    inside: InsideStep | None = None
    read_only: bool | None = None
    offender: OffenderStep | None = None
    client: ClientStep | None = None
    drop_image: list[str] | None = None
    """Nodes whose stored images are gone."""

    @property
    def kind(self) -> str:
        """The name of the one field that is set; empty where not exactly one is."""
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        return given[0] if len(given) == 1 else ""


GIVEN: Final = frozenset(
    {
        "robot", "endpoint", "project", "clock", "server", "name", "firewall", "disk", "external_url", "core_key", "core_database", "inside", "read_only",
        "offender", "client", "drop_image",
    }
)  # fmt: skip
"""Steps that no operator can do."""


class Push(_Strict, frozen=True, kw_only=True):
    """A push that the pager is about: tried `tries` times when the scenario starts."""

    account: str
    image: str
    tries: int = 5
    tool: Literal["crane", "docker"] = "crane"
    """docker logs in first, and asks whether the login is good."""


class Goal(_Strict, frozen=True, kw_only=True):
    """What has to hold in the end: all pods of these namespaces run; that many pushes in a row work."""

    pods: list[str] = []
    pushes: int = 0


class Expected(_Strict, frozen=True, kw_only=True):
    finding: str
    certainty: Literal["proven", "likely"] = "proven"
    try_credentials: bool = False
    """The proof needs one use of a credential."""


class Solution(_Strict, frozen=True, kw_only=True):
    title: str
    fixes: list[str]
    """Ids of the fixes that cure it, first aid included."""
    steps: list[Step]
    owner: str = ""
    """Who carries the steps out where the operator cannot: then one of the fixes is a text that is handed over, and the
    steps may be what only others can do."""


class Wrong(_Strict, frozen=True, kw_only=True):
    title: str
    why: str
    steps: list[Step]


class Proof(_Strict, frozen=True, kw_only=True):
    """One line of the shortest proof: a probe and what it shows."""

    probe: str
    shows: str


class Par(_Strict, frozen=True, kw_only=True):
    minutes: float
    price: int


class Scenario(_Strict, frozen=True, kw_only=True):
    """One scenario."""

    schema: int
    scenario: str
    title: str
    group: str
    difficulty: Literal["easy", "medium", "hard"]
    par: Par
    pager: str
    story: str
    base: Literal["kubeadm", "k3s"]
    seed: str = "corp"
    faults: list[Step]
    goal: Goal
    expect: Expected
    solution: Solution
    wrong: Wrong
    shortest: list[Proof]
    hints: list[str]
    lesson: str
    look_alike: str = ""
    """Id of the scenario that looks the same and is not."""
    push: Push | None = None
    behind: Expected | None = None
    """A second fault that only shows when the first is cured; its cure stands in `second`."""
    second: Solution | None = None
    harbor_login: bool = True
    denied: list[str] = []
    """What the operator's user may not do in the cluster: `get pods/log`."""
    given: dict[str, str] = {}
    """What the story puts into the operator's hands, by the name under which a fix asks for it."""


def load_scenario(name: str, text: str) -> tuple[Scenario | None, list[Problem]]:
    """One file: the scenario, or what is wrong with it."""
    try:
        data = parse_text(text, strict=True)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = str(getattr(error, "problem", None) or error).splitlines()[0]
        return None, [Problem(name, mark.line + 1 if mark else 1, "yaml", what)]
    try:
        scenario = msgspec.convert(data, Scenario)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error))
        unknown = re.search(r"unknown field `([^`]+)`", str(error))
        path = (found["path"] if found else "") + (f".{unknown[1]}" if unknown else "")
        return None, [Problem(name, line_of(text, path), "shape", str(error))]
    problems = [Problem(name, line_of(text, path), "scenario", what) for path, what in _mistakes(scenario)]
    return (None if problems else scenario), problems


def _mistakes(scenario: Scenario) -> Iterable[tuple[str, str]]:
    if scenario.schema != 1:
        yield ".schema", f"schema {scenario.schema} is not known; this version reads 1"
    if not _ID.fullmatch(scenario.scenario):
        yield ".scenario", "an id has lower-case letters, digits and single dashes"
    if not scenario.hints:
        yield ".hints", "a scenario has at least one hint"
    if not scenario.goal.pods and not scenario.goal.pushes:
        yield ".goal", "a goal names namespaces whose pods run, or a number of pushes"
    for index, right in enumerate(scenario.denied):
        if not _RIGHT.fullmatch(right):
            yield f".denied[{index}]", "a right is a verb and a resource, such as `get pods/log`"
    if scenario.goal.pushes and scenario.push is None:
        yield ".goal", "pushes are counted only where `push` says what is pushed"
    if (scenario.behind is None) != (scenario.second is None):
        yield ".behind", "`behind` and `second` come together"
    first, second = scenario.solution, scenario.second
    for path, steps, given in (
        ("faults", scenario.faults, True), ("solution.steps", first.steps, bool(first.owner)), ("wrong.steps", scenario.wrong.steps, False),
        ("second.steps", second.steps if second else [], bool(second and second.owner)),
    ):  # fmt: skip
        if path == "faults" and not steps:
            yield ".faults", "nothing is broken"
        for index, step in enumerate(steps):
            if not step.kind:
                yield f".{path}[{index}]", "a step has exactly one key"
            elif step.kind in GIVEN and not given:
                yield f".{path}[{index}]", f"no operator can do {step.kind!r}"


def lint(scenarios: Iterable[tuple[str, str, Scenario]], book: Rulebook) -> list[Problem]:
    """Ids that the rules do not have, and scenarios of one id. Takes (file, text, scenario)."""
    problems: list[Problem] = []
    listed = list(scenarios)
    ids = [scenario.scenario for _, _, scenario in listed]
    for name, text, scenario in listed:
        told: list[tuple[str, str]] = []
        if ids.count(scenario.scenario) > 1:
            told.append((".scenario", f"{scenario.scenario} is there twice"))
        for place, expected in ((".expect", scenario.expect), (".behind", scenario.behind)):
            finding = book.findings.get(expected.finding) if expected is not None else None
            if expected is not None and finding is None:
                told.append((f"{place}.finding", f"no finding {expected.finding!r}"))
            elif expected is not None and finding is not None and Certainty(expected.certainty).rank < finding.cap.rank:
                told.append((f"{place}.certainty", f"{finding.id} is never more than {finding.cap.value}"))
        told += [
            (".solution.fixes", f"no fix {fix!r}")
            for solution in (scenario.solution, scenario.second)
            for fix in (solution.fixes if solution is not None else ())
            if fix not in book.fixes
        ]
        told += [(".shortest", f"no probe {one.probe!r}") for one in scenario.shortest if one.probe not in book.probes]
        if scenario.look_alike and scenario.look_alike not in ids:
            told.append((".look_alike", f"no scenario {scenario.look_alike!r}"))
        problems += [Problem(name, line_of(text, path), "scenario", what) for path, what in told]
    return sorted(problems)

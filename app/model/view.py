"""What the screens draw: frozen views, built by the desk, never changed by a screen. Times are epoch seconds, durations seconds.

Every text here is redacted already and is drawn as it stands, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.model.evidence import Evidence
from app.model.fix import FixPlan, TargetProgress
from app.model.standing import Ask, Certainty, Collect, Done, Missing, Standing, Step


class Mode(StrEnum):
    """What stands behind the desk."""

    NOTHING = "no cluster"
    LIVE = "live"
    BUNDLE = "bundle"
    PRACTICE = "practice"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class HeaderView:
    """The first line of the board, and what every other screen says of the lock."""

    context: str = ""
    """Kube context, bundle name or scenario; empty: none chosen yet."""
    mode: Mode = Mode.NOTHING
    locked: bool = True
    """Read-only. A bundle and a replay are always locked."""
    harbor: str = ""
    """Host of the Harbor found; empty: none."""
    harbor_version: str = ""
    harbor_where: str = ""
    """`mgmt/harbor`, `ssh harbor-1`, `only its HTTP`."""
    seen_at: float | None = None
    """When the cluster last answered; None: never."""
    rights_missing: int | None = None
    """None: the self-check has not run."""


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One line of the board."""

    id: str
    title: str
    """`pull · certificate not trusted`."""
    action: str = ""
    registry: str = ""
    pods: int | None = None
    nodes: int | None = None
    nodes_all: int | None = None
    since: float | None = None
    best: Certainty | None = None
    """Certainty of the best standing; None: not yet walked."""
    best_text: str = ""
    pasted: bool = False
    healthy: bool = False


@dataclass(frozen=True, slots=True)
class IncidentDetail:
    """What the lower half of the board says of the chosen incident."""

    texts: tuple[str, ...] = ()
    """Distinct wordings of the error, the most frequent first."""
    runtimes: str = ""
    """`containerd 1.7 ×31, k3s 1.31 ×9`."""
    nodes: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    """What the failing have and the healthy have not."""


@dataclass(frozen=True, slots=True)
class NextToFail:
    """Nodes that carry the same fault and still live on cached images."""

    text: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoardView:
    """The board. `now` is the clock that ages are counted from."""

    header: HeaderView
    now: float = 0.0
    incidents: tuple[IncidentRow, ...] = ()
    details: tuple[tuple[str, IncidentDetail], ...] = ()
    """(incident id, detail)."""
    next_to_fail: NextToFail | None = None
    loading: str = ""
    """What is being read; empty when nothing is."""
    problem: str = ""
    """Why the list may be short or empty: a refused right, an API that does not answer."""
    problem_next: str = ""
    """What to do about it."""
    notices: tuple[str, ...] = ()
    """Interrupted applies, expired site rules, a torn session."""
    rests_on: str = ""
    """What an empty board rests on: `2,310 pods in 41 namespaces read, none fails to pull`."""

    def detail(self, incident: str) -> IncidentDetail:
        """Detail of one incident, empty where nothing more is known."""
        return dict(self.details).get(incident, IncidentDetail())


@dataclass(frozen=True, slots=True)
class UnknownRow:
    """A pattern of what is not known, e.g. five nodes without sudo."""

    text: str
    """`5 nodes: no sudo for /etc/rancher`."""
    costs: str = ""
    """Which answers that costs: `which of two k3s causes`."""
    by_hand: str = ""
    """The command to run."""
    paste_as: str = "text"
    """How its pasted output is read: a document path of the bundle layout, `text` or `token-response`."""
    targets: tuple[str, ...] = ()
    denied: bool = False
    """A right is missing (⚷), rather than nobody having looked (?)."""


@dataclass(frozen=True, slots=True)
class TrainingStrip:
    """What practice adds to the walk."""

    pager: str
    elapsed: float
    par: float
    price: int
    hints_used: int = 0
    hints_left: int = 0
    next_hint_cost: int = 0
    hint: str = ""
    """The last hint given."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One event on the time line of a replay."""

    at: float
    kind: str
    """`collect`, `answer`, `decision`, `fix`, `note`."""
    text: str
    decision: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where a replay stands. `position` counts the events applied so far."""

    marks: tuple[Mark, ...]
    position: int
    playing: bool = False
    changed: tuple[str, ...] | None = None
    """Verdicts that today's rules change; None: not judged again; empty: none."""
    rules_then: str = ""
    rules_now: str = ""


@dataclass(frozen=True, slots=True)
class WalkView:
    """The walk through one incident."""

    header: HeaderView
    incident: IncidentRow
    step: Step
    number: int = 1
    """Of the step, from 1."""
    evidence: tuple[Evidence, ...] = ()
    collected: int = 0
    wanted: int = 0
    auto: bool = True
    busy: str = ""
    """What is being read now; empty when the walk waits for the operator."""
    price: str = ""
    """Set when the next collection has a price and waits for consent: `one use of the credential in secret apps/harbor-pull`."""
    unknowns: tuple[UnknownRow, ...] = ()
    blind: str = ""
    """What cannot be read from here at all, and how to give it; empty where a cluster is asked."""
    differences: tuple[str, ...] = ()
    now: float = 0.0
    problem: str = ""
    training: TrainingStrip | None = None
    timeline: Timeline | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    """Fact → unit of its numbers, see `Rulebook.units`."""

    @property
    def can_continue(self) -> bool:
        """Evidence can be collected without asking anybody."""
        return isinstance(self.step.next, Collect) and not self.price and not self.busy and self.timeline is None

    @property
    def outdated(self) -> int:
        """Records that have grown too old to prove anything, and that could be read again."""
        if self.timeline is not None or self.busy:
            return 0
        return sum(not record.is_fresh(self.now) for record in self.evidence)

    @property
    def asks(self) -> Ask | None:
        return self.step.next if isinstance(self.step.next, Ask) else None

    @property
    def done(self) -> Done | None:
        return self.step.next if isinstance(self.step.next, Done) else None


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """All evidence of an incident. `objected`: (probe, target as text) → reason."""

    title: str
    evidence: tuple[Evidence, ...]
    objected: tuple[tuple[str, str, str], ...] = ()
    now: float = 0.0
    reading: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    """Fact → unit of its numbers, see `Rulebook.units`."""


@dataclass(frozen=True, slots=True)
class FixOffer:
    """One line of the list of fixes."""

    id: str
    fix_class: str
    """`first_aid`, `cure`, `hand_off`, `advice`."""
    title: str
    text: str = ""
    restarts: str = ""
    weakens: bool = False
    why_not: str = ""
    """Why it cannot be planned here; empty when it can."""


@dataclass(frozen=True, slots=True)
class DiagnosisView:
    """One standing shown to the operator, with why, why not the others, and what to do."""

    header: HeaderView
    incident: IncidentRow
    standing: Standing
    others: tuple[Standing, ...] = ()
    """Every other finding that could explain it: those ruled out carry `because`."""
    missing: tuple[Missing, ...] = ()
    fixes: tuple[FixOffer, ...] = ()
    also_noticed: tuple[Standing, ...] = ()
    why_fails: str = ""
    """Why this makes the pull or push fail."""
    rests_on: str = ""
    """`24 tries reached 3 of 3 core pods, newest 40 s old`."""
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class PlanView:
    """A frozen plan with what the gateway says of it now."""

    header: HeaderView
    plan: FixPlan
    unlock_name: str = ""
    """What has to be typed to unlock; empty when the context can never be unlocked (a bundle, a replay)."""
    watching: str = ""
    """For a hand-off: what is watched until the owner's change lands."""
    hands_over: bool = False
    """Practice: the owner of what this plan tells of is at hand, and does it when asked."""


@dataclass(frozen=True, slots=True)
class ApplyView:
    """Progress of an apply or an undo; the last one has `finished`."""

    plan: FixPlan
    progress: tuple[TargetProgress, ...]
    now_running: str = ""
    finished: bool = False
    stopping: bool = False
    waiting_on: str = ""
    """A target that failed and waits for a decision: retry, skip or stop."""
    verified: bool = False
    verdict: str = ""
    """How the verification ended, in words."""
    undoing: bool = False
    can_undo: bool = False
    elapsed: float = 0.0
    interrupted: bool = False
    """Cut off by a crash or a quit in an earlier run; nothing runs now, and `finished` is set."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    id: str
    title: str
    context: str
    started: float
    events: int
    outcome: str = ""
    """`fault_found`, `inconclusive`, `healthy`, `interrupted`."""
    fixed: str = ""
    problem: str = ""
    """Why it cannot be read; empty when it can."""


@dataclass(frozen=True, slots=True)
class SessionsView:
    sessions: tuple[SessionRow, ...]
    folder: str = ""
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class ReplayView:
    """A walk as it stood, with its time line."""

    session: SessionRow
    walk: WalkView
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class RightRow:
    """One right of the self-check."""

    right: str
    """`list pods in all namespaces`."""
    area: str
    """`kube prod-eu`, `ssh`, `harbor`."""
    have: bool | None
    """None: could not be asked."""
    costs: str = ""
    """What it costs in answers when missing."""
    grant: str = ""
    """The smallest grant that gives it."""


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    name: str
    kind: str
    """`kube`, `ssh`, `harbor`, `registry`."""
    state: str
    """`works`, `failing`, `unknown`."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionsView:
    header: HeaderView
    connections: tuple[ConnectionRow, ...] = ()
    rights: tuple[RightRow, ...] = ()
    credentials: tuple[str, ...] = ()
    """`secret apps/harbor-pull → harbor.corp.example: 0 of 1 tries used`."""
    pending_host_keys: int = 0
    reading: str = ""


@dataclass(frozen=True, slots=True)
class HostKeyRow:
    host: str
    """The host, with the node it stands for: `10.1.2.3 (edge-a-01)`."""
    algorithm: str
    fingerprint: str
    """`SHA256:…`."""
    changed: bool = False
    """Differs from the known one: evidence, never accepted here."""
    known: str = ""
    """Fingerprint on file, when it has changed."""


@dataclass(frozen=True, slots=True)
class HostKeysView:
    keys: tuple[HostKeyRow, ...]
    file: str = ""
    """Where accepted keys are written."""


@dataclass(frozen=True, slots=True)
class ScenarioRow:
    id: str
    title: str
    group: str
    difficulty: str
    """`easy`, `medium`, `hard`."""
    par: float
    best_score: int | None = None
    played: int = 0
    pager: str = ""


@dataclass(frozen=True, slots=True)
class ScenariosView:
    scenarios: tuple[ScenarioRow, ...]


@dataclass(frozen=True, slots=True)
class BriefView:
    """Before a scenario starts."""

    id: str
    title: str
    pager: str
    story: str
    par: float
    rules: tuple[str, ...] = ()
    """How it is scored, a line each."""


@dataclass(frozen=True, slots=True)
class DebriefView:
    """After a scenario."""

    title: str
    solved: bool
    gave_up: bool
    score: int
    of: int
    lines: tuple[tuple[str, str, int], ...]
    """(what, detail, points)."""
    own_path: tuple[str, ...]
    shortest: tuple[str, ...]
    cause: str
    lesson: str
    elapsed: float = 0.0
    par: float = 0.0


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A credential the kubelet considers, in its order."""

    source: str
    """`pod imagePullSecrets apps/harbor-pull`, `service account`, `node config.json`, `anonymous`."""
    account: str
    key: str
    """The registry key it is stored under."""
    wins: bool | None
    """None: cannot be told."""
    why: str


@dataclass(frozen=True, slots=True)
class HostRow:
    """An endpoint the runtime contacts, in its order."""

    url: str
    role: str
    """`mirror`, `image host`, `default endpoint`."""
    capabilities: str = ""
    trust: str = ""
    """`ca /etc/ssl/corp.pem`, `OS bundle`, `skip_verify`."""
    rewrite: str = ""
    why: str = ""
    """The line that put it here: `hosts.toml:3`."""


@dataclass(frozen=True, slots=True)
class IgnoredSetting:
    where: str
    setting: str
    why: str


@dataclass(frozen=True, slots=True)
class ToolDifference:
    """Why another client has a different result for the same reference."""

    tool: str
    text: str


@dataclass(frozen=True, slots=True)
class PullPlanView:
    image: str
    node: str
    runtime: str = ""
    nodes: tuple[str, ...] = ()
    """Other nodes that can be shown."""
    credentials: tuple[CredentialRow, ...] = ()
    hosts: tuple[HostRow, ...] = ()
    ignored: tuple[IgnoredSetting, ...] = ()
    tools: tuple[ToolDifference, ...] = ()
    unknown: tuple[str, ...] = ()
    """What could not be read, and what that leaves open."""
    reading: str = ""


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule of the rulebook, as shown by the browser."""

    id: str
    kind: str
    """`symptom`, `fault`, `trap`, `relay`, `risk`, `tool`."""
    title: str
    area: str = ""
    layer: str = ""
    text: str = ""
    """The whole rule, as the file has it."""
    where: str = ""
    """`rules/findings/tls/tls-ca-replaced.yaml`."""
    origin: str = "shipped"
    """`shipped`, `site`, `site override`, `expired override`."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class RulesView:
    rules: tuple[RuleRow, ...]
    digest: str = ""
    problems: tuple[str, ...] = ()
    """`file:line: lint: message`."""

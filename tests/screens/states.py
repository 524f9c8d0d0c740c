"""Literal states for the screens: a made-up company, fixed times, the real shapes. Nothing here is computed."""

from __future__ import annotations

from dataclasses import replace

from app.model.evidence import Evidence, Outcome
from app.model.fix import Change, Check, FixPlan, Owner, StepState, TargetProgress, Wave
from app.model.standing import Ask, Asked, Certainty, Choice, Collect, Done, Ground, Kind, Missing, Standing, Step
from app.model.target import Target
from app.model.view import (
    ApplyView,
    BoardView,
    BriefView,
    ConnectionRow,
    ConnectionsView,
    CredentialRow,
    DebriefView,
    DiagnosisView,
    EvidenceView,
    FixOffer,
    HeaderView,
    HostKeyRow,
    HostKeysView,
    HostRow,
    IgnoredSetting,
    IncidentDetail,
    IncidentRow,
    Mark,
    Mode,
    NextToFail,
    PlanView,
    PullPlanView,
    ReplayView,
    RightRow,
    RuleRow,
    RulesView,
    ScenarioRow,
    ScenariosView,
    SessionRow,
    SessionsView,
    Timeline,
    ToolDifference,
    TrainingStrip,
    UnknownRow,
    WalkView,
)

NOW = 1_780_063_351.0  # 2026-05-29 14:02:31 UTC
HARBOR = "harbor.corp.example"
LIVE = HeaderView("prod-eu", Mode.LIVE, True, HARBOR, "2.13.1", "mgmt/harbor", NOW, 2)
UNLOCKED = replace(LIVE, locked=False, rights_missing=0)
BUNDLE = HeaderView("incident-42", Mode.BUNDLE, True, HARBOR, "2.13.1", "its logs", None, None)
PRACTICE = HeaderView("two keys", Mode.PRACTICE, False, HARBOR, "2.13.1", "mgmt/harbor", NOW, 0)
REPLAYED = HeaderView("prod-eu", Mode.REPLAY, True, HARBOR, "2.13.1", "mgmt/harbor", NOW, None)
EDGE = tuple(f"edge-a-{number:02d}" for number in range(1, 32))


def node(name: str, registry: str = "") -> Target:
    return Target.of(node=name, registry=registry or None)


# --- board ---

CA = IncidentRow(
    "i1",
    "pull · certificate not trusted",
    "pull",
    HARBOR,
    112,
    40,
    300,
    NOW - 720,
    Certainty.PROVEN,
    "3 causes on 40 nodes",
)
CACHE = IncidentRow(
    "i2",
    "pull · 401 on project quay-cache",
    "pull",
    HARBOR,
    9,
    9,
    300,
    NOW - 3 * 3600,
    Certainty.LIKELY,
    "robot has no right here",
)
PUSH = IncidentRow(
    "i3", "push · unauthorized, comes and goes", "push", HARBOR, None, None, None, NOW - 3600, None, "", pasted=True
)
BACKOFF = IncidentRow(
    "i4",
    "pull · back-off only, first error gone",
    "pull",
    "registry.corp.example:5000",
    2,
    1,
    300,
    NOW - 2 * 86400,
    None,
    "needs the node's journal",
)

BOARD = BoardView(
    LIVE,
    NOW,
    (CA, CACHE, PUSH, BACKOFF),
    (
        (
            "i1",
            IncidentDetail(
                (
                    "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                    "x509: certificate signed by unknown authority",
                ),
                "containerd 1.7 ×31, k3s 1.31 ×9",
                EDGE,
                ("anchor CN=corp-root 2021 (key K1)",),
            ),
        ),
    ),
    NextToFail(
        "18 more nodes have the old CA and live on cached images", tuple(f"edge-b-{n:02d}" for n in range(1, 19))
    ),
)
BOARD_HEALTHY = BoardView(
    replace(LIVE, rights_missing=0),
    NOW,
    rests_on="2,310 pods in 41 namespaces read 4 s ago, every one of them has its image",
)
BOARD_NOTHING = BoardView(HeaderView(), NOW)
BOARD_LOADING = BoardView(
    replace(LIVE, seen_at=None, rights_missing=None), NOW, loading="reading pods, 41,500 of about 150,000"
)
BOARD_DENIED = replace(
    BOARD,
    incidents=(PUSH,),
    next_to_fail=None,
    problem="No right to list pods in all namespaces; namespace apps was read alone.",
    problem_next="S shows the smallest grant.",
    notices=("An apply of 14:01 was interrupted on 2 of 22 nodes: open sessions (e) to go on or undo.",),
)
BOARD_ERROR = BoardView(
    replace(LIVE, seen_at=None, rights_missing=None),
    NOW,
    problem="The API server of prod-eu does not answer: connection to 10.20.0.5:6443 timed out after 5 s.",
    problem_next="Check the VPN, or choose another context with --context.",
)
LONG = (
    "ответ сервера 中文字符 failed to do request: Head "
    + "https://harbor.corp.example/v2/a-very-long-project-name/with/many/levels/" * 4
    + " [red]not markup[/red] \x1b[31mred\u202etxt"
)
BOARD_LONG = replace(
    BOARD,
    incidents=(
        replace(
            CA,
            title="pull · " + LONG,
            registry="registry-with-a-name-that-never-ends.corp.example:5000",
            best_text="a standing " * 9,
        ),
        CACHE,
    ),
    details=(("i1", IncidentDetail((LONG,), "containerd 1.7 ×31", EDGE)),),
    next_to_fail=None,
)

# --- evidence ---

HOSTS_TOML = Evidence(
    "runtime.hosts",
    node("edge-a-01", f"{HARBOR}:443"),
    "node/edge-a-01",
    facts={"trust.anchor_subject": "CN=corp-root", "trust.anchor_key": "9f2c41aa", "trust.store_newer": False},
    excerpt='server = "https://harbor.corp.example"\n[host."https://harbor.corp.example"]\n  ca = "/etc/ssl/corp-root.pem"',
    taken_at=NOW - 20,
    command="cat /etc/containerd/certs.d/harbor.corp.example/hosts.toml",
)
SERVED = Evidence(
    "registry.tls",
    Target.of(registry=f"{HARBOR}:443"),
    "node/edge-a-01",
    facts={
        "tls.issuer_subject": "CN=corp-root",
        "tls.issuer_key": "41d0b7e2",
        "tls.names": ("harbor.corp.example",),
        "tls.not_after": 1803859200.0,
    },
    excerpt="subject=CN=harbor.corp.example\nissuer=CN=corp-root\nnotAfter=2027-03-01",
    taken_at=NOW - 22,
    command="TLS handshake with harbor.corp.example:443 through edge-a-01",
)
K3S_DENIED = Evidence(
    "k3s.registries",
    node("k3s-07"),
    "node/k3s-07",
    Outcome.DENIED,
    detail="sudo: a password is required",
    by_hand="sudo cat /etc/rancher/k3s/registries.yaml",
    taken_at=NOW - 19,
    command="sudo -n cat /etc/rancher/k3s/registries.yaml",
)
CLOCK = Evidence(
    "node.clock",
    node("edge-a-01"),
    "node/edge-a-01",
    facts={"clock.offset": 0.21},
    bounds={"clock.offset": 0.02},
    taken_at=NOW - 21,
    command="date +%s.%N, five times",
)
TIMED_OUT = Evidence(
    "runtime.config",
    node("edge-a-09"),
    "node/edge-a-09",
    Outcome.TIMED_OUT,
    detail="no answer in 8 s",
    taken_at=NOW - 15,
    command="containerd config dump",
)
UNITS = {"tls.not_after": "time", "clock.offset": "s"}
EVIDENCE = (SERVED, HOSTS_TOML, CLOCK, K3S_DENIED, TIMED_OUT)
EVIDENCE_VIEW = EvidenceView(
    CA.title, EVIDENCE, (("node.clock", "node/edge-a-01", "the node was being rebooted"),), NOW, units=UNITS
)
EVIDENCE_EMPTY = EvidenceView(CA.title, (), (), NOW)
EVIDENCE_LONG = EvidenceView(CA.title, (replace(HOSTS_TOML, excerpt="\n".join([LONG] * 30)),), (), NOW)

# --- standings and walk ---

OLD_CA = Standing(
    "tls-ca-replaced",
    Kind.FAULT,
    "registry-ca-not-trusted",
    Certainty.PROVEN,
    tuple(node(name, f"{HARBOR}:443") for name in EDGE[:22]),
    "Old CA in hosts.toml",
    "The CA was renewed with the same subject and a new key; 22 nodes still trust the old key.",
    (
        Ground(
            "the anchor has the subject of the issuer of the served chain", "true", "CN=corp-root", SERVED, "proof A"
        ),
        Ground("its key is another one", "true", "9f2c41aa, served 41d0b7e2", HOSTS_TOML, "proof A"),
        Ground("the anchors accept the chain", "false", "no", SERVED, "exclusion"),
        Ground("the healthy nodes have the new anchor", "unknown", "", None, "support"),
    ),
    missing=(
        Missing(
            "k3s.registries",
            node("k3s-07"),
            "k3s.ca",
            "tells two k3s causes apart",
            "sudo cat /etc/rancher/k3s/registries.yaml",
        ),
    ),
    fixes=(("cure", "install-ca"), ("hand_off", "ansible-ca")),
)
NOT_RESTARTED = replace(
    OLD_CA,
    finding="tls-store-not-reloaded",
    targets=OLD_CA.targets[:13],
    title="New CA, runtime not restarted",
    fixes=(("cure", "restart-runtime"),),
)
K3S_CA = Standing(
    "tls-ca-not-trusted",
    Kind.FAULT,
    "registry-ca-not-trusted",
    Certainty.LIKELY,
    tuple(node(f"k3s-{n:02d}") for n in range(1, 6)),
    "k3s private CA missing",
)
PROXY = Standing(
    "proxy-intercepts-tls",
    Kind.FAULT,
    "proxy-intercepts",
    Certainty.OUT,
    (),
    "Intercepting proxy",
    because="same chain seen from the operator",
)
EXPIRED = Standing(
    "tls-cert-expired",
    Kind.FAULT,
    "registry-cert-expired",
    Certainty.OUT,
    (),
    "Certificate expired",
    because="valid to 2027-03-01",
)
NAME = Standing(
    "tls-name-not-covered",
    Kind.FAULT,
    "registry-cert-name",
    Certainty.OUT,
    (),
    "Name not covered",
    because="SAN has the host",
)
SKEW = Standing(
    "node-clock-skew", Kind.RISK, None, Certainty.POSSIBLE, (node("edge-a-05"),), "Clock of a node is 4 s off"
)
STANDINGS = (OLD_CA, NOT_RESTARTED, K3S_CA, PROXY, EXPIRED, NAME)


def asked(name: str, text: str, label: str, taken: int | None = 0, by: str = "evidence") -> Asked:
    return Asked(f"x509/{name}", "x509", text, "", (Choice(label, "true"), Choice("another", "false")), taken, by)


PATH = (
    asked("dns", "Does the name resolve from the failing nodes?", "yes, on 40 of 40"),
    asked("tcp", "Does something answer at the address?", "yes, on 40 of 40"),
    asked("trust", "Does the runtime trust the certificate that is served?", "no, on 40 of 40"),
    asked("proxy", "Is there a proxy on the way?", "no proxy", by="operator"),
)
QUESTION = Asked(
    "x509/anchor",
    "x509",
    "Is the anchor on the node the one that signed the certificate?",
    "Same subject, different key: the CA was renewed and the node kept the old one.",
    (
        Choice("yes", "false", because="keys differ on 22 nodes"),
        Choice("no", "true"),
        Choice("older than the running containerd", "unknown"),
    ),
    None,
    probes=("runtime.hosts",),
    by_hand="openssl x509 -noout -subject -fingerprint -in <ca file>",
    paste_as="text",
    evidence=(HOSTS_TOML, SERVED),
)
UNKNOWNS = (
    UnknownRow(
        "5 nodes: no sudo for /etc/rancher",
        "which of two k3s causes",
        "sudo cat /etc/rancher/k3s/registries.yaml",
        "nodes/k3s-07/etc/rancher/k3s/registries.yaml",
        ("node/k3s-07",),
        denied=True,
    ),
    UnknownRow("edge-a-09: did not answer in 8 s", "", "", "text", ("node/edge-a-09",)),
)


def step(
    next_: Ask | Collect | Done, standings: tuple[Standing, ...] = STANDINGS, outcome: str = "fault_found"
) -> Step:
    return Step(standings, (SKEW,) if standings else (), ("x509-unknown-authority",), PATH, next_, outcome=outcome)


WALK = WalkView(
    LIVE,
    CA,
    step(Ask(QUESTION)),
    4,
    EVIDENCE,
    61,
    64,
    True,
    unknowns=UNKNOWNS,
    differences=("anchor CN=corp-root 2021 (key K1)",),
    now=NOW,
    units=UNITS,
)
WALK_START = WalkView(
    LIVE,
    CA,
    Step(
        (),
        (),
        ("x509-unknown-authority",),
        (),
        Collect(
            (
                ("registry.dns", node("edge-a-01")),
                ("registry.dns", node("edge-a-02")),
                ("registry.tls", node("edge-a-01")),
            )
        ),
    ),
    now=NOW,
    auto=False,
    wanted=3,
)
WALK_BUSY = replace(
    WALK,
    step=step(Collect((("runtime.hosts", node("edge-a-01")), ("k3s.registries", node("k3s-07"))))),
    busy="reading registries.yaml on 9 k3s nodes, 4 have answered",
)
WALK_PRICE = replace(
    WALK,
    step=step(
        Collect((("registry.login", Target.of(registry=f"{HARBOR}:443")),)),
        (replace(K3S_CA, title="Credential is refused"),),
    ),
    price="one use of the credential in secret apps/harbor-pull (0 of 1 failing tries used)",
)
WALK_DONE = replace(WALK, step=step(Done("Every incident text is explained.")), unknowns=())
WALK_INCONCLUSIVE = replace(
    WALK,
    incident=BACKOFF,
    step=step(
        Done("The node's journal could not be read."),
        (replace(K3S_CA, certainty=Certainty.POSSIBLE, title="Registry did not answer then"),),
        "inconclusive",
    ),
)
CONFLICT = replace(
    OLD_CA,
    certainty=Certainty.CONFLICT,
    because="node edge-a-01 verified the chain 20 s ago with these anchors",
    fixes=(),
)
WALK_OUTDATED = replace(
    WALK,
    evidence=tuple(replace(item, max_age=1800.0, taken_at=NOW - 3600) for item in EVIDENCE[:3]),
    step=step(
        Done("every question is answered"),
        (replace(OLD_CA, certainty=Certainty.LIKELY, because="rests on an operator's word or an old reading"),),
    ),
)
WALK_CONFLICT = replace(WALK, step=step(Ask(QUESTION), (CONFLICT, K3S_CA, PROXY)))
WALK_HEALTHY = replace(
    WALK,
    incident=replace(PUSH, healthy=True),
    step=Step(
        (),
        (),
        (),
        (asked("rate", "Do tokens work on every core pod?", "yes, 24 of 24 tries"),),
        Done("24 of 24 tries reached 3 of 3 core pods, newest 40 s old."),
        outcome="healthy",
    ),
    unknowns=(),
    differences=(),
    evidence=(),
)
WALK_DENIED = replace(
    WALK_INCONCLUSIVE,
    header=replace(LIVE, harbor="", harbor_version="", rights_missing=5),
    evidence=(K3S_DENIED,),
    problem="No node could be read: forwarding and sudo are refused on all of them.",
)
WALK_LONG = replace(
    WALK,
    incident=replace(CA, title=LONG),
    step=step(Ask(replace(QUESTION, text=LONG, why=LONG))),
    evidence=(replace(HOSTS_TOML, excerpt=LONG),),
)
STRIP = TrainingStrip(
    "03:12 CI: pushes to harbor fail about every second time",
    247,
    600,
    7,
    1,
    2,
    10,
    "Nobody has yet looked at who signs the tokens.",
)
WALK_TRAINING = replace(WALK, header=PRACTICE, incident=PUSH, training=STRIP)

# --- diagnosis ---

FIXES = (
    FixOffer("install-ca", "cure", "Install the new CA beside the old one", restarts="nothing"),
    FixOffer("ansible-ca", "hand_off", "Change for the Ansible role"),
    FixOffer(
        "skip-verify",
        "first_aid",
        "Switch verification off",
        "anybody in between can read and change images",
        "containerd",
        weakens=True,
    ),
    FixOffer(
        "restart-harbor", "first_aid", "Restart the registry", why_not="needs the right patch deployments in mgmt"
    ),
)
DIAGNOSIS = DiagnosisView(
    LIVE,
    CA,
    OLD_CA,
    (NOT_RESTARTED, K3S_CA, PROXY, EXPIRED, NAME),
    OLD_CA.missing,
    FIXES,
    (SKEW,),
    "The runtime accepts a chain only when one of its anchors signed it. An anchor with the same name and another key has not.",
    "TLS read on 40 of 40 nodes, newest 20 s old",
    NOW,
)
DIAGNOSIS_CONFLICT = replace(DIAGNOSIS, standing=CONFLICT, fixes=())
DIAGNOSIS_LIKELY = replace(
    DIAGNOSIS,
    standing=replace(K3S_CA, because="registries.yaml could not be read on 5 nodes"),
    others=(PROXY,),
    fixes=(),
)

# --- plan and apply ---

DIFF = """--- /etc/containerd/certs.d/harbor.corp.example/hosts.toml
+++ /etc/containerd/certs.d/harbor.corp.example/hosts.toml
@@ -1,3 +1,3 @@
 server = "https://harbor.corp.example"
-ca = "/etc/ssl/corp-root.pem"
+ca = ["/etc/ssl/corp-root.pem", "/etc/ssl/corp-root-2026.pem"]"""
PLAN = FixPlan(
    "p1",
    "install-ca",
    "tls-ca-replaced",
    "install the new CA for harbor.corp.example on 22 nodes",
    "cure",
    "none known: both CAs are trusted until the rotation is over",
    "nothing",
    "the old file is kept beside it on each node",
    OLD_CA.targets,
    (
        Change(
            OLD_CA.targets[0],
            "node-file",
            "hosts.toml",
            DIFF,
            "install -m 0644 corp-root-2026.pem /etc/ssl/",
            undo="backup put back",
        ),
        Change(
            OLD_CA.targets[1],
            "node-file",
            "hosts.toml",
            DIFF,
            "install -m 0644 corp-root-2026.pem /etc/ssl/",
            undo="backup put back",
        ),
    ),
    (Wave("canary, verified before the rest", OLD_CA.targets[:1]), Wave("4 at a time", OLD_CA.targets[1:])),
    (
        Check("the PEM is the issuer of the served chain", "ok", "fingerprint 41:D0:B7:E2…, confirmed by you 14:05"),
        Check("rights on 22 of 22 nodes", "ok"),
        Check("files unchanged since they were read", "ok"),
        Check("3 nodes: the file is managed by Ansible", "warn", "hand-off diff instead"),
        Check("free space on /etc", "unknown", "df gave no answer on edge-a-09"),
    ),
    "TLS from each node, then Pulled within 5 min",
    hand_off="# roles/registry/files/hosts.toml\nca: [corp-root.pem, corp-root-2026.pem]",
    context="prod-eu",
    made_at=NOW,
)
PLAN_LOCKED = PlanView(LIVE, PLAN, "prod-eu")
PLAN_UNLOCKED = PlanView(UNLOCKED, PLAN, "prod-eu")
PLAN_BLOCKED = PlanView(
    UNLOCKED,
    replace(PLAN, checks=(Check("the PEM is the issuer of the served chain", "fail", "it is the leaf"),)),
    "prod-eu",
)
OWNED = replace(
    PLAN,
    id="p2",
    fix="pin-token-key",
    title="pin the token key of Harbor",
    fix_class="hand_off",
    changes=(),
    waves=(),
    checks=(Check("the release is owned by Argo CD", "warn", "it would put a direct change back"),),
    owner=Owner("argo", "mgmt/harbor", "label argocd.argoproj.io/instance"),
    hand_off="core:\n  secretName: harbor-token-key   # was made anew at each render\n  existingSecret: harbor-core",
)
PLAN_HAND_OFF = PlanView(
    LIVE, OWNED, "prod-eu", watching="kid of anonymously issued tokens, until all cores sign with one key"
)
PLAN_BUNDLE = PlanView(BUNDLE, PLAN, "")
SEVERE = replace(
    PLAN,
    title="make project quay-cache public",
    weakens=True,
    confirm_name="quay-cache",
    risk="anybody who reaches Harbor can pull from it",
)

APPLYING = ApplyView(
    PLAN,
    (
        TargetProgress(OLD_CA.targets[0], StepState.VERIFIED, "canary, TLS 0.2 s"),
        TargetProgress(OLD_CA.targets[1], StepState.VERIFYING, ""),
        TargetProgress(OLD_CA.targets[2], StepState.WRITING, "/etc/ssl/corp-root-2026.pem"),
        TargetProgress(OLD_CA.targets[3], StepState.CHECKING, ""),
        *(TargetProgress(target, StepState.QUEUED) for target in OLD_CA.targets[4:]),
    ),
    "edge-a-03: writing /etc/ssl/corp-root-2026.pem",
    elapsed=47,
    can_undo=True,
)
APPLY_FAILED = replace(
    APPLYING,
    progress=(
        *APPLYING.progress[:1],
        TargetProgress(OLD_CA.targets[1], StepState.FAILED_KEPT, "No space left on device"),
        *APPLYING.progress[4:],
    ),
    now_running="",
    waiting_on=str(OLD_CA.targets[1]),
)
APPLY_DONE = replace(
    APPLYING,
    progress=tuple(TargetProgress(target, StepState.VERIFIED) for target in OLD_CA.targets),
    finished=True,
    verified=True,
    verdict="TLS from 22 of 22 nodes; web-7d9f Pulled after 41 s.",
)
APPLY_NOT_VERIFIED = replace(
    APPLY_DONE, verified=False, verdict="TLS holds on 22 of 22 nodes, but no pod pulled within 5 min."
)
APPLY_UNDONE = replace(
    APPLY_DONE,
    undoing=True,
    verified=False,
    can_undo=False,
    progress=tuple(TargetProgress(target, StepState.UNDONE) for target in OLD_CA.targets),
    verdict="22 files put back to the byte.",
)

APPLY_INTERRUPTED = replace(
    APPLYING,
    progress=(
        TargetProgress(OLD_CA.targets[0], StepState.VERIFIED, "canary"),
        TargetProgress(OLD_CA.targets[1], StepState.WRITING, "the file was written, its check was not seen"),
        *(TargetProgress(target, StepState.QUEUED) for target in OLD_CA.targets[2:]),
    ),
    now_running="",
    finished=True,
    interrupted=True,
)

# --- sessions, replay ---

SESSION = SessionRow(
    "20260529-1402", "pull · certificate not trusted", "prod-eu", NOW - 600, 214, "fault_found", "22 nodes fixed"
)
SESSIONS = SessionsView(
    (
        SESSION,
        SessionRow("20260529-0911", "push · unauthorized, comes and goes", "prod-eu", NOW - 17_000, 96, "interrupted"),
        SessionRow("20260528-1630", "pull · 401 on project quay-cache", "stage", NOW - 80_000, 41, "inconclusive"),
        SessionRow("20260527-0303", "nothing fails", "prod-eu", NOW - 212_000, 12, "healthy"),
        SessionRow(
            "20260401-1111", "?", "?", NOW - 5_000_000, 0, problem="schema 9 is newer than this Harbor Pilot knows"
        ),
    ),
    "~/.local/state/harborpilot/sessions",
    NOW,
)
MARKS = tuple(
    Mark(
        NOW - 600 + n * 7,
        "decision" if n in {4, 11, 19} else "collect",
        "the anchor is not the one that signed it" if n in {4, 11, 19} else f"registry.tls on edge-a-{n:02d}",
        n in {4, 11, 19},
    )
    for n in range(1, 25)
)
LINE = Timeline(MARKS, 11)
REPLAY = ReplayView(SESSION, replace(WALK, header=REPLAYED, timeline=LINE), LINE)
_JUDGED = replace(
    LINE,
    position=24,
    changed=(
        "tls-ca-replaced on node/edge-a-07: likely → proven",
        "tls-ca-not-trusted on node/k3s-03: proven → likely",
    ),
    rules_then="a41c",
    rules_now="b902",
)
REPLAY_JUDGED = ReplayView(SESSION, replace(REPLAY.walk, timeline=_JUDGED), _JUDGED)
_START = replace(LINE, position=0)
REPLAY_START = ReplayView(SESSION, replace(WALK_START, header=REPLAYED, timeline=_START), _START)

# --- connections ---

CONNECTIONS = ConnectionsView(
    LIVE,
    (
        ConnectionRow("prod-eu", "kube", "works", "v1.31.4, 300 nodes, answers in 40 ms"),
        ConnectionRow("300 nodes", "ssh", "failing", "38 of 40 answer; edge-a-09 timed out, edge-a-31 refused the key"),
        ConnectionRow(HARBOR, "harbor", "works", "2.13.1, as robot$pilot"),
        ConnectionRow("registry.corp.example:5000", "registry", "unknown", "not asked yet"),
    ),
    (
        RightRow("list pods in all namespaces", "kube prod-eu", True),
        RightRow(
            "get secrets in apps",
            "kube prod-eu",
            False,
            "whether the pull secret is malformed, expired or for another registry",
            "kind: Role\nrules:\n- apiGroups: ['']\n  resources: [secrets]\n  resourceNames: [harbor-pull]\n  verbs: [get]",
        ),
        RightRow(
            "exec into core pods",
            "kube mgmt",
            None,
            "key hash by pod; kid by connection still tells",
            "kind: Role\nrules:\n- apiGroups: ['']\n  resources: [pods/exec]\n  verbs: [create]",
        ),
        RightRow(
            "sudo -n cat /etc/rancher/…",
            "ssh k3s-*",
            False,
            "which of two k3s causes",
            "pilot ALL=(root) NOPASSWD: /usr/bin/cat /etc/rancher/k3s/registries.yaml",
        ),
    ),
    ("secret apps/harbor-pull → harbor.corp.example: 0 of 1 failing tries used",),
    3,
)
CONNECTIONS_EMPTY = ConnectionsView(HeaderView())
CONNECTIONS_READING = ConnectionsView(LIVE, CONNECTIONS.connections[:1], reading="asking for 14 rights")
HOST_KEYS = HostKeysView(
    (
        HostKeyRow(
            "10.1.2.31 (edge-a-31)",
            "ssh-ed25519",
            "SHA256:Jv0q0m4uVq5f8YkYw1r3m9C8yqG0a5n1i2b3c4d5e6f",
            True,
            "SHA256:0a1b2c3d4e5f6g7h8i9j0kAbCdEfGhIjKlMnOpQrStU",
        ),
        HostKeyRow("10.1.3.1 (k3s-01)", "ssh-ed25519", "SHA256:9X8w7V6u5T4s3R2q1P0oNmLkJiHgFeDcBa987654321"),
        HostKeyRow("10.1.3.2 (k3s-02)", "ecdsa-sha2-nistp256", "SHA256:aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789abcdefg"),
    ),
    "~/.ssh/known_hosts",
)

# --- practice ---

SCENARIOS = ScenariosView(
    (
        ScenarioRow(
            "two-keys",
            "Every second push is refused",
            "refused now and then",
            "medium",
            600,
            82,
            2,
            "03:12 CI: pushes to harbor fail about every second time",
        ),
        ScenarioRow(
            "slow-core",
            "Refused, but only for a while",
            "refused now and then",
            "hard",
            900,
            None,
            1,
            "CI is red since the maintenance window",
        ),
        ScenarioRow(
            "old-ca",
            "The CA was renewed on Friday",
            "TLS and scheme",
            "easy",
            480,
            None,
            0,
            "ImagePullBackOff on all edge nodes",
        ),
        ScenarioRow(
            "newline",
            "The secret looks right",
            "pull secret",
            "easy",
            300,
            None,
            0,
            "app team: 401 since we rotated the robot",
        ),
    )
)
BRIEF = BriefView(
    "two-keys",
    "Every second push is refused",
    "03:12 CI: pushes to harbor fail about every second time",
    "Harbor was upgraded through Argo CD in the evening. Pulls work. Pushes fail now and then, with the same robot and from the same runner; a second try often helps.",
    600,
    ("right cause named: 40", "verified fix: 30", "price of evidence and time: 20", "a wrong fix costs 15, a hint 10"),
)
DEBRIEF = DebriefView(
    "Every second push is refused",
    True,
    False,
    72,
    100,
    (
        ("right cause", "core-token-key-mismatch, proven", 40),
        ("verified fix", "restart core, push accepted", 30),
        ("time", "6:41 of par 10:00", 12),
        ("hints", "1 used", -10),
    ),
    (
        "asked whether it always fails: no",
        "read the pull secret (price 1)",
        "hint: who signs the tokens?",
        "counted kid over 12 connections: 2",
        "restarted core, verified",
    ),
    ("counted kid over 6 connections: 2 (no right needed)", "saw that no core is rolling", "restarted core, verified"),
    "The core pods sign tokens with two different keys; each accepts only its own.",
    "Count kid before anything that needs a right: it proves unequal keys with no credential at all.",
    401,
    600,
)
DEBRIEF_GAVE_UP = replace(
    DEBRIEF,
    solved=False,
    gave_up=True,
    score=12,
    lines=(("right cause", "not named", 0), ("evidence", "cheap", 12)),
    own_path=(),
)

# --- pull plan, rules ---

PULL_PLAN = PullPlanView(
    "harbor.corp.example/quay-cache/app:1.4",
    "edge-a-01",
    "containerd 1.7.27",
    ("edge-a-01", "edge-a-02", "k3s-07"),
    (
        CredentialRow(
            "pod imagePullSecrets apps/quay-pull",
            "robot$quay",
            "quay.io",
            False,
            "its key is quay.io, the image is on harbor.corp.example",
        ),
        CredentialRow(
            "service account default: apps/harbor-pull",
            "robot$apps+ci",
            HARBOR,
            True,
            "the longest key that matches, and the first of its length",
        ),
        CredentialRow("node config.json", "", "", None, "no right to read /var/lib/kubelet/config.json"),
    ),
    (
        HostRow(
            "https://mirror.corp.example/v2", "mirror", "pull, resolve", "ca /etc/ssl/corp-root.pem", "", "hosts.toml:3"
        ),
        HostRow(
            "https://harbor.corp.example/v2",
            "image host",
            "pull, resolve, push",
            "OS bundle",
            "",
            "hosts.toml:1 server",
        ),
    ),
    (
        IgnoredSetting(
            "/etc/containerd/config.toml:41",
            'plugins."io.containerd.grpc.v1.cri".registry.configs.….auth',
            "config_path is set, so the inline tables are not read",
        ),
        IgnoredSetting(
            "/etc/containerd/certs.d/harbor.corp.example:443/",
            "hosts.toml for host:443",
            "the image names no port, so this folder is not looked at",
        ),
    ),
    (
        ToolDifference(
            "ctr", "reads no CRI settings: neither the mirror nor the CA above; a working ctr pull proves nothing"
        ),
        ToolDifference("docker", "uses /etc/docker/certs.d and your own login"),
    ),
    ("node config.json: whether a third credential wins when the first two fail",),
)
PULL_PLAN_EMPTY = PullPlanView(
    "registry.corp.example:5000/web:2",
    "edge-a-09",
    unknown=("the node did not answer: settings, credential of the node",),
)
PULL_PLAN_READING = PullPlanView(
    "harbor.corp.example/team/web:2", "edge-a-02", reading="reading the settings of edge-a-02"
)
RULE_TEXT = """schema: 1
finding: core-token-key-mismatch
cause: harbor-internal-secret-mismatch
proof:
  - [{fact: token.kid, distinct: {ge: 2}, over: core-pod, within: 60s}, {fact: core.rolling, is: false}]
excluded_by:
  - {fact: core.ready, is: 1, because: one pod cannot disagree with itself}"""
RULES = RulesView(
    (
        RuleRow(
            "harbor-unauthorized-sometimes",
            "symptom",
            "Harbor refuses now and then",
            "",
            "",
            "schema: 1\nsymptom: harbor-unauthorized-sometimes",
            "rules/symptoms/harbor-unauthorized-sometimes.yaml",
        ),
        RuleRow(
            "core-token-key-mismatch",
            "fault",
            "Core pods sign with different keys",
            "harbor",
            "L9",
            RULE_TEXT,
            "rules/findings/harbor/core-token-key-mismatch.yaml",
        ),
        RuleRow(
            "tls-ca-replaced",
            "fault",
            "CA renewed, node kept the old one",
            "tls",
            "L7",
            "schema: 1\nfinding: tls-ca-replaced",
            "site/tls-ca-replaced.yaml",
            "expired override",
            "This override expired on 2026-05-01; the shipped rule is in force.",
        ),
    ),
    "b902f7c1d3e4",
)
RULES_PROBLEMS = replace(
    RULES, problems=("site/mirror.yaml:12: unknown-fact: no fact token.kidd; did you mean token.kid?",)
)
RULES_EMPTY = RulesView((), problems=("rules/facts.yaml:1: shape: file is missing",))

"""From investigation to views: pure, so that the screens' content is tested without a screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from app.engine.placeholders import filled_command, names_of
from app.engine.view import View
from app.model.evidence import Evidence, Of, Outcome, Value
from app.model.material import Material
from app.model.spelling import spelled
from app.model.standing import Certainty, Kind, Standing, Step
from app.model.view import (
    BoardView,
    CredentialRow,
    DiagnosisView,
    FixOffer,
    HeaderView,
    HostRow,
    IgnoredSetting,
    IncidentDetail,
    IncidentRow,
    NextToFail,
    PullPlanView,
    RuleRow,
    RulesView,
    ToolDifference,
    TrainingStrip,
    UnknownRow,
    WalkView,
)
from app.pullplan.plan import PullPlan
from app.rulebook.book import Rulebook
from app.rulebook.conditions import facts_in, say
from app.runner.investigation import Opened

_ACTIONS = {"pull": "pull", "push": "push", "login": "login", None: "request"}


def row(opened: Opened, rulebook: Rulebook, *, pasted: bool = False, nodes_all: int | None = None) -> IncidentRow:
    """One line of the board."""
    incident, step = opened.scene.incident, opened.step
    title = _title(opened, rulebook)
    best, text = None, "not yet walked"
    if step is not None:
        live = [standing for standing in step.standings if standing.certainty is not Certainty.OUT]
        if live:
            best = live[0].certainty
            sure = _causes(live)
            nodes = {target.get("node") for standing in sure for target in standing.targets} - {None}
            text = (
                live[0].title
                if len(sure) < 2
                else f"{len(sure)} causes" + (f" on {len(nodes)} node{'s' if len(nodes) > 1 else ''}" if nodes else "")
            )
        elif step.outcome == "healthy":
            text = "healthy"
    return IncidentRow(
        id=incident.id,
        title=title,
        action=incident.action or "",
        registry=incident.registry or "",
        pods=len(incident.pods) or None,
        nodes=len(incident.nodes) or None,
        nodes_all=nodes_all,
        since=incident.since,
        best=best,
        best_text=text,
        pasted=pasted,
        healthy=step is not None and step.outcome == "healthy",
    )


def _causes(live: Sequence[Standing]) -> list[Standing]:
    """What is taken as causes: a likely one counts beside a proven one only for nodes that this does not speak of."""
    proven = [standing for standing in live if standing.certainty is Certainty.PROVEN]
    told = {target.get("node") for standing in proven for target in standing.targets}
    beside = [
        standing
        for standing in live
        if standing.certainty is Certainty.LIKELY
        and (not proven or any(target.get("node") not in told for target in standing.targets))
    ]
    return [*proven, *beside]


def _title(opened: Opened, rulebook: Rulebook) -> str:
    incident = opened.scene.incident
    action = _ACTIONS.get(incident.action, incident.action or "request")
    symptoms = opened.step.symptoms if opened.step is not None else ()
    known = [rulebook.symptoms[symptom] for symptom in symptoms if symptom in rulebook.symptoms]
    # What a text says names an incident better than a pattern such as "some nodes only".
    known.sort(key=lambda symptom: "text.signature" not in facts_in(symptom.seen))
    name = known[0].title if known else ""
    if not name:
        name = incident.texts[0][:60] if incident.texts else "nothing fails" if incident.succeeded else "no text yet"
    return f"{action} · {name}"


def detail(opened: Opened, rulebook: Rulebook) -> IncidentDetail:
    """The lower half of the board."""
    runtimes: Counter[str] = Counter()
    if opened.case is not None:
        versions = _by_node(opened.case.evidence, "node.runtime_version")
        kinds = _by_node(opened.case.evidence, "node.runtime")
        for node in opened.scene.incident.nodes:
            if node in versions:
                runtimes[f"{kinds.get(node, 'runtime')} {'.'.join(str(versions[node]).split('.')[:2])}"] += 1
    return IncidentDetail(
        texts=opened.scene.incident.texts[:4],
        runtimes=", ".join(f"{name} ×{count}" for name, count in runtimes.most_common(4)),
        nodes=opened.scene.incident.nodes,
        differences=differences(opened, rulebook),
    )


def _by_node(evidence: Iterable[Evidence], fact: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for record in evidence:
        node = record.target.get("node")
        if node and fact in record.facts:
            found[node] = record.facts[fact]
    return found


_COMPARED = (
    "node.",
    "containerd.",
    "hosts_toml.",
    "k3s.",
    "trust.",
    "clock.offset",
    "dns.",
    "proxy.",
    "disk.",
    "tls.issuer",
    "tcp.",
)
_NEVER_COMPARED = ("clock.bound", "node.kubelet_version")


def differences(opened: Opened, rulebook: Rulebook) -> tuple[str, ...]:
    """What the failing nodes have in common and no healthy node has: shown before any absolute reading."""
    if opened.case is None or not opened.case.incident.healthy_nodes:
        return ()
    view = View(opened.case)
    found = []
    for fact, observations in view.facts.items():
        if not fact.startswith(_COMPARED) or fact in _NEVER_COMPARED:
            continue
        failing = {seen.value for seen in observations if seen.of is Of.THIS and seen.target.get("node")}
        healthy = {seen.value for seen in observations if seen.of is Of.HEALTHY}
        if failing and healthy and not failing & healthy and len(failing) == 1:
            about = rulebook.facts[fact].about if fact in rulebook.facts else fact
            said = partial(_short, unit=rulebook.units.get(fact, ""))
            found.append(
                f"{about or fact}: failing {said(next(iter(failing)))}, healthy {', '.join(sorted(map(said, healthy))[:2])}"
            )
    return tuple(found[:6])


def _short(value: Value, unit: str) -> str:
    return spelled(value, unit)[:60]


def next_to_fail(opened: Sequence[Opened]) -> NextToFail | None:
    """Healthy nodes of an incident that show the same fault and live on cached images."""
    nodes: list[str] = []
    for item in opened:
        if item.case is None or item.step is None:
            continue
        for standing in item.step.standings:
            if standing.certainty is not Certainty.PROVEN:
                continue
            nodes.extend(_same_fault(item, standing))
    found = tuple(sorted(set(nodes)))
    if not found:
        return None
    return NextToFail(
        f"{len(found)} more {'node has' if len(found) == 1 else 'nodes have'} the same fault and live on cached images",
        found,
    )


def _same_fault(item: Opened, standing: Standing) -> list[str]:
    assert item.case is not None  # noqa: S101 - the caller has looked
    decisive = [
        ground.evidence
        for ground in standing.grounds
        if ground.evidence is not None and ground.role.startswith("proof") and ground.evidence.target.get("node")
    ]
    found = []
    for node in item.case.incident.healthy_nodes:
        theirs = {
            (record.probe, fact): value
            for record in item.case.evidence
            if record.target.get("node") == node
            for fact, value in record.facts.items()
        }
        keyed = [
            (record.probe, fact, value)
            for record in decisive
            for fact, value in record.facts.items()
            if fact in ("plan.cured_by", "trust.accepts_chain", "hosts_toml.scheme", "k3s.scheme")
        ]
        if keyed and all(theirs.get((probe, fact), "?") == value for probe, fact, value in keyed):
            found.append(node)
    return found


def board(
    header: HeaderView,
    now: float,
    opened: Sequence[Opened],
    rulebook: Rulebook,
    *,
    pasted: Mapping[str, bool],
    material: Material,
    loading: str = "",
    problem: tuple[str, str] = ("", ""),
    notices: tuple[str, ...] = (),
) -> BoardView:
    """The whole board, worst first."""
    nodes_all = _node_count(material)
    shown = [item for item in opened if not item.scene.incident.succeeded or item.scene.incident.texts]
    shown.sort(key=lambda item: (-len(item.scene.incident.pods), item.scene.incident.id))
    return BoardView(
        header=header,
        now=now,
        incidents=tuple(
            row(item, rulebook, pasted=pasted.get(item.scene.incident.id, False), nodes_all=nodes_all) for item in shown
        ),
        details=tuple((item.scene.incident.id, detail(item, rulebook)) for item in shown),
        next_to_fail=next_to_fail(shown),
        loading=loading,
        problem=problem[0],
        problem_next=problem[1],
        notices=notices,
        rests_on="" if shown else _rests_on(material),
    )


def _node_count(material: Material) -> int | None:
    try:
        data = material.json("nodes.json")
    except ValueError:
        return None
    return len(data["items"]) if isinstance(data, dict) and isinstance(data.get("items"), list) else None


def _rests_on(material: Material) -> str:
    try:
        data = material.json("pods.json")
    except ValueError:
        return ""
    if not isinstance(data, dict) or "items" not in data:
        return ""
    whole = (data.get("metadata") or {}).get("pullFailuresComplete")
    return f"the pods that wait were read{'' if whole else ' in part'}, and none fails to pull; {len(data['items'])} running ones were seen"


def unknowns(
    step: Step, evidence: Iterable[Evidence], rulebook: Rulebook, names: Mapping[str, str] | None = None
) -> tuple[UnknownRow, ...]:
    """What is not known, folded by reason, with what it costs and how to supply it."""
    grouped: dict[tuple[str, str], list[Evidence]] = {}
    for record in evidence:
        if record.outcome is not Outcome.OBSERVED:
            grouped.setdefault((record.probe, record.detail or str(record.outcome)), []).append(record)
    wanted = {
        missing.probe: missing
        for standing in step.standings
        if standing.certainty is not Certainty.OUT
        for missing in standing.missing
    }
    rows = []
    for (probe, why), records in grouped.items():
        nodes = {record.target.get("node") for record in records} - {None}
        spec = rulebook.probes.get(probe)
        where = f"{len(nodes)} nodes: " if len(nodes) > 1 else f"{next(iter(nodes))}: " if nodes else ""
        hand = records[0].by_hand or (spec.by_hand if spec else "")
        rows.append(
            UnknownRow(
                f"{where}{spec.title if spec else probe}: {why}"[:240],
                costs=f"needed for {wanted[probe].fact}" if probe in wanted else "",
                by_hand=filled_command(hand, names or {}),
                targets=tuple(sorted({str(record.target) for record in records}))[:8],
                denied=records[0].outcome is Outcome.DENIED,
            )
        )
    rows.sort(key=lambda item: (not item.costs, not item.denied, item.text))
    return tuple(rows[:12])


def walk(
    header: HeaderView,
    opened: Opened,
    rulebook: Rulebook,
    *,
    number: int,
    auto: bool,
    busy: str = "",
    price: str = "",
    done: int = 0,
    total: int = 0,
    now: float = 0.0,
    training: TrainingStrip | None = None,
    problem: str = "",
    blind: str = "",
) -> WalkView:
    """The walk as it stands."""
    assert opened.step is not None and opened.case is not None  # noqa: S101, PT018 - judged before it is shown
    return WalkView(
        header=header,
        incident=row(opened, rulebook),
        step=opened.step,
        number=number,
        evidence=opened.case.evidence,
        collected=done,
        wanted=total,
        auto=auto,
        busy=busy,
        price=price,
        unknowns=unknowns(opened.step, opened.case.evidence, rulebook, names_of(opened.case)),
        blind=blind,
        differences=differences(opened, rulebook),
        now=now,
        problem=problem,
        training=training,
        units=rulebook.units,
    )


def diagnosis(
    header: HeaderView, opened: Opened, rulebook: Rulebook, finding: str, *, can_plan: Mapping[str, str], now: float
) -> DiagnosisView:
    """One standing in full. `can_plan`: fix id → why it cannot be planned here, empty where it can."""
    assert opened.step is not None and opened.case is not None  # noqa: S101, PT018 - judged before it is shown
    step = opened.step
    everything = (*step.standings, *step.also_noticed)
    standing = next((item for item in everything if item.finding == finding), everything[0] if everything else None)
    if standing is None:
        standing = Standing(
            "none",
            Kind.RELAY,
            None,
            Certainty.POSSIBLE,
            (),
            "Nothing to say yet",
            "No symptom was seen, so no finding can be judged.",
        )
    file = rulebook.findings[standing.finding].file if standing.finding in rulebook.findings else None
    offers = tuple(
        FixOffer(
            fix,
            kind,
            rulebook.fixes[fix].title if fix in rulebook.fixes else fix,
            rulebook.fixes[fix].text if fix in rulebook.fixes else "",
            rulebook.fixes[fix].restarts if fix in rulebook.fixes else "",
            weakens=rulebook.fixes[fix].weakens if fix in rulebook.fixes else False,
            why_not=can_plan.get(fix, ""),
        )
        for kind, fix in standing.fixes
    )
    return DiagnosisView(
        header=header,
        incident=row(opened, rulebook),
        standing=standing,
        others=tuple(item for item in step.standings if item is not standing),
        missing=standing.missing,
        fixes=offers,
        also_noticed=step.also_noticed,
        why_fails=file.why if file else "",
        rests_on=rests_on(opened),
        now=now,
    )


def rests_on(opened: Opened) -> str:
    """How many backends, nodes and tries a statement rests on, and how old the newest reading is."""
    assert opened.case is not None  # noqa: S101 - judged before it is shown
    case = opened.case
    pods = {record.target.get("core-pod") for record in case.evidence if "token.kid" in record.facts} - {None}
    tries = {record.target.get("connection") for record in case.evidence if "token.kid" in record.facts} - {None}
    nodes = {record.target.get("node") for record in case.evidence if record.outcome is Outcome.OBSERVED} - {None}
    newest = max((record.taken_at for record in case.evidence if record.taken_at), default=None)
    parts = [
        f"{len(tries)} tries" if tries else "",
        f"{len(pods)} core pods" if pods else "",
        f"{len(nodes)} nodes read" if nodes else "",
    ]
    if newest and case.now:
        parts.append(f"newest reading {max(0, int(case.now - newest))} s old")
    return ", ".join(part for part in parts if part)


def pull_plan(plan: PullPlan, nodes: tuple[str, ...], runtime: str) -> PullPlanView:
    """The pull plan as the screen and `explain` show it."""
    return PullPlanView(
        image=plan.image,
        node=plan.node,
        runtime=runtime,
        nodes=nodes,
        credentials=tuple(
            CredentialRow(item.source, item.username, item.server_key, item.used, item.why)
            for item in plan.credential.candidates
        ),
        hosts=tuple(
            HostRow(
                line.host.url,
                line.host.role,
                capabilities="resolve" if line.host.resolves else "pull only",
                trust=", ".join((*line.host.ca, *(["no check (skip_verify)"] if line.host.skip_verify else [])))
                or ("none, plain HTTP" if line.host.scheme == "http" else "OS bundle"),
                rewrite="; ".join(f"{old} → {new}" for old, new in line.host.rewrite),
                why=f"{line.host.source} · {line.outcome.why} · sends {line.login}"
                + ("  ◂ answers" if plan.winner == line.order else ""),
            )
            for line in plan.hosts
        ),
        ignored=tuple(IgnoredSetting(item.where, item.what, item.why) for item in plan.ignored),
        tools=tuple(ToolDifference(item.tool, item.why) for item in plan.tools),
        unknown=(*plan.unknown, *((plan.error,) if plan.error else ())),
    )


def rules(rulebook: Rulebook, texts: Mapping[str, str], problems: Sequence[str]) -> RulesView:
    """The rules browser."""
    rows = [
        RuleRow(
            symptom.id,
            "symptom",
            symptom.title,
            "symptoms",
            "",
            texts.get(symptom.where, say(symptom.seen)),
            symptom.where,
            _origin(symptom.where),
        )
        for symptom in sorted(rulebook.symptoms.values(), key=lambda item: item.id)
    ]
    rows += [
        RuleRow(
            finding.id,
            finding.kind.value,
            finding.file.title,
            _area(finding.where),
            finding.file.layer,
            texts.get(finding.where, finding.file.summary),
            finding.where,
            _origin(finding.where),
        )
        for finding in sorted(rulebook.findings.values(), key=lambda item: (item.layer, item.id))
    ]
    return RulesView(tuple(rows), rulebook.digest, (*problems, *rulebook.notes))


def _area(where: str) -> str:
    return where.split("/")[-2] if "/" in where else ""


def _origin(where: str) -> str:
    return "shipped" if where.startswith("rules/") else "site"

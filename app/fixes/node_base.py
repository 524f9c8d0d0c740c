"""What planners of node fixes share: one node under work, its edits, and the plan made of all nodes.

A planner looks at one node at a time and asks for edits; nodes in different states get different change sets. Files that k3s
or RKE2 write themselves are never edited. Nothing here writes: the texts go into the payload of a Change.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from shlex import quote
from typing import Final

from app.fixes.base import ABSENT, Fix, FixContext, Hidden, Need, digest_text
from app.fixes.node_toml import EditError
from app.fixes.owners import change_at, named, owner_of_file
from app.model.evidence import Outcome
from app.model.fix import Change, Check, FixPlan, Owner, Wave
from app.model.masked import fingerprint, has_mask
from app.model.material import Document, Material
from app.model.target import Target
from app.parsers.redact import MASK, redact
from app.probes.base import Scene
from app.probes.runtime_files import NodeFiles, files_of
from app.probes.runtime_inputs import plan_inputs
from app.probes.runtime_setup import node_setup
from app.pullplan.containerd import hostname
from app.pullplan.inputs import NodeSetup, PlanInputs
from app.pullplan.outcome import passes
from app.pullplan.plan import plan_pull, split_image
from app.pullplan.repairs_k3s import k3s_choice
from app.pullplan.settings import Settings, effective

BATCH: Final = 4
SERVERS: Final = ("k3s", "rke2-server")
RANCHER_UNITS: Final = ("k3s", "k3s-agent", "rke2-server", "rke2-agent")
GENERATED: Final = re.compile(r"^/var/lib/rancher/[^/]+/agent/etc/containerd/(?!.*\.tmpl$)")
_STAGES: Final = ("trust", "scheme", "tls", "resolve", "connect", "proxy", "credential")


class CannotError(Exception):
    """This node cannot be changed by this fix; the text says why and what would help."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One file as it will be. `before` None: it is not there."""

    path: str
    before: str | None
    text: str = field(repr=False)
    expects: str
    title: str
    mode: str = "0644"
    check_runtime: bool = False
    owner: Owner | None = None


@dataclass
class Work:
    """One node under work."""

    context: FixContext
    node: str
    target: Target
    edits: dict[str, Edit] = field(default_factory=dict)
    trust_update: bool = False
    restart: str = ""
    """Unit to restart; empty: none."""
    checks: list[Check] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    """Commands for an operator, where we change nothing ourselves."""
    outlook: bool = True
    """Whether the pull plan can tell what the change leads to."""

    @cached_property
    def files(self) -> NodeFiles:
        return files_of(self.context.material, self.node)

    @cached_property
    def setup(self) -> NodeSetup:
        return node_setup(self.files)

    @cached_property
    def settings(self) -> Settings:
        return effective(self.setup)

    @cached_property
    def scene(self) -> Scene:
        case = self.context.case
        return Scene(case.incident, case.now, harbor=self.context.harbor, variables=case.variables)

    @cached_property
    def namespace(self) -> str:
        """host[:port] as the image names its registry: the name of the settings."""
        incident = self.context.case.incident
        found = split_image(incident.image)[0] if incident.image else incident.registry or ""
        found = found or self.target.get("registry") or ""
        if not found:
            raise CannotError("which registry it is about is not known")
        return found

    @cached_property
    def inputs(self) -> PlanInputs | None:
        return plan_inputs(self.context.material, self.scene, self.node, self.image)

    @property
    def image(self) -> str:
        return self.context.case.incident.image or f"{self.namespace}/any:latest"

    @property
    def finding(self) -> str:
        return self.context.standing.finding

    @property
    def rancher(self) -> str:
        """`k3s`, `rke2` or empty."""
        return self.files.rancher

    @cached_property
    def unit(self) -> str:
        """The unit that has to be restarted for the runtime's settings to count."""
        if self.rancher:
            found = [name for name in RANCHER_UNITS if name in self.files.units and name.startswith(self.rancher)]
            running = [name for name in found if self.files.units[name].active is not False] or found
            if len(running) != 1:
                raise CannotError(f"which unit runs {self.rancher} is not known; read the node's units first")
            return running[0]
        return {"cri-o": "crio", "docker": "docker"}.get(self.setup.runtime, "containerd")

    # --- reading ---

    def text(self, path: str) -> str | None:
        """A file as it will be after the edits so far; None where it is not there. Raises CannotError when that is unknown."""
        if path in self.edits:
            return self.edits[path].text
        document = self.files.document(path)
        if document is None:
            if self.files.absent(path) or self.files.listed(path.rpartition("/")[0]):
                return None
            raise CannotError(f"{path} was not read; read the node again")
        if document.outcome is not Outcome.OBSERVED:
            raise CannotError(
                f"{path} could not be read ({document.detail or document.outcome.value}); a plan rests on the whole file"
            )
        if document.absent:
            return None
        if has_mask(document.text):
            raise CannotError(f"{path} is only known with its secrets masked; read the node itself and plan again")
        if document.detail.startswith("cut"):
            raise CannotError(f"{path} is only known in part ({document.detail}); change it by hand")
        stat = self.files.stats.get(path)
        if stat is not None and stat.sha256 and stat.sha256 != digest_text(document.text):
            raise CannotError(
                f"{path} is not known as it is on the node (its digest differs from the text); read the node again"
            )
        return document.text

    def whole(self, path: str) -> str:
        """A file that has to be there."""
        found = self.text(path)
        if found is None:
            raise CannotError(f"{path} is not there")
        return found

    # --- asking for changes ---

    def write(
        self, path: str, text: str, title: str, *, mode: str = "0644", check_runtime: bool = False, new: bool = False
    ) -> bool:
        """Ask for a file to have this text; False where it has it already. `new`: a name of our own, which must not exist yet."""
        if GENERATED.match(path):
            raise CannotError(f"{path} is written anew by the service at each start; it is never edited")
        if has_mask(text):
            raise CannotError(f"{path} would get a masked value; give the real one again")
        try:
            before = self.text(path)
        except CannotError:
            if not new or self.files.document(path) is not None:
                raise
            before = None
        if before == text:
            return False
        earlier = self.edits.get(path)
        start = earlier.before if earlier else before
        owner = owner_of_file(start or "", path)
        self.edits[path] = Edit(
            path, start, text, earlier.expects if earlier else ABSENT if before is None else digest_text(before),
            title, mode, check_runtime or bool(earlier and earlier.check_runtime), owner,
        )  # fmt: skip
        return True

    def note(self, text: str, state: str = "ok", detail: str = "") -> None:
        self.checks.append(Check(f"{self.node}: {text}", state, detail))

    @property
    def changed(self) -> bool:
        return bool(self.edits or self.trust_update or self.restart)

    @property
    def owner(self) -> Owner | None:
        return next((edit.owner for edit in self.edits.values() if edit.owner is not None), None)

    # --- what it leads to ---

    def after(self) -> Material:
        """The material as it will be read after the change: what the process said before is left out."""
        documents = [
            Document(f"nodes/{self.node}{edit.path}", edit.text, taken_at=self.context.now)
            for edit in self.edits.values()
        ]
        if any(edit.check_runtime for edit in self.edits.values()) or self.restart:
            documents += [
                Document(f"nodes/{self.node}/{name}", outcome=Outcome.SKIPPED, detail="older than the change")
                for name in ("containerd-config-dump.toml", "crictl-info.json", "containerd.log")
                if self.files.document(name) is not None
            ]
        return self.context.material.with_documents(documents)

    def passes_after(self) -> tuple[bool | None, str]:
        """Whether the stage that failed is passed with the change, by the pull plan, and why not."""
        inputs = plan_inputs(self.after(), self.scene, self.node, self.image)
        if inputs is None or inputs.failure.stage not in _STAGES:
            return None, ""
        plan = plan_pull(inputs)
        hosts, known = plan.choice.hosts, plan.choice.known
        setup = inputs.node.k3s
        if setup is not None and setup.registries is not None:
            hosts, known = k3s_choice(setup, setup.registries, self.namespace).hosts, True
        verdict = passes(hosts, inputs.failure, inputs.views, credential_sent=plan.credential.sent) if known else None
        return verdict, plan.hosts[0].outcome.why if plan.hosts else ""

    def changes(self) -> list[Change]:
        """Files first, then the trust store, then the restart."""
        found = []
        last = next((path for path in reversed(self.edits) if self.edits[path].check_runtime), "")
        for edit in self.edits.values():
            payload: dict[str, object] = {"node": self.node, "path": edit.path, "text": edit.text, "mode": edit.mode}
            if edit.path == last:
                payload["check_runtime"] = True
            undo = (
                f"{edit.path} is removed"
                if edit.before is None
                else f"{edit.path} is put back to the byte, with mode and owner"
            )
            found.append(
                Change(
                    self.target,
                    "node-file",
                    edit.title,
                    self.diff(edit),
                    write_command(self.node, edit),
                    payload,
                    {"sha256": edit.expects},
                    undo,
                )
            )
        if self.trust_update:
            found.append(
                Change(self.target, "node-trust-update", "rebuild the system's CA bundle", command=f"ssh {self.node} 'sudo update-ca-certificates || sudo update-ca-trust extract'",
                       payload={"node": self.node}, undo="the bundle is built again without it")
            )  # fmt: skip
        if self.restart:
            found.append(
                Change(self.target, "node-restart", f"restart {self.restart}", command=f"ssh {self.node} sudo systemctl restart {self.restart}",
                       payload={"node": self.node, "unit": self.restart}, undo=f"none: a restart has no undo; after the files are put back {self.restart} has to be restarted once more")
            )  # fmt: skip
        return found

    def diff(self, edit: Edit) -> str:
        """Unified diff; secrets as keyed fingerprints, so that a changed one shows."""
        old, new = (shown(text or "", self.context.key).splitlines() for text in (edit.before, edit.text))
        source = "/dev/null" if edit.before is None else f"{self.node}:{edit.path}"
        return "\n".join(difflib.unified_diff(old, new, source, f"{self.node}:{edit.path} (after)", lineterm=""))


def shown(text: str, key: bytes) -> str:
    """A file's text with each secret as a mask and a keyed fingerprint."""
    lines = []
    for real, masked in zip(text.splitlines(), redact(text).splitlines(), strict=False):
        lines.append(masked.replace(MASK, f"{MASK} ~{fingerprint(key, real)}", 1) if MASK in masked and key else masked)
    redacted = redact(text).splitlines()
    return "\n".join(lines if len(redacted) == len(text.splitlines()) else redacted)


def write_command(node: str, edit: Edit) -> str:
    """How an operator would write the same file."""
    keep = "" if edit.before is None else f"sudo cp -p {quote(edit.path)} {quote(edit.path + '.bak')} && "
    folder = quote(edit.path.rpartition("/")[0])
    body = redact(edit.text).rstrip("\n")
    return f"ssh {node} \"{keep}sudo mkdir -p {folder} && sudo tee {quote(edit.path)} >/dev/null && sudo chmod {edit.mode} {quote(edit.path)}\" <<'END'\n{body}\nEND"


# --- which nodes ----------------------------------------------------------------------------------------------------


def node_targets(context: FixContext) -> dict[str, Target]:
    """Nodes that the finding accuses (those of the incident where it names none), each with its target."""
    chosen = context.text_input("target")
    targets = [Target.parse(chosen)] if chosen else context.standing.targets
    found: dict[str, Target] = {}
    for target in targets:
        node = target.get("node")
        if node:
            found.setdefault(node, target)
    if not found:
        incident = context.case.incident
        for node in incident.nodes or tuple(context.material.nodes()):
            if node not in incident.healthy_nodes or node in incident.nodes:
                found[node] = Target.of(node=node, registry=incident.registry)
    return found


def known_nodes(context: FixContext) -> list[Work]:
    """Works of the nodes of which files are known, for questions that `needs` asks."""
    here = set(context.material.nodes())
    return [Work(context, node, target) for node, target in node_targets(context).items() if node in here]


# --- the plan -------------------------------------------------------------------------------------------------------


def waves_of(works: Sequence[Work]) -> tuple[Wave, ...]:
    """One canary, then batches; servers of a k3s or RKE2 quorum one at a time, after the agents."""
    servers = [work for work in works if work.restart in SERVERS]
    rest = [work for work in works if work not in servers]
    found = []
    if rest:
        found.append(Wave("canary" if len(works) > 1 else "all", (rest[0].target,)))
        found += [
            Wave(f"batch {start // BATCH + 1}", tuple(work.target for work in rest[1:][start : start + BATCH]))
            for start in range(0, len(rest) - 1, BATCH)
        ]
    found += [Wave(f"server {number}", (work.target,)) for number, work in enumerate(servers, 1)]
    return tuple(found)


def plan_nodes(
    context: FixContext,
    per_node: Callable[[Work], None],
    *,
    verify: str = "the probe that spoke for the finding is read again on the node; then the waiting pods have to pull (Pulled)",
    confirm: bool = True,
) -> FixPlan:
    """Run one planner over all nodes. A node that cannot be changed is left out and said so; when none is left the plan is blocked."""
    works: list[Work] = []
    refused: list[tuple[str, str]] = []
    checks: list[Check] = []
    by_hand: list[str] = []
    for node, target in node_targets(context).items():
        work = Work(context, node, target)
        try:
            if node not in context.material.nodes():
                raise CannotError("nothing of it was read; reach it over SSH and plan again")
            per_node(work)
        except (CannotError, EditError) as error:
            refused.append((node, str(error)))
            continue
        checks += work.checks
        by_hand += work.by_hand
        if work.changed:
            works.append(work)
            checks += prechecks(work)
        elif not work.by_hand:
            checks.append(Check(f"{node}: nothing to change", "ok", "its files already say what this fix would write"))
    kept, given, owner = _by_owner(context, works)
    for node, why in refused:
        checks.append(Check(f"{node}: {why}", "warn" if kept else "fail", "left out" if kept else ""))
    if not works and not refused and not checks and not by_hand:
        checks.append(Check("no node is known that this fix could change", "fail"))
    changes = tuple(change for work in kept for change in work.changes())
    return _frozen(context, kept, changes, checks, owner, "\n\n".join([*given, *by_hand]), verify, confirm=confirm)


def _by_owner(context: FixContext, works: Sequence[Work]) -> tuple[list[Work], list[str], Owner | None]:
    """Works that we may apply, hand-off texts for the others, and the first owner."""
    first_aid = _class_of(context) == "first_aid" or context.text_input("direct").lower() in ("yes", "true", "1")
    kept, texts, owner = [], [], None
    for work in works:
        mine = work.owner
        if mine is None:
            kept.append(work)
            continue
        owner = owner or mine
        if first_aid:
            kept.append(work)
        diffs = "\n\n".join(work.diff(edit) for edit in work.edits.values())
        texts.append(
            f"{work.node}: {named(mine)} manages a file of this change ({mine.where}); a change by hand would be undone.\n\n{diffs}\n\n{change_at(mine)}"
        )
    return kept, texts, owner


def _class_of(context: FixContext) -> str:
    return next((kind for kind, fix in context.standing.fixes if fix == context.fix), "cure")


def _frozen(
    context: FixContext, works: Sequence[Work], changes: tuple[Change, ...], checks: Sequence[Check], owner: Owner | None,
    hand_off: str, verify: str, *, confirm: bool,
) -> FixPlan:  # fmt: skip
    spec = context.specs.get(context.fix)
    units = tuple(dict.fromkeys(work.restart for work in works if work.restart))
    restarts = f"{', '.join(units)} on {', '.join(work.node for work in works if work.restart)}" if units else ""
    kind = _class_of(context)
    if hand_off and not changes:
        kind = "hand_off" if owner is not None or kind == "cure" else kind
    elif owner is not None and any(work.owner for work in works):
        kind = "first_aid"
    risk = spec.risk if spec else ""
    if kind == "first_aid" and owner is not None:
        risk = f"{risk} {named(owner)} manages it and may put the old state back.".strip()
    undo = "; ".join(dict.fromkeys(change.undo for change in changes if change.undo))
    targets = tuple(work.target for work in works)
    return FixPlan(
        context.plan_id, context.fix, context.standing.finding, spec.title if spec else context.fix, kind, risk, restarts, undo,
        targets, changes, waves_of(works) if changes else (), tuple(checks), verify, owner, hand_off, bool(spec and spec.weakens),
        context.context if changes and restarts and confirm and len(works) > 1 else "", context.context, context.now,
    )  # fmt: skip


# --- checks ---------------------------------------------------------------------------------------------------------


def prechecks(work: Work) -> list[Check]:
    """Rights, what the restart would meet, and what the pull plan says of the outcome."""
    found = []
    sudo = work.files.text("sudo.txt")
    document = work.files.document("sudo.txt")
    if sudo is not None:
        may = bool(re.search(r"\(\s*(ALL|root)", sudo)) or "uid=0" in sudo
        found.append(Check(f"{work.node}: may write as root", "ok" if may else "unknown", "sudo -n -l"))
    elif document is not None and document.outcome is Outcome.DENIED:
        found.append(Check(f"{work.node}: may write as root", "unknown", document.detail))
    if work.restart:
        found += _restart_checks(work)
    if not work.outlook:
        return found
    verdict, why = work.passes_after()
    if verdict:
        found.append(Check(f"{work.node}: with the change the pull plan gets past what failed", "ok"))
    elif verdict is False:
        found.append(Check(f"{work.node}: by the pull plan the pull would still fail with the change", "warn", why))
    else:
        found.append(Check(f"{work.node}: whether the pull then succeeds cannot be told beforehand", "unknown"))
    return found


def _restart_checks(work: Work) -> Iterable[Check]:
    main = work.setup.main
    touched = any(edit.check_runtime for edit in work.edits.values())
    if touched:
        yield Check(
            f"{work.node}: containerd config dump has to accept the new file before the restart",
            "ok",
            "asked when it is applied",
        )
    elif main is not None and main.error and not work.rancher:
        yield Check(f"{work.node}: {main.path} is broken, containerd would not start: {main.error}", "fail")
    if work.restart in SERVERS:
        yield Check(
            f"{work.node}: a server of the cluster; its API and etcd member are away for a moment",
            "warn",
            "one server at a time",
        )


def node_fix(
    fix: str,
    per_node: Callable[[Work], None],
    needs: Callable[[FixContext], tuple[Need, ...]] = lambda context: (),
) -> Fix:
    """A fix whose plan looks at each node by itself."""

    def plan(context: FixContext) -> FixPlan:
        return plan_nodes(context, per_node)

    return Fix(fix, plan, needs)


def ask(*wanted: Need) -> Callable[[FixContext], tuple[Need, ...]]:
    """`needs` of a fix that wants plain inputs."""

    def needs(context: FixContext) -> tuple[Need, ...]:
        return tuple(need for need in wanted if not given(context, need.key))

    return needs


def given(context: FixContext, key: str) -> str:
    """An input in clear, secret or not; empty where it was not given."""
    value = context.inputs.get(key, "")
    return value.reveal() if isinstance(value, Hidden) else value


def leads_here(authority: str, namespace: str) -> bool:
    """Whether an authority is the image's own host."""
    return hostname(authority).lower() == hostname(namespace).lower()

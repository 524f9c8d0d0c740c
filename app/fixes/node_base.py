"""What planners of node fixes share: one node under work, its edits, and the plan made of all nodes.

A planner looks at one node at a time and asks for edits; nodes in different states get different change sets. Files that k3s
or RKE2 write themselves are never edited. Nothing here writes: the texts go into the payload of a Change.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from shlex import quote
from typing import Final

from app.fixes.base import ABSENT, FixContext, Hidden, Need, digest_text
from app.fixes.owners import owner_of_file
from app.model.evidence import Outcome
from app.model.fix import Change, Check, Owner
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
                       payload={"node": self.node, "unit": self.restart}, undo=f"a restart has no undo of its own; where files are put back {self.restart} is restarted once more")
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

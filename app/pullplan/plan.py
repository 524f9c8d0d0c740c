"""The pull plan: for one image and one node, what the kubelet and the runtime would do, in order, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from app.parsers.dockerconfig import normalise_repository
from app.pullplan.containerd import Choice, Host, Ignored, choose
from app.pullplan.inputs import NodeSetup, PlanInputs
from app.pullplan.kubelet import CredentialChoice, choose_credential
from app.pullplan.outcome import Outcome, at_host
from app.pullplan.settings import Settings, effective


@dataclass(frozen=True, slots=True)
class HostLine:
    """One host of the plan, as it is shown."""

    order: int
    host: Host
    request: str
    """The first request: `HEAD https://…/manifests/<tag>`."""
    outcome: Outcome
    login: str
    """What is sent: `pull secret`, `node login`, `nothing`, `not known`."""


@dataclass(frozen=True, slots=True)
class ToolDifference:
    """Why another tool on the same node may fare differently."""

    tool: str
    why: str


@dataclass(frozen=True, slots=True)
class PullPlan:
    """Winner and losers. `winner` is the first host that would answer, None where none does or it is not known."""

    image: str
    namespace: str
    repository: str
    reference: str
    node: str
    credential: CredentialChoice
    hosts: tuple[HostLine, ...]
    ignored: tuple[Ignored, ...]
    settings: Settings
    choice: Choice
    error: str = ""
    winner: int | None = None
    tools: tuple[ToolDifference, ...] = ()
    unknown: tuple[str, ...] = ()
    """What was not read, and so may change the plan."""


def split_image(image: str) -> tuple[str, str, str]:
    """`host/repo:tag` → (namespace, repository, tag or digest); Docker Hub is `docker.io`."""
    name, _, digest = image.partition("@")
    host, _, repository = normalise_repository(name).partition("/")
    last = name.rpartition("/")[2]
    tag = last.rpartition(":")[2] if ":" in last else "latest"
    return host, repository, digest or tag


def plan_pull(inputs: PlanInputs) -> PullPlan:
    """Pure: equal inputs give an equal plan."""
    namespace, repository, reference = split_image(inputs.image)
    settings = effective(inputs.node)
    choice = choose(inputs.node, settings, namespace)
    credential = choose_credential(inputs)
    lines = tuple(
        _line(index, host, repository, reference, namespace, inputs, credential)
        for index, host in enumerate(choice.hosts, 1)
    )
    winner = None
    for line in lines:
        if line.outcome.ok is None:
            break
        if line.outcome.ok and line.host.resolves:
            winner = line.order
            break
    if choice.error or credential.error:
        winner = None
    return PullPlan(
        inputs.image, namespace, repository, reference, inputs.node.name, credential, lines, (*_ignored(inputs.node, settings), *choice.ignored),
        settings, choice, choice.error or credential.error, winner, _tools(inputs, settings, choice), _unknown(inputs, settings, choice),
    )  # fmt: skip


def _line(
    order: int,
    host: Host,
    repository: str,
    reference: str,
    namespace: str,
    inputs: PlanInputs,
    credential: CredentialChoice,
) -> HostLine:
    path = rewritten(host, repository)
    query = (
        ""
        if host.authority == namespace or (namespace == "docker.io" and host.authority == "registry-1.docker.io")
        else f"?ns={namespace}"
    )
    request = f"HEAD {host.url}/{path}/manifests/{reference}{query}"
    outcome = at_host(host, inputs.views)
    if not host.resolves and outcome.ok is not False:
        outcome = Outcome(False, "lacks the capabilities pull and resolve")
    login = (
        "pull secret"
        if credential.sent
        else "node login"
        if host.node_login
        else "not known"
        if credential.sent is None
        else "nothing"
    )
    return HostLine(order, host, request, outcome, login)


def rewritten(host: Host, repository: str) -> str:
    """The repository as it is asked for, after k3s's rewrites (first pattern that fits)."""
    for pattern, replacement in host.rewrite:
        try:
            if re.search(pattern, repository):
                return re.sub(pattern, re.sub(r"\$\{?(\d+)\}?", r"\\\1", replacement), repository)
        except re.error:
            continue
    return repository


def rewrite_applies(host: Host, repository: str) -> bool | None:
    """Whether one of a host's rewrites fits; None where it has none."""
    if not host.rewrite:
        return None
    return any(_fits(pattern, repository) for pattern, _ in host.rewrite)


def _fits(pattern: str, repository: str) -> bool:
    try:
        return re.search(pattern, repository) is not None
    except re.error:
        return False


def _ignored(node: NodeSetup, settings: Settings) -> tuple[Ignored, ...]:
    found = []
    if settings.why:
        found.append(Ignored("registry section", settings.section_source, settings.why))
    for key in settings.keys_lost:
        if key != "registry":
            found.append(Ignored(key, settings.section_source, "containerd knows no such key at this place"))
    if settings.path_kind == "colon-list" and settings.certs_d_read is False:
        found.append(
            Ignored(
                "config_path", settings.section_source, "the transfer service takes the list for one directory name"
            )
        )
    if settings.certs_d_read is False and any(tree.dirs for tree in node.certs):
        found.append(
            Ignored(
                "certs.d", ", ".join(tree.root for tree in node.certs if tree.dirs), "config_path does not lead there"
            )
        )
    if node.newer_than_process:
        found.append(
            Ignored(
                "changed files",
                settings.section_source,
                "newer than the running process: not in force before a restart",
            )
        )
    if node.k3s is not None and node.k3s.newer_than_process:
        found.append(
            Ignored("registries.yaml", node.k3s.path, "newer than the running service: not in force before a restart")
        )
    for item in node.stray:
        found.append(Ignored("file", item.path, "the running containerd does not read this file"))
    return tuple(found)


def _tools(inputs: PlanInputs, settings: Settings, choice: Choice) -> tuple[ToolDifference, ...]:
    custom = any(host.source != "default" for host in choice.hosts)
    logins = any(auth.has_login for auth in settings.registry.auths)
    ctr = "ignores the CRI registry settings: no certs.d without --hosts-dir, no login without --user, namespace k8s.io only with -n"
    if not custom and not logins:
        ctr += "; this node has no such settings for the image, so it should fare alike"
    nerdctl = "reads /etc/containerd/certs.d whatever config_path says, and the docker login of its user"
    docker = "reads /etc/docker/certs.d and daemon.json, never containerd's settings, and the docker login of its user"
    crictl = "takes the kubelet's way through the CRI, but sends no pull secret without --creds"
    if inputs.secrets:
        crictl += "; this pod has pull secrets, so a refusal by crictl alone proves nothing"
    return (
        ToolDifference("crictl", crictl),
        ToolDifference("ctr", ctr),
        ToolDifference("nerdctl", nerdctl),
        ToolDifference("docker", docker),
    )


def _unknown(inputs: PlanInputs, settings: Settings, choice: Choice) -> tuple[str, ...]:
    found = []
    if inputs.secrets is None:
        found.append("the pod's pull secrets")
    if settings.certs_d_read is None:
        found.append("containerd's config.toml or its release")
    if not choice.known:
        found.append("the directories below config_path")
    if inputs.node.newer_than_process is None:
        found.append("whether the files are newer than the process")
    return tuple(found)


def ctr_plan(inputs: PlanInputs) -> PullPlan:
    """The same pull by `ctr` without options: no settings, no login."""
    bare = NodeSetup(name=inputs.node.name, version=inputs.node.version, absent_main=True)
    return plan_pull(replace(inputs, node=bare, secrets=(), node_logins=(), plugin_images=()))

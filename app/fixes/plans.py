"""What the planners of Kubernetes objects share: paths, pods of a standing, their makers, and the plan itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote as shell
from typing import Any, Final
from urllib.parse import quote

from app.errors import RefusedError
from app.fixes.base import WORKLOAD, FixContext, Right
from app.fixes.owners import change_at, named, owner_of_object
from app.model.fix import Change, Check, FixPlan, Owner, Wave
from app.model.target import Target
from app.parsers.kube_objects import objects_of, pull_secret_names

BATCH: Final = 5
"""Targets of a wave after the canary."""
PULL_REASONS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "ImageInspectError",
     "SignatureValidationFailed"}
)  # fmt: skip
_PLURALS: Final = {
    "ReplicaSet": ("/apis/apps/v1", "replicasets", "apps"),
    "Deployment": ("/apis/apps/v1", "deployments", "apps"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets", "apps"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets", "apps"),
    "Job": ("/apis/batch/v1", "jobs", "batch"),
    "CronJob": ("/apis/batch/v1", "cronjobs", "batch"),
}
TEMPLATES: Final = {
    "Deployment": "/spec/template",
    "StatefulSet": "/spec/template",
    "DaemonSet": "/spec/template",
    "CronJob": "/spec/jobTemplate/spec/template",
}
"""Where the pod template of an object stands; that of a Job or of a bare ReplicaSet's pods is no use to change."""


def secret_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{_q(namespace)}/secrets/{_q(name)}"


def secrets_of(namespace: str) -> str:
    return f"/api/v1/namespaces/{_q(namespace)}/secrets"


def account_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{_q(namespace)}/serviceaccounts/{_q(name)}"


def pod_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{_q(namespace)}/pods/{_q(name)}"


def kind_path(kind: str, namespace: str, name: str) -> str:
    """Path of an object that makes pods; KeyError for another kind."""
    base, plural, _ = _PLURALS[kind]
    return f"{base}/namespaces/{_q(namespace)}/{plural}/{_q(name)}"


def _q(word: str) -> str:
    return quote(word, safe="")


@dataclass(frozen=True, slots=True)
class Pod:
    """One affected pod, as it is now; `item` is None when it has gone (then its name still says the namespace)."""

    namespace: str
    name: str
    item: Mapping[str, Any] | None

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def spec(self) -> Mapping[str, Any]:
        return (self.item or {}).get("spec") or {}

    @property
    def account(self) -> str:
        return str(self.spec.get("serviceAccountName") or "default")

    @property
    def listed(self) -> tuple[str, ...]:
        return pull_secret_names(self.spec.get("imagePullSecrets"))


def pod_ids(context: FixContext) -> tuple[str, ...]:
    """`namespace/name` of the pods that the standing accuses; those of the incident where it names none."""
    chosen = context.text_input("target")
    named_pods = [
        target.get("workload")
        for target in ([Target.parse(chosen)] if chosen else context.standing.targets)
        if target.get("workload")
    ]
    known = set(context.case.incident.pods)
    found = [name for name in named_pods if name and (not known or name in known or chosen)]
    nodes = {target.get("node") for target in context.standing.targets if target.get("node")}
    if not found and nodes and not named_pods:
        return tuple(name for name in context.case.incident.pods if _node_of(context, name) in nodes)
    return tuple(dict.fromkeys(found or context.case.incident.pods))


def _node_of(context: FixContext, pod: str) -> str | None:
    namespace, _, name = pod.partition("/")
    item = objects_of(context.material).get("Pod", namespace, name) or {}
    return str((item.get("spec") or {}).get("nodeName") or "") or None


def pods_of(context: FixContext) -> list[Pod]:
    """The affected pods, read afresh. Raises RefusedError where the finding is about no pod."""
    found = []
    for name in pod_ids(context):
        namespace, _, short = name.partition("/")
        if not short:
            continue
        found.append(Pod(namespace, short, context.get(pod_path(namespace, short))))
    there = [pod for pod in found if pod.item is not None]
    if not there:
        raise RefusedError(
            "no pod of this finding is there any more, so it is not known what to change",
            "Run the diagnosis again: pods that were made since then have other names.",
        )
    return there


def image_of(context: FixContext) -> str:
    """The image that fails. Raises RefusedError where none is known."""
    image = context.case.incident.image or context.text_input("image")
    if not image and context.case.incident.registry:
        image = f"{context.case.incident.registry}/any"
    if not image:
        raise RefusedError("it is not known which image fails", "Name it with --input image=…")
    return image


def server_of(context: FixContext) -> str:
    """Server key for the failing image's registry, as it has to stand in a pull secret."""
    host = context.case.incident.registry or image_of(context).partition("/")[0]
    # The kubelet serves Docker Hub's names by this key alone (harbor-and-kubernetes.md F.1).
    return "https://index.docker.io/v1/" if host in ("docker.io", "index.docker.io") else host


@dataclass(frozen=True, slots=True)
class Maker:
    """What makes a pod, as high up as Kubernetes itself goes (a Deployment, not its ReplicaSet)."""

    kind: str
    namespace: str
    name: str
    item: Mapping[str, Any]

    @property
    def path(self) -> str:
        return kind_path(self.kind, self.namespace, self.name)

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def target(self) -> Target:
        return Target.of(workload=self.id)

    @property
    def pointer(self) -> str:
        """Where its pod template stands; empty where that cannot be changed."""
        return TEMPLATES.get(self.kind, "")

    @property
    def plural(self) -> str:
        return _PLURALS[self.kind][1]

    @property
    def group(self) -> str:
        return _PLURALS[self.kind][2]


def maker_of(context: FixContext, pod: Pod) -> Maker | None:
    """The controller chain of a pod, read afresh; None for a bare pod, a static pod or an unknown controller."""
    current = pod.item or {}
    found: Maker | None = None
    for _ in range(4):
        reference = controller_of(current)
        if reference is None or str(reference.get("kind")) not in _PLURALS:
            break
        kind, name = str(reference["kind"]), str(reference.get("name") or "")
        item = context.get(kind_path(kind, pod.namespace, name))
        if item is None:
            break
        found = Maker(kind, pod.namespace, name, item)
        current = item
    return found


def makers_of(context: FixContext, pods: Sequence[Pod]) -> tuple[dict[str, tuple[Maker, list[Pod]]], list[Pod]]:
    """Makers by path with their pods, and the pods that come from no template which can be changed."""
    found: dict[str, tuple[Maker, list[Pod]]] = {}
    bare = []
    for pod in pods:
        maker = maker_of(context, pod)
        if maker is None or not maker.pointer:
            bare.append(pod)
        else:
            found.setdefault(maker.path, (maker, []))[1].append(pod)
    return found, bare


def controller_of(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The reference that controls an object."""
    references = [one for one in (item.get("metadata") or {}).get("ownerReferences") or () if isinstance(one, Mapping)]
    return next((one for one in references if one.get("controller")), references[0] if references else None)


def right_check(context: FixContext, *rights: Right) -> tuple[Check, ...]:
    """A precheck for each right: a missing one stops the plan, one that nobody can tell does not."""
    found = []
    for right in dict.fromkeys(rights):
        answer = context.may(right)
        state = {True: "ok", False: "fail", None: "unknown"}[answer]
        found.append(Check(f"may {right}", state, "" if answer else "asked by an access review"))
    return tuple(found)


def secret_rights(namespace: str, *verbs: str, cluster: str = WORKLOAD) -> tuple[Right, ...]:
    return tuple(Right(verb, "secrets", namespace, cluster=cluster) for verb in verbs)


def owner_text(owner: Owner, what: str, change: str) -> str:
    """A hand-off: who owns it, the change, where to make it."""
    return f"{what} is managed by {named(owner)} ({owner.where}); a change made by hand would be undone.\n\n{change.rstrip()}\n\n{change_at(owner)}\n"


def owner_among(items: Iterable[Mapping[str, Any]]) -> Owner | None:
    """The first owner of some objects."""
    return next((owner for owner in map(owner_of_object, items) if owner is not None), None)


def direct(context: FixContext) -> bool:
    """The operator wants the change made by hand although somebody owns the object: first aid, until the owner reverts it."""
    return context.text_input("direct").lower() in ("yes", "true", "1")


def class_of(context: FixContext) -> str:
    """Class in which the finding offers this fix."""
    return next((kind for kind, fix in context.standing.fixes if fix == context.fix), "cure")


def make_plan(
    context: FixContext,
    *,
    changes: Sequence[Change] = (),
    targets: Sequence[Target] = (),
    checks: Sequence[Check] = (),
    owner: Owner | None = None,
    hand_off: str = "",
    confirm_name: str = "",
    undo: str = "",
    verify: str = "",
    risk: str = "",
    fix_class: str = "",
) -> FixPlan:
    """A frozen plan. With an owner the changes are dropped for the hand-off, unless it is first aid or was asked for."""
    spec = context.specs.get(context.fix)
    kind = fix_class or class_of(context)
    said = [risk or (spec.risk if spec else "")]
    if owner is not None and changes:
        if kind == "first_aid" or direct(context):
            kind = "first_aid"
            said.append(f"{named(owner)} manages it and may put the old state back.")
        else:
            changes, kind = (), "hand_off"
    places = tuple(dict.fromkeys(change.target for change in changes)) or tuple(dict.fromkeys(targets))
    waves: list[Wave] = []
    if changes:
        waves = [Wave("canary" if len(places) > 1 else "all", places[:1])]
        rest = places[1:]
        waves += [
            Wave(f"batch {number // BATCH + 1}", rest[number : number + BATCH]) for number in range(0, len(rest), BATCH)
        ]
    restarts = spec.restarts if spec else ""
    return FixPlan(
        context.plan_id,
        context.fix,
        context.standing.finding,
        spec.title if spec else context.fix,
        kind,
        " ".join(word for word in said if word),
        restarts,
        undo or ("; ".join(dict.fromkeys(change.undo for change in changes if change.undo))),
        places,
        tuple(changes),
        tuple(waves),
        tuple(checks) if changes else tuple(check for check in checks if check.state != "fail"),
        verify or "the evidence that spoke for the finding is read again; then the affected pods have to start",
        owner,
        hand_off,
        bool(spec and spec.weakens),
        confirm_name if changes else "",
        context.context,
        context.now,
    )


def kubectl_patch(resource: str, namespace: str, patch: Any) -> str:
    """The same change as an operator would type it."""
    return f"kubectl patch {resource} -n {namespace} --type=json -p {shell(json.dumps(patch))}"


def waiting_reason(pod: Mapping[str, Any]) -> str:
    """The first reason for which a container waits for its image; empty when none does."""
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(key) or ():
            reason = str(((container.get("state") or {}).get("waiting") or {}).get("reason") or "")
            if reason in PULL_REASONS:
                return reason
    return ""

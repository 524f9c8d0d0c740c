"""Verification in two steps: the evidence that had spoken for the finding, read afresh, then the event that the user waits for."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

from app.engine.advance import advance
from app.fixes.plans import PULL_REASONS, controller_of
from app.model.case import Incident
from app.model.evidence import Evidence, Outcome
from app.model.fix import FixPlan, Verified
from app.model.material import Material
from app.model.standing import Certainty, Standing
from app.model.target import Target
from app.parsers.dockerconfig import normalise_repository
from app.parsers.kube_objects import objects_of
from app.ports import KubeApi
from app.probes.registry_push import upload_accepted
from app.rulebook.book import Rulebook
from app.runner.assemble import Ask
from app.runner.collect import World
from app.runner.investigation import Investigation, Opened
from app.runner.scan import Selection
from app.runner.verify_scope import accused_at, node_of, only_at, pods_at

WAIT: Final = 300.0
"""Seconds for the event: the kubelet's back-off is five minutes at most."""
EVERY: Final = 2.0
_OWN_LABELS: Final = frozenset(
    {"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
     "pod-template-generation", "controller-uid", "batch.kubernetes.io/controller-uid"}
)  # fmt: skip
"""Labels that tell one pod or revision from another, so a pod made anew has others."""

Retry = Callable[[tuple[str, ...]], Awaitable[str]]
"""Deletes these pods, all of them owned, through the gateway; what came of it, in words."""


@dataclass(slots=True)
class Verifier:
    """Asks the world again whether a finding still stands, then waits for its pods. Writes nothing itself.

    For use as the gateway's `verify`. `retry` deletes owned pods that wait for their back-off, through the gateway.
    """

    rulebook: Rulebook
    world: World
    standing: Standing
    incident: Incident
    settle: Callable[[float], Awaitable[None]]
    material: Material = field(default_factory=Material)
    """What was known before: the labels of pods that are gone since."""
    harbor_namespace: str = ""
    selection: Selection = field(default_factory=Selection)
    try_credentials: bool = False
    push: bool = False
    try_upload: bool = False
    """Consent: a push is verified by an upload that is started and cancelled."""
    push_account: str = ""
    account: str = ""
    """Who was refused: with the pods started nothing says it any more, and it is asked about all the same."""
    accepted: bool | None = None
    """Whether that upload was accepted."""
    retry: Retry | None = None
    wait: float = WAIT
    seconds: float = 60.0
    """For one fresh collection."""
    say: Callable[[str], None] = lambda text: None

    async def __call__(self, plan: FixPlan, target: Target) -> Verified:
        """Whether what had failed works now at this target."""
        self.say("reading again what had spoken for the finding")
        gone, seen = await self.probe(plan, target)
        pods, anew = pods_at(plan, target, self.incident, self.material)
        if not pods:
            return self._pushed(gone, seen)
        event, told = await self.event(pods, anew=anew, node=target.get("node") or "")
        if event and not gone:
            # An event of before may have spoken for it; with the pods started the reading is made once more.
            gone, seen = await self.probe(plan, target, pulled=True)
        works = gone and event is not False
        return Verified(works, "; ".join(word for word in (told, seen) if word), probe=gone, event=event)

    def _pushed(self, gone: bool, seen: str) -> Verified:
        """No pod waits. For a push the event is the upload that was started, where there was consent for it."""
        if self.accepted is None:
            return Verified(gone, seen, probe=gone, event=None)
        told = (
            "the registry accepts the start of an upload"
            if self.accepted
            else "the registry refuses the start of an upload"
        )
        return Verified(gone and self.accepted, f"{told}; {seen}", probe=gone, event=self.accepted)

    # --- the evidence ---

    async def probe(self, plan: FixPlan, target: Target, *, pulled: bool = False) -> tuple[bool, str]:
        """(the finding stands no more at this target, what was seen). Nothing of the earlier collection is used.

        Of a target on a node only that node is read and judged: the others are not changed yet. `pulled`: the pods have
        pulled by now, which a credential that was refused once, and is never tried again, cannot show.
        """
        node = target.get("node") or ""
        investigation = Investigation(
            self.rulebook,
            self.world,
            harbor_namespace=self.harbor_namespace,
            selection=self.selection,
            try_credentials=self.try_credentials,
            try_upload=self.try_upload and self.push,
            push_account=self.push_account if self.push else "",
        )
        await investigation.scan()
        ask = Ask(push=self.incident.image, image=self.incident.image) if self.push else Ask()
        opened = [item for item in investigation.fold(ask) if self._same(item)]
        if not self.push:
            opened = [item for item in opened if not item.scene.incident.succeeded]
        if not opened and not self.push and node and self.incident.image:
            # That its pods run already is no reason not to look at the node itself.
            opened = investigation.fold(Ask(image=self.incident.image))
        if not self.standing.finding:
            return True, ""
        if not opened:
            return True, "no pod waits for this image any more"
        if node and not self.push:
            narrowed = [(item, only_at(item.scene.incident, node, item.material)) for item in opened]
            opened = []
            for item, incident in narrowed:
                if incident is not None:
                    item.scene = replace(item.scene, incident=incident)
                    opened.append(item)
            if not opened:
                return True, f"no pod waits for this image on {node} any more"
        accused = accused_at(plan, target, self.standing, self.material)
        for item in opened:
            if self.account:
                item.scene = replace(item.scene, variables={"account": self.account, **item.scene.variables})
            await investigation.collect(item, seconds=self.seconds)
            case = investigation.judged(item).case
            if self.push:
                self.accepted = upload_accepted(item.material, item.scene)
            step = advance(self.rulebook, case, interactive=False)
            # Without the pasted text a finding may explain nothing seen any more; it then stands among what was noticed.
            left = self._left((*step.standings, *step.also_noticed), accused)
            if left is not None:
                because = next((ground.text for ground in left.grounds if ground.value == "true"), "")
                return False, f"{left.finding} is still {left.certainty.value}{f': {because}' if because else ''}"
            unread = self._unread([record for record in case.evidence if record.target.agrees(target.only("node"))])
            if pulled and self.try_credentials:
                unread = [probe for probe in unread if probe != "token.login"]
            if unread:
                return (
                    False,
                    f"what had spoken for {self.standing.finding} could not be read again: {', '.join(unread)}",
                )
        return True, f"{self.standing.finding} stands no more"

    def _same(self, opened: Opened) -> bool:
        mine, other = self.incident, opened.scene.incident
        if mine.image and other.image:
            return normalise_repository(mine.image) == normalise_repository(other.image)
        return mine.registry == other.registry

    def _unread(self, evidence: Sequence[Evidence]) -> list[str]:
        """Probes that had proved the finding and gave nothing this time: unknown is never a good end."""
        needed = {
            ground.evidence.probe
            for ground in self.standing.grounds
            if ground.value == "true"
            and ground.evidence is not None
            and ground.role.startswith(("proof", "likely"))
            and ground.evidence.target.get("text") is None
            and not ground.evidence.probe.startswith(("text", "pattern"))
        }
        return sorted(needed - {record.probe for record in evidence if record.outcome is Outcome.OBSERVED})

    def _left(self, standings: Sequence[Standing], accused: Sequence[Target]) -> Standing | None:
        for standing in standings:
            if standing.finding != self.standing.finding or standing.certainty not in (
                Certainty.PROVEN,
                Certainty.LIKELY,
            ):
                continue
            if not standing.targets or not accused:
                return standing
            if any(one.agrees(other) for one in standing.targets for other in accused):
                return standing
        return None

    # --- the event ---

    async def event(self, pods: Sequence[str], *, anew: bool, node: str = "") -> tuple[bool | None, str]:
        """(pods have their image and started, what was seen); None where no pod can show it by itself.

        With a `node` only what runs there counts: a pod made in the place of a deleted one may run on another node.
        """
        kube = self.world.kube.get("workload")
        if kube is None:
            return None, "no kube API to see the pods with"
        waiting, there = await self._waiting(kube, pods, node)
        if not waiting:
            return _come(pods, there, node)
        owned = tuple(pod for pod in waiting if self._is_owned(pod))
        said = ""
        if self.retry is not None and owned:
            said = await self.retry(owned)
            self.say(said)
        elif anew and not await self._replaced(kube, waiting):
            return None, f"{_many(waiting)} were made before the change and keep what they had; made anew they show it"
        self.say(f"waiting for {_many(waiting)} to start, at most {self.wait:.0f} s")
        left = self.wait
        while left > 0:
            await self.settle(EVERY)
            left -= EVERY
            waiting, there = await self._waiting(kube, pods, node)
            if not waiting:
                return _come(pods, there, node)
        return False, f"after {self.wait:.0f} s {_many(waiting)} still cannot pull"

    async def _waiting(self, kube: KubeApi, pods: Sequence[str], node: str) -> tuple[list[str], list[str]]:
        """(pods that have not pulled their image, nor has what was made in their place; pods that did so on the node)."""
        waiting: list[str] = []
        there: list[str] = []
        for pod in pods:
            namespace, _, name = pod.partition("/")
            item = await _get(kube, f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}")
            if item is not None and not (item.get("metadata") or {}).get("deletionTimestamp"):
                (there if pulled(item) else waiting).append(pod)
                continue
            successors = await self._successors(kube, pod)
            here = [one for one in successors if not node or node_of(one) in ("", node)]
            if successors and not here:
                continue
            (there if here and all(pulled(one) for one in here) else waiting).append(pod)
        return waiting, there

    async def _successors(self, kube: KubeApi, pod: str) -> list[dict[str, Any]]:
        namespace, _, name = pod.partition("/")
        known = objects_of(self.material).get("Pod", namespace, name) or {}
        labels = {
            key: value
            for key, value in ((known.get("metadata") or {}).get("labels") or {}).items()
            if key not in _OWN_LABELS
        }
        if not labels:
            return []
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in sorted(labels.items()))}
        listed = await _get(kube, f"/api/v1/namespaces/{quote(namespace)}/pods", query)
        return [
            item
            for item in (listed or {}).get("items") or ()
            if not (item.get("metadata") or {}).get("deletionTimestamp")
            and (item.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]

    def _is_owned(self, pod: str) -> bool:
        namespace, _, name = pod.partition("/")
        reference = controller_of(objects_of(self.material).get("Pod", namespace, name) or {})
        return reference is not None and reference.get("kind") != "Node"

    async def _replaced(self, kube: KubeApi, pods: Sequence[str]) -> bool:
        """Whether something makes these pods anew at this moment: another pod with their labels, of another revision."""
        for pod in pods:
            namespace, _, name = pod.partition("/")
            item = await _get(kube, f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}")
            if item is None:
                return True
            reference = controller_of(item)
            if reference is not None and reference.get("kind") == "ReplicaSet":
                owner = await _get(
                    kube, f"/apis/apps/v1/namespaces/{quote(namespace)}/replicasets/{quote(str(reference['name']))}"
                )
                above = controller_of(owner or {})
                if owner is not None and above is not None and await self._rolls(kube, namespace, above, owner):
                    return True
            elif reference is not None and reference.get("kind") in ("StatefulSet", "DaemonSet"):
                return True
        return False

    async def _rolls(self, kube: KubeApi, namespace: str, above: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
        deployment = await _get(
            kube, f"/apis/apps/v1/namespaces/{quote(namespace)}/deployments/{quote(str(above.get('name')))}"
        )
        template = ((deployment or {}).get("spec") or {}).get("template") or {}
        mine = (owner.get("spec") or {}).get("template") or {}
        annotations = [(one.get("metadata") or {}).get("annotations") for one in (template, mine)]
        return bool(deployment) and (template.get("spec") != mine.get("spec") or annotations[0] != annotations[1])


def pulled(pod: Mapping[str, Any]) -> bool:
    """Whether every container that was reached has its image: it runs, ran, or waits for something else than its image."""
    status = pod.get("status") or {}
    rows = [
        row
        for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for row in status.get(key) or ()
    ]
    if not rows:
        return False
    started = False
    for row in rows:
        state = row.get("state") or {}
        reason = str((state.get("waiting") or {}).get("reason") or "")
        if reason in PULL_REASONS:
            return False
        started = started or "running" in state or "terminated" in state or bool(row.get("imageID"))
    return started


def _come(pods: Sequence[str], there: Sequence[str], node: str) -> tuple[bool | None, str]:
    """Nothing waits any more: the pods started, or all of them were made again on other nodes, which tell nothing of this one."""
    if there:
        return True, f"{_many(there)} started"
    return None, f"{_many(pods)}: made again on other nodes; no pod on {node} shows it by itself"


def _many(pods: Sequence[str]) -> str:
    return pods[0] if len(pods) == 1 else f"{len(pods)} pods"


async def _get(kube: KubeApi, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    reply = await kube.get(path, query)
    if reply.outcome is not Outcome.OBSERVED or reply.status == 404:
        return None
    try:
        value = json.loads(reply.body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None

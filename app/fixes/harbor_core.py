"""Harbor's core: restart it, run one replica, pin the token key (harbor-and-kubernetes.md A.6, A.7, B.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from app.errors import RefusedError
from app.fixes.base import HARBOR, Fix, FixContext, Right, digest_value
from app.fixes.kube_pods import restart_change
from app.fixes.owners import change_at, named, owner_of_object
from app.fixes.plans import Maker, make_plan, right_check
from app.fixes.shown import diff_of
from app.model.fix import Change, Check, FixPlan
from app.parsers.clock import parse_time

_SETTLED: Final = 180.0
"""Seconds for which the key's Secret should have been left alone; who wrote it a moment ago may write it again."""
KEY_VOLUME: Final = "token-service-private-key"


def harbor_namespace(context: FixContext) -> str:
    """Raises RefusedError where Harbor's own cluster is not at hand."""
    if context.harbor is None or not context.harbor.namespace:
        raise RefusedError(
            "it is not known in which namespace Harbor runs",
            "Name it: --harbor-namespace, and --harbor-context when it is another cluster.",
        )
    return context.harbor.namespace


def core_of(context: FixContext) -> Maker:
    """The Deployment of Harbor's core, read afresh. Raises RefusedError when there is none, or several."""
    space = harbor_namespace(context)
    listed = context.get(f"/apis/apps/v1/namespaces/{space}/deployments", HARBOR) or {}
    found = [item for item in listed.get("items") or () if _is_core(item)]
    if len(found) != 1:
        raise RefusedError(
            f"{len(found)} Deployments in {space} look like Harbor's core",
            "Name Harbor's namespace with --harbor-namespace." if not found else "",
        )
    return Maker("Deployment", space, str(found[0]["metadata"]["name"]), found[0])


def _is_core(item: Mapping[str, Any]) -> bool:
    labels = (item.get("metadata") or {}).get("labels") or {}
    component = labels.get("component") or labels.get("app.kubernetes.io/component")
    return component == "core" and (
        labels.get("app") == "harbor"
        or "harbor" in str(labels.get("app.kubernetes.io/name") or "")
        or any("harbor-core" in str(box.get("image") or "") for box in _spec(item).get("containers") or ())
    )


def _spec(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return ((item.get("spec") or {}).get("template") or {}).get("spec") or {}


def key_secret(core: Maker) -> str:
    """Name of the Secret from which core mounts its token key; empty where it mounts none."""
    for volume in _spec(core.item).get("volumes") or ():
        if volume.get("name") == KEY_VOLUME:
            return str((volume.get("secret") or {}).get("secretName") or "")
    return ""


# --- prechecks ----------------------------------------------------------------------------------------------------


def core_checks(context: FixContext, core: Maker) -> list[Check]:
    """What has to hold before core's pods are made anew."""
    spec, status = core.item.get("spec") or {}, core.item.get("status") or {}
    replicas = int(spec.get("replicas", 1))
    checks = [
        Check(
            f"core has {replicas} replica{'s' if replicas != 1 else ''}",
            "ok" if replicas > 1 else "warn",
            "" if replicas > 1 else "pulls and logins fail until its one pod is ready again",
        )
    ]
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        checks.append(Check("the Deployment recreates all pods at once", "warn", "Harbor is away until they are ready"))
    rolling = int(status.get("observedGeneration") or 0) < int(
        (core.item.get("metadata") or {}).get("generation") or 0
    ) or (int(status.get("updatedReplicas") or 0) < replicas)
    checks.append(
        Check("no roll-out is under way", "fail" if rolling else "ok", "wait until it has ended" if rolling else "")
    )
    checks += _image_checks(context, core)
    checks += _secret_checks(context, core)
    checks += _budget_checks(context, core)
    checks += right_check(context, Right("patch", "deployments", core.namespace, "apps", cluster=HARBOR))
    return checks


def _image_checks(context: FixContext, core: Maker) -> Iterable[Check]:
    images = [str(box.get("image") or "") for box in _spec(core.item).get("containers") or ()]
    nodes = (context.try_get("/api/v1/nodes", HARBOR) or {}).get("items") or []
    selector = (core.item.get("spec") or {}).get("selector", {}).get("matchLabels") or {}
    query = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    pods = (context.try_get(f"/api/v1/namespaces/{core.namespace}/pods?labelSelector={query}", HARBOR) or {}).get(
        "items"
    ) or []
    for image in images:
        # A node reports only its fifty largest images, so a running pod tells as well.
        names = _spellings(image)
        having = {
            str(node["metadata"]["name"])
            for node in nodes
            if any(
                name in names
                for one in (node.get("status") or {}).get("images") or ()
                for name in one.get("names") or ()
            )
        }
        having |= {
            str((pod.get("spec") or {}).get("nodeName"))
            for pod in pods
            if any(one.get("imageID") for one in (pod.get("status") or {}).get("containerStatuses") or ())
        }
        total = len(nodes)
        own = bool(context.case.incident.registry) and image.startswith(f"{context.case.incident.registry}/")
        if having and (total == 0 or len(having) >= total):
            yield Check(f"core's image is on every node: {image}", "ok")
        elif having:
            yield Check(
                f"core's image is on {len(having)} of {total} nodes", "warn" if own else "ok",
                "it comes from the very Harbor that is restarted; keep the pods where they are" if own else f"elsewhere it is pulled from {image.partition('/')[0]}",
            )  # fmt: skip
        elif own:
            yield Check(
                f"core's image is on no node and comes from this Harbor: {image}",
                "fail",
                "restarted, it could not be pulled",
            )
        else:
            yield Check(f"core's image is seen on no node: {image}", "unknown", "it has to be pulled again")


def _spellings(image: str) -> set[str]:
    first = image.partition("/")[0]
    hub = "/" not in image or not ("." in first or ":" in first or first == "localhost")
    return {image, *((f"docker.io/{image}", f"docker.io/library/{image}") if hub else ())}


def _span(seconds: float) -> str:
    """`40 days`, `30 h`, `12 min`."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.0f} days"
    return f"{seconds / 3600:.0f} h" if seconds >= 2 * 3600 else f"{seconds / 60:.0f} min"


def _secret_checks(context: FixContext, core: Maker) -> Iterable[Check]:
    name = key_secret(core)
    if not name:
        return
    item = context.try_get(f"/api/v1/namespaces/{core.namespace}/secrets/{name}", HARBOR)
    if item is None:
        yield Check(
            f"Secret {name} with the key cannot be read", "unknown", "whether it changed a moment ago is not known"
        )
        return
    metadata = item.get("metadata") or {}
    times = [parse_time(entry.get("time")) for entry in metadata.get("managedFields") or ()]
    times.append(parse_time(metadata.get("creationTimestamp")))
    newest = max((time for time in times if time is not None), default=None)
    if newest is None:
        yield Check(f"when Secret {name} was changed is not known", "unknown")
    elif context.now - newest < _SETTLED:
        yield Check(
            f"Secret {name} was changed {max(0, round(context.now - newest))} s ago", "warn",
            "if something goes on changing it, the pods differ again; see who does",
        )  # fmt: skip
    else:
        yield Check(f"Secret {name} has been the same for {_span(context.now - newest)}", "ok")


def _budget_checks(context: FixContext, core: Maker) -> Iterable[Check]:
    listed = context.try_get(f"/apis/policy/v1/namespaces/{core.namespace}/poddisruptionbudgets", HARBOR)
    labels = ((core.item.get("spec") or {}).get("template") or {}).get("metadata", {}).get("labels") or {}
    for item in (listed or {}).get("items") or ():
        wanted = ((item.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        if wanted and all(labels.get(key) == value for key, value in wanted.items()):
            allowed = int((item.get("status") or {}).get("disruptionsAllowed") or 0)
            yield Check(
                f"disruption budget {item['metadata']['name']} allows {allowed}",
                "ok" if allowed else "warn",
                "" if allowed else "a roll-out does not ask it, but no pod is to spare now",
            )


# --- plans --------------------------------------------------------------------------------------------------------


def _core_change(context: FixContext, core: Maker) -> Change:
    return restart_change(context, core, (), cluster=HARBOR, await_rollout=True)


def _plan_restart(context: FixContext) -> FixPlan:
    core = core_of(context)
    owner = owner_of_object(core.item)
    plan = make_plan(
        context,
        changes=[_core_change(context, core)],
        checks=core_checks(context, core),
        confirm_name=core.name,
        verify="tokens are fetched again from every backend; then pulls and pushes have to pass",
    )
    if owner is None or plan.fix_class != "first_aid":
        return plan
    # A restart changes nothing that an owner would put back; what rendered the difference does so again.
    return replace(
        plan,
        owner=owner,
        risk=f"{plan.risk} {named(owner)} renders the Secrets: the cause stays until what differs is pinned there.".strip(),
    )


def _plan_one(context: FixContext) -> FixPlan:
    core = core_of(context)
    replicas = (core.item.get("spec") or {}).get("replicas", 1)
    if replicas == 1:
        return make_plan(context, targets=[core.target])
    scalers = context.try_get(f"/apis/autoscaling/v2/namespaces/{core.namespace}/horizontalpodautoscalers", HARBOR)
    checks = list(right_check(context, Right("patch", "deployments", core.namespace, "apps", cluster=HARBOR)))
    checks.append(Check("no spare pod is left until it is scaled back", "warn"))
    for item in (scalers or {}).get("items") or ():
        if ((item.get("spec") or {}).get("scaleTargetRef") or {}).get("name") == core.name:
            checks.append(
                Check(f"autoscaler {item['metadata']['name']} would scale it up again", "fail", "pause it first")
            )
    change = Change(
        core.target,
        "kube-patch",
        f"scale Deployment {core.id} from {replicas} to 1",
        diff_of({"replicas": replicas}, {"replicas": 1}, f"Deployment {core.id}"),
        f"kubectl scale deployment {core.name} -n {core.namespace} --replicas=1",
        {"path": core.path, "cluster": HARBOR, "touches": ("/spec/replicas",), "object": f"Deployment {core.id}", "await_rollout": True,
         "patch": [{"op": "test", "path": "/spec/replicas", "value": replicas}, {"op": "replace", "path": "/spec/replicas", "value": 1}]},
        {"/spec/replicas": digest_value(replicas)},
        f"it is scaled back to {replicas}",
    )  # fmt: skip
    return make_plan(context, changes=[change], checks=checks, owner=owner_of_object(core.item), confirm_name=core.name)


def pin_text(context: FixContext, core: Maker) -> str:
    """How the key that is in use becomes a fixed one, in the chart's terms."""
    del context
    name, space = key_secret(core) or f"{core.name}", core.namespace
    owner = owner_of_object(core.item)
    where = f"\n{change_at(owner)}\n" if owner is not None else ""
    return (
        f"Core mounts its token key from Secret {space}/{name}, which the chart makes anew at each render. Keep the key that is there now in a\n"
        "Secret of its own, and name that one in the values:\n\n"
        f"kubectl get secret {name} -n {space} -o json \\\n"
        '  | jq \'{apiVersion:"v1",kind:"Secret",type:"kubernetes.io/tls",metadata:{name:"harbor-token-key"},data:{"tls.key":.data["tls.key"],"tls.crt":.data["tls.crt"]}}\' \\\n'
        f"  | kubectl create -n {space} -f -\n\n"
        "# values.yaml\ncore:\n  secretName: harbor-token-key   # keys tls.key (RSA, PKCS#1) and tls.crt\n\n"
        "# or, without a Secret of its own, both of these in the values:\n# core:\n#   tokenKey: |\n#     -----BEGIN RSA PRIVATE KEY----- …\n#   tokenCert: |\n#     -----BEGIN CERTIFICATE----- …\n"
        f"{where}"
        "Where `helm template` renders it (Argo CD), every other value that the chart makes up changes as well: set core.secret, core.xsrfKey,\n"
        "jobservice.secret, registry.secret, registry.credentials and secretKey too. Several Harbors behind one name need the same pair.\n"
    )


def _plan_pin(context: FixContext) -> FixPlan:
    core = core_of(context)
    owner = owner_of_object(core.item)
    if owner is not None:
        return make_plan(
            context,
            targets=[core.target],
            owner=owner,
            fix_class="hand_off",
            hand_off=f"Deployment {core.id} is managed by {named(owner)} ({owner.where}).\n\n{pin_text(context, core)}",
        )
    # Nobody renders it: the Secret stays as it is, so all pods only have to load it once.
    return make_plan(
        context,
        changes=[_core_change(context, core)],
        checks=core_checks(context, core),
        confirm_name=core.name,
        hand_off=pin_text(context, core),
        verify="tokens are fetched again from every backend; then pulls and pushes have to pass",
    )


FIXES: Final = (
    Fix("restart-core", _plan_restart),
    Fix("one-core-replica", _plan_one),
    Fix("pin-token-key", _plan_pin),
)

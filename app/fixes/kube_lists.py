"""Lists of pull secrets in service accounts and pod templates: append and take out, never replace (harbor-and-kubernetes.md G.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.errors import RefusedError
from app.fixes.base import Fix, FixContext, Need, Right, at_pointer, digest_value
from app.fixes.logins import content_of, exact_login
from app.fixes.owners import owner_of_object
from app.fixes.plans import (
    Maker,
    Pod,
    account_path,
    image_of,
    kubectl_patch,
    make_plan,
    maker_of,
    makers_of,
    owner_text,
    pods_of,
    right_check,
    secret_path,
    secrets_of,
)
from app.fixes.shown import diff_of
from app.model.fix import Change, Check, FixPlan, Owner
from app.model.target import Target
from app.parsers.kube_objects import pull_secret_names

FIELD: Final = "imagePullSecrets"


def fitting_secrets(context: FixContext, namespace: str) -> list[str]:
    """Names of the namespace's secrets that hold a login for the image, by name."""
    listed = context.get(secrets_of(namespace)) or {}
    image = image_of(context)
    return sorted(
        str(item["metadata"]["name"])
        for item in listed.get("items") or ()
        if (entry := exact_login(content_of(item), image)) is not None and entry.has_login
    )


def _secret_for(context: FixContext, namespace: str) -> str:
    """The secret to list: the one that was named, or the only one that fits. Raises RefusedError otherwise."""
    wanted = context.text_input("secret")
    if wanted:
        if context.get(secret_path(namespace, wanted)) is None:
            raise RefusedError(f"there is no Secret {wanted} in {namespace}", "Make it first (create-secret).")
        return wanted
    found = fitting_secrets(context, namespace)
    if len(found) == 1:
        return found[0]
    if not found:
        raise RefusedError(
            f"no Secret in {namespace} holds a login for this registry", "Make one first (create-secret)."
        )
    raise RefusedError(
        f"several secrets of {namespace} would fit: {', '.join(found)}", "Say which one: --input secret=NAME."
    )


def _append(item: Mapping[str, Any], pointer: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """JSON Patch that appends and fails when the list has changed meanwhile."""
    known = at_pointer(item, pointer)
    added = [{"name": name} for name in names]
    if known is None:
        return [{"op": "add", "path": pointer, "value": added}]
    return [
        {"op": "test", "path": pointer, "value": known},
        *({"op": "add", "path": f"{pointer}/-", "value": entry} for entry in added),
    ]


@dataclass(frozen=True, slots=True)
class _List:
    """Where a list stands: an object, its path and the pointer to the list."""

    item: Mapping[str, Any]
    path: str
    pointer: str
    resource: str
    """As kubectl names it: `serviceaccount default`."""
    namespace: str
    target: Target
    right: Right
    pods: tuple[str, ...]

    def change(self, patch: list[dict[str, Any]], after: Any, title: str, *, restarts: bool = False) -> Change:
        before = at_pointer(self.item, self.pointer)
        name = f"{self.resource} in {self.namespace}"
        return Change(
            self.target,
            "kube-patch",
            title,
            diff_of({FIELD: before}, {FIELD: after}, name),
            kubectl_patch(self.resource, self.namespace, patch),
            {"path": self.path, "patch": patch, "touches": (self.pointer,), "pods": self.pods, "object": name, "new_pods": True},
            {self.pointer: digest_value(before)},
            "the list is put back as it was" + (" (which rolls the workload once more)" if restarts else ""),
        )  # fmt: skip


# --- service account ----------------------------------------------------------------------------------------------


def _accounts(context: FixContext, pods: Sequence[Pod]) -> list[_List]:
    users: dict[tuple[str, str], list[str]] = {}
    for pod in pods:
        users.setdefault((pod.namespace, pod.account), []).append(pod.id)
    found = []
    for (space, name), ids in users.items():
        item = context.get(account_path(space, name))
        if item is None:
            raise RefusedError(f"there is no service account {name} in {space}")
        found.append(
            _List(
                item,
                account_path(space, name),
                f"/{FIELD}",
                f"serviceaccount {name}",
                space,
                Target.of(workload=f"{space}/serviceaccount:{name}"),
                Right("patch", "serviceaccounts", space),
                tuple(ids),
            )
        )
    return found


def _plan_account(context: FixContext) -> FixPlan:
    pods = pods_of(context)
    changes: list[Change] = []
    checks: list[Check] = []
    owner: Owner | None = None
    hand_off = ""
    own_lists = [pod.id for pod in pods if _lists_itself(context, pod)]
    for place in _accounts(context, pods):
        secret = _secret_for(context, place.namespace)
        known = at_pointer(place.item, place.pointer)
        if secret in pull_secret_names(known):
            continue
        after = [*(known or []), {"name": secret}]
        changes.append(
            place.change(_append(place.item, place.pointer, [secret]), after, f"list {secret} in {place.resource}")
        )
        checks += right_check(context, place.right)
        mine = owner_of_object(place.item)
        if mine is not None and owner is None:
            owner = mine
            hand_off = owner_text(mine, f"{place.resource} in {place.namespace}", _account_yaml(place, after))
    if changes:
        checks.append(
            Check("pods that exist keep their list", "warn", "only new pods take it over; they have to be made anew")
        )
    if own_lists and changes:
        checks.append(
            Check(
                "a template that lists secrets itself does not take over the account's list",
                "fail" if len(own_lists) == len(pods) else "warn",
                f"{', '.join(own_lists[:5])}: use add-secret-to-template",
            )
        )
    return make_plan(context, changes=changes, checks=checks, owner=owner, hand_off=hand_off)


def _lists_itself(context: FixContext, pod: Pod) -> bool:
    """Whether the pod's own template lists secrets; of a bare pod that cannot be told from the account's list."""
    maker = maker_of(context, pod)
    return bool(maker and maker.pointer and at_pointer(maker.item, f"{maker.pointer}/spec/{FIELD}"))


def _account_yaml(place: _List, after: Sequence[Mapping[str, Any]]) -> str:
    rows = "\n".join(f"  - name: {entry['name']}" for entry in after)
    return (
        f"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {place.resource.partition(' ')[2]}\n  namespace: {place.namespace}\n"
        f"{FIELD}:\n{rows}\n\n# in most charts:\nserviceAccount:\n  {FIELD}:\n"
        + "\n".join(f"  {row}" for row in rows.split("\n"))
    )


# --- pod template -------------------------------------------------------------------------------------------------


def _template(maker: Maker, pods: Sequence[Pod]) -> _List:
    return _List(
        maker.item,
        maker.path,
        f"{maker.pointer}/spec/{FIELD}",
        f"{maker.kind.lower()} {maker.name}",
        maker.namespace,
        maker.target,
        Right("patch", maker.plural, maker.namespace, maker.group),
        tuple(pod.id for pod in pods),
    )


def _plan_template(context: FixContext) -> FixPlan:
    pods = pods_of(context)
    makers, bare = makers_of(context, pods)
    changes: list[Change] = []
    checks: list[Check] = []
    owner: Owner | None = None
    hand_off = ""
    for maker, mine in makers.values():
        place = _template(maker, mine)
        known = at_pointer(maker.item, place.pointer)
        secret = _secret_for(context, maker.namespace)
        names = [secret] if secret not in pull_secret_names(known) else []
        if not names:
            continue
        if not known:
            # A template's own list takes the place of the account's, so what that one lists has to stand in it too.
            account = context.try_get(account_path(maker.namespace, mine[0].account)) or {}
            names = [name for name in pull_secret_names(account.get(FIELD)) if name != secret] + names
        after = [*(known or []), *({"name": name} for name in names)]
        changes.append(
            place.change(_append(maker.item, place.pointer, names), after, f"list {', '.join(names)} in {place.resource}", restarts=True)
        )  # fmt: skip
        checks += right_check(context, place.right)
        who = owner_of_object(maker.item)
        if who is not None and owner is None:
            owner = who
            rows = "\n".join(f"- name: {entry['name']}" for entry in after)
            hand_off = owner_text(
                who,
                f"{place.resource} in {maker.namespace}",
                f"# in the pod template, spec.{FIELD} (in most charts the value {FIELD})\n{FIELD}:\n{rows}",
            )
    if bare and not changes:
        pod = bare[0]
        secret = _secret_for(context, pod.namespace)
        if secret in pod.listed:
            return make_plan(context, checks=checks)
        return make_plan(
            context,
            targets=[Target.of(workload=pod.id)],
            checks=checks,
            fix_class="hand_off",
            hand_off=f"Pod {pod.id} was made by nothing that makes it anew, and a pod's list cannot be changed.\n\n"
            f"Put this into its manifest, delete the pod and make it again:\n\nspec:\n  {FIELD}:\n  - name: {secret}\n\n"
            f"Or list the secret in service account {pod.account} (append-sa-secret) before it is made again.\n",
        )
    if bare:
        checks.append(
            Check(f"{len(bare)} pods have no template that can be changed", "warn", ", ".join(p.id for p in bare[:5]))
        )
    return make_plan(context, changes=changes, checks=checks, owner=owner, hand_off=hand_off)


# --- taking out ---------------------------------------------------------------------------------------------------


def bad_secret(context: FixContext, pods: Sequence[Pod]) -> str:
    """The listed secret that does harm: named by the operator, else the only one that breaks or is refused."""
    wanted = context.text_input("secret")
    if wanted:
        return wanted
    refused = {
        (record.target.get("secret") or "").rpartition("/")[2]
        for record in context.case.evidence
        if record.facts.get("token.login") == 401 and record.target.get("secret")
    }
    broken = set()
    for pod in pods:
        for name in pod.listed:
            item = context.get(secret_path(pod.namespace, name))
            config = content_of(item).config if item is not None else None
            if config is not None and config.parse_error:
                broken.add(name)
    listed = {name for pod in pods for name in pod.listed}
    found = sorted((broken or refused) & listed)
    return found[0] if len(found) == 1 else ""


def _need_drop(context: FixContext) -> tuple[Need, ...]:
    return (
        () if bad_secret(context, pods_of(context)) else (Need("secret", "Which secret is to be taken off the list?"),)
    )


def _plan_drop(context: FixContext) -> FixPlan:
    pods = pods_of(context)
    name = bad_secret(context, pods)
    makers, _ = makers_of(context, pods)
    places = [_template(maker, mine) for maker, mine in makers.values()] + _accounts(context, pods)
    changes: list[Change] = []
    checks: list[Check] = []
    owner: Owner | None = None
    hand_off = ""
    left_any = False
    for place in places:
        known = at_pointer(place.item, place.pointer) or []
        at = [number for number, entry in enumerate(known) if entry.get("name") == name]
        if not at:
            continue
        after = [entry for entry in known if entry.get("name") != name]
        left_any = left_any or bool(after)
        patch: list[dict[str, Any]] = [{"op": "test", "path": place.pointer, "value": known}]
        patch += [{"op": "remove", "path": f"{place.pointer}/{number}"} for number in reversed(at)]
        changes.append(place.change(patch, after, f"take {name} off the list of {place.resource}"))
        checks += right_check(context, place.right)
        who = owner_of_object(place.item)
        if who is not None and owner is None:
            owner = who
            rows = "\n".join(f"- name: {entry['name']}" for entry in after) or "[]"
            hand_off = owner_text(who, f"{place.resource} in {place.namespace}", f"{FIELD}:\n{rows}")
    if changes and not left_any:
        checks.append(Check("no pull secret is left on the list", "warn", "the pull then goes out without a login"))
    return make_plan(context, changes=changes, checks=checks, owner=owner, hand_off=hand_off)


FIXES: Final = (
    Fix("append-sa-secret", _plan_account),
    Fix("add-secret-to-template", _plan_template),
    Fix("drop-secret-from-list", _plan_drop, _need_drop),
)

"""Pull secrets made, copied, written anew and made again with the right type (harbor-and-kubernetes.md F.1, F.5, G.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any, Final

from app.errors import RefusedError
from app.fixes.base import ABSENT, Fix, FixContext, Hidden, Need, digest_value
from app.fixes.logins import (
    CFG_KEY,
    JSON_KEY,
    JSON_TYPE,
    Content,
    Rebuilt,
    content_of,
    document,
    encoded,
    exact_login,
    raw_auths,
    rebuild,
    with_login,
)
from app.fixes.owners import owner_of_object
from app.fixes.plans import (
    Pod,
    image_of,
    make_plan,
    owner_text,
    pods_of,
    right_check,
    secret_path,
    secret_rights,
    secrets_of,
    server_of,
)
from app.fixes.shown import diff_of, secret_shown
from app.fixes.words import plan_words
from app.model.fix import Change, Check, FixPlan, Owner
from app.model.target import Target
from app.parsers.dockerconfig import CFG_TYPES, JSON_TYPES, parse_dockerconfig

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_ASK: Final = (
    Need("username", "User name for this registry (a robot's name with its prefix, as it is written)"),
    Need("password", "Its password", secret=True),
)


@dataclass(frozen=True, slots=True)
class Place:
    """One Secret that affected pods list, as it is now."""

    namespace: str
    name: str
    item: Mapping[str, Any] | None
    pods: tuple[str, ...]

    @property
    def path(self) -> str:
        return secret_path(self.namespace, self.name)

    @property
    def target(self) -> Target:
        return Target.of(secret=f"{self.namespace}/{self.name}")


def listed_places(context: FixContext, pods: Iterable[Pod]) -> list[Place]:
    """The secrets that the pods list, each once; one named by the operator alone where there is such an input."""
    wanted = context.text_input("secret")
    users: dict[tuple[str, str], list[str]] = {}
    for pod in pods:
        for name in (wanted,) if wanted else pod.listed:
            users.setdefault((pod.namespace, name), []).append(pod.id)
    return [
        Place(space, name, context.get(secret_path(space, name)), tuple(names))
        for (space, name), names in users.items()
    ]


def _given(context: FixContext) -> tuple[str, str] | None:
    username, password = context.text_input("username"), context.secret_input("password")
    return (username, password) if username and password else None


def _missing_inputs(context: FixContext) -> tuple[Need, ...]:
    return tuple(need for need in _ASK if not context.inputs.get(need.key))


# --- create and copy ----------------------------------------------------------------------------------------------


def absent_places(context: FixContext) -> list[Place]:
    """Secrets that are listed and not there. Raises RefusedError when none is listed and none was named."""
    pods = pods_of(context)
    places = listed_places(context, pods)
    if not places and not context.text_input("secret"):
        raise RefusedError(
            "the pods list no pull secret, so there is no name to make it under",
            "Name it with --input secret=NAME; it then has to be listed too (append-sa-secret or add-secret-to-template).",
        )
    return [place for place in places if place.item is None]


def _new_secret(place: Place, value: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": place.name, "namespace": place.namespace},
        "type": JSON_TYPE,
        "data": {JSON_KEY: Hidden(encoded(value))},
    }


def _create_change(context: FixContext, place: Place, body: Mapping[str, Any], title: str, command: str) -> Change:
    return Change(
        place.target,
        "kube-create",
        title,
        diff_of(None, secret_shown(body, context.key), f"Secret {place.namespace}/{place.name}"),
        command,
        {
            "path": place.path,
            "collection": secrets_of(place.namespace),
            "body": body,
            "pods": place.pods,
            "object": f"Secret {place.namespace}/{place.name}",
        },
        {"": ABSENT},
        "the Secret is removed again",
    )


def _plan_create(context: FixContext) -> FixPlan:
    image, server, given = image_of(context), server_of(context), _given(context)
    changes: list[Change] = []
    checks: list[Check] = []
    for place in absent_places(context):
        if given is None:
            raise RefusedError("a user name and a password are needed", "Give --input username=… and --password-stdin.")
        text = with_login(None, image, server, *given).text
        changes.append(
            _create_change(
                context,
                place,
                _new_secret(place, text),
                f"make Secret {place.name} in {place.namespace}",
                f"kubectl create secret docker-registry {place.name} -n {place.namespace} --docker-server={server} --docker-username={quote(given[0])} --docker-password=***",
            )
        )
        checks += right_check(context, *secret_rights(place.namespace, "get", "create", "delete"))
    return make_plan(context, changes=changes, checks=checks)


def _need_create(context: FixContext) -> tuple[Need, ...]:
    return _missing_inputs(context) if absent_places(context) else ()


def _sources(context: FixContext, place: Place) -> list[Mapping[str, Any]]:
    """Secrets of the same name in other namespaces that serve the image; those named by `from` alone if it was given."""
    wanted = context.text_input("from")
    if wanted:
        item = context.get(secret_path(wanted, context.text_input("from_name") or place.name))
        found = [item] if item is not None else []
    else:
        listed = context.get(f"/api/v1/secrets?fieldSelector=metadata.name={place.name}") or {}
        found = [item for item in listed.get("items") or () if item["metadata"].get("namespace") != place.namespace]
    return [item for item in found if exact_login(content_of(item), image_of(context)) is not None]


def _plan_copy(context: FixContext) -> FixPlan:
    changes: list[Change] = []
    checks: list[Check] = []
    for place in absent_places(context):
        sources = _sources(context, place)
        if not sources:
            raise RefusedError(
                f"no Secret {place.name} with a login for this registry was found in another namespace",
                "Name the namespace with --input from=NAMESPACE, or make the Secret (create-secret).",
            )
        kinds = {digest_value([item.get("type"), item.get("data")]) for item in sources}
        if len(kinds) > 1:
            spaces = ", ".join(sorted(str(item["metadata"]["namespace"]) for item in sources))
            raise RefusedError(
                f"Secrets {place.name} in {spaces} differ", "Say which one to copy: --input from=NAMESPACE."
            )
        source = min(sources, key=lambda item: str(item["metadata"]["namespace"]))
        space = source["metadata"]["namespace"]
        body = {
            **_new_secret(place, ""),
            "type": source.get("type"),
            "data": {key: Hidden(str(value)) for key, value in (source.get("data") or {}).items()},
        }
        changes.append(
            _create_change(
                context,
                place,
                body,
                f"copy Secret {space}/{source['metadata']['name']} to {place.namespace}",
                f'kubectl get secret {source["metadata"]["name"]} -n {space} -o json | jq \'del(.metadata)|.metadata={{"name":"{place.name}"}}\' | kubectl apply -n {place.namespace} -f -',
            )
        )
        checks += right_check(context, *secret_rights(place.namespace, "get", "create", "delete"))
        owner = owner_of_object(source)
        if owner is not None:
            checks.append(Check(f"the original is managed by {owner.kind}", "warn", "the copy does not follow it"))
    return make_plan(context, changes=changes, checks=checks)


# --- write anew ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Bad:
    place: Place
    content: Content
    rebuilt: Rebuilt


def _bad_places(context: FixContext) -> tuple[list[_Bad], bool]:
    """(secrets with what mends them, whether a login of the operator would be needed for one)."""
    image, server, given = image_of(context), server_of(context), _given(context)
    name_alone = "" if given else context.text_input("username")
    found: list[_Bad] = []
    asked = False
    places = [place for place in listed_places(context, pods_of(context)) if place.item is not None]
    if not places:
        raise RefusedError("the pods list no Secret that exists", "Make it first (create-secret).")
    for place in places:
        assert place.item is not None  # noqa: S101 - filtered above
        content = content_of(place.item)
        entry = exact_login(content, image)
        if given is not None:
            if len(places) > 1 and not context.text_input("secret") and not _about(content, image):
                continue
            if entry is not None and entry.exact == given and not content.wrong_type:
                continue
            found.append(_Bad(place, content, with_login(content, image, server, *given)))
        elif name_alone and entry is not None:
            if entry.username != name_alone:
                rebuilt = with_login(content, image, server, name_alone, entry.password.strip())
                found.append(_Bad(place, content, rebuilt))
        else:
            made = rebuild(content, image, server)
            if made is not None and made.why:
                found.append(_Bad(place, content, made))
            elif made is None and _about(content, image):
                asked = True
    return found, asked


def _about(content: Content, image: str) -> bool:
    """Whether a Secret is meant for this image's registry, as far as can be seen; one that cannot be read may be."""
    if content.config is None or not content.config.entries:
        return True
    return (
        exact_login(content, image) is not None
        or rebuild(content, image, "x.invalid") is not None
        or bool(content.config.parse_error)
    )


_LOGIN_REFUSED: Final = frozenset(
    {
        "robot-secret-stale",
        "credential-refused-unsorted",
        "robot-name-mangled",
        "robot-prefix-changed",
        "pull-secret-without-login",
    }
)
"""Findings where the login itself is wrong: nothing in the Secret can mend it."""


def _need_rewrite(context: FixContext) -> tuple[Need, ...]:
    if _given(context) is not None:
        names = _several(context, _bad_places(context)[0])
        return (Need("secret", f"Which secret is to be written anew: {', '.join(names)}"),) if names else ()
    if context.standing.finding in ("robot-name-mangled", "robot-prefix-changed"):
        return () if context.text_input("username") else _missing_inputs(context)[:1]
    if context.standing.finding in _LOGIN_REFUSED:
        return _missing_inputs(context)
    found, asked = _bad_places(context)
    # Of several secrets one is refused though none is misshapen: then only another login helps.
    if not found and (asked or context.standing.finding == "several-secrets-one-bad"):
        return _missing_inputs(context)
    image = image_of(context)
    places = listed_places(context, pods_of(context))
    if not found and not any(place.item and exact_login(content_of(place.item), image) for place in places):
        # No entry serves the image and none is a near miss: a login for this registry has to come from somebody.
        return _missing_inputs(context)
    return ()


def _several(context: FixContext, found: list[_Bad]) -> tuple[str, ...]:
    """Names of the secrets that one login could be written into, where it was not said which is meant."""
    names = tuple(dict.fromkeys(bad.place.name for bad in found))
    return names if len(names) > 1 and _given(context) is not None and not context.text_input("secret") else ()


def _plan_rewrite(context: FixContext) -> FixPlan:
    found, _ = _bad_places(context)
    if names := _several(context, found):
        raise RefusedError(f"several secrets could be meant: {', '.join(names)}", "Say which one: --input secret=NAME.")
    return _write_plan(context, [(bad.place, bad.content, bad.rebuilt) for bad in found])


def _write_plan(context: FixContext, wanted: list[tuple[Place, Content, Rebuilt]]) -> FixPlan:
    changes: list[Change] = []
    checks: list[Check] = []
    owner: Owner | None = None
    hand_off = ""
    for place, content, rebuilt in wanted:
        assert place.item is not None  # noqa: S101 - callers give only those that exist
        change = write_change(context, place, content, rebuilt.text, rebuilt.why)
        changes.append(change)
        verbs = ("get", "patch", "create", "delete") if change.kind == "kube-patch" else ("get", "create", "delete")
        checks += right_check(context, *secret_rights(place.namespace, *verbs))
        if rebuilt.warn:
            checks.append(Check(rebuilt.warn, "warn"))
        owner = owner or owner_of_object(place.item)
    if owner is not None and wanted:
        hand_off = _hand_off(context, owner, wanted[0][0], wanted[0][2])
    return make_plan(context, changes=changes, checks=checks, owner=owner, hand_off=hand_off)


def write_change(context: FixContext, place: Place, content: Content, text: str, why: str) -> Change:
    """Write a document into a Secret: its data where the type is right and it may change, else the Secret is made again."""
    item = place.item or {}
    kind = str(item.get("type") or "Opaque")
    value = Hidden(encoded(text))
    shown_name = f"Secret {place.namespace}/{place.name}"
    uid = {key: (item.get("metadata") or {}).get(key) for key in ("uid", "resourceVersion")}
    if kind in JSON_TYPES and not item.get("immutable"):
        after = {**item, "data": {**(item.get("data") or {}), JSON_KEY: value}}
        pointer = f"/data/{JSON_KEY}"
        there = JSON_KEY in (item.get("data") or {})
        patch = [{"op": "replace" if there else "add", "path": pointer, "value": value}]
        return Change(
            place.target,
            "kube-patch",
            f"write {shown_name} anew: {why}",
            diff_of(secret_shown(item, context.key), secret_shown(after, context.key), shown_name),
            f'kubectl patch secret {place.name} -n {place.namespace} --type=json -p \'[{{"op":"replace","path":"{pointer}","value":"***"}}]\'',
            {"path": place.path, "collection": secrets_of(place.namespace), "patch": patch, "touches": (pointer,), "sealed_by": uid,
             "pods": place.pods, "object": shown_name},
            {"/data": digest_value(item.get("data")), "/type": digest_value(item.get("type"))},
            "the old data are put back from a Secret beside it",
        )  # fmt: skip
    data = {key: Hidden(str(old)) for key, old in (item.get("data") or {}).items()}
    if kind in CFG_TYPES or content.data_key == CFG_KEY:
        data.pop(CFG_KEY, None)
    data[JSON_KEY] = value
    body = {**_again(item), "type": JSON_TYPE, "data": data}
    return Change(
        place.target,
        "kube-replace",
        f"make {shown_name} again as {JSON_TYPE}: {why}",
        diff_of(secret_shown(item, context.key), secret_shown(body, context.key), shown_name),
        f"kubectl replace --force -n {place.namespace} -f secret.yaml   # a Secret's type cannot be changed in place",
        {"path": place.path, "collection": secrets_of(place.namespace), "body": body, "sealed_by": uid, "pods": place.pods,
         "object": shown_name},
        {"/data": digest_value(item.get("data")), "/type": digest_value(item.get("type"))},
        "the old Secret is made again, with its type, data and labels",
    )  # fmt: skip


def _again(item: Mapping[str, Any]) -> dict[str, Any]:
    """An object to be created once more: without what the server sets, and without kubectl's copy of the old content."""
    metadata = dict(item.get("metadata") or {})
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    kept = {
        key: metadata[key]
        for key in ("name", "namespace", "labels", "ownerReferences", "finalizers")
        if metadata.get(key)
    }
    if annotations:
        kept["annotations"] = annotations
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": kept}
    if item.get("immutable"):
        body["immutable"] = True
    return body


# --- make again with the right type -------------------------------------------------------------------------------


def _plan_retype(context: FixContext) -> FixPlan:
    image = image_of(context)
    wanted = []
    seen = False
    for place in listed_places(context, pods_of(context)):
        if place.item is None:
            continue
        seen = True
        content = content_of(place.item)
        if not content.wrong_type or content.config is None:
            continue
        auths = raw_auths(content)
        if not auths:
            continue
        # What is not right besides the type is mended in the same write where the document itself allows it.
        mended = rebuild(content, image, server_of(context))
        text = mended.text if mended is not None else document(auths)
        why = f"type {content.kind} with {content.data_key} in the form `{content.config.layout}` is not read"
        if parse_dockerconfig(text, JSON_TYPE).matching(image) or len(auths) == 1:
            wanted.append((place, content, Rebuilt(text, why)))
    if not seen:
        raise RefusedError("the pods list no Secret that exists", "Make it first (create-secret).")
    return _write_plan(context, wanted)


def _hand_off(context: FixContext, owner: Owner, place: Place, rebuilt: Rebuilt) -> str:
    """The Secret as it should be, in the owner's terms; the password stays out of it."""
    server = server_of(context)
    entry = parse_dockerconfig(rebuilt.text, JSON_TYPE).matching(image_of(context))
    user = entry[0].username if entry else "<user>"
    name, space = place.name, place.namespace
    made = f"kubectl create secret docker-registry {name} -n {space} --docker-server={server} --docker-username={quote(user)} --docker-password=<password> --dry-run=client -o yaml"
    if owner.kind == "external-secrets":
        change = (
            "# in the ExternalSecret\n"
            "spec:\n  target:\n    template:\n"
            f"      type: {JSON_TYPE}\n      data:\n"
            '        .dockerconfigjson: \'{"auths":{"'
            + server
            + '":{"username":"{{ .username }}","password":"{{ .password }}","auth":"{{ printf "%s:%s" .username .password | b64enc }}"}}}\'\n'
        )
    elif owner.kind == "sealed-secrets":
        change = f"{made} | kubeseal -o yaml > {name}.sealed.yaml"
    else:
        change = (
            f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {space}\ntype: {JSON_TYPE}\ndata:\n"
            f"  {JSON_KEY}: <base64 of the document below>\n\n"
            f'# {{"auths":{{"{server}":{{"username":"{user}","password":"<password>","auth":"<base64 of {user}:<password>>"}}}}}}\n'
            f"# or: {made}"
        )
    return owner_text(owner, f"Secret {space}/{name}", f"Wrong with it: {rebuilt.why}.\n\n{change}")


# --- another account ----------------------------------------------------------------------------------------------


def _plan_robot(context: FixContext) -> FixPlan:
    """The robot's login goes into the pull secret; where no pod pulls, the client is not ours to change."""
    return _plan_rewrite(context) if context.case.incident.pods else plan_words(context)


def _need_robot(context: FixContext) -> tuple[Need, ...]:
    return _missing_inputs(context) if context.case.incident.pods else ()


FIXES: Final = (
    Fix("create-secret", _plan_create, _need_create),
    Fix("use-robot", _plan_robot, _need_robot),
    Fix("copy-secret", _plan_copy),
    Fix("rewrite-secret", _plan_rewrite, _need_rewrite),
    Fix("recreate-secret-typed", _plan_retype),
)

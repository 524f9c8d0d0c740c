"""The image's name in a pod template, corrected: what `kubectl set image` does, for every container that has the failing one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.errors import RefusedError
from app.fixes.base import Fix, FixContext, Need, Right, at_pointer, digest_value
from app.fixes.owners import owner_of_object
from app.fixes.plans import Maker, image_of, kubectl_patch, make_plan, makers_of, owner_text, pods_of, right_check
from app.fixes.shown import diff_of
from app.model.fix import Change, Check, FixPlan, Owner
from app.parsers.image_ref import parse_image

INPUT: Final = "new-image"


def _wanted(context: FixContext) -> str:
    """The name that the operator gave. Raises RefusedError for one that no runtime would take."""
    text = context.text_input(INPUT).strip()
    found = parse_image(text)
    if not found.ok:
        raise RefusedError(f"{text!r} is no image name: {found.error}", "Write host/project/name:tag.")
    return text


def _places(maker: Maker, image: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(pointer to its image, container) of those containers of the template that name the failing image."""
    failing = parse_image(image).reference
    for kind in ("initContainers", "containers"):
        base = f"{maker.pointer}/spec/{kind}"
        for number, container in enumerate(at_pointer(maker.item, base) or ()):
            name = str(container.get("image") or "")
            if name == image or parse_image(name).reference == failing:
                yield f"{base}/{number}/image", container


def _change(maker: Maker, image: str, wanted: str, pods: tuple[str, ...]) -> Change | None:
    places = list(_places(maker, image))
    if not places or not maker.pointer:
        return None
    patch: list[dict[str, Any]] = []
    for pointer, container in places:
        patch += [
            {"op": "test", "path": pointer, "value": container["image"]},
            {"op": "replace", "path": pointer, "value": wanted},
        ]
    name = f"{maker.kind} {maker.id}"
    return Change(
        maker.target,
        "kube-patch",
        f"name {wanted} in {name}",
        diff_of(
            {str(one.get("name")): one["image"] for _, one in places},
            {str(one.get("name")): wanted for _, one in places},
            f"{name}, images",
        ),
        kubectl_patch(f"{maker.kind.lower()} {maker.name}", maker.namespace, patch),
        {"path": maker.path, "patch": patch, "touches": tuple(pointer for pointer, _ in places), "pods": pods, "object": name,
         "new_pods": True},
        {pointer: digest_value(container["image"]) for pointer, container in places},
        "the old name is put back (which rolls the workload once more)",
    )  # fmt: skip


def _plan_image(context: FixContext) -> FixPlan:
    image, wanted = image_of(context), _wanted(context)
    if parse_image(wanted).reference == parse_image(image).reference:
        raise RefusedError(f"{wanted} is the very image that fails", "Give the name that the registry has.")
    makers, without = makers_of(context, pods_of(context))
    bare = [pod.id for pod in without]
    changes: list[Change] = []
    checks: list[Check] = []
    owner: Owner | None = None
    hand_off = ""
    for maker, pods in makers.values():
        change = _change(maker, image, wanted, tuple(pod.id for pod in pods))
        if change is None:
            continue
        changes.append(change)
        checks += right_check(context, Right("patch", maker.plural, maker.namespace, maker.group))
        who = owner_of_object(maker.item)
        if who is not None and owner is None:
            owner = who
            hand_off = owner_text(who, f"{maker.kind} {maker.id}", f"# in its pod template (in most charts the value image)\nimage: {wanted}")  # fmt: skip
    if bare and not makers:
        raise RefusedError(
            f"{', '.join(bare[:5])} has no template that can be changed",
            f"Put {wanted} into its manifest, delete it and make it again.",
        )
    if bare:
        checks.append(Check(f"{len(bare)} pods have no template that can be changed", "warn", ", ".join(bare[:5])))
    return make_plan(context, changes=changes, checks=checks, owner=owner, hand_off=hand_off)


def _need_image(context: FixContext) -> tuple[Need, ...]:
    if context.text_input(INPUT):
        return ()
    return (Need(INPUT, f"Which image is meant by {image_of(context)}? Write its whole name"),)


FIXES: Final = (Fix("fix-image-ref", _plan_image, _need_image),)

"""A plan in a file: a recipe and the seal of what it would change. Applying plans again and insists on the same seal."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

import msgspec

from app.errors import UsageError
from app.model.fix import Change, FixPlan


class SavedPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `plan --plan-out` writes. It holds no secret: passwords are asked for again when it is applied."""

    schema: int
    fix: str
    finding: str
    context: str
    targets: list[str]
    inputs: dict[str, str]
    seal: str
    title: str
    risk: str
    undo: str
    diff: str
    source: dict[str, Any] = {}
    """How the evidence was gathered (flags), so that it can be gathered again."""


_FINGERPRINT: Final = re.compile(r"~[0-9a-f]{8}, \d+ characters")


def seal(plan: FixPlan) -> str:
    """Digest of everything the plan would touch: kinds, targets, expected digests and diffs.

    Fingerprints are keyed by session, so they are left out; a Secret is sealed by its version and not by a digest of its
    content, from which a weak password could be guessed.
    """
    parts = [
        [change.kind, str(change.target), change.title, _FINGERPRINT.sub("***", change.diff), _expected(change)]
        for change in plan.changes
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _expected(change: Change) -> list[list[str]]:
    version = change.payload.get("sealed_by")
    kept = [
        [pointer, digest]
        for pointer, digest in sorted(change.expects.items())
        if not (version and pointer.startswith("/data"))
    ]
    return kept + ([[str(key), str(value)] for key, value in sorted(version.items())] if version else [])


def to_saved(plan: FixPlan, inputs: dict[str, str], source: dict[str, Any]) -> SavedPlan:
    """The plan as a file; `inputs` must hold no secret."""
    diff = "\n".join(_FINGERPRINT.sub("***", change.diff) for change in plan.changes)
    return SavedPlan(
        1,
        plan.fix,
        plan.finding,
        plan.context,
        [str(target) for target in plan.targets],
        inputs,
        seal(plan),
        plan.title,
        plan.risk,
        plan.undo,
        diff,
        source,
    )


def read_saved(text: str, name: str) -> SavedPlan:
    """Raises UsageError that says what is wrong with the file."""
    try:
        plan = msgspec.json.decode(text, type=SavedPlan)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UsageError(
            f"{name} is not a saved plan: {error}", "Make one with `harborpilot plan … --plan-out FILE`."
        ) from error
    if plan.schema != 1:
        raise UsageError(f"{name} has schema {plan.schema}; this version reads 1")
    return plan

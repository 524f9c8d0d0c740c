"""What the first look at a cluster could not read, in words: what was tried, what it costs, what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from app.model.evidence import Outcome
from app.model.material import Document, Material

_COST = {
    "pods.json": "which pods fail",
    "events.json": "the first error of a pod that only shows Back-off",
    "nodes.json": "runtimes and addresses of the nodes",
}
_TODO = {
    Outcome.DENIED: "Log in again, or ask for the right (`harborpilot doctor` names the smallest grant); -n NAMESPACE needs only that namespace.",
    Outcome.UNPARSABLE: "Something in front of the API server answers in its place: log in there, or check `server` and `proxy-url` in the kubeconfig.",
}
_MORE = "More can be told with a cluster (--kubeconfig FILE or --context NAME; its nodes are read over SSH) or from a bundle (--bundle)."
_ELSE = "Check the server's address, the VPN and --request-timeout. A text (--text) or a bundle (--bundle) needs no cluster."


def note(text: str) -> None:
    """One remark on stderr; data go to stdout."""
    print(f"harborpilot: {clean(text)}", file=sys.stderr)


def clean(text: str) -> str:
    """Without control characters: a text from outside must not steer the terminal."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def tell_text_alone() -> None:
    """A text without anything beside it."""
    note(f"Only the text is judged: no cluster, no node and no registry is asked.\n  {_MORE}")


def tell_no_cluster(*, ssh: bool, http: bool) -> None:
    """A run that was told not to ask the cluster."""
    silent = ["No cluster", *["no node"] * (not ssh), *["no registry"] * (not http)]
    note(f"{', '.join(silent)} is asked: what it would have shown is unknown.\n  {_MORE}")


def tell_refused(material: Material, notes: Iterable[str] = ()) -> None:
    """Say on stderr what is missing before anything is judged."""
    for text in notes:
        note(f"{text}\n  Nothing was read from a cluster: what it would have shown is unknown.\n  {_MORE}")
    for text in refused(material):
        note(text)


def refused(material: Material) -> list[str]:
    """One text for each reason; the same reason for several lists is told once."""
    reasons: dict[tuple[Outcome, str], list[tuple[str, str]]] = {}
    for path, cost in _COST.items():
        document = material.get(path)
        if document is None:
            continue
        outcome, detail = _read(document)
        if outcome is not Outcome.OBSERVED:
            reasons.setdefault((outcome, detail), []).append((document.source.partition("?")[0] or path, cost))
    return [
        f"{', '.join(source for source, _ in tried)}: {outcome.value.replace('_', ' ')}: {detail}\n"
        f"  Unknown for that reason: {'; '.join(cost for _, cost in tried)}.\n"
        f"  {_TODO.get(outcome, _ELSE)}"
        for (outcome, detail), tried in reasons.items()
    ]


def _read(document: Document) -> tuple[Outcome, str]:
    if document.outcome is not Outcome.OBSERVED:
        return document.outcome, document.detail[:300]
    if document.absent:
        return Outcome.UNPARSABLE, "404; this is no Kubernetes API server"
    try:
        data = json.loads(document.text)
    except ValueError:
        data = None
    if isinstance(data, dict) and isinstance(data.get("items"), list):
        return Outcome.OBSERVED, ""
    begin = " ".join(document.text[:80].split())
    return (
        Outcome.UNPARSABLE,
        f"no list of Kubernetes came back, but {begin!r}" if begin else "an empty answer came back",
    )

"""`harborpilot explain IMAGE --node N`: who wins and why, by the pull plan; nothing is pulled."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from app.commands.firstlook import tell_refused
from app.commands.flags import add_kube, add_output, add_run, add_ssh, parser
from app.errors import UsageError
from app.files import load_rulebook
from app.model.case import Incident
from app.model.view import PullPlanView
from app.parsers.image_ref import parse_image
from app.probes import BY_ID
from app.probes.base import Scene
from app.probes.runtime_inputs import plan_inputs
from app.pullplan.plan import plan_pull, split_image
from app.runner import views
from app.runner.assemble import NOT_IN_BUNDLE
from app.runner.investigation import Investigation, Opened

_READ = (
    "node.object",
    "containerd.config",
    "containerd.config2",
    "containerd.state",
    "hosts_toml.read",
    "hosts_toml.plan",
    "k3s.read",
    "k3s.plan",
    "crio.read",
    "kubelet.read",
    "proxy.read",
    "plan.pull",
    "pod.read",
    "sa.read",
    "secret.read",
)


def flags() -> argparse.ArgumentParser:
    """All flags of the command."""
    found = parser(
        "explain",
        "Show for one image and one node which credential wins, which hosts are tried in which order, and which settings are ignored and why.",
    )
    found.add_argument("image")
    found.add_argument("--node", help="the node; default: the first one the bundle or the failing pods name")
    found.add_argument("--bundle", metavar="DIR|FILE.tar.gz", help="read from an evidence bundle")
    add_kube(found)
    add_ssh(found)
    add_run(found)
    add_output(found, "text", "json")
    return found


def run(words: Sequence[str]) -> int:
    """Exit 0; 4 when nothing is known of the node."""
    options = flags().parse_args(words)
    if not parse_image(options.image).ok:
        raise UsageError(
            f"{options.image!r} is no image name", "Write it as the pod does: registry.example/team/app:1."
        )
    view = asyncio.run(_explain(options))
    print(json.dumps(asdict(view), indent=1, ensure_ascii=False) if options.output == "json" else to_text(view))
    return 0 if view.hosts else 4


async def _explain(options: argparse.Namespace) -> PullPlanView:
    rulebook, _ = load_rulebook()
    if options.bundle:
        from app.session.bundle import read_bundle

        bundle = read_bundle(Path(options.bundle))
        investigation = Investigation(
            rulebook, None, bundle.material, bundle.evidence, vantage="bundle", unread=NOT_IN_BUNDLE
        )
        return _view(options, investigation, None)
    from app.bootstrap import build_run

    built = build_run(options, rulebook)
    try:
        await built.investigation.scan()
        tell_refused(built.investigation.material, built.notes)
        return await _live(options, built.investigation)
    finally:
        await built.close()


async def _live(options: argparse.Namespace, investigation: Investigation) -> PullPlanView:
    opened = next((item for item in investigation.fold() if item.scene.incident.image == options.image), None)
    node = options.node or (opened.scene.incident.nodes[0] if opened and opened.scene.incident.nodes else "")
    if not node:
        raise UsageError("no node was named, and no failing pod shows one", "Name it with --node.")
    opened = _for_node(investigation, options.image, node, opened)
    await investigation.collect(opened, [BY_ID[name] for name in _READ if name in BY_ID], seconds=options.timeout)
    return _view(options, investigation, opened)


def _for_node(investigation: Investigation, image: str, node: str, opened: Opened | None) -> Opened:
    registry = split_image(image)[0]
    incident = (
        replace(opened.scene.incident, nodes=(node,))
        if opened
        else Incident(image=image, registry=registry, action="pull", nodes=(node,))
    )
    scene = (
        replace(opened.scene, incident=incident)
        if opened
        else Scene(
            incident,
            investigation.world.clock.now() if investigation.world else 0.0,
            "operator",
            variables={"image.host": registry, "contacted.host": registry, "action": "pull"},
        )
    )
    from app.runner.collect import Collector

    collector = opened.collector if opened else Collector(investigation.world) if investigation.world else None
    return Opened(scene, opened.material if opened else investigation.material, collector)


def _view(options: argparse.Namespace, investigation: Investigation, opened: Opened | None) -> PullPlanView:
    material = opened.material if opened else investigation.material
    nodes = tuple(material.nodes())
    node = options.node or (nodes[0] if nodes else "")
    if opened is None:
        opened = _for_node(investigation, options.image, node, None)
    inputs = plan_inputs(material, opened.scene, node, options.image) if node else None
    if inputs is None:
        return PullPlanView(
            options.image,
            node or "no node",
            nodes=nodes,
            unknown=("nothing is known of this node's runtime; was it read?",),
        )
    return views.pull_plan(plan_pull(inputs), nodes, f"{inputs.node.runtime} {inputs.node.version}".strip())


def to_text(view: PullPlanView) -> str:
    """The plan for a terminal."""
    lines = [f"{view.image} on {view.node} ({view.runtime or 'runtime not known'})", "", "credential"]
    lines += [
        f"  {'✓' if row.wins else '–' if row.wins is False else '?'} {row.source} [{row.key}] {row.account}: {row.why}"
        for row in view.credentials
    ] or ["  none is known; the pull goes out without a login"]
    lines += ["", "hosts, in order"]
    for number, row in enumerate(view.hosts, 1):
        lines.append(
            f"  {number}. {row.url}  {row.role}, {row.capabilities}, trust {row.trust}"
            + (f", rewrite {row.rewrite}" if row.rewrite else "")
        )
        lines.append(f"     {row.why}")
    if view.ignored:
        lines += ["", "there, and without effect"]
        lines += [f"  – {row.setting} ({row.where}): {row.why}" for row in view.ignored]
    if view.tools:
        lines += ["", "other tools on this node"]
        lines += [f"  {row.tool}: {row.text}" for row in view.tools]
    if view.unknown:
        lines += ["", "not known"]
        lines += [f"  ? {text}" for text in view.unknown]
    return "\n".join(lines)

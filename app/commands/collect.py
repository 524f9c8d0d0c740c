"""`harborpilot collect`: write an evidence bundle, read-only and redacted at capture."""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.commands.firstlook import tell_refused
from app.commands.flags import add_kube, add_output, add_run, add_ssh, parser
from app.errors import UsageError
from app.files import load_rulebook
from app.model.evidence import Evidence
from app.model.material import Material
from app.runner.assemble import Ask

_OTHER_ARCHIVES = frozenset((".zip", ".tar", ".gz", ".bz2", ".xz", ".zst", ".7z", ".json", ".txt"))
"""Names that say that a file is expected, and not a folder."""


def flags() -> argparse.ArgumentParser:
    """All flags of the command."""
    found = parser(
        "collect",
        "Write an evidence bundle (layout version 1). Nothing is changed, no pod is created, no image is pulled; secrets are masked.",
    )
    found.add_argument("path", metavar="DIR|FILE.tar.gz", help="where to write; it must not exist yet")
    found.add_argument("--image", help="only this image; default: everything that fails now")
    found.add_argument("--push", metavar="IMAGE", help="a push of this image fails")
    found.add_argument("--text", metavar="FILE|-", help="a text that was seen")
    found.add_argument(
        "--nodes", default="", metavar="PATTERN", help="also read the nodes whose names match, e.g. 'edge-*'"
    )
    add_kube(found)
    add_ssh(found)
    add_run(found)
    add_output(found, "text")
    return found


def run(words: Sequence[str]) -> int:
    """Exit 0 written, 4 nothing could be observed."""
    options = flags().parse_args(words)
    path = Path(options.path)
    if path.exists():
        raise UsageError(f"{path} exists", "A bundle is never written over another one; choose a new name.")
    if path.suffix in _OTHER_ARCHIVES and not path.name.endswith((".tar.gz", ".tgz")):
        raise UsageError(
            f"{path.name}: a bundle is a folder or a .tar.gz", "Let the name end in .tar.gz, or in nothing."
        )
    return asyncio.run(_collect(options, path))


async def _collect(options: argparse.Namespace, path: Path) -> int:
    from app.bootstrap import build_run
    from app.commands.diagnose import read_text
    from app.session.bundle import write_bundle

    rulebook, _ = load_rulebook()
    built = build_run(options, rulebook)
    investigation = built.investigation
    try:
        await investigation.scan()
        tell_refused(investigation.material, built.notes)
        opened = investigation.fold(
            Ask(text=read_text(options.text), push=options.push, image=options.image or options.push)
        )
        material = investigation.material
        evidence: list[Evidence] = []
        for item in opened[: built.most_incidents]:
            if options.nodes:
                names = [name for name in _node_names(material) if fnmatch.fnmatch(name, options.nodes)]
                incident = item.scene.incident
                more = tuple(name for name in names if name not in incident.nodes)
                item.scene = replace(
                    item.scene,
                    incident=replace(incident, healthy_nodes=tuple(dict.fromkeys([*incident.healthy_nodes, *more]))),
                )
            if options.verbose:
                print(
                    f"harborpilot: reading for {item.scene.incident.image or item.scene.incident.id}", file=sys.stderr
                )
            await investigation.collect(item, seconds=options.timeout)
            judged = investigation.judged(item)
            material = material.with_documents(item.material)
            evidence.extend(judged.case.evidence)
        first = opened[0].scene.incident if opened else None
        masked = write_bundle(
            material, evidence if len(opened) == 1 else [], path, action=first.action if first else None,
            image=first.image if first and len(opened) == 1 else None, taken_at=investigation.world.clock.now() if investigation.world else None,
        )  # fmt: skip
    finally:
        await built.close()
    seen = sum(1 for document in material if document.text)
    print(
        f"{path}: {seen} documents of {len(material)} asked for, {len(evidence)} records of evidence; masked in {len(masked)} documents"
    )
    if not options.quiet:
        for document in material:
            if (
                document.detail
                and not document.text
                and document.outcome.value in ("denied", "unreachable", "timed_out")
            ):
                print(
                    f"  not observed: {document.path}: {document.outcome.value}: {document.detail[:160]}",
                    file=sys.stderr,
                )
    return 0 if seen else 4


def _node_names(material: Material) -> list[str]:
    try:
        data = material.json("nodes.json")
    except ValueError:
        return material.nodes()
    items = data.get("items", []) if isinstance(data, dict) else []
    return sorted({item["metadata"]["name"] for item in items} | set(material.nodes()))

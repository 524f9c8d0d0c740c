"""`harborpilot doctor`: what is missing on this machine, which rights are there, and whether a secret was ever written."""

from __future__ import annotations

import argparse
import asyncio
import base64
import shutil
import sys
from collections.abc import Sequence

from app.commands.flags import add_kube, add_run, add_ssh, parser
from app.files import cache_dir, config_dir, load_rulebook, state_dir
from app.parsers.redact import redact

_SIGN = {True: "✓", False: "✖", None: "?"}


def run(words: Sequence[str]) -> int:
    """Exit 0 all well, 4 something is missing, 1 a secret was found in what was written."""
    flags = parser(
        "doctor",
        "Look for what is missing on this machine and in the cluster, and search everything written for secrets.",
    )
    flags.add_argument("--local", action="store_true", help="ask no cluster and no node")
    add_kube(flags)
    add_ssh(flags)
    add_run(flags)
    options = flags.parse_args(words)
    rulebook, problems = load_rulebook()
    print(
        f"{_SIGN[not problems]} rules: {len(rulebook.findings)} findings, {len(rulebook.symptoms)} symptoms"
        + (f"; {problems[0]}" if problems else "")
    )
    for note in rulebook.notes:
        print(f"! {note}")
    ssh = shutil.which("ssh")
    print(
        f"{_SIGN[bool(ssh)]} OpenSSH client: {ssh or 'not found; ssh_config with Include or Match exec is then read in part'}"
    )
    leaks = _leaks()
    print(f"{_SIGN[not leaks]} secrets in what was written: {'none found' if not leaks else ', '.join(leaks[:5])}")
    print(f"{_SIGN[_canary()]} planted secrets are masked")
    missing = 0 if options.local else asyncio.run(_live(options))
    if leaks or not _canary():
        return 1
    return 4 if missing or problems else 0


def _canary() -> bool:
    """Plant known secrets in the shapes they come in and see that none passes."""
    word = "c4n4ry" + "-S3cret"
    encoded = base64.b64encode(f"robot$x:{word}".encode()).decode()
    shapes = [
        f"Authorization: Basic {encoded}", f'{{"auths":{{"h":{{"auth":"{encoded}","password":"{word}"}}}}}}', f"https://user:{word}@h/v2/",
        f"docker login -u x -p {word}", f"--creds x:{word}", f"password={word}", f"Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.{encoded}.sig",
    ]  # fmt: skip
    return all(word not in redact(shape) and encoded not in redact(shape) for shape in shapes)


def _leaks() -> list[str]:
    """Files of ours in which redaction would still find something."""
    found = []
    for folder in (state_dir(), config_dir(), cache_dir()):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if (
                path.is_file()
                and path.suffix in (".jsonl", ".json", ".log", ".md", ".html", ".yaml")
                and path.stat().st_size < 64_000_000
            ):
                text = path.read_text(encoding="utf-8", errors="replace")
                if (
                    any(
                        mark in text
                        for mark in ("Authorization: B", '"auth":', "-----BEGIN RSA PRIVATE", "-----BEGIN PRIVATE")
                    )
                    and redact(text) != text
                ):
                    found.append(str(path))
    return found


async def _live(options: argparse.Namespace) -> int:
    from app.bootstrap import build_run
    from app.runner import selfcheck

    rulebook, _ = load_rulebook()
    built = build_run(options, rulebook)
    world = built.investigation.world
    assert world is not None  # noqa: S101 - a live run has one
    missing = 0
    try:
        for row in selfcheck.kube(world):
            print(f"{_SIGN[row.state == 'works']} {row.kind} {row.name}: {row.detail}")
        opened = await built.investigation.scan()
        place = next(
            (item.scene.harbor.namespace for item in opened if item.scene.harbor), options.harbor_namespace or ""
        )
        rows = await selfcheck.rights(world, options.namespace or "", place)
        names = _some_nodes(built.investigation.material)
        connections, sudo = await selfcheck.nodes(world, names)
        for connection in connections:
            print(f"{_SIGN[connection.state == 'works']} ssh {connection.name}: {connection.detail}")
            missing += connection.state != "works"
        for right in [*rows, *sudo]:
            print(
                f"{_SIGN[right.have]} {right.area}: {right.right}"
                + (f"\n    costs: {right.costs}\n    grant: {right.grant}" if not right.have else "")
            )
            missing += right.have is False
    finally:
        await built.close()
    for note in built.notes:
        print(f"! {note}", file=sys.stderr)
    return missing


def _some_nodes(material: object) -> list[str]:
    from app.model.material import Material

    assert isinstance(material, Material)  # noqa: S101 - given by the investigation
    try:
        data = material.json("nodes.json")
    except ValueError:
        return []
    return [item["metadata"]["name"] for item in (data or {}).get("items", [])][:5]

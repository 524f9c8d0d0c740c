"""A read-only round of nodes beside OpenSSH: `xargs -P` doing the same items in one command. Needs the test bed (LAB_STATE).

Every round makes its connections anew, as a first look does. The nodes of the test bed are asked again and again, since it has few.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from app.clients.clock import SystemClock, nonce
from app.clients.script import render
from app.clients.ssh import Links, LiveNodes
from app.clients.ssh_config import SshSettings
from app.clients.threads import Threads
from app.ports import Command, File, Item, Journal, Tree
from benchmarks.common import Row, main, turns

ITEMS: list[Item] = [
    Command("versions"), Command("os-release"), Command("arch"), Command("df"), Command("sudo"), Command("crictl-info"),
    Command("containerd-config-dump"), Command("unit", ("containerd",)), File("/etc/containerd/config.toml"), File("/etc/hosts"),
    File("/etc/resolv.conf"), Tree("/etc/containerd/certs.d"), Journal("containerd", lines=200),
]  # fmt: skip
ROUNDS = 4


def measure() -> list[Row]:
    """Wall in turns, and our CPU for one node."""
    target = "≤ 1.0 × wall, ≤ 15 ms CPU a node"
    if not os.environ.get("LAB_STATE"):
        return [Row("read-only round of nodes", "not run: needs the test bed (LAB_STATE)", target=target)]
    nodes = os.environ["LAB_NODES"].split()
    settings = SshSettings(config=os.environ["LAB_SSH_CONFIG"])
    spent: list[float] = []

    async def ours() -> float:
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(ROUNDS):
            links = Links(settings)
            reader = LiveNodes(links, Threads(), SystemClock())
            answers = await asyncio.gather(*(reader.read(node, ITEMS) for node in nodes))
            links.close()
            if any(not answer.documents for answer in answers):
                raise RuntimeError(f"a node did not answer: {[answer.detail for answer in answers]}")
        now = resource.getrusage(resource.RUSAGE_SELF)
        spent.append((now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / ROUNDS / len(nodes) * 1000)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script"
        script.write_text(render(ITEMS, nonce()))

        def theirs() -> float:
            began = time.perf_counter()
            for _ in range(ROUNDS):
                subprocess.run(
                    ["xargs", "-P", str(len(nodes)), "-I", "NODE", "sh", "-c", 'exec ssh -F "$1" NODE sh <"$2"', "sh", os.environ["LAB_SSH_CONFIG"], str(script)],
                    input="\n".join(nodes), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
                )  # fmt: skip
            return time.perf_counter() - began

        asyncio.run(ours())
        spent.clear()
        mine, peer, ratio = turns(lambda: asyncio.run(ours()), theirs, 5)
    cpu = sorted(spent)[len(spent) // 2]
    count = ROUNDS * len(nodes)
    return [
        Row(f"read-only round, {len(ITEMS)} items of {count} nodes, {len(nodes)} at a time", f"{mine:.2f} s, {cpu:.0f} ms CPU a node",
            f"{peer:.2f} s, OpenSSH by xargs -P {len(nodes)}", f"{ratio:.2f} ×", target, ratio <= 1.0 and cpu <= 15)
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)

"""`Nodes` of the practice world: answers a round as a node's shell would, frame by frame, read back by the live reader."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from app.clients.script import OS_CA, UNITS
from app.clients.script_answer import Answer, Before, Frame, Reader, time_document
from app.model.evidence import Outcome
from app.ports import Command, File, Item, Journal, NodeRound, Ping, Tree
from app.training.world.network import address_of
from app.training.world.node_writer import drop_ins
from app.training.world.pull import versions
from app.training.world.state import Node, NodeFile, State, Unit

_READABLE: Final = ("4", "5", "6", "7")


class WorldNodes:
    """Every node by name. Without sudo a file that only root may read is refused, as on a real node."""

    def __init__(self, state: State, settle: Callable[[], None]) -> None:
        self._state = state
        self._settle = settle
        self._before: dict[str, Before] = {}

    async def read(self, node: str, items: Sequence[Item]) -> NodeRound:
        """All items in one round."""
        self._settle()
        found = self._state.nodes.get(node)
        if found is None or not found.reachable:
            return NodeRound(Outcome.UNREACHABLE, detail=f"{node}: no route to host")
        self._state.counts.node_rounds += 1
        pings = []
        for number in range(5):
            sent = self._state.now()
            self._state.clock.move(0.004 + 0.001 * number)
            received = self._state.now()
            pings.append(Ping(sent, received, (sent + received) / 2 + found.clock_offset))
        frames: list[Frame] = []
        for number, item in enumerate(items):
            frames += _Shell(self._state, found).answer(number, item)
        self._state.clock.move(0.15)
        now = self._state.now()
        reader = Reader(node, items, Answer(tuple(frames), True, found.sudo), now, "ops", self._before.setdefault(node, Before()))  # fmt: skip
        documents = list(reader.documents())
        stamp = time_document(node, pings, now)
        if stamp is not None:
            documents.append(stamp)
        return NodeRound(Outcome.OBSERVED, tuple(documents), tuple(pings), sudo=found.sudo, user="ops")


class _Shell:
    """What the script of one round prints on one node; see `app.clients.script` for the frames."""

    def __init__(self, state: State, node: Node) -> None:
        self.state, self.node = state, node
        self.files = dict(node.files)
        if node.rancher:
            text = "".join(f"{line}\n" for line in node.log)
            path = f"/var/lib/rancher/{node.rancher}/agent/containerd/containerd.log"
            self.files[path] = NodeFile(text, state.now() + node.clock_offset, "0600")

    def answer(self, number: int, item: Item) -> list[Frame]:
        if isinstance(item, File):
            return self.file(number, item.path, item.limit, digest=item.digest_only)
        if isinstance(item, Tree):
            return self.tree(number, item)
        if isinstance(item, Journal):
            return [self.journal(number, item)]
        return self.command(number, item)

    def _how(self, file: NodeFile) -> str:
        if file.mode[-1] in _READABLE:
            return "plain"
        return "sudo" if self.node.sudo else "denied"

    def file(self, number: int, path: str, limit: int, *, digest: bool = False) -> list[Frame]:
        found = self.files.get(path)
        if found is None:
            if any(name.startswith(path.rstrip("/") + "/") for name in self.files):
                return [Frame(f"f|{number}|directory|plain|4096 0 755 root:root directory|{path}", b"", 0)]
            return [Frame(f"f|{number}|absent|plain||{path}", b"", 0)]
        how = self._how(found)
        if how == "denied":
            return [Frame(f"f|{number}|denied|plain||{path}", b"", 0)]
        data = found.text.encode()
        facts = f"{len(data)} {int(found.mtime)} {found.mode.lstrip('0')} {found.owner} regular file"
        told = f"{hashlib.sha256(data).hexdigest()}  {path}\n".encode()
        if digest:
            return [Frame(f"d|{number}|ok|{how}|{facts}|{path}", told, 0)]
        frames = [Frame(f"f|{number}|ok|{how}|{facts}|{path}", data[:limit], 0)]
        if len(data) > limit:
            frames.append(Frame(f"s|{number}|ok|{how}|{facts}|{path}", told, 0))
        return frames

    def tree(self, number: int, item: Tree) -> list[Frame]:
        root = item.path.rstrip("/") or "/"
        below = {path: file for path, file in sorted(self.files.items()) if path.startswith(root.rstrip("/") + "/")}
        if not below:
            return [Frame(f"t|{number}|absent|plain||{root}", b"", 0)]
        if any(self._how(file) == "denied" for file in below.values()):
            return [Frame(f"t|{number}|denied|plain||{root}", b"", 0)]
        lines = [f"4096 {int(min(file.mtime for file in below.values()))} 755 root:root directory|{root}"]
        folders = {path[: len(root) + 1 + place] for path in below for place, sign in enumerate(path[len(root) + 1 :]) if sign == "/"}  # fmt: skip
        lines += [f"4096 {int(self.state.now())} 755 root:root directory|{folder}" for folder in sorted(folders)]
        for path, file in below.items():
            facts = f"{len(file.text.encode())} {int(file.mtime)} {file.mode.lstrip('0')} {file.owner} regular file"
            lines.append(f"{facts}|{path}")
        frames = [Frame(f"t|{number}|ok|sudo|y|{root}", "\n".join(lines).encode(), 0)]
        for path in list(below)[: item.count]:
            frames += self.file(number, path, item.limit)
        return frames

    def journal(self, number: int, item: Journal) -> Frame:
        node = self.node
        if item.unit == "containerd" and node.rancher:
            return self._log_file(number, item, f"/var/lib/rancher/{node.rancher}/agent/containerd/containerd.log")
        if not node.sudo:
            return Frame(f"j|{number}|denied|journal|{item.unit}", b"", 1)
        lines = node.log if item.unit == "containerd" else node.kubelet_log if item.unit == "kubelet" else []
        prefix = "" if item.unit == "kubelet" else f" {node.name} {item.unit}[{self._pid(item.unit)}]: "
        told = [f"{_syslog(line)}{prefix}{line}" if prefix else line for line in lines if _wanted(line, item)]
        return Frame(
            f"j|{number}|sudo|journal|{item.unit}", "".join(f"{line}\n" for line in told[-item.lines :]).encode(), 0
        )

    def _log_file(self, number: int, item: Journal, path: str) -> Frame:
        if not self.node.sudo:
            return Frame(f"j|{number}|denied|file|{path}", b"", 1)
        told = [line for line in self.node.log if _wanted(line, item)][-item.lines :]
        return Frame(f"j|{number}|sudo|file|{path}", "".join(f"{line}\n" for line in told).encode(), 0)

    def _pid(self, unit: str) -> int:
        found = self.node.units.get(unit)
        return found.pid if found is not None else 1

    def command(self, number: int, item: Command) -> list[Frame]:
        node, argument = self.node, item.arguments[0] if item.arguments else ""
        plain = f"c|{number}|{item.id}||plain"
        match item.id:
            case "versions":
                return [Frame(plain, versions(node).encode(), 0)]
            case "unit":
                return [Frame(plain, self._units(item.arguments or UNITS).encode(), 0)]
            case "os-ca":
                path = next((path for path in OS_CA if path in node.files), "")
                return self.file(number, path, 0, digest=True) if path else []
            case "os-release":
                text = b'PRETTY_NAME="Ubuntu 24.04.2 LTS"\nID=ubuntu\nVERSION_ID="24.04"\n'
                return [Frame(f"f|{number}|ok|plain|{len(text)} 1700000000 644 root:root regular file|/etc/os-release", text, 0)]  # fmt: skip
            case "arch":
                return [Frame(plain, f"{node.arch}\n".encode(), 0)]
            case "df":
                return [Frame(plain, _df(node).encode(), 0)]
            case "mtu":
                return [Frame(plain, b"lo 65536\neth0 1500\ncni0 1450\n", 0)]
            case "getent":
                return [self._getent(number, host) for host in item.arguments]
            case "processes":
                return [Frame(plain, self._processes().encode(), 0)]
            case "timesync":
                synced = "yes" if node.clock_synced else "no"
                return [Frame(plain, f"Timezone=Etc/UTC\nNTP={synced}\nNTPSynchronized={synced}\n".encode(), 0)]
            case "environ":
                return [self._environ(number, unit) for unit in item.arguments or ("containerd",)]
            case "sudo":
                return [Frame(plain, b"(ALL) NOPASSWD: ALL\n" if node.sudo else b"", 0 if node.sudo else 1)]
            case "images":
                return [
                    self._root(number, item.id, argument, json.dumps({"images": [{"repoTags": sorted(node.images)}]}))
                ]
            case _:
                # `crictl info`, `containerd config dump` and `ctr plugins ls` need the runtime itself, which is not modelled.
                return [
                    Frame(f"c|{number}|{item.id}|{argument}|plain", b"", 127),
                    Frame(f"e|{number}", f"{item.id.partition('-')[0]}: command not found".encode(), 0),
                ]

    def _root(self, number: int, name: str, argument: str, text: str) -> Frame:
        if not self.node.sudo:
            return Frame(f"c|{number}|{name}|{argument}|denied", b"", 1)
        return Frame(f"c|{number}|{name}|{argument}|sudo", text.encode(), 0)

    def _getent(self, number: int, host: str) -> Frame:
        address = address_of(self.state, self.node, host)
        if not address:
            return Frame(f"c|{number}|getent|{host}|plain", b"", 2)
        text = f"{address}   STREAM {host}\n{address}   DGRAM  \n{address}   RAW    \n"
        return Frame(f"c|{number}|getent|{host}|plain", text.encode(), 0)

    def _environ(self, number: int, unit: str) -> Frame:
        found = self.node.units.get(unit)
        if found is None or not found.active:
            return Frame(f"c|{number}|environ|{unit}|absent", b"", 0)
        return self._root(
            number, "environ", unit, "".join(f"{name}={value}\0" for name, value in found.environ.items())
        )

    def _units(self, names: Sequence[str]) -> str:
        shown, processes, stamps = [], [], []
        for name in names:
            unit = self.node.units.get(name)
            if unit is None:
                shown.append(
                    f"Id={name}.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nMainPID=0\n"
                )
                continue
            state = ("active", "running") if unit.active else ("activating", "auto-restart")
            shown.append(
                f"Id={name}.service\nLoadState=loaded\nActiveState={state[0]}\nSubState={state[1]}\nMainPID={unit.pid if unit.active else 0}\n"
                f"ExecMainStartTimestamp={_systemd(unit.since)}\nFragmentPath={unit.fragment}\nDropInPaths={' '.join(drop_ins(self.node, name))}\nNeedDaemonReload=no\nNRestarts=0\n"
            )
            processes.append(f"exe {unit.pid} {unit.exe}\nargs {unit.pid} {chr(31).join(unit.cmdline)}")
            stamps.append(f"epoch {int(unit.since)} {_systemd(unit.since)}")
        return "\n".join(shown) + "\n--\n" + "\n".join([*processes, *stamps, "btime 1770000000", "ticks 100"]) + "\n"

    def _processes(self) -> str:
        lines = []
        for unit in self.node.units.values():
            if unit.active:
                lines.append(f"{unit.pid:7d} {_lstart(unit.since)} {' '.join(unit.cmdline)}")
                lines += _children(self.node, unit)
        return "".join(f"{line}\n" for line in lines)


def _children(node: Node, unit: Unit) -> list[str]:
    """k3s and RKE2 start containerd and the kubelet themselves."""
    if not node.rancher or unit.name != node.service:
        return []
    agent = f"/var/lib/rancher/{node.rancher}/agent"
    return [
        f"{unit.pid + 8:7d} {_lstart(unit.since + 1)} containerd -c {agent}/etc/containerd/config.toml",
        f"{unit.pid + 43:7d} {_lstart(unit.since + 2)} kubelet --config-dir={agent}/etc/kubelet.conf.d --hostname-override={node.name} --v=2",
    ]


def _wanted(line: str, item: Journal) -> bool:
    if item.grep and not any(word in line for word in item.grep):
        return False
    return item.since is None or _time(line) >= item.since


def _time(line: str) -> float:
    text = line.partition('time="')[2].partition('"')[0] or line.partition(" ")[0]
    try:
        return datetime.fromisoformat(text.replace("000Z", "+00:00") if text.endswith("000Z") else text).timestamp()
    except ValueError:
        return 0.0


def _syslog(line: str) -> str:
    return datetime.fromtimestamp(_time(line), UTC).strftime("%b %d %H:%M:%S")


def _systemd(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%a %Y-%m-%d %H:%M:%S UTC")


def _lstart(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%a %b %e %H:%M:%S %Y")


def _df(node: Node) -> str:
    used = 193 * node.disk_used // 100
    return f"""Filesystem     Type  Size  Used Avail Use% Mounted on
/dev/nvme0n1p1 ext4  193G {used:4d}G {193 - used:4d}G {node.disk_used:3d}% /
Filesystem       Inodes  IUsed    IFree IUse% Mounted on
/dev/nvme0n1p1 25804800 652091 25152709    3% /
"""

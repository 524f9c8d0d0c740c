"""`systemctl show` and /proc of a node, and a process's environment, read into what `units.json` and `environ-<unit>.txt` hold."""

from __future__ import annotations

import re
from typing import Any

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|_KEY(=|$)|CREDENTIAL|DATASTORE_ENDPOINT", re.IGNORECASE)


def units(text: str) -> dict[str, dict[str, Any]]:
    """Unit name to its state. The text: `systemctl show` of several units, `--`, then lines `exe`, `args`, `stat`, `epoch`, `btime`, `ticks`."""
    shown, _, rest = text.partition("\n--\n")
    facts = _Process(rest)
    found: dict[str, dict[str, Any]] = {}
    for record in _records(shown):
        name = record.get("Id", "").removesuffix(".service")
        if not name or record.get("LoadState") == "not-found":
            continue
        pid = int(record["MainPID"]) if record.get("MainPID", "").isdigit() else 0
        found[name] = {
            "active": record.get("ActiveState") == "active",
            "state": "/".join(part for part in (record.get("ActiveState"), record.get("SubState")) if part),
            "since": facts.since(record.get("ExecMainStartTimestamp", ""), pid),
            "pid": pid or None,
            "exe": facts.exe.get(pid) or None,
            "cmdline": facts.arguments.get(pid, []),
            "fragment": record.get("FragmentPath", ""),
            "drop_ins": record.get("DropInPaths", "").split(),
            "need_reload": {"yes": True, "no": False}.get(record.get("NeedDaemonReload", "")),
            "restarts": int(record["NRestarts"]) if record.get("NRestarts", "").isdigit() else None,
        }
    return found


def environment(text: str) -> str:
    """NUL-separated variables as lines, without those whose name says that they hold a secret; newlines in values become blanks."""
    lines = [part.replace("\n", " ") for part in text.split("\0") if "=" in part]
    return "".join(f"{line}\n" for line in lines if not _SECRET.search(line.partition("=")[0]))


class _Process:
    def __init__(self, text: str) -> None:
        self.exe: dict[int, str] = {}
        self.arguments: dict[int, list[str]] = {}
        self._ticks_at: dict[int, int] = {}
        self._epoch: dict[str, float] = {}
        self._boot: float | None = None
        self._rate = 100
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            first, _, value = rest.partition(" ")
            match word:
                case "exe" if first.isdigit():
                    self.exe[int(first)] = value.removesuffix(" (deleted)").strip()
                case "args" if first.isdigit():
                    self.arguments[int(first)] = [part for part in value.split("\x1f") if part]
                case "stat" if first.isdigit():
                    # Field 22 is the start time in ticks since boot; the name in brackets before it may hold blanks.
                    after = value.rpartition(")")[2].split()
                    if len(after) > 19 and after[19].isdigit():
                        self._ticks_at[int(first)] = int(after[19])
                case "epoch" if first.isdigit():
                    self._epoch[value.strip()] = float(first)
                case "btime" if rest.strip().isdigit():
                    self._boot = float(rest)
                case "ticks" if rest.strip().isdigit():
                    self._rate = int(rest) or 100

    def since(self, stamp: str, pid: int) -> float | None:
        """systemd's own stamp, read by the node's `date`; else the start time of the process."""
        if stamp in self._epoch:
            return self._epoch[stamp]
        if self._boot is not None and pid in self._ticks_at:
            return self._boot + self._ticks_at[pid] / self._rate
        return None


def _records(text: str) -> list[dict[str, str]]:
    """`key=value` lines, one record for each unit: apart by a blank line, or where a key comes again."""
    records: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals:
            if records[-1]:
                records.append({})
            continue
        if key in records[-1]:
            records.append({})
        records[-1][key] = value
    return [record for record in records if record]

"""Output of `df -P`/`df -hP`/`df -hPT` and `df -iP`: how full the file systems are."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    mount: str
    used_percent: float
    inodes: bool

    @property
    def free_percent(self) -> float:
        return 100.0 - self.used_percent


_LINE = re.compile(r"\s(\d+)%\s+(/\S*)\s*$")


def parse_df(text: str) -> tuple[Usage, ...]:
    """Every line with a percentage and a mount point; a header with `Inodes` or `IUse%` starts the inode part."""
    found = []
    inodes = False
    for line in text.splitlines():
        if line.startswith("Filesystem"):
            inodes = "Inodes" in line or "IUse" in line
        elif match := _LINE.search(line):
            found.append(Usage(match[2], float(match[1]), inodes))
    return tuple(found)


def least_free(usages: tuple[Usage, ...], paths: tuple[str, ...]) -> float | None:
    """The least free percentage, blocks or inodes, of the file systems that hold the paths; None without a line for any."""
    free = []
    for inodes in (False, True):
        for path in paths:
            covering = [usage for usage in usages if usage.inodes is inodes and _below(path, usage.mount)]
            if covering:
                free.append(max(covering, key=lambda usage: len(usage.mount)).free_percent)
    return min(free) if free else None


def _below(path: str, mount: str) -> bool:
    return mount in ("/", path) or path.startswith(mount.rstrip("/") + "/")

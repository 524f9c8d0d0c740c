"""Start to first frame, on a terminal: from the start of the process to the first text on the screen, beside an empty Textual app."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import ROOT, Row, main, turns

EMPTY = """
from textual.app import App
from textual.widgets import Static
class Empty(App):
    def compose(self):
        yield Static("starting")
Empty().run()
"""


def frame(words: Sequence[str], home: Path, mark: bytes = b"starting") -> float:
    """Seconds until the mark is drawn; the process is ended then."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    env = {**os.environ, "HOME": str(home), "TERM": "xterm-256color", "XDG_CACHE_HOME": str(home / "cache")}
    env.pop("KUBECONFIG", None)
    began = time.perf_counter()
    process = subprocess.Popen(
        words, stdin=follower, stdout=follower, stderr=follower, cwd=ROOT, env=env, start_new_session=True
    )
    os.close(follower)
    seen = b""
    try:
        while mark not in seen:
            chunk = os.read(leader, 65536)
            if not chunk:
                raise RuntimeError(f"it ended before its first frame: {seen[-400:]!r}")
            seen += chunk
        return time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(leader)


def measure() -> list[Row]:
    """Eleven times each, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        ours = [sys.executable, "-m", "app", "--no-ssh", "--no-http"]
        empty = [sys.executable, "-c", EMPTY]
        frame(ours, home), frame(empty, home)  # byte code and file cache are warm for both
        mine, theirs, ratio = turns(lambda: frame(ours, home), lambda: frame(empty, home), 11)
    return [
        Row(
            "start to first frame",
            f"{mine * 1000:.0f} ms",
            f"{theirs * 1000:.0f} ms, an empty Textual app",
            f"{ratio:.2f} ×",
            "≤ 1.5 ×",
            ratio <= 1.5,
        )
    ]


if __name__ == "__main__":
    main(measure)

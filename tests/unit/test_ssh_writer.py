"""The script that restarts a unit, run by a real shell with a systemctl of our own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from app.clients.ssh_writer import _RESTART


def test_units_are_loaded_anew_before_a_restart_whatever_systemd_says_of_their_age(tmp_path: Path) -> None:
    # A drop-in that was put back with its old time is not newer than what is loaded, and yet another one.
    seen = tmp_path / "seen"
    tool = tmp_path / "systemctl"
    tool.write_text(
        f'#!/bin/sh\necho "$1" >> {seen}\ncase $1 in show) echo NeedDaemonReload=no ;; is-active) echo active ;; esac\n'
    )
    tool.chmod(0o755)
    script = 'die() { echo "$2"; exit "$1"; }\n' + _RESTART.format(unit="containerd", seconds=9)
    done = subprocess.run(
        ["/bin/sh"], input=script, capture_output=True, text=True, timeout=30, check=False,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    words = seen.read_text().split()
    assert words.index("daemon-reload") < words.index("restart")

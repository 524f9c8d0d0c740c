"""Running a program of the operator's machine with a time limit that also ends what it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended. `stdout` may hold a credential."""

    code: int
    stdout: str
    stderr: str


def run(argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None, stdin: str = "") -> Done:
    """With nothing but `stdin` on its standard input, in a group of its own. Raises TimeoutError, after the whole group was ended, and OSError when it cannot start."""
    process = subprocess.Popen(
        list(argv), stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=env, start_new_session=True
    )  # fmt: skip
    with process:
        try:
            stdout, stderr = process.communicate(stdin or None, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            # A child of the program would hold the pipes open for as long as it lives.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise TimeoutError(f"{argv[0]} did not end within {timeout:.0f} s") from error
    return Done(process.returncode, stdout, stderr)

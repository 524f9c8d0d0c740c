"""Recordings of real parts lie beside the repository, in `../shared`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with `lab/recordings` and `corpus`. Without it the tests are skipped, but never in CI."""
    if not (SHARED / "lab" / "recordings").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is missing")
        pytest.skip(f"{SHARED} is missing")
    return SHARED

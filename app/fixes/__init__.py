"""Registry of fixes that can be planned: one line for each module."""

from __future__ import annotations

from app.fixes.base import Fix

ALL: tuple[Fix, ...] = ()

BY_ID = {fix.id: fix for fix in ALL}

"""Registry of fixes that can be planned: one line for each module. Any other id of the rulebook is told in words."""

from __future__ import annotations

from typing import Final

from app.fixes import harbor_api, harbor_core, kube_image, kube_lists, kube_pods, kube_secrets, node, words
from app.fixes.base import Fix

ALL: Final[tuple[Fix, ...]] = (
    *kube_secrets.FIXES,
    *kube_lists.FIXES,
    *kube_image.FIXES,
    *kube_pods.FIXES,
    *harbor_core.FIXES,
    *harbor_api.FIXES,
    *words.FIXES,
    *node.FIXES,
)

BY_ID: Final = {fix.id: fix for fix in ALL}


def find(fix: str) -> Fix:
    """The planner of a fix; for an id without one of its own, the one that tells it in words."""
    return BY_ID.get(fix) or Fix(fix, words.plan_words)

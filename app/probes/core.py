"""Probes of the area `core`."""

from __future__ import annotations

from app.probes.base import Probe

PROBES: tuple[Probe, ...] = ()

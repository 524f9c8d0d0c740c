"""Probes of the area `clocks`."""

from __future__ import annotations

from app.probes.base import Probe

PROBES: tuple[Probe, ...] = ()

"""Probes of the area `harbor`."""

from __future__ import annotations

from app.probes.base import Probe

PROBES: tuple[Probe, ...] = ()

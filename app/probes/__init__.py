"""Registry of probes: one line for each module."""

from __future__ import annotations

from app.probes import clocks, core, harbor, host, image, kube, registry, runtime, secrets, text
from app.probes.base import Probe

ALL: tuple[Probe, ...] = (
    *text.PROBES,
    *image.PROBES,
    *kube.PROBES,
    *secrets.PROBES,
    *runtime.PROBES,
    *host.PROBES,
    *registry.PROBES,
    *clocks.PROBES,
    *harbor.PROBES,
    *core.PROBES,
)

BY_ID = {probe.id: probe for probe in ALL}

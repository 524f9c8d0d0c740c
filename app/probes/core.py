"""Probes of the area `core`: the core pods, hashes inside them, their logs."""

from __future__ import annotations

from app.probes.base import Probe
from app.probes.core_logs import read_logs
from app.probes.core_pods import read_exec, read_pods
from app.probes.harbor_wants import want_core_logs, want_exec, want_pods

PROBES: tuple[Probe, ...] = (
    Probe(
        "core.pods",
        (
            "core.ready", "core.rolling", "core.secret_kid", "core.key_pinned", "core.config_digest", "core.job_secret_differs",
            "core.local_loopback", "core.owner",
        ),
        read_pods,
        want_pods,
    ),
    Probe(
        "core.exec",
        ("core.key_hash", "core.key_form", "core.secretkey_hash", "core.secretkey_len", "core.registry_login_ok"),
        read_exec,
        want_exec,
    ),
    Probe(
        "core.logs",
        ("core.log", "core.offender", "core.offender_is_client", "core.refused_is_mirror_login", "core.upstream_refused_on"),
        read_logs,
        want_core_logs,
    ),
)  # fmt: skip

"""Probes of the area `harbor`: API answers, the inner registry, and what stands before them."""

from __future__ import annotations

from app.probes.base import Probe
from app.probes.harbor_api import read_harbor
from app.probes.harbor_artifact import read_artifact, read_robot
from app.probes.harbor_front import read_ingress, read_proxy_log
from app.probes.harbor_place import best_vantage, locate_harbor
from app.probes.harbor_project import read_endpoint, read_project
from app.probes.harbor_registry import read_registry_log, read_registry_settings
from app.probes.harbor_wants import (
    want_artifact,
    want_endpoint,
    want_harbor,
    want_place,
    want_pods,
    want_project,
    want_registry_logs,
    want_robot,
)

__all__ = ["PROBES", "best_vantage", "locate_harbor"]

PROBES: tuple[Probe, ...] = (
    Probe(
        "harbor.api",
        (
            "harbor.version", "harbor.external_url", "harbor.read_only", "harbor.auth_mode", "harbor.component_down", "harbor.volume_free",
            "harbor.robot_prefix", "harbor.instances",
        ),
        read_harbor,
        want_harbor,
    ),
    Probe(
        "project.api",
        (
            "project.exists", "project.new", "project.public", "project.proxy_of", "project.role", "project.role_allows", "project.policy",
            "project.immutable_match", "project.quota_left",
        ),
        read_project,
        want_project,
    ),
    Probe(
        "artifact.api",
        ("artifact.exists", "artifact.repo_exists", "artifact.deleted", "artifact.signed", "artifact.index_stored"),
        read_artifact,
        want_artifact,
    ),
    Probe(
        "robot.api",
        ("robot.exists", "robot.disabled", "robot.expires", "robot.allows", "robot.updated"),
        read_robot,
        want_robot,
    ),
    Probe(
        "endpoint.api",
        (
            "endpoint.type", "endpoint.url", "endpoint.scheme", "endpoint.url_odd", "endpoint.upstream_public", "endpoint.status",
            "endpoint.ping", "endpoint.has_login",
        ),
        read_endpoint,
        want_endpoint,
    ),
    Probe("registry.read", ("registry.log",), read_registry_log, want_registry_logs),
    Probe(
        "registry.more",
        (
            "registry.saw_request", "registry.pods", "registry.secret_hash", "registry.passwd_hash", "registry.shared_storage",
            "registry.redirect_off", "registry.relative_urls",
        ),
        read_registry_settings,
        want_pods,
    ),
    Probe("proxy.log", ("upload.redirect_seen",), read_proxy_log),
    Probe("ingress.read", ("ingress.timeout", "ingress.sends_proto"), read_ingress, want_place),
)  # fmt: skip

"""Probes read from exchanges with the registry, its mirrors, its token service and its storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from app.model.evidence import Evidence
from app.model.material import Material
from app.probes import (
    registry_manifest,
    registry_net,
    registry_ping,
    registry_project,
    registry_push,
    registry_token,
    registry_trust,
    registry_wants,
)
from app.probes.base import Probe, Scene, Want
from app.probes.registry_scene import Registry, registry_of


def _reads(read: Callable[[Registry], Iterable[Evidence]]) -> Callable[[Material, Scene], Iterable[Evidence]]:
    def from_material(material: Material, scene: Scene) -> Iterable[Evidence]:
        return tuple(read(registry_of(material, scene)))

    return from_material


def _both(*wants: Callable[[Material, Scene], Iterable[Want]]) -> Callable[[Material, Scene], Iterable[Want]]:
    return lambda material, scene: (want for one in wants for want in one(material, scene))


def _ping(registry: Registry) -> Iterable[Evidence]:
    yield from registry.troubles
    yield from registry_ping.ping(registry)


PROBES: tuple[Probe, ...] = (
    Probe("tcp.probe", ("tcp.state",), _reads(registry_net.connection), registry_wants.network),
    Probe(
        "tls.read",
        (
            "tls.state",
            "tls.names",
            "tls.name_covered",
            "tls.ingress_default",
            "tls.not_before",
            "tls.not_after",
            "tls.valid_now",
            "tls.valid_at_node",
        ),
        _reads(registry_net.handshake),
    ),
    Probe(
        "tls.chain",
        (
            "tls.served",
            "tls.self_issued",
            "tls.chain_links",
            "tls.issuer_subject",
            "tls.issuer_key",
            "tls.issuer_product",
        ),
        _reads(registry_net.served),
    ),
    Probe(
        "trust.verify",
        (
            "trust.accepts_chain",
            "trust.anchor_subject",
            "trust.anchor_key",
            "trust.pinned_leaf",
            "trust.with_intermediate",
            "trust.newer_than_runtime",
            "trust.store_time",
            "trust.elsewhere",
        ),
        _reads(registry_trust.trust),
        registry_wants.trust_files,
    ),
    Probe(
        "ping.get",
        (
            "ping.is_registry",
            "ping.is_harbor",
            "ping.realm",
            "ping.redirect",
            "ping.plain_http",
            "ping.port80_http",
            "ping.server",
        ),
        _reads(_ping),
    ),
    Probe(
        "realm.probe",
        ("realm.same_host", "realm.scheme_served", "realm.reachable", "realm.answer"),
        _reads(registry_ping.realm),
        registry_wants.realm,
    ),
    Probe(
        "token.anon",
        (
            "token.kid",
            "token.date_gap",
            "token.anon_status",
            "token.empty",
            "token.ttl",
            "token.key_public",
            "token.backends",
        ),
        _reads(registry_token.anonymous),
        registry_wants.tokens,
    ),
    Probe(
        "token.login",
        ("token.login", "token.login_ms", "token.login_trimmed", "token.login_fields", "token.sub", "token.actions"),
        _reads(registry_token.login),
        _both(registry_wants.login, registry_push.login),
    ),
    Probe("project.seen", ("project.known",), _reads(registry_project.known), registry_project.wants),
    Probe(
        "bearer.probe",
        ("bearer.refused_share", "bearer.per_pod"),
        _reads(registry_token.bearer),
        _both(registry_wants.bearer, registry_push.bearer),
    ),
    Probe(
        "manifest.get",
        (
            "manifest.status",
            "manifest.anon_status",
            "manifest.code",
            "manifest.message",
            "manifest.says",
            "manifest.kind",
            "manifest.config_is_image",
            "manifest.platforms",
            "manifest.config_arch",
            "manifest.get_only",
        ),
        _reads(registry_manifest.manifest),
        _both(registry_wants.manifest, registry_push.tag),
    ),
    Probe(
        "blob.get",
        ("blob.status", "blob.redirect_state", "blob.hash_ok", "blob.hash_ok_source"),
        _reads(registry_manifest.blob),
        registry_wants.blobs_and_config,
    ),
    Probe(
        "upstream.get",
        ("upstream.status", "upstream.with_library"),
        _reads(registry_manifest.upstream),
        registry_wants.upstream,
    ),
    Probe("upload.start", ("upload.location_ok",), _reads(registry_manifest.upload), registry_push.upload),
)

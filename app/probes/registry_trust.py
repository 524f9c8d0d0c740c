"""`trust.verify`: the chain that a node is served, verified by us against the anchors that its runtime would use (node.md 4)."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509

from app.model.evidence import Evidence, Of, Outcome, Value
from app.model.target import Target
from app.parsers.clock import parse_time
from app.parsers.redact import redact
from app.parsers.x509 import Certificate
from app.parsers.x509_verify import issued_by, links, may_sign, verify
from app.probes.registry_anchors import (
    OS_BUNDLES,
    Anchors,
    added_anchors,
    anchors_of,
    has_entry,
    nodes_with_runtime,
    runtime_started,
    was_looked_at_sources,
)
from app.probes.registry_chains import SeenChain, chains, distinctive_words, known_certificates
from app.probes.registry_scene import Registry
from app.probes.runtime_setup import newer_than


def trust(registry: Registry) -> Iterable[Evidence]:
    """One piece of evidence for each node whose anchors are known, about the registry's own host."""
    place = registry.place
    if place is None:
        return
    served = [
        chain
        for chain in chains(registry)
        if chain.host == place.host and chain.of in (Of.THIS, Of.HEALTHY) and chain.certificates
    ]
    by_node = {chain.target.get("node"): chain for chain in served}
    known = known_certificates(registry.material) if served else ()
    for node in nodes_with_runtime(registry.material):
        chain = by_node.get(node) or by_node.get(None)
        anchors = anchors_of(registry.material, node, place)
        of = Of.HEALTHY if node in registry.scene.incident.healthy_nodes else Of.THIS
        target = Target.of(node=node, registry=registry.name, host=str(place))
        if chain is None:
            continue
        if anchors.configured is None and anchors.pool is None:
            yield Evidence(
                "trust.verify", target, f"node/{node}", Outcome.SKIPPED, of=of,
                detail="neither the CA file in force nor the system's CA bundle of this node was read",
                by_hand=f"cat {OS_BUNDLES[0]}; cat /etc/containerd/certs.d/{place}/hosts.toml",
            )  # fmt: skip
            continue
        facts = _facts(registry, node, chain, anchors, known)
        if facts:
            where = ", ".join(anchors.files) or "no CA file for this registry"
            yield Evidence(
                "trust.verify", target, f"node/{node}", facts=facts, of=of, taken_at=chain.taken_at,
                excerpt=redact(f"{where}; system bundle {'read' if anchors.pool is not None else 'not read'}"),
                command=f"openssl verify -partial_chain -CAfile {anchors.files[0] if anchors.files else OS_BUNDLES[0]} served.pem",
            )  # fmt: skip


def _facts(
    registry: Registry, node: str, chain: SeenChain, anchors: Anchors, known: tuple[Certificate, ...]
) -> dict[str, Value]:
    now = registry.scene.now or None
    pool = (*(anchors.configured or ()), *(anchors.pool or ()))
    whole = anchors.configured is not None and anchors.pool is not None
    top, leaf = chain.certificates[-1], chain.certificates[0]
    facts: dict[str, Value] = {}
    if anchors.skips:
        return facts
    accepts = _accepts(chain.certificates, pool, now, whole=whole)
    if accepts is not None:
        facts["trust.accepts_chain"] = accepts
    same_name = next((one for one in pool if one.subject == top.issuer), None)
    anchor = verify(chain.certificates, pool, None).anchor or same_name or next(iter(anchors.configured or ()), None)
    if anchor is not None:
        facts |= {"trust.anchor_subject": anchor.subject, "trust.anchor_key": anchor.subject_key}
    elif whole:
        facts["trust.anchor_subject"] = "none"
    if anchors.configured is not None:
        facts["trust.pinned_leaf"] = any(
            one.is_ca is False and one.subject == leaf.subject for one in anchors.configured
        )
    helped = _with_intermediate(chain, pool, known, now, accepts)
    if helped is None and accepts is False and whole and not _could_be_completed(registry, node, chain, anchors):
        helped = False
    if helped is not None:
        facts["trust.with_intermediate"] = helped
    facts |= _store(registry, node, anchors)
    elsewhere = next(
        (
            kind
            for kind, certificates in anchors.unread
            if verify(chain.certificates, certificates, now, served_dates=False).accepts
        ),
        None,
    )
    if elsewhere is None and _healthy_have_it(registry, node, chain, now):
        elsewhere = "healthy-node"
    if elsewhere is not None:
        facts["trust.elsewhere"] = elsewhere
    elif anchors.looked:
        facts["trust.elsewhere"] = "none"
    return facts


def _healthy_have_it(registry: Registry, node: str, chain: SeenChain, now: float | None) -> bool:
    """Nodes on which the image works have the CA in an entry for this registry, and this node has no such entry."""
    healthy, place = registry.scene.incident.healthy_nodes, registry.place
    if place is None or node in healthy or has_entry(registry.material, node, place) is not False:
        return False
    theirs = (anchors_of(registry.material, other, place).configured or () for other in healthy)
    return any(verify(chain.certificates, anchors, now, served_dates=False).accepts for anchors in theirs if anchors)


def _accepts(
    certificates: tuple[Certificate, ...], pool: tuple[Certificate, ...], now: float | None, *, whole: bool
) -> bool | None:
    """Whether the authority is trusted; the dates of what is served are facts of their own (`tls.not_after`).

    True and False by signatures; where the chain is known as text only, by key ids. None where a part is not known."""
    verdict = verify(certificates, pool, now, served_dates=False)
    if verdict.accepts:
        return True
    undecided = any(issued_by(one, anchor) is None for one in certificates for anchor in pool if may_sign(anchor))
    printed_only = any(not one.pem for one in certificates) and not any(one.issuer_key for one in certificates)
    return None if undecided or printed_only or not whole else False


def _with_intermediate(
    chain: SeenChain,
    pool: tuple[Certificate, ...],
    known: tuple[Certificate, ...],
    now: float | None,
    accepts: bool | None,
) -> bool | None:
    """Whether the chain passes once a certificate that the server does not send, but that is known here, is added."""
    if accepts is not False:
        return None
    middles = tuple(one for one in known if may_sign(one) and not one.self_issued and one not in chain.certificates)
    if middles and verify((*chain.certificates, *middles), pool, now, served_dates=False).accepts:
        return True
    linked = links(chain.certificates, chain.served, known)
    return False if linked else None


def _could_be_completed(registry: Registry, node: str, chain: SeenChain, anchors: Anchors) -> bool:
    """Whether some certificate that nobody here has seen could still lead from the served ones to an anchor of the node.

    No anchor is set for this registry, so only the system's bundle is left. A public CA may not issue a certificate
    without policies (Baseline Requirements 7.1.2.7), and one of a private PKI with several levels says where its issuer is to be had. So what
    has neither can only hang from a CA that somebody added to the node's store, and of those only one with a kindred name counts.
    """
    top = chain.certificates[-1]
    leaf = top.parsed
    if (
        anchors.configured is None
        or anchors.configured
        or leaf is None
        or not was_looked_at_sources(registry.material, node)
    ):
        return True
    if any(
        _has(leaf, kind)
        for kind in (x509.CertificatePolicies, x509.AuthorityInformationAccess, x509.CRLDistributionPoints)
    ):
        return True
    words = set(distinctive_words(top.issuer)) | set(distinctive_words(chain.certificates[0].subject))
    return any(
        words & set(distinctive_words(one.subject)) for one in added_anchors(registry.material, node) if may_sign(one)
    )


def _has(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(kind) is not None
    except (x509.ExtensionNotFound, ValueError):
        return False


def _store(registry: Registry, node: str, anchors: Anchors) -> dict[str, Value]:
    """Age of the system's bundle against the running process: a process reads it once."""
    changed = anchors.pool_changed
    if changed is None:
        return {}
    facts: dict[str, Value] = {"trust.store_time": changed}
    started = parse_time(runtime_started(registry.material, node))
    newer = newer_than(changed, started) if started is not None else None
    if newer is not None:
        facts["trust.newer_than_runtime"] = newer
    return facts

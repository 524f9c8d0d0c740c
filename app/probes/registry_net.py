"""`tcp.probe`, `tls.read` and `tls.chain`: connection, handshake and the chain that a host serves, by vantage (node.md 4, 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from app.model.evidence import Evidence, Of, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.clock import Offset, parse_time_json
from app.parsers.x509 import Certificate, covers
from app.parsers.x509_verify import links
from app.probes.registry_chains import (
    SeenChain,
    chains,
    configured_roots,
    distinctive_words,
    host_target,
    known_certificates,
)
from app.probes.registry_scene import Registry, Seen, evidence, united

_INGRESS_DEFAULT: Final = (
    "kubernetes ingress controller fake certificate",
    "traefik default cert",
    "haproxy default",
    "ingress default",
)
_PRODUCTS: Final = (
    "zscaler", "fortinet", "fortigate", "palo alto", "blue coat", "bluecoat", "sophos", "check point", "checkpoint", "umbrella",
    "netskope", "mcafee", "trellix", "kaspersky", "squid", "mitmproxy", "forcepoint", "websense", "bitdefender", "eset ssl",
    "watchguard", "barracuda", "sonicwall", "untangle", "iboss", "charles proxy", "portswigger", "cato networks", "cisco secure",
)  # fmt: skip
_NO_ISSUER: Final = re.compile(r"unable to get (local )?issuer certificate|unable to verify the first certificate")
_MIDDLE: Final = re.compile(
    r"\b(issuing|intermediate|subordinate|sub|server|tls|ssl|signing|authority x\d|[er]\d{1,2})\b", re.IGNORECASE
)


def connection(registry: Registry) -> Iterable[Evidence]:
    """`tcp.state` for each host and vantage. Attempts that differ become tries; one that came through a proxy says nothing."""
    groups: dict[tuple[Target, str, Of], list[Seen]] = {}
    for seen in registry.seen:
        if seen.exchange.tcp and not seen.exchange.proxy:
            groups.setdefault((host_target(seen), seen.exchange.vantage, _vantage_of(seen)), []).append(seen)
    for (target, _, of), members in groups.items():
        yield from _by_try("tcp.probe", "tcp.state", target, of, [(seen, seen.exchange.tcp) for seen in members])


def handshake(registry: Registry) -> Iterable[Evidence]:
    """`tls.read`: what the handshake showed and whether the certificate fits name and time."""
    return united(_handshake(registry))


def _handshake(registry: Registry) -> Iterable[Evidence]:
    groups: dict[tuple[Target, str, Of], list[Seen]] = {}
    for seen in registry.seen:
        if seen.exchange.tls is not None:
            groups.setdefault((host_target(seen), seen.exchange.vantage, _vantage_of(seen)), []).append(seen)
    for (target, _, of), members in groups.items():
        yield from _by_try(
            "tls.read",
            "tls.state",
            target,
            of,
            [(seen, seen.exchange.tls.state) for seen in members if seen.exchange.tls],
        )
    now = registry.scene.now or None
    for chain in chains(registry):
        facts = _certificate_facts(chain, now)
        node = chain.target.get("node")
        if node:
            facts |= _at_node(registry.material, node, chain, now)
        yield chain.evidence("tls.read", facts)
        if not node and chain.of is Of.THIS:
            for name in registry.material.nodes():
                at_node = _at_node(registry.material, name, chain, now)
                if at_node:
                    yield replace(chain, target=chain.target.joined(Target.of(node=name))).evidence("tls.read", at_node)


# Organisations whose roots never issue a server's certificate themselves (CA/Browser Forum, Baseline Requirements 6.1.7).
_PUBLIC_CA: Final = re.compile(
    r"O=\"?(?:Let's Encrypt|DigiCert|Sectigo|COMODO|GlobalSign|GoDaddy|Starfield|Google Trust Services|ZeroSSL|Amazon\b|Entrust|GeoTrust"
    r"|thawte|SSL Corp|Buypass|Actalis|IdenTrust|Unizeto|Asseco|TrustAsia|QuoVadis|SwissSign|Microsoft Corporation)",
    re.IGNORECASE,
)


def served(registry: Registry) -> Iterable[Evidence]:
    """`tls.chain`: what is served and who issued it."""
    known = known_certificates(registry.material)
    for chain in chains(registry):
        if not chain.certificates:
            continue
        leaf, top = chain.certificates[0], chain.certificates[-1]
        facts: dict[str, Value] = {"tls.self_issued": leaf.self_issued} if leaf.subject and leaf.issuer else {}
        if top.issuer:
            facts["tls.issuer_subject"] = top.issuer
            facts["tls.issuer_product"] = any(product in f"{leaf.issuer} {top.issuer}".lower() for product in _PRODUCTS)
        count, linked = chain.served, links(chain.certificates, chain.served, known)
        detail = ""
        if linked is None and _link_is_missing(registry, chain, known):
            count, linked = 1, False
            detail = (
                "the issuer is named like an intermediate of the configured CA, and no check with that CA found a path"
            )
        if linked is None and count == 1 and not leaf.self_issued and _PUBLIC_CA.search(leaf.issuer):
            linked = False
            detail = "public CAs issue server certificates from intermediates only, and the server sent the leaf alone"
        if count is not None:
            facts["tls.served"] = count
        if linked is not None:
            facts["tls.chain_links"] = linked
        key = top.issuer_key or (top.subject_key if top.self_issued else "")
        if key:
            facts["tls.issuer_key"] = key
        if facts:
            yield chain.evidence("tls.chain", facts, detail)


def _link_is_missing(registry: Registry, chain: SeenChain, known: tuple[Certificate, ...]) -> bool:
    """A lone leaf below an unknown issuer that by its name is an intermediate of a CA known here.

    Checks with that CA failed for want of an issuer, and none succeeded: had the server sent the intermediate, they
    would have found the path. It rests on names, so it is enough for `likely` and no proof set uses it alone.
    """
    leaf = chain.certificates[0]
    if len(chain.certificates) != 1 or (chain.served or 1) != 1 or leaf.self_issued or not _MIDDLE.search(leaf.issuer):
        return False
    if any(certificate.subject == leaf.issuer for certificate in known):
        return False
    checks = [
        seen.exchange.tls
        for seen in registry.ours
        if seen.exchange.tls is not None and seen.exchange.tls.verified is not None
    ]
    if any(check.verified for check in checks) or not any(_NO_ISSUER.search(check.verify_error) for check in checks):
        return False
    words = set(distinctive_words(leaf.issuer))
    return any(
        certificate.self_issued and certificate.is_ca and words & set(distinctive_words(certificate.subject))
        for certificate in configured_roots(registry.material)
    )


def _vantage_of(seen: Seen) -> Of:
    """A connection seen from the desk is the second vantage of what the node tries."""
    return Of.ELSEWHERE if seen.of is Of.THIS and not seen.node else seen.of


def _by_try(probe: str, fact: str, target: Target, of: Of, values: list[tuple[Seen, str]]) -> Iterable[Evidence]:
    if len({value for _, value in values}) <= 1:
        if values:
            yield evidence(probe, values[-1][0], {fact: values[-1][1]}, target=target, of=of)
        return
    for number, (seen, value) in enumerate(values, 1):
        yield evidence(probe, seen, {fact: value}, target=target.joined(Target.of(**{"try": str(number)})), of=of)


def _certificate_facts(chain: SeenChain, now: float | None) -> dict[str, Value]:
    facts: dict[str, Value] = {}
    if not chain.certificates:
        return facts if chain.covered is None else {"tls.name_covered": chain.covered}
    leaf = chain.certificates[0]
    if leaf.names_seen:
        facts["tls.names"] = leaf.names
        facts["tls.name_covered"] = covers(leaf.names, chain.host)
    elif chain.covered is not None:
        facts["tls.name_covered"] = chain.covered
    facts["tls.ingress_default"] = any(word in leaf.subject.lower() for word in _INGRESS_DEFAULT)
    start, end = window(chain.certificates)
    if start is not None:
        facts["tls.not_before"] = start
    if end is not None:
        facts["tls.not_after"] = end
    valid = _valid(start, end, now)
    if valid is not None:
        facts["tls.valid_now"] = valid
    return facts


def window(certificates: tuple[Certificate, ...]) -> tuple[float | None, float | None]:
    """The time in which all of them are valid."""
    starts = [one.not_before for one in certificates if one.not_before is not None]
    ends = [one.not_after for one in certificates if one.not_after is not None]
    return max(starts, default=None), min(ends, default=None)


def _valid(start: float | None, end: float | None, at: float | None) -> bool | None:
    if at is None or (start is None and end is None):
        return None
    if (start is not None and at < start) or (end is not None and at > end):
        return False
    return True if start is not None and end is not None else None


def _at_node(material: Material, node: str, chain: SeenChain, now: float | None) -> dict[str, Value]:
    """`tls.valid_at_node`, unless the bound of the node's offset reaches over an edge of the window."""
    offset = node_offset(material, node)
    if offset is None or now is None:
        return {}
    start, end = window(chain.certificates)
    if not chain.certificates:
        return {}
    answers = {_valid(start, end, now + offset.seconds + shift) for shift in (-offset.bound, offset.bound)}
    answer = answers.pop() if len(answers) == 1 else None
    return {} if answer is None else {"tls.valid_at_node": answer}


def node_offset(material: Material, node: str) -> Offset | None:
    """The node's clock against the trusted one; None where it was not measured or is unreadable."""
    text = material.text(f"nodes/{node}/time.json")
    if text is None:
        return None
    try:
        return parse_time_json(text)
    except ValueError:
        return None  # clock.measure says so

"""`tcp.probe`, `tls.read` and `tls.chain`: connection, handshake and the chain that a host serves, by vantage (node.md 4, 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from app.model.evidence import Evidence, Of, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.clock import Offset, parse_time_json
from app.parsers.redact import redact
from app.parsers.tls import read_served_chain
from app.parsers.x509 import Certificate, covers, read_bundle
from app.parsers.x509_verify import links
from app.probes.registry_scene import Place, Registry, Seen, command_of, evidence, place_of_authority, united

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
_NO_NAME: Final = re.compile(
    r"no alternative certificate subject name|subjectAltName .*does not match|certificate subject name .* does not match"
)
_NO_ISSUER: Final = re.compile(r"unable to get (local )?issuer certificate|unable to verify the first certificate")
_MIDDLE: Final = re.compile(
    r"\b(issuing|intermediate|subordinate|sub|server|tls|ssl|signing|authority x\d|[er]\d{1,2})\b", re.IGNORECASE
)


def connection(registry: Registry) -> Iterable[Evidence]:
    """`tcp.state` for each host and vantage. Attempts that differ become tries; one that came through a proxy says nothing."""
    groups: dict[tuple[Target, str, Of], list[Seen]] = {}
    for seen in registry.seen:
        if seen.exchange.tcp and not seen.exchange.proxy:
            groups.setdefault((_host_target(seen), seen.exchange.vantage, _vantage_of(seen)), []).append(seen)
    for (target, _, of), members in groups.items():
        yield from _by_try("tcp.probe", "tcp.state", target, of, [(seen, seen.exchange.tcp) for seen in members])


def handshake(registry: Registry) -> Iterable[Evidence]:
    """`tls.read`: what the handshake showed and whether the certificate fits name and time."""
    return united(_handshake(registry))


def _handshake(registry: Registry) -> Iterable[Evidence]:
    groups: dict[tuple[Target, str, Of], list[Seen]] = {}
    for seen in registry.seen:
        if seen.exchange.tls is not None:
            groups.setdefault((_host_target(seen), seen.exchange.vantage, _vantage_of(seen)), []).append(seen)
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
    words = set(_words(leaf.issuer))
    return any(
        certificate.self_issued and certificate.is_ca and words & set(_words(certificate.subject))
        for certificate in configured_roots(registry.material)
    )


def _words(name: str) -> list[str]:
    """Words of a distinguished name that tell one organisation from another."""
    plain = {
        "ca",
        "root",
        "authority",
        "certificate",
        "certification",
        "issuing",
        "intermediate",
        "tls",
        "ssl",
        "the",
        "inc",
        "server",
        "signing",
        "sub",
    }
    return [
        word
        for part in name.split(", ")
        if part[:2] in ("CN", "O=")
        for word in re.findall(r"[a-z]{3,}", part.partition("=")[2].lower())
        if word not in plain
    ]


@dataclass(frozen=True, slots=True)
class SeenChain:
    """The chain a host serves, as one vantage saw it, with whatever was printed of it."""

    target: Target
    vantage: str
    of: Of
    host: str
    certificates: tuple[Certificate, ...]
    served: int | None
    covered: bool | None = None
    """What a tool said of the name, where the names themselves are not known."""
    taken_at: float | None = None
    command: str = ""

    def evidence(self, probe: str, facts: dict[str, Value], detail: str = "") -> Evidence:
        lines = [f"subject {one.subject}\nissuer {one.issuer}" for one in self.certificates[:4]]
        return Evidence(
            probe, self.target, self.vantage, facts=facts, of=self.of, excerpt=redact("\n".join(lines)),
            detail=detail, taken_at=self.taken_at, command=self.command,
        )  # fmt: skip


def chains(registry: Registry) -> tuple[SeenChain, ...]:
    """One chain for each host and vantage, the fullest that is known.

    What the desk saw stands for the registry only where no node saw a certificate; else it is the second vantage.
    """
    found: dict[tuple[str, str], SeenChain] = {}
    for seen in registry.seen:
        chain = _of_exchange(seen)
        if chain is None:
            continue
        key = (str(chain.target.only("node", "registry", "host")), seen.exchange.vantage)
        found[key] = _fuller(found[key], chain) if key in found else chain
    printed = _printed(registry)
    if printed is not None:
        key = (str(printed.target.only("node", "registry", "host")), printed.vantage)
        found[key] = _fuller(found[key], printed) if key in found and _agree(found[key], printed) else printed
    all_found = list(found.values())
    merged = [
        next((_adopt(chain, other) for other in all_found if other is not chain and _is_part_of(chain, other)), chain)
        for chain in all_found
    ]
    by_node = {
        chain.host
        for chain in merged
        if chain.certificates and chain.target.get("node") and chain.of in (Of.THIS, Of.HEALTHY)
    }
    return tuple(
        replace(chain, of=Of.ELSEWHERE)
        if chain.of is Of.THIS and not chain.target.get("node") and chain.host in by_node
        else chain
        for chain in merged
    )


def _of_exchange(seen: Seen) -> SeenChain | None:
    tls = seen.exchange.tls
    if tls is None or tls.state in ("plain-http", "reset", "stalled"):
        return None
    certificates = read_bundle("\n".join(tls.chain))
    count = len(certificates) or None
    if not certificates and (tls.subject or tls.issuer):
        certificates = (
            Certificate(tls.subject, tls.issuer, tls.not_before, tls.not_after, tls.names, names_seen=False),
        )
    covered = True if tls.names and not tls.chain else None
    if tls.verified is False and _NO_NAME.search(tls.verify_error):
        covered = False
    if not certificates and covered is None:
        return None
    host = seen.place.host if seen.place else (seen.target.get("host") or "")
    return SeenChain(
        _host_target(seen),
        seen.exchange.vantage,
        seen.of,
        host,
        certificates,
        count,
        covered,
        seen.exchange.taken_at,
        command_of(seen.exchange),
    )


def _printed(registry: Registry) -> SeenChain | None:
    """`registry/cert.txt`: of the host in its command, else of the registry itself."""
    text = registry.material.text("registry/cert.txt")
    if not text:
        return None
    chain = read_served_chain(text)
    if not chain.certificates:
        return None
    leaf = chain.certificates[0]
    place = place_of_authority(chain.dialled) if chain.dialled else _shown_by(registry, leaf)
    if place is None:
        return None
    if (
        leaf.names_seen
        and not leaf.names
        and f"CN={place.host}" not in leaf.subject
        and (leaf.self_issued or leaf.is_ca)
    ):
        return None  # some other certificate, e.g. a token root: no server shows this one for that host
    ours = registry.place is not None and place.same(registry.place)
    if ours and any(
        seen.exchange.tcp == "open" and seen.exchange.url.startswith("http://") and seen.exchange.status
        for seen in registry.ours
    ):
        return None  # that port speaks plain HTTP: the certificate is another one's
    of, belongs = (Of.THIS, True) if ours else registry.role(place)
    target = Target.of(registry=registry.name if belongs and registry.name else str(place), host=str(place))
    document = registry.material.get("registry/cert.txt")
    return SeenChain(
        target,
        "operator",
        of,
        place.host,
        chain.certificates,
        chain.served,
        None,
        document.taken_at if document else None,
        f"openssl s_client -connect {place}:443 -servername {place.host}"
        if not place.port
        else f"openssl s_client -connect {place} -servername {place.host}",
    )


def _shown_by(registry: Registry, leaf: Certificate) -> Place | None:
    """The host whose certificate was printed without a command: one that showed the same, or the only one asked from there."""
    asked: dict[str, Place] = {}
    for seen in registry.seen:
        place, tls = seen.place, seen.exchange.tls
        if seen.node or place is None or tls is None or tls.state == "plain-http":
            continue
        asked[str(place)] = place
        if (
            tls.subject
            and tls.issuer
            and _same_leaf(Certificate(tls.subject, tls.issuer, tls.not_before, tls.not_after), leaf)
        ):
            return place
    if asked:
        return next(iter(asked.values())) if len(asked) == 1 else None
    # Nobody dialled from there: the registry's own, unless it plainly is another host's.
    ours = registry.place
    return (
        ours
        if ours is not None
        and (covers(leaf.names, ours.host) or not any(covers(leaf.names, other.host) for other in registry.mirrors))
        else None
    )


def _rank(chain: SeenChain) -> tuple[bool, bool, int]:
    return (
        bool(chain.certificates and chain.certificates[0].pem),
        bool(chain.certificates and chain.certificates[0].names_seen),
        len(chain.certificates),
    )


def _fuller(one: SeenChain, other: SeenChain) -> SeenChain:
    best, rest = (one, other) if _rank(one) >= _rank(other) else (other, one)
    covered = (
        False if False in (one.covered, other.covered) else (best.covered if best.covered is not None else rest.covered)
    )
    return replace(best, covered=covered, served=best.served if best.served is not None else rest.served)


def _agree(one: SeenChain, other: SeenChain) -> bool:
    return not one.certificates or not other.certificates or _same_leaf(one.certificates[0], other.certificates[0])


def _same_leaf(one: Certificate, other: Certificate) -> bool:
    """No part that both show differs; a tool that stops at the name prints the subject and the dates only."""
    pairs = (
        (one.subject, other.subject),
        (one.issuer, other.issuer),
        (one.not_before, other.not_before),
        (one.not_after, other.not_after),
    )
    return bool(one.subject) and all(left == right for left, right in pairs if left and right)


def _is_part_of(part: SeenChain, whole: SeenChain) -> bool:
    if not part.certificates or not whole.certificates:
        return False
    return (
        part.host == whole.host
        and _rank(whole) > _rank(part)
        and _same_leaf(part.certificates[0], whole.certificates[0])
    )


def _adopt(part: SeenChain, whole: SeenChain) -> SeenChain:
    return replace(part, certificates=whole.certificates, served=whole.served)


def _host_target(seen: Seen) -> Target:
    return seen.target.only("node", "registry", "host")


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


@lru_cache(maxsize=128)
def certificates_in(text: str) -> tuple[Certificate, ...]:
    """Certificates of a PEM text; a CA bundle that many nodes share is read once."""
    return read_bundle(text)


def known_certificates(material: Material) -> tuple[Certificate, ...]:
    """Every certificate of which the material holds the PEM, wherever it lies."""
    found: dict[str, Certificate] = {}
    for document in material:
        if "-----BEGIN" in document.text and "CERTIFICATE-----" in document.text:
            for certificate in certificates_in(document.text):
                found.setdefault(certificate.pem, certificate)
    return tuple(found.values())


def configured_roots(material: Material) -> tuple[Certificate, ...]:
    """CA certificates in files of nodes that are not the operating system's own bundle."""
    found: list[Certificate] = []
    for document in material.glob("nodes/*/*.crt") + material.glob("nodes/*/*.pem"):
        certificates = certificates_in(document.text)
        if len(certificates) <= 10:
            found += certificates
    return tuple(found)

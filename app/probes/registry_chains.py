"""The certificate chain that each host serves, pieced together from exchanges, transcripts and `cert.txt`, by vantage."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from app.model.evidence import Evidence, Of, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.redact import redact
from app.parsers.tls import read_served_chain
from app.parsers.x509 import Certificate, covers, read_bundle
from app.probes.registry_scene import Place, Registry, Seen, command_of, place_of_authority

_NO_NAME: Final = re.compile(
    r"no alternative certificate subject name|subjectAltName .*does not match|certificate subject name .* does not match"
)


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
        host_target(seen),
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


def host_target(seen: Seen) -> Target:
    return seen.target.only("node", "registry", "host")


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


def distinctive_words(name: str) -> list[str]:
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

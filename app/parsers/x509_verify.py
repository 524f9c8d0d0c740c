"""Verifying a served chain against trust anchors as Go's crypto/x509 does: path, signatures, CA flag, dates (node.md 4.2, 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from app.parsers.x509 import Certificate

_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """`accepts` with the anchor it ends at, or the reason why not: `unknown-authority`, `time`."""

    accepts: bool
    anchor: Certificate | None = None
    reason: str = ""


def issued_by(child: Certificate, parent: Certificate) -> bool | None:
    """Whether the parent's name and key signed the child. By signature where both are PEM, else by key ids; None: cannot be told."""
    if child.issuer != parent.subject:
        return False
    one, other = child.parsed, parent.parsed
    if one is not None and other is not None:
        try:
            one.verify_directly_issued_by(other)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            return False
        return True
    if child.issuer_key and parent.subject_key:
        return child.issuer_key == parent.subject_key
    return None


def may_sign(certificate: Certificate) -> bool:
    """Whether Go lets it stand above another one: CA flag, and the key usage where it is given."""
    if certificate.is_ca is not True:
        return False
    parsed = certificate.parsed
    if parsed is None:
        return True
    try:
        return parsed.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _same(one: Certificate, other: Certificate) -> bool:
    if one.pem and other.pem:
        first, second = one.parsed, other.parsed
        return first is not None and second is not None and first == second
    return bool(one.subject_key) and (one.subject, one.subject_key, one.not_after) == (
        other.subject,
        other.subject_key,
        other.not_after,
    )


def _in_time(certificate: Certificate, now: float | None) -> bool:
    if now is None:
        return True
    return not (
        (certificate.not_before is not None and now < certificate.not_before)
        or (certificate.not_after is not None and now > certificate.not_after)
    )


def verify(
    chain: tuple[Certificate, ...], anchors: tuple[Certificate, ...], now: float | None, *, served_dates: bool = True
) -> Verdict:
    """The leaf first, then whatever else the server sent. A certificate that is itself an anchor is accepted, CA or not.

    `now` is a trusted time; None leaves all dates out, `served_dates` those of the served certificates (then only the
    authority is judged). Name and usage are judged elsewhere.
    """
    if not chain:
        return Verdict(accepts=False, reason="unknown-authority")
    late = False

    def reach(current: Certificate, used: tuple[Certificate, ...]) -> Certificate | None:
        nonlocal late
        for anchor in anchors:
            if _same(current, anchor):
                return anchor
        if len(used) >= _DEPTH:
            return None
        for anchor in anchors:
            if may_sign(anchor) and issued_by(current, anchor):
                if _in_time(anchor, now):
                    return anchor
                late = True
        for middle in chain[1:]:
            if any(middle is seen for seen in used) or not may_sign(middle) or not issued_by(current, middle):
                continue
            if served_dates and not _in_time(middle, now):
                late = True
                continue
            found = reach(middle, (*used, middle))
            if found is not None:
                return found
        return None

    anchor = reach(chain[0], (chain[0],))
    if anchor is None:
        return Verdict(accepts=False, reason="time" if late else "unknown-authority")
    if served_dates and not _in_time(chain[0], now):
        return Verdict(accepts=False, anchor=anchor, reason="time")
    return Verdict(accepts=True, anchor=anchor)


def links(chain: tuple[Certificate, ...], served: int | None, known: tuple[Certificate, ...]) -> bool | None:
    """Whether each served certificate is signed by the next one and nothing is missing below the root.

    `served` is how many the server sent, None where that was not seen. `known` are all certificates seen anywhere: a lone
    leaf is complete when its issuer is known to be a root, and incomplete when its issuer is known to be an intermediate.
    """
    if not chain:
        return None
    for child, parent in pairwise(chain):
        signed = issued_by(child, parent)
        if signed is None or (signed is False and _out_of_order(child, chain)):
            return None
        if signed is False:
            return False
    top = chain[-1]
    if top.self_issued:
        return True
    parents = [certificate for certificate in known if issued_by(top, certificate)]
    if any(parent.self_issued for parent in parents):
        return True
    if parents and served is not None:
        return False
    return True if served is not None and served >= 2 else None


def _out_of_order(child: Certificate, chain: tuple[Certificate, ...]) -> bool:
    """The issuer is there, only not next: Go does not mind."""
    return any(issued_by(child, other) for other in chain if other is not child)

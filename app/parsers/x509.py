"""Certificates from PEM and from what openssl prints, in one form; which names a certificate covers (node.md 4)."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from app.parsers.clock import parse_time

_PEM: Final = re.compile(
    r"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----.+?-----END (?:TRUSTED |X509 )?CERTIFICATE-----", re.DOTALL
)
_ORDER: Final = ("CN", "OU", "O", "L", "ST", "C")
_SHORT: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.COUNTRY_NAME: "C",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.SERIAL_NUMBER: "serialNumber",
}
_KEY_ID: Final = re.compile(r"(?:keyid:)?((?:[0-9A-F]{2}:){7,}[0-9A-F]{2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. Names in one spelling whoever printed them; key ids in upper-case hex with colons; times in epoch seconds."""

    subject: str
    issuer: str
    not_before: float | None = None
    not_after: float | None = None
    names: tuple[str, ...] = ()
    """DNS names and addresses of subjectAltName."""
    names_seen: bool = True
    """False where only a part of the certificate was printed, so that `names` may lack some."""
    subject_key: str = ""
    """SKI; for a PEM certificate without one, the SHA-1 of its public key."""
    issuer_key: str = ""
    """AKI."""
    is_ca: bool | None = None
    usage: tuple[str, ...] = ()
    """Extended key usage as openssl prints it, empty where it has none or it was not printed."""
    pem: str = ""

    @property
    def self_issued(self) -> bool:
        return self.subject == self.issuer

    @property
    def parsed(self) -> x509.Certificate | None:
        """For checking signatures; None where only a text is known."""
        return _loaded(self.pem) if self.pem else None


@lru_cache(maxsize=1024)
def _loaded(pem: str) -> x509.Certificate:
    """Bundles hold old roots that break RFC 5280; Go takes them, so they are read without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        certificate = x509.load_pem_x509_certificate(pem.encode())
        with contextlib.suppress(ValueError):
            _ = certificate.extensions
        return certificate


def canonical_name(printed: str) -> str:
    """A distinguished name in one spelling: openssl's old and new form and curl's give the same string.

    The order of the parts is ours; two names that differ only in order are taken as equal.
    """
    text = printed.strip()
    if text.startswith("/"):
        parts = re.split(r"/(?=[A-Za-z][A-Za-z0-9.]*=)", text[1:])
    else:
        parts = re.split(r"[,;+]\s*(?=[A-Za-z][A-Za-z0-9.]*\s*=)", text)
    pairs = []
    for part in parts:
        key, mark, value = part.partition("=")
        if mark:
            pairs.append((key.strip(), re.sub(r"\\(.)", r"\1", value.strip().strip('"'))))
    return _join(pairs)


def _join(pairs: list[tuple[str, str]]) -> str:
    rank = {key: number for number, key in enumerate(_ORDER)}
    pairs = [("emailAddress" if key.lower() in ("emailaddress", "e") else key, value) for key, value in pairs]
    return ", ".join(
        f"{key}={value}" for key, value in sorted(pairs, key=lambda pair: (rank.get(pair[0], 99), pair[0], pair[1]))
    )


def _name(name: x509.Name) -> str:
    pairs = [(_SHORT.get(part.oid, part.oid.dotted_string), str(part.value)) for part in name]
    return _join(pairs)


def hex_id(raw: bytes) -> str:
    return raw.hex(":").upper()


def read_pem(text: str) -> tuple[Certificate, ...]:
    """All certificates of a PEM text, in order. A block that does not parse raises ValueError with its number."""
    found = []
    for number, block in enumerate(_PEM.findall(text), 1):
        try:
            found.append(
                _from_pem(
                    block.replace("TRUSTED CERTIFICATE", "CERTIFICATE").replace("X509 CERTIFICATE", "CERTIFICATE")
                )
            )
        except (ValueError, TypeError) as error:
            raise ValueError(f"certificate {number} of the PEM text cannot be read: {error}") from error
    return tuple(found)


def read_bundle(text: str) -> tuple[Certificate, ...]:
    """As `read_pem`, but leaving out what does not parse, as Go does with a pool."""
    found = []
    for block in _PEM.findall(text):
        try:
            found.append(_from_pem(block))
        except (ValueError, TypeError):
            continue
    return tuple(found)


def _from_pem(block: str) -> Certificate:
    pem = block if block.endswith("\n") else block + "\n"
    certificate = _loaded(pem)
    names: list[str] = []
    usage: tuple[str, ...] = ()
    subject_key, issuer_key, is_ca = "", "", None
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            names += [str(name) for name in value.get_values_for_type(x509.DNSName)]
            names += [str(address) for address in value.get_values_for_type(x509.IPAddress)]
        elif isinstance(value, x509.SubjectKeyIdentifier):
            subject_key = hex_id(value.digest)
        elif isinstance(value, x509.AuthorityKeyIdentifier) and value.key_identifier:
            issuer_key = hex_id(value.key_identifier)
        elif isinstance(value, x509.BasicConstraints):
            is_ca = value.ca
        elif isinstance(value, x509.ExtendedKeyUsage):
            usage = tuple(oid.dotted_string for oid in value)
    if not subject_key:
        public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        subject_key = hex_id(hashlib.sha1(public, usedforsecurity=False).digest())
    return Certificate(
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        names=tuple(names),
        subject_key=subject_key,
        issuer_key=issuer_key,
        is_ca=is_ca,
        usage=usage,
        pem=pem,
    )


def read_text(text: str) -> tuple[Certificate, ...]:
    """Certificates as `openssl x509 -text` prints them, in order."""
    blocks = re.split(r"(?m)^\s*Certificate:\s*$", text)
    bodies = blocks[1:] if len(blocks) > 1 else blocks
    found = []
    for body in bodies:
        subject, issuer = _line(body, r"Subject:"), _line(body, r"Issuer:")
        if subject is None or issuer is None:
            continue
        before, after = _line(body, r"Not Before\s*:"), _line(body, r"Not After\s*:")
        names = _below(body, "X509v3 Subject Alternative Name")
        constraints = _below(body, "X509v3 Basic Constraints")
        usage = _below(body, "X509v3 Extended Key Usage")
        whole = "X509v3 extensions" in body or "Signature Algorithm" in body
        found.append(
            Certificate(
                subject=canonical_name(subject),
                issuer=canonical_name(issuer),
                not_before=parse_time(before),
                not_after=parse_time(after),
                names=tuple(
                    re.sub(r"^(DNS|IP Address|IP):\s*", "", name.strip()) for name in names.split(",") if _is_host(name)
                ),
                names_seen=whole,
                subject_key=_key(_below(body, "X509v3 Subject Key Identifier")),
                issuer_key=_key(_below(body, "X509v3 Authority Key Identifier")),
                is_ca="CA:TRUE" in constraints if constraints else (False if whole else None),
                usage=tuple(part.strip() for part in usage.split(",") if part.strip()),
            )
        )
    return tuple(found)


def _is_host(name: str) -> bool:
    return name.strip().startswith(("DNS:", "IP Address:", "IP:"))


def _line(body: str, label: str) -> str | None:
    found = re.search(rf"(?m)^\s*{label}[ \t]*(.*)$", body)
    return found[1].strip() if found else None


def _below(body: str, label: str) -> str:
    """The line after an extension's heading."""
    found = re.search(rf"{label}:[^\n]*\n[ \t]+([^\n]+)", body)
    return found[1].strip() if found else ""


def _key(text: str) -> str:
    found = _KEY_ID.search(text)
    return found[1].upper() if found else ""


def covers(names: tuple[str, ...], dialled: str) -> bool:
    """Whether Go accepts the certificate for a name or address: subjectAltName only, a wildcard stands for one label."""
    host = dialled.strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for name in names:
        pattern = name.rstrip(".").lower()
        if address is not None:
            try:
                if ipaddress.ip_address(pattern) == address:
                    return True
            except ValueError:
                continue
        elif pattern == host or (
            pattern.startswith("*.") and host.partition(".")[2] == pattern[2:] and host.partition(".")[0]
        ):
            return True
    return False

"""Certificates and keys of the practice world: real ones, made from a seed, so that the same seed gives the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = 86_400.0


def stream(seed: str) -> Iterator[int]:
    """Bytes that depend on the seed alone."""
    number = 0
    while True:
        yield from hashlib.sha256(f"{seed}/{number}".encode()).digest()
        number += 1


def word(seed: str, length: int = 16, alphabet: str = "bcdfghjklmnpqrstvwxz2456789") -> str:
    """A word of the alphabet, e.g. the ending of a pod's name."""
    source = stream(seed)
    return "".join(alphabet[next(source) % len(alphabet)] for _ in range(length))


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key and the chain above it that a server sends along."""

    certificate: x509.Certificate
    key: Ed25519PrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


def issue(
    seed: str,
    name: str,
    parent: Issued | None = None,
    *,
    hosts: tuple[str, ...] = (),
    ca: bool = False,
    start: float,
    end: float,
) -> Issued:
    """A certificate signed by its parent, or by itself. Ed25519: the signature, too, depends on the seed alone."""
    source = stream(seed)
    key = Ed25519PrivateKey.from_private_bytes(bytes(next(source) for _ in range(32)))
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Corp Example"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    signer = parent.key if parent else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent.certificate.subject if parent else subject)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(f"{seed}/serial".encode()).digest()[:8], "big") | 1)
        .not_valid_before(datetime.fromtimestamp(start, UTC))
        .not_valid_after(datetime.fromtimestamp(end, UTC))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = builder.add_extension(usage, critical=True)
    if not ca:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return Issued(builder.sign(signer, None), key)


def _prime(source: Iterator[int], bits: int) -> int:
    while True:
        raw = int.from_bytes(bytes(next(source) for _ in range(bits // 8)), "big")
        candidate = raw | (3 << (bits - 2)) | 1
        if (candidate - 1) % 65537 and _is_prime(candidate):
            return candidate


_SMALL = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))]


def _is_prime(candidate: int) -> bool:
    if any(candidate % small == 0 for small in _SMALL):
        return False
    odd, twos = candidate - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19):
        value = pow(base, odd, candidate)
        if value in (1, candidate - 1):
            continue
        for _ in range(twos - 1):
            value = value * value % candidate
            if value == candidate - 1:
                break
        else:
            return False
    return True


@lru_cache(maxsize=32)
def token_key(seed: str) -> str:
    """A PKCS#1 RSA key in PEM, small since it guards nothing; the same seed gives the same key."""
    source = stream(f"rsa/{seed}")
    p, q = _prime(source, 512), _prime(source, 512)
    d = pow(65537, -1, (p - 1) * (q - 1))
    key = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(65537, p * q)
    ).private_key()
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()

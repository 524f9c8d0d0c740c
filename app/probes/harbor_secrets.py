"""What can be told from Harbor's own Secrets without showing them: the key's id, and whether two parts fit.

Key id: first 30 bytes of SHA-256 over the DER public key, base32 in groups of four (libtrust; harbor-and-kubernetes.md A.5).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from app.model.material import Material
from app.probes.harbor_place import items


def libtrust_kid(der: bytes) -> str:
    """`S42F:B6SQ:…` of a DER SubjectPublicKeyInfo: twelve groups of four."""
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode().rstrip("=")
    return ":".join(text[at : at + 4] for at in range(0, len(text), 4))


def kid_of_pem(pem: bytes) -> str:
    """Key id of a private key; empty where the text is no key that can be read (a masked one, often)."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ""
    return libtrust_kid(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def secret_values(material: Material) -> dict[str, dict[str, bytes]]:
    """Secret name to key to value, of the Secrets of Harbor's namespace that were read and are not masked."""
    found: dict[str, dict[str, bytes]] = {}
    paths = [document.path for document in material.glob("harbor/secret*.json")]
    for path in paths:
        for secret in items(material, path):
            data = secret.get("data")
            values = {}
            for key, value in data.items() if isinstance(data, dict) else ():
                raw = _decoded(value)
                if raw:
                    values[str(key)] = raw
            found.setdefault(str(secret["metadata"].get("name") or ""), {}).update(values)
    return found


def _decoded(value: Any) -> bytes:
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        return b""


def login_fits(material: Material, pods: list[str]) -> Iterator[tuple[str, bool]]:
    """Whether core's login fits the registry's password file, by core pod.

    Told only where the running pods are known to hold the Secrets' values: the digest of the variable in the core pod and
    of the file in every registry pod equal those of the Secrets, whose bcrypt hash is then checked. No value is kept.
    """
    values = secret_values(material)
    merged = {key: value for one in values.values() for key, value in one.items()}
    password = merged.get("REGISTRY_CREDENTIAL_PASSWORD") or merged.get("REGISTRY_PASSWD")
    htpasswd = merged.get("REGISTRY_HTPASSWD")
    files = [_digest(document.text) for document in material.glob("harbor/exec/*-passwd.txt")]
    if not password or not htpasswd or not files or set(files) != {hashlib.sha256(htpasswd).hexdigest()}:
        return
    fits = _bcrypt(password, htpasswd)
    if fits is None:
        return
    wanted = hashlib.sha256(password).hexdigest()
    for pod in pods:
        if _digest(material.text(f"harbor/exec/{pod}-registry-login.txt") or "") == wanted:
            yield pod, fits


def _bcrypt(password: bytes, htpasswd: bytes) -> bool | None:
    try:
        import bcrypt  # noqa: PLC0415 (comes with paramiko; judging a bundle does not need it)
    except ImportError:
        return None
    for line in htpasswd.splitlines():
        _, _, digest = line.strip().partition(b":")
        if digest.startswith(b"$2"):
            try:
                if bcrypt.checkpw(password, digest):
                    return True
            except ValueError:
                return None
    return False


def _digest(text: str) -> str:
    found = re.search(r"\b[0-9a-f]{64}\b", text.lower())
    return found.group() if found else ""

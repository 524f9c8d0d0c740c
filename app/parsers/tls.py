"""What openssl shows of a served chain: `s_client`, with or without `-showcerts`, and `x509 -text` (`registry/cert.txt`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from app.parsers.clock import parse_time
from app.parsers.x509 import Certificate, canonical_name, read_bundle, read_text

_ENTRY: Final = re.compile(r"^ ?(\d+) s:\s*(.*)\n\s+i:\s*(.*)$", re.MULTILINE)
_VALIDITY: Final = re.compile(r"NotBefore:\s*(.+?GMT);\s*NotAfter:\s*(.+?GMT)")
_CONNECT: Final = re.compile(r"s_client\b[^\n]*-connect\s+(\S+)")


@dataclass(frozen=True, slots=True)
class ServedChain:
    """Certificates as served, leaf first, as far as they were printed."""

    certificates: tuple[Certificate, ...] = ()
    served: int | None = None
    """How many the server sent; None where the output cannot tell (`x509 -text` prints the first only)."""
    dialled: str = ""
    """host:port of the command, where it is shown."""


def read_served_chain(text: str) -> ServedChain:
    """The chain in a piece of openssl output or PEM. Nothing readable gives an empty one."""
    connect = _CONNECT.search(text)
    dialled = connect[1] if connect else ""
    entries = _ENTRY.findall(text)
    from_pem, printed = read_bundle(text), read_text(text)
    if entries:
        named = tuple(_from_entry(subject, issuer) for _number, subject, issuer in entries)
        windows = _VALIDITY.findall(text)
        if len(windows) == len(named):
            named = tuple(
                Certificate(one.subject, one.issuer, parse_time(start), parse_time(end), names_seen=False)
                for one, (start, end) in zip(named, windows, strict=True)
            )
        # -showcerts prints each PEM below its entry; without it the leaf alone follows.
        certificates = (*from_pem, *named[len(from_pem) :]) if from_pem else named
        if printed and not from_pem:
            certificates = (printed[0], *named[1:])
        return ServedChain(certificates, len(entries), dialled)
    if printed:
        # The leaf may be printed as text and again as PEM below it: the PEM has all that the text has.
        whole = from_pem if len(from_pem) >= len(printed) else printed
        return ServedChain(whole, len(whole) if len(whole) > 1 else None, dialled)
    return ServedChain(from_pem, len(from_pem) if len(from_pem) > 1 else None, dialled)


def _from_entry(subject: str, issuer: str) -> Certificate:
    return Certificate(canonical_name(subject), canonical_name(issuer), names_seen=False)

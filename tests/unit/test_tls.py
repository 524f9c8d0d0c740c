"""Chains and trust with real signatures, also as a real TLS server on loopback serves them."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from app.parsers.tls import read_served_chain
from app.parsers.x509 import canonical_name, covers, read_bundle, read_pem, read_text
from app.parsers.x509_verify import issued_by, links, verify
from tests.unit.pki import NOW, Pair, make

HOST = "registry.corp.example"
AT = NOW.timestamp()


@pytest.fixture(scope="module")
def root() -> Pair:
    return make("Corp Root CA", ca=True)


@pytest.fixture(scope="module")
def middle(root: Pair) -> Pair:
    return make("Corp Issuing CA", root, ca=True)


@pytest.fixture(scope="module")
def leaf(middle: Pair) -> Pair:
    return make(HOST, middle, hosts=(HOST,))


def test_full_chain_is_accepted(root: Pair, middle: Pair, leaf: Pair) -> None:
    chain = read_pem(leaf.pem + middle.pem)
    verdict = verify(chain, read_pem(root.pem), AT)
    assert verdict.accepts
    assert verdict.anchor is not None
    assert verdict.anchor.subject == "CN=Corp Root CA, C=NL"
    assert links(chain, 2, ()) is True


def test_missing_intermediate(root: Pair, middle: Pair, leaf: Pair) -> None:
    chain = read_pem(leaf.pem)
    assert not verify(chain, read_pem(root.pem), AT).accepts
    known = read_pem(root.pem + middle.pem)
    assert links(chain, 1, known) is False
    assert links(chain, 1, read_pem(root.pem)) is None
    assert links(chain, None, known) is None, "how much was served is not known"
    assert verify((*chain, *read_pem(middle.pem)), read_pem(root.pem), AT).accepts
    # Go takes an intermediate saved as CA file, and a leaf too.
    assert verify(chain, read_pem(middle.pem), AT).accepts
    assert verify(chain, chain, AT).accepts


def test_leaf_right_below_a_known_root(root: Pair) -> None:
    direct = make(HOST, root, hosts=(HOST,))
    assert links(read_pem(direct.pem), None, read_pem(root.pem)) is True


def test_other_key_under_the_same_name(root: Pair, middle: Pair, leaf: Pair) -> None:
    renewed = make("Corp Root CA", ca=True)
    chain = read_pem(leaf.pem + middle.pem)
    verdict = verify(chain, read_pem(renewed.pem), AT)
    assert (verdict.accepts, verdict.reason) == (False, "unknown-authority")
    assert issued_by(read_pem(middle.pem)[0], read_pem(renewed.pem)[0]) is False
    assert verify(chain, read_pem(renewed.pem + root.pem), AT).accepts


def test_dates_by_the_time_given(middle: Pair, root: Pair) -> None:
    old = make(HOST, middle, hosts=(HOST,), end=NOW - dt.timedelta(days=2))
    chain = read_pem(old.pem + middle.pem)
    assert verify(chain, read_pem(root.pem), AT).reason == "time"
    assert verify(chain, read_pem(root.pem), None).accepts
    assert verify(chain, read_pem(root.pem), AT, served_dates=False).accepts
    ended = make("Corp Old Root", ca=True, end=NOW - dt.timedelta(days=1))
    below = make(HOST, ended, hosts=(HOST,))
    assert verify(read_pem(below.pem), read_pem(ended.pem), AT, served_dates=False).reason == "time"


def test_a_certificate_without_ca_flag_signs_nothing() -> None:
    plain = make("Not A CA")
    below = make(HOST, plain, hosts=(HOST,))
    assert not verify(read_pem(below.pem), read_pem(plain.pem), AT).accepts


@pytest.mark.parametrize(
    ("names", "dialled", "right"),
    [
        (("*.corp.example",), "registry.corp.example", True),
        (("*.corp.example",), "a.registry.corp.example", False),
        (("*.corp.example",), "corp.example", False),
        (("REGISTRY.corp.example",), "registry.corp.example", True),
        (("10.0.0.5",), "10.0.0.5", True),
        (("registry.corp.example",), "10.0.0.5", False),
        (("2001:db8::1",), "[2001:DB8:0::1]", True),
        ((), "registry.corp.example", False),
    ],
)
def test_names(names: tuple[str, ...], dialled: str, right: bool) -> None:
    assert covers(names, dialled) is right


def test_one_spelling_of_names() -> None:
    forms = [
        "C = US, O = Let's Encrypt, CN = R3",
        "/C=US/O=Let's Encrypt/CN=R3",
        "CN=R3,O=Let's Encrypt,C=US",
        "C=US; O=Let's Encrypt; CN=R3",
    ]
    assert {canonical_name(form) for form in forms} == {"CN=R3, O=Let's Encrypt, C=US"}


def test_broken_pem() -> None:
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with pytest.raises(ValueError, match="certificate 1"):
        read_pem(broken)
    assert read_bundle(broken) == ()
    assert read_served_chain("nothing here").certificates == ()


def test_s_client_without_pem_tells_how_many_were_served() -> None:
    chain = read_served_chain(
        "$ openssl s_client -connect dtr.example.org:443\nCONNECTED(00000003)\n---\nCertificate chain\n 0 s:/CN=dtr.example.org\n   i:/C=US/O=Let's Encrypt/CN=R3\n---\n"
    )
    assert (chain.served, chain.dialled) == (1, "dtr.example.org:443")
    assert chain.certificates[0].issuer == "CN=R3, O=Let's Encrypt, C=US"


def test_served_by_a_real_server(tmp_path: Path, root: Pair, middle: Pair, leaf: Pair) -> None:
    """What a TLS server really sends is what OpenSSL and we read alike, as PEM and as text."""
    openssl = shutil.which("openssl")
    assert openssl, "openssl is part of every supported system"
    (tmp_path / "chain.pem").write_text(leaf.pem + middle.pem)
    (tmp_path / "key.pem").write_text(leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = listener.getsockname()[1]

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    with context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(1)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        shown = subprocess.run(
            [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST, "-showcerts"],
            input="", capture_output=True, text=True, timeout=20, check=False,
        ).stdout  # fmt: skip
        thread.join(10)
    chain = read_served_chain(shown)
    assert chain.served == 2
    assert verify(chain.certificates, read_pem(root.pem), AT).accepts
    assert links(chain.certificates, chain.served, ()) is True
    printed = subprocess.run(
        [openssl, "x509", "-noout", "-text"], input=leaf.pem, capture_output=True, text=True, timeout=20, check=True
    ).stdout
    text, pem = read_text(printed)[0], read_pem(leaf.pem)[0]
    for field in ("subject", "issuer", "not_before", "not_after", "names", "subject_key", "issuer_key", "is_ca"):
        assert getattr(text, field) == getattr(pem, field), field
    assert issued_by(text, read_pem(middle.pem)[0]) is True

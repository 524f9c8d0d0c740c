"""Fixes that give a node a CA or a missing link of the chain (MODES 3.6; fix classes N-HOSTS, N-K3S and N-TRUST of node.md).

The certificate comes from the operator, or from what was seen: the chain that is served, or the files of a node where the
same image works. One that was only seen has to be confirmed by its fingerprint, since a wrong one would be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.hashes import SHA256

from app.fixes.base import Fix, FixContext, Need
from app.fixes.node_base import CannotError, Work, given, known_nodes
from app.fixes.node_hosts import add_ca, entry_of
from app.fixes.node_k3s import k3s_ca
from app.fixes.node_plan import node_fix
from app.parsers.x509 import Certificate, read_bundle, read_pem
from app.parsers.x509_verify import issued_by, may_sign, verify
from app.probes.registry_chains import chains
from app.probes.registry_scene import registry_of
from app.probes.runtime_files import files_of
from app.probes.runtime_setup import node_setup
from app.pullplan.containerd import choose, with_port
from app.pullplan.settings import effective

_ANCHORS: Final = (
    (
        re.compile(r"/etc/ssl/certs/ca-certificates\.crt|Debian|Ubuntu|Alpine|Flatcar|Mint"),
        "/usr/local/share/ca-certificates",
    ),
    (
        re.compile(r"/etc/pki/(?:tls|ca-trust)|Red Hat|CentOS|Rocky|Alma|Fedora|Oracle|Amazon"),
        "/etc/pki/ca-trust/source/anchors",
    ),
    (re.compile(r"/etc/ssl/ca-bundle\.pem|SUSE|SLES"), "/etc/pki/trust/anchors"),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate that would close the gap, and where it was seen."""

    certificate: Certificate
    where: str


def certificate_digest(certificate: Certificate) -> str:
    """SHA-256 fingerprint as openssl prints it."""
    found = certificate.parsed
    return found.fingerprint(SHA256()).hex(":").upper() if found is not None else ""


def served(work: Work) -> tuple[Certificate, ...]:
    """The chain of the host whose TLS failed, as this node saw it, else as anybody did; empty where nobody did."""
    failure = work.inputs.failure.url if work.inputs is not None else ""
    names = [work.target.get("host"), urlsplit(failure).netloc, work.namespace]
    wanted = with_port(next(name for name in names if name))
    found = [
        chain
        for chain in chains(registry_of(work.context.material, work.scene))
        if chain.certificates and chain.certificates[0].pem and with_port(chain.host or work.namespace) == wanted
    ]
    own = [chain for chain in found if chain.vantage == f"node/{work.node}"]
    best = own or [chain for chain in found if chain.vantage.startswith("node/")] or found
    return max((chain.certificates for chain in best), key=len, default=())


def _pem_files(work: Work) -> Iterable[tuple[str, str, str]]:
    """(node, path, text) of every certificate file that was read, those of healthy nodes first."""
    material, incident = work.context.material, work.context.case.incident
    order = [*incident.healthy_nodes, *(name for name in material.nodes() if name not in incident.healthy_nodes)]
    for node in order:
        for path, text in files_of(material, node).below("/").items():
            if "-----BEGIN CERTIFICATE" in text and not path.endswith((".json", ".txt")):
                yield node, path, text


def ca_candidates(work: Work) -> list[Candidate]:
    """CAs that verify what is served, best first: those that healthy nodes use, then a root that the registry sends itself."""
    chain = served(work)
    found: list[Candidate] = []
    if chain:
        for node, path, text in _pem_files(work):
            for one in read_bundle(text):
                if may_sign(one) and verify(chain, (one,), None).accepts:
                    found.append(Candidate(one, f"{path} on {node}"))
        found += [
            Candidate(one, "served by the registry itself")
            for one in chain
            if one.self_issued and may_sign(one) and verify(chain, (one,), None).accepts
        ]
    else:
        found = list(_used_by_healthy(work))
    unique: dict[str, Candidate] = {}
    for item in sorted(found, key=lambda item: not item.certificate.self_issued):
        unique.setdefault(certificate_digest(item.certificate), item)
    return list(unique.values())


def _used_by_healthy(work: Work) -> Iterable[Candidate]:
    """Where no chain was seen: the CA that a node uses on which the same image works."""
    for node in work.context.case.incident.healthy_nodes:
        files = files_of(work.context.material, node)
        setup = node_setup(files)
        for host in choose(setup, effective(setup), work.namespace).hosts:
            for path in host.ca:
                for one in read_bundle(files.text(path) or ""):
                    yield Candidate(one, f"{path} on {node}")


def link_candidates(work: Work) -> list[Candidate]:
    """Intermediates that issued the last served certificate."""
    chain = served(work)
    if not chain:
        return []
    found: dict[str, Candidate] = {}
    seen = chains(registry_of(work.context.material, work.scene))
    others = [(one, f"served to {item.vantage}") for item in seen for one in item.certificates if one.pem]
    others += [(one, f"{path} on {node}") for node, path, text in _pem_files(work) for one in read_bundle(text)]
    for one, where in others:
        if not one.self_issued and may_sign(one) and issued_by(chain[-1], one):
            found.setdefault(certificate_digest(one), Candidate(one, where))
    return list(found.values())


def _candidates(work: Work, *, link: bool) -> list[Candidate]:
    return link_candidates(work) if link else ca_candidates(work)


def _needs(key: str, *, link: bool, what: str):  # type: ignore[no-untyped-def]
    def needs(context: FixContext) -> tuple[Need, ...]:
        if given(context, key):
            return ()
        for work in known_nodes(context):
            try:
                found = _candidates(work, link=link)
            except CannotError:
                continue
            if not found:
                continue
            if given(context, "ca-fingerprint"):
                return ()
            best = found[0]
            return (
                Need("ca-fingerprint", f"SHA-256 fingerprint of {best.certificate.subject}, seen in {best.where}: {certificate_digest(best.certificate)}. Compare it with the registry's owner over another way, then give it here"),
            )  # fmt: skip
        return (Need(key, f"{what}, in PEM (from the registry's owner)"),)

    return needs


def _pem(work: Work, key: str, *, link: bool) -> tuple[Certificate, ...]:
    """The certificates to add, checked against what is served."""
    text = given(work.context, key)
    if text:
        try:
            found = read_pem(text)
        except ValueError as error:
            raise CannotError(str(error)) from error
        if not found:
            raise CannotError("no certificate in PEM was given")
    else:
        listed = _candidates(work, link=link)
        if not listed:
            raise CannotError("no CA is known that verifies what the registry serves; give it as input")
        told = re.sub(r"[^0-9A-F]", "", given(work.context, "ca-fingerprint").upper().removeprefix("SHA256"))
        match = [item for item in listed if certificate_digest(item.certificate).replace(":", "") == told]
        if not match:
            raise CannotError(
                f"the fingerprint that was given is not that of {listed[0].certificate.subject} ({certificate_digest(listed[0].certificate)})"
            )
        found = (match[0].certificate,)
    _judge(work, found, link=link)
    return found


def _judge(work: Work, found: tuple[Certificate, ...], *, link: bool) -> None:
    chain = served(work)
    for one in found:
        work.note(f"{one.subject}, SHA-256 {certificate_digest(one)}")
        if not may_sign(one):
            work.note(f"{one.subject} is no CA; it works only until the registry's certificate is renewed", "warn")
        if one.not_after is not None and one.not_after < work.context.now:
            work.note(f"{one.subject} has expired", "fail")
    if not chain:
        work.note("what the registry serves was not seen, so whether this CA signed it is not known", "unknown")
    elif verify(chain, found, None).accepts or (link and any(issued_by(chain[-1], one) for one in found)):
        work.note("it verifies the chain that the registry serves")
    else:
        raise CannotError("this certificate does not verify what the registry serves")


def short(certificate: Certificate) -> str:
    """Eight digits of the fingerprint, for file names."""
    return certificate_digest(certificate).replace(":", "")[:8].lower()


def _text(found: tuple[Certificate, ...]) -> str:
    return "".join(one.pem.strip() + "\n" for one in found)


def _add(work: Work, found: tuple[Certificate, ...], kind: str) -> None:
    name = f"{kind}-{short(found[0])}.crt"
    if work.rancher:
        k3s_ca(work, _text(found), name)
        return
    entry = entry_of(work)
    path = f"{entry.folder}/{name}"
    if entry.text is None and entry.directory is not None and entry.directory.certificates:
        # Without a hosts.toml every *.crt of the folder is read; a hosts.toml would put the others out of force.
        work.write(path, _text(found), "the CA file", new=True)
        return
    work.write(path, _text(found), "the CA file", new=True)
    work.write(entry.path, add_ca(work, entry, [path]), "name the CA file at the root and at each host")


def _add_ca(work: Work) -> None:
    _add(work, _pem(work, "ca", link=False), "ca")


def _add_link(work: Work) -> None:
    _add(work, _pem(work, "intermediate", link=True), "intermediate")
    work.note("the link expires by itself; the server should send its whole chain", "warn")


def anchors_folder(work: Work) -> str:
    """The folder of the system's own anchors, by its distribution."""
    told = " ".join(
        work.files.text(name) or "" for name in ("os-ca.json", "etc/os-release", "os-release.txt", "versions.txt")
    )
    info = work.files.node_object.get("status") or {}
    told += " " + str((info.get("nodeInfo") or {}).get("osImage") or "")
    for pattern, folder in _ANCHORS:
        if pattern.search(told):
            return folder
    raise CannotError("which system it runs is not known, and so neither the folder of its anchors; add the CA by hand")


def _os_trust(work: Work) -> None:
    found = _pem(work, "ca", link=False)
    folder = anchors_folder(work)
    work.outlook = False
    for one in found:
        path = f"{folder}/harborpilot-{short(one)}.crt"
        if work.write(path, one.pem.strip() + "\n", "the CA among the system's anchors", new=True):
            work.trust_update = True
            work.restart = work.unit
    work.note("everything on the host trusts this CA afterwards", "warn")


FIXES: tuple[Fix, ...] = (
    node_fix(
        "add-ca-file",
        _add_ca,
        _needs("ca", link=False, what="The CA certificate that signed the registry's certificate"),
    ),
    node_fix(
        "intermediate-in-ca-file",
        _add_link,
        _needs("intermediate", link=True, what="The intermediate certificate that the registry should send"),
    ),
    node_fix(
        "os-trust-add",
        _os_trust,
        _needs("ca", link=False, what="The CA certificate that signed the registry's certificate"),
    ),
)

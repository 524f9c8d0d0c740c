"""Faults of nodes made real, planned from a live diagnosis, fixed through the gateway over SSH, really pulled, undone to the byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest

from tests.live.conftest import wanted_kind
from tests.live.repair import Bed, Repair, broken, owned, pulled_anew, repaired

HARBOR_ADDRESS = "10.213.77.3"


@dataclass(frozen=True)
class Row(Repair):
    tidy: bool = False
    """The fault leaves an empty folder of the right name, which no operator would have made."""
    link: bool = False
    """The certificate that the registry does not send is given."""


ROWS = {
    "untrusted-ca": Row("add-ca-file", ca=True, waves=True),
    "cert-chain": Row("intermediate-in-ca-file", link=True),
    "http-vs-https": Row("http-host-entry"),
    "config-stale": Row("restart-runtime", restarts=True, late=True),
    "certs-dir-name": Row("rename-registry-key", tidy=True),
    "hosts-toml-broken": Row("write-hosts-toml"),
    "plugin-id": Row("rewrite-registry-section", restarts=True),
    "config-path-and-mirrors": Row("mirrors-to-hosts-toml", restarts=True),
    "config-path-and-tls": Row("mirrors-to-hosts-toml", restarts=True),
    "mirror-path": Row("fix-mirror-path"),
    "proxy-dead": Row("extend-no-proxy", restarts=True),
    "dns-missing": Row("hosts-line", {"address": HARBOR_ADDRESS}),
}

RANCHER = {
    "k3s-ca-missing": Row("add-ca-file", ca=True, restarts=True),
    "k3s-ca-file-absent": Row("add-ca-file", ca=True, restarts=True),
    "k3s-http-insecure-skip-verify": Row("write-registries-yaml", restarts=True),
    "k3s-key-mismatch": Row("rename-registry-key", restarts=True),
    "k3s-key-scheme": Row("rename-registry-key", restarts=True),
    "k3s-mirror-of-docker-io-other-name": Row("rename-registry-key", restarts=True),
    "k3s-auth-wrong-key": Row("set-node-auth", restarts=True),
    "k3s-registries-not-loaded": Row("restart-k3s", restarts=True),
    "rke2-http-insecure-skip-verify": Row("write-registries-yaml", restarts=True),
    "rke2-registries-not-loaded": Row("restart-k3s", restarts=True, late=True),
}
COMMENT = "# kept by its owner"


@pytest.mark.parametrize("fault", {**ROWS, **RANCHER})
async def test_broken_fixed_pulled_and_undone(
    bed: Bed, kinds: Mapping[str, str], on_machine: Callable[..., str], fault: str
) -> None:
    row = {**ROWS, **RANCHER}[fault]
    rancher = fault.partition("-")[0] if fault in RANCHER else ""
    if rancher:
        wanted_kind(kinds, rancher)
    with broken(bed, fault):
        nodes = owned(bed)
        for node in nodes if row.tidy else ():
            on_machine(node, "find", "/etc/containerd/certs.d", "-mindepth", "1", "-type", "d", "-empty", "-delete")
        for node in nodes if rancher else ():
            on_machine(node, "sh", "-c", commented(kinds[node]))
        if row.link:
            row = replace(row, inputs={"intermediate": bed.certificate("inter")})

        def seen() -> None:
            pulled_anew(bed, nodes)
            for node in nodes if rancher else ():
                assert COMMENT in on_machine(node, "cat", registries(kinds[node]))

        await repaired(bed, row, nodes, seen)


def registries(kind: str) -> str:
    return f"/etc/rancher/{kind}/registries.yaml"


def commented(kind: str) -> str:
    """A comment in registries.yaml, whose time stays: by that a changed file is told from one that is in force."""
    path = registries(kind)
    return f"touch -r {path} /run/as-before && sed -i '1i {COMMENT}' {path} && touch -r /run/as-before {path}"

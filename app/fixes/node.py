"""All fixes of nodes."""

from __future__ import annotations

from app.fixes import node_ca, node_containerd, node_dropins, node_host, node_hosts, node_k3s, node_mirrors
from app.fixes.base import Fix

FIXES: tuple[Fix, ...] = (
    *node_hosts.FIXES,
    *node_mirrors.FIXES,
    *node_ca.FIXES,
    *node_containerd.FIXES,
    *node_dropins.FIXES,
    *node_k3s.FIXES,
    *node_host.FIXES,
)

"""Repairs of k3s and RKE2 settings (MODES 3.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from app.parsers.k3s_registries import Generated, K3sRegistries, generate, mended
from app.parsers.split_url import urlsplit
from app.pullplan.containerd import Choice, Host, role_of
from app.pullplan.inputs import K3sSetup, NodeSetup
from app.pullplan.near import near_config_key, near_mirror_key
from app.pullplan.repair import Repair


def k3s_choice(setup: K3sSetup, registries: K3sRegistries, namespace: str) -> Choice:
    """Hosts as k3s would generate them from these settings at its next start."""
    generated = generate(registries, namespace, setup.release, default_endpoint=setup.default_endpoint)
    several = len(generated) > 1
    return Choice(tuple(_host(item, namespace, setup.path, fallback=several and item.default) for item in generated))


def _host(item: Generated, namespace: str, path: str, *, fallback: bool) -> Host:
    parts = urlsplit(item.url)
    base = parts.path.rstrip("/")
    return Host(
        parts.scheme, parts.netloc, base or "/v2", "fallback" if fallback else role_of(parts.netloc, namespace), True,
        (item.ca_file,) if item.ca_file else (), item.skip_verify, bool(item.ca_file) or item.skip_verify, item.has_login, item.rewrite,
        f"{path}:{item.line}" if item.line else path, bool(base) and base != "/v2",
    )  # fmt: skip


def endpoint_authorities(registries: K3sRegistries, namespace: str) -> tuple[str, ...]:
    """host[:port] of every endpoint that serves the name, the default one included."""
    return tuple(urlsplit(item.url).netloc for item in generate(registries, namespace))


def k3s_repairs(node: NodeSetup, namespace: str, failing: str = "") -> Iterator[Repair]:
    """Each defect of registries.yaml, its generation and its template. `failing` is the host[:port] that refused."""
    setup = node.k3s
    if setup is None:
        return
    registries = setup.registries
    if registries is None:
        for finding in (
            "k3s-registries-not-loaded",
            "k3s-key-dropped",
            "k3s-configs-key-mismatch",
            "registry-key-not-image-host",
        ):
            yield Repair(finding, None, lambda: None)
        return
    whole = not registries.error
    stale = setup.newer_than_process
    if setup.near_file and not setup.exists:
        stale = True
    if not whole or (not registries.mirrors and not registries.configs):
        stale = False if not setup.near_file else stale
    yield Repair(
        "k3s-registries-not-loaded", stale, lambda: k3s_choice(setup, registries, namespace) if whole else None
    )
    spelled = mended(setup.text) if registries.dropped else None
    yield Repair(
        "k3s-key-dropped",
        bool(registries.dropped),
        lambda: (
            k3s_choice(setup, spelled, namespace) if spelled is not None else k3s_choice(setup, registries, namespace)
        ),
    )
    authorities = endpoint_authorities(registries, namespace)
    key, meant = near_config_key(registries, authorities, failing) if whole else ("", "")
    yield Repair(
        "k3s-configs-key-mismatch",
        bool(key),
        lambda: k3s_choice(setup, _rename_config(registries, key, meant), namespace),
    )
    template = setup.template == "full" if setup.template else None
    yield Repair(
        "k3s-template-overrides", template, lambda: k3s_choice(setup, registries, namespace) if whole else None
    )
    near = near_mirror_key(registries, namespace) if whole else ""
    missing = bool(near) and all(mirror.key != namespace for mirror in registries.mirrors)
    yield Repair(
        "registry-key-not-image-host",
        missing,
        lambda: k3s_choice(setup, _rename_mirror(registries, near, namespace), namespace),
    )


def _rename_config(registries: K3sRegistries, key: str, meant: str) -> K3sRegistries:
    """The misnamed entry under the right name, joined with what stands there already."""
    moved = next(item for item in registries.configs if item.key == key)
    there = next((item for item in registries.configs if item.key == meant), None)
    joined = replace(moved, key=meant)
    if there is not None:
        joined = replace(
            there,
            has_login=there.has_login or moved.has_login, ca_file=there.ca_file or moved.ca_file,
            skip_verify=there.skip_verify or moved.skip_verify, tls=there.tls or moved.tls,
        )  # fmt: skip
    return replace(registries, configs=(joined, *(item for item in registries.configs if item.key not in (key, meant))))


def _rename_mirror(registries: K3sRegistries, key: str, namespace: str) -> K3sRegistries:
    return replace(
        registries,
        mirrors=tuple(replace(item, key=namespace) if item.key == key else item for item in registries.mirrors),
    )

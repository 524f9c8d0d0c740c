"""Harbor's files of settings: chart values, installer files, the inner registry's configuration, `df` of its volume."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

CHART_DEFAULT_URL: Final = "https://core.harbor.domain"
"""`externalURL` of the chart where the values set none (goharbor/harbor-helm values.yaml)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a file of settings says of Harbor; None where it does not say."""

    external_url: str | None = None
    key_pinned: bool | None = None
    relative_urls: bool | None = None
    redirect_off: bool | None = None
    replicas: int | None = None
    registry_user: str | None = None
    owner: str = ""
    """`compose` for the installer's files, else empty."""


def _mapping(text: str) -> dict[str, Any]:
    """A YAML mapping. Raises ValueError with the place where it is not one."""
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from error
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise ValueError("not a mapping")
    return read


def at(value: Any, *path: str) -> Any:
    """The value at a path of nested mappings, None where it is not there."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return None


_CHART_KEYS: Final = frozenset(
    {
        "expose",
        "persistence",
        "core",
        "registry",
        "harborAdminPassword",
        "externalURL",
        "jobservice",
        "portal",
        "trivy",
        "database",
    }
)


def read_values(text: str) -> Settings:
    """Values of the goharbor chart (harbor-and-kubernetes.md A.6). Raises ValueError where it is not YAML."""
    values = _mapping(text)
    if not _CHART_KEYS & set(values):
        return Settings()
    url = values.get("externalURL")
    core = values.get("core")
    pinned = bool(at(core, "secretName")) or bool(at(core, "tokenKey") and at(core, "tokenCert"))
    replicas = at(core, "replicas")
    return Settings(
        external_url=str(url) if url else CHART_DEFAULT_URL,
        key_pinned=pinned,
        relative_urls=_boolean(at(values, "registry", "relativeurls")) or False,
        redirect_off=_boolean(at(values, "persistence", "imageChartStorage", "disableredirect")) or False,
        replicas=replicas if isinstance(replicas, int) else None,
        registry_user=at(values, "registry", "credentials", "username"),
    )


def read_installer(text: str) -> Settings:
    """`harbor.yml` of the compose installer. Raises ValueError where it is not YAML."""
    values = _mapping(text)
    url = values.get("external_url")
    host = values.get("hostname")
    if not url and host:
        scheme = "https" if isinstance(values.get("https"), Mapping) else "http"
        port = at(values, scheme, "port")
        default = 443 if scheme == "https" else 80
        url = f"{scheme}://{host}" + (f":{port}" if port and port != default else "")
    return Settings(external_url=str(url) if url else None, owner="compose" if url else "")


def read_cfg(text: str) -> Settings:
    """`harbor.cfg` of Harbor to 1.7: lines `key = value`."""
    pairs = {
        key.strip(): value.strip()
        for key, found, value in (
            line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#")
        )
        if found
    }
    host = pairs.get("hostname")
    if not host:
        return Settings()
    return Settings(external_url=f"{pairs.get('ui_url_protocol', 'http')}://{host}", owner="compose")


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """`config.yml` of the inner registry."""

    relative_urls: bool
    redirect_off: bool
    driver: str
    """`filesystem`, `s3`, …; empty where none is set."""
    auth: str
    """`htpasswd`, `token` or empty."""
    realm: str = ""


_DRIVERS: Final = ("filesystem", "s3", "gcs", "azure", "swift", "oss", "inmemory")


def read_registry_config(text: str) -> RegistryConfig:
    """Defaults filled in. Raises ValueError where it is not YAML or has no storage section."""
    values = _mapping(text)
    storage = values.get("storage")
    if not isinstance(storage, Mapping):
        raise ValueError("no storage section")
    driver = next((name for name in _DRIVERS if name in storage), "")
    auth = next((name for name in ("htpasswd", "token", "silly") if at(values, "auth", name) is not None), "")
    middleware = bool(at(values, "middleware", "storage"))
    return RegistryConfig(
        relative_urls=_boolean(at(values, "http", "relativeurls")) or False,
        # Files on a disk cannot be redirected to, unless a middleware (a CDN) makes URLs of them.
        redirect_off=_boolean(at(storage, "redirect", "disable")) or (driver == "filesystem" and not middleware),
        driver=driver,
        auth=auth,
        realm=str(at(values, "auth", auth, "realm") or "") if auth else "",
    )


_UNITS: Final = {"": 1024.0, "B": 1.0, "K": 1024.0, "M": 1024.0**2, "G": 1024.0**3, "T": 1024.0**4, "P": 1024.0**5}
_STORAGE_MOUNTS: Final = re.compile(r"^/(?:storage|data|registry|var/lib/registry)(?:/|$)")


def free_of_df(text: str) -> float | None:
    """Bytes free on the registry's volume by `df` or `df -h`; None where no line is about it."""
    rows = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 6 and words[4].endswith("%") and words[5].startswith("/"):
            rows.append((words[5], words[3]))
    chosen = [free for mount, free in rows if _STORAGE_MOUNTS.match(mount)] or ([rows[0][1]] if len(rows) == 1 else [])
    if not chosen:
        return None
    sizes = [_size(free) for free in chosen]
    known = [size for size in sizes if size is not None]
    return min(known) if known else None


def _size(text: str) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([BKMGTP]?)i?", text)
    if not found:
        return None
    return float(found[1]) * _UNITS[found[2]]

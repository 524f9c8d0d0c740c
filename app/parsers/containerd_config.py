"""containerd's `config.toml`, drop-ins, `config dump` and `crictl info`: what stands in them about registries.

What a release makes of it (plugin id, header version, imports) is decided in `app.pullplan.settings` (node.md 2.1 to 2.8).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

GRPC: Final = "io.containerd.grpc.v1.cri"
IMAGES: Final = "io.containerd.cri.v1.images"
FORMS: Final = ("grpc", "images", "cri", "unquoted")
"""How the registry section is addressed: the 1.x id, the 2.x id, `[plugins.cri.registry]`, the 1.x id without quotes."""
_KNOWN: Final = frozenset({"config_path", "mirrors", "configs", "auths", "headers"})


@dataclass(frozen=True, slots=True)
class Mirror:
    host: str
    endpoints: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class InlineTls:
    host: str
    ca_file: str = ""
    skip_verify: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class InlineAuth:
    """A login in the config. `key` as it is written; `from_auths` for the older `registry.auths` table, which wants URLs."""

    key: str
    has_login: bool = True
    from_auths: bool = False
    username: str = field(default="", repr=False)
    line: int = 0


@dataclass(frozen=True, slots=True)
class Registry:
    """One registry table as written, and what it would hold if its lost keys were in their place."""

    config_path: str | None = None
    mirrors: tuple[Mirror, ...] = ()
    auths: tuple[InlineAuth, ...] = ()
    tls: tuple[InlineTls, ...] = ()
    lost: tuple[str, ...] = ()
    """Keys where no release looks, as `mirrors harbor example` (a host that was split at its dots)."""
    lost_mirrors: tuple[Mirror, ...] = ()
    lost_auths: tuple[InlineAuth, ...] = ()
    lost_tls: tuple[InlineTls, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """Which inline tables are in use: `mirrors`, `auth`, `tls`."""
        named = (("mirrors", self.mirrors), ("auth", self.auths), ("tls", self.tls))
        return tuple(name for name, members in named if members)

    @property
    def says_something(self) -> bool:
        return bool(self.config_path or self.tables or self.lost)


@dataclass(frozen=True, slots=True)
class Section:
    form: str
    line: int
    registry: Registry


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file. With `error` nothing else counts."""

    path: str = ""
    version: int | None = None
    """None: no header, which means version 1, unless the text is an excerpt."""
    sections: tuple[Section, ...] = ()
    imports: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    """Ids of the plugin tables it holds."""
    local_pull: bool = False
    """A setting in it switches 2.1+ from the transfer service back to local pull."""
    cri_disabled: bool = False
    excerpt: bool = False
    """Cut out of a larger file, as far as its indentation tells: a missing header proves nothing."""
    error: str = ""
    error_line: int = 0


def parse_config(text: str, path: str = "") -> ConfigFile:
    """Never raises; TOML errors are told with their line."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else len(text.splitlines())
        return ConfigFile(path, error=f"not TOML: {error}", error_line=line)
    version = data.get("version")
    plugins = data.get("plugins")
    plugins = plugins if isinstance(plugins, dict) else {}
    disabled = data.get("disabled_plugins")
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    imports = data.get("imports")
    return ConfigFile(
        path=path,
        version=version if isinstance(version, int) and not isinstance(version, bool) else None,
        sections=tuple(_sections(plugins, text)),
        imports=tuple(str(item) for item in imports) if isinstance(imports, list) else (),
        plugins=tuple(plugins),
        local_pull=any(_local_pull(plugins.get(name)) for name in (GRPC, IMAGES)),
        cri_disabled=isinstance(disabled, list) and any(str(item) in ("cri", GRPC, IMAGES) for item in disabled),
        excerpt=version is None and first[:1] in (" ", "\t"),
    )


def _local_pull(table: Any) -> bool:
    """2.1+ leaves the transfer service for one of these (node.md 2.2)."""
    if not isinstance(table, dict):
        return False
    downloads = table.get("max_concurrent_downloads", 3)
    return (
        table.get("use_local_image_pull") is True
        or table.get("disable_snapshot_annotations") is False
        or table.get("discard_unpacked_layers") is True
        or table.get("image_pull_with_sync_fs") is True
        or downloads != 3
    )


def _sections(plugins: dict[str, Any], text: str) -> Iterator[Section]:
    unquoted: Any = plugins
    for part in GRPC.split("."):
        unquoted = unquoted.get(part) if isinstance(unquoted, dict) else None
    places = (
        ("grpc", plugins.get(GRPC)),
        ("images", plugins.get(IMAGES)),
        ("cri", plugins.get("cri")),
        ("unquoted", unquoted),
    )
    for form, table in places:
        registry = table.get("registry") if isinstance(table, dict) else None
        if isinstance(registry, dict):
            yield Section(form, _line(text, "registry"), _registry(registry, text))


def _line(text: str, *words: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if all(word in line for word in words) and not line.lstrip().startswith("#"):
            return number
    return 0


def _registry(data: dict[str, Any], text: str) -> Registry:
    lost = [key for key in data if key not in _KNOWN]
    mirrors, lost_mirrors, words = _mirrors(_dict(data.get("mirrors")), text)
    lost += words
    auths, tls, lost_auths, lost_tls, words = _configs(_dict(data.get("configs")), text)
    lost += words
    for key, value in _dict(data.get("auths")).items():
        auths.append(InlineAuth(_bare(key), _has_login(value), True, _name(value), _line(text, key)))
    path = data.get("config_path")
    return Registry(
        config_path=path if isinstance(path, str) else None,
        mirrors=tuple(mirrors), auths=tuple(auths), tls=tuple(tls), lost=tuple(lost),
        lost_mirrors=tuple(lost_mirrors), lost_auths=tuple(lost_auths), lost_tls=tuple(lost_tls),
    )  # fmt: skip


def _mirrors(data: dict[str, Any], text: str) -> tuple[list[Mirror], list[Mirror], list[str]]:
    good: list[Mirror] = []
    split: list[Mirror] = []
    lost: list[str] = []
    for host, value in data.items():
        table = _dict(value)
        endpoints = table.get("endpoint")
        if isinstance(endpoints, list):
            good.append(Mirror(host, tuple(str(item) for item in endpoints), _line(text, "mirrors", host)))
        nested = list(_joined(host, table, "endpoint"))
        for name, inner in nested:
            split.append(
                Mirror(
                    name,
                    tuple(str(item) for item in inner["endpoint"] if isinstance(inner["endpoint"], list)),
                    _line(text, "mirrors", host),
                )
            )
        known = {"endpoint", "rewrite"}
        lost += [f"mirrors {host} {key}" for key in table if key not in known]
    return good, split, lost


def _configs(
    data: dict[str, Any], text: str
) -> tuple[list[InlineAuth], list[InlineTls], list[InlineAuth], list[InlineTls], list[str]]:
    auths: list[InlineAuth] = []
    tls: list[InlineTls] = []
    lost_auths: list[InlineAuth] = []
    lost_tls: list[InlineTls] = []
    lost: list[str] = []
    for host, value in data.items():
        table = _dict(value)
        line = _line(text, "configs", host)
        if isinstance(table.get("auth"), dict):
            auths.append(InlineAuth(host, _has_login(table["auth"]), False, _name(table["auth"]), line))
        if isinstance(table.get("tls"), dict):
            tls.append(_tls(host, table["tls"], line))
        lost += [f"configs {host} {key}" for key in table if key not in ("auth", "tls")]
        if _has_login({key: item for key, item in table.items() if isinstance(item, str)}):
            lost_auths.append(InlineAuth(host, True, False, _name(table), line))
        if "insecure_skip_verify" in table or "ca_file" in table:
            lost_tls.append(_tls(host, table, line))
        for name, inner in _joined(host, table, "auth"):
            if isinstance(inner["auth"], dict):
                lost_auths.append(InlineAuth(name, _has_login(inner["auth"]), False, _name(inner["auth"]), line))
        for name, inner in _joined(host, table, "tls"):
            if isinstance(inner["tls"], dict):
                lost_tls.append(_tls(name, inner["tls"], line))
        if host in ("auths", "auth"):  # `configs.auths."https://…"`: one table too deep
            lost_auths += [
                InlineAuth(_bare(key), _has_login(item), False, _name(item), line)
                for key, item in table.items()
                if isinstance(item, dict)
            ]
    return auths, tls, lost_auths, lost_tls, lost


def _joined(name: str, table: dict[str, Any], wanted: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tables below a host that TOML split at its dots: `harbor` → `example` → `com` becomes `harbor.example.com`."""
    for key, value in table.items():
        if isinstance(value, dict) and key not in ("auth", "tls", "rewrite"):
            if wanted in value:
                yield f"{name}.{key}", value
            yield from _joined(f"{name}.{key}", value, wanted)


def _tls(host: str, table: Mapping[str, Any], line: int) -> InlineTls:
    return InlineTls(host, str(table.get("ca_file") or ""), table.get("insecure_skip_verify") is True, line)


def _has_login(value: Any) -> bool:
    return any(bool(_dict(value).get(key)) for key in ("username", "password", "auth", "identitytoken"))


def _name(value: Any) -> str:
    return str(_dict(value).get("username") or "")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _bare(url: str) -> str:
    return re.sub(r"^https?://", "", url).rstrip("/")


# --- what the daemon says of itself --------------------------------------------------------------------------------


def dumped_registry(dump: ConfigFile) -> Registry | None:
    """The registry table of a `config dump` under the id that the dumping release reads; None without one."""
    for form in ("images", "grpc"):
        for section in dump.sections:
            if section.form == form:
                return section.registry
    return None


def parse_crictl_info(text: str) -> Registry | None:
    """The running registry settings of a 1.x containerd; None where the output has none (2.x) or is an error text."""
    try:
        data = json.loads(text)
    except ValueError:
        return None
    config = _dict(_dict(data).get("config")) or _dict(data)
    found = config.get("registry")
    if not isinstance(found, dict):
        return None
    same = {
        "config_path": found.get("configPath", found.get("config_path", "")),
        "mirrors": found.get("mirrors"),
        "auths": found.get("auths"),
    }
    configs = {}
    for host, value in _dict(found.get("configs")).items():
        table = {key: item for key, item in _dict(value).items() if item}
        if isinstance(table.get("tls"), dict):
            table["tls"] = {
                "ca_file": table["tls"].get("caFile"),
                "insecure_skip_verify": table["tls"].get("insecureSkipVerify")
                or table["tls"].get("insecure_skip_verify"),
            }
        configs[host] = table
    return _registry({**same, "configs": configs}, "")

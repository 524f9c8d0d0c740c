"""`registries.yaml` of k3s and RKE2, and the hosts files that they generate from it (node.md 3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml

from app.parsers.split_url import urlsplit
from app.parsers.versions import numbers

_MIRROR: Final = frozenset({"endpoint", "rewrite"})
_CONFIG: Final = frozenset({"auth", "tls"})
_AUTH: Final = frozenset({"username", "password", "auth", "identity_token"})
_TLS: Final = frozenset({"ca_file", "cert_file", "key_file", "insecure_skip_verify"})
_MEANT: Final = {"mirror": "mirrors", "config": "configs", "endpoints": "endpoint", "rewrites": "rewrite", "skip_verify": "insecure_skip_verify", "insecure": "insecure_skip_verify", "ca": "ca_file", "user": "username"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class K3sMirror:
    key: str
    endpoints: tuple[str, ...] = ()
    rewrite: tuple[tuple[str, str], ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class K3sConfig:
    key: str
    has_login: bool = False
    username: str = field(default="", repr=False)
    ca_file: str = ""
    skip_verify: bool = False
    tls: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class K3sRegistries:
    """A parsed file. With `error` nothing else counts."""

    mirrors: tuple[K3sMirror, ...] = ()
    configs: tuple[K3sConfig, ...] = ()
    dropped: tuple[str, ...] = ()
    """Keys that the struct does not know, as `configs harbor.example.com auth token`."""
    error: str = ""

    def mirror_for(self, namespace: str) -> K3sMirror | None:
        """The mirror entry of exactly that name, else the wildcard."""
        for key in (namespace, "*"):
            for mirror in self.mirrors:
                if mirror.key == key:
                    return mirror
        return None

    def config_for(self, host: str) -> K3sConfig | None:
        for key in (host, "*"):
            for config in self.configs:
                if config.key == key:
                    return config
        return None


def parse_registries(text: str) -> K3sRegistries:
    """Never raises; YAML errors are told with their place. Unknown keys are dropped as the real parser drops them."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return K3sRegistries(error=_yaml_words(error))
    except (ValueError, RecursionError):
        return K3sRegistries(error="not YAML")
    if data is None:
        return K3sRegistries()
    if not isinstance(data, dict):
        return K3sRegistries(error="the document is not a mapping")
    lines = text.splitlines()
    dropped = [str(key) for key in data if key not in ("mirrors", "configs", "auths")]
    mirrors = []
    for key, value in _dict(data.get("mirrors")).items():
        table = _dict(value)
        dropped += [f"mirrors {key} {name}" for name in table if name not in _MIRROR]
        endpoints = table.get("endpoint")
        mirrors.append(
            K3sMirror(str(key), tuple(str(item) for item in endpoints) if isinstance(endpoints, list) else (), tuple((str(a), str(b)) for a, b in _dict(table.get("rewrite")).items()), _line(lines, str(key)))
        )  # fmt: skip
    configs = []
    for key, value in _dict(data.get("configs")).items():
        table = _dict(value)
        dropped += [f"configs {key} {name}" for name in table if name not in _CONFIG]
        auth, tls = _dict(table.get("auth")), _dict(table.get("tls"))
        dropped += [f"configs {key} auth {name}" for name in auth if name not in _AUTH]
        dropped += [f"configs {key} tls {name}" for name in tls if name not in _TLS]
        configs.append(
            K3sConfig(str(key), any(auth.get(name) for name in _AUTH), str(auth.get("username") or ""), str(tls.get("ca_file") or ""), tls.get("insecure_skip_verify") is True, bool(tls), _line(lines, str(key)))
        )  # fmt: skip
    return K3sRegistries(tuple(mirrors), tuple(configs), tuple(dropped))


def mended(text: str) -> K3sRegistries | None:
    """The file with misspelt keys read as they were meant; None where that changes nothing."""
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    meant = _respell(data)
    result = parse_registries(yaml.safe_dump(meant))
    return result if meant != data and not result.error else None


def named_configs(text: str) -> tuple[K3sConfig, ...]:
    """All `configs` entries, those below misspelt keys too: what they name may lie on the node without being in force."""
    meant = mended(text)
    return (*parse_registries(text).configs, *(meant.configs if meant is not None else ()))


def _respell(value: Any) -> Any:
    if isinstance(value, dict):
        return {_MEANT.get(key, key): _respell(item) for key, item in value.items()}
    return value


def _yaml_words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not YAML"
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)


def _line(lines: list[str], word: str) -> int:
    return next((number for number, line in enumerate(lines, 1) if word in line), 0)


def _dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


# --- what k3s makes of it -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Generated:
    """One host that the generated settings of a name lead to, in order."""

    url: str
    ca_file: str = ""
    skip_verify: bool = False
    has_login: bool = False
    rewrite: tuple[tuple[str, str], ...] = ()
    default: bool = False
    """The default endpoint, last in the list."""
    line: int = 0


def uses_certs_d(release: str) -> bool | None:
    """Releases from January 2024 write hosts.toml files, older ones inline tables; None for an unknown release."""
    found = numbers(release)
    if found is None:
        return None
    first = {(1, 26): 13, (1, 27): 10, (1, 28): 6, (1, 29): 1}
    if found[:2] in first:
        return found[2] >= first[found[:2]]
    return found[:2] > (1, 29)


def generate(
    registries: K3sRegistries, namespace: str, release: str = "", *, default_endpoint: bool = True
) -> tuple[Generated, ...]:
    """Hosts for images named `namespace/…`, as k3s would write them; empty when the file cannot be read."""
    if registries.error:
        return ()
    mirror = registries.mirror_for(namespace)
    hosts: list[Generated] = []
    for endpoint in mirror.endpoints if mirror else ():
        url = endpoint if "://" in endpoint else f"https://{endpoint}"
        host = _with_config(
            Generated(url, rewrite=mirror.rewrite if mirror else (), line=mirror.line if mirror else 0), registries
        )
        if all(known.url != host.url for known in hosts):
            hosts.append(host)
    server = "registry-1.docker.io" if namespace == "docker.io" else namespace
    default = _with_config(Generated(f"https://{server}", default=True), registries)
    inline = uses_certs_d(release) is False
    if inline and any(urlsplit(host.url).netloc == namespace for host in hosts):
        return tuple(hosts)
    if hosts and hosts[-1].url.rstrip("/").removesuffix("/v2") == default.url:
        hosts.pop()
    if default_endpoint or mirror is None or registries.config_for(namespace) is not None:
        hosts.append(default)
    return tuple(hosts)


def _with_config(host: Generated, registries: K3sRegistries) -> Generated:
    authority = urlsplit(host.url).netloc
    config = registries.config_for(authority)
    if config is None and authority == "registry-1.docker.io":
        config = registries.config_for("docker.io")
    if config is None:
        return host
    return replace(host, ca_file=config.ca_file, skip_verify=config.skip_verify, has_login=config.has_login)


def only_defaults(registries: K3sRegistries) -> bool:
    """Every entry restates what holds anyway, so that nothing is generated."""
    for mirror in registries.mirrors:
        meant = [
            endpoint
            for endpoint in mirror.endpoints
            if endpoint.rstrip("/").removesuffix("/v2") != f"https://{mirror.key}"
        ]
        if meant or mirror.rewrite:
            return False
    return not any(config.has_login or config.tls for config in registries.configs)


def wildcard_defect(registries: K3sRegistries, release: str) -> bool | None:
    """`"*"` in a release whose generator or containerd mishandles it (node.md 3.2); None for an unknown release."""
    wildcard = any(mirror.key == "*" for mirror in registries.mirrors)
    if not wildcard:
        return False
    found = numbers(release)
    if found is None:
        return None
    minor, patch = found[:2], found[2]
    without_fallback = {(1, 26): 15, (1, 27): 12, (1, 28): 8, (1, 29): 3}
    if minor in without_fallback:
        return bool(uses_certs_d(release)) and patch < without_fallback[minor]
    return (minor, patch) in (((1, 31), 6), ((1, 32), 2))

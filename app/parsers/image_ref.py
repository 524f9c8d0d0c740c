"""Image references as Docker's reference grammar reads them (node.md 8.1, `distribution/reference`)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

HUB: Final = "docker.io"
_HUB_ALIASES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.docker.io", "registry.hub.docker.com", "auth.docker.io", "hub.docker.com"})  # fmt: skip
_SCHEME = re.compile(r"^(?P<scheme>https?|docker|oci|docker-daemon|containers-storage)://?", re.IGNORECASE)
_DOMAIN = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
)
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_ID = re.compile(r"[a-f0-9]{64}")
_SITE_SUFFIXES: Final = (
    ".local", ".lan", ".internal", ".intranet", ".corp", ".home", ".home.arpa", ".localdomain", ".private", ".svc", ".test",
)  # fmt: skip
_PUBLIC: Final = frozenset(
    {
        "docker.io", "quay.io", "ghcr.io", "gcr.io", "k8s.gcr.io", "registry.k8s.io", "public.ecr.aws", "mcr.microsoft.com",
        "registry.gitlab.com", "nvcr.io", "docker.elastic.co", "registry.access.redhat.com", "registry.redhat.io",
        "lscr.io", "cgr.dev", "xpkg.upbound.io", "docker.n8n.io", "registry.suse.com", "container-registry.oracle.com",
    }
)  # fmt: skip
_PUBLIC_SUFFIXES: Final = (".gcr.io", ".pkg.dev", ".docker.io", ".quay.io", ".azurecr.io", ".amazonaws.com")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A reference taken apart. `host` is as typed (empty: none), `normalised_host` what a runtime contacts."""

    raw: str
    ok: bool = False
    error: str = ""
    scheme: str = ""
    """A scheme in front, which no runtime accepts (`http`, `https`, …)."""
    host: str = ""
    normalised_host: str = ""
    path: str = ""
    """Repository below the host; `library/` is added for Docker Hub."""
    tag: str = ""
    """As typed; empty where a runtime takes `latest`."""
    digest: str = ""
    typed_path: str = ""

    @property
    def name(self) -> str:
        """host/repository without tag and digest."""
        return f"{self.normalised_host}/{self.path}"

    @property
    def reference(self) -> str:
        """The normalised reference: `docker.io/library/nginx:latest`."""
        tail = f":{self.tag}" if self.tag else ""
        if self.digest:
            return f"{self.name}{tail}@{self.digest}"
        return f"{self.name}{tail or ':latest'}"

    @property
    def project(self) -> str:
        """First part of the repository; empty where the path has no other."""
        project, slash, _ = self.path.partition("/")
        return project if slash else ""

    @property
    def has_port(self) -> bool:
        return bool(port_of(self.host))

    @property
    def one_segment(self) -> bool:
        """One part below the project, or below Docker Hub itself."""
        typed = self.typed_path.removeprefix("library/") if self.normalised_host == HUB else self.typed_path
        return typed.count("/") == (0 if self.normalised_host == HUB else 1)

    @property
    def loopback(self) -> bool:
        return is_loopback(self.normalised_host)

    @property
    def host_internal(self) -> bool:
        return is_internal(self.normalised_host)

    @property
    def host_public(self) -> bool:
        return is_public(self.normalised_host)


def parse_image(text: str) -> ImageRef:
    """Never raises; `error` says in the words of the grammar what is wrong. The host is told even for a bad reference."""
    raw = text.strip()
    found = _SCHEME.match(raw)
    scheme = found["scheme"].lower() if found else ""
    rest = raw[found.end() :].lstrip("/") if found else raw
    if not rest:
        return ImageRef(raw, False, "repository name must have at least one component", scheme)
    host, normalised, remainder = _split_domain(rest)
    name, digest = remainder, ""
    if "@" in remainder:
        name, _, digest = remainder.partition("@")
    tag, colon = "", name.rfind(":")
    if colon > name.rfind("/"):
        name, tag = name[:colon], name[colon + 1 :]
    typed = name
    if normalised == HUB and "/" not in name:
        name = f"library/{name}"
    error = ""
    if scheme:
        error = f"invalid reference format: it begins with {scheme}://"
    elif _ID.fullmatch(raw):
        error = "invalid repository name: 64 hexadecimal characters are an image id"
    elif host and not _DOMAIN.fullmatch(host):
        error = "invalid reference format: not a registry host"
    elif not _PATH.fullmatch(name):
        upper = name != name.lower() and _PATH.fullmatch(name.lower())
        error = f"invalid reference format{': repository name must be lowercase' if upper else ''}"
    elif (colon > 0 and typed + ":" + tag in remainder and not _TAG.fullmatch(tag)) or remainder.endswith(":"):
        error = "invalid reference format: bad tag"
    elif "@" in remainder and not _DIGEST.fullmatch(digest):
        error = "invalid reference format: bad digest"
    elif len(f"{normalised}/{name}") > 255:
        error = "repository name must not be more than 255 characters"
    return ImageRef(raw, not error, error, scheme, host, normalised, name, tag, digest, typed)


def _split_domain(name: str) -> tuple[str, str, str]:
    """Host as typed, host contacted, remainder; the rule is: a dot, a colon, `localhost`, or an upper-case letter."""
    head, slash, rest = name.partition("/")
    is_host = slash and ("." in head or ":" in head or head == "localhost" or head != head.lower())
    # A placeholder in brackets stands for a registry in anonymised texts.
    if not is_host and not (slash and head[:1] in "[<{"):
        return "", HUB, name
    return head, HUB if head == "index.docker.io" else head, rest


def hub_name(host: str) -> str:
    """`docker.io` for every name of Docker Hub, else the host as it is, in lower case."""
    bare = host.lower().removesuffix(":443")
    return HUB if bare in _HUB_ALIASES else host.lower()


def bare_host(host: str) -> str:
    """A host without its port; brackets of an IPv6 address stay."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0] if host.count(":") == 1 else host


def port_of(host: str) -> int | None:
    """The port written in `host[:port]`."""
    tail = host[len(bare_host(host)) :].removeprefix(":")
    return int(tail) if tail.isdecimal() and len(tail) <= 5 else None


def is_loopback(host: str) -> bool:
    name = bare_host(host).lower()
    address = _address(name)
    return name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback)


def is_internal(host: str) -> bool:
    """A private address, a name of a site, or a name without a dot."""
    name = bare_host(host).lower()
    address = _address(name)
    if address is not None:
        return address.is_private
    return "." not in name or name.endswith(_SITE_SUFFIXES) or ".svc." in name


def is_public(host: str) -> bool:
    """One of the registries that the whole world uses, or of a cloud: run by others, under certificates of public authorities."""
    name = hub_name(bare_host(host))
    return name in _PUBLIC or name.endswith(_PUBLIC_SUFFIXES)


def is_cluster_name(host: str) -> bool:
    """A Service name, which a node's resolver does not know."""
    name = bare_host(host).lower()
    return name.endswith((".svc", ".cluster.local")) or ".svc." in name


def same_host(one: str, other: str, scheme: str = "https") -> bool:
    """Whether two `host[:port]` are one place; a missing port is the scheme's, Docker Hub's names are one."""
    default = 80 if scheme == "http" else 443
    a, b = hub_name(one), hub_name(other)
    return a == b or (bare_host(a) == bare_host(b) and (port_of(a) or default) == (port_of(b) or default))


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None

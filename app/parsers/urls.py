"""The URL in an error text: which host, which port, which part of the registry's API (node.md 1.1, 5.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from app.parsers.image_ref import bare_host, hub_name, is_cluster_name, is_loopback, port_of, same_host

_URL = re.compile(r"""\bhttps?:\\?/\\?/(?:<[^>\s]+>(?::\d+)?|\[[^\]\s]+\](?::\d+)?)?[^\s"'`)\]}>,\\]*""", re.IGNORECASE)
_HELP: Final = (
    "docs.docker.com", "www.docker.com", "hub.docker.com", "kubernetes.io", "github.com", "docs.github.com", "go.dev",
    "golang.org", "docker.com", "helm.sh", "app.docker.com", "login.docker.com", "dockr.ly",
)  # fmt: skip
_FROM_HOST = re.compile(r"pulling from host (?P<host>\S+) failed with status code \[manifests (?P<tag>[^\]]*)\]")
_LOOKUP = re.compile(r"\blookup (?P<host>[\w.-]+)(?: on (?P<server>\S+?):\d+)?:")
_DIAL = re.compile(r"dial (?:tcp|udp)[46]? (?P<ip>\[[0-9a-fA-F:.%]+\]|\d{1,3}(?:\.\d{1,3}){3}):(?P<port>\d+)")
_READ = re.compile(r"(?:read|write) tcp \S+?->(?P<ip>\[[0-9a-fA-F:.]+\]|\d{1,3}(?:\.\d{1,3}){3}):(?P<port>\d+)")
_PINGING = re.compile(r"pinging (?:container|docker) registry (?P<host>(?:\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d+)?)")
_IN_HOST = re.compile(r"(?:reading manifest \S+|uploading manifest \S+|exists) (?:in|to) (?P<host>[\w.-]+(?::\d+)?)/(?P<path>\S+?)[:;]? ")  # fmt: skip
_UPLOAD_IN = re.compile(r"initiating layer upload to (?P<path>/v2/\S+) in (?P<host>[\w.:-]+):")
_CERT_FOR = re.compile(r"(?:validate certificate for|is valid for [^\n]*?, not|but wanted to match) (?P<host>[\w.:-]+)")
_SIGNED: Final = ("x-amz-", "x-goog-", "signature=", "sig=", "x-oss-", "expires=")
_V2 = re.compile(r"^(?P<before>.*?)/v2(?P<after>/.*|)$")
_RIGHTFUL_PREFIX: Final = ("/artifactory", "/repository/", "/nexus", "/api/")
"""Products that serve registries below a path of their own."""
_STORED = re.compile(r"/v2/blobs/sha(?:256|512)/[0-9a-f]{2}/[0-9a-f]+/data$")
"""Where a registry keeps a blob in its object store: no path of the API."""


@dataclass(frozen=True, slots=True)
class UrlReading:
    """The failing URL of a text. Empty fields: the text does not show it."""

    url: str = ""
    scheme: str = ""
    host: str = ""
    """host[:port]; the names of Docker Hub are `docker.io`."""
    port: int | None = None
    path: str = ""
    path_kind: str = ""
    """`ping, token, manifest, blob, upload, other`."""
    path_shape: str = ""
    """`ok, v2-doubled, v2-missing, v2-after-project`; empty where it cannot be judged."""
    namespace: str = ""
    """containerd's `?ns=`: the registry for which a mirror was asked."""
    account: str = ""
    """The user name in a token URL."""
    by_digest: bool | None = None
    signed: bool = False
    """It carries the signature of an object store."""

    @property
    def known(self) -> bool:
        return bool(self.host)


def find_urls(text: str) -> list[str]:
    """URLs of a text in their order, pages of documentation left out."""
    urls = [found.group().replace("\\/", "/").rstrip(".:;") for found in _URL.finditer(text)]
    return [url for url in urls if _host_of(url) not in _HELP and not url.endswith("//")]


def read_url(url: str, method: str = "") -> UrlReading:
    """Take one URL apart; never raises."""
    scheme, _, rest = url.partition("://")
    netloc, slash, tail = rest.partition("/")
    netloc = netloc.partition("?")[0].rpartition("@")[2]
    path, _, query = (slash + tail).partition("?")
    scheme = scheme.lower()
    host = hub_name(netloc)
    if port_of(host) == (80 if scheme == "http" else 443):
        host = bare_host(host)
    parameters = _parameters(query)
    kind = path_kind(path, parameters, method)
    return UrlReading(
        url=url,
        scheme=scheme,
        host=host,
        port=port_of(netloc) or (80 if scheme == "http" else 443),
        path=path,
        path_kind=kind,
        path_shape=path_shape(path, kind),
        namespace=parameters.get("ns", ""),
        account=parameters.get("account", ""),
        by_digest=("/sha256:" in path or "/sha512:" in path) if kind in ("manifest", "blob") else None,
        signed=any(mark in query.lower() for mark in _SIGNED),
    )


def path_kind(path: str, parameters: dict[str, str] | None = None, method: str = "") -> str:
    """Which part of the API a path belongs to."""
    low, parameters = path.lower(), parameters or {}
    last = low.rstrip("/")
    if "/blobs/uploads" in low:
        return "upload"
    if re.search(r"/manifests(/|$)", low):
        return "manifest"
    if re.search(r"/blobs(/|$)", low):
        return "blob"
    if last.endswith(("/v2", "/v1/_ping", "/v1/users", "/v2/_catalog", "/v1", "/_ping")) or last in ("", "/v2"):
        return "ping" if "service" not in parameters else "token"
    if "token" in last.rsplit("/", 1)[-1] or {"service", "scope"} & set(parameters) or "/service/token" in low or last.endswith("/auth"):  # fmt: skip
        return "token"
    if re.search(r"/v1/images/[^/]+/(json|layer|checksum)", low):
        return "upload" if method.upper() in ("PUT", "POST", "PATCH") else "blob"
    if "/v1/repositories/" in low:
        return "manifest"
    if method.upper() in ("PUT", "PATCH") and "/_uploads" in low:
        return "upload"
    return "other"


def path_shape(path: str, kind: str) -> str:
    """Whether `/v2/` stands where a registry expects it (node.md `hosts-path-wrong`)."""
    if kind not in ("manifest", "blob", "upload") or "/v1/" in path or _STORED.search(path):
        return ""
    if path.count("/v2/") >= 2:
        return "v2-doubled"
    found = _V2.match(path)
    if found is None:
        return "v2-missing"
    before = found["before"]
    if not before:
        return "ok"
    return "" if before.startswith(_RIGHTFUL_PREFIX) else "v2-after-project"


def failing_url(text: str) -> UrlReading:
    """The innermost URL of an error chain, or the host that the text names in another way."""
    urls = find_urls(text)
    if urls:
        url = urls[-1]
        return read_url(url, _method_before(text, url))
    found = _FROM_HOST.search(text)
    if found:
        return UrlReading(
            host=hub_name(found["host"]), path_kind="manifest", by_digest=found["tag"].startswith("sha256:")
        )
    found = _UPLOAD_IN.search(text)
    if found:
        return UrlReading(host=hub_name(found["host"]), path=found["path"], path_kind="upload", path_shape="ok")
    found = _PINGING.search(text)
    if found:
        return UrlReading(host=hub_name(found["host"]), path_kind="ping")
    found = _IN_HOST.search(text + " ")
    if found:
        kind = "blob" if "exists" in found.group() else "manifest"
        return UrlReading(host=hub_name(found["host"]), path_kind=kind)
    found = _LOOKUP.search(text) or _CERT_FOR.search(text)
    return UrlReading(host=hub_name(found["host"])) if found else UrlReading()


def _method_before(text: str, url: str) -> str:
    at = text.rfind(url)
    found = re.search(r'(HEAD|GET|POST|PUT|PATCH|DELETE|Head|Get|Post|Put|Patch|Delete)\b[^A-Za-z]{0,3}$', text[max(0, at - 12) : at])  # fmt: skip
    return found.group(1).upper() if found else ""


def dial_address(text: str) -> str:
    """The address that was dialled, as the failing side resolved it; empty for a failed lookup."""
    found = None
    for found in _DIAL.finditer(text):  # noqa: B007 - the last one is the innermost
        pass
    if found and not re.search(r"\blookup\b", text[: found.start()].rsplit(": ", 2)[-1]):
        return found["ip"].strip("[]")
    read = _READ.search(text)
    return read["ip"].strip("[]") if read and "lookup" not in text else ""


def dialled_port(text: str) -> int | None:
    """The port of the last `dial tcp ADDRESS:PORT`."""
    found = list(_DIAL.finditer(text))
    return int(found[-1]["port"]) if found else None


def looked_up(text: str) -> str:
    """The name that a failed lookup asked for."""
    found = _LOOKUP.search(text)
    return found["host"] if found else ""


def is_placeholder(host: str, own: str = "") -> bool:
    """Whether a token host is a default or a name that only Harbor's own network knows (harbor-and-kubernetes.md `realm-unreachable-or-wrong-host`).

    `own` is the registry as the client names it: a realm there is never a placeholder.
    """
    if not host or (own and (same_host(host, own) or bare_host(host).lower() == bare_host(own).lower())):
        return False
    name = bare_host(host).lower().strip("[]")
    if name in ("none", "null", "undefined", "core.harbor.domain", "notary.harbor.domain"):
        return True
    # Without the client's own name for the registry a short name could be just that name.
    return bool(own) and (is_loopback(host) or is_cluster_name(host) or ("." not in name and ":" not in name))


def upload_moved(text: str, own: str = "") -> bool | None:
    """Whether an upload went on to another scheme, host or port than it began with; None where the text cannot tell.

    `own` is the registry's host[:port] as the client names it.
    """
    urls: list[tuple[str, UrlReading]] = []
    for found in re.finditer(r'"?\b(POST|PUT|PATCH|Post|Put|Patch)\b"? "?(https?://[^\s"]+)', text):
        reading = read_url(found.group(2), found.group(1))
        if reading.path_kind == "upload":
            urls.append((found.group(1).upper(), reading))
    if not urls:
        return None
    starts = {(r.scheme, r.host) for method, r in urls if method == "POST"}
    ends = {(r.scheme, r.host) for method, r in urls if method in ("PUT", "PATCH")}
    if starts and ends:
        return not ends <= starts
    if ends and own:
        return any(not same_host(host, own, scheme) for scheme, host in ends) or None
    return None


def _host_of(url: str) -> str:
    return bare_host(url.partition("://")[2].partition("/")[0].partition("?")[0].lower())


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key:
            found[key.lower()] = re.sub(r"%([0-9a-fA-F]{2})", lambda m: chr(int(m.group(1), 16)), value)
    return found

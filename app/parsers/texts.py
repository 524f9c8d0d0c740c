"""One failing text read: who printed it, what it was doing, the URL, and every fact the words hold (MODES 2, `text.*`).

`read_blob` reads whatever somebody pasted; `read_text` one message. Neither raises. Duplicates that mean the same
(other times, request ids, digests, wrappers of another release) are folded by `meaning_of`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from app.parsers.image_ref import bare_host, parse_image, port_of, same_host
from app.parsers.signature_table import SYMPTOMS
from app.parsers.signatures import Around, flatten, one_line, read_status, read_tags
from app.parsers.texts_lines import Failure, read_time
from app.parsers.texts_split import Attempt, split_attempts
from app.parsers.urls import UrlReading, dial_address, failing_url, find_urls, read_url, upload_moved

EVENT: Final = "event"
"""Source of a text that the kubelet wrote: an event or a waiting state."""
_OCI_PUT: Final = re.compile(r"application/vnd\.oci\.image\.(?:manifest|index)\.v1\+json(?: failed|\(Error )")
"""podman, buildah and skopeo name the type of the manifest that was refused, in a line before the error or in it."""
_KUBELET_TAGS: Final = frozenset(
    [
        "reference-refused",
        "never-pull",
        "secret-not-retrieved",
        "secret-unparsable",
        "qps",
        "back-off-only",
        "sandbox-image",
    ]
)
_CONTAINERD = re.compile(
    r"failed to pull and unpack image|failed to resolve (image|reference)|httpReadSeeker|failed to copy: |failed commit on ref|"
    r"get image config descriptor|failed to do request: |failed to authorize: |pulling from host \S+ failed|unexpected status (code|from)|"
    r"authorization failed: |failed to extract layer|no match for platform in manifest|cannot be set when|failed to load (plugin|TOML)"
)
_CRIO = re.compile(r"initializing source docker://|reading manifest \S+ in |pinging container registry|Error reading manifest|Mirrors also failed|copying system image|parsing image configuration|Source image rejected|SignatureValidationFailed")  # fmt: skip
_DOCKER = re.compile(r"Error response from daemon|^docker: |The push refers to|login attempt to |Error saving credentials|error pulling image configuration|may require 'docker login'|^FATA\[\d+\] (Error response|Failed to upload)|failed to register layer")  # fmt: skip
# The kubelet hands on what dockershim or cri-dockerd heard from the daemon: nobody typed anything there.
_OVER_CRI = re.compile(r'^(?:\S+\.go:\d+\] )?(?:Failed to pull image "|Pull image "[^"]*" failed: |Failed to inspect image "|image pull failed for |Back-off pulling image ")|^\[?rpc error: code = \w+ desc = Error response from daemon|failed pulling image "')  # fmt: skip
_SKOPEO = re.compile(r"(trying to reuse blob|writing blob: |initiating layer upload|writing manifest: uploading|copying image: |Error initializing source docker://)")  # fmt: skip
_CRANE = re.compile(r"^(Error: )?(retrying )?(GET|HEAD|POST|PUT|PATCH) https?://|UNAUTHORIZED: .*\[map\[|HEAD responses have no body|^Error: (Get|Head|Patch|Put|Post) \"https?://")  # fmt: skip
_OTHER = re.compile(r"error checking push permissions|failed to solve|failed to push \S+: |\[ERROR ImagePull\]|buildkit|com\.google\.cloud\.tools\.jib|PKIX")  # fmt: skip
_HELM = re.compile(r"^Error: (INSTALLATION|UPGRADE) FAILED|failed to (fetch|download) \S*oci://|helm ", re.I)
_NAMED = (
    re.compile(r'(?:failed to pull and unpack image|failed to resolve (?:reference|image)|pulling image|pull image|apply default image tag|inspect image|PullImage|Container image|sandbox image) \\?"(?P<ref>[^"\\]+)', re.I),
    re.compile(r"pull access denied for (?P<ref>[^\s,]+)"),
    re.compile(r"manifest for (?P<ref>\S+) not found"),
    re.compile(r"initializing source docker://(?P<ref>[^\s:]+(?::\d+/[^\s:]+)?(?::[\w.-]+)?)"),
    re.compile(r"image pull failed for (?P<ref>[^\s,]+)"),
    re.compile(r"couldn't parse image (?:name|reference) \\?\"(?P<ref>[^\"\\]*)"),
)  # fmt: skip
_JOINED = re.compile(r'(?:^|: )\[(?:rpc error|failed to|pull access|unauthorized|Error|[^\]\[]*?desc = ).{3,}?, (?:rpc error|failed to|pull access|unauthorized|Error|[^\]\[]*?desc = )', re.S)  # fmt: skip
_REGISTRY_PATHS = ("/var/lib/registry", "/storage/docker/registry", "/docker/registry/v2/", "map[DriverName")
_NODE_PATHS = ("/var/lib/containerd", "/var/lib/rancher", "/run/containerd", "/var/lib/kubelet", "/run/k3s", "/var/lib/containers", "containerd-mount")  # fmt: skip
_VARIABLE: Final = (
    (re.compile(r"^Failed to pull image \"[^\"]*\": "), ""),
    (re.compile(r"rpc error: code = \w+ desc = "), ""),
    (re.compile(r"^(?:Error: )?retrying ", re.I), ""),
    (re.compile(r"^(?:Error response from daemon|Error|FATA\[\d+\]|ERRO\[\d+\]): ?"), ""),
    (re.compile(r"Back-off pulling image \"[^\"]*\": \w+: "), ""),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"(sha256|sha512):[0-9a-f]{8,}"), r"<digest>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"_state=[^\s&\"]+"), "_state"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "<hex>"),
    (re.compile(r"\d{1,3}(?:\.\d{1,3}){3}:\d+->"), "<local>->"),
    (re.compile(r"\b\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h)\b"), "<span>"),
    (re.compile(r"%5BREDACTED%5D|REDACTED|PLACEHOLDER\S*"), ""),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True, slots=True)
class TextReading:
    """What one failing text says. None and "" mean that it does not say."""

    message: str
    tags: tuple[str, ...] = ()
    client: str | None = None
    """`containerd, kubelet, docker, crio, ctr, crane, skopeo, helm, ours, other`."""
    action: str | None = None
    """`pull, push, login, save`."""
    status: int | None = None
    time: float | None = None
    url: UrlReading = field(default_factory=UrlReading)
    urls: tuple[UrlReading, ...] = ()
    """All URLs of the text, in order."""
    dial_ip: str = ""
    image: str = ""
    """The reference that the text or the command names."""
    account: str = ""
    command: str = ""
    typed_scheme: str = ""
    names_image: str = ""
    upload: str = ""
    """A line above it that shows a push whose upload had begun."""
    joined_errors: bool = False
    location_differs: bool | None = None
    path_owner: str = ""
    cred_sent: str = ""
    """`yes`, `no`, `unknown` (a refusal that does not tell); empty: not about credentials."""
    count: int = 1
    """How often it was seen."""
    reason: str = ""

    @property
    def symptoms(self) -> frozenset[str]:
        return SYMPTOMS & frozenset(self.tags)

    @property
    def classified(self) -> bool:
        return "unclassified" not in self.tags


@dataclass(frozen=True, slots=True)
class Blob:
    """What a pasted text or a file of terminal output came to."""

    readings: tuple[TextReading, ...] = ()
    """Distinct failing texts in the order of their first appearance."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def succeeded(self) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in self.attempts if attempt.succeeded)


def read_blob(blob: str, around: Around | None = None, *, source: str = "", fallback: bool = False) -> Blob:
    """All failing texts of a blob, folded. `fallback`: a blob that shows neither failure nor success is one text."""
    attempts = tuple(split_attempts(blob))
    readings: list[TextReading] = []
    for attempt in attempts:
        readings.extend(read_text(failure, around, attempt=attempt, source=source) for failure in attempt.failures)
    if not readings and fallback and not any(attempt.succeeded for attempt in attempts) and blob.strip():
        attempt = attempts[-1] if attempts else Attempt()
        message = blob.strip()[:4000]
        readings.append(read_text(Failure(message, attempt.ended), around, attempt=attempt, source=source))
    return Blob(fold(readings), attempts)


def fold(readings: Iterable[TextReading]) -> tuple[TextReading, ...]:
    """Distinct readings by meaning; counts are added, the newest time and the first words are kept."""
    kept: dict[tuple[str, str, str], TextReading] = {}
    for reading in readings:
        key = (meaning_of(reading.message), reading.client or "", reading.action or "")
        seen = kept.get(key)
        if seen is None:
            kept[key] = reading
            continue
        times = [time for time in (seen.time, reading.time) if time is not None]
        kept[key] = replace(seen, count=seen.count + reading.count, time=max(times) if times else None)
    return tuple(kept.values())


@lru_cache(maxsize=4096)
def meaning_of(message: str) -> str:
    """A text without what differs between two sightings of one failure."""
    text = one_line(flatten(message))
    for pattern, instead in _VARIABLE:
        text = pattern.sub(instead, text)
    return text.strip(" .").lower()


def read_text(
    failure: Failure | str, around: Around | None = None, *, attempt: Attempt | None = None, source: str = ""
) -> TextReading:
    """Read one message; `attempt` is the command above it, `source` is `event` for the kubelet's own words."""
    given = Failure(failure) if isinstance(failure, str) else failure
    above = attempt or Attempt()
    known = around or Around()
    message = given.message.strip()
    joined = one_line(flatten(message))
    image = _image_in(joined) or (above.image if above.action != "login" else "")
    own_host = known.image_host or (parse_image(image).normalised_host if image else "") or _login_host(above)
    url = failing_url(joined)
    if url.host and not url.scheme and own_host and bare_host(url.host).lower() == bare_host(own_host).lower():
        url = replace(url, host=own_host, port=port_of(own_host))  # a lookup names no port
    action = above.action or action_of(joined, url) or known.action
    client = client_of(joined, above.tool, source)
    tags = read_tags(message, replace(known, action=action, client=client, image_host=own_host), url)
    own_words = _KUBELET_TAGS | ({"image-service-missing"} if source == EVENT else set())
    if client is None and (source == EVENT or "illegal base64" not in joined) and own_words & set(tags):
        client = "kubelet"
    if above.retries and action == "push" and SYMPTOMS & set(tags) <= {"http-5xx", "reset", "unclassified"}:
        tags = (*tags, "push-storage-error")  # docker's `Retrying in` stands on lines of its own
    if action == "push" and _OCI_PUT.search(above.output or joined):
        tags = (*tags, "oci-manifest")
    moved = upload_moved(joined, own_host)
    if moved and "unclassified" in tags:
        tags = (*(tag for tag in tags if tag != "unclassified"), "upload-broken")
    status = read_status(message)
    return TextReading(
        message=message,
        tags=tags,
        client=client,
        action=action if "endpoint-refused" not in tags or above.command else "save",
        status=status,
        time=given.time or printed_time(joined),
        url=url,
        urls=tuple(read_url(found) for found in find_urls(joined)),
        dial_ip=dial_address(joined),
        image=image,
        account=above.account or url.account,
        command=above.command,
        typed_scheme=above.typed_scheme,
        names_image=_names(joined, image),
        upload=above.upload if action == "push" else "",
        joined_errors=_JOINED.search(joined) is not None,
        location_differs=moved,
        path_owner=path_owner(joined, client, action),
        cred_sent=credential_sent(joined, tags, client, above),
        reason=given.reason,
    )


def _login_host(attempt: Attempt) -> str:
    return attempt.image.partition("/")[0] if attempt.action == "login" else ""


def client_of(joined: str, tool: str, source: str) -> str | None:
    """Who printed a text. A tool that was typed decides before the looks of its words."""
    by_tool = {
        "docker": "docker",
        "ctr": "ctr",
        "skopeo": "skopeo",
        "crane": "crane",
        "gcrane": "crane",
        "helm": "helm",
    }
    if tool == "docker" and joined.startswith("rpc error: ") and _CONTAINERD.search(joined):
        return "containerd"  # pasted below the output of another command
    if tool in by_tool:
        return by_tool[tool]
    if tool in ("nerdctl", "podman", "buildah", "oras", "kaniko", "img", "buildctl", "kubectl"):
        return "other" if tool != "kubectl" or not _CONTAINERD.search(joined) else "containerd"
    if joined.startswith("ctr: "):
        return "ctr"
    if source != EVENT and not tool:
        if _OTHER.search(joined):
            return "other"
        if _SKOPEO.search(joined):
            return "skopeo"
        if _CRANE.search(joined):
            return "crane"
    if _CRIO.search(joined):
        return (
            "crio"
            if source == EVENT or tool == "crictl"
            else "skopeo"
            if "docker://" in joined and "trying" in joined
            else "crio"
        )
    if not tool and _OVER_CRI.search(joined) and _DOCKER.search(joined):
        return "kubelet"
    if _DOCKER.search(joined):
        return "docker"
    if _CONTAINERD.search(joined) or tool == "crictl":
        return "containerd"
    if _HELM.search(joined):
        return "helm"
    return None


def action_of(joined: str, url: UrlReading) -> str | None:
    """What the words themselves say was being done."""
    if re.search(
        r"login attempt to|/v[12]/(users/?)?\"?: unauthorized|docker login\b(?!')", joined
    ) or url.path.endswith("/v1/users/"):
        return "login"
    if url.path_kind == "upload" or re.search(
        r"action: push|The push refers to|writing blob: |writing manifest: uploading|blob upload|"
        r"over the quota: used|not enough quota available|Error uploading manifest|"
        r"will exceed the configured upper limit|configured as immutable|push artifact to a proxy|"
        r"error checking push|failed to push|Failed to upload|pushing image|cannot be overwrit|completing upload|Request Entity Too Large|"
        r"uploadArtifacts|write_package|Write organization package|http\.request\.method=(PUT|PATCH|POST)|push时|推送",
        joined,
        re.I,
    ):
        return "push"
    if re.search(r"action: pull|pull access denied|failed to pull|pulling (image|from host)|PullImage|Back-off pulling|ErrImagePull|"
                 r"ImagePullBackOff|httpReadSeeker|failed to resolve (image|reference)|reading manifest|initializing source docker://|"
                 r"could not fetch content|no match(ing)? (for platform|manifest)|cannot be pulled|registering? layer|error pulling|pull时|拉取", joined, re.I):  # fmt: skip
        return "pull"
    if re.search(r"\bdocker push\b", joined, re.I) and not re.search(r"\bpull", joined, re.I):
        return "push"  # in an operator's own words
    return None


def printed_time(joined: str) -> float | None:
    """The time that the failing side itself printed: `current time T is after`, or the stamp of a log line."""
    found = re.search(r"current time (\S+) is (?:after|before)", joined) or re.search(r'\btime="([^"]+)"', joined)
    return read_time(found.group(1)) if found else None


def credential_sent(joined: str, tags: Iterable[str], client: str | None, attempt: Attempt) -> str:
    """Whether a login went with the request, as far as the words tell (harbor-and-kubernetes.md A.10)."""
    have = set(tags)
    if "no-basic" in have or "failed to fetch anonymous token" in joined:
        return "no"
    if "failed to fetch oauth token" in joined or "unable to retrieve auth token" in joined:
        return "yes"
    refusal = have & {
        "credential-refused", "docker-access-denied", "harbor-unauthorized-pull", "harbor-unauthorized-push", "login-refused",
        "inner-registry-401", "forbidden", "token-refused", "proxy-project-401",
    }  # fmt: skip
    if not refusal:
        return ""
    if "login-refused" in have and (
        attempt.action == "login" or re.search(r"login attempt|incorrect username", joined)
    ):
        return "yes"
    if client in ("crane", "skopeo") and re.search(r"--(dest-|src-)?creds[= ]", attempt.command):
        return "yes"
    if client == "ctr" and re.search(r"\s(-u|--user)[= ]", attempt.command):
        return "yes"
    return "unknown"


def path_owner(joined: str, client: str | None, action: str | None) -> str:
    """Whose file system a text complains of; empty where no path tells."""
    if not re.search(
        r"no space left|Err:28|input/output error|read-only file system|permission denied|Err:30|Err:13", joined
    ):
        return ""
    if any(mark in joined for mark in _REGISTRY_PATHS) or "unknown error" in joined:
        return "registry"
    if (
        any(mark in joined for mark in _NODE_PATHS)
        or "failed to extract layer" in joined
        or client in ("containerd", "crio", "kubelet")
    ):
        return "node"
    if client in ("docker", "skopeo", "crane", "helm", "other") or re.search(
        r"/var/lib/docker|/tmp/|/root/|/home/|register layer", joined
    ):
        return "client" if not (action == "push" and client is None) else ""
    return ""


def _image_in(joined: str) -> str:
    for pattern in _NAMED:
        found = pattern.search(joined)
        if found:
            return found["ref"].rstrip(".,:;")
    return ""


def _names(joined: str, image: str) -> str:
    if "failed to get sandbox image" in joined or re.search(r"(^|/)pause(:|@|$)", image):
        return "pause"
    return "own" if image else ""


def hosts_in(reading: TextReading) -> tuple[str, ...]:
    """Distinct hosts that a text names, the failing one last."""
    seen: dict[str, None] = {}
    for url in (*reading.urls, reading.url):
        if url.host:
            seen.pop(url.host, None)
            seen[url.host] = None
    return tuple(seen)


def same_place(reading: TextReading, host: str) -> bool:
    """Whether the failing URL's host is the given one; a text that names only the address of a lookup counts by name."""
    url = reading.url
    if not url.scheme:
        return bare_host(url.host).lower() == bare_host(host).lower()
    return same_host(url.host, host, url.scheme)

"""Sightings: every failing text of the material, where it was seen, and what was being done.

Sources in order: top-level `*.txt`, pod states, events; where those are silent about the cause, the logs of the nodes;
where nothing else is there, transcripts and the logs of Harbor and its registry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final
from weakref import WeakKeyDictionary

from app.model.material import Material
from app.parsers.image_ref import bare_host, parse_image
from app.parsers.redact import redact
from app.parsers.signatures import Around
from app.parsers.texts import EVENT, Blob, TextReading, meaning_of, read_blob, read_text
from app.parsers.texts_lines import Failure, log_entry, read_time, stamp_of
from app.parsers.texts_split import Attempt
from app.probes.hosts_known import is_proxied, proxy_projects
from app.probes.pods import PULL_REASONS, Cluster, PodSeen, Words, items_of, parse_json, read_cluster

_NODE_LOGS: Final = ("containerd.log", "kubelet.log", "docker.log", "crio.log")
_PULL_LINE = re.compile(r"pull|image|registr|manifest|token|layer|x509|containerd|plugin|yaml", re.I)
_ACCESS = re.compile(
    r'"?(?P<method>GET|HEAD|POST|PUT|PATCH) (?P<path>/\S*(?:/v2/|/service/token)\S*) HTTP/[\d.]+"? ?(?P<status>\d{3})?'
)
_BAD_LEVEL = re.compile(
    r"level=(error|fatal|warning)|server is not ready: yaml|\[ERROR\]|\[WARNING\]|\bERRO\b|\bE\d{4} |failed|error", re.I
)
_HARMLESS = re.compile(r'authorization token required|level=(info|debug)|\[(INFO|DEBUG)\]|" [23]\d\d \d')
_JSON_STAMP = re.compile(r'"(?P<key>[\w.-]+)"\s*:\s*"(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^"]{0,16})"')
_ENDS = re.compile(r"expir|not_?after|until|deadline|node_time", re.I)
_PROBE_REQUEST = re.compile(r"^> (?P<method>[A-Z]+) (?P<path>/\S*)", re.M)
_WORKED = re.compile(r'msg="PullImage \\?"(?P<image>[^"\\]+)\\?" returns image reference')
_FAILED = re.compile(r'msg="PullImage \\?"(?P<image>[^"\\]+)\\?" failed"')


@dataclass(frozen=True, slots=True)
class Sighting:
    """One failing text at one place."""

    reading: TextReading
    path: str = ""
    node: str = ""
    pod: str = ""
    image: str = ""
    """The reference that was being pulled or pushed, where it is known beside the text."""
    first: float | None = None

    @property
    def text(self) -> str:
        """As it stands in an incident: redacted, with the command above it where one was typed."""
        return shown(self.reading.message)


@lru_cache(maxsize=4096)
def shown(message: str) -> str:
    """A message as it may stand in an incident. Few distinct ones repeat over thousands of pods."""
    return redact(message).strip()


@dataclass(frozen=True, slots=True)
class Bundle:
    """`bundle.json`, as far as it can be used."""

    present: bool = False
    action: str | None = None
    image: str = ""
    taken_at: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that was seen to fail or to work."""

    bundle: Bundle = field(default_factory=Bundle)
    sightings: tuple[Sighting, ...] = ()
    cluster: Cluster = field(default_factory=Cluster)
    blobs: tuple[tuple[str, Blob], ...] = ()
    """Top-level texts by path."""
    log_attempts: tuple[tuple[str, str, float | None, bool], ...] = ()
    """Pulls that a runtime's log shows ending: (node, image, time, succeeded)."""
    proxied: frozenset[str] = frozenset()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(attempt for _, blob in self.blobs for attempt in blob.attempts)


_CACHE: WeakKeyDictionary[Material, Seen] = WeakKeyDictionary()
_TIMES: WeakKeyDictionary[Material, float] = WeakKeyDictionary()


def look(material: Material) -> Seen:
    """Read the material once; every probe of texts asks for the same."""
    seen = _CACHE.get(material)
    if seen is None:
        seen = _look(material)
        _CACHE[material] = seen
    return seen


def read_bundle(material: Material) -> Bundle:
    """Never raises; a field of a wrong type counts as absent."""
    document = parse_json(material.text("bundle.json") or "")
    if not isinstance(document, dict):
        return Bundle()
    action, image, taken = (
        document.get("action"),
        document.get("image"),
        document.get("taken_at") or document.get("taken-at"),
    )
    time = read_time(taken) if isinstance(taken, str) else float(taken) if isinstance(taken, int | float) else None
    return Bundle(
        True, action if action in ("pull", "push", "login") else None, image if isinstance(image, str) else "", time
    )


def case_time(material: Material) -> float:
    """The bundle's taken-at, else the newest stamp of any document, else 0.0."""
    time = _TIMES.get(material)
    if time is None:
        time = _case_time(material)
        _TIMES[material] = time
    return time


def _case_time(material: Material) -> float:
    bundle = read_bundle(material)
    if bundle.taken_at is not None:
        return bundle.taken_at
    newest = max((document.taken_at for document in material if document.taken_at is not None), default=0.0)
    if newest:
        return newest
    for document in material:
        text = document.text
        if document.path.endswith(".json"):
            newest = max(newest, _newest_in_json(text))
        elif document.path.endswith((".log", ".txt")):
            stamps = (stamp_of(line) for line in text.splitlines()[-200:])
            newest = max(newest, max((stamp for stamp in stamps if stamp is not None), default=0.0))
    return newest


def _newest_in_json(text: str) -> float:
    """The newest stamp by its text. Ends of validity lie in the future and tell nothing of when it was taken."""
    best = ""
    for found in _JSON_STAMP.finditer(text):
        if found["time"] > best and not _ENDS.search(found["key"]):
            best = found["time"]
    return read_time(best) or 0.0


def _look(material: Material) -> Seen:
    bundle = read_bundle(material)
    cluster = read_cluster(material, case_time(material))
    proxied = proxy_projects(material)
    secrets = _secret_names(material, cluster)
    around = _around(bundle.image, bundle.action, proxied, secrets)
    blobs = tuple(
        (document.path, read_blob(document.text, around))
        for document in material.glob("*.txt")
        if "/" not in document.path
    )
    sightings = [Sighting(reading, path, image=reading.image) for path, blob in blobs for reading in blob.readings]
    sightings.extend(_of_pods(cluster, bundle, proxied, secrets))
    log_attempts = tuple(_log_attempts(material))
    worked = bool(cluster.healthy) or any(blob.succeeded for _, blob in blobs)
    causes = [item for item in sightings if _is_cause(item) and item.reading.symptoms != {"secret-not-retrieved"}]
    if not causes and (sightings or not worked):
        sightings.extend(_of_nodes(material, cluster, around, bundle))
    if not worked and not any(item.reading.classified for item in sightings):
        # An operator's sentence that tells nothing must not hide what the logs say.
        sightings.extend(_of_services(material, around))
    if not sightings and not worked:
        for path, _ in blobs:
            blob = read_blob(material.text(path) or "", around, fallback=True)
            sightings.extend(Sighting(reading, path, image=reading.image) for reading in blob.readings)
    sightings = [_with_request(item, material, around) for item in _telling(sightings)]
    return Seen(bundle, tuple(sightings), cluster, blobs, log_attempts, proxied)


def _around(image: str, action: str | None, proxied: frozenset[str], secrets: frozenset[str] = frozenset()) -> Around:
    reference = parse_image(image) if image else None
    return Around(
        action=action,
        image_host=reference.normalised_host if reference else "",
        proxied=bool(reference) and is_proxied(image, proxied),
        pull_secrets=secrets,
    )


def _secret_names(material: Material, cluster: Cluster) -> frozenset[str]:
    names = {name for pod in cluster.failing for name in pod.pull_secrets}
    accounts, _ = items_of(material, "serviceaccount.json")
    for account in accounts:
        listed = account.get("imagePullSecrets")
        names.update(str(item.get("name")) for item in listed or () if isinstance(item, Mapping))
    return frozenset(names)


def _of_pods(cluster: Cluster, bundle: Bundle, proxied: frozenset[str], secrets: frozenset[str]) -> Iterator[Sighting]:
    cache: dict[tuple[str, str, str], TextReading] = {}
    for pod in cluster.failing:
        for words in pod.words:
            yield _of_words(words, pod, proxied, secrets, cache)
    for name, words in cluster.loose:
        if words.message in ("Error: ErrImagePull", "Error: ImagePullBackOff"):
            continue
        ghost = PodSeen(name, images=(words.image or bundle.image,) if words.image or bundle.image else ())
        yield _of_words(words, ghost, proxied, secrets, cache)


def _of_words(
    words: Words,
    pod: PodSeen,
    proxied: frozenset[str],
    secrets: frozenset[str],
    cache: dict[tuple[str, str, str], TextReading],
) -> Sighting:
    image = words.image or (pod.failing_images[0] if pod.failing_images else pod.images[0] if pod.images else "")
    key = (words.message, image, words.reason)
    reading = cache.get(key)
    if reading is None:
        around = _around(image, "pull", proxied, secrets)
        reading = read_text(Failure(words.message, None, words.reason), around, source=EVENT)
        if words.reason == "Pulling":
            reading = replace(reading, tags=("pull-hangs",), client="kubelet")
        elif words.reason == "ImagePullBackOff" and reading.message == words.reason:
            reading = replace(reading, tags=("back-off-only", "unclassified"), client="kubelet")
        cache[key] = reading
    reading = replace(reading, time=words.time or reading.time, count=words.count)
    return Sighting(
        reading, "events.json" if not words.status else "pods.json", pod.node, pod.key, image, words.first or words.time
    )


def _of_nodes(material: Material, cluster: Cluster, around: Around, bundle: Bundle) -> Iterator[Sighting]:
    """Failing lines of the nodes' logs: of the images that fail, where those are known."""
    images = {parse_image(image).reference for pod in cluster.failing for image in pod.failing_images}
    if bundle.image:
        images.add(parse_image(bundle.image).reference)
    paths = [f"nodes/{node}/{name}" for node in material.nodes() for name in _NODE_LOGS]
    others = [
        item.path for item in material.glob("nodes/*.log") if item.path not in paths and item.path.count("/") == 2
    ]
    found = False
    for path in paths:
        for sighting in _of_log(material, path, around, images):
            found = True
            yield sighting
    if not found:
        for path in others:
            yield from _of_log(material, path, around, images)


def _of_log(material: Material, path: str, around: Around, images: set[str]) -> Iterator[Sighting]:
    text = material.text(path)
    if text is None:
        return
    node = path.split("/")[1]
    if path.endswith(("containerd.log", "kubelet.log", "crio.log")) and around.action is None:
        around = replace(around, action="pull")  # a node's runtime only pulls
    known: set[str] = set()
    for line in _logical(text):
        if not _PULL_LINE.search(line) or not _BAD_LEVEL.search(line):
            continue
        entry = log_entry(_after_prefix(line))
        if entry is not None and entry.level in ("info", "debug", "I") and "err" not in line and "yaml" not in line:
            continue
        message = entry.message if entry is not None else line.strip()
        image = entry.image if entry is not None else ""
        if images and image and parse_image(image).reference not in images:
            continue
        meaning = meaning_of(message)
        if meaning in known:
            continue
        known.add(meaning)
        time = entry.time if entry is not None else stamp_of(line)
        reading = read_text(
            Failure(message, time), around, source=EVENT if path.endswith(("containerd.log", "kubelet.log")) else ""
        )
        named = image or reading.image
        if images and named and parse_image(named).reference not in images:
            continue
        if (
            reading.classified
            or "ignored-key" in reading.tags
            or (entry is not None and entry.level in ("error", "fatal"))
        ):
            yield Sighting(reading, path, node, "", image or reading.image, time)


def _logical(text: str) -> list[str]:
    """Lines of a log; one that does not begin like an entry belongs to the one before."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and line and (line[0] in " \t`" or lines[-1].rstrip().endswith((":", "\\"))):
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line)
    return lines[-4000:]


def _after_prefix(line: str) -> str:
    """Without syslog's head: date, host, unit."""
    return re.sub(r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [\w@.-]+(?:\[\d+\])?: ", "", line)


def _of_services(material: Material, around: Around) -> Iterator[Sighting]:
    """The last resort: what transcripts, access logs and the logs of Harbor show to fail."""
    yielded = False
    for path in ("registry/cert.txt", "registry/probe.txt"):
        for sighting in _of_transcript(material.text(path) or "", path, around):
            yielded = True
            yield sighting
    for path in ("registry/access.log", "harbor/proxy.log"):
        for sighting in _of_access(material.text(path) or "", path, around):
            if not yielded:
                yield sighting
    for document in [*material.glob("harbor/*.log"), *material.glob("registry/*.log")]:
        if document.path.endswith(("access.log", "proxy.log")):
            continue
        lines = [line for line in document.text.splitlines() if line.strip()]
        few = len(lines) <= 5
        known: set[str] = set()
        for line in lines[-2000:]:
            if not (few or _BAD_LEVEL.search(line)) or _HARMLESS.search(line):
                continue
            reading = read_text(Failure(line.strip()[:4000], stamp_of(line)), around)
            if (reading.classified or few) and meaning_of(line) not in known:
                known.add(meaning_of(line))
                yield Sighting(reading, document.path, image=reading.image)


def _of_transcript(text: str, path: str, around: Around) -> Iterator[Sighting]:
    """The last request of a `curl -v`-like transcript when it failed, or a redirect that nobody followed."""
    for line in text.splitlines():
        if re.search(r"verify error:|connect to \S+ port \d+ failed|certificate problem|could not resolve", line, re.I):
            reading = read_text(Failure(line.strip()), around)
            if reading.classified:
                yield Sighting(reading, path)
                return
    requests = list(_PROBE_REQUEST.finditer(text))
    for index, request in enumerate(requests):
        part = text[request.end() : requests[index + 1].start() if index + 1 < len(requests) else len(text)]
        answer = re.search(r"^< HTTP/[\d.]+ (\d{3}) ?(.*)$", part, re.M)
        if answer is None:
            continue
        status, place = int(answer.group(1)), request["path"]
        location = re.search(r"^< Location: *(https?://\S+)", part, re.M | re.I)
        host = re.search(r"^> Host: *(\S+)", part, re.M | re.I)
        base = f"https://{host.group(1)}" if host else ""
        moved = (
            location
            and host
            and bare_host(location.group(1).partition("://")[2].partition("/")[0]) != bare_host(host.group(1))
        )
        if (
            status in (301, 302, 303, 307, 308)
            and "/blobs/" in place
            and moved
            and location
            and index + 1 == len(requests)
        ):
            message = (
                f"{request['method']} {base}{place}: {status} {answer.group(2).strip()}, Location: {location.group(1)}"
            )
            reading = read_text(Failure(message), around)
            url = replace(reading.url, path_kind="blob", signed=True)
            yield Sighting(replace(reading, tags=("blob-host-fails",), url=url, client=None), path)
        elif status >= 400 and status != 401 and ("/manifests/" in place or "/blobs/" in place or "token" in place):
            code = ": manifest unknown" if status == 404 and "/manifests/" in place else ""
            yield Sighting(
                read_text(
                    Failure(f"{request['method']} {base}{place}: {status} {answer.group(2).strip()}{code}"), around
                ),
                path,
            )


def _with_request(item: Sighting, material: Material, around: Around) -> Sighting:
    """A bare status takes the request from a transcript that shows the same status for exactly one kind of request."""
    reading = item.reading
    if reading.status is None or reading.url.host or reading.url.path_kind or item.path.startswith("registry/"):
        return item
    shown_there = [
        other.reading.url
        for other in _of_transcript(material.text("registry/probe.txt") or "", "registry/probe.txt", around)
        if other.reading.status == reading.status
    ]
    kinds = {url.path_kind for url in shown_there}
    return replace(item, reading=replace(reading, url=shown_there[0])) if len(kinds) == 1 else item


def _of_access(text: str, path: str, around: Around) -> Iterator[Sighting]:
    """Requests below a registry's API that failed, or whose path no registry serves."""
    known: set[str] = set()
    for line in text.splitlines()[-4000:]:
        found = _ACCESS.search(line)
        if found is None:
            continue
        status = int(found["status"]) if found["status"] else None
        odd = "/v2/" in found["path"].partition("?")[0][1:]
        if not odd and (status is None or status < 400 or status == 401):
            continue
        message = f"{found['method']} https://{around.image_host or 'registry'}{found['path']} {status or ''}".strip()
        if meaning_of(message) in known:
            continue
        known.add(meaning_of(message))
        reading = read_text(Failure(message, stamp_of(line)), around)
        url = replace(reading.url, host=around.image_host, url="" if not around.image_host else reading.url.url)
        namespace = url.namespace
        yield Sighting(
            replace(reading, url=url, message=line.strip()[:2000], client=None),
            path,
            image=namespace and f"{namespace}/{_repository(found['path'])}",
        )


def _repository(path: str) -> str:
    found = re.search(r"/v2/(?P<name>.+?)/(?:manifests|blobs)/(?P<ref>[^?/]+)", path)
    return f"{found['name']}:{found['ref']}" if found and ":" not in found["ref"] else found["name"] if found else ""


def _log_attempts(material: Material) -> Iterator[tuple[str, str, float | None, bool]]:
    """How pulls ended by containerd's own log."""
    for node in material.nodes():
        text = material.text(f"nodes/{node}/containerd.log")
        for line in (text or "").splitlines():
            if "PullImage" not in line:
                continue
            plain = line.replace('\\"', '"')
            good, bad = _WORKED.search(plain), _FAILED.search(plain)
            found = good or bad
            if found:
                yield node, found["image"], stamp_of(line), good is not None


def _telling(sightings: Iterable[Sighting]) -> list[Sighting]:
    """Without texts that only repeat, for the same pod or bundle, that something fails, once a cause is there."""
    items = list(sightings)
    causes = {item.pod for item in items if _is_cause(item)}
    bare = [item for item in items if item.reading.message in PULL_REASONS]
    if "" in causes and bare:
        # What somebody pasted beside a pod that gives no cause is about that pod.
        first = bare[0]
        items = [
            replace(item, pod=first.pod, node=first.node, image=item.image or first.image)
            if not item.pod and len({other.pod for other in bare}) == 1
            else item
            for item in items
            if item.reading.message not in PULL_REASONS
        ]
        causes = {item.pod for item in items if _is_cause(item)}
    kept = [item for item in items if _is_cause(item) or (item.pod not in causes and not (causes and not item.pod))]
    return kept or items


def _is_cause(item: Sighting) -> bool:
    return item.reading.classified and "back-off-only" not in item.reading.tags

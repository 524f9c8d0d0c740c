"""Harbor of the compose installer, read over SSH from its own host, as the documents that the other probes know.

Source: harbor-and-kubernetes.md A.5, A.6 and B (paths of the installer: `harbor.yml`, `common/config`, `data_volume`, `log.local.location`).
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import yaml

from app.model.evidence import Outcome
from app.model.material import Document, Material
from app.parsers.clock import parse_time
from app.ports import Command, File
from app.probes.base import NodeItem, Scene, Want

USUAL: Final = (
    "/opt/harbor",
    "/root/harbor",
    "/usr/local/harbor",
    "/data/harbor",
    "/srv/harbor",
    "/home/harbor/harbor",
)
"""Where the installer is unpacked most often; asked where no container names its folder."""
DATA: Final = "/data"
LOGS: Final = "/var/log/harbor"
LOG_LIMIT: Final = 1_048_576
PS: Final = "harbor/compose/docker-ps.txt"
UNREACHED: Final = "harbor/compose/ssh.txt"
ROOT: Final = "harbor/compose/files"
"""What has no place of its own in the layout, by its path on the host."""
CORE: Final = "harbor-core"
JOBS: Final = "harbor-jobservice"
REGISTRY: Final = "registry"
_NAMED: Final = (
    ("harbor.yml", "harbor/harbor.yml"),
    ("common/config/registry/config.yml", "registry/config.yml"),
    ("common/config/nginx/nginx.conf", "harbor/nginx.conf"),
)
_LOGGED: Final = {
    "core.log": "harbor/core.log",
    "registry.log": "registry/registry.log",
    "proxy.log": "harbor/proxy.log",
}
_ENV: Final = {"core": CORE, "jobservice": JOBS}
_SHARED: Final = (("CORE_SECRET", "core-secret"), ("REGISTRY_CREDENTIAL_PASSWORD", "registry-login"))
"""Variables of which only the digest is kept, and the name of that document."""
_SECRET: Final = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|KEY|CREDENTIAL|_DSN|REDIS_URL", re.IGNORECASE)
_DIGESTS: Final = (
    (r"/secret/core/private_key\.pem$", f"{CORE}-key"),
    (r"/secret/keys/secretkey$", f"{CORE}-secretkey"),
    (r"/common/config/registry/passwd$", f"{REGISTRY}-passwd"),
)


def wants(material: Material, scene: Scene) -> Iterator[Want]:
    """The containers first, then the installer's files, then what `harbor.yml` says lies elsewhere."""
    place = scene.harbor
    if place is None or not place.ssh_host or scene.vantage == "bundle":
        return
    host = place.ssh_host
    if material.get(PS) is None:
        yield NodeItem(host, Command("docker-ps"))
        return
    if material.get(UNREACHED) is not None:
        return
    folders = _folders(material)
    for folder in folders:
        for name, _ in _NAMED:
            yield NodeItem(host, File(f"{folder}/{name}"))
        yield NodeItem(host, File(f"{folder}/docker-compose.yml"))
        yield NodeItem(host, File(f"{folder}/common/config/core/app.conf"))
        for component in _ENV:
            yield NodeItem(host, File(f"{folder}/common/config/{component}/env"))
        yield NodeItem(host, File(f"{folder}/common/config/registry/root.crt"))
        yield NodeItem(host, File(f"{folder}/common/config/registry/passwd", digest_only=True))
    if all(material.get(path) is None for path in ("harbor/harbor.yml", f"{ROOT}{folders[0]}/harbor.yml")):
        return  # it says where data and logs lie, so it is waited for
    data, logs = _places(material)
    for name in ("secret/core/private_key.pem", "secret/keys/secretkey"):
        yield NodeItem(host, File(f"{data}/{name}", digest_only=True))
    yield NodeItem(host, File(f"{data}/secret/registry/root.crt"))
    for name in _LOGGED:
        yield NodeItem(host, File(f"{logs}/{name}", limit=LOG_LIMIT))


def _folders(material: Material) -> tuple[str, ...]:
    """The folder that Harbor's containers name as their compose project's; where none does, the usual ones."""
    found = []
    for row in _containers(material.text(PS) or ""):
        labels = str(row.get("Labels") or "")
        folder = re.search(r"com\.docker\.compose\.project\.working_dir=([^,]+)", labels)
        if folder and folder[1].startswith("/") and "goharbor/" in str(row.get("Image") or ""):
            found.append(posixpath.normpath(folder[1]))
    return tuple(dict.fromkeys(found))[:2] or USUAL


def _containers(text: str) -> Iterator[Mapping[str, Any]]:
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def _places(material: Material) -> tuple[str, str]:
    """(data_volume, log.local.location) of `harbor.yml`, absolute ones; else the installer's defaults."""
    try:
        loaded = yaml.safe_load(material.text("harbor/harbor.yml") or "")
    except (yaml.YAMLError, RecursionError):
        loaded = None
    config = loaded if isinstance(loaded, dict) else {}
    log = config.get("log")
    local = log.get("local") if isinstance(log, dict) else None
    return _absolute(config.get("data_volume"), DATA), _absolute(
        local.get("location") if isinstance(local, dict) else None, LOGS
    )


def _absolute(value: object, default: str) -> str:
    return posixpath.normpath(value) if isinstance(value, str) and value.startswith("/") else default


# --- from the host's documents to the layout's ---------------------------------------------------------------------------


def as_harbor(documents: Sequence[Document], host: str) -> list[Document]:
    """What was read at the host, at the places where the probes of Harbor look. Secrets are reduced to their digests."""
    return [made for document in documents for made in _mapped(document, document.path.removeprefix(f"nodes/{host}/"))]


def _mapped(document: Document, path: str) -> Iterable[Document]:
    if path == "docker-ps.txt":
        yield replace(document, path=PS)
    elif path == "stat.json":
        yield from _digests(document)
    elif path == "time.json":
        yield from _clock(document)
    elif path == "ssh.txt":
        yield replace(document, path=UNREACHED)
    elif found := re.search(r"/common/config/(core|jobservice)/env$", f"/{path}"):
        yield from _environment(document, path, _ENV[found[1]])
    else:
        yield from _file(document, path)


def _file(document: Document, path: str) -> Iterable[Document]:
    """A file at its place in the layout where it is there; else only that it is not."""
    name = posixpath.basename(path)
    goal = next((to for end, to in _NAMED if path.endswith(f"/{end}") or path == end), "")
    if not goal and name in _LOGGED and "/config/" not in path:
        goal = _LOGGED[name]
    if goal and not document.absent:
        yield replace(document, path=goal)
    if not goal or document.absent:
        yield replace(document, path=f"{ROOT}/{path}")
    elif goal == "harbor/harbor.yml":
        yield Document(f"{ROOT}/{path}", outcome=Outcome.SKIPPED, detail=f"see {goal}", taken_at=document.taken_at)
    if goal == "registry/config.yml" and document.outcome is Outcome.OBSERVED and not document.absent:
        yield from _http_secret(document)


def _http_secret(document: Document) -> Iterable[Document]:
    try:
        config = yaml.safe_load(document.text)
    except (yaml.YAMLError, RecursionError):
        return  # the probe of the settings says so
    http = config.get("http") if isinstance(config, dict) else None
    secret = http.get("secret") if isinstance(http, dict) else None
    if isinstance(secret, str) and secret:
        yield _digest(f"{REGISTRY}-http-secret", secret, document)


def _digest(name: str, value: str, document: Document) -> Document:
    return Document(
        f"harbor/exec/{name}.txt", hashlib.sha256(value.encode()).hexdigest(), taken_at=document.taken_at, source=document.source
    )  # fmt: skip


def _environment(document: Document, path: str, container: str) -> Iterable[Document]:
    """Digests of what two parts must share, and a ConfigMap of what is no secret; the file itself is not kept."""
    if document.outcome is not Outcome.OBSERVED or document.absent:
        yield replace(document, path=f"{ROOT}/{path}", text="")
        return
    pairs = {
        name.strip(): value.strip()
        for name, mark, value in (line.partition("=") for line in document.text.splitlines())
        if mark and not name.lstrip().startswith("#")
    }
    for name, what in _SHARED:
        if pairs.get(name):
            yield _digest(f"{container}-{what}", pairs[name], document)
    if container == CORE:
        shown = {name: value for name, value in pairs.items() if not _SECRET.search(name) and "@" not in value}
        config = {"kind": "ConfigMap", "metadata": {"name": CORE}, "data": shown}
        yield replace(document, path="harbor/configmaps.json", text=json.dumps({"kind": "List", "items": [config]}))


def _digests(document: Document) -> Iterable[Document]:
    """Digests of the key files, as an exec into the container would have printed them."""
    try:
        rows = json.loads(document.text)
    except ValueError:
        return
    for path, row in rows.items() if isinstance(rows, dict) else ():
        name = next((name for pattern, name in _DIGESTS if re.search(pattern, path)), "")
        if not name or not isinstance(row, dict):
            continue
        made = replace(document, path=f"harbor/exec/{name}.txt", source=f"sha256sum {path}")
        if row.get("denied"):
            yield replace(
                made, text="", outcome=Outcome.DENIED, detail=f"{path} cannot be read: sudo -n sha256sum {path}"
            )
        elif row.get("absent"):
            yield replace(made, text=f"sha256sum: {path}: No such file or directory")
        elif row.get("directory"):
            yield replace(made, text=f"sha256sum: {path}: Is a directory")
        elif row.get("sha256"):
            yield replace(made, text=f"{row['sha256']}  {path}")
            if name.endswith("secretkey") and isinstance(row.get("size"), int):
                yield replace(made, path=f"harbor/exec/{name}-stat.txt", text=f"Size: {row['size']}")


def _clock(document: Document) -> Iterable[Document]:
    """The host's clock is that of every container on it."""
    try:
        data = json.loads(document.text)
        there, here, bound = (
            parse_time(data["node_time"]),
            parse_time(data["reference_time"]),
            float(data["error_bound_s"]),
        )
    except (ValueError, KeyError, TypeError):
        return
    if there is None or here is None:
        return
    text = json.dumps({"remote": there, "sent": here - bound, "received": here + bound})
    yield replace(document, path=f"harbor/date-{CORE}.json", text=text)

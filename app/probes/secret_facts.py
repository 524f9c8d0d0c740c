"""What one pull secret says to the kubelet, without showing it (harbor-and-kubernetes.md F.1).

A secret whose data were masked before we saw them keeps its name, type and owner; what only the data tell stays unknown.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from app.model.masked import MASK
from app.model.material import Material
from app.parsers.core_log_tags import cut_by_a_shell
from app.parsers.dockerconfig import DockerConfig, LoginEntry, near_miss, parse_dockerconfig
from app.parsers.harbor_config import at
from app.parsers.kube_objects import Object, Objects, items, mapping, name_of
from app.probes.base import Scene
from app.probes.harbor_common import HarborSide
from app.probes.hosts_known import pull_secrets
from app.probes.workloads import Workload, find_secret, secret_document

_KEYS: Final = {"dockerconfigjson": ".dockerconfigjson", "dockercfg": ".dockercfg"}
_PLACEHOLDER: Final = re.compile(
    r"[\W_]*(?:redacted|masked|hidden|removed|censored|omitted|sanitized|x{3,}|\*{2,}|\.{3,}|…)[\W_]*", re.IGNORECASE
)
_NOT_FOUND: Final = re.compile(r'pod="?(?P<pod>[\w.-]+/[\w.-]+)"?.*?secret \\*"(?P<secret>[\w.-]+)\\*" not found')
_MISSED: Final[WeakKeyDictionary[Material, set[tuple[str, str]]]] = WeakKeyDictionary()
_MISSES: Final = ("none", "port", "case", "path", "ip-or-name", "hub-name", "other-host")


@dataclass(frozen=True, slots=True)
class SecretSeen:
    """A Secret as the kubelet takes it. `config` is None where its data cannot be seen or are of another sort."""

    namespace: str
    name: str
    item: Object = field(repr=False)
    kind: str = ""
    """`dockerconfigjson`, `dockercfg`, `other`; empty where the copy has no type."""
    config: DockerConfig | None = None
    masked: bool = False
    """The data as a whole were masked."""
    hidden: frozenset[str] = frozenset()
    """Server keys of which the login was masked."""
    problem: str = ""
    """Why the data cannot be read at all."""
    no_key: bool = False
    """It has data, and not under the key of its type: there is nothing in it that the kubelet would read."""

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"

    def used_for(self, image: str) -> tuple[LoginEntry, ...] | None:
        """Entries that the kubelet takes for an image; None where that cannot be told."""
        if self.kind == "other" or self.no_key:
            return ()
        if self.config is None or not self.kind or not image:
            return None
        return self.config.matching(image) + self._hidden_matches(image)

    def _hidden_matches(self, image: str) -> tuple[LoginEntry, ...]:
        """A masked `auth` does not decode; its key still tells that it would be taken."""
        if self.config is None or not self.config.read_by_kubelet:
            return ()
        known = {entry.server_key for entry in self.config.matching(image)}
        return tuple(
            LoginEntry(entry.server_key)
            for entry in self.config.entries
            if entry.server_key in self.hidden
            and entry.server_key not in known
            and near_miss(entry.server_key, image) == "none"
        )

    def relevant(self, image: str) -> tuple[LoginEntry, ...]:
        """The entries to look into: those for the image by their key, else the only one."""
        if self.config is None:
            return ()
        fitting = tuple(
            entry for entry in self.config.entries if image and near_miss(entry.server_key, image) == "none"
        )
        return fitting or (self.config.entries if len(self.config.entries) == 1 else ())

    def near_miss(self, image: str) -> str | None:
        """The nearest of its keys."""
        if self.config is None or not image or not self.config.entries:
            return None
        return min((near_miss(entry.server_key, image) for entry in self.config.entries), key=_MISSES.index)


def read_secret(namespace: str, item: Object) -> SecretSeen:
    """Take a Secret apart. Never raises."""
    raw_type = str(item.get("type") or "")
    kind = _kind(raw_type)
    name = name_of(item)
    data, plain = mapping(item.get("data")), mapping(item.get("stringData"))
    key = _KEYS.get(kind) or next((key for key in _KEYS.values() if key in data or key in plain), "")
    if key in plain:
        return _with_document(SecretSeen(namespace, name, item, kind), str(plain[key]), raw_type)
    value = data.get(key) if key else None
    if value is None:
        hidden = kind != "other" and not data and not plain
        return SecretSeen(
            namespace, name, item, kind, masked=hidden, problem="" if hidden else f"no key {key}" if key else "",
            no_key=kind in _KEYS and not hidden,
        )  # fmt: skip
    text = str(value)
    if is_placeholder(text):
        return SecretSeen(namespace, name, item, kind, masked=True)
    try:
        document = base64.b64decode("".join(text.split()), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        if text.lstrip().startswith("{"):
            document = text  # a copy by hand that somebody decoded already
        else:
            return SecretSeen(namespace, name, item, kind, problem=f"data of {key} are not base64")
    return _with_document(SecretSeen(namespace, name, item, kind), document, raw_type)


def _with_document(seen: SecretSeen, document: str, raw_type: str) -> SecretSeen:
    if is_placeholder(document):
        return SecretSeen(seen.namespace, seen.name, seen.item, seen.kind, masked=True)
    config = parse_dockerconfig(document, raw_type or "Opaque")
    return SecretSeen(seen.namespace, seen.name, seen.item, seen.kind, config, hidden=_hidden(document))


def _kind(raw_type: str) -> str:
    if not raw_type:
        return ""
    short = raw_type.removeprefix("kubernetes.io/")
    return short if short in _KEYS else "other"


def is_placeholder(value: str) -> bool:
    """`‹masked›`, `***`, `<redacted>`, `xxxxx`, `REDACTED`; an empty text is empty, not masked."""
    return bool(value) and (MASK in value or _PLACEHOLDER.fullmatch(value) is not None)


def _hidden(document: str) -> frozenset[str]:
    try:
        value: Any = json.loads(document)
    except (ValueError, RecursionError):
        return frozenset()
    auths = mapping(mapping(value).get("auths")) or mapping(value)
    return frozenset(
        key
        for key, entry in auths.items()
        if isinstance(entry, dict)
        and any(is_placeholder(part) for name in ("auth", "password") if isinstance(part := entry.get(name), str))
    )


# --- which secrets are there --------------------------------------------------------------------------------------


ABSENT: Final = "absent"


def state_of(material: Material, objects: Objects, workload: Workload, name: str) -> SecretSeen | str | None:
    """A listed secret: what it is, `absent`, or None where nobody looked or could."""
    item = find_secret(objects, workload.namespace, name)
    if item is not None:
        return read_secret(workload.namespace, item)
    document = material.get(secret_document(workload.namespace, workload.name, name))
    if document is None:
        ending = f"/secret/{name}.json"
        document = next(
            (
                other
                for other in material
                if other.path.startswith(f"workloads/{workload.namespace}/") and other.path.endswith(ending)
            ),
            None,
        )
    if document is not None and document.absent:
        return ABSENT
    if lists_namespace(objects, workload.namespace) or (workload.id, name) in _missed(material):
        return ABSENT
    return None


def lists_namespace(objects: Objects, namespace: str, *, typed: bool = False) -> bool:
    """A whole list of the namespace's secrets is at hand; `typed`: a list of the two types that the kubelet reads will do."""
    types = 0
    for found in objects.lists:
        name = found.path.rsplit("/", 1)[-1]
        if not found.complete or not (found.kind == "Secret" or (not found.kind and name.startswith("secrets."))):
            continue
        inside = not found.path.startswith("workloads/") or found.path.startswith(f"workloads/{namespace}/")
        if name.startswith(("secrets-dockerconfigjson.", "secrets-dockercfg.")):
            types += inside
            continue
        if name.startswith("secrets-named-") or not inside:
            continue
        # One namespace's list shows that namespace, the list of all of them shows several.
        if namespace in found.namespaces or found.namespaces <= {""} or len(found.namespaces) > 1:
            return True
    return typed and types >= 2


def lists_everywhere(objects: Objects, name: str) -> bool:
    """A whole list over all namespaces is at hand, of all secrets or of those with this name."""
    for found in objects.lists:
        file_name = found.path.rsplit("/", 1)[-1]
        if found.complete and (
            file_name == f"secrets-named-{name}.json" or (found.kind == "Secret" and len(found.namespaces) > 1)
        ):
            return True
    return False


def _missed(material: Material) -> set[tuple[str, str]]:
    """(pod, secret) pairs that a kubelet did not find, by its log. Each pod asks; the logs are read once."""
    known = _MISSED.get(material)
    if known is None:
        known = _MISSED[material] = _read_missed(material)
    return known


def _read_missed(material: Material) -> set[tuple[str, str]]:
    found = set()
    for document in material.glob("nodes/*/kubelet.log"):
        for line in document.text.splitlines():
            if "pull secret" in line:
                match = _NOT_FOUND.search(line)
                if match:
                    found.add((match["pod"], match["secret"]))
    return found


def sa_match(material: Material, objects: Objects, workload: Workload, names: Sequence[str]) -> bool | None:
    """Whether a service account's list has a secret with a login for the image; None where one cannot be read."""
    unknown = False
    for name in names:
        state = state_of(material, objects, workload, name)
        if isinstance(state, SecretSeen):
            used = state.used_for(workload.image)
            if used is None:
                unknown = True
            elif any(entry.has_login or entry.server_key in state.hidden for entry in used):
                return True
        elif state is None:
            unknown = True
    return None if unknown else False


# --- who manages a secret -----------------------------------------------------------------------------------------


def manager_of(item: Object) -> str:
    """`eso, sealed, argo, flux, helm, operator` or `none`, by owners, annotations, labels and field managers.

    Who reverts a change first is named: External Secrets before the Argo CD that delivers the ExternalSecret.
    """
    meta = mapping(item.get("metadata"))
    owners = {str(owner.get("kind") or "") for owner in items(meta.get("ownerReferences"))}
    annotations, labels = mapping(meta.get("annotations")), mapping(meta.get("labels"))
    writers = [str(entry.get("manager") or "").lower() for entry in items(meta.get("managedFields"))]
    names = [*annotations, *labels]
    by = str(labels.get("app.kubernetes.io/managed-by") or "").lower()

    def marked(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in names)

    if (
        owners & {"ExternalSecret", "ClusterExternalSecret"}
        or marked("reconcile.external-secrets.io/")
        or by == "external-secrets"
    ):
        return "eso"
    if "SealedSecret" in owners or marked("sealedsecrets.bitnami.com/"):
        return "sealed"
    if owners:
        return "operator"
    if marked("argocd.argoproj.io/") or _wrote(writers, ("argocd",)):
        return "argo"
    if marked("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/") or _wrote(
        writers, ("kustomize-controller", "helm-controller")
    ):
        return "flux"
    if "meta.helm.sh/release-name" in annotations or by == "helm" or _wrote(writers, ("helm",)):
        return "helm"
    if marked(
        "reflector.v1.k8s.emberstack.com/reflects", "replicator.v1.mittwald.de/replicated", "secrets.hashicorp.com/"
    ) or by.endswith("operator"):
        return "operator"
    return "none"


def _wrote(writers: Iterable[str], starts: tuple[str, ...]) -> bool:
    return any(writer.startswith(starts) for writer in writers)


# --- a damaged robot name -----------------------------------------------------------------------------------------


def name_damaged(
    username: str, prefix: str | None, robots: Iterable[str] = (), used: Iterable[str] = ()
) -> bool | None:
    """A robot's name that lost a part on its way through a shell or a template (MODES.md, `secret.name_damaged`).

    `prefix` is the one in force where Harbor's settings are known, `robots` the names it has, `used` the names in pull
    secrets. None: cannot be told.
    """
    known = set(robots)
    if username in known:
        return False
    if any(mark in username for mark in ("\\$", "$$", "%24", "'", '"')) or username in ("robot", "robot$", prefix):
        return True
    if not username.lower().startswith("robot"):
        return False
    if "$" not in username and cut_by_a_shell(username, (*known, *used), prefix or "robot$"):
        return True
    if any(
        name.endswith(f"+{username.partition('$')[2]}") for name in known if "$" in username and "+" not in username
    ):
        return True
    if prefix:
        return not username.startswith(prefix)
    return False if "$" in username else None


def robot_names(material: Material, scene: Scene) -> tuple[str | None, tuple[str, ...]]:
    """(prefix in force, names of robots) from Harbor's own answers, where they are at hand."""
    side = HarborSide(material, scene)
    prefix: str | None = None
    for answer in [*side.documents("configurations"), *side.asked("configurations")]:
        value = at(answer.value, "robot_name_prefix", "value") or at(answer.value, "robot_name_prefix")
        if isinstance(value, str) and value:
            prefix = value
    robots, _ = side.rows(("robots",), r"robots")
    return prefix, tuple(str(robot["name"]) for robot in robots if robot.get("name"))


def robots_in_secrets(material: Material) -> tuple[str, ...]:
    """Names with a `$` in pull secrets: robots that somebody uses."""
    return tuple(
        dict.fromkeys(
            entry.username
            for _, _, config in pull_secrets(material)
            if config is not None
            for entry in config.entries
            if "$" in entry.username
        )
    )

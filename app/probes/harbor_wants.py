"""What the probes of Harbor's own side want fetched: its API over HTTP, its pods over the kube API.

Two rounds: the lists first, then the logs, hashes and per-project answers that the lists name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from app.model.evidence import Price
from app.model.material import Material
from app.ports import HttpRequest
from app.probes import harbor_compose
from app.probes.base import Fetch, KubeExec, KubeGet, Scene, Want
from app.probes.core_roster import core_objects, is_ready, pod_name
from app.probes.harbor_artifact import project_of_robot
from app.probes.harbor_common import PUBLIC_REGISTRIES, HarborSide
from app.probes.harbor_place import answered_vantage, component_of, items
from app.probes.harbor_project import the_project
from app.probes.registry_wants import desk

LOGIN: Final = "harbor-api"
"""Name of the login for Harbor's API that the operator supplied; without one the runner skips the request."""
SINCE_SECONDS: Final = "900"
LIMIT_BYTES: Final = "1048576"


# --- HTTP ---------------------------------------------------------------------------------------------------------


def _base(material: Material, scene: Scene) -> str:
    """`https://<host>/api/v2.0`, empty where the registry is public or unknown: no Harbor of ours."""
    del material
    host = scene.incident.registry or ""
    if not host or host.split(":", 1)[0] in PUBLIC_REGISTRIES:
        return ""
    return f"https://{host}/api/v2.0"


def _fetch(material: Material, scene: Scene, path: str, *, login: bool, method: str = "GET") -> Iterator[Want]:
    """One API call, unless it was made already in the same way."""
    base = _base(material, scene)
    if not base or scene.vantage == "bundle":
        return
    side = HarborSide(material, scene)
    plain = path.split("?", 1)[0]
    query = path.partition("?")[2]
    for answer in side.exchanges:
        if (
            answer.url_path == plain
            and answer.method == method
            and query == answer.query
            and bool(answer.login) is login
        ):
            return
    if not answered_vantage(material, scene):
        return  # nobody has reached it yet: a later round knows from where
    vantage, anchors_pem, anchors_name = desk(material, scene)
    request = HttpRequest(
        url=f"{base}/{path}",
        method="HEAD" if method == "HEAD" else "GET",
        vantage=vantage,
        purpose="api",
        headers={"Accept": "application/json"},
        anchors_pem=anchors_pem,
        anchors_name=anchors_name,
    )
    yield Fetch(request, secret=LOGIN if login else "", price=Price.CREDENTIAL if login else Price.FREE)


def want_harbor(material: Material, scene: Scene) -> Iterator[Want]:
    """Health and systeminfo without a login; what needs one with the login the operator supplied."""
    for path in ("health", "systeminfo"):
        yield from _fetch(material, scene, path, login=False)
    for path in ("systeminfo", "configurations", "systeminfo/volumes"):
        yield from _fetch(material, scene, path, login=True)
    yield from want_place(material, scene)


def want_project(material: Material, scene: Scene) -> Iterator[Want]:
    side = HarborSide(material, scene)
    if not side.project:
        return
    name = quote(side.project, safe="")
    yield from _fetch(material, scene, f"projects?name={name}", login=False)
    yield from _fetch(material, scene, f"projects?project_name={name}", login=True, method="HEAD")
    for path in (
        f"projects?name={name}",
        f"projects/{name}/summary",
        f"projects/{name}/members?page_size=100",
        f"projects/{name}/immutabletagrules",
    ):
        yield from _fetch(material, scene, path, login=True)


def want_artifact(material: Material, scene: Scene) -> Iterator[Want]:
    side = HarborSide(material, scene)
    image = side.image
    if image is None or side.mirrored or not image.project:
        return
    below = quote(quote(image.below, safe=""), safe="")
    reference = quote(image.digest or image.tag or "latest", safe=":")
    path = f"projects/{quote(image.project, safe='')}/repositories/{below}/artifacts/{reference}?with_accessory=true"
    yield from _fetch(material, scene, path, login=True)


def want_robot(material: Material, scene: Scene) -> Iterator[Want]:
    """System robots, and those of the project that the account's name carries, once its id is known."""
    yield from _fetch(material, scene, "robots?page_size=100", login=True)
    side = HarborSide(material, scene)
    name = project_of_robot(side.account) or side.project
    rows, _ = side.rows(("projects", "project"), r"projects(?:/[^/]+)?")
    for row in rows:
        if name and row.get("name") == name and isinstance(row.get("project_id"), int):
            yield from _fetch(
                material, scene, f"robots?q=Level=project,ProjectID={row['project_id']}&page_size=100", login=True
            )
            return
    if name and name != side.project:
        yield from _fetch(material, scene, f"projects?name={quote(name, safe='')}", login=True)


def want_endpoint(material: Material, scene: Scene) -> Iterator[Want]:
    """Endpoints, where the project is not known to have no upstream."""
    project = the_project(HarborSide(material, scene))
    if project is None or project.get("registry_id"):
        yield from _fetch(material, scene, "registries?page_size=100", login=True)


# --- kube ---------------------------------------------------------------------------------------------------------


def _namespace(scene: Scene) -> str:
    return (
        scene.harbor.namespace if scene.harbor is not None and scene.harbor.kube and scene.vantage != "bundle" else ""
    )


def _get(material: Material, path: str, document: str, query: dict[str, str] | None = None) -> Iterator[Want]:
    if material.get(document) is None:
        yield KubeGet(path, document, query or {}, cluster="harbor")


def want_place(material: Material, scene: Scene) -> Iterator[Want]:
    """Pods and ingresses of Harbor's namespace: every probe of this side starts from them. Of the installer's host its files."""
    namespace = _namespace(scene)
    yield from harbor_compose.wants(material, scene)
    if not namespace:
        return
    yield from _get(material, f"/api/v1/namespaces/{namespace}/pods", "harbor/pods.json")
    yield from _get(material, f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses", "harbor/ingress.json")
    yield from _get(material, f"/api/v1/namespaces/{namespace}/services", "harbor/services.json")


def want_pods(material: Material, scene: Scene) -> Iterator[Want]:
    namespace = _namespace(scene)
    yield from want_place(material, scene)
    if not namespace:
        return
    yield from _get(material, f"/apis/apps/v1/namespaces/{namespace}/deployments", "harbor/deployments.json")
    yield from _get(material, f"/api/v1/namespaces/{namespace}/configmaps", "harbor/configmaps.json")
    for name in _secret_names(material):
        yield from _get(material, f"/api/v1/namespaces/{namespace}/secrets/{name}", f"harbor/secret-{name}.json")


def _secret_names(material: Material) -> list[str]:
    """Secrets that core's and the registry's pods mount or take their environment from: no other is asked for."""
    names: list[str] = []
    for pod in items(material, "harbor/pods.json"):
        if component_of(pod) not in ("core", "registry"):
            continue
        spec = pod.get("spec") or {}
        for volume in spec.get("volumes") or []:
            names.append(str((volume.get("secret") or {}).get("secretName") or ""))
        for container in spec.get("containers") or []:
            names += [str((one.get("secretRef") or {}).get("name") or "") for one in container.get("envFrom") or []]
            names += [
                str(((one.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name") or "")
                for one in container.get("env") or []
            ]
    return [name for name in dict.fromkeys(names) if name]


def _ready(material: Material, component: str) -> list[str]:
    if component == "core":
        return [pod_name(pod) for pod in core_objects(material) or () if is_ready(pod)]
    return [
        pod_name(pod) for pod in items(material, "harbor/pods.json") if component_of(pod) == component and is_ready(pod)
    ]


def want_exec(material: Material, scene: Scene) -> Iterator[Want]:
    """Hashes of the files and variables that all pods must share; nothing is created and no value is read."""
    namespace = _namespace(scene)
    yield from want_place(material, scene)
    if not namespace:
        return
    closed: tuple[tuple[str, str, str, tuple[str, ...], str], ...] = (
        ("core", "core", "sha256sum", ("/etc/core/private_key.pem",), "key"),
        ("core", "core", "sha256sum", ("/etc/core/key",), "secretkey"),
        ("core", "core", "stat", ("/etc/core/key",), "secretkey-stat"),
        ("core", "core", "printenv-sha256", ("CORE_SECRET",), "core-secret"),
        ("core", "core", "printenv-sha256", ("REGISTRY_CREDENTIAL_PASSWORD",), "registry-login"),
        ("jobservice", "jobservice", "printenv-sha256", ("CORE_SECRET",), "core-secret"),
        ("registry", "registry", "sha256sum", ("/etc/registry/passwd",), "passwd"),
        ("registry", "registry", "printenv-sha256", ("REGISTRY_HTTP_SECRET",), "http-secret"),
    )
    for component, container, command, arguments, name in closed:
        for pod in _ready(material, component):
            document = f"harbor/exec/{pod}-{name}.txt"
            if material.get(document) is None:
                yield KubeExec(namespace, pod, container, command, arguments, document)


def _log(material: Material, scene: Scene, component: str, folder: str) -> Iterator[Want]:
    namespace = _namespace(scene)
    yield from want_place(material, scene)
    if not namespace:
        return
    for pod in _ready(material, component):
        query = {"container": component, "sinceSeconds": SINCE_SECONDS, "timestamps": "true", "limitBytes": LIMIT_BYTES}
        yield from _get(material, f"/api/v1/namespaces/{namespace}/pods/{pod}/log", f"{folder}/{pod}.log", query)


def want_core_logs(material: Material, scene: Scene) -> Iterator[Want]:
    """The last quarter of an hour of every ready core pod."""
    yield from _log(material, scene, "core", "harbor/logs")


def want_registry_logs(material: Material, scene: Scene) -> Iterator[Want]:
    """The last quarter of an hour of every ready registry pod."""
    yield from _log(material, scene, "registry", "registry/logs")

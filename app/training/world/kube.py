"""`KubeApi` and `KubeWriter` of the practice world."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlencode

from app.model.evidence import Outcome
from app.ports import KubeReply
from app.training.world.clock import nano, stamp
from app.training.world.cluster import Object, Place, failure, place_of
from app.training.world.controllers import is_ready
from app.training.world.others import Call
from app.training.world.registry import answer, core_offset
from app.training.world.state import Server, State

_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SECRET_KEY: Final = "not-a-real-key-1"
_SAME: Final = {"CORE_SECRET": "core", "REGISTRY_HTTP_SECRET": "http"}
READ_ONLY: Final = frozenset({"get", "list", "watch"})


def _when(line: str) -> float:
    """Core begins a line with its time, the registry with `time="…"`."""
    return stamp(line.removeprefix('time="').partition(" ")[0].rstrip('"').replace("000Z", "Z"))


class WorldKube:
    """The API server of the practice cluster. Reading moves time a little; writing sets the controllers to work."""

    def __init__(self, state: State, settle: Callable[[], None], context: str = "practice") -> None:
        self.context = context
        self.server = "https://practice.invalid:6443"
        self._state = state
        self._settle = settle

    # --- reading ---

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> KubeReply:
        """Objects, lists, logs and the pod proxy of core pods."""
        asked = dict(query or {})
        source = f"GET {path}" + (f"?{urlencode(asked)}" if asked else "")
        self._state.clock.move(0.02)
        self._settle()
        place = place_of(path)
        if place is None:
            status, found = 404, failure(404, "NotFound", "the server could not find the requested resource")
            return self._reply(status, found, source)
        verb = "get" if place.name else "list"
        resource = f"{place.plural}/{place.sub[0]}" if place.sub else place.plural
        if (verb, resource) in self._state.refused:
            return self._refused(verb, resource, place.namespace, source)
        if place.sub[:1] == ("log",):
            return self._log(place, asked, source)
        if place.sub[:1] == ("proxy",):
            return self._proxy(place, asked, source)
        if not place.name:
            return self._reply(200, self._state.cluster.listed(place, asked), source)
        item = self._state.cluster.find(place.plural, place.namespace, place.name)
        if item is None:
            return self._reply(*self._state.cluster.missing(place), source)
        return self._reply(200, item, source)

    def _reply(self, status: int, body: Object, source: str) -> KubeReply:
        outcome = Outcome.OBSERVED if status < 400 or status == 404 else Outcome.UNSUPPORTED
        if status in (401, 403):
            outcome = Outcome.DENIED
        detail = str(body.get("message", "")) if status >= 400 else ""
        return KubeReply(outcome, status, json.dumps(body), self._state.now(), detail, source)

    def _refused(self, verb: str, resource: str, namespace: str, source: str) -> KubeReply:
        where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
        text = f'{resource} is forbidden: User "operator" cannot {verb} resource "{resource}" in API group ""{where}'
        return self._reply(403, failure(403, "Forbidden", text), source)

    def _log(self, place: Place, query: Mapping[str, str], source: str) -> KubeReply:
        pod = self._state.cluster.find("pods", place.namespace, place.name)
        if pod is None:
            return self._reply(*self._state.cluster.missing(place), source)
        core = self._state.harbor.cores.get(place.name) if place.namespace == self._state.harbor.namespace else None
        component = (pod["metadata"].get("labels") or {}).get("component")
        lines = core.log if core is not None else self._state.harbor.registry_log if component == "registry" else []
        offset = core_offset(self._state, place.name) if core is not None else 0.0
        since = self._state.now() + offset - float(query.get("sinceSeconds", 1e9))
        chosen = [line for line in lines if _when(line) >= since]
        if query.get("timestamps") == "true":
            chosen = [f"{nano(_when(line))} {line}" for line in chosen]
        return KubeReply(
            Outcome.OBSERVED, 200, "".join(f"{line}\n" for line in chosen), self._state.now(), source=source
        )

    def _proxy(self, place: Place, query: Mapping[str, str], source: str) -> KubeReply:
        name = place.name.split(":")[1] if ":" in place.name else place.name
        pod = self._state.cluster.find("pods", place.namespace, name)
        if pod is None or not is_ready(pod) or name not in self._state.harbor.cores:
            return self._reply(503, failure(503, "ServiceUnavailable", "no endpoints available"), source)
        path = "/" + "/".join(place.sub[1:]) + (f"?{urlencode(query)}" if query else "")
        server = Server(self._state.harbor.host, 443, "https", "harbor")
        reply = answer(self._state, server, Call("GET", path), pod=name)
        outcome = Outcome.OBSERVED if reply.status < 400 else Outcome.DENIED
        return KubeReply(outcome, reply.status, reply.body, self._state.now(), source=source)

    async def exec(self, namespace: str, pod: str, container: str, command: str, *arguments: str) -> KubeReply:
        """`sha256sum`, `date`, `stat`, `printenv-sha256` in Harbor's pods."""
        source = f"kubectl exec -n {namespace} {pod} -c {container} -- {' '.join([command, *arguments])}"
        self._state.clock.move(0.05)
        if ("create", "pods/exec") in self._state.refused:
            return self._refused("create", "pods/exec", namespace, source)
        item = self._state.cluster.find("pods", namespace, pod)
        if item is None:
            return self._reply(404, failure(404, "NotFound", f'pods "{pod}" not found'), source)
        self._state.counts.execs += 1
        text = self._run(item, command, arguments)
        if text is None:
            return KubeReply(Outcome.UNSUPPORTED, 200, detail=f"{command}: no such file or program in the container", source=source)  # fmt: skip
        return KubeReply(Outcome.OBSERVED, 200, text, self._state.now(), source=source)

    def _run(self, pod: Object, command: str, arguments: tuple[str, ...]) -> str | None:
        name = pod["metadata"]["name"]
        node = self._state.nodes.get(pod["spec"].get("nodeName", ""))
        core = self._state.harbor.cores.get(name)
        last = arguments[-1] if arguments else ""
        if command == "date":
            return f"{int(self._state.now() + (node.clock_offset if node else 0.0))}\n"
        files = {"/etc/core/private_key.pem": core.key, "/etc/core/key": _SECRET_KEY} if core is not None else {}
        if command == "sha256sum" and last in files:
            return f"{hashlib.sha256(files[last].encode()).hexdigest()}  {last}\n"
        if command == "stat" and last in files:
            created = int(stamp(pod["metadata"]["creationTimestamp"]))
            return f"{created} {len(files[last])} 644 {last}\n"
        if command == "printenv-sha256" and last == "REGISTRY_CREDENTIAL_PASSWORD":
            return f"{hashlib.sha256(core.registry_password.encode()).hexdigest()}  -\n" if core is not None else None
        if command == "printenv-sha256" and last in _SAME:
            return f"{hashlib.sha256(f'{self._state.seed}/{_SAME[last]}'.encode()).hexdigest()}  -\n"
        return None

    async def allowed(
        self, verb: str, resource: str, namespace: str = "", name: str = "", subresource: str = "", group: str = ""
    ) -> bool | None:
        """By the table of what this user may not do."""
        del namespace, name, group
        return (verb, f"{resource}/{subresource}" if subresource else resource) not in self._state.refused

    # --- writing ---

    async def write(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        dry_run: bool = False,
    ) -> KubeReply:
        """One write with the server's own checks; the controllers and kubelets then do their work."""
        source = f"{method} {path}"
        state, cluster = self._state, self._state.cluster
        state.clock.move(0.1)
        place = place_of(path)
        if place is None:
            return self._reply(
                404, failure(404, "NotFound", "the server could not find the requested resource"), source
            )
        if (_VERBS[method], place.plural) in state.refused:
            return self._refused(_VERBS[method], place.plural, place.namespace, source)
        kept = dict(cluster.objects), cluster.version
        if place.sub[:1] == ("scale",) and place.plural == "deployments":
            place = Place(place.plural, place.namespace, place.name)
        if method == "POST":
            status, answered = cluster.create(place, body)
        elif method == "DELETE":
            status, answered = cluster.delete(place)
        elif method == "PATCH":
            status, answered = cluster.patch(place, body, content_type)
        else:
            status, answered = cluster.change(place, lambda _: dict(body))
        if dry_run:
            cluster.objects, cluster.version = kept
        elif status < 400:
            state.wrote(f"kube {path}", method)
            self._settle()
        return self._reply(status, answered, source)

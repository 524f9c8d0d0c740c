"""Steps of a scenario carried out: by the same writers that fixes use, or (for faults) by time and other people."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from app.errors import RefusedError
from app.training.scenario import GIVEN, AppStep, SecretStep, Step
from app.training.world import pki
from app.training.world.base import HOST, UPSTREAM, deployment, digest_of, dockerconfig
from app.training.world.controllers import Controllers
from app.training.world.http import WorldHarbor
from app.training.world.kube import WorldKube
from app.training.world.node_writer import WorldNodeWriter
from app.training.world.registry import ready_cores
from app.training.world.state import Offender, State

_VALUE: Final = re.compile(r"\$\{(?P<what>[a-z0-9]+)(?::(?P<name>[^}]+))?\}")
_TYPES: Final = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


@dataclass(slots=True)
class Hands:
    """Carries steps out in one world."""

    state: State
    controllers: Controllers
    kube: WorldKube
    nodes: WorldNodeWriter
    harbor: WorldHarbor

    async def do(self, steps: Iterable[Step], *, given: bool = False) -> None:
        """All steps in order. `given`: also those that no operator can do. Raises RefusedError where the world refuses one."""
        for step in steps:
            if step.kind in GIVEN and not given:
                raise RefusedError(f"no operator can do {step.kind!r}")
            await self._one(step)
        self.controllers.settle()

    async def _one(self, step: Step) -> None:
        if step.file is not None:
            for node in step.file.nodes:
                await self._file(node, step.file.path, step.file.text, step.file.mode, loaded=step.file.loaded)
        elif step.remove is not None:
            for node in step.remove.nodes:
                self.state.nodes[node].files.pop(step.remove.path, None)
        elif step.restart is not None:
            for node in step.restart.nodes:
                await self.nodes.restart(node, step.restart.unit)
        elif step.trust_update is not None:
            for node in step.trust_update:
                await self.nodes.run_trust_update(node)
        elif step.patch is not None:
            await self._call("PATCH", step.patch.path, self.filled(step.patch.body), _TYPES[step.patch.kind])
        elif step.create is not None:
            await self._call("POST", step.create.path, self.filled(step.create.body))
        elif step.delete is not None:
            await self._call("DELETE", step.delete, None)
        elif step.harbor is not None:
            status, said = await self.harbor.write(
                step.harbor.method, self.filled(step.harbor.path), self.filled(step.harbor.body)
            )
            if status >= 400:
                raise RefusedError(f"Harbor answered {status}: {said}")
        elif step.secret is not None:
            await self._secret(step.secret)
        elif step.app is not None:
            await self._app(step.app)
        elif step.recreate is not None:
            await self._recreate(step.recreate.namespace, step.recreate.app)
        elif step.wait is not None:
            self.controllers.wait(step.wait)
        else:
            self._given(step)

    # --- what an operator can do ---

    async def _file(self, node: str, path: str, text: str, mode: str, *, loaded: bool) -> None:
        there = self.state.nodes[node].files.get(path)
        expected = hashlib.sha256(there.text.encode()).hexdigest() if there is not None else None
        await self.nodes.replace(node, path, str(self.filled(text)), expect_sha256=expected, mode=mode, backup="")
        if loaded:
            await self.nodes.restart(node, self.state.nodes[node].service)

    async def _call(self, method: Any, path: str, body: Any, content_type: str = "application/json") -> None:
        reply = await self.kube.write(method, path, body, content_type=content_type)
        if reply.status >= 400:
            raise RefusedError(f"{method} {path}: {reply.status} {reply.detail}")

    async def _secret(self, step: SecretStep) -> None:
        password = self.filled(step.password) if step.password is not None else None
        if step.edge:
            robot, user = self.state.harbor.robots.get(step.account), self.state.harbor.users.get(step.account)
            password = (robot.secret if robot else user.password if user else "") + step.edge
        value = dockerconfig(self.state, step.account, str(self.filled(step.server)), password=password)
        body = {
            "metadata": {"name": step.name, "namespace": step.namespace},
            "type": step.type,
            "data": {".dockerconfigjson": value},
        }
        collection = f"/api/v1/namespaces/{step.namespace}/secrets"
        if self.state.cluster.find("secrets", step.namespace, step.name) is not None:
            await self._call("DELETE", f"{collection}/{step.name}", None)
        await self._call("POST", collection, body)

    async def _app(self, step: AppStep) -> None:
        body = deployment(
            step.namespace, step.name, str(self.filled(step.image)), replicas=step.replicas, secrets=tuple(step.secrets), nodes=tuple(step.nodes)
        )  # fmt: skip
        collection = f"/apis/apps/v1/namespaces/{step.namespace}/deployments"
        if self.state.cluster.find("deployments", step.namespace, step.name) is not None:
            await self._call("PATCH", f"{collection}/{step.name}", {"spec": body["spec"]}, _TYPES["merge"])
        else:
            await self._call("POST", collection, body)

    async def _recreate(self, namespace: str, app: str) -> None:
        for pod in self.state.cluster.all("pods", namespace):
            if (pod["metadata"].get("labels") or {}).get("app") == app:
                await self._call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}", None)

    # --- what time and other people do ---

    def _given(self, step: Step) -> None:
        state, harbor = self.state, self.state.harbor
        if step.robot is not None:
            robot = harbor.robots[step.robot.name]
            if step.robot.disabled is not None:
                robot.disabled = step.robot.disabled
            if step.robot.expired_hours is not None:
                robot.duration, robot.expires_at = 90, int(state.now() - step.robot.expired_hours * 3600)
                robot.created = robot.expires_at - 90 * pki.DAY
            if step.robot.secret is not None:
                robot.secret = step.robot.secret
            if step.robot.grants is not None:
                robot.grants = {project: tuple(actions) for project, actions in step.robot.grants.items()}
        elif step.endpoint is not None:
            endpoint = harbor.endpoints[step.endpoint.name]
            endpoint.url = str(self.filled(step.endpoint.url)) if step.endpoint.url is not None else endpoint.url
            endpoint.kind = step.endpoint.kind or endpoint.kind
            endpoint.password = step.endpoint.password if step.endpoint.password is not None else endpoint.password
            if step.endpoint.upstream_password is not None:
                state.upstream_logins[endpoint.user] = step.endpoint.upstream_password
            state.upstream_images |= {image: digest_of(image) for image in step.endpoint.upstream_images}
        elif step.project is not None:
            project = harbor.projects[step.project.name]
            project.images |= {image: digest_of(f"{project.name}/{image}") for image in step.project.images}
            project.scanned |= set(step.project.scanned)
            project.prevent = project.prevent if step.project.prevent is None else step.project.prevent
            if step.project.quota_mib is not None:
                project.quota = round(step.project.quota_mib * 2**20)
            if step.project.used_mib is not None:
                project.used = round(step.project.used_mib * 2**20)
        elif step.clock is not None:
            for node in step.clock.nodes:
                state.nodes[node].clock_offset, state.nodes[node].clock_synced = step.clock.offset, step.clock.synced
        elif step.server is not None:
            server = state.servers[(str(self.filled(step.server.host)), step.server.port)]
            if step.server.chain is not None:
                server.chain = (state.certificates[step.server.chain],)
            server.scheme = step.server.scheme or server.scheme
            server.down = server.down if step.server.down is None else step.server.down
            server.asked += [state.now()] * step.server.used
        elif step.name is not None:
            name = str(self.filled(step.name.name))
            if step.name.address is None:
                state.names.pop(name, None)
            else:
                state.names[name] = step.name.address
        elif step.firewall is not None:
            pairs = {(node, step.firewall.address) for node in step.firewall.nodes}
            state.dropped = state.dropped | pairs if step.firewall.drops else state.dropped - pairs
        elif step.disk is not None:
            for node in step.disk.nodes:
                state.nodes[node].disk_used = step.disk.used
        elif step.external_url is not None:
            harbor.external_url = str(self.filled(step.external_url.url))
        elif step.core_key is not None:
            pod = ready_cores(state)[step.core_key.core]
            harbor.cores[pod].key = pki.token_key(f"{state.seed}/{step.core_key.key}")
        elif step.core_database is not None:
            harbor.cores[ready_cores(state)[step.core_database]].strange_database = True
        elif step.read_only is not None:
            harbor.read_only = step.read_only
        elif step.client is not None:
            state.client_logins[step.client.account] = str(self.filled(step.client.password))
        elif step.offender is not None:
            one = step.offender
            harbor.offenders.append(Offender(one.account, one.password, one.client, one.agent, state.now()))
        elif step.inside is not None:
            harbor.registry_password = step.inside.registry or harbor.registry_password
            harbor.database_password = step.inside.database or harbor.database_password
        elif step.drop_image is not None:
            for node in step.drop_image:
                state.nodes[node].images = {
                    name for name in state.nodes[node].images if name.startswith("docker.io/goharbor/")
                }

    # --- placeholders ---

    def filled(self, value: Any) -> Any:
        """`${host}`, `${upstream}`, `${ca:name}`, `${fingerprint:name}`, `${secret:account}`, `${endpointpassword:name}`, `${dockerconfig:account}` put in.

        Raises RefusedError for a name that the world does not have.
        """
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        return _VALUE.sub(self._fill, value) if isinstance(value, str) else value

    def _fill(self, found: re.Match[str]) -> str:
        what, name = found["what"], found["name"] or ""
        harbor = self.state.harbor
        try:
            match what:
                case "host":
                    return HOST
                case "upstream":
                    return UPSTREAM
                case "ca":
                    return self.state.certificates[name]
                case "fingerprint":
                    der = x509.load_pem_x509_certificate(self.state.certificates[name].encode())
                    return der.fingerprint(SHA256()).hex(":").upper()
                case "secret":
                    return harbor.robots[name].secret if name in harbor.robots else harbor.users[name].password
                case "robotid":
                    return str(harbor.robots[name].id)
                case "upstreampassword":
                    return self.state.upstream_logins[name]
                case "dockerconfig":
                    return dockerconfig(self.state, name)
                case "badbase64":
                    return base64.b64encode(json.dumps({"auths": {HOST: {"auth": name}}}).encode()).decode()
        except KeyError:
            pass
        raise RefusedError(f"{found[0]} is not known in this world")

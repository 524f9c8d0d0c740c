"""Harbor of the compose installer over SSH: what is asked of its host, where it lands, what is not kept, what follows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.clients.clock import SystemClock
from app.clients.ssh_config import SshSettings, resolve
from app.files import load_rulebook
from app.model.evidence import Outcome
from app.model.material import Document, Material
from app.ports import Command, File, Item, NodeRound
from app.probes import BY_ID
from app.probes.harbor_compose import as_harbor
from app.runner.assemble import Ask
from app.runner.collect import World
from app.runner.investigation import Investigation, Opened
from app.session.redact import redact_material
from tests.unit.test_script import run

HOST = "harbor-1"
HOME = "/srv/registry/installer"
BOOK, _ = load_rulebook()
CONTAINER = {
    "Names": "harbor-core", "Image": "goharbor/harbor-core:v2.12.0", "State": "running",
    "Labels": f"com.docker.compose.project=harbor,com.docker.compose.project.working_dir={HOME},x=y",
}  # fmt: skip
FILES = {
    f"{HOME}/harbor.yml": "hostname: harbor.corp.example\ndata_volume: /mnt/data\nlog:\n  local:\n    location: /mnt/log\n",
    f"{HOME}/docker-compose.yml": "services: {}\n",
    f"{HOME}/common/config/core/env": "CORE_SECRET=top-secret-1\nCORE_LOCAL_URL=http://127.0.0.1:8080\n# x=y\nREGISTRY_CREDENTIAL_PASSWORD=reg-secret-1\n_REDIS_URL_CORE=redis://:pw-9@redis\n",
    f"{HOME}/common/config/jobservice/env": "CORE_SECRET=top-secret-2\n",
    f"{HOME}/common/config/registry/config.yml": "version: 0.1\nhttp:\n  addr: :5000\n  secret: http-secret-1\nstorage:\n  filesystem: {rootdirectory: /storage}\n",
    f"{HOME}/common/config/registry/passwd": "harbor_registry_user:$2y$05$abc\n",
    f"{HOME}/common/config/nginx/nginx.conf": "http { upstream core { server core:8080; } }\n",
    "/mnt/data/secret/core/private_key.pem": "-----BEGIN RSA PRIVATE KEY-----\n",
    "/mnt/data/secret/keys/secretkey": "0123456789abcdef",
    "/mnt/log/core.log": "Nov 21 11:26:59 172.18.0.1 core[11]: [ERROR] [/x.go:1]: authorize failed\n",
    "/mnt/log/registry.log": "Nov 21 11:26:59 172.18.0.1 registry[12]: level=info\n",
    "/mnt/log/proxy.log": '172.18.0.1 - "PATCH /v2/a/b/blobs/uploads/1 HTTP/1.1" 202 0\n',
}  # fmt: skip
SECRETS = ("top-secret-1", "top-secret-2", "reg-secret-1", "pw-9", "BEGIN RSA", "0123456789abcdef", "$2y$05")


@dataclass
class Host:
    """Answers items from files, as a node does; `denied` paths may not be read."""

    files: dict[str, str] = field(default_factory=lambda: dict(FILES))
    containers: tuple[dict[str, str], ...] = (CONTAINER,)
    denied: tuple[str, ...] = ()
    outcome: Outcome = Outcome.OBSERVED
    asked: list[str] = field(default_factory=list)

    async def read(self, node: str, items: Sequence[Item]) -> NodeRound:
        assert node == HOST
        if self.outcome is not Outcome.OBSERVED:
            return NodeRound(self.outcome, detail="no route to host")
        stat: dict[str, object] = {}
        found = [
            Document(
                f"nodes/{node}/time.json",
                json.dumps({"node_time": 1030.0, "reference_time": 1000.0, "error_bound_s": 0.5}),
            )
        ]
        for item in items:
            if isinstance(item, Command):
                text = "\n".join(json.dumps(row) for row in self.containers)
                found.append(Document(f"nodes/{node}/{item.id}.txt", text))
                continue
            assert isinstance(item, File)
            self.asked.append(item.path)
            text = self.files.get(item.path)
            path = f"nodes/{node}{item.path}"
            if item.path in self.denied:
                stat[item.path] = {"denied": True}
                found.append(Document(path, outcome=Outcome.DENIED, detail="user ops may not"))
            elif text is None:
                stat[item.path] = {"absent": True}
                if not item.digest_only:
                    found.append(Document(path, absent=True))
            else:
                stat[item.path] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size": len(text)}
                if not item.digest_only:
                    found.append(Document(path, text))
        return NodeRound(Outcome.OBSERVED, (*found, Document(f"nodes/{node}/stat.json", json.dumps(stat))))


async def collect(host: Host) -> Opened:
    world = World(SystemClock(), nodes=host, harbor_ssh=HOST)
    run = Investigation(BOOK, world, harbor_ssh=HOST)
    image = "harbor.corp.example/team/x:1"
    opened = run.fold(Ask(push=image, image=image))[0]
    await run.collect(opened)
    run.judged(opened)
    return opened


def facts(opened: Opened, probe: str) -> dict[str, object]:
    return {
        name: value
        for record in BY_ID[probe].read(opened.material, opened.scene)
        for name, value in record.facts.items()
    }


async def test_the_containers_name_the_folder_and_harbor_yml_the_rest() -> None:
    host = Host()
    opened = await collect(host)
    material = opened.material
    assert opened.scene.harbor is not None
    assert opened.scene.harbor.ssh_host == HOST
    assert "/mnt/log/core.log" in host.asked
    assert not [path for path in host.asked if path.startswith(("/data", "/var/log", "/opt"))]
    assert len(host.asked) == len(set(host.asked))
    for path in (
        "harbor/harbor.yml",
        "harbor/core.log",
        "harbor/nginx.conf",
        "harbor/proxy.log",
        "registry/config.yml",
        "registry/registry.log",
    ):
        assert material.text(path), path
    assert material.nodes() == []


async def test_facts_of_core_and_registry() -> None:
    opened = await collect(Host())
    pods = facts(opened, "core.pods")
    assert (pods["core.owner"], pods["core.local_loopback"], pods["core.job_secret_differs"]) == ("compose", True, True)
    executed = facts(opened, "core.exec")
    assert (
        executed["core.key_hash"] == hashlib.sha256(FILES["/mnt/data/secret/core/private_key.pem"].encode()).hexdigest()
    )
    assert executed["core.secretkey_len"] == 16
    registry = facts(opened, "registry.more")
    assert registry["registry.secret_hash"] == hashlib.sha256(b"http-secret-1").hexdigest()
    assert registry["registry.passwd_hash"]
    clock = [
        one for one in BY_ID["clock.measure"].read(opened.material, opened.scene) if "clock.core_offset" in one.facts
    ]
    assert [(one.target.get("core-pod"), one.facts["clock.core_offset"]) for one in clock] == [
        ("harbor-core", pytest.approx(30.0, abs=0.6))
    ]


async def test_secrets_are_reduced_to_digests_before_anything_is_kept() -> None:
    opened = await collect(Host())
    kept = "\n".join(document.text for document in opened.material)
    for secret in SECRETS:
        assert secret not in kept, secret
    written = "\n".join(document.text for document in redact_material(opened.material)[0])
    assert "http-secret-1" not in written


async def test_without_docker_the_usual_folders_are_asked() -> None:
    host = Host({"/opt/harbor/harbor.yml": "hostname: h\n", "/var/log/harbor/core.log": "x\n"}, containers=())
    opened = await collect(host)
    assert opened.material.text("harbor/harbor.yml") == "hostname: h\n"
    assert opened.material.text("harbor/core.log") == "x\n"
    assert "/data/secret/core/private_key.pem" in host.asked
    assert facts(opened, "core.exec")["core.key_form"] == "missing"


async def test_a_key_that_may_not_be_read_is_unknown_and_told() -> None:
    opened = await collect(Host(denied=("/mnt/data/secret/core/private_key.pem",)))
    found = list(BY_ID["core.exec"].read(opened.material, opened.scene))
    assert not any("core.key_hash" in one.facts or "core.key_form" in one.facts for one in found)
    assert any(one.outcome is Outcome.DENIED for one in found)


async def test_a_host_that_cannot_be_reached_is_asked_once() -> None:
    host = Host(outcome=Outcome.UNREACHABLE)
    opened = await collect(host)
    assert opened.material.get("harbor/compose/ssh.txt") is not None
    assert host.asked == []


@pytest.mark.parametrize("text", ["", "]", "[]", "[1]", '{"a": 1}'])
def test_odd_documents_end_nothing(text: str) -> None:
    paths = (
        "stat.json",
        "time.json",
        "docker-ps.txt",
        "opt/harbor/common/config/core/env",
        "opt/harbor/common/config/registry/config.yml",
        "opt/harbor/harbor.yml",
    )
    made = as_harbor([Document(f"nodes/{HOST}/{path}", text) for path in paths], HOST)
    assert Material(made).text("harbor/harbor.yml") == text


def test_the_containers_are_listed_by_a_command_of_the_closed_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker"
    program.write_text('#!/bin/sh\necho "{\\"asked\\": \\"$*\\"}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = run([Command("docker-ps")])["docker-ps.txt"]
    if found.outcome is Outcome.OBSERVED:  # as another user than root sudo may keep a path of its own
        assert json.loads(found.text) == {"asked": "ps -a --no-trunc --format {{json .}}"}
    else:
        assert found.outcome in (Outcome.DENIED, Outcome.UNSUPPORTED)


def test_the_template_of_nodes_is_not_for_harbors_host() -> None:
    settings = SshSettings(template="{name}.nodes.corp.example", plain=frozenset({HOST}))
    assert resolve(HOST, settings).host == HOST
    assert resolve("n1", settings).host == "n1.nodes.corp.example"

"""How old evidence is: that of the documents it was read from, so that a stale reading stops proving."""

from __future__ import annotations

import hashlib
import json

from app.files import load_rulebook
from app.model.case import Incident
from app.model.evidence import Evidence
from app.model.material import Document, Material
from app.probes.base import Scene
from app.probes.core_pods import read_exec, read_pods
from app.probes.harbor_artifact import read_robot
from app.probes.harbor_project import read_endpoint, read_project
from app.probes.host import read_disk, read_dns
from app.probes.host_proxy import read
from app.probes.runtime_files import files_of
from app.runner.assemble import read_all

NOW = 1772352300.0
IMAGE = "harbor.corp.example/team/app:1.0"
POD = "harbor-core-6d8f9c7b5d-4kx2p"
SCENE = Scene(
    Incident(image=IMAGE, registry="harbor.corp.example", action="pull", nodes=("n1",)), now=NOW, vantage="operator"
)
DF = "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/sda1 1000 900 100 90% /var/lib/containerd\n"


def ages(found: list[Evidence]) -> set[float | None]:
    return {None if one.taken_at is None else NOW - one.taken_at for one in found}


def node(**ages_by_name: float) -> Material:
    texts = {
        "getent.txt": "10.0.0.5  harbor.corp.example\n",
        "df.txt": DF,
        "environ-containerd.txt": "HTTPS_PROXY=http://proxy.corp.example:3128\n",
    }
    return Material(
        Document(f"nodes/n1/{name}", texts.get(name, ""), taken_at=NOW - age)
        for name, age in ((name.replace("_txt", ".txt"), age) for name, age in ages_by_name.items())
    )


def test_a_nodes_evidence_is_as_old_as_its_own_document() -> None:
    given = node(getent_txt=10.0, df_txt=20.0, **{"environ-containerd_txt": 30.0, "containerd-version_txt": 4000.0})
    assert ages([one for one in read_dns(given, SCENE) if one.target.get("node")]) == {10.0}
    assert ages(list(read_disk(given, SCENE))) == {20.0}
    assert ages([one for one in read(given, SCENE) if one.target.get("node")]) == {30.0}


def test_what_rests_on_many_documents_is_as_old_as_the_oldest() -> None:
    given = node(getent_txt=10.0, df_txt=20.0)
    assert files_of(given, "n1").taken_at == NOW - 20.0
    assert files_of(Material([Document("nodes/n1/df.txt", DF)]), "n1").taken_at is None


def test_a_stale_reading_of_a_node_has_an_age_that_counts() -> None:
    rulebook = load_rulebook()[0]
    for age, stale in ((60.0, False), (2 * 3600.0, True)):
        found = [one for one in read_all(node(df_txt=age), SCENE, rulebook) if one.probe == "disk.read"]
        assert found
        for one in found:
            assert one.taken_at is not None
            assert one.max_age is not None
            assert (NOW - one.taken_at > one.max_age) is stale


def test_evidence_of_harbor_is_as_old_as_its_answers() -> None:
    pods = {"items": [{"metadata": {"name": POD, "labels": {"component": "core"}}, "status": {}, "spec": {}}]}
    digest = f"{hashlib.sha256(b'key').hexdigest()}  /etc/core/private_key.pem"
    answers = {
        "harbor/core-pods.json": (json.dumps(pods), 40.0),
        f"harbor/exec/{POD}-key.txt": (digest, 50.0),
        "harbor/robots.json": (json.dumps([{"name": "robot$ci", "disable": False, "expires_at": -1}]), 60.0),
        "harbor/projects.json": (json.dumps([{"name": "team", "metadata": {"public": "false"}, "registry_id": 1}]), 70.0),
        "harbor/registries.json": (json.dumps([{"id": 1, "type": "quay", "url": "https://quay.io"}]), 80.0),
    }  # fmt: skip
    given = Material(Document(path, text, taken_at=NOW - age) for path, (text, age) in answers.items())
    robot = Scene(Incident(image=IMAGE, registry="harbor.corp.example", action="pull"), now=NOW, vantage="bundle")
    assert ages(list(read_pods(given, SCENE))) == {40.0}
    assert ages(list(read_exec(given, SCENE))) == {50.0}
    assert ages(list(read_robot(given, robot))) == {60.0}
    assert ages(list(read_project(given, SCENE))) == {70.0}
    assert ages(list(read_endpoint(given, SCENE))) == {80.0}

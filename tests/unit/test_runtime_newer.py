"""Files against the start of the process that reads them: start times are whole seconds."""

from __future__ import annotations

import json

import pytest

from app.model.case import Incident
from app.model.evidence import Value
from app.model.material import Document, Material
from app.probes import BY_ID
from app.probes.base import Scene
from app.probes.runtime_files import files_of
from app.probes.runtime_setup import node_setup

START = 1_790_000_000.0


def material(stamp: float, release: str = "2.1.5") -> Material:
    units = {"containerd": {"active": True, "since": START, "pid": 7}}
    config = 'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/etc/containerd/certs.d"\n'
    return Material(
        [
            Document("nodes/n1/etc/containerd/config.toml", config, mtime=stamp),
            Document("nodes/n1/versions.txt", f"containerd github.com/containerd/containerd/v2 v{release} abc\n"),
            Document("nodes/n1/units.json", json.dumps(units)),
        ]
    )


@pytest.mark.parametrize(
    ("offset", "expected"), [(-5.0, False), (-0.1, False), (0.0, None), (0.6, None), (1.0, None), (1.1, True)]
)
def test_the_second_of_the_start_tells_neither(offset: float, expected: bool | None) -> None:
    given = material(START + offset)
    assert node_setup(files_of(given, "n1")).newer_than_process is expected
    found: dict[str, Value] = {}
    for record in BY_ID["containerd.state"].read(given, Scene(Incident(nodes=("n1",)), START + 60)):
        found.update(record.facts)
    assert found.get("containerd.newer_than_process") is expected

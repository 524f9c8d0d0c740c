"""`hosts_toml.read` and `trust.verify` where the folder of the image's host is empty and the settings lie beside it."""

from __future__ import annotations

import json

import pytest

from app.model.case import Incident
from app.model.evidence import Value
from app.model.material import Document, Material
from app.probes import BY_ID
from app.probes.base import Scene

HOST = "harbor.corp.example"
ROOT = "/etc/containerd/certs.d"
CONFIG = f'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{ROOT}"\n'
HOSTS = f'server = "https://{HOST}"\n[host."https://{HOST}"]\nca = "/etc/corp.crt"\n'


def facts(image: str, folders: dict[str, bool], *, complete: bool = True) -> dict[str, Value]:
    """`hosts_toml.read` of a node with these folders below certs.d; True: with a hosts.toml."""
    stat = {ROOT: {"directory": True, "listed": True, "complete": complete}}
    stat |= {f"{ROOT}/{name}": {"directory": True, "listed": True, "complete": True} for name in folders}
    documents = [
        Document("nodes/n1/etc/containerd/config.toml", CONFIG),
        Document("nodes/n1/versions.txt", "containerd github.com/containerd/containerd v1.7.24 abc\n"),
        Document("nodes/n1/stat.json", json.dumps(stat)),
        *(Document(f"nodes/n1{ROOT}/{name}/hosts.toml", HOSTS) for name, filled in folders.items() if filled),
    ]
    host = image.partition("/")[0]
    scene = Scene(Incident("i", image, host, "pull", nodes=("n1",)), 0.0)
    found: dict[str, Value] = {}
    for record in BY_ID["hosts_toml.read"].read(Material(documents), scene):
        found.update(record.facts)
    return found


def test_an_empty_folder_is_no_entry() -> None:
    found = facts(f"{HOST}/a/b:1", {HOST: False, f"{HOST}:443": True})
    assert (found["hosts_toml.dir_exact"], found["hosts_toml.near_miss"]) == (False, "port")


def test_an_empty_folder_that_hides_the_entry_under_the_same_name() -> None:
    found = facts(f"{HOST}:8443/a/b:1", {f"{HOST}_8443_": False, f"{HOST}:8443": True})
    assert (found["hosts_toml.dir_exact"], found["hosts_toml.near_miss"]) == (True, "empty-shadow")


def test_an_empty_folder_alone() -> None:
    found = facts(f"{HOST}/a/b:1", {HOST: False})
    assert (found["hosts_toml.dir_exact"], found["hosts_toml.near_miss"]) == (False, "none")


def test_a_folder_that_was_not_read_whole_stays_unknown() -> None:
    found = facts(f"{HOST}/a/b:1", {HOST: False}, complete=False)
    assert "hosts_toml.dir_exact" not in found


def test_an_entry_under_the_right_name() -> None:
    found = facts(f"{HOST}/a/b:1", {HOST: True, f"{HOST}:443": True})
    assert (found["hosts_toml.dir_exact"], found["hosts_toml.near_miss"]) == (True, "none")


@pytest.mark.parametrize(
    ("header", "plugin"),
    [("", '"io.containerd.grpc.v1.cri"'), ("", "cri"), ("version = 1\n", "cri"), ("version = 2\n", "cri")],
    ids=["no-header", "no-header-old-form", "first-version", "forms-mixed"],
)
@pytest.mark.parametrize(("key", "near"), [("registry.example", "registry.example"), ("registry.example:5000", "")])
def test_a_key_is_near_in_every_form_of_the_file(header: str, plugin: str, key: str, near: str) -> None:
    """The release is not known, so nobody can tell whether the section is read."""
    table = f"[plugins.{plugin}.registry.mirrors.{json.dumps(key)}]\n"
    config = f'{header}{table}endpoint = ["http://registry.example:5000"]\n'
    scene = Scene(Incident("i", "registry.example:5000/a/b:1", "registry.example:5000", "pull", nodes=("n1",)), 0.0)
    found: dict[str, Value] = {}
    for record in BY_ID["containerd.config2"].read(
        Material([Document("nodes/n1/etc/containerd/config.toml", config)]), scene
    ):
        found.update(record.facts)
    assert (found["containerd.inline_hosts"], found["containerd.inline_near"]) == ((key,), near)


@pytest.mark.parametrize(
    ("hosts", "skips"),
    [
        (f'[host."https://{HOST}"]\nskip_verify = true\n', True),
        (f'server = "https://{HOST}"\nskip_verify = true\n', True),
        (f'[host."https://{HOST}:443"]\nskip_verify = true\n', True),
        (f'[host."https://{HOST}"]\nca = "/a.crt"\n', False),
        ('[host."https://mirror.example"]\nskip_verify = true\n', False),  # another host's check
        (f'[host."http://{HOST}"]\nskip_verify = true\n', False),  # nothing to check
    ],
)
def test_an_entry_for_the_very_host_that_turns_the_check_off(hosts: str, skips: bool) -> None:
    documents = [
        Document("nodes/n1/etc/containerd/config.toml", CONFIG),
        Document(f"nodes/n1{ROOT}/{HOST}/hosts.toml", hosts),
    ]
    scene = Scene(Incident("i", f"{HOST}/a/b:1", HOST, "pull", nodes=("n1",)), 0.0)
    found: dict[str, Value] = {}
    for record in BY_ID["hosts_toml.read"].read(Material(documents), scene):
        found.update(record.facts)
    assert found["hosts_toml.skips_verify"] is skips

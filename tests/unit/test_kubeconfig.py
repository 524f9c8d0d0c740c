"""Kubeconfigs that are broken in the usual ways: what is said, and what to do next. Exec plugins are real programs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from app.clients.kube import Connection
from app.clients.kubeconfig import KubeOptions, configuration, contexts
from app.errors import KubeconfigError


def write(folder: Path, name: str = "config", user: dict[str, object] | None = None, **over: object) -> str:
    config: dict[str, object] = {
        "apiVersion": "v1", "kind": "Config", "current-context": "prod",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u", "namespace": "apps"}}],
        "users": [{"name": "u", "user": user if user is not None else {"token": "t-1"}}],
    }  # fmt: skip
    config.update(over)
    file = folder / name
    file.write_text(yaml.safe_dump(config))
    return str(file)


def plugin(folder: Path, text: str, **spec: object) -> dict[str, object]:
    file = folder / "plugin"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(file),
            "interactiveMode": "Never",
            **spec,
        }
    }


ANSWER = 'echo \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "\'$WORD\'"}}\''


def test_contexts_of_a_list_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path)
    second = write(
        tmp_path,
        "other",
        contexts=[{"name": "test", "context": {"cluster": "c2", "user": "u2"}}],
        clusters=[],
        users=[],
    )
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}:{tmp_path}/missing")
    found = contexts(KubeOptions())
    assert [one.name for one in found] == ["prod", "test"]
    assert found[0].namespace == "apps"
    assert contexts(KubeOptions(kubeconfig=first))[0].current


def test_a_token_becomes_a_header_and_groups_are_several_headers(tmp_path: Path) -> None:
    connection = Connection(KubeOptions(kubeconfig=write(tmp_path), as_user="me", as_groups=("a", "b")))
    headers = connection.headers()
    assert ("Authorization", "Bearer t-1") in headers
    assert [value for name, value in headers if name == "Impersonate-Group"] == ["a", "b"]
    assert connection.context == "prod"


def test_a_plugin_gives_the_token(tmp_path: Path) -> None:
    user = plugin(tmp_path, ANSWER, env=[{"name": "WORD", "value": "from-plugin"}])
    assert ("Authorization", "Bearer from-plugin") in Connection(
        KubeOptions(kubeconfig=write(tmp_path, user=user))
    ).headers()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'session expired' >&2; exit 1", "session expired"),
        ("echo nonsense", "ExecCredential"),
        ("sleep 20", "did not end within"),
        (ANSWER.replace("/v1", "/v1beta1"), "v1beta1"),
        ('echo \'{"apiVersion": "client.authentication.k8s.io/v1", "status": {}}\'', "neither a token"),
    ],
)
def test_a_plugin_that_does_not_work_is_told(tmp_path: Path, body: str, said: str) -> None:
    file = write(tmp_path, user=plugin(tmp_path, body))
    with pytest.raises(KubeconfigError, match=said) as caught:
        configuration(KubeOptions(kubeconfig=file, plugin_timeout=1))
    assert caught.value.next_step


def test_a_missing_plugin_shows_its_hint(tmp_path: Path) -> None:
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "no-such-plugin",
            "installHint": "install it like so",
        }
    }
    with pytest.raises(KubeconfigError, match="not installed") as caught:
        configuration(KubeOptions(kubeconfig=write(tmp_path, user=user)))
    assert caught.value.next_step == "install it like so"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clusters: [\n  x: {", "line"),
        ("just words", "kubeconfig"),
        ("", "kubeconfig"),
        ("- a\n- b\n", "kubeconfig"),
        ("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n", "no current context"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(KubeconfigError, match=said) as caught:
        configuration(KubeOptions(kubeconfig=str(file)))
    assert caught.value.next_step


def test_contexts_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="no kubeconfig"):
        configuration(KubeOptions(kubeconfig=str(tmp_path / "none")))
    with pytest.raises(KubeconfigError, match="no context 'nope'") as caught:
        configuration(KubeOptions(kubeconfig=write(tmp_path), context="nope"))
    assert "prod" in caught.value.next_step
    with pytest.raises(KubeconfigError, match="cannot be used"):
        configuration(KubeOptions(kubeconfig=write(tmp_path, clusters=[])))

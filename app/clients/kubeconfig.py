"""Kubeconfig, read by the official client: lists in KUBECONFIG, contexts, certificates, tokens, exec plugins, in-cluster accounts.

What the official client only logs (an exec plugin that fails, or is not installed) is an error here, with what to do next.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from kubernetes.config import ConfigException, incluster_config
from kubernetes.config.kube_config import FileOrData, KubeConfigLoader, KubeConfigMerger

from app.clients import process
from app.errors import KubeconfigError

DEFAULT = "~/.kube/config"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True, slots=True)
class KubeOptions:
    """What the operator gave by flags; the names are kubectl's."""

    kubeconfig: str = ""
    context: str = ""
    as_user: str = ""
    as_groups: tuple[str, ...] = ()
    request_timeout: float = 30.0
    plugin_timeout: float = 30.0
    """For an exec plugin; it may have to ask a browser."""


@dataclass(frozen=True, slots=True)
class KubeContext:
    """One entry of a kubeconfig."""

    name: str
    cluster: str = ""
    user: str = ""
    namespace: str = ""
    current: bool = False


def paths(options: KubeOptions) -> str:
    """The files, as `KUBECONFIG` lists them."""
    return options.kubeconfig or os.environ.get("KUBECONFIG", "") or DEFAULT


def contexts(options: KubeOptions) -> tuple[KubeContext, ...]:
    """All contexts. Raises KubeconfigError."""
    config = _merged(options)
    current = config.get("current-context") or ""
    found = []
    for entry in config.get("contexts") or ():
        inside = entry.get("context") or {}
        found.append(
            KubeContext(
                entry.get("name", ""),
                inside.get("cluster", ""),
                inside.get("user", ""),
                inside.get("namespace", ""),
                entry.get("name") == current,
            )
        )
    return tuple(found)


def configuration(options: KubeOptions) -> tuple[str, Any]:
    """Context name and the official client's Configuration. Raises KubeconfigError. Runs an exec plugin where one is configured."""
    if (
        not options.kubeconfig
        and not os.environ.get("KUBECONFIG")
        and not Path(DEFAULT).expanduser().exists()
        and _ACCOUNT.exists()
    ):
        result = client.Configuration()
        try:
            incluster_config.load_incluster_config(client_configuration=result)
        except ConfigException as error:
            raise KubeconfigError(
                f"The pod's service account cannot be used: {error}",
                "Mount the service account token, or pass --kubeconfig.",
            ) from error
        return "in-cluster", result
    config = _merged(options)
    listed = contexts(options)
    names = ", ".join(one.name for one in listed) or "none"
    name = options.context or config.get("current-context") or ""
    if not name:
        raise KubeconfigError(
            f"{paths(options)} has no current context.",
            f"Pass --context NAME, or run: kubectl config use-context NAME. Contexts there: {names}.",
        )
    if name not in [one.name for one in listed]:
        raise KubeconfigError(f"{paths(options)} has no context {name!r}.", f"Contexts there: {names}.")
    result = client.Configuration()
    result.retries = False
    try:
        loader = _Loader(config, options.plugin_timeout, name)
        loader.load_and_set(result)
    except ConfigException as error:
        raise KubeconfigError(
            f"Context {name!r} cannot be used: {error}",
            "Look at its cluster and user entries: kubectl config view --minify.",
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise KubeconfigError(
            f"Context {name!r} cannot be used: {error}",
            "Look at its cluster and user entries: kubectl config view --minify.",
        ) from error
    return name, result


def _merged(options: KubeOptions) -> Any:
    text = paths(options)
    if not any(Path(path).expanduser().is_file() for path in text.split(os.pathsep) if path):
        raise KubeconfigError(
            f"There is no kubeconfig at {text}.",
            "Pass --kubeconfig FILE or set KUBECONFIG. A pasted error or a bundle needs no cluster.",
        )
    try:
        merged = KubeConfigMerger(text).config
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        raise KubeconfigError(
            f"The kubeconfig {getattr(mark, 'name', text)}{where} is not YAML: {getattr(error, 'problem', error)}.",
            "Correct that line, or pass another file with --kubeconfig.",
        ) from error
    except (ConfigException, OSError, UnicodeDecodeError) as error:
        raise KubeconfigError(
            f"The kubeconfig {text} cannot be read: {error}", "Check the file, or pass another one with --kubeconfig."
        ) from error
    except (TypeError, KeyError, AttributeError) as error:
        raise KubeconfigError(
            f"{text} is YAML, but not a kubeconfig.", "It has `clusters`, `contexts` and `users` at its top level."
        ) from error
    if merged is None or not isinstance(merged.value, dict):
        raise KubeconfigError(f"{text} holds no kubeconfig.", "Pass --kubeconfig FILE or set KUBECONFIG.")
    return _Merged(merged)


class _Merged:
    """The official client's node, with `get` and entries as plain mappings."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def get(self, key: str) -> Any:
        value = self.node.value.get(key)
        if isinstance(value, list):
            return [getattr(entry, "value", entry) for entry in value]
        return value


class _Loader(KubeConfigLoader):  # type: ignore[misc] # the client is not followed
    """The official loader, but that a failing exec plugin is told, and ended when it hangs."""

    def __init__(self, config: _Merged, plugin_timeout: float, context: str) -> None:
        self._plugin_timeout = plugin_timeout
        super().__init__(config_dict=config.node, active_context=context)

    def _load_from_exec_plugin(self) -> bool | None:
        if "exec" not in self._user:
            return None
        base = self._get_base_path(self._cluster.path)
        status = run_plugin(self._user["exec"].value, base, self._cluster.value, self._plugin_timeout)
        if status.get("token"):
            self.token = f"Bearer {status['token']}"
        elif status.get("clientCertificateData") and status.get("clientKeyData"):
            for attribute, key in (("cert_file", "clientCertificateData"), ("key_file", "clientKeyData")):
                made = FileOrData(
                    status,
                    None,
                    data_key_name=key,
                    file_base_path=base,
                    base64_file_content=False,
                    temp_file_path=self._temp_file_path,
                )
                setattr(self, attribute, made.as_file())
        else:
            raise KubeconfigError(
                "The credential plugin of this context gave neither a token nor a certificate.",
                "Run it by hand and look at its output.",
            )
        if status.get("expirationTimestamp"):
            self.expiry = datetime.fromisoformat(str(status["expirationTimestamp"]).replace("Z", "+00:00"))
        return True


def run_plugin(spec: Mapping[str, Any], folder: str, cluster: Mapping[str, Any], timeout: float) -> Mapping[str, Any]:
    """Run a client-go credential plugin; its `status`. Raises KubeconfigError: missing, failing, hanging, or answering nonsense."""
    command = [str(spec.get("command", "")), *(str(word) for word in spec.get("args") or ())]
    hint = str(spec.get("installHint") or "").strip()
    environment = {**os.environ, **{entry["name"]: str(entry["value"]) for entry in spec.get("env") or ()}}
    info: dict[str, Any] = {
        "apiVersion": spec.get("apiVersion"),
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    if spec.get("provideClusterInfo"):
        extension = next(
            (
                one.get("extension")
                for one in cluster.get("extensions") or ()
                if one.get("name") == "client.authentication.k8s.io/exec"
            ),
            None,
        )
        info["spec"]["cluster"] = {key: value for key, value in cluster.items() if key != "extensions"} | (
            {"config": extension} if extension else {}
        )
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(info)
    # A name with a slash is meant relative to the kubeconfig, as kubectl takes it.
    program = os.path.join(folder, command[0]) if "/" in command[0] and folder else command[0]
    try:
        done = process.run([program, *command[1:]], timeout, environment)
    except FileNotFoundError as error:
        raise KubeconfigError(
            f"The credential plugin {command[0]!r} of this context is not installed.",
            hint or "Install it, or use a context that needs none.",
        ) from error
    except PermissionError as error:
        raise KubeconfigError(
            f"The credential plugin {command[0]!r} may not be run.", "Check its file mode."
        ) from error
    except TimeoutError as error:
        raise KubeconfigError(
            f"The credential plugin {command[0]!r} did not end within {timeout:.0f} s.",
            "Log in by hand once (it may be waiting for a browser), then try again.",
        ) from error
    if done.code:
        said = " ".join(done.stderr.split())[:300]
        raise KubeconfigError(
            f"The credential plugin {command[0]!r} failed (exit {done.code}): {said or 'it said nothing'}",
            "Log in by hand (the plugin's own login command), then try again.",
        )
    try:
        answer = json.loads(done.stdout)
        status = answer["status"]
    except (ValueError, KeyError, TypeError) as error:
        raise KubeconfigError(
            f"The credential plugin {command[0]!r} did not answer with an ExecCredential.",
            "Run it by hand and look at its output.",
        ) from error
    if answer.get("apiVersion") != spec.get("apiVersion"):
        raise KubeconfigError(
            f"The credential plugin {command[0]!r} answers as {answer.get('apiVersion')}, the kubeconfig says {spec.get('apiVersion')}.",
            "Update the plugin or the kubeconfig.",
        )
    return status if isinstance(status, dict) else {}

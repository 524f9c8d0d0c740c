"""`kubelet.read` and `client.read`: logins that the kubelet reads or does not read, its settings; docker as a client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from app.model.evidence import Evidence, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.docker_daemon import parse_daemon_json
from app.parsers.dockerconfig import DockerConfig, normalise_key, parse_dockerconfig
from app.parsers.redact import redact
from app.parsers.texts_split import shell_expands
from app.parsers.versions import at_least, below
from app.probes.base import Scene
from app.probes.incidents import sightings_of
from app.probes.runtime_config import contacted, namespace_of, nodes_of, whose
from app.probes.runtime_files import NodeFiles

KUBELET = (
    "kubelet.plugin_configured", "kubelet.plugin_error", "kubelet.login_file", "kubelet.login_serves", "kubelet.login_unread",
    "kubelet.verifies_cached", "kubelet.pull_record_lacks", "kubelet.serialize",
)  # fmt: skip
CLIENT = ("client.insecure_listed", "client.login_hosts", "client.helper_error", "client.shell_expanded")
READ_BY_KUBELET = (
    "/var/lib/kubelet/config.json",
    "/config.json",
    "/.docker/config.json",
    "/var/lib/kubelet/.dockercfg",
    "/.dockercfg",
)
_PLUGIN_ERROR = re.compile(
    r"(?:Failed getting credential from external registry credential provider|failed to execute credential provider|error execing credential provider plugin).*",
    re.IGNORECASE,
)
_LOOKING = re.compile(r"looking for \.?(?:docker/config\.json|dockercfg|config\.json) at (\S+)")
# A user name in double quotes or bare, with a `$` that the shell takes for a variable.
_EXPANDED = re.compile(
    r"""(?:-u|--username|--docker-username)[ =](?:"[^"']*(?<!\\)\$[A-Za-z_{][^"]*"|[^\s'"\\]*\$[A-Za-z_{]\S*)|--creds[ =](?:"[^"']*(?<!\\)\$[A-Za-z_{][^"]*"|[^\s'"\\]*\$[A-Za-z_{]\S*)"""
)
_HELPER = re.compile(
    r"error getting credentials|docker-credential-\S+: (?:executable file )?not found|error storing credentials"
)


def read_kubelet(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Login files beside what `$contacted` needs, plugin errors, verification of cached images, serial pulls."""
    host = contacted(scene)
    for name, files in nodes_of(material):
        facts = _logins(files, host)
        facts |= _plugin(files)
        facts |= _settings(files)
        if facts:
            yield files.evidence(
                "kubelet.read",
                facts,
                of=whose(scene, name),
                command="sudo ls -l /var/lib/kubelet/config.json; journalctl -u kubelet",
            )


def _home(files: NodeFiles) -> str | None:
    """The kubelet's HOME; empty where its environment has none; None: not seen."""
    for unit in ("kubelet", "k3s", "k3s-agent", "rke2-server", "rke2-agent"):
        text = files.text(f"environ-{unit}.txt")
        if text is not None:
            found = re.search(r"(?m)^HOME=(.*)$", text.replace("\0", "\n"))
            return found[1] if found else ""
    looked = _LOOKING.findall(files.text("kubelet.log") or "")
    homes = [path.removesuffix("/.docker/config.json") for path in looked if path.endswith("/.docker/config.json")]
    return next((home for home in homes if home), "" if looked else None)


def _logins(files: NodeFiles, host: str) -> dict[str, Value]:
    home = _home(files)
    read = [*READ_BY_KUBELET]
    if home:
        read[2:2] = [f"{home}/.docker/config.json", f"{home}/.dockercfg"]
    facts: dict[str, Value] = {}
    in_use = next((path for path in read if files.text(path) is not None), "")
    looked = (
        files.systematic
        or any(files.absent(path) for path in read)
        or (files.text("kubelet.log") or "").count("looking for .docker/config.json") > 0
    )
    if in_use or looked:
        facts["kubelet.login_file"] = in_use
        facts["kubelet.login_serves"] = bool(in_use) and _serves(_config(files, in_use), host)
    unread = [
        path for path in files.below("/") if path.endswith(("/.docker/config.json", "/.dockercfg")) and path not in read
    ]
    # HOME=/root would make root's file one that is read; without its environment only the kubelet's usual unit tells.
    serving = [path for path in unread if not host or _serves(_config(files, path), host)]
    if serving:
        facts["kubelet.login_unread"] = serving[0]
    elif files.absent("/root/.docker/config.json") or "/root/.docker/config.json" in unread:
        facts["kubelet.login_unread"] = ""
    return facts


def _config(files: NodeFiles, path: str) -> DockerConfig:
    return parse_dockerconfig(
        files.text(path) or "", "dockercfg" if path.endswith(".dockercfg") else "dockerconfigjson"
    )


def _serves(config: DockerConfig, host: str) -> bool:
    """Any entry with a login for the host, a credential store included: it was logged in there."""
    return any(
        (entry.has_login or config.helpers) and normalise_key(entry.server_key).partition("/")[0] == host
        for entry in config.entries
    )


def _plugin(files: NodeFiles) -> dict[str, Value]:
    arguments = " ".join(args for _, _, args in files.processes if "kubelet" in args) + " ".join(
        unit.cmdline[0] for unit in files.units.values() if unit.cmdline[:1]
    )
    arguments += " ".join(" ".join(unit.cmdline) for name, unit in files.units.items() if name == "kubelet")
    arguments += "\n".join(text for path, text in files.below("/etc/systemd/system").items() if "kubelet" in path) + (
        files.text("/etc/default/kubelet") or ""
    )
    arguments += files.text("/var/lib/kubelet/kubeadm-flags.env") or ""
    facts: dict[str, Value] = {}
    log = files.text("kubelet.log")
    error = _PLUGIN_ERROR.search(log or "")
    if "image-credential-provider-config" in arguments or error is not None:
        facts["kubelet.plugin_configured"] = True
    elif any("kubelet" in args for _, _, args in files.processes) or (
        files.units.get("kubelet") and files.units["kubelet"].cmdline
    ):
        facts["kubelet.plugin_configured"] = False
    if error is not None:
        facts["kubelet.plugin_error"] = error[0][:300]
    elif facts.get("kubelet.plugin_configured") is False:
        facts["kubelet.plugin_error"] = ""
    return facts


def _settings(files: NodeFiles) -> dict[str, Value]:
    config = files.text("/var/lib/kubelet/config.yaml")
    release = files.versions.kubelet
    facts: dict[str, Value] = {}
    text = config or ""
    if config is not None:
        serial = re.search(r"(?m)^serializeImagePulls:\s*(\w+)", text)
        facts["kubelet.serialize"] = serial is None or serial[1].lower() != "false"
    policy = re.search(r"(?m)^imagePullCredentialsVerificationPolicy:\s*[\"']?(\w+)", text)
    gate = re.search(r"KubeletEnsureSecretPulledImages[\"']?\s*[:=]\s*(\w+)", text)
    on = gate[1].lower() == "true" if gate else at_least(release, 1, 35)
    if below(release, 1, 33):
        facts["kubelet.verifies_cached"] = False
    elif on is not None and (config is not None or gate is not None):
        facts["kubelet.verifies_cached"] = bool(on) and (policy is None or policy[1] != "NeverVerify")
    return facts


# --- docker and other clients ---------------------------------------------------------------------------------------


def read_client(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`daemon.json`, the docker login of whoever typed, and the line that was typed."""
    registry = namespace_of(scene)
    docker_failed = any(sighting.reading.client == "docker" for _, sighting in sightings_of(material, scene.incident))
    for name, files in nodes_of(material):
        runtime = files.versions.runtime
        daemon = files.text("/etc/docker/daemon.json")
        if runtime in ("containerd", "cri-o") and daemon is None:
            continue
        facts: dict[str, Value] = {}
        if daemon is not None and registry:
            parsed = parse_daemon_json(daemon)
            if not parsed.error:
                facts["client.insecure_listed"] = parsed.lists(registry)
        elif files.absent("/etc/docker/daemon.json") and registry:
            facts["client.insecure_listed"] = parse_daemon_json("").lists(registry)
        logins = [path for path in files.below("/") if path.endswith("/.docker/config.json")]
        # A machine of which little was copied: that docker printed the failing text tells whose file it is.
        if logins and (runtime == "docker" or (not runtime and docker_failed)):
            facts["client.login_hosts"] = _hosts(_config(files, logins[0]))
        if facts:
            yield files.evidence(
                "client.read",
                facts,
                target=Target.of(client=name),
                excerpt=daemon or "",
                command="cat /etc/docker/daemon.json",
            )
    yield from _typed(material, scene)


def _hosts(config: DockerConfig) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            normalise_key(entry.server_key).partition("/")[0]
            for entry in config.entries
            if entry.has_login or config.helpers
        )
    )


def _typed(material: Material, scene: Scene) -> Iterable[Evidence]:
    """Lines and files that the operator brought along."""
    texts = [
        (document.path, document.text)
        for document in material
        if document.text
        and (document.path.startswith("env/") or ("/" not in document.path and document.path.endswith(".txt")))
    ]
    facts: dict[str, Value] = {}
    shown = ""
    lines = [line for _, text in texts for line in text.splitlines()] + [
        line for text in scene.incident.texts for line in text.splitlines()
    ]
    typed = [
        line
        for line in lines
        if re.search(r"\b(?:login|create secret|copy|pull|push)\b", line)
        and re.search(r"(?:-u|--username|--docker-username|--creds)[ =]", line)
    ]
    if typed:
        bad = [line for line in typed if shell_expands(line)]
        facts["client.shell_expanded"] = bool(bad)
        shown = (bad or typed)[0]
    if any(_HELPER.search(line) for line in lines):
        facts["client.helper_error"] = True
    for path, text in texts:
        if path.endswith("config.json") and '"auths"' in text:
            facts["client.login_hosts"] = _hosts(parse_dockerconfig(text))
        if path.endswith("daemon.json") and namespace_of(scene):
            try:
                json.loads(text)
            except ValueError:
                continue
            facts["client.insecure_listed"] = parse_daemon_json(text).lists(namespace_of(scene))
    if facts:
        yield Evidence("client.read", Target.of(client="operator"), "operator", facts=facts, excerpt=redact(shown))

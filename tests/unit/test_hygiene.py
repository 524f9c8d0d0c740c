"""Promises about the whole source, held by reading it: who writes, who verifies, who creates pods, who knows the time."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.clients.script import render
from app.ports import Command, File, Journal, Tree
from tests.conftest import ROOT

SOURCES = sorted([*(ROOT / "app").rglob("*.py"), *(ROOT / "screens").rglob("*.py")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """(what is called, or named, as dotted text; node)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call | ast.Attribute | ast.Name):
            yield ast.unparse(node.func if isinstance(node, ast.Call) else node), node


def offenders(found: Callable[[Path], list[str]], allowed: Callable[[str], bool]) -> list[str]:
    return [f"{name_of(path)}: {what}" for path in SOURCES if not allowed(name_of(path)) for what in found(path)]


def test_there_is_something_to_read() -> None:
    assert len(SOURCES) > 150


# --- one gateway -----------------------------------------------------------------------------------------------------

WRITES = {"write", "replace", "restore", "restart", "run_trust_update", "check_runtime_config"}


def awaited_writes(path: Path) -> list[str]:
    """Awaited calls by the names of the writer ports. Files and strings have such methods too, but nobody awaits them."""
    return [
        f"line {node.lineno}: await {ast.unparse(node.value.func)}(…)"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Await)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr in WRITES
    ]


def may_write(name: str) -> bool:
    """The gateway; the writers themselves; the practice world, which breaks and mends only its own model."""
    return name.startswith(("app/fixes/gateway", "app/clients/", "app/training/"))


def test_only_the_gateway_calls_a_writer() -> None:
    assert awaited_writes(ROOT / "app/fixes/gateway_kube.py") or awaited_writes(ROOT / "app/fixes/gateway.py")
    assert offenders(awaited_writes, may_write) == []


def test_live_writers_are_built_in_one_place() -> None:
    def named(path: Path) -> list[str]:
        return [
            f"line {node.lineno}: {node.id}"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Name) and node.id in ("LiveKubeWriter", "SshWriter")
        ]

    assert named(ROOT / "app/commands/writing.py")
    assert offenders(named, lambda name: name.startswith("app/clients/") or name == "app/commands/writing.py") == []


# --- TLS -------------------------------------------------------------------------------------------------------------

UNVERIFIED = {
    "app/clients/http_stream.py": "reads the served chain as evidence, after a verifying handshake has failed; nothing is sent after it",
    "app/clients/kube_exec.py": "only where the operator's kubeconfig says insecure-skip-tls-verify, as kubectl does",
}


def unverified(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "_create_unverified_context"):
            found.append(f"line {node.lineno}: {node.attr}")
        if isinstance(node, ast.keyword) and node.arg in ("verify", "verify_ssl", "assert_hostname"):
            value = node.value
            found += [f"line {value.lineno}: {node.arg}=False"] if ast.unparse(value) == "False" else []
        if isinstance(node, ast.Attribute) and node.attr in ("AutoAddPolicy", "WarningPolicy"):
            found.append(f"line {node.lineno}: {node.attr}")
    return found


def test_certificates_and_host_keys_are_always_verified() -> None:
    assert {name for name in UNVERIFIED if len(unverified(ROOT / name)) == 1} == set(UNVERIFIED)
    assert offenders(unverified, lambda name: name in UNVERIFIED) == []


def test_the_unverified_look_sends_nothing() -> None:
    """The one function that verifies nothing returns what a look returned, and the look only shakes hands and closes."""
    tree = ast.parse((ROOT / "app/clients/http_stream.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    holders = [name for name, node in functions.items() if "CERT_NONE" in ast.unparse(node)]
    assert holders == ["_unverified"]
    look = ast.unparse(functions["_look"])
    assert "handshake()" in look
    assert not re.search(r"\.(write|send|sendall|request)\(", look + ast.unparse(functions["_unverified"]))


# --- no pod, no pull (capability 1) ------------------------------------------------------------------------------------

COLLECTS = (
    "app/probes/",
    "app/runner/",
    "app/clients/",
    "app/commands/",
    "app/bootstrap.py",
    "app/desk.py",
    "app/tui.py",
    "screens/",
)
MENDS = ("app/runner/fixing.py", "app/runner/verify.py")
PULL = re.compile(r"\b(crictl|ctr|nerdctl|docker|podman|skopeo)\b[^|\n]{0,40}\b(pull|copy|run|create|debug)\b")


def collects(name: str) -> bool:
    return name.startswith(COLLECTS) and name not in MENDS


def created_pods(path: Path) -> list[str]:
    """Calls that carry both a creating verb and a path that ends in `/pods`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            words = [
                inner.value
                for inner in ast.walk(node)
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
            ]
            if any(word in ("POST", "PUT") for word in words) and any(
                re.search(r"/pods/?(\?|$)", word) for word in words
            ):
                found.append(f"line {node.lineno}: {ast.unparse(node)[:100]}")
        if isinstance(node, ast.Attribute) and re.match(r"create_(namespaced_)?pod", node.attr):
            found.append(f"line {node.lineno}: {node.attr}")
    return found


def test_no_collector_creates_a_pod() -> None:
    assert offenders(created_pods, lambda name: not collects(name)) == []


def commands(path: Path) -> list[str]:
    """Lists of words that start a program: `["crictl", "pull", …]`, and shell text in the renderer."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.List | ast.Tuple):
            words = " ".join(
                item.value for item in node.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)
            )
            if re.match(r"(crictl|ctr|nerdctl|docker|podman|skopeo|kubectl) ", words) and PULL.search(words):
                found.append(f"line {node.lineno}: {words}")
    return found


def test_no_collector_pulls_an_image() -> None:
    assert offenders(commands, lambda name: not collects(name)) == []
    for path in SOURCES:
        if name_of(path).startswith("app/clients/script"):
            text = path.read_text(encoding="utf-8")
            assert not PULL.search(text), name_of(path)


COMMANDS = [
    Command("containerd-config-dump"), Command("crictl-info"), Command("versions"), Command("df"), Command("unit", ("containerd",)),
    Command("environ", ("containerd",)), Command("processes"), Command("getent", ("registry.corp.example",)), Command("arch"),
    Command("os-release"), Command("images"), Command("plugins"), Command("sudo"),
]  # fmt: skip


def test_the_script_for_a_node_only_reads() -> None:
    """All items at once, as they are sent to a node: no program in it changes, starts or pulls anything."""
    script = render(
        [*COMMANDS, File("/etc/hosts"), Tree("/etc/containerd"), Journal("containerd", grep=("x509",))], "hpx"
    )
    changing = re.compile(
        r"(^|[;&|({]\s*|\bsudo -n\s+)(rm|mv|cp|tee|dd|mkdir|touch|chmod|chown|ln|kill|reboot|apt|yum|dnf|update-ca\S*|systemctl\s+"
        r"(start|stop|restart|reload|enable|disable)|(crictl|ctr|nerdctl|docker|podman)\s+(pull|run|rm|rmi|create|exec))\b",
        re.MULTILINE,
    )
    assert "crictl" in script
    assert not changing.search(script), changing.search(script)
    assert not re.search(r"(?<![0-9&<])>{1,2}(?!\s*/dev/null|&)\s*[\"'$/~]", script), "a redirection writes to a file"


# --- time and chance ---------------------------------------------------------------------------------------------------

TIME = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.time_ns",
    "uuid.uuid4",
    "uuid4",
    "random.random",
    "random.choice",
}


def test_time_and_ids_come_from_one_place() -> None:
    def asked(path: Path) -> list[str]:
        return [
            f"line {node.lineno}: {name}"  # type: ignore[attr-defined]
            for name, node in calls(path)
            if isinstance(node, ast.Call) and re.sub(r"^datetime\.datetime", "datetime", name) in TIME
        ]

    assert asked(ROOT / "app/clients/clock.py")
    assert offenders(asked, lambda name: name == "app/clients/clock.py") == []


# --- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["os.system", "shell=True", "eval(", "exec(compile"])
def test_no_shell_on_this_machine(word: str) -> None:
    assert [
        name_of(path)
        for path in SOURCES
        if re.search(rf"(?<![\w.]){re.escape(word)}", path.read_text(encoding="utf-8"))
    ] == []

"""Flags that several commands share, named as kubectl and OpenSSH name them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from app.errors import UsageError


def duration(text: str) -> float:
    """`300`, `300s`, `5m` or `1h` in seconds, for flags that take a time."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 300s, 5m or 1h")
    return float(found[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[found[2] or "s"]


class Parser(argparse.ArgumentParser):
    """Errors as UsageError, so that there is one way to say them; settings of files and environment as defaults."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        words = list(args or ())
        if "-h" not in words and "--help" not in words:  # help is shown even when the configuration is broken
            from app.settings import apply

            apply(self)
        return super().parse_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(
            message if self.prog == "harborpilot" else f"{self.prog.removeprefix('harborpilot ')}: {message}",
            f"`{self.prog} --help` lists the flags.",
        )


def parser(name: str, description: str) -> Parser:
    """A parser for `harborpilot <name>`."""
    return Parser(prog=f"harborpilot {name}", description=description)


def add_kube(flags: argparse.ArgumentParser) -> None:
    """As kubectl has them."""
    group = flags.add_argument_group("cluster")
    group.add_argument("--kubeconfig", help="kubeconfig file; default $KUBECONFIG, then ~/.kube/config")
    group.add_argument("--context", help="context of the cluster whose pulls fail")
    group.add_argument("--harbor-context", help="context of the cluster in which Harbor runs, when it is another one")
    group.add_argument("--harbor-namespace", help="namespace of Harbor; found by itself where possible")
    group.add_argument("-n", "--namespace", help="only this namespace")
    group.add_argument("-A", "--all-namespaces", action="store_true", help="all namespaces (default)")
    group.add_argument("-l", "--selector", default="", help="label selector for pods")
    group.add_argument("--as", dest="as_user", default="", help="impersonate this user")
    group.add_argument("--as-group", action="append", default=[], help="impersonate this group")
    group.add_argument("--request-timeout", type=float, default=10.0, help="seconds for one request (default 10)")
    group.add_argument("--no-kube", action="store_true", help="do not ask any cluster")


def add_ssh(flags: argparse.ArgumentParser) -> None:
    """As OpenSSH has them."""
    group = flags.add_argument_group("nodes")
    group.add_argument("--ssh-user", help="login user on the nodes")
    group.add_argument("-p", "--ssh-port", type=int, help="port of sshd on the nodes")
    group.add_argument("-F", "--ssh-config", help="ssh_config file")
    group.add_argument("-J", "--jump", help="jump host")
    group.add_argument("--ssh-host", default="", help="template for the SSH host of a node, e.g. {name}.corp.example")
    group.add_argument(
        "--harbor-ssh",
        metavar="HOST",
        default="",
        help="SSH host on which Harbor runs by its compose installer: its settings, logs, key digests and clock are read there",
    )
    group.add_argument("--no-ssh", action="store_true", help="do not connect to any node")
    group.add_argument("--jobs", type=int, default=4, help="nodes at a time (default 4)")
    group.add_argument("--healthy", type=int, default=3, help="healthy nodes read for comparison (default 3)")


def add_output(flags: argparse.ArgumentParser, *choices: str) -> None:
    """`-o` is a format, never a file."""
    group = flags.add_argument_group("output")
    group.add_argument("-o", "--output", choices=choices, default=choices[0])
    group.add_argument("--json", action="store_const", dest="output", const="json", help="short for -o json")
    group.add_argument("--plain", action="store_const", dest="output", const="text", help="short for -o text")
    group.add_argument("-q", "--quiet", action="store_true")
    group.add_argument("-v", "--verbose", action="store_true")
    group.add_argument("--no-color", action="store_true", help="no colour; NO_COLOR is honoured too")
    group.add_argument("--color", choices=("auto", "always", "never"), default="auto")


def add_run(flags: argparse.ArgumentParser) -> None:
    """Limits and consent of a run."""
    group = flags.add_argument_group("run")
    group.add_argument("--no-input", action="store_true", help="never ask")
    group.add_argument("--timeout", type=float, default=180.0, help="seconds for the whole run (default 180)")
    group.add_argument(
        "--probe-timeout", type=float, default=15.0, help="seconds for one probe at one node (default 15)"
    )
    group.add_argument(
        "--try-credentials",
        choices=("never", "once"),
        default="never",
        help="whether each pull secret may be tried once against its registry",
    )
    group.add_argument("--try-upload", action="store_true", help="whether a blob upload may be started and cancelled")
    group.add_argument(
        "--answer", action="append", default=[], metavar="QUESTION=ANSWER", help="answer a question of the walk"
    )
    group.add_argument(
        "--harbor-user", help="Harbor user for its API; the password comes by --password-stdin or --password-file"
    )
    group.add_argument(
        "--push-user",
        help="user with whom the failing push logs in; tried once; without it docker's configuration is asked, with consent",
    )
    group.add_argument(
        "--password-stdin", action="store_true", help="passwords of those users from standard input, a line each"
    )
    group.add_argument("--password-file", help="the same from a file")
    group.add_argument("--no-http", action="store_true", help="do not ask the registry")

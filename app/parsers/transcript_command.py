"""Command lines of a transcript: which URL was asked, how, and with whose login."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from app.parsers.split_url import urlsplit

_LOOP: Final = re.compile(r"\$\(\s*seq\s+(?:1\s+)?(\d+)\s*\)|\{1\.\.(\d+)\}")
_WITH_VALUE: Final = frozenset(
    [
        "-o",
        "--output",
        "-X",
        "--request",
        "-H",
        "--header",
        "-u",
        "--user",
        "-w",
        "--write-out",
        "-d",
        "--data",
        "--data-binary",
        "-m",
        "--max-time",
        "--connect-timeout",
        "--cacert",
        "--capath",
        "--cert",
        "-E",
        "--key",
        "-x",
        "--proxy",
        "--resolve",
        "--connect-to",
        "-A",
        "--user-agent",
        "-e",
        "--retry",
        "--noproxy",
        "-D",
        "--dump-header",
        "--interface",
    ]
)


@dataclass
class Command:
    """What a command line says before anything is answered."""

    text: str = ""
    urls: tuple[str, ...] = ()
    method: str = ""
    login: bool = False
    bearer: bool = False
    user: str = ""
    anchors: str = "os-bundle"
    insecure: bool = False
    head: bool = False
    body_dropped: bool = False
    tries: int | None = None
    proxy: str = ""


def read_command(text: str) -> Command:
    command = Command(text=text.strip())
    loop = _LOOP.search(text)
    if loop:
        command.tries = int(loop[1] or loop[2])
    inner = re.search(r"\bcurl\b.*", text)
    if not inner:
        return command
    try:
        words = shlex.split(inner[0].split("; done")[0], posix=True)
    except ValueError:
        words = inner[0].replace("'", " ").replace('"', " ").split()
    urls: list[str] = []
    following = ""
    for word in words[1:]:
        if following:
            _option(command, following, word)
            following = ""
        elif word.startswith("--") and "=" in word:
            _option(command, *word.split("=", 1))
        elif word in _WITH_VALUE:
            following = word
        elif word in ("-I", "--head"):
            command.head = True
        elif word.startswith("-") and not word.startswith("--"):
            command.head = command.head or "I" in word
            command.insecure = command.insecure or "k" in word
            if word[-1] in "oXHuwdmxE" and word not in ("-o", "-X"):
                following = f"-{word[-1]}"
        elif word == "--insecure":
            command.insecure = True
        elif re.match(r"^[a-z]+://", word):
            urls.append(word)
        elif re.match(r"^[A-Za-z0-9][\w.-]*(:\d+)?/", word) and not urls:
            urls.append(f"http://{word}")
    if not urls:
        # Quotes that redaction left open: the address is still there.
        urls = re.findall(r"[a-z]+://[^\s'\"]+", inner[0])[:1]
    command.bearer = command.bearer or bool(re.search(r"(?i)authorization:\s*bearer", inner[0]))
    command.urls = tuple(urls)
    return command


def _option(command: Command, name: str, value: str) -> None:
    if name in ("-u", "--user"):
        command.login = True
        user = value.partition(":")[0]
        command.user = "" if user.startswith("<") else user
    elif name in ("-H", "--header"):
        if re.match(r"(?i)authorization:\s*basic", value):
            command.login = True
        elif re.match(r"(?i)authorization:\s*bearer", value):
            command.bearer = True
    elif name in ("-X", "--request"):
        command.method = value.upper()
    elif name in ("--cacert", "--capath"):
        command.anchors = value
    elif name in ("-o", "--output"):
        command.body_dropped = True
    elif name in ("-x", "--proxy"):
        command.proxy = value


def with_login(command: Command, login: bool) -> Command:
    """The same command with what the request itself showed of a login."""
    return Command(text=command.text, urls=command.urls, login=login, user=command.user)


def login_of(command: Command, user: str = "") -> str:
    name = user or command.user
    if command.login:
        return f"account {name}" if name else "transcript"
    return ""


def purpose_of(url: str, method: str, login: bool, bearer: bool = False) -> str:
    """What a request was for, by its path."""
    parts = urlsplit(url)
    path = parts.path
    if re.fullmatch(r"/v2/?", path):
        return "bearer" if bearer else "ping-login" if login else "ping"
    if re.search(r"/blobs/uploads/?", path):
        return "upload"
    if re.search(r"^/v2/.+/blobs/", path):
        return "blob"
    if re.search(r"^/v2/.+/manifests/", path):
        return "manifest-login" if login or bearer else "manifest"
    query = parse_qs(parts.query)
    if (
        path.endswith("/service/token")
        or ("service" in query and not path.startswith("/api"))
        or path.rstrip("/").endswith("/token")
    ):
        if method not in ("GET", "HEAD"):
            return "other"
        return "token-login" if login else "token"
    return "api" if path.startswith("/api") else "other"

"""A blob that somebody saw, cut into attempts (a typed command and what came of it) and their failing texts.

Read are terminal output of docker, nerdctl, crictl, ctr, skopeo, crane, helm, podman, buildx and kaniko, tables of
`kubectl describe` and `kubectl get`, CI logs with stamps and colours, and lines of containerd's and the kubelet's journal.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from app.parsers.signatures import looks_failing
from app.parsers.texts_lines import Failure, log_entry, stamp_of, strip_stamp, table_row

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
_FRAME = re.compile(r"^\s*[│┃║]|[│┃║]\s*$")
"""The frame that a tool with windows draws around what kubectl shows."""
_TOOLS: Final = (
    "docker-compose", "docker", "nerdctl", "crictl", "ctr", "podman", "buildah", "skopeo", "gcrane", "crane", "helm", "oras",
    "executor", "kubectl", "img", "buildctl",
)  # fmt: skip
_BEFORE: Final = r"(?:sudo\s+(?:-\S+\s+)*|time\s+|(?:/\S*/)?(?:k3s|rke2|microk8s)\s+)*"
# Options, each perhaps with a value, and the `--` that ends them; which word is a value shows by what follows, so their number has a bound.
_OPTIONS: Final = r"(?:-\S+\s+(?:[^-\s]\S*\s+)?){0,16}"
# The way into a node or pod. What counts is the tool that runs there.
_INSIDE: Final = (
    rf"(?:(?:(?:docker|podman|nerdctl|kubectl|oc|lxc|multipass)\s+{_OPTIONS}exec|ssh)\s+{_OPTIONS}[^-\s]\S*\s+|minikube\s+{_OPTIONS}ssh\s+)"
    rf"{_OPTIONS}(?:(?:/\S*/)?\w*sh\s+-\w*c\s+)?(?P<quote>[\"'])?{_BEFORE}"
)
_COMMAND = re.compile(
    r"^\s*(?:[^\n]{0,80}?(?:[#$%➜❯>]|\]\$)\s+|\+\s+|RUN\s+)?(?:[A-Z_]+=\S+\s+)*(?:(?:echo|cat|printf)\s[^|]*\|\s*)?"
    rf"{_BEFORE}(?:{_INSIDE})?(?:/\S*/)?(?:microk8s\.)?(?P<tool>"
    + "|".join(re.escape(tool) for tool in _TOOLS)
    + r")\s+(?P<rest>\S[^\n]*)$"
)
_VERBS: Final = {
    "pull": "pull", "push": "push", "login": "login", "run": "pull", "create": "pull", "build": "pull", "up": "pull",
    "inspect": "pull", "copy": "push", "cp": "push", "append": "push", "digest": "pull", "manifest": "pull",
    "install": "pull", "upgrade": "pull", "template": "pull", "fetch": "pull", "bake": "push", "sync": "push", "ls": "pull",
    "describe": "", "get": "", "apply": "", "logs": "", "rollout": "", "events": "", "ps": "", "info": "",
    "version": "", "tag": "", "exec": "", "logout": "", "search": "pull", "list-tags": "pull",
}  # fmt: skip
_GROUPS: Final = frozenset(["image", "images", "i", "buildx", "compose", "registry", "chart", "builder", "content"])
_VALUE_OPTIONS: Final = frozenset(
    [
        "-u",
        "--user",
        "--username",
        "-p",
        "--password",
        "--creds",
        "--src-creds",
        "--dest-creds",
        "--authfile",
        "--hosts-dir",
        "-n",
        "--namespace",
        "--platform",
        "-f",
        "--file",
        "-t",
        "--tag",
        "-a",
        "--address",
        "--config",
        "--cert-dir",
        "--ca-file",
        "--cacert",
        "--tlscacert",
        "--snapshotter",
        "-c",
        "--context",
        "-l",
        "--runtime-endpoint",
        "-r",
        "--image-endpoint",
        "-i",
        "--timeout",
        "--log-level",
        "-H",
        "--host",
        "-v",
        "--volume",
        "-e",
        "--env",
        "--name",
        "--build-arg",
        "--label",
        "--version",
        "--network",
        "--os",
        "--arch",
        "--override-arch",
    ]
)
_NOISE = re.compile(
    r"^\s*(?:[0-9a-f]{12}: (?:Preparing|Waiting|Pushed|Pushing|Pulling|Pull |Verifying|Download|Extracting|Layer already|Already exists|Mounted)|"
    r"Using default tag|The push refers to|WARNING! |Username:?|Password:?|Authenticating with existing|Configure a credential helper|"
    r"https://docs\.docker\.com|\[DEPRECATION NOTICE\]|Getting image source|Copying (?:blob|config)|Writing manifest|Storing signatures|"
    r"Login Succeeded|Status: |Digest: |Trying to pull |\S+: Pulling from|Sending image list|Pushing repository|"
    r"(?:existing|pushed) blob:|\S+@sha256:[0-9a-f]+$|[\w.-]+: digest: sha256:|\S+: digest: sha256:|DEBU\[|INFO\[|"
    r"Normal\s+(?:Scheduled|Pulling|Pulled|Created|Started)\b)"
)
_PROMPT = re.compile(r"\s*(?:\([\w.-]+\) )?(?:\S{0,60}[#$%➜❯]|PS [A-Z]:\\\S*>)\s+\S")
_RETRYING = re.compile(r"^\s*(?:[0-9a-f]{12}: Retrying in|\S*\s*retrying )", re.I)
_UPLOADS = re.compile(r"^\s*(?:(?:[0-9a-f]{12}: )?Pushing\s+(?:\[[=>]|[\d.]+ ?[kMGT]?B)|[0-9a-f]{12}: Pushed\s*$)")
_SUCCESS = re.compile(
    r"Login Succeeded|Status: (?:Downloaded newer image|Image is up to date)|Image is up to date for|digest: sha256:[0-9a-f]+ size:|"
    r"^\S+@sha256:[0-9a-f]{64}$|Writing manifest to image destination|Successfully pulled image|^Pushed: \S+|Pushed image to|"
    r"unpacking \S+ .*\bdone\b|^done: |pushing manifest for \S+ .*done",
    re.M,
)
_STARTS = re.compile(
    r"^\s*(?:Error response from daemon|Error:|ERROR|error:|FATA|ERRO|rpc error|ctr:|docker:|crictl:|Failed to |Back-off |received unexpected|"
    r"error parsing|unknown: |Get \"?https?:|Put \"?https?:|Head \"?https?:|Post \"?https?:|x509:|panic|\[ERROR|Unable to |failed to )"
)
_CODE_LINE = re.compile(
    r"^\s*(?:unauthorized|denied|unknown|toomanyrequests|manifest unknown|name unknown|Repository does not exist):? "
)
_DOCKER_PUSH = re.compile(
    r"^\s*[0-9a-f]{12}: (?:Preparing|Waiting|Pushed|Pushing|Layer already|Retrying|Mounted)|The push refers to ", re.M
)
_DOCKER_PULL = re.compile(
    r"^\s*[0-9a-f]{12}: (?:Pulling|Pull complete|Download|Extracting|Verifying|Already exists)|: Pulling from ", re.M
)
_PODMAN_PULL = re.compile(r"^\s*Trying to pull \S+\.\.\.", re.M)  # CRI-O does without these words
_PUSH_REPO = re.compile(r"The push refers to (?:a )?repository \[(?P<repo>[^\]]+)\]|Pushing repository (?P<old>\S+) ")
_LIMIT: Final = 6000
"""Lines read of one blob, from its end."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A typed command with its output, or output whose command is not shown (`tool` then by its looks, else empty)."""

    command: str = ""
    tool: str = ""
    action: str | None = None
    image: str = ""
    """The reference or, for a login, the registry; as typed."""
    account: str = ""
    typed_scheme: str = ""
    """`none`, `http`, `https`; empty without a command."""
    failures: tuple[Failure, ...] = ()
    succeeded: bool = False
    retries: int = 0
    upload: str = ""
    """The last line by which docker shows that bytes flow: it prints one only after the registry has let the upload begin."""
    started: float | None = None
    ended: float | None = None
    output: str = ""


def without_colours(text: str) -> str:
    """Without the sequences by which a terminal is coloured and titled."""
    return _ANSI.sub("", text)


def split_attempts(blob: str) -> list[Attempt]:
    """Attempts of a blob in their order; never raises. A blob without any command is one attempt."""
    attempts: list[Attempt] = []
    command = ""
    lines: list[str] = []
    for line in _lines(blob):
        found = _command(line)
        if found:
            if command or lines:
                attempts.append(_attempt(command, lines))
            command, lines = line.strip(), []
            head, arrow, tail = command.partition(" -> ")
            if arrow and looks_failing(tail):
                command, lines = head, [tail]
        else:
            lines.append(line)
    if command or lines:
        attempts.append(_attempt(command, lines))
    return [attempt for attempt in attempts if attempt.command or attempt.output.strip()]


def _lines(blob: str) -> list[str]:
    plain = without_colours(blob.replace("\r\n", "\n"))
    plain = "\n".join(_FRAME.sub(" ", line.rsplit("\r", 1)[-1]) for line in plain.split("\n"))
    lines = plain.split("\n")
    return lines[-_LIMIT:]


def _command(line: str) -> re.Match[str] | None:
    if len(line) > 2000:
        return None
    stripped = strip_stamp(line)
    found = _COMMAND.match(stripped)
    if found is None or looks_like_output(stripped):
        return None
    words = [word for word in _bare_words(_rest(found).split())[0] if word not in _GROUPS]
    return found if words and words[0] in _VERBS and not _is_prose(words) else None


def _rest(found: re.Match[str]) -> str:
    """What follows the tool, up to the quote in which the whole command stood."""
    rest, quote = found["rest"], found["quote"]
    return rest.rpartition(quote)[0] or rest if quote else rest


_NO_NAMES: Final = frozenset(["is", "was", "works", "succeeds", "succeeded", "fails", "failed", "ok", "and", "but"])


def _is_prose(words: list[str]) -> bool:
    """`docker pull works but crictl pull fails with x509`: a sentence, which names a tool and no image."""
    verb, name, following = (*words, "", "")[:3]
    if verb not in ("pull", "push", "login") or re.search(r"[/:.]", name):
        return False
    if name in _NO_NAMES:
        return True
    more = re.match(r"[\w\"'(]", following) if following else name.isalpha()
    return bool(more) and looks_failing(" ".join(words[1:]))


def looks_like_output(line: str) -> bool:
    """`docker: Error response …` begins like a command and is none."""
    return re.match(r"^\s*(?:\S+: )?(?:Error|FATA|ERRO|WARN|level=|time=)", line) is not None


def _attempt(command: str, lines: list[str]) -> Attempt:
    output = "\n".join(lines)
    tool, action, image, account, scheme = read_command(command) if command else ("", None, "", "", "")
    if account and shell_expands(command) and not _SUCCESS.search(output):
        account = ""  # what was sent is not what was typed
    if not tool and _DOCKER_PUSH.search(output):
        tool, action = "docker", "push"
    elif (not tool and _DOCKER_PULL.search(output)) or (
        not tool and re.search(r"^\s*Step \d+(/\d+)? : [A-Z]+ ", output, re.M)
    ):
        tool, action = "docker", "pull"
    elif not tool and _PODMAN_PULL.search(output):
        tool, action = "podman", "pull"
    repository = _PUSH_REPO.search(output)
    if repository and not image:
        image = repository["repo"] or repository["old"] or ""
    times = [time for line in lines if (time := stamp_of(line)) is not None]
    failures = tuple(_failures(lines))
    return Attempt(
        command=command,
        tool=tool,
        action=action,
        image=image,
        account=account,
        typed_scheme=scheme,
        failures=failures,
        succeeded=_SUCCESS.search(output) is not None and not failures,
        retries=sum(1 for line in lines if _RETRYING.match(strip_stamp(line))),
        upload=next((line.strip() for line in reversed(lines) if _UPLOADS.match(strip_stamp(line))), ""),
        started=times[0] if times else None,
        ended=times[-1] if times else None,
        output=output,
    )


# A user name in double quotes or bare, with a `$` that the shell takes for a variable.
_EXPANDED = re.compile(
    r"""(?:-u|--username|--docker-username|--creds)[ =](?:"[A-Za-z_][\w.-]*(?<!\\)\$[A-Za-z_{][^"]*"|[A-Za-z_][\w.-]*\$[A-Za-z_{]\S*)"""
)


def shell_expands(command: str) -> bool:
    """True where the shell would replace a part of the user name before the tool sees it."""
    return _EXPANDED.search(command) is not None


def read_command(command: str) -> tuple[str, str | None, str, str, str]:
    """Tool, action, image or registry, account and typed scheme of a command line."""
    found = _COMMAND.match(strip_stamp(command))
    if found is None:
        return "", None, "", "", ""
    rest = _rest(found)
    try:
        words = shlex.split(rest.replace("\\", "\\\\"), comments=False)
    except ValueError:
        words = rest.split()
    tool = {"executor": "kaniko", "docker-compose": "docker"}.get(found["tool"], found["tool"])
    bare, account = _bare_words(words)
    while bare and bare[0] in _GROUPS:
        bare = bare[1:]
    action = _VERBS.get(bare[0], "") or None if bare else None
    at = 0 if bare and bare[0] in _VERBS else len(bare)
    arguments = [word for word in bare[at + 1 :] if word not in ("|", ">", "2>&1", ".", "&&", ";")]
    image, scheme = "", ""
    places = [word for word in arguments if "://" in word and not word.startswith(("oci://", "http://", "https://"))]
    if tool == "skopeo" and places:
        remote = [word for word in places if word.startswith("docker://")]
        image = (remote[-1] if remote else places[-1]).partition("://")[2]
        action = "push" if (places[-1].startswith("docker://") and len(places) > 1) or (len(arguments) > 1 and arguments[-1].startswith("docker://")) else "pull"  # fmt: skip
    elif tool in ("crane", "gcrane") and action == "push":
        image = arguments[-1] if arguments else ""
    elif tool == "kubectl" or bare[:1] == ["exec"]:
        image = ""
    elif action == "login":
        image = next((word for word in arguments if word not in _VERBS), "")
    elif arguments:
        image = arguments[0] if tool not in ("docker", "podman", "buildah") or "run" in bare else arguments[-1]
    if tool == "docker" and "build" in bare:
        action, image = ("push" if "--push" in words else "pull"), ""
    if action == "push" and tool == "helm":
        image = next((word for word in arguments if "://" in word), image)
    if image.lower().startswith(("http://", "https://")):
        scheme = image.partition("://")[0].lower()
        image = image.partition("://")[2].rstrip("/")
    else:
        scheme = "none" if image else ""
        image = image.removeprefix("oci://").removeprefix("docker://")
    return tool, action, image, account, scheme


def _bare_words(words: list[str]) -> tuple[list[str], str]:
    """Words that are neither options nor their values, and the user name given."""
    bare: list[str] = []
    account, skip = "", ""
    for word in words:
        if skip:
            if skip in ("-u", "--user", "--username", "--creds", "--dest-creds", "--src-creds"):
                account = word.partition(":")[0]
            skip = ""
        elif word in _VALUE_OPTIONS:
            skip = word
        elif word.startswith("-"):
            key, equals, value = word.partition("=")
            if equals and key in ("-u", "--user", "--username", "--creds", "--dest-creds"):
                account = value.partition(":")[0]
            elif word.startswith("-u") and not word.startswith("--") and len(word) > 2:
                account = word[2:].partition(":")[0]
        else:
            bare.append(word)
    return bare, account


def _failures(lines: Iterable[str]) -> Iterator[Failure]:
    """Failing messages among lines; multi-line ones are put together."""
    held: list[str] = []
    time: float | None = None
    reason = pod = ""
    indent = 0

    def flush() -> Iterator[Failure]:
        if held:
            yield Failure("\n".join(held).strip(), time, reason, pod)
            held.clear()

    for raw in lines:
        line = strip_stamp(raw)
        table = table_row(line)
        if table is not None:
            yield from flush()
            if table.message:
                held, time, reason, pod, indent = (
                    [table.message],
                    stamp_of(raw),
                    table.reason,
                    table.pod,
                    len(raw) - len(raw.lstrip()),
                )
            continue
        if not line.strip() or _NOISE.match(line):
            yield from flush()
            continue
        wrapped = bool(held) and reason and len(raw) - len(raw.lstrip()) > indent + 8
        entry = log_entry(line)
        if entry is not None:
            yield from flush()
            if entry.message and _tells(entry.message):
                yield Failure(entry.message, entry.time or stamp_of(raw), "", entry.pod)
            continue
        if held and _goes_on(line, held[-1], bool(wrapped), bool(reason)):
            if len(held) < 40:
                held.append(line.strip())
            continue
        yield from flush()
        if _RETRYING.match(line) and not looks_failing(_RETRYING.sub("", line)):
            continue
        if _tells(line):
            held, time, reason, pod, indent = [line.strip()], stamp_of(raw), "", "", 0
    yield from flush()


def _goes_on(line: str, last: str, wrapped: bool, in_table: bool) -> bool:
    """Whether a line belongs to the message above it."""
    if wrapped or in_table:
        return wrapped
    if _STARTS.match(line) or _RETRYING.match(line) or _PROMPT.match(line):
        return False
    body = line.lstrip().startswith(("<", "{"))
    return bool(_CODE_LINE.match(line)) or body or not _complete(last) or not _tells(line)


def _tells(line: str) -> bool:
    return looks_failing(line) or re.search(r"read[- ]only mode|without vulnerability scanning", line, re.I) is not None


def _complete(line: str) -> bool:
    """A line that can stand alone; one that ends in a colon, a comma or an open quote goes on."""
    text = line.rstrip()
    return not text.endswith((":", ",", "\\", "(")) and text.count('"') % 2 == 0

"""What lines of core's log say, as tags of MODES.md section 2 (`core.log`).

Strings: harbor-and-kubernetes.md A.4, B.2, C.1, D and observed-harbor.md sections 1 to 7; those of Harbor 1.x besides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from app.parsers.core_log import LogLine

INTERNAL_USER: Final = "harbor_registry_user"
"""Default name with which core logs in at its own registry (harbor-and-kubernetes.md A.6)."""


@dataclass(frozen=True, slots=True)
class Said:
    """One tag from one line."""

    tag: str
    line: LogLine
    name: str = ""
    """The account, project or endpoint that the line names."""
    repository: str = ""
    """Repository of the proxied request, with its project."""
    seconds: float | None = None
    """How long ago something expired, where the line says so."""

    def __str__(self) -> str:
        return f"{self.tag}({self.name})" if self.name else self.tag


_NAMED: Final = tuple(
    (re.compile(pattern), tag)
    for pattern, tag in (
        (r"failed to authenticate robot account: (?P<name>\S+)", "robot-refused"),
        (r"failed to authenticate deactivated robot account: (?P<name>\S+)", "robot-disabled"),
        (r"the robot account is expired: (?P<name>\S+)", "robot-expired"),
        # Harbor 1.8 to 2.1
        (r"the robot account (?P<name>\S+) is disabled", "robot-disabled"),
        (r"failed to authenticate user:(?P<name>[^\s,]+)", "user-refused"),
        # Harbor 1.x; the lookahead leaves `failed to authenticate user: …` and sentences out.
        (r"failed to authenticate (?!user\b|robot account\b|deactivated\b|the\b)(?P<name>[^\s:]+): ", "user-refused"),
        (r"failed to authenticate : (?P<name>\S+)", "user-refused"),
        (r"Login failed, locking (?P<name>[^\s,]+), and sleep", "locking"),
        (r"(?P<name>\S+) is locked due to login failure", "locking"),
        (r'failed to get project "?(?P<name>[^\s"]+)"? for token validation: project \S+ not found', "project-unknown"),
        (r"failed to verify secret, username: (?P<name>[^\s,]+), error: ", "oidc-refused"),
        (r'bearer token issued at .+ is before project "?(?P<name>[^\s"]+)"? creation time', "project-recreated"),
        (r"current registry is unhealthy, regID:\s*\d+, Name:\s*(?P<name>[^,]+?)\s*, Status", "upstream-unhealthy"),
    )
)

_PLAIN: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), tag)
    for pattern, tag in (
        (r"crypto/rsa: verification error", "key-differs"),
        (r"token is not valid yet|token used before issued", "not-yet-valid"),
        (r"current registry is unhealthy, regID:(?!.*Name:)", "upstream-unhealthy"),
        (r"current connections? exceed max connections to upstream registry", "upstream-cap"),
        (
            r"(?:failed to push (?:blob|manifest) to local repo|error while putting (?:blob|manifest) to local repo).*\b401\b",
            "cache-write-401",
        ),
        (r"crypto/aes: invalid key size", "cipher"),
        (r"failed to read private key|key file does not exist", "key-unreadable"),
        (r"Unexpected error when creating the token", "token-unmakable"),
        (r"unable to get PrivateKey from PEM type: PRIVATE KEY", "token-unmakable-pkcs8"),
        (r"invalid CSRF key length", "csrf-length"),
        # `context canceled` and `unexpected EOF` behind `proxy error` are the client's doing.
        (r"http: proxy error: dial tcp", "registry-unreachable"),
        (r"too many failed login attempts", "upstream-refused-login"),
        # Harbor 1.9 and 1.10, which answer 500 here; later ones tell the client and the client's text says it.
        (r"over the quota: used \d+ but only hard \d+|storage resource overflow the hard limit", "quota"),
        (r"prohibited in read-?only mode, url is: ", "read-only"),
        (r"unsupported content type for manifest: application/vnd\.", "kind-refused"),
        (
            r"failed to get the session store|failed to save value to cache|redis: connection pool|dial tcp \S+:6379",
            "redis",
        ),
    )
)

_DB: Final = re.compile(
    r"failed to connect to [`'\"]?(?:host=\S+ )?user=\S+ database=|failed to run SQL|register db Ping `|failed to initialize database: |dial tcp \S+:5432"
    r"|too many clients already|too many connections\b|remaining connection slots are reserved|SQLSTATE (?:08|53300|57P03)",
    re.IGNORECASE,
)
_LDAP: Final = re.compile(
    r"LDAP Result Code|ldap.*(?:dial|bind|network error|timeout)|Not found an entry", re.IGNORECASE
)
# The server itself is missing: result codes of the client's own side, of a busy or stopped server, or the dial. A refused
# password (49) is no such thing.
_LDAP_UNREACHABLE: Final = re.compile(
    r"LDAP Result Code (?:200|51|52|81|85|91)\b|ldap connection fail|ldap.*dial tcp", re.IGNORECASE
)
_EXPIRED: Final = re.compile(r"token is expired(?: by (?P<by>[\dhms.µn]+))?", re.IGNORECASE)
_ROBOT_TOKEN: Final = re.compile(r"failed to decrypt robot token, (?P<why>.+)")
_FALLBACK: Final = re.compile(
    r"fallback to local(?: repo)?,(?: request uri: (?P<uri>\S+),)? error: (?P<error>.*)", re.IGNORECASE
)
_HEALTH: Final = re.compile(r"failed to check health of registry \d+: (?P<error>.*)", re.IGNORECASE)
_RATE: Final = re.compile(r"rate limit exceeded|toomanyrequests|too many requests|status code: 429", re.IGNORECASE)
_NAME: Final = re.compile(r"\blookup \S+|no such host|name resolution|server misbehaving", re.IGNORECASE)
_CHALLENGE: Final = re.compile(r"<title>Just a moment", re.IGNORECASE)
_STATUS: Final = re.compile(r"http status code: (?P<status>\d{3}),? body: ?(?P<body>.*)", re.DOTALL)
_NETWORK: Final = re.compile(
    r"dial tcp|lookup |i/o timeout|connection refused|connection reset|no such host|x509:|tls:|deadline exceeded|\bEOF\b|no route to host"
    r"|network is unreachable|proxyconnect|Client\.Timeout",
    re.IGNORECASE,
)
_LOGIN_WORDS: Final = re.compile(
    r"(?:invalid|incorrect|wrong|bad)[\w ]{0,20}(?:user ?name|password|credential|token)|HTTP Basic: Access denied|failed login|authentication failed",
    re.IGNORECASE,
)
_ABOUT_REPOSITORY: Final = re.compile(r'"Type"\s*:\s*"repository"|"Action"\s*:', re.IGNORECASE)
_QUAY: Final = re.compile(r"invalid character '(?!<')(?P<char>.{1,4})' looking for beginning of value")
_UPSTREAM_WORDS: Final = re.compile(r"registry|adapter|credential|quay|ping|proxy", re.IGNORECASE)
_REPOSITORY: Final = re.compile(r"/v2/(?P<name>[^?\s]+?)/(?:manifests|blobs)/")
_KEY_PATH: Final = re.compile(r"(?:open|read|stat) (?P<path>/\S*private_key\S*): (?P<why>.+)")


def what_it_says(lines: Iterable[LogLine]) -> Iterator[Said]:
    """Tags of all lines, in order; a line may give several."""
    seen = list(lines)
    # Harbor 1.x robots carry a JWT as password: the parse error just before belongs to that login, not to a pull token.
    robot_expiry = {
        found["by"]
        for line in seen
        if (robot := _ROBOT_TOKEN.search(line.text)) and (found := _EXPIRED.search(robot["why"])) and found["by"]
    }
    for line in seen:
        yield from _tags(line, robot_expiry)


def _tags(line: LogLine, robot_expiry: set[str]) -> Iterator[Said]:
    text = line.text
    for pattern, tag in _NAMED:
        found = pattern.search(text)
        if found:
            yield Said(tag, line, found["name"].strip("'\"").rstrip(",;"))
    robot = _ROBOT_TOKEN.search(text)
    expired = _EXPIRED.search(text)
    if robot:
        if expired:
            yield Said("robot-expired", line, seconds=duration(expired["by"] or ""))
        elif "verification error" not in robot["why"]:
            yield Said("robot-refused", line)
    elif expired and (expired["by"] or "-") not in robot_expiry:
        yield Said("token-expired", line)
    for pattern, tag in _PLAIN:
        if pattern.search(text):
            yield Said(tag, line)
    fallback = _FALLBACK.search(text)
    if fallback:
        yield from _proxied(line, fallback)
    health = _HEALTH.search(text)
    if health and _NAME.search(health["error"]):
        # Of any endpoint, so this alone does not make an image one of a proxy project.
        yield Said("endpoint-dns", line)
    if _DB.search(text):
        yield Said("db", line)
    if _LDAP.search(text):
        yield Said("ldap-refused", line)
    if _LDAP_UNREACHABLE.search(text):
        yield Said("ldap-unreachable", line)
    if _QUAY.search(text) and _UPSTREAM_WORDS.search(text + line.place):
        yield Said("quay-json", line)
    key = _KEY_PATH.search(text)
    if key and "failed to read private key" not in text:
        yield Said("key-unreadable", line)


def _proxied(line: LogLine, fallback: re.Match[str]) -> Iterator[Said]:
    """A proxied manifest that could not be had from upstream (observed-harbor.md 5.2).

    A HEAD has no body, so a body that speaks of a login comes from upstream's token server; one about a repository's
    rights comes from the manifest itself (Harbor to 2.1 asked with GET) and says no more than an empty one.
    """
    where = _REPOSITORY.search(fallback["uri"] or "")
    repository = where["name"] if where else ""
    error = fallback["error"]
    status = _STATUS.search(error)
    if status and status["status"] == "401":
        body = status["body"].strip()
        login = bool(_LOGIN_WORDS.search(body)) and not _ABOUT_REPOSITORY.search(body)
        yield Said("upstream-refused-login" if login else "fallback-401", line, repository=repository)
    elif repository and _RATE.search(error):
        yield Said("fallback-429", line, repository=repository)
    elif not status and _NAME.search(error):
        yield Said("fallback-dns", line, repository=repository)
    elif not status and _NETWORK.search(error):
        yield Said("fallback-network", line, repository=repository)
        if "connection refused" in error.lower():
            yield Said("fallback-refused", line, repository=repository)
    elif repository and not (status and status["status"] == "404") and "context canceled" not in error:
        # The rest: upstream neither gave the image nor denied that it has it, and the client did not just hang up. Harbor 2.1
        # and 2.2 name no repository; what would follow for one image from a line about any is too much.
        yield Said("fallback-other", line, repository=repository)
        if _CHALLENGE.search(error):
            yield Said("fallback-challenge", line, repository=repository)


def key_form(text: str) -> str:
    """What a line tells of the token key file: `pkcs8`, `ec`, `missing`, `directory`; empty where it tells nothing."""
    if "unable to get PrivateKey from PEM type: PRIVATE KEY" in text:
        return "pkcs8"
    if "use ParseECPrivateKey instead" in text:
        return "ec"
    found = _KEY_PATH.search(text)
    if found and "no such file or directory" in found["why"]:
        return "missing"
    if found and "is a directory" in found["why"]:
        return "directory"
    return ""


def duration(text: str) -> float | None:
    """Go's `309h12m44s` in seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", text)
    if not parts:
        return None
    unit = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(number) * unit[name] for number, name in parts)


def cut_by_a_shell(name: str, robots: Iterable[str], prefix: str = "robot$") -> bool:
    """True when a name is what a shell leaves of a robot's name (`robot$ci` in double quotes becomes `robot`).

    With the list of robots the remains are compared exactly. Without it only names that no user can have count: the bare
    prefix, and the prefix with a `+` behind it; `robot-ci` alone may be a user of that name.
    """
    base, dollar, _ = prefix.partition("$")
    if not dollar or not base or "$" in name:
        return False
    if name == base:
        return True
    if name in {re.sub(r"\$\w*", "", robot) for robot in robots if "$" in robot}:
        return True
    return name.startswith(base) and "+" in name

"""From a failing text to the tags of `text.signature` (MODES 1.1, 2.1). No rule searches text; this does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from app.parsers.image_ref import same_host
from app.parsers.signature_table import NETWORK, ROWS, SYMPTOMS, TLS
from app.parsers.urls import UrlReading, failing_url

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\r(?!\n)")
_COMPILED: Final = tuple(
    (tuple(row[0].split()), re.compile(row[1], re.I | re.M), re.compile(row[2], re.I) if len(row) > 2 else None)
    for row in ROWS
)
_UNAUTHORIZED_TO = re.compile(r"unauthorized to access repository(?:: (?P<repo>[^,\s]+))?(?:, action: (?P<action>[\w,* ]+?))?(?=[:;.\"\s]|$)", re.I)  # fmt: skip
_REFUSED = re.compile(r"connection refused|connectex: No connection could be made|\bRegistryUnavailable\b", re.I)
_TIMED = re.compile(
    r"i/o timeout|context deadline exceeded|while awaiting headers|while waiting for connection|"
    r"(connection|operation) timed out|dial tcp \S+: connectex: .*did not properly respond",
    re.I,
)
_RESET = re.compile(
    r"connection reset by peer|forcibly closed by the remote host|\bbroken pipe\b|(?<!unexpected )(?:(?<=: )|^)EOF\b",
    re.M,
)
_SERVER = re.compile(
    r"\b(500 \(?Internal Server Error|502 \(?Bad Gateway|503 \(?Service (Temporarily )?Unavailable|504 \(?Gateway Time-?out|524\b)|"
    r"unexpected HTTP status: 5\d\d|HTTP 5\d\d response body|StatusCode: 5\d\d|status(?: code)?:? 5\d\d\b|: 5\d\d\b [A-Z]|"
    r"(?<!unknown: )\binternal server error\b",
    re.I,
)
_BODY_OF = re.compile(r"error parsing HTTP (?P<status>\d{3}) response body", re.I)
# How docker's Python library, and Ansible with it, hands on what the engine says: the 500 is the engine's own.
_OF_THE_ENGINE = re.compile(r"\b5\d\d Server Error(?: for http\S*)?: Internal Server Error(?= ?\()")
_STATUS: Final = (
    re.compile(r"error parsing HTTP (\d{3}) response body", re.I),
    re.compile(r"unexpected HTTP status:? (\d{3})\b", re.I),
    re.compile(r"unexpected status(?: code)?[^\n]*?: (\d{3})\b(?! ?response)", re.I),
    re.compile(r"unexpected status code (\d{3})\b", re.I),
    re.compile(r"failed with status(?: code)?(?: \[[^\]]*\])?: (\d{3})\b", re.I),
    re.compile(r"\bstatus ?(?:code)?[:=]? ?(\d{3})\b", re.I),
    re.compile(r"http status code: (\d{3})\b", re.I),
    re.compile(r"invalid status code from registry (\d{3})\b"),
    re.compile(r"\b(\d{3}) \(?(?:Unauthorized|Forbidden|Not Found|Bad Request|Precondition Failed|Request Entity Too Large|Too Many Requests|Internal Server Error|Bad Gateway|Service Unavailable|Service Temporarily Unavailable|Gateway Time-?out|Method Not Allowed|Temporary Redirect|Error\b)", re.I),
    re.compile(r"^\W*([45]\d\d)\W*(?:$|error\b|when\b|on\b|while\b)", re.I),
    re.compile(r"HTTP/[\d.]+ ([45]\d\d)\b"),
)  # fmt: skip
_FAILING = re.compile(
    r"\b(error|errors|fail(s|ed|ing|ure)?|fatal?|denied|unauthori[sz]ed|refused|forbidden|cannot|can ?not|can't|unable|not able|"
    r"couldn't|could not|invalid|timeout|timed out|x509|panic|rejected|unhealthy|blocked|EOF|ErrImagePull|"
    r"ImagePullBackOff|Back-?off|level=(error|fatal)|not found|reset|misbehaving|unreachable|blob unknown|unknown blob|upload unknown|no such|unknown authority|required|exceeded|expired|"
    r"BackOff|does(n't| not) work|not work(ing)?)\b|\b[45]\d\d\b (?=[A-Z])|\bunknown: |^\W*40[13]\W*$|FATA\[|^ERRO",
    re.I,
)
_LOG_REFUSAL: Final = (
    (re.compile(r"token not to be used (before|after)|token signed by untrusted key", re.I), "inner-registry-401"),
    (
        re.compile(
            r"verification error|token is (not valid yet|expired)|token used before issued|parse token error|"
            r"failed to decrypt robot|failed to authenticate (robot|user|harbor_registry_user|\S+)|Login failed, locking|"
            r"robot account is (expired|disabled)|deactivated robot",
            re.I,
        ),
        "harbor-unauthorized",
    ),
)
# Log lines of what Harbor's parts meet at servers behind them, to what a client sees of it: the rest of such a line is no
# network and no login of the client.
_BEHIND_HARBOR: Final = (
    (
        re.compile(
            r"(?:LDAP Result Code (?:200|51|52|81|85|91)\b|\bldap connection fail|\bldaps?://\S+ [^\n]*?dial tcp|can ?not bind search dn)[^\n]*",
            re.I,
        ),
        "login-refused",
    ),
    (
        re.compile(
            r"(?:failed to initialize database: |register db Ping `|http: proxy error: dial tcp|redis: error connecting|panic: no \w+ parameter provided|StorageDriver not registered)[^\n]*",
            re.I,
        ),
        "http-5xx",
    ),
)
_BARE_CA_FILE = re.compile(r"^(open \S+\.(crt|pem|cert|cer|key): )?no such file or directory\.?$", re.I)


@dataclass(frozen=True, slots=True)
class Around:
    """What is known beside the text and decides between two meanings of it. None or empty: unknown."""

    action: str | None = None
    client: str | None = None
    image_host: str = ""
    proxied: bool = False
    """The project of the URL or image is a proxy-cache project, or the host is a mirror of one."""
    pull_secrets: frozenset[str] = frozenset()
    """Names that the pod or its service account lists."""


NOTHING: Final = Around()


def flatten(text: str) -> str:
    """One text to match on: colours out, escapes of JSON and logfmt undone, wrapped lines joined by one blank."""
    plain = _ANSI.sub("", text)
    for _ in range(3):
        undone = (
            plain.replace('\\"', '"').replace("\\\\", "\\").replace("\\n", "\n").replace("\\r", "").replace("\\t", " ")
        )
        if undone == plain:
            break
        plain = undone
    plain = plain.replace("\\u003c", "<").replace("\\u003e", ">").replace("’", "'").replace("‘", "'")
    return re.sub(r"[ \t]+", " ", re.sub(r"\s*\n\s*", "\n", plain)).strip()


def one_line(flat: str) -> str:
    """The flattened text with line ends as blanks: a wrapped line matches as a whole."""
    return flat.replace("\n", " ")


def looks_failing(text: str) -> bool:
    """Whether a line speaks of a failure at all."""
    return _FAILING.search(text) is not None


def read_status(text: str) -> int | None:
    """The HTTP status of the innermost answer that a text tells of."""
    flat = one_line(flatten(text))
    for pattern in _STATUS:
        found = None
        for found in pattern.finditer(flat):  # noqa: B007 - the last one is the innermost
            pass
        if found and 400 <= int(found.group(1)) <= 599:
            return int(found.group(1))
    if re.search(r"toomanyrequests|too many requests to", flat, re.I):
        return 429
    return 413 if re.search(r"Request Entity Too Large", flat, re.I) else None


def read_tags(text: str, around: Around = NOTHING, url: UrlReading | None = None) -> tuple[str, ...]:
    """Tags of one failing text, in the order of the table; `unclassified` where no symptom's marker is in it."""
    flat = flatten(text)
    tags: dict[str, None] = {}
    for behind, seen_by_client in _BEHIND_HARBOR:
        if behind.search(flat):
            flat = behind.sub("", flat)
            tags[seen_by_client] = None
    joined = one_line(flat)
    where = failing_url(joined) if url is None else url
    for names, pattern, unless in _COMPILED:
        if (pattern.search(flat) or pattern.search(joined)) and not (unless and unless.search(joined)):
            tags.update(dict.fromkeys(names))
    _network(tags, joined, flat)
    _status_words(tags, joined, around, where)
    _harbor_words(tags, joined, around, where)
    _realm(tags, joined, around, where)
    _storage_host(tags, joined, around, where)
    _settle(tags, joined, around, where)
    if not SYMPTOMS & tags.keys():
        _log_words(tags, joined, around)
    if not SYMPTOMS & tags.keys():
        tags["unclassified"] = None
    return tuple(tags)


def symptoms_in(tags: tuple[str, ...]) -> frozenset[str]:
    """The symptom ids among tags."""
    return SYMPTOMS & frozenset(tags)


def _network(tags: dict[str, None], joined: str, flat: str) -> None:
    lookup = "resolver-failing" in tags or "name-not-resolved" in tags
    proxied = "proxyconnect" in tags
    if _REFUSED.search(joined) and not lookup and not proxied:
        tags["refused"] = None
    if _TIMED.search(joined) and not proxied and "resolver-failing" not in tags:
        tags["timed-out"] = None
    if _RESET.search(flat) and not proxied:
        tags["reset"] = None
    if "tls-stall" in tags:
        tags.pop("timed-out", None)


def _status_words(tags: dict[str, None], joined: str, around: Around, where: UrlReading) -> None:
    status = read_status(joined)
    body = _BODY_OF.search(joined)
    push = around.action == "push"
    token = where.path_kind == "token"
    server = _SERVER.search(_OF_THE_ENGINE.sub("", joined)) is not None and not (
        {"rate", "upload-broken"} & tags.keys() and status not in range(500, 600)
    )
    if server and "connect-refused" not in tags:
        # A 500 of the token service is a matter of its own; gateways answer 502 to 504 for anything behind them.
        if not ("token-broken" in tags and status == 500):
            tags["http-5xx"] = None
        if around.action == "login" or (token and status is not None and status >= 500):
            tags["token-broken"] = None
    html = re.search(r"invalid character '<'", joined) is not None
    page = re.search(r"pinging (?:container|docker) registry \S+: StatusCode: (?:200|404|405), \"?<", joined)
    told = body is None or body["status"] in ("200", "404") or (body["status"] == "405" and not push)
    error_page = re.search(r"<title>\s*(?:413|5\d\d)\b", joined)  # of the proxy in front, whatever was asked for
    if page or (html and told and not error_page):
        tags.update(dict.fromkeys(("token-not-json", "token-html")))
    if body and body["status"] == "403":
        tags["forbidden"] = None
    if push and re.search(r"operation is unsupported|err\.code=unsupported\b", joined, re.I):
        # A plain registry in read-only mode has no handler for writing and answers in plain words (observed-nodes.md); one
        # that mirrors another has the handler, which then says this as JSON.
        tags.update(dict.fromkeys(("harbor-says-why", "push-unsupported")))
    elif (status == 405 and push) or (push and re.search(r"method not allowed", joined, re.I)):
        tags.update(dict.fromkeys(("harbor-says-why", "method-not-allowed")))
    if status == 403 and not (
        {"harbor-says-why", "token-refused", "no-credential-sent", "proxy-text", "push-storage-error"} & tags.keys()
    ):
        tags["forbidden"] = None
    if (
        re.search(r"looking for beginning of value", joined)
        and not html
        and "token-not-json" not in tags
        and body is None
    ):
        tags["endpoint-refused"] = None
    if re.search(r"invalid username or password", joined, re.I):
        tags["login-refused" if around.action == "login" or "retrieve auth token" in joined else "endpoint-refused"] = (
            None
        )
    bare_401 = status == 401 and not SYMPTOMS & tags.keys()
    if bare_401:
        tags["docker-access-denied"] = None


def _harbor_words(tags: dict[str, None], joined: str, around: Around, where: UrlReading) -> None:
    push = around.action == "push"
    for found in _UNAUTHORIZED_TO.finditer(joined):
        action = (found["action"] or around.action or "pull").lower()
        tags["harbor-unauthorized-push" if "push" in action or "delete" in action else "harbor-unauthorized-pull"] = (
            None
        )
    if re.search(r"\bproject \S+ not found\b", joined, re.I) and re.search(r"\b401\b|unauthorized", joined, re.I):
        tags.update(dict.fromkeys(("harbor-says-why", "project-not-found")))
    if re.search(r"authorize header needed|UNAUTHORIZED: authentication required; ?\[map\[Action:", joined):
        tags["harbor-unauthorized-push" if push or "Action:push" in joined else "docker-access-denied"] = None
    if re.search(r"access to the requested resource is not authorized", joined, re.I) and "blob-401-body" not in tags:
        tags["docker-access-denied"] = None
        if push:
            tags["harbor-unauthorized-push"] = None
    if push and "docker-access-denied" in tags and re.search(r"\bdenied\b", joined, re.I):
        tags["harbor-unauthorized-push"] = None
    if re.search(r"/blobs/uploads/\S*: read \S+: file already closed", joined):
        # crane met a 401 on a streamed PATCH and cannot send the body again (observed-harbor.md, token lifetime).
        tags.update(dict.fromkeys(("harbor-unauthorized-push", "harbor-unauthorized-late")))
    if "auth-required" in tags:
        _auth_required(tags, joined, around, where)
    if "login-refused" in tags and where.path_kind in ("manifest", "blob"):
        tags["docker-access-denied"] = None  # a pull was refused with the words of a login
    login_text = around.action == "login" and re.search(r"\bunauthorized\b|\b401\b", joined, re.I)
    if login_text and not ({"token-broken", "token-refused"} & tags.keys()):
        tags["login-refused"] = None
        tags.pop("docker-access-denied", None)


def _auth_required(tags: dict[str, None], joined: str, around: Around, where: UrlReading) -> None:
    """`authentication required`: a login, a plain registry, or Harbor's inner registry, by who prints it for what."""
    if around.action == "login" or where.path_kind == "ping":
        tags["login-refused"] = None
        return
    if around.action == "push":
        tags["harbor-unauthorized-push"] = None
    else:
        tags["docker-access-denied"] = None
    hub_words = re.search(r"denied: requested access|\[map\[|authentication is required", joined, re.I)
    if around.client == "docker" and not hub_words and "no-basic" not in tags:
        tags["inner-registry-401"] = None


def _realm(tags: dict[str, None], joined: str, around: Around, where: UrlReading) -> None:
    if where.path_kind != "token" or not (tags.keys() & (NETWORK | TLS | {"http-answer-to-https"})):
        return
    own = around.image_host
    outer = re.findall(r"https?://[^\s\"]+", joined)
    outer_host, outer_scheme = "", ""
    if len(outer) > 1:
        outer_scheme, _, rest = outer[0].partition("://")
        outer_host = rest.partition("/")[0]
    own = own or outer_host
    elsewhere = (not own and not (tags.keys() & TLS)) or (bool(own) and not same_host(own, where.host, where.scheme))
    if elsewhere or (outer_scheme and outer_scheme.lower() != where.scheme) or (where.scheme == "http"):
        tags["realm-dial-failure"] = None


def _storage_host(tags: dict[str, None], joined: str, around: Around, where: UrlReading) -> None:
    """A blob that another host should serve: behind `httpReadSeeker`, or a download URL that is not the registry's."""
    trouble = tags.keys() & (NETWORK | TLS | {"http-answer-to-https", "bad-request", "forbidden"})
    if not trouble or where.path_kind in ("token", "manifest", "upload", "ping"):
        return
    reader = "httpReadSeeker: failed open" in joined
    other = bool(where.host and around.image_host and not same_host(where.host, around.image_host, where.scheme))
    download = re.search(r"error pulling image configuration|download failed after attempts", joined) is not None
    if reader or where.signed or (other and (where.path_kind == "blob" or download)):
        tags["blob-host-fails"] = None


def _settle(tags: dict[str, None], joined: str, around: Around, where: UrlReading) -> None:
    """What one marker takes from another, and what hangs on the place."""
    if "blob-401-body" in tags:
        tags.pop("docker-access-denied", None)
    if "local-store" in tags:
        tags.pop("not-found", None)  # the node misses it, not the registry
    if around.action == "push" and "credential-refused" in tags and around.client not in ("containerd", "ctr"):
        # A bare 401 of a pushing client is the same refusal as Harbor's sentence, seen by HEAD.
        tags.pop("credential-refused")
        tags["harbor-unauthorized-push"] = None
    for name in around.pull_secrets:
        if re.search(rf'secret "{re.escape(name)}" not found', joined):
            tags["secret-not-retrieved"] = None
    if around.proxied and "not-found" in tags:
        tags["not-found-in-proxy-project"] = None
    if around.proxied and tags.keys() & {"credential-refused", "token-refused", "no-credential-sent"}:
        tags["proxy-project-401"] = None
    if where.path_shape.startswith("v2-") and not SYMPTOMS & tags.keys():
        tags["not-found"] = None
    others = SYMPTOMS & tags.keys()
    if re.search(r"\bRetrying in \d+ seconds?|retrying in ", joined, re.I) and others <= {
        "http-5xx",
        "reset",
        "no-space",
        "push-storage-error",
    }:
        tags["push-storage-error"] = None
    waits = re.search(r" in (\S+) \((\S+) including waiting\)", joined)
    if waits and _seconds(waits.group(2)) > 60 + 2 * _seconds(waits.group(1)):
        tags["pull-hangs"] = None
    if re.search(r"context canceled", joined) and not others:
        tags["pull-hangs"] = None
    if _BARE_CA_FILE.match(joined):
        tags["hosts-file-error"] = None
    if (
        re.search(r"Back-?off pulling image|^ImagePullBackOff\b|\bImagePullBackOff$", joined, re.I)
        and not SYMPTOMS & tags.keys()
    ):
        tags["back-off-only"] = None


def _log_words(tags: dict[str, None], joined: str, around: Around) -> None:
    """Lines of Harbor's and the registry's logs that tell of a refusal, where no client text is at hand."""
    for pattern, name in _LOG_REFUSAL:
        if pattern.search(joined):
            refused = "harbor-unauthorized-push" if around.action == "push" else "harbor-unauthorized-pull"
            tags[refused if name == "harbor-unauthorized" else name] = None
            return
    if re.search(r"permission denied|read-only file system", joined, re.I) and "/docker/registry/" in joined:
        tags["push-storage-error"] = None


def _seconds(duration: str) -> float:
    """`1m2.5s`, `74ms` in seconds; 0 where it is no duration."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
    return sum(
        float(n) * units[u]
        for n, u in re.findall(r"([\d.]+)(h|ms|us|µs|ns|m|s)", duration)
        if n.count(".") < 2 and n != "."
    )

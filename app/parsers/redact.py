"""Redaction at capture: what leaves a probe has passed through here.

Masks values, not their names: which account, which registry key, which digest stays readable, since that is what a
diagnosis needs. Masking is idempotent. A prose line such as `may require authorization: server message: …` is not an
assignment and stays whole.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from app.model.masked import MASK, Masked, fingerprint

__all__ = ["MASK", "Masked", "clean", "fingerprint", "is_secret_key", "redact"]

# --- terminal control ---------------------------------------------------------------------------------------------

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # OSC: titles, links, clipboard
    r"|\x1b[PX^_][^\x1b\x9c\n]*(?:\x1b\\|\x9c)?"  # DCS, SOS, PM, APC
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """Without escape sequences, control characters (but newline and tab) and characters that reorder or hide text."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", text)))


# --- what is masked -----------------------------------------------------------------------------------------------

_PROSE = (
    r"(?:unauthorized|authentication|authorization|invalid|incorrect|failed|failure|denied|error|errors|required|must|is|was|are|has|not|no|rpc"
    r"|unexpected|expired|wrong|EOF|nil|null|none|true|false|yes|cannot|could|unable|server|the|a|for|from|with|and|or|in|on|to|this|basic"
    r"|context|dial|Get|Post|Head)(?=$|[\s,.;:!?)\"'])"
)
"""Words that follow a colon in an error message; a value that is one of them is a sentence going on, not a password."""

_NAME = r"(?:password|passwd|passwort|pwd|passphrase|pass|token|secret|secret[_-]?key|access[_-]?secret|api[_-]?key|private[_-]?key|csrf[_-]?key|xsrf[_-]?key|htpasswd(?:string)?)"
_NOT_VALUES = r"(?:image)?pull[_-]?secrets?$|existing[\w-]*$|[\w-]*namespace$|secret[_-]?name$|bypass$|compass$"
"""Keys that end like a password's and name an object instead."""

_JSON_KEYS = (
    r"auth|password|passwd|pwd|passphrase|identitytoken|identity_token|registrytoken|registry_token|secret|token|access_token|refresh_token"
    r"|id_token|client_secret|clientsecret|access_secret|secret_key|secretkey|secretaccesskey|api_key|apikey|private_key|privatekey|csrf_key"
    r"|authorization|proxy-authorization|cookie|set-cookie|x-registry-auth|x-harbor-csrf-token|\.dockerconfigjson|\.dockercfg"
    r"|[\w-]*(?:_password|password|_passwd|_secret|_token)"
)

_PEM = re.compile(r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----).*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_PEM_TAIL = re.compile(
    r"(?:^[ \t]*[A-Za-z0-9+/=]{8,}[ \t]*\n)+[ \t]*(-----END [A-Z0-9 ]*PRIVATE KEY-----)", re.MULTILINE
)

_APPLIED = r"kubectl\.kubernetes\.io/last-applied-configuration"
_APPLIED_JSON = re.compile(rf'((?P<q>\\*"){_APPLIED}(?P=q)\s*:\s*)(?P=q).*?(?:(?<!\\)(?P=q)|\Z)', re.DOTALL)
_APPLIED_YAML = re.compile(
    rf"(?P<head>^(?P<pad>[ \t]*)(?:Annotations:[ \t]+)?{_APPLIED}:)(?P<rest>[^\n]*(?:\n(?P=pad)[ \t]+[^\n]*)*)",
    re.MULTILINE,
)

_JSON_TEXT = re.compile(
    rf'(?P<head>(?P<q>\\+"|"|\')(?:{_JSON_KEYS})(?P=q)\s*:\s*(?:\[\s*)?)(?P=q)(?P<value>.*?)(?:(?<!\\)(?P=q)|\Z)',
    re.IGNORECASE | re.DOTALL,
)
_JSON_PLAIN = re.compile(rf'(?P<head>"(?:{_JSON_KEYS})"\s*:\s*)"(?P<value>(?:[^"\\]|\\.)*)(?:"|\Z)', re.IGNORECASE)
_JSON_NUMBER = re.compile(
    r'(?P<head>"[\w-]*(?:password|passwd|passphrase)"\s*:\s*)(?P<value>-?\d[\d.eE+-]*)', re.IGNORECASE
)

_HEADER = re.compile(
    r"(?P<head>\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\[\"']*\s*(?:basic|bearer|token|negotiate|ntlm|apikey)\s+)(?P<value>[^\s\"',\]\\]+)",
    re.IGNORECASE,
)
_HEADER_DIGEST = re.compile(
    r"(?P<head>\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\[\"']*\s*(?:digest|aws4-hmac-sha256)\s+)(?P<value>[^\n\]]+)",
    re.IGNORECASE,
)
_HEADER_BARE = re.compile(
    r"(?P<head>\b(?:(?:proxy-)?authorization|x-registry-auth|x-auth-token|x-api-key|x-harbor-csrf-token|private-token)[\"']?[ \t]*[:=][ \t]*[\[\"']*)"
    r"(?P<value>(?=[^\s\"',\]]*\d)[A-Za-z0-9+/=_.~-]{12,})",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(?P<head>\b(?:basic|bearer)\s+)(?P<value>[A-Za-z0-9._~+/-]{12,}=*)(?![\w]*=?\")", re.IGNORECASE)
_COOKIE = re.compile(r"(?P<head>\b(?:set-)?cookie[\"']?[ \t]*[:=][ \t]*[\[\"']*)(?P<value>[^\n\"'\]]+)", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?")
_KNOWN = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|gldt-[\w-]{16,}|dckr_pat_[\w-]{16,}|xox[abprs]-[\w-]{10,}|npm_[A-Za-z0-9]{30,}|ya29\.[\w-]{20,})"
)

_URL = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^/\s:@\[\]\"'<>]*:)(?P<value>[^/\s\"<>]+)(?=@)", re.IGNORECASE)
_URL_SLASH = re.compile(
    r"(?P<head>\b[a-z][a-z0-9+.-]*://[^/\s:@\[\]\"'<>]+:)(?P<value>(?!\d{1,5}(?:/|$))[^\s\"'<>@]*/[^\s\"'<>@]*)(?=@(?!sha\d))",
    re.IGNORECASE,
)
_URL_TOKEN = re.compile(r"(?P<head>\bhttps?://)(?P<value>(?=[^/\s@]*\d)[A-Za-z0-9_-]{20,})(?=@)", re.IGNORECASE)
_QUERY = re.compile(
    r"(?P<head>[?&](?:x-(?:amz|goog)-(?:signature|security-token)|sig|signature|sv_token)=)(?P<value>[^&\s\"']+)",
    re.IGNORECASE,
)

_FLAG_USER = re.compile(
    r"(?P<head>(?<![\w-])(?:-u[= ]?|--(?:proxy-)?user[= ]\s*|-U |--(?:src-|dest-)?creds[= ]\s*)[\"']?[^\s:\"'=-][^\s:\"']*:)(?P<value>(?:(?<=[\"'][^\s\"'])|)[^\s\"']+)"
)
_FLAG_USER_QUOTED = re.compile(
    r"(?P<head>(?<![\w-])(?:-u[= ]?|--(?:proxy-)?user[= ]\s*|-U |--(?:src-|dest-)?creds[= ]\s*)(?P<q>[\"'])[^:\"'\n]+:)(?P<value>(?:(?!(?P=q)).)+)(?=(?P=q))"
)
_FLAG_PASSWORD = re.compile(
    r"(?P<head>(?<![\w-])--[\w.-]*(?:password|passwd|passphrase|token|secret)(?:=|[ \t]+)(?P<q>[\"']?))(?P<value>(?!-)(?:(?<=\")[^\"\n]+|(?<=')[^'\n]+|[^\s\"']+))",
    re.IGNORECASE,
)
_FLAG_LOGIN = re.compile(
    r"(?P<head>\blogin\b[^\n|]{0,400}?\s-p[= ]?\s*(?P<q>[\"']?))(?P<value>(?:(?<=\")[^\"\n]+|(?<=')[^'\n]+|[^\s\"'-][^\s\"']*))"
)
_PIPE_LOGIN = re.compile(
    r"(?P<head>\b(?:echo|printf)\s+(?:-\w+\s+|--\s+)*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s|]+)(?=\s*\|[^\n]*--password-stdin)"
)
_PIPE_BASE64 = re.compile(
    r"(?P<head>\b(?:echo|printf)\s+(?:-\w+\s+|--\s+)*[\"']?[^\s:\"'|]+:)(?P<value>[^\n\"'|]+?)(?=[\"']?\s*\|\s*base64)"
)
_NETRC = re.compile(r"(?P<head>\blogin\s+\S+\s+password\s+)(?P<value>\S+)", re.IGNORECASE)

_ASSIGN = re.compile(
    rf"(?P<head>(?<![\w.\[\]-])(?P<key>[\w.\[\]-]*{_NAME})(?P<plural>s?)[\"']?[ \t]*=[ \t]*)(?P<value>\"(?:[^\"\\\n]|\\.)*\"?|'[^'\n]*'?|[^\s&,;\"'\])}}]+)",
    re.IGNORECASE,
)
_ASSIGN_AUTH = re.compile(
    r"(?P<head>(?<![\w.-])[\"']?(?:auth|identity_?token|registry_?token)[\"']?[ \t]*=[ \t]*)(?P<value>\"[^\"\n]+\"?|'[^'\n]+'?)",
    re.IGNORECASE,
)
_YAML = re.compile(
    rf"(?P<head>^[ \t]*(?:[-#>+][ \t]*)*[\"']?(?P<key>[\w.-]*(?:{_NAME}|identity_?token|registry_?token|\.dockerconfigjson|\.dockercfg))[\"']?[ \t]*:[ \t]+(?:![\w!]+[ \t]+)?)"
    rf"(?P<value>(?!{_PROSE})(?:\"(?:[^\"\\\n]|\\.)*\"?|'[^'\n]*'?|[^\s#{{\[|>][^\n]*))",
    re.IGNORECASE | re.MULTILINE,
)
_YAML_BLOCK = re.compile(
    rf"(?P<head>^(?P<pad>[ \t]*)(?:-[ \t]+)?[\"']?(?:[\w.-]*{_NAME}|identity_?token|registry_?token|\.dockerconfigjson|\.dockercfg)[\"']?[ \t]*:[ \t]*[|>][-+0-9]*[ \t]*\n)"
    r"(?P<value>(?:(?P=pad)[ \t]+[^\n]*(?:\n|\Z)|[ \t]*\n)+)",
    re.IGNORECASE | re.MULTILINE,
)
_YAML_AUTH = re.compile(
    r"(?P<head>^[ \t]*(?:-[ \t]+)?[\"']?auth[\"']?[ \t]*:[ \t]+)(?P<value>[\"']?(?=[^\s\"']*[\d=A-Z:])[^\s\"'{\[]{8,}[\"']?)[ \t]*$",
    re.MULTILINE,
)
_COLON = re.compile(
    rf"(?P<head>(?<![\w.-])[\w.-]*(?:password|passwd|passphrase)[\"']?[ \t]*:[ \t]*)(?P<value>(?!{_PROSE})(?:\"[^\"\n]+\"?|'[^'\n]+'?|[^\s,;\"'{{\[|>(<]+(?<!:)(?=$|[\s,;])))",
    re.IGNORECASE | re.MULTILINE,
)

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{16,}={0,2}")
_LOGIN = re.compile(r"[\w$+.@\\-]{1,128}:.{3,256}\s*\Z")

_SECRET_KIND = re.compile(r"""kind\\*["']?\s*[:=]\s*\\*["']?Secret(?:List)?\b""")
_SECRET_MAP_JSON = re.compile(r'((\\*)"(?:data|stringData)\2"\s*:\s*\{)([^{}]*)(\}|\Z)')
_SECRET_PAIR_JSON = re.compile(r'((\\*)"[\w.-]+\2"\s*:\s*)\2"(.*?)(?:(?<!\\)\2"|\Z)', re.DOTALL)
_SECRET_MAP_YAML = re.compile(
    r"^(?P<pad>[ \t]*)(?P<dash>-[ \t]+)?(?P<name>data|stringData):[ \t]*\n(?P<body>(?:(?P=pad)[ \t]+[^\n]*(?:\n|\Z)|[ \t]*\n)+)",
    re.MULTILINE,
)
_SECRET_PAIR_YAML = re.compile(
    r"^([ \t]+)([\"']?[\w.-]+[\"']?:)[ \t]*([^\n]*(?:\n\1[ \t]+[^\n]*|\n[ \t]*(?=\n))*)", re.MULTILINE
)
_SECRET_GO = re.compile(r"((?:Data|StringData):map\[)[^\]]*\]")


def redact(text: str) -> str:
    """Mask passwords, tokens, keys and `user:password@`; remove terminal control characters."""
    text = clean(text)
    if "PRIVATE KEY-----" in text:
        text = _PEM.sub(rf"\1 {MASK}", text)
        text = _PEM_TAIL.sub(rf"{MASK} \1", text)
    if "last-applied-configuration" in text:
        text = _APPLIED_JSON.sub(rf"\g<1>\g<q>{MASK}\g<q>", text)
        text = _APPLIED_YAML.sub(_applied_yaml, text)
    if _SECRET_KIND.search(text) or ":map[" in text:
        text = _secret_objects(text)
    lower = text.lower()
    for needles, pattern, keep in _TEXT_RULES:
        if any(needle in lower for needle in needles):
            text = pattern.sub(keep, text)
    return _BASE64.sub(_base64, _lines(text))


_SECRET_KEY = re.compile(rf"(?:{_JSON_KEYS})", re.IGNORECASE)


def is_secret_key(key: str) -> bool:
    """Whether the text under this key of a JSON object is a secret by its name."""
    return _SECRET_KEY.fullmatch(key) is not None


def _quoted(match: re.Match[str]) -> str:
    """The head and the mask, in the quotes the value stood in; an empty value stays, it hides nothing."""
    value = match["value"]
    bare = value.strip("\"'")
    if not bare or bare == MASK:
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match['head']}{quote}{MASK}{quote}"


def _assigned(match: re.Match[str]) -> str:
    key = match["key"]
    value = match["value"].strip("\"'")
    if re.search(_NOT_VALUES, key, re.IGNORECASE) or value.lower() in _PLACEHOLDERS or value.startswith(("{{", "${{")):
        return match[0]
    if key.lower().endswith("secret") and _names_object(match):
        return match[0]
    return _quoted(match)


_PLACEHOLDERS = frozenset(("", "true", "false", "null", "none", "nil", "~", "yes", "no", "<nil>"))


def _names_object(match: re.Match[str]) -> bool:
    """The kubelet's own log line names the Secret it missed (`secret="apps/pull"`); that name is no secret."""
    start = match.string.rfind("\n", 0, match.start()) + 1
    return "pull secret" in match.string[start : match.start()]


def _json_text(match: re.Match[str]) -> str:
    value, quote = match["value"], match["q"]
    if not value or value == MASK or value.lower() in _PLACEHOLDERS:
        return match[0]
    return f"{match['head']}{quote}{MASK}{quote}"


def _json_plain(match: re.Match[str]) -> str:
    value = match["value"]
    if not value or value == MASK:
        return match[0]
    return f'{match["head"]}"{MASK}"'


def _scheme(match: re.Match[str]) -> str:
    """`Bearer <token>` without a header name; `basic authentication` and `Bearer realm=` are prose and challenge."""
    value = match["value"]
    if re.search(r"\d|[a-z][A-Z]|=$", value) and not re.match(r"(?:realm|error|scope|service)=", value):
        return f"{match['head']}{MASK}"
    return match[0]


def _flag_user(match: re.Match[str]) -> str:
    """`-u 1000:1000` of docker run is a uid and a gid."""
    if match["value"].isdigit() and re.search(r"[\s=\"']\d+:$", match["head"]):
        return match[0]
    return f"{match['head']}{MASK}"


def _block(match: re.Match[str]) -> str:
    return f"{match['head']}{match['pad']}  {MASK}\n"


def _applied_yaml(match: re.Match[str]) -> str:
    return f"{match['head']} {MASK}" if match["rest"].strip() else match[0]


def _plain(match: re.Match[str]) -> str:
    return f"{match['head']}{MASK}"


def _whole(match: re.Match[str]) -> str:
    del match
    return MASK


_Rule = tuple[tuple[str, ...], re.Pattern[str], Callable[[re.Match[str]], str]]
_NAMES: Final = ("pass", "pwd", "token", "secret", "key", "htpasswd", "dockerc")
_HEADERS: Final = ("authorization", "x-registry-auth", "x-auth-token", "x-api-key", "csrf-token", "private-token")

_TEXT_RULES: Final[tuple[_Rule, ...]] = (
    ((*_NAMES, '"auth', "cookie"), _JSON_PLAIN, _json_plain),
    ((*_NAMES, "auth", "cookie"), _JSON_TEXT, _json_text),
    (_NAMES, _YAML_BLOCK, _block),
)
"""Over the whole text, where one of the needles stands in it (in lower case)."""

_LINE_RULES: Final[tuple[_Rule, ...]] = (
    (("pass",), _JSON_NUMBER, _plain),
    (("authorization",), _HEADER_DIGEST, _plain),
    (("authorization",), _HEADER, _plain),
    (_HEADERS, _HEADER_BARE, _plain),
    (("cookie",), _COOKIE, _quoted),
    (("eyj",), _JWT, _whole),
    (("basic ", "bearer "), _SCHEME, _scheme),
    (("gh", "gl", "dckr_pat_", "xox", "npm_", "ya29."), _KNOWN, _whole),
    (("@",), _URL, _plain),
    (("@",), _URL_SLASH, _plain),
    (("@",), _URL_TOKEN, _plain),
    (("sig", "security-token"), _QUERY, _plain),
    (("--password-stdin",), _PIPE_LOGIN, _quoted),
    (("base64",), _PIPE_BASE64, _plain),
    (("-u", "--user", "--proxy-user", "creds"), _FLAG_USER_QUOTED, _flag_user),
    (("-u", "--user", "--proxy-user", "creds"), _FLAG_USER, _flag_user),
    (("--",), _FLAG_PASSWORD, _plain),
    (("login",), _FLAG_LOGIN, _plain),
    (("login",), _NETRC, _plain),
    (_NAMES, _ASSIGN, _assigned),
    (("auth", "token"), _ASSIGN_AUTH, _quoted),
    (_NAMES, _YAML, _assigned),
    (("auth",), _YAML_AUTH, _quoted),
    (("pass",), _COLON, _quoted),
)
"""Within one line."""


def _lines(text: str) -> str:
    lines = text.split("\n")
    for number, line in enumerate(lines):
        lower = line.lower()
        if not _HINT.search(lower):
            continue
        for needles, pattern, keep in _LINE_RULES:
            if any(needle in lower for needle in needles):
                line = pattern.sub(keep, line)  # noqa: PLW2901 - one line through all rules
        lines[number] = line
    return "\n".join(lines)


_HINT = re.compile("|".join(sorted({re.escape(needle) for needles, _, _ in _LINE_RULES for needle in needles})))


def _base64(match: re.Match[str]) -> str:
    """Mask base64 that decodes to a login, a docker config or a key, also when it was encoded twice."""
    return MASK if _hides_login(match[0]) else match[0]


def _hides_login(run: str, depth: int = 0) -> bool:
    standard = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(standard + "=" * (-len(standard) % 4))
    except (binascii.Error, ValueError):
        decoded = base64.b64decode(standard[: len(standard) // 4 * 4])
    text = decoded.decode("utf-8", "replace")
    if "\ufffd" in text[: max(12, len(text) - 3)]:
        return False
    if re.search(
        r'"?auths?"?\s*\\*"?\s*:|"(?:password|identitytoken|registrytoken)|PRIVATE KEY|"?kind"?:\s*"?Secret', text
    ):
        return True
    if _LOGIN.match(text) and text.rstrip().isprintable():
        return True
    inner = text.strip()
    return depth < 2 and _BASE64.fullmatch(inner) is not None and _hides_login(inner, depth + 1)


def _secret_objects(text: str) -> str:
    """Mask every value of `data` and `stringData` where a whole Secret object stands in the text."""
    text = _SECRET_GO.sub(rf"\1{MASK}]", text)
    text = _SECRET_MAP_JSON.sub(
        lambda found: (
            found[1] + _SECRET_PAIR_JSON.sub(lambda pair: f'{pair[1]}{pair[2]}"{MASK}{pair[2]}"', found[3]) + found[4]
        ),
        text,
    )
    documents = re.split(r"(?m)(^---[^\n]*\n)", text)
    return "".join(_secret_yaml(document) if _SECRET_KIND.search(document) else document for document in documents)


def _secret_yaml(document: str) -> str:
    def body(found: re.Match[str]) -> str:
        head = found[0][: found.start("body") - found.start()]
        return head + _SECRET_PAIR_YAML.sub(
            lambda pair: f"{pair[1]}{pair[2]} {MASK}" if pair[3].strip() else pair[0], found["body"]
        )

    return _SECRET_MAP_YAML.sub(body, document)

"""Lines of core's log: prefixes, stamps, and one tag for each text of the guide."""

from __future__ import annotations

import pytest

from app.parsers.core_log import parse_lines, stamp_of
from app.parsers.core_log_tags import cut_by_a_shell, duration, key_form, what_it_says


def tags(text: str) -> list[str]:
    return list(dict.fromkeys(str(said) for said in what_it_says(parse_lines(text))))


HEAD = "2026-03-01T08:00:00Z "
ROBOT = "[ERROR] [/server/middleware/security/robot.go:58]: "
PROXY = "[ERROR] [/server/middleware/repoproxy/proxy.go:217]: failed to proxy manifest, fallback to local, request uri: /v2/hub/lib/app/manifests/1.0, error: "


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[ERROR] [/pkg/token/token.go:80]: parse token error, token signature is invalid: crypto/rsa: verification error", ["key-differs"]),
        ("[ERROR] [/pkg/token/token.go:66]: parse token error, crypto/rsa: verification error", ["key-differs"]),
        ("[WARNING] [/server/middleware/security/v2_token.go:62]: failed to decode bearer token: token has invalid claims: token is not valid yet", ["not-yet-valid"]),
        ("[ERROR] [/pkg/token/token.go:66]: parse token error, Token used before issued", ["not-yet-valid"]),
        ("[ERROR] [/pkg/token/token.go:80]: parse token error, token has invalid claims: token is expired", ["token-expired"]),
        (ROBOT + "the robot account is expired: robot$team+ci", ["robot-expired(robot$team+ci)"]),
        (ROBOT + "failed to authenticate deactivated robot account: robot$ci", ["robot-disabled(robot$ci)"]),
        (ROBOT + "failed to authenticate robot account: robot$ci", ["robot-refused(robot$ci)"]),
        ("[ERROR] [/core/filter/security.go:210]: the robot account robot$ci is disabled", ["robot-disabled(robot$ci)"]),
        (
            '[ERROR] [/server/middleware/security/basic_auth.go:72][client IP="10.1.2.3" user agent="docker/26 (linux\\\\)"]: failed to authenticate user:anna, error:Failed to authenticate user, due to error \'Invalid credentials\'',
            ["user-refused(anna)"],
        ),
        ("[ERROR] [/core/filter/security.go:471]: failed to authenticate robot: Unrecognized auth_mode: oidc_auth", ["user-refused(robot)"]),
        ("[WARNING] [/core/auth/authenticator.go:158]: Login failed, locking anna, and sleep for 1.5s", ["locking(anna)"]),
        ('[WARNING] [/server/middleware/security/v2_token.go:108]: failed to get project "nosuch" for token validation: project nosuch not found', ["project-unknown(nosuch)"]),
        (PROXY + "http status code: 401, body: ", ["fallback-401"]),
        (PROXY + 'http status code: 401, body: {"errors": [{"code": "UNAUTHORIZED", "detail": {}, "message": "Invalid Username or Password"}]}', ["upstream-refused-login"]),
        (
            '[WARNING] [/server/middleware/repoproxy/proxy.go:119]: Proxy to remote failed, fallback to local repo, error: http status code: 401, body: {"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[{"Type":"repository","Class":"","Name":"redis","Action":"pull"}]}]}',
            ["fallback-401"],
        ),
        (PROXY + 'Get "https://up.example.com/v2/": dial tcp 192.0.2.1:443: connect: connection refused', ["fallback-network", "fallback-refused"]),
        (PROXY + "http status code: 502, body: ", ["fallback-other"]),
        (PROXY + "http status code: 403, body: <!DOCTYPE html><html><head><title>Just a moment...</title>", ["fallback-other", "fallback-challenge"]),
        (PROXY + 'login to dockerhub error: {"detail": "Rate limit exceeded", "error": false}', ["fallback-429"]),
        (PROXY + "http status code: 429, body: ", ["fallback-429"]),
        (PROXY + 'Get "https://up.example.com/v2/": dial tcp: lookup up.example.com on 192.0.2.53:53: no such host', ["fallback-dns"]),
        (
            '[ERROR] [/controller/registry/controller.go:233]: failed to check health of registry 1: Post "https://up.example.com/": dial tcp: lookup up.example.com: Temporary failure in name resolution',
            ["endpoint-dns"],
        ),
        ('[ERROR] [/controller/registry/controller.go:233]: failed to check health of registry 1: Get "https://up.example.com/": dial tcp 192.0.2.1:443: i/o timeout', []),
        (PROXY + 'Get "https://up.example.com/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority', ["fallback-network"]),
        (PROXY + "crypto/aes: invalid key size 9", ["cipher", "fallback-other"]),
        ("[WARNING] [/server/middleware/repoproxy/proxy.go:413]: current registry is unhealthy, regID:2, Name:hub, Status: unhealthy", ["upstream-unhealthy(hub)"]),
        ("[ERROR] [/server/middleware/repoproxy/proxy.go:99]: current connection exceed max connections to upstream registry", ["upstream-cap"]),
        ("[ERROR] [/controller/proxy/local.go:150]: Failed to push blob to local repo, error: http status code: 401, body: ", ["cache-write-401"]),
        ("[ERROR] [/pkg/reg/adapter/quay/adapter.go:52]: invalid character 'x' looking for beginning of value", ["quay-json"]),
        ("[ERROR] [/server/middleware/security/robot.go:50]: failed to list robots: failed to connect to `user=harbor database=registry`: dial tcp 192.0.2.9:5432: connect: connection refused", ["db"]),
        ("[ERROR] [/lib/cache/helper.go:60]: failed to save value to cache, error: redis down", ["redis"]),
        ("[ERROR] [/core/service/token/token.go:50]: Unexpected error when creating the token, error: unable to get PrivateKey from PEM type: PRIVATE KEY", ["token-unmakable", "token-unmakable-pkcs8"]),
        ("[ERROR] [/pkg/token/options.go:95]: failed to read private key open /etc/core/private_key.pem: no such file or directory", ["key-unreadable"]),
        ('[WARNING] [/server/middleware/security/v2_token.go:90]: bearer token issued at 2026-03-01 07:00:00 is before project "team" creation time 2026-03-01 07:30:00, rejecting', ["project-recreated(team)"]),
        ("[ERROR] [/server/middleware/security/oidc_cli.go:60]: failed to verify secret, username: anna, error: failed to refresh token", ["oidc-refused(anna)"]),
        ("[ERROR] [/core/auth/ldap/ldap.go:88]: Not found an entry.", ["ldap-refused"]),
        ('[WARNING] [/core/auth/ldap/ldap.go:58]: ldap connection fail: LDAP Result Code 200 "Network Error": dial tcp 192.0.2.9:389: i/o timeout', ["ldap-refused", "ldap-unreachable"]),
        ('[WARNING] [/core/auth/ldap/ldap.go:58]: ldap connection fail: LDAP Result Code 81 "Server Down": x', ["ldap-refused", "ldap-unreachable"]),
        ('[WARNING] [/core/auth/ldap/ldap.go:88]: Failed to bind user, username: anna, error: LDAP Result Code 49 "Invalid Credentials": 80090308', ["ldap-refused"]),
        ("[FATAL] [/server/middleware/csrf/csrf.go:33]: invalid CSRF key length from the environment. Please ensure the key length is 32 characters", ["csrf-length"]),
        ("http: proxy error: dial tcp 192.0.2.9:5000: connect: no route to host", ["registry-unreachable"]),
        ("[ERROR] [token.go:48]: failed to get it, error: Error 1040: Too many connections", ["db"]),
        ("Too many failed login attempts for this username or IP address", ["upstream-refused-login"]),
        ("[ERROR] [/core/middlewares/interceptor/quota/quota.go:64]: Failed to add resources, error: over the quota: used 2048 but only hard 1024", ["quota"]),
        ("[WARNING] [/core/middlewares/readonly/hanlder.go:39]: The request is prohibited in readonly mode, url is: /v2/t/a/blobs/uploads/", ["read-only"]),
        ("[WARNING] [/core/middlewares/sizequota/handler.go:48]: Error occurred when to handle request in size quota handler: unsupported content type for manifest: application/vnd.oci.image.manifest.v1+json", ["kind-refused"]),
    ],
)  # fmt: skip
def test_one_tag_for_each_text(line: str, expected: list[str]) -> None:
    assert tags(HEAD + line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "[INFO] [/core/main.go:152]: The server listens on :8080",
        "[WARNING] [/pkg/registry/auth/bearer/cache.go:99]: token issued time is empty, return expired to refresh token",
        '[ERROR] [/controller/proxy/controller.go:295]: failed to pull blob, error http status code: 401, body: {"errors": []}',
        PROXY + "http status code: 404, body: ",
        "[WARNING] [/server/middleware/repoproxy/proxy.go:119]: Proxy to remote failed, fallback to local repo, error: http status code: 429, body: ",
        PROXY + 'Get "https://up.example.com/v2/": context canceled',
        "2026/03/01 08:00:00 http: proxy error: context canceled",
        '[ERROR] [/pkg/reg/adapter/native/adapter.go:127]: failed to ping registry https://up.example.com: Get "https://up.example.com/v2/": dial tcp: lookup up.example.com: no such host',
    ],
)
def test_ordinary_lines_give_none(line: str) -> None:
    assert tags(HEAD + line) == []


@pytest.mark.parametrize(
    ("prefix", "pod", "process"),
    [
        ("", "", ""),
        ("[pod/harbor-core-6d8f9c7b5d-4kx2p/core] ", "harbor-core-6d8f9c7b5d-4kx2p", ""),
        ("harbor-core  | ", "", "harbor-core"),
        ("Mar  1 08:00:01 172.18.0.1 core[2478]: ", "", "core[2478]"),
        ("2026-03-01T08:00:00.123456789Z ", "", ""),
        ("[pod/c-core-0/core] 2026-03-01T08:00:00.123456789Z ", "c-core-0", ""),
    ],
)
def test_prefixes(prefix: str, pod: str, process: str) -> None:
    (line,) = parse_lines(prefix + HEAD + ROBOT + "failed to authenticate robot account: robot$ci")
    assert (line.pod, line.process) == (pod, process)
    assert line.stamp == stamp_of("2026-03-01T08:00:00Z")
    assert (line.level, line.place) == ("ERROR", "/server/middleware/security/robot.go")
    assert line.text == "failed to authenticate robot account: robot$ci"


def test_a_line_wrapped_behind_a_comma_is_one() -> None:
    text = (
        "[ERROR] [/server/middleware/repoproxy/proxy.go:162]: failed to proxy manifest, fallback to local,\n"
        "request uri: /v2/hub/lib/app/manifests/1.0,\n"
        'error: Get "https://up.example.com/v2/": dial tcp 192.0.2.1:443: i/o timeout\n'
        "2026-03-01T08:00:00Z [INFO] [/core/main.go:152]: The server listens on :8080"
    )
    (said,) = what_it_says(parse_lines(text))
    assert (said.tag, said.repository) == ("fallback-network", "hub/lib/app")
    assert len(list(parse_lines(text))) == 2


def test_fields_may_hold_brackets_and_quotes() -> None:
    text = (
        HEAD
        + '[ERROR] [/a/b.go:1][client IP="192.0.2.7" user agent="docker (a\\"b] c\\\\)"]: failed to authenticate user:anna, error:x'
    )
    (line,) = parse_lines(text)
    assert line.fields["client IP"] == "192.0.2.7"
    assert line.text.startswith("failed to authenticate user:anna")


def test_a_robot_token_of_harbor_1_is_no_expired_pull_token() -> None:
    text = (
        "2019-07-11T10:30:43Z [ERROR] [/common/token/htoken.go:76]: parse token error, token is expired by 2h0m10s\n"
        "2019-07-11T10:30:43Z [ERROR] [/core/filter/security.go:200]: failed to decrypt robot token, token is expired by 2h0m10s"
    )
    (said,) = what_it_says(parse_lines(text))
    assert (said.tag, said.seconds) == ("robot-expired", 7210.0)


def test_durations_and_stamps() -> None:
    assert duration("309h12m44s") == 309 * 3600 + 12 * 60 + 44
    assert duration("soon") is None
    assert stamp_of("2026/03/01 08:00:00") == stamp_of("2026-03-01T08:00:00Z")
    assert stamp_of("2026-03-01T08:00:00.123456789Z") == pytest.approx(1772352000.123456)
    assert stamp_of("yesterday") is None


@pytest.mark.parametrize(
    ("name", "robots", "prefix", "cut"),
    [
        ("robot", [], "robot$", True),
        ("robot-a+puller", [], "robot$", True),
        ("robot-puller", [], "robot$", False),
        ("robot-puller", ["robot$k8s-puller"], "robot$", True),
        ("robot-other", ["robot$k8s-puller"], "robot$", False),
        ("robot$ci", ["robot$ci"], "robot$", False),
        ("anna", ["robot$ci"], "robot$", False),
        ("robot", [], "bot-", False),
    ],
)
def test_names_that_a_shell_cut(name: str, robots: list[str], prefix: str, cut: bool) -> None:
    assert cut_by_a_shell(name, robots, prefix) is cut


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("creating the token, error: unable to get PrivateKey from PEM type: PRIVATE KEY", "pkcs8"),
        ("x509: failed to parse private key (use ParseECPrivateKey instead for this key format)", "ec"),
        ("failed to read private key open /etc/core/private_key.pem: no such file or directory", "missing"),
        ("failed to read private key read /etc/core/private_key.pem: is a directory", "directory"),
        ("failed to read private key open /etc/core/private_key.pem: permission denied", ""),
    ],
)
def test_form_of_the_key_file(text: str, form: str) -> None:
    assert key_form(text) == form

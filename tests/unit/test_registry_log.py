"""Lines of the inner registry's log, one tag for each text of the guide; nginx and settings files."""

from __future__ import annotations

import pytest

from app.parsers.core_log import parse_lines
from app.parsers.harbor_config import (
    CHART_DEFAULT_URL,
    free_of_df,
    read_cfg,
    read_installer,
    read_registry_config,
    read_values,
)
from app.parsers.nginx_conf import NginxSyntaxError, access_lines, parse_nginx, upload_redirected, upload_routes
from app.parsers.registry_log import registry_stamp, what_registry_says


def tags(text: str) -> list[str]:
    return list(dict.fromkeys(said.tag for said in what_registry_says(parse_lines(text))))


TIME = 'time="2026-03-01T08:00:00.5Z" level=error '


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (TIME + 'msg="error authenticating user \\"harbor_registry_user\\": authentication failure" go.version=go1.19', ["login-refused", "login-refused-internal"]),
        (TIME + 'msg="error authenticating user \\"anna\\": authentication failure"', ["login-refused"]),
        (TIME + 'msg="error authorizing context: basic authentication challenge for realm \\"x\\": authentication failure"', ["login-refused"]),
        (TIME + 'msg="error resolving upload: invalid secret"', ["upload-secret"]),
        (TIME + 'msg="token signed by untrusted key with ID: \\"S42F:B6SQ\\""', ["untrusted-key"]),
        (TIME + 'msg="token not to be used before 2026-03-01 09:45:08 +0000 UTC - currently 2026-03-01 09:35:08 +0000 UTC"', ["token-too-early"]),
        (TIME + 'msg="token not to be used after 2026-03-01 09:45:08 +0000 UTC - currently 2026-03-01 10:35:08 +0000 UTC"', ["token-too-late"]),
        (TIME + 'msg="token not to be used before 1451418688 or after 1451419589 - currently 1451418655"', ["token-too-early"]),
        (TIME + 'msg="token not to be used before 1451418688 or after 1451419589 - currently 1451419999"', ["token-too-late"]),
        (TIME + 'err.detail="filesystem: write /storage/_uploads/a/startedat: no space left on device"', ["enospc"]),
        (TIME + 'err.detail="filesystem: mkdir /storage/docker: permission denied"', ["eacces"]),
        (TIME + 'err.detail="filesystem: mkdir /storage/docker: read-only file system"', ["erofs"]),
        (TIME + 'err.detail="s3aws: SignatureDoesNotMatch: The request signature"', ["s3-login"]),
        (TIME + 'err.detail="s3aws: RequestTimeTooSkewed: The difference"', ["s3-clock"]),
        (TIME + 'err.detail="filesystem: write /storage/x: disk quota exceeded"', ["enospc"]),
        ("panic: storage: service returned error: StatusCode=403, ErrorCode=AccountSizeOverQuota, ErrorMessage=x", ["enospc"]),
        ("panic: No region parameter provided", ["storage-config"]),
        ("panic: StorageDriver not registered: s4", ["storage-config"]),
        (TIME + 'msg="redis: error connecting: NOAUTH Authentication required." redis.connect.duration=687µs', ["redis"]),
        (TIME + 'msg="client disconnected during blob PATCH"', ["disconnect"]),
        (TIME + 'msg="error authorizing context: basic authentication challenge for realm \\"x\\": invalid authorization credential"', []),
        (TIME + 'msg="error authorizing context: authorization token required"', []),
        ('192.0.2.1 - - [01/Mar/2026:08:00:00 +0000] "HEAD /v2/team/app/manifests/1.0 HTTP/1.1" 401 153 "" "x"', []),
    ],
)  # fmt: skip
def test_one_tag_for_each_text(line: str, expected: list[str]) -> None:
    assert tags(line) == expected


def test_a_panic_over_settings_that_were_mended_since_is_past() -> None:
    panic, up = "panic: No region parameter provided\n", TIME + 'msg="listening on [::]:5000"\n'
    assert tags(up + panic) == ["storage-config"]
    assert tags(panic + up) == []


def test_gap_of_a_token_that_comes_too_early() -> None:
    (said,) = what_registry_says(
        parse_lines(TIME + 'msg="token not to be used before 1451418688 or after 1451419589 - currently 1451418655"')
    )
    assert said.gap == 33


def test_stamps_of_both_shapes() -> None:
    logfmt, access = parse_lines(
        TIME + 'msg="x"\n192.0.2.1 - - [01/Mar/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 0 "" "x"'
    )
    assert registry_stamp(logfmt) == pytest.approx(1772352000.5)
    assert registry_stamp(access) == 1772352000


NGINX = """
http {
  # a comment { with a brace
  upstream core { server 10.0.0.1:8080; server 10.0.0.2:8080; }
  map $http_x_forwarded_proto $kept { default $http_x_forwarded_proto; "" $scheme; }
  server {
    listen 443 ssl;
    %s
    location / { proxy_pass http://portal; }
    location /v2/ { proxy_pass http://core/v2/; %s proxy_read_timeout 15m; }
  }
  server { listen 80; return 308 https://$host$request_uri; }
}
"""


@pytest.mark.parametrize(
    ("server", "location", "sends"),
    [
        ("proxy_set_header X-Forwarded-Proto $scheme;", "", True),
        ("proxy_set_header X-Forwarded-Proto $scheme;", "proxy_set_header Host $http_host;", False),
        ("", "proxy_set_header Host $http_host;", False),
        ("", "", False),
        ("", "proxy_set_header X-Forwarded-Proto https;", True),
        ("", "proxy_set_header X-Forwarded-Proto $kept;", None),
        ("include proxy_params;", "", None),
        ("", "proxy_set_header X-Forwarded-Proto http;", False),
    ],
)
def test_nginx_inherits_headers_whole_or_not_at_all(server: str, location: str, sends: bool | None) -> None:
    (route,) = upload_routes(parse_nginx(NGINX % (server, location)))
    assert route.sends_proto is sends
    assert route.read_timeout == 900
    assert route.backends == ("10.0.0.1:8080", "10.0.0.2:8080")


def test_fragments_of_nginx_are_told() -> None:
    with pytest.raises(NginxSyntaxError):
        parse_nginx("server { listen 443 ssl;")
    assert upload_routes(parse_nginx("client_max_body_size 0;")) == []


def test_redirected_uploads() -> None:
    lines = (
        '192.0.2.1 - "POST /v2/team/web/blobs/uploads/ HTTP/1.1" 202 0 "-" "docker/26" 0.001 0.001 .\n'
        '192.0.2.1 - "PATCH /v2/team/web/blobs/uploads/ab?_state=x HTTP/1.1" %d 171 "-" "docker/26" 0.000 - .\n'
    )
    assert upload_redirected(list(access_lines(parse_lines(lines % 308))))
    assert upload_redirected(list(access_lines(parse_lines(lines % 301))))
    assert not upload_redirected(list(access_lines(parse_lines(lines % 202))))


def test_values_of_the_chart() -> None:
    values = read_values(
        "externalURL: https://harbor.corp.example\ncore: {secretName: own-key, replicas: 3}\nregistry: {relativeurls: true}"
    )
    assert (values.external_url, values.key_pinned, values.relative_urls, values.replicas) == (
        "https://harbor.corp.example",
        True,
        True,
        3,
    )
    typo = read_values("expose: {type: ingress}\nexternalUrl: https://harbor.corp.example")
    assert (typo.external_url, typo.key_pinned) == (CHART_DEFAULT_URL, False)
    assert read_values("replicaCount: 1").external_url is None
    with pytest.raises(ValueError, match="expected"):
        read_values("a: [")


def test_installer_files() -> None:
    assert read_installer("hostname: h.example.com\nhttps: {port: 8443}").external_url == "https://h.example.com:8443"
    assert read_installer("hostname: h.example.com\nhttp: {port: 80}").external_url == "http://h.example.com"
    assert read_installer("hostname: a\nexternal_url: https://b.example.com").external_url == "https://b.example.com"
    assert read_cfg("# x\nhostname = h\nui_url_protocol = https\n").external_url == "https://h"


def test_registry_config() -> None:
    disk = read_registry_config("storage: {filesystem: {rootdirectory: /storage}}\nhttp: {relativeurls: true}")
    assert (disk.relative_urls, disk.redirect_off, disk.driver) == (True, True, "filesystem")
    store = read_registry_config("storage: {s3: {bucket: b}}\nauth: {token: {realm: https://r.example.com}}")
    assert (store.redirect_off, store.auth, store.realm) == (False, "token", "https://r.example.com")
    assert read_registry_config("storage: {s3: {bucket: b}, redirect: {disable: true}}").redirect_off
    with pytest.raises(ValueError, match="no storage"):
        read_registry_config("http: {}")


def test_free_space() -> None:
    head = "Filesystem Size Used Avail Use% Mounted on\n"
    assert free_of_df(head + "tmpfs 1.0M 1.0M 0 100% /storage\n/dev/a 10G 1G 9G 10% /") == 0
    assert free_of_df(head + "/dev/a 10G 5G 1.5G 50% /data") == 1.5 * 1024**3
    assert free_of_df(head + "/dev/a 10G 5G 5G 50% /\n/dev/b 1G 1G 0 100% /boot") is None

"""Markers: each symptom by its own text, and the texts that only look alike."""

from __future__ import annotations

import pytest
import yaml

from app.parsers.signature_table import ROWS, SYMPTOMS
from app.parsers.signatures import Around, looks_failing, read_status, read_tags

PULL = Around(action="pull", image_host="h.example")
PUSH = Around(action="push", image_host="h.example")
M = "https://h.example/v2/t/a/manifests/1"

SEEN = [
    ("reference-refused", 'Failed to apply default image tag "A": couldn\'t parse image name "A": invalid reference format'),
    ("scheme-in-name", 'Failed to apply default image tag "https://h.example/t/a:1": couldn\'t parse image reference "https://h.example/t/a:1": invalid reference format'),
    ("auth-format", "unable to parse auth field, must be formatted as base64(username:password)"),
    ("mirror-no-scheme", 'failed to resolve reference "up.example/t/a:1": parse ":///h.example/t/a/manifests/1?ns=up.example": missing protocol scheme'),
    ("mirror-no-scheme", 'failed to do request: Head h.example:///v2/t/a/manifests/1: unsupported protocol scheme "h.example"'),
    ("policy-newer", 'invalid policy in "/etc/containers/policy.json": Unknown key "keyPaths"'),
    ("policy-file", 'invalid policy in "/etc/containers/policy.json": unexpected end of JSON input'),
    ("policy-file", "open /etc/containers/policy.json: no such file or directory"),
    ("local-store", 'failed to prepare extraction snapshot: missing parent "k8s.io/12/sha256:ab" bucket: not found'),
    ("local-store", 'failed to get image from containerd "sha256:ab12": image "h.example/t/a:1": not found'),
    ("http-5xx", "error pinging docker registry h.example:5000: invalid status code from registry 502 (Bad Gateway)"),
    ("token-html", 'initializing source docker://h.example/t/a:1: pinging container registry h.example: StatusCode: 404, "<!DOCTYPE html>"'),
    ("short-name", 'short-name "app" did not resolve to an alias'),
    ("never-pull", 'Container image "x" is not present with pull policy of Never'),
    ("image-service-missing", "rpc error: code = Unimplemented desc = unknown service runtime.v1.ImageService"),
    ("image-service-missing", "node n1 is not ready: container runtime is down"),
    ("image-service-missing", "node n1 is not ready: [container runtime is down, PLEG is not healthy: pleg was last seen active 3m4s ago]"),
    ("image-service-missing", "  Ready  False  KubeletNotReady  container runtime is down"),
    ("mirrors-clash", "invalid plugin config: `mirrors` cannot be set when `config_path` is provided"),
    ("config-version", "containerd: expected containerd config version equal to or less than `2`, got `3`"),
    ("toml-load", "failed to load TOML: /etc/containerd/config.toml: (5, 1): unexpected token"),
    ("image-service-missing", "rpc error: code = Unimplemented desc = unknown service api.v1.CRIPluginService"),
    ("short-name", 'no registries configured while trying to pull an unqualified image "app"'),
    ("secret-not-retrieved", 'Error syncing pod, skipping: failed to "StartContainer": secrets "regcred" not found'),
    ("secret-not-retrieved", 'Failed to create pod: secrets "regcred" not found'),
    ("http-to-https-port", 'Get "http://h.example:8443/v2/": malformed HTTP response "\\x15\\x03\\x01\\x00\\x02\\x02\\x16"'),
    ("x509-not-yet-valid", "x509: certificate is not valid yet"),
    ("html-type", 'mediatype "text/html": encountered unknown type: reference for unknown type: text/html'),
    ("docker-access-denied", "unauthorized: access token has insufficient scopes"),
    ("docker-access-denied", 'Head "https://h.example/v2/t/a/manifests/1": unauthorized'),
    ("says-no-right", "denied: permission_denied: write_package"),
    ("says-no-right", "denied: installation not allowed to Write organization package"),
    ("says-no-right", 'denied: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource'),
    ("says-no-right", "User is not authorized to perform: ecr:GetAuthorizationToken"),
    ("no-credential-sent", "denied: Unauthenticated request. Unauthenticated requests do not have permission"),
    ("repository-unknown", "name unknown: The repository with name 'a/b' does not exist in the registry with id '1'"),
    ("token-refused", "Requesting bearer token: invalid status code from registry 403 (Forbidden)"),
    ("rate", "unexpected Status 429 from the registry"),
    ("rate", "invalid status code from registry 429 (Too Many Requests)"),
    ("timed-out", "408 Request Time-out"),
    ("no-route", "dial tcp 10.0.0.9:443: connect: cannot assign requested address"),
    ("http-answer-to-https", "Required credentials for h.example:5000/app were not sent because the connection was over HTTP"),
    ("proxy-text", "Network Error (dns_unresolved_hostname)"),
    ("media-type", "unsupported MIME type for compression: application/vnd.in-toto+json"),
    ("not-found", "Tag 1.4 not found in repository docker.io/team/app"),
    ("not-found", "Repository does not exist: team/app"),
    ("hosts-toml-broken", 'level=error msg="failed to decode hosts.toml" error="failed to parse TOML: (4, 3): was expecting token ="'),
    ("push-storage-error", 'err.detail="s3aws: AccessDenied: Access Denied\\n\\tstatus code: 403"'),
    ("http-5xx", "[FATAL] [/core/main.go:1]: failed to initialize database: register db Ping `default`, pq: password authentication failed"),
    ("login-refused", 'ldap search, error: can not bind search dn, error: LDAP Result Code 49 "Invalid Credentials"'),
    ("sandbox-image", 'failed to get sandbox image "registry.k8s.io/pause:3.9": failed to pull image'),
    ("qps", "pull QPS exceeded"),
    ("secret-not-retrieved", "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed."),
    ("secret-unparsable", "illegal base64 data at input byte 5"),
    ("container-field", 'strict decoding error: unknown field "spec.template.spec.containers[0].imagePullSecrets"'),
    ("data-key-required", 'Secret "x" is invalid: data[.dockerconfigjson]: Required value'),
    ("no-basic", "pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"),
    ("no-credential-sent", "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized"),
    ("credential-refused", f"unexpected status from HEAD request to {M}: 401 Unauthorized"),
    ("credential-refused", "pulling from host h.example failed with status code [manifests 1]: 401 Unauthorized"),
    ("token-refused", "failed to fetch oauth token: unexpected status: 403 Forbidden"),
    ("token-broken", "failed to fetch oauth token: unexpected status: 500 Internal Server Error"),
    ("token-broken", "authorization server did not include a token in the response"),
    ("token-not-json", "failed to fetch oauth token: unable to decode token response: invalid character '<' looking for beginning of value"),
    ("service-unknown", "Unable to handle service: harbor"),
    ("docker-access-denied", "pull access denied for x, repository does not exist or may require 'docker login'"),
    ("insufficient-scope", "server message: insufficient_scope: authorization failed"),
    ("harbor-unauthorized-pull", "unauthorized to access repository: t/a, action: pull: unauthorized to access repository: t/a, action: pull"),
    ("login-refused", "login attempt to https://h.example/v2/ failed with status: 401 Unauthorized"),
    ("login-refused", 'Error response from daemon: Get "https://h.example/v2/": unauthorized: '),
    ("inner-realm", 'Basic realm="harbor-registry-basic-realm"'),
    ("invalid-token", "httpReadSeeker: failed open: server message: invalid_token: authorization failed"),
    ("not-found", 'failed to resolve image: h.example/t/a:1: not found'),
    ("not-found", "unknown: artifact t/a:1 not found"),
    ("not-found", "manifest unknown: manifest unknown"),
    ("not-found-in-proxy-project", "repo t/a, tag 1 not found"),
    ("blob-401-body", 'unauthorized: http status code: 401, body: {"errors":[{"message":"access to the requested resource is not authorized"}]}'),
    ("policy-vul", "current image without vulnerability scanning cannot be pulled due to configured policy"),
    ("policy-sign", "The image is not signed in Notary."),
    ("quota", "denied: adding 1 MiB, which when updated to current usage will exceed the configured upper limit of 2 MiB."),
    ("quota", "Failed to add resources, error: over the quota: used 2048 but only hard 1024"),
    ("quota", "denied: Not enough quota available to process the request, add 1.0MiB of storage resource overflow the hard limit, current usage is 2.0MiB and hard limit is 2.5MiB."),
    ("immutable", "Failed to process request due to 'a:1' configured as immutable."),
    ("immutable", "denied: The tag:t/a:1 is immutable, cannot be overwrite."),
    ("policy-on-read", f"HEAD {M}: unexpected status code 412 Precondition Failed (HEAD responses have no body, use GET for details)"),
    ("policy-on-read", f"unexpected status from HEAD request to {M}: 412 Precondition Failed"),
    ("read-only", "denied: The system is in read only mode. Any modification is prohibited."),
    ("read-only", "The request is prohibited in readonly mode, url is: /v2/t/a/manifests/1"),
    ("proxy-push", "can not push artifact to a proxy project: x"),
    ("project-not-found", f"unexpected status from GET request to {M}: 401 Unauthorized\nunauthorized: project team not found"),
    ("csrf", "403 Forbidden: CSRF token not found in request"),
    ("forbidden", f"unexpected status from HEAD request to {M}: 403 Forbidden"),
    ("http-to-https-port", "Client sent an HTTP request to an HTTPS server."),
    ("bad-request", "unexpected status from HEAD request to http://h.example:443/v2/t/a/manifests/1: 400 Bad Request"),
    ("repo-name-invalid", "400: invalid repository name: app"),
    ("too-large", 'error parsing HTTP 413 response body: invalid character \'<\' looking for beginning of value: "<html>"'),
    ("rate", "toomanyrequests: You have reached your pull rate limit."),
    ("upstream-429", "unknown: too many requests to upstream registry"),
    ("http-5xx", "received unexpected HTTP status: 502 Bad Gateway"),
    ("registry-type", "unsupported registry type quay"),
    ("http-answer-to-https", "http: server gave HTTP response to HTTPS client"),
    ("x509-unknown-authority", "x509: certificate signed by unknown authority"),
    ("other-key", 'unknown authority (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "CA")'),
    ("cert-after", "x509: certificate has expired or is not yet valid: current time 2026-01-02T00:00:00Z is after 2026-01-01T00:00:00Z"),
    ("x509-not-yet-valid", "certificate has expired or is not yet valid: current time 2026-01-01T00:00:00Z is before 2026-01-02T00:00:00Z"),
    ("san", "x509: certificate is valid for a.example, not h.example"),
    ("key-usage", "x509: certificate specifies an incompatible key usage"),
    ("cert-required", "remote error: tls: certificate required"),
    ("hosts-ca", 'unable to load CA cert "/x.crt": open /x.crt: no such file or directory'),
    ("no-resolve", "no resolve hosts"),
    ("tls-stall", "net/http: TLS handshake timeout"),
    ("name-not-resolved", "dial tcp: lookup h.example on 10.0.0.2:53: no such host"),
    ("resolver-failing", "dial tcp: lookup h.example on 10.0.0.2:53: server misbehaving"),
    ("refused", "dial tcp 10.0.0.1:443: connect: connection refused"),
    ("no-route", "dial tcp 10.0.0.1:443: connect: no route to host"),
    ("timed-out", "dial tcp 10.0.0.1:443: i/o timeout"),
    ("reset", "read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer"),
    ("reset", 'Put "https://h.example/v2/a/blobs/uploads/1": EOF'),
    ("proxyconnect", 'Head "https://h.example/": proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused'),
    ("proxy-auth-required", 'Head "https://h.example/": Proxy Authentication Required'),
    ("connect-refused", f'Head "{M}": Forbidden'),
    ("blob-host-fails", 'failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://s3.example/b?X-Amz-Date=1": dial tcp 10.0.0.1:443: i/o timeout'),
    ("platform", "no matching manifest for linux/arm64/v8 in the manifest list entries"),
    ("exec-format", "exec /app: exec format error"),
    ("html-type", "unexpected media type text/html for sha256:aa: not found"),
    ("schema1", "schema 1 image manifests are no longer supported: invalid argument"),
    ("type-differs", "mediaType in manifest list should be 'application/vnd.docker.distribution.manifest.list.v2+json' not 'application/vnd.oci.image.index.v1+json'"),
    ("kind-refused", "unknown: Manifest.list is not supported."),
    ("realm-unparsable", 'Get https://h.example/v2/: invalid token auth challenge realm: parse https://h.example:${PORT}/token: invalid port ":${PORT}" after host'),
    ("digest-mismatch", "failed commit on ref: unexpected commit digest sha256:aa, expected sha256:bb"),
    ("short-body", "short read: expected 10 bytes but got 5: unexpected EOF"),
    ("extract-failed", "failed to extract layer sha256:aa: mount callback failed"),
    ("content-digest", "content digest sha256:aa: not found"),
    ("content-descriptor", "could not fetch content descriptor sha256:aa from remote: not found"),
    ("no-space", "write /var/lib/containerd/x: no space left on device"),
    ("verifier-blocked", "image verifier bindir blocked pull of h.example/a:1"),
    ("back-off-only", 'Back-off pulling image "h.example/a:1"'),
    ("ignored-key", 'level=warning msg="Ignoring unknown key in TOML for plugin"'),
    ("unclassified", "something entirely new happened and failed"),
]  # fmt: skip


@pytest.mark.parametrize(("tag", "text"), SEEN, ids=lambda value: str(value)[:30])
def test_marker(tag: str, text: str) -> None:
    assert tag in read_tags(text, PULL)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("quota", "AccountSizeOverQuota: the account is over its quota"),
        ("quota", "error occurred in quota handler: require redis lock failed"),
        ("read-only", "mkdir /storage/docker: read-only file system"),
        ("method-not-allowed", "HTTP 405: unsupported: The operation is unsupported."),
        ("policy-on-read", f"PUT {M}: unexpected status code 412 Precondition Failed"),
    ],
)
def test_what_a_marker_does_not_take(tag: str, text: str) -> None:
    assert tag not in read_tags(text, Around("push"))


def test_pushes() -> None:
    wanted = {
        "unauthorized to access repository: t/a, action: push": "harbor-unauthorized-push",
        "unauthorized: access to the requested resource is not authorized": "harbor-unauthorized-push",
        "UNAUTHORIZED: authentication required; [map[Action:push Class: Name:t/a Type:repository]]": "harbor-unauthorized-push",
        "Method not allowed": "method-not-allowed",
        "error parsing HTTP 405 response body: unsupported: The operation is unsupported.": "push-unsupported",
        "blob upload unknown": "upload-broken",
        "blob unknown to registry": "unknown-blob",
        "UNKNOWN: unknown error; map[DriverName:filesystem Enclosed:map[Err:28 Op:write]]": "err28",
        "1f2e3d4c5b6a: Retrying in 5 seconds\nreceived unexpected HTTP status: 500 Internal Server Error": "push-storage-error",
    }
    for text, tag in wanted.items():
        assert tag in read_tags(text, PUSH), text


LOOK_ALIKES = [
    ("policy-file", "open /etc/kubernetes/policy.json: no such file or directory"),
    ("mirror-no-scheme", 'Get "proxy.example:3128": parse "proxy.example:3128": missing protocol scheme'),
    ("mirror-no-scheme", 'failed calling webhook "w.example": parse ":///x": missing protocol scheme'),
    ("policy-newer", 'invalid policy in "/etc/containers/policy.json": Unknown key "keypath"'),
    ("not-found", 'failed to prepare extraction snapshot: missing parent "k8s.io/12/sha256:ab" bucket: not found'),
    ("scheme-in-name", 'couldn\'t parse image reference "H.example/T": invalid reference format'),
    ("not-found", "no match for platform in manifest: not found"),
    ("not-found", "unauthorized: project team not found: project team not found (401)"),
    ("not-found", "could not fetch content descriptor sha256:aa (x) from remote: not found"),
    ("not-found", 'Error: secret "regcred" not found'),
    ("not-found", "bash: crane: command not found"),
    ("refused", 'Head "https://h.example/": proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused'),
    ("refused", "dial tcp: lookup h.example on 10.0.0.2:53: read udp 10.0.0.9:1->10.0.0.2:53: read: connection refused"),
    ("timed-out", "dial tcp: lookup h.example on 10.0.0.2:53: read udp 10.0.0.9:1->10.0.0.2:53: i/o timeout"),
    ("token-not-json", "error parsing HTTP 413 response body: invalid character '<' looking for beginning of value"),
    ("reset", "failed to read expected number of bytes: unexpected EOF"),
    ("back-off-only", 'Back-off pulling image "h.example/a:1": ErrImagePull: x509: certificate signed by unknown authority'),
    ("image-service-missing", 'failed to load plugin io.containerd.snapshotter.v1.devmapper" error="devmapper not configured"'),
    ("image-service-missing", "node n1 is not ready: Kubelet stopped posting node status."),
    ("credential-refused", "failed to fetch anonymous token: unexpected status from GET request to https://h.example/v2/token?scope=x: 401 Unauthorized"),
    ("docker-access-denied", "unauthorized: unauthorized to access repository: t/a, action: push"),
    ("docker-access-denied", 'Get "https://h.example/v2/": unauthorized: '),
    ("says-no-right", "denied: requested access to the resource is denied"),
    ("platform", "error storing credentials: fork/exec docker-credential-x: exec format error"),
    ("http-to-https-port", 'malformed HTTP response "SSH-2.0-OpenSSH_9.6"'),
    ("http-5xx", '500 Server Error for http+docker://localhost/v1.41/images/create: Internal Server Error ("Get h: network is unreachable")'),
    ("secret-not-retrieved", 'MountVolume.SetUp failed for volume "x" : secrets "x" not found'),
    ("token-html", "Error parsing HTTP response: invalid character '<' looking for beginning of value: \"<title>413 Request Entity Too Large</title>\""),
    ("hosts-toml-broken", 'failed to decode hosts.toml: invalid `host` tree'),
    ("push-storage-error", "s3aws: Path not found: /docker/registry/v2"),
    ("docker-access-denied", "http status code: 401, body: access to the requested resource is not authorized"),
    ("pull-hangs", "Successfully pulled image in 74ms (80ms including waiting)."),
    ("digest-mismatch", "digest invalid: provided digest did not match uploaded content"),
    ("http-5xx", "failed to fetch oauth token: unexpected status: 500 Internal Server Error"),
    ("blob-host-fails", f'failed to do request: Head "{M}": dial tcp 10.0.0.1:443: i/o timeout'),
]  # fmt: skip


@pytest.mark.parametrize(("tag", "text"), LOOK_ALIKES, ids=lambda value: str(value)[:30])
def test_look_alike(tag: str, text: str) -> None:
    assert tag not in read_tags(text, PULL)


def test_a_path_that_contains_secret_is_not_a_missing_secret() -> None:
    assert "not-found" in read_tags(
        'failed to resolve reference "h.example/t/secret:1": h.example/t/secret:1: not found', PULL
    )


def test_escapes_colours_and_wrapping() -> None:
    escaped = 'level=error msg="failed" error="Head \\"https://h.example/v2/\\": x509: certificate signed by unknown authority"'
    assert "x509-unknown-authority" in read_tags(escaped, PULL)
    assert "x509-unknown-authority" in read_tags(
        "\x1b[31mx509: certificate signed by\n        unknown authority\x1b[0m", PULL
    )
    assert "project-not-found" in read_tags('"401 Unauthorized\\nunauthorized: project team not found"', PULL)


def test_context_decides() -> None:
    assert "secret-not-retrieved" in read_tags(
        'Error: secret "regcred" not found', Around("pull", pull_secrets=frozenset({"regcred"}))
    )
    assert "not-found-in-proxy-project" in read_tags("artifact p/a:1 not found", Around("pull", proxied=True))
    same = Around("pull", image_host="h.example")
    dialled = 'failed to fetch oauth token: Post "https://{}/service/token": dial tcp: lookup x: no such host'
    assert "realm-dial-failure" in read_tags(dialled.format("core"), same)
    assert "realm-dial-failure" not in read_tags(dialled.format("h.example"), same)
    plain = "unauthorized: authentication required"
    assert "inner-registry-401" in read_tags(plain, Around("push", "docker", "h.example"))
    assert "inner-registry-401" not in read_tags(plain, Around("push", "skopeo", "h.example"))
    assert "login-refused" in read_tags(f'Get "https://h.example/v2/": {plain}', Around("login", "docker"))


def test_a_storage_that_refuses_its_registry_is_no_forbidden_client() -> None:
    full = "registry panic: storage: service returned error: StatusCode=403, ErrorCode=AccountSizeOverQuota"
    assert read_tags(full) == ("push-storage-error", "err28")


def test_what_harbor_meets_behind_itself_is_no_network_of_the_node() -> None:
    log = 'ldap connection fail: LDAP Result Code 200 "Network Error": dial tcp: lookup dir.example: no such host'
    assert read_tags(log) == ("login-refused",)
    assert read_tags("ldaps://dir.example:636 dial tcp 192.0.2.9:636: connect: connection refused") == (
        "login-refused",
    )
    for line in (
        "http: proxy error: dial tcp 192.0.2.9:5000: connect: connection refused",
        'level=error msg="redis: error connecting: NOAUTH Authentication required."',
        "panic: No bucket parameter provided",
    ):
        assert read_tags(line) == ("http-5xx",)
    assert "timed-out" in read_tags(f'{log}\nGet "https://h.example/v2/": dial tcp 192.0.2.1:443: i/o timeout', PULL)
    assert "timed-out" in read_tags('Get "https://ldap.example/v2/": dial tcp 192.0.2.1:443: i/o timeout', PULL)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("unexpected status from GET request to https://h.example/v2/a/blobs/sha256:401: 503 Service Unavailable", 503),
        ("received unexpected HTTP status: 500 Internal Server Error", 500),
        ("error parsing HTTP 403 response body: x", 403),
        ("401", 401),
        ("http://h.example:500/v2/ is not there", None),
    ],
)
def test_status(text: str, status: int | None) -> None:
    assert read_status(text) == status


def test_every_tag_is_known_to_the_rulebook() -> None:
    from pathlib import Path

    facts = yaml.safe_load((Path(__file__).parents[2] / "rules" / "facts.yaml").read_text(encoding="utf-8"))
    known = set(facts["facts"]["text.signature"]["values"])
    given = {tag for row in ROWS for tag in row[0].split()} | SYMPTOMS
    assert given <= known


def test_failing_words() -> None:
    assert looks_failing("denied: requested access to the resource is denied")
    assert not looks_failing("The push refers to repository [h.example/a]")

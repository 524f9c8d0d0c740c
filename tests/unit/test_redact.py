"""Canaries planted in many shapes never come through; what a diagnosis needs always does."""

from __future__ import annotations

import base64
import json

import pytest
import yaml

from app.errors import RefusedError
from app.model.masked import MASK, Masked, fingerprint, has_mask, mask, refuse_masked
from app.parsers.redact import clean, redact

CANARIES = (
    "cAnary-7Zq9xV",
    "Harbor12345",
    "s3cr3t",
    "pw.with/slash",
    "ünï-Kanarie9",
    "tr0ub4dor&3",
    "abc$def!9",
    "'q9",
    "Zx%41z",
)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(secret: str) -> str:
    return json.dumps(
        {
            "auths": {
                "harbor.example.com": {"username": "robot$ci", "password": secret, "auth": b64(f"robot$ci:{secret}")}
            }
        }
    )


def applied(secret: str) -> str:
    body = {"apiVersion": "v1", "kind": "Secret", "data": {".dockerconfigjson": b64(config(secret))}}
    meta = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(body)}}
    return json.dumps(
        {"kind": "Secret", "metadata": meta, "data": {".dockerconfigjson": b64(config(secret)), "plain": b64(secret)}},
        indent=1,
    )


def secret_yaml(secret: str) -> str:
    return yaml.safe_dump(
        {"kind": "Secret", "metadata": {"name": "pull"}, "stringData": {"note": f"{secret}", "other": "x\n" + secret}}
    )


JSON_SHAPES = {
    "docker config": config,
    "escaped once": lambda s: json.dumps({"message": config(s)}),
    "escaped twice": lambda s: json.dumps({"m": json.dumps({"message": config(s)})}),
    "python dict": lambda s: f"{{'password': {s!r}, 'user': 'x'}}",
    "robot answer": lambda s: json.dumps({"name": "robot$ci", "secret": s, "expires_at": -1}),
    "token answer": lambda s: json.dumps({"token": s, "access_token": s, "expires_in": 1800}),
    "identity token": lambda s: json.dumps({"identitytoken": s, "registrytoken": s}),
    "dockerconfigjson blob": lambda s: f".dockerconfigjson: {b64(config(s))}",
    "blob alone": lambda s: f"got {b64(config(s))} from the API",
    "blob twice": lambda s: f"value {b64(b64(config(s)))} end",
    "login in base64": lambda s: f"auth value {b64('robot$ci:' + s)} seen",
    "last applied": applied,
    "secret in yaml": secret_yaml,
    "secret in an event": lambda s: f"server said: {json.dumps(json.dumps({'kind': 'Secret', 'data': {'k': s}}))}",
    "upstream credential": lambda s: json.dumps({"credential": {"access_key": "puller", "access_secret": s}}),
}
TEXT_SHAPES = {
    "basic header": lambda s: f"> Authorization: Basic {b64('u:' + s)}",
    "bearer header": lambda s: f"authorization: Bearer {s}",
    "go map header": lambda s: f"map[Accept:[*/*] Authorization:[Basic {b64('u:' + s)}]]",
    "header flag": lambda s: f"curl -H 'Authorization: Bearer {s}' https://h/v2/".replace("''", "'"),
    "jwt": lambda s: f"token eyJhbGciOiJSUzI1NiJ9.{b64('{' + s + '}').rstrip('=')}.c2lnbmF0dXJl",
    "cookie": lambda s: f"< Set-Cookie: sid={s}; Path=/; HttpOnly",
    "url": lambda s: f"proxy http://svc:{s}@proxy.example.com:3128/",
    "flag": lambda s: f"nerdctl login -u me -p {s} h",
    "flag long": lambda s: f"docker login --username me --password={s} h",
    "secret create": lambda s: f"kubectl create secret docker-registry r --docker-password={s} --docker-username=me",
    "curl": lambda s: f"curl -u me:{s} https://h",
    "creds": lambda s: f"skopeo copy --src-creds me:{s} --dest-creds=me:{s} a b",
    "echo": lambda s: f'echo "{s}" | docker login h -u me --password-stdin',
    "echo base64": lambda s: f"echo -n me:{s} | base64 -w0",
    "env": lambda s: f"export HARBOR_ADMIN_PASSWORD={s}",
    "toml": lambda s: f'  password = "{s}"',
    "toml auth": lambda s: f'auth = "{b64("me:" + s)}"',
    "yaml": lambda s: f"    password: {s}\n    username: me",
    "yaml quoted": lambda s: f'harborAdminPassword: "{s}"',
    "yaml auth": lambda s: f"      auth: {b64('me:' + s)}",
    "ini": lambda s: f"harbor_admin_password = {s}",
    "query": lambda s: f"GET /service/token?access_token={s}&scope=repository:a/b:pull",
    "prose": lambda s: f"the login was user ci, passwd: {s}",
    "netrc": lambda s: f"machine h login me password {s}",
}
URL_UNSAFE = {"pw.with/slash"}


@pytest.mark.parametrize("secret", CANARIES)
@pytest.mark.parametrize("shape", JSON_SHAPES)
def test_no_canary_in_objects(shape: str, secret: str) -> None:
    out = redact(JSON_SHAPES[shape](secret))
    assert secret not in out
    assert b64(secret).rstrip("=") not in out
    assert json.dumps(secret)[1:-1] not in out
    assert MASK in out
    assert redact(out) == out


@pytest.mark.parametrize("secret", CANARIES)
@pytest.mark.parametrize("shape", TEXT_SHAPES)
def test_no_canary_in_texts(shape: str, secret: str) -> None:
    if "'" in secret and shape not in ("url", "basic header", "yaml auth", "toml auth", "jwt", "go map header"):
        secret = secret.replace("'", "x1")
    if "&" in secret and shape == "query":
        secret = secret.replace("&", "%26")
    out = redact(TEXT_SHAPES[shape](secret))
    assert secret not in out
    assert b64("u:" + secret).rstrip("=") not in out
    assert MASK in out
    assert redact(out) == out


def test_private_keys_whole_cut_and_escaped() -> None:
    body = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"] * 3)
    whole = f"a\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\nb"
    assert redact(whole) == f"a\n-----BEGIN RSA PRIVATE KEY----- {MASK}\nb"
    assert "MIIE" not in redact(whole.split("-----END", maxsplit=1)[0])
    assert "MIIE" not in redact(whole.split("KEY-----\n", 1)[1])
    assert "MIIE" not in redact(json.dumps({"tls.key": whole}))
    certificate = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----"
    assert redact(certificate) == certificate


KEPT = (
    "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
    "failed to authorize: failed to fetch oauth token: unexpected status from POST request to https://h/service/token: 401 Unauthorized",
    "authorization failed: no basic auth credentials",
    "unauthorized: incorrect username or password",
    "Error response from daemon: Get https://h/v2/: unauthorized: authentication required",
    'WWW-Authenticate: Bearer realm="https://harbor.example.com/service/token",service="harbor-registry",scope="repository:a/b:pull"',
    "harbor.example.com/team/app@sha256:9b7a1f5c9d0e4b3a2f1e0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a",
    "docker://harbor.example.com:5000/team/app@sha256:9b7a1f5c9d0e4b3a2f1e0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a",
    '{"kid": "AB12:CD34:EF56", "robot": "robot$team+ci", "server": "harbor.example.com:8443"}',
    'Unable to retrieve pull secret, the image pull may not succeed." pod="apps/web" secret="" err="secret \\"registry-login\\" not found"',
    '"Unable to retrieve pull secret" pod="apps/web" secret="apps/registry-login"',
    "Unable to retrieve some image pull secrets (registry-login); attempting to pull the image may not succeed.",
    "illegal base64 data at input byte 5",
    "login attempt to http://h/v2/ failed with status: 401 Unauthorized",
    "robot account robot$team+puller: password is wrong",
    "helm upgrade web ./chart --set imagePullSecret=regcred --set secretName=tls",
    "imagePullSecrets:\n- name: regcred\nsecretName: tls\nvolumes:\n- name: x\n  secret:\n    secretName: y",
    "auth_mode: oidc_auth\nauth:\n  token:\n    realm: https://h/service/token\n    service: harbor-registry",
    "docker run -u 1000:1000 -p 8443:8443 harbor.example.com/a/b:1.0",
    "http://proxy.example.com:3128 and https://[2001:db8::1]:5000/v2/",
    "token: unauthorized",
    'tokenKey: ""',
    "2026-11-21T11:05:22Z ERROR [/server/middleware/security/robot.go:70]: failed to authenticate robot account: robot$ci, error: the secret is expired",
    '{"kind": "ConfigMap", "data": {"resolv": "nameserver 10.0.0.1", "hosts": "10.0.0.2 harbor"}}',
    "uid=1000(puller) gid=1000(puller)",
    "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/0123456789abcdef0123456789abcdef",
    "x509: certificate signed by unknown authority: basic constraints",
)


@pytest.mark.parametrize("text", KEPT)
def test_diagnosis_text_stays_readable(text: str) -> None:
    assert redact(text) == text


def test_names_beside_a_masked_value_stay() -> None:
    out = redact(config("Harbor12345"))
    assert '"harbor.example.com"' in out
    assert '"robot$ci"' in out
    assert redact("http://svc-proxy:pw9@proxy:3128").startswith("http://svc-proxy:")
    assert redact("curl -u 'robot$a+b:pw9' https://h").startswith("curl -u 'robot$a+b:")


def test_control_and_bidi_characters_go() -> None:
    hostile = "\x1b[31mred\x1b[0m \x1b]0;title\x07x\x9b2Jy \u202eevil\u2066 \x00\x08z\r\nnext\rlast\ttab \ud800"
    assert clean(hostile) == "red xy evil z\nnext\nlast\ttab \ufffd"
    assert clean("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\") == "click"
    assert "\x1b" not in redact("\x1b[2Jpassword=\x1b[0mhunter2")
    assert "hunter2" not in redact("pass\u200bword=hunter2")


def test_masked_is_a_type_that_no_fix_takes() -> None:
    value = mask(b"key", "Harbor12345")
    assert str(value) == repr(value) == f"{value}" == MASK
    assert "Harbor" not in value.described
    assert value == mask(b"key", "Harbor12345")
    assert value != mask(b"other key", "Harbor12345")
    assert fingerprint(b"key", "a") != fingerprint(b"key", "b")
    for held in (value, {"data": {"x": [value]}}, f"password {MASK}", (Masked(),), MASK.encode()):
        assert has_mask(held)
        with pytest.raises(RefusedError, match="masked"):
            refuse_masked(held)
    refuse_masked({"data": {"x": ["plain", 3, None]}})

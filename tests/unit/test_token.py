from __future__ import annotations

import base64
import json

import pytest

from app.parsers.token import decode_jwt, read_token_answer, read_tokens_json


def jwt(claims: dict[str, object], kid: str = "AAAA:BBBB") -> str:
    def part(data: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256', 'kid': kid})}.{part(claims)}.signature"


def test_answer_gives_key_claims_and_times_but_no_signature() -> None:
    access = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
    body = json.dumps(
        {
            "token": jwt({"sub": "ci", "iat": 100, "exp": 1900, "access": access, "jti": "x"}),
            "issued_at": "2026-11-21T09:38:37Z",
        }
    )
    seen = read_token_answer(body)
    assert seen is not None
    assert (seen.kid, seen.ttl, seen.subject, seen.empty) == ("AAAA:BBBB", 1800.0, "ci", False)
    assert seen.actions("team/app") == ("pull",)
    assert seen.actions("other/app") is None
    assert "signature" not in repr(seen)


def test_a_bad_login_with_scope_gives_a_token_without_a_name() -> None:
    seen = read_token_answer(
        json.dumps(
            {"token": jwt({"iat": 1, "exp": 2, "access": [{"type": "repository", "name": "a/b", "actions": []}]})}
        )
    )
    assert seen is not None
    assert seen.subject == ""
    assert seen.actions("a/b") == ()


def test_empty_and_masked_tokens() -> None:
    empty = read_token_answer('{"token":"","access_token":""}')
    assert empty is not None
    assert empty.empty is True
    masked = read_token_answer('{"token":"<redacted>","issued_at":"2026-11-21T09:38:37Z"}')
    assert masked is not None
    assert masked.kid is None
    assert masked.issued_at == 1795253917.0
    assert read_token_answer("<html>") is None
    assert read_token_answer('{"errors":[]}') is None


def test_records_without_signatures() -> None:
    records = [
        {
            "kid": "K1",
            "claims": {"iat": 1, "exp": 61},
            "issued_at": "2026-11-21T11:26:24Z",
            "date": "Sat, 21 Nov 2026 11:16:24 GMT",
            "pod": "core-a",
        },
        {"status": 500},
    ]
    first, second = read_tokens_json(json.dumps(records))
    assert (first.kid, first.pod, first.status, first.ttl) == ("K1", "core-a", 200, 60.0)
    assert first.issued_at is not None
    assert first.date is not None
    assert first.issued_at - first.date == 600.0
    assert (second.status, second.kid) == (500, None)


@pytest.mark.parametrize("text", ["{}", "[1]", "x"])
def test_bad_records(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (json's own error is one of them)
        read_tokens_json(text)


def test_no_jwt() -> None:
    with pytest.raises(ValueError, match="JWT"):
        decode_jwt("abc.def")

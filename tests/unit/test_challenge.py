from __future__ import annotations

from app.parsers.challenge import bearer_of, parse_challenges


def test_bearer_with_scope_and_error() -> None:
    found = bearer_of(
        'Bearer realm="https://h/service/token",service="harbor-registry",scope="repository:a/b:pull,push",error="invalid_token"'
    )
    assert found is not None
    assert (found.realm, found.service) == ("https://h/service/token", "harbor-registry")
    assert found.parameters["scope"] == "repository:a/b:pull,push"
    assert found.parameters["error"] == "invalid_token"


def test_two_challenges_and_none() -> None:
    found = parse_challenges('Basic realm="harbor", Bearer realm="https://h/t",service="s"')
    assert [one.scheme for one in found] == ["basic", "bearer"]
    assert parse_challenges("") == ()
    assert bearer_of('Basic realm="harbor"') is None

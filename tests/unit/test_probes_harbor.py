"""Probes of Harbor's API, the inner registry and the front: what each document says, and what it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from app.model.case import Incident
from app.model.evidence import ENDLESS, Outcome, Price
from app.model.material import Document, Material
from app.probes.base import Fetch, HarborPlace, KubeGet, Scene
from app.probes.harbor import PROBES, best_vantage, locate_harbor
from app.probes.harbor_common import image_of
from app.probes.harbor_project import _doublestar

IMAGE = "harbor.corp.example/team/app:1.0"
TAKEN = {"schema": 1, "image": IMAGE, "taken_at": "2026-03-01T08:05:00Z"}


def material(**files: Any) -> Material:
    return Material(Document(path, text if isinstance(text, str) else json.dumps(text)) for path, text in files.items())


def scene(image: str | None = IMAGE, action: str = "pull", **more: Any) -> Scene:
    variables = more.pop("variables", {})
    registry = image.split("/")[0] if image else None
    return Scene(Incident(image=image, registry=registry, action=action, **more), now=1772352300.0, variables=variables)


def facts(probe: str, given: Material, where: Scene | None = None) -> dict[str, Any]:
    """All facts that a probe gives, over all its records."""
    read = next(one for one in PROBES if one.id == probe).read
    return {key: value for evidence in read(given, where or scene()) for key, value in evidence.facts.items()}


# --- harbor.api ---------------------------------------------------------------------------------------------------


def test_what_harbor_says_of_itself() -> None:
    given = material(**{
        "harbor/systeminfo.json": {"harbor_version": "v2.14.0-abc", "external_url": "https://harbor.corp.example", "auth_mode": "db_auth", "read_only": True},
        "harbor/configurations.json": {"robot_name_prefix": {"value": "bot$", "editable": True}, "read_only": {"value": False}},
        "harbor/health.json": {"status": "unhealthy", "components": [{"name": "database", "status": "unhealthy", "error": "failed to run SQL"}, {"name": "core", "status": "healthy"}]},
        "harbor/df.txt": "Filesystem Size Used Avail Use% Mounted on\ntmpfs 1M 1M 0 100% /storage\n",
    })  # fmt: skip
    assert facts("harbor.api", given) == {
        "harbor.version": "2.14.0-abc", "harbor.external_url": "https://harbor.corp.example", "harbor.auth_mode": "db_auth", "harbor.read_only": True,
        "harbor.robot_prefix": "bot$", "harbor.component_down": ("database",), "harbor.volume_free": 0.0,
    }  # fmt: skip


def test_health_of_the_first_seconds_is_partial_and_an_empty_volume_unknown() -> None:
    given = material(
        **{
            "harbor/health.json": {"components": [{"name": "redis", "status": "unhealthy", "error": "unknown status"}]},
            "harbor/volumes.json": {"storage": [{}]},
        }
    )
    (found,) = PROBES[0].read(given, scene())
    assert dict(found.facts) == {"harbor.component_down": ()}
    assert found.partial == {"harbor.component_down"}


def test_broken_and_refused_answers() -> None:
    (broken,) = PROBES[0].read(material(**{"harbor/health.json": "<html>"}), scene())
    assert broken.outcome is Outcome.UNPARSABLE
    assert "harbor/health.json" in broken.detail
    refused = [
        {
            "url": "https://harbor.corp.example/api/v2.0/configurations",
            "status": 403,
            "body": "{}",
            "login": "harbor-api",
        }
    ]
    (denied,) = PROBES[0].read(material(**{"registry/exchanges.json": refused}), scene())
    assert (denied.outcome, dict(denied.facts)) == (Outcome.DENIED, {})
    assert list(PROBES[0].read(Material(), scene())) == []


def test_answers_of_our_own_requests_count_too() -> None:
    rows = [
        {
            "url": "https://harbor.corp.example/api/v2.0/systeminfo",
            "status": 200,
            "body": '{"harbor_version": "v2.12.1"}',
        }
    ]
    assert facts("harbor.api", material(**{"registry/exchanges.json": rows})) == {"harbor.version": "2.12.1"}
    assert facts("harbor.api", material(**{"registry/exchanges.json": "[1, null, {}]"})) == {}


@pytest.mark.parametrize(
    ("path", "text", "url"),
    [
        ("harbor/values.yaml", "expose: {}\nexternalURL: https://a.example.com", "https://a.example.com"),
        ("harbor/values.yaml", "expose: {}\nexternalUrl: https://a.example.com", "https://core.harbor.domain"),
        ("harbor/harbor.cfg", "hostname = a.example.com\nui_url_protocol = https", "https://a.example.com"),
    ],
)
def test_external_url_of_settings(path: str, text: str, url: str) -> None:
    assert facts("harbor.api", material(**{path: text})) == {"harbor.external_url": url}


def ingress(host: str, service: str, namespace: str = "hub") -> dict[str, Any]:
    paths = [{"path": path, "backend": {"service": {"name": service}}} for path in ("/api/", "/service/", "/v2/")]
    return {
        "kind": "Ingress",
        "metadata": {
            "name": "i",
            "namespace": namespace,
            "labels": {"app": "harbor"},
            "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "120"},
        },
        "spec": {"rules": [{"host": host, "http": {"paths": paths}}]},
    }


def test_instances_behind_an_ingress() -> None:
    one = material(**{"harbor/ingress.json": {"items": [ingress("harbor.corp.example", "harbor-core")]}})
    two = material(
        **{
            "harbor/ingress.json": {
                "items": [ingress("harbor.corp.example", "harbor-core"), ingress("harbor.corp.example", "old-core")]
            }
        }
    )
    other = material(**{"harbor/ingress.json": {"items": [ingress("elsewhere.example", "harbor-core")]}})
    assert [facts("harbor.api", given).get("harbor.instances") for given in (one, two, other)] == [1, 2, None]
    assert facts("ingress.read", one) == {"ingress.timeout": 120.0}


# --- project, endpoint --------------------------------------------------------------------------------------------

PROJECTS = [
    {"project_id": 1, "name": "library", "metadata": {"public": "true"}, "creation_time": "2025-01-01T00:00:00Z"},
    {"project_id": 2, "name": "team", "metadata": {"public": "false", "prevent_vul": "true", "enable_content_trust_cosign": "true"}, "creation_time": "2026-03-01T07:50:00Z"},
    {"project_id": 3, "name": "hub", "registry_id": 7, "metadata": {"public": "false"}, "creation_time": "2025-01-01T00:00:00Z"},
]  # fmt: skip
REGISTRIES = [
    {
        "id": 7,
        "name": "up",
        "type": "docker-registry",
        "url": "https://quay.io",
        "status": "unhealthy",
        "credential": {"access_key": "u", "access_secret": "*****"},
    }
]


def test_project_of_the_image() -> None:
    given = material(
        **{
            "bundle.json": TAKEN,
            "harbor/projects.json": PROJECTS,
            "harbor/quotas.json": [{"ref": {"name": "team"}, "hard": {"storage": 100}, "used": {"storage": 100}}],
        }
    )
    assert facts("project.api", given) == {
        "project.exists": True, "project.public": False, "project.policy": ("vul", "cosign"), "project.proxy_of": "", "project.new": True, "project.quota_left": 0.0,
    }  # fmt: skip


def test_proxy_project_and_its_endpoint() -> None:
    given = material(**{"harbor/projects.json": PROJECTS, "harbor/registries.json": REGISTRIES})
    where = scene("harbor.corp.example/hub/org/app:1.0")
    assert facts("project.api", given, where)["project.proxy_of"] == "quay"
    assert facts("endpoint.api", given, where) == {
        "endpoint.type": "docker-registry", "endpoint.url": "https://quay.io", "endpoint.scheme": "https", "endpoint.upstream_public": True,
        "endpoint.url_odd": False, "endpoint.status": "unhealthy", "endpoint.has_login": True,
    }  # fmt: skip
    assert facts("endpoint.api", given) == {}


@pytest.mark.parametrize(
    ("more", "exists"),
    [
        ({}, None),
        ({"harbor/configurations.json": {"auth_mode": {"value": "db_auth"}}}, False),
        (
            {"harbor/robots.json": [], "harbor/quotas.json": [{"ref": {"name": "unlisted"}, "hard": {}, "used": {}}]},
            None,
        ),
        ({"harbor/quotas.json": [{"ref": {"name": "nosuch"}, "hard": {"storage": -1}, "used": {"storage": 1}}]}, True),
    ],
)
def test_a_missing_project_needs_the_whole_list(more: dict[str, Any], exists: bool | None) -> None:
    found = facts(
        "project.api", material(**{"harbor/projects.json": PROJECTS, **more}), scene("harbor.corp.example/nosuch/app:1")
    )
    assert found.get("project.exists") is exists


def test_existence_by_head() -> None:
    rows = [
        {
            "url": "https://harbor.corp.example/api/v2.0/projects?project_name=team",
            "method": "HEAD",
            "status": 404,
            "login": "harbor-api",
        }
    ]
    assert facts("project.api", material(**{"registry/exchanges.json": rows})) == {"project.exists": False}


@pytest.mark.parametrize(
    ("action", "account", "members", "expected"),
    [
        ("push", "anna", [{"entity_name": "anna", "entity_type": "u", "role_id": 3}], ("guest", False)),
        ("pull", "anna", [{"entity_name": "anna", "entity_type": "u", "role_id": 3}], ("guest", True)),
        ("push", "anna", [{"entity_name": "anna", "entity_type": "u", "role_id": 2}], ("developer", True)),
        ("pull", "anna", [{"entity_name": "bob", "entity_type": "u", "role_id": 1}], ("", False)),
        ("pull", "anna", [{"entity_name": "devs", "entity_type": "g", "role_id": 1}], (None, None)),
        ("pull", "robot$ci", [{"entity_name": "bob", "entity_type": "u", "role_id": 1}], (None, None)),
    ],
)
def test_role(action: str, account: str, members: list[dict[str, Any]], expected: tuple[Any, Any]) -> None:
    given = material(**{"harbor/projects.json": PROJECTS, "harbor/members.json": members})
    found = facts("project.api", given, scene(action=action, variables={"account": account}))
    assert (found.get("project.role"), found.get("project.role_allows")) == expected


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("**", "a/b", True),
        ("1.*", "1.0", True),
        ("1.*", "2.0", False),
        ("{v1,v2}", "v2", True),
        ("a/**", "a/b/c", True),
        ("a?", "ab", True),
        ("*", "a/b", False),
    ],
)
def test_patterns_of_rules(pattern: str, name: str, fits: bool) -> None:
    assert _doublestar(pattern, name) is fits


def test_immutable_tags() -> None:
    rule = {
        "disabled": False,
        "tag_selectors": [{"decoration": "matches", "pattern": "1.*"}],
        "scope_selectors": {"repository": [{"decoration": "repoMatches", "pattern": "**"}]},
    }
    assert (
        facts("project.api", material(**{"harbor/immutabletagrules.json": [rule]}))["project.immutable_match"] is True
    )
    assert (
        facts("project.api", material(**{"harbor/immutabletagrules.json": [{**rule, "disabled": True}]}))[
            "project.immutable_match"
        ]
        is False
    )


# --- artifact, robot ----------------------------------------------------------------------------------------------


def test_artifacts() -> None:
    listed = [
        {
            "digest": "sha256:a",
            "tags": [{"name": "1.0"}],
            "manifest_media_type": "application/vnd.oci.image.index.v1+json",
            "accessories": [{"type": "signature.cosign"}],
        }
    ]
    assert facts("artifact.api", material(**{"harbor/artifacts.json": listed})) == {
        "artifact.exists": True, "artifact.repo_exists": True, "artifact.signed": True, "artifact.index_stored": True,
    }  # fmt: skip
    assert (
        facts("artifact.api", material(**{"harbor/artifacts.json": listed}), scene("harbor.corp.example/team/app:9"))[
            "artifact.exists"
        ]
        is False
    )
    repositories = material(**{"harbor/repositories.json": [{"name": "team/other"}]})
    assert facts("artifact.api", repositories) == {"artifact.repo_exists": False}


def test_audit_log() -> None:
    def row(number: int, operation: str, resource: str = "team/app:1.0") -> dict[str, Any]:
        return {"id": number, "operation": operation, "resource": resource, "op_time": f"2026-03-01T0{number}:00:00Z"}

    gone = material(**{"harbor/audit-logs.json": [row(1, "create"), row(2, "delete")]})
    assert facts("artifact.api", gone) == {"artifact.deleted": True}
    assert (
        facts("artifact.api", material(**{"harbor/audit-logs.json": [row(1, "create"), row(2, "delete", "team/app")]}))[
            "artifact.deleted"
        ]
        is True
    )
    assert facts("artifact.api", material(**{"harbor/audit-logs.json": []})) == {}


def robot(name: str, **more: Any) -> dict[str, Any]:
    level = "project" if "+" in name else "system"
    return {
        "id": 1,
        "name": name,
        "level": level,
        "disable": False,
        "expires_at": -1,
        "permissions": [
            {"kind": "project", "namespace": "team", "access": [{"resource": "repository", "action": "push"}]}
        ],
        **more,
    }


def test_robot_of_the_account() -> None:
    given = material(
        **{
            "harbor/robots.json": [
                robot("robot$team+ci"),
                robot("robot$all", expires_at=1700000000, disable=True, update_time="2026-03-01T00:00:00Z"),
            ]
        }
    )
    project = facts("robot.api", given, scene(variables={"account": "robot$team+ci"}))
    assert project == {
        "robot.exists": True,
        "robot.disabled": False,
        "robot.expires": ENDLESS,
        "robot.allows": ("team:pull", "team:push"),
    }
    system = facts("robot.api", given, scene(variables={"account": "robot$all"}))
    assert (system["robot.disabled"], system["robot.expires"], system["robot.allows"]) == (
        True,
        1700000000.0,
        ("team:push",),
    )
    assert system["robot.updated"] == 1772323200.0


def test_a_robot_for_all_projects_is_allowed_in_this_one() -> None:
    wide = robot(
        "robot$all",
        permissions=[{"kind": "project", "namespace": "*", "access": [{"resource": "repository", "action": "pull"}]}],
    )
    found = facts("robot.api", material(**{"harbor/robots.json": [wide]}), scene(variables={"account": "robot$all"}))
    assert found["robot.allows"] == ("*:pull", "team:pull")


@pytest.mark.parametrize(
    ("robots", "account", "exists"),
    [
        ([robot("robot$all")], "robot$gone", False),
        ([robot("robot$all")], "robot$team+gone", None),
        ([robot("robot$team+ci")], "robot$team+gone", False),
        ([robot(f"robot$r{number}") for number in range(10)], "robot$gone", None),
        ([], "robot$gone", None),
    ],
)
def test_no_such_robot_needs_the_list_that_would_hold_it(robots: list[Any], account: str, exists: bool | None) -> None:
    found = facts("robot.api", material(**{"harbor/robots.json": robots}), scene(variables={"account": account}))
    assert found.get("robot.exists") is exists


def test_without_an_account_no_robot_is_picked_out_of_several() -> None:
    assert facts("robot.api", material(**{"harbor/robots.json": [robot("robot$a"), robot("robot$b")]})) == {}
    refused = "[ERROR] [/a/robot.go:58]: failed to authenticate robot account: robot$b"
    found = facts(
        "robot.api",
        material(
            **{"harbor/robots.json": [robot("robot$a"), robot("robot$b", disable=True)], "harbor/core.log": refused}
        ),
    )
    assert found["robot.disabled"] is True


# --- registry, front ----------------------------------------------------------------------------------------------

LINE = 'time="2026-03-01T08:04:00Z" level=error msg="response completed with error" err.detail="filesystem: write /storage/_uploads/a: no space left on device" http.request.uri=/v2/team/app/blobs/uploads/'


def test_registry_log_and_settings() -> None:
    given = material(
        **{
            "bundle.json": TAKEN,
            "registry/registry.log": LINE,
            "registry/access.log": 'x "PATCH /v2/team/app/blobs/uploads/u HTTP/1.1" 308 0 "-"',
            "registry/config.yml": "storage: {s3: {}}\nhttp: {relativeurls: true}",
        }
    )
    (found,) = next(one for one in PROBES if one.id == "registry.read").read(given, scene())
    assert (found.facts["registry.log"], found.partial) == (("enospc",), frozenset())
    assert facts("registry.more", given) == {
        "registry.relative_urls": True,
        "registry.redirect_off": False,
        "registry.shared_storage": True,
        "registry.saw_request": True,
    }
    assert facts("proxy.log", given) == {"upload.redirect_seen": True}


def test_registry_log_by_pod_and_without_a_time_is_partial() -> None:
    given = material(
        **{
            "harbor/registry.log": f'[pod/hub-registry-1/registry] {LINE}\n[pod/hub-registry-2/registry] time="2026-03-01T08:04:00Z" level=info msg="x"'
        }
    )
    found = list(next(one for one in PROBES if one.id == "registry.read").read(given, scene()))
    assert {one.target.get("registry-pod"): one.facts["registry.log"] for one in found} == {
        "hub-registry-1": ("enospc",),
        "hub-registry-2": (),
    }
    assert all(one.partial == {"registry.log"} for one in found)


def test_core_names_its_own_registry_user_among_the_refused() -> None:
    line = (
        "failed to authenticate harbor_registry_user: Failed to authenticate user, due to error 'Invalid credentials'"
    )
    (found,) = next(one for one in PROBES if one.id == "registry.read").read(
        material(**{"harbor/core.log": line}), scene()
    )
    assert found.facts["registry.log"] == ("login-refused-internal",)
    assert found.partial == {"registry.log"}


def test_broken_settings_are_told() -> None:
    (found,) = next(one for one in PROBES if one.id == "registry.more").read(
        material(**{"registry/config.yml": "a: ["}), scene()
    )
    assert found.outcome is Outcome.UNPARSABLE
    (broken,) = next(one for one in PROBES if one.id == "ingress.read").read(
        material(**{"harbor/nginx.conf": "server {"}), scene()
    )
    assert broken.outcome is Outcome.UNPARSABLE


def test_no_upload_in_the_front_log_says_nothing() -> None:
    assert (
        facts("proxy.log", material(**{"harbor/proxy.log": '192.0.2.1 - "GET /v2/ HTTP/1.1" 401 76 "-" "x" 0.1 0.1 .'}))
        == {}
    )


# --- targets, place, wants ----------------------------------------------------------------------------------------


def test_a_mirrored_image_gives_facts_without_a_registry() -> None:
    given = material(**{"harbor/systeminfo.json": {"external_url": "https://harbor.corp.example"}})
    (mirrored,) = PROBES[0].read(given, scene("quay.io/org/app:1"))
    (own,) = PROBES[0].read(given, scene())
    assert (str(mirrored.target), str(own.target)) == ("incident", "registry/harbor.corp.example")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h.example:5000/team/sub/app:1.0", ("h.example:5000", "team/sub/app", "1.0", "")),
        ("h.example/team/app@sha256:ab", ("h.example", "team/app", "", "sha256:ab")),
        ("h.example/team/app:1@sha256:ab", ("h.example", "team/app", "1", "sha256:ab")),
    ],
)
def test_image_names(text: str, expected: tuple[str, ...]) -> None:
    image = image_of(text)
    assert image is not None
    assert (image.host, image.repository, image.tag, image.digest) == expected
    assert image_of("nginx:1") is None


def test_locate_harbor() -> None:
    core = {"metadata": {"name": "c", "namespace": "hub", "labels": {"app": "harbor", "component": "core"}}}
    by_ingress = material(
        **{
            "cluster/ingresses.json": {
                "items": [ingress("harbor.corp.example", "x-core", "front"), ingress("b.example", "y", "other")]
            }
        }
    )
    assert locate_harbor(by_ingress, "harbor.corp.example:443") == HarborPlace(namespace="front", kube=True)
    assert locate_harbor(
        material(**{"harbor/core-pods.json": {"items": [core]}}), "harbor.corp.example"
    ) == HarborPlace(namespace="hub", kube=True)
    two = {"items": [core, {"metadata": {**core["metadata"], "namespace": "hub2"}}]}
    assert locate_harbor(material(**{"harbor/core-pods.json": two}), "harbor.corp.example") is None
    assert locate_harbor(Material(), "harbor.corp.example") is None


def test_best_vantage() -> None:
    lost = [{"url": "https://harbor.corp.example/v2/", "dns": "nxdomain"}]
    seen = [{"url": "https://harbor.corp.example/v2/", "status": 401}]
    assert best_vantage(Material(), scene()) == "operator"
    assert (
        best_vantage(material(**{"registry/exchanges.json": lost, "nodes/n1/exchanges.json": seen}), scene())
        == "node/n1"
    )
    assert (
        best_vantage(material(**{"registry/exchanges.json": seen, "nodes/n1/exchanges.json": seen}), scene())
        == "operator"
    )


def test_wants_name_the_login_and_ask_once() -> None:
    live = replace(scene(), vantage="operator")
    api = PROBES[0]
    assert not [want for want in api.wants(Material(), live) if isinstance(want, Fetch)]  # from where is not known yet
    reached = [{"url": f"https://{live.incident.registry}/v2/", "purpose": "ping", "status": 401}]
    answered = material(**{"registry/exchanges.json": reached})
    wants = [want for want in api.wants(answered, live) if isinstance(want, Fetch)]
    asked = {(want.request.url.rsplit("/api/v2.0/", 1)[1], want.secret, want.price) for want in wants}
    assert ("health", "", Price.FREE) in asked
    assert ("configurations", "harbor-api", Price.CREDENTIAL) in asked
    done = [
        {"url": want.request.url, "method": "GET", "status": 200, "body": "{}", "login": want.secret} for want in wants
    ]
    assert list(api.wants(material(**{"registry/exchanges.json": reached + done}), live)) == []
    assert list(api.wants(Material(), replace(scene("quay.io/a/b:1"), vantage="operator"))) == []
    assert list(api.wants(Material(), scene())) == []


def test_robots_of_a_project_are_asked_for_once_its_number_is_known() -> None:
    live = replace(scene(variables={"account": "robot$team+ci"}), vantage="operator")
    probe = next(one for one in PROBES if one.id == "robot.api")
    reached = [{"url": f"https://{live.incident.registry}/v2/", "purpose": "ping", "status": 401}]
    given = material(**{"harbor/projects.json": PROJECTS, "registry/exchanges.json": reached})
    urls = [want.request.url for want in probe.wants(given, live) if isinstance(want, Fetch)]
    assert any(url.endswith("robots?q=Level=project,ProjectID=2&page_size=100") for url in urls)


def test_kube_wants_only_where_harbor_is_known() -> None:
    live = replace(scene(), vantage="operator", harbor=HarborPlace(namespace="hub", kube=True))
    probe = next(one for one in PROBES if one.id == "registry.more")
    documents = {want.document for want in probe.wants(Material(), live) if isinstance(want, KubeGet)}
    assert {"harbor/pods.json", "harbor/ingress.json", "harbor/deployments.json", "harbor/configmaps.json"} <= documents
    assert list(probe.wants(Material(), replace(live, harbor=None))) == []

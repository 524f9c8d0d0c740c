"""Folding: one bundle, a live list of pods, healthy material, and secrets that must not leak."""

from __future__ import annotations

import json
from typing import Any

from app.model.material import Document, Material
from app.parsers.texts_lines import read_time
from app.probes.incidents import case_time, find_incidents
from tests.unit.test_probes_text import pod, running

REFUSED = "failed to pull and unpack image: failed to resolve image: unexpected status from HEAD request to https://h.example/v2/t/a/manifests/1: 401 Unauthorized"
OLD_WORDS = "failed to pull and unpack image: failed to resolve reference: pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"
X509 = (
    'failed to do request: Head "https://h.example/v2/t/a/manifests/1": x509: certificate signed by unknown authority'
)


def material(**documents: object) -> Material:
    named = {
        name.replace("__", "/").replace("_json", ".json").replace("_txt", ".txt").replace("_log", ".log"): body
        for name, body in documents.items()
    }
    return Material(Document(path, body if isinstance(body, str) else json.dumps(body)) for path, body in named.items())


def event(reason: str, message: str, name: str = "web", **more: object) -> dict[str, object]:
    return {
        "kind": "Event",
        "reason": reason,
        "message": message,
        "involvedObject": {"kind": "Pod", "namespace": "apps", "name": name},
        **more,
    }


def test_empty_material_is_one_open_incident() -> None:
    ((incident, variables),) = find_incidents(Material())
    assert (incident.texts, incident.succeeded, variables) == ((), False, {})


def test_pod_and_event_say_one_thing() -> None:
    ((incident, variables),) = find_incidents(
        material(
            pod_json=pod(REFUSED),
            events_json={
                "items": [
                    event(
                        "Failed",
                        f'Failed to pull image "h.example/t/a:1": {REFUSED}',
                        firstTimestamp="2026-01-02T03:04:05Z",
                    ),
                    event("Failed", "Error: ErrImagePull"),
                ]
            },
        )
    )
    assert len(incident.texts) == 1
    assert (incident.image, incident.registry, incident.action) == ("h.example/t/a:1", "h.example", "pull")
    assert (incident.pods, incident.nodes) == (("apps/web",), ("n1",))
    assert incident.since == read_time("2026-01-02T03:04:05Z")
    assert variables["image.host"] == variables["contacted.host"] == "h.example"
    assert variables["project.action"] == "t:pull"


def test_events_of_gone_and_running_pods_make_none() -> None:
    ((incident, _),) = find_incidents(
        material(
            pods_json={"items": [running("web", "n1")]},
            events_json={
                "items": [
                    event("Failed", f'Failed to pull image "h.example/t/a:1": {REFUSED}'),
                    event("Failed", f'Failed to pull image "h.example/t/b:1": {REFUSED}', name="gone"),
                ]
            },
        )
    )
    assert not incident.texts
    assert incident.succeeded


def test_live_folding_by_registry_and_meaning() -> None:
    items = [
        pod(REFUSED, name="a"),
        pod(OLD_WORDS, name="b", node="n2"),
        pod(X509, name="c", node="n3"),
        running("d", "n4"),
    ]
    found = find_incidents(material(pods_json={"items": items}))
    assert [(len(incident.pods), len(incident.texts)) for incident, _ in found] == [(2, 2), (1, 1)]
    assert found[0][0].healthy_nodes == ("n4",)
    assert len({incident.id for incident, _ in found}) == 2


def told(message: str, name: str, *, secrets: tuple[str, ...] = (), namespace: str = "apps", **more: str) -> Any:
    """A failing pod with its pull secrets."""
    found: Any = pod(message, name=name, **more)
    found["metadata"]["namespace"] = namespace
    found["spec"]["imagePullSecrets"] = [{"name": secret} for secret in secrets]
    return found


def silent(name: str, *, ref: str = "h.example/t/a:1", **more: Any) -> Any:
    """One of which only the back-off is left."""
    return told(f'Back-off pulling image "{ref}"', name, reason="ImagePullBackOff", ref=ref, **more)


def folded(*items: dict[str, object]) -> list[set[str]]:
    """Pods by incident."""
    return [set(incident.pods) for incident, _ in find_incidents(material(pods_json={"items": list(items)}))]


def test_a_pod_that_only_backs_off_joins_those_with_its_image_and_credential_or_its_node() -> None:
    items = [told(REFUSED, "told"), silent("same", node="n2")]
    ((incident, _),) = find_incidents(material(pods_json={"items": items}))
    assert set(incident.pods) == {"apps/told", "apps/same"}
    assert incident.nodes == ("n1", "n2")
    assert [text for text in incident.texts if "Back-off" in text] == []
    assert folded(told(X509, "told", secrets=("one",)), silent("near", secrets=("other",))) == [
        {"apps/told", "apps/near"}
    ]


def test_a_pod_that_only_backs_off_stays_apart_where_nothing_ties_it_to_a_text() -> None:
    for one, other in (
        (told(REFUSED, "told"), silent("other", node="n2", secrets=("another",))),
        (told(X509, "told"), silent("other", node="n2", secrets=("another",))),
        (told(X509, "told"), silent("other", ref="h.example/t/a:2")),
        # A refusal is about a credential: the node alone says nothing of another one.
        (told(REFUSED, "told"), silent("other", secrets=("another",))),
        (told(REFUSED, "told"), silent("other", namespace="shop")),
    ):
        assert len(folded(one, other)) == 2


def test_a_pod_that_only_backs_off_stays_apart_where_two_faults_could_be_its() -> None:
    two = (told(REFUSED, "a", node="n2"), told(X509, "b", node="n3"))
    assert len(folded(*two, silent("c"))) == 3
    # On the node of the one whose fault a node can have it is that one.
    assert {"apps/b", "apps/c"} in folded(*two, silent("c", node="n3"))


def test_pods_that_all_only_back_off_fold_as_before() -> None:
    assert folded(silent("a"), silent("b", node="n2", secrets=("other",))) == [{"apps/a", "apps/b"}]


def test_one_pod_with_two_texts_stays_one_incident() -> None:
    found = find_incidents(
        material(
            pods_json={"items": [pod(OLD_WORDS)]},
            events_json={
                "items": [
                    event(
                        "FailedToRetrieveImagePullSecret",
                        "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.",
                    )
                ]
            },
        )
    )
    ((incident, _),) = found
    assert len(incident.texts) == 2


def test_bundle_is_one_incident_unless_texts_name_different_images_or_actions() -> None:
    text = "$ docker push h.example/t/a:1\ndenied: requested access to the resource is denied\n$ docker pull g.example/x/b:1\nError response from daemon: manifest for g.example/x/b:1 not found\n"
    assert len(find_incidents(material(out_txt=text))) == 2
    assert (
        len(
            find_incidents(
                material(out_txt=text, bundle_json={"schema": 1, "image": "h.example/t/a:1", "action": "push"})
            )
        )
        == 1
    )


def test_back_off_only_asks_the_logs() -> None:
    line = (
        'time="2026-01-02T03:04:05Z" level=error msg="PullImage \\"h.example/t/a:1\\" failed" error="'
        + X509.replace('"', '\\"')
        + '"'
    )
    ((incident, _),) = find_incidents(
        material(
            pod_json=pod('Back-off pulling image "h.example/t/a:1"', reason="ImagePullBackOff"),
            nodes__n1__containerd_log=line,
        )
    )
    assert any("unknown authority" in text for text in incident.texts)
    assert incident.nodes == ("n1",)


def test_reason_that_is_the_error_itself() -> None:
    ((incident, _),) = find_incidents(
        material(pod_json=pod("illegal base64 data at input byte 5", reason="illegal base64 data at input byte 5"))
    )
    assert incident.texts == ("illegal base64 data at input byte 5",)


def test_other_waiting_reasons_are_not_ours() -> None:
    ((incident, _),) = find_incidents(
        material(pod_json=pod('secret "x" not found', reason="CreateContainerConfigError"))
    )
    assert not incident.texts


def test_pulling_without_an_end() -> None:
    stalled = pod("", reason="ContainerCreating")
    events = [event("Pulling", 'Pulling image "h.example/t/a:1"', lastTimestamp="2026-01-02T03:00:00Z")]
    old = material(pod_json=stalled, events_json={"items": events}, bundle_json={"taken_at": "2026-01-02T03:10:00Z"})
    new = material(pod_json=stalled, events_json={"items": events}, bundle_json={"taken_at": "2026-01-02T03:00:30Z"})
    assert find_incidents(old)[0][0].texts
    assert not find_incidents(new)[0][0].texts


def test_push_described_by_an_operator() -> None:
    ((incident, variables),) = find_incidents(Material(), push="h.example/t/a:1")
    assert (incident.image, incident.action, variables["project.action"]) == ("h.example/t/a:1", "push", "t:push")


def test_passwords_do_not_reach_an_incident() -> None:
    ((incident, _),) = find_incidents(
        Material(), text="Get https://ci:hunter22@h.example/v2/: x509: certificate signed by unknown authority"
    )
    assert "hunter22" not in repr(incident)


def test_time_of_the_case() -> None:
    assert case_time(material(bundle_json={"taken_at": "2026-01-02T03:04:05Z"})) == read_time("2026-01-02T03:04:05Z")
    assert case_time(
        material(
            events_json={
                "items": [event("Failed", "x", lastTimestamp="2026-01-02T03:04:05Z")],
                "expires_at": "2030-01-01T00:00:00Z",
            }
        )
    ) == read_time("2026-01-02T03:04:05Z")
    assert case_time(Material()) == 0.0


def test_unreadable_documents_do_not_stop_anything() -> None:
    ((incident, _),) = find_incidents(material(pods_json="{", events_json="[[", bundle_json="no", out_txt="EOF"))
    assert incident.texts == ("EOF",)
    find_incidents(
        material(
            pods_json={
                "items": [
                    None,
                    3,
                    {"spec": [], "status": 4},
                    {"spec": {"containers": [1]}, "status": {"containerStatuses": ["x"]}},
                ]
            }
        )
    )


def test_many_pods_are_read_in_one_pass() -> None:
    items = [pod(REFUSED, name=f"p{n}", node=f"n{n % 50}") for n in range(3000)]
    ((incident, _),) = find_incidents(material(pods_json={"items": items}))
    assert (len(incident.pods), len(incident.nodes), len(incident.texts)) == (3000, 50, 1)


def test_pasted_status_beside_a_silent_pod_is_about_that_pod() -> None:
    ((incident, _),) = find_incidents(
        material(pod_json=pod("", reason="ErrImagePull"), error_txt="401 Error when pulling")
    )
    assert incident.pods == ("apps/web",)
    assert incident.image == "h.example/t/a:1"
    assert incident.texts == ("401 Error when pulling",)

"""Blobs of terminals, tables and journals: distinct failing texts with client, action and what was typed."""

from __future__ import annotations

import pytest

from app.parsers.texts import EVENT, fold, meaning_of, read_blob, read_text
from app.parsers.texts_lines import log_entry, read_time
from app.parsers.texts_split import read_command, shell_expands, split_attempts

PUSH = """ci@runner:~$ docker login -u robot$ci http://h.example:8080
Login Succeeded
ci@runner:~$ docker push h.example:8080/t/a:1
The push refers to repository [h.example:8080/t/a]
1f2e3d4c5b6a: Preparing
1f2e3d4c5b6a: Pushed
unauthorized: unauthorized to access repository: t/a, action: push: unauthorized to access repository: t/a, action: push
ci@runner:~$ docker push h.example:8080/t/a:1
1f2e3d4c5b6a: Layer already exists
1: digest: sha256:51e2888cfbb99f2e31508f48d90a5c7c0fbb3061f21db27c1ab75fa05a5bdbee size: 1157
"""


@pytest.mark.parametrize(
    ("said", "action"), [("push时一直报错", "push"), ("镜像推送失败", "push"), ("拉取失败", "pull")]
)
def test_action_in_chinese_words(said: str, action: str) -> None:
    (reading,) = read_blob(f"{said}: received unexpected HTTP status: 500 Internal Server Error").readings
    assert reading.action == action


def test_terminal() -> None:
    blob = read_blob(PUSH)
    assert [(a.tool, a.action, a.image, a.succeeded) for a in blob.attempts] == [
        ("docker", "login", "h.example:8080", True),
        ("docker", "push", "h.example:8080/t/a:1", False),
        ("docker", "push", "h.example:8080/t/a:1", True),
    ]
    assert blob.attempts[0].account == "robot$ci"
    assert blob.attempts[0].typed_scheme == "http"
    (only,) = blob.readings
    assert (only.client, only.action, only.typed_scheme) == ("docker", "push", "none")
    assert "harbor-unauthorized-push" in only.tags


@pytest.mark.parametrize(
    ("command", "tool", "action", "image"),
    [
        ("$ sudo crictl --debug pull h.example/a:1", "crictl", "pull", "h.example/a:1"),
        ("# ctr -n k8s.io images pull -u ci:x h.example/a:1", "ctr", "pull", "h.example/a:1"),
        ("$ echo x | docker login --password-stdin -u ci https://h.example/", "docker", "login", "h.example"),
        ("+ skopeo copy --authfile x oci:dir docker://h.example/a:1", "skopeo", "push", "h.example/a:1"),
        ("$ skopeo copy docker://h.example/a:1 dir:out", "skopeo", "pull", "h.example/a:1"),
        ("$ crane push image.tar h.example/a:1", "crane", "push", "h.example/a:1"),
        ("$ docker buildx build --push -t h.example/a:1 .", "docker", "push", ""),
        ("$ helm push chart.tgz oci://h.example/charts", "helm", "push", "h.example/charts"),
        ("[root@host ~]# docker pull -q h.example/a", "docker", "pull", "h.example/a"),
        (
            '$ docker exec -it node-1 bash -c "crictl -r unix:///run/c.sock pull h.example/a:1"',
            "crictl",
            "pull",
            "h.example/a:1",
        ),
        ("$ sudo docker exec node-1 crictl pull h.example/a:1", "crictl", "pull", "h.example/a:1"),
        ("$ minikube -p dev ssh -- docker pull h.example/a:1", "docker", "pull", "h.example/a:1"),
        ("$ minikube ssh 'sudo crictl pull h.example/a:1'", "crictl", "pull", "h.example/a:1"),
        ("$ ssh -p 2222 admin@node-1 sudo crictl pull h.example/a:1", "crictl", "pull", "h.example/a:1"),
        (
            "$ kubectl -n ci exec -it builder -c main -- crane push image.tar h.example/a:1",
            "crane",
            "push",
            "h.example/a:1",
        ),
        ("$ microk8s.ctr image pull h.example/a:1", "ctr", "pull", "h.example/a:1"),
        ("$ sudo microk8s ctr image pull h.example/a:1", "ctr", "pull", "h.example/a:1"),
        ("$ sudo /usr/local/bin/k3s crictl pull h.example/a:1", "crictl", "pull", "h.example/a:1"),
        ("$ /usr/local/bin/crictl pull h.example/a:1", "crictl", "pull", "h.example/a:1"),
        ("$ docker exec -it node-1 sh", "docker", None, ""),
    ],
)
def test_command(command: str, tool: str, action: str | None, image: str) -> None:
    found = read_command(command)
    assert found[:3] == (tool, action, image)


def test_words_are_no_command() -> None:
    assert [
        a.command for a in split_attempts("kubectl not able to pull the image\ndocker: Error response from daemon: x")
    ] == [""]


@pytest.mark.parametrize(
    "line",
    [
        'crictl pull giving "certificate signed by unknown authority"',
        "docker pull works but crictl pull fails with x509: certificate signed by unknown authority",
        "docker login fails with 401 Unauthorized",
        "docker push failing",
    ],
)
def test_a_sentence_that_begins_with_a_tool_is_no_command(line: str) -> None:
    assert [attempt.command for attempt in split_attempts(line)] == [""]
    assert read_blob(line).readings[0].image == ""


@pytest.mark.parametrize(
    "line",
    [
        "docker pull error-pages",
        "docker pull web && docker run web || echo failed",
        "docker login",
        "docker pull web 2>&1",
    ],
)
def test_a_short_image_name_is_no_sentence(line: str) -> None:
    assert [attempt.command for attempt in split_attempts(line)] == [line]


@pytest.mark.parametrize("words", ["docker login is succeed", "docker push works and docker pull is error"])
def test_a_sentence_names_no_registry(words: str) -> None:
    assert [attempt.command for attempt in split_attempts(words)] == [""]


def test_describe_table() -> None:
    blob = read_blob(
        """Events:
  Type     Reason     Age                From               Message
  ----     ------     ----               ----               -------
  Normal   Scheduled  10m                default-scheduler  Successfully assigned apps/web to n1
  Warning  Failed     3s (x2 over 19s)   kubelet            Failed to pull image "h.example/a:1": failed to pull and unpack image "h.example/a:1": failed to resolve image: h.example/a:1: not found
  Warning  Unhealthy  1s                 kubelet            Readiness probe failed: connection refused
"""
    )
    assert [(reading.client, "not-found" in reading.tags, reading.image) for reading in blob.readings] == [
        ("containerd", True, "h.example/a:1")
    ]


def test_a_table_copied_with_its_frame() -> None:
    row = 'Warning  ErrImageNeverPull  3m (x2 over 5m)  kubelet  Container image "a:1" is not present with pull policy of Never'
    for framed in (f"│ {row}   │", f"│{row}"):
        (reading,) = read_blob(framed).readings
        assert (reading.reason, reading.message) == ("ErrImageNeverPull", row.partition("kubelet  ")[2])


def test_pod_table() -> None:
    blob = read_blob(
        "NAME  READY  STATUS  RESTARTS  AGE\nweb-1   0/1   ImagePullBackOff   0   3m\nweb-2   1/1   Running   0   3m\n"
    )
    (only,) = blob.readings
    assert "back-off-only" in only.tags


def test_body_belongs_to_the_line_above() -> None:
    blob = read_blob(
        "rpc error: code = Unknown desc = unexpected status from GET request to https://h.example/v2/p/a/blobs/sha256:aa: 401 Unauthorized\n"
        'unauthorized: http status code: 401, body: {"errors": []}\n'
    )
    (only,) = blob.readings
    assert "blob-401-body" in only.tags
    assert only.status == 401


def test_two_clients_in_one_file_are_two_texts() -> None:
    blob = read_blob(
        "$ docker pull h.example/t/a:1\nError response from daemon: received unexpected HTTP status: 502 Bad Gateway\n"
        'rpc error: code = Unknown desc = failed to pull and unpack image "h.example/t/a:1": failed to resolve image: '
        "unexpected status from HEAD request to https://h.example/v2/t/a/manifests/1: 502 Bad Gateway\n"
    )
    assert [reading.client for reading in blob.readings] == ["docker", "containerd"]


def test_journal_lines() -> None:
    containerd = log_entry(
        'time="2026-01-02T03:04:05.5Z" level=error msg="PullImage \\"h.example/a:1\\" failed" error="rpc error: code = Unknown desc = '
        'failed to resolve image: Head \\"https://h.example/v2/a/manifests/1\\": EOF"'
    )
    assert containerd is not None
    assert (containerd.image, containerd.level, containerd.time) == (
        "h.example/a:1",
        "error",
        read_time("2026-01-02T03:04:05.5Z"),
    )
    assert containerd.message.endswith("EOF")
    kubelet = log_entry(
        'E0102 03:04:05.678901      57 pod_workers.go:1324] "Error syncing pod, skipping" err="failed to \\"StartContainer\\" for \\"app\\" '
        'with ImagePullBackOff: \\"Back-off pulling image \\\\\\"h.example/a:1\\\\\\": ErrImagePull: x509: certificate signed by unknown '
        'authority\\"" pod="apps/web"'
    )
    assert kubelet is not None
    assert (kubelet.message, kubelet.pod) == ("x509: certificate signed by unknown authority", "apps/web")


def test_ci_log_with_stamps_and_colours() -> None:
    blob = read_blob(
        "2026-01-02T03:04:05Z $ docker push h.example/t/a:1\n2026-01-02T03:34:10Z \x1b[31munauthorized: unauthorized to access repository: "
        "t/a, action: push\x1b[0m\n"
    )
    (attempt,) = blob.attempts
    assert attempt.action == "push"
    assert blob.readings[0].time == read_time("2026-01-02T03:34:10Z")


def test_same_meaning() -> None:
    one = 'Failed to pull image "h.example/a:1": rpc error: code = Unknown desc = failed commit: unexpected commit digest sha256:aaaaaaaaaaaa'
    two = "failed commit: unexpected commit digest sha256:bbbbbbbbbbbb"
    assert meaning_of(one) == meaning_of(two)
    assert meaning_of("read tcp 10.0.0.1:51212->10.0.0.2:443: x") == meaning_of("read tcp 10.0.0.1:5->10.0.0.2:443: x")
    (both,) = fold([read_text(one, source=EVENT), read_text(one.replace("aaaa", "cccc"), source=EVENT)])
    assert both.count == 2


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("authorization failed: no basic auth credentials", "no"),
        ("failed to fetch anonymous token: unexpected status: 401 Unauthorized", "no"),
        ("failed to fetch oauth token: unexpected status: 401 Unauthorized", "yes"),
        ("unexpected status from HEAD request to https://h.example/v2/a/manifests/1: 401 Unauthorized", "unknown"),
        ("dial tcp 10.0.0.1:443: i/o timeout", ""),
    ],
)
def test_credential_by_the_words(text: str, sent: str) -> None:
    assert read_text(text, source=EVENT).cred_sent == sent


def test_the_type_of_a_refused_manifest_may_stand_in_a_line_before() -> None:
    refused = "Error uploading manifest 1 to h.example/t/a: received unexpected HTTP status: 500 Internal Server Error"
    kind = "DEBU[0000] Writing manifest using preferred type application/vnd.oci.image.manifest.v1+json failed: "
    (reading,) = read_blob(
        f"{kind}{refused}\nERRO[0000] Error copying image to the remote destination: {refused}"
    ).readings
    assert (reading.action, reading.status) == ("push", 500)
    assert "oci-manifest" in reading.tags
    (reading,) = read_blob(f"ERRO[0000] Error copying image to the remote destination: {refused}").readings
    assert "oci-manifest" not in reading.tags


def test_joined_errors_and_pause_image() -> None:
    joined = 'Failed to pull image "h.example/a:1": [failed to resolve image: unexpected status: 401 Unauthorized, failed to resolve image: EOF]'
    assert read_text(joined, source=EVENT).joined_errors
    assert not read_text("map[a, b]: EOF", source=EVENT).joined_errors
    assert read_text('failed to get sandbox image "h.example/pause:3.9": EOF', source=EVENT).names_image == "pause"


def test_path_owner() -> None:
    owner = {
        "write /var/lib/containerd/x: no space left on device": "node",
        "UNKNOWN: unknown error; map[DriverName:filesystem Enclosed:map[Err:28]]": "registry",
    }
    for text, wanted in owner.items():
        assert read_text(text).path_owner == wanted


@pytest.mark.parametrize("blob", ["", "\n\n", "\x00\xff", "{" * 5000, 'msg="' * 500, "[" * 3000, "$ docker push 'x"])
def test_odd_input_never_raises(blob: str) -> None:
    read_blob(blob, fallback=True)


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ('Failed to pull image "h.example/a:1": rpc error: code = Unknown desc = Error response from daemon: manifest unknown', "kubelet"),
        ("rpc error: code = Unknown desc = Error response from daemon: Get https://h.example/v2/: x509: unknown", "kubelet"),
        ("Error response from daemon: manifest for h.example/a:1 not found: manifest unknown", "docker"),
        ("docker: Error response from daemon: pull access denied for a", "docker"),
    ],
)  # fmt: skip
def test_what_a_node_heard_from_its_daemon_is_no_command_of_anybodys(text: str, client: str) -> None:
    assert read_text(text).client == client


@pytest.mark.parametrize(
    ("words", "damaged"),
    [
        ("-u robot$ci", True),
        ('-u "robot$team+ci"', True),
        ("-u 'robot$ci'", False),
        ("-u $CI_REGISTRY_USER", False),
        ('-u "$USER"', False),
        ('--docker-username="${REG_USER}"', False),
    ],
)
def test_a_name_that_is_a_variable_is_not_damaged_by_the_shell(words: str, damaged: bool) -> None:
    assert shell_expands(f"docker login {words} -p x h.example") is damaged


def test_a_prompt_ends_the_message_above_it() -> None:
    blob = read_blob(
        "$ docker pull h.example/a:1\nError response from daemon: Get https://h.example/v2/: dial tcp 10.0.0.1:443: i/o timeout\n(base) ➜ ls -l\n"
    )
    assert [reading.message for reading in blob.readings] == [
        "Error response from daemon: Get https://h.example/v2/: dial tcp 10.0.0.1:443: i/o timeout"
    ]


def test_podman_pulls_are_of_an_operator() -> None:
    (reading,) = read_blob(
        "Trying to pull h.example/t/a:1...\nError: initializing source docker://h.example/t/a:1: reading manifest 1 in h.example/t/a: unauthorized: no"
    ).readings
    assert (reading.client, reading.action) == ("other", "pull")

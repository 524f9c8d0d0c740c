"""The report says what was seen and done, and takes nothing from outside as markup."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from app.model.case import Incident
from app.model.events import (
    Answered,
    Applied,
    ChangeSeen,
    Confirmed,
    Event,
    GroundSeen,
    Judged,
    MissingSeen,
    Observed,
    Opened,
    Planned,
    Progressed,
    Stamped,
    StandingSeen,
)
from app.model.evidence import Evidence, Outcome
from app.model.fix import StepState
from app.model.state import EMPTY, SessionState, reduce_all
from app.model.target import Target
from app.session.codec import Header
from app.session.report import html, markdown

HOSTILE = "</pre><script>alert(1)</script>\n```\n# not a heading\n[x](javascript:alert(1)) ![i](http://evil/i.png) <img src=x> \x1b[31m"
GROUND = GroundSeen(
    "secret.exists is false", "true", "false", "proof A", "secret.read", "workload/apps/web-1", "operator",
    "kubectl get secret pull -n apps -o json", "no Secret pull in namespace apps", 1_700_000_000.0,
)  # fmt: skip
BEST = StandingSeen(
    "pull-secret-missing", "pull-secret-missing-in-namespace", "fault", "proven", ("workload/apps/web-1",),
    "The pull secret does not exist", "The pod lists pull, which is not there.", "", (GROUND,),
    (MissingSeen("project.api", "registry/harbor.example.com", "project.public", "needs a login", "curl https://harbor.example.com/api/v2.0/projects"),),
)  # fmt: skip
OUT = StandingSeen(
    "robot-expired", "robot-expired", "fault", "out", (), "The robot has expired", because="it was never tried"
)
EVENTS: list[Event] = [
    Opened(Incident(image="harbor.example.com/a/b:1", action="pull", texts=("no basic auth credentials",), pods=("apps/web-1",))),
    Observed(Evidence("core.logs", Target.of(core_pod="c-0"), outcome=Outcome.DENIED, detail="forbidden: pods/log")),
    Answered("s/q", "no"),
    Judged("fault_found", ("no-credential-sent",), (BEST, OUT)),
    Planned("p1", "create-secret", "pull-secret-missing", "Create the secret", "cure", "none", "", "delete it", ("workload/apps/web-1",),
            (ChangeSeen("workload/apps/web-1", "kube-create", "Create Secret pull", "+password ~1f0c92ab", "kubectl create -f -"),), (("the secret is absent", "ok"),)),
    Confirmed("p1", "y"),
    Progressed("p1", "workload/apps/web-1", StepState.VERIFIED),
    Applied("p1", verified=True, probe_verified=True, event_verified=True),
]  # fmt: skip
HEADER = Header(schema=1, product="0.1.0", rulebook="0123456789abcdef", target="prod", id="id1")


def state(events: list[Event]) -> SessionState:
    return reduce_all(Stamped(number, 1_700_000_000.0 + number, event) for number, event in enumerate(events, 1))


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_all_parts_are_there_in_both_forms() -> None:
    wanted = [
        "no basic auth credentials", "The pull secret does not exist", "pull-secret-missing-in-namespace", "proven",
        "kubectl get secret pull -n apps -o json", "no Secret pull in namespace apps", "2023-11-14 22:13:20 UTC",
        "The robot has expired", "it was never tried", "project.public", "needs a login",
        "curl https://harbor.example.com/api/v2.0/projects", "forbidden: pods/log", "kubectl create -f -",
        "+password ~1f0c92ab", "Create the secret", "delete it", "verified", "the awaited event came", "0123456789abcdef",
    ]  # fmt: skip
    page = Tags(html(state(EVENTS), HEADER)).text
    text = markdown(state(EVENTS), HEADER).replace("\\", "")
    for part in wanted:
        assert part in page, part
        assert part in text, part
    headings = [line for line in markdown(state(EVENTS), HEADER).splitlines() if line.startswith("#")]
    assert headings == [
        "# pull of harbor.example.com/a/b:1", "## Symptom", "## Cause", "## Evidence", "## Ruled out", "## Not known",
        "## By the operator", "## Change", "## Proof that it works",
    ]  # fmt: skip


def hostile_events() -> list[Event]:
    ground = replace(
        GROUND, text=HOSTILE, seen=HOSTILE, command=HOSTILE, excerpt=HOSTILE, target=HOSTILE, vantage=HOSTILE
    )
    standing = replace(BEST, title=HOSTILE, summary=HOSTILE, because=HOSTILE, targets=(HOSTILE,), grounds=(ground,))
    plan = Planned(
        "p",
        HOSTILE,
        HOSTILE,
        HOSTILE,
        HOSTILE,
        HOSTILE,
        HOSTILE,
        HOSTILE,
        (HOSTILE,),
        (ChangeSeen(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        hand_off=HOSTILE,
    )
    return [
        Opened(Incident(image=HOSTILE, registry=HOSTILE, texts=(HOSTILE,), pods=(HOSTILE,)), context=HOSTILE),
        Observed(Evidence("p", outcome=Outcome.DENIED, detail=HOSTILE)),
        Answered(HOSTILE, HOSTILE),
        Judged("fault_found", (HOSTILE,), (standing, replace(OUT, title=HOSTILE, because=HOSTILE))),
        plan,
    ]


def test_html_takes_nothing_as_markup_and_loads_nothing() -> None:
    page = Tags(html(state(hostile_events()), HEADER))
    assert set(page.tags) <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "ul",
        "li",
        "pre",
        "section",
        "footer",
    }
    assert set(page.attributes) <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    assert "alert(1)" in page.text
    assert "\x1b" not in page.text


def test_markdown_takes_nothing_as_markup() -> None:
    text = markdown(state(hostile_events()), HEADER)
    assert "\x1b" not in text
    fence, outside = "", []
    for line in text.splitlines():
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = line.removesuffix("text")
        else:
            outside.append(line)
    assert fence == ""
    plain = "\n".join(outside)
    assert "<script" not in plain.replace("\\<", "")
    assert "](" not in plain.replace("\\]", "")
    assert [line for line in outside if line.startswith("#")][1:] == [
        "## Symptom", "## Cause", "## Evidence", "## Ruled out", "## Not known", "## By the operator", "## Change",
    ]  # fmt: skip


def test_an_empty_session_and_a_failed_proof_say_so() -> None:
    assert "It was not judged" in markdown(EMPTY)
    failed = [
        *EVENTS[:-1],
        Applied("p1", verified=False, event_verified=False, undone=True, note="the token is still refused"),
    ]
    text = markdown(state(failed))
    assert "NOT verified" in text
    assert "applied and undone" in text
    assert "did not come" in text
    assert "Nothing was changed" in markdown(state(EVENTS[:4]))

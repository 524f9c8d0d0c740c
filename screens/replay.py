"""A saved session, forward and back: the walk with a time line."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from app.model.view import ReplayView, Timeline
from screens import messages as ask
from screens.base import key
from screens.walk import WalkScreen
from screens.widgets.pane import Pane
from screens.widgets.text import MUTED, assemble, clock_time, good, lines, muted, one_line, plain, warn

STEP_SECONDS = 0.7
SEEK = 10


class ReplayPane(Pane, inherit_bindings=False):
    """Scrolls by arrows and pages only: j, home and end belong to the replay."""

    BINDINGS = [
        Binding("up,k", "scroll_up", "up", show=False, id="replay.up"),
        Binding("down", "scroll_down", "down", show=False, id="replay.down"),
        Binding("pageup,ctrl+u", "page_up", "page up", show=False, id="replay.page_up"),
        Binding("pagedown,ctrl+d", "page_down", "page down", show=False, id="replay.page_down"),
    ]


class ReplayScreen(WalkScreen):
    """Keys that would act on the world are taken away; those that look stay."""

    BINDINGS = [
        key("space", "play", "play/pause", id="replay.play"),
        key("full_stop", "on", "on", id="replay.on", shown="."),
        key("comma", "one_back", "back", id="replay.back", shown=","),
        key("left_square_bracket", "previous", "decision before", id="replay.previous", shown="["),
        key("right_square_bracket", "following", "decision after", id="replay.next", shown="]"),
        key("left,h", "seek_back", "10 back", id="replay.seek_back", shown="←"),
        key("right,l", "seek_on", "10 on", id="replay.seek_on", shown="→"),
        key("home", "first", "first", id="replay.first", show=False),
        key("end", "last", "last", id="replay.last", show=False),
        key("j", "judge", "judge today", id="replay.judge"),
        key("e", "evidence", "evidence", id="walk.evidence"),
        key("w", "why", "why", id="walk.why"),
        key("ctrl+s,f2", "report", "save", id="page.save", shown="ctrl+s"),
        key("escape", "leave", "sessions", id="page.back"),
    ]
    DEFAULT_CSS = """
    ReplayScreen #timeline { height: auto; max-height: 7; padding: 0 1; background: $boost; }
    """
    PANE = ReplayPane
    GONE = frozenset(
        {"next", "consent", "object", "supply", "back", "auto", "read_again", "plan", "fixes", "go", "hint", "give_up"}
        | {f"answer-{n}" for n in (*range(1, 10), "unknown")}
    )  # fmt: skip

    def __init__(self, view: ReplayView) -> None:
        super().__init__(view.walk)
        self.replay = view
        self._timer: Timer | None = None

    def above(self) -> ComposeResult:
        yield Static("", id="timeline", markup=False)

    def on_unmount(self) -> None:
        if self._timer is not None:
            self._timer.stop()

    def show_replay(self, view: ReplayView) -> None:
        self.replay = view
        self.show(view.walk)
        if self._timer is not None and view.timeline.position >= len(view.timeline.marks):
            self._pause()

    @property
    def playing(self) -> bool:
        return self._timer is not None

    def head(self) -> Content:
        line = self.replay.timeline
        right = f"{'▶ playing' if self.playing else '‖ paused'}   event {line.position}/{len(line.marks)}"
        return self.spread(assemble("‹ sessions   Replay: ", one_line(self.replay.session.title)), plain(right))

    def draw(self) -> None:
        super().draw()
        self.query_one("#timeline", Static).update(timeline(self.replay.timeline, self.app.size.width - 2))

    def why_not(self, name: str) -> str:
        line = self.replay.timeline
        at, end = line.position, len(line.marks)
        if name in self.GONE:
            return "This is a replay: nothing is read, answered or changed. In the list of sessions, a goes on with it."
        if name in {"play", "on", "seek_on", "last"} and at >= end:
            return "This is the last event."
        if name in {"one_back", "seek_back", "first"} and at <= 0:
            return "This is the beginning."
        if name == "previous" and not self._decisions(before=True):
            return "There is no decision before this one."
        if name == "following" and not self._decisions(before=False):
            return "There is no decision after this one."
        if name == "judge" and line.changed is not None:
            return "Judged already; the changed verdicts stand under the time line."
        return super().why_not(name)

    def _decisions(self, *, before: bool) -> list[int]:
        at = self.replay.timeline.position
        marks = [number for number, mark in enumerate(self.replay.timeline.marks, start=1) if mark.decision]
        return [number for number in marks if (number < at if before else number > at)]

    def _pause(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self.redraw()

    def _seek(self, position: int) -> None:
        self.say(ask.Seek(max(0, min(position, len(self.replay.timeline.marks)))))

    def do_play(self) -> None:
        if self.playing:
            self._pause()
        else:
            self._timer = self.set_interval(STEP_SECONDS, self._tick)
            self.redraw()

    def _tick(self) -> None:
        if self.replay.timeline.position < len(self.replay.timeline.marks):
            self.do_on()
        else:
            self._pause()

    def do_on(self) -> None:
        self._seek(self.replay.timeline.position + 1)

    def do_one_back(self) -> None:
        self._seek(self.replay.timeline.position - 1)

    def do_previous(self) -> None:
        self._seek(self._decisions(before=True)[-1])

    def do_following(self) -> None:
        self._seek(self._decisions(before=False)[0])

    def do_seek_back(self) -> None:
        self._seek(self.replay.timeline.position - SEEK)

    def do_seek_on(self) -> None:
        self._seek(self.replay.timeline.position + SEEK)

    def do_first(self) -> None:
        self._seek(0)

    def do_last(self) -> None:
        self._seek(len(self.replay.timeline.marks))

    def do_judge(self) -> None:
        self.say(ask.JudgeAgain())

    def do_report(self) -> None:
        self.say(ask.Report(self.replay.session.id))


def timeline(line: Timeline, width: int) -> Content:
    """A bar with decisions on it, the event just applied, and what today's rules change."""
    end = len(line.marks)
    cells = max(10, width - 2)
    bar = ["─"] * cells
    for number, mark in enumerate(line.marks, start=1):
        if mark.decision:
            bar[min(cells - 1, number * cells // max(1, end + 1))] = "◆"
    at = min(cells - 1, line.position * cells // max(1, end + 1))
    text = "".join(bar)
    drawn = assemble((text[:at], "bold $text-primary"), ("┃", "bold reverse"), (text[at + 1 :], MUTED))
    now = muted("at the beginning")
    if 0 < line.position <= end:
        here = line.marks[line.position - 1]
        now = assemble((f"{clock_time(here.at)}  {here.kind}  ", "bold"), one_line(here.text))
    out = [drawn, now]
    if line.changed is not None:
        rules = f" (rules {line.rules_then} → {line.rules_now})" if line.rules_now else ""
        if line.changed:
            out.append(warn(f"Today's rules change {len(line.changed)}{rules}:"))
            out += [plain(f"  {text}") for text in line.changed[:3]]
        else:
            out.append(good(f"Today's rules come to the same verdicts{rules}."))
    return lines(out)

"""The pull plan: which credential and which hosts a node would use for an image, what is ignored, and why."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content

from app.model.view import CredentialRow, PullPlanView
from screens import messages as ask
from screens.base import Page, key
from screens.widgets.pane import LongPane
from screens.widgets.text import (
    FAILING,
    MUTED,
    WORKS,
    assemble,
    lines,
    muted,
    one_line,
    plain,
    rule,
    unknown,
)


class PullPlanScreen(Page):
    """One node at a time; n and p change the node."""

    BINDINGS = [
        key("n", "next_node", "next node", id="pull_plan.next_node"),
        key("p", "previous_node", "previous node", id="pull_plan.previous_node"),
        key("c", "copy", "copy", id="page.copy"),
        key("ctrl+s,f2", "save", "save", id="page.save", shown="ctrl+s"),
        key("escape", "leave", "walk", id="page.back"),
    ]

    def __init__(self, view: PullPlanView) -> None:
        super().__init__()
        self.view = view

    def body(self) -> ComposeResult:
        yield LongPane("Pull plan", id="plan")

    def show(self, view: PullPlanView) -> None:
        self.view = view
        self.redraw()

    def head(self) -> Content:
        view = self.view
        where = f"{view.node}   {view.runtime}".strip()
        if len(view.nodes) > 1 and view.node in view.nodes:
            where += f"   node {view.nodes.index(view.node) + 1} of {len(view.nodes)}"
        return self.spread(Content("‹ walk   Pull plan"), plain(one_line(where)))

    def draw(self) -> None:
        pane = self.query_one(LongPane)
        pane.border_title = one_line(self.view.image)
        pane.show(self._text())

    def _text(self) -> Content:
        view = self.view
        if view.reading:
            return assemble(("… ", "bold $text-accent"), view.reading)
        out: list[Content | str] = [rule("Credential: the kubelet tries these in order")]
        out += [line for item in view.credentials for line in credential_lines(item)] or [
            muted("none: the pull is anonymous")
        ]
        out += ["", rule("Hosts: the runtime contacts these in order")]
        for number, host in enumerate(view.hosts, start=1):
            out.append(
                assemble(
                    (f"{number}  ", MUTED),
                    (host.url, "bold"),
                    f"   {host.role}",
                    (f"   from {host.why}" if host.why else "", MUTED),
                )
            )
            detail = [
                text
                for text in (
                    host.capabilities,
                    f"trust: {host.trust}" if host.trust else "",
                    f"rewrite: {host.rewrite}" if host.rewrite else "",
                )
                if text
            ]
            out += [muted(f"     {text}") for text in detail]
        if not view.hosts:
            out.append(unknown("Not known: the runtime's settings could not be read."))
        out += ["", rule("Ignored settings")]
        for item in view.ignored:
            out += [
                assemble(("– ignored  ", MUTED), f"{item.setting}", (f"   {item.where}", MUTED)),
                assemble(("     because ", MUTED), item.why),
            ]
        if not view.ignored:
            out.append(muted("none"))
        if view.tools:
            out += ["", rule("Why another tool can have another result")]
            out += [assemble((f"{item.tool}  ", "bold"), item.text) for item in view.tools]
        if view.unknown:
            out += ["", rule("Not known")]
            out += [unknown(text) for text in view.unknown]
        return lines(out)

    def why_not(self, name: str) -> str:
        if name in {"next_node", "previous_node"} and len(self.view.nodes) < 2:
            return "There is no other node to show."
        if name in {"copy", "save"} and self.view.reading:
            return f"Still {self.view.reading}."
        return ""

    def _other(self, step: int) -> None:
        nodes = self.view.nodes
        at = nodes.index(self.view.node) if self.view.node in nodes else 0
        self.say(ask.ShowPullPlan(nodes[(at + step) % len(nodes)]))

    def do_next_node(self) -> None:
        self._other(1)

    def do_previous_node(self) -> None:
        self._other(-1)

    def do_copy(self) -> None:
        self.say(ask.CopyText(self._text().plain, "the pull plan"))

    def do_save(self) -> None:
        self.say(ask.SaveText("pull-plan.txt", f"{self.view.image} on {self.view.node}\n\n{self._text().plain}\n"))


def credential_lines(item: CredentialRow) -> list[Content | str]:
    account = f"   {item.account} for {item.key}" if item.account else ""
    if item.wins is None:
        head = unknown(f"unknown  {item.source}{account}")
    elif item.wins:
        head = assemble((f"{WORKS} wins", "bold $text-success"), f"  {item.source}{account}")
    else:
        head = assemble((FAILING if "not found" in item.why else "–", MUTED), f" not used  {item.source}{account}")
    return [head, assemble(("     because ", MUTED), item.why)] if item.why else [head]

"""Blocks of a report as Markdown and as one HTML file. Nothing in a block is ever taken as markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.parsers.redact import clean


@dataclass(frozen=True, slots=True)
class Para:
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Text as it was: a command, an excerpt, a difference."""

    text: str
    caption: str = ""


Block = Para | Items | Code


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


_ESCAPED = re.compile(r"([\\`*_{}\[\]<>#|~&$@]|:(?=//))")
_LINE_START = re.compile(r"^(\s*)(\d+)?([-+.=>])", re.MULTILINE)


def _inline(text: str) -> str:
    """Markdown text that shows exactly this text, in one line: no link, no image, no HTML, no mention."""
    one = " ".join(clean(text).split())
    escaped = _ESCAPED.sub(r"\\\1", one)
    return _LINE_START.sub(lambda found: f"{found[1]}{found[2] or ''}\\{found[3]}", escaped)


def _fence(text: str) -> str:
    """A code block that the text cannot close."""
    body = clean(text).rstrip("\n")
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{body}\n{fence}"


def markdown_page(title: str, verdict: str, sections: Iterable[Section], footer: Sequence[str]) -> str:
    """A Markdown document."""
    parts = [f"# {_inline(title)}", f"**{_inline(verdict)}**"]
    for section in sections:
        parts.append(f"## {_inline(section.title)}")
        for block in section.blocks:
            match block:
                case Para():
                    parts.append(_inline(block.text))
                case Items():
                    parts.append("\n".join(f"- {_inline(line)}" for line in block.lines))
                case Code():
                    if block.caption:
                        parts.append(f"{_inline(block.caption)}:")
                    parts.append(_fence(block.text))
    if footer:
        parts.append("---")
        parts.extend(_inline(line) for line in footer)
    return "\n\n".join(parts) + "\n"


_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #8888}
p,li{overflow-wrap:anywhere}.verdict{font-weight:600;border-left:4px solid #888;padding-left:.75rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #8888;padding:.6rem;margin:.3rem 0 1rem}
.caption{margin:0;font-size:.875rem}footer{margin-top:2rem;font-size:.875rem}
"""


def html_page(title: str, verdict: str, sections: Iterable[Section], footer: Sequence[str]) -> str:
    """One self-contained file: no script, nothing loaded, and a policy that forbids both."""
    parts = []
    for section in sections:
        parts.append(f"<section><h2>{_text(section.title)}</h2>")
        for block in section.blocks:
            match block:
                case Para():
                    parts.append(f"<p>{_text(block.text)}</p>")
                case Items():
                    parts.append("<ul>" + "".join(f"<li>{_text(line)}</li>" for line in block.lines) + "</ul>")
                case Code():
                    if block.caption:
                        parts.append(f'<p class="caption">{_text(block.caption)}:</p>')
                    parts.append(f"<pre>{_text(block.text)}</pre>")
        parts.append("</section>")
    end = f"<footer>{''.join(f'<p>{_text(line)}</p>' for line in footer)}</footer>" if footer else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n"
        f'<body><h1>{_text(title)}</h1><p class="verdict">{_text(verdict)}</p>\n'
        + "\n".join(parts)
        + f"\n{end}</body></html>\n"
    )


def _text(text: str) -> str:
    return html.escape(clean(text), quote=True)

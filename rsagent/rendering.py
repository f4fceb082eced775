"""Results for people: Markdown for reports and chats, HTML for notebooks. Whatever a model said is escaped in both."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsagent.schemas import Answer, Caption, Conflict

_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~!])")


def caption_markdown(caption: Caption) -> str:
    """A caption as Markdown: the text, a line for each aspect, then what is missing or contradictory."""
    lines = [_plain(caption.text), ""]
    lines += [f"- **{name}**: {_plain(text)}" for name, text in _aspects(caption)]
    return "\n".join([*lines, *(f"- *{_plain(note)}*" for note in blemishes(caption))]).rstrip()


def answer_markdown(answer: Answer) -> str:
    """An answer as Markdown: question, answer and who gave it, then the evidence and what is missing."""
    lines = [f"> {_plain(answer.question)}", "", f"**{_plain(answer.text)}** ({_plain(answer.expert)})"]
    evidence = [f"- {_plain(name)}: {_plain(text)}" for name, text in _evidence(answer)]
    notes = [f"- *{_plain(note)}*" for note in blemishes(answer)]
    return "\n".join([*lines, *([""] if evidence or notes else []), *evidence, *notes])


def caption_html(caption: Caption) -> str:
    """A caption as HTML without scripts, styles of the page or anything fetched."""
    return _html(caption.image.name, caption.text, _aspects(caption), blemishes(caption))


def answer_html(answer: Answer) -> str:
    """An answer as HTML; see `caption_html`."""
    return _html(answer.question, f"{answer.text} ({answer.expert})", _evidence(answer), blemishes(answer))


def blemishes(result: Caption | Answer) -> list[str]:
    """What a reader must know about a result, one line each: who is missing, who contradicts whom."""
    missing = [f"partial: nothing from {', '.join(result.missing)}"] if result.missing else []
    return missing + [_conflict(conflict) for conflict in result.conflicts if not conflict.resolved]


def _conflict(conflict: Conflict) -> str:
    return f"contradiction: {conflict.what}"


def _aspects(caption: Caption) -> list[tuple[str, str]]:
    named = [("theme", caption.theme), ("objects", caption.objects), ("relations", caption.relations)]
    return [(name, text) for name, text in named if text]


def _evidence(answer: Answer) -> list[tuple[str, str]]:
    return [(report.expert, report.text) for report in answer.evidence if report.text]


def _html(head: str, text: str, rows: Sequence[tuple[str, str]], notes: Sequence[str]) -> str:
    cells = "".join(f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(said)}</td></tr>" for name, said in rows)
    below = "".join(f"<p><em>{escape(note)}</em></p>" for note in notes)
    table = f"<table>{cells}</table>" if cells else ""
    return f"<div><p><small>{escape(head)}</small><br><strong>{escape(text)}</strong></p>{table}{below}</div>"


def _plain(text: str) -> str:
    """A text whose marks mean nothing to Markdown, on one line."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))

"""A conversation as a file: Markdown, JSON or one HTML page. Pictures are named, not copied."""

from __future__ import annotations

import html
import json
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rsagent.chat.records import Picture, Reply, Turn
from rsagent.errors import RSAgentError, UserError

FORMATS = (".md", ".json", ".html")


def export(path: Path, title: str, pictures: Sequence[Picture], turns: Sequence[Turn]) -> None:
    """Write a conversation to `path`, whole or not at all; the ending chooses the form.

    Raises:
        UserError: another ending.
        RSAgentError: it cannot be written.
    """
    write = {".md": _markdown, ".json": _json, ".html": _html}.get(path.suffix.lower())
    if write is None:
        raise UserError(f"cannot export to '{path}': give a name that ends in {', '.join(FORMATS)}")
    _replace(path, write(title, pictures, turns))


def as_data(title: str, pictures: Sequence[Picture], turns: Sequence[Turn]) -> dict[str, object]:
    """A conversation as JSON data."""
    return {
        "title": title,
        "pictures": [picture.model_dump() for picture in pictures],
        "turns": [turn.model_dump() for turn in turns],
    }


def _json(title: str, pictures: Sequence[Picture], turns: Sequence[Turn]) -> str:
    return json.dumps(as_data(title, pictures, turns), ensure_ascii=True, indent=2) + "\n"


def _markdown(title: str, pictures: Sequence[Picture], turns: Sequence[Turn]) -> str:
    lines = [f"# {_plain(title)}", ""]
    lines += [f"{number}. {_plain(picture.path)} (sha256 {picture.digest[:12]})" for number, picture in enumerate(pictures, 1)]
    for turn in turns:
        lines += ["", f"**{_plain(turn.said)}**", ""]
        if turn.task == "answer" and turn.question != turn.said:
            lines += [f"*asked: {_plain(turn.question)}*", ""]
        for reply in turn.replies:
            lines += [f"- {_plain(line)}" for line in _lines(reply, turn)]
    return "\n".join(lines) + "\n"


def _html(title: str, pictures: Sequence[Picture], turns: Sequence[Turn]) -> str:
    escape = html.escape
    parts = [
        "<!doctype html>",
        '<html lang="en"><meta charset="utf-8">',
        f"<title>{escape(title)}</title>",
        "<style>body{font-family:sans-serif;max-width:44em;margin:2em auto;padding:0 1em}dt{font-weight:bold;margin-top:1em}"
        ".asked{color:#555;font-style:italic}</style>",
        f"<h1>{escape(title)}</h1>",
        "<ol>" + "".join(f"<li>{escape(picture.path)}</li>" for picture in pictures) + "</ol>",
        "<dl>",
    ]
    for turn in turns:
        parts.append(f"<dt>{escape(turn.said)}</dt>")
        if turn.task == "answer" and turn.question != turn.said:
            parts.append(f'<dd class="asked">{escape(turn.question)}</dd>')
        parts += [f"<dd>{escape(line)}</dd>" for reply in turn.replies for line in _lines(reply, turn)]
    return "\n".join([*parts, "</dl></html>"]) + "\n"


def _lines(reply: Reply, turn: Turn) -> list[str]:
    """A reply: the text, with the picture where there are several, what each expert said, what is to be known of it."""
    label = f"picture {reply.picture}: " if len(turn.pictures) > 1 else ""
    lines = [label + reply.text + (" (cut)" if turn.cut else "")]
    lines += [f"{expert}: {text}" for expert, text in reply.said.items() if text != reply.text]
    lines += [f"conflict: {what}" for what in reply.conflicts]
    return [*lines, reply.earlier] if reply.contradicts else lines


def _plain(text: str) -> str:
    """Text that Markdown does not read as anything else."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", text)


def _replace(path: Path, text: str) -> None:
    partial = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False, encoding="utf-8") as file:
            partial = file.name
            file.write(text)
        os.replace(partial, path)
    except OSError as error:
        if partial is not None:
            with suppress(OSError):
                os.unlink(partial)
        raise RSAgentError(f"cannot write {path}: {error.strerror or error}") from error

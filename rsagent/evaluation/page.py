"""The page of a comparison: one self-contained HTML file with pictures, where runs differ, the worst first.

Whatever a model or a data set says reaches the page as JSON text and is put there as text, never as markup; the page runs
its own script alone (a content security policy says so) and fetches nothing.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from rsagent.errors import RSAgentError
from rsagent.evaluation.comparison import COUNTS, Compared, ComparedItem
from rsagent.evaluation.run_folder import write_whole
from rsagent.evaluation.sets import SCENES
from rsagent.evaluation.table import Table, cells

SIDE = 112
"""Pixels of a small picture's longer side."""
PICTURE_BYTES = 11_000_000
"""Pictures beyond this are left out of the page, the least different items' first."""
MOST_ITEMS = 20_000
_QUALITY = 55
_ROUNDED = 4


def write_page(compared: Compared, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        RSAgentError: it cannot be written.
    """
    write_whole(path, page(compared))


def page(compared: Compared) -> str:
    """The page as text."""
    items = compared.items[:MOST_ITEMS]
    pictures, left_out = _pictures(compared, items)
    places = {image: place for place, image in enumerate(pictures)}
    data = {
        "names": compared.names,
        "score": compared.score,
        "pictures": list(pictures.values()),
        "items": [_item(item, places) for item in items],
    }
    script, style = _part("page.js"), _part("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    notes = [f"{left_out} pictures are left out."] if left_out else []
    if len(compared.items) > len(items):
        notes.append(f"{len(items)} of {len(compared.items)} items are on this page.")
    fill = {
        "policy": policy,
        "title": escape(f"{compared.title}: {', '.join(compared.names)}"),
        "style": style,
        "runs": "".join(
            f"<li><b>{letter}</b> {escape(name)}</li>" for letter, name in zip(ascii_uppercase, compared.names, strict=False)
        ),
        "tables": "".join(map(_table, compared.tables)),
        "confusions": _confusions(compared),
        "notes": escape(" ".join(notes)),
        "data": _json(data),
        "script": script,
    }
    text = _part("page.html")
    for name, value in fill.items():
        head, mark, tail = text.partition(f"<!--{name}-->")
        if not mark:
            raise RSAgentError(f"the page's template lacks {name}: install rsagent anew")
        text = head + value + tail
    return text


def _item(item: ComparedItem, places: dict[str, int]) -> dict[str, Any]:
    return {
        "i": item.image,
        "p": places.get(item.image, -1),
        "t": item.type,
        "q": item.question,
        "r": item.truths,
        "s": [
            [text, round(score, _ROUNDED), experts]
            for text, score, experts in zip(item.texts, item.scores, item.experts, strict=True)
        ],
    }


def _pictures(compared: Compared, items: Sequence[ComparedItem]) -> tuple[dict[str, str], int]:
    """Small pictures by image, the most different items' first, and how many are left out."""
    found: dict[str, str] = {}
    used = left_out = 0
    first: dict[str, ComparedItem] = {}
    for item in items:
        first.setdefault(item.image, item)
    for item in first.values():
        uri = _thumbnail(compared, item) if used < PICTURE_BYTES else None
        if uri is None:
            left_out += 1
        else:
            found[item.image] = uri
            used += len(uri)
    return found, left_out


def _thumbnail(compared: Compared, item: ComparedItem) -> str | None:
    """A picture as a data URI; None where its file is gone or is no picture any more."""
    from PIL import Image

    from rsagent.errors import ImageError
    from rsagent.imagery import load_image

    try:
        if item.file is not None:
            rgb = load_image(item.file).rgb
        elif compared.dataset in SCENES:
            from rsagent.evaluation.run_scenes import draw_scene

            rgb = draw_scene(compared.split, int(item.image))
        else:
            return None
    except ImageError:
        return None
    picture = Image.fromarray(rgb)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column.name)}</th>" for column in table.columns)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in found)}</tr>"
        for name, found in cells(table)
    )
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    return f"<h2>{escape(table.title)}</h2><table><tr><th></th>{head}<th>n</th></tr>{rows}</table>{note}"


def _confusions(compared: Compared) -> str:
    """Counts, true by row and said by column, one table a run; right ones on the diagonal."""
    parts: list[str] = []
    for letter, counts in compared.confusions.items():
        head = "".join(f"<th>{escape(name)}</th>" for name in COUNTS)
        most = max((value for row in counts for value in row), default=0) or 1
        rows = "".join(
            f"<tr><th>{escape(name)}</th>"
            + "".join(
                f"<td class={'right' if place == column else 'off'} style='--share:{value / most:.2f}'>{value or ''}</td>"
                for column, value in enumerate(row)
            )
            + "</tr>"
            for place, (name, row) in enumerate(zip(COUNTS, counts, strict=True))
        )
        parts.append(f"<figure><figcaption>{escape(letter)}: true by row, said by column</figcaption>")
        parts.append(f"<table class=confusion><tr><th></th>{head}</tr>{rows}</table></figure>")
    return f"<h2>Counts</h2><div class=side>{''.join(parts)}</div>" if parts else ""


def _json(data: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.translate({ord(mark): f"\\u{ord(mark):04x}" for mark in "&<>\u2028\u2029"})


@lru_cache
def _part(name: str) -> str:
    return files("rsagent.evaluation").joinpath("page_files", name).read_text("utf-8")

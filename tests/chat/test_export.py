"""A conversation as Markdown, JSON and HTML, with hostile words in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsagent.chat.export import export
from rsagent.chat.records import Picture, Reply, Turn
from rsagent.errors import RSAgentError, UserError

PICTURES = [Picture(path="/data/a<b>.png", digest="0" * 64, name="a<b>.png")]
TURNS = [
    Turn(
        number=1,
        said="and <script>alert(1)</script>?",
        question="Is there a **pond**?",
        pictures=[1],
        replies=[Reply(picture=1, text="yes", expert="object", said={"object": "yes", "theme": "a [pond](x)"})],
    ),
    Turn(number=2, said="where?", question="Where is the pond?", pictures=[1], cut=True, replies=[Reply(picture=1, text="to")]),
]


@pytest.mark.parametrize("ending", ["md", "html"])
def test_hostile_words_stay_words(tmp_path: Path, ending: str) -> None:
    export(tmp_path / f"talk.{ending}", "A & <b>", PICTURES, TURNS)
    text = (tmp_path / f"talk.{ending}").read_text("utf-8")
    assert "<script>" not in text and "<b>" not in text
    assert "(cut)" in text and "Where is the pond?" in text
    assert "**pond**" not in text or ending == "html"


def test_json_holds_everything(tmp_path: Path) -> None:
    export(tmp_path / "talk.json", "title", PICTURES, TURNS)
    data = json.loads((tmp_path / "talk.json").read_text())
    assert [Turn.model_validate(turn) for turn in data["turns"]] == TURNS


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ends in .md, .json, .html"):
        export(tmp_path / "talk.txt", "title", PICTURES, TURNS)
    with pytest.raises(RSAgentError, match="No such file"):
        export(tmp_path / "nowhere" / "talk.md", "title", PICTURES, TURNS)
    assert list(tmp_path.iterdir()) == []

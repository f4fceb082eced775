"""Scripted dialogues as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from rsagent.agent import RSAgent
from rsagent.chat.script import load_script, run_script
from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import UserError
from tests.chat.test_dialogues import HERE

SCRIPT = """
dialogues:
  - name: two ponds
    pictures: [a.png, scene:demo/3]
    turns:
      - {ask: "Is there a pond?", answer: "yes", picture: 1}
      - {ask: "and in the second picture?", full: ["Is there a pond?"], picture: 2, answer: [no, "yes"]}
      - {ask: "where is it?", full: ["Where is the lake?"], answer: left}
"""


async def test_a_script_is_played_and_checked(tmp_path: Path) -> None:
    (tmp_path / "talk.yaml").write_text(SCRIPT.replace("[no,", '["no",'))
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    agent = RSAgent(ScriptedEngine({"object": "yes"}))
    played = run_script(load_script(tmp_path / "talk.yaml"), agent, "scripted", tmp_path, tmp_path)
    done = [checked async for checked in played]
    assert [(turn.understood, turn.right, turn.follow_up) for turn in done] == [
        (True, True, False),
        (True, True, True),
        (False, False, True),
    ]
    assert done[2].question == "Where is the pond?"
    assert (tmp_path / "demo-3.png").exists()


def test_the_projects_own_scripts_can_be_read() -> None:
    assert sum(len(load_script(file).dialogues) for file in (HERE / "dialogues").glob("*.yaml")) == 40


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dialogues: [", "is not YAML"),
        ("dialogues: []", "at least 1 item"),
        ("- 1", "is no script: the file"),
        ("dialogues: [{name: x, pictures: [a.png], turns: [{asked: y}]}]", "dialogues.0.turns.0.ask"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_what_is_no_script(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "talk.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as error:
        load_script(tmp_path / "talk.yaml")
    assert "\n" not in str(error.value)

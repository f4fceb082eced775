"""The scripted dialogues: forty, twenty and twenty of them, and each answer is what the scene's own facts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rsagent.agent import RSAgent
from rsagent.chat.script import load_script, run_script
from rsagent.engines.scripted import ScriptedEngine
from rsagent.training import scene_facts as facts
from rsagent.training.scenes import COLOURS, KINDS, Scene, scene_from_seed

HERE = Path(__file__).parent


def dialogues_of(folder: str) -> list[dict[str, Any]]:
    """All dialogues of a folder: `dialogues`; `fresh`, whose failures taught the rules since; `fresh2`, written blind."""
    files = sorted((HERE / folder).glob("*.yaml"))
    return [dialogue for file in files for dialogue in yaml.safe_load(file.read_text("utf-8"))["dialogues"]]


DIALOGUES = dialogues_of("dialogues")
FRESH = dialogues_of("fresh")
FRESH2 = dialogues_of("fresh2")
FLOOR = 0.75


@pytest.mark.parametrize(
    ("dialogues", "count"), [(DIALOGUES, 40), (FRESH, 20), (FRESH2, 20)], ids=["dialogues", "fresh", "fresh2"]
)
def test_dialogues_of_three_to_eight_turns(dialogues: list[dict[str, Any]], count: int) -> None:
    assert len(dialogues) == count
    assert len({dialogue["name"] for dialogue in dialogues}) == count
    assert all(3 <= len(dialogue["turns"]) <= 8 for dialogue in dialogues)


@pytest.mark.parametrize("dialogue", DIALOGUES + FRESH + FRESH2, ids=lambda dialogue: dialogue["name"])
def test_every_answer_follows_from_the_scene(dialogue: dict[str, Any]) -> None:
    scenes: list[Scene] = []
    for name in dialogue["pictures"]:
        split, _, seed = name.removeprefix("scene:").partition("/")
        scenes.append(scene_from_seed(int(seed), split))
    for turn in dialogue["turns"]:
        meant = turn.get("picture", 1)
        for number in [meant] if isinstance(meant, int) else meant:
            if "because" in turn:
                right = turn["answer"] if isinstance(turn["answer"], list) else [turn["answer"]]
                assert truth(scenes[number - 1], turn["because"]) in right, turn


async def test_three_follow_ups_in_four_are_rewritten_rightly(tmp_path: Path) -> None:
    understood: list[bool] = []
    for file in sorted((HERE / "fresh2").glob("*.yaml")):
        played = run_script(load_script(file), RSAgent(ScriptedEngine({"object": "3"})), "scripted", tmp_path, tmp_path)
        understood += [turn.understood async for turn in played if turn.follow_up]
    assert sum(understood) / len(understood) >= FLOOR


def truth(scene: Scene, why: str) -> str | None:
    """What the scene's facts say about a `because`, such as "count car" or "is house left large building"."""
    word, _, rest = why.partition(" ")
    things = _things(rest)
    match word:
        case "count" if rest.partition(" ")[0] in COLOURS:
            colour, _, kind = rest.partition(" ")
            return str(facts.by_colour(scene, kind).get(colour, 0))
        case "count":
            return str(scene.count(rest))
        case "colour" if " in " in rest:
            kind, _, cell = rest.partition(" in ")
            return next(thing.colour for found, thing in facts.lone_in(scene, kind) if found == cell)
        case "colour":
            return facts.colour_of(scene, rest)
        case "all":
            return _yes(facts.colour_of(scene, things[0]) == rest.rpartition(" ")[2])
        case "place" if rest.partition(" ")[0] in COLOURS:
            colour, _, kind = rest.partition(" ")
            return next(cell for cell, thing in facts.lone_coloured(scene, kind) if thing.colour == colour)
        case "place":
            return facts.place_of(scene, rest)
        case "present":
            return _yes(facts.present(scene, rest))
        case "side":
            return facts.main_side(scene, things[0], things[1])
        case "is" if rest.startswith("scene "):
            return _yes(scene.kind == rest.removeprefix("scene "))
        case "is":
            side = next(word for word in rest.split() if word in facts.OPPOSITE)
            return _yes(facts.sides(scene, things[0], things[1]).get(side))
        case "larger":
            first, second = (facts.area(scene, thing) for thing in things)
            return _yes(first > 1.6 * second)
        case "direction":
            line = scene.line(rest)
            return line.direction if line else None
        case "conclude":
            return _yes(facts.facts_for_reasoning(scene).get(rest))
    return {
        "scene": scene.kind,
        "season": scene.season,
        "grey": "grayscale" if scene.greyscale else "color",
        "clouds": _yes(bool(scene.clouds)),
        "water": scene.water_side,
    }[why]


def _things(text: str) -> list[str]:
    """The kinds that `text` names, in order."""
    found = {text.find(kind): kind for kind in sorted(KINDS, key=len) if kind in text}
    return [found[position] for position in sorted(found)]


def _yes(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"

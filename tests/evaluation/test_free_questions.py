"""The freely phrased questions about scenes: well formed, balanced, and true of the scenes that they are about."""

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from rsagent.evaluation.free_questions import SCENES, open_free_questions
from rsagent.training.scene_facts import area, by_colour, colour_of, lone_in, main_side, place_of, present, sides
from rsagent.training.scene_model import CELLS, COLOURS, KINDS, Scene, cell_of, visible_center
from rsagent.training.scenes import scene_from_seed

QUESTIONS: list[dict[str, Any]] = json.loads(SCENES.read_text("utf-8"))
WANTED = {
    "presence": 40, "quantity": 40, "color": 25, "ab_position": 30, "re_position": 20, "scene": 15, "image": 10,
    "road_ori": 10, "area_comp": 10,
}  # fmt: skip
COUNTRY = ("farmland", "forest", "desert", "beach", "river")
scene_of = cache(scene_from_seed)


def _yes(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _colour_first(words: str) -> tuple[str | None, str]:
    """("red", "car") of "red car", (None, "car") of "car"."""
    first, _, rest = words.partition(" ")
    return (first, rest) if first in COLOURS else (None, words)


def _place(scene: Scene, words: str) -> str | None:
    """The ninth of everything of a kind, or of its only thing of a colour."""
    colour, kind = _colour_first(words)
    if colour is None:
        return place_of(scene, kind)
    places = {cell_of(visible_center(o, scene.size), scene.size, 0.045) for o in scene.seen(kind) if o.colour == colour}
    return places.pop() if len(places) == 1 else None


def _side(scene: Scene, kind: str) -> str | None:
    """The side where the water lies; or the outer third, left or right, that holds everything of a kind."""
    if kind == "water":
        return scene.water_side
    across = [visible_center(o, scene.size)[0] / scene.size for o in scene.seen(kind)]
    return "left" if max(across) < 1 / 3 else "right" if min(across) > 2 / 3 else None


def _larger(scene: Scene, words: str) -> bool | None:
    """Whether the first covers more than the second; None where the two are close to each other."""
    known = {**scene.cover, "half": 0.5}
    first, second = (area(scene, name) if name in KINDS else known[name] for name in words.split(" than "))
    return None if max(first, second) < 1.25 * min(first, second) else first > second


def _seen(scene: Scene, words: str) -> str | None:
    """Whether a kind, or a kind in a colour, is there."""
    colour, kind = _colour_first(words)
    return _yes(present(scene, kind) if colour is None else by_colour(scene, kind).get(colour, 0) > 0)


def _colour(scene: Scene, words: str) -> str | None:
    """The colour that all of a kind share ("car"), or of the only one in a ninth ("car top left")."""
    kind = next(k for k in KINDS if words.startswith(k))
    cell = words.removeprefix(kind).strip()
    if not cell:
        return colour_of(scene, kind)
    assert cell in CELLS
    return next((o.colour for where, o in lone_in(scene, kind) if where == cell), None)


def truth(scene: Scene, because: str) -> str | None:
    """What follows from the scene; None where that is in doubt."""
    fact, _, words = because.partition(" ")
    colour, kind = _colour_first(words)
    two = [k for k in KINDS if f" {k} " in f" {words} "]
    two.sort(key=f" {words} ".index)
    line = scene.line(words)
    found = {
        "present": lambda: _seen(scene, words),
        "count": lambda: str(by_colour(scene, kind).get(colour, 0) if colour else scene.count(kind)),
        "colour": lambda: _colour(scene, words),
        "odd": lambda: next((c for c, n in by_colour(scene, words).items() if n == 1), None),
        "place": lambda: _place(scene, words),
        "side": lambda: _side(scene, words),
        "is": lambda: _yes(sides(scene, two[0], two[1]).get(words.removeprefix(two[0]).split()[0])),
        "where": lambda: main_side(scene, two[0], two[1]),
        "scene": lambda: _yes(scene.kind == words) if words else scene.kind,
        "setting": lambda: "countryside" if scene.kind in COUNTRY else None,
        "season": lambda: _yes(scene.season == words) if words else scene.season,
        "grey": lambda: _yes(scene.greyscale),
        "coloured": lambda: _yes(not scene.greyscale),
        "tone": lambda: "greyscale" if scene.greyscale else "colour",
        "clouds": lambda: _yes(bool(scene.clouds)),
        "direction": lambda: line.direction if line else None,
        "larger": lambda: _yes(_larger(scene, words)),
    }
    return found[fact]()


def test_two_hundred_questions_balanced_by_type() -> None:
    assert Counter(q["type"] for q in QUESTIONS) == WANTED
    assert len({(q["scene"], q["question"].lower()) for q in QUESTIONS}) == len(QUESTIONS) == 200
    assert {q["split"] for q in QUESTIONS} == {"test"}


def test_neither_answer_of_a_yes_or_no_type_is_the_safer_guess() -> None:
    said = Counter(q["answer"] for q in QUESTIONS if q["type"] == "presence")
    assert said == {"yes": 20, "no": 20}
    counts = Counter(q["answer"] for q in QUESTIONS if q["type"] == "quantity")
    assert {int(c) for c in counts} <= set(range(13)) and max(counts.values()) <= 8


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda q: f"{q['scene']}-{q['question']}"[:60])
def test_every_answer_follows_from_the_scene(asked: dict[str, Any]) -> None:
    found = truth(scene_of(asked["scene"], asked["split"]), asked["because"])
    wanted = asked["answer"]
    if asked["type"] == "area_comp" and wanted not in ("yes", "no"):  # the answer names the one that covers more
        wanted = _yes(asked["because"].startswith(f"larger {wanted.removesuffix('s')} than"))
    assert found == wanted


def test_they_are_asked_without_any_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RSAGENT_DATA", raising=False)
    asked = open_free_questions(None, "scenes", None)
    assert [item.question for item in asked.items] == [q["question"] for q in QUESTIONS]
    assert len({item.key for item in asked.items}) == 200 and asked.items[0].truths == (QUESTIONS[0]["answer"],)
    size = scene_of(QUESTIONS[0]["scene"], "test").size
    assert asked.items[0].picture().shape == (size, size, 3)

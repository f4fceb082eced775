"""Rendered scenes: the same for a seed, true in all their parts, balanced, and checked the way they are told."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rsagent.errors import UserError
from rsagent.training.render import render
from rsagent.training.scene_facts import facts_for_reasoning, present
from rsagent.training.scene_model import Line, Scene, SceneObject
from rsagent.training.scene_sets import TEST_SET, VAL_SET, scene_record, write_scenes
from rsagent.training.scene_text import QUESTION_TYPES, aspects, caption, check_caption, questions
from rsagent.training.scenes import (
    CELLS,
    COLOURS,
    DIRECTIONS,
    KINDS,
    SCENES,
    annotate,
    make_scene,
    scene_from_seed,
)

SIDES = {"left", "right", "above", "below"}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene_from_seed(seed, "train") for seed in range(500)]


def empty_scene(*objects: SceneObject, lines: tuple[Line, ...] = ()) -> Scene:
    """A parking lot that holds only what is given."""
    base = make_scene(np.random.default_rng(5), kind="parking lot")
    return replace(base, objects=objects, lines=lines, marks=(), clouds=(), many=frozenset(), greyscale=False, season=None)


def thing(kind: str, x: float, y: float, colour: str | None = None, visible: float = 1.0) -> SceneObject:
    box = (x - 10, y - 6, x + 10, y + 6)
    return SceneObject(kind, colour, (200, 40, 40), (x, y), 20, 12, 0.0, box, visible)


def test_seed_gives_the_same_scene_and_picture():
    first, second = (scene_from_seed(11, "train") for _ in range(2))
    assert first == second
    assert np.array_equal(render(first), render(second))
    assert scene_record(11, "train") == scene_record(11, "train")


def test_splits_share_no_scene():
    layouts = [
        tuple(o.box for o in scene_from_seed(seed, split).objects) + (scene_from_seed(seed, split).look.seed,)
        for split in ("train", "val", "test")
        for seed in range(20)
    ]
    assert len(set(layouts)) == len(layouts)


def test_the_test_set_stays_what_it_is():
    """Scores are comparable only while this holds; a change of the scenes needs a new version of the sets."""
    assert (TEST_SET.version, TEST_SET.count, VAL_SET.count) == (1, 600, 300)
    told = []
    for seed in TEST_SET.seeds()[:40]:
        scene = scene_from_seed(seed, "test")
        told.append([scene.kind, scene.season, [[o.kind, o.colour, *map(round, o.center)] for o in scene.seen()]])
    assert hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16] == "647f0c322cafa721"
    texts = json.dumps([scene_record(seed, "test") for seed in TEST_SET.seeds()[:40]])
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "d4f0b108fec26476"


@pytest.mark.parametrize("size", [112, 224, 320])
def test_picture_has_the_asked_size(size: int):
    scene = scene_from_seed(3, "train", size)
    picture = render(scene)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 3


def test_every_scene_type_is_drawn():
    for index, kind in enumerate(SCENES):
        scene = make_scene(np.random.default_rng(index), kind=kind)
        assert scene.kind == kind
        assert render(scene).shape == (224, 224, 3)


def test_greyscale_pictures_have_no_colour(scenes: list[Scene]):
    grey = [scene for scene in scenes if scene.greyscale]
    assert 0.08 < len(grey) / len(scenes) < 0.22
    for scene in grey[:5]:
        picture = render(scene).astype(int)
        assert np.ptp(picture, axis=2).max() == 0
        assert all(o.colour is None for o in scene.objects)
        assert scene.season is None


def test_annotations_agree_with_each_other(scenes: list[Scene]):
    for scene in scenes:
        truth = annotate(scene)
        for k, kind in enumerate(KINDS):
            if kind in scene.many:
                assert truth["counts"][k] == -1
                assert (truth["cells"][k] == -1).all()
            else:
                assert truth["counts"][k] == scene.count(kind) == truth["cells"][k].sum()
                assert scene.count(kind) <= 20
            told = {o.colour for o in scene.seen(kind)} - {None}
            assert {c for i, c in enumerate(COLOURS) if truth["kind_colour"][k, i] > 0} == told
        assert SCENES[truth["scene"]] == scene.kind
        assert truth["direction"] in range(-1, len(DIRECTIONS))


def test_objects_are_large_enough_and_apart(scenes: list[Scene]):
    for scene in scenes:
        for o in scene.seen():
            assert min(o.length, o.width) >= 9
            assert 0.6 <= o.visible <= 1
        for kind in ("plane", "ship", "car", "house", "storage tank"):
            seen = scene.seen(kind)
            for i, a in enumerate(seen):
                for b in seen[i + 1 :]:
                    far = np.hypot(a.center[0] - b.center[0], a.center[1] - b.center[1])
                    assert far > 0.45 * (a.width + b.width), (kind, scene.kind)


def test_hidden_object_is_not_told():
    scene = empty_scene(thing("car", 60, 60, "red"), thing("plane", 160, 60, "red", visible=0.02))
    assert scene.count("plane") == 0
    assert present(scene, "plane") is None
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert "plane" not in caption(scene, rng)
        assert not any("plane" in q.question and q.type == "presence" for q in questions(scene, rng))


def test_line_runs_as_it_says(scenes: list[Scene]):
    for scene in scenes:
        for line in scene.lines:
            (x0, y0), (x1, y1) = line.point(-60), line.point(60)
            across, down = x1 - x0, y1 - y0
            if line.direction == "from left to right":
                assert abs(across) > 1.8 * abs(down)
            elif line.direction == "from top to bottom":
                assert abs(down) > 1.8 * abs(across)
            elif line.direction == "from top left to bottom right":
                assert across * down > 0
            else:
                assert across * down < 0


def test_answers_follow_from_the_truth(scenes: list[Scene]):
    closed = {
        "presence": {"yes", "no"}, "quantity": {str(n) for n in range(21)}, "color": set(COLOURS),
        "ab_position": set(CELLS), "re_position": SIDES | {"yes", "no"}, "area_comp": {"yes", "no"},
        "road_ori": set(DIRECTIONS), "scene": {*SCENES, "yes", "no"}, "reasoning": {"yes", "no"},
        "image": {"yes", "no", "grayscale", "color", "summer", "autumn", "winter"},
    }  # fmt: skip
    seen_types: set[str] = set()
    for seed, scene in enumerate(scenes):
        asked = questions(scene, np.random.default_rng(seed))
        assert len({q.question for q in asked}) == len(asked)
        for q in asked:
            seen_types.add(q.type)
            assert q.answer in closed[q.type], q
            words = q.question.lower()
            if q.type == "quantity" and "umbrellas" in words:
                assert int(q.answer) == scene.count("umbrella")
            if q.type == "color":
                assert any(o.colour == q.answer for o in scene.seen())
            if q.type == "image" and q.answer in ("grayscale", "color"):
                assert (q.answer == "grayscale") == scene.greyscale
            if q.type == "presence" and "house" in words:
                assert (q.answer == "yes") == (scene.count("house") > 0)
            if q.type == "road_ori":
                assert any(line.name in words and line.direction == q.answer for line in scene.lines)
    assert seen_types == set(QUESTION_TYPES)


def test_question_alone_tells_little():
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    tally: dict[str, Counter[str]] = defaultdict(Counter)
    held_out: list[tuple[str, str, str]] = []
    for seed in range(900):
        for q in questions(scene_from_seed(seed, "train"), np.random.default_rng(seed)):
            tally[q.type][q.answer] += 1
            if seed < 600:
                by_question[q.question][q.answer] += 1
            else:
                held_out.append((q.type, q.question, q.answer))
    for kind in ("presence", "area_comp", "reasoning"):
        assert 0.42 < tally[kind]["yes"] / tally[kind].total() < 0.58, (kind, tally[kind])
    assert tally["quantity"]["0"] < 0.2 * tally["quantity"].total()
    assert max(tally["ab_position"].values()) < 0.25 * tally["ab_position"].total()
    assert max(tally["color"].values()) < 0.25 * tally["color"].total()
    presence = [(text, answer) for kind, text, answer in held_out if kind == "presence" and text in by_question]
    right = sum(by_question[text].most_common(1)[0][0] == answer for text, answer in presence)
    assert right < 0.62 * len(presence)


def test_own_texts_hold_by_our_own_check(scenes: list[Scene]):
    statements = 0
    for seed, scene in enumerate(scenes):
        rng = np.random.default_rng(seed)
        for text in (caption(scene, rng), *aspects(scene, rng).values()):
            check = check_caption(text, scene)
            assert not check.false_statements, (text, check.false_statements)
            assert check.objects_named <= check.objects_there
            statements += len(check.statements)
    assert statements > 6 * len(scenes)


def test_texts_of_another_scene_are_found_out(scenes: list[Scene]):
    false = total = 0
    for seed, (scene, other) in enumerate(zip(scenes[:200], scenes[200:400], strict=True)):
        check = check_caption(caption(scene, np.random.default_rng(seed)), other)
        false, total = false + len(check.false_statements), total + len(check.statements)
    assert false > 0.55 * total


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Two red cars are in the upper left corner.", []),
        ("There is a blue plane in the bottom right.", []),
        ("A blue airplane sits to the right of the vehicles.", []),
        ("The cars are red.", []),
        ("There are no ships or houses.", []),
        ("A street runs vertically through the picture.", []),
        ("In the lower right corner there is one aircraft.", []),
        ("Several cars stand on a parking lot.", []),
        ("Three cars.", ["count"]),
        ("Two blue cars.", ["color", "count"]),
        ("A ship and two cars.", ["presence"]),
        ("There are no cars.", ["presence"]),
        ("The plane is in the top right.", ["position"]),
        ("The plane is left of the cars.", ["relation"]),
        ("The road runs from left to right.", ["direction"]),
        ("This is a forest.", ["scene"]),
        ("A black and white picture of a parking lot.", ["image"]),
        ("The cars are blue.", ["color"]),
    ],
)
def test_check_reads_paraphrases(text: str, wrong: list[str]):
    road = Line("road", "from top to bottom", (112.0, 112.0), np.pi / 2, 20.0)
    scene = empty_scene(
        thing("car", 30, 30, "red"), thing("car", 30, 60, "red"), thing("plane", 190, 190, "blue"), lines=(road,)
    )
    check = check_caption(text, scene)
    assert sorted(s.type for s in check.false_statements) == wrong
    assert check.statements
    assert check.objects_there == {"car", "plane"}


WORDS = st.sampled_from(
    "no without a two 99 many red grey black and white cars car plane building trees , . ; in the top left center of "
    "image left of above road from to bottom river right runs there is are or park beach clouds winter".split()
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=40).map(" ".join)), st.integers(0, 30))
def test_check_never_raises(text: str, seed: int):
    check = check_caption(text, scene_from_seed(seed, "val"))
    assert set(check.false_statements) <= set(check.statements)


def test_size_and_colour_together_mean_the_large_building():
    scene = empty_scene(thing("large building", 60, 60, "blue"), thing("house", 150, 60, "red"))
    assert not check_caption("A large blue building is left of the red house.", scene).false_statements
    assert check_caption("A large red building.", scene).false_statements
    assert not check_caption("There are two buildings.", scene).false_statements


def test_reasoning_is_silent_where_in_doubt():
    scene = empty_scene(thing("car", 30, 30, "red"))
    facts = facts_for_reasoning(scene)
    assert facts["tennis"] is False
    assert "crossing" not in facts
    assert "warm" not in facts


def test_written_set_holds_pictures_and_records(tmp_path: Path):
    seen: list[tuple[int, int]] = []
    folder = write_scenes(tmp_path / "set", "val", 3, 7, lambda done, total: seen.append((done, total)))
    rows = [json.loads(line) for line in (folder / "scenes.jsonl").read_text().splitlines()]
    assert [row["seed"] for row in rows] == [7, 8, 9]
    assert seen[-1] == (3, 3)
    for row in rows:
        scene = scene_from_seed(row["seed"], "val")
        assert np.array_equal(np.asarray(Image.open(folder / row["file"])), render(scene))
        assert {"theme", "object", "relation"} == set(row["aspects"])
        assert len(row["captions"]) == 5
        assert len(row["truth"]["objects"]) == len(scene.seen())
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_write_refuses_what_it_cannot_do(tmp_path: Path):
    with pytest.raises(UserError, match="exists already"):
        write_scenes(tmp_path, "val", 1, 0)
    with pytest.raises(UserError, match="unknown"):
        write_scenes(tmp_path / "x", "holdout", 1, 0)


def test_interrupted_writing_leaves_nothing(tmp_path: Path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "set", "val", 3, 0, stop)
    assert list(tmp_path.iterdir()) == []

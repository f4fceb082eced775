"""Which pictures and questions the language side is trained on. Questions that only the Q-Former's read-out learns cost no pass
through the LLM and change nothing for the others."""

from __future__ import annotations

import random

from rsagent.prompts import load_prompts
from rsagent.training.corpus import Corpus, Picture
from rsagent.training.scene_questions import Question

QUESTIONS = [Question(f"Is thing {i} there?", "yes", "presence") for i in range(9)]


def corpus(looks: int) -> Corpus:
    picture = Picture("scenes", (0,), ["a park."], [1.0], [{"theme": "a park.", "object": "", "relation": ""}], QUESTIONS)
    return Corpus({"scenes": [picture]}, load_prompts(), ("theme", "object", "relation"), 1.0, seed=0, looks=looks)


def test_looks_add_rows_without_targets_in_the_base_alone() -> None:
    rows = [row for row in corpus(4).sample(0, "base") if row.task == "answer"]
    assert [len(row.targets) for row in rows] == [1, 1, 1, 0, 0, 0, 0]
    assert all(row.answer == "yes" for row in rows)
    assert len({row.instruction for row in rows}) == 7
    assert all(row.targets for row in corpus(4).sample(0, "stage1"))


def test_no_more_looks_than_questions() -> None:
    index = random.Random(0).randrange(100)
    assert len([row for row in corpus(50).sample(index, "base") if row.task == "answer"]) == len(QUESTIONS)


def test_half_of_what_is_asked_of_a_scene_is_about_places() -> None:
    placed = [Question(f"Where is thing {i}?", "top", kind) for i, kind in enumerate(("ab_position", "re_position") * 4)]
    picture = Picture("scenes", (0,), ["a park."], [1.0], [{"theme": "", "object": "", "relation": ""}], [*QUESTIONS, *placed])
    corpus = Corpus({"scenes": [picture]}, load_prompts(), ("theme", "object", "relation"), 1.0, seed=0, told=6)
    asked = [row.instruction for row in corpus.sample(0, "base") if row.task == "answer"]
    assert len(asked) == 6 and sum(one.startswith("Where") for one in asked) == 3


def test_an_expert_is_told_of_places_as_often_as_a_recipe_says() -> None:
    """Stage II asks one expert a picture: the relation expert's questions are about places first."""
    placed = [Question(f"Where is thing {i}?", "top", "ab_position") for i in range(8)]
    others = [Question(f"Which way does road {i} run?", "from left to right", "road_ori") for i in range(8)]
    picture = Picture("scenes", (0,), ["a park."], [1.0], [{"theme": "", "object": "", "relation": ""}], [*placed, *others])
    corpus = Corpus({"scenes": [picture]}, load_prompts(), ("theme", "object", "relation"), 1.0, seed=0, told=4)
    rows = [row for index in range(30) for row in corpus.sample(index, "stage2") if row.adapter == "relation"]
    assert rows and sum(row.instruction.startswith("Where") for row in rows) * 2 == len(rows)
    assert all(row.needed == ("relation",) for row in rows)


def test_pictures_that_people_asked_about_are_drawn_for_answers_and_not_for_captions() -> None:
    def real(image: int, *published: Question) -> Picture:
        return Picture("ucm", (image,), ["a park."], [1.0], [{"theme": "", "object": "", "relation": ""}], [], list(published))

    pictures = {"ucm": [real(0, Question("How many trees are there?", "5", "count")), *(real(i) for i in range(1, 100))]}
    corpus = Corpus(pictures, load_prompts(), ("theme", "object", "relation"), 0.0, seed=0, asked_share=0.5)
    rng = random.Random(0)
    for answers, low, high in ((True, 0.45, 0.57), (False, 0.0, 0.03)):
        drawn = [corpus.draw_picture(rng, answers=answers).images[0] for _ in range(1000)]
        assert low <= drawn.count(0) / 1000 <= high

"""Questions that only the Q-Former's read-out learns: they cost no pass through the LLM and change nothing for the others."""

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

"""Questions phrased freely: every accepted answer counts, and each question is about an image that no training sees."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from rsagent.errors import UserError
from rsagent.evaluation.free_questions import PHOTOGRAPHS, FreeQuestion, open_free_questions
from rsagent.evaluation.matchers import close_count, match
from rsagent.evaluation.questions import score_questions
from rsagent.evaluation.sets import FREE, open_set

REAL = os.environ.get("RSAGENT_DATA")
ASKED = [FreeQuestion.model_validate(one) for one in json.loads(PHOTOGRAPHS.read_text("utf-8"))]


def test_there_are_two_hundred_and_no_template():
    assert len(ASKED) >= 200
    assert len({(one.data, one.image, one.question) for one in ASKED}) == len(ASKED)
    assert max(Counter(" ".join(one.question.casefold().split()[:4]) for one in ASKED).values()) <= 3


def test_as_many_are_denied_as_affirmed():
    said = Counter(one.answers[0] for one in ASKED if one.type == "yes_no")
    assert set(said) == {"yes", "no"} and abs(said["yes"] - said["no"]) <= 0.1 * sum(said.values())


def test_every_accepted_answer_is_right_and_no_other():
    accepted = ("parking lot", "car park", "parking")
    assert all(match(said, accepted, "open").strict for said in accepted)
    assert match("a car park.", accepted, "open").strict and not match("field", accepted, "open").lenient
    assert close_count("3", ("3", "three")) and not close_count("5", ("3", "three"))
    scores = score_questions(["car park", "4"], [accepted, ("3", "three")], ["place", "count"])
    assert scores.correct == (True, False) and scores.lenient_count is not None and scores.lenient_count.value == 0


def test_an_unknown_part_or_a_missing_data_set_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="free-questions has no part 'test'"):
        open_free_questions(tmp_path, "test", None)
    with pytest.raises(UserError):
        open_set(FREE, tmp_path, "")
    with pytest.raises(UserError, match="no part 'scene': choose from photographs, scenes"):
        open_free_questions(None, "scenes+scene", None)


@pytest.mark.data
@pytest.mark.skipif(not REAL, reason="needs the public data sets: set RSAGENT_DATA to their folder")
def test_every_image_is_there_and_in_a_part_that_is_not_trained_on():
    chosen = open_set(FREE, None, "photographs")
    assert len(chosen.items) == len(ASKED) and all(item.file and item.file.is_file() for item in chosen.items)
    few = open_set(FREE, None, "photographs", limit=5)
    assert len(few.images) == 5 and "LIMITED to 5" in few.note

"""The matchers against pairs of answers labelled by hand, a file a family, and what must hold for any two answers."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsagent.evaluation.answers import normalise_answer
from rsagent.evaluation.matchers import Match, match
from rsagent.evaluation.question_types import Family, family_of

PAIRS = Path(__file__).parent / "pairs"
FAMILIES = get_args(Family)
VERDICTS = {"S": Match(True, True), "L": Match(False, True), "-": Match(False, False)}


def pairs(family: str) -> list[tuple[str, str, str]]:
    lines = (PAIRS / f"{family}.tsv").read_text("utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("family", FAMILIES)
def test_at_least_sixty_pairs_labelled_by_hand_agree(family):
    labelled = pairs(family)
    assert len(labelled) >= 60
    wrong = [(said, true, verdict) for said, true, verdict in labelled if match(said, true, family) != VERDICTS[verdict]]
    assert not wrong


WORDS = st.lists(
    st.sampled_from(
        "yes no top left right bottom center 3 three 1205m2 about red grey and the road north to from none , between".split()
    ),
    max_size=6,
).map(" ".join)
ANSWERS = st.one_of(WORDS, st.text(max_size=30))


@settings(deadline=None, max_examples=300)
@given(ANSWERS, ANSWERS, st.sampled_from(FAMILIES))
def test_strictly_right_is_leniently_right_and_an_empty_answer_is_neither(said, true, family):
    found = match(said, true, family)
    assert found.lenient or not found.strict
    if not normalise_answer(said):
        assert found == Match(False, False)
    if normalise_answer(said) == normalise_answer(true) != "":
        assert found == Match(True, True)


@settings(deadline=None, max_examples=300)
@given(ANSWERS, ANSWERS, st.sampled_from(FAMILIES))
def test_only_a_number_depends_on_which_of_the_two_is_true(said, true, family):
    if family not in ("count", "area"):
        assert match(said, true, family) == match(true, said, family) or family == "open"
    assert match(said, true, family).strict == match(true, said, family).strict


@settings(deadline=None)
@given(ANSWERS, st.sampled_from(FAMILIES))
def test_the_way_an_answer_is_written_does_not_matter(said, family):
    if normalise_answer(said):
        assert match(f"  {said.upper()}. ", said, family).strict == (normalise_answer(said.upper()) == normalise_answer(said))


@pytest.mark.parametrize(
    ("name", "truth", "family"),
    [
        ("count", "3", "count"),
        ("quantity", "3", "count"),
        ("location", "center", "position"),
        ("comp", "yes", "yes_no"),
        ("area_comp", "the lake", "open"),
        ("scene", "Yes.", "yes_no"),
        ("theme", "airport", "scene"),
        ("rural_urban", "rural", "scene"),
        ("area", "0m2", "area"),
        ("object quantity", "2", "count"),
        ("re_position", "left", "relative"),
        ("road_ori", "horizontal", "direction"),
        ("image", "summer", "open"),
        ("something new", "thing", "open"),
    ],
)
def test_every_data_set_s_types_have_a_matcher(name, truth, family):
    assert family_of(name, truth) == family

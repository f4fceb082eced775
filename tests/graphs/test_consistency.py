"""Contradictions between experts, found in their words."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsagent.graphs.consistency import carry, find_answer_conflicts, find_conflicts, mentions
from rsagent.schemas import Conflict, ExpertReport


def whats(**words: str) -> list[str]:
    return [conflict.what for conflict in find_conflicts(words)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("three white cars", {"car": (3, 3)}),
        ("There are 12 storage tanks.", {"storage tank": (12, 12)}),
        ("no ships", {"ship": (0, 0)}),
        ("There are not any visible boats.", {"boat": (0, 0)}),
        ("no cars or trees", {"car": (0, 0), "tree": (0, 0)}),
        ("a lot of trees", {"tree": (3, math.inf)}),
        ("a pair of tennis courts", {"tennis court": (2, 2)}),
        ("a road", {"road": (1, math.inf)}),
        ("two rows of houses", {"house": (1, math.inf)}),  # the two are rows
        ("several buses and ferries on a tree-lined quay", {"bus": (2, math.inf), "ferry": (1, math.inf)}),
        ("two planes and three planes", {"plane": (3, math.inf)}),
        ("nothing known here", {}),
    ],
)
def test_mentions_are_counted(text: str, expected: dict[str, tuple[float, float]]) -> None:
    assert {word: (mention.low, mention.high) for word, mention in mentions(text).items()} == expected


def test_a_thing_that_only_the_relations_name_is_a_conflict_of_the_relation_expert() -> None:
    (conflict,) = find_conflicts({"object": "two houses and a road.", "relation": "a ship beside two houses."})
    assert (conflict.expert, conflict.against, conflict.resolved) == ("relation", "object", False)
    assert conflict.what == "relations name ship, objects do not"


def test_a_denied_thing_is_a_conflict_even_by_its_family() -> None:
    assert whats(object="a road without vehicles", relation="cars on a road") == [
        "relations name cars, objects say there is none"
    ]


@pytest.mark.parametrize(
    ("theme", "objects", "relations"),
    [
        ("", "many houses and a car.", "cars are parked beside the house."),  # plurals
        ("a bridge over a river", "some trees", "trees along the river"),  # the theme names it
        ("", "five planes and a road", "two planes are left of the road"),  # some of them
        ("", "dense vegetation", "a tree is on the left"),  # its family
        ("", "", "a ship near a dock"),  # the object expert said nothing
        ("", "two houses", ""),
        ("", "two houses", "the zorgle is beside the quax"),  # unknown words
        ("a residential area near a harbor", "boats", "this is a harbor with boats"),
        ("an urban area", "houses", "houses are between rural and urban land"),
    ],
)
def test_what_agrees_is_no_conflict(theme: str, objects: str, relations: str) -> None:
    assert whats(theme=theme, object=objects, relation=relations) == []


def test_counts_that_disagree() -> None:
    assert whats(object="two planes", relation="three planes in a row") == ["relations count 3 planes, objects 2"]
    assert whats(theme="an airport with five planes", object="two planes") == ["theme counts 5 planes, objects 2"]
    assert whats(object="one ship", relation="many ships at the quay") == ["relations count 3 or more ships, objects 1"]


def test_scenes_that_disagree() -> None:
    assert whats(theme="an airport", object="This is a harbor with boats.") == ["objects say harbor, theme says airport"]
    assert whats(theme="a rural area", relation="fields in an urban area") == ["relations say urban, theme says rural"]


def test_carry_marks_what_is_gone_and_adds_what_is_new() -> None:
    old, new = (Conflict(expert="relation", against="object", what=what) for what in ("cars", "ships"))
    assert [(c.what, c.resolved) for c in carry([old], [])] == [("cars", True)]
    assert [(c.what, c.resolved) for c in carry([old], [old])] == [("cars", False)]
    assert [(c.what, c.resolved) for c in carry([old], [new])] == [("cars", True), ("ships", False)]
    gone = old.model_copy(update={"resolved": True})
    assert [(c.what, c.resolved) for c in carry([gone], [old])] == [("cars", False)]  # it came back


@pytest.mark.parametrize(
    ("first", "second", "conflicting"),
    [
        ("yes", "No.", True),
        ("three", "4", True),
        ("3", "three", False),
        ("yes", "2", False),
        ("urban", "rural", False),  # words are not compared
        ("yes", "yes", False),
    ],
)
def test_evidence_that_contradicts_the_answer(first: str, second: str, conflicting: bool) -> None:
    reports = [ExpertReport(expert="object", text=first), ExpertReport(expert="theme", text=second)]
    found = find_answer_conflicts(reports)
    assert bool(found) is conflicting
    assert all((conflict.expert, conflict.against) == ("theme", "object") for conflict in found)
    assert find_answer_conflicts([]) == []


vocabulary = "no two 12 cars car ships or without any not road . , is this a harbor urban rural many".split()
words = st.lists(st.sampled_from(vocabulary), max_size=20).map(" ".join)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=80), words), st.one_of(st.text(max_size=80), words))
def test_any_text_can_be_compared(one: str, other: str) -> None:
    find_conflicts({"theme": one, "object": other, "relation": one})
    assert find_conflicts({"object": one, "relation": one, "theme": one}) == []  # nobody contradicts himself
    assert all(mention.low <= mention.high for mention in mentions(one).values())


def test_what_runs_through_a_picture_need_not_be_listed_among_its_objects() -> None:
    words = {"theme": "an airport.", "object": "two planes.", "relation": "the runway runs from top to bottom."}
    assert find_conflicts(words) == []
    denied = words | {"object": "two planes and no runway."}
    assert [c.what for c in find_conflicts(denied)] == ["relations name runway, objects say there is none"]

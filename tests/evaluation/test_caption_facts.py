"""The things that captions name, their length, and what stands word for word in train."""

import pytest

from rsagent.evaluation.caption_facts import PRECISION, RECALL, VERBATIM, WORDS, caption_facts, object_counts, things_in


@pytest.mark.parametrize(
    ("caption", "things"),
    [
        ("There are two planes near the terminal.", {"airplane", "terminal"}),
        ("two airplanes, and an aircraft", {"airplane"}),
        ("There are no cars in the parking lot .", {"parking space"}),
        ("forest trees", {"tree"}),
        ("nothing that is known", set()),
        ("", set()),
    ],
)
def test_things_are_found_synonyms_together_and_without_what_is_denied(caption, things):
    assert things_in(caption) == things


def test_a_caption_is_held_against_all_references():
    assert object_counts("planes and a river", ["two airplanes", "a bridge over the road"]) == (1, 2, 3)


def test_shares_are_of_all_things_and_verbatim_sets_case_and_full_stop_aside():
    said = {"a": "Two planes .", "b": "a river and a bridge"}
    true = {"a": ["two planes"], "b": ["a river", "some trees"]}
    facts = caption_facts(said, true, ["two planes", "many houses"], n=50)
    assert facts[PRECISION].value == pytest.approx(2 / 3)
    assert facts[RECALL].value == pytest.approx(2 / 3)
    assert facts[WORDS].value == 4.0
    assert facts[VERBATIM].value == 0.5
    assert VERBATIM not in caption_facts(said, true, [], n=50)

"""The aspect splitter, on captions written for these tests in the manner of aerial captions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsagent.training.aspects import Aspects, merge_aspects, normalise, noun_phrases, split_aspects

# caption, theme, objects, relations
SPLITS = [
    ("It is a piece of brown cropland .", "a piece of brown cropland.", "", ""),
    ("This is a quiet beach .", "a quiet beach.", "", ""),
    ("There is a very small airport .", "a small airport.", "", None),
    ("Here is a large piece of desert .", "a large piece of desert.", "", ""),
    ("Five blue boats are in the harbor .", "a harbor.", "five blue boats.", ""),
    ("Many vans and two buses are in a parking lot .", "a parking lot.", "many vans and two buses.", ""),
    (
        "Several grey houses are in a medium residential area .",
        "a medium residential area.",
        "several grey houses.",
        "",
    ),
    (
        "There are three yachts moored beside a pier in a harbor .",
        "a harbor.",
        "three yachts and a pier.",
        "three yachts moored beside a pier in a harbor.",
    ),
    (
        "a stadium is surrounded by many trees and four roads .",
        "a stadium.",
        "many trees and four roads.",
        "a stadium is surrounded by many trees and four roads.",
    ),
    (
        "two small planes are parked next to a white hangar .",
        "",
        "two small planes and a white hangar.",
        "two small planes are parked next to a white hangar.",
    ),
    (
        "many red buildings are around a square with a fountain .",
        "a square.",
        "many red buildings and a fountain.",
        "many red buildings are around a square with a fountain.",
    ),
    (
        "some palm trees and huts are in two sides of a muddy river .",
        "a muddy river.",
        "some palm trees.",
        "some palm trees and huts are in two sides of a muddy river.",
    ),
    (
        "A golf course with some ponds and bunkers .",
        "a golf course.",
        "some ponds and bunkers.",
        "",
    ),
    (
        "lots of trucks parked neatly in the parking lot .",
        "a parking lot.",
        "lots of trucks.",
        "lots of trucks parked neatly in the parking lot.",
    ),
    (
        "There are two tennis courts with bushes surrounded .",
        "tennis courts.",
        "two tennis courts and bushes.",
        "two tennis courts surrounded by bushes.",
    ),
    ("a villa with brown roofs in the forest .", "a forest.", "a villa with brown roofs.", ""),
    ("an island with green and yellow trees .", "an island.", "green and yellow trees.", ""),
    (
        "An overpass go across a road with a truck on it .",
        "an overpass.",
        "a road and a truck.",
        "an overpass goes across a road with a truck on it.",
    ),
    ("The colour of the meadow is dark green .", "a meadow.", "", ""),
    ("We can see some cows in the green pasture .", "a green pasture.", "", ""),
    ("there are no cars in the parking lot .", "a parking lot.", "", ""),
    ("a runway without airplanes beside a lawn .", "a runway.", "a lawn.", ""),
    (
        "several boat and a ship are near the dock .",
        "a dock.",
        "several boats, a ship and a dock.",
        "several boat and a ship are near the dock.",
    ),
    (
        "A small round storage tank and a big one stand close to each other .",
        "a storage tank.",
        "a small round storage tank.",
        "a small round storage tank and a big one stand close to each other.",
    ),
    ("Six storage tanks of steel .", "storage tanks.", "six storage tanks.", ""),
    (
        "a row of sheds stands between a railway and a factory with white roofs .",
        "a factory with white roofs.",
        "a row of sheds and a railway.",
        "a row of sheds stands between a railway and a factory with white roofs.",
    ),
    (
        "Many mobile homes arranged in three rows in the mobile home park .",
        "a mobile home park.",
        "many mobile homes.",
        "many mobile homes arranged in three rows in the mobile home park.",
    ),
    (
        "a narrow bridge is over a green lake , and three boats sail on it .",
        "a narrow bridge.",
        "a green lake and three boats.",
        "a narrow bridge is over a green lake, and three boats sail on it.",
    ),
    (
        "a school with a red playground and two basketball courts is next to a church .",
        "a school.",
        "a red playground, two basketball courts and a church.",
        "a school with a red playground and two basketball courts is next to a church.",
    ),
    (
        "Some people and umbrellas are on the white beach .",
        "a white beach.",
        "some people and umbrellas.",
        "some people and umbrellas are on the white beach.",
    ),
    ("a irregular pond .", "an irregular pond.", "", ""),
    ("an intersection of four wide streets .", "an intersection.", "four wide streets.", ""),
    ("yellow bareland .", "yellow bareland.", "", ""),
    ("snow covers some mountains .", "some mountains.", "snow and some mountains.", ""),
    (
        "a train passes through the railway station near several warehouses .",
        "a railway station.",
        "a train and several warehouses.",
        "a train passes through the railway station near several warehouses.",
    ),
    ("a square-shaped park with a lot of flowers .", "a square-shaped park.", "a lot of flowers.", ""),
    (
        "cars and trucks are on both sides of the street .",
        "a street.",
        "cars, trucks and a street.",
        "cars and trucks are on both sides of the street.",
    ),
    ("It is lovely .", "", "", ""),
    (".", "", "", ""),
    (
        "houses scattered irregularly .",
        "houses.",
        "houses.",
        "houses scattered irregularly.",
    ),
]


@pytest.mark.parametrize(("caption", "theme", "objects", "relations"), SPLITS)
def test_split(caption: str, theme: str, objects: str, relations: str | None) -> None:
    aspects = split_aspects(caption)
    assert aspects.theme == theme
    assert aspects.objects == objects
    if relations is not None:
        assert aspects.relations == relations


def test_the_place_that_most_captions_name_wins() -> None:
    captions = [
        "a lake is near a resort .",
        "many cottages are in a resort .",
        "a resort with pools .",
        "it is a lake .",
    ]
    assert merge_aspects(captions, random.Random(0)).theme == "a resort."


def test_the_label_favours_but_never_invents() -> None:
    captions = ["a bridge is over a river .", "a river with a bridge and some trees ."]
    assert merge_aspects(captions, random.Random(0), "bridge").theme == "a bridge."
    assert merge_aspects(captions, random.Random(0), "river").theme == "a river."
    assert merge_aspects(captions, random.Random(0), "stadium").theme in ("a bridge.", "a river.")


def test_objects_of_all_captions_are_merged_with_the_majority_wording() -> None:
    captions = ["four planes in an airport .", "four planes and a truck .", "some planes beside a terminal ."]
    objects = merge_aspects(captions, random.Random(0)).objects
    assert "four planes" in objects and "some planes" not in objects
    assert "a truck" in objects and "a terminal" in objects


def test_two_words_for_one_thing_are_said_once() -> None:
    objects = merge_aspects(["some trees in a park .", "some plants in a park ."], random.Random(0)).objects
    assert objects == "some trees."
    both = split_aspects("some trees and small plants in a park .").objects
    assert both == "some trees and small plants."


def test_the_objects_hold_what_the_relations_name() -> None:
    captions = [
        "a truck is beside a fountain in a park .",
        "six benches near a pavilion .",
        "many trees around a statue .",
    ]
    for seed in range(10):
        aspects = merge_aspects(captions, random.Random(seed))
        for phrase in noun_phrases(normalise(aspects.relations)):
            assert phrase.head in aspects.objects or phrase.head in aspects.theme


def test_the_generator_chooses_among_relations_and_repeats_itself() -> None:
    captions = ["a truck is beside a fountain .", "two vans are near a pavilion .", "many trees are around a statue ."]
    chosen = {merge_aspects(captions, random.Random(seed)).relations for seed in range(30)}
    assert len(chosen) == 3
    assert merge_aspects(captions, random.Random(1)) == merge_aspects(captions, random.Random(1))


def test_nothing_offered_nothing_said() -> None:
    assert merge_aspects([], random.Random(0)) == Aspects("", "", "")
    assert merge_aspects(["."], random.Random(0)) == Aspects("", "", "")


@given(
    st.lists(
        st.sampled_from(
            "a the two many red old of and with in near by no another trees cars , river park one . shaped".split()
        ),
        max_size=25,
    )
)
def test_any_word_salad_gives_a_normal_form(words: list[str]) -> None:
    aspects = split_aspects(" ".join(words))
    for text in (aspects.theme, aspects.objects, aspects.relations):
        assert text == "" or (text.endswith(".") and text == text.lower() and "  " not in text and text.count(".") == 1)

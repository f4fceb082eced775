"""Follow-ups as people type them: short words, slips, courtesies, corrections, comparisons, and pictures named in passing."""

from __future__ import annotations

import pytest

from rsagent.chat.typed import spelled, uncontracted, without_fillers
from tests.chat.test_resolve import converse


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("how mnay r there", "how many are there"),
        ("Waht colour r they", "What colour are they"),
        ("wheres teh house", "where's the house"),
        ("where abouts", "whereabouts"),
        ("*cars", "cars"),
        ("can u see em", "can you see them"),
        ("three wearing hose", "three wearing hose"),
        ("is R.png brighter", "is R.png brighter"),
    ],
)
def test_short_words_and_slips(typed: str, plain: str) -> None:
    assert spelled(typed) == plain


def test_what_only_opens_or_closes() -> None:
    assert without_fillers("ok thanks, and where are they please") == "where are they"
    assert without_fillers("right of it then") == "right of it"
    assert without_fillers("right, the next picture too") == "the next picture"
    assert uncontracted("where's it, they're red, the house's door") == "where is it, they are red, the house's door"


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (["planes?"], "Are there any planes?"),
        (["trees?", "how mnay"], "How many trees are there?"),
        (["how many cars here", "any of them red?"], "Are any of the cars red?"),
        (["How many cars are there?", "any of them red?", "how many?"], "How many red cars are there?"),
        (["How many tanks are white?", "and green"], "How many tanks are green?"),
        (["How many cars are there?", "all blue?"], "Are the cars all blue?"),
        (["How many cars are there?", "are some white?"], "Are some of the cars white?"),
        (["How many planes are there?", "grey or white?"], "Are the planes grey or white?"),
        (["How many cars are parked?", "and moving?"], "How many cars are moving?"),
        (["How many barns are there?", "more than planes?"], "Are there more barns than planes?"),
        (["How many barns are there?", "more than 3?"], "Are there more than 3 barns?"),
        (["How many tanks are there?", "are there as many cars"], "Are there as many cars as tanks?"),
        (["Where is the dock?", "bigger than the ships?"], "Is the dock bigger than the ships?"),
        (["Is the house near the lake?", "which is bigger?"], "Which is bigger, the house or the lake?"),
        (["more trees than fields?", "what colour are the latter"], "What colour are the fields"),
        (["Is there a tree?", "how many in the top left?"], "How many trees are there in the top left?"),
        (["What colour is the car in the bottom right?", "and top left?"], "What colour is the car in the top left?"),
        (["Is there a car?", "below or above the house"], "Is the car below or above the house?"),
        (["What colour is the car on the left?", "and the other one"], "What colour is the other car?"),
        (["What colour is the car?", "the one further left"], "What colour is the car further left?"),
        (["Where are the red houses?", "what about the others"], "Where are the other houses?"),
        (["Where is the biggest barn?", "and the smallest"], "Where is the smallest barn?"),
        (["Is there a road?", "which side?"], "On which side is the road?"),
        (["Is there a road?", "how long"], "How long is the road?"),
        (["Where is the pool?", "is there another one?"], "Is there another pool?"),
        (["Are there any planes?", "which ones?"], "Which ones?"),
    ],
)
def test_what_is_left_out(said: list[str], asked: str) -> None:
    assert converse(*said)[-1] == asked


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (["What color is the house?", "not the house, the barn"], "What color is the barn?"),
        (["What color is the house?", "oh no the barn i mean"], "What color is the barn?"),
        (["What color is the house?", "the roads, not the house"], "What color are the roads?"),
        (["What color is the house?", "the roads instead of the house"], "What color are the roads?"),
        (["How many cars are there?", "*trucks"], "How many trucks are there?"),
        (["Are there as many cars as tanks?", "sorry not cars, trees"], "Are there as many trees as tanks?"),
        (["Is there a lake?", "could you tell me where it is"], "Could you tell me where the lake is"),
        (["Is there a lake?", "can you tell me the colour"], "What color is the lake?"),
        (["Is there a lake?", "nvm. trees, how many?"], "How many trees are there?"),
        (["Is there a river?", "the house colour?"], "What color is the house?"),
        (["Is there a house?", "and the river's direction"], "In which direction does the river run?"),
        (["Where is the house?", "thx. last one: season?"], "What season is it?"),
        (["Does the house have a pool?", "and a garden?"], "Does the house have a garden?"),
        (["Is there a house?", "is that above the trees"], "Is the house above the trees"),
        (["What season is it?", "trees?"], "Are there any trees?"),
    ],
)
def test_corrections_courtesies_and_new_subjects(said: list[str], asked: str) -> None:
    assert converse(*said)[-1] == asked


COMPLETE = [
    "Are all the cars red?",
    "Are both cars above the houses?",
    "Left of the house, are there trees?",
    "What is the season?",
    "Are there as many cars as houses?",
    "Is one of the cars red?",
    "In which corner is the house?",
    "Is the right house red?",
]


@pytest.mark.parametrize("text", ["Thanks", "Anything else?", "Why?", "Hello", "Are there more than two cars?", *COMPLETE])
def test_what_asks_nothing_stays(text: str) -> None:
    assert converse("What season is it?", text)[-1] == text


@pytest.mark.parametrize(
    ("text", "question", "picture"),
    [
        ("what about the second one", "Are there any cars?", 2),
        ("and in 2", "Are there any cars?", 2),
        ("#3", "Are there any cars?", 3),
        ("next one", "Are there any cars?", 2),
        ("this one?", "Are there any cars?", 1),
        ("sorry, the 3rd", "Are there any cars?", 3),
        ("back to the second one. any trees?", "Are there any trees?", 2),
        ("third pic: trees?", "Are there any trees?", 3),
        ("do all pictures show a lake?", "Does the image show a lake?", (1, 2, 3)),
    ],
)
def test_a_picture_named_in_passing(text: str, question: str, picture: int | tuple[int, ...]) -> None:
    from rsagent.chat.resolve import Asked, resolve

    asked = resolve(text, [Asked("any cars", "Are there any cars?", (1,))], 1, 3)
    assert (asked.question, asked.pictures) == (question, (picture,) if isinstance(picture, int) else picture)

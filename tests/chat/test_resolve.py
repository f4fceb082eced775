"""Follow-ups become complete questions: measured on the scripted dialogues, and what must never happen."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rsagent.chat.phrases import nouns, pluralise, singularise
from rsagent.chat.resolve import Asked, resolve
from rsagent.chat.script import same_question
from rsagent.errors import UserError
from tests.chat.test_dialogues import DIALOGUES, FRESH

PICTURE = (1,)
WHOLE = "What does the image mainly show?"


def converse(*said: str, count: int = 1) -> list[str]:
    """The complete questions of a conversation."""
    history: list[Asked] = []
    current = 1
    for text in said:
        asked = resolve(text, history, current, count)
        current = asked.pictures[-1]
        history.append(Asked(text, asked.question, asked.pictures))
    return [asked.question for asked in history]


def understood(dialogues: list[dict[str, Any]]) -> tuple[list[bool], list[str]]:
    """Of each follow-up whether it became the right question, and complete questions that were spoilt."""
    right, spoilt = list[bool](), list[str]()
    for dialogue in dialogues:
        history: list[Asked] = []
        current = 1
        for turn in dialogue["turns"]:
            asked = resolve(turn["ask"], history, current, len(dialogue["pictures"]))
            wanted = turn.get("picture")
            pictures = asked.pictures if wanted is None else (wanted,) if isinstance(wanted, int) else tuple(wanted)
            good = same_question(asked.question, turn.get("full") or [turn["ask"]]) and asked.pictures == pictures
            if "full" in turn:
                right.append(good)
            elif not good:
                spoilt.append(turn["ask"])
            history.append(Asked(turn["ask"], asked.question, asked.pictures))
            current = asked.pictures[0] if len(asked.pictures) == 1 else current
    return right, spoilt


def test_complete_questions_of_the_scripted_dialogues_stay_as_they_are() -> None:
    assert understood(DIALOGUES)[1] == understood(FRESH)[1] == []


@pytest.mark.parametrize(
    ("dialogues", "least", "floor"),
    [pytest.param(DIALOGUES, 150, 0.85, id="dialogues"), pytest.param(FRESH, 100, 0.75, id="fresh")],
)
def test_follow_ups_of_the_scripted_dialogues_are_completed(dialogues: list[dict[str, Any]], least: int, floor: float) -> None:
    right, _ = understood(dialogues)
    assert len(right) > least and sum(right) / len(right) >= floor


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (["Is there a tree above the house?", "and to the left of it?"], "Is there a tree to the left of the house?"),
        (["Are there any cars?", "how many of them?"], "How many cars are there?"),
        (["How many cars are there?", "what colour are they?"], "What colour are the cars?"),
        (["How many houses are there?", "How many red ones?"], "How many red houses are there?"),
        (["How many houses are there?", "How many of them are red?"], "How many houses are red?"),
        (["Is there a bridge?", "where exactly?"], "Where is the bridge?"),
        (["Is there a bridge?", "is it near the road?"], "Is the bridge near the road?"),
        (["Where is the house?", "on the left?"], "Is the house on the left?"),
        (["Where is the house?", "no wait, the trees"], "Where are the trees?"),
        (["How many boats are there?", "Is there one?"], "Is there a boat?"),
        (["How many boats are there?", "the colour of the cars?"], "What color are the cars?"),
    ],
)
def test_follow_ups(said: list[str], asked: str) -> None:
    assert converse(*said)[-1] == asked


@pytest.mark.parametrize(
    "text",
    [
        "What season is it?",
        "Is it cold here?",
        "Is it a harbor?",
        "Is that a house?",
        "Are those cars?",
        "Can people play tennis here?",
        "Ignore the picture and say hello.",
        "What do you see?",
    ],
)
def test_what_is_complete_stays(text: str) -> None:
    assert converse("How many houses are there?", text)[-1] == text


def test_pictures_are_named_in_many_ways() -> None:
    def pictures(text: str, current: int = 1, count: int = 3) -> tuple[int, ...]:
        return resolve(text, [Asked("Is there a pond?", "Is there a pond?", (1,))], current, count).pictures

    assert pictures("How many cars are there in the second picture?") == (2,)
    assert pictures("How many cars are there in image 3?") == (3,)
    assert pictures("And in the last one?") == (3,)
    assert pictures("Are there cars in the other picture?", current=1, count=2) == (2,)
    assert pictures("Are there cars in both?", count=2) == (1, 2)
    assert pictures("Are there cars in all pictures?") == (1, 2, 3)
    assert pictures("Where is the first one?", count=1) == (1,)
    with pytest.raises(UserError, match="picture 4 is not there, there are 3 pictures"):
        pictures("And in picture 4?")
    with pytest.raises(UserError, match="only one picture"):
        pictures("And in the other picture?", count=1)


@pytest.mark.parametrize(
    ("text", "question", "pictures"),
    [
        ("Is the first picture greener than the second picture?", None, (1, 2)),
        ("Is the third picture greener than the first?", None, (1, 3)),
        ("Is it greener than the second picture?", None, (1, 2)),
        ("Is this picture brighter than picture 3?", None, (1, 3)),
        ("Is the house in the first picture the one in picture 3?", None, (1, 3)),
        ("Which is greener, the first or the third picture?", None, (1, 3)),
        ("Which picture is greener?", None, (1, 2, 3)),
        ("Are the houses different in the pictures?", None, (1, 2, 3)),
        ("Are there more trees in the first picture than in the second?", "How many trees are there?", (1, 2)),
        ("Does picture 2 show fewer cars than picture 3?", "How many cars are there?", (2, 3)),
        ("Are there more of them in picture 1 than in picture 2?", "How many ships are there?", (1, 2)),
        ("Which of the three has more trees?", "How many trees are there?", (1, 2, 3)),
        ("How many cars are there in picture 1 and picture 3?", "How many cars are there?", (1, 3)),
        ("In the first and the third picture, how many cars are there?", "How many cars are there?", (1, 3)),
        ("How many cars are there in pictures 2 and 3?", "How many cars are there?", (2, 3)),
        ("What changed between picture 1 and picture 2?", WHOLE, (1, 2)),
        ("What has changed since the second picture?", WHOLE, (1, 2)),
        ("Compare the two pictures.", WHOLE, (1, 2, 3)),
        ("please compare images 1 and 3", WHOLE, (1, 3)),
        ("compare them", WHOLE, (1, 2, 3)),
        ("Compare the first with the third.", WHOLE, (1, 3)),
        ("What do the pictures have in common?", WHOLE, (1, 2, 3)),
        ("What is different in the second picture?", WHOLE, (1, 2)),
        ("What about the first and second pictures?", "How many ships are there?", (1, 2)),
        ("And in picture 1 and 2?", "How many ships are there?", (1, 2)),
        ("What is the difference between the two?", WHOLE, (1, 2, 3)),
        ("How do the first and the second picture differ?", WHOLE, (1, 2)),
    ],
)
def test_pictures_are_not_compared_but_each_is_asked_about(text: str, question: str | None, pictures: tuple[int, ...]) -> None:
    asked = resolve(text, [Asked("How many ships are there?", "How many ships are there?", (1,))], 1, 3)
    assert (asked.question, asked.pictures, asked.compares) == (question or text, pictures, True)


@pytest.mark.parametrize(
    ("text", "question", "pictures"),
    [
        ("Are there more than two cars in the second picture?", "Are there more than two cars?", (2,)),
        ("Are there more cars than houses in picture 2?", "Are there more cars than houses?", (2,)),
        ("Is the pond larger than the house?", "Is the pond larger than the house?", (1,)),
        ("Are there two different houses?", "Are there two different houses?", (1,)),
        ("Are there cars in both pictures?", "Are there cars?", (1, 2, 3)),
        ("In the first picture, is the house of the first picture red?", "Is the house red?", (1,)),
    ],
)
def test_what_compares_no_pictures(text: str, question: str, pictures: tuple[int, ...]) -> None:
    asked = resolve(text, [], 1, 3)
    assert (asked.question, asked.pictures, asked.compares) == (question, pictures, False)


words = st.lists(
    st.sampled_from(
        "and the it they them one ones how many what colour where is are there any of in to left right above red car cars "
        "house houses ? , first second picture pictures both same about that those its their no more than big which "
        "way compare".split()
    ),
    max_size=12,
).map(" ".join)
texts = st.one_of(words, st.text(max_size=80))


@example(["first picture"], 1)
@given(st.lists(texts, min_size=1, max_size=5), st.integers(1, 4))
def test_nothing_that_is_typed_breaks_it(said: list[str], count: int) -> None:
    history: list[Asked] = []
    for text in said:
        if not text.strip():
            continue
        try:
            asked = resolve(text, history, 1, count)
        except UserError as error:
            assert "picture" in str(error)
            continue
        assert asked.question.strip() and all(1 <= number <= count for number in asked.pictures)
        assert len(asked.question) <= len(text) + max((len(old.question) for old in history), default=0) + 120
        history.append(Asked(text, asked.question, asked.pictures))


def test_an_endless_question_takes_no_time() -> None:
    for text in ("it " * 600, "the " * 500, "to the left of " * 120, "a" * 2000, "how many of " * 150, "and, " * 400):
        resolve(text, [Asked("Is there a car?", "Is there a car above the house?", PICTURE)], 1, 2)


def test_nouns_and_their_numbers() -> None:
    assert [noun.words for noun in nouns("Is the large building to the left of the tennis courts?")] == [
        "large building",
        "tennis courts",
    ]
    assert nouns("Is this a color image?") == []
    for one, many in (("car", "cars"), ("dock", "docks"), ("city", "cities"), ("bus", "buses"), ("beach", "beaches")):
        assert (pluralise(one), singularise(many)) == (one and many, one)
    assert not re.search(r"\s$", pluralise("red car"))

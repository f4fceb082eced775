"""What answers establish, and what contradicts it."""

from __future__ import annotations

from rsagent.chat.facts import MOST_FACTS, fact_of, held_against, keep, told_by
from rsagent.chat.records import Fact


def fact(question: str, answer: str, turn: int = 1, digest: str = "d") -> Fact:
    found = fact_of(question, answer, digest, turn)
    assert found is not None
    return found


def contradicts(first: tuple[str, str], second: tuple[str, str]) -> bool | None:
    """Whether the second answer contradicts the first; None where they have nothing to do with each other."""
    found = held_against(fact(*second, turn=2), [fact(*first)])
    return found[1] if found else None


def test_the_same_asked_in_other_words() -> None:
    assert contradicts(("How many cars are there?", "3"), ("Count the cars.", "three")) is False
    assert contradicts(("How many cars are there?", "3"), ("What is the number of cars?", "4")) is True
    assert contradicts(("What color are the cars?", "red"), ("Which colour do the cars have?", "Red.")) is False
    assert contradicts(("Where is the pond?", "left"), ("Where is the pond?", "right")) is True


def test_presence_against_numbers() -> None:
    assert contradicts(("Are there any cars?", "no"), ("How many cars are there?", "2")) is True
    assert contradicts(("How many cars are there?", "0"), ("Is there a car?", "yes")) is True
    assert contradicts(("Is there a car?", "no"), ("What color is the car?", "red")) is True
    assert contradicts(("Is there a car?", "yes"), ("How many cars are there?", "2")) is None


def test_what_has_nothing_to_do_with_each_other() -> None:
    assert contradicts(("How many cars are there?", "3"), ("How many houses are there?", "4")) is None
    assert contradicts(("How many cars are there on the bridge?", "1"), ("How many cars are there?", "4")) is None
    assert contradicts(("Where is the tree relative to the house?", "left"), ("Where is the tree?", "top")) is None
    assert held_against(fact("How many cars are there?", "3"), [fact("How many cars are there?", "4", digest="e")]) is None


def test_what_establishes_nothing() -> None:
    assert fact_of("How many cars are there?", "some cars", "d", 1) is None
    assert fact_of("Is there a car?", "perhaps", "d", 1) is None
    assert fact_of("What do you see?", "a long sentence about many things that lie about in the picture", "d", 1) is None


def test_only_the_newest_are_kept_and_each_once() -> None:
    known: list[Fact] = []
    for index in range(2 * MOST_FACTS):
        known = keep(known, fact(f"Is there a thing number{index}?", "yes", index))
    assert len(known) == MOST_FACTS
    assert len(keep(known, known[0])) == MOST_FACTS


def test_what_a_description_establishes() -> None:
    def said(words: str) -> set[tuple[str, str, str]]:
        return {(one.kind, one.thing, one.value) for one in told_by(words, "d", 1)}

    assert said("There are two white ships.") == {
        ("presence", "ships", "yes"),
        ("count", "ships", "2"),
        ("colour", "ships", "white"),
    }
    assert said("There are 5 cars and a pond. No bridges.") == {
        ("presence", "cars", "yes"),
        ("count", "cars", "5"),
        ("presence", "ponds", "yes"),
        ("presence", "bridges", "no"),
    }
    assert said("Two white ships and three red ships.") == set()
    assert said("") == set()

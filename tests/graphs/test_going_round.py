"""A model that goes round in circles is stopped, and what it said before stands; the same words however they come in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsagent.engines.scripted import ScriptedEngine
from rsagent.graphs import create_graph
from rsagent.graphs.text import once_round
from rsagent.schemas import ExpertPrompt


@pytest.mark.parametrize(
    ("text", "once"),
    [
        ("a road, a road, a road, a", "a road"),
        ("there are two trees, a car, two trees, a car, Two trees, a car, ", "there are two trees, a car"),
        ("very very very very very ", "very"),
        ("two trees, two trees and a car.", None),
        ("a very very very very green field.", None),
        ("a car is left of a house, a car is left of a road, a car is left of a tree.", None),
        ("", None),
    ],
)
def test_what_goes_round(text: str, once: str | None) -> None:
    assert once_round(text) == once


def test_a_word_counts_once_it_is_over() -> None:
    assert once_round("a tree, a tree, a tree") is None  # it may become "trees"
    assert once_round("a tree, a tree, a trees, ") is None


@given(st.lists(st.sampled_from(["a", "b", ", ", " "]), max_size=40), st.data())
def test_the_pieces_make_no_difference(marks: list[str], data: st.DataObject) -> None:
    text = "".join(marks)
    whole = once_round(text)
    heard = next((said for end in range(len(text) + 1) if (said := once_round(text[:end])) is not None), None)
    assert heard == whole
    places = sorted(data.draw(st.sets(st.integers(0, len(text)))) | {0, len(text)})
    pieces = (once_round(text[:end], start) for start, end in zip(places, places[1:], strict=False))
    assert next((said for said in pieces if said is not None), None) == whole
    assert whole is None or text.startswith(whole)


async def test_nobody_listens_to_an_expert_that_goes_round(picture: str) -> None:
    class Endless(ScriptedEngine):
        said = 0

        async def generate(self, prompt: ExpertPrompt) -> AsyncGenerator[str, None]:
            yield "three boats"
            while prompt.expert == "object":
                await asyncio.sleep(0)
                self.said += 1
                yield ", a quay, a road"

    engine = Endless({"object": "", "theme": ""})
    caption = (await asyncio.wait_for(create_graph(engine).ainvoke({"image": picture}), 20))["caption"]
    assert caption.objects == "Three boats, a quay, a road." and not caption.partial
    assert engine.said <= 4

"""Dividing a sorted batch: every row with something to tell is in one part, and little of a part is padding."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from rsagent.training.batches import IGNORE
from rsagent.training.language import even_parts, told_places

PREFIX = 9


def sorted_batch(lengths: list[int]) -> torch.Tensor:
    longest = max([1, *lengths])
    return torch.tensor([[1] * length + [-1] * (longest - length) for length in sorted(lengths)])


def cost(parts: list[tuple[slice, int]]) -> int:
    return sum((part.stop - part.start) * (PREFIX + length) for part, length in parts)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=60))
def test_each_row_that_tells_something_is_in_one_part(lengths: list[int]):
    lengths = sorted(lengths)
    parts = list(even_parts(sorted_batch(lengths), PREFIX))
    rows = [row for part, _ in parts for row in range(part.start, part.stop)]
    assert rows == [row for row, length in enumerate(lengths) if length]
    assert all(length == lengths[part.stop - 1] for part, length in parts)
    assert len(parts) <= 4
    told = [length for length in lengths if length]
    if told:
        assert cost(parts) <= len(told) * (PREFIX + told[-1])


def test_captions_and_answers_are_kept_apart():
    lengths = [14] * 20 + [15] * 12 + [60] * 10 + [64] * 6
    assert cost(list(even_parts(sorted_batch(lengths), PREFIX))) <= 1.05 * sum(PREFIX + length for length in lengths)


def test_a_small_gain_is_not_worth_a_pass():
    assert len(list(even_parts(sorted_batch([14] * 5 + [15] * 5), PREFIX))) == 1


def test_told_places_are_those_of_any_row():
    labels = torch.tensor([[IGNORE, 4, IGNORE, IGNORE], [IGNORE, IGNORE, 7, IGNORE]])
    assert told_places(labels).tolist() == [1, 2]

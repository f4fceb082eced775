"""Consensus weights: typical captions weigh more, odd ones less."""

from __future__ import annotations

import random
import time

import pytest

from rsagent.training.consensus import consensus_scores, consensus_weights

IMAGES = [
    ["two barges lie at a quay", "two barges lie at a long quay", "barges lie at the quay", "it is a sunny day"],
    ["a herd of sheds", "some sheds by a lane", "sheds by a narrow lane", "sheds by the lane"],
    ["snow on a ridge"] * 4,
]


def test_the_odd_caption_weighs_least_and_weights_sum_to_one() -> None:
    weights = consensus_weights(IMAGES)
    assert min(weights[0]) == weights[0][3]
    assert min(weights[1]) == weights[1][0]
    for row in weights:
        assert sum(row) == pytest.approx(1.0)
    assert weights[2] == pytest.approx([0.25] * 4)


def test_scores_are_cider_d() -> None:
    scores = consensus_scores(IMAGES)
    assert scores[2] == pytest.approx([10.0] * 4), "the same sentence scores the most there is"
    assert scores[0][3] == 0.0, "nothing in common"
    assert all(0.0 <= score <= 10.0 for row in scores for score in row)


def test_temperature_sharpens_and_levels() -> None:
    sharp, flat = consensus_weights(IMAGES, 0.05)[0], consensus_weights(IMAGES, 1000.0)[0]
    assert max(sharp) > 0.95
    assert max(flat) - min(flat) < 0.01
    with pytest.raises(ValueError, match="temperature"):
        consensus_weights(IMAGES, 0.0)


def test_cleaning_comes_first_and_short_lists_are_handled() -> None:
    assert consensus_scores([["A  Quay .", "a quay"], ["a lane", "a barn"]])[0] == pytest.approx([5.0, 5.0])
    assert consensus_weights([["alone"], []]) == [[1.0], []]
    assert consensus_weights([["", ""], ["a", "b"]])[0] == [0.5, 0.5]


def test_it_is_quick() -> None:
    rng = random.Random(0)
    words = [f"word{n}" for n in range(300)]
    vocabulary = ["".join(c for c in word if c.isalpha()) + "abcdefghij"[n % 10] for n, word in enumerate(words)]
    images = [[" ".join(rng.choices(vocabulary, k=11)) for _ in range(5)] for _ in range(600)]
    start = time.process_time()
    consensus_weights(images)
    assert time.process_time() - start < 3.0, "12,000 images may take a minute"

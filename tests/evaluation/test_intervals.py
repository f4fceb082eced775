import math

import numpy as np
import pytest

from rsagent.evaluation.intervals import bootstrap, bootstrap_mean


def test_an_interval_holds_the_mean_and_shrinks_with_more_values():
    rng = np.random.default_rng(0)
    few, many = (bootstrap_mean(rng.normal(size=n)) for n in (30, 3000))
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.2 * (few.high - few.low)
    assert (few.n, many.n) == (30, 3000)


def test_it_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    figures = [bootstrap_mean(rng.random(60) < 0.7, n=200) for _ in range(100)]
    assert 0.88 <= np.mean([figure.low <= 0.7 <= figure.high for figure in figures]) <= 0.99


def test_values_of_one_image_are_drawn_together():
    values = [1.0] * 50 + [0.0] * 50
    alone = bootstrap_mean(values)
    grouped = bootstrap_mean(values, ["one"] * 50 + ["other"] * 50)
    assert grouped.value == alone.value == 0.5
    assert (grouped.low, grouped.high) == (0, 1)
    assert alone.high - alone.low < 0.3


def test_the_same_seed_gives_the_same_interval():
    values = list(range(20))
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_any_statistic():
    values = np.arange(101.0)
    low, high = bootstrap(lambda rows: float(np.median(values[rows])), 101, n=300)
    assert 20 < low < 50 < high < 80


def test_nothing_measured_is_no_number():
    assert math.isnan(bootstrap_mean([]).value)
    assert bootstrap_mean([]).n == 0


def test_groups_must_fit():
    with pytest.raises(ValueError, match="2 values but 1 groups"):
        bootstrap_mean([1.0, 2.0], ["a"])

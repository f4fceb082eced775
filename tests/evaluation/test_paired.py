"""When one system may be called better than another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsagent.evaluation.paired import difference


def test_a_large_steady_gain_is_better_and_the_other_way_round_worse():
    rng = np.random.default_rng(0)
    theirs = rng.random(200)
    ours = theirs + 0.1 + 0.05 * rng.random(200)
    assert difference(ours, theirs).verdict == "better"
    assert difference(theirs, ours).verdict == "worse"


def test_chance_is_called_no_difference_most_of_the_time():
    rng = np.random.default_rng(1)
    verdicts = [difference(rng.random(60), rng.random(60), n=200, permutations=500).verdict for _ in range(60)]
    assert verdicts.count("no difference beyond the interval") >= 52


def test_the_same_answers_are_no_difference():
    same = [True, False, True]
    found = difference(same, same)
    assert (found.figure.value, found.p, found.verdict) == (0.0, 1.0, "no difference beyond the interval")


def test_questions_about_one_image_change_sides_together():
    ours, theirs = [1.0] * 40, [0.0] * 40
    assert difference(ours, theirs, list(range(40))).verdict == "better"
    assert difference(ours, theirs, ["one image"] * 40).verdict == "no difference beyond the interval"


def test_few_pairs_give_the_p_that_counting_gives():
    # three gains of one size: of eight ways to sign them, two are as far from 0
    found = difference([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], permutations=20_000)
    assert found.p == pytest.approx(0.25, abs=0.02)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_p_is_a_share_and_signs_do_not_matter(gains):
    zero = [0.0] * len(gains)
    one, other = (difference(a, b, n=50, permutations=200) for a, b in ((gains, zero), (zero, gains)))
    assert 0 < one.p <= 1
    assert one.p == pytest.approx(other.p)

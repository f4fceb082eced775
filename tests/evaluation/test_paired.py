"""When one system may be called better than another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsagent.evaluation.paired import difference, ratio_difference


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


def test_a_ratio_is_compared_over_all_images_and_not_image_by_image():
    ours = np.array([[9.0, 10.0]] * 40 + [[0.0, 1.0]] * 40)
    theirs = np.array([[5.0, 10.0]] * 40 + [[1.0, 1.0]] * 40)
    found = ratio_difference(ours, theirs)
    assert found.figure.value == pytest.approx(360 / 440 - 240 / 440)  # the mean of the images' own shares says the opposite
    assert found.verdict == "better"
    assert ratio_difference(theirs, ours).verdict == "worse"
    assert ratio_difference(ours, theirs).p == pytest.approx(ratio_difference(theirs, ours).p)


def test_ratios_by_chance_and_ratios_of_nothing_are_no_difference():
    rng = np.random.default_rng(2)

    def system() -> np.ndarray:
        of = rng.integers(1, 6, 60).astype(float)
        return np.stack([np.floor(of * rng.random(60)), of], axis=1)

    verdicts = [ratio_difference(system(), system(), n=200, permutations=500).verdict for _ in range(40)]
    assert verdicts.count("no difference beyond the interval") >= 34
    same = system()
    assert ratio_difference(same, same).p == 1
    nothing = np.zeros((60, 2))
    assert ratio_difference(same, nothing).verdict == "no difference beyond the interval"


def test_few_images_give_the_p_that_counting_gives_for_a_ratio():
    # three images, each wholly right against wholly wrong: of eight ways to change sides, two are as far from 0
    ours, theirs = np.array([[1.0, 1.0]] * 3), np.array([[0.0, 1.0]] * 3)
    assert ratio_difference(ours, theirs, permutations=20_000).p == pytest.approx(0.25, abs=0.02)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsagent.errors import UserError
from rsagent.evaluation.floors import (
    QuestionPrior,
    class_captions,
    derangement,
    most_frequent,
    nearest,
    neighbour_captions,
    random_captions,
)

TRAINING = [
    ("How many cars?", "count", "two"),
    ("How many cars?", "count", "two"),
    ("How many cars?", "count", "nine"),
    ("How many boats?", "count", "nine"),
    ("How many ships?", "count", "nine"),
    ("Is there a road?", "presence", "yes"),
]


def test_the_prior_answers_the_exact_question_then_its_type_then_anything():
    prior = QuestionPrior.fit(TRAINING)
    assert prior.answer("How many cars?", "count") == "two"
    assert prior.answer("how  many CARS?", "count") == "two"
    assert prior.answer("How many trucks?", "count") == "nine"
    assert prior.answer("What colour is it?", "colour") == "nine"


def test_a_prior_without_training_questions_is_refused():
    with pytest.raises(UserError, match="no training questions"):
        QuestionPrior.fit([])


def test_of_equally_frequent_texts_the_first_in_the_alphabet_whatever_their_order():
    assert most_frequent(["b", "a", "c", "a", "b"]) == most_frequent(["a", "b", "b", "a"]) == "a"


def test_random_captions_come_from_training_and_from_the_seed():
    train = [[f"caption {i}{j}" for j in range(5)] for i in range(20)]
    chosen = random_captions(train, range(50), seed=1)
    assert list(chosen) == list(range(50))
    assert set(chosen.values()) <= {text for texts in train for text in texts}
    assert len(set(chosen.values())) > 20
    assert chosen == random_captions(train, range(50), seed=1) != random_captions(train, range(50), seed=2)


def test_a_class_is_described_by_its_most_frequent_caption():
    lookup = class_captions(
        [("harbor", ["Many boats .", "a dock"]), ("harbor", ["many boats  .", "a pier"]), ("beach", ["sand"])]
    )
    assert lookup == {"harbor": "Many boats .", "beach": "sand"}


def test_neighbours_are_found_by_direction_and_not_by_length():
    train = np.array([[10.0, 0.0], [0.0, 0.1], [-1.0, -1.0]])
    wanted = np.array([[0.1, 0.02], [1.0, 9.0], [-5.0, -4.0], [0.0, 0.0]])
    assert nearest(train, wanted).tolist()[:3] == [0, 1, 2]
    captions = [["x", "y", "y"], ["u"], ["v", "w"]]
    assert neighbour_captions(captions, train, wanted[:3]) == ["y", "u", "v"]


def test_neighbours_over_several_chunks():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(1500, 8))
    assert nearest(train, 3 * train).tolist() == list(range(1500))
    assert nearest(train, train[:0]).tolist() == []


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        nearest(np.ones((3, 4)), np.ones((2, 5)))
    with pytest.raises(UserError, match="no caption"):
        neighbour_captions([["x"], []], np.ones((2, 4)), np.ones((1, 4)))


@settings(deadline=None)  # other work on the machine is no fault
@given(st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_a_derangement_moves_everything_and_loses_nothing(count, seed):
    order = derangement(count, seed=seed)
    assert sorted(order.tolist()) == list(range(count))
    assert not np.any(order == np.arange(count))
    assert np.array_equal(order, derangement(count, seed=seed))


def test_one_thing_cannot_be_shuffled():
    with pytest.raises(UserError, match="two or more"):
        derangement(1)

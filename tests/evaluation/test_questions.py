import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsagent.errors import UserError
from rsagent.evaluation.questions import close_count, normalise_answer, same_answer, score_questions

ONES = "zero one two three four five six seven eight nine ten eleven twelve".split()
ONES += "thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def spell(n: int, and_: str) -> str:
    if n >= 1000:
        rest = n % 1000
        return f"{spell(n // 1000, and_)} thousand" + (f" {and_ if rest < 100 else ''}{spell(rest, and_)}" if rest else "")
    if n >= 100:
        return f"{ONES[n // 100]} hundred" + (f" {and_}{spell(n % 100, and_)}" if n % 100 else "")
    if n >= 20:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    return ONES[n]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Yes.", "yes"),
        ("the top left corner", "Top-left corner"),
        ("an airport", "airport"),
        ("three", "3"),
        ("Twenty-two", "22"),
        ("a hundred", "100"),
        ("1,205", "1205"),
        ("007", "7"),
        ("3.0", "3"),
        ("up, center and bottom", "up center and bottom"),
        ("two planes", "2 planes"),
        ("I can't see it", "i cant see it"),
        ("  red ", "RED"),
    ],
)
def test_the_same_answer_written_differently(one, other):
    assert same_answer(one, other)
    assert same_answer(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("car", "car park"),  # no substring will do
        ("yes", "no"),
        ("yes it is", "yes"),
        ("top", "up"),  # strict: no synonyms
        ("none", "zero"),
        ("12", "1 2"),
        ("3.5", "35"),
        ("twenty two", "2"),
        ("", "no"),
        ("", ""),
        ("!", "?"),
    ],
)
def test_different_answers(one, other):
    assert not same_answer(one, other)


@settings(deadline=None)  # other work on the machine is no fault
@given(st.integers(0, 999_999), st.sampled_from(["", "and "]))
def test_every_number_in_words_is_the_number_in_digits(n, and_):
    assert normalise_answer(spell(n, and_)) == str(n)
    assert normalise_answer(f"about {spell(n, and_)} cars") == f"about {n} cars"


def test_numbers_that_stand_beside_each_other_stay_apart():
    assert normalise_answer("two three") == "2 3"
    assert normalise_answer("one and two") == "1 and 2"
    assert normalise_answer("someone") == "someone"


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_normalised_once_and_for_all(text):
    once = normalise_answer(text)
    assert normalise_answer(once) == once
    assert once == " ".join(once.split())


@pytest.mark.parametrize(
    ("said", "true", "close"),
    [
        ("27", "thirty", True),
        ("26", "thirty", False),
        ("about 33 cars", "30", True),
        ("1", "zero", False),
        ("0", "zero", True),
        ("3", "3", True),
        ("4", "3", False),
        ("many", "30", False),
        ("many", "many", True),
        ("2 or 3", "3", False),
    ],
)
def test_ten_percent_for_counts(said, true, close):
    assert close_count(said, true) is close


def test_scores_overall_by_type_and_lenient():
    scores = score_questions(
        ["yes", "no", "19", "three", "left"],
        ["yes", "yes", "twenty", "3", "right"],
        ["presence", "presence", "count", "count", "location"],
        ["a", "a", "b", "b", "c"],
    )
    assert scores.correct == (True, False, False, True, False)
    assert (scores.overall.value, scores.overall.n) == (0.4, 5)
    assert {name: (figure.value, figure.n) for name, figure in scores.types.items()} == {
        "presence": (0.5, 2),
        "count": (0.5, 2),
        "location": (0.0, 1),
    }
    assert scores.lenient_count is not None
    assert (scores.lenient_count.value, scores.lenient_count.n) == (1.0, 2)
    assert scores.overall.low <= 0.4 <= scores.overall.high


def test_without_counting_questions_there_is_no_lenient_count():
    scores = score_questions(["yes"], ["yes"], ["presence"])
    assert scores.lenient_count is None
    assert math.isclose(scores.overall.value, 1)


def test_nothing_to_score_and_uneven_sequences_are_refused():
    with pytest.raises(UserError, match="no questions to score"):
        score_questions([], [], [])
    with pytest.raises(UserError, match="differ in number: 1, 2, 2, 2"):
        score_questions(["yes"], ["yes", "no"], ["presence", "presence"])

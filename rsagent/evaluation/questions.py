"""Scoring answers to questions: what counts as the same answer, and how many are right, for each type of question.

*Strict* is the figure that is reported: the two answers are equal once case, punctuation, articles and the way a
number is written are set aside. It is no substring test: "car park" is not "car". *Lenient count* lets a number be
10 % off and is only ever shown beside it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from rsagent.errors import UserError
from rsagent.evaluation.intervals import Figure, bootstrap_mean

COUNT_TYPES = frozenset({"count", "quantity"})
"""The question types whose answers are numbers of things, as RSIVQA and RSVQA, and RSIEval, call them."""
LENIENCE = 0.10

_ARTICLES = frozenset({"a", "an", "the"})
_ONES = "one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: value for value, word in enumerate(["zero", *_ONES, *_TEENS])} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}


def _number_words() -> re.Pattern[str]:
    """A number below a million in words, as long as it can be: "two three" are two of them."""
    ones, teens, tens = ("|".join(words) for words in (_ONES, _TEENS, _TENS))
    below_100 = rf"(?:(?:{tens})(?: (?:{ones})\b)?|{teens}|{ones})\b"
    below_1000 = rf"(?:(?:(?:{ones}) )?hundred\b(?: (?:and )?{below_100})?|{below_100})"
    return re.compile(rf"\b(?:zero\b|{below_1000} thousand\b(?: (?:and )?{below_1000})?|{below_1000})")


_NUMBER_WORDS = _number_words()
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_WORD = re.compile(r"\d+\.\d+|[^\W_]+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class QuestionScores:
    """The share of right answers (0-1) over all and by type, each with its n and its interval over images.

    `lenient_count` is the share of counting questions answered within 10 %; None without such questions.
    `correct` says for each question, in the order given, whether it was right.
    """

    overall: Figure
    types: dict[str, Figure]
    lenient_count: Figure | None
    correct: tuple[bool, ...]


def normalise_answer(text: str) -> str:
    """The form in which answers are compared: lower-case words and digits without articles, joined by single spaces.

    Number words become digits ("Twenty-two" -> "22", "one hundred and five" -> "105"), "1,205" becomes "1205" and
    "3.0" becomes "3". An answer that is nothing but an article stays as it is.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    plain = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), plain)
    spelt = " ".join(_WORD.findall(plain))
    digits = _NUMBER_WORDS.sub(lambda found: str(_spelt_value(found[0])), spelt)
    words = [_plain_digits(word) for word in digits.split()]
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def same_answer(prediction: str, truth: str) -> bool:
    """The strict match: equal after `normalise_answer`, and not empty."""
    said = normalise_answer(prediction)
    return bool(said) and said == normalise_answer(truth)


def close_count(prediction: str, truth: str) -> bool:
    """The lenient match of a counting question: both answers hold one number, at most 10 % of the true one apart."""
    said, true = _only_number(prediction), _only_number(truth)
    if said is None or true is None:
        return same_answer(prediction, truth)
    return abs(said - true) <= LENIENCE * abs(true) + 1e-9


def score_questions(
    predictions: Sequence[str],
    truths: Sequence[str],
    types: Sequence[str],
    images: Sequence[Hashable] | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> QuestionScores:
    """Score answers, one a question, all four sequences in the same order.

    Args:
        predictions: the answers given; an empty one is wrong.
        truths: the true answers.
        types: the type of each question, such as presence or count.
        images: which image each question is about; the questions of one are resampled together. None: one each.
        n: how many times the bootstrap draws.
        seed: of the draws.

    Raises:
        UserError: no questions, or sequences of different lengths.
    """
    if not truths:
        raise UserError("there are no questions to score: check the data folder and the split")
    groups = list(range(len(truths))) if images is None else images
    if not len(predictions) == len(truths) == len(types) == len(groups):
        lengths = (len(predictions), len(truths), len(types), len(groups))
        raise UserError(f"answers, true answers, types and images differ in number: {', '.join(map(str, lengths))}")
    correct = tuple(same_answer(said, true) for said, true in zip(predictions, truths, strict=True))

    def figure(rows: list[int], right: Sequence[bool]) -> Figure:
        return bootstrap_mean([float(right[row]) for row in rows], [groups[row] for row in rows], n=n, seed=seed)

    by_type: dict[str, list[int]] = {}
    for row, name in enumerate(types):
        by_type.setdefault(name, []).append(row)
    counting = [row for row, name in enumerate(types) if name in COUNT_TYPES]
    close = [close_count(said, true) for said, true in zip(predictions, truths, strict=True)]
    return QuestionScores(
        overall=figure(list(range(len(truths))), correct),
        types={name: figure(rows, correct) for name, rows in sorted(by_type.items())},
        lenient_count=figure(counting, close) if counting else None,
        correct=correct,
    )


def _only_number(text: str) -> float | None:
    numbers = [word for word in normalise_answer(text).split() if _NUMBER.fullmatch(word)]
    return float(numbers[0]) if len(numbers) == 1 else None


def _spelt_value(words: str) -> int:
    """What a match of `_NUMBER_WORDS` says."""
    total = group = 0
    for word in words.split():
        if word == "hundred":
            group = max(group, 1) * 100
        elif word == "thousand":
            total, group = group * 1000, 0
        else:
            group += _VALUES.get(word, 0)  # "and" adds nothing
    return total + group


def _plain_digits(word: str) -> str:
    """The shortest way to write the same number: "007" is "7", "3.0" is "3"; other words are unchanged."""
    if not word.isascii() or not _NUMBER.fullmatch(word):
        return word
    whole, _, part = word.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if part else whole

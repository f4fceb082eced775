"""Scores of answers to questions: how many are right, strictly and leniently, overall and for each type of question.

The matchers are those of `rsagent.evaluation.matchers`. Two averages are given and named: *micro* is the share of all
questions that are answered right, *macro* the mean of the types' shares, in which a type of three questions weighs as
much as one of three hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsagent.errors import UserError
from rsagent.evaluation.answers import normalise_answer, same_answer
from rsagent.evaluation.intervals import Figure, bootstrap, bootstrap_mean
from rsagent.evaluation.matchers import close_count, match
from rsagent.evaluation.question_types import COUNT_TYPES, Family, family_of

__all__ = ["QuestionScores", "close_count", "normalise_answer", "same_answer", "score_questions"]


@dataclass(frozen=True)
class QuestionScores:
    """Shares of right answers (0-1), each with its n and its interval over images.

    `overall` (the micro average) and `macro` are strict, as is `types`, by type of question; `lenient`, `lenient_macro`
    and `lenient_types` are the same by the lenient match. `lenient_count` is the share of counting questions answered
    within 10 %, None without such questions. `correct` and `lenient_correct` say for each question, in the order given,
    whether it was right.
    """

    overall: Figure
    macro: Figure
    types: dict[str, Figure]
    lenient: Figure
    lenient_macro: Figure
    lenient_types: dict[str, Figure]
    lenient_count: Figure | None
    correct: tuple[bool, ...]
    lenient_correct: tuple[bool, ...]


def usual(truth: str | Sequence[str]) -> str:
    """The true answer; the first of several that are accepted."""
    return truth if isinstance(truth, str) else truth[0]


def score_questions(
    predictions: Sequence[str],
    truths: Sequence[str | Sequence[str]],
    types: Sequence[str],
    images: Sequence[Hashable] | None = None,
    *,
    families: Sequence[Family] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> QuestionScores:
    """Score answers, one a question, all four sequences in the same order.

    Args:
        predictions: the answers given; an empty one is wrong.
        truths: the true answers; of a question with several that are accepted all of them, the usual one first.
        types: the type of each question, such as presence or count.
        images: which image each question is about; the questions of one are resampled together. None: one each.
        families: which matcher scores each; None: as its type says.
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
    matchers = families or [family_of(kind, usual(true)) for kind, true in zip(types, truths, strict=True)]
    found = [match(said, true, family) for said, true, family in zip(predictions, truths, matchers, strict=True)]
    by_type: dict[str, list[int]] = {}
    for row, name in enumerate(types):
        by_type.setdefault(name, []).append(row)
    by_type = dict(sorted(by_type.items()))

    def figure(rows: Sequence[int], right: Sequence[bool]) -> Figure:
        return bootstrap_mean([float(right[row]) for row in rows], [groups[row] for row in rows], n=n, seed=seed)

    everything = range(len(truths))
    strict, lenient = tuple(one.strict for one in found), tuple(one.lenient for one in found)
    counting = [row for row, name in enumerate(types) if name in COUNT_TYPES]
    within = [close_count(said, true) for said, true in zip(predictions, truths, strict=True)] if counting else []
    return QuestionScores(
        overall=figure(everything, strict),
        macro=_macro(by_type, strict, groups, n, seed),
        types={name: figure(rows, strict) for name, rows in by_type.items()},
        lenient=figure(everything, lenient),
        lenient_macro=_macro(by_type, lenient, groups, n, seed),
        lenient_types={name: figure(rows, lenient) for name, rows in by_type.items()},
        lenient_count=figure(counting, within) if counting else None,
        correct=strict,
        lenient_correct=lenient,
    )


def _macro(by_type: Mapping[str, list[int]], right: Sequence[bool], groups: Sequence[Hashable], n: int, seed: int) -> Figure:
    """The mean over types of the share that is right; images are drawn anew, a type that is not drawn is left out."""
    numbers: dict[Hashable, int] = {}
    units = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    hits = np.zeros((len(numbers), len(by_type)))
    asked = np.zeros_like(hits)
    for column, rows in enumerate(by_type.values()):
        np.add.at(hits[:, column], units[rows], [float(right[row]) for row in rows])
        np.add.at(asked[:, column], units[rows], 1.0)

    def mean(drawn: NDArray[np.int64]) -> float:
        of, there = hits[drawn].sum(axis=0), asked[drawn].sum(axis=0)
        return float(np.mean(of[there > 0] / there[there > 0]))

    statistic: Callable[[NDArray[np.int64]], float] = mean
    whole = mean(np.arange(len(numbers)))
    return Figure(whole, len(right), *bootstrap(statistic, len(numbers), n=n, seed=seed))

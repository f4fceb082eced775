"""Question tables: one row a type of question, the model beside stage I, the shuffled image and the blind prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsagent.evaluation.floors import QuestionPrior, derangement
from rsagent.evaluation.intervals import Figure, bootstrap_mean
from rsagent.evaluation.published.records import QuestionItem
from rsagent.evaluation.published.rsivqa import read_rsivqa_ucm
from rsagent.evaluation.questions import QuestionScores, score_questions
from rsagent.evaluation.run import Picture, Question, Run, answer_all, single_answers
from rsagent.evaluation.table import Asked, Column, Row, Table

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.engines.base import Engine

MODEL, PRIOR, OVER = "rs-moe", "question prior", "over prior"
LENIENT = "counts within 10 %"
ABOVE = Asked(1e-9)
"""More than nothing."""


@dataclass(frozen=True)
class QuestionSet:
    """Questions that are reported: each with its type, its true answer and the image it is about, in one order."""

    name: str
    title: str
    questions: Sequence[Question]
    types: Sequence[str]
    truths: Sequence[str]
    images: Sequence[str]
    prior: QuestionPrior
    asked: Mapping[str, Mapping[str, Asked]]

    def shuffled(self, pictures: Mapping[str, Picture], seed: int) -> list[Question]:
        """The same questions, each put to another image than its own; all of one image go to one other."""
        keys = list(dict.fromkeys(self.images))
        other = {key: keys[int(place)] for key, place in zip(keys, derangement(len(keys), seed=seed), strict=True)}
        return [
            Question(f"{asked.key}@{other[image]}", pictures[other[image]], asked.words)
            for asked, image in zip(self.questions, self.images, strict=True)
        ]


async def run_questions(run: Run, root: Path, agent: RSAgent, single: Engine | None) -> list[Table]:
    """The table of RSIVQA's questions on UC Merced, val and test together."""
    items = read_rsivqa_ucm(root, drop_faulty=False)  # the prior knows the faulty questions too, and is harder to beat
    reported = [item for item in items if item.split in ("val", "test")]
    kept = set(run.some(dict.fromkeys(item.path.name for item in reported)))
    reported = [item for item in reported if item.path.name in kept]
    pictures: dict[str, Picture] = {item.path.name: (lambda path=item.path: path) for item in reported}
    chosen = QuestionSet(
        "rsivqa-ucm",
        "RSIVQA questions on UC Merced, val and test, strict match",
        [Question(_key(place, item), pictures[item.path.name], item.question) for place, item in enumerate(reported)],
        [item.type for item in reported],
        [item.answer for item in reported],
        [item.path.name for item in reported],
        QuestionPrior.fit((item.question, item.type, item.answer) for item in items if item.split == "train"),
        {"all": {MODEL: Asked(0.72, 0.80)}, "count": {OVER: ABOVE}, "location": {OVER: ABOVE}},
    )
    return [await question_table(run, chosen, pictures, agent, single)]


async def question_table(
    run: Run, chosen: QuestionSet, pictures: Mapping[str, Picture], agent: RSAgent, single: Engine | None
) -> Table:
    """Put the questions to the model, with their own image and with another's, and score all beside the prior.

    `pictures` holds the images of the set by the names in `chosen.images`.
    """
    said = {MODEL: await answer_all(agent, run, f"answers-{chosen.name}", chosen.questions)}
    if single is not None:
        said["stage I, single LLM"] = await single_answers(single, run, f"answers-{chosen.name}-single", chosen.questions)
    shuffled = chosen.shuffled(pictures, run.seed)
    said["shuffled image"] = await answer_all(agent, run, f"answers-{chosen.name}-shuffled", shuffled)
    said[PRIOR] = [chosen.prior.answer(asked.words, kind) for asked, kind in zip(chosen.questions, chosen.types, strict=True)]
    scores = {
        name: score_questions(answers, chosen.truths, chosen.types, chosen.images, seed=run.seed)
        for name, answers in said.items()
    }
    asked: Mapping[str, Mapping[str, Asked]] = chosen.asked if run.limit is None else {}
    return Table(chosen.title, [Column(name) for name in (*scores, OVER)], _rows(run, chosen, scores, asked))


def _rows(
    run: Run, chosen: QuestionSet, scores: Mapping[str, QuestionScores], asked: Mapping[str, Mapping[str, Asked]]
) -> list[Row]:
    """A row for all questions, one for each type, one for the lenient count where there is one."""
    gain = np.subtract(scores[MODEL].correct, scores[PRIOR].correct, dtype=np.float64)
    everything = np.arange(len(gain))
    rows = [_row(run, chosen, "all", {n: s.overall for n, s in scores.items()}, gain, everything, asked)]
    for kind in scores[MODEL].types:
        of_kind = np.flatnonzero(np.asarray(chosen.types) == kind)
        rows.append(_row(run, chosen, kind, {n: s.types[kind] for n, s in scores.items()}, gain, of_kind, asked))
    lenient = {name: score.lenient_count for name, score in scores.items() if score.lenient_count is not None}
    return [*rows, Row(LENIENT, lenient)] if lenient else rows


def _row(
    run: Run,
    chosen: QuestionSet,
    name: str,
    figures: Mapping[str, Figure],
    gain: np.ndarray,
    rows: np.ndarray,
    asked: Mapping[str, Mapping[str, Asked]],
) -> Row:
    over = bootstrap_mean(gain[rows], [chosen.images[int(row)] for row in rows], seed=run.seed)
    return Row(name, {**figures, OVER: over}, asked.get(name, {}))


def _key(place: int, item: QuestionItem) -> str:
    """The question's id: the order of the published file tells apart two that are worded alike."""
    return f"{item.path.name}#{place}"

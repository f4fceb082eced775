"""Runs on one set, item by item: whether the first is better than the others, and where they differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from rsagent.errors import UserError
from rsagent.evaluation.answers import numbers_in
from rsagent.evaluation.compared_captions import Built, compared_captions
from rsagent.evaluation.intervals import Figure
from rsagent.evaluation.matchers import Match, match
from rsagent.evaluation.paired import Difference, difference
from rsagent.evaluation.question_types import COUNT_TYPES, Family, family_of
from rsagent.evaluation.questions import score_questions
from rsagent.evaluation.run_folder import SAME, RunFolder
from rsagent.evaluation.scoring import LENIENT, MACRO, MICRO, STRICT, difference_table
from rsagent.evaluation.table import Column, Row, Table

_TOP = 10
"""Counts up to this one have a row of their own in a confusion; the others share two."""
COUNTS = (*map(str, range(_TOP + 1)), "11-20", "more", "no number")


@dataclass(frozen=True)
class ComparedItem:
    """One item: what was asked, what is true, and of each run its words, what its experts said, and its score.

    `type` is the question's, or the image's class where nothing was asked and it has one.
    """

    image: str
    file: Path | None
    type: str
    question: str
    truths: tuple[str, ...]
    texts: tuple[str, ...]
    experts: tuple[tuple[tuple[str, str], ...], ...]
    scores: tuple[float, ...]

    @property
    def gap(self) -> float:
        """How much worse the first run is than the best other one."""
        return max(self.scores[1:]) - self.scores[0]


@dataclass(frozen=True)
class Compared:
    """Runs on one set. `items` have the worst for the first run first; `confusions` are counts by run, true x said."""

    title: str
    dataset: str
    split: str
    names: tuple[str, ...]
    score: str
    tables: list[Table]
    items: list[ComparedItem]
    confusions: dict[str, list[list[int]]] = field(default_factory=lambda: dict[str, list[list[int]]]())


def compare_runs(folders: Sequence[Path], *, meteor: bool = False, seed: int = 0) -> Compared:
    """Hold the first run against the others.

    Args:
        folders: of the runs.
        meteor: METEOR too, of captions: slower, needs 2 GB of memory.
        seed: of the bootstrap and the tests.

    Raises:
        UserError: fewer than two runs, runs of different sets or parts, or nothing that all have answered.
        MissingExtra: captions, and the extra `eval` is not installed.
    """
    if len(folders) < 2:
        raise UserError("give two runs or more: rsagent eval compare A B")
    if len(folders) > len(ascii_uppercase):
        raise UserError(f"give at most {len(ascii_uppercase)} runs")
    runs = [RunFolder.read(folder) for folder in folders]
    for run in runs[1:]:
        for name in SAME:
            ours, theirs = runs[0].config.get(name), run.config.get(name)
            if ours != theirs:
                raise UserError(f"{run.path} has {name} {theirs}, {runs[0].path} has {ours}: compare runs on one set")
    kept = [run.predictions() for run in runs]
    keys = [str(record["id"]) for record in kept[0] if all(record["id"] in other for other in kept[1:])]
    if len(keys) < 2:
        raise UserError("fewer than two items are answered in all runs: let the runs go on first")
    records = [[predictions[key] for key in keys] for predictions in kept]
    letters = ascii_uppercase[: len(runs)]
    legend = "; ".join(f"{letter}: {run.name}" for letter, run in zip(letters, runs, strict=True))
    partial = "" if len(keys) == runs[0].items else f" PARTIAL: {len(keys)} of {runs[0].items} items are in all runs."
    about = "".join(f" {note}" for note in dict.fromkeys(run.note for run in runs) if note)
    title = f"{runs[0].config['dataset']}, {runs[0].config['split']}"
    note = legend + "." + partial + about
    if records[0][0]["question"]:
        score, tables, scores, confusions = _answers(title, letters, records, note, seed)
    else:
        score, tables, scores, confusions = compared_captions(title, letters, records, note, meteor, seed)
    lacking = (partial + about).strip()
    tables[1:] = [replace(table, note=f"{lacking} {table.note}".strip()) for table in tables[1:]]
    items = [_item([of[row] for of in records], [values[row] for values in scores]) for row in range(len(keys))]
    items.sort(key=lambda item: -item.gap)
    return Compared(
        title, runs[0].config["dataset"], runs[0].config["split"], tuple(run.name for run in runs), score, tables, items,
        confusions,
    )  # fmt: skip


def _answers(title: str, letters: str, records: Sequence[Sequence[dict[str, Any]]], note: str, seed: int) -> Built:
    accepted = [list(map(str, record["truths"])) for record in records[0]]
    truths = [answers[0] for answers in accepted]
    kinds = [str(record["type"]) for record in records[0]]
    images = [str(record["image"]) for record in records[0]]
    families: list[Family] = [family_of(kind, truth) for kind, truth in zip(kinds, truths, strict=True)]
    types = [truth if kind == "class" else kind for kind, truth in zip(kinds, truths, strict=True)]
    said = [[str(record["text"]) for record in of] for of in records]
    scores = [score_questions(texts, accepted, types, images, families=families, seed=seed) for texts in said]

    def row(name: str, figures: Sequence[Figure]) -> Row:
        return Row(name, dict(zip(letters, figures, strict=True)))

    rows = [
        row(f"{MICRO}, {STRICT}", [one.overall for one in scores]),
        row(f"{MICRO}, {LENIENT}", [one.lenient for one in scores]),
        row(f"{MACRO}, {STRICT}", [one.macro for one in scores]),
        row(f"{MACRO}, {LENIENT}", [one.lenient_macro for one in scores]),
        *(row(f"{kind}, {STRICT}", [one.types[kind] for one in scores]) for kind in scores[0].types),
    ]
    found: dict[str, Difference] = {}
    for letter, other in zip(letters[1:], scores[1:], strict=True):
        found[f"A over {letter}: {MICRO}, {STRICT}"] = difference(scores[0].correct, other.correct, images, seed=seed)
        lenient = difference(scores[0].lenient_correct, other.lenient_correct, images, seed=seed)
        found[f"A over {letter}: {MICRO}, {LENIENT}"] = lenient
        for kind in scores[0].types:
            of = [place for place, name in enumerate(types) if name == kind]
            ours, theirs = [scores[0].correct[place] for place in of], [other.correct[place] for place in of]
            found[f"A over {letter}: {kind}, {STRICT}"] = difference(ours, theirs, [images[place] for place in of], seed=seed)
    matches = [[match(*one) for one in zip(texts, accepted, families, strict=True)] for texts in said]
    values: list[Sequence[float]] = [[_value(one) for one in of] for of in matches]
    counting = [place for place, kind in enumerate(kinds) if kind.casefold() in COUNT_TYPES]
    confusions = {
        letter: _confusion([(truths[place], texts[place]) for place in counting])
        for letter, texts in zip(letters, said, strict=True)
        if counting
    }
    tables = [
        Table(f"{title}: answers", [Column(letter) for letter in letters], rows, note),
        difference_table(f"{title}: differences", found),
    ]
    return "right", tables, values, confusions


def _value(found: Match) -> float:
    """Strictly right is 1, leniently right a half."""
    return 1.0 if found.strict else 0.5 if found.lenient else 0.0


def _confusion(pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
    """How often each true count was answered by each: (true, said) of `COUNTS`."""
    table = [[0] * len(COUNTS) for _ in COUNTS]
    for true, said in pairs:
        table[_bin(true)][_bin(said)] += 1
    return table


def _bin(text: str) -> int:
    numbers = numbers_in(text)
    if len(numbers) != 1:
        return len(COUNTS) - 1
    return min(int(numbers[0]), _TOP) if numbers[0] <= _TOP else _TOP + 1 if numbers[0] <= 2 * _TOP else _TOP + 2


def _item(records: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> ComparedItem:
    first = records[0]
    return ComparedItem(
        image=str(first["image"]),
        file=Path(first["file"]) if first["file"] else None,
        type=str(first["type"] or first.get("label") or ""),
        question=str(first["question"]),
        truths=tuple(dict.fromkeys(map(str, first["truths"]))),
        texts=tuple(str(record["text"]) for record in records),
        experts=tuple(tuple((str(name), str(text)) for name, text in record["experts"]) for record in records),
        scores=tuple(map(float, scores)),
    )

"""Arms of one comparison: each run beside its reference on the same images, with the difference and its interval.

Several seeds are averaged image by image before anything is drawn, so that the images stay the units of interval and test;
how many of the seeds say the same by themselves stands beside the verdict.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsagent.errors import UserError
from rsagent.evaluation.captions import score_captions
from rsagent.evaluation.intervals import Figure, bootstrap_mean
from rsagent.evaluation.matchers import match
from rsagent.evaluation.paired import Difference, difference
from rsagent.evaluation.question_types import family_of
from rsagent.evaluation.run_folder import SAME, RunFolder
from rsagent.evaluation.table import Column, Row, Table

ARM, DIFFERENCE, P = "arm", "difference", "p"
NOTE = (
    "Difference: the arm minus {reference}, paired; 95 % bootstrap over images, permutation test of 10,000 changes of sides. "
    "Many rows are many tests: of twenty without a difference one will show one."
)


@dataclass(frozen=True)
class Arm:
    """A way to do it: for each seed the reference's run and the arm's own."""

    name: str
    pairs: Sequence[tuple[RunFolder, RunFolder]]


@dataclass(frozen=True)
class Scores:
    """A score an item, and the image that each is about."""

    values: Sequence[float]
    images: Sequence[Hashable]


def paired_table(title: str, arms: Sequence[Arm], *, reference: str = "own", aspects: bool = True, seed: int = 0) -> Table:
    """Each arm against its reference: overall, and for each aspect (an expert's own words, or a type of questions).

    Captions are scored by CIDEr, the words of one expert alone by theirs against the whole references; questions strictly.

    Args:
        title: of the table.
        arms: each with one pair a seed.
        reference: what the references are called.
        aspects: the rows of experts and types, too.
        seed: of the bootstrap and the test.

    Raises:
        UserError: runs of different sets, or of fewer than two answers.
        MissingExtra: captions, and the extra `eval` is not installed.
    """
    runs = [run for arm in arms for pair in arm.pairs for run in pair]
    items = _items(runs)
    known = {str(run.path): _scored(run, items, aspects) for run in {str(run.path): run for run in runs}.values()}
    rows: list[Row] = []
    for arm in arms:
        seeds = [(known[str(ours.path)], known[str(theirs.path)]) for ours, theirs in arm.pairs]
        shared = [name for name in seeds[0][0] if all(name in side for pair in seeds for side in pair)]
        rows += [
            _row(f"{arm.name}: {name}", [(own[name], other[name]) for own, other in seeds], reference, seed) for name in shared
        ]
    columns = [Column(reference), Column(ARM), Column(DIFFERENCE), Column(P, digits=4)]
    silent = sum(len(items) - len(run.predictions()) for run in {str(run.path): run for run in runs}.values())
    partial = f"PARTIAL: {silent} items without a full answer count as nothing said. " if silent else ""
    return Table(title, columns, rows, partial + NOTE.format(reference=reference))


def _items(runs: Sequence[RunFolder]) -> dict[str, dict[str, Any]]:
    """Every item that some run has answered: its image, question and truths.

    Raises:
        UserError: the runs are of different sets, or fewer than two items are answered.
    """
    items: dict[str, dict[str, Any]] = {}
    for run in runs:
        for name in SAME:
            ours, theirs = runs[0].config.get(name), run.config.get(name)
            if ours != theirs:
                raise UserError(f"{run.path} has {name} {theirs}, {runs[0].path} has {ours}: compare runs on one set")
        items |= {str(record["id"]): record for record in run.predictions()}
    if runs and len(items) < 2:
        raise UserError(f"{runs[0].path}: fewer than two items are answered: let the runs go on first")
    return items


def _scored(run: RunFolder, items: Mapping[str, dict[str, Any]], aspects: bool) -> dict[str, Scores]:
    """A run's scores on all items; what it never answered counts as nothing said."""
    said = run.predictions()
    silent = {"text": "", "experts": []}
    return item_scores([said[key] if key in said else {**record, **silent} for key, record in items.items()], aspects)


def item_scores(records: Sequence[Mapping[str, Any]], aspects: bool) -> dict[str, Scores]:
    """A run's scores item by item: the whole, then each aspect, by name.

    Raises:
        MissingExtra: captions, and the extra `eval` is not installed.
    """
    if not records[0]["question"]:
        return _captions(records, aspects)
    right = [
        float(match(str(one["text"]), list(map(str, one["truths"])), family_of(str(one["type"]), str(one["truths"][0]))).strict)
        for one in records
    ]
    images = [str(one["image"]) for one in records]
    found = {"all, strict": Scores(right, images)}
    kinds = [str(one["type"]) for one in records]
    for kind in sorted(set(kinds)) if aspects and len(set(kinds)) > 1 else ():
        rows = [row for row, name in enumerate(kinds) if name == kind]
        found[f"{kind}, strict"] = Scores([right[row] for row in rows], [images[row] for row in rows])
    return found


def _captions(records: Sequence[Mapping[str, Any]], aspects: bool) -> dict[str, Scores]:
    keys = [str(one["id"]) for one in records]
    references = {key: list(map(str, one["truths"])) for key, one in zip(keys, records, strict=True)}

    def cider(texts: Sequence[str]) -> Scores:
        return Scores(score_captions(dict(zip(keys, texts, strict=True)), references).cider_per_image, keys)

    found = {"caption, CIDEr": cider([str(one["text"]) for one in records])}
    words = [{str(name): str(text) for name, text in one["experts"]} for one in records]
    experts = dict.fromkeys(name for one in words for name in one)
    for expert in experts if aspects and len(experts) > 1 else ():
        found[f"{expert} expert, CIDEr"] = cider([one.get(expert, "") for one in words])
    return found


def _row(name: str, seeds: Sequence[tuple[Scores, Scores]], reference: str, seed: int) -> Row:
    images = seeds[0][0].images
    sides = [[np.asarray(side.values, dtype=np.float64) for side in pair] for pair in seeds]
    ours, theirs = (np.mean([pair[place] for pair in sides], axis=0) for place in (0, 1))
    found = difference(theirs, ours, images, seed=seed)
    figures = {
        reference: bootstrap_mean(ours, images, seed=seed),
        ARM: bootstrap_mean(theirs, images, seed=seed),
        DIFFERENCE: found.figure,
        P: Figure(found.p, found.figure.n),
    }
    return Row(name, figures, note=_verdict(found, [difference(pair[1], pair[0], images, seed=seed) for pair in sides]))


def _verdict(whole: Difference, seeds: Sequence[Difference]) -> str:
    if len(seeds) == 1:
        return whole.verdict
    same = sum(one.verdict == whole.verdict for one in seeds)
    return f"{whole.verdict}; so by itself in {same} of {len(seeds)} seeds"

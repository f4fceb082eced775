"""Runs of captions side by side: n-grams, things named by the whole and by each expert, wording; and what is beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rsagent.evaluation.caption_facts import PRECISION, RECALL, VERBATIM, caption_facts, things_counted
from rsagent.evaluation.captions import METEOR_MEAN, CaptionScores, Meteor, score_captions
from rsagent.evaluation.intervals import Figure, bootstrap_mean
from rsagent.evaluation.paired import Difference, difference, ratio_difference
from rsagent.evaluation.scoring import difference_table
from rsagent.evaluation.table import Column, Row, Table

Built = tuple[str, list[Table], list[Sequence[float]], dict[str, list[list[int]]]]
"""The name of an item's score, the tables, the scores of each run, the confusions of counts."""
Records = Sequence[dict[str, Any]]


def compared_captions(title: str, letters: str, records: Sequence[Records], note: str, meteor: bool, seed: int) -> Built:
    """The tables of runs of captions on the same images in the same order; one letter and one sequence of records a run.

    Raises:
        MissingExtra: the extra `eval` is not installed.
        EngineError: Java does not run.
    """
    keys = [str(record["id"]) for record in records[0]]
    references = {key: list(map(str, record["truths"])) for key, record in zip(keys, records[0], strict=True)}
    said = [{key: str(record["text"]) for key, record in zip(keys, of, strict=True)} for of in records]
    with Meteor() as program:
        scores = [score_captions(texts, references, meteor=meteor and program) for texts in said]
    figures = [
        {
            **score.figures(seed=seed),
            **caption_facts(texts, references, (), seed=seed),
            **_verbatim(of, seed),
            **_experts(of, keys, references, seed),
        }
        for score, texts, of in zip(scores, said, records, strict=True)
    ]
    names = dict.fromkeys(name for one in figures for name in one)
    rows = [
        Row(name, {letter: one[name] for letter, one in zip(letters, figures, strict=True) if name in one}) for name in names
    ]
    things = [things_counted(texts, references) for texts in said]
    found: dict[str, Difference] = {}
    for place, letter in enumerate(letters[1:], 1):
        over = _differences(scores[0], scores[place], seed)
        for name, whole in ((PRECISION, 1), (RECALL, 2)):
            over[name] = ratio_difference(things[0][:, [0, whole]], things[place][:, [0, whole]], seed=seed)
        found |= {f"A over {letter}: {name}": one for name, one in over.items()}
    tables = [
        Table(f"{title}: captions", [Column(letter) for letter in letters], rows, note),
        difference_table(f"{title}: differences", found),
    ]
    return "CIDEr", tables, [score.cider_per_image for score in scores], {}


def _differences(ours: CaptionScores, theirs: CaptionScores, seed: int) -> dict[str, Difference]:
    """Of the scores that are means over images."""
    found = {
        "CIDEr": difference(ours.cider_per_image, theirs.cider_per_image, seed=seed),
        "ROUGE-L": difference(ours.rouge_per_image, theirs.rouge_per_image, seed=seed),
    }
    if ours.meteor_per_image and theirs.meteor_per_image:
        found[METEOR_MEAN] = difference(ours.meteor_per_image, theirs.meteor_per_image, seed=seed)
    return found


def _verbatim(records: Records, seed: int) -> dict[str, Figure]:
    """The share of captions that stand in the training part, where the run noted it of each when it was said."""
    if not all("verbatim" in record for record in records):
        return {}
    return {VERBATIM: bootstrap_mean([float(record["verbatim"]) for record in records], seed=seed)}


def _experts(records: Records, keys: Sequence[str], references: Mapping[str, Sequence[str]], seed: int) -> dict[str, Figure]:
    """Object precision and recall of each expert's own words; an expert that said nothing of an image named nothing."""
    words = [{str(name): str(text) for name, text in record["experts"]} for record in records]
    figures: dict[str, Figure] = {}
    for expert in dict.fromkeys(name for one in words for name in one):
        own = {key: one.get(expert, "") for key, one in zip(keys, words, strict=True)}
        facts = caption_facts(own, references, (), seed=seed)
        figures |= {f"{name}, {expert} expert": facts[name] for name in (PRECISION, RECALL)}
    return figures

"""Caption tables: UC Merced test and RSICD val, the model's ways beside stage I's single LLM and the floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsagent.evaluation.caption_floors import LOOKUP, Seen, caption_floors
from rsagent.evaluation.captions import CaptionScores, Meteor, score_captions
from rsagent.evaluation.intervals import Figure, bootstrap_mean
from rsagent.evaluation.published.karpathy import read_rsicd, read_ucm_captions
from rsagent.evaluation.published.records import CaptionedImage, holdout
from rsagent.evaluation.readout import Encoder, fit_readout, pooled_features
from rsagent.evaluation.run import Picture, Run, caption_all, single_captions
from rsagent.evaluation.table import Asked, Column, Row, Table
from rsagent.model.checkpoint import read_config

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.engines.base import Engine
    from rsagent.prompts import Prompts

NOTHING_ASKED: Mapping[str, Asked] = {}
COLUMNS = (Column("CIDEr"), Column("BLEU-4"), Column("BLEU-1"), Column("ROUGE-L"), Column("CIDEr over lookup"))


@dataclass(frozen=True)
class CaptionSet:
    """A set that is reported, the training images for its floors, and what is asked of the model on it."""

    name: str
    title: str
    style: str
    train: Sequence[CaptionedImage]
    images: Sequence[CaptionedImage]
    asked: Mapping[str, Asked]

    def pictures(self) -> dict[str, Picture]:
        """The reported images by file name."""
        return pictures_of(self.images)


def caption_sets(run: Run, root: Path) -> list[CaptionSet]:
    """UC Merced test and RSICD val, as published."""
    ucm, rsicd = read_ucm_captions(root), read_rsicd(root)
    over = Asked(0.0)
    bleu = Asked(0.68) if run.best else Asked(0.62, 0.75)
    asked = {"CIDEr": Asked(3.45 if run.best else 3.25, 3.96), "BLEU-4": bleu, "CIDEr over lookup": over}
    return [
        CaptionSet("ucm-test", "UC Merced captions, test", "ucm", _part(ucm, "train"), run.some(_part(ucm, "test")), asked),
        CaptionSet(
            "rsicd-val",
            "RSICD captions, val",
            "rsicd",
            _part(rsicd, "train"),
            run.some(_part(rsicd, "val")),
            {"CIDEr": Asked(2.45, 2.80), "CIDEr over lookup": over},
        ),
    ]


def see(run: Run, chosen: CaptionSet, encoder: Encoder) -> Seen:
    """Features of a set and its class read-out, trained on its training images that have a class."""
    source = chosen.images[0].dataset
    train = pooled_features(run, f"{source}-train", pictures_of(chosen.train), encoder)
    limit = "" if run.limit is None else f"-{run.limit}"
    images = pooled_features(run, f"{chosen.name}{limit}", chosen.pictures(), encoder)
    _, held = holdout(chosen.train, share=0.1)
    aside = {image.path.name for image in held}
    labelled = [row for row, image in enumerate(chosen.train) if image.label is not None]
    labels = [chosen.train[row].label or "" for row in labelled]
    readout = fit_readout(train[labelled], labels, [chosen.train[row].path.name in aside for row in labelled])
    return Seen(train, images, readout)


async def run_captions(
    run: Run,
    sets: Sequence[tuple[CaptionSet, Seen]],
    agent: RSAgent,
    single: Engine | None,
    prompts: Prompts,
    style: str | None = None,
) -> list[Table]:
    """The caption tables.

    Args:
        run: which checkpoint, and where predictions are kept.
        sets: what is reported, and what the checkpoint's image encoder makes of it.
        agent: the checkpoint as a user gets it.
        single: stage I's single LLM, or None where the checkpoint has none.
        prompts: the words of the styles.
        style: caption both sets in this style: for a checkpoint trained on one of them alone.
    """
    tables: list[Table] = []
    for chosen, seen in sets:
        wanted = style or chosen.style
        said = await _model_rows(run, chosen, agent, single, prompts, wanted)
        said |= _floor_rows(chosen, seen, next(iter(said.values())), run.seed)
        note = "" if style is None else f"Written in the style {style}."
        asked = chosen.asked if style is None and run.limit is None else NOTHING_ASKED
        tables.append(_table(run, chosen.title, chosen.images, said, asked, note))
        different = [image for image in chosen.images if image.distinct == 5]
        if chosen.name == "rsicd-val" and len(different) > 1:
            title = f"{chosen.title}: the {len(different)} with five different captions, a set of their own"
            if asked:
                asked = {**asked, "CIDEr": Asked(0.90, 1.20)}
            tables.append(_table(run, title, different, said, asked, note))
    return tables


async def _model_rows(
    run: Run, chosen: CaptionSet, agent: RSAgent, single: Engine | None, prompts: Prompts, style: str
) -> dict[str, dict[str, str]]:
    """Row name -> image -> caption: the composer's ways, the first of them the one that is judged, and stage I."""
    pictures = chosen.pictures()
    way = "write" if style in read_config(run.checkpoint).composer_styles else "join"
    rows = {
        f"rs-moe, {way} ({style})": await caption_all(agent, run, f"captions-{chosen.name}-{style}", pictures, style),
        "rs-moe, join (detailed)": await caption_all(agent, run, f"captions-{chosen.name}-detailed", pictures, "detailed"),
    }
    if single is not None:
        name = f"captions-{chosen.name}-{style}-single"
        rows["stage I, single LLM"] = await single_captions(single, prompts, run, name, pictures, style)
    return rows


def _floor_rows(chosen: CaptionSet, seen: Seen, said: Mapping[str, str], seed: int) -> dict[str, dict[str, str]]:
    """Row name -> image -> caption, for what does not look, or looks only for a class or a neighbour."""
    keys = [image.path.name for image in chosen.images]
    train = [(image.label, image.captions) for image in chosen.train]
    return caption_floors(keys, [image.label for image in chosen.images], said, train, seen, seed)


def _table(
    run: Run,
    title: str,
    images: Sequence[CaptionedImage],
    said: Mapping[str, Mapping[str, str]],
    asked: Mapping[str, Asked],
    note: str,
) -> Table:
    """Every row scored on `images` alone; only the first row is judged."""
    references = {image.path.name: list(image.captions) for image in images}
    with Meteor() as program:
        scores = {
            name: score_captions({key: captions[key] for key in references}, references, meteor=run.meteor and program)
            for name, captions in said.items()
        }
    rows = [
        Row(name, _figures(score, scores[LOOKUP], run.seed), asked if place == 0 else {})
        for place, (name, score) in enumerate(scores.items())
    ]
    columns = [*COLUMNS, Column("METEOR")] if run.meteor else list(COLUMNS)
    return Table(title, columns, rows, note)


def _figures(score: CaptionScores, lookup: CaptionScores, seed: int) -> dict[str, Figure]:
    difference = np.subtract(score.cider_per_image, lookup.cider_per_image)
    return {**score.figures(seed=seed), "CIDEr over lookup": bootstrap_mean(difference, seed=seed)}


def pictures_of(images: Sequence[CaptionedImage]) -> dict[str, Picture]:
    """Captioned images by file name."""
    return {image.path.name: (lambda path=image.path: path) for image in images}


def _part(images: Sequence[CaptionedImage], split: str) -> list[CaptionedImage]:
    return [image for image in images if image.split == split]

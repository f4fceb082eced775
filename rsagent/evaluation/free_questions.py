"""Questions phrased freely, by people who had not seen what the training asks: does one have to speak in templates?

`free_questions_photographs.json` holds those about images of the test part of UCM-Captions and of the val part of RSICD, with
every answer that is accepted; no training here sees either. `free_questions_scenes.json` holds those about rendered scenes of
the fixed test set, each with the fact that its answer follows from.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rsagent.errors import UserError
from rsagent.evaluation.published.files import read_json
from rsagent.evaluation.published.karpathy import read_rsicd, read_ucm_captions
from rsagent.evaluation.published.records import data_root
from rsagent.evaluation.run_scenes import draw_scene
from rsagent.evaluation.sets import FREE, EvaluationSet, Item, as_it_is, limited, some_images

PHOTOGRAPHS = Path(__file__).with_name("free_questions_photographs.json")
SCENES = Path(__file__).with_name("free_questions_scenes.json")
PARTS = ("photographs", "scenes")


class FreeQuestion(BaseModel):
    """A question, the image that it is about, and the short answers that are accepted, the usual one first."""

    model_config = ConfigDict(extra="forbid")

    data: Literal["ucm", "rsicd"]
    image: str
    question: str = Field(min_length=1)
    answers: tuple[str, ...] = Field(min_length=1)
    type: Literal["yes_no", "place", "choice", "count", "where", "look"]


class SceneQuestion(BaseModel):
    """A question, the seed of the scene that it is about, the answer, and `because`: what is true of the scene."""

    model_config = ConfigDict(extra="forbid")

    scene: int
    split: Literal["test"]
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    type: str
    because: str


def open_free_questions(root: Path | None, split: str, limit: int | None) -> EvaluationSet:
    """The questions of a part, or of several with + between them, with their images.

    Args:
        root: the folder of the data sets, for the photographs; RSAGENT_DATA when None.
        split: "photographs", "scenes", or both; "" for both.
        limit: only so many images.

    Raises:
        UserError: there is no such part, or a data set is missing, damaged, or lacks an image that is asked about.
    """
    split = split or "+".join(PARTS)
    items: list[Item] = []
    for part in split.split("+"):
        if part not in PARTS:
            raise UserError(f"{FREE} has no part {part[:60]!r}: choose from {', '.join(PARTS)}")
        items += _about_photographs(data_root(root)) if part == "photographs" else _about_scenes()
    chosen = some_images(items, limit)
    note = "Written by people who had not seen the training's questions; every accepted answer counts."
    notes = [note, *limited(len({item.image for item in chosen}), len({item.image for item in items}))]
    return EvaluationSet(FREE, split, "answer", "", chosen, [], note=" ".join(notes))


def _about_photographs(root: Path) -> Sequence[Item]:
    parts = {"ucm": (read_ucm_captions(root), "test"), "rsicd": (read_rsicd(root), "val")}
    files = {(data, one.path.name): one.path for data, (images, part) in parts.items() for one in images if one.split == part}
    items: list[Item] = []
    for place, one in enumerate(read_json(PHOTOGRAPHS, list[FreeQuestion])):
        file = files.get((one.data, one.image))
        if file is None:
            raise UserError(f"{root}: the {one.data} part that {FREE} asks about has no image {one.image}: unpack it whole")
        image = f"{one.data}/{one.image}"
        items.append(Item(f"{image}#{place}", image, partial(as_it_is, file), one.answers, one.type, one.question, file=file))
    return items


def _about_scenes() -> Sequence[Item]:
    items: list[Item] = []
    for place, one in enumerate(read_json(SCENES, list[SceneQuestion])):
        image, drawn = f"scene/{one.scene}", partial(draw_scene, one.split, one.scene)
        items.append(Item(f"{image}#{place}", image, drawn, (one.answer,), one.type, one.question))
    return items

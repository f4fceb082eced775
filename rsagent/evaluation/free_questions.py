"""Questions phrased freely, by somebody who had not seen what the training asks: do people have to speak in templates?

`free_questions.json` holds them, with every answer that is accepted. The images are those of the test part of UCM-Captions and
of the val part of RSICD; no training here sees either.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rsagent.errors import UserError
from rsagent.evaluation.published.files import read_json
from rsagent.evaluation.published.karpathy import read_rsicd, read_ucm_captions
from rsagent.evaluation.sets import FREE, EvaluationSet, Item, as_it_is, limited, some_images

QUESTIONS = Path(__file__).with_name("free_questions.json")
SPLIT = "all"


class FreeQuestion(BaseModel):
    """A question, the image that it is about, and the short answers that are accepted, the usual one first."""

    model_config = ConfigDict(extra="forbid")

    data: Literal["ucm", "rsicd"]
    image: str
    question: str = Field(min_length=1)
    answers: tuple[str, ...] = Field(min_length=1)
    type: Literal["yes_no", "place", "choice", "count", "where", "look"]


def open_free_questions(root: Path, split: str, limit: int | None) -> EvaluationSet:
    """The questions with their images below `root`, the folder of the data sets.

    Raises:
        UserError: there is no such part, or a data set is missing, damaged, or lacks an image that is asked about.
    """
    if split not in ("", SPLIT):
        raise UserError(f"{FREE} has no part {split[:60]!r}: it has one, {SPLIT}")
    asked = read_json(QUESTIONS, list[FreeQuestion])
    parts = {"ucm": (read_ucm_captions(root), "test"), "rsicd": (read_rsicd(root), "val")}
    files = {(data, one.path.name): one.path for data, (images, part) in parts.items() for one in images if one.split == part}
    items: list[Item] = []
    for place, one in enumerate(asked):
        file = files.get((one.data, one.image))
        if file is None:
            raise UserError(f"{root}: the {one.data} part that {FREE} asks about has no image {one.image}: unpack it whole")
        image = f"{one.data}/{one.image}"
        items.append(Item(f"{image}#{place}", image, partial(as_it_is, file), one.answers, one.type, one.question, file=file))
    chosen = some_images(items, limit)
    note = "Written by somebody who had not seen the training's questions; every accepted answer counts."
    notes = [note, *limited(len({item.image for item in chosen}), len({item.image for item in items}))]
    return EvaluationSet(FREE, SPLIT, "answer", "", chosen, [], note=" ".join(notes))

"""What readers give: captioned images, questions, labelled images; and how items are divided where nobody published it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeVar

from rsagent.errors import UserError

DATA_VARIABLE = "RSAGENT_DATA"


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image and its reference captions, word for word as published."""

    path: Path
    captions: tuple[str, ...]
    split: str
    label: str | None
    dataset: str

    @property
    def distinct(self) -> int:
        """How many different captions there are: 1 where one sentence is repeated five times."""
        return len(set(self.captions))


@dataclass(frozen=True, slots=True)
class QuestionItem:
    """A question about an image and its published answer; `faulty` marks a question that names no object."""

    path: Path
    question: str
    answer: str
    type: str
    split: str
    dataset: str
    faulty: bool = False


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image, its scene class, and the kinds of things that it shows where the data set lists them all."""

    path: Path
    label: str
    dataset: str
    split: str
    labels: tuple[str, ...] = ()


class Item(Protocol):
    """What every record has."""

    @property
    def path(self) -> Path:
        """The image."""
        ...

    @property
    def split(self) -> str:
        """The part it belongs to."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


def data_root(root: Path | str | None = None) -> Path:
    """The folder that holds the data sets: `root`, else the environment variable RSAGENT_DATA.

    Raises UserError when neither is given or there is no such folder.
    """
    given = root if root is not None else os.environ.get(DATA_VARIABLE)
    if not given:
        raise UserError(f"no data folder: set {DATA_VARIABLE} to the folder that holds UCM_captions/, RSICD/, ...")
    path = Path(given)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; point {DATA_VARIABLE} at the one that holds UCM_captions/, RSICD/")
    return path


def as_labelled(
    images: Sequence[CaptionedImage], multilabels: Mapping[str, tuple[str, ...]] | None = None
) -> list[LabelledImage]:
    """Scene classes of captioned images, with `multilabels` by file name; images without a class are left out."""
    known = multilabels or {}
    return [
        LabelledImage(image.path, image.label, image.dataset, image.split, known.get(image.path.name, ()))
        for image in images
        if image.label is not None
    ]


def hash_split(dataset: str, name: str, train: float = 0.8, val: float = 0.1) -> str:
    """The part of an image where no split is published: "train" and "val" with these shares, else "test".

    A digest of data set and file name decides, so a file is in the same part on every machine.
    """
    place = _unit(f"split/{dataset}/{name}")
    return "train" if place < train else "val" if place < train + val else "test"


def holdout(items: Sequence[ItemT], share: float = 0.05, seed: int = 0) -> tuple[list[ItemT], list[ItemT]]:
    """Divide the training part of `items` into (rest, held): choices are made on `held`, never on a reported part.

    Items of val and test are in neither. A digest of folder, file name and `seed` decides, so all captions and
    questions of one image fall on the same side, whichever reader they come from; about `share` (0-1) are held.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    rest: list[ItemT] = []
    held: list[ItemT] = []
    for item in items:
        if item.split == "train":
            place = _unit(f"holdout/{seed}/{item.path.parent.name}/{item.path.name}")
            (held if place < share else rest).append(item)
    return rest, held


def _unit(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone."""
    return int.from_bytes(sha256(text.encode(errors="surrogatepass")).digest()[:8], "big") / 2**64

"""One part of a data set, ready to be evaluated: its items, what is asked about each, and the training part for the floors.

Published sets come from `rsagent.evaluation.published`, rendered scenes from `rsagent.training`: both become `Item`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rsagent.errors import UserError
from rsagent.evaluation.published.catalogue import DataSet, look_up, open_dataset
from rsagent.evaluation.published.records import CaptionedImage, QuestionItem, data_root
from rsagent.evaluation.run import Picture

if TYPE_CHECKING:
    from rsagent.evaluation.intervals import Figure

Task = Literal["caption", "answer", "classify"]
SCENES = {"scenes-captions": "caption", "scenes-questions": "answer"}
"""The rendered scenes' fixed sets, by name, and what is asked of a model there."""
FREE = "free-questions"
"""Questions phrased freely about images of UCM-Captions and RSICD, and about rendered scenes."""
CLASS_QUESTION = "What is the theme of this picture?"
_LEAVE_ONE_OUT = 500  # images up to which a prior is fitted for each image on the others


@dataclass(frozen=True)
class Item:
    """An image with its references, a question with every answer that is accepted, or an image with its class: its `truths`.

    `image` names the picture within the set; items of one image share it. `file` is where it lies, None where it is drawn.
    """

    key: str
    image: str
    picture: Picture
    truths: tuple[str, ...]
    type: str = ""
    question: str = ""
    label: str | None = None
    file: Path | None = None


@dataclass(frozen=True)
class EvaluationSet:
    """What is evaluated. `train` holds no image that is evaluated; `note` says what a reader of the table must know.

    `classes` is the closed list of a classification, class -> the class in words. `check` gives figures of captions that
    only a set knows how to tell (of rendered scenes, where everything is known), for one caption an item in order.
    """

    name: str
    split: str
    task: Task
    style: str
    items: Sequence[Item]
    train: Sequence[Item]
    classes: Mapping[str, str] = field(default_factory=lambda: dict[str, str]())
    note: str = ""
    check: Callable[[Sequence[str], int], dict[str, Figure]] | None = None

    @property
    def images(self) -> dict[str, Picture]:
        """Every evaluated image once, in order."""
        return {item.image: item.picture for item in self.items}

    def digest(self) -> str:
        """What tells this set from another: every key, question, type and truth."""
        told = sha256()
        for item in self.items:
            told.update("\x1f".join((item.key, item.type, item.question, *item.truths)).encode(errors="surrogatepass"))
            told.update(b"\x1e")
        return told.hexdigest()


def open_set(name: str, root: Path | None, split: str, *, limit: int | None = None) -> EvaluationSet:
    """Open a set.

    Args:
        name: of a published data set, or "scenes-captions", "scenes-questions" or "free-questions".
        root: the folder of the data sets; RSAGENT_DATA when None. Rendered scenes need none.
        split: a part, or several with + between them; "" for the one that is usually reported.
        limit: only so many images, evenly spaced, for a quick look.

    Raises:
        UserError: no such set, part or folder, or the files cannot be used.
    """
    if limit is not None and limit < 2:
        raise UserError(f"--limit {limit}: no score can be computed on fewer than two images")
    if name in SCENES:
        from rsagent.evaluation.scene_sets import open_scenes

        return open_scenes(name, split or "test", limit)
    if name == FREE:
        from rsagent.evaluation.free_questions import open_free_questions

        return open_free_questions(root, split, limit)
    about = look_up(name)
    home = data_root(root)
    split = split or about.report
    parts = [open_dataset(about.name, home, part) for part in split.split("+")]
    train, about_train = _train(about.name, about.task, about.parts, home, split)
    notes = [f"{note}." for part in parts for note in part.notes] + about_train
    wanted = [item for part in parts for item in _items(part)]
    chosen = some_images(wanted, limit)
    seen = {item.file for item in wanted}
    rest = [item for item in train if item.file not in seen]
    if len(rest) < len(train):
        notes.append("Evaluated images are left out of the training part of the floors.")
    notes += limited(len({item.image for item in chosen}), len({item.image for item in wanted}))
    if not chosen:
        raise UserError(f"{about.name}: the part {split} is empty; choose another --split")
    style = about.style or ""
    classes = parts[0].closed_list if about.task == "classify" else {}
    if classes.keys() != about.classes.keys():
        notes.append(f"The closed list is not the published one but this copy's own {len(classes)} classes.")
    return EvaluationSet(about.name, split, about.task, style, chosen, rest, classes, _joined(notes))


def leave_one_out(chosen: EvaluationSet) -> bool:
    """Whether a prior must be fitted for each image on the evaluated others: there is no training part, and few images."""
    return not chosen.train and len(chosen.images) <= _LEAVE_ONE_OUT


def limited(images: int, of: int) -> list[str]:
    """The note of a quick look at a part of the images; none where all are evaluated."""
    return [f"LIMITED to {images:,} of {of:,} images."] if images < of else []


def _joined(notes: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(notes))


def _train(name: str, task: Task, parts: Sequence[str], root: Path, split: str) -> tuple[list[Item], list[str]]:
    if "train" not in parts:
        return [], ["No training part is published."]
    if "train" in split.split("+") or "all" in split.split("+"):
        own = "Floors of training texts are left out: the training part is evaluated itself."
        return [], [own if task == "caption" else f"{own} A prior is fitted on the other images where they are few."]
    try:
        part = open_dataset(name, root, "train")
    except UserError as error:
        return [], [f"Without floors of training texts: {error}"]
    return _items(part), [f"{note}." for note in part.notes]


def _items(part: DataSet) -> list[Item]:
    items: list[Item] = []
    asked: dict[str, int] = {}
    for record in part.items:
        image = _image_key(record.path, part.root)
        picture = partial(as_it_is, record.path)
        if isinstance(record, CaptionedImage):
            items.append(Item(image, image, picture, record.captions, label=record.label, file=record.path))
        elif isinstance(record, QuestionItem):
            place = asked[image] = asked.get(image, -1) + 1
            key = f"{image}#{place}"
            items.append(Item(key, image, picture, (record.answer,), record.type, record.question, file=record.path))
        else:
            words = (part.closed_list.get(record.label, record.label),)
            items.append(Item(image, image, picture, words, "class", CLASS_QUESTION, record.label, record.path))
    return items


def as_it_is(path: Path) -> Path:
    """The picture in a file: the file."""
    return path


def _image_key(path: Path, root: Path) -> str:
    """The image's path within its set, or from the folder above where a set borrows another's images."""
    for home in (root, root.parent):
        if path.is_relative_to(home):
            return path.relative_to(home).as_posix()
    return path.name


def some_images(items: Sequence[Item], limit: int | None) -> list[Item]:
    """The items of `limit` images that are evenly spaced: neighbours in a file are of one class."""
    images = list(dict.fromkeys(item.image for item in items))
    if limit is None or limit >= len(images):
        return list(items)
    kept = {images[place * len(images) // limit] for place in range(limit)}
    return [item for item in items if item.image in kept]

"""Public data sets as their authors lay them out, read into plain frozen records.

The folder that holds the data sets is an argument or the environment variable `RSAGENT_DATA`:

    UCM_captions/     dataset.json, classes.json, rsivqa_ucm.json, imgs/N.tif
    RSICD/            dataset_rsicd.json, themes.json (optional), RSICD_images/*.jpg
    RSICap/           captions.json, images/*.png
    RSVQA_LR/ _HR/    qa.json, images/*.jpg
    NWPU-RESISC45/, EuroSAT_RGB/, ...   one folder a class

Texts stay as published, so that scores can be compared; `rsagent.evaluation.wording.clean_caption` makes a training
target of a caption. What is known to be wrong is dropped from the training part only (an argument turns that off).
Data sets that publish no split are split by image: a digest of data set and file name decides (class folders 80 / 10 /
10 %, RSVQA 60 / 20 / 20 % because few images may be at hand), so a file is in the same part on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from rsagent.errors import UserError
from rsagent.evaluation.wording import clean_caption, is_faulty_question, rsivqa_type

__all__ = [
    "CaptionedImage",
    "LabelledImage",
    "QuestionItem",
    "as_labelled",
    "clean_caption",
    "data_root",
    "hash_split",
    "holdout",
    "read_class_folders",
    "read_rsicap",
    "read_rsicd",
    "read_rsivqa_ucm",
    "read_rsvqa",
    "read_ucm_captions",
    "read_ucm_multilabels",
]

DATA_VARIABLE = "RSAGENT_DATA"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
MAX_JSON_BYTES = 256 * 1024 * 1024

# Training images of UC Merced that are described as farmland although they show something else.
UCM_WRONG_CAPTIONS = frozenset(f"{n}.tif" for n in (148, 189, 606, 607, 651, 1085, 1180, 1277, 1450, 1451, 1452))


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


class _Item(Protocol):
    @property
    def path(self) -> Path: ...
    @property
    def split(self) -> str: ...


ItemT = TypeVar("ItemT", bound=_Item)
SchemaT = TypeVar("SchemaT")


class _Sentence(BaseModel):
    raw: str


class _KarpathyImage(BaseModel):
    filename: str
    split: str
    sentences: list[_Sentence]


class _KarpathyFile(BaseModel):
    images: list[_KarpathyImage]


class _RSICapItem(BaseModel):
    filename: str
    text_output: str


class _RSICapFile(BaseModel):
    annotations: list[_RSICapItem]


class _UcmClass(BaseModel):
    name: str = Field(alias="class")
    labels: list[str]


class _Pair(BaseModel):
    image: str
    question: str
    answer: str


class _SplitPair(_Pair):
    split: str


class _TypedPair(_Pair):
    type: str


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


def read_ucm_captions(root: Path | str | None = None, *, drop_wrong: bool = True) -> list[CaptionedImage]:
    """UC Merced captions: 2,100 images, five captions each, 1,680 / 210 / 210; labels are the 21 classes.

    `drop_wrong` leaves out the 11 training images whose captions describe something else.
    """
    folder = data_root(root) / "UCM_captions"
    published = _read_json(folder / "dataset.json", _KarpathyFile)
    classes = _read_json(folder / "classes.json", dict[str, _UcmClass])
    files = _ImageFolder(folder / "imgs", folder / "dataset.json")
    return [
        CaptionedImage(files.path(image.filename), _captions(image), image.split, _ucm_class(classes, image.filename), "ucm")
        for image in published.images
        if not (drop_wrong and image.split == "train" and image.filename in UCM_WRONG_CAPTIONS)
    ]


def read_rsicd(root: Path | str | None = None) -> list[CaptionedImage]:
    """RSICD captions, five an image, often one sentence repeated (`distinct` tells); labels are the 30 scene classes.

    The class comes from themes.json, else from a file name such as airport_12.jpg; a bare number has none.
    """
    folder = data_root(root) / "RSICD"
    published = _read_json(folder / "dataset_rsicd.json", _KarpathyFile)
    themes_file = folder / "themes.json"
    themes = _read_json(themes_file, dict[str, str]) if themes_file.exists() else {}
    files = _ImageFolder(folder / "RSICD_images", folder / "dataset_rsicd.json")
    return [
        CaptionedImage(
            files.path(image.filename),
            _captions(image),
            image.split,
            themes.get(image.filename) or _class_in_name(image.filename),
            "rsicd",
        )
        for image in published.images
    ]


def read_rsicap(root: Path | str | None = None) -> list[CaptionedImage]:
    """RSICap: 2,585 crops of DOTA, one long caption each, all of it for training (RSIEval is its test)."""
    folder = data_root(root) / "RSICap"
    published = _read_json(folder / "captions.json", _RSICapFile)
    files = _ImageFolder(folder / "images", folder / "captions.json")
    return [
        CaptionedImage(files.path(item.filename), (item.text_output,), "train", None, "rsicap")
        for item in published.annotations
    ]


def read_rsivqa_ucm(root: Path | str | None = None, *, drop_faulty: bool = True) -> list[QuestionItem]:
    """RSIVQA's questions on UC Merced: 2,795 on 559 images, in the parts of the captions.

    Types are read off the wording: theme, presence, count, location. `drop_faulty` leaves the questions without an
    object out of the training part; val and test keep them as published, marked `faulty`.
    """
    folder = data_root(root) / "UCM_captions"
    source = folder / "rsivqa_ucm.json"
    files = _ImageFolder(folder / "imgs", source)
    items: list[QuestionItem] = []
    for pair in _read_json(source, list[_SplitPair]):
        kind = rsivqa_type(pair.question)
        if kind is None:
            raise UserError(f"{source}: {pair.question[:80]!r} is no known type of question; remove it or add its wording")
        faulty = is_faulty_question(pair.question)
        if not (faulty and drop_faulty and pair.split == "train"):
            path = files.path(pair.image)
            items.append(QuestionItem(path, pair.question, pair.answer, kind, pair.split, "rsivqa_ucm", faulty))
    return items


def read_rsvqa(root: Path | str | None = None, resolution: str = "LR") -> list[QuestionItem]:
    """RSVQA with its published types (count, presence, comp, rural_urban, area), split by image (see the module)."""
    if resolution not in ("LR", "HR"):
        raise UserError(f"RSVQA has no resolution {resolution!r}: choose LR or HR")
    folder = data_root(root) / f"RSVQA_{resolution}"
    files = _ImageFolder(folder / "images", folder / "qa.json")
    name = f"rsvqa_{resolution.lower()}"

    def part(image: str) -> str:
        return hash_split(name, image, train=0.6, val=0.2)

    return [
        QuestionItem(files.path(pair.image), pair.question, pair.answer, pair.type, part(pair.image), name)
        for pair in _read_json(folder / "qa.json", list[_TypedPair])
    ]


def read_class_folders(folder: Path | str) -> list[LabelledImage]:
    """A data set of one folder a class, such as NWPU-RESISC45 or EuroSAT_RGB, sorted by path, split by image.

    `folder` is the data set's own (`data_root() / "EuroSAT_RGB"`). Raises UserError when it holds no images.
    """
    home = Path(folder)
    items = [
        LabelledImage(path, path.parent.name, home.name, hash_split(home.name, path.name))
        for path in sorted(home.glob("*/*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not items:
        raise UserError(f"{home}: no images in class folders; unpack {home.name} there, one folder a class")
    return items


def read_ucm_multilabels(root: Path | str | None = None) -> dict[str, tuple[str, ...]]:
    """The kinds of things (17 in all) in each UC Merced image, by file name; what is not listed is not there."""
    source = data_root(root) / "UCM_captions" / "classes.json"
    return {name: tuple(found.labels) for name, found in _read_json(source, dict[str, _UcmClass]).items()}


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
    """The part of an image where no split is published: "train" and "val" with these shares, else "test"."""
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


class _ImageFolder:
    """The files of an image folder, listed once: ten thousand look-ups are quick, and no name leaves the folder."""

    def __init__(self, folder: Path, source: Path) -> None:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such image folder; unpack the images that {source.name} lists there")
        self._folder = folder
        self._source = source
        self._names = frozenset(os.listdir(folder))

    def path(self, name: str) -> Path:
        if name not in self._names:
            raise UserError(f"{self._source}: lists {name[:80]!r}, not in {self._folder}; unpack all images there")
        return self._folder / name


def _read_json(path: Path, schema: type[SchemaT]) -> SchemaT:
    """The file as `schema`; one line for what is missing, too large, no JSON, or of another layout."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path}: larger than {MAX_JSON_BYTES >> 20} MiB; this is not the published file")
        return TypeAdapter(schema).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; unpack the data set as published under {DATA_VARIABLE}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top"
        raise UserError(f"{path}: not the published layout, at {where}: {first['msg']}; download it again") from None


def _captions(image: _KarpathyImage) -> tuple[str, ...]:
    return tuple(sentence.raw for sentence in image.sentences)


def _ucm_class(classes: dict[str, _UcmClass], name: str) -> str | None:
    return classes[name].name if name in classes else None


def _class_in_name(name: str) -> str | None:
    stem = Path(name).stem.rpartition("_")[0]
    return stem or None


def _unit(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") / 2**64

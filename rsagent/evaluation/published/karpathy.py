"""UCM-Captions, Sydney-Captions and RSICD: one JSON file in the layout of Karpathy's splits beside a folder of images.

UCM_captions/       dataset.json, imgs/N.tif              (here also classes.json: 17 kinds of things by image)
Sydney_captions/    dataset.json, imgs/N.tif
RSICD/              dataset_rsicd.json, RSICD_images/*.jpg (here also themes.json: the scene class by image)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from rsagent.errors import UserError
from rsagent.evaluation.published.class_names import UCM_CLASSES
from rsagent.evaluation.published.files import Reading, image_folder, read_json
from rsagent.evaluation.published.records import CaptionedImage, data_root

# Training images of UC Merced that are described as farmland although they show something else.
UCM_WRONG_CAPTIONS = frozenset(f"{n}.tif" for n in (148, 189, 606, 607, 651, 1085, 1180, 1277, 1450, 1451, 1452))
PER_IMAGE = 5
_WORDS = {"sydney": "sydney-captions", "ucm": "ucm", "rsicd": "rsicd"}
"""What a file may call itself -> the name that its images carry."""


class _Sentence(BaseModel):
    raw: str


class _Image(BaseModel):
    filename: str
    split: str
    sentences: list[_Sentence]


class _File(BaseModel):
    images: list[_Image]
    dataset: str = ""


class _Things(BaseModel):
    labels: list[str]


def captions_name(folder: Path) -> str | None:
    """Which of the three data sets a folder holds, None for none of them.

    UCM and Sydney share their file names: the folder's name tells them apart, else what the file says of itself.
    """
    if (folder / "dataset_rsicd.json").is_file():
        return "rsicd"
    if not (folder / "dataset.json").is_file():
        return None
    name = folder.name.lower()
    known = next((known for word, known in (("sydney", "sydney-captions"), ("ucm", "ucm-captions")) if word in name), None)
    if known is not None:
        return known
    try:
        listed = read_json(folder / "dataset.json", _File)
    except UserError:
        return None
    named = listed.dataset.lower()
    small = "sydney" in named or ("ucm" not in named and len(listed.images) <= 613)
    return "sydney-captions" if small else "ucm-captions"


def list_ucm(home: Path, *, drop_wrong: bool = True) -> Reading[CaptionedImage]:
    """UCM-Captions; `drop_wrong` leaves out the 11 training images whose captions describe something else."""
    reading = _list(home, "dataset.json", "imgs", "ucm", ucm_class)
    wrong = [item for item in reading.items if item.split == "train" and item.path.name in UCM_WRONG_CAPTIONS]
    if wrong:
        reading.faults.append(f"training images with captions of farmland that show something else: {len(wrong)}")
    if drop_wrong:
        reading.items = [item for item in reading.items if item not in wrong]
        reading.left_out = wrong
    return reading


def list_sydney(home: Path) -> Reading[CaptionedImage]:
    """Sydney-Captions; no classes are published with it."""
    return _list(home, "dataset.json", "imgs", "sydney-captions", lambda name: None)


def list_rsicd(home: Path) -> Reading[CaptionedImage]:
    """RSICD; the class comes from themes.json, else from a file name such as airport_12.jpg; a bare number has none."""
    source = home / "themes.json"
    themes = read_json(source, dict[str, str]) if source.is_file() else {}
    reading = _list(home, "dataset_rsicd.json", "RSICD_images", "rsicd", lambda name: themes.get(name) or _class_in_name(name))
    same = sum(item.distinct == 1 for item in reading.items)
    if same:
        reading.faults.append(f"images that repeat one sentence five times: {same:,}")
    wordless = sum(not has_words(text) for item in reading.items for text in item.captions)
    if wordless:
        reading.faults.append(f"captions without a word: {wordless}")
    return reading


def has_words(text: str) -> bool:
    """Whether there is a letter in a text."""
    return any(character.isalpha() for character in text)


def read_ucm_captions(root: Path | str | None = None, *, drop_wrong: bool = True) -> list[CaptionedImage]:
    """UC Merced captions: 2,100 images, five captions each, 1,680 / 210 / 210; labels are the 21 classes."""
    return list_ucm(data_root(root) / "UCM_captions", drop_wrong=drop_wrong).complete()


def read_rsicd(root: Path | str | None = None) -> list[CaptionedImage]:
    """RSICD captions, five an image, often one sentence repeated (`distinct` tells); labels are the 30 scene classes."""
    return list_rsicd(data_root(root) / "RSICD").complete()


def read_ucm_multilabels(root: Path | str | None = None) -> dict[str, tuple[str, ...]]:
    """The kinds of things (17 in all) in each UC Merced image, by file name; what is not listed is not there."""
    source = data_root(root) / "UCM_captions" / "classes.json"
    return {name: tuple(found.labels) for name, found in read_json(source, dict[str, _Things]).items()}


def caption_splits(home: Path) -> dict[str, str]:
    """The published part of each image of a data set in this layout, by file name; empty where the file is not there.

    Raises:
        UserError: the file says that it is another data set than its folder is named after.
    """
    name = next((name for name in ("dataset.json", "dataset_rsicd.json") if (home / name).is_file()), None)
    if name is None:
        return {}
    listed = read_json(home / name, _File)
    expected = next((known for word, known in _WORDS.items() if word in home.name.lower()), None)
    if expected is not None:
        _check_own(home / name, listed.dataset, expected)
    return {image.filename: image.split for image in listed.images}


def ucm_class(name: str) -> str | None:
    """The class of UCM-Captions' image `N.tif`: its images stand class by class, a hundred each, in alphabetical order."""
    stem = name.partition(".")[0]
    if not (stem.isascii() and stem.isdigit() and len(stem) <= 4 and 1 <= int(stem) <= 100 * len(UCM_CLASSES)):
        return None
    return UCM_CLASSES[(int(stem) - 1) // 100]


def _list(home: Path, file: str, images: str, dataset: str, label: Callable[[str], str | None]) -> Reading[CaptionedImage]:
    source = home / file
    listed = read_json(source, _File)
    _check_own(source, listed.dataset, dataset)
    files = image_folder(home, images)
    reading = Reading[CaptionedImage](source, folders=[files])
    for image in listed.images:
        path = files.find(image.filename)
        if path is None:
            reading.missing.append((image.split, image.filename))
            continue
        captions = tuple(sentence.raw for sentence in image.sentences)
        reading.items.append(CaptionedImage(path, captions, image.split, label(image.filename), dataset))
    return reading


def _check_own(source: Path, says: str, dataset: str) -> None:
    """Raise UserError where the file says of itself that it is another of the three data sets."""
    named = {known for word, known in _WORDS.items() if word in says.lower()}
    if named and dataset not in named:
        raise UserError(
            f"{source}: says of itself that it is {says[:40]!r}, and lies in the place of {dataset}: put the right file there"
        )


def _class_in_name(name: str) -> str | None:
    return Path(name).stem.rpartition("_")[0] or None

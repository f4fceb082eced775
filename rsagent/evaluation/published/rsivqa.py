"""RSIVQA: lines `image:question?answer` in one text file a source; the images are those of five other data sets.

    RSIVQA/UCM/ucm_vqa.txt, ucm_res.txt     images N.tif of UCM-Captions          UCM_captions/imgs
    RSIVQA/Sydney/sydney_vqa.txt            images N.tif of Sydney-Captions       Sydney_captions/imgs
    RSIVQA/AID/rsicd_vqa.txt                images of RSICD, whatever the name    RSICD/RSICD_images
    RSIVQA/HRRSD/opt_val_vqa.txt            images NNNNN.jpg of HRRSD             HRRSD/JPEGImages
    RSIVQA/DOTA/dota_{train,val}_vqa2.txt   images PNNNN.png of DOTA              DOTA/images

The image folders stand beside RSIVQA/; what is not there is left out. No split is published: an image of a caption data
set is in the part that its captions are in, so that no test image of one task trains the other; the rest is split by image.
An extract is read as well: UCM_captions/rsivqa_ucm.json, a list of {image, split, question, answer}.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from rsagent.errors import UserError
from rsagent.evaluation.published.files import ImageFolder, Reading, image_folder, read_json, read_lines
from rsagent.evaluation.published.karpathy import caption_splits
from rsagent.evaluation.published.records import QuestionItem, data_root, hash_split
from rsagent.evaluation.wording import is_faulty_question, rsivqa_type

EXTRACT = "rsivqa_ucm.json"
_NAME, _EXTRACT_NAME = "rsivqa", "rsivqa_ucm"


@dataclass(frozen=True)
class _Source:
    """A text file, and where its images stand beside the folder RSIVQA."""

    file: str
    home: str
    images: str


_SOURCES = (
    _Source("UCM/ucm_vqa.txt", "UCM_captions", "imgs"),
    _Source("UCM/ucm_res.txt", "UCM_captions", "imgs"),
    _Source("Sydney/sydney_vqa.txt", "Sydney_captions", "imgs"),
    _Source("AID/rsicd_vqa.txt", "RSICD", "RSICD_images"),
    _Source("HRRSD/opt_val_vqa.txt", "HRRSD", "JPEGImages"),
    _Source("DOTA/dota_train_vqa2.txt", "DOTA", "images"),
    _Source("DOTA/dota_val_vqa2.txt", "DOTA", "images"),
)


class _Pair(BaseModel):
    image: str
    split: str
    question: str
    answer: str


@dataclass(frozen=True)
class Line:
    """One line of a text file."""

    image: str
    question: str
    answer: str


def rsivqa_home(folder: Path) -> Path | None:
    """The folder of the text files, where `folder` is it or a clone of the repository (RSIVQA/RSIVQA); None for neither."""
    for home in (folder, folder / folder.name):
        if any((home / source.file).is_file() for source in _SOURCES):
            return home
    return None


def parse_line(line: str) -> Line | None:
    """A line's image, question and answer: `image:question?answer`; None where a part is missing."""
    image, colon, rest = line.partition(":")
    question, mark, answer = rest.partition("?")
    parts = image.strip(), question.strip(), answer.strip()
    return Line(parts[0], f"{parts[1]}?", parts[2]) if colon and mark and all(parts) else None


def list_rsivqa(home: Path, *, drop_faulty: bool = True) -> Reading[QuestionItem]:
    """RSIVQA, or the extract where `home` holds that; types are read off the wording: theme, presence, count, location, color.

    `drop_faulty` leaves the questions that name no object out of the training part; the others keep them, marked `faulty`.
    """
    texts = rsivqa_home(home)
    if texts is None:
        return list_rsivqa_extract(home, drop_faulty=drop_faulty)
    reading = Reading[QuestionItem](texts)
    folders: dict[str, tuple[ImageFolder, dict[str, str]]] = {}
    absent: dict[str, int] = {}
    for source in _SOURCES:
        if not (texts / source.file).is_file():
            reading.problems.append(f"{source.file} is missing")
            continue
        if source.home not in folders:
            place = home.parent / source.home
            folders[source.home] = image_folder(place, source.images), caption_splits(place)
        files, splits = folders[source.home]
        if not files.names:
            named = f"{source.home}/{source.images}"
            absent[named] = absent.get(named, 0) + len(read_lines(texts / source.file))
            continue
        _read_source(reading, texts / source.file, files, splits, drop_faulty)
    reading.problems += [
        f"no images in ../{place}; questions that cannot be asked: {count:,}" for place, count in absent.items()
    ]
    reading.folders = [files for files, _ in folders.values() if files.names]
    _note_faulty(reading, drop_faulty)
    return reading


def list_rsivqa_extract(home: Path, *, drop_faulty: bool = True) -> Reading[QuestionItem]:
    """RSIVQA's questions on UC Merced from `home`/rsivqa_ucm.json: 2,795 on 559 images, in the parts of the captions.

    Raises:
        UserError: the file is missing or damaged, or a question is of no known type.
    """
    source = home / EXTRACT
    files = image_folder(home, "imgs")
    reading = Reading[QuestionItem](source, folders=[files], extract=True)
    for pair in read_json(source, list[_Pair]):
        kind = rsivqa_type(pair.question)
        if kind is None:
            raise UserError(f"{source}: {pair.question[:80]!r} is no known type of question; remove it or add its wording")
        path = files.find(pair.image)
        if path is None:
            reading.missing.append((pair.split, pair.image))
            continue
        faulty = is_faulty_question(pair.question)
        reading.items.append(QuestionItem(path, pair.question, pair.answer, kind, pair.split, _EXTRACT_NAME, faulty))
    _note_faulty(reading, drop_faulty)
    return reading


def read_rsivqa_ucm(root: Path | str | None = None, *, drop_faulty: bool = True) -> list[QuestionItem]:
    """RSIVQA's questions on UC Merced, from UCM_captions/ under `root`; see `list_rsivqa_extract`."""
    return list_rsivqa_extract(data_root(root) / "UCM_captions", drop_faulty=drop_faulty).complete()


def _read_source(
    reading: Reading[QuestionItem], source: Path, files: ImageFolder, splits: dict[str, str], drop_faulty: bool
) -> None:
    """Add the questions of one text file."""
    unreadable = untyped = 0
    for text in read_lines(source):
        line = parse_line(text)
        kind = rsivqa_type(line.question) if line else None
        if line is None or kind is None:
            unreadable, untyped = unreadable + (line is None), untyped + (line is not None)
            continue
        part = splits.get(line.image) or hash_split(_NAME, line.image)
        path = files.find(line.image) if Path(line.image).suffix else files.find_stem(line.image)
        if path is None:
            reading.missing.append((part, line.image))
        else:
            faulty = is_faulty_question(line.question)
            reading.items.append(QuestionItem(path, line.question, line.answer, kind, part, _NAME, faulty))
    if unreadable:
        reading.problems.append(f"{source.name}: lines that are not image:question?answer: {unreadable:,}")
    if untyped:
        reading.problems.append(f"{source.name}: questions of no known type, left out: {untyped:,}")


def _note_faulty(reading: Reading[QuestionItem], drop: bool) -> None:
    faulty = sum(item.faulty for item in reading.items)
    if faulty:
        reading.faults.append(f"questions that name no object: {faulty:,}")
    if drop:
        reading.left_out = [item for item in reading.items if item.faulty and item.split == "train"]
        reading.items = [item for item in reading.items if not (item.faulty and item.split == "train")]

"""RSVQA, low and high resolution: three JSON files a part, joined by numbers; images by number.

    RSVQA_LR/   LR_split_{train,val,test}_{questions,answers,images}.json, Images_LR/N.tif
    RSVQA_HR/   USGS_split_{train,val,test,test_phili}_{questions,answers,images}.json, Data/N.tif (or .png)

Every file of a part lists the items of all parts; those of another part are stubs, `{"id": 7, "active": false}`.
An extract is read as well: qa.json, a list of {image, question, answer, type}, beside images/; it has no split, and is
split by image (60 / 20 / 20 %, because few images may be at hand).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NotRequired

from pydantic import BaseModel
from typing_extensions import TypedDict

from rsagent.errors import UserError
from rsagent.evaluation.published.files import Reading, image_folder, read_json
from rsagent.evaluation.published.records import QuestionItem, data_root, hash_split

Resolution = Literal["LR", "HR"]
_PREFIX: dict[Resolution, str] = {"LR": "LR", "HR": "USGS"}
_IMAGES: dict[Resolution, tuple[str, ...]] = {"LR": ("Images_LR", "images"), "HR": ("Data", "Images", "images")}
PARTS: dict[Resolution, tuple[str, ...]] = {"LR": ("train", "val", "test"), "HR": ("train", "val", "test", "test_phili")}


class _Question(TypedDict):
    active: bool
    id: int
    img_id: NotRequired[int]
    type: NotRequired[str]
    question: NotRequired[str]


class _Answer(TypedDict):
    active: bool
    question_id: NotRequired[int]
    answer: NotRequired[str]


class _Questions(TypedDict):
    questions: list[_Question]


class _Answers(TypedDict):
    answers: list[_Answer]


class _Pair(BaseModel):
    image: str
    question: str
    answer: str
    type: str


def rsvqa_resolution(folder: Path) -> Resolution | None:
    """Which of the two a folder holds, None for neither."""
    for resolution, prefix in _PREFIX.items():
        if any((folder / f"{prefix}_split_{part}_questions.json").is_file() for part in PARTS[resolution]):
            return resolution
    name = folder.name.upper().replace("-", "_")
    if (folder / "qa.json").is_file():
        return "LR" if "LR" in name.split("_") else "HR" if "HR" in name.split("_") else None
    return None


def list_rsvqa(home: Path, resolution: Resolution, split: str | None = None) -> Reading[QuestionItem]:
    """RSVQA with its own types: count, presence, comp, and rural_urban (LR) or area (HR); `split` reads one part alone."""
    if (home / "qa.json").is_file():
        return _list_extract(home, resolution)
    files = image_folder(home, *_IMAGES[resolution])
    reading = Reading[QuestionItem](home / f"{_PREFIX[resolution]}_split_*_questions.json", folders=[files])
    dataset = f"rsvqa_{resolution.lower()}"
    for part in PARTS[resolution]:
        source = home / f"{_PREFIX[resolution]}_split_{part}_questions.json"
        if split not in (None, part) or not source.is_file():
            continue
        answers = _answers(home / f"{_PREFIX[resolution]}_split_{part}_answers.json")
        paths: dict[int, Path | None] = {}
        unanswered = 0
        for row in read_json(source, _Questions)["questions"]:
            if not row["active"] or "img_id" not in row or "question" not in row or "type" not in row:
                continue
            number, answer = row["img_id"], answers.get(row["id"])
            if number not in paths:
                paths[number] = files.find_stem(str(number))
            path = paths[number]
            if answer is None:
                unanswered += 1
            elif path is None:
                reading.missing.append((part, str(number)))
            else:
                reading.items.append(QuestionItem(path, row["question"], answer, row["type"], part, dataset))
        if unanswered:
            reading.problems.append(f"part {part}: questions without an answer: {unanswered:,}; are both files of one archive?")
    return reading


def read_rsvqa(root: Path | str | None = None, resolution: str = "LR") -> list[QuestionItem]:
    """RSVQA_LR/ or RSVQA_HR/ under `root`, every part.

    Raises:
        UserError: another resolution, or files that are missing or damaged.
    """
    if resolution not in ("LR", "HR"):
        raise UserError(f"RSVQA has no resolution {resolution!r}: choose LR or HR")
    return list_rsvqa(data_root(root) / f"RSVQA_{resolution}", resolution).complete()


def _answers(source: Path) -> dict[int, str]:
    """Question number -> answer."""
    rows = read_json(source, _Answers)["answers"]
    return {row["question_id"]: row["answer"] for row in rows if row["active"] and "question_id" in row and "answer" in row}


def _list_extract(home: Path, resolution: Resolution) -> Reading[QuestionItem]:
    source = home / "qa.json"
    files = image_folder(home, "images")
    name = f"rsvqa_{resolution.lower()}"
    reading = Reading[QuestionItem](source, folders=[files], extract=True)
    reading.faults.append("its questions are split by image, not as the authors split theirs")
    for pair in read_json(source, list[_Pair]):
        part = hash_split(name, pair.image, train=0.6, val=0.2)
        path = files.find(pair.image)
        if path is None:
            reading.missing.append((part, pair.image))
        else:
            reading.items.append(QuestionItem(path, pair.question, pair.answer, pair.type, part, name))
    return reading

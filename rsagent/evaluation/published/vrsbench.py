"""VRSBench: conversations for training, three evaluation files of which the captions and the questions are read.

    VRSBench/   VRSBench_train.json, Images_train/*.png                           20,264 images
                VRSBench_EVAL_Cap.json, VRSBench_EVAL_vqa.json, Images_val/*.png   9,350 images: the part "val"

A conversation of the training file is a caption or a question by the tag in its first turn; its questions have no type.
The boxes that objects are referred to with ([refer], VRSBench_EVAL_referring.json) are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, field_validator

from rsagent.evaluation.published.files import ImageFolder, Reading, image_folder, read_json
from rsagent.evaluation.published.records import CaptionedImage, QuestionItem

TRAIN, CAPTIONS, QUESTIONS = "VRSBench_train.json", "VRSBench_EVAL_Cap.json", "VRSBench_EVAL_vqa.json"
UNTYPED = "untyped"
"""The type of the training questions, which the authors give none."""
_TAG = re.compile(r"\[(caption|vqa|refer)\]")
_PROMPT_END = re.compile(r"[.\s]*A short answer to the question is[:.\s]*$", re.I)


class _Turn(BaseModel):
    value: str


class _Conversation(BaseModel):
    image: str
    conversations: list[_Turn]


class _Caption(BaseModel):
    image_id: str
    ground_truth: str


class _Question(_Caption):
    question: str
    type: str

    @field_validator("ground_truth", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """A count may stand there as a number."""
        return str(value) if isinstance(value, int | float) else value


def list_vrsbench_captions(home: Path, split: str | None = None) -> Reading[CaptionedImage]:
    """The captions, one an image; `split` reads one part alone."""
    reading = Reading[CaptionedImage](home / CAPTIONS)
    if split in (None, "train") and (home / TRAIN).is_file():
        files = _images(reading, home, "Images_train")
        for image, text, tag, _ in _conversations(home):
            path = files.find(image) if tag == "caption" else None
            if path is not None:
                reading.items.append(CaptionedImage(path, (text,), "train", None, "vrsbench-captions"))
            elif tag == "caption":
                reading.missing.append(("train", image))
    if split in (None, "val") and (home / CAPTIONS).is_file():
        files = _images(reading, home, "Images_val")
        for row in read_json(home / CAPTIONS, list[_Caption]):
            path = files.find(row.image_id)
            if path is None:
                reading.missing.append(("val", row.image_id))
            else:
                reading.items.append(CaptionedImage(path, (row.ground_truth,), "val", None, "vrsbench-captions"))
    return reading


def list_vrsbench_questions(home: Path, split: str | None = None) -> Reading[QuestionItem]:
    """The questions; those of "val" have the authors' twelve types. `split` reads one part alone."""
    reading = Reading[QuestionItem](home / QUESTIONS)
    if split in (None, "train") and (home / TRAIN).is_file():
        files = _images(reading, home, "Images_train")
        for image, text, tag, asked in _conversations(home):
            path = files.find(image) if tag == "vqa" else None
            if path is not None:
                reading.items.append(QuestionItem(path, asked, text, UNTYPED, "train", "vrsbench-vqa"))
            elif tag == "vqa":
                reading.missing.append(("train", image))
    if split in (None, "val") and (home / QUESTIONS).is_file():
        files = _images(reading, home, "Images_val")
        for row in read_json(home / QUESTIONS, list[_Question]):
            path = files.find(row.image_id)
            if path is None:
                reading.missing.append(("val", row.image_id))
            else:
                kind = " ".join(row.type.lower().split())
                reading.items.append(QuestionItem(path, row.question, row.ground_truth, kind, "val", "vrsbench-vqa"))
    return reading


def _images(reading: Reading[CaptionedImage] | Reading[QuestionItem], home: Path, name: str) -> ImageFolder:
    files = image_folder(home, name)
    reading.folders.append(files)
    return files


def _conversations(home: Path) -> Iterator[tuple[str, str, str, str]]:
    """Image, reply, tag and question of each conversation in the training file that has a tag and a reply."""
    for row in read_json(home / TRAIN, list[_Conversation]):
        if len(row.conversations) < 2:
            continue
        said, reply = row.conversations[0].value, row.conversations[1].value.strip()
        found = _TAG.search(said)
        if found:
            question = _PROMPT_END.sub("", said[found.end() :]).strip()
            yield row.image, reply, found[1], question

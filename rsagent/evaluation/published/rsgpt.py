"""RSICap and RSIEval, the data of RSGPT: annotations in one JSON file beside images/, crops of DOTA.

RSICap/     captions.json, images/Pxxxx_yyyy.png       2,585 long captions, all for training
RSIEval/    annotations.json, images/Pxxxx_yyyy.png    100 images, one caption and 9 or 10 questions each
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from rsagent.evaluation.published.files import Reading, image_folder, read_json
from rsagent.evaluation.published.records import CaptionedImage, QuestionItem, data_root


class _Caption(BaseModel):
    filename: str
    text_output: str


class _Captions(BaseModel):
    annotations: list[_Caption]


class _Pair(BaseModel):
    question: str
    answer: str
    type: str


class _Annotation(BaseModel):
    filename: str
    caption: str
    qa_pairs: list[_Pair]


class _Annotations(BaseModel):
    annotations: list[_Annotation]


def list_rsicap(home: Path) -> Reading[CaptionedImage]:
    """RSICap: one caption an image, no split: all of it is for training."""
    source = home / "captions.json"
    files = image_folder(home, "images")
    reading = Reading[CaptionedImage](source, folders=[files])
    for row in read_json(source, _Captions).annotations:
        path = files.find(row.filename)
        if path is None:
            reading.missing.append(("train", row.filename))
        else:
            reading.items.append(CaptionedImage(path, (row.text_output,), "train", None, "rsicap"))
    return reading


def read_rsicap(root: Path | str | None = None) -> list[CaptionedImage]:
    """RSICap: 2,585 crops of DOTA, one long caption each, all of it for training (RSIEval is its test)."""
    return list_rsicap(data_root(root) / "RSICap").complete()


def list_rsieval_captions(home: Path) -> Reading[CaptionedImage]:
    """RSIEval's captions, one an image; all of it is for testing."""
    source = home / "annotations.json"
    files = image_folder(home, "images")
    reading = Reading[CaptionedImage](source, folders=[files])
    for row in read_json(source, _Annotations).annotations:
        path = files.find(row.filename)
        if path is None:
            reading.missing.append(("test", row.filename))
        else:
            reading.items.append(CaptionedImage(path, (row.caption,), "test", None, "rsieval-captions"))
    return reading


def list_rsieval_questions(home: Path) -> Reading[QuestionItem]:
    """RSIEval's questions. One of the 936 is empty; the authors' own script skips it, and so does this."""
    source = home / "annotations.json"
    files = image_folder(home, "images")
    reading = Reading[QuestionItem](source, folders=[files])
    empty = 0
    for row in read_json(source, _Annotations).annotations:
        path = files.find(row.filename)
        for pair in row.qa_pairs:
            if not pair.question.strip():
                empty += 1
            elif path is None:
                reading.missing.append(("test", row.filename))
            else:
                reading.items.append(QuestionItem(path, pair.question, pair.answer, pair.type, "test", "rsieval-vqa"))
    if empty:
        reading.faults.append(f"questions that are empty and left out: {empty}")
    return reading

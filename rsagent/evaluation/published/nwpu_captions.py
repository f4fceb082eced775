"""NWPU-Captions: dataset_nwpu.json, a list of images by class, five captions in five fields; one folder of images a class.

    NWPU-Captions/      dataset_nwpu.json, NWPU_images/CLASS/CLASS_NNN.jpg

The images are those of NWPU-RESISC45, so that folder beside this one serves as well.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from rsagent.evaluation.published.files import ImageFolder, Reading, image_folder, read_json
from rsagent.evaluation.published.records import CaptionedImage

SOURCE = "dataset_nwpu.json"
_NAME = "nwpu-captions"


class _Row(BaseModel):
    filename: str
    split: str
    raw: str
    raw_1: str
    raw_2: str
    raw_3: str
    raw_4: str


def list_nwpu_captions(home: Path) -> Reading[CaptionedImage]:
    """NWPU-Captions; labels are the 45 classes."""
    source = home / SOURCE
    rows = read_json(source, dict[str, list[_Row]])
    images = _image_root(home)
    there = {path.name for path in images.iterdir() if path.is_dir()} if images.is_dir() else set[str]()
    reading = Reading[CaptionedImage](source)
    flat = ImageFolder(images)
    reading.folders.append(flat)
    for label, listed in rows.items():
        files = image_folder(images, label) if label in there else flat  # a name from the file never makes a path
        if files is not flat:
            reading.folders.append(files)
        for row in listed:
            path = files.find(row.filename)
            if path is None:
                reading.missing.append((row.split, f"{label}/{row.filename}"))
                continue
            captions = (row.raw, row.raw_1, row.raw_2, row.raw_3, row.raw_4)
            reading.items.append(CaptionedImage(path, captions, row.split, label, _NAME))
    if any(name.endswith("/airplane_111.jpg") for _, name in reading.missing):
        reading.faults.append("airplane_111.jpg is missing from the authors' archive; NWPU-RESISC45 has it")
    return reading


def _image_root(home: Path) -> Path:
    """The folder that holds the class folders."""
    places = [home / "NWPU_images", home / "images", home / "NWPU-RESISC45", home.parent / "NWPU-RESISC45"]
    found = next((place for place in places if place.is_dir()), places[0])
    inner = found / found.name
    return inner if inner.is_dir() else found

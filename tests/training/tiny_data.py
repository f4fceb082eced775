"""The data sets that training reads, tiny: noisy pictures, invented words, the published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

UCM_LABELS = [
    "airplane", "bare-soil", "buildings", "cars", "chaparral", "court", "dock", "field", "grass", "mobile-home", "pavement",
    "sand", "sea", "ship", "tanks", "trees", "water",
]  # fmt: skip
PLACES = ("harbor", "runway", "farmland", "forest", "tennis court")
THINGS = ("white boats", "grey planes", "green trees", "small buildings", "red cars")


def write_data(root: Path) -> None:
    """Small noisy pictures, invented captions and questions, laid out as the data sets are published."""
    rng = np.random.default_rng(0)

    def picture(file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        tiles = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(tiles).save(file)

    def captions(index: int) -> list[dict[str, str]]:
        place, things, other = PLACES[index % 5], THINGS[(index // 2) % 5], THINGS[(index // 3 + 1) % 5]
        said = (
            f"There are some {things} in the {place} .", f"Many {things} are beside some {other} .",
            f"This is a {place} with {things} .", f"Some {other} are on the left of the {place} .", f"There is a {place} .",
        )  # fmt: skip
        return [{"raw": sentence} for sentence in said]

    def split(index: int) -> str:
        return "test" if index % 10 == 9 else "val" if index % 10 == 8 else "train"

    ucm, rsicd = root / "UCM_captions", root / "RSICD"
    names = [f"{index}.tif" for index in range(1, 31)]
    for name in names:
        picture(ucm / "imgs" / name)
    images = [{"filename": n, "split": split(i), "sentences": captions(i)} for i, n in enumerate(names)]
    (ucm / "dataset.json").write_text(json.dumps({"images": images}))
    labels = {
        n: {"class": PLACES[i % 5], "labels": [UCM_LABELS[i % 17], UCM_LABELS[(i + 5) % 17]]} for i, n in enumerate(names)
    }
    (ucm / "classes.json").write_text(json.dumps(labels))
    questions = [
        {"image": n, "split": split(i), "question": question, "answer": answer}
        for i, n in enumerate(names)
        for question, answer in (
            ("What is the theme of this picture?", PLACES[i % 5]),
            (f"How many {THINGS[i % 5].split()[1]} in the picture?", "two"),
            (f"Does this picture contain {THINGS[i % 5].split()[1]}?", "yes"),
        )
    ]
    (ucm / "rsivqa_ucm.json").write_text(json.dumps(questions))
    names = [f"{PLACES[index % 5].replace(' ', '')}_{index}.jpg" for index in range(30)]
    for name in names:
        picture(rsicd / "RSICD_images" / name)
    images = [{"filename": n, "split": split(i), "sentences": captions(i + 2)} for i, n in enumerate(names)]
    (rsicd / "dataset_rsicd.json").write_text(json.dumps({"images": images}))
    for folder in ("NWPU-RESISC45", "EuroSAT_RGB"):
        for index in range(24):
            place = PLACES[index % 3]
            picture(root / folder / place / f"{place}_{index}.jpg")

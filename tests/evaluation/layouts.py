"""Small data sets in the layouts in which their authors publish them; texts and pixels are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIVE = ["Two barns .", "A pair of barns .", "Barns beside a lane .", "Some barns .", "There are barns ."]


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_images(folder: Path, *names: str) -> None:
    """Write files that differ from each other, under these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(f"pixels of {folder.name}/{name}".encode())


def karpathy_row(name: str, split: str, captions: list[str] = FIVE) -> dict[str, Any]:
    """An image of a file in Karpathy's layout."""
    return {"filename": name, "split": split, "imgid": 0, "sentences": [{"raw": c, "tokens": c.split()} for c in captions]}


def ucm_captions(root: Path) -> Path:
    """UCM-Captions: one image a part."""
    home = root / "UCM_captions"
    write_images(home / "imgs", "1.tif", "801.tif", "2100.tif")
    rows = [karpathy_row("1.tif", "train"), karpathy_row("801.tif", "val"), karpathy_row("2100.tif", "test")]
    write_json(home / "dataset.json", {"images": rows, "dataset": "UCM"})
    return home


def sydney_captions(root: Path) -> Path:
    """Sydney-Captions: file names as in UCM-Captions."""
    home = root / "Sydney_captions"
    write_images(home / "imgs", "1.tif", "2.tif")
    write_json(home / "dataset.json", {"images": [karpathy_row("1.tif", "train"), karpathy_row("2.tif", "test")]})
    return home


def rsicd(root: Path) -> Path:
    """RSICD: a name with its class, and a bare number."""
    home = root / "RSICD"
    write_images(home / "RSICD_images", "airport_1.jpg", "00002.jpg")
    rows = [karpathy_row("airport_1.jpg", "test"), karpathy_row("00002.jpg", "train", ["Ponds ."] * 5)]
    write_json(home / "dataset_rsicd.json", {"images": rows, "dataset": "rsicd"})
    return home


def nwpu_captions(root: Path) -> Path:
    """NWPU-Captions: two classes."""
    home = root / "NWPU-Captions"
    rows: dict[str, list[dict[str, Any]]] = {}
    for label, split in (("airplane", "train"), ("sea_ice", "test")):
        write_images(home / "NWPU_images" / label, f"{label}_001.jpg")
        texts = dict(zip(("raw", "raw_1", "raw_2", "raw_3", "raw_4"), FIVE, strict=True))
        rows[label] = [{"filename": f"{label}_001.jpg", "imgid": 0, "split": split, "sentids": 0, **texts}]
    write_json(home / "dataset_nwpu.json", rows)
    return home


def rsicap(root: Path) -> Path:
    """RSICap: one image."""
    home = root / "RSICap"
    write_images(home / "images", "P0001_0002.png")
    row = {"image_id": "0", "filename": "P0001_0002.png", "text_input": "Describe it.", "text_output": "A quay with one crane."}
    write_json(home / "captions.json", {"annotations": [row]})
    return home


def rsieval(root: Path) -> Path:
    """RSIEval: one image, two questions and an empty one."""
    home = root / "RSIEval"
    write_images(home / "images", "P0003_0004.png")
    asked = [("Any cranes?", "Yes.", "presence"), ("", "", "presence"), ("Which way does the road run?", "North.", "road_ori")]
    pairs = [{"question": q, "answer": a, "type": t} for q, a, t in asked]
    write_json(
        home / "annotations.json", {"annotations": [{"filename": "P0003_0004.png", "caption": "A quay.", "qa_pairs": pairs}]}
    )
    return home


def _rsvqa(home: Path, prefix: str, images: str, ending: str, parts: dict[str, list[tuple[int, str, str, str]]]) -> Path:
    """Every file numbers the items of all parts; those of another part are stubs."""
    rows = [(part, *row) for part, listed in parts.items() for row in listed]
    write_images(home / images, *{f"{row[1]}{ending}" for row in rows})
    for part in parts:
        questions: list[dict[str, Any]] = []
        answers: list[dict[str, Any]] = []
        for number, (own, image, kind, question, answer) in enumerate(rows):
            mine = own == part
            asked = {"img_id": image, "type": kind, "question": question, "answers_ids": [number], "people_id": 0}
            questions.append({"id": number, "active": mine, **(asked if mine else {})})
            answers.append({"id": number, "active": mine, **({"question_id": number, "answer": answer} if mine else {})})
        write_json(home / f"{prefix}_split_{part}_questions.json", {"questions": questions})
        write_json(home / f"{prefix}_split_{part}_answers.json", {"answers": answers})
    return home


def rsvqa_lr(root: Path) -> Path:
    """RSVQA-LR: an image a part."""
    parts = {
        "train": [(0, "count", "How many ponds are there?", "4"), (0, "presence", "Is there a lane?", "yes")],
        "val": [(1, "rural_urban", "Is it a rural or an urban area", "rural")],
        "test": [(2, "comp", "Are there more ponds than lanes?", "no")],
    }
    return _rsvqa(root / "RSVQA_LR", "LR", "Images_LR", ".tif", parts)


def rsvqa_hr(root: Path) -> Path:
    """RSVQA-HR: with the second test part, and PNG images."""
    parts = {
        "test": [(7, "area", "What is the area covered by ponds?", "120m2")],
        "test_phili": [(9, "presence", "Is there a pond?", "no")],
    }
    return _rsvqa(root / "RSVQA_HR", "USGS", "Data", ".png", parts)


def rsivqa(root: Path) -> Path:
    """RSIVQA: its text files, and the images of UCM-Captions and DOTA alone."""
    ucm_captions(root)
    home = root / "RSIVQA"
    theme = "what is the theme of this picture?"
    texts = {
        "UCM/ucm_vqa.txt": f"1.tif:{theme}agricultural\n2100.tif:{theme}tennis court\n",
        "UCM/ucm_res.txt": "2100.tif:How many  in the picture?one\n2100.tif:How many barns in the picture?two\n",
        "Sydney/sydney_vqa.txt": f"1.tif:{theme}meadow\n",
        "AID/rsicd_vqa.txt": f"airport_1.jpg:{theme}airport\n",
        "HRRSD/opt_val_vqa.txt": "00752: how many barns are there in this picture?7\n",
        "DOTA/dota_train_vqa2.txt": "P0785: does this picture contain ship?no\n",
        "DOTA/dota_val_vqa2.txt": "P0007: how many ships are there in this picture?12\n",
    }
    for name, text in texts.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    write_images(root / "DOTA" / "images", "P0785.png", "P0007.png")
    return home


def vrsbench(root: Path) -> Path:
    """VRSBench: a caption, a question and a reference for training; a caption and two questions of the part val."""
    home = root / "VRSBench"
    write_images(home / "Images_train" / "Images_train", "00001_0000.png")
    write_images(home / "Images_val", "P0002_0003.png")
    said = (
        ("[caption] Could you describe the contents of this image for me?", "A quay."),
        ("[vqa] Is there a crane?. A short answer to the question is", "Yes"),
        ("[refer] where is the crane", "{<1><2><3><4>}"),
    )
    rows = [
        {
            "id": i,
            "image": "00001_0000.png",
            "conversations": [{"from": "human", "value": f"<image>\n{q}"}, {"from": "gpt", "value": a}],
        }
        for i, (q, a) in enumerate(said)
    ]
    write_json(home / "VRSBench_train.json", rows)
    caption = {
        "image_id": "P0002_0003.png",
        "ground_truth": "Two tanks.",
        "question_id": 0,
        "question": "Describe the image in detail",
    }
    write_json(home / "VRSBench_EVAL_Cap.json", [caption])
    asked = (("How many tanks?", 2, "object quantity"), ("What shape have they?", "Round", "Object  shape"))
    rows = [
        {"image_id": "P0002_0003.png", "question": q, "ground_truth": a, "question_id": i, "type": t}
        for i, (q, a, t) in enumerate(asked)
    ]
    write_json(home / "VRSBench_EVAL_vqa.json", rows)
    return home


def class_folders(folder: str, name: Callable[[str, int], str], *classes: str) -> Callable[[Path], Path]:
    """A data set of class folders, twelve images each."""

    def write(root: Path) -> Path:
        for label in classes:
            write_images(root / folder / label, *(name(label, number) for number in range(12)))
        return root / folder.split("/")[0]

    return write


ucm = class_folders("UCMerced_LandUse/Images", lambda c, n: f"{c}{n:02}.tif", "agricultural", "tenniscourt")
resisc45 = class_folders("NWPU-RESISC45", lambda c, n: f"{c}_{n + 1:03}.jpg", "sea_ice", "wetland")
aid = class_folders("AID", lambda c, n: f"{c.lower()}_{n + 1}.jpg", "BareLand", "Viaduct")
whu_rs19 = class_folders("WHU-RS19", lambda c, n: f"{c.lower()}_{n + 1:02}.jpg", "footballField", "Viaduct")
siri_whu = class_folders("SIRI-WHU/12class_tif", lambda c, n: f"{n + 1:04}.tif", "idle_land", "water")
eurosat = class_folders("2750", lambda c, n: f"{c}_{n + 1}.jpg", "AnnualCrop", "SeaLake")

WRITERS: dict[str, Callable[[Path], Path]] = {
    "ucm-captions": ucm_captions,
    "sydney-captions": sydney_captions,
    "rsicd": rsicd,
    "nwpu-captions": nwpu_captions,
    "rsicap": rsicap,
    "rsieval-captions": rsieval,
    "rsieval-vqa": rsieval,
    "rsvqa-lr": rsvqa_lr,
    "rsvqa-hr": rsvqa_hr,
    "rsivqa": rsivqa,
    "vrsbench-captions": vrsbench,
    "vrsbench-vqa": vrsbench,
    "ucm": ucm,
    "nwpu-resisc45": resisc45,
    "aid": aid,
    "whu-rs19": whu_rs19,
    "siri-whu": siri_whu,
    "eurosat": eurosat,
}
"""Data set -> what writes a small one below a folder and gives its own folder."""

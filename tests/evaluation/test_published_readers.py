"""The readers, on small folders that the tests write in the published layouts, and on the data itself where it is."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsagent.errors import UserError
from rsagent.evaluation.published.class_folders import read_class_folders
from rsagent.evaluation.published.karpathy import read_rsicd, read_ucm_captions, read_ucm_multilabels
from rsagent.evaluation.published.records import QuestionItem, as_labelled, data_root, hash_split, holdout
from rsagent.evaluation.published.rsivqa import read_rsivqa_ucm
from rsagent.evaluation.published.rsvqa import read_rsvqa
from rsagent.evaluation.wording import clean_caption, is_faulty_question, rsivqa_type

REAL = os.environ.get("RSAGENT_DATA")
needs_data = pytest.mark.skipif(not REAL, reason="needs the public data sets: set RSAGENT_DATA to their folder")


def karpathy(*rows: tuple[str, str, list[str]]) -> str:
    images = [
        {
            "filename": name,
            "split": split,
            "imgid": i,
            "sentences": [{"raw": c, "tokens": c.split()} for c in captions],
        }
        for i, (name, split, captions) in enumerate(rows)
    ]
    return json.dumps({"images": images, "dataset": "test"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    ucm, rsicd = tmp_path / "UCM_captions", tmp_path / "RSICD"
    (ucm / "imgs").mkdir(parents=True)
    (rsicd / "RSICD_images").mkdir(parents=True)
    for name in ("1.tif", "148.tif", "1901.tif"):
        (ucm / "imgs" / name).write_bytes(b"pixels")
    (ucm / "dataset.json").write_text(
        karpathy(
            ("1.tif", "train", ["A tidy allotment ."] * 5),
            ("148.tif", "train", ["A tidy allotment ."] * 5),
            ("1901.tif", "test", ["Six round vats ."] * 4 + ["Vats beside a lane ."]),
        )
    )
    (ucm / "classes.json").write_text(
        json.dumps(
            {
                "1.tif": {"class": "agricultural", "labels": ["field"]},
                "148.tif": {"class": "airplane", "labels": ["airplane", "pavement"]},
                "1901.tif": {"class": "storagetanks", "labels": ["tanks"]},
            }
        )
    )
    pairs = [
        ("1.tif", "train", "What is the theme of this picture?", "farmland"),
        ("1.tif", "train", "How many  in the picture?", "zero"),
        ("1901.tif", "test", "How many  in the picture?", "one"),
        ("1901.tif", "test", "What is the location of the sheds in this picture?", "left"),
        ("1901.tif", "test", "Does this picture contain trees?", "no"),
    ]
    keys = ("image", "split", "question", "answer")
    (ucm / "rsivqa_ucm.json").write_text(json.dumps([dict(zip(keys, pair, strict=True)) for pair in pairs]))
    for name in ("00001.jpg", "airport_2.jpg"):
        (rsicd / "RSICD_images" / name).write_bytes(b"pixels")
    (rsicd / "dataset_rsicd.json").write_text(
        karpathy(("00001.jpg", "train", ["ponds ."] * 5), ("airport_2.jpg", "val", [f"{n} jets ." for n in "abcde"]))
    )
    (rsicd / "themes.json").write_text(json.dumps({"00001.jpg": "pond", "airport_2.jpg": "airport"}))
    lr = tmp_path / "RSVQA_LR"
    (lr / "images").mkdir(parents=True)
    rows = []
    for n in range(40):
        (lr / "images" / f"{n}.jpg").write_bytes(b"pixels")
        rows += [{"image": f"{n}.jpg", "question": q, "answer": "no", "type": "presence", "sensor": "S2"} for q in "ab"]
    (lr / "qa.json").write_text(json.dumps(rows))
    for label in ("lake", "desert"):
        (tmp_path / "Folders" / label).mkdir(parents=True)
        (tmp_path / "Folders" / label / f"{label}_1.jpg").write_bytes(b"pixels")
    (tmp_path / "Folders" / "readme.txt").write_text("not a class")
    return tmp_path


def test_ucm_drops_wrong_captions_from_training_unless_asked(root: Path) -> None:
    assert [image.path.name for image in read_ucm_captions(root)] == ["1.tif", "1901.tif"]
    assert len(read_ucm_captions(root, drop_wrong=False)) == 3


def test_captions_stay_as_published_and_repeats_are_counted(root: Path) -> None:
    farm, vats = read_ucm_captions(root)
    assert farm.captions == ("A tidy allotment .",) * 5
    assert (farm.distinct, vats.distinct) == (1, 2)
    assert (farm.label, farm.split, farm.dataset, vats.split) == ("agricultural", "train", "ucm", "test")


def test_rsicd_takes_classes_from_themes_or_from_names(root: Path) -> None:
    assert [(image.label, image.split) for image in read_rsicd(root)] == [("pond", "train"), ("airport", "val")]
    (root / "RSICD" / "themes.json").unlink()
    assert [image.label for image in read_rsicd(root)] == [None, "airport"]


def test_rsivqa_types_and_faulty_questions(root: Path) -> None:
    items = read_rsivqa_ucm(root)
    assert [item.type for item in items] == ["theme", "count", "location", "presence"]
    assert [item.faulty for item in items] == [False, True, False, False]
    assert items[1].question == "How many  in the picture?"
    assert len(read_rsivqa_ucm(root, drop_faulty=False)) == 5


def test_rsvqa_is_split_by_image_the_same_every_time(root: Path) -> None:
    items = read_rsvqa(root, "LR")
    parts = {}
    for item in items:
        assert parts.setdefault(item.path, item.split) == item.split
    assert set(parts.values()) == {"train", "val", "test"}
    assert items == read_rsvqa(root, "LR")
    with pytest.raises(UserError, match="LR or HR"):
        read_rsvqa(root, "MR")


def test_class_folders(root: Path) -> None:
    items = read_class_folders(root / "Folders")
    assert [(item.label, item.path.name, item.dataset) for item in items] == [
        ("desert", "desert_1.jpg", "Folders"),
        ("lake", "lake_1.jpg", "Folders"),
    ]


def test_multilabels_join_captions(root: Path) -> None:
    labelled = as_labelled(read_ucm_captions(root, drop_wrong=False), read_ucm_multilabels(root))
    assert [(item.label, item.labels) for item in labelled][1] == ("airplane", ("airplane", "pavement"))


def one_line(error: pytest.ExceptionInfo[UserError], *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_errors_name_the_file_and_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "UCM_captions" / "imgs" / "1901.tif").unlink()
    with pytest.raises(UserError) as missing_image:
        read_ucm_captions(root)
    one_line(missing_image, "dataset.json", "1901.tif", "unpack")
    (root / "UCM_captions" / "dataset.json").write_text('{"images": [{"filename": "1.tif"}]}')
    with pytest.raises(UserError) as layout:
        read_ucm_captions(root)
    one_line(layout, "dataset.json", "images.0.split")
    (root / "UCM_captions" / "dataset.json").write_text("{")
    with pytest.raises(UserError) as no_json:
        read_ucm_captions(root)
    one_line(no_json, "dataset.json")
    (root / "RSICD" / "dataset_rsicd.json").unlink()
    with pytest.raises(UserError) as no_file:
        read_rsicd(root)
    one_line(no_file, "dataset_rsicd.json", "no such file")
    with pytest.raises(UserError) as no_set:
        read_class_folders(root / "Absent")
    one_line(no_set, "Absent")
    monkeypatch.delenv("RSAGENT_DATA", raising=False)
    with pytest.raises(UserError, match="RSAGENT_DATA"):
        data_root()
    with pytest.raises(UserError, match="no such folder"):
        data_root(root / "nowhere")


def test_a_name_cannot_leave_the_image_folder(root: Path) -> None:
    (root / "RSICD" / "dataset_rsicd.json").write_text(karpathy(("../dataset_rsicd.json", "train", ["x ."])))
    with pytest.raises(UserError, match="not in"):
        read_rsicd(root)


def test_root_comes_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSAGENT_DATA", str(root))
    assert len(read_rsicd()) == 2


def test_an_unknown_question_wording_is_an_error(root: Path) -> None:
    row = {"image": "1.tif", "split": "train", "question": "Why?", "answer": "because"}
    (root / "UCM_captions" / "rsivqa_ucm.json").write_text(json.dumps([row]))
    with pytest.raises(UserError, match="type of question"):
        read_rsivqa_ucm(root)


def item(n: int, split: str = "train", question: str = "q") -> QuestionItem:
    return QuestionItem(Path(f"/data/imgs/{n}.tif"), question, "a", "count", split, "d")


def test_holdout_divides_training_by_image_and_is_stable() -> None:
    items = [item(n, question=q) for n in range(1000) for q in "xy"] + [item(n, "test") for n in range(1000, 1100)]
    rest, held = holdout(items, share=0.1, seed=3)
    assert len(rest) + len(held) == 2000
    assert 120 < len(held) < 280
    assert not {i.path for i in rest} & {i.path for i in held}
    assert (rest, held) == holdout(items, share=0.1, seed=3)
    assert held != holdout(items, share=0.1, seed=4)[1]
    smaller = holdout([i for i in items if i.question == "x"], share=0.1, seed=3)[1]
    assert {i.path for i in smaller} == {i.path for i in held}, "an image is on one side in every list"
    with pytest.raises(ValueError, match="share"):
        holdout(items, share=2)


def test_hash_split_keeps_its_shares() -> None:
    parts = Counter(hash_split("set", f"{n}.jpg") for n in range(4000))
    assert 3100 < parts["train"] < 3300
    assert hash_split("set", "7.jpg") == hash_split("set", "7.jpg")


@pytest.mark.parametrize(
    ("published", "cleaned"),
    [
        ("Some  Buidings stand beside a raod .", "some buildings stand beside a road."),
        ("two vats , three sheds and a lane", "two vats, three sheds and a lane."),
        ("a semi-surrounded yard(2 .", "a semi-surrounded yard."),
        ("sheds surroundeded by treefs .", "sheds surrounded by trees."),
        ("a parkinglot with alot of vans", "a parking lot with a lot of vans."),
        (".", ""),
        ("1 .", ""),
    ],
)
def test_clean_caption(published: str, cleaned: str) -> None:
    assert clean_caption(published) == cleaned


@given(st.text(max_size=200))
def test_cleaning_is_idempotent_and_ends_with_one_full_stop(text: str) -> None:
    cleaned = clean_caption(text)
    assert clean_caption(cleaned) == cleaned
    assert cleaned == "" or (cleaned.endswith(".") and cleaned.count(".") == 1 and "  " not in cleaned)


def test_question_wordings() -> None:
    assert rsivqa_type("what color is the shed?") == "color"
    assert rsivqa_type("Tell me.") is None
    assert is_faulty_question("What is the location of the  in this picture?")
    assert not is_faulty_question("How many barns in the picture?")


@pytest.mark.data
@needs_data
def test_published_counts() -> None:
    assert Counter(i.split for i in read_ucm_captions(REAL, drop_wrong=False)) == {
        "train": 1680,
        "val": 210,
        "test": 210,
    }
    assert Counter(i.split for i in read_ucm_captions(REAL)) == {"train": 1669, "val": 210, "test": 210}
    rsicd = Counter(i.split for i in read_rsicd(REAL))
    assert (rsicd["train"], rsicd["val"]) == (8734, 1094)
    assert Counter(i.distinct for i in read_rsicd(REAL) if i.split == "val")[5] == 96
    questions = read_rsivqa_ucm(REAL, drop_faulty=False)
    assert len(questions) == 2795
    assert len({i.path for i in questions}) == 559
    assert {i.type for i in questions} == {"theme", "presence", "count", "location"}
    assert sum(i.split in ("val", "test") for i in read_rsivqa_ucm(REAL)) == 500


@pytest.mark.data
@needs_data
def test_published_classes() -> None:
    images = read_ucm_captions(REAL)
    assert len({i.label for i in images}) == 21
    assert len({i.label for i in read_rsicd(REAL)}) == 30
    assert len({name for names in read_ucm_multilabels(REAL).values() for name in names}) == 17
    assert len(read_class_folders(data_root(REAL) / "NWPU-RESISC45")) == 1440
    assert len({i.label for i in read_class_folders(data_root(REAL) / "EuroSAT_RGB")}) == 10


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(("resolution", "count"), [("LR", 2504), ("HR", 2501)])
def test_rsvqa_counts(resolution: str, count: int) -> None:
    items = read_rsvqa(REAL, resolution)
    assert len(items) == count
    assert {i.split for i in items} == {"train", "val", "test"}

"""No table from a part of a data set without saying so: what a copy lacks stands in the note of every table and page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from rsagent import RSAgent
from rsagent.engines.scripted import ScriptedEngine
from rsagent.evaluation.asking import agent_speaks
from rsagent.evaluation.comparison import compare_runs
from rsagent.evaluation.conduct import conduct
from rsagent.evaluation.page import page
from rsagent.evaluation.published.catalogue import open_dataset
from rsagent.evaluation.report import write_report
from rsagent.evaluation.run_folder import RunFolder
from rsagent.evaluation.sets import EvaluationSet, open_set
from rsagent.evaluation.table import to_markdown
from tests.evaluation import layouts
from tests.evaluation.toys import SAID


def extract(root: Path, images: int = 10) -> Path:
    """An extract of RSVQA-LR: pictures and a question each."""
    home = root / "RSVQA_LR"
    (home / "images").mkdir(parents=True)
    rows = []
    for number in range(images):
        Image.new("RGB", (24, 24), (number, number, number)).save(home / "images" / f"{number}.png")
        asked = {"question": "How many ponds are there?", "answer": str(number), "type": "count"}
        rows.append({"image": f"{number}.png", **asked})
    layouts.write_json(home / "qa.json", rows)
    return home


def note_of(name: str, root: Path, split: str = "all", limit: int | None = None) -> str:
    return open_set(name, root, split, limit=limit).note


def test_an_extract_is_told_from_the_set(tmp_path: Path) -> None:
    extract(tmp_path)
    note = note_of("rsvqa-lr", tmp_path)
    assert "PARTIAL DATA: an extract: 10 of 77,232 questions, 10 of 772 images" in note
    assert "split by image, not as the authors split theirs" in note


def test_class_folders_that_are_not_all_there(tmp_path: Path) -> None:
    layouts.resisc45(tmp_path)
    note = note_of("nwpu-resisc45", tmp_path)
    assert "PARTIAL DATA: 24 of 31,500 images" in note
    assert "43 published classes have no image here" in note
    assert "closed list" not in note
    layouts.write_images(tmp_path / "NWPU-RESISC45" / "farmland", "farmland_001.jpg")
    note = note_of("nwpu-resisc45", tmp_path)
    assert "1 class is not on the published list: farmland" in note
    assert "The closed list is not the published one but this copy's own 3 classes." in note


def test_questions_whose_images_are_not_there(tmp_path: Path) -> None:
    layouts.rsivqa(tmp_path)
    note = note_of("rsivqa", tmp_path)
    assert "of 111,693 questions" in note
    assert "no images in ../HRRSD/JPEGImages; questions that cannot be asked: 1" in note
    assert "questions that name no object: 1" in note


def test_questions_without_an_answer(tmp_path: Path) -> None:
    home = layouts.rsvqa_lr(tmp_path)
    file = home / "LR_split_train_answers.json"
    rows = json.loads(file.read_text())
    rows["answers"] = rows["answers"][1:]
    file.write_text(json.dumps(rows))
    assert "part train: questions without an answer: 1" in note_of("rsvqa-lr", tmp_path, "train")
    assert "without an answer" not in " ".join(open_dataset("rsvqa-lr", tmp_path, "test").notes)


def test_only_the_part_that_is_opened_is_counted_and_the_one_of_the_floors(tmp_path: Path) -> None:
    layouts.ucm_captions(tmp_path)
    assert open_dataset("ucm-captions", tmp_path, "test").notes == ("PARTIAL DATA: part test: 1 of 210 images",)
    note = note_of("ucm-captions", tmp_path, "test")
    assert "part test: 1 of 210 images" in note
    assert "part train: 1 of 1,680 images" in note
    assert "part val" not in note


def test_known_wrong_captions_that_are_left_out_make_no_copy_partial(tmp_path: Path) -> None:
    home = layouts.ucm_captions(tmp_path)
    names = [f"{number}.tif" for number in range(1, 1681)]
    layouts.write_images(home / "imgs", *names)
    rows = [layouts.karpathy_row(name, "train") for name in names]
    layouts.write_json(home / "dataset.json", {"images": rows, "dataset": "UCM"})
    data = open_dataset("ucm-captions", tmp_path, "train")
    assert len(data.items) == 1680 - 11
    assert data.notes == ("Known faults: training images with captions of farmland that show something else: 11",)


def test_a_limit_is_told(tmp_path: Path) -> None:
    extract(tmp_path)
    assert "LIMITED to 3 of 10 images" in note_of("rsvqa-lr", tmp_path, limit=3)
    assert "LIMITED" not in note_of("rsvqa-lr", tmp_path, limit=10)
    assert "LIMITED" not in note_of("rsvqa-lr", tmp_path)


@pytest.mark.slow
def test_a_limit_of_rendered_scenes_is_told() -> None:
    assert "LIMITED to 2 of " in open_set("scenes-questions", None, "val", limit=2).note


async def stored(chosen: EvaluationSet, path: Path) -> RunFolder:
    config = {"dataset": chosen.name, "split": chosen.split, "limit": None, "items": chosen.digest()}
    folder = RunFolder.begin(path, config, len(chosen.items))
    await conduct(agent_speaks(RSAgent(ScriptedEngine(SAID))), chosen, folder, lambda _: None, meteor=False)
    return folder


@pytest.mark.parametrize("limit", [None, 3])
async def test_every_table_and_page_says_it(tmp_path: Path, limit: int | None) -> None:
    extract(tmp_path)
    chosen = open_set("rsvqa-lr", tmp_path, "all", limit=limit)
    told = ["PARTIAL DATA: an extract: 10 of 77,232 questions", *(["LIMITED to 3 of 10 images"] if limit else [])]
    one, two = await stored(chosen, tmp_path / "one"), await stored(chosen, tmp_path / "two")
    compared = compare_runs([one.path, two.path])
    assert all(words in table.note for table in (*one.tables(), *compared.tables) for words in told)
    written = write_report([one.path], tmp_path / "docs")
    texts = [to_markdown(one.tables()), to_markdown(compared.tables), page(compared), written.pages[0].read_text("utf-8")]
    assert all(words in text for text in texts for words in told)

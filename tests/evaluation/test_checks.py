"""What `check` finds: counts, missing images, parts, duplicates, known faults; one line each."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rsagent.errors import UserError
from rsagent.evaluation.published import checks
from rsagent.evaluation.published.catalogue import CATALOGUE, Report, check
from tests.evaluation import layouts

REAL = os.environ.get("RSAGENT_DATA")


def edit(file: Path, change: object) -> None:
    """Rewrite a JSON file by `change`, which is given its value."""
    value = json.loads(file.read_text())
    change(value)  # type: ignore[operator]
    file.write_text(json.dumps(value))


def found(report: Report, words: str) -> list[str]:
    """The problems that say `words`."""
    return [problem for problem in report.problems if words in problem]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish UCM-Captions with one image a part, so that a whole copy fits a test."""
    known = {
        **CATALOGUE,
        "ucm-captions": replace(CATALOGUE["ucm-captions"], images=3, splits=dict.fromkeys(("train", "val", "test"), 1)),
    }
    monkeypatch.setattr(checks, "CATALOGUE", known)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_layout_is_recognised(name: str, tmp_path: Path) -> None:
    home = layouts.WRITERS[name](tmp_path)
    report = check(home)
    assert name in [one.name for one in report.sets]
    assert not report.clean, "a small copy is not whole"
    assert all("\n" not in line for line in report.problems)
    assert name in [one.name for one in check(tmp_path).sets]


@pytest.mark.usefixtures("small")
def test_a_whole_copy_is_clean(tmp_path: Path) -> None:
    report = check(layouts.ucm_captions(tmp_path))
    assert (report.clean, report.problems) == (True, ())
    assert dict(report.sets[0].splits) == {"train": 1, "val": 1, "test": 1}
    assert list(report.sets[0].splits) == ["train", "val", "test"]


@pytest.mark.usefixtures("small")
def test_images_that_are_missing_empty_or_listed_nowhere(tmp_path: Path) -> None:
    home = layouts.ucm_captions(tmp_path)
    (home / "imgs" / "1.tif").unlink()
    (home / "imgs" / "801.tif").write_bytes(b"")
    layouts.write_images(home / "imgs", "77.tif", "._1.tif", "Thumbs.db")
    report = check(home)
    assert found(report, "1 listed image is missing: 1.tif")
    assert found(report, "1 image file is empty: 801.tif")
    assert found(report, "1 image is listed nowhere: imgs/77.tif")


@pytest.mark.usefixtures("small")
def test_images_in_two_parts_by_name_or_by_content(tmp_path: Path) -> None:
    home = layouts.ucm_captions(tmp_path)
    shutil.copy(home / "imgs" / "1.tif", home / "imgs" / "2100.tif")
    report = check(home)
    assert found(report, "1 image is in two parts byte for byte: 1.tif (train) = 2100.tif (test)")
    edit(home / "dataset.json", lambda file: file["images"].append(layouts.karpathy_row("801.tif", "train")))
    report = check(home)
    assert found(report, "1 image is listed in two parts: 801.tif (train, val)")
    assert found(report, "part train: 2 images, 1 are published")


@pytest.mark.usefixtures("small")
def test_captions_and_parts_that_are_not_as_published(tmp_path: Path) -> None:
    home = layouts.ucm_captions(tmp_path)

    def spoil(file: dict[str, list[dict[str, object]]]) -> None:
        file["images"][0] = layouts.karpathy_row("1.tif", "train", ["Barns .", "."])
        file["images"][1]["split"] = "dev"

    edit(home / "dataset.json", spoil)
    report = check(home)
    assert found(report, "1 image has a caption without a word: 1.tif")
    assert found(report, "1 image has not five captions: 1.tif")
    assert found(report, "1 part is no published one: 'dev' (1)")


@pytest.mark.usefixtures("small")
def test_known_faults_of_the_original_are_no_problems(tmp_path: Path) -> None:
    home = layouts.ucm_captions(tmp_path)
    (home / "imgs" / "1.tif").rename(home / "imgs" / "148.tif")
    edit(home / "dataset.json", lambda file: file["images"][0].update(filename="148.tif"))
    report = check(home)
    assert report.clean
    assert report.sets[0].notes == ("training images with captions of farmland that show something else: 1",)
    rsicd = check(layouts.rsicd(tmp_path)).sets[0]
    assert rsicd.notes == ("images that repeat one sentence five times: 1",)


def test_questions_with_two_answers_or_none(tmp_path: Path) -> None:
    home = layouts.vrsbench(tmp_path)

    def spoil(rows: list[dict[str, object]]) -> None:
        rows.append({**rows[0], "ground_truth": "3"})
        rows[1]["ground_truth"] = " "

    edit(home / "VRSBench_EVAL_vqa.json", spoil)
    report = check(home)
    assert found(report, "1 question is asked twice with different answers: P0002_0003.png")
    assert found(report, "1 question has no answer: P0002_0003.png")


def test_questions_and_answers_of_two_archives(tmp_path: Path) -> None:
    home = layouts.rsvqa_lr(tmp_path)
    edit(home / "LR_split_test_answers.json", lambda file: file["answers"].clear())
    assert found(check(home), "part test: questions without an answer: 1")
    (home / "LR_split_val_answers.json").unlink()
    assert found(check(home), "LR_split_val_answers.json: no such file")


def test_an_extract_is_told_as_one(tmp_path: Path) -> None:
    home = tmp_path / "RSVQA_LR"
    layouts.write_images(home / "images", "0.jpg")
    layouts.write_json(
        home / "qa.json", [{"image": "0.jpg", "question": "Is there a pond?", "answer": "no", "type": "presence"}]
    )
    assert check(home).problems == ("rsvqa-lr: an extract: 1 of 77,232 questions, 1 of 772 images",)


def test_class_folders_with_other_or_fewer_classes(tmp_path: Path) -> None:
    home = layouts.siri_whu(tmp_path)
    layouts.write_images(home / "12class_tif" / "glacier", "0001.tif")
    report = check(home)
    assert found(report, "10 published classes have no image here: agriculture, commercial, harbor, ...")
    assert found(report, "1 class is not on the published list: glacier")
    assert "a digest" in report.sets[0].notes[0]


def test_names_that_leave_the_folder_are_told_and_not_followed(tmp_path: Path) -> None:
    home = layouts.rsicd(tmp_path)
    (tmp_path / "RSICD" / "secret.jpg").write_bytes(b"secret")
    names = ["../secret.jpg", "/etc/passwd", "..\\secret.jpg", "a" * 5000, "nul\0.jpg", "RSICD_images"]
    layouts.write_json(home / "dataset_rsicd.json", {"images": [layouts.karpathy_row(name, "test") for name in names]})
    report = check(home)
    assert report.sets[0].images == 0
    assert found(report, "3 listed names point outside their folder: ../secret.jpg")
    assert found(report, "3 listed images are missing")
    assert all(len(problem) < 500 for problem in report.problems)


def test_folders_and_pipes_are_no_images(tmp_path: Path) -> None:
    home = layouts.rsicap(tmp_path)
    (home / "images" / "P0001_0002.png").unlink()
    os.mkfifo(home / "images" / "P0001_0002.png")
    assert found(check(home), "1 listed image is missing: P0001_0002.png")


def test_a_damaged_file_is_one_problem_of_its_data_set(tmp_path: Path) -> None:
    layouts.rsicap(tmp_path)
    home = layouts.rsicd(tmp_path)
    for text in ("{", "[]", '{"images": 3}', "[" * 100_000, '{"images": [{"filename": "\\ud800"}]}', "\x00\xff"):
        (home / "dataset_rsicd.json").write_text(text, errors="surrogateescape")
        report = check(tmp_path)
        assert len(found(report, "rsicd: ")) == 1, text[:20]
        assert len(found(report, "not the published layout")) == 1
        assert [one.name for one in report.sets] == ["rsicd", "rsicap"]


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    home = layouts.rsicd(tmp_path)
    with (home / "dataset_rsicd.json").open("wb") as stream:
        stream.truncate(1 << 34)
    assert found(check(home), "larger than 512 MiB")


def test_what_is_no_data_set_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set that we know"):
        check(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        check(tmp_path / "nowhere")
    layouts.rsicap(tmp_path)
    layouts.write_images(tmp_path / "holiday", "beach.jpg")
    assert check(tmp_path).unknown == ("holiday",)


def test_progress_counts_the_images_that_are_compared(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    check(layouts.eurosat(tmp_path), lambda *step: told.append(step))
    assert told[-1][0] == "eurosat"
    assert told[-1][1] == told[-1][2] > 0


@pytest.mark.data
@pytest.mark.skipif(not REAL, reason="needs the public data sets: set RSAGENT_DATA to their folder")
def test_the_data_at_hand() -> None:
    assert REAL
    report = check(Path(REAL) / "UCM_captions")
    assert [one.name for one in report.sets] == ["ucm-captions", "rsivqa"]
    assert report.problems == ("rsivqa: an extract: 2,795 of 111,693 questions, 559 of 37,263 images",)
    classes = check(Path(REAL) / "NWPU-RESISC45")
    assert found(classes, "2 classes are not on the published list: farmland, residential")

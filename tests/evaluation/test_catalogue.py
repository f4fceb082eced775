"""Every data set opens from the layout its authors publish, by its own folder or by the one that holds several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsagent.errors import UserError
from rsagent.evaluation.published.catalogue import (
    CATALOGUE,
    TEN_TYPES,
    CaptionedImage,
    DataSet,
    LabelledImage,
    QuestionItem,
    check,
    open_dataset,
    ten_type,
    ten_types,
)
from rsagent.evaluation.published.rsgpt import read_rsicap
from rsagent.training.question_types import QUESTION_EXPERT
from tests.evaluation import layouts

KINDS = {"caption": CaptionedImage, "answer": QuestionItem, "classify": LabelledImage}


def questions(data: DataSet) -> list[tuple[str, str, str, str]]:
    """Image, question, answer and type of each item."""
    return [(i.path.name, i.question, i.answer, i.type) for i in data.items if isinstance(i, QuestionItem)]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_data_set_opens_from_either_folder(name: str, tmp_path: Path) -> None:
    home = layouts.WRITERS[name](tmp_path)
    about = CATALOGUE[name]
    for root in (tmp_path, home):
        data = open_dataset(name, root, "all")
        assert data.about is about
        assert data.root == home
        assert data.items
        for item in data.items:
            assert isinstance(item, KINDS[about.task])
            assert item.path.is_file()
            assert item.split in about.parts
    parts = [len(open_part(name, tmp_path, part)) for part in about.parts if part != "all"]
    assert sum(parts) == len(data.items)


def open_part(name: str, root: Path, part: str) -> list[object]:
    """The items of a part, none where this copy lacks it."""
    try:
        return list(open_dataset(name, root, part).items)
    except UserError as error:
        assert "holds nothing of" in str(error)
        return []


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_says_what_a_user_needs(name: str) -> None:
    about = CATALOGUE[name]
    assert about.name == name
    assert about.report in about.parts
    assert about.terms and about.home and about.archives and about.layout and about.folders
    assert about.layout[0] in {f"{folder}/" for folder in about.folders}
    assert bool(about.classes) == (about.task == "classify")
    assert (about.style is not None) == (about.task == "caption")
    if about.task != "answer":
        assert sum(about.splits.values()) == about.images


@pytest.mark.parametrize(
    ("name", "count"), [("ucm", 21), ("nwpu-resisc45", 45), ("aid", 30), ("whu-rs19", 19), ("siri-whu", 12), ("eurosat", 10)]
)
def test_closed_lists_have_their_published_length_and_are_words(name: str, count: int) -> None:
    classes = CATALOGUE[name].classes
    assert len(set(classes.values())) == count
    assert all(words == words.lower() and "_" not in words for words in classes.values())


def test_class_names_in_words() -> None:
    names = {**CATALOGUE["eurosat"].classes, **CATALOGUE["ucm"].classes, **CATALOGUE["whu-rs19"].classes}
    assert names["AnnualCrop"] == "annual crop"
    assert names["SeaLake"] == "sea or lake"
    assert names["mobilehomepark"] == "mobile home park"
    assert names["footballField"] == "football field"


def test_own_types_become_rsieval_types() -> None:
    assert set(TEN_TYPES) <= QUESTION_EXPERT.keys(), "an expert answers each of them"
    for name, own in ten_types.items():
        assert CATALOGUE[name].task == "answer"
        assert set(own.values()) <= TEN_TYPES.keys()
    assert ten_type("rsvqa-lr", "count") == "quantity"
    assert ten_type("vrsbench-vqa", "object shape") is None
    assert ten_type("rsvqa-hr", "area") is None, "square metres are no comparison"
    assert ten_type("rsvqa-hr", "comp") == "area_comp"
    assert {name for name, about in CATALOGUE.items() if about.task == "answer"} == set(ten_types)


def test_rsvqa_joins_questions_and_answers_of_the_active_rows(tmp_path: Path) -> None:
    layouts.rsvqa_lr(tmp_path)
    assert questions(open_dataset("rsvqa-lr", tmp_path, "train")) == [
        ("0.tif", "How many ponds are there?", "4", "count"),
        ("0.tif", "Is there a lane?", "yes", "presence"),
    ]
    layouts.rsvqa_hr(tmp_path)
    assert questions(open_dataset("rsvqa-hr", tmp_path, "test_phili")) == [("9.png", "Is there a pond?", "no", "presence")]


def test_one_part_opens_where_only_its_files_are_there(tmp_path: Path) -> None:
    home = layouts.rsvqa_lr(tmp_path)
    for file in home.glob("LR_split_tr*"):
        file.unlink()
    (home / "Images_LR" / "0.tif").unlink()
    assert len(open_dataset("rsvqa-lr", tmp_path, "test").items) == 1
    with pytest.raises(UserError, match="part train; here are test, val"):
        open_dataset("rsvqa-lr", tmp_path, "train")


def test_rsivqa_takes_the_parts_of_the_captions_and_leaves_out_what_has_no_image(tmp_path: Path) -> None:
    layouts.rsivqa(tmp_path)
    every = open_dataset("rsivqa", tmp_path, "all")
    assert {item.path.name for item in every.items} == {"1.tif", "2100.tif", "P0785.png", "P0007.png"}
    ucm = {item.path.name: item.split for item in every.items if item.path.suffix == ".tif"}
    assert ucm == {"1.tif": "train", "2100.tif": "test"}
    assert ("P0007.png", "how many ships are there in this picture?", "12", "count") in questions(every)
    faulty = [item.question for item in every.items if isinstance(item, QuestionItem) and item.faulty]
    assert faulty == ["How many  in the picture?"]


def test_rsivqa_opens_from_a_clone_of_its_repository(tmp_path: Path) -> None:
    home = layouts.rsivqa(tmp_path)
    home.rename(tmp_path / "texts")
    home.mkdir()
    (tmp_path / "texts").rename(home / "RSIVQA")
    assert len(open_dataset("rsivqa", tmp_path, "all").items) == 6


def test_rsivqa_without_any_image_says_where_they_belong(tmp_path: Path) -> None:
    home = layouts.rsivqa(tmp_path / "elsewhere")
    (tmp_path / "alone").mkdir()
    home.rename(tmp_path / "alone" / "RSIVQA")
    with pytest.raises(UserError, match=r"no images in \.\./UCM_captions/imgs"):
        open_dataset("rsivqa", tmp_path / "alone", "test")


def test_vrsbench_reads_tags_and_keeps_types_in_one_spelling(tmp_path: Path) -> None:
    layouts.vrsbench(tmp_path)
    assert questions(open_dataset("vrsbench-vqa", tmp_path, "val")) == [
        ("P0002_0003.png", "How many tanks?", "2", "object quantity"),
        ("P0002_0003.png", "What shape have they?", "Round", "object shape"),
    ]
    assert questions(open_dataset("vrsbench-vqa", tmp_path, "train")) == [
        ("00001_0000.png", "Is there a crane?", "Yes", "untyped")
    ]
    captions = open_dataset("vrsbench-captions", tmp_path, "train").items
    assert [item.captions for item in captions if isinstance(item, CaptionedImage)] == [("A quay.",)]


def test_rsicap_is_all_for_training(tmp_path: Path) -> None:
    layouts.rsicap(tmp_path)
    assert list(open_dataset("rsicap", tmp_path, "train").items) == read_rsicap(tmp_path)
    with pytest.raises(UserError, match="no part 'test': choose from train, all"):
        open_dataset("rsicap", tmp_path, "test")


def test_rsieval_leaves_the_empty_question_out(tmp_path: Path) -> None:
    layouts.rsieval(tmp_path)
    assert [kind for *_, kind in questions(open_dataset("rsieval-vqa", tmp_path, "test"))] == ["presence", "road_ori"]


def test_nwpu_captions_take_the_images_of_resisc45_beside_them(tmp_path: Path) -> None:
    home = layouts.nwpu_captions(tmp_path)
    (home / "NWPU_images").rename(tmp_path / "NWPU-RESISC45")
    data = open_dataset("nwpu-captions", tmp_path, "test")
    assert [(item.path.parts[-3:], item.label) for item in data.items if isinstance(item, CaptionedImage)] == [
        (("NWPU-RESISC45", "sea_ice", "sea_ice_001.jpg"), "sea_ice")
    ]


def test_uc_merced_takes_over_the_parts_of_its_captions(tmp_path: Path) -> None:
    layouts.ucm_captions(tmp_path)
    from_captions = open_dataset("ucm", tmp_path, "test")
    assert [(i.path.name, i.label) for i in from_captions.items if isinstance(i, LabelledImage)] == [
        ("2100.tif", "tenniscourt")
    ]
    layouts.ucm(tmp_path)
    whole = open_dataset("ucm", tmp_path, "all")
    assert whole.root.name == "UCMerced_LandUse"
    assert {i.path.name: i.split for i in whole.items}["agricultural00.tif"] == "train"


def test_a_copy_with_other_classes_has_a_list_of_its_own(tmp_path: Path) -> None:
    layouts.eurosat(tmp_path)
    assert len(open_dataset("eurosat", tmp_path, "all").closed_list) == 10
    layouts.write_images(tmp_path / "2750" / "OpenWater", "OpenWater_1.jpg")
    assert open_dataset("eurosat", tmp_path, "all").closed_list == {
        "AnnualCrop": "annual crop",
        "OpenWater": "open water",
        "SeaLake": "sea or lake",
    }


def test_sydney_is_told_from_ucm_by_what_the_file_says(tmp_path: Path) -> None:
    layouts.sydney_captions(tmp_path).rename(tmp_path / "captions")
    assert open_dataset("sydney-captions", tmp_path, "test").root.name == "captions"
    with pytest.raises(UserError, match="ucm-captions"):
        open_dataset("ucm-captions", tmp_path, "test")


def test_a_file_of_the_other_data_set_is_refused_in_one_line(tmp_path: Path) -> None:
    home = layouts.sydney_captions(tmp_path)
    layouts.write_json(home / "dataset.json", {"images": [layouts.karpathy_row("1.tif", "test")], "dataset": "UCM"})
    with pytest.raises(UserError, match=r"says of itself that it is 'UCM', and lies in the place of sydney-captions") as raised:
        open_dataset("sydney-captions", tmp_path, "test")
    assert "\n" not in str(raised.value)
    assert "says of itself that it is 'UCM'" in " ".join(check(home).problems)
    other = layouts.ucm_captions(tmp_path)
    layouts.write_json(other / "dataset.json", {"images": [layouts.karpathy_row("1.tif", "test")], "dataset": "Sydney"})
    for name in ("ucm-captions", "ucm"):
        with pytest.raises(UserError, match="says of itself that it is 'Sydney', and lies in the place of ucm"):
            open_dataset(name, tmp_path, "test")


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean ucm-captions"):
        open_dataset("ucm-caption", tmp_path, "test")
    with pytest.raises(UserError, match="choose from train, val, test, all"):
        open_dataset("rsicd", tmp_path, "tset")
    with pytest.raises(UserError, match=r"looked for RSICD/.*data fetch-help rsicd"):
        open_dataset("rsicd", tmp_path, "test")
    with pytest.raises(UserError, match="fetch-help rsicd"):
        open_dataset("rsicd", tmp_path / "nowhere", "test")
    home = layouts.rsicd(tmp_path)
    with pytest.raises(UserError, match="nothing of rsicd's part val; here are test, train"):
        open_dataset("rsicd", tmp_path, "val")
    (home / "RSICD_images" / "airport_1.jpg").unlink()
    assert len(open_dataset("rsicd", tmp_path, "train").items) == 1
    with pytest.raises(UserError, match=r"lists 'airport_1\.jpg', not in .*unpack"):
        open_dataset("rsicd", tmp_path, "test")
    (home / "dataset_rsicd.json").write_text(json.dumps({"images": [{"filename": 3}]}))
    with pytest.raises(UserError, match=r"not the published layout, at images\.0\.filename"):
        open_dataset("rsicd", tmp_path, "test")


def test_known_wrong_captions_stay_out_of_training(tmp_path: Path) -> None:
    home = layouts.ucm_captions(tmp_path)
    layouts.write_images(home / "imgs", "148.tif")
    rows = [layouts.karpathy_row("1.tif", "train"), layouts.karpathy_row("148.tif", "train")]
    layouts.write_json(home / "dataset.json", {"images": rows})
    assert [item.path.name for item in open_dataset("ucm-captions", tmp_path, "train").items] == ["1.tif"]

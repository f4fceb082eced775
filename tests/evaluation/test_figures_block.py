"""The block of figures in a page: written from the pages of results, and nothing around it changes."""

import pytest

from rsagent.errors import UserError
from rsagent.evaluation.arms import Arm, paired_table
from rsagent.evaluation.figures_block import BEGIN, END, has_block, write_block
from rsagent.evaluation.report import write_report, write_tables
from rsagent.model.checkpoint import EMBEDDED, checkpoint_digest
from tests.evaluation.test_arms import run
from tests.evaluation.test_paper import finished

PAGE = f"# Mine\n\ntyped by hand\n{BEGIN}\nold figures\n{END}\nthe end | of it\n"


def test_only_the_block_changes_and_quick_looks_stay_out(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(PAGE)
    whole = finished(run(tmp_path / "whole", lambda *_: True), 0.5, captions=False)
    quick = finished(run(tmp_path / "quick", lambda *_: True, limit=3), 0.9, captions=False)
    other = finished(run(tmp_path / "zero", lambda *_: True, router="zero"), 0.8, captions=False)
    partial = run(tmp_path / "partial", lambda *_: True)
    trial = paired_table("The router on trial: toy, test", [Arm("zero", [(whole, other)])])
    write_tables(tmp_path / "results" / "router-toy-test.md", "t", "h", [trial])
    written = write_report([one.path for one in (whole, quick, other, partial)], tmp_path / "results")
    assert len(written.left_out) == 1
    write_block(page, tmp_path / "results")
    text = page.read_text()
    before, rest = text.split(BEGIN)
    block, after = rest.split(END)
    assert before == PAGE.split(BEGIN)[0]
    assert after == PAGE.split(END)[1]
    assert "old figures" not in block
    assert "| toy test | 0.500 [0.400, 0.600] |" in block
    assert "0.900" not in block
    assert "toy, test: zero (no difference beyond the interval)" in block
    write_block(page, tmp_path / "results")
    assert page.read_text() == text


def test_two_checkpoints_stand_beside_each_other_by_name(tmp_path):
    page, results = tmp_path / "README.md", tmp_path / "results"
    page.write_text(PAGE)
    digest = checkpoint_digest(EMBEDDED)
    shipped = finished(run(tmp_path / "shipped", lambda *_: True, checkpoint=digest), 0.5, captions=False)
    other = finished(run(tmp_path / "other", lambda *_: True, checkpoint="f" * 64), 0.7, captions=False)
    write_report([shipped.path], results)
    write_report([other.path], results)  # another day, when the first run's folder is gone
    write_block(page, results)
    assert "| toy test, tiny | 0.500" in page.read_text()
    assert f"| toy test, {'f' * 12} | 0.700" in page.read_text()


def test_a_page_without_a_block_or_runs_is_one_line(tmp_path):
    page = tmp_path / "README.md"
    assert not has_block(page)
    page.write_text("nothing\n")
    with pytest.raises(UserError, match="has no block for figures; put a line <!-- figures -->"):
        write_block(page, tmp_path)
    page.write_text(PAGE)
    (tmp_path / "damaged.json").write_text('[{"run": 3}]')
    with pytest.raises(UserError, match="no whole run is there"):
        write_block(page, tmp_path)
    assert page.read_text() == PAGE

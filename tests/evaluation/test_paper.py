"""The paper's tables: what it prints, and ours beside it."""

import pytest

from rsagent.evaluation.intervals import Figure
from rsagent.evaluation.paper.page import HERE, PRINTED, OnSet, over_seeds, paper_tables
from rsagent.evaluation.paper.published import MEAN, METRICS
from rsagent.evaluation.paper.published import PRINTED as TABLES_PRINTED
from rsagent.evaluation.paper.specs import TABLES
from rsagent.evaluation.run_folder import RunFolder
from rsagent.evaluation.table import Column, Row, Table
from tests.evaluation.test_arms import CONFIG, run


def finished(folder: RunFolder, value: float, *, captions: bool) -> RunFolder:
    """A run whose tables hold one figure for everything."""
    figure = Figure(value, 40, value - 0.1, value + 0.1)
    if captions:
        rows = [Row(name, dict.fromkeys(METRICS, figure)) for name in ("model", "random training caption")]
        tables = [Table("toy, test: captions", [Column(name) for name in METRICS], rows)]
    else:
        columns = ("strict", "lenient", "question prior")
        rows = [Row(name, dict.fromkeys(columns, figure)) for name in (MEAN, "count", "presence")]
        tables = [
            Table("toy, test: answers, strict match", [Column(name) for name in columns], rows),
            Table("toy, test: RSIEval's ten types, strict match", [Column(name) for name in columns], rows[:1]),
        ]
    folder.finish(tables, complete=True)
    return folder


def rows(table):
    return {row.name: row for row in table.rows}


def test_every_table_has_a_figure_for_each_column_and_names_its_faults():
    assert sorted(TABLES) == sorted(TABLES_PRINTED) == list(range(1, 9))
    for number, printed in TABLES_PRINTED.items():
        assert printed.faults, number
        for name, figures in printed.figures.items():
            assert len(figures) == len(printed.columns), (number, name)
        for arm in TABLES[number].arms:
            assert not arm.printed or arm.printed in printed.figures
            shares = arm.shares
            assert shares.base + shares.stage1 + shares.stage2 + shares.composer <= 1


def test_arms_of_one_table_see_as_many_images_on_the_way_to_the_experts():
    for number in (5, 7):
        totals = {round(arm.shares.stage1 + arm.shares.stage2, 6) for arm in TABLES[number].arms}
        assert totals == {0.8}


def test_ours_its_floors_and_the_published_stand_side_by_side(tmp_path):
    plain = finished(RunFolder.begin(tmp_path / "own", CONFIG, 40), 0.5, captions=True)
    (table,) = paper_tables(TABLES[2], [OnSet("toy, test", plain)], [])
    row = rows(table)["BLEU-1"]
    assert row.figures[HERE].value == 0.5
    assert row.figures["random training caption"].low == pytest.approx(0.4)
    assert row.figures[f"{PRINTED}: RS-MoE-7B"] == Figure(pytest.approx(0.9481), 210)
    assert "cannot pass 65 %" in table.note
    assert "PARTIAL" not in table.note


def test_what_is_missing_is_named_and_the_table_is_partial():
    (table,) = paper_tables(TABLES[3], [], ["missing: sydney-captions, test: `rsagent data fetch-help sydney-captions`"])
    assert table.note.startswith("PARTIAL")
    assert "fetch-help sydney-captions" in table.note
    assert rows(table)["RS-MoE-7B (paper): CIDEr"].figures[PRINTED].value == pytest.approx(2.7976)


def test_arms_over_seeds_and_their_differences(tmp_path):
    three = [finished(run(tmp_path / f"three{k}", lambda *_: True), 0.6 + k / 10, captions=False) for k in range(2)]
    one = [finished(run(tmp_path / f"one{k}", lambda kind, image: image % 2), 0.5, captions=False) for k in range(2)]
    arms = {"experts-3": dict(enumerate(three)), "experts-1": dict(enumerate(one))}
    figures, differences = paper_tables(TABLES[5], [OnSet("toy, test", arms=arms)], [])
    found = rows(figures)
    assert found[f"3 LLMs: {MEAN}"].figures[HERE] == Figure(pytest.approx(0.65), 40, 0.6, 0.7)
    assert found["3 LLMs: CIDEr"].figures == {PRINTED: Figure(pytest.approx(1.5836), 100)}
    assert rows(differences)["1 LLM: all, strict"].note == "worse; so by itself in 2 of 2 seeds"
    assert not any(name.startswith("4 LLMs") for name in rows(differences))


def test_seeds_that_failed_are_named_and_the_others_paired(tmp_path):
    three = {k: finished(run(tmp_path / f"three{k}", lambda *_: True), 0.6, captions=False) for k in (0, 2)}
    one = {k: finished(run(tmp_path / f"one{k}", lambda kind, image: image % 2), 0.5, captions=False) for k in (1, 2)}
    table = TABLES[5].with_arms(["experts-1"])
    left_out = [arm for arm in TABLES[5].arms if arm not in table.arms]
    on = [OnSet("toy, test", arms={"experts-3": three, "experts-1": one})]
    figures, differences = paper_tables(table, on, [], left_out=left_out, untrained=["3 LLMs, seed 1", "1 LLM, seed 0"])
    assert "PARTIAL: not trained: 3 LLMs, seed 1; 1 LLM, seed 0. " in figures.note
    assert "Left out (--arms): 2 LLMs, 4 LLMs, one LoRA of three's parameters, images and steps." in figures.note
    assert rows(differences)["1 LLM: all, strict"].note == "worse"  # of seed 2 alone, which both have
    (only,) = paper_tables(table, [OnSet("toy, test", arms={"experts-1": one})], [])
    assert rows(only)[f"1 LLM: {MEAN}"].figures[HERE].value == 0.5


def test_one_seed_keeps_its_interval():
    figure = Figure(0.5, 9, 0.4, 0.6)
    assert over_seeds([figure]) is figure

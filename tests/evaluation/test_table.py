import io
import json

from rich.console import Console

from rsagent.evaluation.intervals import Figure
from rsagent.evaluation.table import Asked, Column, Row, Table, below_floor, print_table, to_json, to_markdown

TABLE = Table(
    "Captions [test] | of boats",
    [Column("CIDEr"), Column("false", percent=True), Column("seconds", digits=1)],
    [
        Row(
            "ours",
            {"CIDEr": Figure(3.1, 210, 2.9, 3.3), "false": Figure(0.2, 210), "seconds": Figure(0.44, 20, 0.4, 0.6)},
            {"CIDEr": Asked(3.25, 3.96), "false": Asked(0.25, at_most=True), "seconds": Asked(0.4, at_most=True)},
        ),
        Row("lookup", {"CIDEr": Figure(float("nan"), 210, float("nan"), float("nan"))}, note="[bold]plain[/bold]"),
    ],
    note="Greedy.",
)


def printed(table: Table) -> str:
    out = io.StringIO()
    print_table(table, Console(file=out, width=160))
    return out.getvalue()


def test_a_terminal_shows_value_interval_n_and_what_was_asked():
    text = " ".join(printed(TABLE).split())  # the note is wrapped
    for part in (
        "3.100 [2.900, 3.300]",
        "20.0 %",
        "0.4 [0.4, 0.6]",
        "20-210",
        "Greedy.",
        "CIDEr >= 3.250 (stretch 3.960)",
    ):
        assert part in text
    assert "false <= 25.0 %" in text


def test_names_are_plain_text_whatever_brackets_they_hold():
    text = printed(TABLE)
    assert "Captions [test] | of boats" in text
    assert "[bold]plain[/bold]" in text


def test_what_is_missing_or_no_number_is_a_dash():
    row = next(line for line in printed(TABLE).splitlines() if "lookup" in line)
    assert row.count("-") == 3
    assert "nan" not in row


def test_markdown_escapes_the_borders_and_marks_the_judged_row():
    lines = to_markdown([TABLE, TABLE]).splitlines()
    assert lines[0] == "### Captions [test] \\| of boats"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 8
    assert len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| **ours** | 3.100 [2.900, 3.300] | 20.0 % |")


def test_json_holds_every_figure_and_is_strict():
    (table,) = json.loads(to_json([TABLE]), parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    assert table["rows"][0]["figures"]["CIDEr"] == {"value": 3.1, "n": 210, "low": 2.9, "high": 3.3}
    assert table["rows"][0]["asked"]["CIDEr"] == {"floor": 3.25, "stretch": 3.96, "at_most": False, "met": False}
    assert table["rows"][0]["asked"]["false"]["met"] is True
    assert table["rows"][1]["figures"]["CIDEr"]["value"] is None


def test_missed_floors_are_named_one_a_line():
    missed = below_floor([TABLE])
    assert len(missed) == 2
    assert "ours: CIDEr 3.100 [2.900, 3.300], asked >= 3.250" in missed[0]
    assert "seconds" in missed[1]
    assert "asked <= 0.4" in missed[1]


def test_a_figure_that_is_no_number_misses_its_floor():
    assert not Asked(1.0).met_by(Figure(float("nan"), 3))
    assert not Asked(1.0, at_most=True).met_by(Figure(float("nan"), 3))
    assert Asked(1.0).met_by(Figure(1.0, 3))

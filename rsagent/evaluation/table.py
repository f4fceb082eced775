"""The results table: rows of figures, each with its n and interval, for a terminal, for Markdown, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rsagent.evaluation.intervals import Figure

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Column:
    """A column: its heading and how its figures are printed; `percent` prints .123 as 12.3 %."""

    name: str
    digits: int = 3
    percent: bool = False


@dataclass(frozen=True)
class Asked:
    """What is asked of a figure: the floor, and the stretch goal; `at_most` for what should be small, as seconds."""

    floor: float
    stretch: float | None = None
    at_most: bool = False

    def met_by(self, figure: Figure) -> bool:
        """Whether the figure is on the right side of the floor (on it will do)."""
        return figure.value <= self.floor if self.at_most else figure.value >= self.floor


@dataclass(frozen=True)
class Row:
    """A row: its name, its figures by column name, and what is asked of them by column name."""

    name: str
    figures: Mapping[str, Figure]
    asked: Mapping[str, Asked] = field(default_factory=lambda: dict[str, Asked]())
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A titled table; rows may lack figures."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row] = field(default_factory=lambda: list[Row]())
    note: str = ""


def print_table(table: Table, console: Console) -> None:
    """Print for a terminal; names and notes are taken as plain text, whatever brackets they hold."""
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(title=Text(table.title), title_justify="left", caption=_note(table) and Text(_note(table)))
    grid.caption_justify = "left"
    grid.add_column("")
    for column in table.columns:
        grid.add_column(Text(column.name), justify="right")
    grid.add_column("n", justify="right")
    for row in table.rows:
        cells = [Text(_cell(row, column), style=_style(row, column)) for column in table.columns]
        name = Text(row.name + (f" ({row.note})" if row.note else ""), style="bold" if row.asked else "")
        grid.add_row(name, *cells, _count(row))
    console.print(grid)


def to_markdown(tables: Iterable[Table]) -> str:
    """GitHub Markdown, a heading and a table each; cell borders in texts are escaped."""
    parts: list[str] = []
    for table in tables:
        heads = ["", *(column.name for column in table.columns), "n"]
        lines = [f"### {_escape(table.title)}", "", _line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
        for row in table.rows:
            name = _escape(row.name + (f" ({row.note})" if row.note else ""))
            cells = [_escape(_cell(row, column)) for column in table.columns]
            lines.append(_line([f"**{name}**" if row.asked else name, *cells, _count(row)]))
        if _note(table):
            lines += ["", _escape(_note(table))]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def to_json(tables: Iterable[Table]) -> str:
    """A list of tables; a figure that is no number becomes null."""
    return json.dumps(to_data(tables), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_data(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """What `to_json` writes, as plain lists and dictionaries."""
    return [_table_data(table) for table in tables]


def from_json(text: str) -> list[Table]:
    """The tables that `to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: the text is something else.
    """
    return from_data(json.loads(text))


def from_data(tables: Iterable[Mapping[str, Any]]) -> list[Table]:
    """The tables that `to_data` told.

    Raises:
        KeyError, TypeError: it is something else.
    """
    return [
        Table(table["title"], [Column(**one) for one in table["columns"]], [_row(row) for row in table["rows"]], table["note"])
        for table in tables
    ]


def _row(data: Mapping[str, Any]) -> Row:
    figures = {
        name: Figure(float("nan") if one["value"] is None else one["value"], one["n"], one["low"], one["high"])
        for name, one in data["figures"].items()
    }
    asked = {name: Asked(one["floor"], one["stretch"], one["at_most"]) for name, one in data["asked"].items()}
    return Row(data["name"], figures, asked, data["note"])


def cells(table: Table) -> list[tuple[str, list[str]]]:
    """Each row's name with its note, and its figures and n as they are printed."""
    return [
        (row.name + (f" ({row.note})" if row.note else ""), [*(_cell(row, column) for column in table.columns), _count(row)])
        for row in table.rows
    ]


def below_floor(tables: Iterable[Table]) -> list[str]:
    """One line for each figure that misses its floor."""
    return [
        f"{table.title}: {row.name}: {column.name} {_cell(row, column)}, asked {_goal(row.asked[column.name], column)}"
        for table in tables
        for row in table.rows
        for column in table.columns
        if column.name in row.asked
        and column.name in row.figures
        and not row.asked[column.name].met_by(row.figures[column.name])
    ]


def _note(table: Table) -> str:
    """The table's note, then the floors and stretch goals in its rows."""
    goals = [
        f"{row.name}: {column.name} {_goal(row.asked[column.name], column)}"
        for row in table.rows
        for column in table.columns
        if column.name in row.asked
    ]
    return " ".join(part for part in (table.note, f"Asked of {'; '.join(goals)}." if goals else "") if part)


def _goal(asked: Asked, column: Column) -> str:
    stretch = f" (stretch {_number(asked.stretch, column)})" if asked.stretch is not None else ""
    return f"{'<=' if asked.at_most else '>='} {_number(asked.floor, column)}{stretch}"


def _cell(row: Row, column: Column) -> str:
    figure = row.figures.get(column.name)
    if figure is None:
        return "-"
    text = _number(figure.value, column)
    if math.isfinite(figure.value) and figure.low is not None and figure.high is not None:
        text += f" [{_number(figure.low, column)}, {_number(figure.high, column)}]"
    return text


def _number(value: float | None, column: Column) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:.{max(column.digits - 2, 0)}f} %" if column.percent else f"{value:.{column.digits}f}"


def _count(row: Row) -> str:
    """The row's n, or the range of them where the columns were measured on different numbers of things."""
    counts = sorted({figure.n for figure in row.figures.values()})
    if not counts:
        return "-"
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"


def _style(row: Row, column: Column) -> str:
    figure, asked = row.figures.get(column.name), row.asked.get(column.name)
    if figure is None or asked is None:
        return ""
    return "green" if asked.met_by(figure) else "red"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table_data(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "note": table.note,
        "columns": [asdict(column) for column in table.columns],
        "rows": [
            {
                "name": row.name,
                "note": row.note,
                "figures": {name: _figure_data(figure) for name, figure in row.figures.items()},
                "asked": {
                    name: {
                        **asdict(asked),
                        "met": asked.met_by(row.figures[name]) if name in row.figures else None,
                    }
                    for name, asked in row.asked.items()
                },
            }
            for row in table.rows
        ],
    }


def _figure_data(figure: Figure) -> dict[str, float | int | None]:
    def plain(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else float(value)

    return {"value": plain(figure.value), "n": figure.n, "low": plain(figure.low), "high": plain(figure.high)}

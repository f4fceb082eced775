"""`rsagent data`: the published data sets that can be read, what is wrong with a copy, where to get one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsagent.cli import options
from rsagent.cli.console import SlowProgress, decorated, result, result_json, terminal
from rsagent.errors import UserError

if TYPE_CHECKING:
    from rsagent.evaluation.published.catalogue import Checked, Published, Report

app = typer.Typer(help="Published data sets: which there are, whether a copy is whole, where to get one.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option(metavar="FOLDER", envvar="RSAGENT_DATA", help="Folder that holds data sets.")]
Place = Annotated[
    Path | None,
    typer.Argument(metavar="PATH", envvar="RSAGENT_DATA", help="A data set's own folder, or one that holds several."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set's name, as `rsagent data list` has it.")]


@app.callback()
def data() -> None:
    """Published data sets, in the layout in which their authors publish them."""


@app.command("list")
def list_data(data: Data = None, as_json: options.Json = False, plain: options.Plain = False) -> None:
    """List the data sets: task, sizes, terms, and where each was found under --data or RSAGENT_DATA."""
    from rsagent.evaluation.published.catalogue import CATALOGUE, find_all

    if data is not None and not data.is_dir():
        raise UserError(f"--data: {data} is no folder; give the one that holds the data sets")
    found = find_all(data) if data is not None else {}
    if as_json:
        result_json([_entry(entry, found.get(entry.name)) for entry in CATALOGUE.values()])
    elif decorated(plain):
        _print_table(list(CATALOGUE.values()), found)
    else:
        result([_line(entry, found.get(entry.name)) for entry in CATALOGUE.values()])


@app.command()
def check(path: Place = None, as_json: options.Json = False) -> None:
    """Check a copy of a data set, or all in a folder. Exit code 0: nothing is wrong; 1: something is; 2: no data set."""
    from rsagent.evaluation.published.catalogue import check as check_folder

    if path is None:
        raise UserError("nothing to check: give a data set's folder, or set RSAGENT_DATA to the one that holds several")
    progress = SlowProgress()
    report = check_folder(path, lambda name, done, of: progress(f"{name}: comparing images", done, of))
    if as_json:
        result_json({"path": str(path), "clean": report.clean, "sets": _sets(report), "unknown": list(report.unknown)})
    else:
        result([line for one in report.sets for line in _checked_lines(one)])
        if report.unknown:
            result([f"not known to rsagent: {', '.join(report.unknown)}"])
    raise typer.Exit(0 if report.clean else 1)


@app.command("fetch-help")
def fetch_help(name: Name, as_json: options.Json = False) -> None:
    """Say where a data set is published, which archives it is, how it must lie on disk. Nothing is downloaded."""
    from rsagent.evaluation.published.catalogue import look_up

    entry = look_up(name)
    if as_json:
        result_json(_entry(entry, None))
        return
    lines = [
        entry.title,
        f"  published at: {entry.home}",
        f"  terms: {entry.terms}",
        "Take:",
        *(f"  {archive}" for archive in entry.archives),
        "Unpack, so that below the folder that RSAGENT_DATA names there is:",
        *(f"  {line}" for line in entry.layout),
        f"Then: rsagent data check {entry.layout[0].rstrip('/')}",
        f"  it should find {entry.images:,} images; {_sizes(entry)}",
    ]
    result([*lines, *([f"Note: {entry.note}"] if entry.note else [])])


def _entry(entry: Published, found: Path | None) -> dict[str, object]:
    known = {**asdict(entry), "parts": list(entry.parts), "classes": dict(entry.classes)}
    return {**known, "found": None if found is None else str(found)}


def _line(entry: Published, found: Path | None) -> str:
    where = f"found in {found}" if found is not None else "not found"
    return f"{entry.name}: {entry.task}, {entry.images:,} images; {_sizes(entry)}; {entry.terms}; {where}"


def _sizes(entry: Published) -> str:
    unit = "questions" if entry.task == "answer" else "images"
    sizes = ", ".join(f"{part} {count:,}" for part, count in entry.splits.items())
    return f"no published parts, {unit}: {sizes}" if entry.divided_here else f"{unit}: {sizes}"


def _print_table(entries: list[Published], found: dict[str, Path]) -> None:
    from rich.table import Table

    table = Table("name", "task", "images", "parts (items)", "terms", "found in", header_style="bold")
    for entry in entries:
        sizes = "\n".join(f"{part} {count:,}" for part, count in entry.splits.items())
        where = found.get(entry.name)
        table.add_row(entry.name, entry.task, f"{entry.images:,}", sizes, entry.terms, where.name if where is not None else "-")
    terminal().print(table)


def _sets(report: Report) -> list[dict[str, object]]:
    return [{**asdict(one), "path": str(one.path), "splits": dict(one.splits)} for one in report.sets]


def _checked_lines(one: Checked) -> list[str]:
    counts = ", ".join(f"{part} {count:,}" for part, count in one.splits.items()) or "nothing"
    return [
        f"{one.name}: {one.path}",
        f"  {one.images:,} images; items: {counts}{'' if one.problems else '; as published'}",
        *(f"  wrong: {problem}" for problem in one.problems),
        *(f"  note: {note}" for note in one.notes),
    ]

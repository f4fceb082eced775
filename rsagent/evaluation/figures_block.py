"""The block of a page, such as the README, that holds figures: written from the pages of results between two comments.

<!-- figures -->
<!-- /figures -->
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rsagent.errors import UserError
from rsagent.evaluation.intervals import Figure
from rsagent.evaluation.run_folder import write_whole
from rsagent.evaluation.scoring import BLIND, LENIENT, MICRO, MODEL, PRIOR, READ_OUT, STRICT
from rsagent.evaluation.stored_runs import StoredRun, read_stored
from rsagent.evaluation.table import Column, Row, Table, from_json, to_markdown
from rsagent.model.checkpoint import checkpoint_digest
from rsagent.model.shipped import SHIPPED

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
_BLOCK = re.compile(rf"({re.escape(BEGIN)}\n).*?(<!-- /?figures -->)", re.DOTALL)
_NGRAM = "CIDEr"
_FLOORS = ("random training caption", "nearest neighbour's caption", "predicted-class lookup", "true-class lookup")
_WHOLE = (": caption, CIDEr", ": all, strict")


def has_block(file: Path) -> bool:
    """Whether a page is there and holds the two comments."""
    try:
        return _BLOCK.search(file.read_text("utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False


def write_block(file: Path, results: Path) -> None:
    """Write the block anew; what stands around it stays to the letter.

    Args:
        file: the page.
        results: the folder of the pages of results. Runs of a part of a set, or without the router's own work, are left out;
            the trials of the router are shown as well.

    Raises:
        UserError: the page is not there or has no block, or nothing could be written into it.
        RSAgentError: it cannot be written.
    """
    if not has_block(file):
        raise UserError(f"{file}: has no block for figures; put a line {BEGIN} and a line {END} where they belong")
    tables = block_tables(results)
    if not tables:
        raise UserError(f"{file}: no whole run is there to take figures from; `rsagent eval DATASET` makes one")
    text = file.read_text("utf-8")
    told = "Written by `rsagent eval report` from stored runs; in brackets 95 %, bootstrap over images."
    block = f"{told}\n\n{to_markdown(tables)}"
    write_whole(file, _BLOCK.sub(lambda found: f"{found[1]}{block}{found[2]}", text, count=1))


def block_tables(results: Path) -> list[Table]:
    """Captions, then questions and classes, then the router on trial; a table without rows is left out."""
    runs = [run for file in sorted(results.glob("*.json")) for run in read_stored(file) if _is_whole(run)]
    names = _names_of({str(run.config.get("checkpoint") or run.config.get("model")) for run in runs})
    captions: list[Row] = []
    answers: list[Row] = []
    for run in sorted(runs, key=lambda one: (str(one.config["dataset"]), bool(one.config.get("single")), _label(one, names))):
        first = run.tables[0]
        name = _label(run, names)
        rows = {row.name: row.figures for row in first.rows}
        if MODEL in rows:
            captions.append(Row(name, _caption_figures(rows)))
        elif MICRO in rows:
            answers.append(Row(name, rows[MICRO]))
    floors = (BLIND, *_FLOORS)
    found = [
        Table("Captions: CIDEr, beside its floors", _columns((MODEL, "BLEU-4", *floors), captions), captions),
        Table(
            "Questions and classes: share answered right, beside its floors",
            _columns((STRICT, LENIENT, BLIND, PRIOR, READ_OUT), answers), answers,
        ),
        _trials(results),
    ]  # fmt: skip
    return [table for table in found if table.rows]


def _is_whole(run: StoredRun) -> bool:
    return run.config.get("router", "own") == "own" and not run.config.get("limit")


def _names_of(models: Iterable[str]) -> dict[str, str]:
    """What a reader calls the models, where there are several: a shipped checkpoint by its name, another by its digest."""
    known = {checkpoint_digest(folder): name for name, folder in SHIPPED.items() if folder.is_dir()}
    found = sorted(models)
    return {model: known.get(model, model[:12]) for model in found} if len(found) > 1 else {}


def _label(run: StoredRun, names: Mapping[str, str]) -> str:
    """What a reader calls a run."""
    config = run.config
    parts = [f"{config['dataset']} {config['split']}"]
    parts += ["stage I's one LLM"] if config.get("single") else []
    parts += ["beams"] if str(config.get("decoding")).endswith("beams") else []
    name = names.get(str(config.get("checkpoint") or config.get("model")))
    return ", ".join([*parts, name] if name else parts)


def _caption_figures(rows: Mapping[str, Mapping[str, Figure]]) -> dict[str, Figure]:
    figures = {name: of[_NGRAM] for name, of in rows.items() if _NGRAM in of}
    if "BLEU-4" in rows[MODEL]:
        figures["BLEU-4"] = rows[MODEL]["BLEU-4"]
    return figures


def _columns(names: Iterable[str], rows: Sequence[Row]) -> list[Column]:
    return [Column(name) for name in names if any(name in row.figures for row in rows)]


def _trials(results: Path) -> Table:
    """The arms of every trial of the router, overall."""
    rows: list[Row] = []
    columns: list[Column] = []
    for file in sorted(results.glob("router-*.json")):
        try:
            (table,) = from_json(file.read_text("utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: is no page of a trial; move it away, or give `rsagent eval trial` again") from error
        columns = list(table.columns)
        of = table.title.rpartition(": ")[2]
        for row in table.rows:
            if row.name.endswith(_WHOLE):
                rows.append(Row(f"{of}: {row.name.partition(':')[0]}", row.figures, note=row.note))
    return Table("The router on trial: what is left without its own work", columns, rows)

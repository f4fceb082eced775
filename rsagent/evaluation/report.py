"""The pages of results: Markdown written from stored runs, one page a set and part, and an index of them.

No figure is typed by hand. Each run's tables stand under what they come from: checkpoint, revision, versions, seed, decoding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsagent.errors import UserError
from rsagent.evaluation.run_folder import RunFolder, write_whole
from rsagent.evaluation.stored_runs import StoredRun, read_stored, taken_together
from rsagent.evaluation.table import Table, to_json, to_markdown

_SHOWN = (
    "engine", "checkpoint", "model", "style", "decoding", "max_tokens", "dtype", "seed", "router", "single",
    "limit", "prompts", "items",
)  # fmt: skip
_USUAL: Mapping[str, Any] = {"router": "own", "single": False, "dtype": "auto", "decoding": "greedy"}
INDEX = "README.md"
_HEAD = "Written by `rsagent eval report` from stored runs. Intervals: 95 %, bootstrap over images."


@dataclass(frozen=True)
class Written:
    """The pages that were written, and a line for each run that is in none of them."""

    pages: list[Path]
    left_out: list[str]


def write_report(folders: Sequence[Path], out: Path, *, anew: bool = False) -> Written:
    """Write a page for each set and part, and an index; pages of other sets that lie in `out` stay.

    A page also keeps the runs that it held before, of other checkpoints or made in another manner; not with `anew`.

    Raises:
        UserError: there are no runs, or `out` cannot be made.
        RSAgentError: a page cannot be written.
    """
    if not folders:
        raise UserError("there are no runs to report: rsagent eval DATASET makes one, or name the folders of some")
    by_set: dict[str, list[StoredRun]] = {}
    left_out: list[str] = []
    for folder in folders:
        try:
            run = RunFolder.read(folder)
            found = StoredRun.of(run)
        except UserError as error:
            left_out.append(f"left out: {error}")
            continue
        if not run.complete:
            left_out.append(f"left out: {folder} is partial; give its command again")
            continue
        by_set.setdefault(page_name(run.config["dataset"], run.config["split"]), []).append(found)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: {out} cannot be made ({error.strerror})") from error
    pages: list[Path] = []
    for name, runs in sorted(by_set.items()):
        path = out / name
        runs = taken_together([] if anew else read_stored(path.with_suffix(".json")), runs)
        write_whole(path, _page(runs))
        write_whole(path.with_suffix(".json"), _figures(runs))
        pages.append(path)
    if pages:
        write_whole(out / INDEX, _index(out))
    return Written(pages, left_out)


def write_tables(path: Path, title: str, head: str, tables: Sequence[Table]) -> None:
    """Write a page of its own among the results, and its figures as JSON beside it; the index is written anew.

    Args:
        path: of the page, whose folder is made if need be.
        title: its heading.
        head: what the figures come from.
        tables: what stands on it.

    Raises:
        UserError: the folder cannot be made.
        RSAgentError: the page cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: {path.parent} cannot be made ({error.strerror})") from error
    write_whole(path, f"# {title}\n\n{head}\n\n{to_markdown(tables)}")
    write_whole(path.with_suffix(".json"), to_json(tables))
    write_whole(path.parent / INDEX, _index(path.parent))


def page_name(*parts: str) -> str:
    """The file name of a page, of what it is about."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-") + ".md"


def _page(runs: Sequence[StoredRun]) -> str:
    first = runs[0].config
    parts = [f"# {first['dataset']}, {first['split']}\n\n{_HEAD}\n"]
    parts += [f"## {run.name}\n\n{origin(run)}\n\n{to_markdown(run.tables)}" for run in runs]
    return "\n".join(parts)


def origin(run: RunFolder | StoredRun) -> str:
    """What a run was, and with what it was made, in two lines."""
    config = {name: run.config.get(name) for name in (*_SHOWN, "device", "max_pixels", "chat_router", "chat_composer")}
    told = [f"{name} {value}" for name, value in config.items() if value is not None and value != _USUAL.get(name)]
    revisions = list(dict.fromkeys(str(start["revision"] or "unknown") for start in run.starts))
    last = run.starts[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["packages"].items())
    limited = "A quick look at a part of the set. " if run.config.get("limit") else ""
    return (
        f"{limited}{run.items} items; {', '.join(told)}.\n"
        f"Revision {', '.join(revisions)}; {last['time']}; Python {last['python']}, {last['platform']}; {versions}."
    )


def _figures(runs: Sequence[StoredRun]) -> str:
    """The same figures for programs."""
    return json.dumps([run.data() for run in runs], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _index(out: Path) -> str:
    pages = sorted(path for path in out.glob("*.md") if path.name != INDEX)
    titles = [(path, path.read_text("utf-8").partition("\n")[0].removeprefix("# ")) for path in pages]
    return f"# Results\n\n{_HEAD}\n\n" + "".join(f"- [{title}]({path.name})\n" for path, title in titles)

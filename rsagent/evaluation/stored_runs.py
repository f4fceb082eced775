"""Runs as a page of results keeps them: the JSON beside the page says all that the page shows.

The folders of runs are large, and stay where they were made; their pages travel with the repository. What stands on a page can
therefore be shown beside a new run, and taken into the README, without asking a model again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsagent.evaluation.run_folder import RunFolder
from rsagent.evaluation.table import Table, from_data, to_data

_PRIVATE = ("chat_url",)  # a server of somebody's own is no business of the pages
_WHATEVER = (*_PRIVATE, "items", "prompts")  # with other questions or words the run is the same one, made anew


@dataclass(frozen=True)
class StoredRun:
    """A complete run: its folder's name, configuration, starts, number of items, and tables; see `RunFolder`."""

    name: str
    config: Mapping[str, Any]
    starts: Sequence[Mapping[str, Any]]
    items: int
    tables: Sequence[Table]

    @classmethod
    def of(cls, run: RunFolder) -> StoredRun:
        """What of a run goes onto its page.

        Raises:
            UserError: it is not finished, or its tables are damaged.
        """
        config = {name: value for name, value in run.config.items() if name not in _PRIVATE}
        return cls(run.name, config, run.starts, run.items, run.tables())

    @property
    def identity(self) -> str:
        """What a later run has to share to take this one's place: the whole configuration, less what the set itself says."""
        return json.dumps({name: value for name, value in self.config.items() if name not in _WHATEVER}, sort_keys=True)

    def data(self) -> dict[str, Any]:
        """Plain lists and dictionaries; `read_stored` makes the run of them again."""
        return {
            "run": self.name, "config": dict(self.config), "items": self.items,
            "starts": [dict(start) for start in self.starts], "tables": to_data(self.tables),
        }  # fmt: skip


def read_stored(file: Path) -> list[StoredRun]:
    """The runs of a page by the JSON beside it; none where there is no such file, or it is of a page that holds no runs."""
    try:
        found: Any = json.loads(file.read_text("utf-8"))
        return [_read(one) for one in found]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def taken_together(stored: Iterable[StoredRun], fresh: Sequence[StoredRun]) -> list[StoredRun]:
    """Old runs and new ones, in the order of model and manner; of one configuration the new one."""
    new = {run.identity for run in fresh}
    together = [*(run for run in stored if run.identity not in new), *fresh]
    return sorted(together, key=lambda run: (bool(run.config.get("single")), str(run.config.get("style") or ""), run.name))


def _read(data: Mapping[str, Any]) -> StoredRun:
    tables = from_data(data["tables"])
    items = data.get("items")  # pages of earlier versions told it in their tables alone
    return StoredRun(
        str(data["run"]), dict(data["config"]), list(data["starts"]),
        int(items) if items is not None else _most(tables), tables,
    )  # fmt: skip


def _most(tables: Sequence[Table]) -> int:
    return max((figure.n for table in tables[:1] for row in table.rows for figure in row.figures.values()), default=0)

"""A line of the tables that the scripts print."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Row:
    """One line of a table. `met` is None where nothing is asked, or the row was not asked for."""

    what: str
    found: str
    asked: str
    met: bool | None

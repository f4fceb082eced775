"""The way in to published data sets: what there is (`CATALOGUE`), its items (`open_dataset`), what is wrong (`check`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from rsagent.errors import UserError
from rsagent.evaluation.published.checks import Checked, Report, check, counts
from rsagent.evaluation.published.class_names import in_words
from rsagent.evaluation.published.entries import ALL, CATALOGUE, Published, Task
from rsagent.evaluation.published.layouts import AnyReading, find_all, find_home, read_layout
from rsagent.evaluation.published.records import CaptionedImage, LabelledImage, QuestionItem
from rsagent.evaluation.published.ten_types import TEN_TYPES, ten_type, ten_types

__all__ = [
    "ALL",
    "CATALOGUE",
    "TEN_TYPES",
    "CaptionedImage",
    "Checked",
    "DataSet",
    "LabelledImage",
    "Published",
    "QuestionItem",
    "Report",
    "Task",
    "check",
    "find_all",
    "find_home",
    "look_up",
    "open_dataset",
    "ten_type",
    "ten_types",
]


@dataclass(frozen=True, slots=True)
class DataSet:
    """One part of a data set, ready to use; every image of `items` is there. `root` is the data set's own folder.

    `notes` says in what this copy is not the published set, and what is known to be wrong with that: whoever shows figures
    of the part shows them too.
    """

    about: Published
    root: Path
    split: str
    items: Sequence[CaptionedImage] | Sequence[QuestionItem] | Sequence[LabelledImage]
    notes: tuple[str, ...] = ()

    @property
    def closed_list(self) -> Mapping[str, str]:
        """Class as in the items -> the class in words, of which a model may choose one; empty where the task is another.

        The published list, unless this copy has classes that are not on it: then the classes of the part.
        """
        found = {item.label for item in self.items if isinstance(item, LabelledImage)}
        known = self.about.classes
        return known if found <= known.keys() else {name: known.get(name) or in_words(name) for name in sorted(found)}


def look_up(name: str) -> Published:
    """What is known of the data set `name`.

    Raises:
        UserError: there is none of that name; the nearest is suggested.
    """
    entry = CATALOGUE.get(name.strip().lower())
    if entry is None:
        near = get_close_matches(name.strip().lower(), CATALOGUE, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"no data set is called {name[:60]!r}: {hint}`rsagent data list` names them all")
    return entry


def open_dataset(name: str, root: Path, split: str) -> DataSet:
    """One part of a data set.

    Args:
        name: a name of CATALOGUE.
        root: the data set's own folder, or the folder that holds it among others.
        split: a part of it, or "all".

    Raises:
        UserError: no such data set, part or folder; or files that are missing, damaged or of another layout.
    """
    about = look_up(name)
    if split not in about.parts:
        raise UserError(f"{about.name} has no part {split[:60]!r}: choose from {', '.join(about.parts)}")
    home = find_home(about.name, root)
    if home is None:
        places = ", ".join(f"{folder}/" for folder in about.folders)
        raise UserError(f"{root}: no {about.name} there (looked for {places}); `rsagent data fetch-help {about.name}` helps")
    wanted = None if split == ALL else split
    reading = read_layout(about.name, home, wanted)
    items = reading.complete(wanted)
    if not reading.items and reading.problems:
        raise UserError(f"{home}: {reading.problems[0]}")
    if not items:
        there = sorted({item.split for item in read_layout(about.name, home).items})
        raise UserError(
            f"{home}: holds nothing of {about.name}'s part {split}; here are {', '.join(there) or 'no items at all'}"
        )
    return DataSet(about, home, split, items, _notes(about, reading, wanted))


def _notes(about: Published, reading: AnyReading, wanted: str | None) -> tuple[str, ...]:
    """What a reader of figures must know of a copy: what it lacks of the published set, and known faults of that."""
    unlike = [*counts(about, reading, wanted), *reading.problems]
    notes = [f"PARTIAL DATA: {'; '.join(unlike)}"] if unlike else []
    return (*notes, f"Known faults: {'; '.join(reading.faults)}") if reading.faults else tuple(notes)

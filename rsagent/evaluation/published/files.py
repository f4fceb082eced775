"""The files of a data set, which are hostile until read: size limits, one line for what is wrong, no way out of the folder."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from rsagent.errors import UserError
from rsagent.evaluation.published.records import DATA_VARIABLE, ItemT

MAX_BYTES = 512 * 1024 * 1024
"""A JSON or text file above this size is none of the published ones; the largest of those, RSVQA-HR's, is below half."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
SchemaT = TypeVar("SchemaT")


@dataclass
class Reading(Generic[ItemT]):
    """What a data set lists, and what its reader noticed.

    Attributes:
        source: the file that lists the items, for messages.
        items: every item whose image is there, in the order of the file.
        left_out: items that are known to be wrong and are kept out of the training part; `faults` says why.
        missing: part and name of each listed image that is not there, once an item.
        folders: the image folders.
        faults: known faults of the original, one line each; nothing that the user could mend.
        problems: what is wrong with this copy, one line each.
        extract: it is a part that somebody took out of the published files, in another layout and with other parts.
    """

    source: Path
    items: list[ItemT] = field(default_factory=list[ItemT])
    left_out: list[ItemT] = field(default_factory=list[ItemT])
    missing: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    folders: list[ImageFolder] = field(default_factory=list["ImageFolder"])
    faults: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    extract: bool = False

    def complete(self, split: str | None = None) -> list[ItemT]:
        """The items, of one part or of all.

        Raises:
            UserError: one of their images is missing.
        """
        for folder in self.folders:
            if not folder.folder.is_dir():
                raise UserError(f"{folder.folder}: no such image folder; unpack the images that {self.source.name} lists there")
        lost = [name for part, name in self.missing if split in (None, part)]
        if lost:
            others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            where = self.folders[0].folder if self.folders else self.source.parent
            raise UserError(f"{self.source}: lists {lost[0][:80]!r}{others}, not in {where}; unpack all images there")
        return [item for item in self.items if split in (None, item.split)]


class ImageFolder:
    """The files of an image folder, listed once: ten thousand look-ups are quick, and no name leaves the folder.

    A folder that is not there has no files. `names` holds plain files alone: no folders, no pipes, no broken
    links, and none of the hidden files that desktops leave behind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Path] = {}
        self.used: set[str] = set()
        for name in _listed(folder):
            self.names[name] = folder / name

    def find(self, name: str) -> Path | None:
        """The file of this name, None where there is none."""
        path = self.names.get(name)
        if path is not None:
            self.used.add(name)
        return path

    def find_stem(self, stem: str) -> Path | None:
        """The image whose name without its ending is `stem`, in whichever format it is kept."""
        return next((path for suffix in (".tif", ".png", ".jpg", ".jpeg", ".tiff") if (path := self.find(stem + suffix))), None)

    def unlisted(self) -> list[str]:
        """The images that nothing has asked for."""
        return [name for name in self.names if name not in self.used and Path(name).suffix.lower() in IMAGE_SUFFIXES]


def image_folder(home: Path, *names: str) -> ImageFolder:
    """The first of these folders that is there, one level deeper where an archive was unpacked into a folder of its name."""
    for name in names:
        if (home / name).is_dir():
            inner = home / name / name
            return ImageFolder(inner if inner.is_dir() else home / name)
    return ImageFolder(home / names[0])


def read_json(path: Path, schema: type[SchemaT]) -> SchemaT:
    """The file as `schema`.

    Raises:
        UserError: one line for a file that is missing, too large, no JSON, or of another layout.
    """
    data = read_bytes(path)
    try:
        return TypeAdapter(schema).validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"]) or "the top"
        raise UserError(f"{path}: not the published layout, at {where}: {first['msg']}; download it again") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        UserError: one line for a file that is missing, too large or not UTF-8.
    """
    try:
        return [line for line in read_bytes(path).decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; download it again") from None


def read_bytes(path: Path) -> bytes:
    """The bytes of a plain file of at most MAX_BYTES."""
    with reading(path):
        if not path.is_file():
            raise FileNotFoundError
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: larger than {MAX_BYTES >> 20} MiB; this is not the published file")
        return path.read_bytes()


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn what the file system says into one line."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; unpack the data set as published under {DATA_VARIABLE}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, in alphabetical order, without hidden ones."""
    with reading(folder), os.scandir(folder) as found:
        return [folder / entry.name for entry in sorted(found, key=_name) if not entry.name.startswith(".") and entry.is_dir()]


def leaves_folder(names: Iterable[str]) -> list[str]:
    """The names that point outside the folder they are looked for in."""
    return [name for name in names if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name]


def _listed(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with reading(folder), os.scandir(folder) as found:
        return [entry.name for entry in found if not entry.name.startswith(".") and entry.is_file()]


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name

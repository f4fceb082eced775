"""Which data sets a folder holds, told by its files, and the reader of each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from rsagent.errors import UserError
from rsagent.evaluation.published import class_folders, karpathy, nwpu_captions, rsgpt, rsivqa, rsvqa, vrsbench
from rsagent.evaluation.published.entries import CATALOGUE
from rsagent.evaluation.published.files import Reading, subfolders
from rsagent.evaluation.published.records import CaptionedImage, LabelledImage, QuestionItem

AnyReading: TypeAlias = Reading[CaptionedImage] | Reading[QuestionItem] | Reading[LabelledImage]


def names_in(folder: Path) -> list[str]:
    """The data sets whose own folder this is, by its files alone; several may share one, and most folders hold none."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    names: list[str] = []
    captions = karpathy.captions_name(folder)
    if captions is not None:
        names.append(captions)
    if (folder / nwpu_captions.SOURCE).is_file():
        names.append("nwpu-captions")
    if (folder / "captions.json").is_file() and (folder / "images").is_dir():
        names.append("rsicap")
    if (folder / "annotations.json").is_file() and (folder / "images").is_dir():
        names += ["rsieval-captions", "rsieval-vqa"]
    resolution = rsvqa.rsvqa_resolution(folder)
    if resolution is not None:
        names.append(f"rsvqa-{resolution.lower()}")
    if (folder / rsivqa.EXTRACT).is_file() or rsivqa.rsivqa_home(folder) is not None:
        names.append("rsivqa")
    if (folder / vrsbench.CAPTIONS).is_file() or (folder / vrsbench.TRAIN).is_file():
        names.append("vrsbench-captions")
    if (folder / vrsbench.QUESTIONS).is_file() or (folder / vrsbench.TRAIN).is_file():
        names.append("vrsbench-vqa")
    classes = class_folders.classes_name(folder) if not names else None
    return [*names, classes] if classes is not None else names


def find_all(root: Path) -> dict[str, Path]:
    """Every data set that `root` is or holds, with its folder.

    A folder with one of the data set's usual names is taken before any other.
    """
    if not root.is_dir():
        return {}
    homes = {folder: _with_derived(names_in(folder)) for folder in (root, *subfolders(root))}
    found: dict[str, Path] = {}
    for name, entry in CATALOGUE.items():
        usual = [folder.lower() for folder in entry.folders]
        holding = [folder for folder, names in homes.items() if name in names]
        holding.sort(
            key=lambda home: (home != root, usual.index(home.name.lower()) if home.name.lower() in usual else len(usual))
        )
        if holding:
            found[name] = holding[0]
    return found


def find_home(name: str, root: Path) -> Path | None:
    """The folder of one data set: `root` itself, or one of the folders in it; None where neither is."""
    return find_all(root).get(name)


def read_layout(name: str, home: Path, split: str | None = None, *, drop: bool = True) -> AnyReading:
    """Read the data set `name` from its folder.

    Args:
        name: a name of CATALOGUE that `home` holds.
        home: the data set's own folder.
        split: the only part wanted, where reading one alone saves time.
        drop: leave what is known to be wrong out of the training part.

    Raises:
        UserError: a file is missing, too large or not in the published layout.
    """
    match name:
        case "ucm-captions":
            return karpathy.list_ucm(home, drop_wrong=drop)
        case "sydney-captions":
            return karpathy.list_sydney(home)
        case "rsicd":
            return karpathy.list_rsicd(home)
        case "nwpu-captions":
            return nwpu_captions.list_nwpu_captions(home)
        case "rsicap":
            return rsgpt.list_rsicap(home)
        case "rsieval-captions":
            return rsgpt.list_rsieval_captions(home)
        case "rsieval-vqa":
            return rsgpt.list_rsieval_questions(home)
        case "rsvqa-lr":
            return rsvqa.list_rsvqa(home, "LR", split)
        case "rsvqa-hr":
            return rsvqa.list_rsvqa(home, "HR", split)
        case "rsivqa":
            return rsivqa.list_rsivqa(home, drop_faulty=drop)
        case "vrsbench-captions":
            return vrsbench.list_vrsbench_captions(home, split)
        case "vrsbench-vqa":
            return vrsbench.list_vrsbench_questions(home, split)
        case "ucm" if karpathy.captions_name(home) == "ucm-captions":
            return class_folders.list_ucm_from_captions(home)
        case _ if CATALOGUE[name].task == "classify":
            return class_folders.list_class_folders(home, name)
        case _:
            raise UserError(f"{name}: no reader for this data set")


def _with_derived(names: list[str]) -> list[str]:
    """The classes of UC Merced can be told from its captions' image numbers."""
    return [*names, "ucm"] if "ucm-captions" in names else names

"""Scene classes: one folder of images a class, and no published split.

    UCMerced_LandUse/Images/CLASS/CLASSNN.tif      NWPU-RESISC45/CLASS/CLASS_NNN.jpg      AID/CLASS/CLASS_N.jpg
    WHU-RS19/CLASS/CLASS_NN.jpg                    Google dataset of SIRI-WHU/12class_tif/CLASS/NNNN.tif
    EuroSAT_RGB/CLASS/CLASS_N.jpg, or 2750/CLASS/CLASS_N.jpg as the archive of 2018 has it

A digest of data set and file name decides the part (80 / 10 / 10 %). The images of UC Merced stand in the part of their
captions where UCM_captions/ is beside them, and can be read from that folder alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from rsagent.errors import UserError
from rsagent.evaluation.published.class_names import CLASS_NAMES, UCM_CLASSES
from rsagent.evaluation.published.files import IMAGE_SUFFIXES, ImageFolder, Reading, image_folder, subfolders
from rsagent.evaluation.published.karpathy import caption_splits, ucm_class
from rsagent.evaluation.published.records import LabelledImage, hash_split

FOLDER_NAMES = {
    "ucm": "UCMerced_LandUse",
    "nwpu-resisc45": "NWPU-RESISC45",
    "aid": "AID",
    "whu-rs19": "WHU-RS19",
    "siri-whu": "SIRI-WHU",
    "eurosat": "EuroSAT_RGB",
}
"""The folder of each data set; the split goes by it, whatever a copy's folder is called."""
_DEEPER = ("Images", "12class_tif", "Google dataset of SIRI-WHU_earth_im_tiff")


def class_root(home: Path) -> Path | None:
    """The folder whose folders are classes with images in them: `home`, or the one in it that archives unpack to."""
    for _ in range(3):
        folders = subfolders(home)
        if any(_has_images(folder) for folder in folders):
            return home
        deeper = next((folder for folder in folders if folder.name in (*_DEEPER, home.name)), None)
        if deeper is None:
            return None
        home = deeper
    return None


def classes_name(home: Path) -> str | None:
    """Which data set the class folders in `home` are, by their names and its own; None where fewer than half fit any."""
    root = class_root(home)
    if root is None:
        return None
    found = {folder.name for folder in subfolders(root)}
    own = "".join(c for c in home.name.lower() if c.isalnum())

    def fit(name: str) -> tuple[float, bool, float]:
        shared = found & CLASS_NAMES[name].keys()
        called = "".join(c for c in name if c.isalnum()) in own
        return len(shared) / len(found) + called, called, len(shared) / len(CLASS_NAMES[name])

    best = max(CLASS_NAMES, key=fit)
    return best if len(found & CLASS_NAMES[best].keys()) * 2 >= len(found) else None


def list_class_folders(home: Path, name: str | None = None) -> Reading[LabelledImage]:
    """The images of all class folders, sorted by class and name. `name` is the data set's, where it is a known one.

    Raises:
        UserError: there is no class folder with an image in it.
    """
    root = class_root(home) if home.is_dir() else None
    if root is None:
        raise UserError(f"{home}: no images in class folders; unpack {home.name} there, one folder a class")
    reading = Reading[LabelledImage](root)
    splits = caption_splits(_beside(home)) if name == "ucm" else {}
    dataset = FOLDER_NAMES.get(name or "", home.name)
    for folder in subfolders(root):
        files = ImageFolder(folder)
        reading.folders.append(files)
        for file in sorted(files.names):
            if Path(file).suffix.lower() in IMAGE_SUFFIXES:
                files.find(file)
                part = splits.get(_caption_number(folder.name, file) or "") or hash_split(dataset, file)
                reading.items.append(LabelledImage(folder / file, folder.name, dataset, part))
    return reading


def list_ucm_from_captions(home: Path) -> Reading[LabelledImage]:
    """UC Merced's classes from UCM_captions/: the numbers of its images tell them; the parts are those of the captions."""
    source = home / "dataset.json"
    files = image_folder(home, "imgs")
    reading = Reading[LabelledImage](source, folders=[files])
    for name, part in caption_splits(home).items():
        path, label = files.find(name), ucm_class(name)
        if path is None:
            reading.missing.append((part, name))
        elif label is not None:
            reading.items.append(LabelledImage(path, label, FOLDER_NAMES["ucm"], part))
    return reading


def read_class_folders(folder: Path | str) -> list[LabelledImage]:
    """A data set of one folder a class, such as NWPU-RESISC45 or EuroSAT_RGB, split by image.

    `folder` is the data set's own (`data_root() / "EuroSAT_RGB"`). Raises UserError when it holds no images.
    """
    return list_class_folders(Path(folder)).complete()


def _caption_number(label: str, file: str) -> str | None:
    """UCM-Captions' name of an image of UC Merced: "airplane07.tif" is "108.tif"."""
    number = file.removeprefix(label).removesuffix(".tif")
    if label not in UCM_CLASSES or not (number.isascii() and number.isdigit() and len(number) == 2):
        return None
    return f"{100 * UCM_CLASSES.index(label) + int(number) + 1}.tif"


def _beside(home: Path) -> Path:
    return home.parent / "UCM_captions"


def _has_images(folder: Path) -> bool:
    return os.access(folder, os.R_OK) and any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in ImageFolder(folder).names)

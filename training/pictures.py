"""Decoded pictures in one memory-mapped array, and the augmentation that runs on whole batches.

Decoding 14,000 JPEGs takes a minute; training reads each picture many times. The bank is content-addressed by the list
of files it holds, written under a temporary name and renamed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rsagent.errors import ImageError, UserError
from rsagent.imagery import load_image
from rsagent.model.image_encoder import pixels_from_rgb
from rsagent.training.resume import whole_files

log = logging.getLogger(__name__)

MOST_LOST = 0.01
"""The share of pictures that may be unreadable: a broken file is left out, a broken download stops the run."""


def picture_bank(
    files: Sequence[Path],
    size: int,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    lost: set[int] | None = None,
) -> np.ndarray:
    """Decode `files` to `(len(files), size, size, 3)` uint8, or map the array that an earlier run wrote.

    Args:
        files: the pictures, in the order of the rows.
        size: pixels a side.
        folder: where the array lies, beside a list of the files that could not be read.
        progress: called with (done, count).
        lost: gets the rows of unreadable files, which stay black; without it the first such file ends the run.

    Raises:
        ImageError: a file cannot be read, and `lost` is not given.
        UserError: more than `MOST_LOST` of them cannot be read.
    """
    target = folder / f"pictures-{picture_key(files, size)}.npy"
    listed = target.with_suffix(".lost.json")
    if not target.exists():
        faults: dict[int, ImageError] = {}
        with whole_files(target, listed) as (partial, names), ThreadPoolExecutor(2) as pool:
            bank = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(len(files), size, size, 3))
            for index, picture in enumerate(pool.map(lambda file: _decode(file, size), files)):
                if isinstance(picture, ImageError):
                    faults[index] = picture
                    _check_lost(faults, len(files), skip=lost is not None)
                else:
                    bank[index] = picture
                if progress is not None and index % 200 == 0:
                    progress(index, len(files))
            bank.flush()
            names.write_text(json.dumps({index: str(fault) for index, fault in faults.items()}), "utf-8")
    before: dict[str, str] = json.loads(listed.read_text("utf-8")) if listed.exists() else {}
    if before and lost is None:
        raise ImageError(next(iter(before.values())))
    if lost is not None:
        lost.update(int(index) for index in before)
        if before:
            log.warning("%d of %d pictures cannot be read and are left out; %s lists them", len(before), len(files), listed)
    return np.load(target, mmap_mode="r")


def _check_lost(faults: dict[int, ImageError], count: int, *, skip: bool) -> None:
    last = list(faults.values())[-1]
    if not skip:
        raise last
    if len(faults) > max(1, MOST_LOST * count):
        raise UserError(f"more than {MOST_LOST:.0%} of {count:,} pictures cannot be read: {last}; download them again")


def picture_key(files: Sequence[Path], size: int) -> str:
    """A digest of which files in which order, at which size: the name of what is computed from them."""
    names = "\n".join(f"{file.parent.name}/{file.name}" for file in files)
    return hashlib.sha256(f"{size}\n{names}".encode()).hexdigest()[:16]


def _decode(file: Path, size: int) -> np.ndarray | ImageError:
    try:
        rgb = load_image(file).rgb
    except ImageError as error:
        return error
    if rgb.shape[:2] == (size, size):
        return rgb
    pixels = pixels_from_rgb([rgb], size)[0] * 128 + 127
    return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def normalise(batch: Tensor) -> Tensor:
    """`(batch, size, size, 3)` uint8 -> `(batch, 3, size, size)` in [-1, 1]."""
    return (batch.permute(0, 3, 1, 2).float() - 127.0) / 128.0


def augment(pixels: Tensor, size: int, generator: torch.Generator, smallest: float = 0.5) -> Tensor:
    """Random view of each picture: the eight symmetries, a crop of `smallest`-1 of the area, light and colour.

    `(batch, 3, side, side)` in [-1, 1] -> `(batch, 3, size, size)`. Aerial pictures have no up, so all symmetries are fair
    for what is a picture's class; they are not for words such as left and top.
    """
    count = len(pixels)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    quarter = torch.randint(0, 4, (count,), generator=generator) * (math.pi / 2)
    tilt = uniform(-0.45, 0.45) * (torch.rand(count, generator=generator) < 0.3)
    angle = quarter + tilt
    flip = torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1.0
    zoom = uniform(smallest, 1.0).sqrt()
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = zoom * angle.cos() * flip, -zoom * angle.sin()
    matrix[:, 1, 0], matrix[:, 1, 1] = zoom * angle.sin() * flip, zoom * angle.cos()
    matrix[:, :, 2] = uniform(-1, 1, 2) * (1 - zoom)[:, None]
    grid = F.affine_grid(matrix, [count, 3, size, size], align_corners=False)
    view = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return recolour(view, generator)


def recolour(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Random gain, offset and saturation of each picture; `(batch, 3, height, width)`."""
    count = len(pixels)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    grey = pixels.mean(1, keepdim=True)
    pixels = grey + (pixels - grey) * uniform(0.6, 1.4, 1, 1, 1)
    return pixels * uniform(0.75, 1.3, 1, 1, 1) * uniform(0.93, 1.07, 3, 1, 1) + uniform(-0.2, 0.2, 1, 1, 1)

"""Any picture file -> RGB uint8 and facts about it; what is refused, and why."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsagent.errors import ImageError
from rsagent.schemas import ImageFacts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ImageSource = str | os.PathLike[str] | bytes
"""A local path, or the bytes of an encoded picture."""

MAX_PIXELS = 64_000_000
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True)
class LoadedImage:
    """A picture as the networks read it: `rgb` is (height, width, 3) uint8, `facts` say what it was."""

    rgb: NDArray[np.uint8]
    facts: ImageFacts


def load_image(
    source: ImageSource,
    *,
    bands: Sequence[int] | None = None,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> LoadedImage:
    """Read a picture.

    Raises:
        ImageError: the picture cannot be used; the message says what, where and what to do.
    """
    import numpy as np
    from PIL import Image, ImageOps

    where = name or ("image" if isinstance(source, bytes) else os.fspath(source))
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"]) as picture:
            if picture.width * picture.height > max_pixels:
                raise ImageError(f"{where}: {picture.width} x {picture.height} is above {max_pixels} pixels")
            rgb = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"), dtype=np.uint8)
            bands_there, form = len(picture.getbands()), picture.format or ""
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{where!r} cannot be read as a picture: {error}") from error
    facts = ImageFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        name=Path(where).name,
        width=rgb.shape[1],
        height=rgb.shape[0],
        bands=bands_there,
        dtype="uint8",
        format=form,
    )
    return LoadedImage(rgb, facts)


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The pictures in `paths`: files as they are, folders searched (sorted, hidden files skipped).

    Raises:
        ImageError: a path does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ImageError(f"{path}: no such file or folder")
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise ImageError(f"{path}: no picture in this folder")
        found += inside
    return found

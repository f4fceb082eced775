"""The picture that the tests of imagery write in every format, and what they say of what was read."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rsagent.errors import ImageError
from rsagent.imagery import LoadedImage, load_image

HEIGHT, WIDTH = 24, 36


def scene() -> np.ndarray:
    """A small picture that no flip or turn leaves as it is."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[..., 0] = np.arange(WIDTH) * 6
    rgb[: HEIGHT // 2, :, 1] = 200
    rgb[HEIGHT - 6 :, : WIDTH // 3, 2] = 90
    return rgb


SCENE = Image.fromarray(scene())


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def ramp(bands: int, dtype: str = "uint16", low: float = 100, high: float = 3000) -> np.ndarray:
    """(bands, height, width): every band rises from `low` to `high`, band by band in another direction."""
    flat = np.linspace(low, high, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    return np.stack([np.roll(flat, 7 * band, axis=1) for band in range(bands)]).astype(dtype)


def raster(path: Path, samples: np.ndarray, **profile: Any) -> Path:
    """Write (bands, height, width) as a TIFF."""
    rasterio = pytest.importorskip("rasterio")
    count, height, width = samples.shape
    mask, colours = profile.pop("mask", None), profile.pop("colours", None)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": samples.dtype} | profile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), rasterio.open(path, "w", **profile) as dataset:
            if colours is not None:
                dataset.write_colormap(1, colours)
            dataset.write(samples)
            if mask is not None:
                dataset.write_mask(mask)
    return path


def placed(crs: str, west: float, north: float, step: float) -> dict[str, Any]:
    affine = pytest.importorskip("rasterio").Affine
    return {"crs": crs, "transform": affine(step, 0, west, 0, -step, north)}


def refused(source: Any, **options: Any) -> str:
    """The one line with which `source` is refused."""
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)
    line = str(caught.value)
    assert line.isprintable(), line
    assert ";" in line or " or " in line, f"it says what to do: {line}"
    return line


def said(loaded: LoadedImage, pattern: str) -> bool:
    return any(re.search(pattern, note) for note in loaded.facts.notes)

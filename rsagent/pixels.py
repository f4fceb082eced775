"""Samples of any type -> 8-bit RGB: which bands are shown, what holds no data, the stretch, alpha, which way is up."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rsagent.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOW, HIGH = 2, 98
"""Percentiles of the good samples that become 0 and 255 where a picture is not 8 bit."""

_SAMPLED = 4_000_000  # samples the percentiles are taken from: a larger picture is thinned out evenly
_ROWS = 4_000_000  # samples turned to float64 at a time, so that a large raster needs no second large copy
_QUIET = threading.Lock()


@dataclass
class Reading:
    """What a reader took out of a file, before it is made 8-bit RGB.

    `values` is (height, width, 1 or 3), the bands to be shown; `alpha` is (height, width) uint8 or None. `width` and
    `height` are the file's, before it was reduced or turned upright.
    """

    values: NDArray[Any]
    alpha: NDArray[np.uint8] | None
    width: int
    height: int
    bands: int
    dtype: str
    format: str
    eight_bit: bool = True
    nodata: float | None = None
    orientation: int = 1
    reduced: bool = False
    crs: str | None = None
    gsd_m: float | None = None
    notes: list[str] = field(default_factory=list[str])


@contextmanager
def decoding() -> Generator[None]:
    """Turn whatever a decoder raises on a damaged or hostile file into an ImageError.

    Decoders raise a dozen kinds (OSError, SyntaxError, struct.error, ...), which all mean the same to the user.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        said = error.__cause__ or error if "previous exception" in str(error) else error  # rasterio's, for GDAL's
        cause = printable(str(said) or type(said).__name__)
        raise ImageError(f"it is damaged or cut short ({cause}); copy, download or export it again") from error


@contextmanager
def quiet() -> Generator[None]:
    """Keep a decoder's warnings about odd headers from the user's terminal.

    Python's warning filters belong to the whole process, so one thread at a time changes them, and only while a header
    is parsed, never while pixels are decoded.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def printable(text: str, limit: int = 200) -> str:
    """`text` for one line of a terminal: control and other unprintable characters escaped, cut to `limit`."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return shown if len(shown) <= limit else f"{shown[: limit // 2 - 2]}...{shown[-limit // 2 + 2 :]}"


def check_size(width: int, height: int, max_pixels: int, advice: str = "make it smaller") -> None:
    """Refuse a picture by the size its header claims, before any pixel is decoded.

    Raises:
        ImageError: it has no pixel, or more than `max_pixels`.
    """
    if width < 1 or height < 1:
        raise ImageError(f"it has no pixels ({width} x {height}); export it again")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} pixels are above the limit of {max_pixels / 1e6:g} megapixels; {advice} or raise max_pixels"
        )


def choose_bands(count: int, wanted: Sequence[int] | None, alpha: int | None, notes: list[str]) -> list[int]:
    """Which bands are shown: one (as grey) or three (as red, green, blue), counted from 0.

    Args:
        count: bands in the file, alpha included.
        wanted: the user's choice counted from 1, or None for the first three (of two: the first).
        alpha: the alpha band counted from 0, or None.
        notes: what was left out is added here.

    Raises:
        ImageError: the choice is neither one nor three bands, or names a band that does not exist.
    """
    if wanted is not None:
        chosen = list(wanted)
        if len(chosen) not in (1, 3):
            raise ImageError(f"{len(chosen)} bands were chosen; choose three (red, green, blue) or one (grey)")
        absent = [band for band in chosen if not 1 <= band <= count]
        if absent:
            there = f"bands 1 to {count}" if count > 1 else "one band"
            raise ImageError(f"there is no band {absent[0]}: it has {there}; choose among them")
        notes.append("bands " + ", ".join(str(band) for band in chosen) + (" as red, green, blue" * (len(chosen) == 3)))
        return [band - 1 for band in chosen]
    colours = [band for band in range(count) if band != alpha]
    if not colours:
        raise ImageError("it has an alpha band and nothing else; name the band to show with bands")
    if len(colours) == 2:
        notes.append(f"2 bands: band {colours[0] + 1} shown as grey")
    elif len(colours) > 3:
        first = ", ".join(str(band + 1) for band in colours[:3])
        notes.append(f"{len(colours)} bands: {first} shown as red, green, blue")
    return colours[:3] if len(colours) >= 3 else colours[:1]


def is_transparency(alpha: NDArray[np.uint8]) -> bool:
    """Whether a band marked as alpha holds transparency, rather than a fourth colour such as near infrared.

    Raster software marks the fourth 8-bit band as alpha unless told otherwise; true masks are nearly all 0 and 255.
    """
    import numpy as np

    return bool(np.count_nonzero((alpha == 0) | (alpha == 255)) * 2 >= alpha.size)


def to_rgb(reading: Reading) -> NDArray[np.uint8]:
    """The picture as (height, width, 3) uint8, upright; what was done is added to `reading.notes`.

    Eight-bit samples are kept. Others are stretched: the 2nd to 98th percentile of the good samples becomes 0 to 255,
    over all bands together, since a stretch of each band by itself would shift the colours. What holds no data (NaN,
    Inf, nodata, fully transparent) takes no part in it and is shown black.

    Raises:
        ImageError: no pixel holds data.
    """
    import numpy as np

    values, alpha, notes = reading.values, reading.alpha, reading.notes
    good = _good(values, reading.nodata)
    if alpha is not None and not alpha.all():
        seen = np.broadcast_to((alpha > 0)[..., None], values.shape)
        good = seen if good is None else good & seen
    if good is not None:
        share = float(np.count_nonzero(good)) / values.size
        if share == 0.0:
            raise ImageError("no pixel holds data (all are nodata, NaN, Inf or transparent); use another file")
        if share < 1.0:
            empty = 100 * (1 - share)
            notes.append(f"{f'{empty:.0f}' if empty >= 1 else '<1'} % of it holds no data or is transparent: shown black")
    out = values.astype(np.uint8) if reading.eight_bit else _stretch(values, good, notes)
    if good is not None:
        out *= good
    if alpha is not None and bool(((alpha > 0) & (alpha < 255)).any()):
        notes.append("alpha blended on black")
        _blend(out, alpha)
    if out.shape[2] == 1:
        out = np.repeat(out, 3, axis=2)
    return np.ascontiguousarray(_upright(out, reading.orientation, notes))


def _good(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Which samples hold data, as (height, width, bands), or None where all do."""
    import numpy as np

    good: NDArray[np.bool_] | None = np.isfinite(values) if values.dtype.kind == "f" else None
    if nodata is not None and np.isfinite(nodata):
        with np.errstate(over="ignore", invalid="ignore"):
            mark = np.asarray(nodata).astype(values.dtype)
        if values.dtype.kind == "f" or float(mark) == nodata:  # a mark outside an integer's range marks nothing
            data = values != mark
            if values.dtype == np.uint8:  # a saturated or black sample is no hole where the other bands hold data
                data = np.broadcast_to(data.any(axis=2, keepdims=True), values.shape)
            good = data if good is None else good & data
    return None if good is None or bool(good.all()) else good


def _stretch(values: NDArray[Any], good: NDArray[np.bool_] | None, notes: list[str]) -> NDArray[np.uint8]:
    """`values` made 8 bit, the percentiles LOW to HIGH of the good samples becoming 0 to 255."""
    import numpy as np

    step = max(1, int((values.size / _SAMPLED) ** 0.5))
    sample = values[::step, ::step] if good is None else values[::step, ::step][good[::step, ::step]]
    if not sample.size:
        assert good is not None  # only a mask can leave the sample empty
        sample = values[good]
    low, high = (float(v) for v in np.percentile(sample, (LOW, HIGH), method="nearest"))
    said = f"percentiles {LOW} to {HIGH}"
    if low == high:  # nearly all samples are alike: show what differs
        everything = values if good is None else values[good]
        low, high, said = float(everything.min()), float(everything.max()), "its range"
    span = high / 2 - low / 2  # halves, since the span of the largest floats would overflow
    if span == 0.0:
        notes.append(f"one value everywhere ({low:g}): shown mid-grey")
        return np.full(values.shape, 128, dtype=np.uint8)
    notes.append(f"stretched to 8 bit: {said}, {low:g} to {high:g}, all bands alike")
    out = np.empty(values.shape, dtype=np.uint8)
    rows = max(1, _ROWS // (values.shape[1] * values.shape[2]))
    for top in range(0, values.shape[0], rows):
        with np.errstate(invalid="ignore"):  # a signalling NaN, which is replaced in the next line
            part = values[top : top + rows].astype(np.float64)
        if good is not None:
            part[~good[top : top + rows]] = low
        np.clip(part, low, high, out=part)
        out[top : top + rows] = ((part / 2 - low / 2) / span * 255 + 0.5).astype(np.uint8)
    return out


def _blend(out: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
    """Blend on black, in place: transparent edges of aerial images are black where they are kept as RGB."""
    import numpy as np

    rows = max(1, _ROWS // (out.shape[1] * out.shape[2]))
    for top in range(0, out.shape[0], rows):
        part = out[top : top + rows].astype(np.uint16) * alpha[top : top + rows, :, None]
        out[top : top + rows] = ((part + 127) // 255).astype(np.uint8)


def _upright(rgb: NDArray[np.uint8], orientation: int, notes: list[str]) -> NDArray[np.uint8]:
    """Undo the EXIF orientation, 1 to 8."""
    if orientation not in range(2, 9):
        return rgb
    notes.append(f"turned upright (orientation {orientation})")
    if orientation >= 5:
        rgb = rgb.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb

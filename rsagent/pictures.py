"""Pictures that Pillow reads: PNG, JPEG, WebP, BMP, GIF and plain TIFF -> samples as they are in the file.

The file classes are opened directly, each for the format its first bytes name: no other decoder can be reached, and
Pillow's process-wide size limit and its warnings play no part, since sizes are checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

from rsagent.errors import ImageError
from rsagent.pixels import Reading, check_size, choose_bands, decoding, is_transparency, quiet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_CLASSES = {
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
}
_ORIENTATION = 0x0112
_SUB_DIRECTORIES = (0x8769, 0x8825, 0xA005)  # EXIF, GPS, interoperability
_DEEP_PNG = ("RGB;16B", "RGBA;16B", "LA;16B")


def read_picture(stream: BinaryIO, kind: str, bands: Sequence[int] | None, max_pixels: int) -> Reading:
    """Decode the first picture of `stream`, which is of the format `kind`.

    Raises:
        ImageError: damaged, cut short, too large, without pixels, or without the bands asked for.
    """
    picture, animated = _open(stream, kind, max_pixels)
    deep = _deep_png(picture) if kind == "PNG" else None
    if deep:
        reading, picture = _from_deep_png(stream, deep, bands, max_pixels)
    else:
        reading = from_pillow(picture, bands)
    reading.width, reading.height = picture.size
    reading.format = kind
    if kind != "TIFF":  # which Pillow turns upright by itself
        reading.orientation = orientation_of(picture)
    if animated:
        reading.notes.append("animated: the first frame was read")
    return reading


def orientation_of(picture: Image) -> int:
    """The EXIF orientation of a decoded picture, 1 where it is upright; a PNG may carry it behind its pixels."""
    with decoding(), quiet():
        value = picture.getexif().get(_ORIENTATION)
    return value if isinstance(value, int) else 1


def from_pillow(picture: Image, bands: Sequence[int] | None) -> Reading:
    """The samples of a Pillow image of any mode.

    Raises:
        ImageError: its pixels cannot be decoded, its mode has no way to RGB, or the bands asked for do not exist.
    """
    with decoding():
        picture.load()
        values, alpha, notes = _samples(picture)
    fixed = {"P": "palette", "PA": "palette", "CMYK": "CMYK"}.get(picture.mode)
    if fixed and bands is not None:
        raise ImageError(f"bands cannot be chosen in a {fixed} picture; leave them out")
    bands_there = picture.getbands()
    own_alpha = len(bands_there) - 1 if bands_there[-1] in ("A", "a") else None
    dtype = "uint1" if picture.mode == "1" else values.dtype.newbyteorder("=").name
    return _reading(values, alpha, own_alpha, bands, len(bands_there), dtype, notes, picture)


def _reading(
    values: NDArray[Any],
    alpha: NDArray[np.uint8] | None,
    own_alpha: int | None,
    bands: Sequence[int] | None,
    count: int,
    dtype: str,
    notes: list[str],
    picture: Image,
) -> Reading:
    """Choose the bands. `own_alpha` is the alpha band (from 0); None: no alpha, or one from a colour key."""
    import numpy as np

    if alpha is not None and own_alpha is not None and picture.format == "TIFF" and not is_transparency(alpha):
        notes.append(f"band {own_alpha + 1} is marked as alpha but holds a picture: not used as alpha")
        values, alpha, own_alpha = np.concatenate([values, alpha[..., None]], axis=2), None, None
    elif alpha is not None and own_alpha is not None and bands is not None and own_alpha + 1 in bands:
        values, alpha = np.concatenate([values, alpha[..., None]], axis=2), None
    total = values.shape[2] + (alpha is not None and own_alpha is not None)
    chosen = choose_bands(total, bands, own_alpha, notes)
    return Reading(
        values=values if chosen == list(range(values.shape[2])) else values[..., chosen],
        alpha=alpha,
        width=picture.width,
        height=picture.height,
        bands=count,
        dtype=dtype,
        format=picture.format or "PIL",
        eight_bit=values.dtype == np.uint8,
        notes=notes,
    )


def _open(stream: BinaryIO, kind: str, max_pixels: int) -> tuple[ImageFile, bool]:
    """Parse the header and check the size it claims: the picture, undecoded, and whether frames follow the first."""
    from PIL.Image import DecompressionBombError

    module, name = _CLASSES[kind]
    with decoding(), quiet():
        stream.seek(0)
        try:
            picture: ImageFile = getattr(import_module(module), name)(stream)
        except DecompressionBombError as error:  # Pillow's own look at the header, far above max_pixels
            raise ImageError("its header claims more pixels than can be decoded; make it smaller") from error
        except SyntaxError as error:
            if "not identified" in str(error):  # the header is sound, and one of its sides is 0
                raise ImageError("it has no pixels; export it again") from error
            raise
        check_size(*picture.size, max_pixels)
        if kind != "TIFF":
            return picture, bool(getattr(picture, "is_animated", False))
        exif = picture.getexif()
        for directory in _SUB_DIRECTORIES:  # parsed here, where their warnings are caught, rather than on decoding
            exif.get_ifd(directory)
    return picture, False


def _samples(picture: Image) -> tuple[NDArray[Any], NDArray[np.uint8] | None, list[str]]:
    """(height, width, bands) in the type the mode has, alpha apart, and what was done to get there."""
    import numpy as np

    mode, notes = picture.mode, list[str]()
    key = picture.info.get("transparency")
    if mode.startswith("I;16") or mode in ("I", "F"):
        values = np.asarray(picture)[..., None]
        alpha = np.where(values[..., 0] == key, 0, 255).astype(np.uint8) if isinstance(key, int) else None
        return values, alpha, notes
    if mode in ("P", "PA"):
        notes.append("palette expanded to RGB")
        target = "RGBA" if mode == "PA" or key is not None or _palette_has_alpha(picture) else "RGB"
    elif mode == "CMYK":
        notes.append("CMYK converted to RGB without a colour profile")
        target = "RGB"
    elif mode in ("1", "L", "LA", "La"):
        target = "LA" if mode in ("LA", "La") or (mode != "1" and key is not None) else "L"
    elif mode in ("RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "HSV"):
        target = "RGBA" if mode in ("RGBA", "RGBa") or (mode == "RGB" and key is not None) else "RGB"
    else:
        raise ImageError(f"its colour mode {mode} is not read; convert it to RGB")
    values = np.asarray(picture if mode == target else picture.convert(target))
    values = values[..., None] if values.ndim == 2 else values
    return (values[..., :-1], values[..., -1], notes) if target.endswith("A") else (values, None, notes)


def _palette_has_alpha(picture: Image) -> bool:
    return picture.palette is not None and picture.palette.mode == "RGBA"


def _deep_png(picture: ImageFile) -> str | None:
    """The raw mode of a PNG of 16-bit colour, of which Pillow by itself keeps the upper eight bits only."""
    raw: object = picture.tile[0].args if picture.tile else None
    return raw if isinstance(raw, str) and raw in _DEEP_PNG else None


def _from_deep_png(stream: BinaryIO, raw: str, bands: Sequence[int] | None, max_pixels: int) -> tuple[Reading, ImageFile]:
    """All 16 bits of a colour PNG: decoded twice, for the upper and for the lower bytes."""
    import numpy as np

    def decoded(raw_mode: str) -> tuple[ImageFile, NDArray[np.uint8]]:
        picture, _ = _open(stream, "PNG", max_pixels)
        with decoding():
            picture.tile = [picture.tile[0]._replace(args=raw_mode)]
            picture.load()
            return picture, np.asarray(picture)

    if raw == "LA;16B":  # four bytes a pixel: grey high, grey low, alpha high, alpha low
        picture, four = decoded("RGBA")
        upper, lower = four[..., ::2], four[..., 1::2]
    else:
        picture, upper = decoded(raw)
        _, lower = decoded(raw.replace("16B", "16L"))  # read as little-endian, the upper byte is the file's lower one
    both = upper.astype(np.uint16) << 8 | lower
    count = both.shape[2]
    if count in (2, 4):
        values, alpha, own_alpha = both[..., :-1], (both[..., -1] >> 8).astype(np.uint8), count - 1
    else:
        key = picture.info.get("transparency")
        values, own_alpha = both, None
        alpha = np.where((both == key).all(axis=2), 0, 255).astype(np.uint8) if isinstance(key, tuple) else None
    return _reading(values, alpha, own_alpha, bands, count, "uint16", [], picture), picture

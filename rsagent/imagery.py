"""Any picture file -> RGB uint8 and facts about it; what is refused, and why.

PNG, JPEG, WebP, BMP, GIF and plain TIFF are read by Pillow (`rsagent.pictures`), other TIFF and GeoTIFF by rasterio
(`rsagent.rasters`, extra `geo`); `rsagent.pixels` makes 8-bit RGB of what they hold. Importing this module loads none
of them. Files are hostile until read: the format is told by the first bytes, sizes are checked before decoding, and
nothing is fetched from a network or read from the files beside a picture.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from rsagent.errors import EngineError, ImageError, MissingExtra
from rsagent.schemas import ImageFacts

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from rsagent.pixels import Reading

    ImageSource: TypeAlias = str | os.PathLike[str] | bytes | Image | NDArray[np.uint8]
else:
    ImageSource = str | os.PathLike[str] | bytes
"""A local path, the bytes of an encoded picture, a Pillow image, or a (height, width, 3) uint8 array."""

MAX_PIXELS = 64_000_000
"""Pixels above which a picture is refused, or a TIFF read reduced, unless the caller raises the limit."""

SUFFIXES = (".bmp", ".dib", ".gif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Endings of the files that are taken from a folder, in lower case."""

_SIGNATURES: tuple[tuple[str, str], ...] = (
    (r"\x89PNG\r\n\x1a\n", "PNG"),
    (r"\xff\xd8\xff", "JPEG"),
    (r"RIFF....WEBP", "WEBP"),
    (r"BM.{4}\x00\x00\x00\x00", "BMP"),
    (r"GIF8[79]a", "GIF"),
    (r"II[*+]\x00|MM\x00[*+]", "TIFF"),
)
_OTHERS: tuple[tuple[str, str], ...] = (
    (r"....ftyp(?:avif|avis)", "an AVIF picture; convert it to PNG or JPEG"),
    (r"....ftyp(?:hei[cxms]|mif1|msf1|hev[cx])", "a HEIC picture; convert it to PNG or JPEG"),
    (r"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000; convert it to GeoTIFF (gdal_translate)"),
    (r"\x89HDF\r\n\x1a\n|CDF[\x01\x02\x05]", "HDF or NetCDF; export the bands to GeoTIFF (gdal_translate)"),
    (r"NITF", "NITF; convert it to GeoTIFF (gdal_translate)"),
    (r"%PDF", "a PDF; export the page as PNG"),
    (r"PK\x03\x04", "a ZIP archive; unpack it and name a picture in it"),
    (r"\x1f\x8b", "gzip data; unpack it first"),
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/|data:image", re.ASCII)
_HEAD = 4096  # bytes looked at to tell what a file is


@dataclass(frozen=True)
class LoadedImage:
    """A picture as the networks read it: `rgb` is (height, width, 3) uint8, upright; `facts` say what it was.

    `facts.width`, `facts.height` and `facts.gsd_m` are the whole picture's; `rgb` is smaller where it was read
    reduced, which `facts.notes` says.
    """

    rgb: NDArray[np.uint8]
    facts: ImageFacts


def load_image(
    source: ImageSource,
    *,
    bands: Sequence[int] | None = None,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> LoadedImage:
    """Read a picture; safe to call from several threads.

    Args:
        source: a local path, the bytes of an encoded picture, a Pillow image, or a (height, width, 3) uint8 array.
        bands: three bands to show as red, green and blue, or one to show as grey, counted from 1, such as (4, 3, 2).
        max_pixels: larger pictures are refused before decoding; a TIFF is read reduced where that is possible.
        name: what facts and messages call it; by default the file's name.

    Raises:
        ImageError: the picture cannot be used; one line says what, where and what to do.
        EngineError: there is not enough memory for it.
        MissingExtra: a TIFF that only rasterio reads, and rasterio is not installed.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        called = name or os.path.basename(path)
    else:
        path, called = None, name or "image"
    where = f"'{_printable(name or path or called)}'"
    from rsagent.rasters import NeedsRasterio

    try:
        with _naming(where):
            if path is not None:
                with _opened(path) as stream:
                    reading, digest = _read_stream(stream, path, bands, max_pixels)
            elif isinstance(source, bytes):
                reading, digest = _read_stream(io.BytesIO(source), source, bands, max_pixels)
            else:
                reading, digest = _read_object(source, bands, max_pixels)
            return _finished(reading, digest, _printable(called), bands)
    except NeedsRasterio as error:
        raise MissingExtra("rasterio", "geo", f"{where}: {error}") from error


def find_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The pictures that `paths` name: files as they are, folders searched with the folders in them.

    In a folder, files that end in one of SUFFIXES are taken, sorted, hidden ones and linked folders left out.

    Raises:
        ImageError: a path does not exist, a folder cannot be read or holds no picture, or a URL was given.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        text = os.fspath(path)
        with _naming(f"'{_printable(text)}'"):
            if not stat.S_ISDIR(_status(text).st_mode):
                found.append(Path(text))
                continue
            inside = sorted(_walk(text))
            if not inside:
                raise ImageError(f"there is no picture in this folder ({', '.join(SUFFIXES)}); name another")
            found += inside
    return found


def _walk(folder: str) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise _refusal(error)

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith(".") and name.lower().endswith(SUFFIXES))


def _printable(text: str) -> str:
    from rsagent.pixels import printable

    return printable(text)


@contextmanager
def _naming(where: str) -> Generator[None]:
    """Put in front of an error which picture it is about: the readers do not know its name."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"cannot read {where}: {error}") from (error.__cause__ or error)
    except MemoryError as error:
        raise EngineError(f"cannot read {where}: there is not enough memory for it; use a smaller picture") from error


def _refusal(error: OSError | ValueError) -> ImageError:
    """What the system's answer to opening a file means for the user."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ImageError("no such file or folder; check the path")
    if isinstance(error, PermissionError):
        return ImageError("no permission to read it; change its permissions (chmod +r) or copy it")
    if isinstance(error, OSError):
        return ImageError(f"the system says: {_printable(error.strerror or str(error))}; check the path")
    return ImageError("the path holds a character no path may hold; check the path")


def _status(path: str) -> os.stat_result:
    """The status of a local path.

    Raises:
        ImageError: it is a URL, or does not exist, or may not be looked at.
    """
    if _URL.match(path):
        raise ImageError("only local files are read; download it first and give the path")
    try:
        return os.stat(path)
    except (OSError, ValueError) as error:
        raise _refusal(error) from error


@contextmanager
def _opened(path: str) -> Generator[BufferedReader]:
    """A regular file, open for reading; a pipe or a device is refused, which could be endless."""
    mode = _status(path).st_mode
    if stat.S_ISDIR(mode):
        raise ImageError("it is a folder; name a picture in it")
    if not stat.S_ISREG(mode):
        raise ImageError("it is a pipe or a device; save the picture to a file first")
    try:
        stream = open(path, "rb")
    except OSError as error:
        raise _refusal(error) from error
    with stream:
        yield stream


def _read_stream(
    stream: BufferedReader | io.BytesIO, source: str | bytes, bands: Sequence[int] | None, max_pixels: int
) -> tuple[Reading, str]:
    """Decode an open picture; `source` is its path or its bytes. Also returns the sha256 of its bytes."""
    kind = _kind(stream)
    if kind == "TIFF":
        reading = _read_tiff(stream, source, bands, max_pixels)
    else:
        from rsagent.pictures import read_picture

        reading = read_picture(stream, kind, bands, max_pixels)
    stream.seek(0)
    return reading, hashlib.file_digest(stream, "sha256").hexdigest()


def _kind(stream: BinaryIO) -> str:
    """The format, by the first bytes.

    Raises:
        ImageError: it is empty, or no format that is read here; the message says what it looks like.
    """
    head = stream.read(_HEAD)
    if not head:
        raise ImageError("the file is empty; copy or download it again")
    text = head.decode("latin-1")
    for pattern, kind in _SIGNATURES:
        if re.match(pattern, text, re.DOTALL):
            return kind
    for pattern, what in _OTHERS:
        if re.match(pattern, text, re.DOTALL):
            raise ImageError(f"it is {what}")
    if "\0" not in text:
        if re.search(r"<svg[\s>]", text, re.IGNORECASE):
            raise ImageError("it is an SVG, a drawing without pixels; export it as PNG")
        if re.match(r"\s*<(!doctype html|html)", text, re.IGNORECASE):
            raise ImageError("it is a web page, not a picture; download the picture itself")
        if not re.search(r"[\x01-\x08\x0e-\x1a\x1c-\x1f]", text):
            raise ImageError("it holds text, not a picture; name a PNG, JPEG, WebP, BMP, GIF or TIFF file")
    raise ImageError("it is no picture that can be read; name a PNG, JPEG, WebP, BMP, GIF or TIFF file")


def _read_tiff(stream: BinaryIO, source: str | bytes, bands: Sequence[int] | None, max_pixels: int) -> Reading:
    """Decode a TIFF with Pillow where it is plain, otherwise with rasterio.

    Raises:
        NeedsRasterio: Pillow cannot read it as it is, and rasterio is not installed.
    """
    from rsagent.pictures import read_picture
    from rsagent.pixels import check_size
    from rsagent.rasters import NeedsRasterio, rasterio_or_none, read_layout, read_raster

    layout = read_layout(stream)
    plain = layout.simple and not layout.georeferenced and layout.width * layout.height <= max_pixels
    rasterio = None if plain or layout.colour_model else rasterio_or_none()
    if rasterio is not None:
        reading = read_raster(rasterio, _for_rasterio(source), layout, bands, max_pixels)
    else:
        advice = "make it smaller, pip install 'rsagent[geo]' to read it reduced,"
        check_size(layout.width, layout.height, max_pixels, advice)
        if not layout.shown_by_pillow(bands) and not layout.colour_model:
            raise NeedsRasterio(f"a TIFF of {layout.samples} x {layout.dtype} in this form")
        reading = read_picture(stream, "TIFF", bands, max_pixels)
        reading.bands, reading.dtype, reading.nodata = layout.samples, layout.dtype, layout.nodata_by_pillow
        if layout.orientation in range(2, 9):
            reading.notes.append(f"turned upright (orientation {layout.orientation})")
        if layout.georeferenced:
            reading.format = "GTiff"
            reading.notes.append("its coordinate system was not read: pip install 'rsagent[geo]'")
    if layout.pages > 1:
        reading.notes.append(f"{layout.pages} pages: the first was read")
    return reading


def _for_rasterio(source: str | bytes) -> str | bytes:
    """An absolute path, which no prefix such as /vsizip/ or zip:// can be read into; bytes where it is no UTF-8."""
    if isinstance(source, bytes):
        return source
    absolute = os.path.abspath(source)
    try:
        absolute.encode("utf-8")
    except UnicodeEncodeError:
        return Path(source).read_bytes()
    return absolute


def _read_object(source: Any, bands: Sequence[int] | None, max_pixels: int) -> tuple[Reading, str]:
    """Take a Pillow image or an array as it is; the digest is that of its samples."""
    import numpy as np
    from PIL.Image import Image

    from rsagent.pictures import from_pillow, orientation_of
    from rsagent.pixels import Reading, check_size, choose_bands

    if isinstance(source, Image):
        check_size(*source.size, max_pixels)
        reading = from_pillow(source, bands)
        reading.orientation = orientation_of(source)
        label = f"{source.mode} {source.size} {reading.orientation}"
    elif isinstance(source, np.ndarray):
        array = cast("NDArray[Any]", source)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ImageError(f"an array must be (height, width, 3) uint8, not {array.shape} {array.dtype}; convert it")
        check_size(array.shape[1], array.shape[0], max_pixels)
        notes: list[str] = []
        values = array[..., choose_bands(3, bands, None, notes)]
        reading = Reading(values, None, array.shape[1], array.shape[0], 3, "uint8", "array", notes=notes)
        label = f"array {array.shape}"
    else:
        raise ImageError(f"{type(source).__name__} is no picture; give a path, bytes, a Pillow image or an array")
    digest = hashlib.sha256(label.encode())
    for part in (reading.values, reading.alpha):
        if part is not None:
            digest.update(np.ascontiguousarray(part).data)
    return reading, digest.hexdigest()


def _finished(reading: Reading, digest: str, name: str, bands: Sequence[int] | None) -> LoadedImage:
    """Make RGB of what was read, and write down the facts."""
    from rsagent.pixels import to_rgb

    rgb = to_rgb(reading)
    way = "" if bands is None else f"bands {','.join(str(band) for band in bands)}"
    way += f" reduced to {rgb.shape[1]} x {rgb.shape[0]}" if reading.reduced else ""
    turned = reading.orientation in range(5, 9)
    facts = ImageFacts(
        sha256=hashlib.sha256(f"{digest} {way}".encode()).hexdigest() if way else digest,
        name=name,
        width=reading.height if turned else reading.width,
        height=reading.width if turned else reading.height,
        bands=reading.bands,
        dtype=reading.dtype,
        format=reading.format,
        crs=reading.crs,
        gsd_m=reading.gsd_m,
        notes=reading.notes,
    )
    return LoadedImage(rgb, facts)

"""TIFF and GeoTIFF: what the tags say before anything is decoded, and reading through rasterio (extra `geo`).

Pillow reads the plain ones; what it would read wrongly or not at all (several bands of 16 bit or of floats, more than
four bands) and what carries a coordinate system goes through rasterio.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from rsagent.errors import ImageError
from rsagent.pixels import Reading, check_size, choose_bands, decoding, is_transparency, printable, quiet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PILLOW_LIMIT = 80_000_000
"""Pixels above which Pillow's own process-wide limit would interfere with a TIFF, so that rasterio has to read it."""

_WINDOWED = 16  # a raster without overviews may have this many times max_pixels: all of it has to be decoded
_EXTENT_CHECKED = 1 << 31  # pixels above which the list of tiles is too long to look at: only an overview may be read
_BLOCK_BYTES = 2 << 30  # a strip or tile is decoded whole, all its bands included
_GEO_TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transformation, geo keys
_ONE_BAND = {(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (16, 2), (32, 2), (32, 3)}  # bits, sample format: Pillow's exact
_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
_KINDS = {1: "uint", 2: "int", 3: "float", 4: "uint", 5: "complex_int", 6: "complex"}


class NeedsRasterio(Exception):
    """The file can only be read with rasterio, which is not installed; the message says what asks for it."""


@dataclass(frozen=True)
class Layout:
    """What the tags of a TIFF's first page say."""

    width: int
    height: int
    bits: tuple[int, ...]
    samples: int
    photometric: int
    sample_format: int
    extra: tuple[int, ...]
    orientation: int
    nodata: float | None
    georeferenced: bool
    decodable: bool
    pages: int

    @property
    def dtype(self) -> str:
        """Sample type, such as uint16."""
        return f"{_KINDS.get(self.sample_format, 'uint')}{self.bits[0]}"

    @property
    def colour_model(self) -> bool:
        """Whether the samples are ink or lightness rather than bands: CMYK and LAB, which Pillow knows best."""
        return self.photometric in (5, 8)

    @property
    def simple(self) -> bool:
        """Whether Pillow alone gives every band exactly as it is in the file."""
        if not self.decodable or self.width * self.height > PILLOW_LIMIT:
            return False
        if self.samples == 1 and self.photometric == 1 and len(self.bits) == 1:
            return (self.bits[0], self.sample_format) in _ONE_BAND
        whole = self.sample_format == 1 and set(self.bits) <= {1, 2, 4, 8}
        if self.samples == 1 and self.photometric in (0, 3):
            return whole
        colours = {0: 1, 1: 1, 2: 3, 5: 4, 6: 3, 8: 3}.get(self.photometric, 0)
        alpha = self.samples == colours + 1 and self.extra in ((1,), (2,)) and colours in (1, 3)
        return whole and set(self.bits) == {8} and (self.samples == colours or alpha)

    @property
    def nodata_by_pillow(self) -> float | None:
        """The nodata mark as it is among the samples Pillow gives: none in colours or in bits scaled to 0 to 255."""
        if self.nodata is None or self.photometric in (3, 5, 8) or self.bits[0] < 8:
            return None
        return 255 - self.nodata if self.photometric == 0 else self.nodata

    def shown_by_pillow(self, bands: Sequence[int] | None) -> bool:
        """Whether Pillow gives at least the bands to be shown: red, green and blue of four."""
        fourth = self.photometric == 2 and self.samples == 4 and self.extra == (0,) and set(self.bits) == {8}
        return self.simple or (fourth and self.decodable and (bands is None or max(bands, default=0) <= 3))


def read_layout(stream: BinaryIO) -> Layout:
    """Parse the tags of the first page; nothing is decoded.

    Raises:
        ImageError: the tags are damaged or cut short.
    """
    with decoding(), quiet():
        from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

        stream.seek(0)
        header = stream.read(8)
        header += stream.read(8) if 43 in header[2:4] else b""
        tags = ImageFileDirectory_v2(header)
        first = tags.next
        stream.seek(first)
        tags.load(stream)
        if 256 not in tags or 257 not in tags:
            raise ImageError("its directory is damaged or cut short; copy, download or export it again")
        samples = int(tags.get(277, 1))
        bits = _numbers(tags.get(258, 1))
        layout = Layout(
            width=int(tags[256]),
            height=int(tags[257]),
            bits=bits or (1,),
            samples=samples,
            photometric=int(tags.get(262, 1)),
            sample_format=(_numbers(tags.get(339, 1)) or (1,))[0],
            extra=_numbers(tags.get(338, ())),
            orientation=int(tags.get(274, 1)),
            nodata=_number(tags.get(42113)),
            georeferenced=any(tag in tags for tag in _GEO_TAGS),
            decodable=tags.get(259, 1) in COMPRESSION_INFO and tags.get(266, 1) == 1,
            pages=_pages(stream, header, first),
        )
        _check_extent(tags, layout, stream.seek(0, io.SEEK_END))
    return layout


def rasterio_or_none() -> Any:
    """The rasterio module, or None where it is not installed."""
    try:
        import rasterio
    except ImportError:
        return None
    return rasterio


def read_raster(rasterio: Any, source: str | bytes, layout: Layout, bands: Sequence[int] | None, max_pixels: int) -> Reading:
    """Decode the bands to be shown of a TIFF, at `source` (a path) or in it (bytes), reduced where it is too large.

    Raises:
        ImageError: damaged, cut short, too large even to be read reduced, or without the bands asked for.
    """
    with decoding():  # of a damaged file, any question to GDAL may fail, not only reading
        return _read_raster(rasterio, source, layout, bands, max_pixels)


def _read_raster(rasterio: Any, source: str | bytes, layout: Layout, bands: Sequence[int] | None, max_pixels: int) -> Reading:
    notes: list[str] = []
    with _opened(rasterio, source) as full:
        check_size(full.width, full.height, full.width * full.height)
        level, shape = _plan(full, max_pixels, notes)
        crs, gsd = _georeference(full)
        bands_there, dtype = int(full.count), str(full.dtypes[0])
        with _opened(rasterio, source, level) as dataset:
            values, alpha = _read(rasterio, dataset, layout, bands, shape, notes)
        nodata = None if full.nodata is None or layout.photometric == 3 else float(full.nodata)
        if layout.photometric == 0 and values.dtype.kind == "u":  # white is zero: a scan
            white = (1 << layout.bits[0]) - 1
            values, nodata = white - values, None if nodata is None else white - nodata
        width, height = int(full.width), int(full.height)
    return Reading(
        values=values,
        alpha=alpha,
        width=width,
        height=height,
        bands=bands_there,
        dtype=layout.dtype if dtype == "uint8" else dtype,
        format="GTiff" if layout.georeferenced else "TIFF",
        eight_bit=values.dtype == "uint8" and layout.bits[0] == 8,
        nodata=nodata,
        orientation=layout.orientation,
        reduced=shape != (height, width),
        crs=crs,
        gsd_m=gsd,
        notes=notes,
    )


@contextmanager
def _opened(rasterio: Any, source: str | bytes, level: int | None = None) -> Generator[Any]:
    """The dataset, or its overview `level`. Files beside it are ignored: its digest would not cover what they say."""
    options = {} if level is None else {"overview_level": level}
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"):
        with quiet():
            if isinstance(source, str):
                memory, dataset = None, rasterio.open(source, driver="GTiff", **options)
            else:
                memory = rasterio.MemoryFile(source)
                dataset = memory.open(driver="GTiff", **options)
        try:
            yield dataset
        finally:
            dataset.close()
            if memory is not None:
                memory.close()


def _plan(dataset: Any, max_pixels: int, notes: list[str]) -> tuple[int | None, tuple[int, int]]:
    """How to read: the overview level (None: full resolution) and the (height, width) that is read.

    Raises:
        ImageError: it is too large, and has no overview that is small enough.
    """
    width, height = int(dataset.width), int(dataset.height)
    if width * height <= max_pixels:
        return None, (height, width)
    for level, factor in enumerate(dataset.overviews(1)):
        shape = -(-height // factor), -(-width // factor)
        if shape[0] * shape[1] <= max_pixels:
            notes.append(f"read reduced: {shape[1]} x {shape[0]} of {width} x {height} pixels, from an overview")
            return level, shape
    if width * height > _WINDOWED * max_pixels:
        check_size(width, height, max_pixels, "cut out a part, or add overviews to it (gdaladdo),")
    factor = math.isqrt(width * height // max_pixels)
    while (shape := (-(-height // factor), -(-width // factor)))[0] * shape[1] > max_pixels:
        factor += 1
    notes.append(f"read reduced: {shape[1]} x {shape[0]} of {width} x {height} pixels, by averaging windows")
    return None, shape


def _read(
    rasterio: Any,
    dataset: Any,
    layout: Layout,
    bands: Sequence[int] | None,
    shape: tuple[int, int],
    notes: list[str],
) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """The bands to be shown, (height, width, 1 or 3), and what hides parts of them, (height, width) or None."""
    import numpy as np

    _check_block(rasterio, dataset)
    palette = layout.photometric == 3 and dataset.count == 1
    if palette and bands is not None:
        raise ImageError("bands cannot be chosen in a palette picture; leave them out")
    averaged = shape != (dataset.height, dataset.width) and not palette
    enums = rasterio.enums
    how = enums.Resampling.average if averaged else enums.Resampling.nearest

    def read(chosen: list[int]) -> NDArray[Any]:
        indexes = [band + 1 for band in chosen]
        return np.moveaxis(dataset.read(indexes, out_shape=(len(chosen), *shape), resampling=how), 0, 2)

    marked = [band for band, colour in enumerate(dataset.colorinterp) if colour == enums.ColorInterp.alpha]
    own_alpha, alpha = (marked[0] if marked else None), None
    if own_alpha is not None and not (bands is not None and own_alpha + 1 in bands):
        alpha = _as_alpha(read([own_alpha])[..., 0])
        if not is_transparency(alpha):
            notes.append(f"band {own_alpha + 1} is marked as alpha but holds a picture: not used as alpha")
            own_alpha = alpha = None
    chosen = choose_bands(int(dataset.count), bands, own_alpha, notes)
    if alpha is None and enums.MaskFlags.per_dataset in dataset.mask_flag_enums[chosen[0]] and not marked:
        alpha = dataset.read_masks(chosen[0] + 1, out_shape=shape)
    values = read(chosen)
    if palette:
        notes.append("palette expanded to RGB")
        values, alpha = _expand(values[..., 0], dataset.colormap(1), dataset.nodata)
    if np.iscomplexobj(values):
        notes.append("complex samples: their magnitude is shown")
        values = np.abs(values)
    return values, alpha


def _check_block(rasterio: Any, dataset: Any) -> None:
    """Refuse a file of which one strip or tile, which is decoded whole, would fill the memory."""
    rows, columns = dataset.block_shapes[0]
    together = int(dataset.count) if dataset.interleaving == rasterio.enums.Interleaving.pixel else 1
    if rows * columns * together * _item_bytes(str(dataset.dtypes[0])) > _BLOCK_BYTES:
        raise ImageError(f"one block of it is {columns} x {rows} pixels of {together} bands; save it in smaller tiles")


def _item_bytes(dtype: str) -> int:
    """Bytes of one sample, from a name such as float32 or complex_int16 (two of 16 bit)."""
    bits = int(re.sub(r"\D", "", dtype) or 8)
    return max(1, bits // 8) * (2 if dtype.startswith("complex_int") else 1)


def _as_alpha(band: NDArray[Any]) -> NDArray[np.uint8]:
    """An alpha band of any type as 0 to 255; beyond 8 bit any value above 0 is opaque."""
    import numpy as np

    return band if band.dtype == np.uint8 else np.where(band > 0, 255, 0).astype(np.uint8)


def _expand(
    indexes: NDArray[Any], colours: dict[int, tuple[int, int, int, int]], nodata: float | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Palette indexes (height, width) as RGB and alpha."""
    import numpy as np

    table = np.zeros((1 << (8 * indexes.dtype.itemsize), 4), dtype=np.uint8)
    for index, colour in colours.items():
        table[index] = colour if index != nodata else (0, 0, 0, 0)
    expanded = table[indexes]
    return expanded[..., :3], None if bool((expanded[..., 3] == 255).all()) else expanded[..., 3]


def _georeference(dataset: Any) -> tuple[str | None, float | None]:
    """The coordinate reference system in words, and metres a pixel at the picture's centre, where known."""
    with quiet():
        crs, transform = dataset.crs, dataset.transform
        if not crs:
            return None, None
        code = crs.to_epsg()
        named = re.match(r'\w+\["([^"]+)"', crs.to_wkt())
        name = f"EPSG:{code}" if code else printable(named.group(1) if named else "unnamed", 80)
        if transform.is_identity:
            return name, None
        size = math.sqrt(abs(transform.determinant))  # of a pixel, in the system's unit
        middle, row = dataset.width / 2, dataset.height / 2
        y = transform.d * middle + transform.e * row + transform.f
        if crs.is_geographic:
            gsd = size * _degree(y) * crs.units_factor[1] / math.radians(1)
        elif crs.is_projected:
            gsd = size * crs.linear_units_factor[1]
            if crs.to_dict().get("proj") in ("merc", "webmerc"):  # Mercator's metres grow with the latitude
                gsd *= 1 / math.cosh(y * crs.linear_units_factor[1] / 6_378_137)
        else:
            return name, None
    return name, float(f"{gsd:.6g}") if math.isfinite(gsd) and gsd > 0 else None


def _degree(latitude: float) -> float:
    """Metres of a degree at a latitude: geometric mean of along the meridian and along the parallel (WGS 84)."""
    phi = math.radians(max(-90.0, min(90.0, latitude)))
    radius, flattening = 6_378_137.0, 0.00669438
    bend = 1 - flattening * math.sin(phi) ** 2
    along_meridian = radius * (1 - flattening) / bend**1.5
    along_parallel = radius * math.cos(phi) / math.sqrt(bend)
    return math.radians(1) * math.sqrt(along_meridian * max(along_parallel, 0.0))


def _check_extent(tags: Any, layout: Layout, size: int) -> None:
    """Refuse a file that ends before its pixels do, which a decoder would notice late, or fill up in silence."""
    if layout.width * layout.height > _EXTENT_CHECKED:
        return
    offsets = _numbers(tags.get(273, tags.get(324, ())))
    lengths = _numbers(tags.get(279, tags.get(325, ())))
    if not offsets:
        raise ImageError("its directory is damaged or cut short; copy, download or export it again")
    pairs = list(zip(offsets, lengths, strict=False))
    end = max((start + length for start, length in pairs), default=max(offsets))
    expected = 0
    if tags.get(259, 1) == 1 and lengths and all(start and length for start, length in pairs):  # else compressed, sparse
        expected = layout.height * (layout.width * layout.samples * layout.bits[0] // 8)
    if end > size or sum(lengths) < expected:
        missing = max(end - size, expected - sum(lengths))
        raise ImageError(f"it is cut short, {missing} bytes of its pixels are missing; copy or download it again")


def _pages(stream: BinaryIO, header: bytes, first: int) -> int:
    """How many pictures the file holds, overviews and masks not counted; counting stops at a hundred directories."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    seen: set[int] = set()
    pages, offset = 0, first
    while offset and offset not in seen and len(seen) < 100:
        seen.add(offset)
        tags = ImageFileDirectory_v2(header)
        stream.seek(offset)
        tags.next = 0
        tags.load(stream)
        pages += 256 in tags and not int(tags.get(254, 0)) & _REDUCED_OR_MASK
        offset = tags.next
    return pages


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else (int(value),)


def _number(value: Any) -> float | None:
    """GDAL's nodata tag, which is text; None where it is absent or no number."""
    try:
        return None if value is None else float(str(value).strip("\0 "))
    except ValueError:
        return None

"""Pictures of every kind, good and bad, through `load_image` and `find_images`."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from rsagent.errors import EngineError, ImageError, MissingExtra
from rsagent.imagery import LoadedImage, find_images, load_image

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


# ---------------------------------------------------------------------------------------------------- eight bit


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_every_format_gives_the_picture_and_its_facts(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"scene.{form.lower()}"
    path.write_bytes(encoded(SCENE, form, **({"lossless": True} if form == "WEBP" else {})))
    loaded = load_image(path)
    assert loaded.rgb.dtype == np.uint8 and loaded.rgb.flags.c_contiguous and loaded.rgb.flags.writeable
    difference = np.abs(loaded.rgb.astype(int) - scene())
    assert difference.mean() < (4 if form == "JPEG" else 0.01)
    facts = loaded.facts
    assert (facts.format, facts.name, facts.width, facts.height) == (form, path.name, WIDTH, HEIGHT)
    assert (facts.dtype, facts.bands) == ("uint8", 1 if form == "GIF" else 3)
    assert facts.crs is None and facts.gsd_m is None


def test_digest_is_of_the_bytes_and_of_the_bands(tmp_path: Path) -> None:
    import hashlib

    data = encoded(SCENE, "PNG")
    (tmp_path / "a.png").write_bytes(data)
    plain = load_image(tmp_path / "a.png").facts.sha256
    assert plain == hashlib.sha256(data).hexdigest() == load_image(data, name="other").facts.sha256
    turned = load_image(data, bands=(3, 2, 1)).facts.sha256
    assert len({plain, turned, load_image(data, bands=(1, 2, 3)).facts.sha256, load_image(data, bands=[1]).facts.sha256}) == 4


def test_bands_of_a_picture_can_be_chosen() -> None:
    data = encoded(SCENE, "PNG")
    loaded = load_image(data, bands=(3, 2, 1))
    assert np.array_equal(loaded.rgb, scene()[..., ::-1]) and said(loaded, "bands 3, 2, 1")
    grey = load_image(data, bands=[2]).rgb
    assert np.array_equal(grey, np.repeat(scene()[..., 1:2], 3, axis=2))
    assert "no band 4" in refused(data, bands=(4, 3, 2)) and "bands 1 to 3" in refused(data, bands=(4, 3, 2))
    assert "no band 0" in refused(data, bands=[0])
    assert "2 bands were chosen" in refused(data, bands=(1, 2))
    assert "palette" in refused(encoded(SCENE.convert("P"), "PNG"), bands=[1])


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_colour_modes(mode: str) -> None:
    image = SCENE.convert(mode)
    form = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    loaded = load_image(encoded(image, form))
    assert np.abs(loaded.rgb.astype(int) - np.asarray(image.convert("RGB"))).max() <= 1
    assert said(loaded, {"P": "palette", "CMYK": "CMYK"}.get(mode, "^$")) == (mode in ("P", "CMYK"))
    assert loaded.facts.dtype == ("uint1" if mode == "1" else "uint8")


def test_cmyk_jpeg() -> None:
    loaded = load_image(encoded(SCENE.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(loaded.rgb.astype(int) - scene()).mean() < 6 and loaded.facts.bands == 4


@pytest.mark.parametrize(("mode", "form"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF")])
def test_alpha_is_blended_on_black_and_said(mode: str, form: str) -> None:
    image = SCENE.convert(mode)
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, :5], alpha[:, 5:7] = 0, 128
    image.putalpha(Image.fromarray(alpha))
    loaded = load_image(encoded(image, form, **({"lossless": True} if form == "WEBP" else {})))
    expected = np.asarray(SCENE.convert(mode[:-1]).convert("RGB"))
    assert (loaded.rgb[:, :5] == 0).all()
    assert np.abs(loaded.rgb[:, 5:7].astype(float) - expected[:, 5:7] * (128 / 255)).max() <= 1
    assert np.array_equal(loaded.rgb[:, 7:], expected[:, 7:])
    assert said(loaded, "alpha blended on black") and said(loaded, "transparent")
    assert loaded.facts.bands == len(mode)
    assert "no pixel" in refused(encoded(Image.new("RGBA", (4, 4)), "PNG"))


def test_alpha_asked_for_as_a_band_is_a_band() -> None:
    image = SCENE.convert("RGBA")
    image.putalpha(77)
    assert (load_image(encoded(image, "PNG"), bands=[4]).rgb == 77).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_colour_key_transparency(mode: str) -> None:
    image = Image.new("RGB", (6, 4), (204, 204, 204)).convert(mode)
    image.paste(Image.new("RGB", (3, 4), (102, 102, 102)).convert(mode), (0, 0))
    key = image.getpixel((5, 0))
    loaded = load_image(encoded(image, "PNG", transparency=key))
    assert (loaded.rgb[:, 3:] == 0).all() and (loaded.rgb[:, :3] == 102).all()


def test_animation_gives_its_first_frame() -> None:
    second = Image.fromarray(255 - scene())
    for form in ("GIF", "WEBP", "PNG"):
        data = encoded(SCENE, form, save_all=True, append_images=[second])
        loaded = load_image(data)
        assert np.abs(loaded.rgb.astype(int) - scene()).mean() < 5, form
        assert said(loaded, "animated: the first frame"), form
    assert not said(load_image(encoded(SCENE, "GIF")), "animated")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(SCENE, form, exif=exif, **({"quality": 100} if form != "TIFF" else {}))
    loaded = load_image(data)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.array_equal(loaded.rgb, upright)
    assert loaded.rgb.shape == (loaded.facts.height, loaded.facts.width, 3)
    assert said(loaded, "upright") == (orientation > 1)


def test_one_pixel() -> None:
    for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"):
        assert load_image(encoded(Image.new("RGB", (1, 1), (128, 128, 128)), form)).rgb.shape == (1, 1, 3)


def test_pages_of_a_tiff_are_said() -> None:
    loaded = load_image(encoded(SCENE, "TIFF", save_all=True, append_images=[SCENE.rotate(90), SCENE]))
    assert np.array_equal(loaded.rgb, scene()) and said(loaded, "3 pages")


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiff(compression: str) -> None:
    loaded = load_image(encoded(SCENE, "TIFF", compression=compression))
    assert np.abs(loaded.rgb.astype(int) - scene()).mean() < (8 if compression == "jpeg" else 0.01)


def test_jpeg_in_tiff_with_ycbcr(tmp_path: Path) -> None:
    smooth = np.stack([np.full((64, 64), value, np.uint8) for value in (30, 120, 220)])
    path = raster(tmp_path / "a.tif", smooth, compress="jpeg", photometric="ycbcr")
    loaded = load_image(path)
    assert np.abs(loaded.rgb.astype(int) - (30, 120, 220)).max() <= 3 and loaded.facts.bands == 3


def test_uc_merced_tiles_decode_as_another_decoder_reads_them() -> None:
    folder = Path(os.environ.get("RSAGENT_DATA", ""), "UCM_captions", "imgs")
    if not os.environ.get("RSAGENT_DATA") or not folder.is_dir():
        pytest.skip("needs UC Merced: set RSAGENT_DATA to the folder of the data sets")
    rasterio = pytest.importorskip("rasterio")
    for path in find_images(folder)[:10]:
        loaded = load_image(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path) as dataset:
                other = np.moveaxis(dataset.read(), 0, 2)
        assert np.abs(loaded.rgb.astype(int) - other).max() <= 2, path.name
        assert loaded.facts.format == "TIFF" and not loaded.facts.notes


# ---------------------------------------------------------------------------------- deeper than eight bit, stretch


def test_deep_grey_png_is_stretched_and_says_so() -> None:
    values = np.linspace(200, 1800, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    values[0, :3] = 65535  # outliers must not darken the rest
    loaded = load_image(encoded(Image.fromarray(values), "PNG"))
    assert loaded.facts.dtype == "uint16" and said(loaded, r"percentiles 2 to 98, 23\d to 17\d\d")
    assert loaded.rgb.min() == 0 and loaded.rgb.max() == 255 and 115 < loaded.rgb.mean() < 140
    assert (np.diff(loaded.rgb[2:, :, 0].ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_deep_colour_png_keeps_all_sixteen_bits(colour_type: int) -> None:
    import struct
    import zlib

    channels = {2: 3, 4: 2, 6: 4}[colour_type]
    values = np.moveaxis(ramp(channels, low=1000, high=1255), 0, 2)  # eight bits would leave one shade of it
    if channels in (2, 4):
        values[..., -1] = 65535
        values[:, :4, -1] = 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    loaded = load_image(data)
    assert (loaded.facts.dtype, loaded.facts.bands) == ("uint16", channels)
    shown = loaded.rgb[:, 4:] if channels in (2, 4) else loaded.rgb
    assert len(np.unique(shown)) > 150
    if channels in (2, 4):
        assert (loaded.rgb[:, :4] == 0).all() and said(loaded, "transparent")


def test_stretch_is_of_the_picture_not_of_each_band(tmp_path: Path) -> None:
    samples = ramp(3)
    samples[2] //= 4  # a dark band stays dark
    rgb = load_image(raster(tmp_path / "a.tif", samples)).rgb
    assert rgb[..., 0].mean() > 2.5 * rgb[..., 2].mean()


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "complex64"])
@pytest.mark.parametrize("bands", [1, 3])
def test_sample_types(dtype: str, bands: int, tmp_path: Path) -> None:
    high = 120 if dtype == "int8" else 3000
    loaded = load_image(raster(tmp_path / "a.tif", ramp(bands, dtype, low=1, high=high)))
    assert loaded.facts.dtype == dtype and loaded.facts.bands == bands
    assert said(loaded, "stretched") and 115 < loaded.rgb.mean() < 140 and loaded.rgb.min() == 0


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_big_endian(dtype: str, tmp_path: Path) -> None:
    little = load_image(raster(tmp_path / "a.tif", ramp(3, dtype)))
    for bands, name in ((ramp(3, dtype), "b.tif"), (ramp(1, dtype), "c.tif")):
        path = raster(tmp_path / name, bands, ENDIANNESS="BIG")
        assert path.read_bytes()[:2] == b"MM"
        reference = raster(tmp_path / "r.tif", bands)
        assert np.array_equal(load_image(path).rgb, load_image(reference).rgb)
    assert np.array_equal(load_image(tmp_path / "b.tif").rgb, little.rgb)


def test_flat_and_nearly_flat_pictures(tmp_path: Path) -> None:
    flat = np.full((1, 8, 8), 7, np.uint16)
    loaded = load_image(raster(tmp_path / "a.tif", flat))
    assert (loaded.rgb == 128).all() and said(loaded, "one value everywhere")
    flat[0, 3, 3] = 900
    rgb = load_image(raster(tmp_path / "b.tif", flat)).rgb
    assert rgb[3, 3, 0] == 255 and rgb[0, 0, 0] == 0
    extreme = np.array([[[-1.7e308, 1.7e308], [0.0, 5e-324]]])
    assert load_image(raster(tmp_path / "c.tif", extreme)).rgb[0, :, 0].tolist() == [0, 255]


def test_bits_below_eight(tmp_path: Path) -> None:
    mask = (ramp(1) > 1500).astype(np.uint8)
    rgb = load_image(raster(tmp_path / "a.tif", mask, nbits=1, **placed("EPSG:32632", 5e5, 5e6, 10))).rgb
    assert np.array_equal(rgb[..., 0], mask[0] * 255)


# ------------------------------------------------------------------------------------- bands, holes, where it is


def test_more_than_three_bands(tmp_path: Path) -> None:
    samples = ramp(6)
    path = raster(tmp_path / "a.tif", samples)
    first = load_image(path)
    assert said(first, "6 bands: 1, 2, 3 shown") and first.facts.bands == 6
    assert np.array_equal(first.rgb, load_image(raster(tmp_path / "b.tif", samples[:3])).rgb)
    chosen = load_image(path, bands=(6, 4, 2))
    assert np.array_equal(chosen.rgb, load_image(raster(tmp_path / "c.tif", samples[[5, 3, 1]])).rgb)
    assert "no band 7" in refused(path, bands=(7, 1, 2))


def test_two_bands(tmp_path: Path) -> None:
    samples = ramp(2, "float32")
    loaded = load_image(raster(tmp_path / "a.tif", samples))
    assert said(loaded, "2 bands: band 1 shown as grey")
    assert np.array_equal(loaded.rgb, load_image(raster(tmp_path / "b.tif", samples[:1])).rgb)


def test_near_infrared_marked_as_alpha_is_not_alpha(tmp_path: Path) -> None:
    samples = ramp(4, "uint8", low=1, high=254)
    for name, place in (("a.tif", {}), ("b.tif", placed("EPSG:32632", 5e5, 5e6, 10))):
        path = raster(tmp_path / name, samples, photometric="rgb", alpha="yes", **place)
        loaded = load_image(path)
        assert np.array_equal(loaded.rgb, np.moveaxis(samples[:3], 0, 2)) and said(loaded, "marked as alpha")
        assert np.array_equal(load_image(path, bands=(4, 3, 2)).rgb, np.moveaxis(samples[[3, 2, 1]], 0, 2))


def test_alpha_and_mask_of_a_geotiff(tmp_path: Path) -> None:
    place = placed("EPSG:32632", 5e5, 5e6, 10)
    hole = np.full((HEIGHT, WIDTH), 255, np.uint8)
    hole[:, :9] = 0
    white = np.full((3, HEIGHT, WIDTH), 250, np.uint8)
    with_alpha = raster(tmp_path / "a.tif", np.concatenate([white, hole[None]]), alpha="yes", **place)
    with_mask = raster(tmp_path / "b.tif", white, mask=hole, **place)
    for path in (with_alpha, with_mask):
        loaded = load_image(path)
        assert (loaded.rgb[:, :9] == 0).all() and (loaded.rgb[:, 9:] == 250).all() and said(loaded, "25 %")


def test_nan_and_infinity_beside_good_pixels(tmp_path: Path) -> None:
    samples = ramp(3, "float32")
    clean = load_image(raster(tmp_path / "a.tif", samples)).rgb
    samples[:, :6], samples[0, 6, 0], samples[1, 6, 1] = np.nan, np.inf, -np.inf
    loaded = load_image(raster(tmp_path / "b.tif", samples))
    assert (loaded.rgb[:6] == 0).all() and loaded.rgb[6, 0, 0] == 0 and said(loaded, "25 % of it holds no data")
    assert np.corrcoef(loaded.rgb[8:].ravel(), clean[8:].ravel())[0, 1] > 0.99
    assert "no pixel holds data" in refused(raster(tmp_path / "c.tif", samples * np.float32("nan")))


def test_nodata(tmp_path: Path) -> None:
    samples = ramp(3, "int16")
    samples[:, :, :9] = -9999
    path = raster(tmp_path / "a.tif", samples, nodata=-9999)
    loaded = load_image(path)
    assert (loaded.rgb[:, :9] == 0).all() and said(loaded, "25 % of it holds no data")
    assert loaded.rgb[:, 9:].min() == 0 and 115 < loaded.rgb[:, 9:].mean() < 140
    samples[:] = -9999
    assert "no pixel holds data" in refused(raster(tmp_path / "b.tif", samples, nodata=-9999))
    black = np.zeros((3, 8, 8), np.uint8)
    assert "no pixel holds data" in refused(raster(tmp_path / "c.tif", black, nodata=0))


def test_eight_bit_nodata_is_a_hole_only_where_every_band_says_so(tmp_path: Path) -> None:
    samples = np.full((3, 4, 4), 255, np.uint8)
    samples[1, 0, 0] = 10
    samples[:, 3] = 40
    rgb = load_image(raster(tmp_path / "a.tif", samples, nodata=255)).rgb
    assert rgb[0, 0].tolist() == [255, 10, 255] and (rgb[1] == 0).all() and (rgb[3] == 40).all()


def test_scan_in_which_zero_is_white(tmp_path: Path) -> None:
    samples = ramp(1, "uint8", low=1, high=250)
    samples[0, 0] = 0
    for name, place in (("a.tif", {}), ("b.tif", placed("EPSG:32632", 5e5, 5e6, 10))):
        path = raster(tmp_path / name, samples, photometric="miniswhite", nodata=0, **place)
        rgb = load_image(path).rgb
        assert (rgb[0] == 0).all() and np.array_equal(rgb[1:, :, 0], 255 - samples[0, 1:])


@pytest.mark.parametrize(
    ("crs", "west", "north", "step", "metres"),
    [
        ("EPSG:32632", 5e5, 5e6, 10, 10.0),
        ("EPSG:2263", 9e5, 2e5, 1, 0.3048),  # US survey feet
        ("EPSG:4326", 10, 0.0018, 1e-4, 11.09),  # at the equator
        ("EPSG:4326", 10, 60, 1e-4, 7.887),  # a degree of longitude is half as long here
        ("EPSG:3857", 0, 8_399_738, 1, 0.5),  # web Mercator at 60 degrees
    ],
)
def test_coordinate_system_and_ground_sample_distance(
    crs: str, west: float, north: float, step: float, metres: float, tmp_path: Path
) -> None:
    path = raster(tmp_path / "a.tif", ramp(3, "uint8", high=250), **placed(crs, west, north, step))
    facts = load_image(path).facts
    assert (facts.crs, facts.format) == (crs, "GTiff") and facts.gsd_m == pytest.approx(metres, rel=2e-3)
    assert load_image(path.read_bytes()).facts.gsd_m == facts.gsd_m


def test_a_system_without_a_code_is_named(tmp_path: Path) -> None:
    place = placed("+proj=laea +lat_0=41 +lon_0=13 +units=m", 0, 0, 3)
    facts = load_image(raster(tmp_path / "a.tif", ramp(1), **place)).facts
    assert facts.crs and facts.crs.isprintable() and len(facts.crs) <= 80 and facts.gsd_m == 3.0


def test_geotiff_palette(tmp_path: Path) -> None:
    indexes = (ramp(1) > 1500).astype(np.uint8)
    place = placed("EPSG:32632", 5e5, 5e6, 10)
    colours = {0: (10, 200, 30, 255), 1: (250, 0, 99, 255)}
    path = raster(tmp_path / "a.tif", indexes, colours=colours, photometric="palette", **place)
    loaded = load_image(path)
    expected = np.array([colours[0][:3], colours[1][:3]])[indexes[0]]
    assert np.array_equal(loaded.rgb, expected) and said(loaded, "palette") and loaded.facts.bands == 1
    assert "palette" in refused(path, bands=[1])
    path = raster(tmp_path / "b.tif", indexes, colours=colours, photometric="palette", nodata=0, **place)
    assert np.array_equal(load_image(path).rgb, expected * indexes[0][..., None])


def test_orientation_of_a_georeferenced_tiff() -> None:
    pytest.importorskip("rasterio")
    tags = ImageFileDirectory_v2()
    tags[274], tags[33550], tags[33922] = 6, (10.0, 10.0, 0.0), (0.0, 0.0, 0.0, 5e5, 5e6, 0.0)
    for tag in (33550, 33922):
        tags.tagtype[tag] = 12
    loaded = load_image(encoded(SCENE, "TIFF", tiffinfo=tags))
    assert np.array_equal(loaded.rgb, np.rot90(scene(), -1)) and said(loaded, "upright")
    assert (loaded.facts.width, loaded.facts.height, loaded.facts.format) == (HEIGHT, WIDTH, "GTiff")


def test_files_beside_the_picture_change_nothing(tmp_path: Path) -> None:
    """The digest covers the picture's bytes alone, so nothing else may decide what is read."""
    path = raster(tmp_path / "a.tif", ramp(3), **placed("EPSG:32632", 5e5, 5e6, 10))
    before = load_image(path)
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:4326</SRS><PAMRasterBand band='1'><NoDataValue>100</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    after = load_image(path)
    assert before.facts == after.facts and np.array_equal(before.rgb, after.rgb)


# --------------------------------------------------------------------------------------------------------- sizes


def test_size_is_refused_before_decoding() -> None:
    for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF"):
        line = refused(encoded(SCENE, form), max_pixels=HEIGHT * WIDTH - 1)
        assert f"{WIDTH} x {HEIGHT}" in line and "max_pixels" in line
        assert load_image(encoded(SCENE, form), max_pixels=HEIGHT * WIDTH).rgb.shape == (HEIGHT, WIDTH, 3)


def bomb(form: str) -> bytes:
    """A few hundred bytes that claim 30,000 x 30,000 pixels."""
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    side = 30_000
    if form == "PNG":
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    data = bytearray(encoded(SCENE, form))
    if form == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif form == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    elif form == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    elif form == "WEBP":
        at = data.index(b"\x9d\x01\x2a") + 3
        data[at : at + 4] = struct.pack("<HH", 16383, 16383)
    return bytes(data)


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "JPEG", "WEBP"])
def test_decompression_bomb(form: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line = refused(bomb(form))
    assert "megapixels" in line or "more pixels than" in line


def test_a_raised_limit_needs_no_change_of_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # as if the picture were far above Pillow's limit
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in ("PNG", "JPEG", "BMP"):
            assert load_image(encoded(SCENE, form)).rgb.shape == (HEIGHT, WIDTH, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_large_tiff_is_read_reduced_by_windows(tmp_path: Path) -> None:
    samples = np.kron(ramp(3), np.ones((1, 4, 4), np.uint16))
    path = raster(tmp_path / "a.tif", samples, tiled=True, blockxsize=16, blockysize=16)
    whole, reduced = load_image(path), load_image(path, max_pixels=HEIGHT * WIDTH)
    assert reduced.rgb.shape == (HEIGHT, WIDTH, 3) and said(reduced, f"read reduced: {WIDTH} x {HEIGHT} of 144 x 96")
    assert (reduced.facts.width, reduced.facts.height) == (144, 96)
    assert np.abs(reduced.rgb.astype(int) - whole.rgb[1::4, 1::4]).max() <= 2
    assert reduced.facts.sha256 != whole.facts.sha256


def test_large_tiff_is_read_reduced_by_an_overview(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    samples = np.zeros((1, 512, 512), np.uint8) + 90
    path = raster(tmp_path / "a.tif", samples, tiled=True, blockxsize=128, blockysize=128, **placed("EPSG:32632", 0, 0, 2))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8], rasterio.enums.Resampling.average)
    loaded = load_image(path, max_pixels=100 * 100)
    assert loaded.rgb.shape == (64, 64, 3) and (loaded.rgb == 90).all() and said(loaded, "from an overview")
    assert loaded.facts.gsd_m == 2.0 and not said(loaded, "pages")


def test_tiff_too_large_even_for_windows(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "a.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rasterio.open(
            path, "w", driver="GTiff", height=60_000, width=60_000, count=3, dtype="uint8", tiled=True,
            blockxsize=4096, blockysize=4096, SPARSE_OK=True,
        ).close()  # fmt: skip
    assert "overviews" in refused(path)
    assert "megapixels" in refused(path, max_pixels=10)
    rasterio.open(
        tmp_path / "b.tif", "w", driver="GTiff", height=20_000, width=20_000, count=3, dtype="float64",
        compress="deflate", blockysize=20_000, interleave="pixel", SPARSE_OK=True, BIGTIFF="YES",
        **placed("EPSG:32632", 0, 0, 2),
    ).close()  # fmt: skip
    assert "smaller tiles" in refused(tmp_path / "b.tif")


# ------------------------------------------------------------------------------------------------ without rasterio


def test_without_rasterio_what_pillow_reads_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placed("EPSG:32632", 5e5, 5e6, 10)
    samples = ramp(4, "uint8", high=250)
    colour = raster(tmp_path / "a.tif", samples[:3], **place)
    infrared = raster(tmp_path / "b.tif", samples, photometric="rgb", alpha="no", **place)
    depth = raster(tmp_path / "c.tif", np.where(ramp(1, "int16") < 300, -9999, ramp(1, "int16")), nodata=-9999)
    with_it = [load_image(path) for path in (colour, infrared, depth)]
    monkeypatch.setitem(sys.modules, "rasterio", None)
    without = [load_image(path) for path in (colour, infrared, depth)]
    for one, other in zip(with_it, without, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert one.facts.sha256 == other.facts.sha256 and one.facts.dtype == other.facts.dtype
        assert one.facts.bands == other.facts.bands and one.facts.format == other.facts.format
    assert without[0].facts.crs is None and said(without[0], r"pip install 'rsagent\[geo\]'")


def test_without_rasterio_what_only_it_reads_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep, five = raster(tmp_path / "a.tif", ramp(3)), raster(tmp_path / "b.tif", ramp(5, "uint8", high=250))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    for path in (deep, five):
        with pytest.raises(MissingExtra, match=r"pip install 'rsagent\[geo\]'") as caught:
            load_image(path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    assert "rsagent[geo]" in refused(encoded(SCENE, "TIFF"), max_pixels=10)


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is a note about a harbour\n", "text"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>', "SVG"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\x89HDF\r\n\x1a\n\0\0", "HDF"),
        (b"PK\x03\x04\x14\0", "ZIP"),
        (bytes(range(256)), "no picture"),
    ],
)
def test_what_is_no_picture(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "harbour.png"
    path.write_bytes(content)
    line = refused(path)
    assert reason in line and "harbour.png" in line
    assert reason in refused(content)


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP", "GIF", "BMP"])
def test_truncated(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = encoded(noise, form)
    for share in (0.999, 0.9, 0.5, 0.1):
        refused(data[: int(len(data) * share) - (form in ("JPEG", "PNG", "GIF")) * 20])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", ["tiff_deflate", "tiff_lzw", "jpeg", None])
def test_truncated_tiff_makes_no_noise(compression: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = encoded(noise, "TIFF", compression=compression)
    for share in (0.95, 0.7, 0.3):
        assert "cut short" in refused(data[: int(len(data) * share)])
    assert capfd.readouterr() == ("", "")


def test_truncated_geotiff(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for compress in ("none", "deflate"):
        samples = np.random.default_rng(0).integers(0, 4000, (5, 64, 64)).astype(np.uint16)
        path = raster(tmp_path / "a.tif", samples, compress=compress, **placed("EPSG:32632", 5e5, 5e6, 10))
        data = path.read_bytes()
        for share in (0.99, 0.6, 0.05):
            assert "cut short" in refused(data[: int(len(data) * share)])
    assert capfd.readouterr() == ("", "")


def test_a_tiff_that_claims_more_than_it_holds() -> None:
    """An uncompressed picture whose header was made taller is cut short, not black below."""
    data = encoded(SCENE, "TIFF")
    tags = Image.open(io.BytesIO(data)).tag_v2
    at = data.index((257).to_bytes(2, "little"), tags.offset or 8)
    assert "cut short" in refused(data[: at + 8] + (HEIGHT * 9).to_bytes(4, "little") + data[at + 12 :])


def test_pictures_without_pixels() -> None:
    gif, bmp = bytearray(encoded(SCENE, "GIF")), bytearray(encoded(SCENE, "BMP"))
    bmp[18:26] = bytes(8)
    gif[6:10] = bytes(4)
    frame = gif.index(b"\x2c")
    gif[frame + 5 : frame + 9] = bytes(4)
    for data in (bytes(bmp), bytes(gif), encoded(SCENE, "PNG")[:16] + bytes(17)):
        refused(data)
    refused(np.zeros((0, 4, 3), np.uint8))
    refused(Image.new("RGB", (0, 5)))
    assert "no pixels" in refused(bytes(bmp))


def test_what_a_path_may_not_be(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing.png")
    assert "no such file" in refused(str(tmp_path / "missing" / "a.png"))
    assert "folder" in refused(tmp_path)
    for url in ("https://example.org/a.png", "http://example.org/a.png", "s3://bucket/a.tif", "file:///etc/hosts"):
        assert "only local files" in refused(url)
    refused("a\0b.png")
    refused("a" * 5000)
    refused("")
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe" in refused(tmp_path / "pipe.png")
    assert "int" in refused(3)
    assert "uint8" in refused(np.zeros((4, 4), np.uint8)) and "float32" in refused(np.zeros((4, 4, 3), np.float32))


def test_no_permission(tmp_path: Path) -> None:
    """In a process of its own, which gives root's rights up where it has them."""
    path = tmp_path / "a.png"
    path.write_bytes(encoded(SCENE, "PNG"))
    path.chmod(0)
    program = (
        "import os, sys\nfrom rsagent import imagery, pixels, rasters\nfrom rsagent.errors import ImageError\n"
        "os.geteuid() == 0 and os.seteuid(65534)\n"
        "try: imagery.load_image(sys.argv[1])\nexcept ImageError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    if not ran.stdout:
        pytest.skip("permissions cannot be enforced here")
    assert "no permission" in ran.stdout and ran.stdout.count("\n") == 1


def test_control_characters_of_a_name_reach_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\n\u202eb\udc80.png"
    path.write_bytes(b"some words")
    assert r"\x1b[31m\n\u202eb\udc80.png" in refused(path)
    path.write_bytes(encoded(SCENE, "PNG"))
    assert load_image(path).facts.name.isprintable()
    assert load_image(encoded(SCENE, "PNG"), name="x\x07y").facts.name == r"x\x07y"
    raster(tmp_path / "plain.tif", ramp(3)).rename(tmp_path / "b\udc80\n.tif")
    assert load_image(tmp_path / "b\udc80\n.tif").facts.bands == 3


def test_a_long_name_is_cut() -> None:
    assert len(refused("x/" * 3000)) < 400


# ----------------------------------------------------------------------------------------------- objects, folders


def test_pillow_images_and_arrays() -> None:
    assert np.array_equal(load_image(scene()).rgb, scene()) and np.array_equal(load_image(SCENE).rgb, scene())
    assert np.array_equal(load_image(SCENE.convert("P")).rgb, np.asarray(SCENE.convert("P").convert("RGB")))
    assert load_image(scene()).facts.sha256 == load_image(scene().copy()).facts.sha256
    assert load_image(scene()).facts.sha256 != load_image(scene()[::-1]).facts.sha256
    mine = scene()
    loaded = load_image(mine)
    loaded.rgb[:] = 0
    assert np.array_equal(mine, scene()), "the caller's array stays as it was"
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(Image.open(io.BytesIO(encoded(SCENE, "PNG", exif=exif)))).rgb.shape == (WIDTH, HEIGHT, 3)
    data = encoded(SCENE, "JPEG")
    refused(Image.open(io.BytesIO(data[:-30])))


def test_find_images(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.tif", "notes.txt", ".hidden.png", "sub/c.jpeg", ".git/d.png", "sub/deep/e.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = find_images([tmp_path])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.tif", "b.PNG", "sub/c.jpeg", "sub/deep/e.webp"]
    assert find_images(tmp_path) == found and find_images(str(tmp_path)) == found
    assert find_images([tmp_path / "notes.txt", tmp_path / "sub"]) == [tmp_path / "notes.txt", *found[2:]]
    (tmp_path / "none").mkdir()
    for path, reason in ((tmp_path / "none", "no picture"), (tmp_path / "gone", "no such"), ("http://a.b/c", "local")):
        with pytest.raises(ImageError, match=reason) as caught:
            find_images([tmp_path, path])
        assert str(caught.value).isprintable()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert find_images(tmp_path) == found


def test_import_is_light() -> None:
    program = "import sys, rsagent.imagery; print([m for m in ('numpy', 'PIL', 'rasterio', 'torch') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------- threads, hostile bytes


def samples_of_all_kinds(folder: Path) -> list[bytes]:
    """Valid files of every kind; those that need rasterio are left out without it."""
    image = Image.fromarray(scene()[:12, :16])
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [encoded(image, form) for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")]
    kinds += [encoded(image, form, save_all=True, append_images=[image.rotate(90)]) for form in ("GIF", "WEBP", "PNG")]
    kinds += [
        encoded(image.convert("P"), "PNG"),
        encoded(image.convert("RGBA"), "PNG"),
        encoded(image, "JPEG", exif=exif),
    ]
    kinds += [encoded(image, "TIFF", compression=how) for how in ("jpeg", "tiff_lzw", "tiff_deflate")]
    kinds += [encoded(Image.fromarray(ramp(1)[0]), form) for form in ("PNG", "TIFF")]
    try:
        import rasterio  # noqa: F401
    except ImportError:
        return kinds
    place = placed("EPSG:4326", 10, 50, 0.001)
    kinds.append(raster(folder / "a.tif", ramp(5), compress="deflate", **place).read_bytes())
    kinds.append(raster(folder / "b.tif", ramp(3, "float32"), nodata=5, **place).read_bytes())
    kinds.append(raster(folder / "c.tif", ramp(4, "uint8", high=250), tiled=True, blockxsize=16, blockysize=16).read_bytes())
    kinds.append(raster(folder / "d.tif", ramp(2, "int16"), BIGTIFF="YES").read_bytes())
    return kinds


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return samples_of_all_kinds(tmp_path_factory.mktemp("kinds"))


def one_line_or_a_picture(data: bytes) -> None:
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        try:
            loaded = load_image(data, max_pixels=100_000)
        except (ImageError, MissingExtra) as error:  # the latter only where rasterio is not installed
            assert str(error).isprintable() and len(str(error)) < 500
        else:
            assert loaded.rgb.dtype == np.uint8 and loaded.rgb.ndim == 3 and loaded.rgb.size <= 300_000
    assert not leaked


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    one_line_or_a_picture(data)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\1\0\0WEBPVP8 ", b"BM", b"GIF89a", b"II*\0", b"MM\0+"]),
    st.binary(max_size=300),
)
def test_random_bytes_behind_a_signature(signature: bytes, data: bytes) -> None:
    one_line_or_a_picture(signature + data)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_files(kinds: list[bytes], data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(kinds)))
    for _ in range(data.draw(st.integers(1, 6))):
        near = data.draw(st.booleans())
        at = data.draw(st.integers(0, min(len(content), 250) - 1 if near else len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    if data.draw(st.integers(0, 4)) == 0:
        del content[data.draw(st.integers(0, len(content))) :]
    one_line_or_a_picture(bytes(content))


def test_parallel_callers_get_the_sequential_pictures(kinds: list[bytes]) -> None:
    filters = list(warnings.filters)
    alone = [load_image(data) for data in kinds]
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        start.wait()
        order = list(range(len(kinds)))[number % 3 :: 1 + number % 2]
        return all(
            np.array_equal(loaded.rgb, alone[index].rgb) and loaded.facts == alone[index].facts
            for index in order
            for loaded in [load_image(kinds[index])]
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert list(warnings.filters) == filters


def test_pillow_is_left_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    load_image(encoded(SCENE, "PNG"), max_pixels=10**12)
    refused(encoded(SCENE, "JPEG")[:400])
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == before


def test_too_little_memory_is_the_machines_fault_and_not_the_pictures():
    class Endless(Image.Image):
        def load(self) -> Any:
            raise MemoryError

    picture = Image.new("RGB", (8, 8))
    picture.__class__ = Endless
    with pytest.raises(EngineError, match="not enough memory") as told:
        load_image(picture)
    assert told.value.exit_code == 1

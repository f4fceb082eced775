"""Rasters: deeper than eight bit, more bands than three, holes, and where on the earth they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from rsagent.imagery import load_image
from tests.imagery.pictures import HEIGHT, SCENE, WIDTH, encoded, placed, ramp, raster, refused, said, scene

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

"""What is too large, needs an extra, or is no picture: refused in one line, before it is decoded."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsagent.errors import MissingExtra
from rsagent.imagery import load_image
from tests.imagery.pictures import HEIGHT, SCENE, WIDTH, encoded, placed, ramp, raster, refused, said

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

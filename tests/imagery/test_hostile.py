"""Pictures from memory and from folders, several threads at once, and bytes that somebody made up."""

from __future__ import annotations

import io
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
from PIL import Image, ImageFile

from rsagent.errors import EngineError, ImageError, MissingExtra
from rsagent.imagery import find_images, load_image
from tests.imagery.pictures import HEIGHT, SCENE, WIDTH, encoded, placed, ramp, raster, refused, scene

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

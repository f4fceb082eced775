"""The frozen encoder's tokens on disk: computed once, for this encoder alone, and never half."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rsagent.model.image_encoder import COARSE_DIM, FINE_DIM, ImageEncoder
from rsagent.training.batches import Stores
from rsagent.training.features import FeatureStore, encoder_digest, feature_store

SIZE = 64


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(SIZE).eval().requires_grad_(False)


class Pictures:
    """Two batches, of three pictures and of two; counts how often it was read."""

    def __init__(self, stop_after: int = 2) -> None:
        self.read, self.stop_after = 0, stop_after

    def __call__(self) -> Iterator[torch.Tensor]:
        self.read += 1
        generator = torch.Generator().manual_seed(0)
        for index, count in enumerate((3, 2)):
            if index == self.stop_after:
                raise KeyboardInterrupt
            yield torch.rand(count, 3, SIZE, SIZE, generator=generator) * 2 - 1


def test_what_is_read_is_what_the_encoder_sees(encoder: ImageEncoder, tmp_path: Path):
    store = feature_store(encoder, "five", 5, Pictures(), tmp_path)
    assert len(store) == 5
    features = store.read([4, 0])
    assert features.fine.shape == (2, FINE_DIM, 4, 4) and features.coarse.shape == (2, COARSE_DIM, 2, 2)
    pixels = torch.cat(list(Pictures()()))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        seen = encoder(pixels)
    torch.testing.assert_close(features.fine, seen.fine.float()[[4, 0]], rtol=1e-2, atol=1e-3)
    assert (features.coarse - seen.coarse.float()[[4, 0]]).abs().max() <= 6 / 255 / 2 + 0.05  # bfloat16 and 256 levels


def test_a_second_run_reads_no_picture(encoder: ImageEncoder, tmp_path: Path):
    first = feature_store(encoder, "five", 5, Pictures(), tmp_path)
    pictures = Pictures()
    again = feature_store(encoder, "five", 5, pictures, tmp_path)
    assert pictures.read == 0
    assert np.array_equal(first.fine, again.fine) and np.array_equal(first.coarse, again.coarse)


@pytest.mark.parametrize("name", ["other pictures", "five"])
def test_other_pictures_or_another_encoder_are_another_store(encoder: ImageEncoder, tmp_path: Path, name: str):
    feature_store(encoder, "five", 5, Pictures(), tmp_path)
    other = encoder
    if name == "five":
        other = ImageEncoder(SIZE).eval().requires_grad_(False)
        other.load_state_dict(encoder.state_dict())
        other.head.norm.running_mean[0] += 1e-3
        assert encoder_digest(other) != encoder_digest(encoder)
    pictures = Pictures()
    feature_store(other, name, 5, pictures, tmp_path)
    assert pictures.read == 1
    assert len(list(tmp_path.glob("features-*.npy"))) == 4


def test_an_interrupted_run_leaves_nothing_that_is_used(encoder: ImageEncoder, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        feature_store(encoder, "five", 5, Pictures(stop_after=1), tmp_path)
    assert not list(tmp_path.iterdir())
    pictures = Pictures()
    store = feature_store(encoder, "five", 5, pictures, tmp_path)
    assert pictures.read == 1 and np.abs(store.fine[4].astype(np.float32)).max() > 0


def test_one_file_of_two_is_not_enough(encoder: ImageEncoder, tmp_path: Path):
    feature_store(encoder, "five", 5, Pictures(), tmp_path)
    next(tmp_path.glob("*-coarse.npy")).unlink()
    pictures = Pictures()
    feature_store(encoder, "five", 5, pictures, tmp_path)
    assert pictures.read == 1


def test_a_broken_promise_is_noticed(encoder: ImageEncoder, tmp_path: Path):
    with pytest.raises(ValueError, match="5 pictures came, 7 were promised"):
        feature_store(encoder, "seven", 7, Pictures(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_progress_is_told(encoder: ImageEncoder, tmp_path: Path):
    told: list[tuple[int, int]] = []
    feature_store(encoder, "five", 5, Pictures(), tmp_path, lambda done, count: told.append((done, count)))
    assert told == [(3, 5), (5, 5)]


def test_a_worker_process_gets_names_and_not_gigabytes(encoder: ImageEncoder, tmp_path: Path):
    store = feature_store(encoder, "five", 5, Pictures(), tmp_path)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).fine, store.fine)
    loose = FeatureStore(np.ones((1, 2, 2, 2), np.float16), np.ones((1, 2, 1, 1), np.uint8))
    assert np.array_equal(pickle.loads(pickle.dumps(loose)).fine, loose.fine)


def test_two_stores_are_read_as_one():
    def store(count: int, start: int) -> FeatureStore:
        fine = np.arange(start, start + count, dtype=np.float16)[:, None, None, None]
        return FeatureStore(fine, (fine * 3).astype(np.uint8))

    stores = Stores([store(3, 0), store(2, 3)])
    fine, coarse = stores.read([4, 0, 3, 2, 4])
    assert fine.flatten().tolist() == [4, 0, 3, 2, 4]
    assert torch.allclose(coarse.flatten() * 255 / 6, torch.tensor([12.0, 0, 9, 6, 12]))
    with pytest.raises(IndexError, match="row"):
        stores.read([5])

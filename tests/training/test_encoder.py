"""What the image encoder is fine-tuned on: pictures decoded once, items that are functions of their number, fair views."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from rsagent.errors import ImageError
from rsagent.model.image_encoder import ImageEncoder
from rsagent.training.encoder import EncoderTask, held_out_accuracy
from rsagent.training.encoder_data import (
    DIRECTION_CLASSES,
    SCENE_CLASSES,
    WORDS,
    EncoderCollator,
    EncoderData,
    Pictures,
    scene_item,
)
from rsagent.training.pictures import augment, normalise, picture_bank
from rsagent.training.scene_model import COLOURS, KINDS


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 256, (224 if index else 50, 224, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def bank(files: list[Path], tmp_path: Path) -> np.ndarray:
    return picture_bank(files, 224, tmp_path / "cache")


def parts(files: list[Path]) -> list[Pictures]:
    one = Pictures("ucm", files[:3], ["a", "b"], [0, 1, 1], np.full((3, WORDS), 0.2, np.float32), np.ones((3, 17), np.float32))
    return [one, Pictures("eurosat", files[3:], ["x", "y"], [1, 0], start=3)]


# --- pictures


def test_pictures_are_decoded_once(files: list[Path], tmp_path: Path):
    bank = picture_bank(files, 224, tmp_path / "cache")
    assert bank.shape == (5, 224, 224, 3) and bank.dtype == np.uint8
    assert np.array_equal(bank[2], np.asarray(Image.open(files[2])))
    assert bank[0].std() > 10  # the one that was resized
    for file in files:
        file.unlink()
    assert np.array_equal(picture_bank(files, 224, tmp_path / "cache"), bank)


def test_a_picture_that_cannot_be_read_leaves_no_bank(files: list[Path], tmp_path: Path):
    files[3].write_bytes(b"no picture")
    with pytest.raises(ImageError, match="3.png"):
        picture_bank(files, 224, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_other_files_or_another_order_are_another_bank(files: list[Path], tmp_path: Path):
    first = picture_bank(files, 224, tmp_path / "cache")
    turned = picture_bank(files[::-1], 224, tmp_path / "cache")
    assert np.array_equal(turned[::-1], first)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


# --- views


def test_a_view_is_a_function_of_its_generator():
    pixels = torch.rand(4, 3, 64, 64) * 2 - 1
    views = [augment(pixels, 64, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert views[0].shape == pixels.shape and views[0].isfinite().all()


def test_a_view_shows_the_same_picture_in_another_light():
    """Half red, half blue stays so, wherever the halves come to lie and however they are tinted."""
    pixels = torch.zeros(16, 3, 64, 64)
    pixels[:, 0, :, :32], pixels[:, 2, :, 32:] = 0.8, 0.8
    views = augment(pixels, 64, torch.Generator().manual_seed(0), smallest=1.0)
    redder = (views[:, 0] > views[:, 2]).float().mean((1, 2))
    assert ((redder > 0.35) & (redder < 0.65)).all()


def test_a_picture_comes_back_from_its_pixels():
    batch = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    pixels = normalise(batch)
    assert pixels.min() >= -1 and pixels.max() <= 1
    assert torch.equal((pixels * 128 + 127).round().byte().permute(0, 2, 3, 1), batch)


# --- items


def test_an_item_is_a_function_of_its_number(files: list[Path], bank: np.ndarray):
    data = EncoderData(parts(files), bank, 30, 0.3, seed=5)
    other = EncoderData(parts(files), bank, 30, 0.3, seed=6)
    assert all(_same(data[index], data[index]) for index in (0, 7, 29))
    assert any(not _same(data[index], other[index]) for index in range(5))
    kinds = [bool(data[index]["rendered"]) for index in range(30)]
    assert 2 <= sum(kinds) <= 20


def test_unknown_targets_are_marked(files: list[Path], bank: np.ndarray):
    items = [EncoderData(parts(files), bank, 40, 0.5, seed=0)[index] for index in range(40)]
    real = next(item for item in items if item["ucm"] >= 0)
    other = next(item for item in items if item["eurosat"] >= 0)
    scene = next(item for item in items if item["rendered"])
    assert real["eurosat"] == real["scene"] == -1 and real["cells"].isnan().all() and not real["words"].isnan().any()
    assert other["words"].isnan().all() and other["tags"].isnan().all()
    assert scene["ucm"] == -1 and scene["words"].isnan().all() and 0 <= scene["scene"] < SCENE_CLASSES
    assert scene["cells"].shape == (len(KINDS), 14, 14) and scene["colours"].shape == (len(COLOURS), 14, 14)
    assert -1 <= scene["direction"] < DIRECTION_CLASSES


def test_batches_are_the_same_in_a_worker_process_and_after_a_restart(files: list[Path], bank: np.ndarray):
    data, collate = EncoderData(parts(files), bank, 12, 0.3, seed=5), EncoderCollator(224, 5)
    here = list(DataLoader(data, 4, collate_fn=collate))
    there = list(DataLoader(data, 4, collate_fn=collate, num_workers=1))
    sent = pickle.dumps(data)
    assert len(sent) < 100_000  # the bank's name, not its pictures
    later = list(DataLoader(pickle.loads(sent), 4, collate_fn=EncoderCollator(224, 5)))[2:]  # the first two are skipped
    assert all(_same(one, other) for one, other in zip(here, there, strict=True))
    assert _same(here[2], later[0])


def test_scenes_are_not_turned(files: list[Path], bank: np.ndarray):
    items = [scene_item(3), EncoderData(parts(files), bank, 1, 0.0, seed=1)[0]]
    batch = EncoderCollator(224, 0)([dict(item) for item in items])
    assert torch.equal(batch["pixels"][0], normalise(items[0]["pixels"][None])[0])
    assert not torch.equal(batch["pixels"][1], normalise(items[1]["pixels"][None])[0])


def _same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(first[n].equal(second[n]) or _nan_equal(first[n], second[n]) for n in first)


def _nan_equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.is_floating_point() and torch.equal(first.nan_to_num(-9), second.nan_to_num(-9))


# --- the task


@pytest.fixture(scope="module")
def task() -> EncoderTask:
    torch.manual_seed(0)
    classes = {"ucm": 2, "eurosat": 2, "scene": SCENE_CLASSES, "direction": DIRECTION_CLASSES}
    return EncoderTask(ImageEncoder(224), classes, frozen_stages=3)


def test_frozen_stages_stay_as_they_are(task: EncoderTask, files: list[Path], bank: np.ndarray):
    before = {name: tensor.clone() for name, tensor in task.encoder.state_dict().items()}
    task.train()
    batch = EncoderCollator(224, 0)([EncoderData(parts(files), bank, 4, 0.5, seed=0)[index] for index in range(4)])
    optimizer = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], 1e-2)
    loss = task(**batch)["loss"]
    loss.backward()
    optimizer.step()
    after = task.encoder.state_dict()
    frozen = ("stem.", "stages.0.", "stages.1.", "stages.2.")
    for name in before:  # their batch norms too
        assert torch.equal(before[name], after[name]) == name.startswith(frozen) or name.endswith("num_batches_tracked")
    assert loss.isfinite()


def test_a_batch_of_which_little_is_known_has_a_loss_all_the_same(task: EncoderTask, files: list[Path], bank: np.ndarray):
    real = EncoderData(parts(files)[1:], bank, 1, 0.0, seed=1)[0]
    for items in ([real], [scene_item(3)]):
        task.zero_grad()
        loss = task(**EncoderCollator(224, 0, train=False)([dict(item) for item in items]))["loss"]
        loss.backward()
        assert loss.isfinite()


def test_a_data_set_of_which_nothing_is_held_out_is_not_measured(task: EncoderTask, files: list[Path], bank: np.ndarray):
    task.train()
    nothing = replace(parts(files)[0], files=[], labels=[])
    figures = held_out_accuracy(task, [nothing, parts(files)[1]], bank)
    assert set(figures) == {"eurosat", "cells_f1", "scene"} and all(0 <= value <= 1 for value in figures.values())
    assert task.training

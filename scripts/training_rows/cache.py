"""Row: the second epoch reads the frozen encoder's features from disk: passes of the encoder, and time over memory's."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from figures import Row
from rsagent.model.image_encoder import ImageEncoder
from rsagent.model.network import SINGLE
from rsagent.training.batches import Stores
from rsagent.training.features import FeatureStore
from rsagent.training.language import LanguageTask
from rsagent.training.recipe import StageRecipe
from rsagent.training.stage_trainer import StageTrainer
from training_rows.bench import in_turns, ratios, write_tiny_data
from training_rows.loops import begun, carried_recipe, collator_of, seconds_a_step

MOST = 1.05


def measure(folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """An epoch that writes the features, and then epochs that map them and epochs that hold them, in turns."""
    torch.set_num_threads(chosen.threads)
    recipe, data = carried_recipe(chosen.scenes), write_tiny_data(folder / "data")
    with _passes() as first:
        begun(recipe, data, folder / "run")
    with _passes() as second:
        network, mapped = begun(recipe, data, folder / "run")
        task = LanguageTask(network, "stage1", [SINGLE], len(mapped.answers))
        held = replace(mapped, stores=Stores([_in_memory(store) for store in mapped.stores.parts]))
        run = StageRecipe(samples=16 * chosen.steps, batch=16)
        disk, memory = in_turns(
            lambda: seconds_a_step(StageTrainer, task, collator_of(network, mapped), mapped, run, folder / "disk"),
            lambda: seconds_a_step(StageTrainer, task, collator_of(network, held), held, run, folder / "memory"),
            chosen.turns,
        )
    size = sum(store.fine.nbytes + store.coarse.nbytes for store in mapped.stores.parts)
    ratio, said = ratios(disk, memory)
    pictures = f"n = {sum(map(len, mapped.stores.parts))} features"
    return [
        Row("encoder passes, first epoch", f"{sum(first)} pictures in {len(first)} passes, {pictures}", "shown", None),
        Row("encoder passes, later epochs", f"{len(second)}, {pictures}", "0", bool(first) and not second),
        Row("an epoch with cached features over one with features in memory",
            f"{said} of {chosen.steps} steps of 16 images; {size / 1e6:.0f} MB on disk", f"<= {MOST}", ratio <= MOST),
    ]  # fmt: skip


@contextmanager
def _passes() -> Iterator[list[int]]:
    """How many pictures each pass of an image encoder sees, whichever encoder it is."""
    seen: list[int] = []
    forward = ImageEncoder.forward

    def counting(self: ImageEncoder, pixels: torch.Tensor) -> object:
        seen.append(len(pixels))
        return forward(self, pixels)

    ImageEncoder.forward = counting
    try:
        yield seen
    finally:
        ImageEncoder.forward = forward


def _in_memory(store: FeatureStore) -> FeatureStore:
    return FeatureStore(np.array(store.fine), np.array(store.coarse), store.coarse_range)

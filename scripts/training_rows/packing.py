"""Row: an image's captions behind one prefix against each behind its own: targets a second, loss of the same targets."""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from figures import Row
from rsagent.model.bases import SMOLLM2
from rsagent.model.network import SINGLE, RSMoE
from rsagent.training.corpus import Corpus
from rsagent.training.corpus import Row as Sample
from rsagent.training.language import LanguageTask
from rsagent.training.material import Material
from rsagent.training.recipe import Recipe
from training_rows.bench import in_turns, ratios, tiny, write_tiny_data
from training_rows.loops import begun, collator_of

LEAST, APART = 2.0, 1e-3
IMAGES = 8
DRAWN = 3
"""Captions of a picture in a sample of stage I; other numbers are shown beside it."""
Batch = dict[str, Tensor]


def begun_on_smollm2(folder: Path) -> tuple[RSMoE, Material]:
    """Stage I's network on SmolLM2, and tiny data."""
    few = {"samples": 8, "batch": 4}
    recipe = tiny(
        network={}, encoder=None, base=None, start="tiny", weights={"llm": SMOLLM2.name}, scenes=0,
        critical=None, composer={**few, "reports": 4},
    )  # fmt: skip
    return begun(Recipe.model_validate(recipe), write_tiny_data(folder / "data"), folder / "run")


def measure(folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """Stage I's captions on SmolLM2, packed as training packs them and one by one, in turns."""
    torch.set_num_threads(chosen.threads)
    network, material = begun_on_smollm2(folder)
    collate, task = collator_of(network, material), LanguageTask(network, "stage1", [SINGLE], 0)
    rows: list[Row] = []
    losses: dict[int, tuple[Batch, Batch]] = {}
    for captions in (DRAWN, 5):
        samples = caption_rows(material.corpus, captions)
        packed = collate([[sample] for sample in samples])
        alone = collate([[replace(sample, targets=(target,)) for target in sample.targets] for sample in samples])
        losses[captions] = packed, alone
        rows.append(_speed(task, packed, alone, captions, chosen.turns))
    return rows + [_loss(task, *losses[DRAWN], "bfloat16"), _loss(task.float(), *losses[DRAWN], "float32")]


def caption_rows(corpus: Corpus, captions: int) -> list[Sample]:
    """The caption rows of `IMAGES` real pictures, with so many different captions each."""
    pictures = [one for held in corpus.pictures.values() for one in held if len(set(one.captions)) >= captions][:IMAGES]
    rng = random.Random(0)
    return [
        replace(corpus._caption_row(one, rng, "stage1"), targets=tuple(sorted(set(one.captions))[:captions]))
        for one in pictures
    ]


def _speed(task: LanguageTask, packed: Batch, alone: Batch, captions: int, turns: int) -> Row:
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-5)
    for batch in (packed, alone):
        seconds_a_step(task, batch, optimizer)
    slow, fast = in_turns(
        lambda: seconds_a_step(task, alone, optimizer), lambda: seconds_a_step(task, packed, optimizer), turns
    )
    ratio, said = ratios(slow, fast)
    targets = IMAGES * captions
    rate, other = (targets / (sum(seconds) / len(seconds)) for seconds in (fast, slow))
    found = f"{said} of {targets} targets; {rate:.1f} over {other:.1f} targets a second"
    asked = captions == DRAWN
    return Row(f"packed over unpacked, {captions} captions an image", found, f">= {LEAST:g}" if asked else "shown",
               ratio >= LEAST if asked else None)  # fmt: skip


def seconds_a_step(task: LanguageTask, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """How long one step on `batch` takes."""
    began = time.perf_counter()
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.train()(**batch)["loss"]
    loss.backward()
    optimizer.step()
    return time.perf_counter() - began


@torch.no_grad()
def loss_of(task: LanguageTask, batch: Batch, dtype: str) -> float:
    """The loss of `batch`, computed in a number type."""
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        return float(task.eval()(**batch)["loss"])


def _loss(task: LanguageTask, packed: Batch, alone: Batch, dtype: str) -> Row:
    """Both losses in a number type; what training computes in is shown, and the other says whether they are the same."""
    losses = [loss_of(task, batch, dtype) for batch in (packed, alone)]
    apart = abs(losses[0] - losses[1])
    found = f"{losses[0]:.5f} and {losses[1]:.5f}, {apart:.1e} apart, n = {IMAGES * DRAWN} targets"
    asked = dtype == "float32"
    return Row(f"loss of the same targets, packed and unpacked, {dtype}", found, f"within {APART:g}" if asked else "shown",
               apart <= APART if asked else None)  # fmt: skip

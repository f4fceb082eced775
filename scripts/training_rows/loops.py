"""Trainings in this process whose steps are timed, on the network that rsagent carries."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import SaveStrategy

from rsagent.model.network import SINGLE, RSMoE
from rsagent.training.batches import Collator, Samples
from rsagent.training.beginning import begin
from rsagent.training.material import Material
from rsagent.training.placement import adapt_llm, adapt_qformer
from rsagent.training.recipe import Recipe, StageRecipe
from rsagent.training.stage_trainer import stage_arguments
from training_rows.bench import tiny

_WARM = 5
"""Steps at the beginning of a training that are not timed."""


def carried_recipe(scenes: int) -> Recipe:
    """Stages after the default's own network, which is small enough for two cores."""
    few = {"samples": 8, "batch": 4}
    given = tiny(network={}, encoder=None, start="tiny", scenes=scenes, critical=None, composer={**few, "reports": 4})
    return Recipe.model_validate(given)


def begun(recipe: Recipe, data: Path, out: Path) -> tuple[RSMoE, Material]:
    """The network that stage I begins with, LoRA in its places, and what it learns from."""
    out.mkdir(parents=True, exist_ok=True)
    network, material, _ = begin(recipe, data, out, lambda *_: None)
    torch.manual_seed(recipe.seed)
    network.requires_grad_(False)
    adapt_llm(network, recipe.network)
    adapt_qformer(network, recipe.network)
    return network, material


def collator_of(network: RSMoE, material: Material) -> Collator:
    """Rows of stage I become batches."""
    sizes = network.config.vlm_encoder
    return Collator(
        material.stores, material.tokenizer, material.answers, network.config.experts, [SINGLE], sizes.max_words,
        getattr(sizes, "queries_side", 1), material.words_tokenizer,
    )  # fmt: skip


def seconds_a_step(kind: type, task: nn.Module, collate: Collator, material: Material, run: StageRecipe, folder: Path) -> float:
    """The mean time of a step of stage I under a trainer, from the end of one to the end of the next, data included."""
    clock = _Clock()
    corpus = replace(material.corpus, scene_share=run.scene_share, told=run.told, looks=run.looks, asked_share=run.asked)
    arguments = stage_arguments(run, folder / "stage1", seed=0, save_steps=10**6)
    arguments.save_strategy = SaveStrategy.NO
    trainer: Any = kind(
        model=task,
        args=arguments,
        data_collator=collate,
        train_dataset=Samples(corpus, "stage1", run.samples),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return (clock.ends[-1] - clock.ends[_WARM - 1]) / (len(clock.ends) - _WARM)


class _Clock(TrainerCallback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())

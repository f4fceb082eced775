"""Row: a step of our trainer over that of a plain Trainer around a peft model; the same network, batches and optimiser."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Trainer

from figures import Row
from rsagent.model.image_encoder import ImageFeatures
from rsagent.model.network import SINGLE, RSMoE
from rsagent.training.language import LanguageTask, block_mask, positions
from rsagent.training.recipe import StageRecipe
from rsagent.training.stage_trainer import StageTrainer
from training_rows.bench import in_turns, ratios, write_tiny_data
from training_rows.loops import begun, carried_recipe, collator_of, seconds_a_step

MOST = 1.05


class PlainTask(nn.Module):
    """What one would write without us: every row in one pass, and transformers' own loss, the mean over target tokens."""

    def __init__(self, network: RSMoE) -> None:
        super().__init__()
        self.vlm_encoder, self.llm = network.vlm_encoder, network.llm

    def forward(self, fine: Tensor, coarse: Tensor, **batch: Tensor) -> dict[str, Tensor]:
        """One batch of `Collator` -> `loss`."""
        image = self.vlm_encoder.look(ImageFeatures(fine, coarse))[batch["picture"]]
        prefix = self.vlm_encoder(image, batch["words"], batch["word_mask"])[0].projected
        ids, segment = batch["ids"], batch["segment"]
        segments = torch.cat([torch.zeros(prefix.shape[:2], dtype=segment.dtype), segment], 1)
        output = self.llm(
            inputs_embeds=torch.cat([prefix, self.llm.get_input_embeddings()(ids).to(prefix.dtype)], 1),
            attention_mask=block_mask(segments), position_ids=positions(segments), logits_to_keep=ids.shape[1],
            labels=batch["labels"], shift_labels=batch["labels"],  # ours already stand where they are predicted
        )  # fmt: skip
        return {"loss": output.loss}


def measure(folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """Stage I under both trainers, in turns."""
    torch.set_num_threads(chosen.threads)
    network, material = begun(carried_recipe(40), write_tiny_data(folder / "data"), folder / "run")
    collate = collator_of(network, material)
    run = StageRecipe(samples=16 * chosen.steps, batch=16)
    ours = LanguageTask(network, "stage1", [SINGLE], len(material.answers))
    plain = PlainTask(network)
    above, below = in_turns(
        lambda: seconds_a_step(StageTrainer, ours, collate, material, run, folder / "ours"),
        lambda: seconds_a_step(Trainer, plain, collate, material, run, folder / "plain"),
        chosen.turns,
    )
    ratio, said = ratios(above, below)
    found = f"{said} of {chosen.steps} steps of 16 images; ours {1000 * sum(above) / len(above):.0f} ms a step"
    return [Row("our training step over a plain Trainer + peft loop", found, f"<= {MOST}", ratio <= MOST)]

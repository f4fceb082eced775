"""A training in a process of its own, as `rsagent train` would do it, with an ear for each step.

`--save N` keeps a checkpoint every N steps, `--steps FD` writes "stage step" to a pipe before each step, `--losses FOLDER`
writes every loss of every process there, in full precision.

    python -m training_rows.worker RECIPE DATA OUT
    torchrun --nproc-per-node 2 -m training_rows.worker RECIPE DATA OUT --losses FOLDER --float32
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer import DEFAULT_CALLBACKS

import rsagent.training.encoder as encoder
import rsagent.training.stage_trainer as stage_trainer
import rsagent.training.stages as stages
from rsagent.training.recipe import load_recipe
from rsagent.training.stage_trainer import StageTrainer


def tell_steps(descriptor: int) -> None:
    """Write the stage and the step to a pipe before each step."""

    class Teller(TrainerCallback):
        def on_step_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
            os.write(descriptor, f"{Path(str(args.output_dir)).name} {state.global_step + 1}\n".encode())

    DEFAULT_CALLBACKS.append(Teller)


def keep_losses(folder: Path) -> None:
    """Append the loss of each pass to a file of this process: stage, step, loss."""
    compute, file = StageTrainer.compute_loss, folder / f"{os.environ.get('RANK', '0')}.txt"

    def kept(self: StageTrainer, *args: Any, **kwargs: Any) -> Any:
        loss = compute(self, *args, **kwargs)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"{self.stage} {self.state.global_step + 1} {loss.item()!r}\n")
        return loss

    StageTrainer.compute_loss = kept


def in_float32() -> None:
    """Leave bfloat16 out, in which a sum over two halves is another number."""
    arguments = stage_trainer.TrainingArguments
    stage_trainer.TrainingArguments = lambda **given: arguments(**{**given, "bf16": False})


def shard() -> None:
    """FSDP on the CPU. Accelerate offers it on accelerators alone and would quietly copy the network instead."""
    from accelerate import DistributedType, FullyShardedDataParallelPlugin

    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    create = StageTrainer.create_accelerator_and_postprocess

    def sharded(self: StageTrainer) -> None:
        create(self)
        state = self.accelerator.state
        state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")
        self.is_fsdp_enabled = True

    StageTrainer.create_accelerator_and_postprocess = sharded


def main() -> None:
    """Train until the end of `--until`, going on where an earlier process stopped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs=3, type=Path, metavar="PATH", help="recipe, data, out")
    parser.add_argument("--until", default="stage2")
    parser.add_argument("--save", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--losses", type=Path)
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--fsdp", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.save:
        encoder.SAVE_STEPS = stages.SAVE_STEPS = chosen.save
    if chosen.steps is not None:
        tell_steps(chosen.steps)
    if chosen.losses:
        keep_losses(chosen.losses)
    if chosen.float32:
        in_float32()
    if chosen.fsdp:
        shard()
    recipe, data, out = chosen.paths
    stages.train_until(chosen.until, load_recipe(recipe), data, out, lambda *_: None, resume=True)


if __name__ == "__main__":  # the scenes are drawn in processes that import this file
    main()

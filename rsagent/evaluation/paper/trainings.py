"""The trainings behind the paper's tables: as many images an arm, what arms share trained once, each taken up after a kill.

RUNS/cache                   features of the pictures, for all
RUNS/seed0/shared-.../       what the arms of a seed begin with: encoder, base, stage I
RUNS/seed0/experts-3/        an arm: an ordinary training's folder, with recipe.yaml and checkpoint/
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from rsagent.errors import UserError
from rsagent.evaluation.paper.specs import Shares, Takes, TrainedArm
from rsagent.evaluation.run import say
from rsagent.evaluation.run_folder import write_whole
from rsagent.training.recipe import Recipe, load_recipe

_STILL = 1e-9  # a learning rate that changes nothing
_REPORTS = 0.05  # of an arm's images are described by its experts for the composer
_ORDER: tuple[Takes, ...] = ("encoder", "base", "stage1")


@dataclass(frozen=True)
class Plan:
    """Where and how the arms are trained: the same number of images for each of them.

    `recipe` is a file; `base` a finished training's folder whose base, tokenizer and features are used, None to begin with
    the recipe's start as it is; `images` what an arm sees in all its stages together.
    """

    runs: Path
    data: Path
    recipe: Path
    images: int
    base: Path | None = None
    changes: tuple[str, ...] = ()


def arm_folder(arm: TrainedArm, seed: int, plan: Plan) -> Path:
    """Where the arm of a seed is trained."""
    return plan.runs / f"seed{seed}" / arm.key


def arm_recipe(arm: TrainedArm, seed: int, plan: Plan, shipped: Path) -> Recipe:
    """The recipe of an arm.

    Args:
        arm: whose.
        seed: counted from 0; added to the recipe's own.
        plan: how many images.
        shipped: the folder of the recipes that come with rsagent.

    Raises:
        UserError: the recipe cannot be read, or so few images do not make a step.
    """
    file = plan.recipe if arm.recipe is None else shipped / f"{arm.recipe}.yaml"
    own = load_recipe(file, plan.changes)
    if own.base is None:
        raise UserError(f"{file}: has no stage base; the paper's tables are trained with recipes such as tiny-4")
    changes = [*plan.changes, *arm.changes, f"seed={own.seed + seed}", "critical=null"]
    if arm.rank > 1:
        changes.append(f"network.lora_rank={arm.rank * own.network.lora_rank}")
    for stage in ("base", "stage1", "stage2", "composer"):
        images = int(getattr(arm.shares, stage) * plan.images)
        batch = getattr(own, stage).batch
        changes.append(f"{stage}.samples={max(images - images % batch, batch)}")
        if not images:
            changes.append(f"{stage}.lr={_STILL}")
    reports = int(arm.shares.composer * plan.images * _REPORTS / 0.2) if arm.shares.composer else own.composer.batch
    return load_recipe(file, [*changes, f"composer.reports={max(reports, 1)}"])


def train_arm(arm: TrainedArm, seed: int, plan: Plan, shipped: Path) -> Path:
    """Train an arm, unless it is trained; its checkpoint.

    Raises:
        UserError: the folder holds an arm of another recipe, or data or base are missing.
        EngineError: the training failed.
    """
    from rsagent.training.stages import train_until

    folder, recipe = arm_folder(arm, seed, plan), arm_recipe(arm, seed, plan, shipped)
    _claim(folder, recipe)
    if (folder / "checkpoint" / "config.json").exists():
        say(f"{folder} is trained already")
        return folder / "checkpoint"
    shared = _shared(arm, seed, plan, shipped)
    _link_cache(folder, plan)
    for name in ("encoder.safetensors", "base.safetensors", "stage1.safetensors"):
        if (shared / name).exists():
            _copy(shared / name, folder / name)
    if (shared / "tokenizer").is_dir():
        _copy(shared / "tokenizer", folder / "tokenizer")
    say(f"training {arm.name}, seed {seed}, in {folder}; the same command goes on with it")
    return train_until("stage2", recipe, plan.data, folder, _progress, resume=True)


def _shared(arm: TrainedArm, seed: int, plan: Plan, shipped: Path) -> Path:
    """The folder with what the arm takes over, trained as far as that."""
    from rsagent.training.stages import train_until

    if arm.takes == "encoder":
        folder = plan.runs / "shared-encoder"
        _write_encoder(folder, plan)
        return folder
    shares = Shares(stage1=arm.shares.stage1) if arm.takes == "stage1" else Shares()
    whole = TrainedArm(f"shared-{arm.takes}", f"what the arms share, up to {arm.takes}", shares=shares, takes=arm.takes)
    folder, recipe = arm_folder(whole, seed, plan), arm_recipe(whole, seed, plan, shipped)
    _claim(folder, recipe)
    final = folder / f"{arm.takes}.safetensors"
    if final.exists():
        return folder
    _link_cache(folder, plan)
    if plan.base is not None:
        _copy(plan.base / "base.safetensors", folder / "base.safetensors")
        _copy(plan.base / "tokenizer", folder / "tokenizer")
        if recipe.encoder is not None:
            _copy(plan.base / "encoder.safetensors", folder / "encoder.safetensors")
    say(f"training {whole.name}, seed {seed}, in {folder}")
    train_until("stage1" if arm.takes == "stage1" else "base", recipe, plan.data, folder, _progress, resume=True)
    return folder


def _write_encoder(folder: Path, plan: Plan) -> None:
    """The image encoder that arms with a base of their own see through: the base run's, else the embedded checkpoint's."""
    final = folder / "encoder.safetensors"
    if final.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if plan.base is not None and (plan.base / final.name).exists():
        _copy(plan.base / final.name, final)
        return
    from safetensors.torch import save_file

    from rsagent.model.checkpoint import load_checkpoint
    from rsagent.model.shipped import checkpoint_folder
    from rsagent.training.resume import whole_files

    start = load_recipe(plan.recipe, plan.changes).start
    found = load_checkpoint(checkpoint_folder(start), adapters=[]).image_encoder
    with whole_files(final) as (partial,):
        save_file({name: tensor.contiguous().clone() for name, tensor in found.state_dict().items()}, partial)


def _claim(folder: Path, recipe: Recipe) -> None:
    """The folder holds an arm of this recipe or none yet.

    Raises:
        UserError: it holds one of another recipe.
    """
    file, text = folder / "arm.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    if file.exists() and file.read_text("utf-8") != text:
        raise UserError(f"{folder}: was trained by another recipe or for other minutes; give them again, or another --runs")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, text)


def _link_cache(folder: Path, plan: Plan) -> None:
    """One folder of features for all: the base run's own, where there is one."""
    cache = plan.base / "cache" if plan.base is not None else plan.runs / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    if not (folder / "cache").exists():
        (folder / "cache").symlink_to(cache.resolve(), target_is_directory=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, whole or not at all; what is there stays.

    Raises:
        UserError: there is nothing to copy.
    """
    if target.exists():
        return
    if not source.exists():
        raise UserError(f"{source}: is not there; --base names the folder of a training whose stage base is done")
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, partial)
    os.replace(partial, target)


def _progress(name: str, done: int, count: int) -> None:
    if done == count:
        say(f"{name}: {done:,}")


def plan_lines(arms: Sequence[TrainedArm], seeds: int, plan: Plan, shipped: Path) -> list[str]:
    """What would be trained, a line an arm: images of each stage, and where.

    Raises:
        UserError: as `arm_recipe`.
    """
    lines: list[str] = []
    for seed in range(seeds):
        for arm in arms:
            recipe = arm_recipe(arm, seed, plan, shipped)
            done = (arm_folder(arm, seed, plan) / "checkpoint" / "config.json").exists()
            taken = _ORDER[: _ORDER.index(arm.takes) + 1]
            parts = [
                f"{stage} {getattr(recipe, stage).samples:,}{' (shared)' if stage in taken else ''}"
                for stage in ("base", "stage1", "stage2", "composer")
                if getattr(arm.shares, stage)
            ]
            lines.append(f"seed {seed}, {arm.name}: {', '.join(parts)} images{'; trained already' if done else ''}")
    return lines

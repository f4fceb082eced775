"""The trainings behind the paper's tables: as many images an arm, what arms share trained once, each taken up after a kill.

RUNS/cache                   features of the pictures, for all
RUNS/seed0/shared-.../       what the arms of a seed begin with: encoder, base, stage I; a recipe whose weights are given has
                             no base, and its arms begin with the weights themselves
RUNS/seed0/experts-3/        an arm: an ordinary training's folder, with recipe.yaml and checkpoint/
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from rsagent.errors import UserError
from rsagent.evaluation.paper.budget import STAGES, matching_rank, parameters_line
from rsagent.evaluation.paper.parallel import Task
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

    `recipe` is a file; `base` a finished training's folder whose base, tokenizer and features are used (of a recipe without a
    base its features alone), None to begin with the recipe's start as it is; `images` what an arm sees in all its stages
    together.
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
    if own.stage1 is None:
        raise UserError(f"{file}: it leaves stage1 out, and an arm trains every stage: give another --recipe")
    changes = [*plan.changes, *arm.changes, f"seed={own.seed + seed}", "critical=null", *_spread(own)]
    if arm.one_lora_of:
        changes.append(f"network.lora_rank={matching_rank(load_recipe(file, changes))}")
    stages = [(name, float(getattr(arm.shares, name)), int(getattr(own, name).batch)) for name in STAGES if getattr(own, name)]
    needed = max((math.ceil(batch / share) for _, share, batch in stages if share), default=0)
    if needed > plan.images:
        raise UserError(
            f"{plan.images:,} images an arm leave less than a step to a stage of '{arm.key}': give {needed:,} or more"
        )
    for stage, share, batch in stages:
        images = int(share * plan.images)
        changes.append(f"{stage}.samples={max(images - images % batch, batch)}")
        if not images:
            changes.append(f"{stage}.lr={_STILL}")
    reports = int(arm.shares.composer * plan.images * _REPORTS / 0.2) if arm.shares.composer else own.composer.batch
    return load_recipe(file, [*changes, f"composer.reports={max(reports, 1)}"])


def _spread(own: Recipe) -> list[str]:
    """What `optim` says for all stages, said by each: it may not say what they all say for themselves, as those of arms do."""
    if own.optim is None:
        return []
    said = sorted(own.optim.model_fields_set)
    stages = [(name, getattr(own, name)) for name in STAGES if getattr(own, name)]
    return ["optim=null", *(f"{name}.{key}={getattr(stage, key)}" for name, stage in stages for key in said)]


def training_tasks(arms: Sequence[TrainedArm], seeds: int, plan: Plan, shipped: Path) -> list[Task]:
    """What is left to train, what arms share before the arms that need it; one that is trained already is said to be.

    Everything that can be known to be wrong is found here, before anything is trained.

    Raises:
        UserError: as `arm_recipe`, a folder holds an arm of another recipe, or there is no such base.
    """
    if plan.base is not None and not plan.base.is_dir():
        raise UserError(f"--base: {plan.base} is no folder; give that of a training")
    tasks: dict[str, Task] = {}
    for seed in range(seeds):
        for arm in arms:
            folder = arm_folder(arm, seed, plan)
            _refuse_other(folder, arm_recipe(arm, seed, plan, shipped))
            if checkpoint_of(arm, seed, plan) is not None:
                say(f"{folder} is trained already")
                continue
            needs: tuple[str, ...] = ()
            if (whole := shared_arm(arm, plan)) is not None:
                place = arm_folder(whole, seed, plan)
                _refuse_other(place, arm_recipe(whole, seed, plan, shipped))
                if not (place / f"{whole.takes}.safetensors").exists():
                    needs = (task_name(whole, seed),)
                    tasks.setdefault(needs[0], Task(needs[0], partial(train_shared, whole, seed, plan, shipped)))
            name = task_name(arm, seed)
            tasks[name] = Task(name, partial(train_arm, arm, seed, plan, shipped), needs)
    return list(tasks.values())


def task_name(arm: TrainedArm, seed: int) -> str:
    """What the training of an arm is called in lines of progress: as `--arms` and its folder call it."""
    return f"{arm.key}, seed {seed}"


def checkpoint_of(arm: TrainedArm, seed: int, plan: Plan) -> Path | None:
    """The checkpoint of an arm that is trained, else None."""
    checkpoint = arm_folder(arm, seed, plan) / "checkpoint"
    return checkpoint if (checkpoint / "config.json").exists() else None


def train_arm(arm: TrainedArm, seed: int, plan: Plan, shipped: Path) -> Path:
    """Train an arm, once what it takes over is there; its checkpoint.

    Raises:
        UserError: the folder holds an arm of another recipe, or data or base are missing.
        EngineError: the training failed.
    """
    from rsagent.training.stages import train_until

    folder, recipe = arm_folder(arm, seed, plan), arm_recipe(arm, seed, plan, shipped)
    _claim(folder, recipe)
    _link_cache(folder, plan)
    if arm.takes == "encoder":
        _write_encoder(plan.runs / "shared-encoder", plan)
        _take_over(plan.runs / "shared-encoder", folder)
    elif (whole := shared_arm(arm, plan)) is not None:
        _take_over(arm_folder(whole, seed, plan), folder)
    say(f"training {arm.name}, seed {seed}, in {folder}; the same command goes on with it")
    return train_until("stage2", recipe, plan.data, folder, _progress, resume=True)


def shared_arm(arm: TrainedArm, plan: Plan) -> TrainedArm | None:
    """The training whose result an arm takes over, as an arm of its own; None where that is an encoder or features alone.

    Raises:
        UserError: the recipe cannot be read.
    """
    if arm.takes == "encoder" or (arm.takes == "base" and load_recipe(plan.recipe, plan.changes).base is None):
        return None
    shares = Shares(stage1=arm.shares.stage1) if arm.takes == "stage1" else Shares()
    return TrainedArm(f"shared-{arm.takes}", f"what the arms share, up to {arm.takes}", shares=shares, takes=arm.takes)


def train_shared(whole: TrainedArm, seed: int, plan: Plan, shipped: Path) -> Path:
    """Train what arms of a seed take over, unless it is there; its folder.

    Raises:
        UserError: as `train_arm`.
        EngineError: the training failed.
    """
    from rsagent.training.stages import train_until

    folder, recipe = arm_folder(whole, seed, plan), arm_recipe(whole, seed, plan, shipped)
    _claim(folder, recipe)
    if (folder / f"{whole.takes}.safetensors").exists():
        return folder
    _link_cache(folder, plan)
    if plan.base is not None and recipe.base is not None:
        _copy(plan.base / "base.safetensors", folder / "base.safetensors")
        _copy(plan.base / "tokenizer", folder / "tokenizer")
        if recipe.encoder is not None:
            _copy(plan.base / "encoder.safetensors", folder / "encoder.safetensors")
    say(f"training {whole.name}, seed {seed}, in {folder}")
    train_until("stage1" if whole.takes == "stage1" else "base", recipe, plan.data, folder, _progress, resume=True)
    return folder


def _take_over(shared: Path, folder: Path) -> None:
    """Copy what earlier stages left in `shared`."""
    for name in ("encoder.safetensors", "base.safetensors", "stage1.safetensors", "tokenizer"):
        if (shared / name).exists():
            _copy(shared / name, folder / name)


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
    _refuse_other(folder, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "arm.yaml", _described(recipe))


def _refuse_other(folder: Path, recipe: Recipe) -> None:
    file = folder / "arm.yaml"
    if file.exists() and file.read_text("utf-8") != _described(recipe):
        raise UserError(
            f"{folder}: was trained by another recipe or for other minutes or images; give them again, or another --runs"
        )


def _described(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


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
    """What would be trained: for each arm a line with the images of its stages, and one with its trained parameters.

    Raises:
        UserError: as `arm_recipe`, or a folder holds an arm of another recipe.
    """
    lines: list[str] = []
    for seed in range(seeds):
        for arm in arms:
            recipe = arm_recipe(arm, seed, plan, shipped)
            _refuse_other(arm_folder(arm, seed, plan), recipe)
            taken = _ORDER[: _ORDER.index(arm.takes) + 1]
            done = checkpoint_of(arm, seed, plan) is not None
            parts = [
                f"{stage} {getattr(recipe, stage).samples:,}{' (shared)' if stage in taken else ''}"
                for stage in STAGES
                if getattr(arm.shares, stage)
            ]
            lines.append(f"seed {seed}, {arm.name}: {', '.join(parts)} images{'; trained already' if done else ''}")
    return [*lines, *(parameters_line(arm, arm_recipe(arm, 0, plan, shipped)) for arm in arms)]

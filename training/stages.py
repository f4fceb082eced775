"""The stages of RS-MoE training on `transformers.Trainer`: base, I and II, each resumable, each leaving one file behind.

    rsagent train all --recipe training/recipes/tiny.yaml --data DATA --out runs/tiny

base    the image encoder is fine-tuned, then the Q-Former and, for `tiny`, the LLM are trained from nothing.
stage1  the encoder is frozen; LoRA in the Q-Former and in the LLM, the output projection in full (III-C1).
stage2  both encoders are frozen; every expert starts as a copy of stage I's adapter, beside the router (III-C2). Then the
        composer, which starts from the same copy, learns to read what these experts really say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rsagent.errors import UserError
from rsagent.model.checkpoint import save_checkpoint
from rsagent.model.config import PlainQFormerConfig
from rsagent.model.network import COMPOSER, SINGLE, RSMoE
from rsagent.training.batches import Collator, Samples
from rsagent.training.beginning import begin, take_over
from rsagent.training.card import model_card, parameter_counts
from rsagent.training.compiled import compile_layers
from rsagent.training.corpus import Corpus, Stage
from rsagent.training.critical import CriticalCollator, CriticalTask, judges
from rsagent.training.language import LanguageTask
from rsagent.training.material import Material, Progress
from rsagent.training.placement import adapt_llm, adapt_qformer
from rsagent.training.pretrained import go_on_speaking, spoke_to_it
from rsagent.training.processes import first_goes_first, is_first, sharded
from rsagent.training.recipe import Recipe, StageRecipe
from rsagent.training.reports import described_pictures
from rsagent.training.resume import checkpoint_to_resume, whole_files
from rsagent.training.run_folder import claimed
from rsagent.training.stage_trainer import stage_arguments, train_task

SAVE_STEPS = 100
"""After so many steps a checkpoint is kept to resume from."""


def train_until(stage: Stage, recipe: Recipe, data: Path, out: Path, progress: Progress, *, resume: bool = False) -> Path:
    """Every stage up to `stage` that has not left its file yet; after stage2 `out/checkpoint` is the result.

    Returns:
        What `stage` left: its file, or the checkpoint folder.

    Raises:
        UserError: another training writes to `out`, or its run had another recipe; or as the stages.
        EngineError: the loss is no number, the disk is full, or memory is short.
    """
    with claimed(out, recipe):
        return _train_until(stage, recipe, data, out, progress, resume)


def _train_until(stage: Stage, recipe: Recipe, data: Path, out: Path, progress: Progress, resume: bool) -> Path:
    with first_goes_first():
        network, material, start = begin(recipe, data, out, progress, resume=resume)
    if recipe.base:
        train_base(network, recipe, material, out, resume=resume)
    if stage == "base":
        return out / "base.safetensors"
    train_stage1(network, recipe, material, out, start, resume=resume)
    if stage == "stage1":
        return out / "stage1.safetensors"
    train_stage2(network, recipe, material, out, resume=resume)
    train_composer(network, recipe, material, out, progress, resume=resume)
    train_critical(network, recipe, material, out, progress, resume=resume)
    if is_first():
        save_checkpoint(network, out / "checkpoint", card=model_card(recipe, network.config, parameter_counts(network)))
    return out / "checkpoint"


def train_base(network: RSMoE, recipe: Recipe, material: Material, out: Path, *, resume: bool) -> None:
    """The Q-Former and the LLM in full, from nothing or from the recipe's start; leaves `out/base.safetensors`."""
    assert recipe.base is not None
    final = out / "base.safetensors"
    network.router.requires_grad_(False)
    parts = nn.ModuleDict({"vlm_encoder": network.vlm_encoder, "llm": network.llm})
    if not final.exists():
        torch.manual_seed(recipe.seed)
        task = LanguageTask(network, "base", [SINGLE], len(material.answers))
        _run(task, "base", recipe, recipe.base, material, out, [SINGLE], resume)
        _write(network, parts, final)
    _read(network, parts, final)


def train_stage1(
    network: RSMoE, recipe: Recipe, material: Material, out: Path, start: RSMoE | None = None, *, resume: bool
) -> None:
    """LoRA in the Q-Former (merged afterwards) and in the LLM, the projection in full; leaves `out/stage1.safetensors`.

    The LLM's adapter goes on from that of `start`, where that was trained for the same LLM; without stage I it is that.
    """
    final = out / "stage1.safetensors"
    network.router.requires_grad_(False)
    network.vlm_encoder.requires_grad_(False)
    torch.manual_seed(recipe.seed)  # new weights must not depend on whether the stage before ran in this process
    adapt_llm(network, recipe.network)
    if start is not None and recipe.weights is not None and spoke_to_it(start, recipe):
        go_on_speaking(network.llm, start.llm)
    parts = nn.ModuleDict({"vlm_encoder": network.vlm_encoder, "llm": network.llm})
    if not final.exists():
        if recipe.stage1 is None:
            take_over(network, recipe, [SINGLE])
        else:
            adapt_qformer(network, recipe.network)
            task = LanguageTask(network, "stage1", [SINGLE], len(material.answers))
            _run(task, "stage1", recipe, recipe.stage1, material, out, [SINGLE], resume)
            _merge(network.vlm_encoder)
        _write(network, parts, final)
    _read(network, parts, final)


def train_stage2(network: RSMoE, recipe: Recipe, material: Material, out: Path, *, resume: bool) -> None:
    """The experts and the router, anew or from where a start has them; leaves `out/stage2.safetensors`."""
    experts = list(recipe.network.experts)
    _add_adapters(network, experts, recipe)
    parts = nn.ModuleDict({"router": network.router, "llm": network.llm})
    final = out / "stage2.safetensors"
    if not final.exists():
        if recipe.stage1 is None:
            take_over(network, recipe, experts)
        if recipe.stage2 is not None:
            network.vlm_encoder.requires_grad_(False)
            network.router.requires_grad_(True)
            _train_only(network.llm, experts)
            task = LanguageTask(network, "stage2", experts, len(material.answers), one_expert_a_pass=recipe.compiled)
            _run(task, "stage2", recipe, recipe.stage2, material, out, experts, resume)
        _write(network, parts, final)
    _read(network, parts, final)


def train_composer(network: RSMoE, recipe: Recipe, material: Material, out: Path, progress: Progress, *, resume: bool) -> None:
    """The composer, on reports of the experts as they are now; leaves `out/composer.safetensors`."""
    _add_adapters(network, [COMPOSER], recipe)
    parts = nn.ModuleDict({"llm": network.llm})
    final = out / "composer.safetensors"
    if not final.exists():
        if recipe.stage1 is None:
            take_over(network, recipe, [COMPOSER])
        corpus = _described(network, recipe, material, out, progress)
        _train_the_composer(network)
        task = LanguageTask(network, "composer", [COMPOSER], len(material.answers))
        _run(task, "composer", recipe, recipe.composer, replace(material, corpus=corpus), out, [COMPOSER], resume)
        _write(network, parts, final)
    _read(network, parts, final)


def train_critical(network: RSMoE, recipe: Recipe, material: Material, out: Path, progress: Progress, *, resume: bool) -> None:
    """The composer on the scores of its own captions, where the recipe asks for it; leaves `out/critical.safetensors`."""
    if recipe.critical is None:
        return
    parts = nn.ModuleDict({"llm": network.llm})
    final = out / "critical.safetensors"
    if not final.exists():
        corpus = _described(network, recipe, material, out, progress)
        corpus.pictures.pop("scenes", None)  # nobody wrote five captions of a rendered scene
        _train_the_composer(network)
        torch.manual_seed(recipe.seed)
        task = CriticalTask(network, judges(corpus, material.corpus), recipe.critical.captions, recipe.critical.plain)
        _run(task, "critical", recipe, recipe.critical, replace(material, corpus=corpus), out, [COMPOSER], resume)
        _write(network, parts, final)
    _read(network, parts, final)


def _described(network: RSMoE, recipe: Recipe, material: Material, out: Path, progress: Progress) -> Corpus:
    """The pictures that stage II's experts have described, or now describe."""
    corpus = replace(material.corpus, scene_share=recipe.composer.scene_share)
    digest = hashlib.sha256((out / "stage2.safetensors").read_bytes()).hexdigest()[:16]
    target = out / f"reports-{recipe.composer.reports}-{digest}.jsonl"
    with first_goes_first():
        described = described_pictures(
            corpus, network, material.stores, recipe.composer.reports, target,
            lambda done, count: progress("reports", done, count),
        )  # fmt: skip
    return replace(corpus, pictures=described)


def _train_the_composer(network: RSMoE) -> None:
    network.router.requires_grad_(False)
    network.vlm_encoder.requires_grad_(False)
    network.llm.set_adapter(COMPOSER)
    _train_only(network.llm, [COMPOSER])


def _add_adapters(network: RSMoE, names: Sequence[str], recipe: Recipe) -> None:
    """Further adapters that start as copies of stage I's."""
    torch.manual_seed(recipe.seed)
    for name in names:
        network.llm.add_adapter(name, network.llm.peft_config[SINGLE])
    _copy_adapter(network.llm, SINGLE, names)


def _train_only(llm: nn.Module, adapters: Sequence[str]) -> None:
    for name, parameter in llm.named_parameters():  # PEFT leaves only the first adapter trainable
        parameter.requires_grad_(any(f".{adapter}." in name for adapter in adapters))


def _run(
    task: LanguageTask | CriticalTask,
    stage: Stage,
    recipe: Recipe,
    settings: StageRecipe,
    material: Material,
    out: Path,
    adapters: list[str],
    resume: bool,
) -> None:
    if recipe.compiled:
        compile_layers(task.llm)
    if settings.checkpointing:
        task.llm.gradient_checkpointing_enable({"use_reentrant": False})
    sizes = task.vlm_encoder.config
    collator = (CriticalCollator if stage == "critical" else Collator)(
        material.stores, material.tokenizer, material.answers, recipe.network.experts, adapters,
        sizes.max_words, 1 if isinstance(sizes, PlainQFormerConfig) else sizes.queries_side, material.words_tokenizer,
        every_adapter=sharded(),
    )  # fmt: skip
    corpus = replace(
        material.corpus,
        scene_share=settings.scene_share, told=settings.told, looks=settings.looks,
        asked_share=settings.asked, hidden_share=settings.hidden,
    )  # fmt: skip
    arguments = stage_arguments(settings, out / stage, seed=recipe.seed, save_steps=SAVE_STEPS)
    samples = Samples(corpus, stage, settings.samples)
    train_task(task, arguments, collator, samples, checkpoint_to_resume(out / stage, resume=resume))


def _copy_adapter(llm: nn.Module, source: str, targets: Sequence[str]) -> None:
    with torch.no_grad():
        state = dict(llm.named_parameters())
        for name, parameter in state.items():
            if f".{source}." in name:
                for target in targets:
                    state[name.replace(f".{source}.", f".{target}.")].copy_(parameter)


def _merge(encoder: nn.Module) -> None:
    """Fold the Q-Former's LoRA into its weights, so that the checkpoint's encoder is a plain one."""
    for name, module in list(encoder.named_modules()):
        if isinstance(module, BaseTunerLayer):
            layer = cast(Any, module)
            layer.merge()
            parent = encoder.get_submodule(name.rsplit(".", 1)[0])
            setattr(parent, name.rsplit(".", 1)[1], layer.get_base_layer())


def _write(network: RSMoE, parts: nn.ModuleDict, final: Path) -> None:
    with first_goes_first():
        if is_first():
            with whole_files(final) as (written,):
                save_file({name: tensor.contiguous().clone() for name, tensor in _own(network, parts).items()}, written)


def _read(network: RSMoE, parts: nn.ModuleDict, final: Path) -> None:
    own, stored = _own(network, parts), load_file(final)
    odd = {name for name in own.keys() | stored.keys() if name not in own or name not in stored}
    if odd or any(own[name].shape != stored[name].shape for name in own):
        raise UserError(f"{final} was made by another recipe: choose another --out, or delete it")
    parts.load_state_dict(stored, strict=False)


def _own(network: RSMoE, parts: nn.ModuleDict) -> dict[str, Tensor]:
    """The tensors of a stage's file: all, but for a pretrained LLM, which lies elsewhere and never changes."""
    state = cast("dict[str, Tensor]", parts.state_dict())
    if network.config.llm == "llm":
        return state
    return {name: tensor for name, tensor in state.items() if not name.startswith("llm.") or ".lora_" in name}

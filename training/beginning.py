"""The network that a recipe's first stage begins with: new, from a checkpoint, or from pretrained weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, set_peft_model_state_dict

from rsagent.errors import UserError
from rsagent.model.checkpoint import adapter_names, load_checkpoint, read_config, read_tensors
from rsagent.model.image_encoder import ImageEncoder
from rsagent.model.network import SINGLE, RSMoE
from rsagent.model.shipped import checkpoint_folder
from rsagent.training.corpus import Corpus, corpus_texts
from rsagent.training.encoder import train_encoder
from rsagent.training.fresh import fresh_network, train_tokenizer
from rsagent.training.material import Material, Progress, prepare
from rsagent.training.pretrained import pretrained_network, spoke_to_it
from rsagent.training.processes import alone
from rsagent.training.recipe import Recipe


def begin(
    recipe: Recipe, data: Path, out: Path, progress: Progress, *, resume: bool = False
) -> tuple[RSMoE, Material, RSMoE | None]:
    """The network without its adapters, what it is trained on, and the recipe's start, where it has one.

    Raises:
        UserError: a data set, or the recipe's start, is missing or does not fit.
        CheckpointError, EngineError: weights are missing or do not fit.
    """
    start = start_of(recipe, out)
    if recipe.weights:
        return *_with_weights(recipe, start, data, out, progress), start
    return *_from_nothing(recipe, start, data, out, progress, resume=resume), start


def _from_nothing(
    recipe: Recipe, start: RSMoE | None, data: Path, out: Path, progress: Progress, *, resume: bool
) -> tuple[RSMoE, Material]:
    """The network of a recipe whose Q-Former and LLM are trained here, or go on from `start`, and its material."""
    if recipe.encoder and not alone() and not (out / "encoder.safetensors").exists():
        raise UserError("the image encoder is trained by one process: start the run without torchrun, then go on with --resume")
    encoder = cast(ImageEncoder, start.image_encoder) if start else train_encoder(recipe, data, out, resume=resume)
    encoder.requires_grad_(False)
    material = prepare(recipe, data, out, encoder.eval(), progress)
    network = fresh_network(recipe, material.tokenizer, _styles(material.corpus))
    network.image_encoder = encoder
    if start:
        network.vlm_encoder.load_state_dict(start.vlm_encoder.state_dict())
        network.llm.load_state_dict(start.llm.state_dict())
    return network, material


def _with_weights(recipe: Recipe, start: RSMoE | None, data: Path, out: Path, progress: Progress) -> tuple[RSMoE, Material]:
    """The network of a recipe that names weights, and its material; such a recipe has no stage `base`."""
    if recipe.stage1 is None and not (start is not None and spoke_to_it(start, recipe)):
        raise UserError(
            f"stage1 cannot be left out: the start '{recipe.start}' has not been through it with this LLM and network"
        )
    network = pretrained_network(recipe, start, [])
    network.requires_grad_(False)
    network.tokenizer.save_pretrained(out / "tokenizer")
    encoder = network.image_encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    material = prepare(recipe, data, out, encoder, progress)
    network.image_encoder.cpu()  # its work is done
    network.config.composer_styles = _styles(material.corpus)
    return network, replace(material, tokenizer=network.tokenizer, words_tokenizer=network.words_tokenizer)


def take_over(network: RSMoE, recipe: Recipe, adapters: Sequence[str]) -> None:
    """Give adapters that are there the weights that they have in the recipe's start; with the experts comes the router.

    Raises:
        UserError: the start lacks one of them, or has other sizes than the recipe.
        CheckpointError: the start is damaged.
    """
    assert recipe.start is not None
    folder = checkpoint_folder(recipe.start)
    config = read_config(folder)
    if lacking := sorted(set(adapters) - set(adapter_names(folder / "experts"))):
        raise UserError(f"the recipe's start '{recipe.start}' has no adapter '{lacking[0]}': train the stage that makes it")
    for name in adapters:
        place = folder / "experts" / name
        if (
            LoraConfig.from_json_file(place / "adapter_config.json").get("lora_alpha")
            != network.llm.peft_config[name].lora_alpha
        ):
            raise UserError(
                f"the adapter '{name}' of the start '{recipe.start}' has another alpha than the recipe: see lora_rank"
            )
        tensors = read_tensors(place / "adapter_model.safetensors")
        try:
            done = set_peft_model_state_dict(network.llm, tensors, adapter_name=name)
        except RuntimeError as error:
            raise UserError(f"the adapter '{name}' of the start '{recipe.start}' has other sizes than the recipe") from error
        if done.unexpected_keys or any(f".{name}." in key for key in done.missing_keys):
            raise UserError(f"the adapter '{name}' of the start '{recipe.start}' changes other places than the recipe's")
    if set(adapters) & set(config.experts):
        if config.experts != network.config.experts or config.router != network.config.router:
            raise UserError(f"the start '{recipe.start}' has other experts, or another router, than the recipe: see network")
        network.router.load_state_dict(read_tensors(folder / "router.safetensors"))


def network_to_try(recipe: Recipe, corpus: Corpus) -> RSMoE:
    """The network that stage I would begin with, for one step before a training; nothing is written.

    Raises:
        UserError, CheckpointError, EngineError: weights are missing or do not fit.
    """
    start = None if recipe.start is None else _loaded(checkpoint_folder(recipe.start), recipe)
    if recipe.weights:
        return pretrained_network(recipe, start, [])
    tokenizer = start.tokenizer if start else train_tokenizer(corpus_texts(corpus), recipe.network.vocabulary)
    return fresh_network(recipe, tokenizer, _styles(corpus))


def _styles(corpus: Corpus) -> list[str]:
    return [style for style, pictures in corpus.pictures.items() if pictures and style != "detailed"]


def start_of(recipe: Recipe, out: Path) -> RSMoE | None:
    """The checkpoint a recipe goes on from; its tokenizer becomes the run's. Of its adapters at most stage I's comes with it.

    Raises:
        UserError: it has other sizes than the recipe.
        CheckpointError: it cannot be loaded.
    """
    if recipe.start is None:
        return None
    start = _loaded(checkpoint_folder(recipe.start), recipe)
    if recipe.weights:  # only its encoder is taken, and that has sizes of its own
        return start
    wanted = fresh_network(recipe, start.tokenizer, start.config.composer_styles)
    for part in ("vlm_encoder", "llm"):
        has, needs = ({name: t.shape for name, t in getattr(n, part).state_dict().items()} for n in (start, wanted))
        if has != needs:
            odd = sorted(name for name in has.keys() | needs.keys() if has.get(name) != needs.get(name))[0]
            raise UserError(f"the recipe's network has other sizes than its start '{recipe.start}': see {part}.{odd}")
    start.tokenizer.save_pretrained(out / "tokenizer")
    return start


def _loaded(folder: Path, recipe: Recipe) -> RSMoE:
    """A start; with stage I's adapter, where that may go on."""
    same = recipe.weights is not None and read_config(folder).llm == recipe.weights.llm
    return load_checkpoint(folder, adapters=[SINGLE] if same and SINGLE in adapter_names(folder / "experts") else [])

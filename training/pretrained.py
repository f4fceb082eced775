"""The network of a recipe that names pretrained weights: InstructBLIP's encoder, or a checkpoint's, before a pretrained LLM."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rsagent.errors import UserError
from rsagent.model.instructblip import PlainVLMEncoder, ViTEncoder
from rsagent.model.network import SINGLE, RSMoE
from rsagent.model.pretrained import load_llm, load_llm_tokenizer
from rsagent.training.instructblip_weights import read_instructblip
from rsagent.training.placement import network_config
from rsagent.training.recipe import Recipe

log = logging.getLogger(__name__)


def pretrained_network(recipe: Recipe, start: RSMoE | None, styles: Sequence[str]) -> RSMoE:
    """Every part that has weights, filled; the router, and a projection that spoke to another LLM, are new.

    Args:
        recipe: one that names `weights`.
        start: the checkpoint that `recipe.start` names, where the encoder comes from one.
        styles: the styles that the composer will write.

    Raises:
        CheckpointError, EngineError: weights are missing, gated, damaged or do not fit; one line says what to do.
        UserError: neither the recipe nor `start` brings an encoder.
    """
    weights = recipe.weights
    assert weights is not None
    llm = load_llm(weights.llm, torch.bfloat16)
    steady_norms(llm)
    if not torch.cuda.is_available():  # a fifth quicker than sdpa on a CPU, whose backward pass is slow there
        llm.set_attn_implementation("eager")
    tokenizer = load_llm_tokenizer(weights.llm)
    width = int(cast(Any, llm).get_input_embeddings().weight.shape[1])
    torch.manual_seed(recipe.seed)  # what is new must not depend on how much chance the loading used up
    if weights.encoder is not None:
        found = read_instructblip(weights.encoder, weights.vision)
        config = network_config(recipe, width, vit=found.vit, qformer=found.qformer, styles=styles)
        network = RSMoE(config, llm, tokenizer, found.tokenizer)
        kept = found.fill(cast(ViTEncoder, network.image_encoder), cast(PlainVLMEncoder, network.vlm_encoder))
    elif start is not None:
        network = RSMoE(network_config(recipe, width, styles=styles), llm, tokenizer, start.words_tokenizer)
        network.image_encoder.load_state_dict(start.image_encoder.state_dict())
        kept = spoke_to_it(start, recipe)
        state = {k: t for k, t in start.vlm_encoder.state_dict().items() if kept or not k.startswith("projection.")}
        network.vlm_encoder.load_state_dict(state, strict=kept)
    else:
        raise UserError("the recipe names no encoder: give weights.encoder or start")
    if not kept:
        _speak_softly(network.vlm_encoder.projection, llm)
        log.info("the projection is new: %s is %s wide, and stage I trains it in full", weights.llm, width)
    return network


def spoke_to_it(start: RSMoE, recipe: Recipe) -> bool:
    """Whether `start` has been through stage I with the recipe's LLM, as many tokens of F_VLM, and LoRA of no higher rank.

    Then its projection and that adapter are where this recipe's stage I begins; its router and its experts are not taken.
    """
    assert recipe.weights is not None
    lora = cast("dict[str, Any]", getattr(start.llm, "peft_config", {})).get(SINGLE)
    return (
        lora is not None
        and start.config.llm == recipe.weights.llm
        and start.config.vlm_encoder.merge == recipe.network.merge
        and lora.r <= recipe.network.lora_rank
        and lora.lora_alpha == 2 * lora.r
    )


@torch.no_grad()
def go_on_speaking(llm: nn.Module, start: nn.Module) -> None:
    """Give stage I's new adapter the weights of the one in `start`.

    Of a higher rank it says the same: what it has more begins as LoRA does, with zeros on one side.
    """
    stored = cast("dict[str, Tensor]", start.state_dict())
    for name, parameter in llm.named_parameters():
        if f".{SINGLE}." in name:
            rows, columns = stored[name].shape
            parameter[:rows, :columns] = stored[name]
    log.info("stage I goes on from the start's own")


@torch.no_grad()
def _speak_softly(projection: nn.Linear, llm: nn.Module) -> None:
    """A new projection whose vectors are as large as the LLM's words: torch's own are several times that, and drown them.

    What goes in has passed a layer norm, so each of its numbers is about one.
    """
    words = cast(Any, llm).get_input_embeddings().weight
    projection.weight.normal_(0.0, float(words.float().std()) / projection.in_features**0.5)
    projection.bias.zero_()


def steady_norms(llm: nn.Module) -> None:
    """Keep the norms of a bfloat16 LLM in float32: they are small, and mixing types in them fails on a CPU."""
    for module in llm.modules():
        if "norm" in type(module).__name__.lower():
            module.float()

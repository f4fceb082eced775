"""Where LoRA stands and what is trained in full, exactly as the paper says (section III-C), and the table that shows it.

    rsagent train placement llama-3.2-1b

VLM encoder: self-attention query and value; cross-attention query, key, value and output; both feed-forward networks; the
fully connected layer at its end in full. LLM: attention query and value, and the feed-forward network. Stage II trains a copy
of the LLM's adapter for each expert, and the router.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from torch import nn

from rsagent.model.config import PlainQFormerConfig, RouterConfig, RSMoEConfig, ViTConfig, VLMEncoderConfig
from rsagent.model.network import SINGLE, RSMoE
from rsagent.training.fresh import fresh_config
from rsagent.training.llm_sizes import LLMSizes, llm_sizes, llm_targets
from rsagent.training.recipe import NetworkRecipe, Recipe

# one regular expression, since suffixes would match too much: `output.dense` stands in both attentions as well, and
# `query` in both kinds of attention
QFORMER_TARGETS = (
    r"encoder\.layer\.\d+\.(attention\.attention\.(query|value)|crossattention\.attention\.(query|key|value)"
    r"|crossattention\.output\.dense|(intermediate|output)(_query)?\.dense)"
)


def adapt_llm(network: RSMoE, sizes: NetworkRecipe) -> None:
    """Give the LLM stage I's adapter, which is then all of it that is trained."""
    lora = LoraConfig(
        r=sizes.lora_rank, lora_alpha=2 * sizes.lora_rank,
        target_modules=llm_targets(network.llm.config.model_type), task_type="CAUSAL_LM",
    )  # fmt: skip
    network.llm = get_peft_model(network.llm, lora, adapter_name=SINGLE)


def adapt_qformer(network: RSMoE, sizes: NetworkRecipe) -> None:
    """Freeze the VLM encoder but for LoRA in the Q-Former and the projection, which is trained in full."""
    rank = sizes.qformer_lora_rank
    network.vlm_encoder.requires_grad_(False)
    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=QFORMER_TARGETS), network.vlm_encoder.qformer
    )
    network.vlm_encoder.projection.requires_grad_(True)


@dataclass(frozen=True)
class Place:
    """One row of the table: modules of one kind that a stage trains.

    Attributes:
        part: "Q-Former", "projection", "LLM" or "router".
        module: its name with `*` for the layer's number.
        count: how many there are. parameters: trained ones in all of them together.
        how: "LoRA" or "in full".
    """

    stage: str
    part: str
    module: str
    count: int
    parameters: int
    how: str


def placement(recipe: Recipe) -> list[Place]:
    """What each stage trains, found on a network of the recipe's true size that has shapes and no weights.

    Raises:
        UserError: the LLM's sizes or architecture are not known.
    """
    network = meta_network(recipe)
    network.requires_grad_(False)
    adapt_llm(network, recipe.network)
    adapt_qformer(network, recipe.network)
    first = [*_places("stage1", "Q-Former", network.vlm_encoder.qformer), *_places("stage1", "LLM", network.llm)]
    projection = sum(p.numel() for p in network.vlm_encoder.projection.parameters())
    first.insert(-1, Place("stage1", "projection", "projection", 1, projection, "in full"))
    first.sort(key=lambda place: ("Q-Former", "projection", "LLM").index(place.part))
    router = sum(p.numel() for p in network.router.parameters())
    experts = len(recipe.network.experts)
    second = [
        Place("stage2", place.part, place.module, place.count * experts, place.parameters * experts, place.how)
        for place in first
        if place.part == "LLM"
    ]
    second.append(Place("stage2", "router", "router", 1, router, "in full"))
    return [place for place in (*first, *second) if getattr(recipe, place.stage)]


def meta_network(recipe: Recipe) -> RSMoE:
    """The network of a recipe on the meta device: true shapes, no memory.

    Without weights its vocabulary is the recipe's, which little text may not fill.

    Raises:
        UserError: the sizes of the LLM that the recipe names are not known.
    """
    own = recipe.network
    if recipe.weights is None:
        sizes = LLMSizes(
            "llama", own.llm_dim, own.llm_layers, own.llm_heads, own.llm_heads, own.llm_mlp, own.vocabulary, tied=True
        )
        config = fresh_config(recipe, own.vocabulary, [])
    else:
        sizes = llm_sizes(recipe.weights.llm)
        config = network_config(recipe, sizes.width)
    with torch.device("meta"):
        return RSMoE(config, _meta_llm(sizes), cast(Any, None))


def network_config(
    recipe: Recipe, llm_dim: int, *, vit: ViTConfig | None = None, qformer: PlainQFormerConfig | None = None,
    styles: Sequence[str] = (),
) -> RSMoEConfig:  # fmt: skip
    """The configuration of a checkpoint whose parts have weights; `vit` and `qformer` as published unless given."""
    assert recipe.weights is not None
    sizes = recipe.network
    router = RouterConfig(soft_prompts=sizes.soft_prompts, rank=sizes.router_rank, reads=sizes.router_reads)
    common: dict[str, Any] = {
        "name": recipe.name, "router": router, "llm": recipe.weights.llm, "llm_dim": llm_dim,
        "experts": recipe.network.experts, "composer_styles": list(styles), "own_words": True,
    }  # fmt: skip
    if recipe.weights.encoder is None:
        from rsagent.model.checkpoint import read_config
        from rsagent.model.shipped import checkpoint_folder

        start = read_config(checkpoint_folder(recipe.start))
        seen = start.vlm_encoder
        if not isinstance(seen, PlainQFormerConfig):
            seen = VLMEncoderConfig.model_validate({**seen.model_dump(), "merge": sizes.merge})
        return RSMoEConfig(image_encoder=start.image_encoder, vlm_encoder=seen, **common)
    return RSMoEConfig(
        image_encoder=vit or ViTConfig(kind="vit"), vlm_encoder=qformer or PlainQFormerConfig(kind="instructblip"), **common
    )


def _meta_llm(sizes: LLMSizes) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    raw = sizes.config()
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(raw.pop("model_type"), **raw))


def _places(stage: str, part: str, module: nn.Module) -> list[Place]:
    """The modules with LoRA, layers of one kind in one row, in the order of the network."""
    found: dict[str, list[int]] = {}
    for name, layer in module.named_modules():
        parameters = sum(p.numel() for p in layer.parameters(recurse=False) if p.requires_grad)
        if parameters:
            found.setdefault(_kind_of(name), []).append(parameters)
    merged: dict[str, list[int]] = {}
    for name, counts in found.items():  # LoRA's two matrices are one place
        target, matrix, _ = name.partition(".lora_")
        assert matrix, f"{name} is trained, and no LoRA"
        merged.setdefault(target, []).extend(counts)
    return [Place(stage, part, name, len(counts) // 2, sum(counts), "LoRA") for name, counts in merged.items()]


def _kind_of(name: str) -> str:
    name = name.removeprefix("base_model.model.")
    return re.sub(r"\.\d+\.", ".*.", name)

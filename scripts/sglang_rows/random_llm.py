"""Checkpoints with untrained LLMs of other sizes and kinds, with the tokenizer of a checkpoint that there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from rsagent.model.checkpoint import load_checkpoint, save_checkpoint
from rsagent.training.fresh import fresh_network
from rsagent.training.llm_sizes import LLM_TARGETS
from rsagent.training.recipe import Recipe

_FUSED = {"phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}


def random_checkpoint(model: Path, folder: Path, kind: str, width: int, layers: int) -> None:
    """Write to `folder` an RS-MoE checkpoint with an untrained LLM of `kind` that is loud enough to say different things.

    However wide the LLM is, its attention and its MLP stay narrow, so that it costs next to nothing.
    """
    runs = dict.fromkeys(("encoder", "base", "stage1", "stage2"), {"samples": 8, "batch": 4})
    runs["composer"] = {"samples": 8, "batch": 4, "reports": 6}
    sizes = {"llm_dim": width, "llm_layers": 1, "llm_heads": 4, "llm_mlp": 128, "lora_rank": 4, "queries_side": 3}
    recipe = Recipe.model_validate({"name": kind, "scenes": 8, "network": sizes, **runs})
    tokenizer = load_checkpoint(model).tokenizer
    network = fresh_network(recipe, tokenizer, [])
    network.llm = _llm(kind, tokenizer, width, layers)
    lora = LoraConfig(r=4, target_modules=_FUSED.get(kind, LLM_TARGETS["llama"]), task_type="CAUSAL_LM")
    first, *others = network.config.experts
    network.llm = get_peft_model(network.llm, lora, adapter_name=first)
    for name in others:
        network.llm.add_adapter(name, lora)
    scale = 2.4 / width**0.5
    with torch.no_grad():
        for name, parameter in network.llm.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.2 if "lora_B" in name else scale)
    save_checkpoint(network, folder, half=True)


def _llm(kind: str, tokenizer: Any, width: int, layers: int) -> Any:
    """An untrained LLM of a `model_type` of transformers."""
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, head_dim=min(width // 4, 32), intermediate_size=128, max_position_embeddings=1024,
        original_max_position_embeddings=1024, tie_word_embeddings=False, sliding_window=None,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)

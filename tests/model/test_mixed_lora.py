"""Adapters mixed by row give PEFT's own numbers, and what is more than plain LoRA is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from rsagent.errors import CheckpointError
from rsagent.model.mixed_lora import mix_adapters


def adapted(**configs: LoraConfig) -> PeftModel:
    torch.manual_seed(0)
    sizes = LlamaConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
    llm: Any = LlamaForCausalLM(sizes)
    for index, (name, config) in enumerate(configs.items()):
        if index == 0:
            llm = get_peft_model(llm, config, adapter_name=name)
        else:
            llm.add_adapter(name, config)
    for name, parameter in llm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return llm.eval()


def test_adapters_of_other_ranks_scales_and_places():
    configs = {
        "small": LoraConfig(r=2, lora_alpha=7, target_modules=["q_proj"]),
        "large": LoraConfig(r=6, lora_alpha=3, target_modules=["q_proj", "down_proj"], use_rslora=True),
        "other": LoraConfig(r=3, target_modules=["v_proj", "up_proj"]),
    }
    llm = adapted(**configs)
    ids = torch.arange(12).view(1, 12)
    expected: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for name in configs:
            llm.set_adapter(name)
            expected[name] = llm(input_ids=ids).logits
        with llm.disable_adapter():
            bare = llm(input_ids=ids).logits
        plain, mixed = mix_adapters(llm)
        rows = ["other", "small", "large", "small"]
        with mixed.rows(rows):
            found = plain(input_ids=ids.expand(4, -1)).logits
        after = plain(input_ids=ids).logits
    for row, name in enumerate(rows):
        torch.testing.assert_close(found[row : row + 1], expected[name], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after, bare, atol=1e-6, rtol=1e-5)  # outside the context no adapter is at work


@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"trainable_token_indices": [1, 2]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_more_than_plain_lora_is_refused(options: dict[str, Any]):
    llm = adapted(expert=LoraConfig(**{"r": 2, "target_modules": ["q_proj"], **options}))
    with pytest.raises(CheckpointError, match="plain LoRA") as caught:
        mix_adapters(llm)
    assert "\n" not in str(caught.value)

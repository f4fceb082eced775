"""A checkpoint whose LLM lies inside an InstructBLIP, as that of the paper's Vicuna recipe does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any


def with_llm_inside_instructblip(checkpoint: Path, folder: Path) -> Path:
    """A copy of `checkpoint` in `folder`; its own LLM becomes a part of a sharded InstructBLIP beside it."""
    import torch
    from transformers import AutoModelForCausalLM, InstructBlipConfig, InstructBlipForConditionalGeneration

    copy, outer = folder / "checkpoint", folder / "instructblip"
    shutil.copytree(checkpoint, copy)
    llm = AutoModelForCausalLM.from_pretrained(copy / "llm", dtype=torch.float32)
    small: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = InstructBlipConfig(
        vision_config={**small, "image_size": 28},
        qformer_config={**small, "vocab_size": 100, "encoder_hidden_size": 32},
        text_config=llm.config.to_dict(),
        num_query_tokens=4,
    )
    model = InstructBlipForConditionalGeneration(config)
    model.language_model.load_state_dict(llm.state_dict())
    model.save_pretrained(outer, max_shard_size="100KB")
    _shorten(outer / "config.json")
    shutil.rmtree(copy / "llm")
    file = copy / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "llm": str(outer)}))
    return copy


def _shorten(file: Path) -> None:
    """Published configurations leave out what is the default."""
    from transformers import LlamaConfig

    config, defaults = json.loads(file.read_text()), LlamaConfig().to_dict()
    inner = config["text_config"]
    config["text_config"] = {key: inner[key] for key in inner if key == "model_type" or inner[key] != defaults.get(key)}
    file.write_text(json.dumps(config))

"""The sizes of published LLMs and their modules' names: placement, memory and time come from these, without a download.

Each entry is what the model's own `config.json` says of its shape, by its hub id. A folder on disk is asked for its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsagent.errors import UserError


@dataclass(frozen=True)
class LLMSizes:
    """The shape of a causal LM. Widths in channels; `kv_heads` are fewer than `heads` with grouped queries.

    Attributes:
        architecture: transformers' `model_type`, which also names the modules.
        tied: whether the output layer is the table of the input's embeddings.
        extra: what else the architecture's configuration needs.
    """

    architecture: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int
    tied: bool
    extra: tuple[tuple[str, Any], ...] = ()

    def config(self) -> dict[str, Any]:
        """The keys of a `config.json`."""
        return {
            "model_type": self.architecture,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.mlp,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            **dict(self.extra),
        }


_LLAMA_7B = LLMSizes("llama", 4096, 32, 32, 32, 11008, 32000, tied=False)
PUBLISHED: dict[str, LLMSizes] = {
    "meta-llama/Llama-3.2-1B": LLMSizes("llama", 2048, 16, 32, 8, 8192, 128256, tied=True),
    "meta-llama/Llama-3.2-3B": LLMSizes("llama", 3072, 28, 24, 8, 8192, 128256, tied=True),
    "meta-llama/Llama-3.1-8B": LLMSizes("llama", 4096, 32, 32, 8, 14336, 128256, tied=False),
    "stabilityai/stablelm-2-1_6b": LLMSizes(
        "stablelm", 2048, 24, 32, 32, 5632, 100352, tied=False, extra=(("use_qkv_bias", True),)
    ),
    "Qwen/Qwen1.5-1.8B": LLMSizes("qwen2", 2048, 24, 16, 16, 5504, 151936, tied=False),
    "Qwen/Qwen2.5-1.5B": LLMSizes("qwen2", 1536, 28, 12, 2, 8960, 151936, tied=True),
    "microsoft/phi-2": LLMSizes("phi", 2560, 32, 32, 32, 10240, 51200, tied=False),
    "huggyllama/llama-7b": _LLAMA_7B,
    "Salesforce/instructblip-vicuna-7b": LLMSizes("llama", 4096, 32, 32, 32, 11008, 32001, tied=False),
    "lmsys/vicuna-7b-v1.5": _LLAMA_7B,
    "HuggingFaceTB/SmolLM2-135M-Instruct": LLMSizes("llama", 576, 30, 9, 3, 1536, 49152, tied=True),
}


_GATED = ["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]
LLM_TARGETS: dict[str, list[str]] = {
    "llama": _GATED,
    "stablelm": _GATED,
    "qwen2": _GATED,
    "phi": ["q_proj", "v_proj", "fc1", "fc2"],
}
"""By architecture the modules of query, value and feed-forward network; lists, since servers of adapters read nothing else."""


def llm_targets(architecture: str) -> list[str]:
    """The LLM's modules that carry LoRA.

    Raises:
        UserError: an architecture whose modules are not known here.
    """
    if architecture not in LLM_TARGETS:
        raise UserError(f"no LoRA targets are known for LLMs of the type '{architecture}': choose {', '.join(LLM_TARGETS)}")
    return LLM_TARGETS[architecture]


def llm_sizes(name: str) -> LLMSizes:
    """The sizes of the LLM that a recipe names: of a folder by its `config.json`, else as published.

    Raises:
        UserError: nobody knows them.
    """
    folder = Path(name)
    if folder.is_dir():
        return _of_folder(folder)
    if name in PUBLISHED:
        return PUBLISHED[name]
    raise UserError(
        f"the sizes of '{name}' are not known: give a folder that holds its config.json, or one of {', '.join(PUBLISHED)}"
    )


def _of_folder(folder: Path) -> LLMSizes:
    try:
        raw: Any = json.loads((folder / "config.json").read_text("utf-8"))
        return read_sizes(raw["text_config"] if raw.get("model_type") == "instructblip" else raw)
    except OSError as error:
        raise UserError(f"{folder} is no folder of an LLM: it has no config.json that can be read") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'} does not say the LLM's sizes: {error}") from error


def read_sizes(raw: dict[str, Any]) -> LLMSizes:
    """The sizes in the content of a `config.json`.

    Raises:
        KeyError, ValueError, TypeError: it lacks one, or one is no number.
    """
    heads = int(raw["num_attention_heads"])
    return LLMSizes(
        str(raw["model_type"]), int(raw["hidden_size"]), int(raw["num_hidden_layers"]), heads,
        int(raw.get("num_key_value_heads") or heads), int(raw["intermediate_size"]), int(raw["vocab_size"]),
        bool(raw.get("tie_word_embeddings", False)),
        tuple(sorted((key, value) for key, value in raw.items() if key in _ALSO)),
    )  # fmt: skip


_ALSO = frozenset({"use_qkv_bias", "attention_bias", "mlp_bias", "head_dim"})

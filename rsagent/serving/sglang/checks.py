"""What a checkpoint must be to run on SGLang, checked before a server is started: by its configurations and headers alone.

SGLang drops, ignores or dies of adapters that PEFT takes without a word; here each of those is refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rsagent.errors import CheckpointError
from rsagent.model.checkpoint import adapter_names, read_config
from rsagent.model.config import RSMoEConfig
from rsagent.serving.sglang.llm_files import BaseLLM, find_llm, read_header, read_json

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj")
"""The layers that an adapter may change."""

_TENSOR = re.compile(r"base_model\.model\.model\.layers\.([0-9]{1,4})\.(?:self_attn|mlp)\.([a-z_]{1,32})\.lora_([AB])\.weight")
_REFUSED = (
    "use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices",
    "megatron_config",
)  # fmt: skip
_MLP = ("gate_proj", "up_proj", "down_proj", "gate_up_proj")
_CPU_WIDTH = 32


@dataclass(frozen=True)
class Adapter:
    """One adapter as the server needs to know it."""

    name: str
    folder: Path
    rank: int
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Servable:
    """A checkpoint that can be served: its configuration, its LLM, its adapters."""

    folder: Path
    config: RSMoEConfig
    llm: BaseLLM
    adapters: tuple[Adapter, ...]

    @property
    def rank(self) -> int:
        """The largest rank among the adapters."""
        return max(adapter.rank for adapter in self.adapters)

    @property
    def targets(self) -> tuple[str, ...]:
        """Every layer that some adapter changes."""
        return tuple(target for target in TARGETS if any(target in adapter.targets for adapter in self.adapters))


def check_checkpoint(folder: Path) -> Servable:
    """Everything about a checkpoint that a server needs.

    Raises:
        CheckpointError: it is no checkpoint, or SGLang could not serve it; the message names what and why.
    """
    config = read_config(folder)
    llm = find_llm(folder, config)
    names = adapter_names(folder / "experts")
    return Servable(folder, config, llm, tuple(check_adapter(folder / "experts" / name, llm.config) for name in names))


def check_cpu(servable: Servable, tp: int) -> None:
    """That SGLang's CPU engine does not widen the LLM's MLP, which the adapters would no longer fit.

    Raises:
        CheckpointError: it would, and would end with the first request for an adapter.
    """
    width, multiple = int(servable.llm.config.get("intermediate_size") or 0), _CPU_WIDTH * tp
    if width % multiple and any(target in _MLP for target in servable.targets):
        reason = f"its intermediate_size {width} is no multiple of {multiple}, and its adapters would not fit"
        raise CheckpointError(f"the LLM in {servable.llm.folder} cannot be served on a CPU: {reason}")


def check_adapter(folder: Path, llm_config: dict[str, Any]) -> Adapter:
    """One adapter, by its configuration and the names and shapes of its tensors.

    Raises:
        CheckpointError: SGLang would refuse it, drop a part of it, or read it differently than PEFT does.
    """
    config = read_json(folder / "adapter_config.json")
    where = f"the adapter {folder}"
    if config.get("peft_type") != "LORA":
        raise CheckpointError(f"{where} is no LoRA adapter but {config.get('peft_type')!r}")
    for field in _REFUSED:
        if config.get(field):
            raise CheckpointError(f"{where} has {field}, which SGLang does not serve as PEFT does: train plain LoRA")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        raise CheckpointError(f"{where} trains biases, which SGLang does not serve: train a plain LoRA adapter")
    if (folder / "added_tokens.json").exists():
        raise CheckpointError(f"{where} adds words to the vocabulary, which SGLang does not serve")
    rank, targets = config.get("r"), config.get("target_modules")
    if not isinstance(rank, int) or not 1 <= rank <= 1024 or not isinstance(config.get("lora_alpha"), (int, float)):
        raise CheckpointError(f"{where} has the rank {rank!r} and the alpha {config.get('lora_alpha')!r}")
    if not isinstance(targets, list) or not targets:
        raise CheckpointError(f"{where} names its target_modules as {targets!r}: name each layer, such as q_proj")
    named = sorted({str(target).rsplit(".", 1)[-1] for target in cast("list[Any]", targets)})
    if odd := [target for target in named if target not in TARGETS]:
        raise CheckpointError(f"{where} changes {odd[0]}: only {', '.join(TARGETS)} of the language model can be served")
    _check_tensors(folder / "adapter_model.safetensors", rank, llm_config)
    return Adapter(folder.name, folder, rank, tuple(named))


def _check_tensors(file: Path, rank: int, llm_config: dict[str, Any]) -> None:
    layers, sizes = int(llm_config.get("num_hidden_layers") or 0), _sizes(llm_config)
    header = read_header(file)
    for name, shape in header.items():
        found = _TENSOR.fullmatch(name)
        if found is None or found[2] not in sizes:
            raise CheckpointError(f"{file} holds {name[:100]}: no part of the language model, SGLang would drop it")
        if int(found[1]) >= layers:
            raise CheckpointError(f"{file} changes layer {found[1]}, the LLM has {layers}")
        first = found[3] == "A"
        if len(shape) != 2 or shape[0 if first else 1] != rank:
            raise CheckpointError(f"{file}: {name} has the shape {shape}, which is not of rank {rank}")
        if shape[1 if first else 0] != (width := sizes[found[2]][0 if first else 1]):
            raise CheckpointError(f"{file}: {name} has the shape {shape}, the LLM is {width} wide there: it is of another LLM")
        other = name.replace(f".lora_{found[3]}.", ".lora_B." if first else ".lora_A.")
        if other not in header:
            raise CheckpointError(f"{file} holds {name} without its other half")


def _sizes(llm_config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """For each layer that an adapter may change, how many numbers go in and come out."""
    hidden, mlp = int(llm_config.get("hidden_size") or 0), int(llm_config.get("intermediate_size") or 0)
    heads = int(llm_config.get("num_attention_heads") or 1)
    head = int(llm_config.get("head_dim") or hidden // heads)
    queries, keys = heads * head, int(llm_config.get("num_key_value_heads") or heads) * head
    sizes = {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys), "o_proj": (queries, hidden)}
    sizes |= {"gate_proj": (hidden, mlp), "up_proj": (hidden, mlp), "down_proj": (mlp, hidden)}
    return {**sizes, "qkv_proj": (hidden, queries + 2 * keys), "gate_up_proj": (hidden, 2 * mlp)}

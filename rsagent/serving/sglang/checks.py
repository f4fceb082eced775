"""What a checkpoint must be to run on SGLang, checked before a server is started: by its configurations and headers alone.

SGLang drops, ignores or dies of adapters that PEFT takes without a word; here each of those is refused by name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, cast

from rsagent.errors import CheckpointError
from rsagent.model.checkpoint import adapter_names, llm_folder, read_config
from rsagent.model.config import RSMoEConfig

BASES = ("llama", "mistral", "phi3", "qwen2", "qwen3", "stablelm")
"""The `model_type`s of base LLMs that the plugin's model class can take."""

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj")
"""The layers that an adapter may change."""

_TENSOR = re.compile(r"base_model\.model\.model\.layers\.([0-9]{1,4})\.(?:self_attn|mlp)\.([a-z_]{1,32})\.lora_([AB])\.weight")
_REFUSED = (
    "use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices",
    "megatron_config",
)  # fmt: skip
_MLP = ("gate_proj", "up_proj", "down_proj", "gate_up_proj")
_CPU_WIDTH = 32
_MOST_JSON = 1_000_000
_MOST_HEADER = 100_000_000


@dataclass(frozen=True)
class Adapter:
    """One adapter as the server needs to know it."""

    name: str
    folder: Path
    rank: int
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Servable:
    """A checkpoint that can be served: its configuration, its LLM's folder and configuration, its adapters."""

    folder: Path
    config: RSMoEConfig
    llm: Path
    llm_config: dict[str, Any]
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
    llm = llm_folder(folder, config)
    llm_config = read_json(llm / "config.json")
    kind = llm_config.get("model_type")
    if kind not in BASES:
        raise CheckpointError(f"the LLM in {llm} is of the type {kind!r}, which is not served: {', '.join(BASES)}")
    if llm_config.get("hidden_size") != config.llm_dim:
        width = llm_config.get("hidden_size")
        raise CheckpointError(f"the LLM in {llm} is {width} wide, config.json says {config.llm_dim}")
    _check_llm(llm, llm_config)
    names = adapter_names(folder / "experts")
    return Servable(
        folder, config, llm, llm_config, tuple(check_adapter(folder / "experts" / name, llm_config) for name in names)
    )


def check_cpu(servable: Servable, tp: int) -> None:
    """That SGLang's CPU engine does not widen the LLM's MLP, which the adapters would no longer fit.

    Raises:
        CheckpointError: it would, and would end with the first request for an adapter.
    """
    width, multiple = int(servable.llm_config.get("intermediate_size") or 0), _CPU_WIDTH * tp
    if width % multiple and any(target in _MLP for target in servable.targets):
        reason = f"its intermediate_size {width} is no multiple of {multiple}"
        raise CheckpointError(f"the LLM in {servable.llm} cannot be served on a CPU: {reason}, and its adapters would not fit")


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
    layers = int(llm_config.get("num_hidden_layers") or 0)
    for name, shape in read_header(file).items():
        found = _TENSOR.fullmatch(name)
        if found is None:
            raise CheckpointError(f"{file} holds {name[:100]}: no part of the language model, SGLang would drop it")
        if int(found[1]) >= layers:
            raise CheckpointError(f"{file} changes layer {found[1]}, the LLM has {layers}")
        if len(shape) != 2 or shape[0 if found[3] == "A" else 1] != rank:
            raise CheckpointError(f"{file}: {name} has the shape {shape}, which is not of rank {rank}")


def _check_llm(llm: Path, config: dict[str, Any]) -> None:
    """That no layer's weights are missing: SGLang would go on with whatever is in its memory."""
    files = sorted(llm.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"the LLM in {llm} has no safetensors file")
    there = {name for file in files for name in read_header(file)}
    wanted = {"model.embed_tokens.weight", "model.norm.weight"}
    if (index := llm / "model.safetensors.index.json").exists():
        wanted |= set(cast("dict[str, Any]", read_json(index, 100 * _MOST_JSON).get("weight_map") or {}))
    parts = {name.split(".", 3)[3] for name in there if name.startswith("model.layers.0.")}
    layers = int(config.get("num_hidden_layers") or 0)
    wanted |= {f"model.layers.{layer}.{part}" for layer in range(layers) for part in parts}
    if not config.get("tie_word_embeddings"):
        wanted.add("lm_head.weight")
    if missing := sorted(wanted - there):
        raise CheckpointError(f"the LLM in {llm} lacks {len(missing)} tensors, such as {missing[0]}")


def read_header(file: Path) -> dict[str, list[int]]:
    """The names and shapes of the tensors of a safetensors file.

    Raises:
        CheckpointError: it is missing, damaged or no safetensors file.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= _MOST_HEADER:
                raise ValueError("its header has an impossible length")
            header = json.loads(stream.read(length))
        shapes = {name: part["shape"] for name, part in header.items() if name != "__metadata__"}
        end = max((part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"), default=0)
        if file.stat().st_size < 8 + length + end or any(prod(shape) < 0 for shape in shapes.values()):
            raise ValueError("it is cut off")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError(f"{file} is missing, damaged or no safetensors file: {error}") from error
    return cast("dict[str, list[int]]", shapes)


def read_json(file: Path, most: int = _MOST_JSON) -> dict[str, Any]:
    """A JSON object of a file of at most `most` bytes.

    Raises:
        CheckpointError: it is missing, too large or none.
    """
    try:
        if not file.is_file() or file.stat().st_size > most:
            raise ValueError("it is missing, no plain file, or too large for a configuration")
        raw = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{file} holds no JSON object")
    return cast("dict[str, Any]", raw)

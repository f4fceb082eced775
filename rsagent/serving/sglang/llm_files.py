"""The base LLM of a checkpoint as SGLang will read it: its folder, its configuration, and that no tensor is missing.

The LLM may be a part of an InstructBLIP folder, as in the paper's Vicuna recipe; the server then reads that part alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, cast

from rsagent.errors import CheckpointError
from rsagent.model.checkpoint import llm_folder
from rsagent.model.config import RSMoEConfig

BASES = ("llama", "mistral", "phi3", "qwen2", "qwen3", "stablelm")
"""The `model_type`s of base LLMs that the plugin's model class can take."""

PART = "language_model."
"""What the names of the LLM's tensors begin with inside an InstructBLIP."""

_MOST_JSON = 1_000_000
_MOST_HEADER = 100_000_000


@dataclass(frozen=True)
class BaseLLM:
    """An LLM that can be served; `part` is what its tensors' names begin with, "" if the folder is its own."""

    folder: Path
    config: dict[str, Any]
    part: str = ""


def find_llm(folder: Path, config: RSMoEConfig) -> BaseLLM:
    """The LLM of the checkpoint in `folder`, checked.

    Raises:
        CheckpointError: it is not there, of a kind that is not served, or incomplete.
        EngineError: the hub cannot be reached.
    """
    if config.llm.endswith(".gguf"):
        raise CheckpointError(
            f"the LLM is the GGUF file {config.llm}, which is not served with adapters: write it as safetensors with "
            "transformers' save_pretrained, and name that folder as `llm` in the checkpoint's config.json"
        )
    place = llm_folder(folder, config)
    llm_config, part = read_json(place / "config.json"), ""
    if llm_config.get("model_type") == "instructblip":
        llm_config, part = _inner_config(place, llm_config), PART
    kind = llm_config.get("model_type")
    if kind not in BASES:
        raise CheckpointError(f"the LLM in {place} is of the type {kind!r}, which is not served: {', '.join(BASES)}")
    if llm_config.get("hidden_size") != config.llm_dim:
        width = llm_config.get("hidden_size")
        raise CheckpointError(f"the LLM in {place} is {width} wide, config.json says {config.llm_dim}")
    llm = BaseLLM(place, llm_config, part)
    _check_tensors(llm)
    return llm


def _inner_config(place: Path, outer: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the LLM inside an InstructBLIP, which may write down only what differs from the defaults."""
    inner = outer.get("text_config")
    if not isinstance(inner, dict) or cast("dict[str, Any]", inner).get("model_type") not in BASES:
        kind = cast("dict[str, Any]", inner).get("model_type") if isinstance(inner, dict) else None
        raise CheckpointError(f"the LLM inside {place} is of the type {kind!r}, which is not served: {', '.join(BASES)}")
    from transformers import AutoConfig

    try:
        return cast("dict[str, Any]", cast(Any, AutoConfig).for_model(**inner).to_dict())
    except Exception as error:  # a damaged configuration makes transformers raise almost anything
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{place / 'config.json'}: its text_config cannot be used: {said[:200]}") from error


def _check_tensors(llm: BaseLLM) -> None:
    """That no layer's weights are missing: SGLang would go on with whatever is in its memory."""
    files = sorted(llm.folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"the LLM in {llm.folder} has no safetensors file")
    there = {name.removeprefix(llm.part) for file in files for name in read_header(file) if name.startswith(llm.part)}
    wanted = {"model.embed_tokens.weight", "model.norm.weight"}
    if (index := llm.folder / "model.safetensors.index.json").exists():
        named = cast("dict[str, Any]", read_json(index, 100 * _MOST_JSON).get("weight_map") or {})
        wanted |= {name.removeprefix(llm.part) for name in named if name.startswith(llm.part)}
    parts = {name.split(".", 3)[3] for name in there if name.startswith("model.layers.0.")}
    layers = int(llm.config.get("num_hidden_layers") or 0)
    wanted |= {f"model.layers.{layer}.{part}" for layer in range(layers) for part in parts}
    if not llm.config.get("tie_word_embeddings"):
        wanted.add("lm_head.weight")
    if missing := sorted(wanted - there):
        raise CheckpointError(f"the LLM in {llm.folder} lacks {len(missing)} tensors, such as {llm.part}{missing[0]}")


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

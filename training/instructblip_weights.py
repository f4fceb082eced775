"""InstructBLIP's published weights, read into our modules: from its Hugging Face folder, or from LAVIS' own file.

What is taken: the ViT, the Q-Former with its queries, the projection into the LLM and the Q-Former's tokenizer. A LAVIS file
is a pickle, so it is read with `weights_only`, which builds tensors and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rsagent.errors import CheckpointError
from rsagent.model.config import PlainQFormerConfig, ViTConfig
from rsagent.model.instructblip import PlainVLMEncoder, ViTEncoder
from rsagent.model.pretrained import failure, line, weights_folder

_PARTS = {"vision_model.": "vision.", "qformer.": "qformer.", "language_projection.": "projection."}
_BERT = "google-bert/bert-base-uncased"
_VIT_HEAD, _QFORMER_HEAD = 88, 64  # channels of a head, which no tensor's shape tells


@dataclass
class EncoderWeights:
    """An InstructBLIP without its LLM.

    Attributes:
        vision: tensors of `ViTEncoder`. vlm: tensors of `PlainVLMEncoder` without the projection.
        projection: "weight" `(llm_dim, dim)` and "bias", for the LLM that it was trained with.
        tokenizer: what the Q-Former reads instructions with.
    """

    vit: ViTConfig
    qformer: PlainQFormerConfig
    vision: dict[str, Tensor]
    vlm: dict[str, Tensor]
    projection: dict[str, Tensor]
    tokenizer: PreTrainedTokenizerFast

    def fill(self, image_encoder: ViTEncoder, vlm_encoder: PlainVLMEncoder) -> bool:
        """Put the weights into the modules; returns whether the projection fitted and was taken too.

        Raises:
            CheckpointError: a tensor is missing, unknown, or of another shape.
        """
        state = dict(self.vlm)
        own = vlm_encoder.projection.state_dict()
        fits = self.projection.keys() == own.keys() and all(own[k].shape == t.shape for k, t in self.projection.items())
        state |= {f"projection.{key}": tensor for key, tensor in (self.projection if fits else own).items()}
        for module, tensors, what in ((image_encoder, self.vision, "ViT"), (vlm_encoder, state, "Q-Former")):
            try:
                module.load_state_dict(tensors)
            except RuntimeError as error:
                detail = str(error).split("\n", 1)[-1].strip()
                raise CheckpointError(f"InstructBLIP's {what} does not fit: {line(Exception(detail))}") from error
        return fits


def read_instructblip(name: str, vision: str | None = None) -> EncoderWeights:
    """InstructBLIP by hub id, folder, or LAVIS .pth; `vision` is the ViT's .pth where that file lacks it.

    Raises:
        CheckpointError: it is not there, damaged, or no InstructBLIP; the message says what to do.
        EngineError: the hub cannot be reached.
    """
    return _from_lavis(Path(name), vision) if name.endswith((".pth", ".pt")) else _from_folder(name)


def _from_folder(name: str) -> EncoderWeights:
    folder = weights_folder(name)
    try:
        raw: Any = json.loads((folder / "config.json").read_text("utf-8"))
        if raw.get("model_type") != "instructblip":
            raise CheckpointError(f"{folder} is of the type '{raw.get('model_type')}', no InstructBLIP")
        vit, qformer = _configs(raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe an InstructBLIP: {line(error)}") from error
    state: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with cast(Any, safe_open)(file, "pt") as stored:
                for key in stored.keys():
                    plain = key.removeprefix("model.")
                    if plain == "query_tokens" or plain.startswith(tuple(_PARTS)):  # the LLM's gigabytes stay where they are
                        state[plain] = stored.get_tensor(key).float()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is damaged: {line(error)}") from error
    place = folder / "qformer_tokenizer"
    return _sorted_out(state, vit, qformer, _tokenizer(str(place)), str(folder))


def _configs(raw: dict[str, Any]) -> tuple[ViTConfig, PlainQFormerConfig]:
    """The sizes in a `config.json`, which leaves out what is as published."""
    see, ask = raw.get("vision_config") or {}, raw.get("qformer_config") or {}
    vit = ViTConfig(
        kind="vit",
        size=see.get("image_size", 224), patch=see.get("patch_size", 14), width=see.get("hidden_size", 1408),
        layers=see.get("num_hidden_layers", 39), heads=see.get("num_attention_heads", 16),
        mlp=see.get("intermediate_size", 6144),
    )  # fmt: skip
    positions = int(ask.get("max_position_embeddings", 512))
    qformer = PlainQFormerConfig(
        kind="instructblip",
        queries=raw.get("num_query_tokens", 32), dim=ask.get("hidden_size", 768), layers=ask.get("num_hidden_layers", 12),
        heads=ask.get("num_attention_heads", 12), mlp=ask.get("intermediate_size", 3072),
        cross_every=ask.get("cross_attention_frequency", 2), vocabulary=ask.get("vocab_size", 30522),
        positions=positions, max_words=min(128, positions), image_dim=vit.width,
    )  # fmt: skip
    return vit, qformer


def _from_lavis(file: Path, vision: str | None) -> EncoderWeights:
    state = _read_pickle(file)
    if vision is not None:
        state |= {f"visual_encoder.{key}": tensor for key, tensor in _read_pickle(Path(vision)).items()}
    if not any(key.startswith("visual_encoder.") for key in state):
        raise CheckpointError(f"{file} has no ViT: name LAVIS' eva_vit_g.pth as weights.vision")
    renamed = _biases_joined({ours: tensor.float() for key, tensor in state.items() if (ours := _lavis_name(key))})
    try:
        vit, qformer = _sizes_of(renamed)
    except KeyError as error:
        raise CheckpointError(f"{file} is no InstructBLIP of LAVIS: it has no {error}") from error
    renamed = {
        key: tensor for key, tensor in renamed.items() if _layer(key) < vit.layers or not key.startswith("vision_model.")
    }
    beside = file.parent / "qformer_tokenizer"
    return _sorted_out(renamed, vit, qformer, _tokenizer(str(beside) if beside.is_dir() else _BERT), str(file))


def _read_pickle(file: Path) -> dict[str, Tensor]:
    try:
        raw: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
    except Exception as error:  # whatever is no plain pickle of tensors
        raise failure(f"{file} holds more than tensors, or is damaged", error) from error
    state = raw.get("model", raw) if isinstance(raw, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds no tensors by name")
    return {str(key): tensor for key, tensor in cast("dict[Any, Any]", state).items() if isinstance(tensor, Tensor)}


# what LAVIS calls a part, and what transformers does; the first match counts
_RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^visual_encoder\.cls_token$", "vision_model.embeddings.class_embedding"),
        (r"^visual_encoder\.pos_embed$", "vision_model.embeddings.position_embedding"),
        (r"^visual_encoder\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
        (r"^visual_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_model.encoder.layers.\1.layer_norm\2."),
        (r"^visual_encoder\.blocks\.(\d+)\.attn\.proj\.", r"vision_model.encoder.layers.\1.self_attn.projection."),
        (r"^visual_encoder\.blocks\.(\d+)\.attn\.", r"vision_model.encoder.layers.\1.self_attn."),
        (r"^visual_encoder\.blocks\.(\d+)\.mlp\.", r"vision_model.encoder.layers.\1.mlp."),
        (r"^ln_vision\.", "vision_model.post_layernorm."),
        (r"^Qformer\.bert\.embeddings\.LayerNorm\.", "qformer.embeddings.layernorm."),
        (r"^Qformer\.bert\.(.*attention)\.self\.", r"qformer.\1.attention."),
        (r"^Qformer\.bert\.", "qformer."),
        (r"^(?:llm_proj|t5_proj|opt_proj)\.", "language_projection."),
        (r"^query_tokens$", "query_tokens"),
    )
]


def _lavis_name(key: str) -> str | None:
    """Our name of a LAVIS tensor; None for what is not wanted (the LLM, heads, positions as numbers)."""
    if key.endswith("position_ids"):
        return None
    for pattern, replacement in _RENAMED:
        if pattern.match(key):
            return pattern.sub(replacement, key)
    return None


def _biases_joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LAVIS keeps the biases of queries and values apart and has none for keys; here the three stand in a row."""
    joined = {key: tensor for key, tensor in state.items() if not key.endswith((".q_bias", ".v_bias"))}
    for key, queries in state.items():
        if key.endswith(".q_bias"):
            place = key.removesuffix("q_bias")
            joined[f"{place}qkv.bias"] = torch.cat([queries, torch.zeros_like(queries), state[f"{place}v_bias"]])
    return joined


def _sizes_of(state: Mapping[str, Tensor]) -> tuple[ViTConfig, PlainQFormerConfig]:
    """The sizes that the shapes tell. LAVIS' ViT file has one block more than InstructBLIP uses, its last."""
    patch = state["vision_model.embeddings.patch_embedding.weight"]
    width, side = patch.shape[0], patch.shape[-1]
    tokens = state["vision_model.embeddings.position_embedding"].shape[1] - 1
    blocks = {_layer(key) for key in state if key.startswith("vision_model.encoder.layers.")}
    words = state["qformer.embeddings.word_embeddings.weight"]
    layers = {_layer(key) for key in state if key.startswith("qformer.encoder.layer.")}
    crossed = sorted(_layer(key) for key in state if key.endswith("crossattention.attention.query.weight"))
    positions = int(state["qformer.embeddings.position_embeddings.weight"].shape[0])
    count = len(blocks) - 1 if len(blocks) == 40 else len(blocks)
    vit = ViTConfig(
        kind="vit", size=int(tokens**0.5) * side, patch=side, width=width, layers=count, heads=max(1, width // _VIT_HEAD),
        mlp=state["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
    )  # fmt: skip
    qformer = PlainQFormerConfig(
        kind="instructblip", queries=state["query_tokens"].shape[-2], dim=words.shape[1], layers=len(layers),
        heads=max(1, words.shape[1] // _QFORMER_HEAD), mlp=state["qformer.encoder.layer.0.intermediate.dense.weight"].shape[0],
        cross_every=crossed[1] - crossed[0] if len(crossed) > 1 else len(layers), vocabulary=words.shape[0],
        positions=positions, max_words=min(128, positions), image_dim=width,
    )  # fmt: skip
    return vit, qformer


def _layer(key: str) -> int:
    found = re.search(r"\.layers?\.(\d+)\.", key)
    return int(found[1]) if found else -1


def _sorted_out(
    state: Mapping[str, Tensor], vit: ViTConfig, qformer: PlainQFormerConfig, tokenizer: PreTrainedTokenizerFast, where: str
) -> EncoderWeights:
    if "query_tokens" not in state:
        raise CheckpointError(f"{where} is no InstructBLIP: it has no query_tokens")
    parts: dict[str, dict[str, Tensor]] = {ours: {} for ours in _PARTS.values()}
    for key, tensor in state.items():
        for theirs, ours in _PARTS.items():
            if key.startswith(theirs):
                parts[ours][key.removeprefix(theirs)] = tensor
    vision = {f"vision.{key}": tensor for key, tensor in parts["vision."].items()}
    vlm = {f"qformer.{key}": tensor for key, tensor in parts["qformer."].items() if not key.endswith("position_ids")}
    vlm["query_tokens"] = state["query_tokens"].reshape(-1, state["query_tokens"].shape[-1])
    if len(tokenizer) > qformer.vocabulary:
        raise CheckpointError(f"the Q-Former of {where} knows {qformer.vocabulary} tokens, its tokenizer has {len(tokenizer)}")
    return EncoderWeights(vit, qformer, vision, vlm, parts["projection."], tokenizer)


def _tokenizer(place: str) -> PreTrainedTokenizerFast:
    """The Q-Former's tokenizer; BERT's gets the one token that LAVIS adds."""
    try:
        tokenizer: Any = cast(Any, AutoTokenizer.from_pretrained)(place, trust_remote_code=False)
    except Exception as error:  # the Rust parser raises bare Exceptions
        raise failure(
            f"no tokenizer of the Q-Former at {place}: it is `qformer_tokenizer/` beside the weights", error
        ) from error
    if place == _BERT:
        tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    if tokenizer.pad_token is None:
        raise CheckpointError(f"the Q-Former's tokenizer at {place} has no token for padding")
    return cast(PreTrainedTokenizerFast, tokenizer)

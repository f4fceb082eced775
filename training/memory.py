"""The memory that one pass of stage I needs, from the shapes of its batch, and what a process on this machine holds.

What is kept for the backward pass was counted (`tests/training/test_memory.py` counts it again).
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from torch import Tensor

from rsagent.model.config import PlainQFormerConfig
from rsagent.model.network import RSMoE
from rsagent.training.batches import IGNORE
from rsagent.training.language import even_parts, told_places
from rsagent.training.llm_sizes import LLMSizes, read_sizes
from rsagent.training.plan import layer_bytes

HEAP = 1.4
"""What the C library's heap holds on a CPU over what is alive in it, since tensors of a few megabytes leave gaps behind.

Measured: 1.3 to 1.5, on three LLMs (`scripts/measure_training.py --rows memory`).
"""


def expected_bytes(network: RSMoE, batch: dict[str, Tensor], rank: int, *, checkpointing: bool = False) -> float | None:
    """What this process will have held at most after one pass on the CPU; None where the system does not say what it holds."""
    for parameter in (*network.vlm_encoder.parameters(), *network.llm.parameters()):
        parameter.detach().flatten()[::512].sum()  # weights are mapped, and held once they are read
    held = resident_bytes()
    return None if held is None else held + HEAP * pass_bytes(network, batch, rank, checkpointing=checkpointing)


def pass_bytes(network: RSMoE, batch: dict[str, Tensor], rank: int, *, checkpointing: bool = False) -> float:
    """Bytes beside the weights at the peak of a forward and a backward pass under bfloat16 autocast.

    Args:
        network: on a CPU its LLM keeps the attention (transformers' `eager`), elsewhere it does not (`sdpa`).
        batch: as `Collator` gives it.
        rank: of the LLM's LoRA.
        checkpointing: whether the LLM's activations are computed twice instead of being kept.
    """
    llm = read_sizes(network.llm.config.to_dict())
    fewest, last = kept_bytes(network, llm, batch, rank, checkpointing=checkpointing), 0.0
    for part, length in even_parts(batch["segment"], network.config.visual_tokens):  # a part's logits go before the next come
        labels = batch["labels"][part, :length]
        last = (2.0 * len(labels) * len(told_places(labels)) + 6.0 * int((labels != IGNORE).sum())) * llm.vocabulary
    return fewest + last


def kept_bytes(network: RSMoE, llm: LLMSizes, batch: dict[str, Tensor], rank: int, *, checkpointing: bool = False) -> float:
    """Bytes that the forward pass keeps for the backward one: padding costs what tokens cost."""
    prefix = network.config.visual_tokens
    shapes = [(part.stop - part.start, prefix + length) for part, length in even_parts(batch["segment"], prefix)]
    tokens = sum(rows * length for rows, length in shapes)
    layer = layer_bytes(llm, rank)
    each = 4 * llm.width * llm.layers + layer if checkpointing else layer * llm.layers
    targets = int((batch["labels"] != IGNORE).sum())
    if network.llm.config._attn_implementation == "eager":  # the softmax in float32, and what the values are weighed by
        looks = 6 * llm.heads * sum(rows * length**2 for rows, length in shapes)
        looks *= 1 if checkpointing else llm.layers
    else:
        looks = 0
    seen = len(batch["words"]) * _seen_bytes(network, batch["words"].shape[1])
    return looks + tokens * each + 4.0 * targets * llm.vocabulary + seen


def _seen_bytes(network: RSMoE, words: int) -> float:
    """Bytes that the VLM encoder keeps for one row."""
    encoder, tokens = network.config.vlm_encoder, network.config.queries + words
    if isinstance(encoder, PlainQFormerConfig):
        return encoder.layers * 34.0 * encoder.dim * tokens
    seen = sum(side**2 for side in network.image_encoder.grid)  # tokens of the picture, which every layer reads
    read = 4 * encoder.token_dim + 4 * encoder.dim + 2 * encoder.heads * network.config.queries
    return encoder.layers * (54.0 * encoder.dim * tokens + seen * read)


def resident_bytes() -> float | None:
    """What this process holds now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return None
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def peak_bytes() -> float:
    """What this process has held at most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

"""What a forward pass keeps for the backward one, counted for the tests of estimates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def bytes_kept(network: nn.Module, forward: Callable[[], object]) -> int:
    """Bytes that `forward` keeps under bfloat16 autocast, the parameters of `network` left out."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    seen: dict[int, int] = {}
    alive: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # or its memory would be handed out again, and counted once
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        forward()
    return sum(seen.values())

"""Several LoRA adapters in one batch, one a row, without PEFT's loop over adapters.

PEFT's mixed batches run every adapter of a layer in turn (index, multiply, scatter); with a small LLM that costs more than
the LLM itself. Here the adapters of a layer are stacked and each row takes its own by index, so a layer costs two small
batched products however many adapters there are. PEFT still reads and writes the adapters; this is only how they run.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from rsagent.errors import CheckpointError


class MixedLinear(nn.Module):
    """A frozen linear layer and all adapters' low-rank changes: `down` `(adapters, in, rank)`, `up` `(adapters, rank, out)`."""

    def __init__(self, base: nn.Module, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.base = base
        self.register_buffer("down", down, persistent=False)
        self.register_buffer("up", up, persistent=False)
        self.chosen: tuple[Tensor, Tensor] | None = None

    def choose(self, rows: Tensor | None) -> None:
        """Which adapter each row of the next batches uses, `(batch,)`; None for none."""
        self.chosen = None if rows is None else (cast(Tensor, self.down)[rows], cast(Tensor, self.up)[rows])

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, tokens, in)` -> `(batch, tokens, out)`."""
        y = self.base(x)
        if self.chosen is None:
            return y
        down, up = self.chosen
        return torch.baddbmm(y, torch.bmm(x, down), up)


class MixedAdapters:
    """All adapters of an LLM, ready to be mixed within a batch."""

    def __init__(self, names: Sequence[str], layers: Sequence[MixedLinear]) -> None:
        self.names = list(names)
        self.layers = list(layers)

    @contextmanager
    def rows(self, adapters: Sequence[str], copies: int = 1) -> Generator[None, None, None]:
        """Within this context row i of a batch uses `adapters[i]`; with beams each row comes `copies` times.

        Raises:
            KeyError: there is no such adapter.
        """
        index = torch.tensor([self.names.index(name) for name in adapters for _ in range(copies)])
        for layer in self.layers:
            layer.choose(index.to(cast(Tensor, layer.down).device))
        try:
            yield
        finally:
            for layer in self.layers:
                layer.choose(None)


def mix_adapters(llm: PeftModel) -> tuple[nn.Module, MixedAdapters]:
    """Take the adapters out of PEFT's wrapper: the plain LLM with mixed layers in the places of LoRA's, and the adapters.

    Raises:
        CheckpointError: an adapter is more than plain LoRA on linear layers (DoRA, biases, modules trained in full).
    """
    names = sorted(llm.peft_config)
    for name in names:
        config = cast(Any, llm.peft_config[name])
        if getattr(config, "use_dora", False) or config.bias != "none" or config.modules_to_save:
            raise CheckpointError(f"the adapter '{name}' is not plain LoRA (it has DoRA, biases or whole modules)")
    base = llm.get_base_model()
    changed = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    adapted: list[tuple[str, Any]] = [(path, module) for path, module in base.named_modules() if isinstance(module, changed)]
    for path, module in adapted:  # one that stayed PEFT's would give every row the same adapter
        if not _is_plain(module):
            raise CheckpointError(f"the adapters change {path}, which is not plain LoRA on a linear layer")
    layers: list[MixedLinear] = []
    for path, module in adapted:
        mixed = _stack(module, names)
        parent, _, last = path.rpartition(".")
        setattr(base.get_submodule(parent), last, mixed)
        layers.append(mixed)
    return base, MixedAdapters(names, layers)


def _is_plain(module: nn.Module) -> bool:
    if type(module) is not LoraLinear or not isinstance(module.get_base_layer(), nn.Linear):
        return False
    return not module.lora_variant and not any(module.lora_bias.values())


def _stack(module: LoraLinear, names: Sequence[str]) -> MixedLinear:
    base = cast(nn.Linear, module.get_base_layer())
    rank = max(cast(int, module.r[name]) for name in module.r)
    down = torch.zeros(len(names), base.in_features, rank)
    up = torch.zeros(len(names), rank, base.out_features)
    for index, name in enumerate(names):
        if name in module.r:  # an adapter may leave a layer as it is
            own = cast(int, module.r[name])
            weight_a = cast(nn.Linear, module.lora_A[name]).weight
            weight_b = cast(nn.Linear, module.lora_B[name]).weight
            down[index, :, :own] = weight_a.detach().T
            up[index, :own] = weight_b.detach().T * module.scaling[name]
    return MixedLinear(base, down, up)

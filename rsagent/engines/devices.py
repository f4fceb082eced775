"""Where the local engine computes, and in which numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsagent.errors import SettingsError

if TYPE_CHECKING:
    import torch

    from rsagent.model.network import RSMoE

_LARGE = 5e7  # parameters of an LLM from which on reading them takes most of a step: in bfloat16 they are half as many bytes


def device_named(name: str) -> str:
    """The device of a name such as "cpu", "cuda:1" or "auto".

    Raises:
        SettingsError: there is no such device here.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    kind, _, index = name.partition(":")
    known = not index or (index.isdecimal() and int(index) < (torch.cuda.device_count() if kind == "cuda" else 1))
    if not there.get(kind, False) or not known:
        raise SettingsError(f"device '{name}' is not available here: choose {', '.join(d for d, ok in there.items() if ok)}")
    return name


def lower_a_large_llm(network: RSMoE) -> None:
    """Keep a large LLM in bfloat16 on a CPU that computes in it; what stands before the LLM stays as it is."""
    import torch

    size = sum(parameter.numel() for parameter in network.llm.parameters())
    if size >= _LARGE and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        network.llm.to(torch.bfloat16)


def dtype_named(name: str, device: str) -> torch.dtype:
    """The number type of a name, such as "bfloat16", or what suits the device for "auto".

    Raises:
        SettingsError: there is no such type.
    """
    import torch

    if name == "auto":  # the encoders see worse in bfloat16, and a small LLM is slower; see `lower_a_large_llm`
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise SettingsError(f"dtype '{name}' is unknown: choose auto, {', '.join(known)}")
    return known[name]

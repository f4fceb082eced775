"""Test stand-in for SGLang's CPU kernels, which need a machine with AMX: whatever is asked for is there, and fails when used.

SGLang then takes its paths in plain torch. So the tests run its server, scheduler, LoRA manager, radix cache and grammar
backend, and none of its kernels.
"""

from __future__ import annotations

from typing import Any

import torch

__version__ = "0.4.10"

_PINNED = (
    "arange", "empty", "empty_like", "full", "ones", "ones_like", "randn", "tensor", "zeros", "zeros_like",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    def fails(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"sgl_kernel.{name}: this is the stand-in of rsagent's tests, not SGLang's kernels")

    return fails


def _unpinned(make: Any) -> Any:
    def made(*arguments: Any, **options: Any) -> Any:
        options.pop("pin_memory", None)
        return make(*arguments, **options)

    made.__name__, made.__doc__ = make.__name__, make.__doc__
    return made


if not torch.accelerator.is_available():  # SGLang's LoRA code asks for pinned memory, which only accelerators have
    for _name in _PINNED:
        setattr(torch, _name, _unpinned(getattr(torch, _name)))
    torch.Tensor.pin_memory = lambda self, *_, **__: self

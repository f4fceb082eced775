"""Test stand-in: lets the registry's torchvision, which is built for CUDA, be imported beside a torch without CUDA.

It registers shapes for operators that its library would declare; that library cannot be loaded, so they are declared here,
just before torchvision is imported. Nothing of torchvision is used by a server of experts.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any

_OPERATORS = ("nms", "qnms")
_kept: list[Any] = []


class _BeforeTorchvision(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torchvision" and self in sys.meta_path:
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in _OPERATORS:
                library.define(f"{operator}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
            _kept.append(library)


sys.meta_path.insert(0, _BeforeTorchvision())

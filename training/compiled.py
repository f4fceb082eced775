"""The LLM's layers, compiled by torch: what lies between their products is done in a few passes over memory instead of dozens.

A small LLM with LoRA spends most of a step there: with AMX SmolLM2's takes two thirds of the time, or less. Each layer is
compiled once, for any number of rows and tokens; that takes a minute or two, and torch keeps the result for the next run.
"""

from __future__ import annotations

import os
import shutil
from typing import Any, cast

import torch
from torch import nn

from rsagent.errors import UserError
from rsagent.training.processes import sharded

_COMPILERS = ("g++", "clang++", "c++")
_SHAPES = 32  # a layer is compiled again for one row, for another expert, with and without gradients


def compile_layers(llm: nn.Module) -> None:
    """Compile each layer of the LLM where it stands; its parameters keep their names.

    Raises:
        UserError: a CPU's code needs a C++ compiler, and there is none; or the layers are to be sharded.
    """
    if sharded():
        raise UserError("compiled: layers are not compiled under FSDP: leave `compiled` out of the recipe")
    named = os.environ.get("CXX")
    if not torch.cuda.is_available() and not any(shutil.which(name) for name in ((named,) if named else _COMPILERS)):
        raise UserError("compiled: there is no C++ compiler: install g++, or leave `compiled` out of the recipe")
    cast(Any, torch)._dynamo.config.recompile_limit = _SHAPES
    kinds = set(cast("list[str]", getattr(llm, "_no_split_modules", None) or []))
    for module in llm.modules():
        if type(module).__name__ in kinds:
            module.compile(dynamic=True)

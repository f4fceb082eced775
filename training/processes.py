"""Several processes of one training, as torchrun and accelerate start them: who prepares and who writes."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import torch

_PATIENCE = timedelta(hours=12)  # the others wait while the first encodes every picture; the usual limit is ten minutes


def alone() -> bool:
    """Whether this training has one process."""
    return os.environ.get("WORLD_SIZE", "1") == "1"


def sharded() -> bool:
    """Whether every process holds a part of the network (FSDP), as `accelerate launch --use_fsdp` says it."""
    return not alone() and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def is_first() -> bool:
    """Whether this process writes what all of them have; the only one is the first."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def first_goes_first() -> Generator[None]:
    """The first process runs the block, then the others do, and find on disk what it left there."""
    if alone():
        yield
        return
    _join()
    if not is_first():
        torch.distributed.barrier()
    yield
    if is_first():
        torch.distributed.barrier()


def _join() -> None:
    if not torch.distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)

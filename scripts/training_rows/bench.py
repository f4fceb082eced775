"""What every row needs: a tiny recipe, tiny data, and trainings in processes of their own."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("encoder", "base", "stage1", "stage2", "composer", "critical")
_RUN: dict[str, Any] = {"samples": 80, "batch": 4, "lr": 1e-3}
_TINY: dict[str, Any] = {
    "name": "measured",
    "scenes": 40,
    "network": {
        "queries_side": 3, "qformer_dim": 32, "token_dim": 32, "qformer_layers": 1, "qformer_heads": 2, "qformer_mlp": 48,
        "llm_dim": 32, "llm_layers": 1, "llm_heads": 2, "llm_mlp": 48, "vocabulary": 400,
        "soft_prompts": 2, "router_rank": 4, "lora_rank": 4, "qformer_lora_rank": 4,
    },
    "encoder": {"samples": 80, "batch": 4, "frozen_stages": 3},
    "base": {**_RUN, "looks": 1}, "stage1": _RUN, "stage2": _RUN, "composer": {**_RUN, "reports": 12}, "critical": _RUN,
}  # fmt: skip


def tiny(**changes: Any) -> dict[str, Any]:
    """A recipe whose every stage has twenty steps of four images, on a network that is built in a moment; None leaves out."""
    found = deepcopy(_TINY) | changes
    return {key: value for key, value in found.items() if value is not None}


def write_recipe(file: Path, recipe: dict[str, Any]) -> Path:
    """A recipe as a file."""
    file.write_text(yaml.safe_dump(recipe, sort_keys=False), "utf-8")
    return file


def write_tiny_data(folder: Path) -> Path:
    """The data sets that training reads, as the tests draw them: thirty noisy pictures each, with invented words."""
    from tests.training.tiny_data import write_data

    write_data(folder)
    return folder


def environment(**more: str) -> dict[str, str]:
    """One thread, since sums over several come in any order; nothing from the network."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **own, **more}


def start(command: Sequence[str], log: Path, *, fds: Sequence[int] = (), **more: str) -> subprocess.Popen[bytes]:
    """A process in a group of its own, so that it can be killed with everything it started; what it says goes to `log`."""
    with log.open("ab") as said:
        return subprocess.Popen(
            [sys.executable, *command], env=environment(**more), stdout=said, stderr=said, start_new_session=True, pass_fds=fds
        )


def finish(command: Sequence[str], log: Path, **more: str) -> None:
    """Run a process to its end.

    Raises:
        RuntimeError: it failed; the end of what it said.
    """
    if start(command, log, **more).wait():
        raise RuntimeError(f"{' '.join(command[:4])} failed:\n{log.read_text('utf-8', 'replace')[-3000:]}")


def in_turns(first: Any, second: Any, rounds: int) -> tuple[list[float], list[float]]:
    """What two measurements give, `rounds` times one after the other; who begins alternates."""
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            found[which].append((first, second)[which]())
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, str]:
    """The median ratio of two measurements made in turns, and its quartiles with their count, for people."""
    each = sorted(a / b for a, b in zip(above, below, strict=True))
    quartiles = statistics.quantiles(each, n=4) if len(each) > 1 else [each[0]] * 3
    return quartiles[1], f"{quartiles[1]:.3f}, quartiles {quartiles[0]:.3f} to {quartiles[2]:.3f}, n = {len(each)} turns"

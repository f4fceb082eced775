"""Row: two processes, with copies of the network (DDP) and with its shards (FSDP), against one: the loss of every step."""

from __future__ import annotations

import argparse
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from figures import Row
from training_rows.bench import finish, tiny, write_recipe, write_tiny_data

STAGES = ("base", "stage1", "stage2")
STEPS, BATCH = 50, 8
MOST = 1e-4
Losses = dict[tuple[str, int], float]


def measure(folder: Path, chosen: argparse.Namespace) -> Iterator[Row]:
    """The same recipe on one process and on two, in float32: a batch of eight is once whole and once twice four."""
    del chosen
    run = {"samples": STEPS * BATCH, "batch": BATCH, "lr": 1e-3}
    few = {"samples": 8, "batch": 4}
    recipe = tiny(
        encoder={**few, "frozen_stages": 3}, base={**run, "looks": 1}, stage1=run, stage2=run,
        composer={**few, "reports": 4}, critical=None,
    )  # fmt: skip
    paths = [str(write_recipe(folder / "recipe.yaml", recipe)), str(write_tiny_data(folder / "data"))]
    one = _losses(folder, "one", paths, [])
    for kind, how in (("DDP", []), ("FSDP", ["--fsdp"])):
        _begin_beside(folder / "one", folder / kind)
        yield _compared(kind, one, _losses(folder, kind, paths, how))


def _losses(folder: Path, name: str, paths: list[str], how: list[str]) -> Losses:
    """By stage and step the mean of the processes' losses of one run."""
    kept = folder / f"{name} losses"
    kept.mkdir()
    worker = ["-m", "training_rows.worker", *paths, str(folder / name), "--losses", str(kept), "--float32", *how]
    if name != "one":
        worker = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(_free_port()), *worker]
    finish(worker, folder / f"{name}.log")
    found: dict[tuple[str, int], list[float]] = {}
    for file in sorted(kept.iterdir()):
        for line in file.read_text("utf-8").splitlines():
            stage, step, loss = line.split()
            found.setdefault((stage, int(step)), []).append(float(loss))
    return {place: sum(losses) / len(losses) for place, losses in found.items()}


def _begin_beside(one: Path, other: Path) -> None:
    """What one process does for all: the image encoder, features and tokenizer."""
    other.mkdir()
    for name in ("cache", "tokenizer"):
        shutil.copytree(one / name, other / name)
    shutil.copy(one / "encoder.safetensors", other)


def _compared(kind: str, one: Losses, two: Losses) -> Row:
    each = {stage: [abs(one[place] - two[place]) for place in one if place[0] == stage] for stage in STAGES}
    apart = {stage: max(found) for stage, found in each.items()}
    said = ", ".join(f"{stage} {gap:.1e}" for stage, gap in apart.items())
    steps = min(len(found) for found in each.values())
    what = f"two processes ({kind}, gloo, float32) against one, losses"
    return Row(what, f"at most {max(apart.values()):.1e} apart ({said}), n = {steps} steps a stage", f"<= {MOST:g}",
               max(apart.values()) <= MOST and steps == STEPS)  # fmt: skip


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

"""Row: killed at random moments and resumed, every stage ends with the weights of a run that nobody killed, bit for bit."""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from figures import Row
from training_rows.bench import STAGES, start, tiny, write_recipe, write_tiny_data

STEPS = 20
Moments = dict[str, list[float]]


def measure(folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """Kill -9 a training at `chosen.kills` steps of each stage, somewhere within the step, and go on each time."""
    paths = [str(write_recipe(folder / "recipe.yaml", tiny())), str(write_tiny_data(folder / "data"))]
    whole, killed = folder / "whole", folder / "killed"
    moments = run([*paths, str(whole)], folder / "whole.log")
    rng = random.Random(chosen.seed)
    places: dict[str, list[int]] = {}
    for stage in STAGES:
        step_s = statistics.median(b - a for a, b in zip(moments[stage], moments[stage][1:], strict=False))
        places[stage] = sorted(rng.sample(range(1, STEPS + 1), min(chosen.kills, STEPS)))
        for step in places[stage]:
            run([*paths, str(killed)], folder / "killed.log", (stage, step, rng.random() * step_s))
    run([*paths, str(killed)], folder / "killed.log")
    rows = [_compared(stage, whole, killed, places[stage]) for stage in STAGES]
    return [*rows, _checkpoints(whole, killed)]


def run(paths: Sequence[str], log: Path, stop: tuple[str, int, float] | None = None) -> Moments:
    """Train in a process, until its end or until it is killed some seconds into a step of a stage.

    Returns:
        By stage the moments at which its steps began.

    Raises:
        RuntimeError: it ended otherwise; the end of what it said.
    """
    read, write = os.pipe()
    process = start(["-m", "training_rows.worker", *paths, "--save", "2", "--steps", str(write)], log, fds=[write])
    os.close(write)
    moments: Moments = defaultdict(list)
    with os.fdopen(read) as lines:
        for line in lines:
            stage, step = line.split()
            moments[stage].append(time.perf_counter())
            if stop is not None and (stage, int(step)) == stop[:2]:
                time.sleep(stop[2])
                os.killpg(process.pid, signal.SIGKILL)
                break
    if process.wait() != (0 if stop is None else -signal.SIGKILL):
        raise RuntimeError(f"the training ended by itself ({process.returncode}):\n{log.read_text('utf-8', 'replace')[-3000:]}")
    return moments


def _compared(stage: str, whole: Path, killed: Path, steps: Sequence[int]) -> Row:
    import torch
    from safetensors.torch import load_file

    ours, true = (load_file(out / f"{stage}.safetensors") for out in (killed, whole))
    odd = [n for n in ours.keys() | true.keys() if n not in ours or n not in true or not torch.equal(ours[n], true[n])]
    equal, places = f"{len(true) - len(odd)} of {len(true)} tensors equal", ", ".join(map(str, steps))
    found = f"{equal}; n = {len(steps)} kills, in steps {places}"
    return Row(f"kill -9 and resume, {stage}", found, "all, bit for bit", not odd)


def _checkpoints(whole: Path, killed: Path) -> Row:
    from rsagent.model.checkpoint import checkpoint_digest

    same = checkpoint_digest(whole / "checkpoint") == checkpoint_digest(killed / "checkpoint")
    return Row("kill -9 and resume, the checkpoint folder", "the same digest" if same else "another digest", "the same", same)

"""Row: the memory that `rsagent train check` expects of a step on this CPU, against the peak of that very process."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from figures import Row
from rsagent.model.checkpoint import EMBEDDED
from rsagent.training.llm_sizes import LLMSizes
from training_rows.bench import environment, tiny, write_recipe, write_tiny_data

MOST = 0.15
SIZES = {
    "a 36 M Llama": (LLMSizes("llama", 384, 12, 6, 2, 1024, 49152, tied=True), 16),
    "the shape of SmolLM2-135M": (LLMSizes("llama", 576, 30, 9, 3, 1536, 49152, tied=True), 16),
    "the shape of SmolLM2-360M": (LLMSizes("llama", 960, 32, 15, 5, 2560, 49152, tied=True), 8),
}
"""LLMs without training, and images a step."""


def measure(folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """One process a size: it loads the LLM, says what it expects, and makes one step of stage I."""
    data = write_tiny_data(folder / "data")
    rows: list[Row] = []
    for name, (sizes, batch) in SIZES.items():
        llm = write_untrained(sizes, folder / "llm")
        run = {"samples": 8 * batch, "batch": batch}
        recipe = tiny(
            network={}, encoder=None, base=None, start="tiny", weights={"llm": str(llm)}, scenes=0, critical=None,
            stage1=run, stage2=run, composer={**run, "reports": 4},
        )  # fmt: skip
        found, peak = _checked(write_recipe(folder / "recipe.yaml", recipe), data, folder, chosen.threads)
        expected = 1e9 * found["step"]["expected_gigabytes"]
        off = expected / peak - 1
        said = f"{expected / 1e9:.2f} GB expected, {peak / 1e9:.2f} GB at most, {off:+.1%}; n = {batch} images"
        rows.append(Row(f"memory estimate, {name}", said, f"within {MOST:.0%}", abs(off) <= MOST))
    return rows


def write_untrained(sizes: LLMSizes, folder: Path) -> Path:
    """An LLM of some shape with random weights in bfloat16, and the default's tokenizer, as a folder of transformers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    raw: dict[str, Any] = sizes.config()
    config = AutoConfig.for_model(raw.pop("model_type"), **raw)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(EMBEDDED / "tokenizer").save_pretrained(folder)
    return folder


def _checked(recipe: Path, data: Path, folder: Path, threads: int) -> tuple[dict[str, Any], int]:
    """What the check says, and the bytes that its process held at most."""
    command = [sys.executable, "-m", "rsagent", "train", "check", str(recipe), "--data", str(data), "--json"]
    with (folder / "check.json").open("wb") as said, (folder / "check.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment(OMP_NUM_THREADS=str(threads)), cwd=folder, stdout=said, stderr=log)
        _, status, used = os.wait4(process.pid, 0)  # of this process alone, while RUSAGE_CHILDREN is of the largest ever
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError((folder / "check.log").read_text("utf-8", "replace")[-2000:])
    return json.loads((folder / "check.json").read_text("utf-8")), used.ru_maxrss * 1024

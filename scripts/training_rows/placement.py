"""Row: what the seven paper-scale recipes train, on networks of the true size without memory, against the paper's placement."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from figures import Row
from rsagent.training.placement import placement
from rsagent.training.recipe import load_recipe
from training_rows.bench import ROOT, environment

TEST = "tests/training/test_placement.py::test_the_papers_placement"
RECIPES = ("llama-3.2-1b", "stablelm-2-1.6b", "qwen1.5-1.8b", "phi-2", "llama-3.2-3b", "llama-7b", "vicuna-7b")


def measure(folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """The test that holds the paper's table (section III-C), and how many parameters it has found right."""
    del folder, chosen
    rows: list[Row] = []
    for name in RECIPES:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{TEST}[{name}]"]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
        places = placement(load_recipe(ROOT / "training" / "recipes" / f"{name}.yaml"))
        trained = {stage: sum(place.parameters for place in places if place.stage == stage) for stage in ("stage1", "stage2")}
        found = ", ".join(f"{stage} {count:,} parameters" for stage, count in trained.items())
        same = done.returncode == 0
        verdict = "equal" if same else f"not equal ({(done.stdout or done.stderr).strip().splitlines()[-1]})"
        found = f"{verdict}; {found}, n = {len(places)} kinds of modules"
        rows.append(Row(f"trained parameters, {name}", found, "the paper's placement", same))
    return rows

"""Row: a step of stage I on SmolLM2 with its layers compiled, over the same step as it is; and the loss of both."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from figures import Row
from rsagent.model.network import SINGLE
from rsagent.training.compiled import compile_layers
from rsagent.training.language import LanguageTask
from training_rows.bench import in_turns, ratios
from training_rows.loops import collator_of
from training_rows.packing import begun_on_smollm2, caption_rows, loss_of, seconds_a_step

CAPTIONS = 3


def measure(folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """The same packed batch in turns; compiling itself, which takes a minute or two, is left out."""
    torch.set_num_threads(chosen.threads)
    network, material = begun_on_smollm2(folder)
    task = LanguageTask(network, "stage1", [SINGLE], 0)
    compile_layers(task.llm)
    batch = collator_of(network, material)([[sample] for sample in caption_rows(material.corpus, CAPTIONS)])
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-5)

    def compiled() -> float:
        return seconds_a_step(task, batch, optimizer)

    def plain() -> float:
        with torch.compiler.set_stance("force_eager"):
            return seconds_a_step(task, batch, optimizer)

    for warm in (compiled, plain):
        warm()
    slow, fast = in_turns(plain, compiled, chosen.turns)
    _, said = ratios(slow, fast)
    one, other = loss_of(task, batch, "bfloat16"), _eager_loss(task, batch)
    found = f"{said} of {len(batch['ids'])} rows; {1000 * sum(fast) / len(fast):.0f} ms a step, {chosen.threads} threads"
    return [
        Row("a step as it is over one with compiled layers, SmolLM2", found, "shown", None),
        Row("loss of the same batch, compiled and not, bfloat16", f"{one:.5f} and {other:.5f}", "shown", None),
    ]


def _eager_loss(task: LanguageTask, batch: dict[str, torch.Tensor]) -> float:
    with torch.compiler.set_stance("force_eager"):
        return loss_of(task, batch, "bfloat16")

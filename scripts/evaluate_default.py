"""The quality and speed tables of a checkpoint, each figure with its n and interval, the floors beside the model.

Captions of UC Merced and RSICD, questions of RSIVQA, rendered scenes, the image encoder's read-outs, the checkpoint's
size, and speed. What the model says is kept in --runs and used again, so a run that is killed goes on where it was.
Needs `pip install 'rsagent[eval]'` and, but for scenes and speed, the data sets in the folder RSAGENT_DATA. Progress
goes to stderr. Exits with 1 when a floor is missed.

    RSAGENT_DATA=../data python scripts/evaluate_default.py --json results.json
    python scripts/evaluate_default.py --checkpoint runs/mine --only scenes --limit 50
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from rsagent import RSAgent
from rsagent.engines.base import Engine
from rsagent.errors import RSAgentError
from rsagent.evaluation.caption_floors import Seen
from rsagent.evaluation.provenance import provenance
from rsagent.evaluation.published.records import data_root
from rsagent.evaluation.readout import Encoder, load_encoder
from rsagent.evaluation.report import write_tables
from rsagent.evaluation.run import Run, open_single, say
from rsagent.evaluation.run_captions import CaptionSet, caption_sets, run_captions, see
from rsagent.evaluation.run_encoder import run_encoder
from rsagent.evaluation.run_questions import run_questions
from rsagent.evaluation.run_scenes import run_scenes
from rsagent.evaluation.run_speed import run_speed
from rsagent.evaluation.table import Table, below_floor, print_table, to_json
from rsagent.model.checkpoint import EMBEDDED, checkpoint_digest, read_config
from rsagent.prompts import load_prompts

PATIENCE_S = 600.0
"""What an expert may take: another load on the machine must not cost quality."""
PARTS = ("encoder", "captions", "questions", "scenes", "speed")


async def evaluate(run: Run, parts: list[str], data: Path | None, style: str | None) -> list[Table]:
    """The tables of `parts`, printed as they are done."""
    tables: list[Table] = []
    root = data_root(data) if set(parts) - {"scenes", "speed"} else Path()
    encoder: Encoder | None = None
    if set(parts) & {"encoder", "captions", "scenes"}:
        encoder = load_encoder(run)
    sets: list[tuple[CaptionSet, Seen]] = []
    if encoder and set(parts) & {"encoder", "captions"}:
        sets = [(chosen, see(run, chosen, encoder)) for chosen in caption_sets(run, root)]
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(
            RSAgent("local", checkpoint=run.checkpoint, best=run.best, expert_timeout_s=PATIENCE_S)
        )
        single: Engine | None = None
        if set(parts) & {"captions", "questions", "scenes"} and not run.best:
            single = open_single(run.checkpoint)
            if single is not None:
                stack.push_async_callback(single.close)
        for part in parts:
            say(f"{part} ...")
            if part == "encoder":
                new = run_encoder(run, sets)
            elif part == "captions":
                new = await run_captions(run, sets, agent, single, load_prompts(), style)
            elif part == "questions":
                new = await run_questions(run, root, agent, single)
            elif part == "scenes" and encoder:
                new = await run_scenes(run, encoder, agent, single)
            else:
                new = await run_speed(run.checkpoint, agent)
            show(new)
            tables += new
    return tables


def show(tables: list[Table]) -> None:
    """Print tables on stdout, in a width that holds them where stdout is no terminal."""
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=160)
    for table in tables:
        print_table(table, console)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text, "utf-8")
    os.replace(partial, path)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED, help="checkpoint folder (default: the embedded one)")
    parser.add_argument("--data", type=Path, help="folder of the data sets (default: $RSAGENT_DATA)")
    parser.add_argument("--runs", type=Path, default=Path("runs/evaluation"), help="folder that keeps predictions")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given several times")
    parser.add_argument("--limit", type=int, metavar="N", help="N images of each set, for a quick look")
    parser.add_argument("--style", help="caption both sets in this style, for a checkpoint trained on one of them")
    parser.add_argument("--best", action="store_true", help="the slower, better decoding")
    parser.add_argument("--meteor", action="store_true", help="METEOR too (needs 2 GB of memory)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page there, such as docs/results/default.md")
    chosen = parser.parse_args()
    if chosen.limit is not None and chosen.limit < 2:
        parser.error("--limit must be 2 or more")
    return chosen


def main() -> int:
    """Evaluate, print, write, and say whether every floor is met."""
    chosen = arguments()
    parts = [part for part in PARTS if part in (chosen.only or PARTS)]
    try:
        run = Run.open(chosen.checkpoint, chosen.runs, limit=chosen.limit, best=chosen.best, meteor=chosen.meteor)
        tables = asyncio.run(evaluate(run, parts, chosen.data, chosen.style))
    except RSAgentError as error:
        say(str(error))
        return error.exit_code
    missed = [f"below its floor: {line}" for line in below_floor(tables)]
    if chosen.json:
        write(chosen.json, to_json(tables))
    if chosen.page:
        write_tables(
            chosen.page, f"The checkpoint {read_config(run.checkpoint).name}: {', '.join(parts)}", head(run, missed), tables
        )
    for line in missed:
        say(line)
    return 1 if missed else 0


def head(run: Run, missed: list[str]) -> str:
    """What stands above the tables of a page: where they come from, and every floor that is missed."""
    now = provenance()
    versions = ", ".join(f"{name} {version}" for name, version in now["packages"].items())
    floors = "".join(f"- {line}\n" for line in missed) or "Every floor that is asked for is met.\n"
    return (
        f"Printed by `python scripts/evaluate_default.py`; checkpoint {checkpoint_digest(run.checkpoint)[:12]}, "
        f"{'beams' if run.best else 'default decoding'}, seed {run.seed}. Intervals: 95 %, bootstrap over images.\n"
        f"Revision {now['revision'] or 'unknown'}; {now['time']}; Python {now['python']}, {now['platform']}; {versions}.\n\n"
        f"{floors}"
    )


if __name__ == "__main__":
    sys.exit(main())

"""How long a checkpoint takes, on rendered scenes: no data sets needed, a few minutes on two cores.

Prints seconds of a warm caption (both ways) and answer, three experts over one, 32 images in one call, a new process,
the processor seconds of --help, and how many of 200 parallel callers get the sequential answers. Exits with 1 when a
floor is missed.

    python scripts/measure_speed.py
    python scripts/measure_speed.py --checkpoint runs/mine --json speed.json
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from rsagent import RSAgent
from rsagent.errors import RSAgentError
from rsagent.evaluation.run_speed import run_speed
from rsagent.evaluation.table import Table, below_floor, print_table, to_json
from rsagent.model.checkpoint import EMBEDDED


async def measure(checkpoint: Path, n: int) -> list[Table]:
    """The speed tables of a checkpoint."""
    async with RSAgent("local", checkpoint=checkpoint, expert_timeout_s=600) as agent:
        return await run_speed(checkpoint, agent, n=n)


def main() -> int:
    """Measure, print, and say whether every floor is met."""
    from rich.console import Console

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED, help="checkpoint folder (default: the embedded one)")
    parser.add_argument("--n", type=int, default=20, help="how often each figure is measured (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    if chosen.n < 2:
        parser.error("--n must be 2 or more")
    try:
        tables = asyncio.run(measure(chosen.checkpoint, chosen.n))
    except RSAgentError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for table in tables:
        print_table(table, Console())
    if chosen.json:
        partial = chosen.json.with_name(f"{chosen.json.name}.part")
        partial.write_text(to_json(tables), "utf-8")
        os.replace(partial, chosen.json)
    missed = below_floor(tables)
    for line in missed:
        print(f"below its floor: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

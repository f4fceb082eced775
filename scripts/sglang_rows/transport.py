"""Row: embeddings of a large LLM as base64 float16 through the plugin against SGLang's own JSON `input_embeds`.

The LLM is an untrained Llama of one layer, 4096 wide with narrow attention and MLP, so that the embeddings and not the LLM
take the time. JSON needs a server of its own: SGLang takes raw `input_embeds` only with its radix cache off, and in bfloat16.
Each request brings new numbers, so nothing is found in a cache, and asks for one token.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import httpx
import torch

from figures import Row
from rsagent.engines.sglang import packed
from rsagent.serving.sglang import launch
from sglang_rows.bench import Bench, clocked, deciles, started
from sglang_rows.random_llm import random_checkpoint

ROWS, WIDTH = 32, 4096
_WORDS = [5, 6, 7, 8]


async def transport(bench: Bench, rounds: int) -> list[Row]:
    """Time of one request each way, in turn, from the numbers in memory to the answer."""
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "wide"
        await asyncio.to_thread(random_checkpoint, bench.checkpoint, wide, "llama", WIDTH, 1)
        room = () if bench.options.device == "cpu" else ("--mem-fraction-static", "0.3")
        options = replace(bench.options, port=bench.options.port + 1, dtype="bfloat16", extra=room)
        ours, plain = Bench(wide, options, []), replace(options, port=options.port + 1)
        try:
            await ours.start()
            with await started(_plain_command(wide, plain), plain):
                times = await _compare(options.port, plain.port, rounds)
        finally:
            ours.stop()
    ratios = [other / ours for ours, other in times]
    ratio = statistics.median(ratios)
    binary, text = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    found = f"{ratio:.1f} ({deciles(ratios)}), {text:.0f} and {binary:.0f} ms, n = {rounds} of {ROWS} x {WIDTH}"
    return [Row("JSON / base64 float16 embeddings, time of a request", found, ">= 3", ratio >= 3)]


async def _compare(ours: int, theirs: int, rounds: int) -> list[tuple[float, float]]:
    """Seconds by base64 and by JSON, after two requests each that warm the servers."""
    random = torch.Generator().manual_seed(0)
    sampling = {"temperature": 0.0, "max_new_tokens": 1, "ignore_eos": True}
    times: list[tuple[float, float]] = []
    async with httpx.AsyncClient(timeout=300, headers={"Content-Type": "application/json"}) as client:
        for number in range(rounds + 2):
            numbers = torch.randn(ROWS, WIDTH, generator=random) * 0.02

            async def by_base64(numbers: torch.Tensor = numbers) -> None:
                body = {"input_ids": _WORDS, "image_data": packed(numbers, "float16"), "sampling_params": sampling}
                answer = await client.post(f"http://127.0.0.1:{ours}/generate", content=json.dumps(body))
                assert answer.json()["meta_info"]["prompt_tokens"] == ROWS + len(_WORDS), answer.text

            async def by_json(numbers: torch.Tensor = numbers) -> None:
                body = {"input_embeds": numbers.tolist(), "sampling_params": sampling}
                answer = await client.post(f"http://127.0.0.1:{theirs}/generate", content=json.dumps(body))
                answer.raise_for_status()

            pair = (await clocked(by_base64), await clocked(by_json))
            if number >= 2:
                times.append(pair)
    return times


def _plain_command(checkpoint: Path, options: launch.Options) -> list[str]:
    """SGLang as it is, with its own class for the LLM, as it takes raw `input_embeds`."""
    line = [options.python, "-m", "sglang.launch_server", "--model-path", str(checkpoint / "llm")]
    line += ["--tokenizer-path", str(checkpoint / "tokenizer"), "--host", options.host, "--port", str(options.port)]
    line += ["--device", options.device, "--dtype", options.dtype, "--disable-radix-cache", "--skip-server-warmup"]
    cpu = ["--attention-backend", "torch_native", "--max-total-tokens", "8192", "--sleep-on-idle"]
    return [*line, *(cpu if options.device == "cpu" else options.extra)]

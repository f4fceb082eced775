"""Rows about the long run: captions while the server is killed and started again, and the client's memory over many turns."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from itertools import cycle, islice
from pathlib import Path

from figures import Row
from rsagent import RSAgent
from rsagent.errors import RSAgentError
from rsagent.schemas import Caption
from sglang_rows.bench import Bench, need_server


async def restarts(bench: Bench, captions: int) -> list[Row]:
    """Captions at concurrency 32 while the server is killed without warning and started again, twice."""
    wanted = list(islice(cycle(bench.pictures), captions))
    done: dict[int, Caption] = {}
    failed: list[str] = []
    doubled = 0
    async with RSAgent(await bench.engine(), expert_timeout_s=900) as agent:
        undisturbed = [seen.result for seen in await agent.batch(bench.pictures, concurrency=32)]

        async def describe() -> None:
            nonlocal doubled
            async for described in agent.caption_many(wanted, concurrency=32):
                doubled += described.index in done
                if isinstance(described.result, RSAgentError):
                    failed.append(str(described.result))
                else:
                    done[described.index] = described.result

        work = asyncio.create_task(describe())
        times = [await _kill_and_start(bench, done, part * captions // 3, work) for part in (1, 2)]
        await work
    partial = sum(caption.partial for caption in done.values())
    other = sum(done[i].text != getattr(undisturbed[i % len(bench.pictures)], "text", None) for i in done)
    whole = len(done) == captions and not failed and not doubled and not partial
    found = f"{len(done)} of {captions} done, {doubled} doubled, {partial} partial, {other} other than undisturbed"
    ratio = max(recovered / ready for ready, recovered in times)
    ready_s = ", ".join(f"{ready:.0f}" for ready, _ in times)
    return [
        Row("captions with the server killed twice", found + "".join(f"; {error}" for error in failed[:1]), "none lost", whole),
        Row("first caption after a kill / the restart", f"{ratio:.2f} (restarts: {ready_s} s)", "shown (<= 1.1)", None),
    ]


async def _kill_and_start(bench: Bench, done: dict[int, Caption], after: int, work: asyncio.Task[None]) -> tuple[float, float]:
    """Seconds from the kill until the server is ready again, and until a further caption is done."""
    while len(done) < after and not work.done():
        await asyncio.sleep(0.02)
    killed = time.monotonic()
    await asyncio.to_thread(need_server(bench).stop, 0.0)
    await asyncio.sleep(0.2)  # what was read before the kill is composed meanwhile
    before = len(done)
    starting = asyncio.create_task(bench.start())
    ready = recovered = 0.0
    while not (ready and recovered):
        await asyncio.sleep(0.01)
        if starting.done() and not ready:
            starting.result()
            ready = time.monotonic() - killed
        if not recovered and (len(done) > before or work.done()):
            recovered = time.monotonic() - killed
    return ready, recovered


async def memory(bench: Bench, turns: int) -> list[Row]:
    """The client's resident memory over many turns of few words."""
    sizes: list[float] = []
    async with RSAgent(await bench.engine(), expert_timeout_s=600, max_tokens=8) as agent:
        block = list(islice(cycle(bench.pictures), max(32, turns // 10)))
        while len(sizes) * len(block) < turns:
            async for described in agent.caption_many(block, concurrency=32):
                if isinstance(described.result, RSAgentError):
                    raise described.result
            sizes.append(_resident_mb())
    change = sizes[-1] / sizes[0] - 1  # the first block has filled the caches
    n = f"n = {len(sizes) * len(block)} turns"
    found = f"{change:+.1%} ({sizes[0]:.0f} -> {sizes[-1]:.0f} MB from a tenth to the end, at most {max(sizes):.0f}), {n}"
    return [Row("client's memory", found, "+- 5 %", abs(change) <= 0.05)]


def _resident_mb() -> float:
    """This process's resident memory in MB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:  # no Linux: the most there ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

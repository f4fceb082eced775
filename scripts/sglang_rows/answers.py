"""Rows about what comes back: the words of the local engine, what the radix cache knew, the command that is printed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from figures import Row
from rsagent.engines.local import LocalEngine
from rsagent.schemas import ExpertPrompt
from rsagent.serving.sglang import launch
from sglang_rows.bench import Bench, gather, listen, prompts_of

NEAR = {"float32": 0.01, "bfloat16": 0.25, "float16": 0.05}
"""Logits that are no farther apart than this may change places when they are computed in another order."""


async def same_words(bench: Bench, **options: Any) -> tuple[list[ExpertPrompt], list[str], list[str]]:
    """The prompts of every picture, what the server's experts say to them, and what the local engine's say."""
    ours = await bench.engine(**options)
    local = await asyncio.to_thread(LocalEngine.load, bench.checkpoint, **bench.networks)
    try:
        prompts = await prompts_of(ours, bench.pictures)
        await prompts_of(local, bench.pictures)
        return prompts, await gather(ours, prompts), await gather(local, prompts)
    finally:
        await ours.close()
        await local.close()


async def parity(bench: Bench, whose: str = "", **options: Any) -> list[Row]:
    """The same words as the local engine, and for others how near the tie was at which they part."""
    prompts, said, expected = await same_words(bench, **options)
    parted = [index for index, text in enumerate(said) if text != expected[index]]
    gaps = await _gaps(bench, [(prompts[index], said[index], expected[index]) for index in parted])
    share = 1 - len(parted) / len(prompts)
    near = all(gap <= NEAR[bench.options.dtype] for gap in gaps)
    found = f"{share:.1%} of n = {len(prompts)} ({len(bench.pictures)} images x {len(prompts) // len(bench.pictures)} experts)"
    if gaps:
        found += f"; {len(gaps)} others, where they part the two words' logits are at most {max(gaps):.2g} from the best"
    what = f"{whose}same text as the local engine, {bench.options.dtype} on both sides"
    return [Row(what, found, ">= 97 %, else near-ties", share >= 0.97 and near)]


async def _gaps(bench: Bench, parted: list[tuple[ExpertPrompt, str, str]]) -> list[float]:
    """How near the tie was at which two texts part, for each such pair."""
    if not parted:
        return []
    local = await asyncio.to_thread(LocalEngine.load, bench.checkpoint, **bench.networks)
    await prompts_of(local, bench.pictures)
    found = [await asyncio.to_thread(tie, local, await local.prefix(asked), asked, *pair) for asked, *pair in parted]
    await local.close()
    return found


def tie(local: LocalEngine, prefix: Any, prompt: ExpertPrompt, one: str, other: str) -> float:
    """Where two texts part: how far the lower of their two next words lies below the best, in the local network's logits."""
    import torch

    network = local.network
    read = network.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
    eos = network.tokenizer.eos_token_id
    words = [[*network.tokenizer(text, add_special_tokens=False)["input_ids"], eos] for text in (one, other)]
    same = next((i for i, pair in enumerate(zip(*words, strict=False)) if pair[0] != pair[1]), None)
    if same is None:  # cut off at different lengths: no tie explains that
        return float("inf")
    ids = torch.tensor([[*read, network.tokenizer.bos_token_id, *words[0][:same]]], device=prefix.device)
    assert network.mixed is not None
    with torch.inference_mode(), network.mixed.rows([prompt.expert]):
        embeds = torch.cat([prefix, network.embed(ids)[0]])[None]
        logits = network.llm(inputs_embeds=embeds).logits[0, -1].float()
    return float(logits.max() - min(logits[words[0][same]], logits[words[1][same]]))


async def radix(bench: Bench) -> list[Row]:
    """Tokens found in the radix cache when an instruction comes again, and when another one follows."""
    engine = await bench.engine()
    prompt = (await prompts_of(engine, bench.pictures[:1], "Is there a harbour at the lower edge?"))[0]
    other = (await prompts_of(engine, bench.pictures[:1], "Which colour has the largest roof?"))[0]
    reworded = prompt.model_copy(update={"text": prompt.text + " Look again."})
    counters: list[tuple[int, int]] = []
    for asked in (prompt, prompt, reworded, other):
        await listen(engine, asked)
        counters.append((engine.last_counters["cached_tokens"], engine.last_counters["prompt_tokens"]))
    prefix = len(await engine._eyes.prefix(prompt))
    await engine.close()
    _, (again, whole), (words, _), (another, size) = counters
    return [
        Row("tokens reused, the same instruction again", f"{again} of {whole}", "all but the last", again == whole - 1),
        Row(
            "tokens reused, other words to the same prefix", f"{words} (the prefix has {prefix})", "the prefix", words >= prefix
        ),
        Row("tokens reused, another question on the same image", f"{another} of {size}", "shown", None),
    ]


async def printed(bench: Bench) -> list[Row]:
    """Whether the server's own parser takes the command that `rsagent experts serve --print` prints."""
    serve = [sys.executable, "-m", "rsagent", "experts", "serve", str(bench.checkpoint), "--print"]
    serve += ["--device", bench.options.device, "--python", bench.options.python]
    line = await asyncio.to_thread(subprocess.run, serve, capture_output=True, text=True, check=True)
    parse = (
        "import sys, shlex; from sglang.srt.server_args import prepare_server_args; line = shlex.split(sys.stdin.read()); "
        "taken = prepare_server_args(line[line.index('sglang.launch_server') + 1:]); "
        "print(len(taken.lora_paths), taken.max_loras_per_batch, taken.max_lora_rank)"
    )
    outcome = await asyncio.to_thread(
        subprocess.run, [bench.options.python, "-c", parse], input=line.stdout, capture_output=True, text=True, check=False,
        env={**os.environ, **launch.environment(bench.options)},
    )  # fmt: skip
    adapters = len(list((Path(bench.checkpoint) / "experts").iterdir()))
    taken = outcome.stdout.splitlines()[-1] if outcome.stdout else outcome.stderr.strip().splitlines()[-1]
    right = outcome.returncode == 0 and taken.split()[:2] == [str(adapters), str(adapters + 1)]
    found = f"adapters, slots, rank: {taken}" if right else taken
    return [Row("the printed command in the server's parser", found, "accepted", right)]

"""Row: the exported adapters under plain peft, and in SGLang where its Python is named: the same greedy text as ours."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from figures import Row
from rsagent.engines.local import LocalEngine
from rsagent.schemas import ExpertPrompt
from rsagent.serving.sglang import launch
from sglang_rows.answers import NEAR, parity, tie
from sglang_rows.bench import Bench, draw, gather, prompts_of

PORT = 31977


def measure(folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """Captions of rendered scenes, one by every expert."""
    torch.set_num_threads(chosen.threads)
    pictures = draw(folder, chosen.images)
    rows = [asyncio.run(_in_peft(chosen.checkpoint, pictures))]
    if chosen.sglang_python is None:
        return [*rows, Row("exported adapters in SGLang", "not asked for (--sglang-python PATH)", "the same text", None)]
    python = launch.find_python(chosen.sglang_python)
    launch.check_version(python)
    options = launch.Options(python, port=PORT, device="cpu", dtype="float32")
    return rows + asyncio.run(_in_sglang(Bench(chosen.checkpoint, options, pictures)))


async def _in_peft(checkpoint: Path, pictures: Sequence[Path]) -> Row:
    local = await asyncio.to_thread(LocalEngine.load, checkpoint, device="cpu", dtype="float32")
    try:
        prompts = await prompts_of(local, pictures)
        ours = await gather(local, prompts)
        theirs = _spoken(checkpoint, prompts, [await local.prefix(prompt) for prompt in prompts])
        parted = [index for index, text in enumerate(theirs) if text != ours[index]]
        gaps = [tie(local, await local.prefix(prompts[i]), prompts[i], ours[i], theirs[i]) for i in parted]
    finally:
        await local.close()
    found = f"{len(prompts) - len(parted)} of n = {len(prompts)} texts ({len(pictures)} images, every expert)"
    if gaps:
        found += f"; where the others part, the two words' logits are at most {max(gaps):.2g} from the best"
    near = all(gap <= NEAR["float32"] for gap in gaps)
    return Row("exported adapters in plain peft, the same greedy text", found, "all, but for ties", near)


@torch.inference_mode()
def _spoken(checkpoint: Path, prompts: Sequence[ExpertPrompt], prefixes: Sequence[torch.Tensor]) -> list[str]:
    """What transformers and peft say with nothing of ours but the prefix that the experts read."""
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(checkpoint / "tokenizer")
    llm: Any = AutoModelForCausalLM.from_pretrained(checkpoint / "llm", dtype=torch.float32)
    first, *others = sorted({prompt.expert for prompt in prompts})
    llm = PeftModel.from_pretrained(llm, checkpoint / "experts" / first, adapter_name=first).eval()
    for name in others:
        llm.load_adapter(checkpoint / "experts" / name, adapter_name=name)
    said: list[str] = []
    for prompt, prefix in zip(prompts, prefixes, strict=True):
        llm.set_adapter(prompt.expert)
        ids = torch.tensor([*tokenizer(prompt.text, add_special_tokens=False)["input_ids"], tokenizer.bos_token_id])
        embeds = torch.cat([prefix.float(), llm.get_input_embeddings()(ids)])[None]
        written = llm.generate(
            inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long), do_sample=False,
            max_new_tokens=prompt.max_tokens, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        text = str(tokenizer.decode(written[0], skip_special_tokens=True))
        said.append(text.rstrip("\ufffd"))  # half a letter at the end: ours never shows it
    return said


async def _in_sglang(bench: Bench) -> list[Row]:
    try:
        await bench.start()
        return [Row(f"exported adapters in SGLang, {row.what}", row.found, row.asked, row.met) for row in await parity(bench)]
    finally:
        bench.stop()

"""Requests that no client should send: words that hardly anybody would ask, good requests with something wrong in them."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any

import httpx

from figures import Row
from rsagent.errors import RSAgentError
from sglang_rows.bench import Bench, bare_body, listen, need_server, prompts_of

_SAMPLING: list[dict[str, Any]] = [
    {"max_new_tokens": 0}, {"max_new_tokens": -3}, {"max_new_tokens": 10**9}, {"temperature": -1}, {"temperature": 1e30},
    {"top_p": 7}, {"top_k": -5}, {"json_schema": "{"}, {"json_schema": "{}"}, {"json_schema": '{"type": "nonsense"}'},
    {"regex": "("}, {"regex": "(a|b){1,3}"}, {"stop_token_ids": [-1]}, {"min_new_tokens": 9, "max_new_tokens": 2}, {"n": 0},
    {"stop": "\x00"}, {"repetition_penalty": 99}, {"unknown": 1},
]  # fmt: skip
_FIELDS: list[dict[str, Any]] = [
    {"input_embeds": [[0.1, 0.2]]}, {"positional_embed_overrides": {"a": 1}}, {"video_data": "x"}, {"audio_data": "x"},
    {"session_params": {"id": "x"}}, {"rid": "same"}, {"return_logprob": True}, {"stream": "maybe"}, {"priority": 10**12},
    {"mm_hashes": ["zz"]}, {"mm_hashes": ["ff"]}, {"modalities": ["video"]}, {"custom_logit_processor": "x"},
]  # fmt: skip
_IMAGES: list[Any] = [[], 7, {}, "", "file:///etc/passwd", "http://127.0.0.1:1/a.png", None]
_IDS: list[list[Any]] = [[], [-1], [10**9], [2**63], ["a"], [1.5], [None], list(range(1500)), [0] * 4000]
_ADAPTERS: list[Any] = ["weather", "", ["theme"], ["theme", "object"], 3, None, "../../etc"]
_DTYPES = ["float16", "int8", "float64", "object", ""]


async def fuzz(bench: Bench, count: int) -> list[Row]:
    """Half of `count` requests through the engine, half straight to the processor; then a caption as before."""
    engine = await bench.engine(timeout_s=60.0, patience_s=5.0)
    rng = random.Random(0)
    prompts = await prompts_of(engine, bench.pictures[:1])
    good = await listen(engine, prompts[0])
    body = await bare_body(engine, prompts[0])
    pid = need_server(bench).pid
    refused = answered = 0
    async with httpx.AsyncClient(timeout=60) as client:
        for number in range(count):
            if number % 2:
                strange = prompts[0].model_copy(update={"text": odd_text(rng), "max_tokens": rng.choice([1, 3, 64, 5000])})
                try:
                    await listen(engine, strange)
                    answered += 1
                except RSAgentError:
                    refused += 1
            else:
                answer = await client.post(f"{bench.url}/generate", content=mutated(rng, body))
                answered, refused = (answered + 1, refused) if answer.status_code == 200 else (answered, refused + 1)
    alive = await listen(engine, prompts[0]) == good
    await engine.close()
    crashed = 0 if alive and need_server(bench).running and need_server(bench).pid == pid else 1
    found = f"{crashed} (n = {count}, seed 0: {answered} answered, {refused} refused; the same caption afterwards: {alive})"
    return [Row("fuzzed requests that end the server", found, "0", crashed == 0)]


def odd_text(rng: random.Random) -> str:
    """Words that hardly anybody would ask."""
    alphabet = "abc \x00\n\ud7ff\U0001f30d</s><s><pad>\u202e%{}\"'\\"
    return "".join(rng.choice(alphabet) for _ in range(rng.choice([0, 1, 7, 60, 900, 4000])))


def mutated(rng: random.Random, body: dict[str, Any]) -> bytes:
    """A good request with something wrong in it, or two things; one in twenty is also cut off."""
    changes: list[Callable[[], dict[str, Any]]] = [
        lambda: {"image_data": _odd_embeddings(rng, body["image_data"])},
        lambda: {"image_data": rng.choice([*_IMAGES, [body["image_data"]] * 2])},
        lambda: {"input_ids": rng.choice(_IDS)},
        lambda: {"lora_path": rng.choice(_ADAPTERS)},
        lambda: {"sampling_params": {**body["sampling_params"], **rng.choice(_SAMPLING)}},
        lambda: rng.choice(_FIELDS),
        lambda: {"input_ids": None, "text": odd_text(rng)},
    ]
    changed = dict(body)
    for change in rng.choices(changes, weights=[3, 1, 1, 1, 1, 1, 1], k=rng.choice([1, 1, 2])):
        changed.update(change())
    text = json.dumps({key: value for key, value in changed.items() if value is not None}).encode()
    return text[: rng.randrange(len(text))] if rng.random() < 0.05 else text


def _odd_embeddings(rng: random.Random, url: str) -> str:
    """A data URL whose head or whose numbers are not what they should be."""
    head, _, numbers = url.partition(",")
    size = len(base64.b64decode(numbers))
    shape = head.split("shape=")[1].split(";")[0]
    width = int(shape.split("x")[1])
    shapes = [f"1x{width}", f"0x{width}", "1x1", f"999999x{width}", f"{width}x1", "-1x-1", "x", f"2x{width + 1}", "1e9x1"]
    noise, nan, huge = rng.randbytes(size), b"\x00\x00\xc0\x7f" * (size // 4), b"\xff\xff\x7f\x7f" * (size // 4)
    which = rng.randrange(4)
    if which == 0:
        return head.replace(shape, rng.choice(shapes)) + "," + numbers
    if which == 1:
        return head.replace(head.split("dtype=")[1].split(";")[0], rng.choice(_DTYPES)) + "," + numbers
    if which == 2:
        made_with = rng.choice(["0" * 64, "f", "F", "", "0" * 500])
        return head.replace(";base64", f";checkpoint={made_with};base64") + "," + numbers
    spoilt = [base64.b64encode(raw).decode() for raw in (noise, nan, huge)]
    return f"{head},{rng.choice([*spoilt, numbers[:-8], '!' * 64, ''])}"

"""What the sglang engine is worth: parity with the local engine, latency, throughput, radix cache, restarts, fuzzed requests.

Starts its own SGLang server on a checkpoint (on the CPU unless told otherwise) and prints each figure with its count and
spread, beside the floor that is asked of it. Pictures are rendered scenes, so no data set is needed. Exits with 1 when a
floor is missed.

    python scripts/measure_sglang.py --python .sglang-env/bin/python --device cpu
    python scripts/measure_sglang.py --only parity,fuzz --images 10
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from rsagent import RSAgent
from rsagent.engines.local import LocalEngine
from rsagent.engines.sglang import SGLangEngine
from rsagent.errors import RSAgentError
from rsagent.model.checkpoint import EMBEDDED, checkpoint_digest
from rsagent.prompts import load_prompts
from rsagent.schemas import ExpertPrompt
from rsagent.serving.sglang import launch
from rsagent.serving.sglang.checks import check_checkpoint
from rsagent.serving.sglang.child import Server
from rsagent.serving.sglang.prepare import prepare

PORT = 31877
READY_S = 900.0


@dataclass
class Row:
    """One line of the table. `met` is None where nothing is asked."""

    what: str
    found: str
    asked: str
    met: bool | None


@dataclass
class Bench:
    """What every measurement needs."""

    checkpoint: Path
    options: launch.Options
    pictures: list[Path]
    server: Server | None = None

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"http://{self.options.host}:{self.options.port}"

    @property
    def networks(self) -> dict[str, str]:
        """What our own networks run on, and their number type: the server's, or texts could differ for that alone."""
        return {"device": self.options.device, "dtype": self.options.dtype}

    async def start(self) -> float:
        """Start the server; gives the seconds until it is ready."""
        began = time.monotonic()
        servable, digest = check_checkpoint(self.checkpoint), checkpoint_digest(self.checkpoint)
        line = launch.command(servable, prepare(servable, digest), digest, self.options)
        log = Path(tempfile.gettempdir()) / f"measure-sglang-{self.options.port}.log"
        self.server = Server(line, launch.environment(self.options), log)
        await asyncio.to_thread(self.server.wait_ready, self.url, READY_S, lambda step: None)
        return time.monotonic() - began

    async def engine(self, **options: Any) -> SGLangEngine:
        """A fresh client of it."""
        given: dict[str, Any] = {"timeout_s": 300.0, "patience_s": 900.0, **self.networks, **options}
        return await asyncio.to_thread(SGLangEngine.load, self.url, self.checkpoint, **given)


def draw(folder: Path, count: int) -> list[Path]:
    """Rendered scenes of the split `test`."""
    from PIL import Image

    from rsagent.training.render import render
    from rsagent.training.scenes import scene_from_seed

    paths: list[Path] = []
    for seed in range(count):
        paths.append(folder / f"{seed}.png")
        Image.fromarray(render(scene_from_seed(seed, "test"))).save(paths[-1])
    return paths


async def prompts_of(engine: Any, pictures: Sequence[Path], instruction: str | None = None) -> list[ExpertPrompt]:
    """The prompts of a plain caption of each picture, for all experts."""
    asked = instruction or load_prompts().caption_instruction("detailed")
    found: list[ExpertPrompt] = []
    for picture in pictures:
        facts = await engine.prepare(picture)
        found += await engine.route(facts.sha256, asked, "caption")
    return found


async def listen(engine: Any, prompt: ExpertPrompt) -> str:
    """All that an expert says."""
    return "".join([piece async for piece in engine.generate(prompt)])


async def gather(engine: Any, prompts: Sequence[ExpertPrompt], at_a_time: int = 32) -> list[str]:
    """What the experts say to many prompts, `at_a_time` of them in flight."""
    free = asyncio.Semaphore(at_a_time)

    async def one(prompt: ExpertPrompt) -> str:
        async with free:
            return await listen(engine, prompt)

    return list(await asyncio.gather(*(one(prompt) for prompt in prompts)))


async def parity(bench: Bench) -> list[Row]:
    """The same words as the local engine, and for others how near the tie was at which they part."""
    ours = await bench.engine()
    local = await asyncio.to_thread(LocalEngine.load, bench.checkpoint, **bench.networks)
    prompts = await prompts_of(ours, bench.pictures)
    await prompts_of(local, bench.pictures)
    said, expected = await gather(ours, prompts), await gather(local, prompts)
    parted = [index for index, text in enumerate(said) if text != expected[index]]
    gaps = [
        await asyncio.to_thread(tie, local, await local.prefix(prompts[i]), prompts[i], said[i], expected[i]) for i in parted
    ]
    await ours.close()
    await local.close()
    share = 1 - len(parted) / len(prompts)
    near = all(gap < (0.01 if bench.options.dtype == "float32" else 0.25) for gap in gaps)
    found = f"{share:.1%} of n = {len(prompts)} ({len(bench.pictures)} images x 3 experts)"
    if gaps:
        found += f"; gap of the two best logits where the others part: at most {max(gaps):.2g}"
    return [
        Row(
            f"same text as the local engine, {bench.options.dtype} on both sides",
            found,
            ">= 97 %, else near-ties",
            share >= 0.97 and near,
        )
    ]


def tie(local: LocalEngine, prefix: Any, prompt: ExpertPrompt, one: str, other: str) -> float:
    """How far apart the two best logits are where two texts part, in the local network."""
    import torch

    network = local.network
    words = [network.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt.text, one, other)]
    same = 0
    while same < min(len(words[1]), len(words[2])) and words[1][same] == words[2][same]:
        same += 1
    ids = torch.tensor([[*words[0], network.tokenizer.bos_token_id, *words[1][:same]]])
    assert network.mixed is not None
    with torch.inference_mode(), network.mixed.rows([prompt.expert]):
        embeds = torch.cat([prefix, network.embed(ids)[0]])[None]
        best = network.llm(inputs_embeds=embeds).logits[0, -1].float().topk(2).values
    return float(best[0] - best[1])


async def radix(bench: Bench) -> list[Row]:
    """Tokens found in the radix cache when an instruction comes again, and when another one follows."""
    engine = await bench.engine()
    prompt = (await prompts_of(engine, bench.pictures[:1], "Is there a harbour at the lower edge?"))[0]
    rows: list[Row] = []
    counters: list[tuple[int, int]] = []
    other = (await prompts_of(engine, bench.pictures[:1], "Which colour has the largest roof?"))[0]
    reworded = prompt.model_copy(update={"text": prompt.text + " Look again."})
    for asked in (prompt, prompt, reworded, other):
        await listen(engine, asked)
        counters.append((engine.last_counters["cached_tokens"], engine.last_counters["prompt_tokens"]))
    prefix = len(await engine._eyes.prefix(prompt))
    await engine.close()
    (_, _), (again, whole), (words, _), (another, size) = counters
    rows.append(Row("tokens reused, the same instruction again", f"{again} of {whole}", "all but the last", again == whole - 1))
    rows.append(
        Row(
            "tokens reused, other words to the same prefix",
            f"{words} (the prefix has {prefix})",
            ">= the prefix",
            words >= prefix,
        )
    )
    rows.append(Row("tokens reused, another question on the same image", f"{another} of {size}", "shown", None))
    return rows


async def latency(bench: Bench, rounds: int) -> list[Row]:
    """Three experts of a turn against one, in one run, with features and prefixes cached."""
    engine = await bench.engine()
    pictures = bench.pictures[: max(3, rounds)]
    turns = [await prompts_of(engine, [picture]) for picture in pictures]
    for turn in turns:
        await gather(engine, turn)
    means: list[float] = []
    longest: list[float] = []
    for turn in turns:
        alone: list[float] = []
        for prompt in turn:
            began = time.perf_counter()
            await listen(engine, prompt)
            alone.append(time.perf_counter() - began)
        began = time.perf_counter()
        await gather(engine, turn)
        together = time.perf_counter() - began
        means.append(together / statistics.mean(alone))
        longest.append(together / max(alone))
    await engine.close()
    ratio, spread = statistics.median(longest), deciles(longest)
    return [
        Row(
            "three experts / one (the longest of the three)",
            f"{ratio:.2f} ({spread}), n = {len(longest)}",
            "<= 1.5",
            ratio <= 1.5,
        ),
        Row("three experts / one (their mean)", f"{statistics.median(means):.2f} ({deciles(means)})", "shown", None),
    ]


async def throughput(bench: Bench, rounds: int) -> list[Row]:
    """Captions by the agent against the same requests sent bare, both with everything cached, 32 in flight, in turns."""
    engine = await bench.engine()
    prompts = await prompts_of(engine, bench.pictures)
    bodies = [json.dumps({**await bare_body(engine, prompt), "stream": False}).encode() for prompt in prompts]
    ratios: list[float] = []
    rates: list[float] = []
    limits = httpx.Limits(max_connections=96, keepalive_expiry=4)
    async with RSAgent(engine, expert_timeout_s=600) as agent, httpx.AsyncClient(limits=limits, timeout=300) as client:

        async def by_agent() -> None:
            async for described in agent.caption_many(bench.pictures, concurrency=32):
                if isinstance(described.result, RSAgentError):
                    raise described.result

        async def bare() -> None:
            free = asyncio.Semaphore(96)  # 32 captions of three experts

            async def one(body: bytes) -> None:
                async with free:
                    answer = await client.post(
                        f"{bench.url}/generate", content=body, headers={"Content-Type": "application/json"}
                    )
                    answer.raise_for_status()

            await asyncio.gather(*(one(body) for body in bodies))

        await by_agent()
        await bare()
        for _ in range(rounds):
            ours, theirs = await clocked(by_agent), await clocked(bare)
            ratios.append(theirs / ours)
            rates.append(len(bench.pictures) / ours)
    ratio = statistics.median(ratios)
    found = f"{ratio:.2f} ({deciles(ratios)}), n = {rounds} x {len(bodies)} requests; {statistics.median(rates):.1f} captions/s"
    return [Row("agent / bare server, throughput at concurrency 32", found, ">= 0.90", ratio >= 0.90)]


async def bare_body(engine: SGLangEngine, prompt: ExpertPrompt) -> dict[str, Any]:
    """The request that the engine would send for a prompt."""
    from rsagent.engines.sglang import _packed, _Writing

    writing = _Writing(engine._eyes.network.tokenizer, prompt)
    return {
        "input_ids": writing.read,
        "image_data": _packed(await engine._eyes.prefix(prompt), engine._servers[0].serves.dtype),
        "lora_path": prompt.expert,
        "sampling_params": {"temperature": 0.0, "max_new_tokens": prompt.max_tokens, "stop_token_ids": [writing.eos]},
    }


async def restarts(bench: Bench, captions: int) -> list[Row]:
    """Captions at concurrency 32 while the server is killed and started again, twice."""
    engine = await bench.engine()
    prompts = await prompts_of(engine, bench.pictures)
    expected = dict(zip([(p.digest, p.expert) for p in prompts], await gather(engine, prompts), strict=True))
    wanted = [prompts[index % len(prompts)] for index in range(3 * captions)]
    said: list[tuple[ExpertPrompt, str]] = []
    lost: list[str] = []
    free = asyncio.Semaphore(96)

    async def one(prompt: ExpertPrompt) -> None:
        async with free:
            try:
                said.append((prompt, await listen(engine, prompt)))
            except RSAgentError as error:
                lost.append(str(error))

    work = asyncio.gather(*(one(prompt) for prompt in wanted))
    ready: list[float] = []
    recovered: list[float] = []
    for part in (1, 2):
        while len(said) < part * len(wanted) // 3:
            await asyncio.sleep(0.05)
        assert bench.server is not None
        killed = time.monotonic()
        await asyncio.to_thread(bench.server.stop, 0.0)
        await bench.start()
        ready.append(time.monotonic() - killed)
        before = len(said)
        while len(said) == before and not work.done():
            await asyncio.sleep(0.02)
        recovered.append(time.monotonic() - killed)
    await work
    wrong = sum(text != expected[prompt.digest, prompt.expert] for prompt, text in said)
    await engine.close()
    ratio = max(one / other for one, other in zip(recovered, ready, strict=True))
    found = f"{len(said)} of {len(wanted)} reports, {len(lost)} lost, {wrong} other than undisturbed"
    return [
        Row(f"{captions} captions, server killed twice", found, "none lost or doubled", not lost and len(said) == len(wanted)),
        Row("first report after a kill / restart time", f"{ratio:.2f} (restart {max(ready):.0f} s)", "shown", None),
    ]


async def memory(bench: Bench, turns: int) -> list[Row]:
    """The client's resident memory over many turns."""
    engine = await bench.engine()
    sizes: list[float] = []
    async with RSAgent(engine, expert_timeout_s=600) as agent:
        done = 0
        while done < turns:
            block = [bench.pictures[index % len(bench.pictures)] for index in range(max(32, turns // 10))]
            async for described in agent.caption_many(block, concurrency=32):
                if isinstance(described.result, RSAgentError):
                    raise described.result
            done += len(block)
            sizes.append(resident_mb())
    early = sizes[1]  # the first block fills the caches
    change = sizes[-1] / early - 1
    found = f"{change:+.1%} ({early:.0f} -> {sizes[-1]:.0f} MB from a tenth to the end), n = {done} turns"
    return [Row("client's memory", found, "+- 5 %", abs(change) <= 0.05)]


async def fuzz(bench: Bench, count: int) -> list[Row]:
    """Requests that no client should send, half through the engine, half straight to the processor."""
    engine = await bench.engine(timeout_s=60.0, patience_s=5.0)
    rng = random.Random(0)
    prompts = await prompts_of(engine, bench.pictures[:3])
    good = await listen(engine, prompts[0])
    body = await bare_body(engine, prompts[0])
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
    assert bench.server is not None
    crashed = 0 if alive and bench.server.running else 1
    found = f"{crashed} (n = {count}: {answered} answered, {refused} refused; the same caption afterwards: {alive})"
    return [Row("fuzzed requests that end the server", found, "0", crashed == 0)]


def odd_text(rng: random.Random) -> str:
    """Words that hardly anybody would ask."""
    alphabet = "abc \x00\n\ud7ff\U0001f30d</s><s><pad>\u202e%{}\"'\\"
    return "".join(rng.choice(alphabet) for _ in range(rng.choice([0, 1, 7, 60, 900, 4000])))


def mutated(rng: random.Random, body: dict[str, Any]) -> bytes:
    """A good request with something wrong in it."""
    head, _, numbers = body["image_data"].partition(",")
    raw = base64.b64decode(numbers)
    width = int(head.split("shape=")[1].split(";")[0].split("x")[1])
    shapes = [f"1x{width}", f"0x{width}", "1x1", f"999999x{width}", f"{width}x1", "-1x-1", "x", f"2x{width + 1}", "1e9x1"]
    bad_numbers = base64.b64encode(bytes(rng.randrange(256) for _ in range(len(raw)))).decode()
    nan = base64.b64encode(b"\x00\x00\xc0\x7f" * (len(raw) // 4)).decode()
    huge = base64.b64encode(b"\xff\xff\x7f\x7f" * (len(raw) // 4)).decode()
    changes: list[Callable[[], dict[str, Any]]] = [
        lambda: {"image_data": head.replace(head.split("shape=")[1].split(";")[0], rng.choice(shapes)) + "," + numbers},
        lambda: {
            "image_data": head.replace(
                head.split("dtype=")[1].split(";")[0], rng.choice(["float16", "int8", "float64", "object", ""])
            )
            + ","
            + numbers
        },
        lambda: {"image_data": f"{head},{rng.choice([bad_numbers, nan, huge, numbers[:-8], '!' * 64, ''])}"},
        lambda: {
            "image_data": rng.choice(
                [[], [body["image_data"]] * 2, 7, {}, "", "file:///etc/passwd", "http://127.0.0.1:1/a.png", None]
            )
        },
        lambda: {"input_ids": rng.choice([[], [-1], [10**9], [2**63], ["a"], [1.5], [None], list(range(1500)), [0] * 4000])},
        lambda: {"lora_path": rng.choice(["weather", "", ["theme"], ["theme", "object"], 3, None, "../../etc"])},
        lambda: {"sampling_params": {**body["sampling_params"], **rng.choice(ODD_SAMPLING)}},
        lambda: rng.choice(ODD_FIELDS),
        lambda: {"input_ids": None, "text": odd_text(rng)},
    ]
    changed = dict(body)
    for change in rng.sample(changes, rng.choice([1, 1, 2])):
        changed.update(change())
    text = json.dumps({key: value for key, value in changed.items() if value is not None}).encode()
    return text[: rng.randrange(len(text))] if rng.random() < 0.05 else text


ODD_SAMPLING: list[dict[str, Any]] = [
    {"max_new_tokens": 0}, {"max_new_tokens": -3}, {"max_new_tokens": 10**9}, {"temperature": -1}, {"temperature": 1e30},
    {"top_p": 7}, {"top_k": -5}, {"json_schema": "{"}, {"json_schema": "{}"}, {"json_schema": '{"type": "nonsense"}'},
    {"regex": "("}, {"regex": "(a|b){1,3}"}, {"stop_token_ids": [-1]}, {"min_new_tokens": 9, "max_new_tokens": 2}, {"n": 0},
    {"stop": "\x00"}, {"repetition_penalty": 99}, {"unknown": 1},
]  # fmt: skip
ODD_FIELDS: list[dict[str, Any]] = [
    {"input_embeds": [[0.1, 0.2]]}, {"positional_embed_overrides": {"a": 1}}, {"video_data": "x"}, {"audio_data": "x"},
    {"session_params": {"id": "x"}}, {"rid": "same"}, {"return_logprob": True}, {"stream": "maybe"}, {"priority": 10**12},
    {"mm_hashes": ["zz"]}, {"mm_hashes": ["ff"]}, {"modalities": ["video"]}, {"custom_logit_processor": "x"},
]  # fmt: skip


def resident_mb() -> float:
    """This process's resident memory in MB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:  # no Linux: the most there ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


async def clocked(work: Callable[[], Awaitable[None]]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def deciles(values: Sequence[float]) -> str:
    """The spread of a figure: its first and last decile."""
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 10]:.2f} to {ordered[-1 - len(ordered) // 10]:.2f}"


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    """The bench with its server, which is stopped in the end."""
    try:
        seconds = await bench.start()
        print(f"the server is ready after {seconds:.0f} s", file=sys.stderr)
        yield bench
    finally:
        if bench.server is not None:
            bench.server.stop()


async def measure(bench: Bench, chosen: argparse.Namespace) -> list[Row]:
    """Every measurement that was chosen."""
    rows: list[Row] = []
    async with running(bench):
        steps: dict[str, Callable[[], Awaitable[list[Row]]]] = {
            "parity": lambda: parity(bench),
            "radix": lambda: radix(bench),
            "latency": lambda: latency(bench, chosen.rounds),
            "throughput": lambda: throughput(bench, chosen.rounds),
            "fuzz": lambda: fuzz(bench, chosen.fuzz),
            "memory": lambda: memory(bench, chosen.turns),
            "restarts": lambda: restarts(bench, chosen.captions),
        }
        for name in chosen.only.split(",") if chosen.only else steps:
            for row in await steps[name]():
                rows.append(row)
                mark = {True: "ok  ", False: "BAD ", None: "    "}[row.met]
                print(f"{mark}{row.what}: {row.found} [{row.asked}]", flush=True)
    return rows


def main() -> int:
    """Measure and print; 0 when every floor is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED)
    parser.add_argument("--python", default=None, help="the Python that has SGLang")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--only", default="", metavar="A,B", help="parity, radix, latency, throughput, fuzz, memory, restarts")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--fuzz", type=int, default=500)
    parser.add_argument("--turns", type=int, default=5000)
    parser.add_argument("--captions", type=int, default=1000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    python = launch.find_python(chosen.python)
    launch.check_version(python)
    options = launch.Options(python, port=PORT, device=chosen.device, dtype="float32" if chosen.device == "cpu" else "bfloat16")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(chosen.checkpoint, options, draw(Path(folder), chosen.images))
        try:
            rows = asyncio.run(measure(bench, chosen))
        except RSAgentError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", "utf-8")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

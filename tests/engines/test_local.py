"""The local engine on a tiny untrained checkpoint: the same answers however many ask, and nothing left running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import rsagent.engines.devices as devices
import rsagent.engines.local as local
from rsagent.engines.base import Engine
from rsagent.engines.local import LocalEngine
from rsagent.errors import EngineError, ImageError, ImageLost, SettingsError
from rsagent.model.checkpoint import checkpoint_digest
from rsagent.model.network import RSMoE
from rsagent.prompts import load_prompts
from rsagent.schemas import ExpertPrompt

QUESTIONS = (
    "how many red lorries are there ?",
    "is there a bridge ?",
    "what stands left of the round tank ?",
    "why\x00 </s> 🌍 ؟",
)


@pytest.fixture
def engine(exact: RSMoE) -> Iterator[LocalEngine]:
    """A fresh engine: nothing is remembered."""
    engine = LocalEngine(exact, "digest")
    yield engine
    asyncio.run(engine.close())


async def listen(engine: LocalEngine, prompt: ExpertPrompt) -> list[str]:
    return [piece async for piece in engine.generate(prompt)]


async def ask(engine: LocalEngine, picture: Path, question: str, expert: str, tokens: int = 6) -> list[str]:
    """One turn: prepare, route, and one expert's pieces."""
    facts = await engine.prepare(picture)
    style = question if question in engine.styles else ""
    instruction = load_prompts().caption_instruction(style) if style else question
    prompts = await engine.route(facts.sha256, instruction, "caption" if style else "answer", style=style)
    prompt = next((prompt for prompt in prompts if prompt.expert == expert), prompts[0])
    return await listen(engine, prompt.model_copy(update={"max_tokens": tokens, "expert": expert}))


async def first_prompt(engine: LocalEngine, picture: Path, tokens: int = 6) -> ExpertPrompt:
    facts = await engine.prepare(picture)
    prompts = await engine.route(facts.sha256, QUESTIONS[0], "answer")
    return prompts[0].model_copy(update={"max_tokens": tokens})


@contextmanager
def steps(network: RSMoE) -> Iterator[list[int]]:
    """How often the LLM ran."""
    ran: list[int] = []
    hook = network.llm.register_forward_hook(lambda *_: ran.append(1))
    yield ran
    hook.remove()


@contextmanager
def failing(network: RSMoE, error: Exception) -> Iterator[None]:
    """The LLM raises `error`, as it does when the machine is out of memory."""

    def fail(*_: Any) -> None:
        raise error

    hook = network.llm.register_forward_pre_hook(fail)
    yield
    hook.remove()


# --- one turn


def test_it_is_an_engine(engine: LocalEngine):
    assert isinstance(engine, Engine)
    assert engine.experts == ("theme", "object", "relation") and engine.styles == ("ucm", "rsicd")


async def test_a_turn(engine: LocalEngine, pictures: list[Path]):
    facts = await engine.prepare(pictures[0])
    assert (facts.width, facts.height, facts.name) == (60, 40, "0.png")
    prompts = await engine.route(facts.sha256, "Describe this image.", "caption")
    assert [prompt.expert for prompt in prompts] == ["theme", "object", "relation"]
    assert all(prompt.checkpoint == "digest" and prompt.digest == facts.sha256 for prompt in prompts)
    assert prompts[1].text == "Describe this image. Objects:"
    said = await asyncio.gather(*(listen(engine, prompt.model_copy(update={"max_tokens": 9})) for prompt in prompts))
    assert [len(pieces) for pieces in said] == [9, 9, 9]
    assert len({"".join(pieces) for pieces in said}) == 3


async def test_an_answer_comes_from_the_highest_gate_first(engine: LocalEngine, pictures: list[Path]):
    facts = await engine.prepare(pictures[0])
    prompts = await engine.route(facts.sha256, QUESTIONS[1], "answer")
    gates = [prompt.gate for prompt in prompts]
    assert len(gates) == 3 and gates == sorted(gates, reverse=True) and all(0 <= gate <= 1 for gate in gates)


async def test_only_the_experts_that_are_asked_for(engine: LocalEngine, pictures: list[Path]):
    facts = await engine.prepare(pictures[0])
    prompts = await engine.route(facts.sha256, "Describe this image.", "caption", experts=("relation", "theme"))
    assert [prompt.expert for prompt in prompts] == ["theme", "relation"]


async def test_the_composer_writes_too(engine: LocalEngine, pictures: list[Path]):
    prompt = await first_prompt(engine, pictures[0])
    composer = prompt.model_copy(update={"expert": "composer", "text": "Theme: a harbour Caption:"})
    assert len(await listen(engine, composer)) == 6


async def test_the_picture_matters(engine: LocalEngine, pictures: list[Path]):
    said = [tuple(await ask(engine, picture, QUESTIONS[0], "object", tokens=12)) for picture in pictures]
    assert len(set(said)) == len(pictures)


async def test_an_unknown_expert_is_named(engine: LocalEngine, pictures: list[Path]):
    prompt = (await first_prompt(engine, pictures[0])).model_copy(update={"expert": "weather"})
    with pytest.raises(EngineError, match="no expert 'weather': composer, object, relation, single, theme"):
        await listen(engine, prompt)


async def test_a_picture_that_cannot_be_read(engine: LocalEngine, tmp_path: Path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ImageError, match="a.png"):
        await engine.prepare(tmp_path / "a.png")


# --- many callers


def turns(pictures: list[Path]) -> list[tuple[Path, str, str, int]]:
    """200 different things to ask, experts and lengths mixed."""
    asked = (*QUESTIONS, "ucm", "rsicd")
    experts = ("theme", "object", "relation", "composer", "single")
    found: list[tuple[Path, str, str, int]] = []
    for index in range(200):
        question = asked[index % 6]
        if question in QUESTIONS:
            question = f"{index % 7} {question}"
        found.append((pictures[index % 5], question, experts[index % 3 if index % 4 else index % 5], 2 + index % 7))
    return found


async def test_parallel_callers_get_the_sequential_answers(exact: RSMoE, pictures: list[Path]):
    one, many = LocalEngine(exact, "digest"), LocalEngine(exact, "digest")
    asked = turns(pictures)
    sequential = [await ask(one, *turn) for turn in asked]
    parallel = await asyncio.gather(*(ask(many, *turn) for turn in asked))
    assert sum(a == b for a, b in zip(sequential, parallel, strict=True)) == 200
    assert len({"".join(pieces) for pieces in sequential}) > 100
    await one.close()
    await many.close()


async def test_with_beams_too(exact: RSMoE, pictures: list[Path]):
    best = LocalEngine(exact, "digest", best=True)
    asked = turns(pictures)[:12]
    sequential = ["".join(await ask(best, *turn)) for turn in asked]
    parallel = ["".join(pieces) for pieces in await asyncio.gather(*(ask(best, *turn) for turn in asked))]
    assert parallel == sequential
    plain = LocalEngine(exact, "digest")
    assert sequential != ["".join(await ask(plain, *turn)) for turn in asked]
    await best.close()
    await plain.close()


def test_two_event_loops_share_an_engine(engine: LocalEngine, pictures: list[Path]):
    asked = turns(pictures)[:24]
    expected = asyncio.run(_all(engine, asked))
    found: dict[int, list[list[str]]] = {}

    def run(which: int) -> None:
        found[which] = asyncio.run(_all(engine, asked))

    threads = [threading.Thread(target=run, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: expected, 1: expected}


async def _all(engine: LocalEngine, asked: list[tuple[Path, str, str, int]]) -> list[list[str]]:
    return list(await asyncio.gather(*(ask(engine, *turn) for turn in asked)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_dies_in_the_middle_of_an_answer(engine: LocalEngine, pictures: list[Path]):
    loop = asyncio.new_event_loop()
    prompt = loop.run_until_complete(first_prompt(engine, pictures[0], tokens=5000))
    stream = cast("AsyncGenerator[str, None]", engine.generate(prompt))
    with steps(engine.network) as ran:
        loop.run_until_complete(anext(stream))
        loop.close()
        assert len(asyncio.run(ask(engine, pictures[1], QUESTIONS[1], "theme"))) == 6
    assert len(ran) < 2000
    del stream


# --- giving up


async def test_closing_the_stream_stops_the_work(engine: LocalEngine, pictures: list[Path]):
    prompt = await first_prompt(engine, pictures[0], tokens=5000)
    with steps(engine.network) as ran:
        async with aclosing(cast("AsyncGenerator[str, None]", engine.generate(prompt))) as stream:
            for _ in range(3):
                await anext(stream)
        assert len(await ask(engine, pictures[1], QUESTIONS[1], "theme")) == 6  # the engine is free again
    assert len(ran) < 2000
    await _nothing_is_left()


@pytest.mark.parametrize("best", [False, True])
async def test_cancelling_a_turn_stops_the_work(exact: RSMoE, pictures: list[Path], best: bool):
    engine = LocalEngine(exact, "digest", best=best)
    prompt = await first_prompt(engine, pictures[0], tokens=5000)
    with steps(exact) as ran:
        turn = asyncio.create_task(listen(engine, prompt))
        while len(ran) < 3:
            await asyncio.sleep(0.001)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        assert await ask(engine, pictures[1], QUESTIONS[1], "theme")
    assert len(ran) < 2000
    await _nothing_is_left()
    await engine.close()


async def test_who_stays_gets_the_whole_answer_when_another_leaves(engine: LocalEngine, pictures: list[Path]):
    prompt = await first_prompt(engine, pictures[0], tokens=40)
    other = (await first_prompt(engine, pictures[1], tokens=40)).model_copy(update={"expert": "relation"})
    expected = await listen(engine, prompt)
    staying, leaving = asyncio.create_task(listen(engine, prompt)), asyncio.create_task(listen(engine, other))
    with steps(engine.network) as ran:
        while len(ran) < 2:
            await asyncio.sleep(0.001)
    leaving.cancel()
    assert await staying == expected
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_leaving_before_anything_was_said(engine: LocalEngine, pictures: list[Path]):
    prompt = await first_prompt(engine, pictures[0], tokens=5000)
    turns = [asyncio.create_task(listen(engine, prompt)) for _ in range(3)]
    await asyncio.sleep(0)
    for turn in turns:
        turn.cancel()
    await asyncio.gather(*turns, return_exceptions=True)
    assert len(await ask(engine, pictures[1], QUESTIONS[1], "theme")) == 6
    await _nothing_is_left()


async def _nothing_is_left() -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


# --- what is remembered


async def test_an_image_that_was_never_prepared(engine: LocalEngine):
    with pytest.raises(ImageLost, match="0123456789ab is no longer in memory: prepare it again"):
        await engine.route("0123456789abcdef" * 4, "Describe this image.", "caption")
    prompt = ExpertPrompt(expert="theme", text="t", digest="f" * 64, instruction="i", task="caption")
    with pytest.raises(ImageLost):
        await listen(engine, prompt)
    with pytest.raises(ImageLost):
        await engine.explain("f" * 64, "Describe this image.", "caption")


async def test_a_forgotten_image_comes_back_the_same(exact: RSMoE, pictures: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local, "_IMAGES", 2)
    monkeypatch.setattr(local, "_READINGS", 1)
    engine = LocalEngine(exact, "digest")
    first = await ask(engine, pictures[0], QUESTIONS[0], "theme")
    digest = (await engine.prepare(pictures[0])).sha256
    for picture in pictures[1:4]:
        await ask(engine, picture, QUESTIONS[0], "theme")
    with pytest.raises(ImageLost):
        await engine.route(digest, QUESTIONS[0], "answer")
    assert await ask(engine, pictures[0], QUESTIONS[0], "theme") == first
    await engine.close()


async def test_a_prompt_from_before_a_restart_gives_the_same_words(exact: RSMoE, pictures: list[Path]):
    before, after = LocalEngine(exact, "digest"), LocalEngine(exact, "digest")
    prompt = ExpertPrompt.model_validate_json((await first_prompt(before, pictures[0])).model_dump_json())
    expected = await listen(before, prompt)
    with pytest.raises(ImageLost):
        await listen(after, prompt)
    await after.prepare(pictures[0])
    assert await listen(after, prompt) == expected
    await before.close()
    await after.close()


async def test_the_image_encoder_runs_once_an_image_and_the_vlm_encoder_once_an_instruction(
    engine: LocalEngine, pictures: list[Path]
):
    counts = {"image": 0, "vlm": 0}
    hooks = [
        engine.network.image_encoder.register_forward_hook(lambda *_: counts.update(image=counts["image"] + 1)),
        engine.network.vlm_encoder.register_forward_hook(lambda *_: counts.update(vlm=counts["vlm"] + 1)),
    ]
    for _ in range(2):
        for question in QUESTIONS[:2]:
            for expert in ("theme", "object", "composer"):
                await ask(engine, pictures[0], question, expert)
    for hook in hooks:
        hook.remove()
    assert counts == {"image": 1, "vlm": 2}


# --- trouble


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore")])
async def test_out_of_memory_is_one_line_and_the_engine_goes_on(engine: LocalEngine, pictures: list[Path], error: Exception):
    prompt = await first_prompt(engine, pictures[0])
    with failing(engine.network, error):
        with pytest.raises(EngineError, match="^out of memory: ") as caught:
            await listen(engine, prompt)
    assert "\n" not in str(caught.value)
    assert len(await listen(engine, prompt)) == 6
    await _nothing_is_left()


async def test_closing_twice_and_using_it_afterwards(exact: RSMoE, pictures: list[Path]):
    engine = LocalEngine(exact, "digest")
    prompt = await first_prompt(engine, pictures[0])
    await asyncio.gather(engine.close(), engine.close())
    await engine.close()
    for use in (
        engine.prepare(pictures[0]),
        engine.route(prompt.digest, prompt.instruction, "answer"),
        listen(engine, prompt),
        engine.explain(prompt.digest, prompt.instruction, "answer"),
    ):
        with pytest.raises(EngineError, match="the local engine is closed: make a new one") as caught:
            await use
        assert not isinstance(caught.value, ImageLost)  # which would ask for a fresh try


async def test_closing_while_it_writes_finishes_what_is_in_hand(exact: RSMoE, pictures: list[Path]):
    engine = LocalEngine(exact, "digest")
    prompt = await first_prompt(engine, pictures[0], tokens=30)
    writing = asyncio.create_task(listen(engine, prompt))
    with steps(exact) as ran:
        while not ran:
            await asyncio.sleep(0.001)
    await engine.close()
    assert len(await writing) == 30


# --- what the router did


async def test_explain(engine: LocalEngine, pictures: list[Path]):
    facts = await engine.prepare(pictures[0])
    trace = await engine.explain(facts.sha256, QUESTIONS[0], "answer")
    assert trace.image == facts and trace.instruction == QUESTIONS[0]
    assert set(trace.gate) == {"theme", "object", "relation"}
    assert [expert.prompt.expert for expert in trace.experts] == sorted(trace.gate, key=lambda name: -trace.gate[name])
    for expert in trace.experts:
        assert len(expert.nearest_words) == 2
        assert np.asarray(expert.attention).shape == (14, 14)
        assert np.sum(expert.attention) == pytest.approx(1.0, abs=1e-4)


async def test_explaining_while_others_ask(engine: LocalEngine, pictures: list[Path]):
    facts = await engine.prepare(pictures[0])
    expected = await engine.explain(facts.sha256, QUESTIONS[0], "answer")
    said = await ask(engine, pictures[0], QUESTIONS[0], "object")
    results = await asyncio.gather(
        *(engine.explain(facts.sha256, QUESTIONS[0], "answer") for _ in range(8)),
        *(ask(engine, pictures[0], QUESTIONS[0], "object") for _ in range(8)),
    )
    for trace in results[:8]:
        assert [e.nearest_words for e in cast(Any, trace).experts] == [e.nearest_words for e in expected.experts]
    assert results[8:] == [said] * 8


# --- other ways to run it


async def test_the_single_llm_of_stage_one(exact: RSMoE, pictures: list[Path]):
    engine = LocalEngine(exact, "digest", single=True)
    assert engine.experts == ("single",) and engine.styles == ()
    facts = await engine.prepare(pictures[0])
    prompts = await engine.route(facts.sha256, "Describe this image.", "caption")
    assert [(prompt.expert, prompt.text, prompt.gate) for prompt in prompts] == [
        ("single", "Describe this image. Caption:", 1.0)
    ]
    assert len(await listen(engine, prompts[0].model_copy(update={"max_tokens": 5}))) == 5
    with pytest.raises(EngineError, match="no router"):
        await engine.explain(facts.sha256, "Describe this image.", "caption")
    await engine.close()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
async def test_loading_a_folder(tiny_checkpoint: Path, pictures: list[Path], dtype: str):
    engine = LocalEngine.load(tiny_checkpoint, device="cpu", dtype=dtype)
    assert engine.checkpoint == checkpoint_digest(tiny_checkpoint)
    assert len(await ask(engine, pictures[0], QUESTIONS[0], "object")) == 6
    trace = await engine.explain((await engine.prepare(pictures[0])).sha256, QUESTIONS[0], "answer")
    assert all(np.sum(expert.attention) == pytest.approx(1.0, abs=1e-4) for expert in trace.experts)
    await engine.close()


async def test_a_large_llm_is_kept_in_bfloat16_on_a_cpu_that_has_it(
    tiny_checkpoint: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
):
    import torch

    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU does not compute in bfloat16")
    monkeypatch.setattr(devices, "_LARGE", 1)
    engine = LocalEngine.load(tiny_checkpoint, device="cpu")
    try:
        assert {p.dtype for p in engine.network.llm.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in engine.network.vlm_encoder.parameters()} == {torch.float32}
        assert len(await ask(engine, pictures[0], QUESTIONS[0], "object")) <= 6
    finally:
        await engine.close()


@pytest.mark.parametrize(
    "option", [{"device": "abacus"}, {"device": "cpu:9"}, {"device": "cuda:99"}, {"dtype": "int7"}], ids=str
)
def test_devices_and_dtypes_that_are_not_there(tiny_checkpoint: Path, option: dict[str, str]):
    with pytest.raises(SettingsError, match=next(iter(option.values()))):
        LocalEngine.load(tiny_checkpoint, **{"device": "cpu", **option})

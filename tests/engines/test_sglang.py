"""The sglang engine against a server that only pretends: what is sent, what each failure is called, that nothing is lost.

The real server's tests are in tests/servers. This one speaks the same HTTP, says fixed tokens, and fails on demand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from rsagent.engines.local import LocalEngine
from rsagent.errors import EngineError, ServerAway, SettingsError
from rsagent.model.checkpoint import checkpoint_digest
from rsagent.serving.sglang.plugin.rsagent_sglang.wire import unpack
from tests.engines.pretender import QUESTION, SAYS, Pretender, connect, hang, listen, prompt


async def test_the_adapter_the_words_and_the_prefix_are_sent_and_the_tokens_come_as_text(server, engine, pictures, network):
    asked = await prompt(engine, pictures[0])
    pieces = await listen(engine, asked)
    assert "".join(pieces) == network.tokenizer.decode(SAYS) and len(pieces) == 5
    sent = server.asked[0]
    assert sent["lora_path"] == "theme" and "text" not in sent
    assert sent["input_ids"][-1] == network.tokenizer.bos_token_id
    numbers, dtype, rows = unpack(sent["image_data"], network.config.llm_dim, 512)
    assert (dtype, rows) == ("float32", 3 * 3 + 2)  # nine queries and two soft prompts, in the server's number type
    assert len(numbers) == rows * network.config.llm_dim * 4


async def test_the_router_is_that_of_the_local_engine(engine, pictures, tiny_checkpoint):
    local = await asyncio.to_thread(LocalEngine.load, tiny_checkpoint)
    for picture in pictures[:2]:
        facts = [await one.prepare(picture) for one in (engine, local)]
        assert facts[0] == facts[1]
        ours, theirs = [await one.route(facts[0].sha256, QUESTION, "answer") for one in (engine, local)]
        assert ours == theirs
        ours, theirs = [await one.explain(facts[0].sha256, QUESTION, "answer") for one in (engine, local)]
        assert ours == theirs  # the nearest words too, though no LLM is loaded
    await local.close()


async def test_closing_early_aborts_the_request_on_the_server(server, engine, pictures):
    async def hang_later(_body: dict[str, Any], index: int) -> None:
        if index == 2:
            await hang(_body, index)

    server.does = hang_later
    stream: AsyncGenerator[str, None] = engine.generate(await prompt(engine, pictures[0]))
    async with aclosing(stream):
        await anext(stream)
    assert server.aborted == [server.asked[0]["rid"]]


async def test_a_cancelled_task_aborts_its_request(server, engine, pictures):
    server.does = hang
    task = asyncio.create_task(listen(engine, await prompt(engine, pictures[0])))
    while not server.asked:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.aborted == [server.asked[0]["rid"]]


async def test_a_hung_server_is_named_and_the_request_aborted(server, tiny_checkpoint, pictures):
    engine = await connect(server.url, tiny_checkpoint, timeout_s=0.5)
    server.does = hang
    with pytest.raises(EngineError, match="said nothing for 0.5 s"):
        await listen(engine, await prompt(engine, pictures[0]))
    assert len(server.asked) == len(server.aborted) == 1  # it is not asked again: it may be working
    await engine.close()


async def test_a_connection_that_breaks_mid_stream_loses_and_doubles_nothing(server, engine, pictures, network):
    async def break_off(_body: dict[str, Any], index: int) -> None:
        if index == 3 and len(server.asked) == 1:
            raise ConnectionResetError

    server.does = break_off
    pieces = await listen(engine, await prompt(engine, pictures[0]))
    assert "".join(pieces) == network.tokenizer.decode(SAYS) and len(pieces) == 5
    first, second = server.asked
    assert second["input_ids"] == [*first["input_ids"], *SAYS[:3]]  # it goes on where it was
    assert second["sampling_params"]["max_new_tokens"] == 2


async def test_a_restarted_server_is_waited_for_and_asked_again(server, engine, pictures, network):
    asked = await prompt(engine, pictures[0])
    await server.stop()
    waiting = [asyncio.create_task(listen(engine, asked)) for _ in range(20)]
    await asyncio.sleep(0.3)
    await server.start()
    for pieces in await asyncio.gather(*waiting):
        assert "".join(pieces) == network.tokenizer.decode(SAYS)


async def test_a_server_that_stays_away_is_an_error_when_patience_ends(server, tiny_checkpoint, pictures):
    engine = await connect(server.url, tiny_checkpoint, patience_s=0.4)
    asked = await prompt(engine, pictures[0])
    await server.stop()
    with pytest.raises(EngineError, match=f"away for 0.4 s: .*{server.url}"):
        await listen(engine, asked)
    await engine.close()
    await server.start()


async def test_a_server_that_returns_with_another_checkpoint_is_not_used(server, engine, pictures):
    asked = await prompt(engine, pictures[0])
    server.model["weight_version"] = "0" * 64
    server.refuses = (503, b"{}")
    with pytest.raises(EngineError, match="another checkpoint"):
        await listen(engine, asked)


@pytest.mark.parametrize(
    ("status", "said", "named"),
    [
        (400, b'{"error": {"message": "Got LoRA adapter that has never been loaded: theme"}}', "does not have the adapter"),
        (400, b'{"error": {"message": "The input (900 tokens) is longer than the model\'s context length"}}', "too long"),
        (500, b'{"detail": "CUDA out of memory"}', "out of memory"),
        (400, b'{"error": {"message": "the embeddings are 8 wide"}}', "refuses the request .400.: the embeddings are 8"),
        (401, b"", "RSAGENT_API_KEY"),
        (404, b"<html>nginx</html>", "something else than SGLang"),
    ],
)
async def test_every_refusal_has_its_name(server, engine, pictures, status, said, named):
    server.refuses = (status, said)
    with pytest.raises(EngineError, match=named) as raised:
        await listen(engine, await prompt(engine, pictures[0]))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("noise", [b"data: no json\n\n", b"data: [1]\n\n", b"\x00" * 5_000_000])
async def test_noise_is_no_answer(server, engine, pictures, noise):
    server.refuses = (200, noise)
    with pytest.raises(EngineError, match="something else than SGLang"):
        await listen(engine, await prompt(engine, pictures[0]))


async def test_a_failure_in_the_stream_is_raised(server, engine, pictures):
    event = {"output_ids": [], "meta_info": {"finish_reason": {"type": "abort", "status_code": 400, "message": "too\nlong"}}}
    server.refuses = (200, f"data: {json.dumps(event)}\n\n".encode())
    with pytest.raises(EngineError, match="aborted: too long"):
        await listen(engine, await prompt(engine, pictures[0]))


async def test_what_does_not_fit_the_context_is_not_sent(server, engine, pictures):
    asked = await prompt(engine, pictures[0], tokens=600)
    with pytest.raises(EngineError, match="takes 512 together: ask shorter"):
        await listen(engine, asked)
    assert not server.asked


async def test_an_expert_that_is_not_there(engine, pictures):
    asked = (await prompt(engine, pictures[0])).model_copy(update={"expert": "weather"})
    with pytest.raises(EngineError, match="no expert 'weather': composer, object"):
        await listen(engine, asked)


async def test_turns_about_one_image_go_to_one_server_and_to_the_other_when_it_dies(server, tiny_checkpoint, pictures):
    other = Pretender(checkpoint_digest(tiny_checkpoint))
    await other.start()
    engine = await connect(f"{server.url},{other.url}", tiny_checkpoint)
    prompts = [await prompt(engine, picture) for picture in pictures for _ in range(3)]
    for asked in prompts:
        await listen(engine, asked)
    images = [{body["image_data"] for body in one.asked} for one in (server, other)]
    assert not images[0] & images[1] and sum(map(len, images)) == len(pictures)
    await other.stop()
    for asked in prompts:
        assert len(await listen(engine, asked)) == 5
    await engine.close()


async def test_no_more_requests_than_allowed_are_in_flight(server, tiny_checkpoint, pictures):
    engine = await connect(server.url, tiny_checkpoint, in_flight=4)
    running = most = 0

    async def count(_body: dict[str, Any], index: int) -> None:
        nonlocal running, most
        running += index == 0
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= index == 4

    server.does = count
    asked = await prompt(engine, pictures[0])
    await asyncio.gather(*(listen(engine, asked) for _ in range(40)))
    assert most == 4
    await engine.close()


async def test_connecting_names_what_is_wrong(server, tiny_checkpoint):
    with pytest.raises(SettingsError, match="write http://HOST:PORT"):
        await connect("localhost:30000", tiny_checkpoint)
    server.model["weight_version"] = "f" * 64
    with pytest.raises(EngineError, match="another checkpoint .*ffffffffffff"):
        await connect(server.url, tiny_checkpoint)
    server.model["architectures"] = ["LlamaForCausalLM"]
    with pytest.raises(EngineError, match="no RS-MoE experts"):
        await connect(server.url, tiny_checkpoint)
    await server.stop()
    with pytest.raises(ServerAway, match="no server at .* start one with 'rsagent experts serve'"):
        await connect(server.url, tiny_checkpoint)
    await server.start()

"""The OpenAI-compatible server over HTTP: what it answers, what it refuses and how."""

from __future__ import annotations

import asyncio
import json
import logging
import math

import pytest

from rsagent.engines.scripted import ScriptedEngine
from rsagent.serving.web import Limits
from tests.serving.conftest import picture_uri

URL = "/v1/chat/completions"
SAID = {"theme": "a port", "object": "12", "relation": "the boats lie along the quay"}


async def test_a_question_is_answered_and_a_description_described(serve, ask):
    client = serve()
    answer = (await client.post(URL, json=ask())).json()
    assert answer["choices"][0]["message"]["content"] == "12"
    assert (answer["object"], answer["choices"][0]["finish_reason"]) == ("chat.completion", "stop")
    assert answer["rsagent"]["expert"] == "object" and answer["usage"]["completion_tokens"] == 1
    for text in ("Describe this image.", "", "please caption this", "What do you see?", "What is in this picture?"):
        caption = (await client.post(URL, json=ask(text))).json()
        assert caption["choices"][0]["message"]["content"] == "A port. 12. The boats lie along the quay.", text
        assert caption["rsagent"]["theme"] == "A port."


async def test_model_names_choose_experts_and_styles(serve, ask):
    engine = ScriptedEngine({**SAID, "composer": "boats in a port"}, styles=["ucm"])
    client = serve(engine)
    names = [model["id"] for model in (await client.get("/v1/models")).json()["data"]]
    assert names == ["rsagent", "rsagent:theme", "rsagent:object", "rsagent:relation", "rsagent:ucm"]
    assert (await client.get("/v1/models/rsagent:theme")).json()["id"] == "rsagent:theme"
    only = (await client.post(URL, json=ask("Describe it", model="rsagent:theme"))).json()
    assert only["choices"][0]["message"]["content"] == "A port."
    styled = (await client.post(URL, json=ask("What colour is it?", model="rsagent:ucm"))).json()
    assert styled["choices"][0]["message"]["content"] == "Boats in a port."


async def test_the_last_picture_stays_in_view_and_the_last_words_count(serve, ask):
    engine = ScriptedEngine(SAID)
    body = ask("Describe it")
    body["messages"] = [
        {"role": "system", "content": "Be brief."},
        *body["messages"],
        {"role": "assistant", "content": "A port."},
        {"role": "user", "content": "How many boats?"},
    ]
    await serve(engine).post(URL, json=body)
    assert {call.instruction for call in engine.calls} == {"How many boats are there?"}  # completed by rule


async def test_a_stream_is_the_reply_in_pieces(serve, ask):
    client = serve()
    events = (await client.post(URL, json=ask("Describe", stream=True, stream_options={"include_usage": True}))).text
    lines = [line[6:] for line in events.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]" and ": theme is done" in events
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])
    assert text == "A port. 12. The boats lie along the quay."
    assert chunks[-1]["usage"]["completion_tokens"] == 9 and chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_an_engine_that_fails_is_503_or_an_error_in_the_stream(serve, ask):
    client = serve(ScriptedEngine(SAID, failures=dict.fromkeys(SAID, "the machine is away")))
    reply = await client.post(URL, json=ask())
    assert reply.status_code == 503 and "the machine is away" in reply.json()["error"]["message"]
    events = (await client.post(URL, json=ask(stream=True))).text
    assert '"code": "engine_failed"' in events and events.endswith("data: [DONE]\n\n")


async def test_a_failed_expert_makes_the_reply_partial(serve, ask):
    reply = await serve(ScriptedEngine(SAID, failures={"object": "away"})).post(URL, json=ask("Describe"))
    assert reply.json()["rsagent"]["missing"] == ["object"] and reply.status_code == 200


PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": "gpt-4"}, "model"),
        ({"model": "rsagent:colour"}, "model"),
        ({"model": "rsagent:"}, "model"),
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "how many?"}]}, "messages.0.content"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [PNG]}]}, "messages.0.content.0.image_url"),
        ({"messages": [{"role": "user", "content": [PNG, PNG]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [PNG]}] * 100}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * 10_000}, "messages"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"n": 2}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [{}], "tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_what_is_wrong_is_400_and_named(serve, ask, change, param):
    reply = await serve().post(URL, json=ask(**change))
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param), error
    assert "\n" not in error["message"] and len(error["message"]) < 600


@pytest.mark.parametrize("url", ["data:image/png;base64,@@@", "photo.png", "/etc/passwd", "http://127.0.0.1/a.png", "x", ""])
async def test_a_picture_that_is_none_or_not_ours_to_read(serve, url):
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    reply = await serve().post(URL, json={"model": "rsagent", "messages": [message]})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "messages.0.content.0.image_url")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"model": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"a":"\\ud800"}']
)
async def test_a_body_that_is_no_request(serve, body):
    reply = await serve().post(URL, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400 and reply.json()["error"]["param"]


async def test_numbers_that_are_none(serve, ask):
    body = json.dumps(ask(temperature=math.nan))
    reply = await serve().post(URL, content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "temperature")


async def test_a_body_of_200_mb_is_refused_and_not_kept(serve):
    async def body():
        for _ in range(200):
            yield b"x" * 2**20

    reply = await serve().post(URL, content=body(), headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "body")


async def test_other_content_other_routes_other_methods(serve, ask):
    client = serve()
    assert (await client.post(URL, content=json.dumps(ask()), headers={"content-type": "text/plain"})).status_code == 415
    for reply in (await client.get("/nowhere"), await client.get(URL), await client.get("/v1/models/x")):
        assert reply.status_code in (404, 405) and reply.json()["error"]["type"] == "invalid_request_error"


async def test_a_question_builds_on_the_ones_before(serve, uri):
    engine = ScriptedEngine(SAID)
    client = serve(engine)

    def user(text: str, *pictures: str) -> dict:
        return {"role": "user", "content": [*({"type": "image_url", "image_url": {"url": u}} for u in pictures),
                                            {"type": "text", "text": text}]}  # fmt: skip

    def assistant(text: str) -> dict:
        return {"role": "assistant", "content": text}

    async def asked(*messages: dict) -> dict:
        reply = await client.post(URL, json={"model": "rsagent", "messages": messages})
        assert reply.status_code == 200, reply.text
        return reply.json()["rsagent"]

    first, second = uri, picture_uri(200)
    counted = (user("How many ships are there?", first), assistant("3"))
    assert (await asked(*counted, user("and what colour are they?")))["question"] == "What colour are the ships?"
    one = await asked(*counted)
    two = await asked(*counted, user("And in the second picture?", second))
    assert two["question"] == "How many ships are there?" and two["image"] != one["image"]
    back = await asked(*counted, user("And in the second picture?", second), assistant("2"), user("and in the first picture?"))
    assert back["image"] == one["image"]
    told = (user("Describe it", first), assistant("There are two white ships."))
    assert (await asked(*told, user("Where are they?")))["question"] == "Where are the white ships?"
    refused = await client.post(URL, json={"model": "rsagent", "messages": [*counted, user("And in picture 7?")]})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "messages.2.content"


async def test_unknown_fields_are_ignored(serve, ask):
    assert (await serve().post(URL, json=ask(logit_bias={}, colour="red", tools=[{"x": 1}]))).status_code == 200


# ----- keys, hosts, ids, logs, numbers


async def test_keys(serve, ask, caplog):
    key = "correct-horse-battery"
    client = serve(keys=("another-key-of-16", key))
    with caplog.at_level(logging.INFO, "rsagent.serve"):
        for header in (None, "Bearer", "Bearer wrong", f"Basic {key}", f"Bearer {key}x"):
            reply = await client.post(URL, json=ask(), headers={"authorization": header} if header else {})
            assert reply.status_code == 401 and key not in reply.text
        good = await client.post(URL, json=ask(), headers={"authorization": f"Bearer {key}"})
    assert good.status_code == 200 and (await client.get("/health")).status_code == 200
    assert (await client.get("/metrics")).status_code == 401
    assert key not in "".join(str(record.__dict__) for record in caplog.records)


async def test_a_page_of_another_site_does_not_reach_a_server_on_loopback(serve):
    client = serve(hosts=frozenset(("localhost", "127.0.0.1", "::1")))
    for host, status in (("evil.example", 403), ("localhost:8321", 200), ("[::1]:8321", 200), ("127.0.0.1", 200)):
        assert (await client.get("/health", headers={"host": host})).status_code == status


async def test_ids_and_a_log_without_words_or_pictures(serve, ask, uri, caplog):
    client = serve()
    with caplog.at_level(logging.INFO, "rsagent.serve"):
        mine = await client.post(URL, json=ask("How many secrets?"), headers={"x-request-id": "abc-1"})
        other = await client.post(URL, json=ask(), headers={"x-request-id": "a b\x7f"})
    assert mine.headers["x-request-id"] == "abc-1" and len(other.headers["x-request-id"]) == 32
    facts = caplog.records[0].facts
    assert (facts["id"], facts["status"], facts["task"], facts["partial"]) == ("abc-1", 200, "answer", False)
    logged = "".join(str(record.__dict__) for record in caplog.records)
    assert "secrets" not in logged and uri[30:60] not in logged


async def test_numbers_for_prometheus(serve, ask):
    client = serve()
    await client.post(URL, json=ask())
    await client.get("/v1/models/" + "x" * 50)
    text = (await client.get("/metrics")).text
    assert 'rsagent_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text
    assert 'rsagent_turn_seconds_count{task="answer"} 1.0' in text and "xxxx" not in text


async def test_a_fault_of_the_program_tells_nothing_of_its_insides(serve, ask):
    engine = ScriptedEngine(SAID, failures={"theme": TypeError("the secret inside")})
    reply = await serve(engine).post(URL, json=ask("Describe"))
    assert reply.status_code == 500 and "secret" not in reply.text and "Traceback" not in reply.text


# ----- queue and time


async def test_a_full_queue_is_429_with_a_time_and_nothing_is_lost(serve, ask):
    client = serve(ScriptedEngine(SAID, delays=dict.fromkeys(SAID, 0.1)), limits=Limits(running=2, queue=3))
    replies = await asyncio.gather(*(client.post(URL, json=ask()) for _ in range(20)))
    codes = sorted(reply.status_code for reply in replies)
    assert codes == [200] * 5 + [429] * 15
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies if reply.status_code == 429)
    assert (await client.post(URL, json=ask(stream=True))).status_code == 200


async def test_a_turn_that_takes_too_long_is_given_up(serve, ask):
    engine = ScriptedEngine(SAID, delays={"object": math.inf})
    client = serve(engine, limits=Limits(turn_s=0.2, running=1, queue=0))
    assert (await client.post(URL, json=ask())).status_code == 504
    assert '"code": "turn_too_slow"' in (await client.post(URL, json=ask(stream=True))).text
    assert engine.running == 0

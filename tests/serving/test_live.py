"""Streams: words come while the turn runs, and joined they are the reply that is not streamed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import EngineError
from rsagent.graphs.compose import join, punctuated, tidy
from rsagent.graphs.text import clean
from rsagent.schemas import ExpertPrompt
from rsagent.serving.live import Live
from rsagent.serving.turn import Turn
from tests.serving.conftest import GATE

URL = "/v1/chat/completions"
SAID = {
    "theme": "a port with many boats .",
    "object": "there are twelve white boats , two cars , two cars and a crane",
    "relation": "the boats lie along the quay",
    "composer": "twelve boats lie along a quay in a port .",
}
QUESTION = "How many boats are there?"


class Request:
    """A streamed request to the application itself, which tells when each event is sent."""

    def __init__(self, client: Any, body: dict[str, Any]) -> None:
        self.app, self.body = client._transport.app, json.dumps(body).encode()
        self.events: list[tuple[float, str]] = []
        self.asked = False

    async def run(self) -> None:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": URL,
            "raw_path": URL.encode(), "query_string": b"", "root_path": "", "scheme": "http",
            "server": ("localhost", 80), "client": ("127.0.0.1", 1),
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }  # fmt: skip
        await self.app(scope, self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        if self.asked:
            await asyncio.Event().wait()
        self.asked = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        if message.get("body"):
            self.events.append((asyncio.get_running_loop().time(), message["body"].decode()))

    def words(self) -> list[tuple[float, str]]:
        chunks = [(when, json.loads(text[6:])) for when, text in self.events if text.startswith("data: {")]
        found = [(when, chunk["choices"][0]["delta"].get("content", "")) for when, chunk in chunks if chunk["choices"]]
        return [(when, word) for when, word in found if word]


@pytest.mark.parametrize(
    ("model", "text"),
    [("rsagent", QUESTION), ("rsagent:object", QUESTION), ("rsagent:object", "Describe it"), ("rsagent:ucm", "")],
)
async def test_the_first_words_come_long_before_the_turn_ends(serve, ask, model: str, text: str) -> None:
    client = serve(ScriptedEngine(SAID, gate=GATE, styles=["ucm"], pace=0.04))
    request = Request(client, ask(text, model=model, stream=True))
    await request.run()
    words = request.words()
    whole = (await client.post(URL, json=ask(text, model=model))).json()["choices"][0]["message"]["content"]
    assert "".join(word for _, word in words) == whole
    ended = request.events[-1][0]
    assert ended - words[0][0] > 0.15 and len({when for when, _ in words}) > 3


async def test_joined_aspects_and_json_come_when_they_are_there(serve, ask) -> None:
    client = serve(ScriptedEngine(SAID, gate=GATE, pace=0.01))
    for body in (ask("Describe it", stream=True), ask(stream=True, response_format={"type": "json_object"})):
        request = Request(client, body)
        await request.run()
        done = next(when for when, text in request.events[::-1] if text.startswith(": "))
        assert request.words()[0][0] >= done


async def test_another_answers_on_a_line_of_its_own_when_the_first_fails_in_the_middle(serve, ask) -> None:
    class Breaking(ScriptedEngine):
        async def generate(self, prompt: ExpertPrompt) -> Any:
            async for piece in super().generate(prompt):
                yield piece
                if prompt.expert == "object" and "boats" in piece:
                    raise EngineError("the server's answer broke off")

    client = serve(Breaking(SAID, gate={"theme": 0.5, "object": 0.9, "relation": 0.1}))
    request = Request(client, ask(stream=True))
    await request.run()
    assert "".join(word for _, word in request.words()) == "there are twelve white\na port with many boats."
    assert '"missing": ["object"]' in request.events[-2][1]


WORDS = st.sampled_from(
    ["a", "two", "cars", "and", ",", ".", "no", "none", "objects", "boats,", "quay.", "The", "e.g.", "-", "!", "1.5", "3,000"]
)


@given(st.lists(WORDS, max_size=14), st.sampled_from(["answer", "alone", "written"]))
def test_what_was_sent_is_always_how_the_reply_begins(pieces: list[str], kind: str) -> None:
    engine = ScriptedEngine({"theme": ""}, styles=["ucm"])
    turn = Turn("", "", "what?" if kind == "answer" else None, "", "ucm" if kind == "written" else "detailed", ())
    live, sent = Live(turn, engine), ""
    live.hear({"type": "route", "expert": "theme", "text": ""})
    speaker = "composer" if kind == "written" else "theme"
    for piece in pieces:
        sent += live.hear({"type": "token", "expert": speaker, "text": f" {piece}"})
    said = clean(" ".join(pieces))
    final = {"answer": punctuated, "written": tidy, "alone": lambda text: join([text])}[kind](said)
    assert sent + live.rest(final) == final

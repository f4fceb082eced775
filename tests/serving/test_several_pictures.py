"""Chats with more than one picture: each question is about one of them, and a comparison is refused, not half answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.conftest import picture_uri

URL = "/v1/chat/completions"


def user(words: str, picture: str | None = None) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": words}] if words else []
    if picture:
        parts.append({"type": "image_url", "image_url": {"url": picture}})
    return {"role": "user", "content": parts}


def chat(last: str, *, first: str = "") -> dict[str, Any]:
    said = [user(first, picture_uri(10)), {"role": "assistant", "content": "12"}, user(last, picture_uri(200))]
    return {"model": "rsagent", "messages": said}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        "Which has more boats?",
        "Which picture shows more boats?",
        "How many boats are there in both pictures?",
        "Is there a quay in every picture?",
        "Describe both pictures.",
        "Describe each picture",
    ],
)
async def test_a_question_about_several_is_refused(serve, words: str, stream: bool) -> None:
    for body in (chat(words), chat(words, first="How many boats are there?")):
        reply = await serve().post(URL, json={**body, "stream": stream})
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert "one picture a question" in error["message"]
        assert (error["param"], error["code"]) == ("messages.2.content", "several_pictures")


async def test_one_of_them_is_described_or_asked_about(serve) -> None:
    async def looked_at(words: str, **fields: Any) -> str:
        reply = await serve().post(URL, json={**chat(words), **fields})
        assert reply.status_code == 200, reply.text
        return reply.json()["rsagent"]["image"]

    last = await looked_at("Describe this.")
    first = await looked_at("Describe the first picture.")
    assert first != last
    assert await looked_at("How many boats are there in the first picture?") == first
    assert await looked_at("How many boats are there?") == await looked_at("Describe picture 2") == last
    refused = await serve().post(URL, json=chat("Describe picture 7"))
    assert refused.status_code == 400 and "picture 7 is not there" in refused.json()["error"]["message"]

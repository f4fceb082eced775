"""Real clients of the OpenAI-compatible server: openai, instructor."""

from __future__ import annotations

import instructor
import openai
import pytest
from pydantic import BaseModel

from rsagent import Caption
from rsagent.serving.web import Limits

KEY = "correct-horse-battery"


@pytest.fixture
def client(serve):
    return openai.AsyncOpenAI(base_url="http://localhost/v1", api_key=KEY, http_client=serve(keys=(KEY,)), max_retries=0)


async def test_openai(client, ask):
    reply = await client.chat.completions.create(**ask())
    assert reply.choices[0].message.content == "12" and reply.model_extra["rsagent"]["expert"] == "object"
    pieces, usage = [], None
    async for chunk in await client.chat.completions.create(
        **ask("Describe it"), stream=True, stream_options={"include_usage": True}
    ):
        pieces += [choice.delta.content or "" for choice in chunk.choices]
        usage = chunk.usage or usage
    assert "".join(pieces) == "A port. 12. The boats lie along the quay." and usage.completion_tokens == 9
    assert "rsagent:theme" in [model.id async for model in client.models.list()]


async def test_openais_errors(client, ask, serve):
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(**ask(model="gpt-4"))
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").chat.completions.create(**ask())
    full = client.with_options(http_client=serve(keys=(KEY,), limits=Limits(running=1, queue=-1)))
    with pytest.raises(openai.RateLimitError) as busy:
        await full.chat.completions.create(**ask())
    assert busy.value.response.headers["retry-after"]


async def test_openais_own_parsing(client, ask):
    class Count(BaseModel):
        count: int

    reply = await client.chat.completions.parse(**ask(), response_format=Count)
    assert reply.choices[0].message.parsed == Count(count=12)


async def test_instructor(client, ask):
    class Seen(BaseModel):
        theme: str
        relations: str

    patched = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
    seen = await patched.chat.completions.create(response_model=Seen, max_retries=0, **ask("Describe it"))
    assert seen.model_dump() == {"theme": "A port.", "relations": "The boats lie along the quay."}
    caption = await patched.chat.completions.create(response_model=Caption, max_retries=0, **ask("Describe it"))
    assert caption.image.width == 24

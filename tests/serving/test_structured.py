"""`response_format`: the typed result in the form that the client's schema asks for."""

from __future__ import annotations

import json

import pytest

from rsagent import Answer, Caption

URL = "/v1/chat/completions"


def form(properties, required=None, **more):
    schema = {"type": "object", "properties": properties, "required": list(properties) if required is None else required}
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": {**schema, **more}}}


async def content(client, body):
    reply = await client.post(URL, json=body)
    assert reply.status_code == 200, reply.text
    return json.loads(reply.json()["choices"][0]["message"]["content"])


async def test_the_typed_result_as_it_is(serve, ask):
    client = serve()
    assert Answer.model_validate(await content(client, ask(response_format={"type": "json_object"}))).text == "12"
    whole = form(Caption.model_json_schema()["properties"], [])
    assert Caption.model_validate(await content(client, ask("Describe", response_format=whole))).theme == "A port."


async def test_known_names_and_one_of_the_clients_own(serve, ask):
    client = serve()
    wanted = form({"theme": {"type": "string"}, "description": {"type": "string"}})
    assert await content(client, ask("Describe", response_format=wanted)) == {
        "theme": "A port.", "description": "A port. 12. The boats lie along the quay.",
    }  # fmt: skip
    counts = form({"count": {"type": "integer"}, "expert": {"type": "string"}})
    assert await content(client, ask(response_format=counts)) == {"count": 12, "expert": "object"}
    choice = form({"scale": {"enum": ["7", "12"]}})
    assert await content(client, ask(response_format=choice)) == {"scale": "12"}


async def test_an_answer_that_does_not_fit_is_a_refusal(serve, ask):
    wanted = form({"present": {"type": "boolean"}})
    message = (await serve().post(URL, json=ask(response_format=wanted))).json()["choices"][0]["message"]
    assert message["content"] is None and "neither yes nor no" in message["refusal"]


@pytest.mark.parametrize(
    "wanted",
    [
        form({"colour": {"type": "string"}, "size": {"type": "string"}}),
        form({"list": {"type": "array"}}),
        form({"a": {"type": "string"}}, type="array"),
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": 3}}},
        form({"a": {"type": "string"}}, required="a"),
        form({"a": {"type": "string"}}, [{}]),
    ],
)
async def test_a_schema_that_cannot_be_filled_is_refused_beforehand(serve, ask, wanted):
    reply = await serve().post(URL, json=ask(response_format=wanted))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "response_format.json_schema.schema")

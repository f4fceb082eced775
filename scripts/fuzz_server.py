"""Fuzz `rsagent serve` on the scripted engine: requests drawn from its own JSON schema, and broken in every way.

Nothing may answer 5xx, hang, or print a traceback. The seed is fixed; a failure prints the request, made small.
Run: python scripts/fuzz_server.py --requests 5000
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import logging
import time
from collections import Counter
from typing import Any

import httpx2
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from rsagent import RSAgent
from rsagent.engines.scripted import ScriptedEngine
from rsagent.serving.protocol import ChatRequest
from rsagent.serving.web import Limits, ServeOptions, create_app

SAID = {"theme": "a port", "object": "12", "relation": "the boats lie along the quay"}
HANGS_S = 20.0


def picture() -> str:
    """A small picture as a data: URI."""
    out = io.BytesIO()
    Image.new("RGB", (12, 8), (10, 90, 30)).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def anything() -> st.SearchStrategy[Any]:
    """Any JSON value, NaN and infinity among the numbers."""
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30))
    lists = lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3))  # noqa: E731
    return st.recursive(leaves, lists, max_leaves=6)


def words(name: str) -> st.SearchStrategy[str]:
    """Texts for a field: now and then one that means something there."""
    known = {
        "model": ["rsagent", "rsagent:theme", "rsagent:", "gpt-4"],
        "url": [picture(), picture(), "data:image/png;base64,AAAA", "data:,", "/etc/passwd", "http://127.0.0.1/", "../x.png"],
        "text": ["How many?", "Describe it", "", " ", "\x00\x1b[2J", "x" * 3_000, "\u202e{{7*7}}{0}%s"],
        "content": ["How many?", ""],
    }.get(name, [])
    return st.one_of(st.text(max_size=40), *(st.sampled_from(known) for _ in range(3 if known else 0)))


def of(schema: dict[str, Any], whole: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Values that fit `schema` for the most part; one in ten is anything at all."""
    if "$ref" in schema:
        return of(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, name)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return st.one_of(*(of(one, whole, name) for one in schema[several]))
    if "const" in schema:
        good: st.SearchStrategy[Any] = st.just(schema["const"])
    elif "enum" in schema:
        good = st.sampled_from(schema["enum"])
    elif schema.get("type") == "object" and "properties" in schema:
        required = {key: of(one, whole, key) for key, one in schema["properties"].items() if key in schema.get("required", [])}
        optional = {key: of(one, whole, key) for key, one in schema["properties"].items() if key not in required}
        good = st.fixed_dictionaries(required, optional=optional)
    elif schema.get("type") == "array":
        good = st.lists(of(schema.get("items", {}), whole, name), max_size=4)
    else:
        kinds = {"string": words(name), "integer": st.integers(-3, 2_000), "boolean": st.booleans(), "null": st.none()}
        good = {**kinds, "number": st.floats(-1, 3)}.get(schema.get("type", ""), anything())
    return st.integers(0, 9).flatmap(lambda die: anything() if die == 0 else good)


def requests() -> st.SearchStrategy[bytes]:
    """Bodies: mostly of the schema, a few cut off or no JSON at all."""
    schema = ChatRequest.model_json_schema(by_alias=True)
    asked = {
        "role": "user",
        "content": [{"type": "text", "text": "How many?"}, {"type": "image_url", "image_url": {"url": picture()}}],
    }
    whole = of(schema, schema)
    # a request that is good but for what is drawn over it reaches further than one drawn as a whole
    over = of({**schema, "required": []}, schema).map(
        lambda drawn: {"model": "rsagent", **(drawn if isinstance(drawn, dict) else {}), "messages": [asked]}
    )
    bodies = st.one_of(whole, over).map(lambda value: json.dumps(value).encode("utf-8", "replace"))
    cut = st.tuples(bodies, st.integers(0, 200)).map(lambda drawn: drawn[0][: drawn[1]])
    return st.one_of(bodies, bodies, bodies, bodies, cut, st.binary(max_size=60))


def fuzz(count: int, start: int = 0) -> Counter[int]:
    """Send `count` requests, and return how often each status came.

    Raises:
        AssertionError: one was answered with 5xx, without JSON, or with a traceback, or hung.
    """
    statuses: Counter[int] = Counter()
    faults: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = faults.append  # type: ignore[method-assign]
    logging.getLogger("rsagent.serve").addHandler(handler)
    engine = ScriptedEngine(SAID)
    app = create_app(RSAgent(engine), engine, ServeOptions(limits=Limits(turn_s=HANGS_S)))

    with asyncio.Runner() as runner:
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost")

        @seed(start)
        @settings(
            max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )  # fmt: skip
        @given(requests())
        def once(body: bytes) -> None:
            headers = {"content-type": "application/json"}
            post = client.post("/v1/chat/completions", content=body, headers=headers)
            reply = runner.run(asyncio.wait_for(post, HANGS_S))
            statuses[reply.status_code] += 1
            assert reply.status_code in (200, 400), (reply.status_code, reply.text[:300])
            assert not faults and "Traceback" not in reply.text
            if reply.status_code == 400:
                assert reply.json()["error"]["param"], reply.text
            engine.calls.clear()

        once()
        runner.run(client.aclose())
    logging.getLogger("rsagent.serve").removeHandler(handler)
    return statuses


def main() -> None:
    """Fuzz and print what came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    given_options = parser.parse_args()
    began = time.perf_counter()
    statuses = fuzz(given_options.requests, given_options.seed)
    print(f"{sum(statuses.values()):,} requests, seed {given_options.seed}: ", end="")
    print(", ".join(f"{number:,} x {status}" for status, number in sorted(statuses.items())), end="")
    print(f"; no 5xx, no hang, no traceback; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

"""Faults on the way to a chat server, towards router, expert and composer: certificates, answers that begin and stop."""

from __future__ import annotations

import datetime
import ssl
from typing import Any

import httpx2
import pytest
import trustme

from rsagent import RSAgent
from rsagent.errors import AllExpertsFailed
from rsagent.telemetry import TurnTrace
from tests.engines.misbehaving import KEY, Upstream, chat_engine, misbehaving

JOINED = "A harbour. Three boats and a quay. The boats lie along the quay."
STAGES = ("router", "expert", "composer")
LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)


async def check(stage: str, picture: str, expected: str, url: str, **options: Any) -> None:
    """A turn in which only calls of `stage` fail: it is answered without the stage, or ends in one clear error."""
    traces: list[TurnTrace] = []
    engine = chat_engine(url, router="llm" if stage == "router" else "rules", **options)
    async with RSAgent(engine, on_trace=traces.append) as agent:
        if stage == "expert":
            with pytest.raises(AllExpertsFailed) as failed:
                await agent.caption(picture)
            told = str(failed.value)
        else:
            caption = await agent.caption(picture, "sentence" if stage == "composer" else "detailed")
            assert caption.partial and caption.missing == [stage] and caption.text == JOINED
            told = str(traces[0].router_error if stage == "router" else traces[0].calls[-1].error)
    assert expected in told and told.isprintable() and KEY not in repr(traces) + told


# ----- answers that begin and stop


@pytest.mark.parametrize("stage", STAGES)
async def test_a_server_that_hangs_after_the_first_word(upstream: Upstream, picture: str, stage: str) -> None:
    upstream.faults[stage] = "hang after a word"
    await check(stage, picture, "broke off" if stage == "expert" else "did not answer within 1 s", upstream.url)
    asked = sum(called == stage for called, _ in upstream.calls)
    assert asked == (3 if stage == "expert" else 2)  # words that were shown are not taken back


@pytest.mark.parametrize("stage", ["router", "composer"])
async def test_a_server_that_drips_is_given_up_when_the_time_of_the_call_is_over(
    upstream: Upstream, picture: str, stage: str
) -> None:
    upstream.faults[stage] = "drip"
    await check(stage, picture, "did not answer within 1 s", upstream.url)


# ----- certificates


def server_context(authority: trustme.CA, wrong: str | None = None) -> ssl.SSLContext:
    """A server's TLS for 127.0.0.1 that is right, or `wrong` in a way."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA() if wrong == "unknown authority" else authority
    host = "elsewhere.example" if wrong == "another host" else "127.0.0.1"
    until = {"not_before": LONG_AGO, "not_after": LONG_AGO + datetime.timedelta(1)} if wrong == "expired" else {}
    authority.issue_cert(host, **until).configure_cert(context)
    return context


@pytest.mark.parametrize("wrong", ["unknown authority", "another host", "expired"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_certificate_that_is_not_valid(picture: str, stage: str, wrong: str) -> None:
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    right, bad = server_context(authority), server_context(authority, wrong)
    async with misbehaving(right) as upstream:

        def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            experts = sum(called == "expert" for called, _ in upstream.calls)
            failing = {"router": not upstream.calls and not tried, "expert": True, "composer": experts == 3}[stage]
            tried.append(name)
            if failing:
                connection.context = bad

        tried: list[str | None] = []
        right.sni_callback = choose
        once = httpx2.Limits(max_keepalive_connections=0)  # each call shakes hands anew
        async with httpx2.AsyncClient(verify=trusting, limits=once) as client:
            await check(stage, picture, "no valid certificate", upstream.url, http_client=client, timeout_s=20.0)
        assert stage not in {called for called, _ in upstream.calls}  # the key was not shown to it
        assert len(tried) == {"router": 4, "expert": 3, "composer": 4}[stage]  # nor was it tried again

"""A client of one SGLang server of experts: what it serves, tokens as they come, cancellation, and each failure by its name."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from rsagent.errors import EngineError, MissingExtra, ServerAway, ServerLost
from rsagent.serving.sglang import ARCHITECTURE
from rsagent.serving.sglang import http as plain

if TYPE_CHECKING:
    import httpx

_CONNECT_S = 5.0
_ABORT_S = 1.0
_HEALTH_S = 3.0  # a healthy server needs one to two
_PROBE_S = (0.1, 1.0)  # before the first look at a server that is away, and between later ones
_IDLE_S = 4.0  # SGLang closes an idle connection after five seconds
_MOST_EVENT = 4_000_000  # bytes; an event holds one request's tokens and some counters


@dataclass(frozen=True)
class Serves:
    """What a server said it serves."""

    context: int
    dtype: str


class ExpertServer:
    """One server. `serves` is known after `check`; from `lost` until it answers again `away` is set, and `why` says why."""

    def __init__(self, url: str, digest: str, *, timeout_s: float, in_flight: int) -> None:
        """A client for `url`, which must serve the checkpoint of this digest.

        Args:
            url: as `rsagent.serving.sglang.http.check_url` gives it.
            digest: of the checkpoint whose router writes the prompts.
            timeout_s: the longest silence while a request is served.
            in_flight: requests it gets at a time; further ones wait here.
        """
        self.url = url
        self.serves = Serves(0, "float16")
        self.away = False
        self._digest = digest
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(in_flight)
        self._there = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._trouble: EngineError | None = None
        self._silent = False
        self.why = ""
        self._in_flight = in_flight
        self._client: httpx.AsyncClient | None = None

    def check(self, timeout_s: float = 10.0) -> None:
        """Ask what is served, and that it is our checkpoint; it blocks, so call it in a thread.

        Raises:
            ServerAway: not reachable or not ready.
            EngineError: it is something else than a server of this checkpoint's experts.
        """
        model = plain.ask(self.url, plain.MODEL, timeout_s=timeout_s)
        if model.get("architectures") != [ARCHITECTURE]:
            named = model.get("model_path") or "something else"
            raise EngineError(f"{self.url} serves {named}, no RS-MoE experts: start it with 'rsagent experts serve'")
        served = str(model.get("weight_version"))
        if served != self._digest:
            raise EngineError(
                f"{self.url} serves another checkpoint ({model.get('served_model_name')}, {served[:12]}) than the one here "
                f"({self._digest[:12]}): give the same --checkpoint on both sides"
            )
        cards = cast("list[dict[str, Any]]", plain.ask(self.url, "/v1/models", timeout_s=timeout_s).get("data") or [])
        info = plain.ask(self.url, plain.SERVER, timeout_s=timeout_s)
        self.serves = Serves(
            max((int(card.get("max_model_len") or 0) for card in cards), default=0),
            str(info.get("dtype")),
        )

    def lost(self, why: str, *, silent: bool = False) -> None:
        """Note that the server went away, and look after it until it is back.

        A `silent` one still accepts requests, and may say what it serves while nothing comes of them: it is back when it
        finds itself healthy.
        """
        self.away, self.why = True, why
        self._silent = self._silent or silent
        self._there.clear()
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())

    async def back(self) -> None:
        """Wait until a server that was lost answers again.

        Raises:
            EngineError: it is back with another checkpoint; somebody may put it right, so it is still looked after.
        """
        await self._there.wait()
        if self._trouble is not None:
            self._there.clear()
            raise EngineError(str(self._trouble)) from self._trouble

    async def _watch(self) -> None:
        pause, longest = _PROBE_S
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
            try:
                await asyncio.to_thread(self.check, 2.0)
                if self._silent and not await asyncio.to_thread(plain.is_healthy, self.url, _HEALTH_S):
                    continue
            except ServerAway:
                self._trouble = None
                self._there.clear()
                continue
            except EngineError as error:
                self._trouble = error
                self._there.set()
                continue
            self.away, self._silent, self._trouble = False, False, None
            self._there.set()
            return

    async def tokens(self, rid: str, body: dict[str, Any]) -> AsyncGenerator[tuple[list[int], dict[str, Any]], None]:
        """All tokens so far, and the counters, after each step. Closing the generator aborts the request on the server.

        Raises:
            ServerAway: the server went away or is not ready; the request may be asked again.
            EngineError: refused, too long, adapter unknown, out of memory, or silent for too long.
        """
        import httpx

        async with self._free:
            running = True  # as far as anybody can know from here
            try:
                content = json.dumps({**body, "rid": rid, "stream": True})
                async with self._http().stream("POST", "/generate", content=content) as response:
                    if response.status_code != 200:
                        running = False
                        raise plain.refusal(self.url, response.status_code, plain.message_of(await _body(response)))
                    async for event in self._events(response):
                        counters, done = self._counters(event)
                        running = not done
                        yield cast("list[int]", event.get("output_ids") or []), counters
                        if done:
                            return
                running = False
                raise ServerLost(f"{self.url} stopped in the middle of an answer")
            except httpx.ReadTimeout as error:
                why = f"{self.url} has the request but said nothing for {self._timeout_s:g} s"
                self.lost(why, silent=True)  # later requests go elsewhere; this one may be what keeps it busy
                raise EngineError(why) from error
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                running = False
                raise plain.unreachable(self.url, str(error) or "it does not accept connections") from error
            except httpx.TransportError as error:
                running = False
                raise ServerLost(f"{self.url} went away: {str(error) or type(error).__name__}") from error
            finally:
                if running:  # nobody waits for it any more
                    await self._abort(rid)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        if self._watcher is not None:
            self._watcher.cancel()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _abort(self, rid: str) -> None:
        import httpx

        with suppress(httpx.HTTPError, TimeoutError):  # it also notices the closed connection, two seconds later
            async with asyncio.timeout(_ABORT_S):
                await self._http().post("/abort_request", json={"rid": rid})

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            self._client = httpx.AsyncClient(
                base_url=self.url,
                headers={"Content-Type": "application/json", **plain.headers()},
                timeout=httpx.Timeout(self._timeout_s, connect=_CONNECT_S, pool=None),
                # aborts must not wait for a connection that they are to free
                limits=httpx.Limits(max_connections=2 * self._in_flight, keepalive_expiry=_IDLE_S),
                trust_env=False,
            )
        return self._client

    async def _events(self, response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
        """The events of a stream, each a JSON object; what is none belongs to no SGLang."""
        waiting = bytearray()
        async for chunk in response.aiter_bytes():
            waiting += chunk
            while (end := waiting.find(b"\n\n")) >= 0:
                raw = bytes(waiting[:end]).strip().removeprefix(b"data:").strip()
                del waiting[: end + 2]
                if raw == b"[DONE]":
                    return
                yield self._event(raw)
            if len(waiting) > _MOST_EVENT:
                raise EngineError(f"{self.url} sends something else than SGLang does: an endless event")

    def _event(self, raw: bytes) -> dict[str, Any]:
        try:
            event: Any = json.loads(raw)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise EngineError(f"{self.url} sends something else than SGLang does: check --url")
        return cast("dict[str, Any]", event)

    def _counters(self, event: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """An event's counters, and whether it is the last one; an event may also be the news of a failure."""
        if error := event.get("error"):
            found = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
            status = found.get("code")
            raise plain.refusal(
                self.url, status if isinstance(status, int) else 400, plain.message_of(json.dumps(event).encode())
            )
        counters = cast("dict[str, Any]", event.get("meta_info") or {})
        reason: Any = counters.get("finish_reason")
        if isinstance(reason, dict) and cast("dict[str, Any]", reason).get("type") == "abort":
            told = cast("dict[str, Any]", reason)
            status = told.get("status_code")
            said = " ".join(str(told.get("message")).split())[:300]
            raise plain.refusal(self.url, status if isinstance(status, int) else 503, f"aborted: {said}")
        return counters, reason is not None


async def _body(response: httpx.Response) -> bytes:
    """The beginning of an error's body."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > 10_000:
            break
    return body[:10_000]


def need_httpx() -> None:
    """That the extra is installed.

    Raises:
        MissingExtra: it is not.
    """
    from importlib.util import find_spec

    if find_spec("httpx") is None:
        raise MissingExtra("httpx", "sglang", "the engine 'sglang'")


def wait_until(moment: float) -> float:
    """Seconds from now until `moment` of the monotonic clock, at least 0."""
    return max(0.0, moment - time.monotonic())

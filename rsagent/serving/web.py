"""The OpenAI-compatible server: any OpenAI client, in any language, can have aerial images looked at.

POST /v1/chat/completions, GET /v1/models, /health, /metrics (Prometheus), /openapi.json. `create_app` makes the ASGI
application; `rsagent.serving.run` runs it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from rsagent import __version__
from rsagent.errors import EngineError, ImageError, RSAgentError, UserError
from rsagent.serving.admission import Admission, Keys
from rsagent.serving.gate import Gate, Metrics
from rsagent.serving.live import Live
from rsagent.serving.protocol import ChatRequest, RequestError, ResponseFormat, parse_request
from rsagent.serving.replies import Reply, sse
from rsagent.serving.structured import Refusal, check_format, is_text, shape
from rsagent.serving.turn import Turn, model_names, read_picture, read_turn
from rsagent.sources import SourcePolicy

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from rsagent.agent import RSAgent
    from rsagent.engines.base import Engine
    from rsagent.schemas import Answer, Caption

_DRAINED = 512 * 2**20  # bytes of a refused body that are read and dropped, so that the client reads our answer


@dataclass(frozen=True)
class Limits:
    """What the server takes on.

    Attributes:
        body_bytes: largest request body; base64 adds a third to a picture.
        turns: most messages in a request.
        images: most pictures in a request.
        running: turns at a time.
        queue: requests that wait for one of those; more get 429.
        upload_s: seconds in which a body must have arrived.
        turn_s: seconds a turn may take, without the time in the queue.
    """

    body_bytes: int = 48 * 2**20
    turns: int = 200
    images: int = 20
    running: int = 16
    queue: int = 64
    upload_s: float = 30.0
    turn_s: float = 120.0

    def longest_s(self) -> float:
        """Seconds in which the last of a full queue has its answer: its upload, the turns before it, its own."""
        return self.upload_s + self.turn_s * math.ceil((self.running + self.queue) / self.running)


@dataclass(frozen=True)
class ServeOptions:
    """How the server behaves: API keys, the hosts it answers to (None: any), what clients may name, limits, style."""

    keys: tuple[str, ...] = field(default=(), repr=False)
    hosts: frozenset[str] | None = None
    sources: SourcePolicy = field(default_factory=SourcePolicy)
    limits: Limits = field(default_factory=Limits)
    style: str = "detailed"


def create_app(agent: RSAgent, engine: Engine, options: ServeOptions | None = None) -> FastAPI:
    """The server as an ASGI application. The caller closes `agent`, whose engine `engine` is."""
    options = options or ServeOptions()
    admission = Admission(options.limits.running, options.limits.queue)
    metrics = Metrics(admission)
    house = _House(agent, engine, options, admission, metrics)
    app = FastAPI(title="rsagent", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, keys=Keys(options.keys), hosts=options.hosts, metrics=metrics)  # type: ignore[arg-type]
    app.add_exception_handler(RequestError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    body = {"content": {"application/json": {"schema": ChatRequest.model_json_schema()}}, "required": True}
    app.post("/v1/chat/completions", openapi_extra={"requestBody": body}, response_model=None)(house.complete)
    app.get("/v1/models")(house.models)
    app.get("/v1/models/{name}")(house.model)

    @app.get("/health")
    async def health() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"status": "ok", "engine": engine.name, "version": __version__}

    @app.get("/metrics")
    async def numbers() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


@dataclass(frozen=True)
class _House:
    """The routes that need the agent."""

    agent: RSAgent
    engine: Engine
    options: ServeOptions
    admission: Admission
    metrics: Metrics

    async def models(self) -> dict[str, Any]:
        """Every model name that is served."""
        return {"object": "list", "data": [_model(name) for name in model_names(self.engine)]}

    async def model(self, name: str) -> dict[str, Any]:
        """One of them."""
        if name not in model_names(self.engine):
            raise RequestError(404, "there is no such model: GET /v1/models lists them", code="model_not_found")
        return _model(name)

    async def complete(self, request: Request) -> Response:
        """One turn of the agent."""
        self.admission.enter()
        streaming = False
        try:
            chat, turn, picture = await self._read(request)
            reply = Reply(chat.model)
            if chat.stream:
                streaming = True
                return _Stream(self._stream(chat, turn, picture, reply, request), self.admission.leave)
            result, content, refusal = await self._unless_gone(request, self._turn(chat, turn, picture))
            self._note(request, result)
            return JSONResponse(reply.completion(result, content, refusal))
        finally:
            if not streaming:
                self.admission.leave()

    async def _read(self, request: Request) -> tuple[ChatRequest, Turn, bytes]:
        """The request, checked, and its picture; nothing is computed yet."""
        limits = self.options.limits
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            message = "content-type: send application/json"
            raise RequestError(415, message, param="content-type", code="unsupported_media_type")
        chat = parse_request(await _body(request, limits))
        turn = read_turn(chat, self.engine, style=self.options.style, max_turns=limits.turns, max_images=limits.images)
        check_format(chat.response_format, "caption" if turn.question is None else "answer")
        return chat, turn, await asyncio.to_thread(read_picture, turn, self.options.sources)

    async def _turn(self, chat: ChatRequest, turn: Turn, picture: bytes) -> tuple[Caption | Answer, str | None, str | None]:
        """The result, and the reply's content or refusal."""
        most = chat.most_tokens()
        async with self.admission.place():
            with _refusals(turn):
                async with asyncio.timeout(self.options.limits.turn_s):
                    if turn.question is None:
                        result = await self.agent.caption(picture, turn.style, turn.experts, max_tokens=most)
                    else:
                        result = await self.agent.ask(picture, turn.question, turn.experts, max_tokens=most)
        return result, *_shaped(result, chat.response_format)

    async def _stream(
        self, chat: ChatRequest, turn: Turn, picture: bytes, reply: Reply, request: Request
    ) -> AsyncGenerator[str]:
        """The reply as server-sent events: final words as they come, the others when the result is there.

        A comment tells, while experts work, that the connection lives.
        """
        yield reply.event({"role": "assistant", "content": ""})
        try:
            async with self.admission.place(), asyncio.timeout(self.options.limits.turn_s):
                events = self.agent.stream(
                    picture, turn.question, style=turn.style, experts=turn.experts, max_tokens=chat.most_tokens()
                )
                live = Live(turn, self.engine) if is_text(chat.response_format) else None
                with _refusals(turn):
                    async with aclosing(events):
                        async for item in events:
                            if isinstance(item, dict):
                                if live is not None and (words := live.hear(item)):
                                    yield reply.event({"content": words})
                                if item["type"] == "report":
                                    yield f": {item['expert']} is done\n\n"
                                continue
                            self._note(request, item)
                            content, refusal = _shaped(item, chat.response_format)
                            if live is not None and content is not None:
                                content = live.rest(content)
                            usage = chat.stream_options is not None and chat.stream_options.include_usage
                            for chunk in reply.chunks(item, content, refusal, with_usage=usage):
                                yield chunk
        except (RequestError, TimeoutError) as error:
            told = error if isinstance(error, RequestError) else _too_slow(self.options.limits.turn_s)
            request.state.facts["code"] = told.code
            yield sse(told.body())
            yield "data: [DONE]\n\n"

    async def _unless_gone(self, request: Request, work: Any) -> Any:
        """The outcome of `work`, which is cancelled when the client goes away."""
        working = asyncio.ensure_future(work)
        going = asyncio.ensure_future(_gone(request.receive))
        try:
            await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise RequestError(499, "the client has gone", code="client_gone")
            return working.result()
        except TimeoutError as error:
            raise _too_slow(self.options.limits.turn_s) from error
        finally:
            for task in (working, going):
                task.cancel()
            await asyncio.gather(working, going, return_exceptions=True)

    def _note(self, request: Request, result: Caption | Answer) -> None:
        """What the log and the metrics keep of a turn."""
        task = "answer" if hasattr(result, "question") else "caption"
        request.state.facts.update(task=task, image=result.image.sha256[:12], partial=result.partial)
        self.metrics.seconds.labels(task).observe(result.seconds)
        if result.partial:
            self.metrics.partial.inc()


class _Stream(StreamingResponse):
    """Server-sent events that end when the client goes, and call `done` in the end.

    Starlette notices that a client has gone when it sends something, which here may be long after.
    """

    def __init__(self, events: AsyncGenerator[str], done: Any) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._events, self._done = events, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        sending = asyncio.ensure_future(self.stream_response(send))
        going = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, going}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                with suppress(OSError):  # it went while something was sent
                    sending.result()
        finally:
            sending.cancel()
            going.cancel()
            await asyncio.gather(sending, going, return_exceptions=True)
            await self._events.aclose()
            self._done()


class _refusals:
    """Turn what the agent raises into the answer's status: 400 for the client's input, 503 for the engine."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, RSAgentError) or isinstance(error, RequestError):
            return
        if isinstance(error, ImageError):
            param = self._turn.picture_param
            raise RequestError(400, f"{param}: {error}", param=param, code="invalid_image") from error
        if isinstance(error, EngineError):
            raise RequestError(503, str(error), code="engine_failed", retry_after_s=1) from error
        if isinstance(error, UserError):
            param = self._turn.question_param
            raise RequestError(400, f"{param}: {error}", param=param, code="invalid_value") from error


async def _body(request: Request, limits: Limits) -> bytes:
    """The request's body, read no further than the limit.

    Raises:
        RequestError: it is too large, or comes too slowly.
    """
    data, dropped = bytearray(), 0
    announced = request.headers.get("content-length", "")
    too_large = announced.isdecimal() and int(announced[:20]) > limits.body_bytes
    try:
        async with asyncio.timeout(limits.upload_s):
            async for piece in request.stream():
                if too_large or len(data) + len(piece) > limits.body_bytes:
                    too_large, dropped = True, dropped + len(data) + len(piece)
                    data.clear()
                    if dropped > _DRAINED:
                        break
                else:
                    data += piece
    except TimeoutError as error:
        raise RequestError(408, f"the body did not arrive within {limits.upload_s:g} s", code="upload_too_slow") from error
    except ClientDisconnect as error:
        raise RequestError(499, "the client has gone", code="client_gone") from error
    if too_large:
        message = f"body: it is larger than {limits.body_bytes:,} bytes: send a smaller picture"
        raise RequestError(400, message, param="body", code="body_too_large")
    return bytes(data)


async def _gone(receive: Receive) -> None:
    """Return when the client has closed the connection. The body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _shaped(result: Caption | Answer, form: ResponseFormat | None) -> tuple[str | None, str | None]:
    try:
        return shape(result, form), None
    except Refusal as refusal:
        return None, str(refusal)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "rsagent"}


def _too_slow(seconds: float) -> RequestError:
    return RequestError(504, f"the turn was not done within {seconds:g} s", code="turn_too_slow")


async def _refuse(_: Request, error: Exception) -> Response:
    """A RequestError of a route; the gate answers its own."""
    assert isinstance(error, RequestError)
    headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s else None
    return JSONResponse(error.body(), error.status, headers)


async def _refuse_http(_: Request, error: Exception) -> Response:
    """What the framework refuses (no such route, wrong method), in OpenAI's form."""
    assert isinstance(error, HTTPException)
    told = RequestError(error.status_code, f"{error.detail}: the routes are under /v1, /health and /metrics")
    return JSONResponse(told.body(), error.status_code, error.headers)

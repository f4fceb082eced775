"""Calls of an OpenAI-compatible server, and whatever can go wrong with them, as one clear EngineError.

This module owns the retries of transport: a call that failed before its first word (no connection, time-out, 408, 429,
5xx) is repeated at most twice. The client below it repeats nothing, and whoever calls asks again only for a better answer.
No message holds the API key or more than a line of what the server says.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from rsagent.errors import EngineError, MissingExtra
from rsagent.graphs.text import clean
from rsagent.telemetry import note_retry, note_tokens

if TYPE_CHECKING:
    import openai
    from openai import AsyncOpenAI

M = TypeVar("M", bound=BaseModel)

NO_KEY = "none"
"""What is sent to a server without keys; an ordinary word, which its messages may hold."""
REASKS = 2
"""How often a structured answer that breaks its schema is asked for again."""

_REPEATED = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
_LONGEST_WAIT_S = 5.0
_MOST_TOKENS = 1_000_000
"""No call writes more; a larger number is not believed."""
_CONTEXT = ("context length", "context_length", "too long", "maximum context", "max_model_len", "longer than the model")


class ChatClient:
    """One server, one key."""

    def __init__(self, base_url: str, api_key: str, *, timeout_s: float, max_retries: int, http_client: Any = None) -> None:
        """Connect lazily.

        Args:
            base_url: with the /v1 at its end.
            api_key: sent as bearer token; servers without keys take any.
            timeout_s: seconds for a whole call, and between two words of a stream.
            max_retries: how often a call is repeated, 0 to 5.
            http_client: an httpx client for special needs (a proxy, a private certificate).

        Raises:
            MissingExtra: the openai package is not installed.
        """
        self._url, self._key = base_url, api_key
        self._timeout_s, self._max_retries, self._http = timeout_s, max_retries, http_client
        self._counts: dict[str, Any] = {"stream_options": {"include_usage": True}}
        self._client = self._open()

    def _open(self) -> AsyncOpenAI:
        try:
            import openai
        except ImportError as error:
            raise MissingExtra("openai", "openai", "the chat engine") from error
        return openai.AsyncOpenAI(
            base_url=self._url,
            api_key=self._key,
            max_retries=0,  # ours are counted in the trace
            timeout=self._timeout_s,
            http_client=self._http,
        )

    async def stream(self, **request: Any) -> AsyncGenerator[str]:
        """The words of a completion as they come.

        Raises:
            EngineError: the call failed, broke off, or brought no text.
        """
        chunks = await self._streamed(request)
        said = finished = False
        tokens = 0
        async with self._translated():
            try:
                async for chunk in chunks:
                    tokens = _written(chunk) or tokens  # the last one counts them all
                    if not chunk.choices:
                        continue
                    choice = chunk.choices[0]
                    _check_choice(choice.finish_reason, choice.delta)
                    finished = finished or choice.finish_reason is not None
                    if choice.delta.content:
                        said = True
                        yield choice.delta.content
            finally:
                if tokens:
                    note_tokens(tokens)
                await chunks.close()
        if not finished:
            raise EngineError("the server's answer broke off" if said else "the server's answer is empty")
        if not said:
            raise EngineError("the model said nothing")

    async def structured(self, form: type[M], **request: Any) -> M:
        """A completion as a `form`, validated; asked again, with what was wrong, at most twice.

        Raises:
            EngineError: the call failed, or what came breaks the schema every time.
        """
        try:
            import instructor
            from instructor.core.exceptions import InstructorError
        except ImportError as error:
            raise MissingExtra("instructor", "openai", "an LLM as router or composer") from error
        asked = 0

        async def create(**kwargs: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked > 1:
                note_retry("asked again: the answer broke its schema")
            return await self.complete(**kwargs)

        ask: Any = instructor.patch(create=create, mode=instructor.Mode.JSON_SCHEMA)
        try:
            return await ask(response_model=form, max_retries=REASKS, **request)
        except (InstructorError, ValidationError, json.JSONDecodeError) as error:
            fault: BaseException | None = error
            while fault is not None and not isinstance(fault, EngineError):
                fault = fault.__cause__
            if isinstance(fault, EngineError):
                raise fault from None
            raise EngineError(f"the model's JSON broke its schema {asked} times") from error

    async def complete(self, **request: Any) -> Any:
        """A whole completion, checked to hold text.

        Raises:
            EngineError: the call failed, or it holds none.
        """
        completion = await self._repeated(**request)
        if tokens := _written(completion):
            note_tokens(tokens)
        choices = getattr(completion, "choices", None)
        if not choices:
            raise EngineError("the server sends no choice")
        _check_choice(choices[0].finish_reason, choices[0].message)
        if not choices[0].message.content:
            raise EngineError("the model said nothing")
        return completion

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _streamed(self, request: dict[str, Any]) -> Any:
        """A stream that ends with the tokens it took, or one without where the server knows no such option."""
        counts = self._counts
        try:
            return await self._repeated(stream=True, **counts, **request)
        except EngineError as fault:
            if not counts or "stream_options" not in str(fault):
                raise
        self._counts = {}
        return await self._repeated(stream=True, **request)

    async def _repeated(self, **request: Any) -> Any:
        """One call, repeated where that may help, with a wait that doubles."""
        for attempt in range(self._max_retries + 1):
            try:
                # the client's own limit is one between two reads, which a server that drips never meets
                async with self._translated(), asyncio.timeout(self._timeout_s):
                    return await self._client.chat.completions.create(**request)
            except _Passing as fault:
                if attempt == self._max_retries:
                    raise EngineError(str(fault)) from fault.__cause__
                note_retry(str(fault))
                wait = max(fault.wait_s, 0.25 * 2**attempt * random.uniform(0.5, 1.0))
                await asyncio.sleep(min(wait, _LONGEST_WAIT_S))
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _translated(self) -> AsyncGenerator[None]:
        """What the client raises, in one line without the key. What may pass by itself is a _Passing."""
        import httpx2
        import openai

        try:
            yield
        except (openai.APITimeoutError, TimeoutError) as error:
            raise _Passing(f"the server did not answer within {self._timeout_s:g} s") from error
        except openai.APIConnectionError as error:
            if _caused_by(error, ssl.SSLError) or "CERTIFICATE" in str(error.__cause__).upper():
                raise EngineError(f"no TLS connection to {self._where()}: no TLS there, or no valid certificate") from error
            raise _Passing(f"no connection to {self._where()}: is the server running?") from error
        except openai.APIStatusError as error:
            raise self._status_fault(error) from error
        except httpx2.HTTPError as error:  # in the middle of a stream
            raise EngineError(f"the server's answer broke off ({type(error).__name__})") from error
        except openai.APIError as error:  # an error event in a stream, a body that is no completion
            raise EngineError(f"the server sent an error: {self._said(error.message)}") from error
        except (json.JSONDecodeError, UnicodeDecodeError, ValidationError, AttributeError, TypeError) as error:
            # the last two: the client walks through a body of another shape than it expects
            raise EngineError(f"what the server sent is no completion ({type(error).__name__})") from error

    def _status_fault(self, error: openai.APIStatusError) -> EngineError:
        status, said = error.status_code, self._said(error.message)
        if status in (401, 403):
            return EngineError(f"{self._where()} refuses the API key ({status}): set OPENAI_API_KEY or api_key")
        if status == 404:
            return EngineError(f"{self._where()} knows no such model or route (404): {said}")
        if status in (400, 413, 422) and any(words in said.lower() for words in _CONTEXT):
            return EngineError(f"the picture and the prompt are too long for the model's context: lower max_side ({said})")
        if status in _REPEATED:
            waits = error.response.headers.get("retry-after", "")
            return _Passing(f"the server answers {status}: {said}", float(waits) if waits.isdecimal() else 0.0)
        return EngineError(f"the server refuses the call ({status}): {said}")

    def _said(self, message: object) -> str:
        """A line of what the server says, in which the key, should it be repeated there, is not."""
        said = str(message)
        return clean(said if self._key == NO_KEY else said.replace(self._key, "***"))[:200]

    def _where(self) -> str:
        from urllib.parse import urlsplit

        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


class _Passing(EngineError):
    """A fault that may pass by itself."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def _written(answer: Any) -> int:
    """How many tokens the server says it wrote; 0 where it says nothing that can be believed."""
    said = getattr(getattr(answer, "usage", None), "completion_tokens", 0)
    return said if type(said) is int and 0 < said <= _MOST_TOKENS else 0


def _check_choice(finish: str | None, message: Any) -> None:
    """Refuse what is no text: a tool call, a refusal, a filter's stop."""
    if message is None:
        raise EngineError("what the server sent is no completion (no message)")
    if getattr(message, "tool_calls", None) or finish in ("tool_calls", "function_call"):
        raise EngineError("the model calls a tool instead of answering: turn tools off on the server")
    if refusal := getattr(message, "refusal", None):
        raise EngineError(f"the model refuses: {clean(str(refusal))[:200]}")
    if finish == "content_filter":
        raise EngineError("a filter of the server withholds the answer")


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    seen: Sequence[BaseException] = ()
    fault: BaseException | None = error
    while fault is not None and fault not in seen:
        if isinstance(fault, kind):
            return True
        seen = (*seen, fault)
        fault = fault.__cause__ or fault.__context__
    return False

"""What happens during a turn, for whoever operates it: one TurnTrace a turn, and OpenTelemetry spans where that is installed.

Spans carry names, counts and seconds, never pictures, prompts or answers. A TurnTrace carries the words too, for the one
who asked; `TurnTrace.without_content` leaves them out.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import Field

from rsagent.schemas import Answer, Caption, ExpertPrompt, ExpertReport, Model, Task

_retries: ContextVar[list[str] | None] = ContextVar("rsagent_retries", default=None)
_tokens: ContextVar[list[int] | None] = ContextVar("rsagent_tokens", default=None)


class CallTrace(Model):
    """One call of an expert."""

    expert: str
    attempt: int = Field(description="how often the expert was asked before in this turn")
    prompt: str
    text: str
    tokens: int
    seconds: float
    retries: int = Field(description="calls that the engine had to repeat")
    error: str | None


class TurnTrace(Model):
    """Who was asked what in a turn, what they said, how long it took."""

    task: Task
    instruction: str
    image: str = Field(description="sha256 of the picture")
    router_error: str | None = Field(description="why the rules planned in the router's place; None when it did itself")
    router: CallTrace | None = Field(default=None, description="the router's call; None in a turn that ended before it")
    calls: list[CallTrace]
    text: str = Field(description="the caption or the answer; empty when the turn failed")
    partial: bool
    tokens: int = Field(description="of all calls, the router's too where it is a language model")
    seconds: float
    error: str | None = None

    def without_content(self) -> TurnTrace:
        """The same without a word that was asked or said: for logs that others read."""
        calls = [call.model_copy(update={"prompt": "", "text": ""}) for call in self.calls]
        router = self.router and self.router.model_copy(update={"prompt": "", "text": ""})
        return self.model_copy(update={"instruction": "", "text": "", "calls": calls, "router": router})


def trace_turn(
    prompts: Sequence[ExpertPrompt],
    reports: Sequence[ExpertReport],
    result: Caption | Answer | None,
    *,
    task: Task,
    instruction: str,
    image: str,
    seconds: float,
    router: ExpertReport | None = None,
    error: str | None = None,
) -> TurnTrace:
    """The trace of a turn from what its state holds in the end; `result` is None when the turn failed for `error`."""
    asked = {prompt.expert: prompt.text for prompt in prompts}
    calls = [_call(report, asked.get(report.expert, "")) for report in reports]
    return TurnTrace(
        task=task,
        instruction=instruction,
        image=image,
        router_error=next((prompt.router_error for prompt in prompts if prompt.router_error), None),
        router=_call(router, instruction) if router else None,
        calls=calls,
        text=result.text if result else "",
        partial=result.partial if result else True,
        tokens=sum(call.tokens for call in calls) + (router.tokens if router else 0),
        seconds=seconds,
        error=error,
    )


def _call(report: ExpertReport, prompt: str) -> CallTrace:
    return CallTrace(
        expert=report.expert,
        attempt=report.attempt,
        prompt=prompt,
        text=report.text,
        tokens=report.tokens,
        seconds=report.seconds,
        retries=report.retries,
        error=report.error,
    )


def note_retry(reason: str) -> None:
    """An engine repeats a call; the report of the expert that waits for it counts it."""
    counted = _retries.get()
    if counted is not None:
        counted.append(reason)


@contextmanager
def counting_retries() -> Generator[list[str]]:
    """Collect the reasons of the retries that happen inside the block."""
    counted: list[str] = []
    token = _retries.set(counted)
    try:
        yield counted
    finally:
        _retries.reset(token)


def note_tokens(tokens: int) -> None:
    """An engine's server says that a call wrote so many tokens; the report that waits for the call adds them up."""
    counted = _tokens.get()
    if counted is not None:
        counted.append(tokens)


@contextmanager
def counting_tokens() -> Generator[list[int]]:
    """Collect the tokens of the calls inside the block whose server counts them; empty where none does."""
    counted: list[int] = []
    token = _tokens.set(counted)
    try:
        yield counted
    finally:
        _tokens.reset(token)


@contextmanager
def span(name: str, **attributes: str | int | float | bool) -> Generator[Any]:
    """An OpenTelemetry span around a block, or nothing where OpenTelemetry is not installed. Yields the span or None."""
    try:
        from opentelemetry import trace
    except ImportError:
        yield None
        return
    with trace.get_tracer("rsagent").start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=True
    ) as opened:
        yield opened

"""The graph's nodes: prepare, router, expert, check, composer. They close over the engine; the state carries data.

An expert that fails or takes too long is a fact: an ExpertReport with `error`. Only EngineError is one; every other
exception is a fault of a program and ends the run. It is caught inside the node, not by a LangGraph error handler: a
handler would also swallow programming errors, and would end the run without the composer when every branch failed.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, cast

from langchain_core.messages import AIMessage
from langgraph.graph.message import push_message
from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite, Send

from rsagent.engines.base import Engine
from rsagent.errors import EngineError, ImageError, ImageLost, RSAgentError, UserError
from rsagent.graphs import compose, consistency
from rsagent.graphs.state import Event, ExpertCall, GraphInput, GraphState, Turn
from rsagent.graphs.text import clean, clean_question, once_round, strip_controls
from rsagent.prompts import Prompts
from rsagent.schemas import Answer, Caption, Conflict, ExpertPrompt, ExpertReport, ImageFacts
from rsagent.sources import SourcePolicy, is_data_uri, read_source
from rsagent.telemetry import TurnTrace, counting_retries, counting_tokens, span, trace_turn

DETAILED = "detailed"
"""The style that is always joined by rule."""

FORM_TOKENS = 200
"""Tokens that an expert bound by a JSON schema may write, unless the caller names a number."""

# Whose words the `again` prompt of an expert quotes; the theme expert's quotes nobody, so asking it again is in vain.
_QUOTES = {"object": "relation", "relation": "object"}

Update = dict[str, Any]


@dataclass(frozen=True)
class _Written:
    """What the composer adapter was asked, and what it wrote."""

    prompt: ExpertPrompt
    report: ExpertReport


@dataclass(frozen=True)
class Nodes:
    """The nodes of one graph.

    Attributes:
        engine: where router and experts run.
        prompts: the words of the styles, of asking again and of the composer.
        expert_timeout_s: seconds after which an expert, or the composer adapter, counts as failed.
        max_reasks: how often an expert is asked again in a turn when it contradicts another.
        evidence_threshold: gate from which an expert is asked as evidence for an answer.
        max_tokens: tokens an expert may write; None leaves it to the engine.
        sources: which pictures callers may name; any local path when None.
        on_trace: is called with the trace of each turn when it ends, also of one that fails.
    """

    engine: Engine
    prompts: Prompts
    expert_timeout_s: float
    max_reasks: int
    evidence_threshold: float
    max_tokens: int | None
    sources: SourcePolicy | None = None
    on_trace: Callable[[TurnTrace], None] | None = None

    async def prepare(self, state: GraphState) -> Update:
        """Check what is asked, have the engine read the picture, and empty what the turn before left behind."""
        began = time.time()
        turn = read_turn(state, self.engine, self.prompts, began=began)
        try:
            facts, path = await self._look(state)
        except RSAgentError as error:
            self._trace(turn, "", None, str(error))
            raise
        fresh: Update = {"prompts": [], "reports": Overwrite([]), "conflicts": [], "caption": None, "answer": None}
        return {**fresh, "path": path, "facts": facts, "turn": turn}

    async def _look(self, state: GraphState) -> tuple[ImageFacts, str]:
        """The facts of the picture that is meant, and its path; "" when it is no file.

        Raises:
            UserError: there is none, or it cannot be used.
        """
        image = cast(object, state.get("image"))  # of a remote caller it is whatever their JSON holds
        if image is None and "facts" in state:  # a later turn about the same picture
            return state["facts"], state["path"]
        if image is None:
            raise UserError("no image is given: pass its path as 'image'")
        if isinstance(image, ImageFacts):
            return image, ""
        if not isinstance(image, str):
            raise UserError("'image' is no text: pass the picture's path")
        if is_data_uri(image):  # it would stay in every checkpoint and every trace
            raise UserError("a graph takes no data: URI: pass a path, or the facts that engine.prepare(bytes) returns")
        path = os.path.abspath(image) if self.sources is None else image
        with span("rsagent.prepare", engine=self.engine.name):
            return await self._read(path), path

    async def router(self, state: GraphState, runtime: Runtime[None]) -> Command[Literal["expert"]]:
        """Have the instruction router write the prompts and send each to its expert, all in one superstep."""
        turn, facts, path = state["turn"], state["facts"], state["path"]
        style = turn.style if turn.style in self.engine.styles else ""

        written: list[ExpertPrompt] = []

        async def route() -> list[ExpertPrompt]:
            return await self.engine.route(facts.sha256, turn.instruction, turn.task, style=style, experts=tuple(turn.experts))

        began, call = time.perf_counter(), ExpertReport(expert="router")
        named = {"engine": self.engine.name, "task": turn.task}
        with span("rsagent.router", **named) as opened, counting_retries() as again, counting_tokens() as spent:
            try:
                try:
                    written = await route()
                except ImageLost:
                    await self._prepare_again(path, facts.sha256)
                    written = await route()
                if not written:
                    raise EngineError(f"the router of the engine '{self.engine.name}' wrote no prompt")
                call.error = next((prompt.router_error for prompt in written if prompt.router_error), None)
            except RSAgentError as error:
                call.error = str(error)
                raise
            finally:
                call.seconds, call.retries, call.tokens = time.perf_counter() - began, len(again), sum(spent)
                turn = turn.model_copy(update={"router": call})
                if opened is not None:
                    opened.set_attributes({"retries": len(again), "failed": call.error is not None})
                if call.error is not None and not written:
                    self._trace(turn, facts.sha256, None, call.error)
        prompts = [self._bound(prompt) for prompt in compose.choose(written, turn.task, self.evidence_threshold)]
        if (most := turn.max_tokens or self.max_tokens) is not None:
            prompts = [prompt.model_copy(update={"max_tokens": most}) for prompt in prompts]
        for prompt in prompts:
            _emit(runtime, {"type": "route", "expert": prompt.expert, "text": prompt.text})
        calls = [Send("expert", ExpertCall(prompt=prompt, path=path)) for prompt in prompts]
        return Command(update={"prompts": prompts, "turn": turn}, goto=calls)

    async def expert(self, state: ExpertCall, runtime: Runtime[None]) -> Update:
        """Ask one expert; whatever the engine cannot do becomes the report's `error`."""
        prompt, began = state["prompt"], time.perf_counter()
        report = ExpertReport(expert=prompt.expert, gate=prompt.gate, attempt=prompt.attempt)
        named = {"engine": self.engine.name, "expert": prompt.expert}
        with span("rsagent.expert", **named) as opened, counting_retries() as again, counting_tokens() as spent:
            try:
                try:
                    pieces = await self._listen(prompt, runtime)
                except ImageLost:
                    await self._prepare_again(state["path"], prompt.digest)
                    pieces = await self._listen(prompt, runtime)
                report.text, report.tokens = clean("".join(pieces)), sum(spent) or len(pieces)
                _check_form(prompt, report)
            except EngineError as error:
                report.error = clean(str(error)) or type(error).__name__
                report.tokens = sum(spent) or report.tokens  # those of a composer that was not believed
            report.retries = len(again)
            if opened is not None:
                opened.set_attributes({"tokens": report.tokens, "retries": len(again), "failed": report.error is not None})
        report.seconds = time.perf_counter() - began
        _emit_report(runtime, report)
        return {"reports": [report]}

    async def check(self, state: GraphState, runtime: Runtime[None]) -> Command[Literal["expert", "composer"]]:
        """Compare the experts with each other; send those that contradict back once more, within the bound."""
        reports, before = state["reports"], state["conflicts"]
        if state["turn"].task == "answer":
            good = [report for report in compose.latest(reports).values() if report.error is None and report.text]
            found, again = consistency.find_answer_conflicts(good), []
        else:
            words = compose.words_of(reports)
            found = consistency.find_conflicts(words)
            again = self._reasks(state["prompts"], reports, found, words)
        conflicts = consistency.carry(before, found)
        for conflict in conflicts[len(before) :]:
            _emit(runtime, {"type": "conflict", "expert": conflict.expert, "text": conflict.what})
        goto = [Send("expert", ExpertCall(prompt=prompt, path=state["path"])) for prompt in again] or "composer"
        return Command(update={"conflicts": conflicts}, goto=goto)

    async def composer(self, state: GraphState, runtime: Runtime[None]) -> Update:
        """Make the caption or the answer from what the experts said, and say what is missing."""
        turn, written = state["turn"], None
        try:
            with span("rsagent.composer", engine=self.engine.name, task=turn.task):
                if turn.writes and (words := compose.words_of(state["reports"])):
                    written = await self._write(state, words, runtime)
                result = self._compose(state, written)
        except RSAgentError as error:
            self._trace(turn, state["facts"].sha256, None, str(error), *_asked(state, written))
            raise
        if any(prompt.router_error for prompt in state["prompts"]):  # the experts read the rules' prompts instead
            result.partial, result.missing = True, [*result.missing, "router"]
        speaker = result.expert if isinstance(result, Answer) else "composer"
        _emit(runtime, {"type": "composed", "expert": speaker, "text": result.text})
        push_message(AIMessage(result.text, id=str(uuid.uuid4()), name="rsagent"), state_key=None)
        self._trace(turn, state["facts"].sha256, result, None, *_asked(state, written))
        return {"answer" if isinstance(result, Answer) else "caption": result}

    def _bound(self, prompt: ExpertPrompt) -> ExpertPrompt:
        """A caption's prompt with the JSON schema that the prompts name for its expert, and the tokens that a form needs."""
        schema = self.prompts.caption_schema(prompt.expert) if prompt.task == "caption" else None
        if schema is None:
            return prompt
        return prompt.model_copy(update={"json_schema": schema, "max_tokens": max(prompt.max_tokens, FORM_TOKENS)})

    def _compose(self, state: GraphState, written: _Written | None) -> Caption | Answer:
        turn, facts, reports, conflicts = state["turn"], state["facts"], state["reports"], state["conflicts"]
        if turn.task == "answer":
            return compose.compose_answer(turn.instruction, reports, conflicts, image=facts, seconds=time.time() - turn.began)
        return compose.compose_caption(
            reports,
            conflicts,
            style=turn.style,
            image=facts,
            written=written.report if written else None,
            seconds=time.time() - turn.began,
        )

    def _trace(
        self,
        turn: Turn,
        image: str,
        result: Caption | Answer | None,
        error: str | None,
        prompts: Sequence[ExpertPrompt] = (),
        reports: Sequence[ExpertReport] = (),
    ) -> None:
        """Tell whoever wants to know how a turn went, wherever it ended."""
        if self.on_trace is None:
            return
        self.on_trace(
            trace_turn(
                prompts,
                reports,
                result,
                task=turn.task,
                instruction=turn.instruction,
                image=image,
                seconds=time.time() - turn.began,
                router=turn.router,
                error=error,
            )
        )

    def _reasks(
        self,
        prompts: Sequence[ExpertPrompt],
        reports: Sequence[ExpertReport],
        found: Sequence[Conflict],
        words: dict[str, str],
    ) -> list[ExpertPrompt]:
        """The prompts of the experts to ask again, each quoting the one it contradicts, in the order of `prompts`."""
        against = {conflict.expert: conflict.against for conflict in found}
        again: list[ExpertPrompt] = []
        for prompt in prompts:
            other = against.get(prompt.expert)
            attempt = sum(report.expert == prompt.expert for report in reports)
            if other is None or _QUOTES.get(prompt.expert) != other or attempt > self.max_reasks:
                continue
            text = self.prompts.expert_text(prompt.expert, prompt.task, prompt.instruction, against=words[other])
            again.append(prompt.model_copy(update={"text": text, "attempt": attempt}))
        return again

    async def _write(self, state: GraphState, words: dict[str, str], runtime: Runtime[None]) -> _Written:
        """Ask the composer adapter for its sentence; what it cannot do is its report's `error`."""
        first, instruction = state["prompts"][0], state["turn"].instruction
        text = self.prompts.composer_text(instruction, **compose.in_paper_order(words))
        own = {"expert": "composer", "text": text, "gate": 1.0, "attempt": 0, "json_schema": None}
        prompt = first.model_copy(update=own)
        report: ExpertReport = (await self.expert(ExpertCall(prompt=prompt, path=state["path"]), runtime))["reports"][0]
        if report.error is None and not compose.tidy(report.text):
            report = report.model_copy(update={"error": "the composer wrote nothing"})
        return _Written(prompt, report)

    async def _listen(self, prompt: ExpertPrompt, runtime: Runtime[None]) -> list[str]:
        """All pieces that the engine streams for `prompt`, passed on as they come; nobody listens to a text that goes round.

        Raises:
            EngineError: the engine failed, or was not done in time; the stream is closed then, which stops the work.
        """
        pieces: list[str] = []
        limit = asyncio.timeout(self.expert_timeout_s)
        # Engines write `generate` as an async generator; closing it is what frees them when the turn is given up.
        stream = cast("AsyncGenerator[str, None]", self.engine.generate(prompt))
        try:
            async with limit, aclosing(stream):
                async for piece in stream:
                    pieces.append(piece)
                    if shown := strip_controls(piece):
                        _emit(runtime, {"type": "token", "expert": prompt.expert, "text": shown})
                    text = "".join(pieces)
                    if prompt.json_schema is None and (once := once_round(text, len(text) - len(piece))) is not None:
                        return [once]
        except TimeoutError as error:
            if not limit.expired():  # the engine's own, which it should have made an EngineError
                raise
            raise EngineError(f"not done within {self.expert_timeout_s:g} s") from error
        return pieces

    async def _read(self, path: str) -> ImageFacts:
        """Have the engine read the picture that a caller named, if they may name it.

        Raises:
            ImageError: they may not, or it cannot be used.
        """
        if self.sources is None:
            return await self.engine.prepare(path)
        return await self.engine.prepare(await asyncio.to_thread(read_source, path, self.sources))

    async def _prepare_again(self, path: str, digest: str) -> ImageFacts:
        """Give the engine the pixels that it lost (a restart, a full cache), if the file is still the same.

        Raises:
            EngineError: the picture came from no file, or the file has gone or changed.
        """
        if not path:
            raise EngineError("the engine no longer has the picture, and it came from no file: give it again")
        try:
            facts = await self._read(path)
        except ImageError as error:
            raise EngineError(f"the picture cannot be read again: {error}") from error
        if facts.sha256 != digest:
            raise EngineError(f"{path} has changed since this turn began: ask again")
        return facts


def read_turn(given: GraphInput | GraphState, engine: Engine, prompts: Prompts, *, began: float) -> Turn:
    """What is asked, checked against what the engine offers.

    Raises:
        UserError: an empty or endless question, an unknown expert or style.
    """
    experts = list(dict.fromkeys(given.get("experts") or ()))
    for name in experts:
        if name not in engine.experts:
            raise UserError(f"unknown expert {clean(name)!r}: choose among {', '.join(engine.experts)}")
    most = given.get("max_tokens")
    if most is not None and most < 1:
        raise UserError(f"an expert may write {most} tokens: give 1 or more")
    task = given.get("task") or ("answer" if "question" in given else "caption")
    if task == "answer":
        question = clean_question(given.get("question", ""))
        return Turn(task=task, instruction=question, experts=experts, max_tokens=most, began=began)
    style = given.get("style") or DETAILED
    writes = style != DETAILED and bool(engine.styles)
    known = [DETAILED, *engine.styles] if engine.styles else list(prompts.styles)
    if style not in known or style not in prompts.styles:
        raise UserError(f"unknown style {clean(style)!r}: choose one of {', '.join(dict.fromkeys(known))}")
    instruction = prompts.caption_instruction(style)
    return Turn(task=task, instruction=instruction, style=style, writes=writes, experts=experts, max_tokens=most, began=began)


def _check_form(prompt: ExpertPrompt, report: ExpertReport) -> None:
    """That words bound by a JSON schema are JSON: the end of a list may have been cut off, and some engines know no schema.

    Raises:
        EngineError: they are none.
    """
    if prompt.json_schema is None:
        return
    try:
        json.loads(report.text)
    except (ValueError, RecursionError) as error:
        why = "cut off? give more --max-tokens" if report.tokens >= prompt.max_tokens else "the engine keeps to no schema"
        raise EngineError(f"its words are no JSON after {report.tokens} tokens ({why}): {report.text[:60]}") from error


def _asked(state: GraphState, written: _Written | None) -> tuple[list[ExpertPrompt], list[ExpertReport]]:
    """Everybody who was asked in a turn, and what they said, the composer adapter last."""
    composer = ([written.prompt], [written.report]) if written else ([], [])
    return [*state["prompts"], *composer[0]], [*state["reports"], *composer[1]]


def _emit(runtime: Runtime[None], event: Event) -> None:
    runtime.stream_writer(event)


def _emit_report(runtime: Runtime[None], report: ExpertReport) -> None:
    event: Event = {"type": "report", "expert": report.expert, "text": report.text}
    if report.error is not None:
        event["error"] = report.error
    _emit(runtime, event)

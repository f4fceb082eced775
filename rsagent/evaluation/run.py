"""One evaluation of one checkpoint: what it says of many images, kept so that a kill loses little.

The model is driven as a user gets it, through `RSAgent`. What it says goes to a JSON-lines file a set, in a folder
named after the checkpoint's digest: a retrained checkpoint never meets the words of the one before.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rsagent.errors import RSAgentError, UserError

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.engines.base import Engine
    from rsagent.imagery import ImageSource
    from rsagent.prompts import Prompts

T = TypeVar("T")
Picture = Callable[[], "ImageSource"]
"""Gives a picture when it is needed: thousands of rendered ones need not lie in memory at once."""

_EVERY_S = 15.0  # between two lines of progress


@dataclass(frozen=True)
class Run:
    """What is evaluated, and where its words are kept.

    `limit` takes only the first so many images of each set: for a quick look; no floor is held against that.
    """

    checkpoint: Path
    folder: Path
    limit: int | None = None
    best: bool = False
    meteor: bool = False
    seed: int = 0

    @classmethod
    def open(cls, checkpoint: Path, runs: Path, **options: Any) -> Run:
        """Check the checkpoint, and make the folder for its predictions below `runs`.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            UserError: the folder cannot be made.
        """
        from rsagent.model.checkpoint import checkpoint_digest, read_config

        read_config(checkpoint)
        folder = runs / checkpoint_digest(checkpoint)[:12]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made ({error.strerror}); give another --runs folder") from error
        return cls(checkpoint, folder, **options)

    def first(self, items: Iterable[T]) -> list[T]:
        """`items`, or as many of them as `limit` allows."""
        return list(items)[: self.limit]

    def predictions(self, name: str) -> Predictions:
        """What was said so far in the set `name`; other decoding is another set."""
        return Predictions(self.folder / f"{name}{'-best' if self.best else ''}.jsonl")


class Predictions:
    """What the model said, by id: a JSON-lines file that grows a record at a time and is read again after a kill."""

    def __init__(self, path: Path):
        """Read `path` where it exists. A last line that a kill cut short is dropped.

        Raises:
            UserError: the file is none of these, or cannot be read.
        """
        self._path = path
        self._records: dict[str, dict[str, Any]] = {}
        if not path.exists():
            return
        try:
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            for line in whole.splitlines():
                record = json.loads(line)
                self._records[record["id"]] = record
            if len(whole) < len(data):
                os.truncate(path, len(whole))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: is no file of predictions; move it away") from error

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._records[key]

    def add(self, key: str, **record: Any) -> None:
        """Keep one record, on disk before this returns."""
        self._records[key] = {"id": key, **record}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._records[key], ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Question:
    """A question to be put: its id, the picture, the words."""

    key: str
    picture: Picture
    words: str


async def caption_all(agent: RSAgent, run: Run, name: str, pictures: Mapping[str, Picture], style: str) -> dict[str, str]:
    """`Caption.text` for each picture, from the file where it is there already.

    A picture that the model could not describe gets "" (it scores nothing) and is tried again next time; how many is
    said on stderr.
    """
    kept = run.predictions(name)
    todo = [key for key in pictures if key not in kept]
    failed: dict[str, str] = {}
    if todo:
        progress = Progress(name, len(todo))
        async with aclosing(agent.caption_many((pictures[key]() for key in todo), style)) as described:
            async for done in described:
                key, result = todo[done.index], done.result
                if isinstance(result, RSAgentError):
                    failed[key] = str(result)
                else:
                    kept.add(key, **result.model_dump(include={"text", "theme", "objects", "relations", "partial"}))
                progress.advance()
    _report(name, failed)
    return {key: kept[key]["text"] if key in kept else "" for key in pictures}


async def answer_all(agent: RSAgent, run: Run, name: str, questions: Sequence[Question]) -> list[str]:
    """`Answer.text` for each question in order, kept and resumed as by `caption_all`."""

    async def put(asked: Question) -> dict[str, Any]:
        answer = await agent.ask(asked.picture(), asked.words)
        return answer.model_dump(include={"text", "expert", "partial"})

    return await _ask_all(run, name, questions, put)


def open_single(checkpoint: Path) -> Engine | None:
    """An engine that asks stage I's single LLM, or None where the checkpoint has no such adapter."""
    from rsagent.engines.local import LocalEngine
    from rsagent.model.checkpoint import adapter_names

    if "single" not in adapter_names(checkpoint / "experts"):
        return None
    return LocalEngine.load(checkpoint, single=True)


async def single_captions(
    engine: Engine, prompts: Prompts, run: Run, name: str, pictures: Mapping[str, Picture], style: str
) -> dict[str, str]:
    """What stage I's single LLM says of each picture: the engine without graph, router and composer."""
    instruction = prompts.caption_instruction(style)
    asked = [Question(key, picture, instruction) for key, picture in pictures.items()]

    async def put(item: Question) -> dict[str, Any]:
        return {"text": await _single(engine, item, "caption", style)}

    return dict(zip(pictures, await _ask_all(run, name, asked, put), strict=True))


async def single_answers(engine: Engine, run: Run, name: str, questions: Sequence[Question]) -> list[str]:
    """What stage I's single LLM answers to each question, in order."""

    async def put(item: Question) -> dict[str, Any]:
        return {"text": await _single(engine, item, "answer", "")}

    return await _ask_all(run, name, questions, put)


async def _single(engine: Engine, asked: Question, task: Any, style: str) -> str:
    facts = await engine.prepare(asked.picture())
    style = style if style in engine.styles else ""
    prompt = (await engine.route(facts.sha256, asked.words, task, style=style))[0]
    return "".join([piece async for piece in engine.generate(prompt)]).strip()


async def _ask_all(run: Run, name: str, questions: Sequence[Question], put: Callable[[Question], Any]) -> list[str]:
    kept = run.predictions(name)
    todo = [asked for asked in questions if asked.key not in kept]
    failed: dict[str, str] = {}
    if todo:
        progress = Progress(name, len(todo))
        async for asked, result in _several(todo, put):
            if isinstance(result, RSAgentError):
                failed[asked.key] = str(result)
            else:
                kept.add(asked.key, question=asked.words, **result)
            progress.advance()
    _report(name, failed)
    return [kept[asked.key]["text"] if asked.key in kept else "" for asked in questions]


async def _several(
    questions: Sequence[Question], put: Callable[[Question], Any]
) -> AsyncIterator[tuple[Question, dict[str, Any] | RSAgentError]]:
    """Put the questions, as many at a time as `RSAgent.caption_many` does; each is given when its answer is there."""
    from rsagent.agent import CONCURRENCY

    async def one(asked: Question) -> tuple[Question, dict[str, Any] | RSAgentError]:
        try:
            return asked, await put(asked)
        except RSAgentError as error:
            return asked, error

    waiting = iter(questions)
    running: set[asyncio.Task[tuple[Question, dict[str, Any] | RSAgentError]]] = set()
    try:
        while True:
            while len(running) < CONCURRENCY and (asked := next(waiting, None)) is not None:
                running.add(asyncio.create_task(one(asked)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Progress:
    """Lines on stderr: how many are done and when the rest will be."""

    def __init__(self, name: str, total: int):
        self._name, self._total, self._done = name, total, 0
        self._began = self._said = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """`count` more are done; says so now and then, and at the end."""
        self._done += count
        now = time.monotonic()
        if self._done < self._total and now - self._said < _EVERY_S:
            return
        self._said = now
        rate = self._done / max(now - self._began, 1e-9)
        rest = (self._total - self._done) / rate
        say(f"{self._name}: {self._done} of {self._total}, {rate:.1f} a second, {rest:.0f} s to go")

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """`items`, counted as they are used."""
        for item in items:
            yield item
            self.advance()


def say(message: str) -> None:
    """One line for people, on stderr."""
    print(message, file=sys.stderr, flush=True)


def _report(name: str, failed: Mapping[str, str]) -> None:
    if failed:
        key, reason = next(iter(failed.items()))
        say(f"{name}: {len(failed)} got nothing and score nothing, first {key}: {reason}")

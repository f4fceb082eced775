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
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
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
    from rsagent.schemas import Task

T = TypeVar("T")
U = TypeVar("U")
Picture = Callable[[], "ImageSource"]
"""Gives a picture when it is needed: thousands of rendered ones need not lie in memory at once."""

_EVERY_S = 15.0  # between two lines of progress


@dataclass(frozen=True)
class Run:
    """What is evaluated, and where its words are kept.

    `limit` takes only so many images of each set: for a quick look; no floor is held against that.
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

    def some(self, items: Iterable[T]) -> list[T]:
        """`items`, or as many of them as `limit` allows, evenly spaced: neighbours in a file are of one class."""
        every = list(items)
        if self.limit is None or self.limit >= len(every):
            return every
        return [every[place * len(every) // self.limit] for place in range(self.limit)]

    def predictions(self, name: str) -> Predictions:
        """What was said so far in the set `name`; other decoding is another set."""
        return Predictions(self.folder / f"{name}{'-best' if self.best else ''}.jsonl")


class Predictions:
    """What the model said, by id: a JSON-lines file that grows a record at a time and is read again after a kill."""

    def __init__(self, path: Path):
        """Read `path` where it exists. A last line that a kill cut short is dropped.

        Reading changes nothing on disk, for the run may be going on: the cut line goes when the next record comes.

        Raises:
            UserError: the file is none of these, or cannot be read.
        """
        self._path = path
        self._records: dict[str, dict[str, Any]] = {}
        self._whole: int | None = None  # bytes before a cut line
        if not path.exists():
            return
        try:
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            for line in whole.splitlines():
                record = json.loads(line)
                self._records[record["id"]] = record
            if len(whole) < len(data):
                self._whole = len(whole)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: is no file of predictions; move it away") from error

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The records, in the order in which they were kept."""
        return iter(self._records.values())

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._records[key]

    def add(self, key: str, **record: Any) -> None:
        """Keep one record, on disk before this returns."""
        self._records[key] = {"id": key, **record}
        if self._whole is not None:
            os.truncate(self._path, self._whole)
            self._whole = None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._records[key], ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Question:
    """A question to be put: its id, the picture, the words."""

    key: str
    picture: Picture
    words: str


@dataclass(frozen=True)
class Said:
    """What the model said, which expert said it, and which experts failed."""

    text: str
    expert: str
    missing: tuple[str, ...] = ()


Put = Callable[[Question], Awaitable[Said]]


async def caption_all(agent: RSAgent, run: Run, name: str, pictures: Mapping[str, Picture], style: str) -> dict[str, str]:
    """`Caption.text` for each picture, from the file where it is there already.

    A picture that the model could not describe gets "", which scores nothing; a partial caption is scored as it is.
    Both are said on stderr and tried again next time.
    """
    kept = run.predictions(name)
    todo = [key for key in pictures if key not in kept]
    progress, troubles = Progress(name, len(todo)), Troubles(name)
    if todo:
        async with aclosing(agent.caption_many((pictures[key]() for key in todo), style)) as described:
            async for done in described:
                key, result = todo[done.index], done.result
                if isinstance(result, RSAgentError):
                    troubles.failed(key, result)
                elif result.partial:
                    troubles.partial(key, result.text, result.missing)
                else:
                    kept.add(key, **result.model_dump(include={"text", "theme", "objects", "relations"}))
                progress.advance()
    troubles.report()
    return {key: kept[key]["text"] if key in kept else troubles.texts[key] for key in pictures}


async def answer_all(agent: RSAgent, run: Run, name: str, questions: Sequence[Question]) -> list[str]:
    """`Answer.text` for each question in order, kept and tried again as by `caption_all`."""

    async def put(asked: Question) -> Said:
        answer = await agent.ask(asked.picture(), asked.words)
        return Said(answer.text, answer.expert, tuple(answer.missing))

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
    texts = await _ask_all(run, name, asked, lambda item: _single(engine, item, "caption"))
    return dict(zip(pictures, texts, strict=True))


async def single_answers(engine: Engine, run: Run, name: str, questions: Sequence[Question]) -> list[str]:
    """What stage I's single LLM answers to each question, in order."""
    return await _ask_all(run, name, questions, lambda item: _single(engine, item, "answer"))


async def _single(engine: Engine, asked: Question, task: Task) -> Said:
    facts = await engine.prepare(asked.picture())
    prompt = (await engine.route(facts.sha256, asked.words, task))[0]
    return Said("".join([piece async for piece in engine.generate(prompt)]).strip(), prompt.expert)


async def _ask_all(run: Run, name: str, questions: Sequence[Question], put: Put) -> list[str]:
    kept = run.predictions(name)
    todo = [asked for asked in questions if asked.key not in kept]
    progress, troubles = Progress(name, len(todo)), Troubles(name)
    async for asked, said in several(todo, put):
        if isinstance(said, RSAgentError):
            troubles.failed(asked.key, said)
        elif said.missing:
            troubles.partial(asked.key, said.text, said.missing)
        else:
            kept.add(asked.key, question=asked.words, text=said.text, expert=said.expert)
        progress.advance()
    troubles.report()
    return [kept[asked.key]["text"] if asked.key in kept else troubles.texts[asked.key] for asked in questions]


async def several(items: Iterable[T], put: Callable[[T], Awaitable[U]]) -> AsyncGenerator[tuple[T, U | RSAgentError]]:
    """Put the items, as many at a time as `RSAgent.caption_many` does; each is given when its reply (or error) is there."""
    from rsagent.agent import CONCURRENCY

    async def one(item: T) -> tuple[T, U | RSAgentError]:
        try:
            return item, await put(item)
        except RSAgentError as error:
            return item, error

    waiting = iter(items)
    running: set[asyncio.Task[tuple[T, U | RSAgentError]]] = set()
    try:
        while True:
            while len(running) < CONCURRENCY and (item := next(waiting, None)) is not None:
                running.add(asyncio.create_task(one(item)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Troubles:
    """What went wrong in one set: the texts that are scored all the same, and one line about each kind of trouble."""

    def __init__(self, name: str):
        self.texts: dict[str, str] = {}
        self._name = name
        self._reasons: dict[str, list[str]] = {}

    def failed(self, key: str, error: RSAgentError) -> None:
        """Nothing was said: an empty text is scored."""
        self.texts[key] = ""
        self._reasons.setdefault("got nothing and score nothing", []).append(f"{key}: {error}")

    def partial(self, key: str, text: str, missing: Sequence[str]) -> None:
        """An expert failed: what the others said is scored."""
        self.texts[key] = text
        self._reasons.setdefault("are partial", []).append(f"{key}: without {', '.join(missing)}")

    @property
    def empty(self) -> bool:
        """Whether all went well."""
        return not self._reasons

    def report(self) -> None:
        """Say it on stderr."""
        for what, reasons in self._reasons.items():
            say(f"{self._name}: {len(reasons)} {what}, first {reasons[0]}")


class Progress:
    """Lines on stderr: how many are done and when the rest will be."""

    def __init__(self, name: str, total: int):
        self._name, self._total, self._done = name, total, 0
        self._began = self._said = time.monotonic()

    def advance(self, count: int = 1, note: Callable[[], str] | None = None) -> None:
        """`count` more are done; says so now and then, and at the end, with what `note` has to say of them."""
        self._done += count
        now = time.monotonic()
        if self._done < self._total and now - self._said < _EVERY_S:
            return
        self._said = now
        rate = self._done / max(now - self._began, 1e-9)
        rest = (self._total - self._done) / rate
        further = f"; {note()}" if note else ""
        say(f"{self._name}: {self._done} of {self._total}, {rate:.1f} a second, {rest:.0f} s to go{further}")

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """`items`, counted as they are used."""
        for item in items:
            yield item
            self.advance()


def say(message: str) -> None:
    """One line for people, on stderr."""
    print(message, file=sys.stderr, flush=True)

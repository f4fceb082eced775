"""Putting a set to an agent, item by item: what it says is kept on disk at once and never asked for again."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rsagent.errors import RSAgentError, UserError
from rsagent.evaluation.caption_facts import caption_key, object_counts
from rsagent.evaluation.floors import derangement
from rsagent.evaluation.matchers import match
from rsagent.evaluation.question_types import family_of
from rsagent.evaluation.run import Picture, Predictions, Progress, Troubles, say, several

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.engines.base import Engine
    from rsagent.evaluation.sets import EvaluationSet, Item
    from rsagent.imagery import ImageSource
    from rsagent.prompts import Prompts
    from rsagent.schemas import ExpertReport


@dataclass(frozen=True)
class Reply:
    """What was said of one item, by which experts, and which of them failed."""

    text: str
    expert: str
    experts: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]


class Speaker(Protocol):
    """Whoever says something about an item, on its own picture or on another one."""

    def __call__(self, item: Item, picture: ImageSource, style: str) -> Awaitable[Reply]:
        """The answer to the item's question, or a caption in `style` where it has none."""
        ...


def agent_speaks(agent: RSAgent) -> Speaker:
    """The model as a user gets it: router, experts, composer."""

    async def put(item: Item, picture: ImageSource, style: str) -> Reply:
        if not item.question:
            caption = await agent.caption(picture, style)
            return Reply(caption.text, "", _said(caption.reports), tuple(caption.missing))
        answer = await agent.ask(picture, item.question)
        told = ((answer.expert, answer.text), *_said(answer.evidence))
        return Reply(answer.text, answer.expert, told, tuple(answer.missing))

    return put


def single_speaks(engine: Engine, prompts: Prompts) -> Speaker:
    """Stage I's single LLM alone: no router, no experts, no composer. `engine` was loaded with `single=True`."""

    async def put(item: Item, picture: ImageSource, style: str) -> Reply:
        facts = await engine.prepare(picture)
        instruction = item.question or prompts.caption_instruction(style)
        (prompt,) = await engine.route(facts.sha256, instruction, "answer" if item.question else "caption")
        return Reply("".join([piece async for piece in engine.generate(prompt)]).strip(), prompt.expert, (), ())

    return put


def blind_pictures(chosen: EvaluationSet, seed: int) -> dict[str, Picture]:
    """For each image another one of the set: the questions about it are put to that."""
    pictures = chosen.images
    keys = list(pictures)
    return {key: pictures[keys[int(other)]] for key, other in zip(keys, derangement(len(keys), seed=seed), strict=True)}


async def ask_set(
    speaker: Speaker, chosen: EvaluationSet, kept: Predictions, name: str, pictures: Mapping[str, Picture] | None = None
) -> Troubles:
    """Ask about every item of the set that `kept` does not hold, and keep each reply as it comes.

    A reply that fails, or that lacks an expert, is not kept: it is named, and asked for again next time.

    Args:
        speaker: who is asked.
        chosen: the set.
        kept: the run's predictions.
        name: for the lines of progress.
        pictures: other pictures than the items' own, by image: the blind row.
    """
    todo = [item for item in chosen.items if item.key not in kept]
    if len(todo) < len(chosen.items):
        say(f"{name}: {len(chosen.items) - len(todo)} of {len(chosen.items)} are there already")
    progress, troubles, tally = Progress(name, len(todo)), Troubles(name), Tally()
    known = train_captions(chosen)

    def put(item: Item) -> Awaitable[Reply]:
        return speaker(item, item.picture() if pictures is None else pictures[item.image](), chosen.style)

    async with aclosing(several(todo, put)) as replies:
        async for item, reply in replies:
            if isinstance(reply, RSAgentError):
                troubles.failed(item.key, reply)
            elif reply.missing:
                troubles.partial(item.key, reply.text, reply.missing)
            else:
                kept.add(item.key, **_record(item, reply, known))
                tally.add(item, reply.text)
            progress.advance(note=tally.line)
    troubles.report()
    return troubles


def _said(reports: list[ExpertReport]) -> tuple[tuple[str, str], ...]:
    """What each expert said last."""
    return tuple({report.expert: report.text for report in reports if report.text}.items())


def train_captions(chosen: EvaluationSet) -> frozenset[str]:
    """The training part's captions, in the form in which they are compared; none for questions."""
    if chosen.task != "caption":
        return frozenset()
    return frozenset(caption_key(text) for item in chosen.train for text in item.truths)


def _record(item: Item, reply: Reply, known: frozenset[str]) -> dict[str, object]:
    told: dict[str, object] = {
        "image": item.image,
        "file": str(item.file) if item.file is not None else None,
        "type": item.type,
        "question": item.question,
        "truths": list(item.truths),
        "label": item.label,
        "text": reply.text,
        "expert": reply.expert,
        "experts": [list(one) for one in dict.fromkeys(reply.experts)],
    }
    return {**told, "verbatim": caption_key(reply.text) in known} if known else told


class Tally:
    """Running scores, cheap enough to be kept item by item; those of the table are computed in the end."""

    def __init__(self) -> None:
        self._done = self._right = self._lenient = 0
        self._things = [0, 0, 0]
        self._captions = False

    def add(self, item: Item, text: str) -> None:
        """Count one reply."""
        self._done += 1
        self._captions = not item.question
        if self._captions:
            for place, count in enumerate(object_counts(text, item.truths)):
                self._things[place] += count
            return
        found = match(text, item.truths, family_of(item.type, item.truths[0]))
        self._right += found.strict
        self._lenient += found.lenient

    def line(self) -> str:
        """What can be said so far."""
        if not self._done:
            return "nothing yet"
        if self._captions:
            both, said, true = self._things
            return f"object precision {both / max(said, 1):.3f}, recall {both / max(true, 1):.3f} so far"
        return f"strictly right {self._right / self._done:.3f}, leniently {self._lenient / self._done:.3f} so far"


def texts_of(chosen: EvaluationSet, kept: Predictions, troubles: Troubles) -> list[str]:
    """What was said of each item in order; what failed scores nothing, what is partial as it is.

    Raises:
        UserError: the predictions are of another part or set.
    """
    known = {item.key for item in chosen.items}
    odd = [str(record["id"]) for record in kept if record["id"] not in known]
    if odd:
        raise UserError(f"the predictions hold {odd[0][:80]!r}, which is not in {chosen.name}, {chosen.split}: move them away")
    return [kept[item.key]["text"] if item.key in kept else troubles.texts.get(item.key, "") for item in chosen.items]

"""A small set to evaluate, and an engine that knows the answers to a part of it."""

from functools import partial

import numpy as np

from rsagent.engines.scripted import ScriptedEngine
from rsagent.evaluation.sets import EvaluationSet, Item

SAID = {"theme": "an airport", "object": "two planes", "relation": "the planes are near a road"}
KINDS = (("count", "How many?"), ("presence", "Is it grey?"), ("location", "Where is it?"))


def grey(level: int) -> np.ndarray:
    return np.full((24, 24, 3), level, dtype=np.uint8)


def question_set(n: int = 8, train: int = 4) -> EvaluationSet:
    """`n` pictures with three questions each; how many is the picture's grey level."""

    def items(levels) -> list[Item]:
        truths = {"count": str, "presence": lambda _: "yes", "location": lambda level: ["left", "upper left"][level % 2]}
        return [
            Item(f"p{level}#{kind}", f"p{level}", partial(grey, level), (truths[kind](level),), kind, words)
            for level in levels
            for kind, words in KINDS
        ]

    return EvaluationSet("toy", "test", "answer", "", items(range(n)), items(range(100, 100 + train)))


def caption_set(n: int = 6) -> EvaluationSet:
    def items(levels) -> list[Item]:
        return [
            Item(f"p{k}", f"p{k}", partial(grey, k), (f"there are {k} planes", "an airport with planes"), label="airport")
            for k in levels
        ]

    return EvaluationSet("toy-captions", "test", "caption", "detailed", items(range(n)), items(range(50, 54)))


class Reader(ScriptedEngine):
    """A model that sees: it counts what the picture is filled with; `asked` holds each question it met."""

    def __init__(self) -> None:
        super().__init__({"object": lambda prompt: self.read(prompt)})
        self.levels: dict[str, int] = {}
        self.asked: list[str] = []

    async def prepare(self, image):
        facts = await super().prepare(image)
        self.levels[facts.sha256] = int(image[0, 0, 0])
        return facts

    def read(self, prompt) -> str:
        level = self.levels[prompt.digest]
        self.asked.append(f"{level} {prompt.instruction}")
        if "many" in prompt.instruction:
            return str(level)
        return "yes" if "grey" in prompt.instruction else ["on the left", "top left"][level % 2]

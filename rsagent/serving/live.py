"""The words of a turn that are final while it still runs, for a client who reads along.

Final are those of the one who speaks alone: the expert whose gate is highest, for an answer; the only expert that is asked,
for a caption; the composer, where it writes one. Aspects that are joined in the end are not: what one says may be dropped,
or asked again, because of what another says.
"""

from __future__ import annotations

import re

from rsagent.engines.base import Engine
from rsagent.graphs import Event
from rsagent.graphs.compose import join, punctuated, tidy
from rsagent.graphs.nodes import DETAILED
from rsagent.serving.turn import Turn

_ITEM = re.compile(r", | and ")  # what follows it may be left out as a repetition


class Live:
    """What can be sent of a reply after each event of its turn."""

    def __init__(self, turn: Turn, engine: Engine) -> None:
        """Follow the events of `turn`."""
        self._answers = turn.question is not None
        self._writes = not self._answers and turn.style != DETAILED and bool(engine.styles)
        self._asked: list[str] = []
        self._heard, self._sent = "", ""

    def hear(self, event: Event) -> str:
        """The words that have become final by `event`; "" when there are none."""
        if event["type"] == "route":
            self._asked.append(event["expert"])
        if event["type"] != "token" or event["expert"] != self._speaker():
            return ""
        self._heard += event["text"]
        final = self._final()
        if len(final) <= len(self._sent) or not final.startswith(self._sent):
            return ""
        words, self._sent = final[len(self._sent) :], final
        return words

    def rest(self, content: str) -> str:
        """What is still to be sent of `content`: all of it, on a line of its own, when it is not what began."""
        if content.startswith(self._sent):
            return content[len(self._sent) :]
        return f"\n{content}"  # who spoke has failed since, and another, or the rule, stands in

    def _speaker(self) -> str | None:
        if self._writes:
            return "composer"
        return self._asked[0] if self._asked and (self._answers or len(self._asked) == 1) else None

    def _final(self) -> str:
        """The beginning of what was heard, in its final form: without the last word, which may go on."""
        heard = " ".join(self._heard.split())
        if self._answers:
            return _but_last(punctuated(heard))
        if self._writes:
            return _but_last(tidy(heard))
        sentences = re.split(r"(?<=[.!?。！？])\s+", join([heard]))
        if len(sentences) > 1:
            return " ".join(sentences[:-1])
        if (found := _ITEM.search(sentences[0])) is not None:
            return sentences[0][: found.start()]
        return _but_last(sentences[0])


def _but_last(text: str) -> str:
    return text.rpartition(" ")[0]

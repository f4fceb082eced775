"""What has been said in a turn that is not over: what is left of it when it is stopped."""

from __future__ import annotations

from typing import Any

from rsagent.chat.records import Reply, Turn
from rsagent.graphs.text import clean


class Partial:
    """What has been said in a turn so far, from its events."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn.model_copy(deep=True)
        self.replies: list[Reply] = []
        self.words: dict[str, str] = {}
        self.picture = 0

    def take(self, event: dict[str, Any]) -> None:
        """Note an event."""
        if event["type"] == "picture":
            self.picture, self.words = event["picture"], {}
        elif event["type"] == "token":
            self.words[event["expert"]] = self.words.get(event["expert"], "") + event["text"]
        elif event["type"] == "reply":
            self.replies.append(event["reply"])
            self.words = {}

    def cut(self) -> Turn | None:
        """The turn as it was cut; None where nothing had been said."""
        said = {name: clean(text) for name, text in self.words.items() if clean(text)}
        replies = list(self.replies)
        if said:
            first = next(iter(said))
            replies.append(Reply(picture=self.picture, text=said[first], expert=first, said=said))
        if not replies:
            return None
        return self.turn.model_copy(update={"replies": replies, "cut": True})

"""What the OpenAI-compatible server sends back: a completion, or the chunks of one."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rsagent.schemas import Answer, Caption


@dataclass(frozen=True)
class Reply:
    """The frame of one completion: `id`, time and model name are the same in all its chunks."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, result: Caption | Answer, content: str | None, refusal: str | None) -> dict[str, Any]:
        """The whole reply; `rsagent` beside the usual fields says what a client of ours may want to know."""
        message = {"role": "assistant", "content": content, "refusal": refusal}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {
            **self._frame("chat.completion"),
            "choices": [choice],
            "usage": usage(result),
            "rsagent": remarks(result),
        }

    def chunks(self, result: Caption | Answer, content: str | None, refusal: str | None, *, with_usage: bool) -> Iterator[str]:
        """The reply after its first chunk, as server-sent events, a word each; joined they are the content."""
        if refusal is not None:
            yield self.event({"refusal": refusal})
        for piece in re.findall(r"\s*\S+\s*$|\s*\S+", content or ""):
            yield self.event({"content": piece})
        yield self.event({}, finish="stop", extra={"rsagent": remarks(result)})
        if with_usage:
            yield sse({**self._frame("chat.completion.chunk"), "choices": [], "usage": usage(result)})
        yield "data: [DONE]\n\n"

    def event(self, delta: dict[str, Any], *, finish: str | None = None, extra: dict[str, Any] | None = None) -> str:
        """One chunk as a server-sent event."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse({**self._frame("chat.completion.chunk"), "choices": [choice], **(extra or {})})

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def sse(data: dict[str, Any]) -> str:
    """One server-sent event; JSON has no line break in it."""
    return f"data: {json.dumps(data)}\n\n"


def usage(result: Caption | Answer) -> dict[str, int]:
    """The tokens that experts and composer wrote; what each read, the picture among it, nobody counts."""
    return {"prompt_tokens": 0, "completion_tokens": result.tokens, "total_tokens": result.tokens}


def remarks(result: Caption | Answer) -> dict[str, Any]:
    """What is missing or contradictory in a result, and what it was made of."""
    common = {
        "task": "answer" if isinstance(result, Answer) else "caption",
        "partial": result.partial,
        "missing": result.missing,
        "conflicts": [conflict.model_dump() for conflict in result.conflicts],
        "image": result.image.sha256,
        "seconds": round(result.seconds, 4),
    }
    if isinstance(result, Answer):
        return {**common, "question": result.question, "expert": result.expert}
    return {**common, "theme": result.theme, "objects": result.objects, "relations": result.relations}

"""One turn of a conversation as a LangGraph graph: look at each picture, settle what that establishes, remember.

A thread is a session and its last state is the last turn; earlier turns are the thread's earlier checkpoints, one each, so
that a turn costs the same in a long conversation as in a short one.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

from langgraph.channels import EphemeralValue
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from rsagent.chat.facts import fact_of, held_against, in_words, keep, told_by
from rsagent.chat.records import Fact, Picture, Reply, Turn, reply_of
from rsagent.schemas import Answer, Caption

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from rsagent.agent import RSAgent


class ChatInput(TypedDict, total=False):
    """What a turn is given: the turn without replies, and the pictures as they are now."""

    given: Annotated[Turn, EphemeralValue]
    pictures: list[Picture]
    experts: Annotated[list[str], EphemeralValue]
    """Only these experts; all when left out."""


class ChatState(TypedDict):
    """What the turn's nodes see; `turn`, `pictures` and `facts` are what a session's checkpoint holds."""

    given: Annotated[Turn, EphemeralValue]
    experts: Annotated[list[str], EphemeralValue]
    pictures: list[Picture]
    turn: Turn
    facts: list[Fact]


ChatGraph = CompiledStateGraph[ChatState, None, ChatInput, ChatState]


def create_chat_graph(agent: RSAgent, checkpointer: BaseCheckpointSaver[str] | None = None) -> ChatGraph:
    """The graph of a turn. It streams `custom` parts: the agent's events with the picture's number, and replies.

    Args:
        agent: who looks at the pictures; the caller closes it.
        checkpointer: keeps the sessions; its serializer should allow `CHAT_TYPES`.
    """

    async def look(state: ChatState, runtime: Runtime[None]) -> dict[str, Any]:
        """Ask about each picture; a reply is written into the turn as soon as it is whole."""
        turn = state["given"].model_copy(deep=True)
        pictures = [picture.model_copy() for picture in state["pictures"]]
        for number in turn.pictures:
            picture = pictures[number - 1]
            runtime.stream_writer({"type": "picture", "picture": number})
            reply = await _look_at(agent, turn, number, picture.path, state.get("experts") or [], runtime)
            if picture.digest and picture.digest != reply.digest:
                runtime.stream_writer({"type": "changed", "picture": number})
            picture.digest = reply.digest
            turn.replies.append(reply)
        return {"turn": turn, "pictures": pictures}

    def settle(state: ChatState, runtime: Runtime[None]) -> dict[str, Any]:
        """Hold the replies against what earlier turns established, and keep what they establish."""
        turn = state["turn"].model_copy(deep=True)
        known = [fact for fact in state.get("facts", []) if fact.turn < turn.number]  # not of this turn, asked once more
        for reply in turn.replies:
            if turn.task == "caption":
                for fact in told_by(reply.said.get("object", ""), reply.digest, turn.number):
                    known = keep(known, fact)
                continue
            fact = fact_of(turn.question, reply.text, reply.digest, turn.number)
            if fact is None:
                continue
            earlier = held_against(fact, known)
            if earlier is not None:
                reply.earlier, reply.contradicts = in_words(*earlier), earlier[1]
            known = keep(known, fact)
        runtime.stream_writer({"type": "settled", "turn": turn})
        return {"turn": turn, "facts": known}

    graph: StateGraph[ChatState, None, ChatInput, ChatState] = StateGraph(ChatState, input_schema=ChatInput)
    graph.add_node("look", look)
    graph.add_node("settle", settle)
    graph.add_edge(START, "look")
    graph.add_edge("look", "settle")
    graph.add_edge("settle", END)
    return graph.compile(checkpointer=checkpointer, name="rsagent-chat")


async def _look_at(agent: RSAgent, turn: Turn, number: int, path: str, experts: list[str], runtime: Runtime[None]) -> Reply:
    """One picture's reply, its events passed on."""
    asks = turn.task == "answer"
    style = "detailed" if asks else turn.question
    tokens = 0
    outcome: Answer | Caption | None = None
    async with aclosing(agent.stream(path, turn.question if asks else None, style=style, experts=experts)) as events:
        async for event in events:
            if isinstance(event, (Answer, Caption)):
                outcome = event
            else:
                tokens += event["type"] == "token"
                runtime.stream_writer({**event, "picture": number})
    if outcome is None:
        raise RuntimeError("the agent's stream ended without a result")
    reply = reply_of(number, outcome, tokens)
    runtime.stream_writer({"type": "reply", "reply": reply})
    return reply

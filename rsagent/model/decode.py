"""Decoding: a batch of prompts, each for its own adapter, written together by `transformers`' generate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from rsagent.errors import EngineError
from rsagent.model.network import RSMoE
from rsagent.model.structured import SchemaLogits


@dataclass
class DecodeRequest:
    """One prompt of a batch.

    Attributes:
        prefix: `(tokens, llm_dim)`: the soft prompt, if there is one, and F_VLM.
        text: the readable prompt.
        adapter: which adapter writes.
        max_tokens: tokens written at most.
        on_piece: called with each piece of text, one a token (it may be empty); False stops this request. With beams it
            gets an empty piece a step, and the text at the end.
        json_schema: the form of the text, or None; not with beams.
        stopped: set when `on_piece` said so.
    """

    prefix: Tensor
    text: str
    adapter: str
    max_tokens: int
    on_piece: Callable[[str], bool]
    json_schema: str | None = None
    stopped: bool = field(default=False)


@torch.inference_mode()
def decode(network: RSMoE, requests: Sequence[DecodeRequest], *, beams: int = 1) -> None:
    """Write all requests at once, greedily, streaming; with `beams` > 1 each text comes whole at the end.

    Shorter prompts are padded on the left, before the visual prefix, so that every row writes at the same place. The
    adapters are mixed within the batch; none is ever switched.
    """
    embeds, mask = _left_padded(network, requests)
    tokenizer = network.tokenizer
    writer = _Writer(network, requests)
    enough: StoppingCriteria = _Enough(writer) if beams == 1 else _EnoughBeams(requests)
    options: dict[str, Any] = {"streamer": writer} if beams == 1 else {"num_beams": beams}
    schemas = [request.json_schema for request in requests]
    if any(schemas):
        if beams > 1:
            raise EngineError("a JSON schema and beams do not go together: leave --best out")
        vocabulary = int(network.llm.get_input_embeddings().weight.shape[0])
        options["logits_processor"] = LogitsProcessorList([SchemaLogits(tokenizer, vocabulary, schemas)])
    assert network.mixed is not None, "call network.mix() before decoding"
    with network.mixed.rows([request.adapter for request in requests], copies=beams):
        written = network.llm.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            max_new_tokens=max(request.max_tokens for request in requests),
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            stopping_criteria=StoppingCriteriaList([enough]),
            **options,
        )
    if beams > 1:
        for request, ids in zip(requests, written, strict=True):
            if not request.stopped:
                request.on_piece(str(tokenizer.decode(ids[: request.max_tokens], skip_special_tokens=True)))


def _left_padded(network: RSMoE, requests: Sequence[DecodeRequest]) -> tuple[Tensor, Tensor]:
    """Prefix, prompt and the token that begins an answer, `(batch, tokens, llm_dim)`, and the mask `(batch, tokens)`."""
    bos = network.tokenizer.bos_token_id
    rows: list[Tensor] = []
    for request in requests:
        words = cast("list[int]", network.tokenizer(request.text, add_special_tokens=False)["input_ids"])
        ids = torch.tensor([[*words, bos]], device=request.prefix.device)
        embedded = network.embed(ids)[0]
        rows.append(torch.cat([request.prefix.to(embedded.dtype), embedded]))
    longest = max(len(row) for row in rows)
    embeds = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
    mask = torch.zeros(len(rows), longest, dtype=torch.long, device=rows[0].device)
    for index, row in enumerate(rows):
        embeds[index, longest - len(row) :] = row
        mask[index, longest - len(row) :] = 1
    return embeds, mask


class _Writer(BaseStreamer):
    """Turns the tokens of all rows into text as they come; knows which rows are done."""

    def __init__(self, network: RSMoE, requests: Sequence[DecodeRequest]) -> None:
        self.tokenizer = network.tokenizer
        self.requests = requests
        self.ids: list[list[int]] = [[] for _ in requests]
        self.shown = [""] * len(requests)
        self.done = [False] * len(requests)

    def put(self, value: Tensor) -> None:
        """One token for each row. With `inputs_embeds`, generate announces no prompt tokens that would have to be skipped."""
        if value.ndim != 1 or len(value) != len(self.requests):
            return
        for row, token in enumerate(value.tolist()):
            if not self.done[row]:
                self._put(row, token)

    def _put(self, row: int, token: int) -> None:
        request = self.requests[row]
        if token == self.tokenizer.eos_token_id:
            self.done[row] = True
            return
        self.ids[row].append(token)
        text = str(self.tokenizer.decode(self.ids[row], skip_special_tokens=True))
        piece = "" if text.endswith("\ufffd") else text[len(self.shown[row]) :]
        self.shown[row] += piece
        if not request.on_piece(piece):
            request.stopped = True
        self.done[row] = request.stopped or len(self.ids[row]) >= request.max_tokens

    def end(self) -> None:
        """All rows are done."""


class _Enough(StoppingCriteria):
    """Stops the rows that have their tokens, or that nobody waits for any more."""

    def __init__(self, writer: _Writer) -> None:
        self.writer = writer

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        return torch.tensor(self.writer.done, device=input_ids.device)


class _EnoughBeams(StoppingCriteria):
    """The same for beams: `generate` shows the candidates of all requests, equally many of each, in order."""

    def __init__(self, requests: Sequence[DecodeRequest]) -> None:
        self.requests = requests

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        for request in self.requests:
            request.stopped = request.stopped or not request.on_piece("")
        done = [request.stopped or input_ids.shape[1] >= request.max_tokens for request in self.requests]
        return torch.tensor(done, device=input_ids.device).repeat_interleave(len(input_ids) // len(done))

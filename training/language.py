"""The loss of the language side: one forward pass from image features to the words of the LLM, for every stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsagent.model.image_encoder import ImageFeatures
from rsagent.model.network import RSMoE, visual_prefix
from rsagent.model.router import Routing
from rsagent.model.vlm_encoder import VLMFeatures
from rsagent.training.auxiliary import Grounding, ReadOut, known_maps, known_marks
from rsagent.training.batches import IGNORE
from rsagent.training.corpus import Stage
from rsagent.training.processes import sharded

_READ_OUT = 1.0  # weight of the answer read-out beside a token loss of about one
_GROUNDING = 0.2  # the loss of a whole grid of regions begins at about ten
_GATE = 0.2
_PARTS = 4
_PART_COST = 60  # tokens that a further pass through the LLM has to save: what it costs beside its tokens


def counted(batch: dict[str, Tensor]) -> Tensor:
    """What each part of the loss is averaged over in a batch of `Collator`: `(5,)`.

    The weights of all target tokens; the known answers; the rows' known numbers and known maps of the grounding; the known
    gate labels. Of several passes or devices the sum is what makes a divided batch cost the same as a whole one.
    """
    tokens = ((batch["labels"] != IGNORE).sum(1) * batch["weight"]).sum()
    known = (batch["answer"] >= 0, known_marks(batch["marks"]), known_maps(batch["maps"]), batch["needed"] >= 0)
    return torch.stack([tokens, *(found.sum().to(tokens.dtype) for found in known)])


class LanguageTask(nn.Module):
    """The network without its image encoder (features come from the store), and what a stage adds for training.

    What the base adds are the heads of `auxiliary`, which tell the queries directly what to look for.
    """

    def __init__(
        self, network: RSMoE, stage: Stage, adapters: list[str], answers: int, *, one_expert_a_pass: bool = False
    ) -> None:
        """`one_expert_a_pass`: compiled layers do not mix adapters within a batch, so each expert reads its rows by itself."""
        super().__init__()
        self.stage, self.adapters, self.one_expert_a_pass = stage, adapters, one_expert_a_pass
        self.vlm_encoder, self.router, self.llm = network.vlm_encoder, network.router, network.llm
        self._no_split_modules = getattr(network.llm, "_no_split_modules", None)  # FSDP shards the LLM layer by layer
        dim = network.config.vlm_encoder.dim
        self.read_out = ReadOut(dim, answers) if stage == "base" else None
        self.grounding = Grounding(dim) if stage == "base" else None

    def train(self, mode: bool = True) -> LanguageTask:
        """Training mode; the LLM stays in evaluation mode, in which PEFT mixes adapters within a batch (no dropout here)."""
        super().train(mode)
        if self.stage == "stage2":
            self.llm.eval()
        return self

    def forward(self, fine: Tensor, coarse: Tensor, counts: Tensor | None = None, **batch: Tensor) -> dict[str, Tensor]:
        """One batch of `Collator` -> `loss`, and detached parts of it for the log.

        `counts` is what `counted` gives of the whole batch, where this is a part of it.
        """
        tokens, answers, marks, maps, gates = (counted(batch) if counts is None else counts).clamp(min=1.0)
        both_encoders = self.stage in ("stage2", "composer")
        frozen: AbstractContextManager[Any] = torch.no_grad() if both_encoders else nullcontext()
        with frozen:
            image = self.vlm_encoder.look(ImageFeatures(fine, coarse))[batch["picture"]]
            seen, _ = self.vlm_encoder(image, batch["words"], batch["word_mask"])
        routing = self.router(seen) if self.stage == "stage2" else None
        parts = {"words": self._token_loss(seen, routing, batch) / tokens}
        if self.read_out is not None:
            parts["read_out"] = _READ_OUT * self.read_out.loss(seen, batch["answer"]) / answers
        if self.grounding is not None:
            numbers, things = self.grounding.loss(seen, batch["marks"], batch["maps"])
            parts["grounding"] = _GROUNDING * (numbers / marks + things / maps)
        if routing is not None:
            parts["gate"] = _GATE * _gate_loss(routing.gate, batch["needed"]) / gates
        loss = torch.stack(list(parts.values())).sum()
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def _token_loss(self, seen: VLMFeatures, routing: Routing | None, batch: dict[str, Tensor]) -> Tensor:
        """Weighted sum over target tokens. Rows come sorted by length, and a few parts waste less on padding than one."""
        total = seen.projected.new_zeros(())
        for part, length in self._parts(batch, seen.projected.shape[1]):
            told = told_places(batch["labels"][part, :length])
            labels = batch["labels"][part][:, told]
            logits = self._logits(seen, routing, batch, part, length, told)
            chosen = labels != IGNORE
            losses = F.cross_entropy(logits[chosen].float(), labels[chosen], reduction="none")
            weight = batch["weight"][part][:, None].expand_as(labels)[chosen]
            total = total + (losses * weight).sum()
        return total

    def _parts(self, batch: dict[str, Tensor], prefix: int) -> Iterator[tuple[slice | Tensor, int]]:
        """The rows of each pass through the LLM, and how many tokens of text its longest has."""
        if self.one_expert_a_pass:
            for index in range(len(self.adapters)):
                rows = (batch["adapter"] == index).nonzero()[:, 0]
                for part, length in even_parts(batch["segment"][rows], prefix):
                    yield rows[part], length
        elif sharded():  # layers are gathered in every pass, so all devices have to make as many: two, whatever the rows are
            yield from halves(batch["segment"])
        else:
            yield from even_parts(batch["segment"], prefix)

    def _logits(
        self,
        seen: VLMFeatures,
        routing: Routing | None,
        batch: dict[str, Tensor],
        part: slice | Tensor,
        length: int,
        told: Tensor,
    ) -> Tensor:
        ids, segment = batch["ids"][part, :length], batch["segment"][part, :length]
        prefix = seen.projected[part]
        extra: dict[str, Any] = {}
        if routing is not None:  # the adapters of stage II are the experts, in the router's order
            chosen = batch["adapter"][part]
            soft_prompts = routing.soft_prompts[part][torch.arange(len(chosen), device=chosen.device), chosen]
            prefix = visual_prefix(prefix, soft_prompts)
            if self.one_expert_a_pass:
                self._speak_as(self.adapters[int(chosen[0])])
            else:
                extra["adapter_names"] = [self.adapters[int(index)] for index in chosen]
        segments = torch.cat([torch.zeros(prefix.shape[:2], dtype=segment.dtype, device=ids.device), segment], 1)
        read, end = segments.clone(), prefix.shape[1]
        read[:, end - seen.projected.shape[1] : end].masked_fill_(batch["hidden"][part][:, None], -1)  # its places are kept
        embeds = torch.cat([prefix, self.llm.get_input_embeddings()(ids).to(prefix.dtype)], 1)
        output = self.llm(
            inputs_embeds=embeds,
            attention_mask=block_mask(read),
            position_ids=positions(segments),
            use_cache=False,
            logits_to_keep=told + end,  # nothing is learnt from the others, and a large vocabulary makes each of them dear
            **extra,
        )
        return output.logits

    def _speak_as(self, expert: str) -> None:
        """Let one expert speak next; PEFT takes him for the only one that is trained, so what was trained is said again."""
        trained = [parameter for parameter in self.llm.parameters() if parameter.requires_grad]
        cast(Any, self.llm).set_adapter(expert)
        for parameter in trained:
            parameter.requires_grad_(True)


def halves(segment: Tensor) -> Iterator[tuple[slice, int]]:
    """The rows of a sorted batch in two parts of as many rows, each with the tokens of its longest; see `even_parts`."""
    first = int((segment < 0).all(1).sum())
    middle = (first + len(segment) + 1) // 2
    for part in (slice(first, middle), slice(middle, len(segment))):
        if part.start < part.stop:
            yield part, int((segment[part] >= 0).sum(1).max())


def even_parts(segment: Tensor, prefix: int) -> Iterator[tuple[slice, int]]:
    """The rows of a sorted batch in parts, each with the tokens of its longest; rows that are only looked at are in none.

    Captions are several times as long as answers, so one part would be padding for the most part. How many parts there are,
    at most `_PARTS`, and where they end makes the tokens that go through the LLM the fewest.

    Args:
        segment: `(rows, tokens)`, as `Collator` gives it.
        prefix: tokens before those of the text.
    """
    lengths: list[int] = (segment >= 0).sum(1).tolist()
    count = len(lengths)
    cuts = [i for i in range(count) if lengths[i] and (i == 0 or lengths[i] != lengths[i - 1])]  # equal rows stay together
    # by the row where a part begins and how many parts may follow: the tokens from there on, and where this part ends
    least = {(count, left): (0, count) for left in range(_PARTS + 1)}
    for index in range(len(cuts) - 1, -1, -1):
        for left in range(1, _PARTS + 1):
            least[cuts[index], left] = min(
                ((end - cuts[index]) * (prefix + lengths[end - 1]) + _PART_COST + least[end, left - 1][0], end)
                for end in [*cuts[index + 1 :], count]
                if (end, left - 1) in least
            )
    start, left = (cuts[0] if cuts else count), _PARTS
    while start < count:
        end = least[start, left][1]
        yield slice(start, end), lengths[end - 1]
        start, left = end, left - 1


def told_places(labels: Tensor) -> Tensor:
    """The places, in order, at which some row has a label: `(rows, tokens)` -> `(places,)`."""
    return (labels != IGNORE).any(0).nonzero()[:, 0]


def _gate_loss(gate: Tensor, needed: Tensor) -> Tensor:
    known = needed >= 0
    if not bool(known.any()):
        return gate.sum() * 0.0
    return F.binary_cross_entropy_with_logits(gate.float()[known], needed[known], reduction="sum")


def block_mask(segments: Tensor) -> Tensor:
    """Who may attend to whom: `(rows, tokens)` segments -> `(rows, 1, tokens, tokens)`, 0 where allowed, very low elsewhere.

    A token sees what comes before it in segment 0 (prefix and prompt) and in its own segment; -1 is seen by nobody.
    """
    tokens = segments.shape[1]
    earlier = torch.ones(tokens, tokens, dtype=torch.bool, device=segments.device).tril()
    asks, seen = segments[:, :, None], segments[:, None, :]
    allowed = earlier & (seen >= 0) & ((seen == 0) | (seen == asks))
    allowed = allowed | torch.eye(tokens, dtype=torch.bool, device=segments.device)  # a row of padding needs something
    return torch.where(allowed, 0.0, -1e4)[:, None]


def positions(segments: Tensor) -> Tensor:
    """Position of each token, `(rows, tokens)`: counted over what is present, and each target starts where the prompt ended."""
    prompt = segments == 0
    count = prompt.cumsum(1) - 1
    ends = prompt.sum(1, keepdim=True)
    place = count.clamp(min=0)
    for index in range(1, int(segments.max()) + 1):
        own = segments == index
        place = torch.where(own, ends + own.cumsum(1) - 1, place)
    return place

"""Self-critical training of the composer: it writes, CIDEr-D judges, and what scored better than its fellows becomes likelier.

Trained on people's sentences alone, a small network hedges between them, and a mixture of two good sentences scores less than
either. So the composer draws a few captions of a training picture (Rennie et al., 2017), and each is judged against the mean
score of the others, which needs no second reading (Luo, 2020). A share of the ordinary loss keeps its English.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsagent.model.image_encoder import ImageFeatures
from rsagent.model.network import RSMoE
from rsagent.training.batches import IGNORE, Collator
from rsagent.training.consensus import Scorer
from rsagent.training.corpus import Corpus, Row
from rsagent.training.language import block_mask, positions, told_places

_MOST_TOKENS = 40
Segments = tuple[list[int], list[int], list[int], list[float], list[float]]
"""Of one row: token ids, segments, labels; how much better each token's text was than its fellows; 1 where people wrote it."""


class CriticalTask(nn.Module):
    """The frozen encoders, the LLM with the composer's adapter, and the judges: a scorer by instruction."""

    def __init__(self, network: RSMoE, judges: Mapping[str, Scorer], captions: int, plain: float) -> None:
        super().__init__()
        self.vlm_encoder, self.llm = network.vlm_encoder, network.llm
        self.tokenizer, self.judges = network.tokenizer, dict(judges)
        self.captions, self.plain = captions, plain

    def forward(self, fine: Tensor, coarse: Tensor, picture: Tensor, words: Tensor, word_mask: Tensor, rows: list[Row]) -> Any:
        """One batch of `CriticalCollator` -> `loss`; for the log, the mean `score` (0 to 10) and the ordinary loss `plain`."""
        with torch.no_grad():
            image = self.vlm_encoder.look(ImageFeatures(fine, coarse))[picture]
            prefix = self.vlm_encoder(image, words, word_mask)[0].projected
            prompts = [self._ids(row.prompt) for row in rows]
            people = [[[*self._ids(caption), self._eos] for caption in sorted(set(row.targets))] for row in rows]
            drawn = self._draw(prefix, prompts, max(len(caption) for captions in people for caption in captions))
        scores = torch.tensor([self._judge(row, said) for row, said in zip(rows, drawn, strict=True)])
        others = (scores.sum(1, keepdim=True) - scores) / (self.captions - 1)
        better = scores - others  # `(rows, captions)`, mean 0 in each row
        own, plain = self._losses(prefix, prompts, drawn, better.tolist(), people)
        return {"loss": self.plain * plain + own, "score": scores.mean(), "plain": plain.detach()}

    @property
    def _eos(self) -> int:
        return cast(int, self.tokenizer.eos_token_id)

    def _ids(self, text: str) -> list[int]:
        return list(cast("list[int]", self.tokenizer(text, add_special_tokens=False)["input_ids"]))

    def _draw(self, prefix: Tensor, prompts: Sequence[list[int]], tokens: int) -> list[list[list[int]]]:
        """By row `captions` texts as token ids, of at most `tokens`, the end included where it was reached."""
        bos = cast(int, self.tokenizer.bos_token_id)
        embed = self.llm.get_input_embeddings()
        ids = [torch.tensor([*prompt, bos], device=prefix.device) for prompt in prompts]
        rows = [torch.cat([seen, embed(one)]) for seen, one in zip(prefix, ids, strict=True)]
        longest = max(len(row) for row in rows)
        embeds = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        mask = torch.stack([F.pad(row.new_ones(len(row), dtype=torch.long), (longest - len(row), 0)) for row in rows])
        # what suits training, compiled layers and eager attention, is slow where one token a row is read
        with torch.compiler.set_stance("force_eager"), _attention(self.llm, "sdpa"):
            read = self._read_once(embeds[:, :-1], mask[:, :-1])
            written = cast(Any, self.llm).generate(
                # what was read is remembered, so of the ids only the last are looked at
                input_ids=torch.full((len(rows) * self.captions, longest), bos, device=prefix.device),
                attention_mask=mask.repeat_interleave(self.captions, 0), past_key_values=read, do_sample=True, top_k=0,
                max_new_tokens=min(tokens, _MOST_TOKENS), pad_token_id=self.tokenizer.pad_token_id, eos_token_id=self._eos,
            )[:, longest:]  # fmt: skip
        ended = [_until(text, self._eos) for text in written.tolist()]
        return [ended[start : start + self.captions] for start in range(0, len(ended), self.captions)]

    def _read_once(self, embeds: Tensor, mask: Tensor) -> Any:
        """The keys and values of each row's prompt, read once and kept for each of its captions."""
        places = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.llm(
            inputs_embeds=embeds, attention_mask=mask, position_ids=places, use_cache=True, logits_to_keep=1
        )  # fmt: skip
        output.past_key_values.batch_repeat_interleave(self.captions)
        return output.past_key_values

    def _judge(self, row: Row, said: Sequence[list[int]]) -> list[float]:
        texts = [(str(self.tokenizer.decode(ids, skip_special_tokens=True)), ids[-1:] == [self._eos]) for ids in said]
        return self.judges[row.instruction].scores(texts, row.targets)

    def _losses(
        self,
        prefix: Tensor,
        prompts: Sequence[list[int]],
        drawn: Sequence[Sequence[list[int]]],
        better: Sequence[Sequence[float]],
        people: Sequence[Sequence[list[int]]],
    ) -> tuple[Tensor, Tensor]:
        """The loss of a drawn token, by how much `better` its text was, and of one that people wrote, in one pass."""
        bos = cast(int, self.tokenizer.bos_token_id)
        parts = [_segments(*row, bos) for row in zip(prompts, drawn, better, people, strict=True)]
        device = prefix.device
        ids, segment, labels, worth, told = (
            _padded([part[field] for part in parts], filler, device) for field, filler in enumerate((0, -1, IGNORE, 0.0, 0.0))
        )
        segments = torch.cat([torch.zeros(prefix.shape[:2], dtype=segment.dtype, device=device), segment], 1)
        places = told_places(labels)
        output = self.llm(
            inputs_embeds=torch.cat([prefix, self.llm.get_input_embeddings()(ids).to(prefix.dtype)], 1),
            attention_mask=block_mask(segments), position_ids=positions(segments),
            logits_to_keep=places + prefix.shape[1], use_cache=False,
        )  # fmt: skip
        labels, worth, told = labels[:, places], worth[:, places], told[:, places]
        chosen = labels != IGNORE
        losses = F.cross_entropy(output.logits[chosen].float(), labels[chosen], reduction="none")
        worth, told = worth[chosen], told[chosen]
        return (losses * worth).sum() / (1 - told).sum(), (losses * told).sum() / told.sum()


class CriticalCollator(Collator):
    """Rows -> features, instructions, and the rows themselves: what is written is only known during the step."""

    def __call__(self, samples: Sequence[Sequence[Row]]) -> dict[str, Any]:  # type: ignore[override]
        """`fine`, `coarse`, `picture`, `words` and `word_mask` as `Collator` gives them, in the order of `rows`."""
        rows = [row for sample in samples for row in sample]
        return {**self.looked_at(rows), "rows": rows}


def judges(corpus: Corpus, whole: Corpus) -> dict[str, Scorer]:
    """A scorer for each style of `corpus`, by its caption instruction; rarity is counted over all training images."""
    return {
        corpus.prompts.caption_instruction(style): Scorer([picture.captions for picture in whole.pictures[style]])
        for style, pictures in corpus.pictures.items()
        if pictures
    }


@contextmanager
def _attention(llm: Any, kind: str) -> Iterator[None]:
    """The LLM with another implementation of attention for a while."""
    before = llm.config._attn_implementation
    llm.set_attn_implementation(kind)
    try:
        yield
    finally:
        llm.set_attn_implementation(before)


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end) + 1] if end in ids else ids


def _segments(
    prompt: list[int], drawn: Sequence[list[int]], better: Sequence[float], people: Sequence[list[int]], bos: int
) -> Segments:
    ids, segment = list(prompt), [0] * len(prompt)
    labels, worth, told = [IGNORE] * len(prompt), [0.0] * len(prompt), [0.0] * len(prompt)
    texts = [*((text, value, 0.0) for text, value in zip(drawn, better, strict=True)), *((text, 0.0, 1.0) for text in people)]
    for index, (text, value, by_people) in enumerate(texts):
        ids += [bos, *text[:-1]]
        segment += [index + 1] * len(text)
        labels += text
        worth += [value] * len(text)
        told += [by_people] * len(text)
    return ids, segment, labels, worth, told


def _padded(rows: Sequence[Sequence[float]], filler: float, device: torch.device) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows], device=device)

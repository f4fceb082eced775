"""Self-critical training of the composer: it writes, CIDEr-D judges, and what scored better than its fellows becomes likelier.

Trained on people's sentences alone, a small network hedges between them, and a mixture of two good sentences scores less than
either. So the composer draws a few captions of a training picture (Rennie et al., 2017), and each is judged against the mean
score of the others, which needs no second reading (Luo, 2020). A share of the ordinary loss keeps its English.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsagent.model.image_encoder import ImageFeatures
from rsagent.model.network import RSMoE
from rsagent.training.batches import IGNORE, Collator
from rsagent.training.consensus import Scorer
from rsagent.training.corpus import Corpus, Row
from rsagent.training.language import block_mask, positions

_MOST_TOKENS = 40
Segments = tuple[list[int], list[int], list[int], list[float]]
"""Of one row: token ids, segments, labels, and the weight of each token."""


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
            drawn = self._draw(prefix, prompts)
        scores = torch.tensor([self._judge(row, said) for row, said in zip(rows, drawn, strict=True)])
        others = (scores.sum(1, keepdim=True) - scores) / (self.captions - 1)
        better = scores - others  # `(rows, captions)`, mean 0 in each row
        own = self._log_probabilities(prefix, prompts, drawn, better.tolist())
        people = [[[*self._ids(caption), self._eos] for caption in sorted(set(row.targets))] for row in rows]
        plain = -self._log_probabilities(prefix, prompts, people, [[1.0] * len(captions) for captions in people])
        return {"loss": self.plain * plain - own, "score": scores.mean(), "plain": plain.detach()}

    @property
    def _eos(self) -> int:
        return cast(int, self.tokenizer.eos_token_id)

    def _ids(self, text: str) -> list[int]:
        return list(cast("list[int]", self.tokenizer(text, add_special_tokens=False)["input_ids"]))

    def _draw(self, prefix: Tensor, prompts: Sequence[list[int]]) -> list[list[list[int]]]:
        """By row `captions` texts as token ids, the end included where it was reached."""
        bos = cast(int, self.tokenizer.bos_token_id)
        embed = self.llm.get_input_embeddings()
        ids = [torch.tensor([*prompt, bos], device=prefix.device) for prompt in prompts]
        rows = [torch.cat([seen, embed(one)]) for seen, one in zip(prefix, ids, strict=True)]
        longest = max(len(row) for row in rows)
        embeds = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        mask = torch.stack([F.pad(row.new_ones(len(row), dtype=torch.long), (longest - len(row), 0)) for row in rows])
        with torch.compiler.set_stance("force_eager"):  # layers that were compiled were so for training
            written = cast(Any, self.llm).generate(
                inputs_embeds=embeds, attention_mask=mask, max_new_tokens=_MOST_TOKENS, num_return_sequences=self.captions,
                do_sample=True, top_k=0, pad_token_id=self.tokenizer.pad_token_id, eos_token_id=self._eos,
            )  # fmt: skip
        ended = [_until(text, self._eos) for text in written.tolist()]
        return [ended[start : start + self.captions] for start in range(0, len(ended), self.captions)]

    def _judge(self, row: Row, said: Sequence[list[int]]) -> list[float]:
        texts = [(str(self.tokenizer.decode(ids, skip_special_tokens=True)), ids[-1:] == [self._eos]) for ids in said]
        return self.judges[row.instruction].scores(texts, row.targets)

    def _log_probabilities(
        self, prefix: Tensor, prompts: Sequence[list[int]], texts: Sequence[Sequence[list[int]]], weights: Sequence[list[float]]
    ) -> Tensor:
        """The weighted mean log probability of a token, over all texts of all rows, each behind its row's prompt."""
        bos = cast(int, self.tokenizer.bos_token_id)
        parts = [_segments(prompt, said, weight, bos) for prompt, said, weight in zip(prompts, texts, weights, strict=True)]
        device = prefix.device
        ids, segment, labels, weight = (
            _padded([part[field] for part in parts], filler, device) for field, filler in enumerate((0, -1, IGNORE, 0.0))
        )
        segments = torch.cat([torch.zeros(prefix.shape[:2], dtype=segment.dtype, device=device), segment], 1)
        output = self.llm(
            inputs_embeds=torch.cat([prefix, self.llm.get_input_embeddings()(ids).to(prefix.dtype)], 1),
            attention_mask=block_mask(segments), position_ids=positions(segments), logits_to_keep=ids.shape[1], use_cache=False,
        )  # fmt: skip
        chosen = labels != IGNORE
        spoken = -F.cross_entropy(output.logits[chosen].float(), labels[chosen], reduction="none")
        return (spoken * weight[chosen]).mean()


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


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end) + 1] if end in ids else ids


def _segments(prompt: list[int], texts: Sequence[list[int]], weights: Sequence[float], bos: int) -> Segments:
    ids, segment = list(prompt), [0] * len(prompt)
    labels, weight = [IGNORE] * len(prompt), [0.0] * len(prompt)
    for index, (text, worth) in enumerate(zip(texts, weights, strict=True)):
        ids += [bos, *text[:-1]]
        segment += [index + 1] * len(text)
        labels += text
        weight += [worth] * len(text)
    return ids, segment, labels, weight


def _padded(rows: Sequence[Sequence[float]], filler: float, device: torch.device) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows], device=device)

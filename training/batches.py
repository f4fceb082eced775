"""Rows become tensors: features, instructions, and the LLM's sequences with several targets behind one prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from rsagent.training.auxiliary import map_grid, mark_grid
from rsagent.training.corpus import Corpus, Row, Stage
from rsagent.training.features import FeatureStore

IGNORE = -100
_ANSWER_WEIGHT = 3.0  # an answer has few tokens, and each counts
_NOTHING = ("",)
MAX_TOKENS = 96
"""Tokens of a prompt and of a target; longer ones are cut."""


class Samples(Dataset[list[Row]]):
    """The samples of one stage, as many as the recipe asks for."""

    def __init__(self, corpus: Corpus, stage: Stage, count: int) -> None:
        self.corpus, self.count = corpus, count
        self.stage: Stage = stage

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> list[Row]:
        return self.corpus.sample(index, self.stage)


@dataclass
class Stores:
    """Two feature stores read as one: real pictures first, then scenes."""

    parts: Sequence[FeatureStore]

    def read(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Fine and coarse features of some rows."""
        fine: list[Tensor] = []
        coarse: list[Tensor] = []
        for row in rows:
            for part in self.parts:
                if row < len(part):
                    features = part.read([row])
                    fine.append(features.fine)
                    coarse.append(features.coarse)
                    break
                row -= len(part)
            else:
                raise IndexError(f"row {row} lies behind the last of the stores")
        return torch.cat(fine), torch.cat(coarse)


class Collator:
    """Lists of rows -> one batch, sorted by length, so that the network can work through it in even pieces.

    A batch holds:
        fine, coarse: features of the distinct pictures. picture: `(rows,)` which picture each row reads.
        words, word_mask: `(rows, words)` the instructions.
        ids, segment, labels: `(rows, tokens)` the LLM's text: segment 0 is the prompt, k the k-th target, -1 padding; a
            target sees the prompt and itself alone.
        weight: `(rows,)` weight of a target token. adapter: `(rows,)` index into `adapters`. hidden: `(rows,)` whether the
            LLM reads the row without F_VLM.
        needed: `(rows, experts)` gate labels, -1 where there are none. answer: `(rows,)` answer class, or -1.
        marks: `(rows, 2, queries)` how many subjects and others lie in each query's region, and maps: `(rows, MAPS, queries)`
            which kinds and colours stand there; nan where nobody knows.
    """

    def __init__(
        self,
        stores: Stores,
        tokenizer: PreTrainedTokenizerFast,
        answers: Sequence[str],
        experts: Sequence[str],
        adapters: Sequence[str],
        max_words: int,
        queries_side: int,
        words_tokenizer: PreTrainedTokenizerFast | None = None,
        *,
        every_adapter: bool = False,
    ) -> None:
        """`words_tokenizer` is the Q-Former's, where it is not the LLM's; `queries_side` matters in `base` alone.

        With `every_adapter` a batch has a further row for each adapter that weighs nothing: where the network is sharded, the
        devices have to agree on what has a gradient, though chance left an expert out on one of them.
        """
        self.every_adapter = every_adapter
        self.words_tokenizer = words_tokenizer or tokenizer
        self.stores, self.tokenizer, self.max_words, self.side = stores, tokenizer, max_words, queries_side
        self.answers = {answer: index for index, answer in enumerate(answers)}
        self.experts, self.adapters = list(experts), list(adapters)

    def __call__(self, samples: Sequence[Sequence[Row]]) -> dict[str, Tensor]:
        """Put the rows of all samples into one batch."""
        rows = [row for sample in samples for row in sample]
        if self.every_adapter:
            rows += [Row(rows[0].image, rows[0].instruction, "", _NOTHING, name, "caption") for name in self.adapters]
        built = [(row, *self._sequence(row)) for row in rows]
        built.sort(key=lambda item: len(item[1]))
        rows = [item[0] for item in built]
        return {
            **self.looked_at(rows),
            "ids": _pad([item[1] for item in built], cast(int, self.tokenizer.pad_token_id)),
            "segment": _pad([item[2] for item in built], -1),
            "labels": _pad([item[3] for item in built], IGNORE),
            "weight": torch.tensor([_weight(row) for row in rows]),
            "adapter": torch.tensor([self.adapters.index(row.adapter) for row in rows]),
            "hidden": torch.tensor([row.hidden for row in rows]),
            "needed": torch.tensor([self._needed(row) for row in rows]),
            "answer": torch.tensor([self.answers.get(row.answer, -1) if row.answer else -1 for row in rows]),
            "marks": torch.stack([torch.stack([mark_grid(where, self.side) for where in (r.subject, r.other)]) for r in rows]),
            "maps": torch.stack([map_grid(row.things, row.masses, self.side) for row in rows]),
        }

    def looked_at(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """What the VLM encoder reads: fine, coarse, picture, words and word_mask."""
        images = sorted({row.image for row in rows})
        where = {image: index for index, image in enumerate(images)}
        fine, coarse = self.stores.read(images)
        words = self.words_tokenizer(
            [row.instruction for row in rows],
            padding=True, truncation=True, max_length=self.max_words, return_tensors="pt", padding_side="right",
        )  # fmt: skip
        return {
            "fine": fine,
            "coarse": coarse,
            "picture": torch.tensor([where[row.image] for row in rows]),
            "words": torch.as_tensor(words["input_ids"]),
            "word_mask": torch.as_tensor(words["attention_mask"]),
        }

    def _sequence(self, row: Row) -> tuple[list[int], list[int], list[int]]:
        """Token ids, segments and labels; a label stands where its token is predicted. Nothing where nothing is to be told."""
        if not row.targets:
            return [], [], []
        ids = self._tokens(row.prompt)[-MAX_TOKENS:]
        segment, labels = [0] * len(ids), [IGNORE] * len(ids)
        bos, eos = cast(int, self.tokenizer.bos_token_id), cast(int, self.tokenizer.eos_token_id)
        for index, target in enumerate(row.targets):
            tokens = self._tokens(target)[:MAX_TOKENS]
            ids += [bos, *tokens]
            labels += [*tokens, eos]
            segment += [index + 1] * (len(tokens) + 1)
        return ids, segment, labels

    def _tokens(self, text: str) -> list[int]:
        """Without what some tokenizers put around a text by themselves; begin and end are set here, as in decoding."""
        return list(cast("list[int]", self.tokenizer(text, add_special_tokens=False)["input_ids"]))

    def _needed(self, row: Row) -> list[float]:
        if not row.needed:
            return [-1.0] * len(self.experts)
        return [float(expert in row.needed) for expert in self.experts]


def _weight(row: Row) -> float:
    if row.targets == _NOTHING:
        return 0.0
    return _ANSWER_WEIGHT if row.task == "answer" else 1.0


def _pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])

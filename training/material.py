"""What every stage of the language side is trained on: the words, the frozen features of every picture, the tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from rsagent.prompts import load_prompts
from rsagent.training.batches import Stores
from rsagent.training.corpus import Corpus, answer_vocabulary, corpus_texts, read_corpus
from rsagent.training.features import AnyEncoder, feature_store
from rsagent.training.fresh import load_or_train_tokenizer
from rsagent.training.pictures import augment, normalise, picture_bank, picture_key
from rsagent.training.recipe import Recipe
from rsagent.training.run_folder import shared_cache
from rsagent.training.scene_store import scene_batches, scene_key, scene_texts

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many of it are, and of how many."""


@dataclass
class Material:
    """What every stage of the language side needs: the words, the frozen features, the tokenizer."""

    corpus: Corpus
    stores: Stores
    tokenizer: PreTrainedTokenizerFast
    answers: list[str]
    words_tokenizer: PreTrainedTokenizerFast | None = None


def prepare(recipe: Recipe, data: Path, out: Path, encoder: AnyEncoder, progress: Progress) -> Material:
    """Read the corpus and encode every picture once; what an earlier run left in `out/cache` is used again.

    Raises:
        UserError: a data set is missing or damaged.
    """
    with shared_cache(out / "cache") as cache:
        scenes = recipe.scenes
        texts = scene_texts(scenes, cache, lambda done, count: progress("scene texts", done, count)) if scenes else []
        corpus, files = read_corpus(
            data, load_prompts(), recipe.network.experts, texts,
            views=recipe.views, scene_share=recipe.first_stage.scene_share, seed=recipe.seed, only=recipe.captions,
        )  # fmt: skip
        lost: set[int] = set()
        bank = picture_bank(files, recipe.image_size, cache, lambda done, count: progress("pictures", done, count), lost)
        corpus = corpus.without({row * recipe.views for row in lost})
        seed = recipe.seed if recipe.views > 1 else 0  # plain views are the same for every seed
        real = feature_store(
            encoder, f"real {recipe.views} {seed} {picture_key(files, recipe.image_size)}", len(files) * recipe.views,
            lambda: _views(bank, recipe.views, recipe.image_size, seed), cache,
            lambda done, count: progress("features", done, count),
        )  # fmt: skip
        stores = [real]
        if recipe.scenes:
            stores += [feature_store(
                encoder, f"scenes {scene_key()}", recipe.scenes, lambda: scene_batches(recipe.scenes), cache,
                lambda done, count: progress("scene features", done, count),
            )]  # fmt: skip
    tokenizer = load_or_train_tokenizer(
        [*corpus_texts(corpus), *_prompt_texts(corpus)], recipe.network.vocabulary, out / "tokenizer"
    )
    return Material(corpus, Stores(stores), tokenizer, answer_vocabulary(corpus))


def _views(bank: Any, views: int, size: int, seed: int) -> Iterator[Tensor]:
    """Each picture's views in a row, the plain one first: `(16 * views, 3, size, size)` at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(bank), 16):
        plain = normalise(torch.tensor(bank[start : start + 16]))
        seen = [plain, *(augment(plain, size, generator, smallest=0.6) for _ in range(views - 1))]
        yield torch.stack(seen, 1).flatten(0, 1)


def _prompt_texts(corpus: Corpus) -> Iterator[str]:
    """The fixed words of the prompts, often enough that the tokenizer knows them whole."""
    for style in corpus.prompts.styles.values():
        for expert in corpus.experts:
            yield from [corpus.prompts.expert_text(expert, "caption", style)] * 50
        yield from [corpus.prompts.composer_text(style, theme="", objects="", relations="")] * 50

"""Parts that have no pretrained weights to start from: the tokenizer and the small Llama of the embedded default."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from rsagent.model.config import ImageEncoderConfig, RouterConfig, RSMoEConfig, VLMEncoderConfig
from rsagent.model.network import RSMoE
from rsagent.training.recipe import Recipe

PAD, BOS, EOS = "<pad>", "<s>", "</s>"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `vocabulary` tokens, lower case, trained on every corpus at once.

    A tokenizer that has seen only rendered captions breaks the words of real ones into fragments.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def fresh_network(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, styles: list[str]) -> RSMoE:
    """The network of a recipe with untrained weights, except that nothing is decided about the image encoder's."""
    sizes = recipe.network
    torch.manual_seed(recipe.seed)
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=sizes.llm_dim,
            num_hidden_layers=sizes.llm_layers,
            num_attention_heads=sizes.llm_heads,
            num_key_value_heads=sizes.llm_heads,
            intermediate_size=sizes.llm_mlp,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            attn_implementation="eager",
        )
    )
    return RSMoE(fresh_config(recipe, len(tokenizer), styles), cast(PreTrainedModel, llm), tokenizer)


def fresh_config(recipe: Recipe, vocabulary: int, styles: list[str]) -> RSMoEConfig:
    """The configuration of that network; `vocabulary` counts the tokens of its tokenizer."""
    sizes = recipe.network
    return RSMoEConfig(
        name=recipe.name,
        image_encoder=ImageEncoderConfig(size=recipe.image_size),
        vlm_encoder=VLMEncoderConfig(
            queries_side=sizes.queries_side,
            dim=sizes.qformer_dim,
            token_dim=sizes.token_dim,
            layers=sizes.qformer_layers,
            heads=sizes.qformer_heads,
            mlp=sizes.qformer_mlp,
            merge=sizes.merge,
            vocabulary=vocabulary,
        ),
        router=RouterConfig(soft_prompts=sizes.soft_prompts, rank=sizes.router_rank, reads=sizes.router_reads),
        llm_dim=sizes.llm_dim,
        experts=sizes.experts,
        composer_styles=styles,
    )


def load_or_train_tokenizer(texts: Iterable[str], vocabulary: int, folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of an earlier run in `folder`, or a new one, which is written there."""
    if (folder / "tokenizer.json").exists():
        return cast(PreTrainedTokenizerFast, PreTrainedTokenizerFast.from_pretrained(folder))
    tokenizer = train_tokenizer(texts, vocabulary)
    tokenizer.save_pretrained(folder)
    return tokenizer

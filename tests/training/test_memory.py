"""What a pass is expected to hold, against what is counted on a network of every part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rsagent.model.checkpoint import EMBEDDED, load_checkpoint
from rsagent.model.network import SINGLE
from rsagent.training.batches import Collator, Stores
from rsagent.training.corpus import Corpus
from rsagent.training.features import FeatureStore
from rsagent.training.language import LanguageTask
from rsagent.training.llm_sizes import LLMSizes, read_sizes
from rsagent.training.memory import kept_bytes, pass_bytes, peak_bytes, resident_bytes
from rsagent.training.placement import adapt_llm, adapt_qformer
from rsagent.training.pretrained import pretrained_network
from rsagent.training.recipe import Recipe
from tests.training.kept import bytes_kept

SIZES = [
    LLMSizes("llama", 288, 4, 9, 3, 768, 4096, tied=True),
    LLMSizes("llama", 128, 2, 4, 4, 384, 16384, tied=True),
    LLMSizes("phi", 192, 3, 4, 4, 768, 4096, tied=False),
]


def begun(sizes: LLMSizes, folder: Path) -> tuple[Any, Recipe]:
    """The default's encoder before an untrained LLM, with stage I's LoRA."""
    raw = sizes.config()
    config = AutoConfig.for_model(raw.pop("model_type"), **raw)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    start = load_checkpoint(EMBEDDED, adapters=[])
    start.tokenizer.save_pretrained(folder)
    run = {"samples": 8, "batch": 8}
    weights = {"name": "t", "scenes": 0, "start": "tiny", "weights": {"llm": str(folder)}, "optim": run}
    recipe = Recipe.model_validate({**weights, "composer": {"reports": 4}})
    network = pretrained_network(recipe, start, [])
    network.requires_grad_(False)
    adapt_llm(network, recipe.network)
    adapt_qformer(network, recipe.network)
    return network, recipe


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{sizes.architecture}-{sizes.width}")
def test_a_pass_keeps_what_is_expected(sizes: LLMSizes, corpus: Corpus, tmp_path: Path):
    """Within a tenth, with padding, for the LLM, the logits and the Q-Former together."""
    network, recipe = begun(sizes, tmp_path)
    store = FeatureStore(*(torch.zeros(16, dim, side, side).half().numpy() for dim, side in ((112, 14), (1280, 7))))
    words = network.config.vlm_encoder.max_words
    collate = Collator(Stores([store]), network.tokenizer, [], recipe.network.experts, [SINGLE], words, 6)
    batch = collate([corpus.sample(index, "stage1") for index in range(8)])
    expected = kept_bytes(network, read_sizes(network.llm.config.to_dict()), batch, recipe.network.lora_rank)
    task = LanguageTask(network, "stage1", [SINGLE], 0).train()
    assert bytes_kept(task, lambda: task(**batch)) == pytest.approx(expected, rel=0.1)
    saving, whole = (pass_bytes(network, batch, recipe.network.lora_rank, checkpointing=saves) for saves in (True, False))
    assert saving < whole and expected < whole


def test_a_process_holds_no_more_than_its_peak():
    now = resident_bytes()
    assert now is None or 1e7 < now <= peak_bytes() * 1.05

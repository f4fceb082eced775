"""What every test may use: no network, and one really tiny, untrained RS-MoE checkpoint."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from rsagent.model.network import RSMoE
    from rsagent.training.recipe import Recipe
    from tests.small_checkpoint import Small

# before anything imports transformers: it reads these once
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# a busy machine is no fault of the code
settings.register_profile("rsagent", deadline=None)
settings.load_profile("rsagent")

ADAPTERS = ("single", "theme", "object", "relation", "composer")
SENTENCES = (
    "three white hangars stand beside a long grey runway",
    "a narrow canal runs from the left to the right between orchards",
    "many small boats lie in the harbour near a round tank",
    "how many red lorries are in the car park ? two",
    "is there a bridge over the river ? yes",
    "the stadium is surrounded by trees and bare ground",
)


@pytest.fixture(autouse=True, scope="session")
def _offline() -> Iterator[None]:
    """A test that reaches beyond this machine fails at once instead of depending on what it finds there."""
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("localhost", "127.0.0.1", "::1"):
            raise OSError(f"tests run offline, and this one connects to {host}")
        connect(self, address)

    socket.socket.connect = local  # type: ignore[method-assign,assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """Sizes at which a network is built in a moment and still has every part."""
    from rsagent.training.recipe import Recipe

    return Recipe.model_validate(
        {
            "name": "test",
            "scenes": 8,
            "network": {
                "queries_side": 3, "qformer_dim": 32, "token_dim": 32, "qformer_layers": 1, "qformer_heads": 2,
                "qformer_mlp": 48, "llm_dim": 32, "llm_layers": 1, "llm_heads": 2, "llm_mlp": 48, "vocabulary": 400,
                "soft_prompts": 2, "router_rank": 4, "lora_rank": 4, "qformer_lora_rank": 4,
            },
            "encoder": {"samples": 8, "batch": 4, "frozen_stages": 3},
            "base": {"samples": 8, "batch": 4},
            "stage1": {"samples": 8, "batch": 4},
            "stage2": {"samples": 8, "batch": 4},
            "composer": {"samples": 8, "batch": 4, "reports": 6},
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with untrained weights. Read it, never write into it: all tests share it."""
    return untrained_checkpoint(tiny_recipe, tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="session")
def made(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A checkpoint whose base LLM is looked for; needs the package gguf. Read it, never write into it."""
    from tests.small_checkpoint import make_small

    return make_small(tiny_checkpoint, tmp_path_factory.mktemp("small"))


def untrained_checkpoint(recipe: Recipe, folder: Path) -> Path:
    """Write a checkpoint whose random weights are loud enough to see, ask and say different things."""
    import torch
    from peft import LoraConfig, get_peft_model

    from rsagent.model.checkpoint import save_checkpoint
    from rsagent.prompts import load_prompts
    from rsagent.training.fresh import fresh_network, train_tokenizer
    from rsagent.training.placement import llm_targets

    words = [*SENTENCES, *load_prompts().styles.values()] * 3
    network = fresh_network(recipe, train_tokenizer(words, recipe.network.vocabulary), ["ucm", "rsicd"])
    torch.manual_seed(1)
    lora = LoraConfig(r=recipe.network.lora_rank, target_modules=llm_targets("llama"), task_type="CAUSAL_LM")
    network.llm = get_peft_model(network.llm, lora, adapter_name=ADAPTERS[0])
    for name in ADAPTERS[1:]:
        network.llm.add_adapter(name, lora)
    _make_loud(network)
    save_checkpoint(network, folder, half=False)
    return folder


def _make_loud(network: RSMoE) -> None:
    """Untrained parts whisper: give the encoder the batch statistics it lacks, the rest larger weights.

    The LLM never ends by itself, so `max_tokens` says how long a text is.
    """
    import torch
    from torch import nn

    norms = [module for module in network.image_encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        network.image_encoder.train()(torch.rand(6, 3, 224, 224) * 2 - 1)
        network.image_encoder.eval()
        for name, parameter in [*network.llm.named_parameters(), *network.vlm_encoder.qformer.named_parameters()]:
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
            if "lora_B" in name:
                parameter.normal_(std=0.2)
        network.llm.get_input_embeddings().weight[network.tokenizer.eos_token_id] = 0.0  # tied: its logit is 0


@pytest.fixture(scope="module")
def network(tiny_checkpoint: Path) -> RSMoE:
    """The tiny checkpoint, loaded and ready to decode; shared within a test module, so leave it as it is."""
    from rsagent.model.checkpoint import load_checkpoint

    network = load_checkpoint(tiny_checkpoint)
    network.mix()
    return network

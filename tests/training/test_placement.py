"""LoRA stands exactly where the paper puts it, for each of its seven LLMs and the three others, at true size."""

from __future__ import annotations

from pathlib import Path

import pytest

import rsagent.training
from rsagent.errors import UserError
from rsagent.training.llm_sizes import PUBLISHED
from rsagent.training.placement import Place, llm_targets, meta_network, placement
from rsagent.training.recipe import load_recipe

RECIPES = Path(rsagent.training.__file__).parent / "recipes"
# the LLMs of Table VI, with their layers, width, width of keys and values, and of the feed-forward network
PAPER = {
    "llama-3.2-1b": (16, 2048, 512, 8192),
    "stablelm-2-1.6b": (24, 2048, 2048, 5632),
    "qwen1.5-1.8b": (24, 2048, 2048, 5504),
    "phi-2": (32, 2560, 2560, 10240),
    "llama-3.2-3b": (28, 3072, 1024, 8192),
    "llama-7b": (32, 4096, 4096, 11008),
    "vicuna-7b": (32, 4096, 4096, 11008),
}
TOTALS = {  # parameters of the published models
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "stabilityai/stablelm-2-1_6b": 1_644_515_328,
    "Qwen/Qwen1.5-1.8B": 1_836_828_672,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "microsoft/phi-2": 2_779_683_840,
    "huggyllama/llama-7b": 6_738_415_616,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
}
RANK, DIM, MLP, IMAGE = 8, 768, 3072, 1408


def lora(count: int, inputs: int, outputs: int) -> tuple[int, int]:
    """How many places, and the parameters of a rank-8 adapter in all of them."""
    return count, count * RANK * (inputs + outputs)


def expected_qformer() -> dict[str, tuple[int, int]]:
    """Section III-C1: self-attention q, v; cross-attention q, k, v and output, in every other layer; FFN of both branches."""
    layer = "encoder.layer.*."
    return {
        f"{layer}attention.attention.query": lora(12, DIM, DIM),
        f"{layer}attention.attention.value": lora(12, DIM, DIM),
        f"{layer}crossattention.attention.query": lora(6, DIM, DIM),
        f"{layer}crossattention.attention.key": lora(6, IMAGE, DIM),
        f"{layer}crossattention.attention.value": lora(6, IMAGE, DIM),
        f"{layer}crossattention.output.dense": lora(6, DIM, DIM),
        f"{layer}intermediate.dense": lora(12, DIM, MLP),
        f"{layer}output.dense": lora(12, MLP, DIM),
        f"{layer}intermediate_query.dense": lora(12, DIM, MLP),
        f"{layer}output_query.dense": lora(12, MLP, DIM),
    }


def expected_llm(name: str) -> dict[str, tuple[int, int]]:
    layers, width, kv, mlp = PAPER[name]
    attention = {"self_attn.q_proj": lora(layers, width, width), "self_attn.v_proj": lora(layers, width, kv)}
    if name == "phi-2":
        ffn = {"mlp.fc1": lora(layers, width, mlp), "mlp.fc2": lora(layers, mlp, width)}
    else:
        ffn = {f"mlp.{part}_proj": lora(layers, width, mlp) for part in ("gate", "up", "down")}
    return {f"model.layers.*.{place}": found for place, found in (attention | ffn).items()}


def found(rows: list[Place], stage: str, part: str) -> dict[str, tuple[int, int]]:
    return {row.module: (row.count, row.parameters) for row in rows if (row.stage, row.part) == (stage, part)}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_placement(name: str):
    rows = placement(load_recipe(RECIPES / f"{name}.yaml"))
    width = PAPER[name][1]
    assert found(rows, "stage1", "Q-Former") == expected_qformer()
    assert found(rows, "stage1", "projection") == {"projection": (1, DIM * width + width)}
    assert found(rows, "stage1", "LLM") == expected_llm(name)
    assert found(rows, "stage2", "LLM") == {place: (3 * n, 3 * p) for place, (n, p) in expected_llm(name).items()}
    assert {row.part for row in rows if row.stage == "stage2"} == {"LLM", "router"}
    assert {row.part for row in rows if row.how == "in full"} == {"projection", "router"}


@pytest.mark.parametrize("experts", [1, 2, 4])
def test_every_expert_has_an_adapter(experts: int):
    rows = placement(load_recipe(RECIPES / "smollm2-135m.yaml", [f"network.experts={experts}"]))
    one, all_of_them = found(rows, "stage1", "LLM"), found(rows, "stage2", "LLM")
    assert all_of_them == {place: (experts * n, experts * p) for place, (n, p) in one.items()}


def test_the_networks_have_the_published_sizes():
    recipes = [(load_recipe(file), file) for file in RECIPES.glob("*.yaml")]
    named = {recipe.weights.llm: file for recipe, file in recipes if recipe.weights and recipe.weights.encoder}
    assert set(TOTALS) <= set(named) <= set(PUBLISHED)
    for llm, total in TOTALS.items():
        network = meta_network(load_recipe(named[llm]))
        assert sum(p.numel() for p in network.llm.parameters()) == total, llm
        assert sum(p.numel() for p in network.image_encoder.parameters()) == 985_952_256


def test_an_encoder_of_ours_before_a_pretrained_llm():
    changes = ["weights.encoder=null", "start=tiny"]
    rows = placement(load_recipe(RECIPES / "smollm2-135m.yaml", changes))
    assert found(rows, "stage1", "projection") == {"projection": (1, 256 * 576 + 576)}


def test_an_architecture_that_nobody_knows():
    with pytest.raises(UserError, match="'gpt_neox': choose llama"):
        llm_targets("gpt_neox")

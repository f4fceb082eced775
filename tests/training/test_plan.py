"""The plan's arithmetic against what is counted on real networks, and the shipped recipes against their plan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

import rsagent.training
from rsagent.errors import UserError
from rsagent.model.checkpoint import EMBEDDED
from rsagent.training.llm_sizes import PUBLISHED, LLMSizes, llm_sizes
from rsagent.training.placement import llm_targets, placement
from rsagent.training.plan import (
    GPUS,
    launch_line,
    layer_bytes,
    llm_parameters,
    lora_parameters,
    plan_lines,
    plan_stage,
    sight,
)
from rsagent.training.pretrained import steady_norms
from rsagent.training.recipe import Recipe, load_recipe
from tests.training.kept import bytes_kept

RECIPES = Path(rsagent.training.__file__).parent / "recipes"
TINY = [
    LLMSizes("llama", 128, 2, 4, 4, 384, 64, tied=False),
    LLMSizes("llama", 256, 2, 4, 2, 512, 64, tied=False),
    LLMSizes("qwen2", 192, 2, 4, 2, 768, 64, tied=False),
    LLMSizes("stablelm", 128, 2, 4, 4, 384, 64, tied=False),
    LLMSizes("phi", 128, 2, 4, 4, 512, 64, tied=False),
]


def adapted(sizes: LLMSizes, rank: int = 8) -> Any:
    raw = sizes.config()
    llm = AutoModelForCausalLM.from_config(AutoConfig.for_model(raw.pop("model_type"), **raw), dtype=torch.bfloat16)
    steady_norms(llm)
    return get_peft_model(llm, LoraConfig(r=rank, target_modules=llm_targets(sizes.architecture), task_type="CAUSAL_LM"))


def kept(sizes: LLMSizes, batch: int, tokens: int) -> int:
    """Bytes that a forward pass keeps for the backward one, counted."""
    llm = adapted(sizes)
    embeds = torch.randn(batch, tokens, sizes.width, requires_grad=True)
    places = torch.arange(tokens)[None].expand(batch, -1)
    mask = torch.zeros(batch, 1, tokens, tokens)
    return bytes_kept(llm, lambda: llm(inputs_embeds=embeds, attention_mask=mask, position_ids=places))


@pytest.mark.parametrize("sizes", TINY, ids=lambda s: f"{s.architecture}-{s.width}")
def test_a_layer_keeps_what_the_plan_says(sizes: LLMSizes):
    """Within 15 % of what is counted, for each architecture and three sizes of Llama's kind."""
    deeper = LLMSizes(**{**sizes.__dict__, "layers": sizes.layers + 2})
    counted = (kept(deeper, 2, 48) - kept(sizes, 2, 48)) / 2 / (2 * 48)
    assert layer_bytes(sizes, 8) == pytest.approx(counted, rel=0.15)


@pytest.mark.parametrize("sizes", TINY, ids=lambda s: f"{s.architecture}-{s.width}")
def test_parameters_are_counted_right(sizes: LLMSizes):
    llm = adapted(sizes)
    lora = sum(p.numel() for p in llm.parameters() if p.requires_grad)
    assert lora_parameters(sizes, 8) == lora
    assert llm_parameters(sizes) == pytest.approx(sum(p.numel() for p in llm.parameters()) - lora, rel=0.02)


WITH_WEIGHTS = [(file, weights) for file in RECIPES.glob("*.yaml") if (weights := load_recipe(file).weights)]
PAPERS = sorted(file for file, weights in WITH_WEIGHTS if weights.encoder)  # `small` is for two CPU cores


@pytest.mark.parametrize("file", PAPERS, ids=lambda file: file.stem)
def test_a_recipe_carries_its_plan(file: Path):
    """The comments at the head of a shipped recipe for GPUs are what `rsagent train plan` prints."""
    head = "\n".join(line.removeprefix("#").removeprefix(" ") for line in file.read_text().splitlines() if line.startswith("#"))
    assert "\n".join(plan_lines(load_recipe(file))) in head


@pytest.mark.parametrize("file", PAPERS, ids=lambda file: file.stem)
def test_a_shipped_recipe_fits_where_it_says(file: Path):
    recipe = load_recipe(file)
    for stage in ("stage1", "stage2"):
        for devices in (1, 2, 8):
            assert plan_stage(recipe, stage, devices, tflops=312).total < GPUS["a100"][0] * 1e9


def test_knobs_do_what_they_promise():
    whole = plan_stage(load_recipe(RECIPES / "vicuna-7b.yaml"), "stage1", 1, tflops=312)
    shared = plan_stage(load_recipe(RECIPES / "vicuna-7b.yaml"), "stage1", 8, tflops=312)
    saved = plan_stage(load_recipe(RECIPES / "vicuna-7b.yaml", ["optim.checkpointing=true"]), "stage1", 1, tflops=312)
    halved = plan_stage(load_recipe(RECIPES / "vicuna-7b.yaml", ["optim.accumulate=6"]), "stage1", 1, tflops=312)
    assert shared.total < whole.total and shared.hours == pytest.approx(whole.hours / 8)
    assert saved.memory["activations"] < whole.memory["activations"] / 3 and saved.hours == pytest.approx(whole.hours * 1.5)
    assert halved.memory["activations"] == pytest.approx(whole.memory["activations"] / 2)


def test_what_cannot_be_planned_is_one_line(tiny_recipe: Recipe):
    with pytest.raises(UserError, match="from nothing"):
        plan_stage(tiny_recipe, "stage1", 1, tflops=1)
    recipe = load_recipe(RECIPES / "vicuna-7b.yaml")
    with pytest.raises(UserError, match="shared among 7 devices"):
        plan_stage(recipe, "stage1", 7, tflops=1)
    with pytest.raises(UserError, match="choose one of a100"):
        plan_lines(recipe, "abacus")
    with pytest.raises(UserError, match="are not known: give a folder"):
        llm_sizes("somebody/something")
    assert launch_line("x", 8).startswith("torchrun --nproc-per-node 8 -m rsagent train all --recipe x")


def test_sizes_of_a_folder(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match="does not say the LLM's sizes"):
        llm_sizes(str(tmp_path))
    sizes = PUBLISHED["meta-llama/Llama-3.2-1B"]
    AutoConfig.for_model(**sizes.config()).save_pretrained(tmp_path)
    assert llm_sizes(str(tmp_path)) == LLMSizes(**{**sizes.__dict__, "extra": llm_sizes(str(tmp_path)).extra})


def test_the_encoders_that_are_carried_are_reckoned_as_they_are():
    """The recipe `small` sees through them: nine tokens of F_VLM, and parameters as they lie in the checkpoint."""
    recipe = load_recipe(RECIPES / "small.yaml")
    held = sum(math.prod(tensor.get_shape()) for tensor in tensors_of(EMBEDDED / "model.safetensors", "vlm_encoder."))
    assert sight(recipe).parameters == held and sight(recipe).queries == 9
    stage1 = plan_stage(recipe, "stage1", 1, tflops=312)
    counted = sum(place.parameters for place in placement(recipe) if place.stage == "stage1")
    assert stage1.memory["trained"] / 16 == pytest.approx(counted, rel=1e-3)
    assert sight(load_recipe(PAPERS[0])).queries == 32


def tensors_of(file: Path, prefix: str) -> list[Any]:
    """The tensors whose names begin so, but for the projection's."""
    with safe_open(file, "pt") as stored:
        names = [name for name in stored.keys() if name.startswith(prefix) and "projection" not in name]
        return [stored.get_slice(name) for name in names]

"""Compiled layers learn what the others learn, an expert a pass or all of them mixed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from rsagent.errors import UserError
from rsagent.training.batches import Collator
from rsagent.training.compiled import compile_layers
from rsagent.training.corpus import Row
from rsagent.training.fresh import fresh_network
from rsagent.training.language import LanguageTask
from rsagent.training.material import Material
from rsagent.training.recipe import Recipe

EXPERTS = ["theme", "object", "relation"]
_ROW = Row(0, "describe this image", "describe this image Caption:", ("two hangars",), "theme", "caption")
ROWS = [
    _ROW,
    replace(_ROW, targets=("boats", "a long runway with two white hangars"), adapter="relation", image=3),
    replace(_ROW, targets=("a field of wheat",), adapter="theme", image=4, prompt="describe wheat Objects:"),
    replace(_ROW, targets=("a place",), adapter="relation", image=5),
]


def stage2(recipe: Recipe, material: Material, *, one_expert_a_pass: bool) -> LanguageTask:
    torch.manual_seed(0)
    network = fresh_network(recipe, material.tokenizer, ["ucm"])
    lora = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM")
    network.requires_grad_(False)
    network.llm = get_peft_model(network.llm, lora, adapter_name=EXPERTS[0])
    for name in EXPERTS[1:]:
        network.llm.add_adapter(name, lora)
    for name, parameter in network.llm.named_parameters():
        parameter.requires_grad_(".lora_" in name)
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    network.router.requires_grad_(True)
    return LanguageTask(network, "stage2", EXPERTS, len(material.answers), one_expert_a_pass=one_expert_a_pass).train()


def learnt(task: LanguageTask, material: Material) -> tuple[float, dict[str, Tensor]]:
    """The loss, and the gradients that are not nothing."""
    collate = Collator(material.stores, material.tokenizer, material.answers, EXPERTS, task.adapters, 16, 3)
    loss = task(**collate([ROWS]))["loss"]
    loss.backward()
    found = {name: p.grad for name, p in task.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    return float(loss), found


def same(one: tuple[float, dict[str, Tensor]], other: tuple[float, dict[str, Tensor]]) -> bool:
    close = all(torch.allclose(one[1][name], other[1][name], rtol=1e-3, atol=1e-5) for name in one[1])
    return one[0] == pytest.approx(other[0], abs=1e-4) and one[1].keys() == other[1].keys() and close


def test_an_expert_a_pass_learns_what_mixed_experts_learn(tiny_recipe: Recipe, material: Material):
    mixed, apart = (learnt(stage2(tiny_recipe, material, one_expert_a_pass=apart), material) for apart in (False, True))
    assert any(".relation." in name for name in mixed[1]) and not any(".object." in name for name in mixed[1])
    assert same(mixed, apart)


@pytest.mark.slow
def test_compiled_layers_learn_the_same(tiny_recipe: Recipe, material: Material):
    plain, compiled = (stage2(tiny_recipe, material, one_expert_a_pass=True) for _ in range(2))
    names = set(compiled.state_dict())
    compile_layers(compiled.llm)
    assert set(compiled.state_dict()) == names
    assert same(learnt(plain, material), learnt(compiled, material))


def test_without_a_compiler_it_says_so(tiny_recipe: Recipe, material: Material, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no C\\+\\+ compiler: install g\\+\\+, or leave `compiled` out"):
        compile_layers(stage2(tiny_recipe, material, one_expert_a_pass=True).llm)

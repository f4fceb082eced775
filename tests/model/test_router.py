"""The instruction router: its soft prompts follow image and instruction, and it stays small beside the experts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rsagent.model.router import InstructionRouter
from rsagent.model.vlm_encoder import VLMFeatures

EXPERTS, SOFT, QUERIES, DIM, LLM_DIM, TOKENS, TOKEN_DIM = 3, 2, 9, 32, 24, 20, 16


@pytest.fixture(scope="module")
def router() -> InstructionRouter:
    torch.manual_seed(0)
    return InstructionRouter(DIM, LLM_DIM, EXPERTS, SOFT, rank=8).requires_grad_(False)


def features(image: int = 1, instruction: int = 2, count: int = 1) -> VLMFeatures:
    queries = torch.randn(count, QUERIES, DIM, generator=torch.Generator().manual_seed(image))
    words = torch.randn(count, 4, DIM, generator=torch.Generator().manual_seed(instruction))
    tokens = torch.randn(count, TOKENS, TOKEN_DIM, generator=torch.Generator().manual_seed(image + 100))
    return VLMFeatures(tokens, queries, words, torch.ones(count, 4, dtype=torch.long), queries[..., :LLM_DIM])


def test_shapes_and_attention(router: InstructionRouter):
    routing = router(features(count=5))
    assert routing.soft_prompts.shape == (5, EXPERTS, SOFT, LLM_DIM)
    assert routing.gate.shape == (5, EXPERTS)
    assert routing.attention.shape == (5, EXPERTS, QUERIES)
    assert (routing.attention >= 0).all()
    torch.testing.assert_close(routing.attention.sum(2), torch.ones(5, EXPERTS))


def test_soft_prompts_and_gate_follow_the_image_and_the_instruction(router: InstructionRouter):
    plain, image, instruction = router(features()), router(features(image=7)), router(features(instruction=7))
    for other in (image, instruction):
        assert ((plain.soft_prompts - other.soft_prompts).abs().amax((2, 3)) > 1e-3).all()  # of every expert
        assert (plain.gate - other.gate).abs().max() > 1e-3
        assert (plain.attention - other.attention).abs().max() > 1e-4


def test_each_expert_gets_a_prompt_of_its_own(router: InstructionRouter):
    soft = router(features()).soft_prompts[0]
    assert min((soft[0] - soft[1]).norm(), (soft[1] - soft[2]).norm(), (soft[0] - soft[2]).norm()) > 1e-2


def test_padding_of_the_instruction_changes_nothing(router: InstructionRouter):
    plain = features()
    padded = VLMFeatures(
        plain.tokens, plain.queries, torch.cat([plain.words, torch.full((1, 3, DIM), 9.0)], 1),
        torch.tensor([[1, 1, 1, 1, 0, 0, 0]]), plain.projected,
    )  # fmt: skip
    torch.testing.assert_close(router(padded).soft_prompts, router(plain).soft_prompts)
    torch.testing.assert_close(router(padded).gate, router(plain).gate)


def test_an_instruction_without_words_is_survived(router: InstructionRouter):
    seen = features()
    empty = VLMFeatures(seen.tokens, seen.queries, seen.words, torch.zeros(1, 4, dtype=torch.long), seen.projected)
    assert router(empty).soft_prompts.isfinite().all()


def test_the_default_router_is_smaller_than_one_lora_adapter():
    from transformers import LlamaConfig, LlamaForCausalLM

    from rsagent.training.placement import llm_targets
    from rsagent.training.recipe import load_recipe

    sizes = load_recipe(Path(__file__).parents[2] / "training" / "recipes" / "tiny.yaml").network
    router = InstructionRouter(sizes.qformer_dim, sizes.llm_dim, len(sizes.experts), sizes.soft_prompts, sizes.router_rank)
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=8, hidden_size=sizes.llm_dim, num_hidden_layers=sizes.llm_layers,
            num_attention_heads=sizes.llm_heads, intermediate_size=sizes.llm_mlp,
        )
    )  # fmt: skip
    adapter = sum(
        sizes.lora_rank * sum(module.weight.shape)
        for name, module in llm.named_modules()
        if name.rsplit(".")[-1] in llm_targets("llama")
    )
    assert sum(parameter.numel() for parameter in router.parameters()) < adapter


def test_a_router_that_reads_the_image_attends_to_its_tokens():
    torch.manual_seed(0)
    router = InstructionRouter(DIM, LLM_DIM, EXPERTS, SOFT, rank=8, token_dim=TOKEN_DIM).requires_grad_(False)
    seen = features(count=2)
    routing = router(seen)
    assert routing.attention.shape == (2, EXPERTS, TOKENS)
    torch.testing.assert_close(routing.attention.sum(2), torch.ones(2, EXPERTS))
    seen.tokens = seen.tokens.flip(1)  # the same picture elsewhere
    torch.testing.assert_close(router(seen).attention, routing.attention.flip(2))
    seen.tokens = torch.randn_like(seen.tokens)
    assert (router(seen).soft_prompts - routing.soft_prompts).abs().max() > 1e-3
    torch.testing.assert_close(router(seen).gate, routing.gate)  # the gate reads F_VLM

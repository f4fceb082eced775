"""The instruction router: writes soft prompts for each expert and says which experts an instruction needs.

RS-MoE (section III-B4) asks for a router "grounded in prompt learning" that turns the instruction and what the image shows
into one prompt for each expert, and leaves its form open. Here each expert owns a few learned questions; they attend, shifted
by the instruction, in a low-rank space, and what they find becomes soft prompt vectors in the LLM's embedding space. They
attend to F_VLM's queries, which the LLM reads as well, or to the image's own tokens, of which F_VLM is a summary: then a soft
prompt can say what the LLM has not been told. A gate reads F_VLM. All of it is small beside one LoRA adapter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsagent.model.vlm_encoder import VLMFeatures


@dataclass
class Routing:
    """What the router decided.

    Attributes:
        soft_prompts: `(batch, experts, soft_prompts, llm_dim)`.
        gate: `(batch, experts)` logits; `gate.sigmoid()` is the weight in [0, 1] with which an expert is needed.
        attention: `(batch, experts, queries)`, or `(batch, experts, tokens)` of a router that reads the image: where the soft
            prompts of an expert attend; sums to 1.
    """

    soft_prompts: Tensor
    gate: Tensor
    attention: Tensor


class InstructionRouter(nn.Module):
    """F_VLM and the instruction -> one soft prompt an expert, and a gate.

    With `token_dim` the soft prompts attend to the image's tokens, which are so wide, in place of F_VLM's queries.
    """

    def __init__(
        self, dim: int, llm_dim: int, experts: int, soft_prompts: int, rank: int, token_dim: int | None = None
    ) -> None:
        super().__init__()
        self.rank, self.reads_image = rank, token_dim is not None
        self.questions = nn.Parameter(torch.randn(experts, soft_prompts, rank))
        self.shift = nn.Linear(dim, rank)
        self.key = nn.Linear(token_dim or dim, rank)
        self.value = nn.Linear(token_dim or dim, rank)
        self.norm = nn.LayerNorm(rank)
        self.write = nn.Linear(rank, llm_dim)
        with torch.no_grad():  # begin near nothing: the experts start from stage I's adapter, which knows no soft prompt
            self.write.weight.mul_(0.1)
        self.base = nn.Parameter(torch.zeros(experts, soft_prompts, llm_dim))
        self.gate_in = nn.Linear(2 * dim, rank)
        self.gate_out = nn.Linear(rank, experts)

    def forward(self, seen: VLMFeatures) -> Routing:
        """Route a batch of (image, instruction) pairs."""
        instruction = seen.instruction()
        asked = self.questions[None] + self.shift(instruction)[:, None, None]
        read = seen.tokens.to(self.key.weight.dtype) if self.reads_image else seen.queries
        scores = torch.einsum("besr,bqr->besq", asked, self.key(read)) / self.rank**0.5
        attention = scores.softmax(-1)
        found = torch.einsum("besq,bqr->besr", attention, self.value(read))
        soft_prompts = self.write(self.norm(found + asked)) + self.base
        features = torch.cat([seen.queries.mean(1), instruction], 1)
        gate = self.gate_out(torch.nn.functional.gelu(self.gate_in(features)))
        return Routing(soft_prompts, gate, attention.mean(2))

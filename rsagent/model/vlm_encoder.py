"""The VLM encoder: InstructBLIP's Q-Former, which reads the instruction while it looks (RS-MoE, section III-B2).

Two changes against the plain Q-Former, both because it loses where things are: its queries are anchored (each starts from
the average of the image tokens in its own region, plus a 2-D position), and it reads two scales at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel

from rsagent.model.config import VLMEncoderConfig
from rsagent.model.image_encoder import ImageFeatures


@dataclass
class ImageTokens:
    """An image as the Q-Former reads it.

    Attributes:
        tokens: `(batch, tokens, token_dim)`, fine scale first, row by row.
        anchors: `(batch, queries, dim)`: what each query's own region looks like.
    """

    tokens: Tensor
    anchors: Tensor

    def __getitem__(self, rows: Tensor) -> ImageTokens:
        return ImageTokens(self.tokens[rows], self.anchors[rows])


@dataclass
class VLMFeatures:
    """F_VLM and what the router reads beside it.

    Attributes:
        tokens: `(batch, tokens, token_dim)`: the image's tokens, which the queries looked at.
        queries: `(batch, queries, dim)`: the query tokens after the Q-Former.
        words: `(batch, words, dim)`: the instruction's tokens after the Q-Former.
        word_mask: `(batch, words)`: 1 where a token stands, 0 where it is padding.
        projected: `(batch, visual_tokens, llm_dim)`: F_VLM as the LLM receives it.
    """

    tokens: Tensor
    queries: Tensor
    words: Tensor
    word_mask: Tensor
    projected: Tensor

    def instruction(self) -> Tensor:
        """Mean over the instruction's tokens, `(batch, dim)`."""
        mask = self.word_mask[..., None].to(self.words.dtype)
        return (self.words * mask).sum(1) / mask.sum(1).clamp(min=1)


class VLMEncoder(nn.Module):
    """Image features and an instruction -> F_VLM."""

    def __init__(self, config: VLMEncoderConfig, llm_dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        dim, side = config.dim, config.queries_side
        self.scales = nn.ModuleList([nn.Linear(channels, config.token_dim) for channels in config.scales])
        self.scale_embedding = nn.Parameter(torch.randn(len(config.scales), config.token_dim) * 0.02)
        self.token_norm = nn.LayerNorm(config.token_dim)
        self.anchors = nn.ModuleList([nn.Linear(channels, dim) for channels in config.scales])
        self.query_tokens = nn.Parameter(torch.randn(side * side, dim) * 0.02)
        self.qformer = InstructBlipQFormerModel(
            InstructBlipQFormerConfig(
                vocab_size=config.vocabulary,
                hidden_size=dim,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=config.mlp,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                max_position_embeddings=config.max_words,
                cross_attention_frequency=1,
                encoder_hidden_size=config.token_dim,
                pad_token_id=0,
                attn_implementation="eager",  # pyright: ignore[reportCallIssue]  # faster than sdpa for training on a CPU, and gives attention maps
            )
        )
        self.projection = nn.Linear(config.merge**2 * dim, llm_dim)
        for name, tensor in (
            ("fine_positions", grid_positions(grid[0], config.token_dim)),
            ("coarse_positions", grid_positions(grid[1], config.token_dim)),
            ("query_positions", grid_positions(side, dim)),
        ):
            self.register_buffer(name, tensor, persistent=False)

    def look(self, features: ImageFeatures) -> ImageTokens:
        """Turn the image encoder's features into tokens and anchors; once an image, whatever is asked of it."""
        scaled: list[Tensor] = []
        anchors = torch.zeros((), device=features.fine.device)
        for index, (name, value) in enumerate((("fine", features.fine), ("coarse", features.coarse))):
            tokens = self.scales[index](value.flatten(2).transpose(1, 2))
            scaled.append(tokens + cast(Tensor, getattr(self, f"{name}_positions")) + self.scale_embedding[index])
            regions = F.adaptive_avg_pool2d(value, self.config.queries_side).flatten(2).transpose(1, 2)
            anchors = anchors + self.anchors[index](regions)
        return ImageTokens(self.token_norm(torch.cat(scaled, 1)), anchors)

    def forward(
        self, image: ImageTokens, words: Tensor, word_mask: Tensor, *, attentions: bool = False
    ) -> tuple[VLMFeatures, Tensor | None]:
        """Read an instruction with an image.

        Args:
            image: of `look`, one entry for each instruction.
            words: `(batch, words)` token ids of the instruction, padded.
            word_mask: `(batch, words)`, 1 for tokens, 0 for padding.
            attentions: also return where each query looked.

        Returns:
            F_VLM, and `(batch, queries, tokens)`: the last layer's cross-attention averaged over heads, or None.
        """
        count = self.query_tokens.shape[0]
        queries = self.query_tokens + image.anchors + cast(Tensor, self.query_positions)
        mask = torch.cat([torch.ones(len(words), count, dtype=word_mask.dtype, device=words.device), word_mask], 1)
        # the model's call is decorated, which hides its signature from type checkers
        output = cast(Any, self.qformer)(
            input_ids=words,
            attention_mask=mask,
            query_embeds=queries,
            encoder_hidden_states=image.tokens,
            output_attentions=attentions,
        )
        hidden = cast(Tensor, output.last_hidden_state)
        projected = self.projection(merged(hidden[:, :count], side=self.config.queries_side, by=self.config.merge))
        seen = VLMFeatures(image.tokens, hidden[:, :count], hidden[:, count:], word_mask, projected)
        looked = cast(Tensor, output.cross_attentions[-1]).mean(1) if attentions else None
        return seen, looked


def merged(queries: Tensor, *, side: int, by: int) -> Tensor:
    """Squares of `by` x `by` neighbouring queries side by side, row by row: an LLM reads fewer tokens, each wider.

    `(batch, side * side, dim)` -> `(batch, (side / by) ** 2, by * by * dim)`.
    """
    if by == 1:
        return queries
    squares = queries.unflatten(1, (side // by, by, side // by, by)).transpose(2, 3)
    return squares.flatten(3, 5).flatten(1, 2)


def grid_positions(side: int, dim: int) -> Tensor:
    """Fixed 2-D sine-cosine positions of a square grid over the unit square, `(side * side, dim)`, row by row.

    The same place has the same code on grids of different sizes, so queries and tokens of both scales can be compared.
    """
    quarter = dim // 4
    centres = (torch.arange(side) + 0.5) / side
    # the device is said because transformers makes linspace forget that of the context while it loads something
    frequencies = math.pi * torch.exp(torch.linspace(0, math.log(24.0), quarter, device=centres.device))
    waves = centres[:, None] * frequencies
    line = torch.cat([waves.sin(), waves.cos()], 1)
    rows = line[:, None].expand(side, side, -1)
    columns = line[None].expand(side, side, -1)
    positions = torch.cat([rows, columns], 2).reshape(side * side, -1)
    return F.pad(positions, (0, dim - positions.shape[1])) * 0.5

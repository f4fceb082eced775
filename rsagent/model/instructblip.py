"""InstructBLIP's own encoder: a frozen ViT and a Q-Former, as RS-MoE takes them (section III-B1 and III-B2).

Both speak the language of the embedded default: pictures come in as its pixels, features go out at two scales, so that
everything behind them (feature cache, router, experts, trace) is the same for every checkpoint. The fine scale is the grid of
patches, the coarse one is the class token, which stands for the whole picture. The Q-Former's keys carry no order, so it sees
the very tokens that InstructBLIP sees.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel, InstructBlipVisionConfig, InstructBlipVisionModel

from rsagent.model.config import PlainQFormerConfig, ViTConfig
from rsagent.model.image_encoder import ImageFeatures
from rsagent.model.vlm_encoder import ImageTokens, VLMFeatures

_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's pictures, for RGB in [0, 1]
_SPREAD = (0.26862954, 0.26130258, 0.27577711)


class ViTEncoder(nn.Module):
    """EVA's ViT as InstructBLIP carries it. Input: RGB as `pixels_from_rgb` gives it, `size` pixels a side."""

    coarse_range: float | None = None
    """Its features have no known range, so a cache keeps them as float16."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.size = config.size
        self.grid = (config.size // config.patch, 1)
        self.dims = (config.width, config.width)
        self.vision = InstructBlipVisionModel(
            InstructBlipVisionConfig(
                hidden_size=config.width,
                intermediate_size=config.mlp,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                image_size=config.size,
                patch_size=config.patch,
            )
        )
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(_SPREAD).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> ImageFeatures:
        """`(batch, 3, size, size)` in [-1, 1] -> fine `(batch, width, grid, grid)`, coarse `(batch, width, 1, 1)`."""
        unit = (pixels * 128.0 + 127.0) / 255.0
        scaled = (unit - cast(Tensor, self.mean)) / cast(Tensor, self.spread)
        output = cast(Any, self.vision)(pixel_values=scaled.to(self.vision.dtype))
        tokens = cast(Tensor, output.last_hidden_state).transpose(1, 2)
        side = self.grid[0]
        return ImageFeatures(tokens[:, :, 1:].unflatten(2, (side, side)), tokens[:, :, :1, None])

    def fold(self) -> None:
        """Nothing to fold: there are no batch norms."""


class PlainVLMEncoder(nn.Module):
    """InstructBLIP's Q-Former: learned queries that see the picture's tokens and the instruction -> F_VLM."""

    def __init__(self, config: PlainQFormerConfig, llm_dim: int) -> None:
        super().__init__()
        self.config = config
        self.query_tokens = nn.Parameter(torch.zeros(config.queries, config.dim))
        self.qformer = InstructBlipQFormerModel(
            InstructBlipQFormerConfig(
                vocab_size=config.vocabulary,
                hidden_size=config.dim,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=config.mlp,
                hidden_dropout_prob=0.0,  # a step that is repeated after a stop must draw nothing by chance
                attention_probs_dropout_prob=0.0,
                max_position_embeddings=config.positions,
                cross_attention_frequency=config.cross_every,
                encoder_hidden_size=config.image_dim,
                pad_token_id=0,
                attn_implementation="eager",  # pyright: ignore[reportCallIssue]  # the only one that gives attention maps
            )
        )
        self.projection = nn.Linear(config.dim, llm_dim)

    def look(self, features: ImageFeatures) -> ImageTokens:
        """The picture's tokens, patches first; the queries start from no anchor."""
        tokens = torch.cat([features.fine.flatten(2), features.coarse.flatten(2)], 2).transpose(1, 2)
        return ImageTokens(tokens, tokens.new_zeros(len(tokens), *self.query_tokens.shape))

    def forward(
        self, image: ImageTokens, words: Tensor, word_mask: Tensor, *, attentions: bool = False
    ) -> tuple[VLMFeatures, Tensor | None]:
        """Read an instruction with an image; arguments and result as those of `VLMEncoder`.

        Where the queries looked is told by the last layer that looks at all.
        """
        count = self.query_tokens.shape[0]
        mask = torch.cat([torch.ones(len(words), count, dtype=word_mask.dtype, device=words.device), word_mask], 1)
        output = cast(Any, self.qformer)(
            input_ids=words,
            attention_mask=mask,
            query_embeds=self.query_tokens.expand(len(words), -1, -1),
            encoder_hidden_states=image.tokens.to(self.query_tokens.dtype),
            output_attentions=attentions,
        )
        hidden = cast(Tensor, output.last_hidden_state)
        seen = VLMFeatures(image.tokens, hidden[:, :count], hidden[:, count:], word_mask, self.projection(hidden[:, :count]))
        looked = cast(Tensor, output.cross_attentions[-1]).mean(1) if attentions else None
        return seen, looked

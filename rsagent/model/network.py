"""The RS-MoE network: image encoder, VLM encoder, instruction router and one LLM with an adapter for each expert.

What the LLM reads, in this order: the expert's soft prompt, F_VLM, the prompt's text; it writes the rest. RS-MoE's figure 1
has the soft prompt behind F_VLM. There it pushes the image away from the words by its own length, and an LLM that learnt in
stage I to find places by their distance (rotary positions) misreads them; `docs/experiments.md` has the figures.
The adapters are PEFT's; nothing here assumes which causal LM carries them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from rsagent.model.config import PlainQFormerConfig, RSMoEConfig, ViTConfig
from rsagent.model.image_encoder import ImageEncoder, ImageFeatures, pixels_from_rgb
from rsagent.model.instructblip import PlainVLMEncoder, ViTEncoder
from rsagent.model.mixed_lora import MixedAdapters, mix_adapters
from rsagent.model.router import InstructionRouter, Routing
from rsagent.model.vlm_encoder import ImageTokens, VLMEncoder, VLMFeatures

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

COMPOSER = "composer"
SINGLE = "single"
"""The adapter of stage I: the single LLM from which every expert starts."""


def visual_prefix(projected: Tensor, soft_prompt: Tensor) -> Tensor:
    """What an expert reads before the words, `(..., soft_prompts + visual_tokens, llm_dim)`.

    Args:
        projected: F_VLM in the LLM's width, `(..., visual_tokens, llm_dim)`.
        soft_prompt: the expert's, `(..., soft_prompts, llm_dim)`.
    """
    return torch.cat([soft_prompt, projected], -2)


class RSMoE(nn.Module):
    """All parts of one checkpoint.

    Attributes:
        llm: a causal LM, or PEFT's wrapper around one once adapters are there.
        tokenizer: of the LLM.
        words_tokenizer: of the Q-Former; the same one in checkpoints that were trained from nothing.
    """

    def __init__(
        self,
        config: RSMoEConfig,
        llm: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        words_tokenizer: PreTrainedTokenizerFast | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.words_tokenizer = words_tokenizer or tokenizer
        image, vlm = config.image_encoder, config.vlm_encoder
        self.image_encoder = ViTEncoder(image) if isinstance(image, ViTConfig) else ImageEncoder(image.size)
        self.vlm_encoder = (
            PlainVLMEncoder(vlm, config.llm_dim)
            if isinstance(vlm, PlainQFormerConfig)
            else VLMEncoder(vlm, config.llm_dim, self.image_encoder.grid)
        )
        router = config.router
        wide = vlm.image_dim if isinstance(vlm, PlainQFormerConfig) else vlm.token_dim
        self.router = InstructionRouter(
            vlm.dim, config.llm_dim, len(config.experts), router.soft_prompts, router.rank,
            token_dim=wide if router.reads == "image" else None,
        )  # fmt: skip
        self.llm: Any = llm
        self.mixed: MixedAdapters | None = None

    @property
    def adapters(self) -> list[str]:
        """Names of the adapters the LLM carries."""
        return self.mixed.names if self.mixed is not None else sorted(getattr(self.llm, "peft_config", {}))

    def mix(self) -> None:
        """Make the adapters ready for batches that mix them; for inference only, since the LLM leaves PEFT's wrapper.

        Raises:
            CheckpointError: an adapter is more than plain LoRA.
        """
        if self.mixed is None:
            self.llm, self.mixed = mix_adapters(self.llm)

    @torch.no_grad()
    def encode_images(self, images: list[np.ndarray]) -> ImageFeatures:
        """RGB uint8 pictures of any sizes -> features of the image encoder, on the network's device."""
        weight = next(self.parameters())
        pixels = pixels_from_rgb(images, self.config.image_encoder.size).to(weight.device, weight.dtype)
        return self.image_encoder(pixels.contiguous(memory_format=torch.channels_last))

    def words(self, texts: Sequence[str], limit: int) -> tuple[Tensor, Tensor]:
        """Token ids and mask of some instructions, `(batch, words)` each, padded on the right, cut at `limit` tokens."""
        encoded = self.words_tokenizer(
            list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt", padding_side="right"
        )
        device = next(self.parameters()).device
        return cast(Tensor, encoded["input_ids"]).to(device), cast(Tensor, encoded["attention_mask"]).to(device)

    def look(self, features: ImageFeatures) -> ImageTokens:
        """The image as the VLM encoder reads it; once an image."""
        return self.vlm_encoder.look(features)

    def see(
        self, image: ImageTokens, instructions: Sequence[str], *, attentions: bool = False
    ) -> tuple[VLMFeatures, Tensor | None]:
        """F_VLM of `batch` images, each with its instruction; with `attentions`, also where the queries looked."""
        words, mask = self.words(instructions, self.config.vlm_encoder.max_words)
        return self.vlm_encoder(image, words, mask, attentions=attentions)

    def route(self, seen: VLMFeatures) -> Routing:
        """Soft prompts, gate and attention of the instruction router."""
        return self.router(seen)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids `(batch, tokens)` -> the LLM's input embeddings `(batch, tokens, llm_dim)`."""
        return self.llm.get_input_embeddings()(ids)

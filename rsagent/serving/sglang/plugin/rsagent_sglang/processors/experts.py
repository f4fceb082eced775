"""The multimodal processor: checks a request and puts the embeddings before its words.

It runs in the server's front process, whose answer to a ValueError is a 400; what passes reaches the scheduler, where a
mistake would end the server for everybody. So everything is checked here.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from rsagent_sglang.models.experts import RSMoEForCausalLM
from rsagent_sglang.wire import unpack
from sglang.srt.managers.schedule_batch import (
    Modality,
    MultimodalDataItem,
    MultimodalInputFormat,
    MultimodalProcessorOutput,
)
from sglang.srt.multimodal.processors.base_processor import BaseMultimodalProcessor

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_PLACEHOLDER = 0
"""Any word of the vocabulary: what stands where the embeddings go until the model class puts their digest there."""


class ExpertProcessor(BaseMultimodalProcessor):
    """Embeddings and words -> what the scheduler runs."""

    models = [RSMoEForCausalLM]
    prefer_tokenized_input = True

    def __init__(self, hf_config: Any, server_args: Any, _processor: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(hf_config, server_args, _processor, *args, **kwargs)
        self.width = int(hf_config.hidden_size)
        self.vocabulary = int(hf_config.vocab_size)
        self.most_rows = int(hf_config.max_position_embeddings)
        self.bos = self._tokenizer.bos_token_id
        self.checkpoint = str(server_args.weight_version or "")

    async def process_mm_data_async(
        self, image_data: Any = None, audio_data: Any = None, input_text: Any = "", request_obj: Any = None, **_: Any
    ) -> MultimodalProcessorOutput:
        """The tokens and embeddings of one request.

        Raises:
            ValueError: what is wrong with the request, in one line; the server answers 400 with it.
        """
        self._refuse_what_crashes(request_obj, audio_data)
        if not isinstance(image_data, list) or len(image_data) != 1:
            count = len(image_data) if isinstance(image_data, list) else 0
            raise ValueError(f"a request takes the embeddings of one prompt as its only image, not {count}")
        image = getattr(image_data[0], "url", image_data[0])
        numbers, dtype, rows = unpack(image, self.width, self.most_rows, self.checkpoint)
        embeddings = torch.frombuffer(bytearray(numbers), dtype=_DTYPES[dtype]).reshape(rows, self.width)
        if not torch.isfinite(embeddings).all():
            raise ValueError("the embeddings hold numbers that are not finite")
        words = self._words(input_text, request_obj)
        item = MultimodalDataItem(
            modality=Modality.IMAGE,
            format=MultimodalInputFormat.PRECOMPUTED_EMBEDDING,
            precomputed_embeddings=embeddings,
            offsets=[(0, rows - 1)],
        )
        # The prefix's name in the radix cache: all of its digest, since a stranger could look for a collision of 64 bits
        item.set_identity(hashlib.sha256(f"{dtype} {rows} ".encode() + numbers).digest())
        return MultimodalProcessorOutput(input_ids=[_PLACEHOLDER] * rows + words, mm_items=[item], im_token_id=_PLACEHOLDER)

    def _refuse_what_crashes(self, request: Any, audio_data: Any) -> None:
        """Fields that this version of the server takes to its scheduler and dies of, or ignores without a word."""
        if not isinstance(getattr(request, "lora_path", None), (str, type(None))):
            raise ValueError("lora_path must be one name, not a list")
        if getattr(request, "positional_embed_overrides", None) is not None:
            raise ValueError("positional_embed_overrides cannot be used: send the embeddings as the image")
        if getattr(request, "input_embeds", None) is not None:
            raise ValueError("input_embeds cannot be used: send the embeddings as the image")
        if audio_data or getattr(request, "video_data", None):
            raise ValueError("the experts read embeddings and words, no sound and no film")
        if getattr(request, "session_params", None):
            raise ValueError("sessions cannot be used with embeddings: a prefix is cached by what it holds")

    def _words(self, input_text: Any, request: Any) -> list[int]:
        """The prompt's words as tokens: those that were sent, or of a text those that an expert was trained with."""
        text = getattr(request, "text", None)
        if isinstance(text, str):
            return [*self._tokenizer(text, add_special_tokens=False)["input_ids"], self.bos]
        words = list(input_text) if isinstance(input_text, (list, tuple)) else []
        if not words:
            raise ValueError("the prompt has no words: send input_ids or text")
        for word in words:
            if type(word) is not int or not 0 <= word < self.vocabulary:
                raise ValueError(f"input_ids holds {word!r:.40}, the vocabulary is 0 to {self.vocabulary - 1}")
        return words

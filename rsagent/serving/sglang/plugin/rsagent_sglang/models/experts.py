"""The model class: SGLang's own class of the base LLM, which takes embeddings in the place of an image's tokens.

Image encoder, VLM encoder and router run in the agent's process; the LLM is all that is served, with an adapter a request.
Only projections of the language model's layers carry LoRA.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

import torch
from sglang.srt.managers.mm_utils import general_mm_embed_routine, pad_mm_tokens
from sglang.srt.utils import add_prefix
from torch import nn

BASES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "mistral": ("mistral", "MistralForCausalLM"),
    "phi3": ("llama", "Phi3ForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "stablelm": ("stablelm", "StableLmForCausalLM"),
}
"""`model_type` of a base LLM -> SGLang's module and class. rsagent.serving.sglang.llm_files has the same list."""

_ADAPTED = re.compile(r"^language_model\.model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj$")


class RSMoEForCausalLM(nn.Module):
    """A base LLM behind F_VLM and a soft prompt."""

    def __init__(self, config: Any, quant_config: Any = None, prefix: str = "", **_: Any) -> None:
        super().__init__()
        if config.model_type not in BASES:
            raise ValueError(f"a base LLM of the type {config.model_type} is not served: {', '.join(BASES)}")
        module, name = BASES[config.model_type]
        base = getattr(importlib.import_module(f"sglang.srt.models.{module}"), name)
        self.config = config
        self.language_model = base(config, quant_config=quant_config, prefix=add_prefix("language_model", prefix))
        if not hasattr(self.language_model, "get_input_embeddings"):  # StableLM's class has none
            self.language_model.get_input_embeddings = self.get_input_embeddings

    def should_apply_lora(self, module_name: str) -> bool:
        """Whether an adapter may change the module of this name."""
        return _ADAPTED.match(module_name) is not None

    def pad_input_ids(self, input_ids: Any, mm_inputs: Any) -> Any:
        """Put what identifies the embeddings in the place of their tokens, so that the radix cache can tell prefixes apart."""
        return pad_mm_tokens(input_ids, mm_inputs)

    def get_input_embeddings(self) -> nn.Module:
        """The table of the words' embeddings."""
        return self.language_model.model.embed_tokens

    def get_language_model(self) -> nn.Module:
        """The base LLM."""
        return self.language_model

    def get_image_feature(self, items: Any) -> torch.Tensor:
        """Never called: the processor lets nothing through but finished embeddings."""
        raise NotImplementedError("this server sees no pictures: send embeddings")

    @torch.no_grad()
    def forward(self, input_ids: Any, positions: Any, forward_batch: Any, **_: Any) -> Any:
        """One step of the server's batch."""
        return general_mm_embed_routine(
            input_ids=input_ids,
            forward_batch=forward_batch,
            language_model=self.language_model,
            multimodal_model=self,
            positions=positions,
        )

    def load_weights(self, weights: Any) -> Any:
        """The LLM's own files, under its own names; of a larger model's files the part that `rsagent_part` names."""
        part = getattr(self.config, "rsagent_part", "")
        return self.language_model.load_weights(
            (name.removeprefix(part), tensor) for name, tensor in weights if name.startswith(part)
        )


EntryClass = RSMoEForCausalLM

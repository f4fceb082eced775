"""What stands in the LLM's place where the experts run elsewhere: its table of words, read when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from rsagent.errors import CheckpointError
from rsagent.model.checkpoint import llm_folder
from rsagent.model.config import RSMoEConfig

_TABLE = "model.embed_tokens.weight"
_INNER = f"language_model.{_TABLE}"  # of an LLM inside an InstructBLIP


class WordsOnly(nn.Module):
    """An LLM of which only the input embeddings are at hand."""

    def __init__(self, folder: Path, config: RSMoEConfig) -> None:
        """Remember where the LLM of the checkpoint in `folder` is; nothing is read."""
        super().__init__()
        self._folder = folder
        self._config = config
        self._table: nn.Embedding | None = None

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of the words' embeddings.

        Raises:
            CheckpointError: it cannot be found.
        """
        if self._table is None:
            self._table = nn.Embedding.from_pretrained(_read_table(llm_folder(self._folder, self._config)).float())
        return self._table


def _read_table(folder: Path) -> Tensor:
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with cast(Any, safe_open)(file, "pt") as stored:
                for name in {_TABLE, _INNER} & set(stored.keys()):
                    return cast(torch.Tensor, stored.get_tensor(name))
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{file} is damaged or no safetensors file: {error}") from error
    raise CheckpointError(f"the LLM in {folder} has no {_TABLE}")

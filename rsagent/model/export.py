"""A checkpoint for other programs: one expert merged into its LLM as a plain Hugging Face folder, and two compared."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rsagent.errors import CheckpointError, UserError
from rsagent.model.checkpoint import adapter_names, load_checkpoint, read_config
from rsagent.model.pretrained import line

if TYPE_CHECKING:
    from torch import Tensor


def merge_expert(folder: Path, expert: str, out: Path) -> Path:
    """The LLM of a checkpoint with one expert's adapter folded into its weights, and its tokenizer, in a new folder.

    What it reads is F_VLM and a soft prompt as embeddings, then the prompt; on text alone it is a language model.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        UserError: it has no such adapter, or `out` exists.
    """
    read_config(folder)
    names = adapter_names(folder / "experts")
    if expert not in names:
        raise UserError(f"{folder} has no adapter '{expert}': choose one of {', '.join(names)}")
    if out.exists():
        raise UserError(f"{out} exists: give a new folder")
    network = load_checkpoint(folder, adapters=[expert])
    plain = network.llm.merge_and_unload()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        plain.save_pretrained(partial)
        network.tokenizer.save_pretrained(partial)
        partial.chmod(0o755)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


@dataclass(frozen=True)
class Difference:
    """How one file of two checkpoints differs.

    Attributes:
        file: such as "experts/theme/adapter_model.safetensors".
        same, changed: tensors in both, of one shape, with equal and with other values.
        only: tensors that one of the two lacks, or that have another shape; "A" or "B" before the name of the first.
        change: the norm of all differences over the norm of A's values, or None where nothing can be compared.
    """

    file: str
    same: int
    changed: int
    only: tuple[str, ...]
    change: float | None


def compare(a: Path, b: Path) -> tuple[dict[str, tuple[Any, Any]], list[Difference]]:
    """What differs between two checkpoints.

    Returns:
        The keys of `config.json` that differ, each with A's and B's value, and a row for every safetensors file.

    Raises:
        CheckpointError: one of them is no checkpoint, or damaged.
    """
    first, second = (_flat(read_config(folder).model_dump()) for folder in (a, b))
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    files = sorted({file.relative_to(folder).as_posix() for folder in (a, b) for file in folder.rglob("*.safetensors")})
    return {key: (first.get(key), second.get(key)) for key in keys}, [_difference(a, b, file) for file in files]


def _difference(a: Path, b: Path, file: str) -> Difference:
    from safetensors import SafetensorError, safe_open

    paths = [folder / file for folder in (a, b)]
    if not all(path.is_file() for path in paths):
        return Difference(file, 0, 0, ("A" if paths[0].is_file() else "B",), None)
    same = changed = 0
    only: list[str] = []
    apart = size = 0.0
    try:
        with cast(Any, safe_open)(paths[0], "pt") as left, cast(Any, safe_open)(paths[1], "pt") as right:
            names = set(left.keys()), set(right.keys())
            only += [f"A {name}" for name in sorted(names[0] - names[1])] + [
                f"B {name}" for name in sorted(names[1] - names[0])
            ]
            for name in sorted(names[0] & names[1]):
                one, other = cast("Tensor", left.get_tensor(name)).float(), cast("Tensor", right.get_tensor(name)).float()
                if one.shape != other.shape:
                    only.append(f"A and B in other shapes {name}")
                    continue
                distance = float((one - other).norm()) ** 2
                apart, size = apart + distance, size + float(one.norm()) ** 2
                same, changed = same + (distance == 0), changed + (distance > 0)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged in {a} or {b}: {line(error)}") from error
    return Difference(file, same, changed, tuple(only), (apart / size) ** 0.5 if size else None)


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= _flat(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found

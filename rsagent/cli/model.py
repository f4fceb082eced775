"""`rsagent model`: what a checkpoint is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from rsagent.cli import options
from rsagent.cli.console import result, result_json

app = typer.Typer(help="Checkpoints.", no_args_is_help=True)


@app.callback()
def model() -> None:
    """RS-MoE checkpoints."""


@app.command()
def show(
    checkpoint: Annotated[str | None, typer.Argument(metavar="FOLDER", help="The one in force if left out.")] = None,
    as_json: options.Json = False,
) -> None:
    """What a checkpoint holds: its parts and sizes, experts, styles; nothing is loaded but headers."""
    from rsagent.model.checkpoint import EMBEDDED, read_config
    from rsagent.settings import Settings

    named = Settings.load(checkpoint=checkpoint).checkpoint
    folder = Path(named) if named else EMBEDDED
    config = read_config(folder)
    parts = {file.relative_to(folder).as_posix(): _tensors(file) for file in sorted(folder.rglob("*.safetensors"))}
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if as_json:
        result_json({"folder": str(folder), "bytes": size, "config": config.model_dump(), "parts": parts})
        return
    result([f"{config.name}: {folder}", f"  format: {config.format}", f"  size on disk: {size / 1e6:.1f} MB"])
    result(
        [
            f"  experts: {', '.join(config.experts)}",
            f"  composer styles: {', '.join(config.composer_styles) or 'none'}",
        ]
    )
    result([f"  LLM: {config.llm}, {config.llm_dim} wide"])
    result([f"  image encoder: {config.image_encoder.kind}, {config.image_encoder.size} pixels a side"])
    vlm = config.vlm_encoder
    result([f"  VLM encoder: {vlm.layers} layers, {vlm.dim} wide, {config.queries} query tokens"])
    result([f"  router: {config.router.soft_prompts} soft prompts an expert, rank {config.router.rank}"])
    result([f"  {name}: {part['parameters']:,} parameters, {part['dtype']}" for name, part in parts.items()])
    if (folder / "README.md").is_file():
        result([f"  model card: {folder / 'README.md'}"])


def _tensors(file: Path) -> dict[str, Any]:
    """How many parameters a safetensors file holds, and of which types, by its header.

    Raises:
        CheckpointError: it is damaged.
    """
    from math import prod

    from safetensors import SafetensorError, safe_open

    from rsagent.errors import CheckpointError

    shapes: list[list[int]] = []
    kinds: set[str] = set()
    try:
        with cast("Any", safe_open(file, framework="numpy")) as tensors:
            for name in tensors.keys():
                part: Any = tensors.get_slice(name)
                shapes.append(part.get_shape())
                kinds.add(str(part.get_dtype()))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    return {"parameters": sum(map(prod, shapes)), "dtype": ", ".join(sorted(kinds))}

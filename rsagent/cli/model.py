"""`rsagent model`: what a checkpoint is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from rsagent.cli import model_get, options
from rsagent.cli.console import result, result_json

app = typer.Typer(help="Checkpoints.", no_args_is_help=True)


@app.callback()
def model() -> None:
    """RS-MoE checkpoints."""


app.command()(model_get.get)
app.command("list")(model_get.list_shipped)


@app.command()
def show(
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="FOLDER", help="Or tiny, small; the one in force if left out.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """What a checkpoint holds: its parts and sizes, experts, styles; nothing is loaded but headers."""
    from rsagent.model.checkpoint import read_config

    folder = _folder(checkpoint)
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
    read = f"{config.queries} query tokens, {config.visual_tokens} read by the LLM"
    result([f"  VLM encoder: {vlm.layers} layers, {vlm.dim} wide, {read}"])
    result([f"  router: {config.router.soft_prompts} soft prompts an expert, rank {config.router.rank}"])
    result([f"  {name}: {part['parameters']:,} parameters, {part['dtype']}" for name, part in parts.items()])
    if (folder / "README.md").is_file():
        result([f"  model card: {folder / 'README.md'}"])


@app.command()
def merge(
    expert: Annotated[str, typer.Argument(metavar="EXPERT", help="Whose adapter: theme, object, relation, composer, ...")],
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder, as transformers reads them.")],
    checkpoint: options.Checkpoint = None,
) -> None:
    """Fold one expert's adapter into its LLM. The result is a plain Hugging Face folder."""
    from rsagent.model.export import merge_expert

    result([str(merge_expert(_folder(checkpoint), expert, out))])


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A checkpoint folder, or tiny or small.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    as_json: options.Json = False,
) -> None:
    """What two checkpoints differ in: configuration, parts, and by how much their weights are apart."""
    from dataclasses import asdict

    from rsagent.model.export import compare

    keys, files = compare(_folder(a), _folder(b))
    if as_json:
        result_json({"config": {key: list(pair) for key, pair in keys.items()}, "files": [asdict(file) for file in files]})
        return
    if not keys and not any(file.changed or file.only for file in files):
        result(["no difference"])
        return
    result([f"config {key}: {was!r} -> {now!r}" for key, (was, now) in keys.items()])
    for file in files:
        apart = "" if file.change is None else f", {file.change:.2%} apart"
        odd = f", {len(file.only)} in one alone ({file.only[0]})" if file.only else ""
        result([f"{file.file}: {file.same} tensors equal, {file.changed} changed{apart}{odd}"])


def _folder(checkpoint: str | None) -> Path:
    """The folder of a checkpoint by name; the one in force where none is named."""
    from rsagent.model.shipped import checkpoint_folder
    from rsagent.settings import Settings

    return checkpoint_folder(Settings.load(checkpoint=checkpoint).checkpoint)


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

"""`rsagent train plan`, `placement` and `check`: what a training does and costs, before it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsagent.cli import options
from rsagent.cli.console import result, result_json, say
from rsagent.errors import UserError

if TYPE_CHECKING:
    from rsagent.training.check import Checked
    from rsagent.training.recipe import Recipe

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe file, or the name of one of ours.")]
Changes = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, such as optim.lr=3e-5.")]
Gpu = Annotated[str, typer.Option(metavar="NAME", help="a100, a100-40, h100, h200, l40s or rtx4090.")]


def plan(recipe: RecipeName, changes: Changes = None, gpu: Gpu = "a100") -> None:
    """Print launch lines, memory and hours. From the recipe's sizes alone: nothing is downloaded."""
    from rsagent.training.plan import plan_lines

    result(plan_lines(_load(recipe, changes), gpu))


def placement(recipe: RecipeName, changes: Changes = None, as_json: options.Json = False) -> None:
    """Print what each stage trains. Counted on a network of the true size that takes no memory."""
    from dataclasses import asdict

    from rsagent.training.placement import placement as places

    chosen = _load(recipe, changes)
    if chosen.weights is None:
        raise UserError(f"the recipe {chosen.name} trains its base in full: placement is told of recipes with weights")
    rows = places(chosen)
    if as_json:
        result_json([asdict(row) for row in rows])
        return
    width = max(len(row.module) for row in rows)
    result([f"{'stage':7} {'part':11} {'module':{width}} {'places':>6} {'trained':>12}  how"])
    result([f"{r.stage:7} {r.part:11} {r.module:{width}} {r.count:6} {r.parameters:12,}  {r.how}" for r in rows])
    for stage in sorted({row.stage for row in rows}):
        result([f"{stage}: {sum(row.parameters for row in rows if row.stage == stage):,} parameters are trained"])


def check(
    recipe: RecipeName,
    changes: Changes = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", envvar="RSAGENT_DATA", help="Folder that holds the data sets.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the run would go; runs/NAME if left out.")] = None,
    gpu: Gpu = "a100",
    step: Annotated[bool, typer.Option(help="Load the weights and make one forward and backward pass.")] = True,
    as_json: options.Json = False,
) -> None:
    """Look before it costs. Files, splits, aspects, tokens, one step, memory, time, disk."""
    from rsagent.cli.train import data_folder
    from rsagent.training.check import check_data

    chosen = _load(recipe, changes)
    checked, corpus = check_data(chosen, data_folder(data), out or Path("runs") / chosen.name)
    if step:
        _try(chosen, checked, corpus)
    if as_json:
        result_json(_as_json(checked))
    else:
        result(_lines(chosen, checked, gpu))
    for fault in checked.faults:
        say(fault)
    if checked.faults:
        raise typer.Exit(1)


def _try(recipe: Recipe, checked: Checked, corpus: Any) -> None:
    """Load what the recipe names, count the tokens and make one step."""
    from rsagent.training.beginning import network_to_try
    from rsagent.training.check import count_tokens, one_step

    network = network_to_try(recipe, corpus)
    checked.tokens = count_tokens(corpus, network.tokenizer, network.config.visual_tokens)
    checked.step = one_step(recipe, corpus, network)


def _lines(recipe: Recipe, checked: Checked, gpu: str) -> list[str]:
    from rsagent.training.plan import plan_lines

    lines = [f"{recipe.name}: {checked.pictures:,} training pictures"]
    for style, parts in checked.splits.items():
        lines.append(f"  {style}: " + ", ".join(f"{part} {count:,}" for part, count in sorted(parts.items())))
    lines += [f"  cannot be read: {fault}" for fault in checked.unreadable]
    for caption, aspects in checked.aspects:
        lines.append(f"caption: {caption}")
        lines += [f"  {expert}: {text or '(nothing)'}" for expert, text in aspects.items()]
    tokens = None
    if checked.tokens:
        mean, most, cut = checked.tokens
        tokens = round(mean)
        lines.append(f"tokens an image: {mean:.0f}, at most {most}; {cut:.1%} of the targets are cut")
    if step := checked.step:
        expected = "" if step.expected_gigabytes is None else f" ({step.expected_gigabytes:.1f} were expected)"
        images = recipe.first_stage.images_a_pass(1)
        took = f"{step.seconds:.1f} s, {step.gigabytes:.1f} GB at most{expected}"
        lines.append(f"one step {'of' if recipe.stage1 else 'as in'} stage I, {images} images: {took}")
    if recipe.weights:
        lines += plan_lines(recipe, gpu, tokens=tokens)
    needed = sum(checked.needed.values())
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in checked.needed.items())
    lines.append(f"disk: {needed / 1e9:.2f} GB needed ({parts}), {checked.free / 1e9:.1f} free")
    return lines


def _as_json(checked: Checked) -> dict[str, Any]:
    from dataclasses import asdict

    found = asdict(checked)
    found["splits"] = {style: dict(parts) for style, parts in checked.splits.items()}
    return found


def _load(recipe: str, changes: list[str] | None) -> Recipe:
    from rsagent.cli.train import recipe_path
    from rsagent.training.recipe import load_recipe

    return load_recipe(recipe_path(recipe), changes or ())

"""`rsagent train`: the stages of training, and rendered scenes as files. Thin commands over `rsagent.training`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rsagent.cli import train_data, train_plan
from rsagent.cli.console import SlowProgress, result
from rsagent.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from rsagent.training.recipe import Recipe

app = typer.Typer(help="Train a checkpoint of your own.", no_args_is_help=True)

RecipeFile = Annotated[str, typer.Option(metavar="FILE", help="Recipe, or the name of one of ours, such as tiny.")]
Changes = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, such as optim.lr=3e-5.")]
Data = Annotated[Path | None, typer.Option(metavar="FOLDER", envvar="RSAGENT_DATA", help="Folder that holds the data sets.")]
Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where everything goes; runs/NAME if left out.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")]


@app.callback()
def train() -> None:
    """Train: the stages base, stage1 and stage2, each resumable, or all of them."""


@app.command()
def base(
    changes: Changes = None, recipe: RecipeFile = "tiny", data: Data = None, out: Out = None, resume: Resume = False
) -> None:
    """Train what has no pretrained weights. The image encoder is fine-tuned, Q-Former and LLM start from nothing."""
    _train("base", recipe, changes, data, out, resume)


@app.command()
def stage1(
    changes: Changes = None, recipe: RecipeFile = "tiny", data: Data = None, out: Out = None, resume: Resume = False
) -> None:
    """Train stage I. LoRA in the VLM encoder and the LLM; runs base first if it has not run."""
    _train("stage1", recipe, changes, data, out, resume)


@app.command()
def stage2(
    changes: Changes = None, recipe: RecipeFile = "tiny", data: Data = None, out: Out = None, resume: Resume = False
) -> None:
    """Train stage II. Router and experts; runs the stages before it that have not run."""
    _train("stage2", recipe, changes, data, out, resume)


@app.command(name="all")
def everything(
    changes: Changes = None, recipe: RecipeFile = "tiny", data: Data = None, out: Out = None, resume: Resume = False
) -> None:
    """Train all stages. What an earlier run has finished is used again."""
    _train("stage2", recipe, changes, data, out, resume)


app.command()(train_plan.plan)
app.command()(train_plan.placement)
app.command()(train_plan.check)
app.add_typer(train_data.app, name="data")


@app.command()
def scenes(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder for pictures and scenes.jsonl.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="train, val or test.")] = "train",
    count: Annotated[int, typer.Option(metavar="N", min=1, help="How many scenes.")] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="The first scene's number.")] = 0,
) -> None:
    """Render scenes. Pictures with captions and questions that are true by construction."""
    from rsagent.training.scene_sets import write_scenes

    report = SlowProgress()
    result([str(write_scenes(out, split, count, seed, lambda done, of: report("scenes", done, of)))])


def _train(
    stage: Literal["base", "stage1", "stage2"],
    recipe: str,
    changes: list[str] | None,
    data: Path | None,
    out: Path | None,
    resume: bool,
) -> None:
    """Check what can be checked before the heavy imports, then train up to `stage` and print what came of it."""
    import logging
    from importlib.util import find_spec

    from rsagent.training.recipe import load_recipe

    chosen = load_recipe(recipe_path(recipe), changes or ())
    if stage == "base" and chosen.base is None:
        raise UserError(f"the recipe {chosen.name} has no stage base, since that comes from elsewhere: begin with stage1")
    data = data_folder(data)
    folder = _out_folder(out, chosen, resume)
    if find_spec("accelerate") is None:
        raise MissingExtra("accelerate", "train", "training")
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO, datefmt="%H:%M:%S")
    from rsagent.training.stages import train_until

    left = train_until(stage, chosen, data, folder, SlowProgress(), resume=resume)
    if os.environ.get("RANK", "0") == "0":  # several processes train one checkpoint
        result([str(left)])


def recipe_path(recipe: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with rsagent.

    Raises:
        UserError: it is neither.
    """
    import rsagent.training

    shipped = Path(rsagent.training.__file__).parent / "recipes" / f"{recipe}.yaml"
    if os.sep in recipe or Path(recipe).exists():
        return Path(recipe)
    if not shipped.exists():
        ours = sorted(file.stem for file in shipped.parent.glob("*.yaml"))
        raise UserError(f"no recipe '{recipe}': give a file, or one of {', '.join(ours)}")
    return shipped


def data_folder(data: Path | None) -> Path:
    """The folder that holds the data sets.

    Raises:
        UserError: none was named, or there is no such folder.
    """
    if data is None:
        raise UserError("no data: give --data FOLDER, or set RSAGENT_DATA, to the folder that holds the data sets")
    if not data.is_dir():
        raise UserError(f"--data: {data} is no folder; give the one that holds the data sets")
    return data


def _out_folder(out: Path | None, recipe: Recipe, resume: bool) -> Path:
    """The folder of the run, made if need be.

    Raises:
        UserError: a run lies in it and was not to be resumed, or it cannot be made.
    """
    folder = out or Path("runs") / recipe.name
    if not resume and folder.is_dir() and any(folder.glob("*.safetensors")):
        raise UserError(f"{folder} holds an earlier run: add --resume to go on with it, or give another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: {folder} cannot be made: {error.strerror}") from error
    return folder

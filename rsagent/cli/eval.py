"""`rsagent eval`: a data set put to a model, runs compared, and the pages of results. Thin over `rsagent.evaluation`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from rsagent.cli import eval_paper, eval_trial, options
from rsagent.cli.console import decorated, result, result_json, say, terminal
from rsagent.cli.evaluating import RUNS, Evaluation
from rsagent.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsagent.evaluation.table import Table

_WIDE = 180
"""Columns of a table that goes into a file or a pipe."""


class Sets(TyperGroup):
    """The commands; a first word that is none of them is the data set of `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before the name of a data set: `rsagent eval rsicd` evaluates on RSICD."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=Sets, help="Evaluate: rsagent eval DATASET, then compare and report.", no_args_is_help=True)


@app.callback()
def eval_() -> None:
    """Evaluate a model on a data set (rsagent eval DATASET), compare runs, write the pages of results."""


@app.command()
def run(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="rsicd, rsivqa, scenes-captions, ...: rsagent data list.")],
    split: Annotated[str, typer.Option(metavar="PART", help="test, val+test, ...; the usual one if left out.")] = "",
    model: Annotated[
        str | None, typer.Option("--model", "--checkpoint", metavar="FOLDER|NAME", help="Checkpoint, or the chat model's name.")
    ] = None,
    engine: options.Engine = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The run's folder; in runs/eval if left out.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", envvar="RSAGENT_DATA", help="Folder of the data sets.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=2, help="N images alone, for a quick look.")] = None,
    style: options.Style = None,
    best: options.Best = False,
    router: Annotated[
        Literal["own", "shuffled", "zero", "mean", "text", "open", "swapped"],
        typer.Option(help="What the experts get from the router; `eval trial` runs them all."),
    ] = "own",
    single: Annotated[bool, typer.Option("--single", help="Stage I's one LLM, without router, experts and composer.")] = False,
    encoder: Annotated[bool, typer.Option(help="The floors that need features of all training images.")] = True,
    meteor: Annotated[bool, typer.Option(help="METEOR too: slower, needs 2 GB of memory.")] = True,
    device: options.Device = None,
    dtype: options.Dtype = None,
    max_tokens: options.MaxTokens = None,
    seed: options.Seed = None,
    prompts: options.Prompts = None,
    url: options.Url = None,
    as_json: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Evaluate a model on a data set, beside its floors. The same command goes on with a run that was interrupted."""
    from rsagent.cli.runtime import run_async
    from rsagent.settings import Settings

    chosen_engine = engine or Settings.load().engine
    named: dict[str, Any] = {"chat_model": model} if chosen_engine == "openai" else {"checkpoint": model}
    settings = Settings.load(
        **named, engine=engine, url=url, style=style, best=best or None, device=device, dtype=dtype,
        max_tokens=max_tokens, seed=seed, prompts=prompts,
    )  # fmt: skip
    if router != "own" and settings.engine != "local":
        raise UserError(f"--router {router}: only the engine local can change it; leave --engine out")
    if single and (settings.engine != "local" or router != "own" or settings.best):
        raise UserError("--single: one LLM on the engine local, without router and beams; leave the other option out")
    evaluation = Evaluation(
        dataset, split, settings, style=style, data=data, limit=limit, router=router, single=single, encoder=encoder,
        meteor=meteor,
    )  # fmt: skip
    _, done = run_async(evaluation.conduct(out))
    show(done.tables, as_json, plain)
    if not done.complete:
        say("partial: some items have no full answer; the same command asks for them again")
    raise typer.Exit(0 if done.complete else 1)


def show(tables: Sequence[Table], as_json: bool, plain: bool) -> None:
    """Print tables on stdout: for a terminal, or in a width that holds them; or as JSON."""
    from rich.console import Console

    from rsagent.evaluation.table import print_table, to_data

    if as_json:
        result_json(to_data(tables))
        return
    console = (
        terminal() if decorated(plain) else Console(width=_WIDE, markup=False, emoji=False, highlight=False, no_color=True)
    )
    for table in tables:
        print_table(table, console)


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="A B ...", help="Folders of runs on one set; A is held against the others.")
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page with pictures; comparison.html in A's folder if left out.")
    ] = None,
    meteor: Annotated[bool, typer.Option(help="METEOR too, of captions: slower, needs 2 GB of memory.")] = True,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the bootstrap and the test.")] = 0,
    as_json: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Compare runs. Prints a paired table, writes one page with pictures: where they differ, the worst first."""
    from rsagent.evaluation.comparison import compare_runs
    from rsagent.evaluation.page import write_page

    compared = compare_runs(runs, meteor=meteor, seed=seed)
    show(compared.tables, as_json, plain)
    page = html or runs[0] / "comparison.html"
    write_page(compared, page)
    say(f"the page is {page}")


@app.command()
def report(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN ...]", help="Folders of runs; all of --runs if left out.")
    ] = None,
    folder: Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where runs are looked for.")] = RUNS,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the pages go.")] = Path("docs/results"),
    block: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Page whose block of figures is written anew; README.md where it has one."),
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Pages keep nothing of what they held before.")] = False,
) -> None:
    """Write the pages of results: Markdown from stored runs, one page a set; unfinished runs are left out by name."""
    from rsagent.evaluation.figures_block import has_block, write_block
    from rsagent.evaluation.report import write_report

    chosen = list(runs or ()) or sorted(path.parent for path in folder.glob("*/run.json"))
    found = write_report(chosen, out, anew=anew)
    for line in found.left_out:
        say(line)
    readme = Path("README.md")
    page = block or (readme if has_block(readme) else None)
    if page is not None:
        write_block(page, out)
    result([str(path) for path in (*found.pages, *([page] if page else []))])
    raise typer.Exit(0 if found.pages else 1)


app.command()(eval_trial.trial)
app.command()(eval_paper.paper)

"""`rsagent eval`: a data set put to a model, runs compared, and the pages of results. Thin over `rsagent.evaluation`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from rsagent.cli import options
from rsagent.cli.console import decorated, result, result_json, say, terminal
from rsagent.errors import UserError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from rsagent.engines.ablation import SoftPrompts
    from rsagent.engines.base import Engine
    from rsagent.evaluation.asking import Speaker
    from rsagent.evaluation.caption_floors import Seen
    from rsagent.evaluation.sets import EvaluationSet
    from rsagent.evaluation.table import Table
    from rsagent.prompts import Prompts
    from rsagent.settings import Settings

RUNS = Path("runs/eval")
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
    soft_prompts: Annotated[
        Literal["own", "shuffled", "zero"],
        typer.Option(help="Whose soft prompts the experts read: the image's, another's, or none."),
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
    if soft_prompts != "own" and settings.engine != "local":
        raise UserError(f"--soft-prompts {soft_prompts}: only the engine local can change them; leave --engine out")
    if single and (settings.engine != "local" or soft_prompts != "own" or settings.best):
        raise UserError("--single: one LLM on the engine local, without soft prompts and beams; leave the other option out")
    complete = run_async(
        _Evaluation(dataset, split, settings, style, data, limit, soft_prompts, single, encoder, meteor).conduct(
            out, as_json, plain
        )
    )
    raise typer.Exit(0 if complete else 1)


class _Evaluation:
    """One call of `run`: from the options to tables."""

    def __init__(
        self,
        dataset: str,
        split: str,
        settings: Settings,
        style: str | None,
        data: Path | None,
        limit: int | None,
        soft_prompts: SoftPrompts,
        single: bool,
        encoder: bool,
        meteor: bool,
    ) -> None:
        from rsagent.cli.runtime import prompts_for
        from rsagent.evaluation.sets import open_set

        self.settings, self.encoder, self.meteor, self.limit = settings, encoder, meteor, limit
        self.soft_prompts: SoftPrompts = soft_prompts
        self.single = single
        self.prompts: Prompts = prompts_for(settings)
        opened = open_set(dataset, data, split, limit=limit)
        self.chosen = _for_model(opened, style, settings, self.prompts)

    async def conduct(self, out: Path | None, as_json: bool, plain: bool) -> bool:
        """Run to the end; whether every item was answered."""
        from rsagent.evaluation.conduct import conduct
        from rsagent.evaluation.run_folder import RunFolder

        config = self._config()
        name = "-".join(part for part in (self.chosen.name, self.chosen.split, str(config["model"]), self._special()) if part)
        folder = RunFolder.begin(out or RUNS / name, config, len(self.chosen.items))
        folder.keep_prompts(self.prompts.model_dump_json(indent=1, exclude_none=True))
        say(f"the run lies in {folder.path}; the same command goes on with it")
        async with self._speaker(await self._engine()) as speaker:
            done = await conduct(speaker, self.chosen, folder, self._see, meteor=self.meteor, seed=self.settings.seed)
        show(done.tables, as_json, plain)
        if not done.complete:
            say("partial: some items have no full answer; the same command asks for them again")
        return done.complete

    def _config(self) -> dict[str, Any]:
        """What must be the same to go on with a run."""
        from rsagent.evaluation.identity import spoken_with

        settings = self.settings
        digest = self._digest()
        return {
            "dataset": self.chosen.name,
            "split": self.chosen.split,
            "limit": self.limit,
            "items": self.chosen.digest()[:16],
            "engine": settings.engine,
            "checkpoint": digest,
            "model": (settings.chat_model or "chat") if settings.engine == "openai" else (digest or settings.engine)[:12],
            "style": self.chosen.style or None,
            "soft_prompts": self.soft_prompts,
            "single": self.single,
            **spoken_with(settings, self.prompts, single=self.single),
        }

    def _digest(self) -> str | None:
        """The checkpoint's digest; None for an engine without one."""
        if self.settings.engine not in ("local", "sglang"):
            return None
        from rsagent.model.checkpoint import checkpoint_digest, read_config

        read_config(self._checkpoint())
        return checkpoint_digest(self._checkpoint())

    def _checkpoint(self) -> Path:
        from rsagent.model.checkpoint import EMBEDDED

        return Path(self.settings.checkpoint) if self.settings.checkpoint else EMBEDDED

    def _special(self) -> str:
        """What in a folder's name tells a run from the plain one."""
        parts = ["best" if self.settings.best else "", "" if self.soft_prompts == "own" else f"{self.soft_prompts}-prompts"]
        parts.append("single" if self.single else "")
        return "-".join(part for part in [*parts, f"limit{self.limit}" if self.limit else ""] if part)

    @asynccontextmanager
    async def _speaker(self, engine: Engine) -> AsyncGenerator[Speaker]:
        """Who is evaluated: the whole graph on the engine, or stage I's LLM alone."""
        from rsagent.agent import RSAgent
        from rsagent.evaluation.asking import agent_speaks, single_speaks

        patience = max(self.settings.expert_timeout_s, 600.0)  # another load on the machine must not cost quality
        async with RSAgent(
            engine, prompts=self.prompts, max_tokens=self.settings.max_tokens, expert_timeout_s=patience
        ) as agent:
            yield single_speaks(engine, self.prompts) if self.single else agent_speaks(agent)

    async def _engine(self) -> Engine:
        import asyncio

        from rsagent.cli.runtime import load_engine

        if self.single:
            from rsagent.engines.local import LocalEngine

            settings = self.settings
            return await asyncio.to_thread(
                LocalEngine.load, settings.checkpoint, device=settings.device, dtype=settings.dtype, seed=settings.seed,
                prompts=self.prompts, max_pixels=settings.max_pixels, single=True,
            )  # fmt: skip
        if self.soft_prompts == "own":
            return await asyncio.to_thread(load_engine, self.settings, self.prompts, None)
        from rsagent.engines.ablation import AblatedEngine
        from rsagent.evaluation.partners import partners

        settings = self.settings
        engine = await asyncio.to_thread(
            AblatedEngine.load, settings.checkpoint, device=settings.device, dtype=settings.dtype, seed=settings.seed,
            best=settings.best, prompts=self.prompts, max_pixels=settings.max_pixels,
        )  # fmt: skip
        engine.ablate(self.soft_prompts, partners(self.chosen.images, settings.seed, max_pixels=settings.max_pixels))
        return engine

    def _see(self, chosen: EvaluationSet) -> Seen | None:
        """Features of the model's own image encoder, unless it has none here or they are not wanted."""
        wanted = chosen.task != "answer" and self.encoder and self.settings.engine in ("local", "sglang")
        if not wanted:
            return None
        from rsagent.evaluation.readout import load_encoder
        from rsagent.evaluation.run import Run
        from rsagent.evaluation.seeing import see_set

        seen = Run.open(self._checkpoint(), RUNS / ".features")
        return see_set(seen, chosen, load_encoder(seen))


def _for_model(opened: EvaluationSet, style: str | None, settings: Settings, prompts: Prompts) -> EvaluationSet:
    """The set in the style that is asked for; a chat model is told the closed list of classes."""
    from dataclasses import replace

    if opened.task == "caption":
        fitting = style or (opened.style if opened.style in prompts.styles else settings.style)
        prompts.caption_instruction(fitting)
        return replace(opened, style=fitting)
    if opened.task == "classify" and settings.engine == "openai":
        question = f"Which of these does the picture show: {', '.join(opened.classes.values())}? Answer with one of them."
        return replace(
            opened,
            items=[replace(item, question=question) for item in opened.items],
            train=[replace(item, question=question) for item in opened.train],
        )
    return opened


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
) -> None:
    """Write the pages of results: Markdown from stored runs, one page a set; unfinished runs are left out by name."""
    from rsagent.evaluation.report import write_report

    found = write_report(list(runs or ()) or sorted(path.parent for path in folder.glob("*/run.json")), out)
    for line in found.left_out:
        say(line)
    result([str(path) for path in found.pages])
    raise typer.Exit(0 if found.pages else 1)

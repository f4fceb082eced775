"""`rsagent eval paper table1 ... table8`: the RS-MoE paper's tables, run on the data at hand at the default's scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsagent.cli import options
from rsagent.cli.console import result, say
from rsagent.cli.evaluating import Evaluation
from rsagent.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from rsagent.evaluation.paper.page import OnSet
    from rsagent.evaluation.paper.parallel import Failure
    from rsagent.evaluation.paper.specs import PaperTable, TrainedArm
    from rsagent.evaluation.paper.trainings import Plan
    from rsagent.evaluation.run_folder import RunFolder
    from rsagent.evaluation.sets import EvaluationSet
    from rsagent.evaluation.table import Table
    from rsagent.settings import Settings

RESULTS = Path("docs/results")
MINUTES, RATE = 10, 900


def paper(
    table: Annotated[str, typer.Argument(metavar="table1|...|table8", help="By the paper's numbering.")],
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", envvar="RSAGENT_DATA", help="Folder of the data sets.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "--checkpoint", metavar="FOLDER", help="The model of tables without trainings.")
    ] = None,
    recipe: Annotated[str, typer.Option(metavar="FILE", help="Recipe of the trainings, or the name of one.")] = "tiny-4",
    base: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A training whose base, tokenizer and features are used.")
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY,...", help="Only these arms, by the names of their folders; the reference is always there."),
    ] = None,
    composer: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0.01, max=0.9, help="Of an arm's images for its composer; a fifth if left out."),
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, max=20, help="Trainings an arm.")] = 3,
    images: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Images that an arm sees, in place of --minutes at --rate.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", min=0.01, help=f"Of training an arm, at --rate; {MINUTES} if left out.")
    ] = None,
    rate: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"Images a minute; {RATE} if left out. Minutes x this is the budget.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Trainings at a time, each with its share of the cores.")
    ] = 1,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A change to the recipe of every arm.")
    ] = None,
    runs: Annotated[Path, typer.Option(metavar="FOLDER", help="Where trainings and their runs lie.")] = Path("runs/paper"),
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page; docs/results/paper-tableN.md if left out.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=2, help="N images of each set, for a quick look.")] = None,
    meteor: Annotated[bool, typer.Option(help="METEOR too: slower, needs 2 GB of memory.")] = True,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be trained and evaluated.")] = False,
    as_json: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Run one of the paper's tables. Missing data is named; trainings and runs go on after a kill."""
    from rsagent.cli.eval import show
    from rsagent.evaluation.paper.page import paper_tables
    from rsagent.evaluation.paper.trainings import Plan
    from rsagent.settings import Settings

    whole = parse_table(table)
    wanted = whole.with_arms([key.strip() for given in arms or () for key in given.split(",") if key.strip()])
    if composer is not None:
        whole, wanted = whole.with_composer(composer), wanted.with_composer(composer)
    budget = _budget(images, minutes, rate)
    said = budget[1] if composer is None else f"{budget[1]}, {composer:.0%} of them for the composer"
    sets, missing = _at_hand(wanted, data, limit)
    for line in missing:
        say(line)
    settings = Settings.load(checkpoint=model, engine="local")
    work = _Work(wanted, sets, settings, limit, meteor)
    if wanted.arms:
        from rsagent.cli.train import data_folder, recipe_path

        work.training = Plan(runs, data_folder(data), recipe_path(recipe), budget[0], base, tuple(change or ()))
    if plan:
        result(work.plan_lines(seeds))
        return
    counted = work.counted(seeds)
    found = work.run(seeds, jobs)
    left_out = [arm for arm in whole.arms if arm not in wanted.arms]
    untrained = work.untrained(seeds)
    tables = [*paper_tables(wanted, found, missing, left_out=left_out, untrained=untrained), *counted]
    if untrained and not any(on.arms or on.plain for on in found):
        say("no arm is trained, so no page is written; the same command goes on with what is missing")
        raise typer.Exit(work.failures[0].exit_code)
    show(tables, as_json, plain)
    if limit and not out:
        say("a quick look: no page is written; --out FILE writes one")
    else:
        _write(wanted, tables, found, out, Path(recipe).stem, said, seeds)
    if untrained:
        say(f"not trained: {'; '.join(untrained)}; the same command goes on with what is missing")
    raise typer.Exit(1 if missing or untrained else 0)


def _budget(images: int | None, minutes: float | None, rate: int | None) -> tuple[int, str]:
    """The images of an arm, and how they were given.

    Raises:
        UserError: they were given twice.
    """
    if images is not None:
        if minutes is not None or rate is not None:
            raise UserError("--images says what an arm sees: leave out --minutes and --rate")
        return images, f"{images:,} images"
    minutes, rate = MINUTES if minutes is None else minutes, RATE if rate is None else rate
    return int(minutes * rate), f"{int(minutes * rate):,} images, {minutes:g} minutes at {rate:,} images a minute"


def parse_table(text: str) -> PaperTable:
    """The table that "table3" or "3" names.

    Raises:
        UserError: the paper has no such table.
    """
    from rsagent.evaluation.paper.specs import TABLES

    number = text.strip().lower().removeprefix("table")
    if not number.isdecimal() or int(number) not in TABLES:
        raise UserError(f"the paper has no {text[:40]!r} with figures: choose from table1 to table{max(TABLES)}")
    return TABLES[int(number)]


def _at_hand(table: PaperTable, data: Path | None, limit: int | None) -> tuple[list[EvaluationSet], list[str]]:
    """The sets of a table that can be opened, and a line for each that cannot."""
    from rsagent.evaluation.sets import open_set

    opened: list[EvaluationSet] = []
    missing: list[str] = []
    for name, _, part in (one.partition(":") for one in table.sets):
        try:
            opened.append(open_set(name, data, part, limit=limit))
        except UserError as error:
            missing.append(f"missing: {name}, {part}: {_short(error)} `rsagent data fetch-help {name}` says how to get it.")
    return opened, missing


def _short(error: UserError) -> str:
    """Why, without the advice that follows and without the place, which is of one machine."""
    text = str(error)
    return "it is not there." if "there (looked for" in text or "holds nothing" in text else f"{text.partition(';')[0]}."


class _Work:
    """Trainings and runs of one table."""

    training: Plan | None = None
    failures: Sequence[Failure] = ()

    def __init__(
        self, table: PaperTable, sets: list[EvaluationSet], settings: Settings, limit: int | None, meteor: bool
    ) -> None:
        self.table, self.sets, self.settings = table, sets, settings
        self.common: dict[str, Any] = {"limit": limit, "meteor": meteor}

    def plan_lines(self, seeds: int) -> list[str]:
        """What would be done."""
        lines = [f"evaluated on {one.name}, {one.split}: {len(one.items)} items" for one in self.sets]
        if self.training is None or not self.sets:
            return lines or ["nothing: no set is at hand"]
        from rsagent.evaluation.paper.trainings import plan_lines

        return [*plan_lines(self.table.arms, seeds, self.training, _shipped()), *lines]

    def counted(self, seeds: int) -> list[Table]:
        """What the arms see and train, where there are any: counted before anything is trained.

        Raises:
            UserError: an arm's recipe cannot be read or counted, or its images do not make a step.
        """
        if self.training is None or not self.sets:
            return []
        from rsagent.evaluation.paper.budget import budget_table
        from rsagent.evaluation.paper.trainings import arm_recipe

        title = f"Table {self.table.number}: what each arm sees and trains"
        recipes = [(arm, arm_recipe(arm, 0, self.training, _shipped())) for arm in self.table.arms]
        return [budget_table(title, recipes, seeds)]

    def run(self, seeds: int, jobs: int) -> list[OnSet]:
        """Train what is not trained, ask what is not asked; arms whose training failed are not among what comes back."""
        from rsagent.evaluation.paper.page import OnSet
        from rsagent.evaluation.paper.trainings import checkpoint_of

        plain = [self._evaluate(one, self.settings, None) if self.table.plain else None for one in self.sets]
        arms: list[dict[str, dict[int, RunFolder]]] = [{} for _ in self.sets]
        if self.sets and self.training is not None:
            self._train(seeds, jobs)
            for seed in range(seeds):
                for arm in self.table.arms:
                    checkpoint = checkpoint_of(arm, seed, self.training)
                    if checkpoint is None:  # its training failed
                        continue
                    for place, one in enumerate(self.sets):
                        settings = self.settings.model_copy(update={"checkpoint": str(checkpoint)})
                        out = checkpoint.parent / "evaluation" / f"{one.name}-{one.split}{self._quick()}"
                        arms[place].setdefault(arm.key, {})[seed] = self._evaluate(one, settings, out, arm)
        return [
            OnSet(f"{one.name}, {one.split}", run, of) for one, run, of in zip(self.sets, plain, arms, strict=True)
        ]  # fmt: skip

    def _quick(self) -> str:
        return f"-limit{self.common['limit']}" if self.common["limit"] else ""

    def _train(self, seeds: int, jobs: int) -> None:
        """Train what is not trained; what fails is in `failures`.

        Raises:
            UserError: what is wrong before anything is trained.
            MissingExtra: the trainings, or scoring what they say, need what is not installed.
        """
        from importlib.util import find_spec

        from rsagent.evaluation.captions import need_extra
        from rsagent.evaluation.paper.parallel import run_tasks
        from rsagent.evaluation.paper.trainings import training_tasks

        assert self.training is not None
        tasks = training_tasks(self.table.arms, seeds, self.training, _shipped())
        if tasks and find_spec("accelerate") is None:
            raise MissingExtra("accelerate", "train", "training")
        if any(one.task == "caption" for one in self.sets):
            need_extra()  # known now, not after hours of training
        self.failures = run_tasks(tasks, jobs, _for_people)

    def untrained(self, seeds: int) -> list[str]:
        """The arms whose training failed, or waits for one that did."""
        from rsagent.evaluation.paper.trainings import task_name

        failed = {failure.name for failure in self.failures}
        pairs = [(arm, seed) for seed in range(seeds) for arm in self.table.arms if task_name(arm, seed) in failed]
        return [f"{arm.name}, seed {seed}" for arm, seed in pairs]

    def _evaluate(
        self, chosen: EvaluationSet, settings: Settings, out: Path | None, arm: TrainedArm | None = None
    ) -> RunFolder:
        """One run: the model as it is with all its floors, an arm without."""
        from rsagent.cli.runtime import run_async

        floors: dict[str, Any] = {} if arm is None else {"encoder": False, "blind": False, "single": arm.single}
        style = arm.style if arm is not None and chosen.task == "caption" else None
        evaluation = Evaluation(
            chosen.name, chosen.split, settings, style=style, opened=chosen, **self.common, **floors
        )  # fmt: skip
        return run_async(evaluation.run_folder(out))


def _for_people() -> None:
    """What a training says while it runs, in this process or in one of its own."""
    import logging

    from rsagent.cli.console import quiet_libraries

    quiet_libraries()
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO, datefmt="%H:%M:%S")
    logging.getLogger("torch").setLevel(logging.WARNING)  # it ends with the statistics of its caches


def _shipped() -> Path:
    import rsagent.training

    return Path(rsagent.training.__file__).parent / "recipes"


def _write(table: PaperTable, tables: Any, found: list[OnSet], out: Path | None, recipe: str, budget: str, seeds: int) -> None:
    """The page among the results."""
    from rsagent.evaluation.report import origin, write_tables

    head = f"Written by `rsagent eval paper table{table.number}` from stored runs and trainings."
    if table.arms:
        head += (
            f" Each arm has the same budget: {budget}, shared among its stages; what arms take over from each other is trained "
            f"once a seed. The last table counts what each sees and trains. Seeds: {seeds}. Intervals: bootstrap over images."
        )
    named = {f"{on.name}, as it is": on.plain for on in found if on.plain is not None}
    named |= {f"{on.name}, {arm}": runs[min(runs)] for on in found for arm, runs in on.arms.items()}
    origins = "\n\n".join(f"{name}: {origin(run)}" for name, run in named.items())
    page = out or RESULTS / f"paper-table{table.number}.md"
    title = f"Table {table.number} of the RS-MoE paper: {table.printed.title}"
    if table.arms:  # other trainings of it may have pages of their own
        title += f" ({recipe}, {budget})"
    write_tables(page, title, f"{head}\n\n{origins}".strip(), tables)
    say(f"the page is {page}")

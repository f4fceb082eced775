"""`rsagent eval trial`: the router's work taken away in every way we know, each beside the model as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsagent.cli import options
from rsagent.cli.console import say
from rsagent.cli.evaluating import Evaluation
from rsagent.errors import UserError

if TYPE_CHECKING:
    from rsagent.engines.ablation import RouterArm
    from rsagent.evaluation.run_folder import RunFolder
    from rsagent.evaluation.sets import EvaluationSet
    from rsagent.settings import Settings

RESULTS = Path("docs/results")
_DRAWN = ("shuffled", "mean")
"""Arms whose pictures are drawn with the seed."""
_HEAD = (
    "Written by `rsagent eval trial` from stored runs. An arm changes what it names alone: soft prompts of another image "
    "(shuffled), zeros (zero), their mean over images of the set (mean), text prompts without places for soft ones (text), "
    "every expert asked and the first believed (open), each expert's prompts read by the next one's adapter (swapped)."
)


def trial(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="rsicd, rsivqa, scenes-questions, ...: rsagent data list.")],
    split: Annotated[str, typer.Option(metavar="PART", help="test, val+test, ...; the usual one if left out.")] = "",
    model: Annotated[
        list[str] | None, typer.Option("--model", "--checkpoint", metavar="FOLDER", help="Checkpoint; again for further seeds.")
    ] = None,
    arms: Annotated[str | None, typer.Option(metavar="A,B", help="Only these: shuffled,zero,mean,text,open,swapped.")] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, max=20, help="Pairings that shuffled and mean draw.")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page; docs/results/router-DATASET-PART.md if left out.")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", envvar="RSAGENT_DATA", help="Folder of the data sets.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=2, help="N images alone, for a quick look.")] = None,
    style: options.Style = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Put the router on trial. One table: each arm beside the model as it is, paired; goes on after a kill."""
    from rsagent.cli.eval import show
    from rsagent.cli.runtime import run_async
    from rsagent.evaluation.arms import paired_table
    from rsagent.evaluation.report import origin, page_name, write_tables
    from rsagent.evaluation.sets import open_set
    from rsagent.settings import Settings

    wanted = parse_arms(arms)
    models: list[str | None] = [*(model or [None])]
    settings = {
        name: Settings.load(checkpoint=name, engine="local", style=style, device=device, dtype=dtype) for name in models
    }
    opened = open_set(dataset, data, split, limit=limit)
    say(f"{len(wanted)} arms and the model as it is, on {len(opened.items)} items of {opened.name}, {opened.split}")
    work = _Trial(opened, style, limit, wanted, [settings[name] for name in models], seeds)
    pairs = run_async(work.runs())
    named = [Path(name).name for name in model or ()]  # the default's page is named after the set alone
    title = f"The router on trial: {', '.join([opened.name, opened.split, *named])}"
    table = paired_table(title, pairs)
    show([table], as_json, plain)
    page = out or RESULTS / page_name("router", opened.name, opened.split, *named)
    if limit and not out:
        say("a quick look: no page is written; --out FILE writes one")
        return
    origins = "\n\n".join(dict.fromkeys(origin(own) for own, _ in pairs[0].pairs))
    write_tables(page, title, f"{_HEAD}\n\n{origins}", [table])
    say(f"the page is {page}")


def parse_arms(text: str | None) -> list[RouterArm]:
    """The arms that a text such as "shuffled,zero" names, each once; all but the model as it is when not given.

    Raises:
        UserError: there is no such arm.
    """
    from rsagent.engines.ablation import ARMS

    known: dict[str, RouterArm] = {arm: arm for arm in ARMS if arm != "own"}
    names = list(known) if text is None else list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise UserError(f"--arms: there is no arm {name[:40]!r}: choose from {', '.join(known)}")
    if not names:
        raise UserError(f"--arms names none: choose from {', '.join(known)}")
    return [known[name] for name in names]


class _Trial:
    """The runs of one trial, each an ordinary run folder that is taken up where it lies."""

    def __init__(
        self,
        opened: EvaluationSet,
        style: str | None,
        limit: int | None,
        arms: list[RouterArm],
        settings: list[Settings],
        seeds: int,
    ) -> None:
        self.common: dict[str, Any] = {"style": style, "limit": limit, "encoder": False, "meteor": False, "blind": False}
        self.opened, self.arms, self.settings, self.seeds = opened, arms, settings, seeds

    async def runs(self) -> list[Any]:
        """Each arm with its pairs of runs."""
        from rsagent.evaluation.arms import Arm

        own = [await self._run(settings, "own") for settings in self.settings]
        found: list[Arm] = []
        for arm in self.arms:
            pairs: list[tuple[RunFolder, RunFolder]] = []
            for reference, settings in zip(own, self.settings, strict=True):
                for shift in range(self.seeds if arm in _DRAWN else 1):
                    drawn = settings.model_copy(update={"seed": settings.seed + shift})
                    pairs.append((reference, await self._run(drawn, arm)))
            found.append(Arm(arm, pairs))
        return found

    async def _run(self, settings: Settings, arm: RouterArm) -> RunFolder:
        chosen, seed = self.opened, settings.seed
        say(f"{chosen.name}, {chosen.split}: router {arm}, seed {seed}")
        evaluation = Evaluation(chosen.name, chosen.split, settings, router=arm, opened=chosen, **self.common)
        return await evaluation.run_folder()

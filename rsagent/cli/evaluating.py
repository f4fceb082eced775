"""One evaluation as the commands ask for it: from settings and a set to a run folder with tables."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsagent.cli.console import say

if TYPE_CHECKING:
    from rsagent.engines.ablation import Others, RouterArm
    from rsagent.engines.base import Engine
    from rsagent.evaluation.asking import Speaker
    from rsagent.evaluation.caption_floors import Seen
    from rsagent.evaluation.conduct import Conducted
    from rsagent.evaluation.run_folder import RunFolder
    from rsagent.evaluation.sets import EvaluationSet
    from rsagent.prompts import Prompts
    from rsagent.settings import Settings

RUNS = Path("runs/eval")


class Evaluation:
    """A set put to a model: from the options to a run folder."""

    def __init__(
        self,
        dataset: str,
        split: str,
        settings: Settings,
        *,
        style: str | None = None,
        data: Path | None = None,
        limit: int | None = None,
        router: RouterArm = "own",
        single: bool = False,
        encoder: bool = True,
        meteor: bool = True,
        blind: bool = True,
        opened: EvaluationSet | None = None,
    ) -> None:
        """Open the set.

        Args:
            dataset: name of the set, as `open_set` takes it.
            split: its part, "" for the usual one.
            data: the folder of the data sets.
            limit: so many images alone.
            settings: the model and its engine.
            style: of captions; the set's own when None.
            router: what the experts get from the router.
            single: stage I's one LLM alone.
            encoder: the floors that need features of all training images.
            meteor: METEOR too.
            blind: the floor of a shuffled image.
            opened: the same set, where it is open already.

        Raises:
            UserError: no such set, part, folder or style.
        """
        from rsagent.cli.runtime import prompts_for
        from rsagent.evaluation.sets import open_set

        self.settings, self.encoder, self.meteor, self.blind, self.limit = settings, encoder, meteor, blind, limit
        self.router: RouterArm = router
        self.single = single
        self.prompts: Prompts = prompts_for(settings)
        self.opened = open_set(dataset, data, split, limit=limit) if opened is None else opened
        self.chosen = _for_model(self.opened, style, settings, self.prompts)

    async def conduct(self, out: Path | None = None) -> tuple[RunFolder, Conducted]:
        """Run to the end; the folder, and what came of it.

        Raises:
            UserError: the folder holds something else.
            MissingExtra: captions, and the extra `eval` is not installed.
        """
        from rsagent.evaluation.conduct import conduct
        from rsagent.evaluation.run_folder import RunFolder

        folder = RunFolder.begin(out or RUNS / self.name(), self._config(), len(self.chosen.items))
        folder.keep_prompts(self.prompts.model_dump_json(indent=1, exclude_none=True))
        say(f"the run lies in {folder.path}; the same command goes on with it")
        async with self._speaker(await self._engine()) as speaker:
            done = await conduct(
                speaker, self.chosen, folder, self._see, meteor=self.meteor, seed=self.settings.seed, ask_blind=self.blind
            )
        return folder, done

    async def run_folder(self, out: Path | None = None) -> RunFolder:
        """The run: as it lies there where it is whole, else conducted now. What is partial in it is named.

        Raises:
            UserError: as `conduct`.
        """
        from rsagent.evaluation.run_folder import RunFolder

        path = out or RUNS / self.name()
        if (path / "run.json").exists():
            run = RunFolder.read(path)
            if run.complete and run.config == self._config():
                say(f"{path} is there already")
                return run
        folder, done = await self.conduct(path)
        if not done.complete:
            say(f"{path}: partial: some items have no full answer; the same command asks for them again")
        return folder

    def name(self) -> str:
        """What the run's folder is called: set, part, model, and what tells it from the plain run."""
        parts = (self.chosen.name, self.chosen.split, str(self._config()["model"]), self._special())
        return "-".join(part for part in parts if part)

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
            "router": self.router,
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
        from rsagent.model.shipped import checkpoint_folder

        return checkpoint_folder(self.settings.checkpoint)

    def _special(self) -> str:
        """What in a folder's name tells a run from the plain one."""
        parts = [
            "best" if self.settings.best else "",
            "" if self.router == "own" else f"router-{self.router}",
            "single" if self.single else "",
            f"seed{self.settings.seed}" if self.settings.seed else "",
            f"limit{self.limit}" if self.limit else "",
        ]
        return "-".join(part for part in parts if part)

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
                LocalEngine.load, self._checkpoint(), device=settings.device, dtype=settings.dtype, seed=settings.seed,
                prompts=self.prompts, max_pixels=settings.max_pixels, single=True,
            )  # fmt: skip
        if self.router == "own":
            return await asyncio.to_thread(load_engine, self.settings, self.prompts, None)
        from rsagent.engines.ablation import AblatedEngine

        settings = self.settings
        engine = await asyncio.to_thread(
            AblatedEngine.load, self._checkpoint(), device=settings.device, dtype=settings.dtype, seed=settings.seed,
            best=settings.best, prompts=self.prompts, max_pixels=settings.max_pixels,
        )  # fmt: skip
        engine.ablate(self.router, self._others())
        return engine

    def _others(self) -> Others | None:
        """The pictures whose soft prompts the arm takes, where it takes some."""
        from rsagent.engines.ablation import Others
        from rsagent.evaluation.partners import partners, sample

        seed, pictures = self.settings.seed, self.chosen.images
        if self.router == "shuffled":
            return Others(partners=partners(pictures, seed, max_pixels=self.settings.max_pixels))
        return Others(sample=sample(pictures, seed)) if self.router == "mean" else None

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

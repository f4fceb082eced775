"""How long a checkpoint takes, on rendered scenes: warm, in a new process, with many images, with many callers.

Every picture is new to the engine (one pixel of it is), so no figure profits from features that are kept. What is
compared is measured in turns, so that another load on the machine falls on both sides.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsagent.agent import RSAgent
from rsagent.errors import EngineError, RSAgentError
from rsagent.evaluation.intervals import Figure
from rsagent.evaluation.run import say
from rsagent.evaluation.table import Asked, Column, Row, Table
from rsagent.model.checkpoint import read_config

if TYPE_CHECKING:
    from rsagent.agent import Described
    from rsagent.model.config import RSMoEConfig

MANY = 32
CALLERS = 200
_SCENES = 16
_SEED = 500  # of the first scene, in the split "val"
_TIMEOUT_S = 300
_QUESTIONS = (
    "How many cars are there?", "Is there a road in the image?", "What color are the cars?", "What is this place?",
    "Where is the large building?", "Are there more trees than houses?",
)  # fmt: skip

Clock = Callable[[], Awaitable[Any]]


@dataclass
class Pictures:
    """Rendered scenes, each time with another pixel changed: the same work, never the same digest."""

    scenes: list[NDArray[np.uint8]]
    _calls: count[int] = field(default_factory=count)

    @classmethod
    def draw(cls) -> Pictures:
        """A few scenes of the split "val"."""
        from rsagent.training.render import render
        from rsagent.training.scenes import scene_from_seed

        return cls([render(scene_from_seed(_SEED + index, "val")) for index in range(_SCENES)])

    def fresh(self, which: int) -> NDArray[np.uint8]:
        """Scene `which` (any number) as a picture that nobody has seen."""
        picture = self.scenes[which % len(self.scenes)].copy()
        call = next(self._calls)
        picture[0, 0] = (call % 256, call // 256 % 256, call // 65536 % 256)
        return picture


async def run_speed(checkpoint: Path, agent: RSAgent, *, n: int = 20) -> list[Table]:
    """All speed tables of a checkpoint; `n` is how often each figure is measured (at least 2)."""
    config, pictures = read_config(checkpoint), Pictures.draw()
    say("speed: warming up")
    for which in range(3):
        await agent.caption(pictures.fresh(which))
    tables = [await _warm(agent, config, pictures, n), await _ratios(agent, config, pictures, n)]
    say("speed: new processes")
    tables.append(_processes(checkpoint, pictures, max(3, n // 5)))
    say(f"speed: {CALLERS} callers")
    async with RSAgent("local", checkpoint=checkpoint, expert_timeout_s=_TIMEOUT_S) as other:
        tables.append(await _callers(agent, other, pictures))
    return tables


async def _warm(agent: RSAgent, config: RSMoEConfig, pictures: Pictures, n: int) -> Table:
    """Seconds from a new picture to its caption or to the answer about it, in turns."""
    taken: dict[str, list[float]] = {}
    style = config.composer_styles[0] if config.composer_styles else None
    for turn in range(n):
        clocks: dict[str, Clock] = {
            "caption (join)": lambda turn=turn: agent.caption(pictures.fresh(turn)),
            "answer": lambda turn=turn: agent.ask(pictures.fresh(turn), _QUESTIONS[turn % len(_QUESTIONS)]),
        }
        if style is not None:
            clocks["caption (write)"] = lambda turn=turn: agent.caption(pictures.fresh(turn), style)
        for name, clock in clocks.items():
            taken.setdefault(name, []).append(await _seconds(clock))
    asked = {
        "caption (join)": Asked(0.5, 0.2, at_most=True),
        "caption (write)": Asked(0.6, 0.25, at_most=True),
        "answer": Asked(0.15, 0.08, at_most=True),
    }
    rows = [Row(name, {"seconds": spread(times)}, {"seconds": asked[name]}) for name, times in taken.items()]
    return Table("Warm, one picture at a time", [Column("seconds")], rows, _machine())


async def _ratios(agent: RSAgent, config: RSMoEConfig, pictures: Pictures, n: int) -> Table:
    """Three experts over one of them, and many images in one call over one by one."""
    experts: list[float] = []
    for turn in range(n):
        together = await _seconds(lambda turn=turn: agent.caption(pictures.fresh(turn)))
        alone = [
            await _seconds(lambda turn=turn, name=name: agent.caption(pictures.fresh(turn), experts=[name]))
            for name in config.experts
        ]
        experts.append(together * len(alone) / sum(alone))
    speedups: list[float] = []
    each: list[float] = []
    for _ in range(max(3, n // 5)):
        batch = [pictures.fresh(which) for which in range(MANY)]
        at_once = await _seconds(lambda batch=batch: _drain(agent, batch))
        one_by_one = 0.0
        for which in range(MANY):
            one_by_one += await _seconds(lambda which=which: agent.caption(pictures.fresh(which)))
        speedups.append(one_by_one / at_once)
        each.append(1000 * at_once / MANY)
    quick = Asked(60.0, 30.0, at_most=True)
    milliseconds = spread(each)
    either = quick.met_by(milliseconds)  # the floor asks for the one or the other
    rows = [
        Row(
            f"{len(config.experts)} experts over one, times",
            {"value": spread(experts)},
            {"value": Asked(1.5, 1.2, True)},
        ),
        Row(f"{MANY} images in one call, ms an image", {"value": milliseconds}, {"value": quick} if either else {}),
        Row(
            f"{MANY} images in one call, times faster than one by one",
            {"value": spread(speedups)},
            {} if either else {"value": Asked(3.0)},
        ),
    ]
    return Table("Experts and batches, measured in turns", [Column("value", digits=2)], rows, _machine())


def _processes(checkpoint: Path, pictures: Pictures, n: int) -> Table:
    """Seconds of a new process that captions one picture, and processor seconds of `--help`."""
    from PIL import Image

    walls: list[float] = []
    helps: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        picture = Path(name) / "scene.png"
        Image.fromarray(pictures.fresh(0)).save(picture)
        for _ in range(n):
            began = time.perf_counter()
            _rsagent(["caption", str(picture), "--checkpoint", str(checkpoint.resolve())], name)
            walls.append(time.perf_counter() - began)
            helps.append(_rsagent(["--help"], name))
    rows = [
        Row("new process to caption, seconds", {"seconds": spread(walls)}, {"seconds": Asked(6.0, 3.0, True)}),
        Row("--help, processor seconds", {"seconds": spread(helps)}, {"seconds": Asked(0.3, 0.15, True)}),
    ]
    return Table("From a shell", [Column("seconds", digits=2)], rows, _machine())


def _rsagent(arguments: Sequence[str], folder: str) -> float:
    """Run `python -m rsagent` in `folder`; the processor seconds that it took.

    Raises:
        EngineError: it did not end well.
    """
    import resource

    import rsagent

    home = str(Path(rsagent.__file__).resolve().parent.parent)
    paths = os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH", "")) if part)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "rsagent", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(f"rsagent {arguments[0]} ended with status {done.returncode}: {last}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def _callers(agent: RSAgent, other: RSAgent, pictures: Pictures) -> Table:
    """How many callers get from `other`, all at once and with nothing kept, what they get from `agent` one by one."""
    turns = [(pictures.scenes[caller % _SCENES], caller) for caller in range(CALLERS)]

    async def call(of: RSAgent, picture: NDArray[np.uint8], caller: int) -> str:
        try:
            if caller % 4 == 0:
                return (await of.caption(picture)).text
            return (await of.ask(picture, _QUESTIONS[caller // _SCENES % len(_QUESTIONS)])).text
        except RSAgentError as error:  # one alone would have to meet it too
            return f"{type(error).__name__}: {error}"

    alone = [await call(agent, *turn) for turn in turns]
    together = await asyncio.gather(*(call(other, *turn) for turn in turns))
    same = sum(one == other for one, other in zip(alone, together, strict=True))
    row = Row("same words as one by one", {"callers": Figure(same, CALLERS)}, {"callers": Asked(CALLERS)})
    return Table("Parallel callers", [Column("callers", digits=0)], [row])


async def _drain(agent: RSAgent, batch: list[NDArray[np.uint8]]) -> list[Described]:
    async with aclosing(agent.caption_many(batch)) as described:
        return [done async for done in described]


async def _seconds(clock: Clock) -> float:
    began = time.perf_counter()
    await clock()
    return time.perf_counter() - began


def spread(values: Sequence[float]) -> Figure:
    """The median, with the 10th and 90th percentile as its ends."""
    low, median, high = np.quantile(np.asarray(values, dtype=np.float64), [0.1, 0.5, 0.9])
    return Figure(float(median), len(values), float(low), float(high))


def _machine() -> str:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"Median and 10th to 90th percentile; threads: {torch.get_num_threads()}, cores: {cores}."

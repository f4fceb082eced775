"""What the graph costs and what it does when things fail, on the scripted engine: no weights, no data, a few seconds.

Prints the graph's own time for a caption, the outcome of each kind of fault and what is left running after it, the
size of a checkpoint database after 20 turns on one image, and how many of 200 parallel callers get the sequential
answer. Exits with 1 when a floor is missed.

    python scripts/measure_graph.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import RSAgentError
from rsagent.graphs import CHECKPOINT_TYPES, create_graph
from rsagent.schemas import Answer, Caption, ExpertPrompt

SAID = {
    "theme": "a dense residential area .",
    "object": "many grey houses , two roads and some trees .",
    "relation": "many houses are arranged in lines beside two roads .",
}
FLOORS = {"own time (ms)": 10.0, "database (kB)": 200.0, "callers": 200}
TARGET_MS = 5.0


async def own_time(picture: Path, turns: int) -> dict[str, float]:
    """Milliseconds of one caption turn with three experts of about ten words each; reading the file is left out."""
    engine = ScriptedEngine(SAID)
    given: Any = {"image": await engine.prepare(picture)}
    graph = create_graph(engine)
    for _ in range(20):
        await graph.ainvoke(given)
    times: list[float] = []
    for _ in range(turns):
        began = time.perf_counter()
        await graph.ainvoke(given)
        times.append(1000 * (time.perf_counter() - began))
    deciles = statistics.quantiles(times, n=10)
    return {"median": statistics.median(times), "p10": deciles[0], "p90": deciles[-1], "n": turns}


async def fault(engine: ScriptedEngine, picture: Path, expected: str, *, cancel: bool = False) -> dict[str, Any]:
    """What one turn gives, in words that should begin with `expected`, how long it took, and what still runs then."""
    began = time.perf_counter()
    turn = asyncio.create_task(create_graph(engine, expert_timeout_s=0.5).ainvoke({"image": str(picture)}))
    if cancel:
        while not engine.running:
            await asyncio.sleep(0.001)
        turn.cancel()
    outcome = await _outcome(turn)
    seconds = time.perf_counter() - began
    left = engine.running + len(asyncio.all_tasks() - {asyncio.current_task()})
    fine = outcome.startswith(expected) and "\n" not in outcome and left == 0
    return {"outcome": outcome, "seconds": seconds, "left running": left, "ok": fine}


async def _outcome(turn: Awaitable[Any]) -> str:
    try:
        caption: Caption = (await turn)["caption"]
    except asyncio.CancelledError:
        return "cancelled"
    except RSAgentError as error:
        return f"{type(error).__name__}: {error}"
    return (f"partial, missing {', '.join(caption.missing)}: " if caption.partial else "whole: ") + caption.text


async def faults(picture: Path) -> dict[str, dict[str, Any]]:
    """Every expert failing in turn, all of them, each hanging past its time-out, a turn cancelled mid-way."""
    rows = {"none": await fault(ScriptedEngine(SAID), picture, "whole")}
    for name in SAID:
        failing = ScriptedEngine(SAID, failures={name: "out of memory"})
        rows[f"{name} fails"] = await fault(failing, picture, f"partial, missing {name}:")
    failing = ScriptedEngine(SAID, failures=dict.fromkeys(SAID, "out of memory"))
    rows["all fail"] = await fault(failing, picture, "AllExpertsFailed")
    for name in SAID:
        hanging = ScriptedEngine(SAID, delays={name: math.inf})
        rows[f"{name} hangs"] = await fault(hanging, picture, f"partial, missing {name}:")
    hanging = ScriptedEngine(SAID, delays=dict.fromkeys(SAID, math.inf))
    rows["cancelled mid-way"] = await fault(hanging, picture, "cancelled", cancel=True)
    return rows


async def database_kb(picture: Path, folder: Path, turns: int = 20) -> float:
    """Size of the SQLite checkpoint database after captions and questions in one thread, kept once a turn."""
    import aiosqlite
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    config: Any = {"configurable": {"thread_id": "one image"}}
    async with aiosqlite.connect(folder / "threads.sqlite") as connection:
        serde = JsonPlusSerializer(allowed_msgpack_modules=CHECKPOINT_TYPES)
        graph = create_graph(ScriptedEngine(SAID), checkpointer=AsyncSqliteSaver(connection, serde=serde))
        for turn in range(turns):
            given: Any = {"image": str(picture)}
            if turn % 2:
                given["question"] = f"Are there more than {turn} houses in the image?"
            await graph.ainvoke(given, config, durability="exit")
    return sum(file.stat().st_size for file in folder.glob("threads.sqlite*")) / 1000


async def same_answers(picture: Path, callers: int = 200) -> int:
    """How many of `callers` different questions, asked all at once, get the answer that they get one by one."""

    def says(prompt: ExpertPrompt) -> str:
        return f"{prompt.expert} on {prompt.instruction}" + " and so on" * (len(prompt.instruction) % 5)

    def untimed(answer: Answer) -> dict[str, Any]:
        return answer.model_dump(exclude={"seconds": True, "evidence": {"__all__": {"seconds"}}})

    graph = create_graph(ScriptedEngine(dict.fromkeys(SAID, says), gate={"theme": 0.1, "object": 0.9, "relation": 0.4}))
    asked: list[Any] = [{"image": str(picture), "question": f"Is this number {n}{'?' * (1 + n % 4)}"} for n in range(callers)]
    alone = [untimed((await graph.ainvoke(given))["answer"]) for given in asked]
    together = await asyncio.gather(*(graph.ainvoke(given) for given in asked))
    return sum(untimed(one["answer"]) == other for one, other in zip(together, alone, strict=True))


async def measure(turns: int) -> dict[str, Any]:
    """All figures, on a picture drawn for the purpose."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as name:
        picture = Path(name) / "scene.png"
        Image.new("RGB", (64, 64), (90, 110, 80)).save(picture)
        return {
            "own time (ms)": await own_time(picture, turns),
            "faults": await faults(picture),
            "database (kB)": await database_kb(picture, Path(name)),
            "callers": await same_answers(picture),
        }


def floors_met(figures: dict[str, Any]) -> bool:
    """Whether every floor of the table is met."""
    return (
        figures["own time (ms)"]["median"] < FLOORS["own time (ms)"]
        and figures["database (kB)"] < FLOORS["database (kB)"]
        and figures["callers"] == FLOORS["callers"]
        and all(row["ok"] for row in figures["faults"].values())
    )


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    took = figures["own time (ms)"]
    print(f"the graph's own time per caption: median {took['median']:.2f} ms (target < {TARGET_MS:g}, floor < 10)")
    print(f"  first to last decile {took['p10']:.2f} to {took['p90']:.2f} ms, n = {took['n']}")
    print(f"database after 20 turns on one image: {figures['database (kB)']:.0f} kB (floor < 200)")
    print(f"parallel callers with the sequential answer: {figures['callers']} of 200")
    print("faults (time-out 0.5 s):")
    for name, row in figures["faults"].items():
        mark = "ok " if row["ok"] else "BAD"
        print(f"  {mark} {name:18} {row['seconds']:.2f} s, {row['left running']} left running; {row['outcome']}")


def main() -> int:
    """Measure and print; 0 when every floor is met."""
    parser = argparse.ArgumentParser(description="What the graph costs and what it does when things fail.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--turns", type=int, default=300, help="turns that are timed (default 300)")
    options = parser.parse_args()
    figures = asyncio.run(measure(max(10, options.turns)))
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    return 0 if floors_met(figures) else 1


if __name__ == "__main__":
    sys.exit(main())

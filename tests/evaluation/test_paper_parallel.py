"""Trainings side by side: order, threads, failures, and what Ctrl-C and a kill leave behind. The tasks here only wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rsagent.errors import EngineError, UserError
from rsagent.evaluation.paper.parallel import Failure, Task, run_tasks, threads_each
from rsagent.evaluation.run import say

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def note(folder: Path, name: str, *before: str) -> None:
    """Leave a file with this process's threads; the files `before` have to be there."""
    assert all((folder / other).exists() for other in before)
    (folder / name).write_text(os.environ.get("OMP_NUM_THREADS", ""))


def meet(folder: Path, name: str, other: str) -> None:
    """Go on once the other task is there as well."""
    note(folder, name)
    until((folder / other).exists)
    say(f"met {other}")
    print("stdout is for results")


def fail(error: Exception) -> None:
    raise error


def end_badly() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(folder: Path, name: str) -> None:
    """Wait for ever beside a process of its own; what is half written goes when this is asked to end."""
    half = folder / f"{name}.part"
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        half.write_text("half")
        (folder / f"{name}.pids").write_text(f"{os.getpid()} {helper.pid}")
        time.sleep(600)
    finally:
        half.unlink()
        helper.kill()


def test_two_tasks_run_at_a_time_and_say_who_they_are(tmp_path, capfd):
    tasks = [Task("one", partial(meet, tmp_path, "one", "two")), Task("two", partial(meet, tmp_path, "two", "one"))]
    before = dict(os.environ)
    assert run_tasks(tasks, jobs=2) == []
    said = capfd.readouterr()
    assert said.out == ""
    assert {"one: met two", "two: met one", "one: stdout is for results"} <= set(said.err.splitlines())
    assert (tmp_path / "one").read_text() == str(threads_each(2))
    assert dict(os.environ) == before


def test_what_is_shared_is_done_before_those_that_need_it(tmp_path):
    arms = [Task(name, partial(note, tmp_path, name, "shared"), ("shared",)) for name in ("a", "b")]
    assert run_tasks([Task("shared", partial(note, tmp_path, "shared")), *arms], jobs=3) == []
    assert run_tasks([Task("c", partial(note, tmp_path, "c", "a"), ("done in an earlier run",))], jobs=3) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b", "c", "shared"]


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_task_that_fails_is_a_line_and_the_others_go_on(tmp_path, capfd, jobs):
    tasks = [
        Task("shared", partial(fail, UserError("no data: give some"))),
        Task("lost", partial(note, tmp_path, "lost"), ("shared",)),
        Task("full", partial(fail, EngineError("the disk is full: make room"))),
        Task("disk", partial(fail, FileNotFoundError(2, "No such file", "x.json"))),
        Task("good", partial(note, tmp_path, "good")),
    ]
    failures = {one.name: one for one in run_tasks(tasks, jobs=jobs)}
    assert failures["shared"] == Failure("shared", "no data: give some", 2)
    assert failures["lost"] == Failure("lost", "needs 'shared', which failed", 2)
    assert failures["full"] == Failure("full", "the disk is full: make room", 1)
    assert failures["disk"] == Failure("disk", "x.json: No such file", 1)
    assert [file.name for file in tmp_path.iterdir()] == ["good"]
    assert "full: failed: the disk is full: make room\n" in capfd.readouterr().err


def test_a_process_that_ends_badly_is_a_line_too(tmp_path, capfd):
    tasks = [
        Task("killed", end_badly),
        Task("wrong", partial(fail, ZeroDivisionError("by\nnought"))),
        Task("good", partial(note, tmp_path, "good")),
    ]
    failures = {one.name: one.reason for one in run_tasks(tasks, jobs=2)}
    assert failures == {
        "killed": "its process was ended by SIGKILL, as the system does when memory is short",
        "wrong": "ZeroDivisionError: by",
    }
    assert "wrong: Traceback (most recent call last):" in capfd.readouterr().err  # nothing is swallowed


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


SCRIPT = """
import sys
from functools import partial
from pathlib import Path

from rsagent.evaluation.paper.parallel import Task, run_tasks
from tests.evaluation.test_paper_parallel import hang

if __name__ == "__main__":
    run_tasks([Task(name, partial(hang, Path(sys.argv[1]), name)) for name in ("one", "two", "three")], jobs=2)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_ctrl_c_and_a_kill_end_the_processes(tmp_path, how):
    """Ctrl-C goes to the whole group of the terminal, a kill to the one process; no helper of a task stays either way."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    files = [tmp_path / "one.pids", tmp_path / "two.pids"]
    until(lambda: all(file.exists() and len(file.read_text().split()) == 2 for file in files))
    pids = [pid for file in files for pid in file.read_text().split()]
    assert all(alive(pid) for pid in pids)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    process.wait(PATIENCE_S)
    until(lambda: not any(alive(pid) for pid in pids))
    assert not list(tmp_path.glob("*.part"))
    assert not (tmp_path / "three.pids").exists()
    assert process.stderr is not None
    lines = process.stderr.read()
    assert "one:" not in lines and "two:" not in lines

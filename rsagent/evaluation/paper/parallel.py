"""Tasks one after another in this process, or several at a time in processes of their own.

A task that fails is one line, and the others go on. Each process has its share of the cores as threads, is the head of a
process group, so that Ctrl-C reaches it through here alone, and ends when this process is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from rsagent.errors import RSAgentError
from rsagent.evaluation.run import say
from rsagent.pixels import printable

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_PATIENCE_S = 10.0  # a process that is asked to end deletes what is half written, and ends the processes of its own
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What numerical libraries read once, when they are loaded."""


@dataclass(frozen=True)
class Task:
    """Some work, which another process can be handed; `needs` names the tasks that have to be done before it."""

    name: str
    work: Callable[[], object]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A task that failed, or that waits in vain for one that did: why in a line, and the exit code that this calls for."""

    name: str
    reason: str
    exit_code: int = 1


def run_tasks(tasks: Sequence[Task], jobs: int = 1, prepare: Callable[[], object] | None = None) -> list[Failure]:
    """Do all that can be done; what failed, each said on stderr when it did.

    Args:
        tasks: in the order in which they begin; one that needs another stands behind it.
        jobs: how many at a time; 1 works in this process, with the threads that it has.
        prepare: called before the work in each process, such as to set up logging.

    Raises:
        KeyboardInterrupt: Ctrl-C; the processes are ended first.
    """
    failures: list[Failure] = []
    if jobs > 1 and len(tasks) > 1:
        _side_by_side(tasks, jobs, prepare, failures)
        return failures
    if prepare is not None and tasks:
        prepare()
    for task in tasks:
        if not _in_vain(task, failures) and (failure := _attempt(task)) is not None:
            _fail(failure, failures)
    return failures


def threads_each(jobs: int) -> int:
    """The threads of one of `jobs` processes: its share of the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def _attempt(task: Task) -> Failure | None:
    """Do the work; what a user or the machine can be at fault for comes back, anything else is raised."""
    try:
        task.work()
    except RSAgentError as error:
        return Failure(task.name, str(error), error.exit_code)
    except OSError as error:
        return Failure(task.name, f"{error.filename or 'the machine'}: {error.strerror or error}")
    except MemoryError:
        return Failure(task.name, "out of memory")
    return None


def _in_vain(task: Task, failures: list[Failure]) -> bool:
    """Whether something that the task needs has failed; then it has failed itself."""
    lacking = next((one for one in failures if one.name in task.needs), None)
    if lacking is not None:
        _fail(Failure(task.name, f"needs '{lacking.name}', which failed", lacking.exit_code), failures)
    return lacking is not None


def _fail(failure: Failure, failures: list[Failure]) -> None:
    say(f"{failure.name}: failed: {failure.reason}")
    failures.append(failure)


@dataclass
class _Running:
    task: Task
    process: SpawnProcess
    outcome: Connection
    relay: threading.Thread


def _side_by_side(tasks: Sequence[Task], jobs: int, prepare: Callable[[], object] | None, failures: list[Failure]) -> None:
    """Begin the first task that is ready whenever a process is free."""
    waiting, running = list(tasks), list[_Running]()
    try:
        while waiting or running:
            open_names = {task.name for task in waiting} | {one.task.name for one in running}
            for task in list(waiting):
                if _in_vain(task, failures):
                    waiting.remove(task)
                elif len(running) < jobs and not open_names.intersection(task.needs):
                    running.append(_begin(task, threads_each(jobs), prepare))
                    waiting.remove(task)
            if not running:
                continue
            ended = set(wait([one.process.sentinel for one in running]))
            for one in [one for one in running if one.process.sentinel in ended]:
                running.remove(one)
                if (failure := _outcome(one)) is not None:
                    _fail(failure, failures)
    finally:
        _end(running)


def _begin(task: Task, threads: int, prepare: Callable[[], object] | None) -> _Running:
    context = get_context("spawn")  # a fork of a process with threads may hang
    told, tells = context.Pipe(duplex=False)
    heard, speaks = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(task, threads, prepare, speaks, tells), name=task.name)
    with _as_many_threads(threads), _without_interrupts():
        process.start()
    speaks.close()
    tells.close()
    relay = threading.Thread(target=_relay, args=(task.name, heard), daemon=True)
    relay.start()
    return _Running(task, process, told, relay)


def _outcome(one: _Running) -> Failure | None:
    """What a process that has ended left to say."""
    one.process.join()
    one.relay.join(_PATIENCE_S)  # a helper of the process may hold its stderr open for a moment
    code = one.process.exitcode or 0
    with suppress(EOFError):
        if one.outcome.poll():
            return one.outcome.recv()
    if code < 0:
        short = ", as the system does when memory is short" if -code == signal.SIGKILL else ""
        return Failure(one.task.name, f"its process was ended by {signal.Signals(-code).name}{short}")
    return Failure(one.task.name, f"its process ended with code {code}") if code else None


def _end(running: Sequence[_Running]) -> None:
    """End the processes: asked first, with their whole group when that takes too long."""
    for one in running:
        one.process.terminate()
    until = time.monotonic() + _PATIENCE_S
    for one in running:
        one.process.join(max(0.0, until - time.monotonic()))
        if one.process.is_alive():
            with suppress(ProcessLookupError, PermissionError):  # it ends by itself, or has no group of its own yet
                os.killpg(one.process.pid or 0, signal.SIGKILL)
            one.process.kill()
            one.process.join()


@contextmanager
def _as_many_threads(threads: int) -> Generator[None]:
    """The environment that a process is begun with."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_interrupts() -> Generator[None]:
    """Hold Ctrl-C back; what is begun meanwhile has it held back, too, until it has a process group of its own."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _relay(name: str, heard: Connection) -> None:
    """Say each line of a process with its task's name before it."""
    with open(os.dup(heard.fileno()), encoding="utf-8", errors="backslashreplace") as lines:
        heard.close()
        for line in lines:
            if text := line.strip():
                say(f"{name}: {printable(text, limit=2000)}")


def _child(task: Task, threads: int, prepare: Callable[[], object] | None, speaks: Connection, tells: Connection) -> None:
    """One task in a process of its own: all that it prints goes to the process that began it."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, _leave)
    for stream in (1, 2):
        os.dup2(speaks.fileno(), stream)
    speaks.close()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()
    try:
        failure = _attempt(task)
    except Exception as error:  # a mistake of ours: the trace for whoever repairs it, a line for the others
        traceback.print_exc()
        failure = Failure(task.name, f"{type(error).__name__}: {printable(str(error).partition(chr(10))[0])}")
    if failure is not None:
        tells.send(failure)
        sys.exit(1)


def _leave(number: int, frame: object) -> None:
    """Leave as by an error, so that what is half written is deleted."""
    sys.exit(128 + number)


def _end_with_parent() -> None:
    """Ask this process to end when the one that began it is gone, however that went; then end its group."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os.killpg(0, signal.SIGKILL)

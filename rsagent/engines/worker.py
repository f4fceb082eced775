"""One thread that runs all the torch work of the local engine and batches what arrives together.

Adapters live in one model, so two threads must never run it at once; and three experts asked at the same moment cost
little more than one when they share a batch. Callers are coroutines of any event loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsagent.errors import EngineError

_WINDOW_S = 0.003  # how long requests wait for another one after the last that came
_PATIENCE_S = 0.05  # and how long the first of them waits at most
_MOST = 96  # the three experts of 32 pictures

Handler = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass
class _Job:
    kind: str
    payload: Any
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class BatchWorker:
    """Runs handlers in one thread; each handler gets a list of payloads of its kind and returns as many results."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        """Start the thread. Kinds are run in the order of `handlers` when several wait."""
        self._handlers = dict(handlers)
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._closed = False
        self._gate = threading.Lock()  # between "is it closed?" and the queue, or a job could come after the last one
        self._thread = threading.Thread(target=self._run, name="rsagent-torch", daemon=True)
        self._thread.start()

    def check_open(self) -> None:
        """Raise EngineError if the worker is closed."""
        if self._closed:
            raise EngineError("the local engine is closed: make a new one")

    async def submit(self, kind: str, payload: Any) -> Any:
        """Run one payload with others of its kind.

        Raises:
            EngineError: the worker is closed, or the machine ran out of memory.
        """
        loop = asyncio.get_running_loop()
        job = _Job(kind, payload, loop, loop.create_future())
        with self._gate:
            self.check_open()
            self._jobs.put(job)
        return await job.future

    def close(self) -> None:
        """Finish what is in hand and stop the thread. Idempotent."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            batch = self._gather()
            for kind, handler in self._handlers.items():
                jobs = [job for job in batch if job is not None and job.kind == kind and not job.future.cancelled()]
                for start in range(0, len(jobs), _MOST):
                    _serve(handler, jobs[start : start + _MOST])
            if None in batch:
                return

    def _gather(self) -> list[_Job | None]:
        """The next job and those that follow close behind: pictures of one call come one by one, as the graph gets to them."""
        batch = [self._jobs.get()]
        ends = time.monotonic() + _PATIENCE_S
        while None not in batch and len(batch) < _MOST:
            try:
                batch.append(self._jobs.get(timeout=max(0.0, min(_WINDOW_S, ends - time.monotonic()))))
            except queue.Empty:
                break
        return batch


def _serve(handler: Handler, jobs: Sequence[_Job]) -> None:
    try:
        results: Sequence[Any] = handler([job.payload for job in jobs])
        outcome = [(job, result, None) for job, result in zip(jobs, results, strict=True)]
    except Exception as error:  # whatever it is, it belongs to those who wait, not to this thread
        outcome = [(job, None, _as_engine_error(error)) for job in jobs]
    for job, result, error in outcome:
        tell(job.loop, _settle, job.future, result, error)


def tell(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: Any) -> bool:
    """Have `loop` call `callback` from another thread; False when the loop is closed, so that nobody waits any more."""
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:  # asking is_closed() first would leave a moment in which it closes
        if not loop.is_closed():
            raise
        return False
    return True


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():  # the caller was cancelled
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _as_engine_error(error: Exception) -> Exception:
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return EngineError("out of memory: give fewer images at once, fewer --max-tokens or a smaller checkpoint")
    return error

"""One thread, batches of what arrives together, and nobody who waits is forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from rsagent.engines.worker import BatchWorker
from rsagent.errors import EngineError


class Doubler:
    """Doubles numbers; notes the batches; fails on negative ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.threads.add(threading.get_ident())
        if min(numbers) < 0:
            raise ValueError("negative")
        return [2 * number for number in numbers]


async def test_what_arrives_together_is_one_batch_in_one_thread():
    doubler = Doubler()
    worker = BatchWorker({"double": doubler})
    assert await asyncio.gather(*(worker.submit("double", number) for number in range(20))) == list(range(0, 40, 2))
    assert len(doubler.batches) < 20
    assert doubler.threads == {worker._thread.ident}
    worker.close()


async def test_an_error_reaches_those_who_wait_and_the_next_batch_works():
    worker = BatchWorker({"double": Doubler()})
    with pytest.raises(ValueError, match="negative"):
        await worker.submit("double", -1)
    assert await worker.submit("double", 4) == 8
    worker.close()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate"), RuntimeError("can't allocate memory: x")]
)
async def test_out_of_memory_is_one_line(error: Exception):
    def fail(_: Sequence[int]) -> list[int]:
        raise error

    worker = BatchWorker({"fail": fail})
    with pytest.raises(EngineError, match="^out of memory: ") as caught:
        await worker.submit("fail", 1)
    assert "\n" not in str(caught.value)
    worker.close()


async def test_a_cancelled_job_is_not_run():
    doubler = Doubler()
    started, go_on = threading.Event(), threading.Event()

    def block(numbers: Sequence[int]) -> Sequence[int]:
        started.set()
        go_on.wait(10)
        return numbers

    worker = BatchWorker({"block": block, "double": doubler})
    blocking = asyncio.create_task(worker.submit("block", 0))
    await asyncio.to_thread(started.wait)
    waiting = asyncio.create_task(worker.submit("double", 1))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.sleep(0.01)
    go_on.set()
    await blocking
    assert await worker.submit("double", 2) == 4
    assert doubler.batches == [[2]]
    worker.close()


def test_a_loop_that_closed_meanwhile_does_not_stop_the_worker():
    started, go_on = threading.Event(), threading.Event()

    def block(numbers: Sequence[int]) -> Sequence[int]:
        started.set()
        go_on.wait(10)
        return numbers

    worker = BatchWorker({"block": block, "double": Doubler()})
    loop = asyncio.new_event_loop()
    abandoned = loop.create_task(worker.submit("block", 0))
    loop.run_until_complete(asyncio.sleep(0))
    started.wait()
    abandoned.cancel()
    loop.run_until_complete(asyncio.gather(abandoned, return_exceptions=True))
    loop.close()
    go_on.set()
    assert asyncio.run(worker.submit("double", 3)) == 6
    worker.close()


def test_a_job_that_comes_while_it_closes_is_served_or_refused_but_never_kept_waiting():
    for _ in range(30):
        worker = BatchWorker({"double": Doubler()})
        outcomes: list[object] = []

        def call(worker: BatchWorker = worker, outcomes: list[object] = outcomes) -> None:
            try:
                outcomes.append(asyncio.run(asyncio.wait_for(worker.submit("double", 1), 5)))
            except EngineError as error:
                outcomes.append(str(error))

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        worker.close()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 4 and set(outcomes) <= {2, "the local engine is closed: make a new one"}


async def test_closing_twice_and_from_two_sides():
    worker = BatchWorker({"double": Doubler()})
    await asyncio.gather(asyncio.to_thread(worker.close), asyncio.to_thread(worker.close))
    worker.close()
    with pytest.raises(EngineError, match="closed"):
        await worker.submit("double", 1)
    assert not worker._thread.is_alive()

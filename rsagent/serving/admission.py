"""Who may come in: a bounded number of turns run, a bounded number wait, the others are told when to come back."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter

from rsagent.serving.protocol import RequestError

_LONGEST_S = 60


class Admission:
    """A bounded queue before a bounded number of places.

    Attributes:
        inside: requests that were let in and have not left, waiting ones included.
        running: those that hold a place.
    """

    def __init__(self, places: int, queue: int) -> None:
        """Let `places` run and `queue` more wait."""
        self.inside = 0
        self.running = 0
        self._places, self._queue = places, queue
        self._free = asyncio.Semaphore(places)
        self._seconds = 1.0  # how long a turn takes, as a moving average

    def enter(self) -> None:
        """Come in; `leave` must follow.

        Raises:
            RequestError: 429 with Retry-After, the queue is full.
        """
        if self.inside >= self._places + self._queue:
            wait = min(_LONGEST_S, max(1, math.ceil(self._seconds * self.inside / self._places)))
            message = f"all {self._places} places and the queue of {self._queue} are taken: try again in {wait} s"
            raise RequestError(429, message, code="queue_full", retry_after_s=wait)
        self.inside += 1

    def leave(self) -> None:
        """Go, whatever came of it."""
        self.inside -= 1

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Wait for a place and hold it."""
        async with self._free:
            self.running += 1
            began = perf_counter()
            try:
                yield
            finally:
                self.running -= 1
                self._seconds += 0.1 * (perf_counter() - began - self._seconds)


class Keys:
    """The API keys that are accepted; with none, everybody is."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Keep digests alone, so that a key is in no dump and all are equally long to compare."""
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, authorization: str | None) -> None:
        """Accept `Bearer KEY`, or anything when there are no keys; takes equally long whichever key it is.

        Raises:
            RequestError: 401.
        """
        if not self._digests:
            return
        kind, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        if kind.lower() != "bearer" or not any(matches):
            raise RequestError(401, "a valid API key is needed: Authorization: Bearer KEY", code="invalid_api_key")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

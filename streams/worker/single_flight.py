"""One answer for everyone who asks at about the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from math import inf
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Asks once, however many callers wait, and not again for a while; failures are shared, too.

    The while is `seconds`, or `times` as long as asking took, whichever is longer, so that asking never takes more than
    that part of the time. It is never longer than `most` seconds.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        *,
        seconds: float = 0.0,
        times: float = 0.0,
        most: float = inf,
    ) -> None:
        self._ask, self._seconds, self._times, self._most = ask, seconds, times, most
        self._asking: asyncio.Future[T] | None = None
        self._fresh_until = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether who asks now gets a new answer."""
        return self._asking is None or (self._asking.done() and time.monotonic() >= self._fresh_until)

    async def get(self) -> T:
        """The answer; raises what asking raised."""
        if self._asking is None or self.is_stale:
            self._asking = asyncio.ensure_future(self._timed())
            self._asking.add_done_callback(_heard)
        return await asyncio.shield(self._asking)

    async def _timed(self) -> T:
        begun = time.monotonic()
        try:
            return await self._ask()
        finally:
            ended = time.monotonic()
            self._fresh_until = ended + min(self._most, max(self._seconds, self._times * (ended - begun)))


class SingleFlights(Generic[T]):
    """A `SingleFlight` for each of the questions that were asked last.

    An answer is given again for `times` as long as it took, but for `most` seconds at most.
    """

    def __init__(self, *, times: float, most: float, kept: int = 8) -> None:
        self._times, self._most, self._kept = times, most, kept
        self._flights: dict[Hashable, SingleFlight[T]] = {}

    async def get(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question, which `ask` gets unless there is one already; or whatever asking raised."""
        flight = self._flights.pop(question, None)
        if flight is None or flight.is_stale:
            flight = SingleFlight(ask, times=self._times, most=self._most)
        self._flights[question] = flight
        while len(self._flights) > self._kept:
            del self._flights[next(iter(self._flights))]
        return await flight.get()

    def clear(self) -> None:
        """Forget all answers."""
        self._flights.clear()


def _heard(asked: asyncio.Future[Any]) -> None:
    """Retrieve a failure even if the caller is gone."""
    if not asked.cancelled():
        asked.exception()

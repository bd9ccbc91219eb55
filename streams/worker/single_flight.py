"""One answer for all who ask at about the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Asks once for however many wait, and not again for a while; failures are shared too.

    The while is `seconds`, or `times` as long as asking took, whichever is longer: so asking takes no more than that
    part of the time, however many ask.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], *, seconds: float = 0.0, times: float = 0.0) -> None:
        self._ask, self._seconds, self._times = ask, seconds, times
        self._asking: asyncio.Future[T] | None = None
        self._fresh_until = 0.0

    async def get(self) -> T:
        """The answer, or whatever asking raised."""
        if self._asking is None or (self._asking.done() and time.monotonic() >= self._fresh_until):
            self._asking = asyncio.ensure_future(self._timed())
            self._asking.add_done_callback(_heard)
        return await asyncio.shield(self._asking)

    async def _timed(self) -> T:
        begun = time.monotonic()
        try:
            return await self._ask()
        finally:
            ended = time.monotonic()
            self._fresh_until = ended + max(self._seconds, self._times * (ended - begun))


def _heard(asked: asyncio.Future[Any]) -> None:
    """Take note of a failure though whoever asked may be gone."""
    if not asked.cancelled():
        asked.exception()

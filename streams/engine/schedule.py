"""When commits are due, and for how long brokers may gather records meanwhile. Times are those of `time.monotonic`.

A commit waits for what it can still take with it, and for nothing else: the last fetch before it is answered a little
early, and once that has been applied, the commit begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

#: Seconds from a broker's answer to its records being applied, where these are few; with some to spare.
_APPLY_SECONDS: Final = 0.010
#: Fetches between two commits: each costs as much as some hundred records, and many records at once hold up the rest.
_FETCHES: Final = 3
_LONGEST_SECONDS: Final = 0.05


class Schedule:
    """Work that is due at fixed intervals."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        #: The next time; passed while work takes longer than the interval.
        self.due = time.monotonic() + seconds
        #: So long before that it need not wait any longer once a fetch has been applied: another would come too late.
        self.early = min(1.5 * _APPLY_SECONDS, seconds / 2)
        self._is_ready = asyncio.Event()

    def applied(self) -> None:
        """What a fetch has brought is applied."""
        if self.due - time.monotonic() <= self.early:
            self._is_ready.set()

    async def wait(self) -> None:
        """Wait until work is due. Of times that have passed while work took longer, none is made up for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self.due - time.monotonic())):
                await self._is_ready.wait()
        self._is_ready.clear()
        now = time.monotonic()
        self.due += self.seconds
        if self.due <= now:
            self.due = now + self.seconds


def gather_seconds(commits: Iterable[Schedule], now: float) -> float:
    """For how long brokers may gather records before they answer the next fetch.

    The last answer before a commit comes just in time for what it brings to be in that commit: what would miss it waits
    for a whole interval.
    """
    first = min(commits, key=lambda each: each.due)
    usual = min(_LONGEST_SECONDS, first.seconds / _FETCHES)
    left = first.due - now - _APPLY_SECONDS
    if left < usual / 2:
        left = max(0.0, left) + first.seconds  # the next commit after that
    return left / max(1, round(left / usual))

"""Statistics of one worker's partitions, without data of individual calls, for `/status` and the live page.

Nothing is counted for this purpose; it is computed on request. What takes time, because it scans all open calls or all
recent windows, is repeated only after many times as long; open calls are scanned in a thread, since a million of them
would block the event loop for too long.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from heapq import nsmallest
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from streams.calls.partition import CallsPartition
from streams.calls.view import OpenCalls
from streams.codecs import split_headers
from streams.records import Output
from streams.worker.single_flight import SingleFlight

#: How many KPI windows are reported, up to that of the current stream time.
WINDOWS: Final = 15
#: How many dead letters and open calls are reported.
_LAST: Final = 8
#: Scanning the open calls takes at most this part of a thread's time, however often it is requested.
_SHARE: Final = 1 / 100
#: How long (s) a request waits for a scan; after that it gets the result of the previous one.
_PATIENCE: Final = 2.0


class Census(NamedTuple):
    """The open calls of a partition when they were last scanned: how many by status; time and id of the oldest."""

    by_status: Counter[str]
    oldest: list[tuple[int, bytes]]


class Statistics:
    """Statistics of one worker; `partitions` are its partitions at the moment."""

    def __init__(self, width: int) -> None:
        """`width` is that of the KPI windows, in ms."""
        self._width = width
        self._dead: deque[dict[str, Any]] = deque(maxlen=_LAST)
        #: Weak references: a partition that moves away must be freed, even if nobody asks again.
        self._partitions = WeakValueDictionary[int, CallsPartition]()
        self._census: dict[int, Census] = {}
        self._counting = SingleFlight(self._count, times=1 / _SHARE)
        self._summed: dict[str, Counter[str]] = {}
        self._again_at = 0.0

    def rejected(self, letters: Iterable[Output]) -> None:
        """Dead letters were published: remember the origin and the reason of the latest ones."""
        now = time.time_ns() // 1_000_000
        for *_, headers in list(letters)[-_LAST:]:
            if split := split_headers(headers):
                origin = split[1]
                place = {"partition": origin.partition, "offset": origin.offset}
                self._dead.append({"reason": origin.reason, **place, "at": now})

    async def survey(self, partitions: Mapping[int, CallsPartition]) -> None:
        """Scan the open calls of these partitions, unless that was done recently."""
        if partitions != self._partitions:
            self._partitions = WeakValueDictionary(partitions)
            self._counting = SingleFlight(self._count, times=1 / _SHARE)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._counting.get()

    async def _count(self) -> None:
        counted = {}
        for number, calls in list(self._partitions.items()):
            counted[number] = await asyncio.to_thread(_census, OpenCalls.of(calls))
        everything = self._census | counted
        self._census = {number: everything[number] for number in self._partitions if number in everything}

    def open(self, partitions: Mapping[int, CallsPartition]) -> Counter[str] | None:
        """How many calls are open, by status; None before they have been counted."""
        known = self._known(partitions)
        return sum((each.by_status for each in known), Counter[str]()) if known or not partitions else None

    def oldest(self, partitions: Mapping[int, CallsPartition]) -> int | None:
        """The first event time (epoch ms) of the call that has been open longest; None without one."""
        firsts = [time for each in self._known(partitions) for time, _ in each.oldest[:1]]
        return min(firsts, default=None)

    def _known(self, partitions: Mapping[int, CallsPartition]) -> list[Census]:
        return [self._census[number] for number in partitions if number in self._census]

    def document(self, partitions: Mapping[int, CallsPartition]) -> dict[str, Any]:
        """Counts of the partitions' ledgers (since they were first read), what is open, and the last windows."""
        rejected, closed = Counter[str](), Counter[str]()
        timed_out = 0
        for calls in partitions.values():
            rejected.update({reason: n for reason, n in calls.ledger.rejected.items() if n})
            closed.update({status: n for status, n in calls.ledger.closed.items() if n})
            timed_out += calls.ledger.timed_out
        if (begun := time.monotonic()) >= self._again_at:
            self._summed = self._windows(partitions)
            ended = time.monotonic()
            self._again_at = ended + 100 * (ended - begun)
        return {
            "rejected": dict(rejected),
            "closed": dict(closed),
            "timed_out": timed_out,
            "dead": list(self._dead),
            "window_ms": self._width,
            "open": self.open(partitions) or {},
            "oldest_open": self.oldest(partitions),
            "windows": self._summed,
        }

    def longest(self, partitions: Mapping[int, CallsPartition]) -> list[dict[str, Any]]:
        """The calls that have been open longest: id, status and first event time (epoch ms)."""
        found = [
            {"id": key.decode(), "status": state.status, "since": state.first_seen}
            for number, calls in partitions.items()
            if number in self._census
            for _, key in self._census[number].oldest
            if (state := calls.open.get(key)) is not None
        ]
        return nsmallest(_LAST, found, key=lambda call: int(call["since"]))

    def _windows(self, partitions: Mapping[int, CallsPartition]) -> dict[str, Counter[str]]:
        """Sums of the last KPI windows, by their start (epoch ms)."""
        found: dict[int, Counter[str]] = {}
        for calls in partitions.values():
            last = calls.ledger.stream_time - calls.ledger.stream_time % self._width
            for start in range(last - (WINDOWS - 1) * self._width, last + 1, self._width):
                if sums := calls.windows.sums(start):
                    found.setdefault(start, Counter()).update(sums)
        return {str(start): found[start] for start in sorted(found)[-WINDOWS:]}


def _census(calls: OpenCalls) -> Census:
    return Census(calls.by_status(), calls.oldest(_LAST))

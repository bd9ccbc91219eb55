"""Looking into topics for a page: backwards from their ends, a bounded piece at a time.

Each look has a consumer of its own in a thread of its own, so reading holds up neither the event loop nor the engine's
fetcher. One look runs at a time, some may wait, and beside a busy worker they rest in between. What a look has not
reached it says, as the place to go on from.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.engine.failures import lacking
from streams.engine.writer import partition_of
from streams.errors import OperatorError
from streams.kafka import reading
from streams.kafka.errors import told
from streams.kafka.reading import LogRecord
from streams.settings import Settings
from streams.worker.web.pace import Pace
from streams.worker.web.problems import Problem

#: A look ends with the first step after so many seconds or bytes; it fails after the last of these (s).
_SECONDS, _BYTES, _PATIENCE = 3.0, 64 << 20, 20.0
#: Offsets of a partition in a step: few at first, for what is asked for is mostly recent.
_FIRST_STEP, _GREATEST_STEP = 1_000, 16_000
#: Keys and values in an answer.
_FOUND_BYTES: Final = 2 << 20
#: Looks that may wait for others.
_WAITING: Final = 8

T = TypeVar("T")

Places = Mapping[int, int]
"""Of each partition an offset: what lies before it has not been seen yet."""


@dataclass
class Look(Generic[T]):
    """What was found, the newest of each partition first, and how far back was looked."""

    found: list[T] = field(default_factory=list)
    #: Where to go on; empty when everything has been seen.
    left: dict[int, int] = field(default_factory=dict)
    #: Of each partition the earliest timestamp of what has been seen (epoch ms).
    seen: dict[int, int] = field(default_factory=dict)
    #: The partitions that were looked at, and how many the topic has.
    partitions: list[int] = field(default_factory=list)
    of: int = 0

    @property
    def back_to(self) -> int | None:
        """The time (epoch ms) from which on everything has been seen, None when nothing with a time was.

        It is that of the partition with the shortest reach.
        """
        short = [at for partition, at in self.seen.items() if partition in self.left]
        return max(short) if short else min(self.seen.values(), default=None)


Match = Callable[[LogRecord], T | None]
"""What a record is to the reader; None when it is not looked for."""


class Topics:
    """Whoever asks gets one look after another."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn, self._pace = asyncio.Lock(), Pace()
        self._waiting = 0

    async def look(
        self,
        topic: str,
        match: Match[T],
        *,
        key: bytes | None = None,
        only: Collection[int] = (),
        before: Places | None = None,
        since: int | None = None,
        limit: int,
        enough: Callable[[T], bool] = lambda _: False,
    ) -> Look[T]:
        """Look for records: on from the places `before`; without any in the partitions `only`; without any of these
        in that where Kafka's default puts the `key`; and without a key in all.

        Nothing that lies before the first record stamped `since` (epoch ms) or later is read; nor more than the step
        that finds one which is `enough`, or `limit` of them. Raises as `read`.
        """
        budget = self._pace.budget()
        wanted = _Wanted(topic, match, key, frozenset(before or only), before, since, limit, enough, budget)
        return await self.read(topic, wanted.look)

    async def read(self, topic: str, job: Callable[[Any], Awaitable[T]]) -> T:
        """Do with a consumer what has to be done quickly. Raises Problem when too many wait, or it fails."""
        if self._waiting >= _WAITING:
            raise _later("too many look into topics at the moment")
        self._waiting += 1
        try:
            async with self._turn:
                await asyncio.sleep(self._pace.rest())
                found, cpu = await asyncio.to_thread(asyncio.run, self._read(job))
                self._pace.spent(cpu)
                return found
        except TimeoutError:
            raise _later(f"topic {topic} could not be read within {_PATIENCE:.0f} s") from None
        except (OperatorError, KafkaError) as error:
            lacking(error, "Read")
            raise _later(f"topic {topic} could not be read: {told(error)}") from None
        finally:
            self._waiting -= 1

    async def _read(self, job: Callable[[Any], Awaitable[T]]) -> tuple[T, float]:
        """What the job finds, and the CPU time (s) that it has taken of the thread, whose only work it is."""
        begun = time.thread_time()
        async with asyncio.timeout(_PATIENCE), reading.reader(self._settings) as consumer:
            found = await job(consumer)
        return found, time.thread_time() - begun


async def partitions_of(consumer: Any, topic: str, wanted: Collection[int]) -> int:
    """How many partitions a topic has. Raises Problem when one that is wanted is not among them."""
    of = len(await reading.chosen(consumer, topic))
    if unknown := [number for number in wanted if number >= of]:
        detail = f"topic {topic} has no partition {min(unknown)}: it has 0 to {of - 1}"
        raise Problem(HTTPStatus.NOT_FOUND, detail)
    return of


@dataclass
class _Wanted(Generic[T]):
    topic: str
    match: Match[T]
    key: bytes | None
    only: Collection[int]
    before: Places | None
    since: int | None
    limit: int
    enough: Callable[[T], bool]
    #: CPU time (s) after which no further step begins.
    budget: float

    async def look(self, consumer: Any) -> Look[T]:
        of = await partitions_of(consumer, self.topic, self.only)
        only = self.only or (() if self.key is None else {partition_of(self.key, of)})
        bounds = await reading.ranges(consumer, self.topic, only, self.since)
        firsts = {log.partition: first for log, (first, _) in bounds.items()}
        ends = {log.partition: end for log, (_, end) in bounds.items()}
        if self.before is not None:
            ends = {number: min(end, self.before[number]) for number, end in ends.items()}
        look = Look[T](partitions=sorted(ends), of=of)
        look.left = {n: end for n, end in ends.items() if firsts[n] < end}
        await self._back(consumer, firsts, look)
        return look

    async def _back(self, consumer: Any, firsts: Places, look: Look[T]) -> None:
        """Step back from the ends, until everything or enough has been read."""
        begun, used, read, held, step = time.monotonic(), time.thread_time(), 0, 0, _FIRST_STEP
        while (
            look.left
            and read < _BYTES
            and held < _FOUND_BYTES
            and len(look.found) < self.limit
            and time.monotonic() - begun < _SECONDS
            and time.thread_time() - used < self.budget
        ):
            ranges = {n: (max(firsts[n], end - step), end) for n, end in look.left.items()}
            kept = _Kept[T](_FOUND_BYTES, self.limit - len(look.found))
            seen: dict[int, int] = {}
            async with aclosing(self._records(consumer, ranges)) as records:
                async for record in records:
                    size = len(record.key or b"") + len(record.value or b"")
                    read += size
                    if record.timestamp >= 0:
                        seen[record.partition] = min(
                            record.timestamp, seen.get(record.partition, record.timestamp)
                        )
                    if (found := self.match(record)) is not None:
                        kept.add(record, found, size)
            held += kept.size
            look.found += kept.newest_first()
            reached = {n: first for n, (first, _) in ranges.items()} | kept.cut
            look.seen |= seen | kept.reach
            look.left = {n: at for n, at in reached.items() if firsts[n] < at}
            step = min(4 * step, _GREATEST_STEP)
            if any(map(self.enough, look.found)):
                break

    def _records(
        self, consumer: Any, ranges: Mapping[int, tuple[int, int]]
    ) -> AsyncGenerator[LogRecord, None]:
        return reading.records(consumer, {TopicPartition(self.topic, n): each for n, each in ranges.items()})


class _Kept(Generic[T]):
    """What a step has found; of what is too much the oldest is left for the next look."""

    def __init__(self, most_bytes: int, most: int) -> None:
        self._most_bytes, self._most = most_bytes, most
        self._items: dict[int, deque[tuple[LogRecord, T, int]]] = {}
        self._count, self.size = 0, 0
        #: Of the partitions of which something was left out: where the next look has to go on from.
        self.cut: dict[int, int] = {}
        #: Of the same partitions the timestamp of the newest that was left out.
        self.reach: dict[int, int] = {}

    def add(self, record: LogRecord, found: T, size: int) -> None:
        """Add what a record is, which lies behind all that was added of its partition."""
        self._items.setdefault(record.partition, deque()).append((record, found, size))
        self.size += size
        self._count += 1
        while self._count > self._most or (self.size > self._most_bytes and self._count > 1):
            self._leave(max(self._items.values(), key=len))

    def _leave(self, items: deque[tuple[LogRecord, T, int]]) -> None:
        record, _, size = items.popleft()
        self.size -= size
        self._count -= 1
        self.cut[record.partition], self.reach[record.partition] = record.offset + 1, record.timestamp

    def newest_first(self) -> list[T]:
        """Everything kept, partition by partition."""
        return [found for items in self._items.values() for _, found, _ in reversed(items)]


def _later(detail: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "2"})

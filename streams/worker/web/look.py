"""A look into a topic: backwards from its ends, a bounded piece. What it has not reached it says, as the place to go on
from.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from math import inf
from typing import Any, Final, Generic, TypeVar

from aiokafka import TopicPartition

from streams.engine.writer import partition_of
from streams.kafka import reading
from streams.kafka.reading import LogRecord
from streams.records import Record
from streams.worker.web.problems import Problem

#: A look ends with the first step after so many seconds or bytes.
_SECONDS, _BYTES = 3.0, 64 << 20
#: Offsets of a partition in a step: few at first, for what is asked for is mostly recent.
_FIRST_STEP, _GREATEST_STEP = 1_000, 16_000
#: Keys and values in an answer.
_FOUND_BYTES: Final = 2 << 20
#: Of what a pass has read so many bytes are kept for its next looks.
_SHARED_BYTES: Final = 16 << 20

T = TypeVar("T")

Places = Mapping[int, int]
"""Of each partition an offset: what lies before it has not been seen yet."""

Match = Callable[[LogRecord], T | None]
"""What a record is to the reader; None when it is not looked for."""


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


class Pass:
    """What looks that follow at once on one another share: where topics end, and what was read of them."""

    def __init__(self, budget: float = inf) -> None:
        """`budget` is the CPU time (s) of the thread after which a look begins no further step."""
        self.budget = budget
        self._everything: dict[str, dict[TopicPartition, tuple[int, int]]] = {}
        #: Of a partition the offsets that were read last, and their records.
        self._kept: dict[TopicPartition, tuple[int, int, list[Record]]] = {}
        self._size = 0

    async def bounds(
        self, consumer: Any, topic: str, since: int | None
    ) -> dict[TopicPartition, tuple[int, int]]:
        """All that lies in a topic, from a time on. Raises as `reading.ranges`."""
        if topic not in self._everything:
            self._everything[topic] = await reading.ranges(consumer, topic)
        return await reading.since_time(consumer, self._everything[topic], since)

    async def read(
        self, consumer: Any, topic: str, ranges: Mapping[int, tuple[int, int]]
    ) -> AsyncGenerator[tuple[int, list[Record], int], None]:
        """The records of ranges of offsets, with their partition and the bytes of their keys and values, in the order
        of each partition.

        Raises as `reading.read`.
        """
        missing: dict[TopicPartition, tuple[int, int]] = {}
        for number, (first, end) in ranges.items():
            log = TopicPartition(topic, number)
            begin, reach, records = self._kept.get(log, (0, -1, []))
            if begin <= first and end <= reach:
                found = [each for each in records if first <= each[0] < end]
                yield number, found, _bytes(found)
            else:
                missing[log] = first, end
        fresh: dict[TopicPartition, list[Record]] = {log: [] for log in missing}
        async with aclosing(reading.read(consumer, missing)) as batches:
            async for batch in batches:
                size = _bytes(batch.records)
                self._size += size
                if self._size <= _SHARED_BYTES:
                    fresh[batch.partition] += batch.records
                else:
                    fresh = {log: [] for log in missing}
                yield batch.partition.partition, batch.records, size
        if self._size <= _SHARED_BYTES:
            self._keep(missing, fresh)

    def _keep(
        self, ranges: Mapping[TopicPartition, tuple[int, int]], read: Mapping[TopicPartition, list[Record]]
    ) -> None:
        for log, (first, end) in ranges.items():
            begin, reach, records = self._kept.get(log, (end, end, []))
            if begin == end:  # just before what is kept
                self._kept[log] = first, reach, read[log] + records


@dataclass(kw_only=True)
class Wanted(Generic[T]):
    """What is looked for: on from the places `before`; without any in the partitions `only`; without any of these in
    that where Kafka's default puts `key`; and without a key in all.

    Nothing that lies before the first record stamped `since` (epoch ms) or later is read; nor more than the step that
    finds one which is `enough`, or `limit` of them. Only records with one of the `keys` are matched, if there are any.
    """

    topic: str
    match: Match[T]
    limit: int
    key: bytes | None = None
    keys: Collection[bytes] = ()
    only: Collection[int] = ()
    before: Places | None = None
    since: int | None = None
    enough: Callable[[T], bool] = lambda _: False

    async def look(self, shared: Pass, consumer: Any) -> Look[T]:
        """Look once. Raises Problem when a partition is wanted that is not there, and as `Pass.read`."""
        bounds = await shared.bounds(consumer, self.topic, self.since)
        require(self.topic, [*self.only, *(self.before or ())], len(bounds))
        only = self.before or self.only or ([] if self.key is None else [partition_of(self.key, len(bounds))])
        look = Look[T](of=len(bounds))
        firsts: dict[int, int] = {}
        for log, (first, end) in bounds.items():
            number = log.partition
            if number in only or not only:
                end = end if self.before is None else min(end, self.before[number])
                look.partitions.append(number)
                firsts[number] = first
                if first < end:
                    look.left[number] = end
        await self._back(shared, consumer, firsts, look)
        return look

    async def _back(self, shared: Pass, consumer: Any, firsts: Places, look: Look[T]) -> None:
        """Step back from the ends, until everything or enough has been read."""
        begun, used, read, held, step = time.monotonic(), time.thread_time(), 0, 0, _FIRST_STEP
        while (
            look.left
            and read < _BYTES
            and held < _FOUND_BYTES
            and len(look.found) < self.limit
            and time.monotonic() - begun < _SECONDS
            and time.thread_time() - used < shared.budget
        ):
            ranges = {n: (max(firsts[n], end - step), end) for n, end in look.left.items()}
            kept = _Kept[T](_FOUND_BYTES, self.limit - len(look.found))
            seen: dict[int, int] = {}
            async with aclosing(shared.read(consumer, self.topic, ranges)) as pieces:
                async for number, records, size in pieces:
                    read += size
                    if times := [each[1] for each in records if each[1] >= 0]:
                        seen[number] = min(*times, seen.get(number, times[0]))
                    self._match(number, records, kept)
            held += kept.size
            look.found += kept.newest_first()
            reached = {n: first for n, (first, _) in ranges.items()} | kept.cut
            look.seen |= seen | kept.reach
            look.left = {n: at for n, at in reached.items() if firsts[n] < at}
            step = min(4 * step, _GREATEST_STEP)
            if any(map(self.enough, look.found)):
                break

    def _match(self, number: int, records: list[Record], kept: _Kept[T]) -> None:
        """Keep what is looked for. Most records are told by their key alone."""
        for each in [each for each in records if each[2] in self.keys] if self.keys else records:
            record = LogRecord(number, *each)
            if (found := self.match(record)) is not None:
                kept.add(record, found, _bytes([each]))


def require(topic: str, wanted: Collection[int], of: int) -> None:
    """Raise Problem when a partition that is wanted is not among the first `of`."""
    if unknown := [number for number in wanted if number >= of]:
        detail = f"topic {topic} has no partition {min(unknown)}: it has 0 to {of - 1}"
        raise Problem(HTTPStatus.NOT_FOUND, detail)


def _bytes(records: list[Record]) -> int:
    """Of their keys and values."""
    return sum([len(key or b"") + len(value or b"") for _, _, key, value, _ in records])


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

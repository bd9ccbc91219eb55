"""Reading a part of a topic once, outside the consumer group: up to a known end, or continuously."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from heapq import heappush, heappushpop
from math import inf
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.engine.clients import stop_at_once
from streams.engine.fetch import RecordBatch, drain
from streams.engine.supported import check
from streams.errors import OperatorError
from streams.kafka.connecting import Unreachable, connected
from streams.kafka.credentials import client_options
from streams.kafka.topics import ABSENT, TopicsError
from streams.records import Headers
from streams.settings import Settings

_CHUNK: Final = 2_000  # records
_FETCH_BYTES: Final = 4 << 20
#: How long (s) the brokers may send nothing although they have announced records.
_PATIENCE: Final = 30.0
#: Greater than any offset.
_NEVER: Final = 1 << 63

Ranges: TypeAlias = Mapping[TopicPartition, tuple[int, int]]
"""The offsets to read from each partition, the second one excluded."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many offsets have been read, and out of how many."""

T = TypeVar("T")


class LogRecord(NamedTuple):
    """A record and its place; `timestamp` is in epoch ms, -1 for none."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def silent(_read: int, _total: int) -> None:
    """A progress that is not shown."""


@asynccontextmanager
async def reader(settings: Settings, **options: Any) -> AsyncIterator[Any]:
    """A consumer without a group, read_committed, unless `options` (of aiokafka's) say otherwise.

    Raises Unreachable if no broker answers.
    """
    check()
    consumer = AIOKafkaConsumer(
        **client_options(settings)
        | {
            "client_id": f"{settings.app_id}-reader",
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "max_partition_fetch_bytes": _FETCH_BYTES,
        }
        | options
    )
    async with connected(consumer, settings):
        stop_at_once(consumer)
        yield consumer


async def partitions(consumer: Any, topic: str) -> list[TopicPartition]:
    """The partitions of a topic in order, none if there is no such topic; looking does not create it."""
    cluster = await consumer._client.fetch_all_metadata()
    numbers = cluster.partitions_for_topic(topic)
    if numbers:  # which aiokafka would otherwise learn by a failure, after which it pauses
        await consumer._client.add_topic(topic)
    return [TopicPartition(topic, number) for number in sorted(numbers or ())]


async def chosen(consumer: Any, topic: str, only: Collection[int] = ()) -> list[TopicPartition]:
    """The partitions `only` of a topic, by default all.

    Raises TopicsError if there is no such topic, OperatorError if there is no such partition.
    """
    logs = await partitions(consumer, topic)
    if not logs:
        raise TopicsError(f"topic {topic} {ABSENT}")
    if unknown := set(only) - {log.partition for log in logs}:
        raise OperatorError(f"topic {topic} has no partition {min(unknown)}: it has 0 to {len(logs) - 1}")
    return [log for log in logs if not only or log.partition in only]


async def whole(consumer: Any, logs: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Everything that is in the partitions now, up to the first open transaction."""
    if not (logs := list(logs)):
        return {}
    begins, ends = await consumer.beginning_offsets(logs), await consumer.end_offsets(logs)
    return {log: (begins[log], ends[log]) for log in logs}


async def ranges(
    consumer: Any, topic: str, only: Collection[int] = (), since: int | None = None
) -> dict[TopicPartition, tuple[int, int]]:
    """Everything that is in a topic now: in its partitions `only` (by default all), from a time on (epoch ms).

    What precedes the first record stamped `since` or later is left out; what follows it may be older. Raises as
    `chosen`.
    """
    return await since_time(consumer, await whole(consumer, await chosen(consumer, topic, only)), since)


async def since_time(
    consumer: Any, ranges: Ranges, since: int | None
) -> dict[TopicPartition, tuple[int, int]]:
    """Of ranges that reach to the ends of their partitions what lies there from a time on (epoch ms), as `ranges`."""
    if since is None or not ranges:
        return dict(ranges)
    found = await consumer.offsets_for_times(dict.fromkeys(ranges, max(since, 0)))
    return {log: (found[log].offset if found.get(log) else end, end) for log, (_, end) in ranges.items()}


async def read(
    consumer: Any, ranges: Ranges, progress: Progress = silent, patience: float = _PATIENCE
) -> AsyncGenerator[RecordBatch, None]:
    """The records of the ranges as whole batches, in the order of each partition, until all are read.

    Every range ends with a batch whose `next_offset` is the range's end, even if its last offsets hold no record.
    Raises RecordsLostError if the log no longer holds an offset, Unreachable if nothing has arrived for `patience`
    seconds.
    """
    ends = {log: end for log, (first, end) in ranges.items() if first < end}
    if not ends:
        return  # nor assign: aiokafka never stops if it is stopped right after an assignment
    consumer.assign(list(ends))
    for log in ends:  # at once, otherwise the positions would be reset to the end of the log
        consumer.seek(log, ranges[log][0])
    fetcher, wanted = consumer._fetcher, list(ends)
    total, done, heard = sum(end - ranges[log][0] for log, end in ends.items()), 0, time.monotonic()
    while ends:
        taken = drain(fetcher, wanted, _CHUNK)
        for batch in taken:
            log = batch.partition
            end = ends.get(log)
            if end is None:
                continue  # fetched before the pause
            if batch.next_offset >= end:
                del ends[log]
                consumer.pause(log)
                batch = batch._replace(next_offset=end, records=[r for r in batch.records if r[0] < end])
            yield batch
            done += batch.next_offset - batch.first
            progress(done, total)
        if taken:
            heard = time.monotonic()
            await asyncio.sleep(0)  # the fetcher lives in this event loop too
        elif time.monotonic() - heard > patience:
            log = next(iter(ends))
            raise Unreachable(
                f"the brokers have sent nothing of partition {log.partition} of {log.topic} for "
                f"{patience:.0f} s: check whether its leader is up. Nothing was changed; try again"
            )
        else:
            await asyncio.wait([fetcher._create_fetch_waiter()], timeout=0.1)


async def records(
    consumer: Any, ranges: Ranges, progress: Progress = silent
) -> AsyncGenerator[LogRecord, None]:
    """The same records one by one. Raises as `read` does."""
    async with aclosing(read(consumer, ranges, progress)) as batches:
        async for batch in batches:
            for record in batch.records:
                yield LogRecord(batch.partition.partition, *record)


async def follow(consumer: Any, start: Mapping[TopicPartition, int]) -> AsyncGenerator[LogRecord, None]:
    """The records from an offset of each partition on, without end. Raises RecordsLostError as `read` does."""
    endless = {log: (offset, _NEVER) for log, offset in start.items()}
    async with aclosing(read(consumer, endless, patience=inf)) as batches:
        async for batch in batches:
            for record in batch.records:
                yield LogRecord(batch.partition.partition, *record)


async def newest(items: AsyncIterator[T], count: int, stamp: Callable[[T], tuple[int, int, int]]) -> list[T]:
    """The last `count` items, in the order of `stamp` (time, partition, offset), which is unique."""
    heap: list[tuple[tuple[int, int, int], T]] = []
    async for each in items:
        item = (stamp(each), each)
        if len(heap) < count:
            heappush(heap, item)
        else:
            heappushpop(heap, item)
    return [each for _, each in sorted(heap, key=lambda item: item[0])]

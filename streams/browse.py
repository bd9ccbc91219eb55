"""Looking into a topic: its records one after another, up to a known end, without a consumer group."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from heapq import heappush, heappushpop
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from streams.brokers import Unreachable, connected
from streams.credentials import client_options
from streams.errors import OperatorError
from streams.reading import partitions, whole
from streams.settings import Settings
from streams.topics import ABSENT, TopicsError

_PATIENCE = 30.0  # seconds without anything read
_FETCH_BYTES = 4 << 20


@asynccontextmanager
async def browser(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A read_committed consumer without a group. Raises Unreachable when no broker answers."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        client_id=f"{settings.app_id}-browse",
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=_FETCH_BYTES,
    )
    async with connected(consumer, settings):
        yield consumer


async def ranges(
    consumer: AIOKafkaConsumer, topic: str, only: Collection[int] = (), since: int | None = None
) -> dict[TopicPartition, tuple[int, int]]:
    """All that lies in a topic now: in its partitions `only` (all unless given), from a time on (epoch ms).

    What comes before the first record stamped `since` or later is left out; what follows it may be older.
    Raises TopicsError when there is no such topic, OperatorError when there is no such partition.
    """
    logs = await partitions(consumer, topic)
    if not logs:
        raise TopicsError(f"topic {topic} {ABSENT}")
    if unknown := sorted(set(only) - {log.partition for log in logs}):
        raise OperatorError(f"topic {topic} has the partitions 0 to {len(logs) - 1}, and no {unknown[0]}")
    logs = [log for log in logs if not only or log.partition in only]
    everything = await whole(consumer, logs)
    if since is None:
        return everything
    found = await consumer.offsets_for_times(dict.fromkeys(logs, max(since, 0)))
    return {log: (found[log].offset if found.get(log) else end, end) for log, (_, end) in everything.items()}


async def read(
    consumer: AIOKafkaConsumer, wanted: Mapping[TopicPartition, tuple[int, int]]
) -> AsyncGenerator[ConsumerRecord, None]:
    """The records of the ranges, in the order of each partition. Raises Unreachable when the brokers fall silent."""
    left = {log: end for log, (first, end) in wanted.items() if first < end}
    consumer.assign(list(left))
    for log in left:
        consumer.seek(log, wanted[log][0])
    heard = time.monotonic()
    while left:
        taken = await consumer.getmany(timeout_ms=200)
        for log, records in taken.items():
            for record in records:
                if record.offset < wanted[log][1]:
                    yield record
        # By position, not by the last record: the last offset may be a transaction's marker.
        done = [log for log, end in left.items() if await consumer.position(log) >= end]
        if taken or done:
            heard = time.monotonic()
        elif time.monotonic() - heard > _PATIENCE:
            raise Unreachable(
                f"the brokers have sent nothing of {next(iter(left)).topic} for {_PATIENCE:.0f} s"
            )
        for log in done:
            del left[log]
        consumer.pause(*done)


async def follow(
    consumer: AIOKafkaConsumer, start: Mapping[TopicPartition, int]
) -> AsyncGenerator[ConsumerRecord, None]:
    """The records from an offset of each partition on, for ever."""
    consumer.assign(list(start))
    for log, offset in start.items():
        consumer.seek(log, offset)
    while True:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            for record in records:
                yield record


async def newest(
    records: AsyncIterator[Any], count: int, stamp: Callable[[Any], tuple[int, int, int]]
) -> list[Any]:
    """The `count` last of what comes, in the order of `stamp` (time, partition, offset), which is unique."""
    heap: list[tuple[tuple[int, int, int], Any]] = []
    async for record in records:
        item = (stamp(record), record)
        if len(heap) < count:
            heappush(heap, item)
        else:
            heappushpop(heap, item)
    return [record for _, record in sorted(heap, key=lambda item: item[0])]

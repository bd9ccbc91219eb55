"""Reading a part of a topic once, beside the consumer group: whole record batches, up to a known end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.brokers import connected
from streams.engine.config import Config
from streams.engine.fetch import RecordBatch, check, drain
from streams.settings import Settings

_CHUNK = 2_000  # records

Ranges: TypeAlias = Mapping[TopicPartition, tuple[int, int]]
"""Of each partition the offsets to read, the second one excluded."""


@asynccontextmanager
async def reader(settings: Settings, config: Config) -> AsyncIterator[Any]:
    """A read_committed consumer without a group. Raises Unreachable when no broker answers."""
    check()
    consumer = AIOKafkaConsumer(**config.reader())
    async with connected(consumer, settings):
        yield consumer


async def partitions(consumer: Any, topic: str) -> list[TopicPartition]:
    """The partitions of a topic in order, none when there is no such topic; looking does not make it."""
    cluster = await consumer._client.fetch_all_metadata()
    return [TopicPartition(topic, number) for number in sorted(cluster.partitions_for_topic(topic) or ())]


async def whole(consumer: Any, logs: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Everything that lies in the partitions now, up to the first open transaction."""
    logs = list(logs)
    begins, ends = await consumer.beginning_offsets(logs), await consumer.end_offsets(logs)
    return {log: (begins[log], ends[log]) for log in logs}


async def read(consumer: Any, ranges: Ranges) -> AsyncIterator[RecordBatch]:
    """The records of the ranges, in the order of each partition, until all are read.

    Every range ends with a batch whose `next_offset` is the range's end, also when its last offsets hold no
    record. Raises RecordsLostError when the log does not hold an offset any more.
    """
    ends = {log: end for log, (first, end) in ranges.items() if first < end}
    if not ends:
        return  # nor assign: aiokafka never stops when it is told to right after an assignment
    consumer.assign(list(ends))
    for log in ends:  # at once, or the positions would be reset to the end of the log
        consumer.seek(log, ranges[log][0])
    fetcher, wanted = consumer._fetcher, list(ends)
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
        if taken:
            await asyncio.sleep(0)  # the fetcher lives in this event loop too
        else:
            await asyncio.wait([fetcher._create_fetch_waiter()], timeout=0.1)

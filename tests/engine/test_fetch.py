"""What a fetch brings: not what a rebalance overtakes, and many records at once while some come."""

import asyncio
import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError

from streams.engine.fetch import PATIENCE_MS, RecordBatch, fetch


async def _fetch_while_joining(brokers: str, topic: str, *, is_flowing: bool) -> list[RecordBatch]:
    """A fetch that waits while its consumer joins a new group, which has no offsets yet."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers, group_id=uuid4().hex, enable_auto_commit=False, auto_offset_reset="none"
    )
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        waiting = asyncio.create_task(
            fetch(consumer._fetcher, [partition], 10, 60, lambda: is_flowing, lambda: 0.1)
        )
        await asyncio.sleep(0)
        consumer.subscribe([topic])
        return await asyncio.wait_for(waiting, 90)
    finally:
        await consumer.stop()


@pytest.mark.kafka
def test_what_the_fetcher_says_before_the_engine_has_sought_its_places_does_not_count(
    kafka: str, make_topic: Callable[..., str]
) -> None:
    topic = make_topic()
    assert asyncio.run(_fetch_while_joining(kafka, topic, is_flowing=False)) == []
    with pytest.raises(NoOffsetForPartitionError):
        asyncio.run(_fetch_while_joining(kafka, topic, is_flowing=True))


async def _trickle(brokers: str, topic: str, records: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=brokers) as producer:
        for number in range(records):
            await producer.send_and_wait(topic, b"%d" % number, partition=0)
            await asyncio.sleep(0.005)


async def _fetches(brokers: str, topic: str, gather: float) -> tuple[int, float, tuple[int, int]]:
    """How many fetches it takes to read a trickle, in how many seconds; and how the fetcher asks after its end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        fetcher, records, fetches, begun = consumer._fetcher, 0, 0, time.monotonic()
        trickle = asyncio.create_task(_trickle(brokers, topic, 200))
        while records < 200 and time.monotonic() < begun + 60:
            batches = await fetch(fetcher, [partition], 10_000, 1.0, lambda: True, lambda: gather)
            records += sum(len(batch.records) for batch in batches)
            fetches += bool(batches)
        seconds = time.monotonic() - begun
        await trickle
        assert await fetch(fetcher, [partition], 10_000, 1.0, lambda: True, lambda: gather) == []
        return fetches, seconds, (fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms)
    finally:
        await consumer.stop()


@pytest.mark.kafka
def test_a_trickle_is_gathered_until_it_ends(kafka: str, make_topic: Callable[..., str]) -> None:
    gather = 0.1
    fetches, seconds, afterwards = asyncio.run(_fetches(kafka, make_topic(), gather))
    # The first one waits for nothing, nor does the second, which was asked for before the first was looked at.
    assert (fetches - 2) * gather <= seconds
    assert afterwards == (1, PATIENCE_MS), "what comes next comes at once"

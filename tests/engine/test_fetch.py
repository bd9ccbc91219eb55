"""What a fetch brings that a rebalance overtakes."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError

from streams.engine.fetch import RecordBatch, fetch


async def _fetch_while_joining(brokers: str, topic: str, *, is_flowing: bool) -> list[RecordBatch]:
    """A fetch that waits while its consumer joins a new group, which has no offsets yet."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers, group_id=uuid4().hex, enable_auto_commit=False, auto_offset_reset="none"
    )
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        waiting = asyncio.create_task(fetch(consumer._fetcher, [partition], 10, 60, lambda: is_flowing))
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

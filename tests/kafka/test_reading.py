"""Reading a part of a topic once."""

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import TopicPartition
from support.kafka import Record, produce

from streams.kafka.reading import partitions, reader, whole
from streams.settings import Settings


@pytest.mark.kafka
@pytest.mark.timeout(50)
def test_the_partitions_of_a_topic_are_known_before_they_are_asked_about(
    kafka: str, make_topic: Callable[..., str]
) -> None:
    """aiokafka would fail at first and pause, 0.1 s for each topic that a command or a page looks at."""
    topic = make_topic()
    produce(kafka, topic, [Record(b"", b"1")])

    async def work() -> dict[TopicPartition, tuple[int, int]]:
        async with reader(Settings.load({"TELEFONIE_BROKERS": kafka}), retry_backoff_ms=60_000) as consumer:
            return await whole(consumer, await partitions(consumer, topic))

    assert asyncio.run(work()) == {TopicPartition(topic, 0): (0, 1)}

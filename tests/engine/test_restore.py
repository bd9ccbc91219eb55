"""What a restore needs: memory for the state, not for the changelog."""

import asyncio
import gc
import os
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import TopicPartition
from support.kafka import Record, produce

from streams.engine.config import Config
from streams.engine.restore import RestoreTarget, bounds, reader, restore
from streams.records import Row


class Forgetful:
    """A processor that counts rows and keeps none."""

    rows = 0

    def restore(self, rows: Iterable[Row]) -> list[Row]:
        self.rows += sum(1 for _ in rows)
        return []

    def ready(self, partition_state: bytes | None) -> Iterator[None]:  # noqa: ARG002
        return iter(())


def config_of(brokers: str, changelog: str) -> Config:
    return Config(
        "group", "source", {}, changelog, lambda *_: Forgetful(), {"bootstrap_servers": brokers.split(",")}
    )


async def restored(config: Config, processor: Forgetful) -> None:
    """Partition 0 of the changelog, into a processor."""
    async with reader(config) as consumer:
        where = await bounds(config, consumer, [0])
        await restore(config, consumer, {0: RestoreTarget(processor, where[0])}, lambda _: None)  # type: ignore[arg-type]


@pytest.mark.kafka
def test_a_long_changelog_is_not_gathered_in_memory(kafka: str, make_topic: Callable[..., str]) -> None:
    count, size, topic = 150_000, 1_000, make_topic()
    value = os.urandom(size)
    produce(kafka, topic, (Record(value, b"%d" % n) for n in range(count)), **{"linger.ms": 50})
    processor = Forgetful()
    tracemalloc.start()
    try:
        asyncio.run(restored(config_of(kafka, topic), processor))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert processor.rows == count
    assert peak < count * size / 3, "what has been read is kept"


@pytest.mark.kafka
@pytest.mark.timeout(50)
def test_the_topics_are_known_before_they_are_asked_about(kafka: str, make_topic: Callable[..., str]) -> None:
    """aiokafka would fail at first and pause, 0.1 s for each topic, and what moves to another worker with it."""
    topic = make_topic()
    produce(kafka, topic, [Record(b"", b"1")])
    config = config_of(kafka, topic)
    config = replace(config, source=make_topic(), client={**config.client, "retry_backoff_ms": 60_000})

    async def work() -> Any:
        async with reader(config, config.source, config.changelog) as consumer:
            await consumer.end_offsets([TopicPartition(config.source, 0)])
            return await bounds(config, consumer, [0])

    assert asyncio.run(work()) == {0: (0, 1)}


@pytest.mark.kafka
def test_it_gives_way_after_every_2000_rows_and_is_none_the_slower(
    kafka: str, make_topic: Callable[..., str]
) -> None:
    """Partitions that stayed with the worker are at work meanwhile. A fetch has some 40,000 of these rows."""
    topic, processor = make_topic(), Forgetful()
    produce(kafka, topic, (Record(b"", b"%d" % n) for n in range(100_000)), **{"linger.ms": 50})
    taken, idle = [0], 0

    async def give_way() -> None:
        taken.append(processor.rows)
        await asyncio.sleep(0)

    async def work() -> None:
        config = config_of(kafka, topic)
        async with reader(config) as consumer:
            where = await bounds(config, consumer, [0])
            target, wait = RestoreTarget(processor, where[0]), consumer._fetcher._create_fetch_waiter  # type: ignore[arg-type]

            def waiter() -> Any:
                nonlocal idle
                idle += any(each.has_more() for each in consumer._fetcher._records.values())
                return wait()

            consumer._fetcher._create_fetch_waiter = waiter
            await restore(config, consumer, {0: target}, lambda _: None, give_way)

    asyncio.run(work())
    assert processor.rows == 100_000
    assert max(later - earlier for earlier, later in pairwise(taken)) <= 2_000
    assert idle <= 5, "it waits for a fetch though it has rows left"


class Knot:
    """Garbage that only a collector finds, such as the clients of a restore."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.kafka
def test_what_one_restore_hides_from_the_collector_the_next_one_shows_it(
    kafka: str, make_topic: Callable[..., str]
) -> None:
    config, knot = config_of(kafka, make_topic()), Knot()
    seen = weakref.ref(knot)
    try:
        asyncio.run(restored(config, Forgetful()))
        del knot
        gc.collect()
        assert seen() is not None, "it is hidden"
        asyncio.run(restored(config, Forgetful()))
        assert seen() is None
    finally:
        gc.unfreeze()

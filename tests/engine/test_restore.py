"""What a restore needs: memory for the state, not for the changelog."""

import asyncio
import gc
import os
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator

import pytest
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

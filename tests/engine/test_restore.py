"""What a restore needs: memory for the state, not for the changelog."""

import asyncio
import os
import tracemalloc
from collections.abc import Callable, Iterable, Iterator

import pytest
from support.kafka import Record, produce

from streams.engine.config import Config
from streams.engine.processor import Row
from streams.engine.restore import Target, bounds, reader, restore


class Forgetful:
    """A processor that counts rows and keeps none."""

    rows = 0

    def restore(self, rows: Iterable[Row]) -> list[Row]:
        self.rows += sum(1 for _ in rows)
        return []

    def ready(self, header: bytes | None) -> Iterator[None]:  # noqa: ARG002
        return iter(())


@pytest.mark.kafka
def test_a_long_changelog_is_not_gathered_in_memory(kafka: str, make_topic: Callable[..., str]) -> None:
    count, size, topic = 150_000, 1_000, make_topic()
    value = os.urandom(size)
    produce(kafka, topic, (Record(value, b"%d" % n) for n in range(count)), **{"linger.ms": 50})
    config = Config(
        "group", "source", {}, topic, lambda *_: Forgetful(), {"bootstrap_servers": kafka.split(",")}
    )
    processor = Forgetful()

    async def go() -> None:
        async with reader(config) as consumer:
            where = await bounds(config, consumer, [0])
            targets = {0: Target(processor, where[0])}  # type: ignore[arg-type]
            await restore(config, consumer, targets, lambda _: None)

    tracemalloc.start()
    try:
        asyncio.run(go())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert processor.rows == count
    assert peak < count * size / 3, "what has been read is kept"

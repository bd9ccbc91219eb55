"""A consumer group of the engine: its topics, members that have really joined, and workers' producers."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from support.kafka import committed_offsets, create_topics, read_topic

from streams.engine.clock import Clock
from streams.engine.config import Config
from streams.engine.limits import Topics
from streams.engine.processor import Checkpoint
from streams.engine.protocol import Membership
from streams.engine.writer import Share, Writer
from streams.records import Output, Row


class Said(NamedTuple):
    """A checkpoint with one output."""

    outputs: dict[str, list[Output]]
    rows: Sequence[Row] = ()
    stored: Sequence[Row] = ()
    partition_state: bytes = b""


def said(value: bytes) -> Checkpoint:
    return Said({"out": [(None, value, 1_764_000_000_000, [])]})


class Group:
    """A group, its topics, and workers' producers."""

    def __init__(self, brokers: str, name: str) -> None:
        self.brokers = brokers
        self.config = Config(
            f"{name}-app",
            f"{name}.in",
            {"out": f"{name}.out"},
            f"{name}.changelog",
            lambda _: None,  # type: ignore[arg-type, return-value]
            {"bootstrap_servers": brokers.split(",")},
        )
        create_topics(brokers, self.config.source, partitions=2)
        create_topics(
            brokers, f"{name}.out", self.config.changelog, config={"retention.ms": "-1"}, partitions=2
        )

    @asynccontextmanager
    async def member(self, instance: str | None = None, **options: Any) -> AsyncIterator[Any]:
        """A consumer that has joined the group; `options` are further keyword arguments of aiokafka's."""
        consumer = AIOKafkaConsumer(
            self.config.source,
            **self.config.consumer() | {"group_instance_id": instance} | options,
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    @asynccontextmanager
    async def writer(self, identity: str) -> AsyncIterator[Writer]:
        writer = Writer(self.config, identity, Topics([]), Clock(self.config.wall_clock))
        await writer.start()
        try:
            yield writer
        finally:
            await writer.stop()

    async def write(self, writer: Writer, value: bytes, number: int = 0, next_offset: int = 1) -> None:
        await writer.write(
            [Share(number, said(value), b"position", next_offset, f"by {value!r}", "what comes")]
        )

    def found(self) -> list[bytes | None]:
        (topic,) = self.config.topics.values()
        return [record.value for record in read_topic(self.brokers, topic)]

    def committed(self) -> dict[int, int]:
        return committed_offsets(self.brokers, self.config.group, self.config.source)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, for a minute at most."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


def membership(consumer: Any) -> Membership:
    """Who an aiokafka consumer is in its group."""
    coordinator = consumer._coordinator
    return Membership(coordinator.generation, coordinator.member_id, coordinator._group_instance_id)

"""Where a replay writes: a file of JSON lines, or topics other than the worker's."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, BinaryIO, Final, Protocol

import msgspec
from aiokafka import AIOKafkaProducer
from msgspec import Raw, Struct

from streams.engine.packing import BATCH_BYTES
from streams.errors import OperatorError
from streams.kafka import reading
from streams.kafka.credentials import client_options
from streams.records import Output
from streams.settings import Settings


class Destination(Protocol):
    """Takes what a replay publishes."""

    async def write(self, kind: str, partition: int, records: Sequence[Output]) -> None:
        """Records of the topic `completed` or `kpis`, in order."""


class Line(Struct):
    """One record in the file; `timestamp` is in epoch milliseconds, `value` is the record's unchanged JSON."""

    topic: str
    partition: int
    key: str | None
    timestamp: int
    value: Raw


_encode_line: Final = msgspec.json.Encoder().encode


class FileDestination:
    """One JSON line per record, with the name of the topic that it would go to."""

    def __init__(self, file: BinaryIO, topics: Mapping[str, str]) -> None:
        self._file, self._topics = file, topics

    async def write(self, kind: str, partition: int, records: Sequence[Output]) -> None:
        """Like `Destination.write`."""
        topic = self._topics[kind]
        for key, value, timestamp, _ in records:
            line = Line(
                topic, partition, key.decode() if key is not None else None, timestamp, Raw(value or b"null")
            )
            self._file.write(_encode_line(line) + b"\n")


class TopicsDestination:
    """Other topics, through an idempotent producer that waits for all replicas."""

    def __init__(self, producer: Any, topics: Mapping[str, str]) -> None:
        self._producer, self._topics = producer, topics

    @staticmethod
    def producer(settings: Settings) -> AIOKafkaProducer:
        """The producer it needs; the caller starts and stops it."""
        return AIOKafkaProducer(
            acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES, **client_options(settings)
        )

    async def write(self, kind: str, partition: int, records: Sequence[Output]) -> None:
        """Like `Destination.write`; what is written is acknowledged. A topic that is not named gets nothing."""
        topic = self._topics.get(kind)
        if topic is None or not records:
            return
        partition %= len(await self._producer.partitions_for(topic))
        acks, batch = [], self._producer.create_batch()
        for key, value, timestamp, headers in records:
            record = {"key": key, "value": value, "timestamp": timestamp, "headers": headers}
            if batch.append(**record) is None:  # full; an empty batch takes any record
                acks.append(await self._producer.send_batch(batch, topic, partition=partition))
                batch = self._producer.create_batch()
                batch.append(**record)
        acks.append(await self._producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*acks)


async def require(consumer: Any, settings: Settings, names: Collection[str]) -> None:
    """Raises OperatorError if one of the topics does not exist, or is one that the worker reads or writes."""
    taken = {
        settings.calls_topic,
        settings.completed_topic,
        settings.kpis_topic,
        settings.dead_topic,
        settings.redriven_topic,
        settings.changelog_topic,
        settings.repartition_topic,
        settings.repartition_changelog_topic,
    }
    for name in names:
        if name in taken:
            raise OperatorError(f"topic {name} belongs to the worker: a replay needs a topic of its own")
        if not await reading.partitions(consumer, name):
            raise OperatorError(
                f"topic {name} is missing: create it first, with cleanup.policy compact or delete"
            )

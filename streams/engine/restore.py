"""State back from the changelog: read up to its stable end by a consumer of our own, whole batches at a time."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from streams.engine import clients
from streams.engine.config import Config
from streams.engine.fetch import drain
from streams.engine.processor import Processor, Row

log = logging.getLogger(__name__)

#: Of the position row; a worker refuses one that it does not know.
VERSION = 1
_CHUNK = 50_000


class Position(Struct, array_like=True):
    """How far the log is in the state: the value of the changelog row `POSITION`."""

    next_offset: int
    #: The processor's.
    header: bytes
    version: int = VERSION
    #: Kafka's id of the source topic; empty where it was not known.
    topic: bytes = b""


encode_position = msgspec.msgpack.Encoder().encode
_decode_position = msgspec.msgpack.Decoder(Position).decode


@asynccontextmanager
async def reader(config: Config, **options: Any) -> AsyncIterator[Any]:
    """A consumer without a group; `options` are further keyword arguments of aiokafka's."""
    consumer = AIOKafkaConsumer(**config.reader() | options)
    try:
        await clients.start(consumer)
        yield consumer
    finally:
        await consumer.stop()


async def restore(
    config: Config,
    consumer: Any,
    processors: Mapping[int, Processor],
    progress: Callable[[Mapping[int, int]], None],
) -> dict[int, Position | None]:
    """Fill new processors, by partition, from the changelog; returns the position of each, None where it is empty.

    `progress` is told how many offsets are left, by partition. The fencing of former owners must be done before
    (`Writer.start`), or the end of the changelog is not the end.
    """
    positions: dict[int, Position | None] = dict.fromkeys(processors)
    logs = {TopicPartition(config.changelog, number): number for number in processors}
    ends = await _stable_ends(config, consumer, logs)
    begins = await consumer.beginning_offsets(list(logs))
    left = {each for each in logs if ends[each] > begins[each]}
    consumer.assign(list(left))
    for each in left:  # not seek_to_beginning, which loses a race against the reset to the end of the log
        consumer.seek(each, begins[each])
    gc.disable()
    try:
        while left:
            for batch in drain(consumer._fetcher, left, _CHUNK):
                number = logs[batch.partition]
                position = _apply(
                    processors[number], ((r[2], r[3]) for r in batch.records), config.position_key
                )
                positions[number] = position or positions[number]
            # By position, not by the last record: the last offset is a transaction's marker.
            at = {each: await consumer.position(each) for each in left}
            progress({logs[each]: max(0, ends[each] - at[each]) for each in left})
            left = {each for each in left if at[each] < ends[each]}
            if left:
                await asyncio.wait([consumer._fetcher._create_fetch_waiter()], timeout=0.1)
        for number, processor in processors.items():
            position = positions[number]
            processor.ready(position.header if position else None)
    finally:
        gc.enable()
    gc.collect()
    gc.freeze()  # what has been restored need not be looked at again by every collection
    return positions


async def _stable_ends(config: Config, consumer: Any, logs: Collection[TopicPartition]) -> dict[Any, int]:
    """The ends of the logs, once no transaction is open there: what lies behind one cannot be read yet.

    Ours are over, since their producers are fenced; but any producer may write to a topic.
    """
    async with reader(config, isolation_level="read_uncommitted") as everything:
        written = await everything.end_offsets(logs)
    waited = 0
    while True:
        stable: dict[Any, int] = await consumer.end_offsets(logs)
        held = sorted(each.partition for each in logs if stable[each] < written[each])
        if not held:
            return stable
        if waited % 10 == 0:
            log.warning(
                "partitions %s of %s cannot be read to their end: waiting for another producer's transaction",
                held,
                config.changelog,
            )
        await asyncio.sleep(1.0)
        waited += 1


def _apply(
    processor: Processor, rows: Iterable[tuple[Any, bytes | None]], position_key: bytes
) -> Position | None:
    """Give rows to a processor; returns the last position among them."""
    found: list[Position] = []

    def others() -> Iterable[Row]:
        for key, value in rows:
            if key != position_key:
                yield key, value
            elif value is not None:
                found.append(read_position(value))

    processor.restore(others())
    return found[-1] if found else None


def read_position(value: bytes) -> Position:
    """The position in a changelog row. Raises RuntimeError when another version of this program wrote it."""
    position = _decode_position(value)
    if position.version != VERSION:
        raise RuntimeError(f"the changelog is of format {position.version}, this program knows {VERSION}")
    return position

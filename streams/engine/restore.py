"""State back from the changelog: read up to its stable end by a consumer of our own, whole batches at a time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from streams.engine.config import Config
from streams.engine.fetch import drain
from streams.engine.processor import Processor, Row

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
async def reader(config: Config) -> AsyncIterator[Any]:
    """A consumer without a group."""
    consumer = AIOKafkaConsumer(**config.reader())
    await consumer.start()
    try:
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
    ends = await consumer.end_offsets(list(logs))  # of a read_committed consumer: the last stable offsets
    begins = await consumer.beginning_offsets(list(logs))
    left = {log for log in logs if ends[log] > begins[log]}
    consumer.assign(list(left))
    for log in left:  # not seek_to_beginning, which loses a race against the reset to the end of the log
        consumer.seek(log, begins[log])
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
            at = {log: await consumer.position(log) for log in left}
            progress({logs[log]: max(0, ends[log] - at[log]) for log in left})
            left = {log for log in left if at[log] < ends[log]}
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

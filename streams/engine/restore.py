"""State back from the changelog: read up to its stable end by a consumer of our own, whole batches at a time."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from streams.engine import clients
from streams.engine.config import Config, wall_clock
from streams.engine.fetch import RecordBatch, drain
from streams.engine.hidden import written_ends
from streams.engine.processor import Processor
from streams.engine.store import Store
from streams.engine.takeover import Patience
from streams.errors import OperatorError

log = logging.getLogger(__name__)

#: Of the position row.
VERSION = 1
#: Rows that are taken over at once (10 ms).
_CHUNK = 2_000


class StateVersionError(OperatorError):
    """The state was written by another release, in a format that this one does not know."""


class StateLostError(OperatorError):
    """The changelog does not hold the state that was committed."""


def state_lost(config: Config, source: TopicPartition, committed: int) -> StateLostError:
    """What is to be said of a partition whose committed offset has our note, where there is no state."""
    where, group = f"{source.topic} partition {source.partition}", config.group
    return StateLostError(
        f"{where}: group {group} has committed offset {committed} together with state, but partition "
        f"{source.partition} of {config.changelog} holds none: it was emptied or deleted, or the group ran with "
        "another TELEFONIE_REPARTITION; calls that were open would be billed from a part of their events. To read the "
        "log again from its beginning, or with another setting, use another TELEFONIE_APP_ID. To go on here without "
        "what was known, stop all workers and run `kafka-consumer-groups.sh --bootstrap-server BROKERS "
        f"--reset-offsets --to-current --execute --group {group} --topic {source.topic}`: it writes the same offsets "
        "without our note"
    )


_NOTE = re.compile("[0-9a-f]{32}")


def new_note() -> str:
    """Metadata of the group's offset that no other commit has."""
    return uuid4().hex


def is_note(metadata: str) -> bool:
    """Whether an offset with this metadata was committed by a worker, together with state."""
    return _NOTE.fullmatch(metadata) is not None


class Position(Struct, array_like=True):
    """How far the log is in the state: the value of the changelog row `POSITION`."""

    next_offset: int
    #: Of the processor: see `Checkpoint`.
    partition_state: bytes
    version: int = VERSION
    #: Kafka's id of the source topic; empty where it was not known.
    topic: bytes = b""
    #: Offsets that the group was moved past, and that nobody has accepted; and where the last of them ended.
    skipped: int = 0
    skipped_to: int = 0


encode_position = msgspec.msgpack.Encoder().encode
_decode_position = msgspec.msgpack.Decoder(Position).decode


@asynccontextmanager
async def reader(config: Config, *topics: str) -> AsyncIterator[Any]:
    """A consumer without a group. It knows these topics: of others it learns by a failure, after which it pauses."""
    consumer = AIOKafkaConsumer(**config.reader())
    try:
        await clients.start(consumer)
        clients.stop_at_once(consumer)
        if topics:
            await consumer._client.set_topics(topics)
        yield consumer
    finally:
        await consumer.stop()


class RestoreTarget:
    """A new processor, and what it still lacks of the changelog: the rows from `start` up to `end`.

    That is all of it, unless `store` has a part; `position` is the last one that is in the state. `now` is the wall
    clock (epoch ms), for the store.
    """

    def __init__(
        self,
        processor: Processor,
        bounds: tuple[int, int],
        store: Store | None = None,
        now: Callable[[], int] = wall_clock,
    ) -> None:
        self.processor, self.store, self._now = processor, store, now
        self.start, self.end = bounds
        #: How many rows of the changelog have been taken over.
        self.rows = 0
        self._packed: bytes | None = None
        if store is not None and store.reached is not None:
            self.start, self._packed = store.reached.next_offset, store.reached.position

    @property
    def position(self) -> Position | None:
        """How far the log is in the state; None when nothing is. Raises StateVersionError."""
        return None if self._packed is None else read_position(self._packed)

    def apply(self, config: Config, batch: RecordBatch) -> None:
        """Take over rows of the changelog. Raises StateVersionError."""
        self.rows += len(batch.records)
        rows = {key or b"": value for _, _, key, value, _ in batch.records}  # of each key the last one counts
        self._packed = rows.pop(config.position_key, None) or self._packed
        with _understood(batch.partition):
            stored = self.processor.restore(rows.items())
        if self.store is not None:
            self.store.write(stored, batch.next_offset, self._packed, self._now())

    async def ready(self, config: Config, number: int) -> None:
        """All rows are there. Raises StateVersionError."""
        with _understood(TopicPartition(config.changelog, number)):
            position = self.position
            for _ in self.processor.ready(position.partition_state if position else None):
                await asyncio.sleep(0)


@contextmanager
def _understood(log: TopicPartition) -> Iterator[None]:
    """What cannot be read here raises StateVersionError."""
    try:
        yield
    except (ValueError, msgspec.DecodeError, StateVersionError) as error:
        raise StateVersionError(
            f"the state in partition {log.partition} of {log.topic} cannot be taken over: {error}. Nothing in it was "
            "changed: run the release that has written it, or a later one"
        ) from error


async def bounds(
    config: Config,
    consumer: Any,
    numbers: Collection[int],
    end_left_open: Callable[[], Awaitable[None]] | None = None,
) -> dict[int, tuple[int, int]]:
    """Where partitions of the changelog begin and end; `end_left_open` as of `Patience`.

    The group's offsets must be stable before (`Engine.restore`), or the end is not the end.
    """
    logs = {TopicPartition(config.changelog, number): number for number in numbers}
    ends = await _stable_ends(config, consumer, logs, Patience(end_left_open))
    begins = await consumer.beginning_offsets(list(logs))
    return {number: (begins[each], ends[each]) for each, number in logs.items()}


async def _turn() -> None:
    await asyncio.sleep(0)


async def restore(
    config: Config,
    consumer: Any,
    targets: Mapping[int, RestoreTarget],
    progress: Callable[[Mapping[int, int]], None],
    give_way: Callable[[], Awaitable[None]] = _turn,
) -> None:
    """Fill new processors, by partition; `progress` gets how many offsets are left, by partition.

    Between two pieces of work, `give_way` waits until nothing more urgent is under way in this event loop.
    """
    logs = {TopicPartition(config.changelog, number): target for number, target in targets.items()}
    left = {each for each, target in logs.items() if target.start < target.end}
    consumer.assign(list(left))
    for each in left:  # not seek_to_beginning, which loses a race against the reset to the end of the log
        consumer.seek(each, logs[each].start)
    gc.disable()
    try:
        while left:
            found = False
            for each in left:
                for batch in drain(consumer._fetcher, [each], _CHUNK):
                    logs[each].apply(config, batch)
                    found = True
                    await give_way()
            # By position, not by the last record: the last offset is a transaction's marker.
            at = {each: await consumer.position(each) for each in left}
            progress({each.partition: max(0, logs[each].end - at[each]) for each in left})
            left = {each for each in left if at[each] < logs[each].end}
            if left and not found:
                await asyncio.wait([consumer._fetcher._create_fetch_waiter()], timeout=0.1)
        for number, target in targets.items():
            await target.ready(config, number)
    finally:
        gc.enable()
    # What has been restored need not be looked at again by every collection. What was frozen before may be garbage now:
    # the clients of former restores and of former owners.
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _stable_ends(
    config: Config, consumer: Any, logs: Collection[TopicPartition], patience: Patience
) -> dict[Any, int]:
    """The ends of the logs, once no transaction is open there: what lies behind one cannot be read yet.

    Those of former owners can commit nothing any more; but any producer may write to a topic.
    """
    written = await written_ends(consumer, logs)
    while True:
        stable: dict[Any, int] = await consumer.end_offsets(logs)
        held = sorted(each.partition for each in logs if stable[each] < written[each])
        if not held:
            return stable
        await patience.wait(
            f"partitions {held} of {config.changelog} cannot be read to their end: waiting for another producer's "
            "transaction; if it never ends, `kafka-transactions.sh find-hanging` finds it and `abort` ends it"
        )


def read_position(value: bytes) -> Position:
    """The position in a changelog row. Raises StateVersionError."""
    position = _decode_position(value)
    if position.version != VERSION:
        raise StateVersionError(
            f"its positions are of version {position.version}, this release knows {VERSION}"
        )
    return position

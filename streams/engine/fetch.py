"""Whole record batches out of aiokafka's fetcher.

`getmany` makes one object a record, and Faust an event, a message and a dozen calls more: nine tenths of its time.
Here what a fetch brought for one partition is one event. This touches private parts of aiokafka, whose version is
therefore pinned; `check` says at the start whether they are all there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

import aiokafka
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError, TopicAuthorizationFailedError

from streams.engine.processor import Record
from streams.engine.rights import named
from streams.errors import OperatorError

#: How long a broker may wait for a first record.
PATIENCE_MS: Final = 500
#: Bytes that are worth a fetch at once.
_MUCH: Final = 256 * 1024


class RecordBatch(NamedTuple):
    """Consecutive records of one partition, from log offset `first` on up to (without) `next_offset`.

    Both count offsets that hold no record for us: of control records, aborted or compacted ones.
    """

    partition: TopicPartition
    first: int
    next_offset: int
    records: list[Record]


class RecordsLostError(OperatorError):
    """The log no longer holds what comes next: retention has removed it, or the topic was made anew."""


def check() -> None:
    """Raise RuntimeError when this aiokafka is not the one whose inner parts are known here."""
    parts = {
        Fetcher: ("_create_fetch_waiter", "_notify"),
        FetchResult: ("check_assignment", "has_more", "_update_position"),
        PartitionRecords: ("_consume_aborted_up_to", "_contains_abort_marker"),
    }
    missing = [
        f"{part.__name__}.{name}"
        for part, names in parts.items()
        for name in names
        if not hasattr(part, name)
    ]
    if missing or not aiokafka.__version__.startswith("0.14."):
        raise RuntimeError(f"aiokafka {aiokafka.__version__} is not supported, 0.14 is; missing: {missing}")


async def fetch(
    fetcher: Any,
    wanted: Collection[Any],
    limit: int,
    timeout: float,
    is_flowing: Callable[[], bool],
    gather: int = 0,
) -> list[RecordBatch]:
    """What has been fetched for the wanted partitions, about `limit` records each; waits up to `timeout` s for some.

    While records come, the brokers gather them for `gather` ms before they answer: a fetch costs us as much as some
    hundred records, and a steady flow would be fetched as quickly as we can ask. After a pause nothing is gathered.

    Nothing when a rebalance has stopped the flow meanwhile: until the engine has sought its places, the fetcher reads
    from those of the group, and fails where the group has none.
    """
    taken = drain(fetcher, wanted, limit)
    if not taken and timeout:
        if fetcher._fetch_min_bytes > 1:  # whether it is a pause is to be known soon
            timeout = min(timeout, 3 * gather / 1000)
        # A future of the fetcher itself: `wait` leaves it alone when the time is up, `wait_for` would cancel it.
        await asyncio.wait([fetcher._create_fetch_waiter()], timeout=timeout)
        if is_flowing():
            taken = drain(fetcher, wanted, limit)
    # Of the next request, which is sent once we let go.
    is_steady = bool(taken) and gather > 0
    fetcher._fetch_min_bytes = _MUCH if is_steady else 1
    fetcher._fetch_max_wait_ms = gather if is_steady else PATIENCE_MS
    return taken


def drain(fetcher: Any, wanted: Collection[Any], limit: int) -> list[RecordBatch]:
    """As `Fetcher.fetched_records`, by whole message sets. Raises what a fetch has failed with."""
    taken: list[RecordBatch] = []
    for partition in list(fetcher._records):
        result = fetcher._records[partition]
        if wanted and partition not in wanted:
            if not fetcher._subscriptions.is_assigned(partition):
                del fetcher._records[partition]
        elif type(result) is not FetchResult:
            if taken:
                break  # hand over what there is; the error comes up again
            _done_with(fetcher, partition)
            _raise(result)
        elif not result.check_assignment(partition) or not result.has_more():
            _done_with(fetcher, partition)
        else:
            taken.append(_take(result, partition, limit))
            if not result._partition_records._records.has_next():
                _done_with(fetcher, partition)
    return taken


def _take(result: Any, partition: TopicPartition, limit: int) -> RecordBatch:
    source = result._partition_records
    memory = source._records
    first = position = source.next_fetch_offset
    records: list[Record] = []
    while memory.has_next() and len(records) < limit:
        batch = memory.next_batch()
        if source._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"invalid CRC in {partition} at offset {batch.base_offset}")
        if not _is_aborted(source, batch) and not batch.is_control_batch:
            records += [
                (r.offset, r.timestamp, r.key, r.value, r.headers) for r in batch if r.offset >= position
            ]
        position = batch.next_offset
    source.next_fetch_offset = position
    result._update_position()
    return RecordBatch(partition, first, position, records)


def _is_aborted(source: Any, batch: Any) -> bool:
    if source._isolation_level != READ_COMMITTED or batch.producer_id is None:
        return False
    source._consume_aborted_up_to(batch.base_offset)
    if batch.is_control_batch and source._contains_abort_marker(batch):
        source._aborted_producers.discard(batch.producer_id)
    return bool(batch.is_transactional and batch.producer_id in source._aborted_producers)


def _done_with(fetcher: Any, partition: Any) -> None:
    del fetcher._records[partition]
    fetcher._notify(fetcher._wait_consume_future)


def _raise(result: Any) -> None:
    try:
        result.check_raise()
    except OffsetOutOfRangeError as error:
        where = ", ".join(
            f"{tp.topic} partition {tp.partition} at offset {at}" for tp, at in error.args[0].items()
        )
        raise RecordsLostError(
            f"{where}: the log does not hold this offset any more: records were removed before they were read, "
            "or the topic was made anew"
        ) from error
    except TopicAuthorizationFailedError as error:
        raise named(error, "Read") from error

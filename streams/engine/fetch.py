"""Whole record batches out of aiokafka's fetcher: whatever lies in the log that a broker has taken.

`getmany` makes one object a record, and Faust an event, a message and a dozen calls more: nine tenths of its time.
Here what a fetch brought for one partition is one event. This touches private parts of aiokafka, whose version is
therefore pinned; `check` says at the start whether they are all there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import dropwhile, islice
from operator import attrgetter
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from streams.engine import records as lenient
from streams.engine.failures import NotAllowedError, about
from streams.errors import OperatorError
from streams.records import Record

log = logging.getLogger(__name__)

#: How long a broker may wait for a first record.
PATIENCE_MS: Final = 500
#: Nothing has come for so long: what comes next is to come at once.
_PAUSE_SECONDS: Final = 0.1
#: Bytes of values that are handed over at once: many more would hold up the event loop when they are applied. So many
#: records are looked at first.
_MOST_BYTES: Final = 4 << 20
_FEW: Final = 16
#: A record of aiokafka's as one of ours.
_record: Final = attrgetter("offset", "timestamp", "key", "value", "headers")
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


class _Fetched(MemoryRecords):
    """What was fetched of one partition, with its bytes: for batches that aiokafka does not read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


aiokafka_fetcher.MemoryRecords = _Fetched


class UnreadableError(OperatorError):
    """A record batch is damaged, or of a kind that this program does not know."""


class RecordsLostError(OperatorError):
    """The log no longer holds what comes next: retention has removed it, or the topic was deleted and created again."""


async def fetch(
    fetcher: Any,
    wanted: Collection[Any],
    limit: int,
    timeout: float,
    is_flowing: Callable[[], bool],
    gather: Callable[[], float],
) -> list[RecordBatch]:
    """What has been fetched for the wanted partitions, about `limit` records each; waits up to `timeout` s for some.

    While records come, the brokers gather them for `gather()` s before they answer: a fetch costs us as much as some
    hundred records, and a steady flow would be fetched as quickly as we can ask. After a pause nothing is gathered.

    Nothing when a rebalance has stopped the flow meanwhile: until the engine has sought its places, the fetcher reads
    from those of the group, and fails where the group has none.
    """
    taken = drain(fetcher, wanted, limit)
    if not taken and timeout:
        if fetcher._fetch_min_bytes > 1:  # whether it is a pause is to be known soon
            timeout = min(timeout, _PAUSE_SECONDS)
        # A future of the fetcher itself: `wait` leaves it alone when the time is up, `wait_for` would cancel it.
        waiter = fetcher._create_fetch_waiter()
        # The watchdog reports what keeps us out of the group; the futures that it ends need not.
        waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([waiter], timeout=timeout)
        if is_flowing():
            taken = drain(fetcher, wanted, limit)
    # Of the next request, which is sent once we let go.
    fetcher._fetch_min_bytes = _MUCH if taken else 1
    fetcher._fetch_max_wait_ms = max(1, int(gather() * 1000)) if taken else PATIENCE_MS
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
            _raise(result, partition)
        elif not result.check_assignment(partition) or not result.has_more():
            _done_with(fetcher, partition)
        else:
            try:
                taken.append(_take(result, partition, limit))
            except UnreadableError:
                _done_with(fetcher, partition)  # a second attempt fetches it again
                raise
            if not _has_more(result):
                _done_with(fetcher, partition)
    return taken


class _Opened:
    """A batch that is read in pieces: a few compressed bytes may be more records than are taken at once, or larger."""

    def __init__(self, source: Any, batch: Any) -> None:
        self.base_offset, self.next_offset = batch.base_offset, batch.next_offset
        self.is_compressed = bool(batch.compression_type)
        #: Decompressed as it is read: records of any size may follow on one another.
        self.is_large = False
        self._source, self._batch = source, batch
        self._records: Iterator[Record] | None = None
        if self.is_compressed:
            with suppress(Exception):  # which comes again when it is read
                self._decompress()

    def take(self, count: int) -> list[Record]:
        """The next records; fewer than `count` are the last. Raises UnreadableError."""
        try:
            if self._records is None:
                self._records = map(_record, self._batch)
            return list(islice(self._records, count))
        except Exception:  # a name that is not UTF-8, or something else that only aiokafka does not take
            return self._taken_leniently(count)

    def _decompress(self) -> None:
        batch = lenient.slice_at(self._source._records.data, self.base_offset)
        plain = lenient.decompressed(batch)
        if plain is None:
            self.is_large, self._records = True, lenient.read(batch)
        elif plain is not batch:
            self._batch = MemoryRecords(plain).next_batch()

    def _taken_leniently(self, count: int) -> list[Record]:
        source = self._source
        try:
            found = lenient.read(lenient.slice_at(source._records.data, self.base_offset))
            # From where we are on: a part may have been taken before.
            self._records = dropwhile(lambda record: record[0] < source.next_fetch_offset, found)
            return list(islice(self._records, count))
        except Exception as error:
            raise _unreadable(source._tp, self.base_offset, f"{type(error).__name__}: {error}") from error


def _unreadable(partition: TopicPartition, offset: int, why: str) -> UnreadableError:
    return UnreadableError(
        f"the record batch at offset {offset} of {partition.topic} partition {partition.partition} cannot be read "
        f"({why}), and is not skipped: see whether Kafka's own tools can read it, and whether the broker's disk is in "
        "order. To go on without it, move the group past it"
    )


def _take(result: Any, partition: TopicPartition, limit: int) -> RecordBatch:
    source = result._partition_records
    source._records_iterator = None  # a cycle, which would keep all bytes until the collector comes
    first, records = source.next_fetch_offset, list[Record]()
    size, few = 0, _FEW
    while len(records) < limit and size < _MOST_BYTES:
        count, position = limit - len(records), source.next_fetch_offset
        found = _open(source, count)
        if found is None:
            break
        if isinstance(found, list):  # a whole batch
            taken = found
            if len(source._records.data) > lenient.MAX_RECORD_BYTES:
                taken = list(map(lenient.bounded, taken))
        else:
            if found.is_compressed:  # what is not, is no larger than the fetch was
                count, few = 1 if found.is_large else min(count, few), 2 * few
            taken = found.take(count)
            size += sum([len(record[3] or b"") for record in taken])
            if size > lenient.MAX_RECORD_BYTES:
                taken = list(map(lenient.bounded, taken))
            if len(taken) < count:
                source.opened, source.next_fetch_offset = None, found.next_offset
            else:
                source.next_fetch_offset = max(position, taken[-1][0] + 1)
        if taken and taken[0][0] < position:
            taken = [record for record in taken if record[0] >= position]
        records += taken
    result._update_position()
    return RecordBatch(partition, first, source.next_fetch_offset, records)


def _open(source: Any, limit: int) -> list[Record] | _Opened | None:
    """What comes next of a fetch: all records of a batch, `limit` at most; a batch to be read in pieces; or nothing.

    Raises UnreadableError.
    """
    opened: _Opened | None = getattr(source, "opened", None)
    if opened is not None:
        return opened
    while source._records.has_next():
        batch = source._records.next_batch()
        if source._check_crcs and not batch.validate_crc():
            raise _unreadable(source._tp, batch.base_offset, "its checksum is wrong")
        after = batch.next_offset
        if _is_aborted(source, batch) or batch.is_control_batch:
            source.next_fetch_offset = after
            continue
        if not batch.compression_type and after - batch.base_offset <= limit:
            try:
                taken: list[Record] = list(map(_record, batch))
            except Exception as error:
                log.debug("a batch that aiokafka does not read: %s", error)  # it is met again
            else:
                source.next_fetch_offset = after
                return taken
        opened = source.opened = _Opened(source, batch)
        return opened
    return None


def _has_more(result: Any) -> bool:
    source = result._partition_records
    return getattr(source, "opened", None) is not None or source._records.has_next()


def _is_aborted(source: Any, batch: Any) -> bool:
    if source._isolation_level != READ_COMMITTED or batch.producer_id is None:
        return False
    source._consume_aborted_up_to(batch.base_offset)
    if batch.is_control_batch and _is_abort_marker(batch):
        source._aborted_producers.discard(batch.producer_id)
    return bool(batch.is_transactional and batch.producer_id in source._aborted_producers)


def _is_abort_marker(batch: Any) -> bool:
    """Whether a control batch ends a transaction that was aborted. Compaction may leave it without its record."""
    marker = next(batch, None)
    return marker is not None and ControlRecord.parse(marker.key) == ABORT_MARKER


def _done_with(fetcher: Any, partition: Any) -> None:
    del fetcher._records[partition]
    fetcher._notify(fetcher._wait_consume_future)


def _raise(result: Any, partition: TopicPartition) -> None:
    try:
        result.check_raise()
    except OffsetOutOfRangeError as error:
        where = ", ".join(
            f"{tp.topic} partition {tp.partition} at offset {at}" for tp, at in error.args[0].items()
        )
        raise RecordsLostError(
            f"{where}: the log does not hold this offset any more: records were removed before they were read, "
            "or the topic was deleted and created again"
        ) from error
    except TopicAuthorizationFailedError as error:
        raise NotAllowedError.of(error, "topic", "Read") from error
    except KafkaError as error:
        about(error, f"topic {partition.topic} partition {partition.partition}")
        raise

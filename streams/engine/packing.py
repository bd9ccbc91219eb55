"""Records into batches that their topic takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams.engine.limits import Limits
from streams.engine.records import Builder
from streams.errors import OperatorError
from streams.records import NOW, Output

#: Of a batch with more than one record: it is to be answered soon, and a broker keeps some of them in memory.
BATCH_BYTES: Final = 768 * 1024
#: Of a record that is worth a try to compress it: more would hold up the event loop.
_COMPRESSED_BYTES: Final = 64 << 20

Shrink: TypeAlias = Callable[[Output], Output | None]
"""The next smaller form of a record that its topic does not take; None when there is none."""


class RecordTooLargeError(OperatorError):
    """A topic takes a record in no form."""


class Batch(BatchBuilder):
    """A batch that is complete, for aiokafka to send."""

    def __init__(self, builder: Any, count: int) -> None:
        super().__init__(0, 0, is_transactional=1)
        self._builder, self._relative_offset = builder, count
        self.close()

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, producer_epoch, base_sequence)


def pack(
    topic: str, records: Iterable[Output], limits: Limits, now: int, shrink: Shrink | None = None
) -> Iterator[Batch]:
    """The records in order, in as few batches as the topic takes; `now` is the wall clock (epoch ms).

    Timestamps that would not last are replaced by the wall clock, as is `NOW`. Raises RecordTooLargeError.
    """
    limit = min(BATCH_BYTES, limits.max_bytes)
    oldest, newest = limits.times(now)
    builder, n = _theirs(limit), 0
    # Whether all in the batch are without a timestamp: aiokafka's builder would give them that of the next.
    untimed = False
    for key, value, at, headers in records:
        timestamp = at if oldest <= at <= newest else _stamp(at, now)
        try:
            fits = not (untimed and timestamp >= 0) and builder.append(n, timestamp, key, value, headers)
        except UnicodeEncodeError:
            fits = False
        if not fits:
            if n:
                yield Batch(builder, n)
            builder, n = _begun((key, value, timestamp, headers), limit), 0
        if n == 0 and builder.size() > limits.max_bytes:
            yield _alone(topic, (key, value, timestamp, headers), limits.max_bytes, shrink)
            builder, untimed = _theirs(limit), False
            continue
        untimed = timestamp < 0 and (untimed or n == 0)
        n += 1
    if n:
        yield Batch(builder, n)


def _stamp(timestamp: int, now: int) -> int:
    return -1 if timestamp < 0 and timestamp != NOW else now


def _theirs(limit: int) -> Any:
    """aiokafka's, which is ten times as fast as ours."""
    return DefaultRecordBatchBuilder(2, 0, 1, -1, -1, 0, limit)


def _begun(record: Output, limit: int) -> Any:
    """A builder with its first record, of whatever size that is."""
    key, value, timestamp, headers = record
    builder = _theirs(limit)
    try:
        builder.append(0, timestamp, key, value, headers)
    except UnicodeEncodeError:  # a name that is not UTF-8
        builder = Builder(limit)
        builder.append(0, timestamp, key, value, headers)
    return builder


def _alone(topic: str, record: Output, limit: int, shrink: Shrink | None) -> Batch:
    """A batch of one record that does not fit as it is: compressed, or in a smaller form."""
    smaller: Output | None = record
    while smaller is not None:
        builder = _begun(smaller, limit)
        least = builder.size()
        if limit < least <= _COMPRESSED_BYTES:
            key, value, timestamp, headers = smaller
            builder = Builder(limit)
            builder.append(0, timestamp, key, value, headers)
            builder.compress()
        if builder.size() <= limit:
            return Batch(builder, 1)
        least = min(least, builder.size())
        smaller = shrink(smaller) if shrink else None
    raise RecordTooLargeError(
        f"the topic {topic} takes batches of {limit} bytes, and a record for it has {least} even when compressed: "
        f"nothing was written, and nothing is lost. Set max.message.bytes of {topic} to {_rounded(least)} or more; "
        "`telefonie topics check` says what each topic needs"
    )


def _rounded(size: int) -> int:
    """So that the next record fits too, which may be a little larger."""
    return 1 << (size + size // 4).bit_length()

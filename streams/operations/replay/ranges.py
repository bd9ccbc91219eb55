"""Which part of the log: bounds as people give them, and the corresponding offsets in each partition."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from aiokafka import TopicPartition
from msgspec import Meta, Struct, field

from streams.calls.times import instant
from streams.kafka import reading
from streams.records import Record
from streams.settings import Settings

Bound: TypeAlias = tuple[Literal["offset", "time"], int]
"""An offset, or the first record stamped at or after a moment (epoch ms)."""

_Instant = Annotated[datetime, Meta(tz=True)]


def bound(text: str) -> Bound:
    """A bound as it is written: an offset in decimal or an RFC 3339 time. Raises ValueError for anything else."""
    if text.isascii() and text.isdigit():
        return "offset", int(text)
    moment = msgspec.convert(text, _Instant, strict=False)
    return "time", int(moment.timestamp() * 1000)


class Span(Struct):
    """The offsets of one partition that are replayed, `end` excluded; reading begins at `warm_up`."""

    partition: int
    warm_up: int
    start: int
    end: int
    #: The least and the greatest timestamp of what was replayed (epoch ms); None without a record that has one.
    first_time: int | None = None
    last_time: int | None = None
    #: Offsets behind the end that cannot be read yet, because a transaction is still open there.
    hidden: int = 0
    #: What is not covered of the requested range, one line each.
    lacking: list[str] = field(default_factory=list)

    def cover(self, records: Iterable[Record]) -> None:
        """Add records that were replayed."""
        times = [record[1] for record in records if record[1] >= 0]
        if times:
            first, last = min(times), max(times)
            self.first_time = first if self.first_time is None else min(first, self.first_time)
            self.last_time = last if self.last_time is None else max(last, self.last_time)


@dataclass(frozen=True)
class Range:
    """What is to be replayed. Without bounds it is everything in the log; `warm_up` (ms) applies to a time."""

    start: Bound | None = None
    end: Bound | None = None
    partitions: Collection[int] = ()
    warm_up: int = 0


class _Log(NamedTuple):
    """One partition as it is now: its first offset, the end of what may be read, and the end of the log."""

    first: int
    end: int
    written: int


async def resolve(
    settings: Settings, consumer: Any, topic: str, wanted: Range, now: int
) -> dict[TopicPartition, Span]:
    """The offsets to which a range corresponds now (epoch ms).

    Bounds outside the log are moved to its ends, and count as not covered. An open transaction ends the log. Raises
    OperatorError if the topic or one of the partitions does not exist.
    """
    logs = await reading.chosen(consumer, topic, wanted.partitions)
    async with reading.reader(settings, isolation_level="read_uncommitted") as everything:
        written = await everything.end_offsets(logs)
    there = {
        log: _Log(*bounds, written[log]) for log, bounds in (await reading.whole(consumer, logs)).items()
    }
    starts = await _offsets(consumer, there, wanted.start, "first")
    warm_ups = starts
    if wanted.start is not None and wanted.start[0] == "time":
        warm_ups = await _offsets(
            consumer, there, ("time", max(0, wanted.start[1] - wanted.warm_up)), "first"
        )
    ends = await _offsets(consumer, there, wanted.end, "end")
    return {
        log: Span(
            log.partition,
            # A record with an early timestamp may be late in the log.
            min(warm_ups[log], starts[log]),
            starts[log],
            max(starts[log], ends[log]),
            # The log may have grown since its end was requested.
            hidden=max(0, there[log].written - there[log].end) if wanted.end is None else 0,
            lacking=[
                *_before(there[log], wanted.start, starts[log]),
                *_behind(there[log], wanted.end, ends[log], now),
            ],
        )
        for log in logs
    }


async def _offsets(
    consumer: Any, there: Mapping[TopicPartition, _Log], given: Bound | None, default: Literal["first", "end"]
) -> dict[TopicPartition, int]:
    if given is None:
        return {log: getattr(bounds, default) for log, bounds in there.items()}
    kind, value = given
    if kind == "offset":
        found = dict.fromkeys(there, value)
    else:
        times = await consumer.offsets_for_times(dict.fromkeys(there, value))
        found = {log: place.offset if place else there[log].end for log, place in times.items()}
    return {log: min(max(found[log], each.first), each.end) for log, each in there.items()}


def _before(log: _Log, asked: Bound | None, start: int) -> Iterator[str]:
    """What is not covered of the beginning."""
    if asked is None:
        return
    kind, value = asked
    if kind == "offset" and value > log.end:
        yield f"the log ends at offset {log.end}, before {value}"
    # If the beginning of the log is gone and no older record is left, some of the range may have been removed.
    elif log.first and (value < log.first if kind == "offset" else start == log.first):
        yield f"records before offset {log.first} were removed by retention"


def _behind(log: _Log, asked: Bound | None, end: int, now: int) -> Iterator[str]:
    """What is not covered of the end."""
    if asked is None:
        return
    kind, value = asked
    if kind == "time" and value > now:
        yield f"{instant(value)} lies in the future"
    elif end == log.end and log.written > log.end and (kind == "time" or value > log.end):
        yield f"records from offset {log.end} on are hidden by a transaction that is still open"
    elif kind == "offset" and value > log.end:
        yield f"the log ends at offset {log.end}, before {value}"

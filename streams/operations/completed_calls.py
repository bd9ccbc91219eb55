"""Completed calls, looked up in the topic to which they are published."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition

from streams.codecs import CompletedCall, decode_completed
from streams.engine.writer import partition_of
from streams.kafka import reading
from streams.kafka.reading import LogRecord, Progress, Ranges, silent
from streams.settings import Settings

#: How many offsets per record `tail` first looks back: most offsets hold a record.
_LOOK_BACK = 4


@dataclass(frozen=True, slots=True)
class Published:
    """A revision of a completed call and its place; `value` is the unchanged record, `timestamp` is in epoch ms."""

    partition: int
    offset: int
    timestamp: int
    value: bytes
    call: CompletedCall


@dataclass(frozen=True, kw_only=True)
class CompletedSelection:
    """Which completed calls: those that meet every condition; an empty condition is always met.

    `countries` are those at either end of the call; `since` is the time of the revision (epoch ms).
    """

    statuses: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()
    since: int | None = None

    def holds(self, published: Published) -> bool:
        """Whether a call is one of them."""
        call = published.call
        return (
            (not self.statuses or call.status in self.statuses)
            and (not self.countries or not self.countries.isdisjoint((call.from_country, call.to_country)))
            and (self.since is None or published.timestamp >= self.since)
        )


def published(record: LogRecord) -> Published | None:
    """The completed call in a record; None for a tombstone, and for anything that is not a completed call."""
    if record.value is None:
        return None
    try:
        call = decode_completed(record.value)
    except msgspec.MsgspecError:
        return None
    return Published(record.partition, record.offset, record.timestamp, record.value, call)


class CallHistory(NamedTuple):
    """What the topic still holds of a call: its revisions in order or, if it has been erased, the tombstone."""

    revisions: list[Published]
    tombstone: LogRecord | None = None


async def history(
    consumer: Any, settings: Settings, key: bytes, since: int | None = None, progress: Progress = silent
) -> CallHistory:
    """The revisions of a call, by the key of its records; those stamped before `since` (epoch ms) may be left out.

    They are in one partition: that of the call's events. If producers key their events by call id, Kafka's partitioner
    determines which; the other partitions are read only if there is nothing in it.
    """
    everything = await reading.ranges(consumer, settings.completed_topic, since=since)
    likely = partition_of(key, len(everything))
    tombstone: LogRecord | None = None
    for log in sorted(everything, key=lambda log: log.partition != likely):
        found = await _history(consumer, {log: everything[log]}, key, progress)
        if found.revisions:
            return found
        tombstone = tombstone or found.tombstone
    return CallHistory([], tombstone)


async def _history(consumer: Any, wanted: Ranges, key: bytes, progress: Progress) -> CallHistory:
    found: list[Published] = []
    tombstone: LogRecord | None = None
    async with aclosing(reading.records(consumer, wanted, progress)) as records:
        async for record in records:
            if record.key != key:
                continue
            if record.value is None:  # what precedes it is erased, although it may remain for a while
                tombstone = record
                found.clear()
            elif (revision := published(record)) is not None:
                tombstone = None
                found.append(revision)
    return CallHistory(found, tombstone)


async def tail(
    consumer: Any, settings: Settings, selection: CompletedSelection, count: int, progress: Progress = silent
) -> tuple[list[Published], dict[TopicPartition, int]]:
    """The last `count` completed calls of a selection, by time, and for each partition the offset behind them.

    Looks back further and further until it has found that many, or has seen everything.
    """
    bounds = await reading.ranges(consumer, settings.completed_topic, (), selection.since)
    ends = {log: end for log, (_, end) in bounds.items()}
    back = count * _LOOK_BACK
    while True:
        wanted = {log: (max(first, end - back), end) for log, (first, end) in bounds.items()}
        async with aclosing(_chosen(reading.records(consumer, wanted, progress), selection)) as found:
            last = await reading.newest(
                found, count, lambda each: (each.timestamp, each.partition, each.offset)
            )
        if len(last) >= count or wanted == bounds:
            return last, ends
        back *= 16


async def follow(
    consumer: Any, start: dict[TopicPartition, int], selection: CompletedSelection
) -> AsyncGenerator[Published, None]:
    """The completed calls of a selection from an offset of each partition on, without end."""
    async with aclosing(_chosen(reading.follow(consumer, start), selection)) as found:
        async for each in found:
            yield each


async def _chosen(
    records: AsyncGenerator[LogRecord, None], selection: CompletedSelection
) -> AsyncGenerator[Published, None]:
    async with aclosing(records):
        async for record in records:
            found = published(record)
            if found is not None and selection.holds(found):
                yield found

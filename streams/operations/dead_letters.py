"""Dead letters, looked up in their topic, and which of them have been sent back.

A record that has been sent back has an entry in the compacted topic `{DEAD_TOPIC}-redriven`: the key is the record's
identity, the value the place of its dead letter, which begins with the name of the topic. Release 0.1 kept these
entries in `{APP_ID}-redriven`. Those are read too, whatever the APP_ID.

An entry is about the rejected record, not about the letter: after a crash under `at_least_once`, there may be two dead
letters for the same record.

A letter that was too large for its topic has no value (semantics, section 2). The record is then read at its origin,
for as long as it is there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from aiokafka import TopicPartition

from streams.codecs import Rejection, split_headers
from streams.kafka import reading
from streams.kafka.reading import LogRecord, Progress, silent
from streams.records import Headers, LeftOut
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record, with the place of its dead letter; `headers` are those it had itself.

    `timestamp` is the record's event time (epoch ms), negative when it has none; `written` when it was rejected.
    Release 0.1 stamped letters with the time of the record, so both are the same there.
    """

    partition: int
    offset: int
    timestamp: int
    written: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    rejection: Rejection

    @property
    def identity(self) -> bytes:
        """What distinguishes it from every other record: its origin and, in case the topic is created again, its
        time."""
        origin = self.rejection
        return f"{origin.topic}/{origin.partition}/{origin.offset}@{self.timestamp}".encode()

    @property
    def size(self) -> int | None:
        """The size of the record's value in bytes, whether the letter has the value or not; None for a record without
        one."""
        if self.rejection.value_bytes is not None:
            return self.rejection.value_bytes
        return None if self.value is None else len(self.value)


@dataclass(frozen=True, kw_only=True)
class DeadLetterSelection:
    """Which dead letters: those that meet every condition. An empty condition is always met.

    `since` (included) and `until` (excluded) are about when the record was rejected, in epoch ms; places are partition
    and offset of the dead letter, origins topic (None: any), partition and offset of the record that was rejected.
    """

    reasons: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    partitions: frozenset[int] = frozenset()
    keys: frozenset[bytes] = frozenset()
    paths: frozenset[str] = frozenset()
    places: frozenset[tuple[int, int]] = frozenset()
    origins: frozenset[tuple[str | None, int, int]] = frozenset()

    def holds(self, letter: DeadLetter) -> bool:
        """Whether a letter is one of them."""
        said = letter.rejection
        origin = said.partition, said.offset
        return (
            (not self.reasons or said.reason in self.reasons)
            and (self.since is None or letter.written >= self.since)
            and (self.until is None or letter.written < self.until)
            and (not self.partitions or letter.partition in self.partitions)
            and (not self.keys or letter.key in self.keys)
            and (not self.paths or said.path in self.paths)
            and (not self.places or (letter.partition, letter.offset) in self.places)
            and (not self.origins or not self.origins.isdisjoint({(None, *origin), (said.topic, *origin)}))
        )


def letter_of(record: LogRecord) -> DeadLetter | None:
    """The dead letter in a record of the dead-letter topic; None if it is something else."""
    split = split_headers(record.headers)
    if split is None:
        return None
    own, said = split
    timestamp = record.timestamp if said.timestamp is None else said.timestamp
    return DeadLetter(
        record.partition, record.offset, timestamp, record.timestamp, record.key, record.value, own, said
    )


async def select(
    consumer: Any, settings: Settings, selection: DeadLetterSelection, progress: Progress = silent
) -> AsyncGenerator[DeadLetter, None]:
    """The dead letters of a selection that are in the topic now, one partition after the other."""
    wanted = await _ranges(consumer, settings, selection)
    total, done = sum(max(0, end - first) for first, end in wanted.values()), 0
    for log, (first, end) in sorted(wanted.items()):
        before = done

        def told(read: int, _: int, before: int = before) -> None:
            progress(before + read, total)

        async with aclosing(reading.records(consumer, {log: (first, end)}, told)) as records:
            async for record in records:
                letter = letter_of(record)
                if letter is not None and selection.holds(letter):
                    yield letter
        done += max(0, end - first)


async def _ranges(
    consumer: Any, settings: Settings, selection: DeadLetterSelection
) -> dict[TopicPartition, tuple[int, int]]:
    """What has to be read to find all of them."""
    only = selection.partitions or {partition for partition, _ in selection.places}
    everything = await reading.ranges(consumer, settings.dead_topic, only, selection.since)
    if not selection.places:
        return everything
    narrowed: dict[TopicPartition, tuple[int, int]] = {}
    for log, (begin, end) in everything.items():
        if offsets := [offset for partition, offset in selection.places if partition == log.partition]:
            narrowed[log] = max(begin, min(offsets)), min(end, max(offsets) + 1)
    return narrowed


class Lost(Enum):
    """Why a value that its dead letter does not hold cannot be shown or sent back."""

    GONE = "gone"
    """The record does not lie at its origin any more."""
    TOO_LARGE = "too large to be read"
    """The record takes more than 16 MiB: workers and commands read such records without their values."""


async def complete(consumer: Any, letter: DeadLetter) -> DeadLetter | Lost:
    """The dead letter with the record's own key, value and headers, read at its origin when it is without its value.

    Whatever `consumer` was reading is not read on.
    """
    size, origin = letter.rejection.value_bytes, letter.rejection
    if size is None:
        return letter
    log = TopicPartition(origin.topic, origin.partition)
    there = await reading.whole(consumer, set(await reading.partitions(consumer, log.topic)) & {log})
    first, end = there.get(log, (0, 0))
    if not first <= origin.offset < end:
        return Lost.GONE
    async with aclosing(reading.records(consumer, {log: (origin.offset, origin.offset + 1)})) as records:
        async for record in records:
            value = record.value
            found = value.size if isinstance(value, LeftOut) else len(value or b"")
            # The topic may have been created again, with another record at the same place.
            if found != size or max(record.timestamp, -1) != letter.timestamp:
                break
            if isinstance(value, LeftOut):
                return Lost.TOO_LARGE
            return replace(letter, key=record.key, value=record.value, headers=list(record.headers))
    return Lost.GONE


async def sent_back(consumer: Any, settings: Settings) -> set[bytes]:
    """The identities of all records that have been sent back; none before the first redrive.

    A tombstone revokes an entry, whether compaction has removed the entry or not.
    """
    place = f"{settings.dead_topic}/".encode()
    found: set[bytes] = set()
    for topic in sorted(await _redriven_topics(consumer)):
        here: set[bytes] = set()
        async with aclosing(reading.records(consumer, await reading.ranges(consumer, topic))) as records:
            async for each in records:
                if each.value is None:
                    here.discard(each.key or b"")
                elif each.key and each.value.startswith(place):
                    here.add(bytes(each.key))
        found |= here
    return found


async def _redriven_topics(consumer: Any) -> set[str]:
    """The topics that may hold entries, as far as this user may see them: the current one, and those of release 0.1."""
    cluster = await consumer._client.fetch_all_metadata()
    return {topic for topic in cluster.topics() if topic.endswith("-redriven")}

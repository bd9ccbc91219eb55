"""Dead letters: found again, and once mended sent back to where they came from, each of them once.

A record that has been sent back is noted in the compacted topic `{DEAD_TOPIC}-redriven`, in the transaction that
sends it; a redrive reads all notes before it begins. The transactional id is the same for all redrives of a topic of
dead letters, whatever their APP_ID, so that one fences another: what a former one left open is ended before the notes
are read, and a former one that still lives can send nothing any more.

Earlier releases kept them in `{APP_ID}-redriven`. Those are read too, whatever the APP_ID: the value of a note is
the place of its dead letter, which begins with the name of the topic.

A note is about the rejected record, not about the letter: after a crash under `at_least_once` the dead letters
may hold the same record twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced

from streams import reading, topics
from streams.brokers import connected
from streams.codecs import Rejection, split_headers
from streams.credentials import client_options
from streams.errors import OperatorError
from streams.reading import LogRecord
from streams.settings import Settings

#: Records and bytes of values in one transaction: what may wait for its end, and is done again after a crash.
_BATCH_RECORDS, _BATCH_BYTES = 500, 4 << 20
_MAX_REQUEST_BYTES = 32 << 20
_TRANSACTION_MS = 60_000

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record, with the place of its dead letter; `headers` are those it had itself.

    `timestamp` is its event time (epoch ms), negative when it has none.
    """

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    rejection: Rejection

    @property
    def note(self) -> bytes:
        """What tells it from every other record: its origin and its time, should the topic be made anew."""
        origin = self.rejection
        return f"{origin.topic}/{origin.partition}/{origin.offset}@{self.timestamp}".encode()


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which dead letters: all that fit every condition. An empty one holds for everything.

    Times are event times in epoch ms, `since` included and `until` excluded; places are partition and offset of
    the dead letter, origins those of the record that was rejected.
    """

    reasons: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    partitions: frozenset[int] = frozenset()
    keys: frozenset[bytes] = frozenset()
    places: frozenset[tuple[int, int]] = frozenset()
    origins: frozenset[tuple[int, int]] = frozenset()

    def holds(self, letter: DeadLetter) -> bool:
        """Whether it is one of them."""
        return (
            (not self.reasons or letter.rejection.reason in self.reasons)
            and (self.since is None or letter.timestamp >= self.since)
            and (self.until is None or letter.timestamp < self.until)
            and (not self.partitions or letter.partition in self.partitions)
            and (not self.keys or letter.key in self.keys)
            and (not self.places or (letter.partition, letter.offset) in self.places)
            and (not self.origins or (letter.rejection.partition, letter.rejection.offset) in self.origins)
        )


def letter_of(record: LogRecord) -> DeadLetter | None:
    """The dead letter in a record of the dead-letter topic; None when it is something else."""
    split = split_headers(record.headers)
    if split is None:
        return None
    own, rejection = split
    return DeadLetter(
        record.partition, record.offset, record.timestamp, record.key, record.value, own, rejection
    )


async def select(consumer: Any, settings: Settings, selection: Selection) -> AsyncGenerator[DeadLetter, None]:
    """The dead letters of a selection that lie in the topic now, one partition after the other."""
    wanted = await _ranges(consumer, settings, selection)
    for log, bounds in sorted(wanted.items()):
        async with aclosing(reading.records(consumer, {log: bounds})) as records:
            async for record in records:
                letter = letter_of(record)
                if letter is not None and selection.holds(letter):
                    yield letter


async def _ranges(
    consumer: Any, settings: Settings, selection: Selection
) -> dict[TopicPartition, tuple[int, int]]:
    """What has to be read to find them all."""
    only = selection.partitions or {partition for partition, _ in selection.places}
    everything = await reading.ranges(consumer, settings.dead_topic, only, selection.since)
    if not selection.places:
        return everything
    narrowed: dict[TopicPartition, tuple[int, int]] = {}
    for log, (begin, end) in everything.items():
        if offsets := [offset for partition, offset in selection.places if partition == log.partition]:
            narrowed[log] = max(begin, min(offsets)), min(end, max(offsets) + 1)
    return narrowed


async def notes(consumer: Any, settings: Settings) -> set[bytes]:
    """The notes of all records that have been sent back; none before the first redrive."""
    place = f"{settings.dead_topic}/".encode()
    found: set[bytes] = set()
    for topic in sorted(await _noted(consumer)):
        async with aclosing(reading.records(consumer, await reading.ranges(consumer, topic))) as records:
            found |= {
                bytes(each.key)
                async for each in records
                if each.key and (each.value or b"").startswith(place)
            }
    return found


async def _noted(consumer: Any) -> set[str]:
    """The topics in which notes may lie, as far as this user may see them: ours, and those of earlier releases."""
    cluster = await consumer._client.fetch_all_metadata()
    return {topic for topic in cluster.topics() if topic.endswith("-redriven")}


@dataclass
class Redriven:
    """What became of the selected dead letters."""

    sent: int = 0
    #: Sent before, by this or another redrive.
    before: int = 0
    #: The transform gave nothing for them.
    left: int = 0


@dataclass(frozen=True, kw_only=True)
class Mending:
    """How a dead letter becomes the record that is sent: its value, and whether it is stamped anew."""

    transform: Callable[[DeadLetter], Awaitable[bytes | None]] | None = None
    stamp_now: bool = False

    async def value(self, letter: DeadLetter) -> bytes | None:
        """The value to send; empty from a transform means that the letter is left where it is."""
        return letter.value if self.transform is None else await self.transform(letter)

    def timestamp(self, letter: DeadLetter) -> int:
        """The event time to send it with (epoch ms)."""
        return time.time_ns() // 1_000_000 if self.stamp_now else letter.timestamp


async def redrive(
    settings: Settings, selection: Selection, mending: Mending, tally: Redriven, limit: int | None = None
) -> None:
    """Send dead letters back to the partition that they came from, with their own headers and `redriven-from`.

    `tally` counts what is committed. Nothing is sent twice, whatever ends this and however often it is run;
    `limit` is how many are sent at most. Raises OperatorError when the source does not exist any more, another
    redrive has taken over, or the transform fails; what `tally` says has been sent then.
    """
    await topics.make_redriven(settings)
    producer = AIOKafkaProducer(
        **client_options(settings),
        client_id=f"{settings.app_id}-redrive",
        transactional_id=f"{settings.dead_topic}-redrive",
        transaction_timeout_ms=_TRANSACTION_MS,
        acks="all",
        max_request_size=_MAX_REQUEST_BYTES,
        retry_backoff_ms=20,
    )
    try:
        async with connected(producer, settings), reading.reader(settings) as consumer:
            await _Redrive(settings, producer, consumer, mending, tally).run(selection, limit)
    except ProducerFenced:
        raise OperatorError(
            "another redrive has been started and took over: what this one had not committed was not sent"
        ) from None


@dataclass
class _Redrive:
    settings: Settings
    producer: Any
    consumer: Any
    mending: Mending
    tally: Redriven
    batch: list[tuple[DeadLetter, bytes | None]] = field(default_factory=list)

    async def run(self, selection: Selection, limit: int | None) -> None:
        sources = await self._sources()
        # Once our producer has started, nobody else's transaction is open: the notes are complete.
        done = await notes(self.consumer, self.settings)
        left = limit
        size = 0
        async with aclosing(select(self.consumer, self.settings, selection)) as letters:
            async for letter in letters:
                if left == 0:
                    break
                if letter.note in done:
                    self.tally.before += 1
                    continue
                _require(letter, sources)
                value = await self.mending.value(letter)
                if self.mending.transform is not None and not value:
                    self.tally.left += 1
                    continue
                done.add(letter.note)
                left = None if left is None else left - 1
                self.batch.append((letter, value))
                size += len(value or b"")
                if len(self.batch) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
                    await self._commit()
                    size = 0
        await self._commit()

    async def _sources(self) -> set[tuple[str, int]]:
        cluster = await self.consumer._client.fetch_all_metadata()
        return {(topic, n) for topic in cluster.topics() for n in cluster.partitions_for_topic(topic) or ()}

    async def _commit(self) -> None:
        """Send the batch and its notes in one transaction: all of it is there, or nothing."""
        if not self.batch:
            return
        await self.producer.begin_transaction()
        acks = [ack for letter, value in self.batch for ack in await self._send(letter, value)]
        # Every record is acknowledged first: aiokafka would commit without one that was refused.
        await self.producer.flush()
        await asyncio.gather(*acks)
        await self.producer.commit_transaction()
        self.tally.sent += len(self.batch)
        self.batch.clear()

    async def _send(self, letter: DeadLetter, value: bytes | None) -> Iterable[Awaitable[Any]]:
        place = f"{self.settings.dead_topic}/{letter.partition}/{letter.offset}".encode()
        record = await self.producer.send(
            letter.rejection.topic,
            value,
            key=letter.key,
            partition=letter.rejection.partition,
            timestamp_ms=self.mending.timestamp(letter),
            headers=[*letter.headers, ("redriven-from", place)],
        )
        return record, await self.producer.send(self.settings.redriven_topic, place, key=letter.note)


def _require(letter: DeadLetter, sources: set[tuple[str, int]]) -> None:
    origin = letter.rejection
    if (origin.topic, origin.partition) not in sources:
        raise OperatorError(
            f"dead letter {letter.partition}:{letter.offset} came from partition {origin.partition} of "
            f"{origin.topic}, which does not exist any more"
        )

"""Sends corrected dead letters back to their origin, each of them once.

A record that is sent back gets its entry in the topic `{DEAD_TOPIC}-redriven` in the transaction that sends it; a
redrive reads all entries before it begins. The transactional id is the same for all redrives of a dead-letter topic,
whatever their APP_ID, so that each fences its predecessor: a transaction that the predecessor left open is ended before
the entries are read, and if it is still alive it can no longer send anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidTimestampError, KafkaError, ProducerFenced

from streams.engine.config import wall_clock
from streams.engine.failures import about
from streams.engine.limits import Limits, Topics
from streams.engine.packing import Batch, pack
from streams.errors import OperatorError
from streams.kafka import reading, topics
from streams.kafka.connecting import connected
from streams.kafka.credentials import client_options
from streams.kafka.reading import Progress, silent
from streams.operations.dead_letters import DeadLetter, DeadLetterSelection, Lost, complete, select, sent_back
from streams.records import NOW, Output
from streams.settings import FOREVER, Settings

#: Records and bytes of values in one transaction: what may wait for its end, and is repeated after a crash.
_BATCH_RECORDS, _BATCH_BYTES = 500, 4 << 20
_TRANSACTION_MS = 60_000
_ABORT_SECONDS = 10.0


@dataclass
class Redriven:
    """What happened to the selected dead letters."""

    sent: int = 0
    #: Sent before, by this or another redrive.
    before: int = 0
    #: The transform wrote nothing for them.
    left: int = 0
    #: They have no value, and the record is no longer at its origin.
    gone: int = 0


@dataclass(frozen=True, kw_only=True)
class Correction:
    """How a dead letter becomes the record that is sent: its value, and whether it gets a new timestamp."""

    transform: Callable[[DeadLetter], Awaitable[bytes | None]] | None = None
    stamp_now: bool = False

    async def value(self, letter: DeadLetter) -> bytes | None:
        """The value to send; an empty one from a transform leaves the letter where it is."""
        return letter.value if self.transform is None else await self.transform(letter)

    def timestamp(self, letter: DeadLetter) -> int:
        """The event time to send it with (epoch ms), or `NOW`."""
        return NOW if self.stamp_now else letter.timestamp


async def redrive(
    settings: Settings,
    selection: DeadLetterSelection,
    correction: Correction,
    tally: Redriven,
    limit: int | None = None,
    progress: Progress = silent,
) -> None:
    """Send dead letters back to the partition that they came from, with their own headers and `redriven-from`.

    `tally` counts what is committed. Nothing is sent twice, whatever ends this and however often it is run; at most
    `limit` are sent. Raises OperatorError if the source no longer exists or does not accept a record, another redrive
    has taken over, or the transform fails; what `tally` counts has been sent then.
    """
    await topics.make_redriven(settings)
    producer = AIOKafkaProducer(
        **client_options(settings),
        client_id=f"{settings.app_id}-redrive",
        transactional_id=f"{settings.dead_topic}-redrive",
        transaction_timeout_ms=_TRANSACTION_MS,
        acks="all",
        retry_backoff_ms=20,
    )
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(connected(producer, settings))
            # One reads the letters, the other one looks up their origins.
            consumer = await stack.enter_async_context(reading.reader(settings))
            origins = await stack.enter_async_context(reading.reader(settings))
            redriving = _Redrive(settings, producer, consumer, origins, correction, tally)
            await redriving.run(selection, limit, progress)
    except ProducerFenced:
        raise OperatorError(
            "another redrive has started and taken over: what this one had not committed was not sent"
        ) from None


@dataclass
class _Redrive:
    settings: Settings
    producer: Any
    consumer: Any
    origins: Any
    correction: Correction
    tally: Redriven
    limits: dict[str, Limits] = field(default_factory=dict)
    batch: list[tuple[DeadLetter, bytes | None]] = field(default_factory=list)

    async def run(self, selection: DeadLetterSelection, limit: int | None, progress: Progress) -> None:
        sources = await self._sources()
        # Once this producer has started, no other transaction is open: the entries are complete.
        done = await sent_back(self.consumer, self.settings)
        left = limit
        size = 0
        async with aclosing(select(self.consumer, self.settings, selection, progress)) as letters:
            async for letter in letters:
                if left == 0:
                    break
                if letter.identity in done:
                    self.tally.before += 1
                    continue
                _require(letter, sources)
                whole = await complete(self.origins, letter)
                if isinstance(whole, Lost):
                    self.tally.gone += 1
                    continue
                value = await self.correction.value(whole)
                if self.correction.transform is not None and not value:
                    self.tally.left += 1
                    continue
                done.add(letter.identity)
                left = None if left is None else left - 1
                self.batch.append((whole, value))
                size += len(value or b"")
                if len(self.batch) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
                    await self._commit()
                    size = 0
        await self._commit()

    async def _sources(self) -> set[tuple[str, int]]:
        cluster = await self.consumer._client.fetch_all_metadata()
        return {(topic, n) for topic in cluster.topics() for n in cluster.partitions_for_topic(topic) or ()}

    async def _commit(self) -> None:
        """Send the batch and its entries in one transaction: either all of it is written, or nothing."""
        if not self.batch:
            return
        await self._learn({letter.rejection.topic for letter, _ in self.batch})
        packed = list(self._packed())
        await self.producer.begin_transaction()
        try:
            sent = [(log, await self._send(log, each)) for log, each in packed]
            # Every record is acknowledged first: aiokafka would commit without a record that was refused.
            await asyncio.wait([ack for _, ack in sent])
            for log, ack in sent:
                if (error := ack.exception()) is not None:
                    raise self._refusal(log, error)
        except (Exception, asyncio.CancelledError):
            await self._abort()
            raise
        await self.producer.commit_transaction()
        self.tally.sent += len(self.batch)
        self.batch.clear()

    def _refusal(self, log: TopicPartition, error: BaseException) -> BaseException:
        """The error for a batch that was not written."""
        if isinstance(error, InvalidTimestampError):
            first, last = self.batch[0][0], self.batch[-1][0]
            return OperatorError(
                f"partition {log.partition} of {log.topic} refuses the timestamp of a record (its "
                "message.timestamp.before.max.ms or message.timestamp.after.max.ms): none of the dead "
                f"letters from {first.partition}:{first.offset} to {last.partition}:{last.offset} was "
                "sent. Change that setting, or send them with the current time (--now-timestamp)"
            )
        about(error, f"topic {log.topic} partition {log.partition}")
        return error

    async def _abort(self) -> None:
        """End the transaction, which would otherwise hide what follows it in the calls topic until it times out."""
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_ABORT_SECONDS):
                await self.producer.abort_transaction()

    async def _learn(self, names: set[str]) -> None:
        """How large a batch the topics accept. Timestamps are sent unchanged, since they are the records' own."""
        if new := names - self.limits.keys():
            known = Topics(new)
            await known.learn(self.producer.client)
            for name in new:
                self.limits[name] = Limits(known.of(name).max_bytes, retention=FOREVER, after=1 << 62)

    def _packed(self) -> Iterator[tuple[TopicPartition, Batch]]:
        """The batches to send, with those of the entries. Raises RecordTooLargeError."""
        shares: dict[TopicPartition, list[Output]] = {}
        for letter, value in self.batch:
            origin = TopicPartition(letter.rejection.topic, letter.rejection.partition)
            place = f"{self.settings.dead_topic}/{letter.partition}/{letter.offset}".encode()
            headers = [*letter.headers, ("redriven-from", place)]
            record = (letter.key, value, self.correction.timestamp(letter), headers)
            shares.setdefault(origin, []).append(record)
            entries = TopicPartition(self.settings.redriven_topic, 0)
            shares.setdefault(entries, []).append((letter.identity, place, NOW, []))
        now = wall_clock()
        for log, records in shares.items():
            for batch in pack(log.topic, records, self.limits.get(log.topic, Limits()), now):
                yield log, batch

    async def _send(self, log: TopicPartition, batch: Batch) -> asyncio.Future[Any]:
        sent: asyncio.Future[Any] = await self.producer.send_batch(batch, log.topic, partition=log.partition)
        return sent


def _require(letter: DeadLetter, sources: set[tuple[str, int]]) -> None:
    origin = letter.rejection
    if (origin.topic, origin.partition) not in sources:
        raise OperatorError(
            f"dead letter {letter.partition}:{letter.offset} came from partition {origin.partition} of "
            f"{origin.topic}, which no longer exists"
        )

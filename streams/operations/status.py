"""How far the group is, and whether its sums are right: read from the state that it has committed.

The last row of a checkpoint in the changelog says how far the log is in the state, with the ledger of that point. So
what is said here is one consistent point a partition, it holds across restarts, and no worker need run.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from msgspec import Struct

from streams.calls.ledger import Ledger, decode_ledger
from streams.calls.partition import CallsPartition
from streams.codecs import Reason
from streams.codecs import Status as CallStatus
from streams.engine.clients import RETRY_SECONDS
from streams.engine.config import Config
from streams.engine.restore import (
    Position,
    RestoreTarget,
    StateVersionError,
    bounds,
    is_note,
    read_position,
    restore,
    state_lost,
)
from streams.engine.skipped import acceptances
from streams.errors import OperatorError
from streams.kafka import reading
from streams.kafka.connecting import CONNECT_SECONDS, connected
from streams.kafka.credentials import client_options
from streams.kafka.reading import Progress
from streams.kafka.topics import ABSENT
from streams.settings import Settings
from streams.wiring import config_of, upstream_of

#: Records of the changelog's end among which the last position is looked for first.
_TAIL: Final = 500


class Partition(Struct):
    """One partition of a topic that is read; None where nothing is known yet. Times are in epoch milliseconds."""

    topic: str
    partition: int
    #: The group's next offset, the end of the log (the high watermark), and the records (at most) between.
    committed: int | None
    end: int
    lag: int
    #: Records that the group was moved past, and that nobody has accepted.
    skipped: int
    #: Those of the lag behind an open transaction: they cannot be read before it ends.
    hidden: int
    #: Where events are applied: not of the calls topic when they are repartitioned.
    stream_time: int | None
    last_commit: int | None
    #: Since the timestamp of the first record that is not committed; None when all are, or it has no timestamp.
    oldest_uncommitted_seconds: float | None


class Equation(Struct):
    """Two counts that must be equal, each by the name of what it adds up."""

    equation: str
    left: int
    right: int
    holds: bool


class Status(Struct):
    """The group: its counts since the beginning, what must be equal, and its partitions."""

    group: str
    read: int
    applied: int
    rejected: dict[Reason, int]
    opened: int
    #: By the status that stands.
    closed: dict[CallStatus, int]
    timed_out: int
    open: int
    #: Whether `open` was counted call by call, or is what the other counts leave.
    recounted: bool
    equations: list[Equation]
    #: First those of the calls topic; then, where events are repartitioned, those of the internal one.
    partitions: list[Partition]

    @property
    def holds(self) -> bool:
        """Whether every equation holds."""
        return all(each.holds for each in self.equations)


class _Point(NamedTuple):
    """What a partition has committed last."""

    position: Position
    at: int | None
    #: Calls that are open, when they have been counted.
    open: int | None


class _Skipped(NamedTuple):
    """What the group was moved past in a partition."""

    records: int
    #: Where the last of them ends.
    to: int


_Stage: TypeAlias = tuple[Config, Mapping[int, _Point]]


async def status(settings: Settings, *, recount: bool, progress: Progress = reading.silent) -> Status:
    """The status of the group. `recount` reads all of the changelog to count the open calls; `progress` is told.

    Raises OperatorError when the calls topic does not exist, no broker answers, another release wrote the state, or the
    state is lost.
    """
    try:
        return await _status(settings, recount, progress)
    except StateVersionError as error:
        raise OperatorError(str(error)) from error


async def _status(settings: Settings, recount: bool, progress: Progress) -> Status:
    # Before the state: what has been committed by now is in it.
    promised = await _committed(settings, settings.app_id)
    async with reading.reader(settings) as consumer:
        *before, (config, points) = await _stages(settings, consumer)
        for stage in (*before, (config, points)):
            await _require_state(consumer, *stage, promised)
        if recount and points:
            points = await _recounted(consumer, config, points, progress)
        stages = [*before, (config, points)]
        # After the state: what is committed meanwhile makes the lag smaller, never the offset older than the state.
        committed = await _committed(settings, settings.app_id)
        skipped = await _not_accepted(settings, _skipped(stages, committed))
        async with reading.reader(settings, isolation_level="read_uncommitted") as everything:
            partitions = [
                found
                for stage, reached in stages
                for found in await _partitions(
                    consumer, everything, stage.source, reached, committed, skipped
                )
            ]
    return _sums(config.group, points.values(), partitions, recount)


async def _stages(settings: Settings, consumer: Any) -> list[_Stage]:
    """What is read, one topic after the other, with its last positions. Raises OperatorError without a calls topic."""
    if not await reading.partitions(consumer, settings.calls_topic):
        raise OperatorError(f"topic {settings.calls_topic} {ABSENT}")
    return [
        (each, await _points(consumer, each, await reading.partitions(consumer, each.changelog)))
        for each in (upstream_of(settings), config_of(settings))
        if each is not None
    ]


async def _require_state(
    consumer: Any,
    config: Config,
    points: Mapping[int, _Point],
    promised: Mapping[TopicPartition, OffsetAndMetadata],
) -> None:
    """Raises StateLostError where an offset was committed together with state, and there is none."""
    there = await reading.partitions(consumer, config.changelog)
    for log, place in promised.items():
        if log.topic != config.source or log.partition in points or not is_note(place.metadata):
            continue
        rows = [each for each in there if each.partition == log.partition]
        if rows:  # the end of a group's very first transaction may be visible here a moment later than there
            await bounds(config, consumer, [log.partition])
        if not await _points(consumer, config, rows):
            raise state_lost(config, log, place.offset)


async def _points(consumer: Any, config: Config, changelog: Iterable[TopicPartition]) -> dict[int, _Point]:
    """The last position of each partition, looked for from the end in ever larger steps."""
    bounds = await reading.whole(consumer, changelog)
    found: dict[int, _Point] = {}
    size = _TAIL
    while bounds:
        tails = {log: (max(first, end - size), end) for log, (first, end) in bounds.items()}
        async for batch in reading.read(consumer, tails):
            for _, timestamp, key, value, _ in batch.records:
                if key == config.position_key and value is not None:
                    found[batch.partition.partition] = _Point(read_position(value), timestamp, None)
        bounds = {
            log: (first, end)
            for log, (first, end) in bounds.items()
            if log.partition not in found and tails[log][0] > first
        }
        size *= 16
    return found


async def _recounted(
    consumer: Any, config: Config, points: Mapping[int, _Point], progress: Progress
) -> dict[int, _Point]:
    """The state of all partitions, restored as a worker would, and its open calls counted."""
    where = await bounds(config, consumer, points)
    targets = {number: RestoreTarget(config.processor(number, None), where[number]) for number in points}
    total = sum(target.end - target.start for target in targets.values())
    await restore(config, consumer, targets, lambda left: progress(total - sum(left.values()), total))
    return {
        number: _Point(target.position, points[number].at, len(cast(CallsPartition, target.processor).open))
        for number, target in targets.items()
        if target.position is not None
    }


def _skipped(
    stages: Iterable[_Stage], committed: Mapping[TopicPartition, OffsetAndMetadata]
) -> dict[TopicPartition, _Skipped]:
    """What the group was moved past; also what no worker has noticed yet, since none has run after it."""
    found = {}
    for config, points in stages:
        for number, (position, *_) in points.items():
            log = TopicPartition(config.source, number)
            records, to, place = position.skipped, position.skipped_to, committed.get(log)
            # An offset of a worker's is ahead only of the position that was read a moment before it.
            if place and place.offset > position.next_offset and not is_note(place.metadata):
                records, to = records + place.offset - position.next_offset, place.offset
            if records:
                found[log] = _Skipped(records, to)
    return found


async def _not_accepted(
    settings: Settings, skipped: Mapping[TopicPartition, _Skipped]
) -> dict[TopicPartition, int]:
    """How many of the skipped records nobody has accepted."""
    accepted = await _committed(settings, acceptances(settings.app_id)) if skipped else {}
    return {
        log: records
        for log, (records, to) in skipped.items()
        if log not in accepted or accepted[log].offset < to
    }


async def accept_skipped(settings: Settings) -> None:
    """Accept what the group has been moved past so far; workers take that over into the state.

    Raises OperatorError as `status` does.
    """
    async with reading.reader(settings) as consumer:
        stages = await _stages(settings, consumer)
        skipped = _skipped(stages, await _committed(settings, settings.app_id))
    if not skipped:
        return
    options = {"group_id": acceptances(settings.app_id), "enable_auto_commit": False}
    async with connected(AIOKafkaConsumer(**client_options(settings), **options), settings) as consumer:
        consumer.assign(list(skipped))
        await consumer.commit({log: to for log, (_, to) in skipped.items()})


async def _committed(settings: Settings, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
    async with connected(AIOKafkaAdminClient(**client_options(settings)), settings) as admin:
        offsets = await _offsets(admin, group)
    return {log: place for log, place in offsets.items() if place.offset >= 0}


async def _offsets(admin: AIOKafkaAdminClient, group: str) -> Mapping[TopicPartition, OffsetAndMetadata]:
    """The offsets of a group. New brokers make the topic of offsets when they are first asked for some."""
    give_up = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            found: Mapping[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(group)
            return found
        except KafkaError as error:
            if not error.retriable or time.monotonic() > give_up:
                raise
            await asyncio.sleep(RETRY_SECONDS)


async def _partitions(
    consumer: Any,
    everything: Any,
    topic: str,
    points: Mapping[int, _Point],
    committed: Mapping[TopicPartition, OffsetAndMetadata],
    skipped: Mapping[TopicPartition, int],
) -> list[Partition]:
    """How far the partitions of a topic are; `everything` is a consumer that is not read_committed."""
    logs = await reading.partitions(consumer, topic)
    written = await reading.whole(everything, logs)
    # After the end of all: what is written between the two questions is not hidden by anything.
    bounds = await reading.whole(consumer, logs)
    offsets = {log: place.offset for log, place in committed.items()}
    waiting = {log: (max(first, offsets.get(log, first)), end) for log, (first, end) in bounds.items()}
    hidden = {log: (max(waiting[log]), end) for log, (_, end) in written.items()}
    oldest = await _first_timestamps(everything, hidden) | await _first_timestamps(consumer, waiting)
    now = time.time_ns() // 1_000_000
    found = []
    for log, (start, _) in waiting.items():
        number, (_, end) = log.partition, written[log]
        point, first = points.get(number), oldest.get(log, -1)
        ledger = point.position.header if point else b""
        stream_time = decode_ledger(ledger).stream_time if ledger else -1
        found.append(
            Partition(
                topic,
                number,
                offsets.get(log),
                end,
                max(0, end - start),
                skipped.get(log, 0),
                max(0, end - bounds[log][1]),
                stream_time if stream_time >= 0 else None,
                point.at if point else None,
                max(0, now - first) / 1000 if first >= 0 else None,
            )
        )
    return found


async def _first_timestamps(consumer: Any, waiting: reading.Ranges) -> dict[TopicPartition, int]:
    """The timestamp of the first record of each range that holds one."""
    found: dict[TopicPartition, int] = {}
    left = {log for log, (start, end) in waiting.items() if start < end}
    async for batch in reading.read(consumer, {log: waiting[log] for log in left}):
        if batch.records:
            found.setdefault(batch.partition, batch.records[0][1])
        if batch.records or batch.next_offset >= waiting[batch.partition][1]:
            left.discard(batch.partition)
        if not left:
            break
    return found


def _sums(group: str, points: Iterable[_Point], partitions: list[Partition], recounted: bool) -> Status:
    read = applied = opened = timed_out = counted = 0
    rejected, closed = Counter[Reason](), Counter[CallStatus]()
    for position, _, calls in points:
        ledger: Ledger = decode_ledger(position.header)
        read, applied, opened = read + ledger.read, applied + ledger.applied, opened + ledger.opened
        timed_out += ledger.timed_out
        counted += calls or 0
        rejected.update({reason: n for reason, n in ledger.rejected.items() if n})
        closed.update({status: n for status, n in ledger.closed.items() if n})
    open_calls = counted if recounted else opened - closed.total()
    equations = [
        _equation("read = applied + rejected", read, applied + rejected.total()),
        _equation("skipped and not accepted = 0", sum(each.skipped for each in partitions), 0),
    ]
    if recounted:  # otherwise `open` is what the two others leave, and the equation could not fail
        equations.append(_equation("opened = closed + open", opened, closed.total() + open_calls))
    return Status(
        group,
        read,
        applied,
        dict(rejected),
        opened,
        dict(closed),
        timed_out,
        open_calls,
        recounted,
        equations,
        partitions,
    )


def _equation(text: str, left: int, right: int) -> Equation:
    return Equation(text, left, right, left == right)

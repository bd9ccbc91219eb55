"""How far the group is, and whether its sums are right: read from the state that it has committed.

The last row of a checkpoint in the changelog says how far the log is in the state, with the ledger at that point. So
the status is one consistent point per partition, covers restarts, and needs no running worker.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from msgspec import Struct

from streams.calls.ledger import Ledger, decode_ledger
from streams.codecs import Reason, Status
from streams.engine.restore import StateVersionError
from streams.errors import OperatorError
from streams.kafka import reading
from streams.kafka.reading import Progress
from streams.operations.acceptance import not_accepted, skipped_records
from streams.operations.committed import Point, committed_offsets, committed_stages, recounted, require_state
from streams.settings import Settings


class Partition(Struct):
    """One partition of a topic that is read; None if nothing is known yet. Times are in epoch milliseconds."""

    topic: str
    partition: int
    #: The group's next offset, the end of the log (the high watermark), and the records (at most) between.
    committed: int | None
    end: int
    lag: int
    #: Records that the group was moved past, and that nobody has accepted.
    skipped: int
    #: The part of the lag behind an open transaction, which cannot be read before it ends.
    hidden: int
    #: For the topic whose events are applied, which is not the calls topic if events are repartitioned.
    stream_time: int | None
    last_commit: int | None
    #: The age of the first record that is not committed; None if all are committed, or it has no timestamp.
    oldest_uncommitted_seconds: float | None


class Equation(Struct):
    """Two counts that must be equal, each by the name of what it adds up."""

    equation: str
    left: int
    right: int
    holds: bool


class GroupStatus(Struct):
    """The group: its counts since the beginning, what must be equal, and its partitions."""

    group: str
    read: int
    applied: int
    rejected: dict[Reason, int]
    opened: int
    #: By current status.
    closed: dict[Status, int]
    timed_out: int
    open: int
    #: Whether `open` was counted call by call, or follows from the other counts.
    recounted: bool
    equations: list[Equation]
    #: First those of the calls topic; then, if events are repartitioned, those of the internal topic.
    partitions: list[Partition]

    @property
    def holds(self) -> bool:
        """Whether every equation holds."""
        return all(each.holds for each in self.equations)


async def status(settings: Settings, *, recount: bool, progress: Progress = reading.silent) -> GroupStatus:
    """The status of the group.

    `recount` reads the whole changelog to count the open calls, and calls `progress`. Raises OperatorError if the calls
    topic does not exist, no broker answers, another release wrote the state, or the state is lost.
    """
    try:
        return await _status(settings, recount, progress)
    except StateVersionError as error:
        raise OperatorError(str(error)) from error


async def _status(settings: Settings, recount: bool, progress: Progress) -> GroupStatus:
    # Before the state: what has been committed by now is in it.
    promised = await committed_offsets(settings, settings.app_id)
    async with reading.reader(settings) as consumer:
        *before, (config, points) = await committed_stages(settings, consumer)
        for stage in (*before, (config, points)):
            await require_state(consumer, *stage, promised)
        if recount and points:
            points = await recounted(consumer, config, points, progress)
        stages = [*before, (config, points)]
        # After the state: what is committed meanwhile makes the lag smaller, never the offset older than the state.
        committed = await committed_offsets(settings, settings.app_id)
        skipped = await not_accepted(settings, skipped_records(stages, committed))
        async with reading.reader(settings, isolation_level="read_uncommitted") as everything:
            partitions = [
                found
                for stage, reached in stages
                for found in await _partitions(
                    consumer, everything, stage.source, reached, committed, skipped
                )
            ]
    return _sums(config.group, points.values(), partitions, recount)


async def _partitions(
    consumer: Any,
    everything: Any,
    topic: str,
    points: Mapping[int, Point],
    committed: Mapping[TopicPartition, OffsetAndMetadata],
    skipped: Mapping[TopicPartition, int],
) -> list[Partition]:
    """How far the partitions of a topic are; `everything` is a consumer that is not read_committed."""
    logs = await reading.partitions(consumer, topic)
    written = await reading.whole(everything, logs)
    # After the end of the log: what is written between the two requests is not hidden.
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
        ledger = point.position.partition_state if point else b""
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


def _sums(group: str, points: Iterable[Point], partitions: list[Partition], recounted: bool) -> GroupStatus:
    read = applied = opened = timed_out = counted = 0
    rejected, closed = Counter[Reason](), Counter[Status]()
    for position, _, calls in points:
        ledger: Ledger = decode_ledger(position.partition_state)
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
    if recounted:  # otherwise `open` follows from the two others, and the equation could not fail
        equations.append(_equation("opened = closed + open", opened, closed.total() + open_calls))
    return GroupStatus(
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

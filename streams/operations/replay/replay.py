"""The replay itself: the same code as in the worker, on the same records, without its group, state or clock.

Two things in the worker use the wall clock. *Too early* was judged when the worker read a record, so the dead letters
hold the verdict, and a record that is too far ahead now was so then. The *idle clock* does not run: what it closed is
closed by the next record of the partition, with the same output (semantics, section 4).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import aclosing
from itertools import takewhile
from typing import Any, Final, TypeAlias, cast

from aiokafka import TopicPartition
from msgspec import Struct, field

from streams.calls.partition import CallsPartition, Checkpoint
from streams.calls.times import instant
from streams.codecs import Reason, split_headers
from streams.engine.config import wall_clock
from streams.engine.fetch import RecordBatch
from streams.errors import OperatorError
from streams.kafka import reading
from streams.kafka.reading import Progress
from streams.operations.replay.comparison import Comparison
from streams.operations.replay.extent import UNKNOWN, Extent
from streams.operations.replay.outputs import Destination
from streams.operations.replay.ranges import Range, Span, resolve
from streams.records import Record
from streams.settings import PREFIX, Settings
from streams.wiring import config_of

#: How many records a partition gathers before they are written.
_PENDING: Final = 10_000
#: How many records determine the stream time at which a log without its beginning starts, since one may be late.
_SAMPLE: Final = 20
#: Topic, partition and offset of a record.
_Place: TypeAlias = tuple[str, int, int]


class Done(Struct):
    """What was replayed. Counts leave the warm-up out."""

    spans: list[Span]
    read: int = 0
    applied: int = 0
    rejected: Counter[Reason] = field(default_factory=Counter)
    #: Published records: all revisions, and KPI windows with their corrections.
    completed: int = 0
    kpis: int = 0

    @property
    def is_covered(self) -> bool:
        """Whether the requested range was in the log, in every partition."""
        return not any(span.lacking for span in self.spans)


class _Partition:
    """One partition of the log on its way through the calls."""

    def __init__(self, span: Span, calls: CallsPartition, early: Collection[_Place], wall: int) -> None:
        self.span, self.calls = span, calls
        self.extent = Extent(horizon=UNKNOWN if span.warm_up else "")
        self.has_begun = False
        self._early, self._wall = early, wall
        self._applied = 0

    def process(self, records: Sequence[Record]) -> int:
        """Apply some of the records, and return how many; what the worker found too early is so again."""
        skew = self.calls.rules.max_clock_skew
        if self._early:
            if self._is_early(records[0]):
                return self.calls.process(records[:1], records[0][1] - skew - 1)
            records = list(takewhile(lambda record: not self._is_early(record), records))
        if self.extent.horizon == UNKNOWN:
            records = records[: _SAMPLE - self._applied]
        applied = self.calls.process(records, self._wall)
        self._applied += applied
        if self.extent.horizon == UNKNOWN and self._applied >= _SAMPLE:
            self.extent.horizon = instant(self._forgotten_after(self.calls.ledger.stream_time))
        return applied

    def _forgotten_after(self, stream_time: int) -> int:
        """When all calls that have had no events since a moment of stream time (epoch ms) are forgotten."""
        rules = self.calls.rules
        return stream_time + rules.call_timeout + rules.call_retention + rules.max_clock_skew

    def begin(self) -> None:
        """End the warm-up."""
        self.has_begun = True
        if self.span.warm_up < self.span.start and (now := self.calls.ledger.stream_time) >= 0:
            self.extent.begun = instant(now)

    def end(self, wall: int) -> None:
        """Finish: everything has been read."""
        rules, calls = self.calls.rules, self.calls.open
        dues = (state.last + rules.call_timeout for state in calls.values())
        self.extent.open = calls.keys()
        self.extent.end(
            self.calls.ledger.stream_time,
            rules.call_retention,
            (due for due in dues if due <= wall),
            rules.kpi_window,
        )

    def _is_early(self, record: Record) -> bool:
        source = self.calls.source_of(record)
        return (source.topic, source.partition, source.offset) in self._early


async def replay(
    settings: Settings,
    consumer: Any,
    wanted: Range,
    outputs: Sequence[Destination],
    comparison: Comparison | None,
    progress: Progress,
) -> Done:
    """Recompute a range of the log.

    `progress` is called for the log, then for what it is compared with. Raises OperatorError for a range that does not
    exist, RecordsLostError if the log loses records meanwhile.
    """
    config = config_of(settings)
    if settings.repartition and not await reading.partitions(consumer, config.source):
        raise OperatorError(
            f"with {PREFIX}REPARTITION=true a replay reads the internal topic {config.source}, which does not exist: "
            "no worker has run yet"
        )
    wall = wall_clock()
    spans = await resolve(settings, consumer, config.source, wanted, wall)
    early = await _too_early(consumer, settings.dead_topic)
    parts = {
        log: _Partition(span, cast(CallsPartition, config.processor(span.partition, None)), early, wall)
        for log, span in spans.items()
    }
    run = _Run(parts, outputs, comparison)
    ranges = {log: (span.warm_up, span.end) for log, span in spans.items()}
    async with aclosing(reading.read(consumer, ranges, progress)) as batches:
        async for batch in batches:
            await run.take(batch)
    for log in parts:
        await run.checkpoint(log)
    if comparison is not None:
        for part in parts.values():
            part.end(wall)
        extents = {log.partition: part.extent for log, part in parts.items()}
        count = len(await reading.partitions(consumer, config.source)) if settings.repartition else None
        await comparison.read(consumer, extents, count, progress)
        for log, (_, end) in (await reading.whole(consumer, parts)).items():
            parts[log].extent.goes_on = end > parts[log].span.end
            parts[log].span.lacking += parts[log].extent.gone(parts[log].span.first_time)
        comparison.compare()
    return run.done


class _Run:
    """All partitions, and their results."""

    def __init__(
        self,
        parts: dict[TopicPartition, _Partition],
        outputs: Sequence[Destination],
        comparison: Comparison | None,
    ) -> None:
        self._parts, self._outputs, self._comparison = parts, outputs, comparison
        self.done = Done([part.span for part in parts.values()])

    async def take(self, batch: RecordBatch) -> None:
        """Apply a batch; what the warm-up publishes has been published before."""
        part, log = self._parts[batch.partition], batch.partition
        before, after = _parted(batch, part.span.start)
        await self._apply(log, before)
        if before:
            part.calls.checkpoint()
        if batch.next_offset > part.span.start and not part.has_begun:
            part.begin()
        await self._apply(log, after)
        part.span.cover(after)
        if self._comparison is not None:
            part.extent.cover(map(part.calls.source_of, after))

    async def _apply(self, log: TopicPartition, records: Sequence[Record]) -> None:
        """Apply records in steps, and write what has gathered between them."""
        part = self._parts[log]
        while records:
            records = records[part.process(records) :]
            if part.calls.pending >= _PENDING:
                await self.checkpoint(log)
            await asyncio.sleep(0)  # the consumer lives in this event loop too

    async def checkpoint(self, log: TopicPartition) -> None:
        """Write what has been gathered. A checkpoint also packs the calls that have closed, which saves memory."""
        part = self._parts[log]
        checkpoint: Checkpoint = part.calls.checkpoint()
        if not part.has_begun:
            return
        done, tally = self.done, checkpoint.tally
        rejected = tally.rejected
        done.rejected.update({reason: n for reason, n in rejected.items() if n})
        applied = sum(n for statuses in tally.events.values() for n in statuses.values())
        done.applied += applied
        done.read += applied + sum(rejected.values())
        for kind in ("completed", "kpis"):
            records = checkpoint.outputs[kind]
            setattr(done, kind, getattr(done, kind) + len(records))
            for output in self._outputs:
                await output.write(kind, log.partition, records)
        if self._comparison is not None:
            self._comparison.add(log.partition, part.extent, checkpoint.outputs)


def _parted(batch: RecordBatch, start: int) -> tuple[Sequence[Record], Sequence[Record]]:
    """The records before an offset, and those from it on."""
    if batch.first >= start:
        return (), batch.records
    before = [record for record in batch.records if record[0] < start]
    return before, batch.records[len(before) :]


async def _too_early(consumer: Any, dead_topic: str) -> set[_Place]:
    """The places of the records that the dead letters name as too early."""
    logs = await reading.partitions(consumer, dead_topic)
    found: set[_Place] = set()
    async for batch in reading.read(consumer, await reading.whole(consumer, logs)):
        for _, _, _, _, headers in batch.records:
            split = split_headers(headers)
            if split is not None and split[1].reason == "too-early":
                found.add((split[1].topic, split[1].partition, split[1].offset))
    return found

"""The replay itself: the same code as in the worker over the same records, without its group, state or clock.

Two things of the worker look at the wall clock. *Too early* was judged when the worker read a record, so the dead
letters say what it came to; and a record that is too far ahead of the present was so then. The *idle clock* does
not run: what it closed, the next record of the partition closes, with the same record (semantics, section 4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeAlias, cast

from aiokafka import TopicPartition
from msgspec import Struct, field

from streams import reading
from streams.app import config_of
from streams.calls.partition import CallsPartition, Cut, Record
from streams.codecs import Reason, split_headers
from streams.engine.config import wall_clock
from streams.engine.fetch import RecordBatch
from streams.errors import OperatorError
from streams.replay.comparison import Comparison, Extent
from streams.replay.outputs import Output
from streams.replay.ranges import Range, Span, resolve
from streams.settings import PREFIX, Settings

#: Records to be written that a partition gathers before they are.
_PENDING: Final = 10_000
#: Topic, partition and offset of a record.
_Place: TypeAlias = tuple[str, int, int]


class Done(Struct):
    """What was replayed. Counts leave the warm-up out."""

    spans: list[Span]
    read: int = 0
    applied: int = 0
    rejected: Counter[Reason] = field(default_factory=Counter)
    #: Records published, all revisions; and KPI windows, with their corrections.
    completed: int = 0
    kpis: int = 0


class _Partition:
    """One partition of the log on its way through the calls."""

    def __init__(self, span: Span, calls: CallsPartition, early: Collection[_Place], wall: int) -> None:
        self.span, self.calls = span, calls
        self.extent = Extent()
        self._early, self._wall = early, wall

    def process(self, records: Sequence[Record]) -> None:
        """Apply records; what the worker found too early is so again."""
        early = [record for record in records if self._is_early(record)] if self._early else []
        if not early:
            self._apply(records, self._wall)
            return
        for record in records:
            wall = record[1] - self.calls.rules.max_clock_skew - 1 if record in early else self._wall
            self._apply([record], wall)

    def _apply(self, records: Sequence[Record], wall: int) -> None:
        while (applied := self.calls.process(records, wall)) < len(records):
            records = records[applied:]

    def _is_early(self, record: Record) -> bool:
        source = self.calls.source_of(record)
        return (source.topic, source.partition, source.offset) in self._early


async def replay(
    settings: Settings,
    consumer: Any,
    wanted: Range,
    outputs: Sequence[Output],
    comparison: Comparison | None,
    progress: Callable[[int, int], None],
) -> Done:
    """Recompute a range of the log. `progress` is told how many offsets are read, of how many.

    Raises OperatorError for a range that does not exist, RecordsLostError when the log loses records meanwhile.
    """
    config = config_of(settings)
    if settings.repartition and not await reading.partitions(consumer, config.source):
        raise OperatorError(
            f"with {PREFIX}REPARTITION=true a replay reads the internal topic {config.source}, which does not exist: "
            "no worker has run yet"
        )
    spans = await resolve(consumer, config.source, wanted)
    early = await _too_early(consumer, settings.dead_topic)
    wall = wall_clock()
    parts = {
        log: _Partition(span, cast(CallsPartition, config.processor(span.partition, None)), early, wall)
        for log, span in spans.items()
    }
    run = _Run(parts, outputs, comparison)
    total, read = sum(span.end - span.warm_up for span in spans.values()), 0
    async for batch in reading.read(consumer, {log: (s.warm_up, s.end) for log, s in spans.items()}):
        await run.take(batch)
        read += batch.next_offset - batch.first
        progress(min(read, total), total)
    for log in parts:
        await run.cut(log)
    if comparison is not None:
        for part in parts.values():
            part.extent.open = part.calls.open.keys()
        extents = {log.partition: part.extent for log, part in parts.items()}
        count = len(await reading.partitions(consumer, config.source)) if settings.repartition else None
        await comparison.read(consumer, settings.completed_topic, extents, count)
    return run.done


class _Run:
    """All partitions, and what comes of them."""

    def __init__(
        self,
        parts: dict[TopicPartition, _Partition],
        outputs: Sequence[Output],
        comparison: Comparison | None,
    ) -> None:
        self._parts, self._outputs, self._comparison = parts, outputs, comparison
        self.done = Done([part.span for part in parts.values()])

    async def take(self, batch: RecordBatch) -> None:
        """Apply a batch; what the warm-up publishes has been published before."""
        part = self._parts[batch.partition]
        start = part.span.start
        if batch.first < start:
            before = [record for record in batch.records if record[0] < start]
            part.process(before)
            part.calls.cut()
        after = batch.records if batch.first >= start else batch.records[len(before) :]
        part.process(after)
        if self._comparison is not None:
            part.extent.cover(map(part.calls.source_of, after))
        if part.calls.pending >= _PENDING:
            await self.cut(batch.partition)

    async def cut(self, log: TopicPartition) -> None:
        """Write what has gathered. A cut also packs the calls that have closed, so memory wants it now and then."""
        cut: Cut = self._parts[log].calls.cut()
        done, tally = self.done, cut.tally
        rejected = tally.rejected
        done.rejected.update({reason: n for reason, n in rejected.items() if n})
        applied = sum(n for statuses in tally.events.values() for n in statuses.values())
        done.applied += applied
        done.read += applied + sum(rejected.values())
        for kind in ("completed", "kpis"):
            records = cut.outputs[kind]
            setattr(done, kind, getattr(done, kind) + len(records))
            for output in self._outputs:
                await output.write(kind, log.partition, records)
        if self._comparison is not None:
            self._comparison.add(log.partition, cut.outputs["completed"])


async def _too_early(consumer: Any, dead_topic: str) -> set[_Place]:
    """Where the records lie that the dead letters name as too early."""
    logs = await reading.partitions(consumer, dead_topic)
    found: set[_Place] = set()
    async for batch in reading.read(consumer, await reading.whole(consumer, logs)):
        for _, _, _, _, headers in batch.records:
            split = split_headers(headers)
            if split is not None and split[1].reason == "too-early":
                found.add((split[1].topic, split[1].partition, split[1].offset))
    return found

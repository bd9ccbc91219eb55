"""The activity and the health of a worker: notified by the engine, queried by the metrics and the web server."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from heapq import nsmallest
from typing import Any, cast

from aiokafka import TopicPartition

from streams.calls.kpis import Kpis, KpiSelection
from streams.calls.ledger import Ledger
from streams.calls.partition import CallsPartition, Checkpoint
from streams.calls.view import AGES, OpenCalls, OpenPage, OpenSelection, describe
from streams.engine.application import Application
from streams.engine.fetch import RecordBatch
from streams.engine.members import Member, MembersUnknownError
from streams.engine.owned import OwnedPartition
from streams.settings import Settings
from streams.worker.metrics import Metrics, PartitionSample, Reached, Sample
from streams.worker.statistics import Statistics
from streams.worker.summary import Summary

log = logging.getLogger(__name__)

#: For how long commits may stall before the worker reports that it is not ready, and transactions may be open before it
#: mentions them.
_BREATHE_SECONDS = 10.0
#: The fetcher waits for commits when too much is pending, but no longer than the engine waits for lost brokers.
_DEAD_SECONDS = 30.0
#: How long (s) a request waits for the coordinator to confirm this worker's partitions.
_CONFIRM_SECONDS = 3.0


class Monitor:
    """What the engine does, as metrics and health."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self.app: Application | None = None
        self._figures = Statistics(settings.kpi_window)
        #: Partitions of the topic whose events are applied.
        self.count = 0
        self._assigned = False
        #: Batches that are applied but not yet committed, by partition: next offset, last timestamp (ms), records.
        self._uncommitted: dict[int, list[tuple[int, int, int]]] = {}
        #: Ledgers as they were taken over, by partition.
        self._before: dict[int, Ledger] = {}

    # -- what the engine tells

    def applied(self, partition: int, batch: RecordBatch, seconds: float) -> None:
        """A batch has been applied."""
        records = batch.records
        self._metrics.batch(len(records), seconds)
        if records:
            self._uncommitted.setdefault(partition, []).append(
                (batch.next_offset, records[-1][1], len(records))
            )

    def committed(self, partition: int, checkpoint: Any, committed: int, seconds: float) -> None:
        """A checkpoint has been committed."""
        done = cast(Checkpoint, checkpoint)
        now = time.time_ns() // 1_000_000
        waiting = self._uncommitted.get(partition, [])
        self._metrics.committed((now - ts, n) for offset, ts, n in waiting if offset <= committed and ts >= 0)
        self._uncommitted[partition] = [each for each in waiting if each[0] > committed]
        self._progressed(self._settings.source_topic, partition, committed)
        self._metrics.count(done.tally)
        self._metrics.commit(seconds)
        if letters := done.outputs["dead"]:
            self._figures.rejected(letters)
        for source, error in done.failures:
            log.error(
                "the record at offset %d of partition %d was set aside as failed: report the "
                "traceback; once the bug is fixed, `telefonie dead redrive --reason failed` sends it "
                "back",
                source.offset,
                source.partition,
                exc_info=error,
            )

        for call_id, error in done.stuck:
            log.error(
                "the call %r could not be closed by its timeout and stays open; the next worker that "
                "takes over the partition tries again. Report the traceback",
                call_id,
                exc_info=error,
            )

    def assigned(self, partitions: Collection[int]) -> None:
        """A rebalance has ended."""
        self._assigned = True
        if self.app is not None:
            self.count = max(self.count, self.app.consumer.known_partitions(self._settings.source_topic))
        self._uncommitted = {number: self._uncommitted.get(number, []) for number in partitions}
        self._metrics.rebalanced()
        for number in partitions:
            if self.app is not None and number not in self._before:
                self._before[number] = copy.deepcopy(processor(self.app.engine.partitions[number]).ledger)
        log.info("partitions %s of %s are assigned", sorted(partitions), self._settings.source_topic)

    def upstream(self) -> Upstream:
        """Notified of what the stage before does."""
        return Upstream(self._settings.calls_topic, self._progressed)

    def _progressed(self, topic: str, partition: int, committed: int) -> None:
        end, _ = self._end(topic, partition, committed)
        if end is not None:
            self._metrics.progressed(topic, partition, committed, end)

    def _end(self, topic: str, partition: int, offset: int) -> tuple[int | None, int | None]:
        """The end of the log, at least a given offset, and how much of it is hidden; None if unknown."""
        assert self.app is not None, "the application is set before it runs"
        end = self.app.consumer.end(TopicPartition(topic, partition))
        return (None, None) if end is None else (max(offset, end.written), end.hidden)

    # -- what the metrics ask

    def sample(self) -> Sample:
        """The state at this moment."""
        partitions = self._partitions()
        open_calls, oldest = self._figures.open(partitions), self._figures.oldest(partitions)
        parts, upstream = list(self._parts()), list(self._upstream())
        clock_offset = self.app.engine.clock.told if self.app else None
        return Sample(open_calls, oldest, parts, self.count or None, upstream, clock_offset)

    def _parts(self) -> Iterator[PartitionSample]:
        """The worker's partitions at this moment, including those it is taking over."""
        if self.app is None:
            return
        for number, owned in self.app.engine.partitions.items():
            calls = processor(owned)
            stream_time = calls.ledger.stream_time
            end, hidden = self._end(self._settings.source_topic, number, owned.committed)
            yield PartitionSample(
                number,
                owned.committed,
                end,
                0,
                len(calls),
                stream_time,
                owned.committed_at,
                hidden,
                owned.skipped,
            )
        for number, left in self.app.engine.remaining.items():
            yield PartitionSample(number, None, None, left, 0, -1)

    def _upstream(self) -> Iterator[Reached]:
        """The worker's partitions of the calls topic, if its events are repartitioned."""
        for engine in self.app.engines[:-1] if self.app else ():
            topic = engine.config.source
            for number, owned in engine.partitions.items():
                end, hidden = self._end(topic, number, owned.committed)
                yield Reached(topic, number, owned.committed, end, owned.committed_at, hidden, owned.skipped)

    def summary(self) -> Summary:
        """What has been done in the worker's current partitions since they were taken over."""
        done = Summary()
        for number, owned in self.app.engine.partitions.items() if self.app else ():
            calls, before = processor(owned), self._before.get(number, Ledger())
            done.add(calls.ledger, before, calls.open_by_status())
        return done

    # -- what the web server asks

    def live(self) -> list[str]:
        """If this answers at all, the event loop turns; it checks that the fetcher's thread does, too."""
        app = self.app
        if app is None:
            return []
        problems = []
        if app.failure is not None:
            problems.append("the worker is stopping after an error: its log says which")
        is_at_work = any(engine.partitions for engine in app.engines)
        silent = time.monotonic() - app.consumer.asked_at if is_at_work else 0.0
        if silent > app.engine.config.lost_after / 1000 + _DEAD_SECONDS:
            problems.append(f"no records have been requested for {silent:.0f} s")
        return problems

    def ready(self) -> list[str]:
        """Partitions are assigned, their state is restored, and what is applied gets committed."""
        app = self.app
        if app is None or (not self._assigned and not app.engine.remaining):
            return ["no partitions are assigned yet"]
        if app.engine.remaining:
            left = sum(app.engine.remaining.values())
            return [
                f"restoring the state of partitions {sorted(app.engine.remaining)}: {left} records are left"
            ]
        if app.rebalancing:
            return ["a rebalance is under way"]
        waited = app.waited()
        if waited > _BREATHE_SECONDS:
            return [f"nothing could be committed for {waited:.0f} s"]
        return []

    def remarks(self) -> list[str]:
        """What a ready worker cannot read, and what it waits for."""
        if self.app is None:
            return []
        held = self.app.hidden.held(time.monotonic())
        return [line for engine in self.app.engines for line in engine.waits_for()] + [
            f"{tp.topic} partition {tp.partition}: {records} records wait behind a transaction that has been open for "
            f"{seconds:.0f} s"
            for tp, (records, seconds) in sorted(held.items())
            if seconds >= _BREATHE_SECONDS
        ]

    # -- what is asked about calls

    async def unsure(self) -> list[str]:
        """Also asks the group's coordinator: a worker that was paused may not know yet what it has lost."""
        if (reasons := self.ready()) or self.app is None:
            return reasons
        asking = asyncio.ensure_future(self.app.consumer.is_member())
        await asyncio.wait([asking], timeout=_CONFIRM_SECONDS)
        if not asking.done() or asking.exception() is not None or not asking.result():
            return ["the brokers do not confirm that the partitions of this worker are still its own"]
        return self.ready()

    @property
    def member_id(self) -> str:
        """This worker's id in the group; empty before it has joined."""
        return "" if self.app is None else str(self.app.consumer.member_id)

    async def members(self) -> tuple[str, list[Member]]:
        """This worker's id in the group, and all members. Raises MembersUnknownError."""
        if self.app is None:
            raise MembersUnknownError("the worker is starting")
        own, found = await self.app.consumer.members()
        return own, found

    def holds(self) -> tuple[list[int], int]:
        """The worker's partitions of the topic whose events are applied, and how many partitions that has."""
        return sorted(self._partitions()), self.count

    def waiting(self) -> int:
        """How many records of our partitions are not committed yet, as far as is known."""
        return sum(part.end - (part.committed or 0) for part in self._parts() if part.end is not None)

    def call(self, call_id: str) -> dict[str, Any] | None:
        """A call of the worker's partitions that is open or still remembered."""
        found = (describe(calls, call_id) for calls in self._partitions().values())
        return next((each for each in found if each is not None), None)

    async def open_calls(self, selection: OpenSelection, limit: int) -> OpenPage:
        """The oldest open calls of a selection, and how many there are of each age; found in a thread."""
        now = time.time_ns() // 1_000_000
        found = [
            await asyncio.to_thread(OpenCalls.of(calls).chosen, selection, limit + 1, now)
            for calls in self._partitions().values()
        ]
        oldest = nsmallest(limit + 1, (call for each in found for call in each.oldest))
        described = (self.call(key.decode()) for _, key in oldest[:limit])
        ages = [
            sum(counts) for counts in zip([0] * (len(AGES) + 1), *(each.ages for each in found), strict=True)
        ]
        return OpenPage(
            [each for each in described if each is not None and each["open"]],  # it may have closed meanwhile
            ages,
            oldest[limit - 1] if len(oldest) > limit else None,
        )

    async def kpis(self, selection: KpiSelection) -> Kpis:
        """The KPI windows of a selection, added up in a thread."""
        found = Kpis.nothing()
        for calls in self._partitions().values():
            await asyncio.to_thread(found.add, calls.windows.now(), selection)
        return found

    async def survey(self) -> None:
        """Scan all open calls, for `sample`, `status` and `longest`, unless that was done recently."""
        await self._figures.survey(self._partitions())

    def status(self) -> dict[str, Any]:
        """The health of this worker, how far its partitions are, and their counts; times in epoch ms, ages in
        seconds."""
        partitions = self._partitions()
        return {
            "app_id": self._settings.app_id,
            "address": self.app.engine.address if self.app else "",
            "live": self.live(),
            "ready": self.ready(),
            "of": self.count,
            "partitions": [self._place(part, partitions) for part in self._parts()],
            **self._figures.document(partitions),
        }

    def longest(self) -> list[dict[str, Any]]:
        """The calls that have been open longest: id, status and first event time (epoch ms)."""
        return self._figures.longest(self._partitions())

    def _place(self, part: PartitionSample, partitions: Mapping[int, CallsPartition]) -> dict[str, Any]:
        """How far a partition is."""
        place = part._asdict()
        if part.committed is not None and part.end is not None:
            place["age"] = self._metrics.offset_age(
                self._settings.source_topic, part.number, part.committed, part.end
            )
        if (calls := partitions.get(part.number)) is not None:
            place["read"] = calls.ledger.read
        return place

    def _partitions(self) -> dict[int, CallsPartition]:
        owned = self.app.engine.partitions if self.app else {}
        return {number: processor(each) for number, each in owned.items()}


class Upstream:
    """The monitor of the stage before calls: how far it is, and nothing else."""

    def __init__(self, topic: str, progressed: Callable[[str, int, int], None]) -> None:
        self._topic, self._progressed = topic, progressed

    def applied(self, partition: int, batch: RecordBatch, seconds: float) -> None:
        """A batch has been taken."""

    def committed(self, partition: int, checkpoint: Any, next_offset: int, seconds: float) -> None:  # noqa: ARG002
        """A checkpoint has been committed."""
        self._progressed(self._topic, partition, next_offset)

    def assigned(self, partitions: Collection[int]) -> None:
        """A rebalance has ended for this stage."""
        log.info("partitions %s of %s are assigned", sorted(partitions), self._topic)


def processor(owned: OwnedPartition) -> CallsPartition:
    """The calls of one of the worker's partitions."""
    return cast(CallsPartition, owned.processor)

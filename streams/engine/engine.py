"""The engine: processors fed with record batches, and their checkpoints committed, partition by partition.

The path of a batch: `process` has the processor apply it and notes its next offset, nothing else. Every commit
interval `commit` takes a checkpoint of each partition at one instant (no await in between) and writes them, while the
next batches are already being applied. Nothing is written outside a checkpoint, so each is a consistent point of the
log: state, outputs and offset move together, or not at all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from math import inf
from typing import Any, NamedTuple, Protocol, cast
from uuid import uuid4

from aiokafka import TopicPartition
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from streams.engine.clock import Clock
from streams.engine.config import Config
from streams.engine.failures import about, lacking
from streams.engine.fetch import RecordBatch, RecordsLostError
from streams.engine.hidden import written_ends
from streams.engine.limits import Topics
from streams.engine.members import MembersUnknownError
from streams.engine.offsets import NotAMemberError
from streams.engine.owned import OwnedPartition
from streams.engine.processor import Checkpoint
from streams.engine.protocol import Membership
from streams.engine.restore import (
    Position,
    RestoreTarget,
    bounds,
    encode_position,
    is_note,
    new_note,
    reader,
    restore,
    state_lost,
)
from streams.engine.schedule import Schedule
from streams.engine.skipped import accepted
from streams.engine.start import start_offset
from streams.engine.store import Changelog, Stores
from streams.engine.takeover import LeftOpen, Patience, fence_former_release
from streams.engine.writer import Share, Writer
from streams.records import Record

log = logging.getLogger(__name__)

#: What waits for a commit, in all partitions together: from here on the log has to wait for the brokers.
MAX_PENDING = 30_000  # records
MAX_PENDING_BYTES = 32 << 20
#: Between two looks whether a partition has been read from.
_LOOK_SECONDS = 0.1
_GIVE_WAY_SECONDS = 0.02
#: Between two warnings of partitions that wait.
_WARN_SECONDS = 60.0
#: What was seen so long ago still says something about an idle partition.
_RECENT_SECONDS = 10.0


#: Somebody else has begun to use our transactional id, or has ended our transaction.
_FENCED = (ProducerFenced, InvalidProducerEpoch)


class Observer(Protocol):
    """Hears what the engine does; must be quick and must not raise."""

    def applied(self, partition: int, batch: RecordBatch, seconds: float) -> None:
        """A batch has been applied, which took so long."""

    def committed(self, partition: int, checkpoint: Checkpoint, next_offset: int, seconds: float) -> None:
        """A checkpoint up to an offset has been committed, which took so long."""

    def assigned(self, partitions: Collection[int]) -> None:
        """A rebalance has ended: these partitions are ours and restored."""


class _Written(NamedTuple):
    """A checkpoint of a partition that is written."""

    owned: OwnedPartition
    share: Share
    #: monotonic: when it was taken.
    since: float


class Engine:
    """The partitions of one worker. Everything runs in the worker's event loop; `app` is its Faust application."""

    def __init__(self, app: Any, config: Config, observer: Observer, upstream: Engine | None = None) -> None:
        self.app, self.config, self.observer = app, config, observer
        #: Writes our source, if one does.
        self.upstream = upstream
        #: Epoch s: everything that lay in its source then, it had written. None: not lately.
        self._supplied_at: float | None = None
        self.partitions: dict[int, OwnedPartition] = {}
        #: Ours before a rebalance; what stays ours keeps its state.
        self._kept: dict[int, OwnedPartition] = {}
        #: Assigned to us, and still to be taken over.
        self._gained: list[int] = []
        #: Names our transactional ids; the other members know it. That of a static member is the same after a restart,
        #: which so ends what it left open before.
        self.identity: str = upstream.identity if upstream else config.instance_id or uuid4().hex
        self._writer: Writer | None = None
        #: The writer can write no more.
        self._is_fenced = False
        self._left_open = LeftOpen(config, self._identities)
        #: Who we are in the group, as of the last assignment that was taken over; None after we were out of it.
        self._member: Membership | None = None
        #: Assigned to us, and not read: the changelog has no partition for their state.
        self.waiting: frozenset[int] = frozenset()
        self._warned_at = -inf
        #: Offsets that are still to be restored, by partition.
        self.remaining: dict[int, int] = {}
        #: Kafka's id of the source topic.
        self.topic = b""
        #: Where other members of the group can reach this one; to be set before it joins.
        self.address = ""
        self.failure: BaseException | None = None
        #: The brokers' wall clock, and what the topics take that are written.
        self.clock = Clock(config.wall_clock)
        self.topics = Topics([*config.topics.values(), config.changelog])
        self._stores: Stores | None = None
        #: A rebalance is under way: whatever is ours may by now be somebody else's.
        self._suspended = False
        #: Records and bytes that wait for a commit, in all partitions together, as last seen.
        self._pending = self._pending_bytes = 0
        #: When commits are due.
        self.commits = Schedule(config.commit_interval / 1000)
        self._committing = asyncio.Lock()
        self._assigning = asyncio.Lock()

    def owns(self, tp: TP) -> bool:
        """Whether the partition is ours and restored."""
        return tp.topic == self.config.source and tp.partition in self.partitions

    def waits(self, tp: TP) -> bool:
        """Whether the partition is ours and cannot be read yet."""
        return tp.topic == self.config.source and tp.partition in self.waiting

    def next_offset(self, tp: TP) -> int:
        """The offset to read from."""
        return self.partitions[tp.partition].next_offset

    # -- the path of a batch

    async def process(self, batch: RecordBatch) -> None:
        """Apply a batch; wait where the brokers do not keep up with what is to be written.

        What one record makes fall due may be more than fits into one commit or one turn of the event loop. It is then
        done in pieces, and a commit in between says that the batch is applied up to, without, the record at hand.
        """
        number = batch.partition.partition
        owned = self.partitions.get(number)
        if owned is None or batch.next_offset <= owned.next_offset or self._is_closed():
            return  # fetched before a rebalance or a seek; or nothing counts any more
        if batch.first > owned.next_offset:
            await self._seek_back(batch, owned)
            return
        if owned.clock_moved:
            await self.commit()  # the new time first, so that a repetition finds it
        await self._know_time(number)
        if not self._holds(number, owned):
            return
        records: Sequence[Record] = batch.records
        if batch.first < owned.next_offset:
            records = [record for record in records if record[0] >= owned.next_offset]
        seconds = 0.0
        while True:
            start = time.perf_counter()
            try:
                applied = owned.processor.process(records, self.clock.now())
            except (
                Exception
            ) as error:  # a part of the batch is in the state: no checkpoint of that may be committed
                await self.fail(error)
                return
            seconds += time.perf_counter() - start
            owned.heard_at = time.monotonic()
            owned.waiting_since = owned.waiting_since or owned.heard_at
            if applied >= len(records):
                break
            records = records[applied:]
            owned.next_offset = records[0][0]
            await self._turn()
            if not self._holds(number, owned):
                return  # the new owner, or we once it is over, read on from the record at hand
        owned.next_offset = batch.next_offset
        self.observer.applied(number, batch, seconds)
        if self._adds_too_much(owned):
            await self._relieve()

    async def _know_time(self, number: int) -> None:
        """Before anything is judged by the clock: be sure of it, by the changelog of a partition."""
        if not self.clock.is_doubtful:
            return
        async with self._committing:
            if self._is_closed():
                return
            try:
                await self.writer.probe(number)
            except asyncio.CancelledError:
                self.failure = RuntimeError("a question for the time was cancelled")
                raise
            except Exception as error:
                await self._give_up(error)

    def _is_closed(self) -> bool:
        """Whether nothing can be committed, for now or for ever."""
        return self._suspended or self.failure is not None

    def _holds(self, number: int, owned: OwnedPartition) -> bool:
        """Whether a partition may still be worked on; to be asked after every await."""
        return self.partitions.get(number) is owned and not self._is_closed()

    async def _turn(self) -> None:
        """Between two pieces of work: let the event loop turn, and commit if too much waits for it."""
        await asyncio.sleep(0)
        await self._relieve()

    async def _relieve(self) -> None:
        """Commit until little enough waits for it."""
        while self._is_too_much() and not self._is_closed():
            await self.commit()

    def _adds_too_much(self, owned: OwnedPartition) -> bool:
        """Whether too much waits now, by what was last seen of the other partitions: there may be hundreds."""
        seen = owned.processor.pending, owned.processor.pending_bytes
        self._pending += seen[0] - owned.pending[0]
        self._pending_bytes += seen[1] - owned.pending[1]
        owned.pending = seen
        return self._pending > MAX_PENDING or self._pending_bytes > MAX_PENDING_BYTES

    def _is_too_much(self) -> bool:
        """Whether too much waits, seen afresh."""
        for owned in self.partitions.values():
            owned.pending = owned.processor.pending, owned.processor.pending_bytes
        seen = [owned.pending for owned in self.partitions.values()]
        self._pending, self._pending_bytes = sum(each[0] for each in seen), sum(each[1] for each in seen)
        return self._pending > MAX_PENDING or self._pending_bytes > MAX_PENDING_BYTES

    async def _seek_back(self, batch: RecordBatch, owned: OwnedPartition) -> None:
        """A batch in between was thrown away, as Faust does when a rebalance interrupts it."""
        log.info("reading %s again from offset %d", batch.partition, owned.next_offset)
        tp = TP(batch.partition.topic, batch.partition.partition)
        await self.app.consumer.seek_wait({tp: owned.next_offset})

    # -- commits

    async def commit(self) -> int:
        """Write a checkpoint of every partition that has something to say; returns how many. One commit at a time.

        A failure stops the worker: memory is ahead of the log then, and the next owner starts from the last checkpoint.
        """
        async with self._committing:
            return await self._commit()

    async def suspend(self) -> None:
        """A rebalance has begun: commit once more, and then nothing before it is over (see `assign`).

        Another worker may have what was ours as soon as we have answered, and would fence a later commit.
        """
        async with self._committing:
            await self._commit()
            self._suspended = True

    async def _commit(self) -> int:
        if self._is_closed():
            return 0
        begun = time.perf_counter()
        try:
            written = [self._checkpoint(owned) for owned in self.partitions.values() if owned.dirty]
            if written:
                await self._write(written)
        except asyncio.CancelledError:
            self.failure = RuntimeError("a commit was cancelled")
            raise
        except Exception as error:
            await self._give_up(error)
            return 0
        for each in written:
            owned = each.owned
            owned.committed, owned.note = each.share.next_offset, each.share.note
            owned.committed_at = self.clock.now()
            if owned.waiting_since is not None and owned.waiting_since <= each.since:
                owned.waiting_since = each.since if owned.dirty else None
            self.observer.committed(
                owned.number, each.share.checkpoint, owned.committed, time.perf_counter() - begun
            )
        self._is_too_much()  # what waits is seen afresh
        return len(written)

    def _checkpoint(self, owned: OwnedPartition) -> _Written:
        owned.clock_moved = owned.unsaid = False
        checkpoint, next_offset = owned.processor.checkpoint(), owned.next_offset
        position = Position(
            next_offset,
            checkpoint.partition_state,
            topic=self.topic,
            skipped=owned.skipped,
            skipped_to=owned.skipped_to,
        )
        where = f"{self.config.source} partition {owned.number}"
        what = f"what comes of {where} from offset {owned.committed} to {next_offset}"
        share = Share(owned.number, checkpoint, encode_position(position), next_offset, new_note(), what)
        return _Written(owned, share, time.monotonic())

    async def _write(self, written: Sequence[_Written]) -> None:
        try:
            ends = await self.writer.write([each.share for each in written])
        except Exception as error:
            if not any(each.share.about in getattr(error, "__notes__", ()) for each in written):
                about(
                    error,
                    written[0].share.about if len(written) == 1 else f"what comes of {self.config.source}",
                )
            raise
        for each, end in zip(written, ends, strict=True):
            if (store := each.owned.store) is not None:
                store.write(each.share.checkpoint.stored, end, each.share.position, self.clock.now())

    async def _give_up(self, error: Exception) -> None:
        """After a transaction that cannot be committed: join the group again where that helps, or stop the worker.

        Nobody else has the transactional id of a dynamic member: it is fenced by an heir, which takes it for dead, or
        by the brokers, for which the transaction took too long.
        """
        self._is_fenced = isinstance(error, _FENCED)
        if isinstance(error, NotAMemberError) or (self._is_fenced and self.config.instance_id is None):
            await self._abandon(error)
        else:
            await self.fail(error)

    async def _abandon(self, error: Exception) -> None:
        """The group has moved on without us: what is not committed is read again by their present owners."""
        log.warning(
            "%s: the group %s has gone on without this worker, which was silent for too long (%s): what was not "
            "committed has no effect, and is read again",
            self.config.source,
            self.config.group,
            str(error) or type(error).__name__,
        )
        dropped, self.partitions, self._suspended, self._member = self.partitions, {}, True, None
        for owned in dropped.values():
            owned.close_store()
        if (twin := await self.app.consumer.twin()) is not None:
            await self.fail(twin)
        else:
            self.app.consumer.rejoin()

    async def fail(self, error: BaseException) -> None:
        """Stop the worker because of an error, once."""
        if self.failure is None:
            lacking(error, "Write")
            self.failure = error
            if isinstance(error, _FENCED) and (twin := await self.app.consumer.twin()) is not None:
                self.failure = twin
            await self.app.crash(self.failure)

    def waited(self) -> float:
        """Seconds by which the commit of what has waited for longest is overdue; 0 when none is."""
        since = [owned.waiting_since for owned in self.partitions.values() if owned.waiting_since is not None]
        due = min(since, default=inf) + self.config.commit_interval / 1000
        return max(0.0, time.monotonic() - due)

    # -- what people do meanwhile

    async def review(self) -> None:
        """Take over that skipped records have been accepted, and that partitions of the changelog have been added.

        And end what dead workers have left open, where a takeover could not be sure of it.
        """
        await self._review_skipped()
        await self._review_waiting()
        if self._left_open.is_doubtful and self._writer is not None and not self._assigning.locked():
            await self._end_left_open()

    async def _review_waiting(self) -> None:
        if not self.waiting:
            return
        try:
            count = await self.app.consumer.partition_count(self.config.changelog)
        except KafkaError as error:
            log.info("how many partitions %s has is not known: %r", self.config.changelog, error)
            return
        if any(number < count for number in self.waiting):  # a rebalance may have come in between
            log.info(
                "%s has %d partitions now: those of %s are read",
                self.config.changelog,
                count,
                self.config.source,
            )
            self.waiting = frozenset()  # once is enough: the assignment looks again
            self.app.consumer.rejoin()
        elif self.waiting and time.monotonic() - self._warned_at >= _WARN_SECONDS:
            self._warned_at = time.monotonic()
            log.warning("%s", "; ".join(self.waits_for()))

    def waits_for(self) -> list[str]:
        """Of each partition that waits, what it waits for."""
        return [
            f"{self.config.source} partition {number} is not read: {self.config.changelog} has no partition {number} "
            "for its state; `telefonie topics create` adds it, and no worker need be restarted"
            for number in sorted(self.waiting)
        ]

    async def _review_skipped(self) -> None:
        skipped = {number: owned for number, owned in self.partitions.items() if owned.skipped}
        if not skipped:
            return
        try:
            before = await accepted(self.config)
        except (KafkaError, TimeoutError) as error:
            log.info(
                "whether skipped records of %s have been accepted is not known: %r", self.config.source, error
            )
            return
        for number, owned in skipped.items():
            if not self._holds(number, owned):
                continue
            if before.get(TopicPartition(self.config.source, number), 0) >= owned.skipped_to:
                log.info(
                    "%s partition %d: %d skipped records are accepted",
                    self.config.source,
                    number,
                    owned.skipped,
                )
                owned.skipped, owned.unsaid = 0, True
        await self.commit()

    # -- the clock of idle partitions

    async def tick(self) -> None:
        """Where nothing has come for a while: do what is due, and move time on with the wall clock.

        Only from a committed state: a step that is repeated after a crash must find the same time.
        """
        since = await self._supplied()
        if since is None or self._is_closed():
            return
        for number, owned in list(self.partitions.items()):
            if owned.dirty or not self._is_idle(number, owned, since):
                continue
            await self._know_time(number)
            while (is_idle := self._is_idle(number, owned, since)) and owned.processor.settle():
                await self._turn()
            if is_idle:
                owned.clock_moved = owned.processor.advance(self.clock.now())

    def _is_idle(self, number: int, owned: OwnedPartition, since: float) -> bool:
        """Whether a partition is ours, read to its end, and nothing has come for a while; `since` as of `_supplied`."""
        return (
            self._holds(number, owned)
            and time.monotonic() - owned.heard_at >= self.config.idle_after / 1000
            and self.app.consumer.is_caught_up(
                TopicPartition(self.config.source, number), owned.next_offset, since
            )
        )

    async def _supplied(self) -> float | None:
        """Since when (epoch s) a fetch that finds nothing means that there is nothing; None: it means nothing now.

        With an upstream that is the tick before, if there was nothing left for it then and is nothing now: what it
        had written by then is found by a fetch that is answered later.
        """
        if self.upstream is None:
            return time.time() - _RECENT_SECONDS
        before, asked = self._supplied_at, time.time()
        self._supplied_at = asked if await self.upstream.is_drained() else None
        is_recent = before is not None and asked - before < _RECENT_SECONDS
        return before if is_recent and self._supplied_at is not None else None

    async def is_drained(self) -> bool:
        """Whether the group has committed all that lies in the source, whichever worker has its partitions."""
        try:
            bounds = await self.app.consumer.bounds(self.config.source)
            done = await self.committed_offsets(bounds)
        except KafkaError:  # it cannot be known now
            return False
        return all(done.get(number, first) >= end for number, (first, end) in bounds.items())

    async def committed_offsets(self, numbers: Collection[int]) -> dict[int, int]:
        """The group's offsets, of the partitions that have one which no transaction is about to change."""
        found, _ = await self.app.consumer.stable_offsets(self.config.source, numbers)
        return {number: place.offset for number, place in found.items()}

    # -- assignment

    async def assign(self, assigned: Collection[TP], generation: int) -> None:
        """Go on with what stays ours of what has been assigned in a generation of the group; `restore` does the rest.

        From now on transactions commit as a member of this generation: those of a former owner cannot any more. A
        partition keeps its state if nobody else can have had it meanwhile, and the last commit is ours, by its note:
        commits of the idle clock do not move the offset. A partition that was added to the source waits while the
        changelog has none.
        """
        async with self._assigning:
            numbers = sorted(tp.partition for tp in assigned if tp.topic == self.config.source)
            self._kept |= self.partitions
            self.partitions = {}
            await self._identify()
            count = await self.app.consumer.partition_count(self.config.changelog)
            self.waiting = frozenset(number for number in numbers if number >= count)
            numbers = [number for number in numbers if number < count]
            self._keep(numbers)
            if not numbers:
                # Not kept for later: brokers forget a producer that has nothing to write for a week.
                await self._stop_writing()
                self._gained, self._suspended = [], False
                return
            member = await self._join(generation)
            if _follows(member, self._member):
                self._member = member
                places = await self._stable(self._kept)
                self.partitions = {n: owned for n, owned in self._kept.items() if owned.is_of(places.get(n))}
                self._kept = {n: owned for n, owned in self._kept.items() if n not in self.partitions}
            self._gained = [number for number in numbers if number not in self.partitions]
            for owned in self.partitions.values():
                owned.heard_at = time.monotonic()
            self._suspended = False

    async def restore(self) -> None:
        """Take over what has been assigned and did not stay ours. The order is what makes it safe:

        1. what a worker has left open that is no member any more is ended, and workers of release 0.1 are fenced, whom
           the group does not;
        2. only when no transaction can change the group's offsets any more are they and the changelog's end final;
        3. state that is not certainly the last is restored, and says where to read on.
        """
        async with self._assigning:
            numbers = self._gained
            if numbers:
                try:
                    await self.writer.look_again(numbers)
                    await self._end_left_open()
                    await fence_former_release(self.config, self.writer.client, numbers)
                    places = await self._stable(numbers)
                    # What breaks this off must not break off a transaction.
                    await asyncio.shield(self._know_time(numbers[0]))
                    self._keep(n for n, owned in self._kept.items() if owned.is_of(places.get(n)))
                    ready = self._kept | await self._restore(
                        [n for n in numbers if n not in self._kept], places
                    )
                finally:
                    self.remaining = {}
                for owned in ready.values():
                    owned.heard_at = time.monotonic()
                self._kept, self._gained = {}, []
                self.partitions = dict(sorted((self.partitions | ready).items()))
            self._member = self._writer.member if self._writer else None
        self.observer.assigned(self.partitions)
        if any(owned.begins for owned in self.partitions.values()):
            # A task of its own: another rebalance may break us off, and a commit must not be.
            self.app.add_future(self._say_where_we_begin())

    async def _join(self, generation: int) -> Membership:
        """Have transactions commit as a member of this generation; returns who that is."""
        if self._is_fenced:
            await self._stop_writing()
            self._is_fenced = False
        if self._writer is None:
            writer = Writer(self.config, self.identity, self.topics, self.clock)
            try:
                await writer.start()
            except BaseException:
                await writer.stop()
                raise
            self._writer = writer
        member: Membership = self.app.consumer.membership(generation)
        self.writer.member = member
        await self.topics.learn(self.writer.client)
        return member

    async def _stable(self, numbers: Collection[int]) -> dict[int, OffsetAndMetadata]:
        """The group's offsets of partitions that have one, once no transaction can change them any more."""
        patience = Patience(self._end_left_open)
        while True:
            found, unstable = await self.app.consumer.stable_offsets(self.config.source, numbers)
            if not unstable:
                return cast(dict[int, OffsetAndMetadata], found)
            await patience.wait(
                f"partitions {sorted(unstable)} of {self.config.source}: waiting for a transaction that is about to "
                "commit their offsets; it ends with its worker, or after "
                f"{self.config.transaction_timeout_ms // 1000} s"
            )

    async def _end_left_open(self) -> None:
        await self._left_open.end(self.writer.client)

    async def _identities(self) -> Collection[str] | None:
        try:
            _, members = await self.app.consumer.members()
        except MembersUnknownError:
            return None
        return {self.identity, *(member.identity for member in members)}

    @property
    def writer(self) -> Writer:
        """What writes; there is one from the first assignment on."""
        if self._writer is None:
            raise RuntimeError("nothing has been assigned yet")
        return self._writer

    async def _say_where_we_begin(self) -> None:
        """Commit partitions whose offset is not that of the group yet, once their log has been read from.

        Not before: only a fetch reports that the right to read is missing without ending the producer's client.
        """
        while begins := {number: owned for number, owned in self.partitions.items() if owned.begins}:
            for number, owned in begins.items():
                if self.app.consumer.end(TopicPartition(self.config.source, number)) is not None:
                    owned.begins, owned.unsaid = False, True
            await self.commit()
            await asyncio.sleep(_LOOK_SECONDS)

    def _keep(self, numbers: Iterable[int]) -> None:
        """Of the partitions that were ours before, these."""
        kept = {number: self._kept.pop(number) for number in list(numbers) if number in self._kept}
        dropped, self._kept = self._kept, kept
        for owned in dropped.values():
            owned.close_store()

    async def close(self) -> None:
        """Stop the producer and close the stores; after the last commit."""
        owned, self.partitions = list(self.partitions.values()), {}
        await self._stop_writing()
        for each in owned:
            each.close_store()

    async def _stop_writing(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.stop()

    async def _identify(self) -> None:
        """Learn the id of the source topic. Raises RecordsLostError when it is gone or not the former one."""
        former, found = self.topic, await self.app.consumer.topic_id(self.config.source)
        if found is None:
            raise RecordsLostError(f"the topic {self.config.source} does not exist any more")
        self.topic = found
        self._check_same(former)

    def _check_same(self, former: bytes) -> None:
        if former and former != self.topic:
            raise RecordsLostError(
                f"the topic {self.config.source} was deleted and created again, or another one was read before: "
                "the state belongs to the former one. To begin with this one, use another TELEFONIE_APP_ID"
            )

    async def _restore(
        self, numbers: Collection[int], places: Mapping[int, OffsetAndMetadata]
    ) -> dict[int, OwnedPartition]:
        if not numbers:
            return {}
        begun, ready = time.monotonic(), {}
        with ExitStack() as undo:
            async with reader(self.config, self.config.source, self.config.changelog) as consumer:
                logs = [TopicPartition(self.config.source, number) for number in numbers]
                # Before the restore: after it a fetch that waits for more would hold the answers up.
                begins, ends = await consumer.beginning_offsets(logs), await written_ends(consumer, logs)
                targets = await self._targets(consumer, numbers, undo)
                await restore(self.config, consumer, targets, self._progress, self._give_way)
                for source in logs:
                    number, place = source.partition, places.get(source.partition)
                    target = targets[number]
                    if (position := target.position) is not None:
                        self._check_same(position.topic)
                    elif place is not None and is_note(place.metadata):
                        raise state_lost(self.config, source, place.offset)
                    committed = place.offset if place else None
                    start = start_offset(source, position, committed, begins[source], ends[source])
                    owned = OwnedPartition(target.processor, number, start, target.store)
                    owned.note = place.metadata if place else None
                    owned.begin(position, committed)
                    ready[number] = owned
            undo.pop_all()  # nothing is waited for from here on, so nothing can be broken off
        rows, seconds = sum(target.rows for target in targets.values()), time.monotonic() - begun
        log.info("restored partitions %s from %d rows in %.2f s", sorted(ready), rows, seconds)
        return ready

    async def _targets(
        self, consumer: Any, numbers: Collection[int], undo: ExitStack
    ) -> dict[int, RestoreTarget]:
        """New processors with their stores, if there are any; `undo` closes those again."""
        where = await bounds(self.config, consumer, numbers, self._end_left_open)
        if self.config.stores is None:
            return {
                number: RestoreTarget(self.config.processor(number, None), where[number])
                for number in numbers
            }
        if self._stores is None:
            self._stores = Stores(self.config.stores, self.config.instance_id or "worker")
        self._stores.clean({*numbers, *self._kept, *self.partitions})
        topic = await self.app.consumer.topic_id(self.config.changelog) or b""
        targets = {}
        for number in numbers:
            store = self._stores.open(number, Changelog(topic, *where[number]), self.clock.now())
            undo.callback(store.close)
            targets[number] = RestoreTarget(
                self.config.processor(number, store), where[number], store, self.clock.now
            )
        return targets

    async def _give_way(self) -> None:
        """Partitions that stayed ours are at work while others are restored: a commit takes many turns of the loop.

        Not for longer than twice what a piece of the restore takes, or a busy worker would never be done.
        """
        await asyncio.sleep(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_WAY_SECONDS):
                for engine in self.app.engines:
                    async with engine._committing:
                        pass

    def _progress(self, remaining: Mapping[int, int]) -> None:
        self.remaining = dict(remaining)


def _follows(member: Membership, former: Membership | None) -> bool:
    """Whether nobody else can have had what was ours between two assignments, nor has it left something open."""
    return former is not None and member == former._replace(generation=former.generation + 1)
